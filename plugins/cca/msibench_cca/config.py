"""Hyper-parameters of CCA fusion, each with where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from msibench.errors import ConfigurationError

CITATION = "https://doi.org/10.1101/2025.02.19.639070"
PAPER = "Ul Haque et al. 2025"

Mode = Literal["as-published", "regression"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CCAConfig:
    """Every setting of CCA fusion; `SOURCES` says where each default comes from."""

    mode: Mode = "regression"
    components: int = 40
    rank: int = 40
    iterations: int = 200
    tolerance: float = 1e-4
    restarts: int = 1
    ridge: float = 0.0
    grid_tile: int | None = None
    keep_level: bool = True
    mask_dilation: int = 2
    section: str | int = "largest"
    register: bool = False
    register_steps: int = 300
    register_rate: float = 0.01
    match_ppm: float | None = 100.0
    mz_gap: float | None = None

    def __post_init__(self) -> None:
        if self.mode not in ("as-published", "regression"):
            raise ConfigurationError(f"mode must be as-published or regression, got {self.mode!r}")
        for name in ("components", "rank", "iterations", "restarts", "register_steps"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.ridge < 0 or self.tolerance < 0 or self.mask_dilation < 0:
            raise ConfigurationError("ridge, tolerance and mask_dilation must not be negative")
        if self.grid_tile is not None and self.grid_tile < 2:
            raise ConfigurationError(f"grid_tile must be at least 2 pixels, got {self.grid_tile}")
        for name in ("match_ppm", "mz_gap"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ConfigurationError(f"{name} must be positive, or None, got {value}")


REGRESSION: Mapping[str, object] = asdict(CCAConfig())
AS_PUBLISHED: Mapping[str, object] = asdict(CCAConfig(mode="as-published", keep_level=False))

SOURCES: Mapping[str, str] = {
    "mode": f"{PAPER}, 2.5: scikit-learn's CCA with default settings (as-published); its prediction "
    "leaves out the canonical correlations, so regression is our correction",
    "components": f"{PAPER}, 2.5: 40; fewer where the data hold fewer",
    "rank": f"{PAPER}, 2.2.1: 40 components of the factorisation; fewer where there are fewer ion images",
    "iterations": "not stated, our choice: 200, by which the error of sections we tried no longer falls",
    "tolerance": "not stated, our choice: 1e-4, scikit-learn's",
    "restarts": "not stated, our choice: 1",
    "ridge": f"{PAPER}, 2.5: none (default settings)",
    "grid_tile": f"{PAPER}, 2.3: 80 for its ToF-SIMS data; None here, as a section has no such grid "
    "unless its instrument made one",
    "keep_level": f"{PAPER}, 2.3: the whole mean tile is subtracted (as-published); regression subtracts "
    "only its pattern, so that the level of the image stays. Negative values become 0: not stated",
    "mask_dilation": f"{PAPER}, 2.4: binary dilation; how often is not stated, our choice: 2",
    "section": f"{PAPER}, 2.4: the common section of two modalities; our choice: the largest of the coarse one, "
    "or its number, and what overlaps it in the others; for the imzML pipeline",
    "register": "the benchmark's sections are registered; the imzML pipeline registers",
    "register_steps": "not stated, our choice: 300",
    "register_rate": "not stated, our choice: Adam, 0.01 of the image's half width per step; loss (not "
    "stated): normalised cross-correlation",
    "match_ppm": f"{PAPER}, 2.2: finer modalities are resampled to the coarse one's m/z; the tolerance is "
    "not stated, our choice: 100 ppm; None keeps each file's own m/z",
    "mz_gap": f"{PAPER}, 2.2.1: the smallest gap between m/z, found in the file (None)",
}
