"""``msibench upscale``: the better picture, for whoever only wants that."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from msibench.cli._shared import catalogue
from msibench.cli._values import chosen_mz, mz_option, peaks_option

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msibench.contracts.method import Method, MethodSpec
    from msibench.image import GuideImage, MSImage, Problem, Skip

AT_A_TIME = 8
"""Ion images that a method gets in one go where it makes each of them alone, so that it shows how far
it has come; a large section goes in groups that fit into memory."""
SHOWN = 5
"""Ions of a kind that are named in one message; all of them with up to `FEW`."""
FEW = 12


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
    from msibench.cli._progress import bar_of_progress
    from msibench.cli.check import setting
    from msibench.image import Problem, Skip
    from msibench.io.export import format_of
    from msibench.io.read import read_section
    from msibench.runner.child.in_groups import WrongResultError
    from msibench.runner.plan import resolve_config

    for output in outputs:
        format_of(output)  # an unknown suffix is told before anything is computed
    spec = _spec(method)
    _check_factor(spec, factor)
    config = resolve_config(spec, dict(setting(change) for change in changes))
    mz = chosen_mz(mz_text, peaks, ppm, section)
    low = _sound(read_section(section, mz=mz or None, ppm=ppm, pixel_size_um=pixel_size), section)
    present = _present(low, section)
    problem = Problem(
        low=low.select(present),
        factor=factor,
        guide=None if guide is None else _guide(guide, transform, low, factor),
        device=device,
        seed=seed,
    )
    made = _build(spec, config)
    with ExitStack() as until_written:
        try:
            with bar_of_progress(spec.name):
                fine = _made(made, problem, low, present, spec, outputs[0].parent, until_written)
        except WrongResultError as fault:
            click.echo(
                f"{method}: {fault}. Hold it against the contract with: msibench check {method}",
                err=True,
            )
            return 3
        if isinstance(fine, Skip):
            click.echo(f"{method} cannot do this: {fine.reason}", err=True)
            return 3
        _write(outputs, fine, low, problem, spec, config, section, guide, ppm)
        chosen = {
            "--data": section, "--mz": mz_text, "--peaks": peaks, "--ppm": ppm, "--guide": guide,
            "--transform": transform, "--pixel-size": pixel_size, "--factor": factor,
            "--methods" if spec.name == method else "--method": method,
        }  # fmt: skip
        _tell_agreement(fine, low, factor, spec.name, chosen)
    return 0


class _Fine:
    """Takes what a method makes of the ions that are present, and completes it.

    An ion that is not present is 0, and what was not measured is NaN.
    """

    def __init__(self, stack: Any, low: MSImage, present: Sequence[int], factor: int) -> None:
        self.stack, self.low, self.present, self.factor = stack, low, present, factor
        for channel in sorted({*range(low.channels)} - {*present}):
            fine = [side * factor for side in low.shape]
            self._put(channel, np.zeros(fine, dtype=np.float32))

    def __setitem__(self, channels: slice, values: NDArray[np.float32]) -> None:
        from msibench.runner.child.in_groups import WrongResultError

        for channel, image in zip(self.present[channels], values, strict=True):
            if unsound := int(np.count_nonzero(~np.isfinite(image))):
                name = self.low.channel_names()[channel]
                raise WrongResultError(f"{name}: {unsound} values are NaN or infinite")
            self._put(channel, image)

    def _put(self, channel: int, image: NDArray[np.float32]) -> None:
        missing = np.isnan(self.low.values[channel])
        if missing.any():
            away = missing.repeat(self.factor, 0).repeat(self.factor, 1)
            image = np.where(away, np.float32(np.nan), image)
        self.stack[channel] = image


def _made(
    method: Method,
    problem: Problem,
    low: MSImage,
    present: Sequence[int],
    spec: MethodSpec,
    place: Path,
    until_written: ExitStack,
) -> NDArray[np.float32] | Skip:
    """Bring the ions that are present onto the finer grid; a large section stays in a file."""
    from tempfile import TemporaryDirectory

    from msibench.results.arrays import array_file, read_arrays
    from msibench.runner.child.in_groups import goes_in_parts, upscale_in_parts

    shape = (low.channels, *problem.fine_shape)
    if goes_in_parts(spec.each_ion_alone, problem):
        path = Path(until_written.enter_context(TemporaryDirectory(dir=place))) / "fine.h5"
        with array_file(path) as file:
            out = _Fine(file.stack("fine", shape), low, present, problem.factor)
            done = upscale_in_parts(method, problem, out)
        return done.skip or read_arrays(path, ("fine",), lazily=("fine",))[0]["fine"]
    size = AT_A_TIME if spec.each_ion_alone else len(present)
    cuts = [slice(first, first + size) for first in range(0, len(present), size)]
    fine = np.zeros(shape, dtype=np.float32)
    done = upscale_in_parts(method, problem, _Fine(fine, low, present, problem.factor), cuts)
    return done.skip or fine


def _check_factor(spec: MethodSpec, factor: int) -> None:
    """Raise if a method does not do a factor, naming those that do and can be used here."""
    if spec.factors is None or factor in spec.factors:
        return
    from msibench.weights import find

    others = [
        other.name
        for _, other in sorted(catalogue(with_metrics=False).methods.items())
        if (other.factors is None or factor in other.factors)
        and other.task is spec.task
        and not other.control
        and other.budget != "paper"
        and all(find(weight) is not None for weight in other.weights)
    ]
    does = ", ".join(str(each) for each in sorted(spec.factors))
    raise click.UsageError(
        f"{spec.name} does factor {does}, not {factor}. Ready here for --factor {factor}: "
        f"{', '.join(others) or 'none'}; each also as NAME+consistent, which keeps the input. "
        "`msibench list methods` shows all, with their factors."
    )


def _sound(low: MSImage, section: Path) -> MSImage:
    """Return a section as methods get it in a run: no negative intensities; say what was changed.

    Raises
    ------
    DataError
        If it holds infinite intensities.
    """
    from dataclasses import replace

    from msibench.errors import DataError

    if np.isinf(low.values).any():
        raise DataError(
            f"{section.name} holds infinite intensities; expected finite ones, or NaN where nothing "
            "was measured"
        )
    if np.isnan(low.pixel_size_um):
        click.echo(
            f"{section.name} does not say how large its pixels are: no scale bar, and no pixel size in "
            "the files; give it in µm with --pixel-size",
            err=True,
        )
    missing = int(np.isnan(low.values).any(axis=0).sum())
    if missing:
        click.echo(
            f"{missing} of {low.values[0].size} pixels hold NaN: not measured, and NaN in the result",
            err=True,
        )
    below = int(np.count_nonzero(low.values < 0))
    if not below:
        return low
    click.echo(
        f"{below} of {low.values.size} intensities are negative: set to 0, as in every run",
        err=True,
    )
    return replace(low, values=np.maximum(low.values, 0))  # NaN stays


def _present(low: MSImage, section: Path) -> list[int]:
    """Return the channels that hold anything, and name the others.

    Raises
    ------
    DataError
        If none does.
    """
    from msibench.errors import DataError

    names = low.channel_names()
    present = [channel for channel in range(low.channels) if (low.values[channel] > 0).any()]
    absent = [names[channel] for channel in range(low.channels) if channel not in set(present)]
    if not present:
        raise DataError(
            f"{section.name}: nothing is present in any of the {low.channels} ion images; choose other "
            "m/z or a wider window (--ppm)"
        )
    if absent:
        click.echo(
            f"nothing present in {len(absent)} of {low.channels} ion images, which are 0 in the result "
            f"and were not given to the method: {_some(absent)}",
            err=True,
        )
    return present


def _some(names: Sequence[str]) -> str:
    if len(names) <= FEW:
        return ", ".join(names)
    return ", ".join(names[:SHOWN]) + f" and {len(names) - SHOWN} more"


def _write(
    outputs: tuple[Path, ...],
    fine: NDArray[np.float32],
    low: MSImage,
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

    factor = problem.factor
    measured = np.logical_or.reduce([np.isfinite(image) for image in low.values], axis=0)
    mask = low.mask
    if not measured.all():
        mask = measured if mask is None else mask & measured
    mask = None if mask is None else mask.repeat(factor, 0).repeat(factor, 1)
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


def _tell_agreement(
    fine: NDArray[np.float32],
    low: MSImage,
    factor: int,
    method: str,
    chosen: Mapping[str, object],
) -> None:
    """Print how well the result, averaged back, agrees with its input, and what a contradiction means.

    `chosen` are the options under which a run measures what the method is worth here.
    """
    import shlex

    from msibench.metrics.contradiction import agreement

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
        f"again as its noise, and more than twice what interpolation does: {_some(against)}. Read no intensities off "
        f"these images. Use {method + '+consistent' if '+' not in method else 'bicubic'}, which keeps the input, or measure "
        f"what {method} gets right here: msibench run {shlex.join(again)}",
        err=True,
    )
