r"""The selective scan: a linear recurrence whose coefficients depend on the input.

.. math::
    h_t = \exp(\Delta_t A)\, h_{t-1} + \Delta_t B_t u_t, \qquad y_t = C_t h_t + D u_t

Gu & Dao, "Mamba" (arXiv 2312.00752), equations 2 and 4 with the discretisation of its section 3.2.
The sequence is walked in chunks that fit the processor's cache: coefficients of one chunk are made by
a few large operations, the recurrence itself is one fused multiply-add a step, in place. No tensor
with both the whole length and the state ever exists, neither forward nor backward: the backward pass
keeps the state at the chunks' borders and makes the rest again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_CHUNK_BYTES = 1 << 21
"""Size of one chunk's states: small enough for a processor's cache, large enough to amortise calls."""
_CHUNK_BYTES_CUDA = 1 << 26


def selective_scan(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Run the recurrence over the first axis.

    Parameters
    ----------
    u, delta
        Input and step size (positive), ``(length, batch, direction, dim)``, float32 or float64.
    a
        Continuous-time decay (negative), ``(direction, state, dim)``.
    b, c
        Input and output coefficients, ``(length, batch, direction, state)``.
    d
        Weight of the skip connection, ``(direction, dim)``.

    Returns
    -------
    ``(length, batch, direction, dim)``; differentiable (once) in every argument.
    """
    inputs = (u, delta, a, b, c)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs):
        scanned: Tensor = _SelectiveScan.apply(*inputs)
    else:
        scanned = _scan(*inputs)
    return scanned + d * u


def _scan(
    u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, borders: list[Tensor] | None = None
) -> Tensor:
    """Return ``C_t h_t`` for all steps; append the state before each chunk to `borders`."""
    length, batch, directions, dim = u.shape
    steps = _steps_per_chunk(u, a.shape[1])
    h = u.new_zeros(batch, directions, a.shape[1], dim)
    decays = u.new_empty(steps, *h.shape)
    states = torch.empty_like(decays)
    y = u.new_empty(u.shape)
    for first in range(0, length, steps):
        part = slice(first, min(first + steps, length))
        count = part.stop - first
        if borders is not None:
            borders.append(h)
        _coefficients(u[part], delta[part], a, b[part], decays[:count], states[:count])
        for decay, h_t in zip(decays[:count].unbind(), states[:count].unbind(), strict=True):
            h = torch.addcmul(h_t, decay, h, out=h_t)
        torch.matmul(c[part].unsqueeze(-2), states[:count], out=y[part].unsqueeze(-2))
        h = h.clone()  # the next chunk is written over it
    return y


class _SelectiveScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        borders: list[Tensor] = []
        y = _scan(u, delta, a, b, c, borders)
        ctx.save_for_backward(u, delta, a, b, c, *borders)
        ctx.steps = _steps_per_chunk(u, a.shape[1])
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, ...]:
        (grad_y,) = grads
        u, delta, a, b, c, *borders = ctx.saved_tensors
        grad_u, grad_delta = torch.empty_like(u), torch.empty_like(delta)
        grad_a, grad_b, grad_c = torch.zeros_like(a), torch.empty_like(b), torch.empty_like(c)
        decays = u.new_empty(ctx.steps, *borders[0].shape)
        states, grad_states = torch.empty_like(decays), torch.empty_like(decays)
        carry = torch.zeros_like(borders[0])
        for index in reversed(range(len(borders))):
            part = slice(index * ctx.steps, min((index + 1) * ctx.steps, len(u)))
            count = part.stop - part.start
            decay, h, grad_h = decays[:count], states[:count], grad_states[:count]
            _coefficients(u[part], delta[part], a, b[part], decay, h)
            before = borders[index]
            for decay_t, h_t in zip(decay.unbind(), h.unbind(), strict=True):
                before = torch.addcmul(h_t, decay_t, before, out=h_t)
            torch.matmul(h, grad_y[part].unsqueeze(-1), out=grad_c[part].unsqueeze(-1))
            torch.mul(c[part].unsqueeze(-1), grad_y[part].unsqueeze(-2), out=grad_h)
            for step in reversed(range(count)):
                grad_h[step].add_(carry)
                torch.mul(decay[step], grad_h[step], out=carry)
            input_grad = torch.matmul(b[part].unsqueeze(-2), grad_h).squeeze(-2)
            driven = (delta[part] * u[part]).unsqueeze(-1)
            torch.matmul(grad_h, driven, out=grad_b[part].unsqueeze(-1))
            torch.mul(input_grad, delta[part], out=grad_u[part])
            # From here on grad_h holds the gradient of log(decay) = delta * a.
            grad_h.mul_(decay)
            grad_h[1:].mul_(h[:-1])
            grad_h[0].mul_(borders[index])
            grad_a += (grad_h * delta[part].unsqueeze(-2)).sum((0, 1))
            torch.mul(input_grad, u[part], out=grad_delta[part])
            grad_delta[part] += (grad_h * a).sum(-2)
        return grad_u, grad_delta, grad_a, grad_b, grad_c


def _steps_per_chunk(u: Tensor, state: int) -> int:
    """Return how many steps share one chunk."""
    one_step = u[0].numel() * state * u.element_size()
    limit = _CHUNK_BYTES_CUDA if u.is_cuda else _CHUNK_BYTES
    return max(1, min(len(u), limit // max(1, one_step), 256))


def _coefficients(
    u: Tensor, delta: Tensor, a: Tensor, b: Tensor, decay: Tensor, drive: Tensor
) -> None:
    """Write ``exp(delta a)`` and ``delta u b`` of some steps, ``(step, batch, direction, state, dim)``."""
    torch.mul(delta.unsqueeze(-2), a, out=decay).exp_()
    torch.mul((delta * u).unsqueeze(-2), b.unsqueeze(-1), out=drive)
