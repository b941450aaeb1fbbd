"""Whether an interval covers the truth as often as it claims, and how wide it is.

One value per image ``(...)`` of images ``(..., row, column)``; NaN where no pixel has a truth and an
interval. A pixel whose interval is undefined (NaN) is left out, never counted as held.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from msibench.contracts.metric import Evaluation, Scored
from msibench.metrics.arrays import Floats, check_pair, to_host
from msibench.metrics.trust_specs import (
    NO_INTERVAL,
    NOT_ASKED,
    NOT_CALIBRATED,
    NOTHING_CALIBRATED,
    NOTHING_TOLD,
)

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
LEVEL = 0.9
"""Of the harness's intervals that boards measure; the calibration error looks at all `LEVELS`."""
STRUCTURES = ("edges", "spots", "high intensity")


def coverage(lower: Any, upper: Any, truth: Any, *, mask: ArrayLike | None = None) -> Any:
    """Share of the truth's pixels that lie within their interval, ends included.

    Parameters
    ----------
    lower, upper, truth
        ``(..., row, column)``.
    mask
        Pixels to count, bool ``(row, column)`` or the shape of `truth`; None: all.
    """
    low, high, true, known, back = _known(lower, upper, truth, mask)
    return back(_mean((low <= true) & (true <= high), known))


def interval_width(
    lower: Any,
    upper: Any,
    truth: Any,
    *,
    scale: ArrayLike = 1.0,
    mask: ArrayLike | None = None,
) -> Any:
    """Mean width of the intervals over `scale`, the intensity of each image; smaller is sharper."""
    low, high, _, known, back = _known(lower, upper, truth, mask)
    return back(_mean(high - low, known) / np.asarray(scale, dtype=np.float64))


def interval_score(
    lower: Any,
    upper: Any,
    truth: Any,
    *,
    level: float,
    scale: ArrayLike = 1.0,
    mask: ArrayLike | None = None,
) -> Any:
    """Winkler's score: the width, and ``2 / (1 - level)`` times how far the truth lies outside.

    Proper: the interval of the true quantiles has the least. Over `scale`; smaller is better.

    References
    ----------
    .. [1] Winkler, J. Am. Stat. Assoc. 67 (1972) 187-191.
    .. [2] Gneiting and Raftery, J. Am. Stat. Assoc. 102 (2007) 359-378, eq. 43.

    Examples
    --------
    >>> import numpy as np
    >>> one = np.ones((1, 1))
    >>> float(interval_score(0 * one, 2 * one, 3 * one, level=0.9))  # 2 wide, missed by 1
    22.0
    """
    low, high, true, known, back = _known(lower, upper, truth, mask)
    outside = np.maximum(low - true, 0) + np.maximum(true - high, 0)
    score = high - low + 2 / (1 - level) * outside
    return back(_mean(score, known) / np.asarray(scale, dtype=np.float64))


def evaluate(evaluation: Evaluation, *, measure: str) -> Scored:
    """Measure a method's own interval, on tissue where the mask is known.

    Parameters
    ----------
    measure
        ``"interval_coverage"``; ``"worst_interval_coverage"``: that of the structure among `STRUCTURES` that is held least;
        ``"interval_width"`` or ``"interval_score"``, over the largest intensity of the protocol's scale, 1;
        ``"interval_calibration_error"``: the interval of another level than the one that is told is taken as that
        of a normal distribution to either side of the prediction, as on a page.
    """
    told = evaluation.interval
    if told is None:
        return _undefined(evaluation, NO_INTERVAL)
    tells = told

    def ends(level: float) -> tuple[Any, Any]:
        if level == tells.level:
            return tells.lower, tells.upper
        fine = evaluation.prediction.astype(np.float64)
        wider = float(ndtri((1 + level) / 2) / ndtri((1 + tells.level) / 2))
        return fine - wider * (fine - tells.lower), fine + wider * (tells.upper - fine)

    return _measured(evaluation, measure, ends, told.level, NOTHING_TOLD)


def evaluate_calibrated(evaluation: Evaluation, *, measure: str) -> Scored:
    """Measure the interval that the harness calibrated, as `evaluate` does that of the method.

    Parameters
    ----------
    measure
        Those of `evaluate`, at `LEVEL`, and ``"signal_coverage"``: of the noise-free signal by the interval of
        the signal, where that is known.
    """
    found = evaluation.calibrated
    if found is None:
        why = evaluation.not_calibrated
        return _undefined(evaluation, f"{NOT_CALIBRATED}: {why}" if why else NOT_ASKED)
    fine = evaluation.prediction
    if measure == "signal_coverage":
        truth, signal = evaluation.truth, evaluation.noise_free
        assert truth is not None
        assert signal is not None
        held = coverage(*found.ends(fine, LEVEL, signal=True), signal, mask=truth.mask)
        return _scored(held, NOTHING_CALIBRATED)
    return _measured(
        evaluation, measure, lambda level: found.ends(fine, level), LEVEL, NOTHING_CALIBRATED
    )


def _measured(
    evaluation: Evaluation,
    measure: str,
    ends: Callable[[float], tuple[Any, Any]],
    level: float,
    nothing: str,
) -> Scored:
    truth = evaluation.truth
    assert truth is not None
    if measure == "interval_calibration_error":
        known = np.isfinite(coverage(*ends(level), truth.values, mask=truth.mask))
        off = [np.abs(coverage(*ends(one), truth.values, mask=truth.mask) - one) for one in LEVELS]
        return _scored(np.where(known, np.mean(off, axis=0), np.nan), nothing)
    given = (*ends(level), truth.values)
    if measure == "interval_coverage":
        values = coverage(*given, mask=truth.mask)
    elif measure == "worst_interval_coverage":
        values = [
            _worst_interval_coverage(*images, truth.mask) for images in zip(*given, strict=True)
        ]
    elif measure == "interval_width":
        values = interval_width(*given, mask=truth.mask)
    else:
        values = interval_score(*given, level=level, mask=truth.mask)
    return _scored(values, nothing)


def _scored(values: ArrayLike, nothing: str) -> Scored:
    found = np.asarray(values, dtype=np.float64)
    return Scored(found, tuple("" if np.isfinite(one) else nothing for one in found))


def _undefined(evaluation: Evaluation, why: str) -> Scored:
    count = len(evaluation.prediction)
    return Scored(np.full(count, np.nan), (why,) * count)


def structures(truth: ArrayLike, *, smooth: float = 1.0) -> Mapping[str, NDArray[np.bool_]]:
    """Return the tenth of the pixels of one truth with most of each of `STRUCTURES`, ``(row, column)``.

    Edges by the gradient, spots by minus the Laplacian, both of the truth smoothed by a Gaussian of
    `smooth` pixels; high intensity by that smoothed truth.
    """
    from scipy.ndimage import gaussian_filter, laplace

    image = gaussian_filter(np.nan_to_num(np.asarray(truth, dtype=np.float64)), smooth)
    measures = (np.hypot(*np.gradient(image)), -laplace(image), image)
    return {name: _most(measure) for name, measure in zip(STRUCTURES, measures, strict=True)}


def _worst_interval_coverage(
    lower: ArrayLike, upper: ArrayLike, truth: ArrayLike, mask: NDArray[np.bool_] | None
) -> float:
    found = [
        float(coverage(lower, upper, truth, mask=where if mask is None else where & mask))
        for where in structures(truth).values()
    ]
    known = [one for one in found if np.isfinite(one)]
    return min(known, default=float("nan"))


def _most(measure: Floats) -> NDArray[np.bool_]:
    """Mark the tenth of the pixels with the largest values, none of the least."""
    order = np.argsort(measure, axis=None, kind="stable")
    found = np.zeros(measure.size, dtype=np.bool_)
    found[order[len(order) - len(order) // 10 :]] = True
    return np.asarray(found.reshape(measure.shape) & (measure > measure.min()))


def _known(
    lower: Any, upper: Any, truth: Any, mask: ArrayLike | None
) -> tuple[Floats, Floats, Floats, NDArray[np.bool_], Callable[[Floats], Any]]:
    low, _ = to_host(lower, "lower")
    high, _ = to_host(upper, "upper")
    true, back = to_host(truth, "truth")
    check_pair(low, true)
    check_pair(high, true)
    known = np.isfinite(low) & np.isfinite(high) & np.isfinite(true)
    if mask is not None:
        known &= np.asarray(mask, dtype=bool)
    return low, high, true, known, back


def _mean(values: NDArray[np.generic], known: NDArray[np.bool_]) -> Floats:
    total = np.where(known, values, 0.0).sum(axis=(-2, -1))
    count = known.sum(axis=(-2, -1))
    return np.asarray(
        np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0), dtype=np.float64
    )
