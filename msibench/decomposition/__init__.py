"""Matrix decompositions of ion images: NMF, canonical correlation, embeddings.

Nothing here needs the dense pixel × m/z matrix in memory; importing this package imports no torch.
"""

from msibench.decomposition.cca import CCA, CCARankWarning
from msibench.decomposition.embedding import embed
from msibench.decomposition.nmf import NMFResult, nmf
from msibench.decomposition.row_blocks import HDF5Rows, SpectrumRows, write_rows

__all__ = [
    "CCA",
    "CCARankWarning",
    "HDF5Rows",
    "NMFResult",
    "SpectrumRows",
    "embed",
    "nmf",
    "write_rows",
]
