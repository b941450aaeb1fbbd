"""The selective scan as one Triton kernel, forward only: each program walks some channels in registers.

Imported only where Triton is installed; `kernels` tries it on the device before it is used.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_DIMS = 32
"""Channels of one program."""


@triton.jit  # type: ignore[untyped-decorator]
def _walk(  # type: ignore[no-untyped-def]  # Triton reads annotations as code
    u_ptr,  # noqa: ANN001
    delta_ptr,  # noqa: ANN001
    a_ptr,  # noqa: ANN001
    b_ptr,  # noqa: ANN001
    c_ptr,  # noqa: ANN001
    d_ptr,  # noqa: ANN001
    y_ptr,  # noqa: ANN001
    length,  # noqa: ANN001
    rows,  # noqa: ANN001
    directions,  # noqa: ANN001
    dim,  # noqa: ANN001
    state,  # noqa: ANN001
    block: tl.constexpr,
    padded: tl.constexpr,
) -> None:
    """Run all steps for `block` channels of one direction of one image."""
    row = tl.program_id(0)  # image and direction, as they lie in memory
    direction = row % directions
    dims = tl.program_id(1) * block + tl.arange(0, block)
    states = tl.arange(0, padded)
    in_dims, in_states = dims < dim, states < state
    inside = in_states[:, None] & in_dims[None, :]
    at = direction * state * dim + states[:, None] * dim + dims[None, :]
    a = tl.load(a_ptr + at, mask=inside, other=0.0)
    d = tl.load(d_ptr + direction * dim + dims, mask=in_dims, other=0.0)
    h = tl.zeros((padded, block), dtype=tl.float32)
    for step in range(length):
        place = (step * rows + row).to(tl.int64)
        u = tl.load(u_ptr + place * dim + dims, mask=in_dims, other=0.0)
        delta = tl.load(delta_ptr + place * dim + dims, mask=in_dims, other=0.0)
        b = tl.load(b_ptr + place * state + states, mask=in_states, other=0.0)
        c = tl.load(c_ptr + place * state + states, mask=in_states, other=0.0)
        h = tl.exp(delta[None, :] * a) * h + b[:, None] * (delta * u)[None, :]
        y = tl.sum(h * c[:, None], axis=0) + d * u
        tl.store(y_ptr + place * dim + dims, y, mask=in_dims)


def triton_scan(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Run the same recurrence as `selective_scan`, without gradients."""
    u, delta, a, b, c, d = (x.float().contiguous() for x in (u, delta, a, b, c, d))
    length, batch, directions, dim = u.shape
    state = a.shape[1]
    y = torch.empty_like(u)
    grid = (batch * directions, triton.cdiv(dim, _DIMS))
    _walk[grid](
        u,
        delta,
        a,
        b,
        c,
        d,
        y,
        length,
        batch * directions,
        directions,
        dim,
        state,
        block=_DIMS,
        padded=triton.next_power_of_2(state),
        num_warps=4,
    )
    return y
