"""The score that the noise-free signal itself would get against a noisy truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msibench.contracts.metric import Evaluation, Scored, SectionParts
from msibench.metrics.arrays import (
    NOT_FINITE,
    Floats,
    check_pair,
    finite_images,
    first_reason,
    to_host,
)
from msibench.metrics.pairs import ImagesT

EXACT, COUNTED, ESTIMATED = 0.0, 1.0, 2.0
"""What the curve ``source`` of `evaluate` says of a value: from the noise-free signal, from counting
statistics, or estimated from the truth's finest wavelet coefficients."""
NO_NOISE = "no noise could be estimated: the finest wavelet coefficients are 0"
DRAWS = 4
GROUPS, GROUP = 16, 64
"""Most groups of brightness, and fewest blocks in one."""
NORMAL = 0.6744897501960817
"""Median absolute value of a standard normal number."""

Metric = Callable[..., Any]


def noise_ceiling(
    metric: Metric,
    truth: Any,
    *,
    noise_free: Any = None,
    counts: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    seed: int = 0,
    draws: int = DRAWS,
) -> Any:
    """Value of a full-reference metric that no method can be expected to pass.

    With `noise_free` it is exact: ``metric(noise_free, truth)``. Otherwise the truth after an
    adaptive Wiener filter stands in for the signal and fresh noise is put on it: Poisson where
    `counts` are known, else Gaussian of the standard deviation that `noise_map` estimates; the
    value is the mean of ``metric(signal, signal + noise)`` over `draws`. The squared error depends on
    little but the total counts and comes out right; for metrics of structure it is an approximation
    (``docs/metrics.md`` has what was measured).

    Parameters
    ----------
    metric
        ``f(test, reference)``, one value per image: ``msibench.metrics.psnr``.
    truth
        Measured images ``(..., row, column)``.
    noise_free
        The signal without noise, same shape.
    counts
        Ions per intensity unit, one per image.
    mask
        Tissue, bool ``(row, column)``: where noise is estimated and put, without the pixels that
        are exactly 0; None: everywhere. Counting noise needs none.
    seed, draws
        Of the fresh noise.

    Returns
    -------
    One value per image, ``(...)``; NaN where a pixel is not finite, the metric is undefined, or no
    noise could be estimated.
    """
    images, back = to_host(truth, "truth")
    usable = finite_images(images)
    images = np.where(usable[..., None, None], images, 0.0)
    if noise_free is not None:
        signal, _ = to_host(noise_free, "noise_free")
        check_pair(signal, images)
        usable = usable & finite_images(signal)
        values = np.asarray(metric(np.nan_to_num(signal), images), dtype=np.float64)
        return back(np.where(usable, values, np.nan))
    batch, grid = images.shape[:-2], images.shape[-2:]
    flat = images.reshape(-1, *grid)
    known = None if counts is None else np.broadcast_to(np.asarray(counts, np.float64), batch)
    ions = [None] * len(flat) if known is None else list(known.ravel())
    models = [_Model.of(image, n, mask) for image, n in zip(flat, ions, strict=True)]
    values = _mean_of_draws(metric, lambda: models, len(models), seed, draws)
    return back(np.where(usable, values.reshape(batch), np.nan))


@dataclass(frozen=True, slots=True, eq=False)
class _Model:
    """The estimated signal of one image, and the noise to add to it."""

    signal: Floats
    ions: float | None
    """Ions per unit; None: Gaussian noise."""
    sigma: Floats
    """Standard deviation per pixel; empty where ions are known."""
    told: bool
    """Whether there is any noise to add."""

    @classmethod
    def of(cls, image: Floats, ions: float | None, mask: ArrayLike | None) -> _Model:
        """Estimate both from one image, finite."""
        if ions is None:
            sigma = np.nan_to_num(noise_map(image, mask))
            return cls(_wiener(image, sigma**2), None, sigma, bool((sigma > 0).any()))
        each = float(ions) if ions > 0 else 1.0
        signal = np.clip(_wiener(image, None, each), 0.0, None)
        return cls(signal, each, np.empty(0), bool(ions > 0))

    def measured(self, rng: np.random.Generator) -> Floats:
        """Return the signal with fresh noise."""
        if self.ions is None:
            return np.asarray(self.signal + self.sigma * rng.standard_normal(self.signal.shape))
        return np.asarray(rng.poisson(self.signal * self.ions) / self.ions)


def _mean_of_draws(
    metric: Metric, models: Callable[[], Iterable[_Model]], count: int, seed: int, draws: int
) -> Floats:
    """Return the mean of ``metric(signal, measured)`` per image; NaN without any noise.

    One stream serves all images, drawn one after the other, so that it does not matter whether they
    are all in memory or read anew for each draw.
    """
    rng = np.random.default_rng(seed)
    total, told = np.zeros(count), np.zeros(count, dtype=np.bool_)
    for _ in range(draws):
        for place, model in enumerate(models()):
            total[place] += float(np.asarray(metric(model.signal, model.measured(rng))))
            told[place] = model.told
    return np.where(told, total / draws, np.nan)


def noise_map(images: ImagesT, mask: ArrayLike | None = None) -> Floats:
    """Estimate the standard deviation of the noise in every pixel, from the image alone.

    Haar coefficients ``(a - b - c + d) / 2`` of 2 x 2 blocks hold little but noise. Ion images are
    noisier where they are brighter, so blocks are sorted by their mean into up to 16 groups, and
    in each the median absolute coefficient over 0.6745 (Donoho and Johnstone) is taken; where more
    than half are exactly 0 (few counts), their root mean square. Blocks without any intensity tell
    nothing and are left out.

    Parameters
    ----------
    images
        ``(..., row, column)``, sides of at least 2; an odd last row or column is not looked at.
    mask
        Pixels to look at, bool ``(row, column)``: blocks that lie inside it entirely.

    Returns
    -------
    Shape of `images`; 0 outside the mask and in pixels of exactly 0; NaN without any block.
    """
    from scipy.ndimage import uniform_filter

    array, _ = to_host(images)
    rows, columns = (side // 2 * 2 for side in array.shape[-2:])
    inside = np.ones(array.shape[-2:], bool) if mask is None else np.asarray(mask, dtype=bool)
    whole = np.logical_and.reduce(_blocks(inside[:rows, :columns]))
    level = uniform_filter(array, size=5, axes=(-2, -1), mode="reflect")
    maps = [
        _noise_by_level(image, around, whole)
        for image, around in zip(
            array.reshape(-1, *array.shape[-2:]), level.reshape(-1, *array.shape[-2:]), strict=True
        )
    ]
    sigma = np.array(maps, dtype=np.float64).reshape(array.shape)
    return np.where((array != 0) & inside | np.isnan(sigma), sigma, 0.0)


def _noise_by_level(image: Floats, around: Floats, whole: NDArray[np.bool_]) -> Floats:
    """Noise of one image by its local mean `around`, from the blocks that `whole` marks."""
    rows, columns = (2 * side for side in whole.shape)
    a, b, c, d = _blocks(image[:rows, :columns])
    told = whole & ((a != 0) | (b != 0) | (c != 0) | (d != 0))
    if not told.any():
        return np.full(image.shape, np.nan)
    detail, mean = ((a - b - c + d) / 2)[told], ((a + b + c + d) / 4)[told]
    order = np.argsort(mean, kind="stable")
    groups = np.array_split(order, int(np.clip(len(order) // GROUP, 1, GROUPS)))
    levels = np.array([mean[group].mean() for group in groups])
    sigma = np.array([np.median(np.abs(detail[group])) / NORMAL for group in groups])
    root = np.array([np.sqrt((detail[group] ** 2).mean()) for group in groups])
    return np.asarray(np.interp(around, levels, np.where(sigma > 0, sigma, root)))


def evaluate(evaluation: Evaluation, *, metric: str = "psnr") -> Scored:
    """Ceiling of one cell; the same for every method.

    Parameters
    ----------
    evaluation
        Its noise-free signal is used where it is known, else its counts, else an estimate.
    metric
        Name of a full-reference metric of `msibench.metrics`.

    Returns
    -------
    One value per channel; the curve ``source`` says per channel where it comes from (0 exact,
    1 counting statistics, 2 estimate).
    """
    from importlib import import_module

    assert evaluation.truth is not None
    function: Metric = getattr(import_module(f"msibench.metrics.{metric}"), metric)
    truth = evaluation.truth.values.astype(np.float64)
    counts, mask = evaluation.counts_per_unit, evaluation.truth.mask
    known: NDArray[np.bool_] = np.zeros(len(truth), bool)
    source = np.full(len(truth), ESTIMATED)
    if evaluation.noise_free is not None:
        values = noise_ceiling(function, truth, noise_free=evaluation.noise_free)
        source[:] = EXACT
    else:
        values = np.full(len(truth), np.nan)
        if counts is not None:
            known = np.isfinite(counts) & (counts > 0)
            source[known] = COUNTED
            values[known] = noise_ceiling(
                function, truth[known], counts=counts[known], seed=evaluation.seed
            )
        values[~known] = noise_ceiling(function, truth[~known], mask=mask, seed=evaluation.seed)
    return _scored(values, source, finite_images(truth), metric)


def evaluate_in_parts(parts: SectionParts, *, metric: str = "psnr") -> Scored:
    """Ceiling of one large section, as `evaluate`: to the last bit, as one stream serves all images.

    Without the noise-free signal the truth is read, and its noise estimated, once per draw.
    """
    from importlib import import_module

    function: Metric = getattr(import_module(f"msibench.metrics.{metric}"), metric)
    values, source = np.full(parts.channels, np.nan), np.full(parts.channels, ESTIMATED)
    finite = np.zeros(parts.channels, dtype=np.bool_)
    counts: list[float | None] = [None] * parts.channels
    for place, within, image, evaluation in _images(parts, np.ones(parts.channels, dtype=np.bool_)):
        finite[place] = np.isfinite(image).all()
        if evaluation.noise_free is not None:
            source[place] = EXACT
            values[place] = noise_ceiling(function, image, noise_free=evaluation.noise_free[within])
        elif evaluation.counts_per_unit is not None:
            ions = float(evaluation.counts_per_unit[within])
            if np.isfinite(ions) and ions > 0:
                counts[place], source[place] = ions, COUNTED
    for chosen in (source == COUNTED, source == ESTIMATED):

        def models(chosen: NDArray[np.bool_] = chosen) -> Iterator[_Model]:
            for place, _, image, _ in _images(parts, chosen):
                clean = image if finite[place] else np.zeros_like(image)
                yield _Model.of(clean, counts[place], None if counts[place] else parts.mask)

        drawn = _mean_of_draws(function, models, int(chosen.sum()), parts.seed, DRAWS)
        values[chosen] = np.where(finite[chosen], drawn, np.nan)
    return _scored(values, source, finite, metric)


def _images(
    parts: SectionParts, chosen: NDArray[np.bool_]
) -> Iterator[tuple[int, int, Floats, Evaluation]]:
    """Yield each chosen ion image: its channel, that within its group, its pixels, and the group."""
    for group in parts.groups:
        if not chosen[group].any():
            continue
        evaluation = parts.ions(group)
        assert evaluation.truth is not None
        for within, image in enumerate(evaluation.truth.values):
            if chosen[group.start + within]:
                yield group.start + within, within, image.astype(np.float64), evaluation


def _scored(values: Floats, source: Floats, finite: NDArray[np.bool_], metric: str) -> Scored:
    reasons = first_reason(
        len(values),
        (~finite, NOT_FINITE),
        ((source == ESTIMATED) & np.isnan(values), NO_NOISE),
        (np.isnan(values), f"{metric} of the signal against this truth is undefined"),
    )
    return Scored(values, reasons, {"source": source})


def _wiener(images: Floats, noise: Floats | None, ions: Floats | float = 1.0) -> Floats:
    """Pull every pixel to its 5 x 5 mean as far as noise explains the variance around it.

    `noise` is the variance per pixel; None: that of counting ``ions`` per unit.
    """
    from scipy.ndimage import uniform_filter

    mean = uniform_filter(images, size=5, axes=(-2, -1), mode="reflect")
    square = uniform_filter(images**2, size=5, axes=(-2, -1), mode="reflect")
    variance = np.maximum(square - mean**2, 0.0)
    share = np.maximum(mean, 0.0) / ions if noise is None else noise
    kept = np.divide(
        np.maximum(variance - share, 0.0), variance, out=np.zeros_like(mean), where=variance > 0
    )
    return np.asarray(mean + kept * (images - mean))


def _blocks(images: Floats) -> list[Floats]:
    """Return the four pixels of every 2 x 2 block, each ``(..., row / 2, column / 2)``."""
    return [images[..., row::2, column::2] for row in (0, 1) for column in (0, 1)]
