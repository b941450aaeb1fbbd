"""``msibench upscale``: the better picture, for whoever only wants that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from msibench.cli._shared import catalogue
from msibench.cli._values import chosen_mz, mz_option, peaks_option

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from msibench.contracts.method import Method, MethodSpec
    from msibench.image import GuideImage, MSImage, Problem, Skip

TRUSTED = 0.05
"""Relative disagreement with the input above which a result is called a contradiction."""


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
    pixel_size: float | None,
    changes: tuple[str, ...],
    device: str,
    seed: int,
    outputs: tuple[Path, ...],
) -> int:
    """Put the ion images of SECTION on a grid FACTOR times finer with METHOD."""
    from contextlib import ExitStack
    from tempfile import TemporaryDirectory

    import numpy as np

    from msibench.cli.check import setting
    from msibench.image import Problem, Skip
    from msibench.io.export import format_of
    from msibench.io.read import read_section
    from msibench.runner.child.in_groups import goes_in_parts
    from msibench.runner.plan import resolve_config

    for output in outputs:
        format_of(output)  # an unknown suffix is told before anything is computed
    spec = _spec(method)
    config = resolve_config(spec, dict(setting(change) for change in changes))
    mz = chosen_mz(mz_text, peaks, ppm, section)
    low = read_section(section, mz=mz or None, ppm=ppm, pixel_size_um=pixel_size)
    problem = Problem(
        low=low,
        factor=factor,
        guide=None if guide is None else _guide(guide, transform, low, factor),
        device=device,
        seed=seed,
    )
    made = _build(spec, config)
    with ExitStack() as until_written:
        if goes_in_parts(spec.each_ion_alone, problem):  # a large section: by way of a file
            folder = until_written.enter_context(TemporaryDirectory(dir=outputs[0].parent))
            fine = _in_parts(made, problem, Path(folder) / "fine.h5")
        else:
            fine = made.upscale(problem)
        if isinstance(fine, Skip):
            click.echo(f"{method} cannot do this: {fine.reason}", err=True)
            return 3
        if not hasattr(fine, "stays_in_file"):
            fine = np.asarray(fine, dtype=np.float32)
        unsound = sum(int(np.count_nonzero(~np.isfinite(image))) for image in fine)
        if fine.shape != (low.channels, *problem.fine_shape) or unsound:
            click.echo(
                f"{method} gave {fine.shape} with {unsound} values that are not finite; expected "
                f"{(low.channels, *problem.fine_shape)}. "
                f"Hold it against the contract with: msibench check {method}",
                err=True,
            )
            return 3
        _write(outputs, fine, problem, spec, config, section, guide, ppm)
        return _tell_consistency(fine, low, factor)


def _in_parts(made: Method, problem: Problem, path: Path) -> NDArray[np.float32] | Skip:
    """Bring a large section onto the finer grid a few ion images at a time; they stay in a file."""
    from msibench.results.arrays import array_file, read_arrays
    from msibench.runner.child.in_groups import upscale_in_parts

    with array_file(path) as file:
        stack = file.stack("fine", (problem.low.channels, *problem.fine_shape))
        done = upscale_in_parts(made, problem, stack)
    return done.skip or read_arrays(path, ("fine",), lazily=("fine",))[0]["fine"]


def _write(
    outputs: tuple[Path, ...],
    fine: NDArray[np.float32],
    problem: Problem,
    spec: MethodSpec,
    config: dict[str, object],
    section: Path,
    guide: Path | None,
    ppm: float,
) -> None:
    """Write the result under every name that was asked for."""
    from dataclasses import replace

    from msibench.io.export import write_image

    low, factor = problem.low, problem.factor
    mask = None if low.mask is None else low.mask.repeat(factor, 0).repeat(factor, 1)
    result = replace(low, values=fine, mask=mask, pixel_size_um=low.pixel_size_um / factor)
    provenance = {
        "method": spec.name,
        "configuration": json.dumps(config, sort_keys=True, default=str),
        "citation": spec.citation,
        "licence": spec.licence,
        "factor": factor,
        "seed": problem.seed,
        "section": section.name,
        "guide": guide.name if guide else "",
        "ppm": ppm,
    }
    for output in outputs:
        for path in write_image(output, result, predicted=spec.name, provenance=provenance):
            click.echo(f"wrote {path}")


def _spec(name: str) -> MethodSpec:
    from msibench.plugin_manager import method_from_file, method_from_plugin

    if ".py:" in name:
        return method_from_file(name)
    found = catalogue()
    if ":" in name:
        return method_from_plugin(name, found)
    return found.method(name)


def _build(spec: MethodSpec, config: dict[str, object]):  # type: ignore[no-untyped-def]  # noqa: ANN202
    from msibench.plugin_manager import resolve_target
    from msibench.weights import require

    weights = {file.name: require(file) for file in spec.weights}
    return resolve_target(spec.target)(**config, **({"weights": weights} if weights else {}))


def _guide(path: Path, transform: Path | None, low: MSImage, factor: int) -> GuideImage:
    """Bring an optical image onto the fine grid."""
    from msibench.datasets import guide_on_grid

    rows, columns = low.shape
    return guide_on_grid(
        path, transform, (rows * factor, columns * factor), factor, low.pixel_size_um / factor
    )


def _tell_consistency(fine: NDArray[np.float32], low: MSImage, factor: int) -> int:
    """Print how well the result, averaged back, agrees with its input."""
    import numpy as np

    from msibench.degradation import area_mean

    for name, image, coarse in zip(low.channel_names(), fine, low.values, strict=True):
        known = np.isfinite(coarse)
        error = np.where(known, area_mean(image[None], factor)[0] - coarse, 0.0)
        size = np.where(known, coarse, 0.0)
        norm = float(np.sqrt((size.astype(np.float64) ** 2).sum()))
        share = float(np.sqrt((error.astype(np.float64) ** 2).sum())) / norm if norm else 0.0
        warning = "  WARNING: the result contradicts its input" if share > TRUSTED else ""
        click.echo(f"consistency {name}: {share:.2%} of the input is not reproduced{warning}")
    return 0
