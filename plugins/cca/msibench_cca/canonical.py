"""Step 6: what the coarse modality would have measured on the finer grid, one finer modality at a time."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msibench.decomposition import CCA, CCARankWarning
from msibench.errors import DataError
from msibench_cca.config import CCAConfig
from msibench_cca.maps import Maps
from msibench_cca.masks import resample

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """How one stage went."""

    correlations: tuple[float, ...]
    pixels: int
    """Pixels of the coarser grid that it was fitted to."""
    message: str
    """Why there are fewer components than asked for; empty otherwise."""
    explained: float
    """Share of the coarse maps' variance that the prediction explains where it was fitted (R²)."""

    def summary(self) -> dict[str, Any]:
        """Return everything, JSON-able."""
        return {
            "correlations": [round(value, 6) for value in self.correlations],
            "pixels": self.pixels,
            "message": self.message,
            "explained": round(self.explained, 6),
        }


def predict_finer(coarse: Maps, finer: Maps, config: CCAConfig) -> tuple[Maps, Stage]:
    """Return `coarse` on the grid of `finer`.

    CCA is fitted between the finer maps, averaged over each coarse pixel, and the coarse maps; the finer
    maps on their own grid then give the prediction.

    Raises
    ------
    DataError
        If fewer than two pixels are known to both, or either does not vary there.
    """
    inputs, known = resample(finer, coarse.shape)
    both = known & coarse.known
    pixels = int(both.sum())
    if pixels < 2:
        raise DataError(f"the two modalities share {pixels} pixels; at least 2 are needed")
    x, y = inputs[:, both].T, coarse.values[:, both].T
    components = min(config.components, x.shape[1], y.shape[1])
    model = CCA(components, config.ridge)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CCARankWarning)  # kept in the stage's message
        model.fit(x, y)
    predict = model.predict if config.mode == "regression" else model.predict_as_sklearn
    values = np.zeros((len(coarse.values), *finer.shape))
    values[:, finer.known] = predict(finer.values[:, finer.known].T).T
    spread = ((y - y.mean(0)) ** 2).sum()
    left = ((y - predict(x)) ** 2).sum()
    stage = Stage(
        tuple(float(value) for value in model.correlations_),
        pixels,
        model.message_,
        float(1 - left / spread) if spread > 0 else 0.0,
    )
    return Maps(values, finer.known, coarse.spectra, coarse.relative_error), stage


def predict_in_stages(
    coarse: Maps, finer: Sequence[Maps], config: CCAConfig
) -> tuple[Maps, list[Stage]]:
    """Go from the coarse modality to each finer one in turn, the finest last."""
    stages = []
    for modality in finer:
        coarse, stage = predict_finer(coarse, modality, config)
        stages.append(stage)
    return coarse, stages
