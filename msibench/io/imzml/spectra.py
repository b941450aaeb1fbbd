"""The table of spectra of an imzML file: where each pixel's arrays lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msibench.io.imzml.header import ArrayEncoding

ABSENT = np.iinfo(np.int64).min
"""Stands for a number that the file does not give."""

COLUMNS = (
    "x",
    "y",
    "z",
    "mz_offset",
    "mz_length",
    "mz_encoded",
    "intensity_offset",
    "intensity_length",
    "intensity_encoded",
    "mz_encoding",
    "intensity_encoding",
    "terms",
)
"""Columns of `SpectrumTable.numbers`; offsets and encoded lengths in bytes, lengths in values."""

CENTROID, PROFILE, NEGATIVE, POSITIVE = 1, 2, 4, 8
TERM_BITS = {
    "MS:1000127": CENTROID,
    "MS:1000128": PROFILE,
    "MS:1000129": NEGATIVE,
    "MS:1000130": POSITIVE,
}


@dataclass(frozen=True, slots=True, eq=False)
class SpectrumTable:
    """One row per ``<spectrum>``, as written, before anything is checked."""

    numbers: NDArray[np.int64]
    """``(spectrum, len(COLUMNS))``; `ABSENT` where the file gives no value."""
    encodings: tuple[ArrayEncoding, ...]
    """What the columns ``mz_encoding`` and ``intensity_encoding`` point at."""
    scientific: bool = False
    """Whether an offset or length was written like ``1.156e+09``."""

    def __len__(self) -> int:
        return int(self.numbers.shape[0])

    def column(self, name: str) -> NDArray[np.int64]:
        """Return one column by its name."""
        return self.numbers[:, COLUMNS.index(name)]

    @property
    def terms(self) -> set[str]:
        """Accessions of the polarity and centroid/profile terms that any spectrum has."""
        bits = int(np.bitwise_or.reduce(self.column("terms"))) if len(self) else 0
        return {accession for accession, bit in TERM_BITS.items() if bits & bit}
