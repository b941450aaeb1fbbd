"""Choose the fastest scan that this machine has."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from torch import Tensor

from msibench_mambair.scan import selective_scan

Scan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def fastest_scan(u: Tensor) -> Scan:
    """Return ``mamba_ssm``'s kernel for tensors on a GPU where it is installed, else our own scan."""
    return mamba_ssm_scan if u.is_cuda and _mamba_ssm() is not None else selective_scan


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


def scan_name(device: str) -> str:
    """Return which scan runs on `device`, for the record."""
    return "mamba_ssm" if device.startswith("cuda") and _mamba_ssm() is not None else "chunked"
