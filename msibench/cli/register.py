"""``msibench register``: bring an optical image onto a section."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from msibench.cli._together import Excludes, Needs, option_rules
from msibench.cli._values import WINDOW, chosen_mz, mz_option, peaks_option, ppm_option

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

    from msibench.image import GuideImage, MSImage
    from msibench.io.guide.levels import Levels
    from msibench.registration import Affine, Landmarks, QualityReport, Transform

PIXELS_ACROSS = 4
"""Pixels of a large slide along one pixel of the section: enough to see what the ions can show."""
LANDMARK_MODELS = ("thin-plate", "affine", "similarity", "rigid", "translation")
IMAGE_MODELS = ("affine", "rigid", "similarity", "bspline")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was typed."""

    guide: Path
    section: Path
    output: Path
    model: str | None
    landmarks: Path | None
    held_out: Path | None
    landmark_pixel_size: tuple[float, float]
    start: Path | None
    mz_text: str | None
    peaks: int | None
    ppm: float
    level: int | None
    overlay: Path | None
    max_error: float | None
    accept_registration: bool
    seed: int


@click.command(
    name="register",
    epilog="Example: msibench register HE.png section.imzML --mz 741.53,798.54 -o HE.json --overlay HE-check.png\n\n"
    "Example: msibench register HE.ome.tif section.h5 --landmarks landmarks.csv -o HE.json\n\n"
    "Example: msibench register HE.png section.npz --model bspline --start rough.json -o HE.json",
)
@click.argument("guide", type=click.Path(path_type=Path))
@click.argument("section", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True,
              help="Transform file (JSON) with the quality report in it.")  # fmt: skip
@click.option("--model", type=click.Choice(sorted({*LANDMARK_MODELS, *IMAGE_MODELS})), default=None,
              help="What to fit (default: thin-plate with landmarks, else affine).")  # fmt: skip
@click.option("--landmarks", type=click.Path(path_type=Path), default=None,
              help="BigWarp CSV: moving = guide, fixed = ion images.")  # fmt: skip
@click.option("--held-out", type=click.Path(path_type=Path), default=None,
              help="BigWarp CSV of landmarks that only measure the error.")  # fmt: skip
@click.option("--landmark-pixel-size", nargs=2, type=click.FloatRange(0, min_open=True), default=(1.0, 1.0), show_default=True,
              help="Pixel size of guide and section in the landmarks' unit; 1 1: they are pixels.")  # fmt: skip
@click.option("--start", type=click.Path(path_type=Path), default=None,
              help="Transform file to start from; with --model absent it is only measured.")  # fmt: skip
@mz_option
@peaks_option
@ppm_option
@click.option("--level", type=click.IntRange(0), default=None,
              help="Level of a pyramid, 0 the finest (default: the finest; of more than 100 megapixels, "
              "one with four pixels along a pixel of the section). Landmarks are pixels of level 0.")  # fmt: skip
@click.option("--overlay", type=click.Path(dir_okay=False, path_type=Path), default=None,
              help="PNG: the registered guide in red, its prediction from the ion images in cyan.")  # fmt: skip
@click.option("--max-error", type=float, default=None,
              help="Largest accepted median landmark error in pixels of the ion images.")  # fmt: skip
@click.option("--accept-registration", is_flag=True,
              help="Write the transform even when it is not good enough.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True)
@option_rules(
    WINDOW,
    Needs("--landmark-pixel-size", ("--landmarks", "--held-out")),
    Excludes("--landmarks", ("--seed",), "landmarks draw nothing at random"),
)
def command(**given: Any) -> None:
    """Register the optical image GUIDE onto the ion images of SECTION."""
    from msibench.errors import RegistrationError
    from msibench.io.guide.levels import guide_levels
    from msibench.io.guide.open import read_guide
    from msibench.io.read import read_section
    from msibench.registration.quality import MAX_TARGET_ERROR

    options = Options(**given)
    mz = chosen_mz(options.mz_text, options.peaks, options.ppm, options.section) or None
    fixed = read_section(options.section, mz=mz, ppm=options.ppm)
    levels = guide_levels(options.guide)
    level = options.level
    if level is None:
        level = _level(options.guide, levels, fixed.pixel_size_um)
    moving = read_guide(options.guide, level=level)
    checks = None if options.held_out is None else _marks(options.held_out, levels, moving, options)
    first = None if options.start is None else _start(options.start, levels, moving, options)
    limit = MAX_TARGET_ERROR if options.max_error is None else options.max_error
    if options.landmarks is not None:
        points = _marks(options.landmarks, levels, moving, options)
        transform, report, fitted = _by_landmarks(
            moving, fixed, points, options.model, first, checks, limit
        )
    else:
        transform, report, fitted = _by_intensity(
            moving, fixed, options.model, first, checks, limit, options.seed
        )
    for line in report.lines():
        click.echo(line)
    if options.overlay is not None:
        error = report.error_text(fixed.pixel_size_um)
        _draw(moving, fixed, transform, error, options.overlay)
        click.echo(f"overlay: {options.overlay}")
    if not report.accepted and not options.accept_registration:
        raise RegistrationError(
            "not accepted, no transform written: " + "; ".join(report.reasons)
            + ". Give landmarks or a better --start, or pass --accept-registration"
        )  # fmt: skip
    transform.to_file(
        options.output,
        model=fitted,
        guide=options.guide.name,
        guide_shape=list(moving.shape),
        section=options.section.name,
        section_shape=list(fixed.shape),
        accepted_by_hand=not report.accepted,
        quality=report.definition(),
    )
    click.echo(f"transform: {options.output}")


def _marks(path: Path, levels: Levels, moving: GuideImage, options: Options) -> Landmarks:
    """Read landmarks, which are pixels of level 0, as pixels of the level that is registered."""
    from msibench.registration import read_bigwarp
    from msibench.registration.levels import between_levels

    of_guide, of_section = options.landmark_pixel_size
    table = read_bigwarp(path, moving_pixel_size=of_guide, fixed_pixel_size=of_section)
    onto = between_levels(levels[0] if levels else moving.shape, moving.shape)
    return replace(table, moving=onto(table.moving))


def _start(path: Path, levels: Levels, moving: GuideImage, options: Options) -> Affine:
    """Read the transform to start from, for the level that is registered."""
    from msibench.registration import Affine, read_affine
    from msibench.registration.levels import made_for, on_level

    shape = made_for(path, levels or (moving.shape,), options.guide.name)
    found = on_level(read_affine(path), shape, moving.shape)
    assert isinstance(found, Affine)
    return found


def _level(guide: Path, levels: Levels, section_um: float) -> int:
    """Return the level to register on: of a slide too large to decode, one that fits the section."""
    from msibench.io.guide.levels import needed_level
    from msibench.io.guide.limits import MAX_PIXELS
    from msibench.io.guide.open import read_guide

    if not levels or levels[0][0] * levels[0][1] <= MAX_PIXELS:
        return 0
    corner = (slice(0, min(64, levels[0][0])), slice(0, min(64, levels[0][1])))
    finest_um = read_guide(guide, region=corner).pixel_size_um
    return needed_level(levels, section_um / PIXELS_ACROSS / finest_um)


def _by_landmarks(
    moving: GuideImage,
    fixed: MSImage,
    points: Landmarks,
    model: str | None,
    start: Affine | None,
    held_out: Landmarks | None,
    limit: float,
) -> tuple[Transform, QualityReport, str]:
    from msibench.errors import ConfigurationError
    from msibench.registration import assess, fit_linear, thin_plate
    from msibench.registration.intensity import default_start

    chosen = model or "thin-plate"
    if chosen not in LANDMARK_MODELS:
        raise ConfigurationError(
            f"model {chosen} is fitted to the images; with --landmarks use one of "
            f"{', '.join(LANDMARK_MODELS)}"
        )

    def fit(landmarks: Landmarks) -> Transform:
        linear: Any = chosen
        return thin_plate(landmarks) if chosen == "thin-plate" else fit_linear(linear, landmarks)

    transform = fit(points)
    report = assess(
        moving,
        fixed,
        transform,
        start or default_start(moving, fixed),
        landmarks=points,
        fit=fit,
        held_out=held_out,
        max_target_error=limit,
    )
    return transform, report, chosen


def _by_intensity(
    moving: GuideImage,
    fixed: MSImage,
    model: str | None,
    start: Affine | None,
    held_out: Landmarks | None,
    limit: float,
    seed: int,
) -> tuple[Transform, QualityReport, str]:
    from msibench.errors import ConfigurationError
    from msibench.registration import Acceptance, assess, register

    if start is not None and model is None:
        report = assess(moving, fixed, start, start, held_out=held_out, max_target_error=limit)
        return start, report, "given"
    if model is not None and model not in IMAGE_MODELS:
        raise ConfigurationError(f"model {model} needs --landmarks")
    wanted: Any = model or "affine"
    found = register(
        moving,
        fixed,
        model=wanted,
        start=start,
        seed=seed,
        acceptance=Acceptance(held_out=held_out, max_target_error=limit, always=True),
    )
    return found.transform, found.report, wanted


def _draw(moving: GuideImage, fixed: MSImage, transform: Transform, error: str, path: Path) -> None:
    """Draw the guide in red over its prediction from the ion images in cyan; below, the landmark error."""
    import numpy as np
    from PIL import Image

    from msibench.registration import resample
    from msibench.registration.projection import follow, guide_picture, ion_components, look

    on_grid = resample(moving, transform, fixed.shape)
    picture, slide = guide_picture(moving)
    seen, known = look(picture, slide, transform, fixed.shape)
    said = follow(ion_components(fixed), seen, known)
    red = guide_picture(on_grid)[0]
    layers = [(layer - layer.min()) / max(float(np.ptp(layer)), 1e-12) for layer in (red, said)]
    layers[0][~known] = 0.0  # off the guide: there is nothing to show
    pixels = np.stack([layers[0], layers[1], layers[1]], axis=-1)
    zoom = max(1, 800 // max(fixed.shape))
    image = Image.fromarray(np.round(255 * pixels).astype(np.uint8))
    size = (fixed.shape[1] * zoom, fixed.shape[0] * zoom)
    _captioned(
        image.resize(size, Image.Resampling.NEAREST), f"guide red, ion images cyan; {error}"
    ).save(path)


def _captioned(image: PillowImage, text: str) -> PillowImage:
    """Return a picture with a line of text, or several, on white below it."""
    from textwrap import wrap

    from PIL import Image, ImageDraw, ImageFont

    size, width = 16, max(image.width, 320)
    font = ImageFont.load_default(size)
    lines = wrap(text, max(20, width * 2 // size))
    below = Image.new("RGB", (width, image.height + (size + 6) * len(lines) + 8), "white")
    below.paste(image, (0, 0))
    ImageDraw.Draw(below).multiline_text(
        (6, image.height + 4), "\n".join(lines), fill="black", font=font, spacing=6
    )
    return below
