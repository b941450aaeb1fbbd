"""``msibench upscale``: a sharpened section, without a benchmark."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from msibench.cli._planning import LEVEL_HELP
from msibench.cli._shared import catalogue
from msibench.cli._together import Needs, option_rules
from msibench.cli._values import (
    WINDOW,
    chosen_mz,
    mz_option,
    peaks_option,
    pixel_size_option,
    ppm_option,
    settings,
)

if TYPE_CHECKING:
    from msibench.contracts.method import MethodSpec
    from msibench.image import Problem
    from msibench.library.intervals import Confidence
    from msibench.library.upscaling import Upscaled


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was typed."""

    method: str
    section: Path
    mz_text: str | None
    peaks: int | None
    ppm: float
    factor: int
    guide: Path | None
    transform: Path | None
    level: int | None
    pixel_size: float | None
    changes: tuple[str, ...]
    device: str
    seed: int
    level_wanted: float | None
    outputs: tuple[Path, ...]


@click.command(
    epilog="Example: msibench upscale bicubic section.imzML --mz 798.54,741.53 --factor 4 "
    "-o fine.ome.tif\n\nExample: msibench upscale guided-filter section.imzML --mz 798.54 "
    "--guide HE.png --transform HE.json -o fine.imzML -o fine.png\n\nExample: msibench upscale bicubic "
    "section.imzML --mz 798.54 --confidence 0.9 -o fine.ome.tif -o fine.png"
)
@click.argument("method")
@click.argument("section", type=click.Path(path_type=Path))
@mz_option
@peaks_option
@ppm_option
@click.option("--factor", type=click.IntRange(1, 32), default=4, show_default=True)
@click.option("--guide", type=click.Path(path_type=Path), help="Optical image.")
@click.option(
    "--transform", type=click.Path(path_type=Path), help="What `msibench register` wrote."
)
@click.option("--level", type=click.IntRange(0), help=LEVEL_HELP)
@pixel_size_option("µm, in place of what the file says.")
@click.option("--set", "changes", multiple=True, help="Configuration, e.g. --set kernel=nearest.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--confidence",
    "level_wanted",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Also write, for every pixel, the ends of an interval that holds this share of the pixels as they "
    "would be measured, e.g. 0.9; pictures are veiled where detail is not supported.",
)
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="OME-TIFF, imzML, HDF5, npz or PNG, by its suffix; may be given again.",
)
@option_rules(Needs("--transform", ("--guide",)), Needs("--level", ("--guide",)), WINDOW)
def command(**given: Any) -> int:
    """Put the ion images of SECTION on a grid FACTOR times finer with METHOD."""
    from msibench.cli._progress import bar_of_progress
    from msibench.contracts.method import Task
    from msibench.errors import MSIBenchError, PluginError
    from msibench.io.export import format_of
    from msibench.library.intervals import check
    from msibench.library.upscaling import check_factor, upscaled
    from msibench.plugin_manager import resolve_method
    from msibench.runner.child.in_groups import WrongResultError

    options = Options(**given)
    for output in options.outputs:
        format_of(output)  # an unknown suffix is told before anything is computed
    found = catalogue()
    spec = resolve_method(options.method, found)
    check_factor(spec, options.factor, found)
    if options.guide is not None and spec.task is Task.SINGLE_IMAGE:
        raise click.UsageError(
            f"{spec.name} looks at ion images alone, and would not see {options.guide.name}: leave --guide "
            "out, or take a method that needs a guide (`msibench list methods`)"
        )
    changed = settings(options.changes)
    problem = _problem(options)
    if options.level_wanted is not None:
        check(problem, options.level_wanted)
    with ExitStack() as until_written:
        try:
            with bar_of_progress(spec.name):
                made = upscaled(
                    spec,
                    problem,
                    changed,
                    name=options.section.name,
                    folder=options.outputs[0].parent,
                )
                done = until_written.enter_context(made)
        except WrongResultError as fault:
            click.echo(
                f"{options.method}: {fault}. Hold it against the contract with: "
                f"msibench check {options.method}",
                err=True,
            )
            return 3
        except (MSIBenchError, OSError, click.ClickException, click.Abort):
            raise
        except Exception as fault:  # a method is a plugin: what it raises is its own
            raise PluginError(
                f"{options.method} failed: {type(fault).__name__}: {fault}. See where with: "
                "msibench --traceback upscale …"
            ) from fault
        for note in done.notes:
            click.echo(note, err=True)
        trust = _intervals(options.level_wanted, spec, problem, changed, done)
        _write(options, done, problem, spec, trust)
        if trust is not None:
            _tell_confidence(trust)
        _tell_agreement(done, options.factor, spec.name, _options_of_a_run(options, spec.name))
    return 0


def _problem(options: Options) -> Problem:
    """Read the section and its guide."""
    from msibench.image import Problem
    from msibench.io.read import read_section
    from msibench.library.sections import guide_on

    section, ppm = options.section, options.ppm
    mz = chosen_mz(options.mz_text, options.peaks, ppm, section)
    low = read_section(section, mz=mz or None, ppm=ppm, pixel_size_um=options.pixel_size)
    if np.isnan(low.pixel_size_um):
        click.echo(
            f"{section.name} does not say how large its pixels are: no scale bar, and no pixel size in "
            "the files; give it in µm with --pixel-size",
            err=True,
        )
    return Problem(
        low=low,
        factor=options.factor,
        guide=guide_on(low, options.guide, options.transform, options.factor, options.level),
        device=options.device,
        seed=options.seed,
    )


def _intervals(
    level: float | None,
    spec: MethodSpec,
    problem: Problem,
    changed: Mapping[str, object],
    done: Upscaled,
) -> Confidence | None:
    """Return the intervals of the result; None where none were requested."""
    from msibench.library.intervals import confident

    if level is None:
        return None
    seen = replace(problem, low=done.low)
    return confident(spec, seen, changed, level=level, given=done.image.values)


def _options_of_a_run(options: Options, method: str) -> dict[str, object]:
    """Return the options of a run that measures how good the method is here."""
    windows = options.mz_text is not None or options.peaks is not None
    return {
        "--data": options.section, "--mz": options.mz_text, "--peaks": options.peaks,
        "--ppm": options.ppm if windows else None, "--guide": options.guide, "--transform": options.transform,
        "--level": options.level, "--pixel-size": options.pixel_size, "--factor": options.factor,
        "--methods" if method == options.method else "--method": options.method,
    }  # fmt: skip


def _write(
    options: Options,
    done: Upscaled,
    problem: Problem,
    spec: MethodSpec,
    trust: Confidence | None,
) -> None:
    """Write the result under every requested name, and its interval beside it."""
    from msibench.io.export import beside_name, format_of, write_image
    from msibench.io.figure import write_png

    provenance: dict[str, object] = {
        "isolation": "none: the method ran in the process of msibench upscale",
        "method": spec.name,
        "configuration": json.dumps(done.config, sort_keys=True, default=str),
        "citation": spec.citation,
        "licence": spec.licence,
        "factor": problem.factor,
        "seed": problem.seed,
        "section": options.section.name,
        "guide": options.guide.name if options.guide else "",
        "ppm": options.ppm,
    }
    image = done.image if trust is None else trust.prediction
    if trust is not None:
        provenance |= {
            "confidence": trust.level,
            "calibrated": trust.calibrated,
            "seeds_averaged": trust.seeds,
        }
    for output in options.outputs:
        if trust is not None and format_of(output) == "png":
            words = f"detail not supported at {100 * trust.level:.4g} %"
            written = write_png(
                output,
                image,
                provenance=provenance,
                veil=trust.veil(),
                veiled=words,
                predicted=spec.name,
            )
        else:
            written = list(write_image(output, image, predicted=spec.name, provenance=provenance))
            for end in ("lower", "upper") if trust is not None else ():
                written += write_image(
                    beside_name(output, end),
                    getattr(trust, end),
                    predicted=spec.name,
                    provenance={**provenance, "holds": f"{end} end of the interval"},
                )
        for path in written:
            click.echo(f"wrote {path}")


def _tell_confidence(trust: Confidence) -> None:
    """Print what the intervals rest on, and how much of the detail that is shown they support."""
    from msibench.library.upscaling import some_of

    click.echo(f"intervals of {100 * trust.level:.4g} %, calibrated {trust.calibrated}")
    veil, supported = trust.veil(), trust.supported()
    names = trust.prediction.channel_names()
    for channel, name in enumerate(names):
        if why := trust.undefined.get(channel):
            click.echo(f"{name}: interval undefined: {why}")
    shares = {
        name: supported[channel].sum() / max(1, (supported[channel] | veil[channel]).sum())
        for channel, name in enumerate(names)
        if channel not in trust.undefined
    }
    most = sorted(shares, key=lambda name: -shares[name])
    told = [f"{name} {shares[name]:.0%}" for name in most]
    click.echo(f"share of the detail shown that exceeds its interval: {some_of(told)}")


def _tell_agreement(
    done: Upscaled,
    factor: int,
    method: str,
    chosen: Mapping[str, object],
) -> None:
    """Print how well the result, averaged back, agrees with its input, and what a contradiction means.

    `chosen` are the options of a run that measures how good the method is here.
    """
    import shlex

    from msibench.library.upscaling import FEW, SHOWN, some_of
    from msibench.metrics.contradiction import agreement

    fine, low = done.image.values, done.low

    found = {
        name: told
        for name, image, coarse in zip(low.channel_names(), fine, low.values, strict=True)
        if (told := agreement(image, coarse, factor)) is not None
    }
    worst = sorted(found, key=lambda name: found[name].allowed - found[name].missed)
    for name in found if len(found) <= FEW else worst[:SHOWN]:
        told = found[name]
        click.echo(
            f"consistency {name}: {told.missed:.2%} of the input is not reproduced "
            f"(bicubic-075, which adds nothing: {told.interpolation:.2%}; noise: {told.noise:.2%})"
        )
    if len(found) > FEW:
        median = float(np.median([told.missed for told in found.values()]))
        click.echo(
            f"consistency of all {len(found)} ions: median {median:.2%} not reproduced; the "
            f"{SHOWN} nearest to a contradiction are above"
        )
    against = [name for name in worst if found[name].contradicts]
    if not against:
        return
    again = [str(word) for item in chosen.items() if item[1] is not None for word in item]
    click.echo(
        f"WARNING: {len(against)} of {len(found)} ions contradict the input: they lose more than half as much "
        f"again as its noise, and more than twice what interpolation does: {some_of(against)}. Do not read intensities "
        f"off these images. Use {method + '+consistent' if '+' not in method else 'bicubic'}, which keeps the input, or measure "
        f"what {method} gets right here: msibench run {shlex.join(again)}",
        err=True,
    )
