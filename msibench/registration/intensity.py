"""Register a guide by mutual information (SimpleITK): rigid, affine, or free-form after affine."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from msibench.errors import ConfigurationError, RegistrationError
from msibench.image import GuideImage, MSImage
from msibench.registration.affine import Affine
from msibench.registration.deformable import BSpline
from msibench.registration.landmarks import Landmarks
from msibench.registration.projection import (
    COMPONENTS,
    follow,
    guide_picture,
    ion_components,
    look,
    smooth_to,
)
from msibench.registration.quality import MAX_TARGET_ERROR, QualityReport, assess
from msibench.registration.transform import Composite, Transform

Model = Literal["rigid", "similarity", "affine", "bspline"]
STAGES: dict[str, tuple[str, ...]] = {
    "rigid": ("rigid",),
    "similarity": ("rigid", "similarity"),
    "affine": ("rigid", "affine"),
    "bspline": ("rigid", "affine", "bspline"),
}
ROUNDS = 2
SAMPLED_ABOVE = 500_000


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Registration:
    """A transform with the measure of its quality."""

    transform: Transform
    """From fixed (ion image) to moving (guide) pixels."""
    report: QualityReport
    """How good it is."""
    model: str
    """What was fitted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """When `register` accepts what it finds."""

    held_out: Landmarks | None = None
    """Landmarks for the report; they take no part in the fit."""
    max_target_error: float = MAX_TARGET_ERROR
    """Largest accepted median error at them, in fixed pixels."""
    always: bool = False
    """Return the registration even where its report says that it is not good enough."""


def register(
    moving: GuideImage | ArrayLike,
    fixed: MSImage | ArrayLike,
    *,
    model: Model = "affine",
    start: Affine | None = None,
    seed: int = 0,
    components: int = COMPONENTS,
    mesh: tuple[int, int] = (4, 4),
    acceptance: Acceptance | None = None,
) -> Registration:
    """Find the map from the ion images to a guide that maximises their mutual information.

    Each stage (rigid, then affine, then free-form as the model asks) alternates between the
    combination of ion images that follows the guide best and the map that aligns it, from coarse
    to fine.

    Parameters
    ----------
    moving
        The guide on its own grid, or one picture ``(row, column)``.
    fixed
        Ion images, or one picture ``(row, column)``.
    model
        ``"rigid"`` turns and shifts what `start` gives, ``"similarity"`` also scales, ``"affine"``
        also shears, ``"bspline"`` bends.
    start
        First guess; None: from the pixel sizes with the centres on one another, or, where one is
        not known, the fixed grid stretched over the whole guide.
    seed
        Of the pixels that are drawn on sections above half a million pixels; smaller ones use all.
    components
        How many patterns of the ion images are combined.
    mesh
        Cells of the B-spline net along rows and columns.
    acceptance
        What the result is measured at, and whether a bad one is an error.

    Returns
    -------
    The same bytes for the same input, whatever the number of threads.

    Raises
    ------
    RegistrationError
        If the registration got worse or stayed bad (see `assess`), or an image has no content.
    ConfigurationError
        If the model is unknown or SimpleITK is not installed.
    """
    if model not in STAGES:
        raise ConfigurationError(f"no model {model!r}; expected one of {', '.join(STAGES)}")
    terms = acceptance or Acceptance()
    with threadpool_limits(limits=1):  # sums in a fixed order: the same bytes on every machine
        first = default_start(moving, fixed) if start is None else start
        found = _search(moving, fixed, model, first, seed, components, mesh)
        report = assess(
            moving,
            fixed,
            found,
            first,
            held_out=terms.held_out,
            max_target_error=terms.max_target_error,
        )
    if not report.accepted and not terms.always:
        raise RegistrationError(
            "the guide could not be registered well enough: "
            + "; ".join(report.reasons)
            + ". Give a better start or landmarks, or accept it knowingly (--accept-registration)"
        )
    return Registration(transform=found, report=report, model=model)


def _search(
    moving: GuideImage | ArrayLike,
    fixed: MSImage | ArrayLike,
    model: str,
    first: Affine,
    seed: int,
    components: int,
    mesh: tuple[int, int],
) -> Transform:
    """Run the stages of a model from the first guess."""
    picture, slide = guide_picture(moving)
    basis = ion_components(fixed, components)
    values = fixed.values if isinstance(fixed, MSImage) else np.asarray(fixed)
    shape = (int(values.shape[-2]), int(values.shape[-1]))
    if min(shape) < 8:
        raise RegistrationError(
            f"a section of {shape[0]} x {shape[1]} pixels is too small to register"
        )
    ratio = float(np.sqrt(abs(np.linalg.det(first.matrix))))
    if not ratio > 1e-9:
        raise RegistrationError("the start is a singular map; give another")
    soft = smooth_to(picture, ratio)
    found: Transform = first
    for stage in STAGES[model]:
        for _ in range(1 if stage == "bspline" else ROUNDS):
            seen, known = look(soft, slide, found, shape)
            if known.sum() < 10 * basis.shape[1]:
                raise RegistrationError(
                    "the start puts the section outside the guide; give another"
                )
            target = follow(basis, seen, known)
            found = _align(target, soft, slide, found, stage, ratio, seed, mesh)
    return found


def default_start(moving: GuideImage | ArrayLike, fixed: MSImage | ArrayLike) -> Affine:
    """Return the first guess of `register`.

    From the two pixel sizes with the centres on one another; where one is not known, the fixed grid
    stretched over the whole guide.
    """
    guide = moving.values if isinstance(moving, GuideImage) else np.asarray(moving)
    ions = fixed.values if isinstance(fixed, MSImage) else np.asarray(fixed)
    wide = np.array(guide.shape[-2:], dtype=np.float64)
    sides = np.array(ions.shape[-2:], dtype=np.float64)
    fine = getattr(moving, "pixel_size_um", float("nan"))
    coarse = getattr(fixed, "pixel_size_um", float("nan"))
    scale = np.full(2, coarse / fine) if np.isfinite(coarse / fine) else wide / sides
    return Affine(np.diag(scale), (wide - 1) / 2 - scale * (sides - 1) / 2)


def _align(
    target: NDArray[np.float64],
    picture: NDArray[np.float64],
    slide: NDArray[np.bool_],
    start: Transform,
    stage: str,
    ratio: float,
    seed: int,
    mesh: tuple[int, int],
) -> Transform:
    """Return the start, preceded by the change that aligns the two pictures."""
    sitk = _simple_itk()
    if not isinstance(start, Affine):
        raise RegistrationError("internal error: a free-form stage must come last")
    shown = picture[slide]
    if shown.size == 0 or float(np.ptp(shown)) <= 1e-6 * max(1.0, float(np.abs(shown).max())):
        raise RegistrationError(
            "the guide looks the same everywhere on its tissue, so images cannot be registered to it. "
            "Give landmarks"
        )
    # SimpleITK counts in physical x, y; the guide gets the spacing that makes both units one.
    fixed = sitk.GetImageFromArray(_standardised(target))
    moving = sitk.GetImageFromArray(_standardised(picture))
    moving.SetSpacing((1.0 / ratio, 1.0 / ratio))
    on_slide = sitk.GetImageFromArray(slide.astype(np.uint8))
    on_slide.SetSpacing(moving.GetSpacing())
    method = _mutual_information(sitk, target, seed)
    method.SetMetricMovingMask(on_slide)
    before = sitk.AffineTransform(2)
    before.SetMatrix((start.matrix[::-1, ::-1] / ratio).ravel().tolist())
    before.SetTranslation((start.offset[::-1] / ratio).tolist())
    method.SetMovingInitialTransform(before)
    levels = _levels(target.shape, stage)
    method.SetShrinkFactorsPerLevel([shrink for shrink, _ in levels])
    method.SetSmoothingSigmasPerLevel([sigma for _, sigma in levels])
    change = _change(sitk, method, fixed, stage, mesh)
    _execute(sitk, method, fixed, moving, stage)
    return Composite(_net(change), start) if stage == "bspline" else start @ _affine(change)


def _simple_itk() -> ModuleType:
    """Return SimpleITK, whose functions carry no types."""
    try:
        import SimpleITK
    except ImportError as error:
        raise ConfigurationError(
            "registration by intensity needs SimpleITK: pip install 'msibench[registration]'"
        ) from error
    return SimpleITK


def _mutual_information(sitk: ModuleType, target: NDArray[np.float64], seed: int) -> Any:
    """Return a registration by Mattes mutual information, of a sample of the pixels of a large target."""
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(numberOfHistogramBins=32)
    if target.size > SAMPLED_ABOVE:
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(SAMPLED_ABOVE / target.size, seed + 1)
    else:
        method.SetMetricSamplingStrategy(method.NONE)
    method.SetInterpolator(sitk.sitkLinear)
    return method


def _change(
    sitk: ModuleType,
    method: Any,
    fixed: Any,
    stage: str,
    mesh: tuple[int, int],
) -> Any:
    """Give a registration the transform of a stage and its optimiser; return the transform."""
    if stage == "bspline":
        change = sitk.BSplineTransformInitializer(fixed, [mesh[1], mesh[0]], order=3)
        method.SetOptimizerAsLBFGSB(
            gradientConvergenceTolerance=1e-6, numberOfIterations=60, maximumNumberOfCorrections=5
        )
    else:
        if stage == "rigid":
            change = sitk.Euler2DTransform()
        elif stage == "similarity":
            change = sitk.Similarity2DTransform()
        else:
            change = sitk.AffineTransform(2)
        columns, rows = fixed.GetSize()
        change.SetCenter([(columns - 1) / 2, (rows - 1) / 2])
        method.SetOptimizerAsRegularStepGradientDescent(
            learningRate=1.0,
            minStep=1e-3,
            numberOfIterations=100,
            relaxationFactor=0.5,
            gradientMagnitudeTolerance=1e-8,
        )
        method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(change, inPlace=True)
    return change


def _execute(sitk: ModuleType, method: Any, fixed: Any, moving: Any, stage: str) -> None:
    """Run a registration on one thread, which adds in a fixed order."""
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    try:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)  # the metric heeds this number only
        method.Execute(fixed, moving)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise RegistrationError(
            f"the {stage} registration failed ({reason}); check that the start puts the section on "
            "the guide"
        ) from error
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)


def _affine(change: Any) -> Affine:
    """Read a linear SimpleITK transform, in rows and columns."""
    origin = np.array(change.TransformPoint((0.0, 0.0)))
    edges = [np.array(change.TransformPoint(unit)) - origin for unit in ((1.0, 0.0), (0.0, 1.0))]
    step = np.stack(edges, axis=1)
    return Affine(step[::-1, ::-1], origin[::-1])


def _levels(shape: tuple[int, ...], stage: str) -> list[tuple[int, float]]:
    """Shrink factor and blur (in fixed pixels) of each pass, coarse to fine."""
    passes = [(4, 4.0), (2, 2.0), (1, 0.0)] if stage == "rigid" else [(2, 2.0), (1, 0.0)]
    return [one for one in passes if min(shape) // one[0] >= 16] or [(1, 0.0)]


def _standardised(picture: NDArray[np.float64]) -> NDArray[np.float32]:
    spread = float(picture.std())
    if not spread > 0:
        raise RegistrationError("the ion images hold nothing that could be aligned with the guide")
    return np.asarray((picture - picture.mean()) / spread, dtype=np.float32)


def _net(change: Any) -> BSpline:
    """Take the control points out of a SimpleITK B-spline."""
    wide, tall, *rest = change.GetFixedParameters()
    origin, spacing = rest[:2], rest[2:4]
    shifts = np.array(change.GetParameters()).reshape(2, int(tall), int(wide))
    return BSpline(shifts[::-1], origin[::-1], spacing[::-1])
