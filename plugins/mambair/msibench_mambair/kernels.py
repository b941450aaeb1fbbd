"""Choose the fastest scan that this machine has: ``mamba_ssm``'s, our Triton kernel, or plain PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor

from msibench_mambair.scan import selective_scan

Scan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
Name = Literal["mamba_ssm", "triton", "chunked"]

TOLERANCE = 1e-4
"""Largest difference to our own scan, relative to the largest value, that a kernel may have."""


def fastest_scan(u: Tensor) -> Scan:
    """Return the scan to use for `u`; one that has no backward pass only where no gradient is asked."""
    name = scan_name(u.device.type)
    if name == "triton" and torch.is_grad_enabled():
        return selective_scan
    scans: dict[Name, Scan] = {"mamba_ssm": mamba_ssm_scan, "chunked": selective_scan}
    return triton_scan if name == "triton" else scans[name]


@cache
def scan_name(device: str) -> Name:
    """Return which scan runs on `device`, for the record.

    A kernel is taken only after it has agreed with our own scan on this very device: one that was
    built for another torch, driver or card steps aside instead of failing.
    """
    if not device.startswith("cuda"):
        return "chunked"
    if _mamba_ssm() is not None and agrees(mamba_ssm_scan, device):
        return "mamba_ssm"
    return "triton" if agrees(triton_scan, device) else "chunked"


def agrees(scan: Scan, device: str) -> bool:
    """Whether `scan` runs on `device` and gives what `selective_scan` gives."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device)

    inputs = (
        normal(70, 2, 4, 36),
        normal(70, 2, 4, 36).exp(),
        -normal(4, 10, 36).exp(),
        normal(70, 2, 4, 10),
        normal(70, 2, 4, 10),
        normal(4, 36),
    )
    try:
        with torch.no_grad():
            expected, got = selective_scan(*inputs), scan(*inputs)
    except Exception:  # a compiler, driver or extension that does not fit fails in many ways
        return False
    return bool((expected - got).abs().max() <= TOLERANCE * expected.abs().max())


def triton_scan(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Run the recurrence with our Triton kernel; see `msibench_mambair.triton_scan`."""
    from msibench_mambair import triton_scan as kernel

    return kernel.triton_scan(u, delta, a, b, c, d)


@cache
def _mamba_ssm() -> Callable[..., Any] | None:
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    except Exception:  # an extension built for another torch fails in many ways
        return None
    found: Callable[..., Any] = selective_scan_fn
    return found


def mamba_ssm_scan(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Run the same recurrence as `selective_scan` with the authors' CUDA kernel.

    Raises
    ------
    RuntimeError
        If ``mamba_ssm`` is not installed; ask `fastest_scan` instead.
    """
    kernel = _mamba_ssm()
    if kernel is None:
        raise RuntimeError("mamba_ssm is not installed for this torch")
    length, batch, directions, dim = u.shape
    state = a.shape[1]

    def channels_first(x: Tensor) -> Tensor:  # (L, B, K, D) -> (B, K*D, L)
        return x.permute(1, 2, 3, 0).reshape(batch, directions * dim, length).contiguous()

    y: Tensor = kernel(
        channels_first(u),
        channels_first(delta),
        a.transpose(1, 2).reshape(directions * dim, state).contiguous(),
        b.permute(1, 2, 3, 0).contiguous(),
        c.permute(1, 2, 3, 0).contiguous(),
        d.reshape(-1).contiguous(),
    )
    return y.view(batch, directions, dim, length).permute(3, 0, 1, 2)
