"""Paired differences between methods on the same ion images, with errors, intervals and p.

Rank groups, ``msibench compare``, the comparison with a reference, ``--pair`` and the page all use
this. The specimen is the replicate (each section, where nothing is known of specimens); where there are too
few of them, their sections are, else the ion images of the given sections, and the scope says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msibench.scoring.bootstrap import ROUNDING
from msibench.scoring.replicates import Names, Replicates, numbers_of, per_group

Floats = NDArray[np.float64]

FEWEST_TO_SHARE = 3
"""Comparisons from which on variances are moderated by what they have in common."""
PRIOR_SHARE, MOST_PRIOR = 0.5, 4.0
"""Of the degrees of freedom that the common variance is estimated to have, the share that is used, and
the most, in multiples of a comparison's own: with one erratic method among equals, on five sections, the
full estimate raises a false alarm in 7 % of studies, this one in 4 % (``bench/simulate_statistics.py``)."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Difference:
    """Mean differences of paired values; every field is ``(column,)``, or ``()`` for one column."""

    mean: Floats
    """Mean over the images that have both."""
    error: Floats
    """Its standard error; NaN where `note` says why there is none."""
    freedom: Floats
    """Degrees of freedom of the error; infinite where the variance is known."""
    low: Floats
    high: Floats
    p: Floats
    """Two-sided p of no difference."""
    images: NDArray[np.intp]
    sections: NDArray[np.intp]
    specimens: NDArray[np.intp]
    scope: NDArray[np.str_]
    """``"sections"``: holds for other sections of the kind; ``"same specimens"``: for other sections of
    these specimens; ``"images"``: for other ion images of the very same sections; empty without an error."""
    note: NDArray[np.str_]
    """A remark that must go with it; empty if none."""

    def part(self, columns: NDArray[np.intp]) -> Difference:
        """Return some of the columns."""
        return Difference(**{f.name: getattr(self, f.name)[columns] for f in fields(self)})

    def p_below(self) -> Floats:
        """One-sided p of a mean that is not below 0: small where the loss is real."""
        from scipy.special import stdtr

        pivot, freedom = _pivot(self.mean, self.error), np.nan_to_num(self.freedom, nan=1.0)
        p = np.where(np.isinf(pivot), np.where(pivot < 0, 0.0, 1.0), stdtr(freedom, pivot))
        return np.where(np.isnan(self.error), np.nan, p)


def paired_difference(
    test: ArrayLike,
    base: ArrayLike,
    sections: Names,
    *,
    specimens: Names | None = None,
    level: float = 0.95,
    shared_variance: ArrayLike = 0.0,
    shared_freedom: ArrayLike = np.inf,
    moderate: bool = False,
) -> Difference:
    """Mean of ``test - base`` over the images that have both, with error, t interval and p.

    From ``MINIMUM_SECTIONS`` specimens on the error is cluster-robust (CR2) with Bell and McCaffrey's
    degrees of freedom: for specimens of one size exactly the paired t-test of specimen means [1]_.
    Fewer specimens of as many sections: the same over sections, and it says nothing about other specimens.
    Below, it is the pooled standard error over images inside the given sections: it says nothing
    about other sections, and leaves out what all images of a run share.

    Parameters
    ----------
    test, base
        ``(image,)`` or ``(image, column)``; an image where either is undefined is left out.
    sections
        Name of the section of every image.
    specimens
        Name of the specimen that every image's section was cut from; None: every section is one.
    level
        Nominal coverage of the interval.
    shared_variance, shared_freedom
        Variance of what is shared by all images of one side, such as the shift of another network
        seed, which no number of images shows; and the degrees of freedom that it was measured with
        (infinite where it is stated). Added to the squared error, the degrees of freedom by
        Satterthwaite's formula.
    moderate
        The columns are comparisons of one kind (all pairs of a board): each variance is drawn
        towards the common one by empirical Bayes, as far as the columns agree [2]_. With eight
        sections and ten methods that triples the power at the same error rate.

    Raises
    ------
    ValueError
        If lengths differ, or `level` is out of range.

    References
    ----------
    .. [1] Bell & McCaffrey, Survey Methodology 28 (2002) 169-181.
    .. [2] Smyth, Stat. Appl. Genet. Mol. Biol. 3 (2004) 3, sections 3 and 6.2.
    """
    difference = _difference(test, base)
    section, specimen = numbers_of(difference, sections, specimens)
    if not 0.0 < level < 1.0:
        raise ValueError(f"expected 0 < level < 1, got {level}")
    table = difference.reshape(len(difference), math.prod(difference.shape[1:]))
    defined = ~np.isnan(table)
    drawn = Replicates.of(defined, section, specimen)
    images, inside = drawn.images, drawn.over_images
    total = _add_up(np.where(defined, table, 0.0), section).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(images > 0, total / images, np.nan)

    variance, freedom = np.full((2, table.shape[1]), np.nan)
    for wanted, number in ((drawn.over_specimens, specimen), (drawn.over_sections, section)):
        chosen = np.flatnonzero(wanted)
        if len(chosen):
            centre, size = _means(table, number)
            variance[chosen], freedom[chosen] = _between(
                centre[:, chosen], size[:, chosen], mean[chosen]
            )
    if inside.any():
        centre, _ = _means(table, section)
        apart = np.where(defined, table - centre[section], 0.0)
        freedom[inside] = (images - drawn.sections)[inside]
        variance[inside] = (apart * apart).sum(axis=0)[inside] / freedom[inside] / images[inside]
    if moderate:
        variance, freedom = moderated(variance, freedom)
    variance, freedom = _with_shared(variance, freedom, shared_variance, shared_freedom)
    error = np.sqrt(variance)
    reach, p = _reach_and_p(mean, error, freedom, level)
    found = {
        "mean": mean, "error": error, "freedom": freedom, "low": mean - reach,
        "high": mean + reach, "p": p, "images": images, "sections": drawn.sections,
        "specimens": drawn.specimens, "scope": drawn.scopes(), "note": drawn.notes(),
    }  # fmt: skip
    return Difference(
        **{name: field.reshape(difference.shape[1:]) for name, field in found.items()}
    )


def every_pair(
    values: ArrayLike,
    sections: Names,
    *,
    specimens: Names | None = None,
    level: float = 0.95,
) -> tuple[NDArray[np.intp], NDArray[np.intp], Difference]:
    """Compare every two methods, their variances moderated by one another.

    Parameters
    ----------
    values
        ``(image, method)``, one measure of one protocol.

    Returns
    -------
    Number of the first and of the second method of each pair (first < second), and first - second.
    """
    table = np.asarray(values, dtype=np.float64)
    first, second = np.triu_indices(table.shape[1], 1)
    found = paired_difference(
        table[:, first],
        table[:, second],
        sections,
        specimens=specimens,
        level=level,
        moderate=True,
    )
    return first, second, found


def moderated(variance: ArrayLike, freedom: ArrayLike) -> tuple[Floats, Floats]:
    """Draw variances towards what they have in common, as far as they agree.

    Parameters
    ----------
    variance, freedom
        ``(column,)``; NaN where unknown.

    Returns
    -------
    Posterior variances and their degrees of freedom. Fewer than `FEWEST_TO_SHARE` columns, or
    columns that disagree, stay as they are.

    Only `PRIOR_SHARE` of the estimated weight of the common variance is used, and at most
    `MOST_PRIOR` times a comparison's own.

    References
    ----------
    .. [1] Smyth, Stat. Appl. Genet. Mol. Biol. 3 (2004) 3, section 6.2.
    """
    from scipy.special import digamma, polygamma

    own, degrees = np.asarray(variance, np.float64), np.asarray(freedom, np.float64)
    known = np.isfinite(own) & np.isfinite(degrees)
    positive = known & (own > 0)
    if positive.sum() < FEWEST_TO_SHARE:
        return own, degrees
    half = degrees[positive] / 2
    logs = np.log(own[positive]) - digamma(half) + np.log(half)
    spread = float(logs.var(ddof=1) - polygamma(1, half).mean())
    estimated, common = np.inf, float(np.exp(logs.mean()))
    if spread > 0:
        estimated = 2 * _inverse_trigamma(spread)
        common *= float(np.exp(digamma(estimated / 2) - np.log(estimated / 2)))
    prior = np.minimum(PRIOR_SHARE * estimated, MOST_PRIOR * degrees)
    drawn = (prior * common + degrees * own) / (prior + degrees)
    return np.where(known, drawn, own), np.where(known, prior + degrees, degrees)


def win_rate(test: ArrayLike, base: ArrayLike) -> float:
    """Return the share of images on which `test` is above `base`; a tie counts half.

    Parameters
    ----------
    test, base
        ``(image,)``, higher is better.

    Returns
    -------
    In [0, 1]; NaN where no image has both.
    """
    difference = np.subtract(_finite(test), _finite(base))
    difference = difference[~np.isnan(difference)]
    if not difference.size:
        return float("nan")
    return float(((difference > 0) + 0.5 * (difference == 0)).mean())


def _between(centre: Floats, size: Floats, mean: Floats) -> tuple[Floats, Floats]:
    """Return the CR2 variance of a mean over clusters and its degrees of freedom, ``(column,)`` each.

    Of the degrees of freedom under equal variances of section means (sections differ) and under
    variances that fall with their size (images differ) the smaller is taken.
    """
    share = size / size.sum(axis=0)
    weight = share * share / (1.0 - share)
    variance = (weight * np.square(centre - mean)).sum(axis=0)
    smallest = np.full(len(mean), np.inf)
    for spread in (np.ones_like(size), 1.0 / np.maximum(size, 1.0)):
        total = weight.sum(axis=0)
        trace = (spread * (weight - 2 * weight * share + total * share * share)).sum(axis=0)
        a, b, c = ((spread * part).sum(axis=0) for part in (weight**2, share**2, weight * share))
        square = 2 * a * b + (total * b) ** 2 + 2 * c * c - 4 * total * c * b
        square += (
            spread**2 * (weight**2 + 2 * weight * (total * share**2 - 2 * weight * share))
        ).sum(axis=0)
        smallest = np.minimum(smallest, trace * trace / square)
    return variance, smallest


def _with_shared(
    variance: Floats, freedom: Floats, shared: ArrayLike, shared_freedom: ArrayLike
) -> tuple[Floats, Floats]:
    """Add a variance of its own degrees of freedom (Satterthwaite)."""
    extra = np.broadcast_to(np.asarray(shared, np.float64), variance.shape)
    degrees = np.broadcast_to(np.asarray(shared_freedom, np.float64), variance.shape)
    total = variance + extra
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.where(variance > 0, variance**2 / freedom, 0.0)
        spread += np.where(np.isfinite(degrees), extra**2 / degrees, 0.0)
        return total, np.where(extra > 0, total**2 / spread, freedom)


def _difference(test: ArrayLike, base: ArrayLike) -> Floats:
    """Return ``test - base``, 0 where only rounding is left and NaN where either is undefined."""
    first, second = _finite(test), _finite(base)
    difference = first - second
    scale = np.abs(first) + np.abs(second)
    return np.where(np.abs(difference) <= ROUNDING * scale, 0.0, difference)


def _reach_and_p(
    mean: Floats, error: Floats, freedom: Floats, level: float
) -> tuple[Floats, Floats]:
    """Return half the width of the t interval, and the two-sided p of no difference."""
    from scipy.special import stdtr, stdtrit  # scipy.stats takes a second to import

    degrees = np.nan_to_num(freedom, nan=1.0)
    reach = stdtrit(degrees, (1 + level) / 2) * error
    pivot = np.abs(_pivot(mean, error))
    p = np.where(np.isinf(pivot), 0.0, 2 * stdtr(degrees, -pivot))
    return reach, np.where(np.isnan(error), np.nan, p)


def _pivot(mean: Floats, error: Floats) -> Floats:
    """Return mean over error; 0 where both are 0, and for an unknown error."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num(mean / error, nan=0.0, posinf=np.inf, neginf=-np.inf)


def _inverse_trigamma(value: float) -> float:
    """Solve ``trigamma(y) = value`` by Newton's method on its reciprocal."""
    from scipy.special import polygamma

    y = 0.5 + 1.0 / value
    for _ in range(50):
        step = float(polygamma(1, y) * (1 - polygamma(1, y) / value) / polygamma(2, y))
        y += step
        if abs(step) < 1e-10 * y:
            break
    return y


def _means(table: Floats, number: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Return mean and number of the defined images of every group, ``(group, column)`` each; 0 where none is."""
    defined = ~np.isnan(table)
    size = _add_up(defined.astype(np.float64), number)
    total = _add_up(np.where(defined, table, 0.0), number)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(size > 0, total / size, 0.0), size


def _add_up(values: Floats, number: NDArray[np.intp]) -> Floats:
    """Sum images of one group, ``(group, column)``."""
    return per_group(values[np.argsort(number, kind="stable")], np.bincount(number))


def _finite(values: ArrayLike) -> Floats:
    table = np.asarray(values, dtype=np.float64)
    return np.where(np.isfinite(table), table, np.nan)
