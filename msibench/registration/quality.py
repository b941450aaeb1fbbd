"""How good a registration is, measured; and whether a pair may be scored with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msibench.errors import DataError, RegistrationError
from msibench.image import GuideImage, MSImage
from msibench.registration.landmarks import Landmarks, paired
from msibench.registration.projection import (
    follow,
    guide_picture,
    ion_components,
    look,
    smooth_to,
)
from msibench.registration.transform import Composite, Transform, pixel_centres

BINS = 32
MAX_TARGET_ERROR = 3.0
MIN_OVERLAP = 0.5

Fit = Callable[[Landmarks], Transform]


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityReport:
    """How good one registration is; lengths in fixed pixels unless they say otherwise."""

    mutual_information_before: float
    """In nats, between the guide and its prediction from the ion images, at the start."""
    mutual_information_after: float
    """The same with the transform found."""
    mutual_information_chance: float
    """The largest value when the guide is shifted by a quarter of the section: the level of unrelated images."""
    overlap: float
    """Share of the section that lies on the guide."""
    folding: float
    """Share of the section where the map folds over (Jacobian <= 0)."""
    leave_one_out: tuple[float, ...] = ()
    """Error at each landmark when the map is fitted to the others."""
    target_errors: tuple[float, ...] = ()
    """Error at landmarks that took no part in the fit."""
    reasons: tuple[str, ...] = field(default=())
    """Why the registration is not accepted; empty when it is."""

    @property
    def accepted(self) -> bool:
        """Whether a pair may be scored with this registration."""
        return not self.reasons

    def definition(self) -> dict[str, object]:
        """Return every fact, ready for JSON."""
        return {
            "mutual_information_before": self.mutual_information_before,
            "mutual_information_after": self.mutual_information_after,
            "mutual_information_chance": self.mutual_information_chance,
            "overlap": self.overlap,
            "folding": self.folding,
            "leave_one_out_fixed_pixels": list(self.leave_one_out),
            "target_errors_fixed_pixels": list(self.target_errors),
            "accepted": self.accepted,
            "reasons": list(self.reasons),
        }

    def lines(self) -> tuple[str, ...]:
        """Return the report for a person, one fact a line."""
        found = [
            f"mutual information  {self.mutual_information_before:.4f} before, "
            f"{self.mutual_information_after:.4f} after, {self.mutual_information_chance:.4f} by chance",
            f"overlap             {100 * self.overlap:.1f} % of the section lies on the guide",
            f"folding             {100 * self.folding:.2f} % of the section",
        ]
        for name, errors in (
            ("leave-one-out error", self.leave_one_out),
            ("held-out error     ", self.target_errors),
        ):
            if errors:
                found.append(
                    f"{name} median {np.median(errors):.2f}, largest {max(errors):.2f} pixels of "
                    f"the ion images ({len(errors)} landmarks)"
                )
        found.extend(f"NOT ACCEPTED: {reason}" for reason in self.reasons)
        return tuple(found)

    def error_text(self, pixel_size_um: float) -> str:
        """Return the error at landmarks in micrometres, the held-out ones first, or what it lacks.

        Parameters
        ----------
        pixel_size_um
            Of the ion images; NaN: the error is given in their pixels.
        """
        errors = np.asarray(self.target_errors or self.leave_one_out)
        if not errors.size:
            return "error not measured: no landmarks were given (--held-out)"
        known = np.isfinite(pixel_size_um)
        errors, unit = (errors * pixel_size_um, "µm") if known else (errors, "pixels")
        which = "held-out landmarks" if self.target_errors else "landmarks, each left out once"
        return f"error {np.median(errors):.3g} {unit} (median), {errors.max():.3g} {unit} at most, at {errors.size} {which}"


def mutual_information(a: ArrayLike, b: ArrayLike, *, bins: int = BINS) -> float:
    """Mutual information of two arrays of one shape in nats, from a joint histogram.

    Bins hold equal numbers of distinct ranks in each array, so any monotone change of either leaves the
    value alone. NaN pixels are left out; 0 where either is constant.
    """
    x, y = np.asarray(a, dtype=np.float64).ravel(), np.asarray(b, dtype=np.float64).ravel()
    if x.shape != y.shape:
        raise RegistrationError(f"expected two arrays of one shape, got {x.shape} and {y.shape}")
    both = np.isfinite(x) & np.isfinite(y)
    if both.sum() < 2:
        return 0.0
    joint = np.zeros((bins, bins))
    np.add.at(joint, (_rank_bins(x[both], bins), _rank_bins(y[both], bins)), 1.0)
    joint /= joint.sum()
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    filled = joint > 0
    return max(0.0, float((joint[filled] * np.log(joint[filled] / apart[filled])).sum()))


def _rank_bins(values: NDArray[np.float64], bins: int) -> NDArray[np.intp]:
    """Bin by rank; equal values share a bin."""
    ordered = np.sort(values)
    below = np.searchsorted(ordered, values, side="left")
    return np.minimum(below * bins // values.size, bins - 1)


def leave_one_out(landmarks: Landmarks, fit: Fit) -> NDArray[np.float64]:
    """Error at each landmark when the map is fitted to all others, in fixed pixels ``(n,)``.

    Parameters
    ----------
    landmarks
        At least one more than `fit` needs.
    fit
        Makes a transform, e.g. `thin_plate`.

    Raises
    ------
    RegistrationError
        If the others do not determine a map.
    """
    usable = landmarks.usable()
    everything = np.arange(len(usable))
    return np.array(
        [
            target_errors(
                fit(usable.select(everything[everything != left])), usable.select([left])
            )[0]
            for left in everything
        ]
    )


def target_errors(
    transform: Transform, landmarks: Landmarks | ArrayLike, fixed: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Distance between where the map puts each fixed landmark and where it was marked, ``(n,)``.

    In fixed pixels: the distance on the guide, taken back through the map's Jacobian, so that errors of
    guides of different resolution compare.
    """
    moving_points, fixed_points = paired(landmarks, fixed)
    miss = transform(fixed_points) - moving_points
    inverse = np.linalg.pinv(transform.jacobian(fixed_points))
    return np.asarray(np.linalg.norm(np.einsum("nij,nj->ni", inverse, miss), axis=1))


def folding(
    transform: Transform, shape: tuple[int, int], mask: NDArray[np.bool_] | None = None
) -> float:
    """Share of the pixels at which the map folds over or mirrors: determinant of its Jacobian <= 0."""
    determinant = np.linalg.det(transform.jacobian(pixel_centres(shape)))
    folded = ~(determinant > 0)  # NaN counts as folded
    return float(folded[mask].mean() if mask is not None and mask.any() else folded.mean())


def assess(
    moving: GuideImage | ArrayLike,
    fixed: MSImage | ArrayLike,
    transform: Transform,
    start: Transform,
    *,
    landmarks: Landmarks | None = None,
    fit: Fit | None = None,
    held_out: Landmarks | None = None,
    max_target_error: float = MAX_TARGET_ERROR,
) -> QualityReport:
    """Measure a registration and judge it.

    It is not accepted when the mutual information fell below that of the start or does not exceed
    that of shifted guides, when less than half of the section lies on the guide, when the map folds, or
    when the median landmark error exceeds `max_target_error`.

    Parameters
    ----------
    moving, fixed
        Guide, and ion images or one picture of them.
    transform, start
        The map found, and the one before.
    landmarks, fit
        Landmarks that made the map and how, for the leave-one-out error.
    held_out
        Landmarks that took no part in it.
    max_target_error
        Largest median landmark error, in fixed pixels.
    """
    basis = ion_components(fixed)
    values = fixed.values if isinstance(fixed, MSImage) else np.asarray(fixed)
    shape = (int(values.shape[-2]), int(values.shape[-1]))
    mask = fixed.mask if isinstance(fixed, MSImage) else None
    middle = np.array([[(shape[0] - 1) / 2, (shape[1] - 1) / 2]])
    ratio = float(np.sqrt(abs(np.linalg.det(transform.jacobian(middle))[0])))
    picture, slide = guide_picture(moving)
    picture = smooth_to(picture, ratio)
    _, known = look(picture, slide, transform, shape)
    inside = known if mask is None or not mask.any() else known[mask]

    def agreement(candidate: Transform) -> float:
        seen, on_guide = look(picture, slide, candidate, shape)
        if on_guide.sum() < basis.shape[1]:
            return 0.0
        said = follow(basis, seen, on_guide)
        return mutual_information(said[on_guide], seen[on_guide])

    loo = np.array([])
    if landmarks is not None and fit is not None:
        try:
            loo = leave_one_out(landmarks, fit)
        except RegistrationError:
            loo = np.array([])  # just enough landmarks: none can be left out
    report = {
        "mutual_information_before": agreement(start),
        "mutual_information_after": agreement(transform),
        "mutual_information_chance": max(
            agreement(Composite(_Shift(shift), transform)) for shift in _shifts(shape)
        ),
        "overlap": float(inside.mean()),
        "folding": folding(transform, shape, mask),
    }
    errors = () if held_out is None else tuple(target_errors(transform, held_out).tolist())
    reasons = _judge(report, tuple(loo.tolist()), errors, max_target_error)
    return QualityReport(
        **report, leave_one_out=tuple(loo.tolist()), target_errors=errors, reasons=reasons
    )


def _shifts(shape: tuple[int, int]) -> list[tuple[float, float]]:
    quarter = (shape[0] / 4, shape[1] / 4)
    return [
        (down * quarter[0], across * quarter[1])
        for down in (-1, 0, 1)
        for across in (-1, 0, 1)
        if down or across
    ]


class _Shift(Transform):
    """A shift of the fixed grid, for the comparison with chance."""

    kind = "shift"

    def __init__(self, shift: ArrayLike) -> None:
        self.shift = np.asarray(shift, dtype=np.float64)
        if self.shift.shape != (2,):
            raise DataError(f"a shift is two numbers, got shape {self.shift.shape}")

    def __call__(self, points: ArrayLike) -> NDArray[np.float64]:
        return np.asarray(points, dtype=np.float64) + self.shift

    def parameters(self) -> dict[str, object]:
        return {"shift": self.shift.tolist()}

    @classmethod
    def from_parameters(cls, parameters: object) -> Transform:
        return cls(parameters["shift"])  # type: ignore[index]


def _judge(
    found: dict[str, float], loo: tuple[float, ...], held_out: tuple[float, ...], limit: float
) -> tuple[str, ...]:
    reasons = []
    before, after = found["mutual_information_before"], found["mutual_information_after"]
    if after < before - 1e-3 * max(before, 1e-12):
        reasons.append(f"mutual information fell from {before:.4f} to {after:.4f}")
    if after <= found["mutual_information_chance"]:
        reasons.append(
            f"mutual information {after:.4f} is no better than with the guide shifted by a quarter of "
            f"the section ({found['mutual_information_chance']:.4f}): the images do not match"
        )
    if found["overlap"] < MIN_OVERLAP:
        reasons.append(f"only {100 * found['overlap']:.0f} % of the section lies on the guide")
    if found["folding"] > 0:
        reasons.append(f"the map folds over on {100 * found['folding']:.2f} % of the section")
    for name, errors in (("leave-one-out", loo), ("held-out", held_out)):
        if errors and not np.median(errors) <= limit:
            reasons.append(
                f"median {name} landmark error {np.median(errors):.2f} pixels exceeds {limit:g}"
            )
    return tuple(reasons)
