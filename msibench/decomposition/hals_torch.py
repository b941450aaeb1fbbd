"""The HALS passes on a GPU, through torch (cuSPARSE products in their deterministic form)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import DTypeLike, NDArray

from msibench.decomposition.row_blocks import Block, MatrixRows, Real, is_sparse

if TYPE_CHECKING:
    import torch


class TorchEngine:
    """One pass over all rows per iteration on one device; a matrix in memory is copied there once.

    Parameters
    ----------
    device
        As torch names it: ``"cuda"``, ``"cuda:1"``, ``"cpu"``.
    """

    def __init__(self, device: str) -> None:
        import torch

        self.device = torch.device(device)
        self._resident: tuple[object, list[tuple[torch.Tensor, torch.Tensor]]] | None = None

    def update_rows(
        self, blocks: Iterable[Block], W: Real, H: Real
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Update `W` in place for fixed `H`; return ``Xᵀ W`` and ``Wᵀ W``, see `CpuEngine`."""
        import torch

        h = torch.from_numpy(H).to(self.device)
        h_gram = h.T @ h
        cross = torch.zeros(H.shape, dtype=torch.float64, device=self.device)
        gram = torch.zeros((H.shape[1],) * 2, dtype=torch.float64, device=self.device)
        first = 0
        for matrix, transposed in self._on_device(blocks, W.dtype):
            rows = slice(first, first + matrix.shape[0])
            # An H200-class card holds W of millions of rows; only the block's rows are there at a time.
            w = torch.from_numpy(W[rows]).to(self.device, copy=True)
            sweep(w, matrix @ h, h_gram)
            cross += transposed @ w
            gram += w.T @ w
            W[rows] = w.cpu().numpy()
            first = rows.stop
        return cross.cpu().numpy(), gram.cpu().numpy()

    def update_columns(
        self, H: Real, cross: NDArray[np.float64], gram: NDArray[np.float64]
    ) -> None:
        """Update `H` in place from ``cross = Xᵀ W`` and ``gram = Wᵀ W``."""
        import torch

        dtype = torch.from_numpy(H[:0]).dtype
        h = torch.from_numpy(H).to(self.device, copy=True)
        sweep(
            h,
            torch.from_numpy(cross).to(self.device, dtype),
            torch.from_numpy(gram).to(self.device, dtype),
        )
        H[:] = h.cpu().numpy()

    def _on_device(
        self, blocks: Iterable[Block], dtype: DTypeLike
    ) -> Iterable[tuple[torch.Tensor, torch.Tensor]]:
        if not isinstance(blocks, MatrixRows):
            return (self._copy(block, dtype) for block in blocks)
        if self._resident is None or self._resident[0] is not blocks:
            self._resident = (blocks, [self._copy(block, dtype) for block in blocks])
        return self._resident[1]

    def _copy(self, block: Block, dtype: DTypeLike) -> tuple[torch.Tensor, torch.Tensor]:
        """Return X and its transpose on the device: two row-wise products need no atomic addition."""
        import torch

        if not is_sparse(block):
            dense = torch.from_numpy(np.ascontiguousarray(block, dtype=dtype)).to(self.device)
            return dense, dense.T
        csr = block.astype(dtype, copy=False)
        return self._sparse(csr), self._sparse(csr.T.tocsr())

    def _sparse(self, csr: Block) -> torch.Tensor:
        import torch

        with warnings.catch_warnings():
            for known in ("Sparse CSR tensor support is in beta", "Sparse invariant checks are"):
                warnings.filterwarnings("ignore", message=known)
            return torch.sparse_csr_tensor(
                torch.from_numpy(csr.indptr.astype(np.int64)),
                torch.from_numpy(csr.indices.astype(np.int64)),
                torch.from_numpy(csr.data),
                size=csr.shape,
                check_invariants=False,
            ).to(self.device)


def sweep(W: torch.Tensor, numerator: torch.Tensor, gram: torch.Tensor) -> None:
    """Minimise over each column of ``W ≥ 0`` in turn, in place; see `hals_cpu.hals_sweep`."""
    curvature = gram.diagonal().tolist()
    w = W.T.contiguous()  # (rank, row): a component is one contiguous stretch
    target = numerator.T.contiguous()
    for c, scale in enumerate(curvature):
        if scale > 0:
            w[c].add_((target[c] - gram[c] @ w) / scale).clamp_(min=0)
    W.copy_(w.T)
