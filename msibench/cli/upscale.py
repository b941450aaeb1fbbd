"""``msibench upscale``: the better picture, for whoever only wants that."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from msibench.cli._planning import LEVEL_HELP
from msibench.cli._shared import catalogue
from msibench.cli._values import chosen_mz, mz_option, peaks_option, settings

if TYPE_CHECKING:
    from msibench.contracts.method import MethodSpec
    from msibench.image import Problem
    from msibench.library.upscaling import Upscaled


@click.command(
    epilog="Example: msibench upscale bicubic section.imzML --mz 798.54,741.53 --factor 4 "
    "-o fine.ome.tif\n\nExample: msibench upscale guided-filter section.imzML --mz 798.54 "
    "--guide HE.png --transform HE.json -o fine.imzML -o fine.png"
)
@click.argument("method")
@click.argument("section", type=click.Path(path_type=Path))
@mz_option
@peaks_option
@click.option("--ppm", type=float, default=5.0, show_default=True, help="Half-width of the window.")
@click.option("--factor", type=click.IntRange(1, 32), default=4, show_default=True)
@click.option("--guide", type=click.Path(path_type=Path), help="Optical image.")
@click.option(
    "--transform", type=click.Path(path_type=Path), help="What `msibench register` wrote."
)
@click.option("--level", type=click.IntRange(0), help=LEVEL_HELP)
@click.option("--pixel-size", type=float, help="µm, where the file does not say.")
@click.option("--set", "changes", multiple=True, help="Configuration, e.g. --set kernel=nearest.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="OME-TIFF, imzML, HDF5, npz or PNG, by its suffix; may be given again.",
)
def command(
    method: str,
    section: Path,
    mz_text: str | None,
    peaks: int | None,
    ppm: float,
    factor: int,
    guide: Path | None,
    transform: Path | None,
    level: int | None,
    pixel_size: float | None,
    changes: tuple[str, ...],
    device: str,
    seed: int,
    outputs: tuple[Path, ...],
) -> int:
    """Put the ion images of SECTION on a grid FACTOR times finer with METHOD."""
    from msibench.cli._progress import bar_of_progress
    from msibench.image import Problem
    from msibench.io.export import format_of
    from msibench.io.read import read_section
    from msibench.library.sections import guide_on
    from msibench.library.upscaling import check_factor, upscaled
    from msibench.plugin_manager import resolve_method
    from msibench.runner.child.in_groups import WrongResultError

    for output in outputs:
        format_of(output)  # an unknown suffix is told before anything is computed
    found = catalogue()
    spec = resolve_method(method, found)
    check_factor(spec, factor, found)
    changed = settings(changes)
    mz = chosen_mz(mz_text, peaks, ppm, section)
    low = read_section(section, mz=mz or None, ppm=ppm, pixel_size_um=pixel_size)
    if np.isnan(low.pixel_size_um):
        click.echo(
            f"{section.name} does not say how large its pixels are: no scale bar, and no pixel size in "
            "the files; give it in µm with --pixel-size",
            err=True,
        )
    problem = Problem(
        low=low,
        factor=factor,
        guide=guide_on(low, guide, transform, factor, level),
        device=device,
        seed=seed,
    )
    with ExitStack() as until_written:
        try:
            with bar_of_progress(spec.name):
                made = upscaled(spec, problem, changed, name=section.name, folder=outputs[0].parent)
                done = until_written.enter_context(made)
        except WrongResultError as fault:
            click.echo(
                f"{method}: {fault}. Hold it against the contract with: msibench check {method}",
                err=True,
            )
            return 3
        for note in done.notes:
            click.echo(note, err=True)
        _write(outputs, done, problem, spec, section, guide, ppm)
        chosen = {
            "--data": section, "--mz": mz_text, "--peaks": peaks, "--ppm": ppm, "--guide": guide,
            "--transform": transform, "--level": level, "--pixel-size": pixel_size, "--factor": factor,
            "--methods" if spec.name == method else "--method": method,
        }  # fmt: skip
        _tell_agreement(done, factor, spec.name, chosen)
    return 0


def _write(
    outputs: tuple[Path, ...],
    done: Upscaled,
    problem: Problem,
    spec: MethodSpec,
    section: Path,
    guide: Path | None,
    ppm: float,
) -> None:
    """Write the result under every name that was asked for."""
    from msibench.io.export import write_image

    provenance = {
        "method": spec.name,
        "configuration": json.dumps(done.config, sort_keys=True, default=str),
        "citation": spec.citation,
        "licence": spec.licence,
        "factor": problem.factor,
        "seed": problem.seed,
        "section": section.name,
        "guide": guide.name if guide else "",
        "ppm": ppm,
    }
    for output in outputs:
        for path in write_image(output, done.image, predicted=spec.name, provenance=provenance):
            click.echo(f"wrote {path}")


def _tell_agreement(
    done: Upscaled,
    factor: int,
    method: str,
    chosen: Mapping[str, object],
) -> None:
    """Print how well the result, averaged back, agrees with its input, and what a contradiction means.

    `chosen` are the options under which a run measures what the method is worth here.
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
            f"(bicubic interpolation: {told.interpolation:.2%}; noise: {told.noise:.2%})"
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
        f"again as its noise, and more than twice what interpolation does: {some_of(against)}. Read no intensities off "
        f"these images. Use {method + '+consistent' if '+' not in method else 'bicubic'}, which keeps the input, or measure "
        f"what {method} gets right here: msibench run {shlex.join(again)}",
        err=True,
    )
