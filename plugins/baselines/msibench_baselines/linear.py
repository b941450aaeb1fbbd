"""Linear maps from guide features to ion intensities: learned at the coarse grid, applied at the fine.

All m/z are fitted at once. Van de Plas et al. (2015) use partial least squares; least squares and ridge
regression are offered, too.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from msibench import Problem, Skip
from msibench.errors import ConfigurationError
from msibench_baselines.features import guide_features
from msibench_baselines.section import Section

Floats = NDArray[np.float64]
Model = Literal["pls", "ridge", "ols"]


class LinearFusion:
    """Predict every ion image from features of the guide with one linear map.

    Parameters
    ----------
    model
        ``"pls"``, ``"ridge"`` or ``"ols"``.
    components
        Latent variables of PLS; at most as many as there are features and pixels are used.
    ridge
        Penalty of ridge regression on standardised features, as a share of the pixels.
    features
        See `features.FEATURES`.
    """

    def __init__(
        self,
        *,
        model: Model,
        components: int,
        ridge: float,
        features: Sequence[str],
    ) -> None:
        if model not in ("pls", "ridge", "ols"):
            raise ConfigurationError(f"model must be pls, ridge or ols, got {model!r}")
        if (model == "pls" and components < 1) or ridge < 0:
            raise ConfigurationError(
                f"PLS needs at least 1 component and a ridge is not negative, got {components}, {ridge}"
            )
        self.model, self.components, self.ridge = model, components, ridge
        self.features = tuple(features)
        self._report: dict[str, object] = {}

    def upscale(self, problem: Problem) -> NDArray[np.float32] | Skip:
        """Return ``(channel, row*factor, column*factor)`` in the unit of ``problem.low``."""
        section = Section.of(problem)
        if isinstance(section, Skip):
            return section
        fine = guide_features(section.guide, section.factor, self.features)
        coarse = section.to_coarse(fine)
        painted = np.zeros((problem.low.channels, *problem.fine_shape), dtype=np.float32)
        shares: list[float] = [0.0] * problem.low.channels
        with threadpool_limits(1, "blas"):  # the same bytes on any number of threads
            for members, pixels in section.patterns():
                if not pixels.any():
                    continue
                inputs, outputs = coarse[:, pixels].T, section.ions.values[members][:, pixels].T
                weights, offset = self._fit(inputs, outputs.astype(np.float64))
                residual = outputs - inputs @ weights - offset
                spread = outputs.var(0)
                explained = 1 - residual.var(0) / np.where(spread > 0, spread, 1)
                for ion, share in zip(members, explained, strict=True):
                    shares[ion] = round(float(share), 6)
                flat = np.tensordot(weights.T.astype(np.float32), fine, 1)
                painted[members] = flat + offset.astype(np.float32)[:, None, None]
        self._report = {"explained_variance_at_coarse_grid": shares}
        return section.restore(painted)

    def report(self) -> Mapping[str, object]:
        """Return how much of each ion's variance the map explains where it was fitted."""
        return self._report

    def _fit(self, inputs: Floats, outputs: Floats) -> tuple[Floats, Floats]:
        """Return weights ``(feature, ion)`` and offsets ``(ion,)``."""
        centre, target = inputs.mean(0), outputs.mean(0)
        scale = inputs.std(0)
        scale = np.where(scale > 1e-6, scale, np.inf)  # a constant feature takes no part
        x, y = (inputs - centre) / scale, outputs - target
        if self.model == "pls":
            weights = _partial_least_squares(x, y, self.components)
        elif self.model == "ridge" and self.ridge > 0:
            penalty = self.ridge * len(x) * np.eye(x.shape[1])
            weights = np.linalg.solve(x.T @ x + penalty, x.T @ y)
        else:
            weights = np.linalg.lstsq(x, y, rcond=1e-8)[0]
        weights = weights / scale[:, None]
        return weights, target - centre @ weights


def _partial_least_squares(x: Floats, y: Floats, components: int) -> Floats:
    """Return the PLS2 weights ``(feature, ion)`` of centred data."""
    from sklearn.cross_decomposition import PLSRegression
    from sklearn.exceptions import ConvergenceWarning

    varying = y.std(0) > 1e-12
    weights = np.zeros((x.shape[1], y.shape[1]))
    count = min(components, int(np.linalg.matrix_rank(x)), len(x) - 1)
    if count < 1 or not varying.any():
        return weights
    model = PLSRegression(count, scale=True, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", message=r"[yY] residual is constant")
        # Nothing left to explain: scikit-learn stops there, and its weights hold up to there.
        warnings.filterwarnings("ignore", category=RuntimeWarning, message="invalid value")
        model.fit(x, y[:, varying])
    weights[:, varying] = np.nan_to_num(model.coef_.T)
    return weights
