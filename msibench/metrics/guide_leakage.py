"""How much of the detail that a fusion method adds comes from the guide alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msibench.contracts.metric import Evaluation, Scored
from msibench.metrics.arrays import (
    NOT_FINITE,
    Floats,
    check_pair,
    factor_between,
    finite_images,
    first_reason,
    to_host,
)
from msibench.metrics.upsampling import bicubic

NO_DETAIL = "neither prediction nor truth has detail beyond the interpolated low image"


def guide_leakage(
    test: Any, reference: Any, low: Any, guide: Any, *, mask: ArrayLike | None = None
) -> Any:
    """Share of the added detail that follows the guide where the truth does not; 0 at best.

    Detail is what an image has beyond the bicubically enlarged low image, high-pass filtered with a
    Gaussian as wide as a coarse pixel. The truth's detail is regressed out of the prediction's
    detail d and of the guide's channels (a partial correlation); what is left of the guide spans
    everything that it shows and this ion does not. The value is the energy of d in that span over
    the larger of the energies of d and of the truth's detail: a method that adds next to nothing
    cannot leak much, and the truth itself, having nothing left after the regression, scores 0.

    Parameters
    ----------
    test, reference
        Prediction and truth, ``(..., row, column)``; give the noise-free signal as `reference`
        where it is known.
    low
        What the prediction was made from, ``(..., row / factor, column / factor)``.
    guide
        The guide's channels on the fine grid, ``(channel, row, column)``.
    mask
        Pixels to judge, bool ``(row, column)``; None: all.

    Returns
    -------
    One value per image in [0, 1], ``(...)``; NaN where neither image has any detail or a pixel is
    not finite.

    Notes
    -----
    A large image is regressed as a whole, with the guide's channels in memory three times; ion images
    are taken one after the other.

    Counting noise in the truth weakens the regression, so on measured data part of what is rightly
    taken from the guide counts as leaked: read the value beside those of the wrong-guide controls
    and of other methods on the same section.
    """
    images, back = to_host(test, "test")
    truth, _ = to_host(reference, "reference")
    coarse, _ = to_host(low, "low")
    bands, _ = to_host(guide, "guide")
    check_pair(images, truth)
    factor = factor_between(images, coarse)
    if bands.ndim != 3 or bands.shape[-2:] != images.shape[-2:]:
        raise ValueError(
            f"guide must be (channel, row, column) on the grid {images.shape[-2:]}, got "
            f"{bands.shape}"
        )
    inside = np.ones(images.shape[-2:], bool) if mask is None else np.asarray(mask, dtype=bool)
    inside = inside & np.isfinite(bands).all(axis=0)
    shown = _high_pass(np.nan_to_num(bands), factor)[:, inside]
    values = []
    stacks = (stack.reshape(-1, *stack.shape[-2:]) for stack in (images, truth, coarse))
    for image, other, small in zip(*stacks, strict=True):  # one at a time: five images' worth each
        if not (finite_images(image, other) and finite_images(small)):
            values.append(float("nan"))
            continue
        enlarged = bicubic(small, factor)
        added, real = (_high_pass(one - enlarged, factor)[inside] for one in (image, other))
        values.append(_leaked(added, real, shown, float(np.abs(enlarged).max(initial=0.0))))
    return back(np.array(values, dtype=np.float64).reshape(images.shape[:-2]))


def evaluate(evaluation: Evaluation, *, against: str = "guide") -> Scored:
    """Score one cell inside the tissue mask.

    Parameters
    ----------
    evaluation
        The noise-free signal takes the place of the truth where it is known.
    against
        ``"guide"``, or ``"uncharted"``: only the structures of a synthetic guide that are known to
        have no chemical counterpart.
    """
    assert evaluation.truth is not None
    truth = evaluation.truth
    reference = truth.values if evaluation.noise_free is None else evaluation.noise_free
    if against == "uncharted":
        assert evaluation.uncharted is not None
        shown, known = evaluation.uncharted[None], None
    else:
        assert evaluation.guide is not None
        shown, known = evaluation.guide.values, evaluation.guide.mask
    mask: NDArray[np.bool_] = np.ones(truth.shape, bool) if truth.mask is None else truth.mask
    mask = mask if known is None else mask & known
    values = guide_leakage(
        evaluation.prediction, reference, evaluation.low.values, shown, mask=mask
    )
    bad = ~(
        finite_images(evaluation.prediction.astype(np.float64), reference.astype(np.float64))
        & finite_images(evaluation.low.values.astype(np.float64))
    )
    reasons = first_reason(len(values), (bad, NOT_FINITE), (np.isnan(values), NO_DETAIL))
    return Scored(values, reasons)


def _high_pass(images: Floats, factor: int) -> Floats:
    """Take away what a Gaussian as wide as a coarse pixel keeps."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(images, sigma=factor / 2, axes=(-2, -1), mode="nearest")
    return np.asarray(images - smooth)


def _leaked(added: Floats, real: Floats, shown: Floats, scale: float) -> float:
    """Energy of `added` in the guide's span after the truth is regressed out of both.

    `added`, `real` ``(pixel,)``, `shown` ``(guide channel, pixel)``.
    """
    floor = len(added) * (1e-6 * scale) ** 2  # what rounding to float32 leaves
    energy = max(float(added @ added), float(real @ real))
    if energy <= floor:
        return float("nan")
    truth_energy = float(real @ real)
    own, rest = added, shown
    if truth_energy > floor:
        own = added - (added @ real / truth_energy) * real
        rest = shown - np.outer(shown @ real / truth_energy, real)
    if float(own @ own) <= floor:
        return 0.0
    size = np.sqrt((rest * rest).sum(axis=1))
    rest = rest[size > 1e-9 * max(1.0, float(np.abs(shown).max(initial=0.0)))]
    if not len(rest):
        return 0.0
    share = rest @ own
    weights = np.linalg.lstsq(rest @ rest.T, share, rcond=1e-10)[0]
    return float(np.clip(share @ weights / energy, 0.0, 1.0))
