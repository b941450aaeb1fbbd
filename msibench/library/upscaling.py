"""One section through one method: its checks before, and the completion of the result."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from msibench.contracts.method import Method, MethodSpec, Task
from msibench.contracts.plain_text import few_of
from msibench.errors import ConfigurationError, DataError, NotApplicableError
from msibench.image import GuideImage, MSImage, Problem

if TYPE_CHECKING:
    from msibench.plugin_manager import Catalogue

FilePath = str | os.PathLike[str]

AT_A_TIME = 8
"""Ion images that a method gets at once where it treats each of them alone, so that it shows how far
it has come; a large section goes in groups that fit into memory."""
SHOWN = 5
"""Ions of a kind that are named in one message; all of them with up to `FEW`."""
FEW = 12
NOT_ISOLATED = "not isolated"
"""Remark on images that a method made in this process, where it could have read anything."""


def upscale(
    section: MSImage | Problem,
    method: str | MethodSpec,
    *,
    factor: int | None = None,
    guide: GuideImage | FilePath | None = None,
    transform: FilePath | None = None,
    config: Mapping[str, object] | None = None,
    device: str = "cpu",
    seed: int = 0,
) -> MSImage:
    """Put ion images on a finer grid with one method, in this process: not isolated from yours.

    Parameters
    ----------
    section
        A section to sharpen, or a problem that `degrade` made of a finer one; a problem brings its own
        factor, guide, device and seed.
    method
        Name of a method (``msibench list methods``), ``file.py:Class``, or ``plugin:checkpoint``.
    factor
        Fine pixels along each edge of a coarse one; 4 where nothing is said.
    guide, transform
        For methods that look at one: an image on the fine grid, or a file and what ``msibench
        register`` wrote for it.
    config
        What differs from the method's configuration.
    device
        ``"cpu"`` or ``"cuda"``.
    seed
        Every random number of the method comes from it.

    Returns
    -------
    Ion images ``(channel, row * factor, column * factor)`` in the unit of the input. A pixel that was
    not measured is NaN; an ion of which nothing is present is 0 and is not given to the method. Their
    `isolation` is ``"not isolated"``, and so is that of the table that `evaluate` makes of them.
    Changes to the input (negative intensities set to 0) are told as a `DataWarning`.

    Raises
    ------
    UnknownNameError
        There is no such method.
    NotApplicableError
        The method cannot do this problem.
    ConfigurationError
        It does not do this factor, or has no such configuration.
    DataError
        Nothing is present in any ion image, some are infinite, or the result is not one.
    MissingWeightsError
        The method needs a pretrained file that is not here.
    """
    from msibench.io.data_warning import DataWarning
    from msibench.library.installed import catalogue
    from msibench.library.notebook import bar_in_notebook
    from msibench.library.sections import guide_on
    from msibench.plugin_manager import resolve_method

    found = catalogue(with_metrics=False)
    spec = method if isinstance(method, MethodSpec) else resolve_method(method, found)
    if isinstance(section, Problem):
        if factor not in {None, section.factor} or guide is not None or transform is not None:
            raise ConfigurationError(
                "a problem brings its own factor and guide: give these to msibench.degrade"
            )
        problem = section
    else:
        times = 4 if factor is None else factor
        check_factor(spec, times, found)
        image = guide_on(section, guide, transform, times)
        problem = Problem(low=section, factor=times, guide=image, device=device, seed=seed)
    with bar_in_notebook(spec.name), upscaled(spec, problem, config or {}) as done:
        for note in done.notes:
            warnings.warn(note, DataWarning, stacklevel=2)
        return done.image


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Upscaled:
    """The fine ion images of a section, and what they were made of."""

    image: MSImage
    """On the fine grid; a large stack stays in a file that lives as long as the context."""
    low: MSImage
    """The input as the method got it: no negative intensity."""
    config: Mapping[str, object]
    """The method's whole configuration."""
    notes: tuple[str, ...]
    """What was changed in the input, or left out of it; one sentence each."""


@contextmanager
def upscaled(
    spec: MethodSpec,
    problem: Problem,
    changes: Mapping[str, object],
    *,
    name: str = "the section",
    folder: Path | None = None,
) -> Iterator[Upscaled]:
    """Bring a problem onto the fine grid.

    Parameters
    ----------
    spec, changes
        The method, and what differs from its configuration.
    problem
        What it is given.
    name
        Name of the section in messages.
    folder
        Where a large result may lie in a file; None: it is held in memory.
    """
    from msibench.runner.competitors import resolve_config

    config = resolve_config(spec, changes)
    notes: list[str] = []
    low = _sound(problem.low, name, notes)
    present = _present(low, name, notes)
    made = built(spec, config)
    with ExitStack() as until_written:
        given = replace(problem, low=low.select(present))
        fine = _made(made, given, low, present, spec, folder, until_written)
        yield Upscaled(
            image=_fine_image(fine, low, problem.factor),
            low=low,
            config=config,
            notes=tuple(notes),
        )


def check_factor(spec: MethodSpec, factor: int, found: Catalogue) -> None:
    """Raise if a method does not do a factor, naming those that do and can be used here."""
    if spec.factors is None or factor in spec.factors:
        return
    from msibench.weights import find

    others = [
        other.name
        for _, other in sorted(found.methods.items())
        if (other.factors is None or factor in other.factors)
        and other.task is spec.task
        and not other.control
        and other.budget in ("", "quick")
        and all(find(weight) is not None for weight in other.weights)
    ]
    does = ", ".join(str(each) for each in sorted(spec.factors))
    raise ConfigurationError(
        f"{spec.name} does factor {does}, not {factor}. Ready here for --factor {factor}: "
        f"{few_of(others)}; each also as NAME+consistent, which keeps the input. "
        "`msibench list methods` shows all, with their factors."
    )


def some_of(names: Sequence[str]) -> str:
    """Return a list of names for a message, shortened where it is long."""
    return few_of(names, len(names) if len(names) <= FEW else SHOWN)


class _Fine:
    """Completes a method's result for the ions that are present.

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
    folder: Path | None,
    until_written: ExitStack,
) -> NDArray[np.float32]:
    """Bring the ions that are present onto the finer grid; a large section may stay in a file."""
    from tempfile import TemporaryDirectory

    from msibench.results.arrays import array_file, read_arrays
    from msibench.runner.child.in_groups import cuts_of, upscale_in_groups

    shape = (low.channels, *problem.fine_shape)
    cuts = cuts_of(spec.each_ion_alone, problem)
    fine: NDArray[np.float32]
    if len(cuts) > 1 and folder is not None:
        path = Path(until_written.enter_context(TemporaryDirectory(dir=folder))) / "fine.h5"
        with array_file(path) as file:
            out = _Fine(file.stack("fine", shape), low, present, problem.factor)
            done = upscale_in_groups(method, problem, out, cuts)
        if done.skip is None:
            fine = read_arrays(path, ("fine",), lazily=("fine",))[0]["fine"]
    else:
        if len(cuts) == 1 and spec.each_ion_alone:
            starts = range(0, len(present), AT_A_TIME)
            cuts = [slice(first, first + AT_A_TIME) for first in starts]
        fine = np.zeros(shape, dtype=np.float32)
        out = _Fine(fine, low, present, problem.factor)
        done = upscale_in_groups(method, problem, out, cuts)
    if done.skip is not None:
        remedy = ""
        if spec.task is Task.GUIDED and problem.guide is None:
            remedy = ". Give an optical image: --guide HE.png, and what `msibench register` wrote: --transform HE.json"
        raise NotApplicableError(f"{spec.name} cannot do this: {done.skip.reason}{remedy}")
    return fine


def _fine_image(fine: NDArray[np.float32], low: MSImage, factor: int) -> MSImage:
    measured = np.logical_or.reduce([np.isfinite(image) for image in low.values], axis=0)
    mask = low.mask
    if not measured.all():
        mask = measured if mask is None else mask & measured
    mask = None if mask is None else mask.repeat(factor, 0).repeat(factor, 1)
    size = low.pixel_size_um / factor
    return replace(low, values=fine, mask=mask, pixel_size_um=size, isolation=NOT_ISOLATED)


def _sound(low: MSImage, name: str, notes: list[str]) -> MSImage:
    """Return a section as methods get it in a run: no negative intensities; note what was changed.

    Raises
    ------
    DataError
        If it holds infinite intensities.
    """
    if np.isinf(low.values).any():
        raise DataError(
            f"{name} holds infinite intensities; expected finite ones, or NaN where nothing "
            "was measured"
        )
    partly = [image for image in np.isnan(low.values) if not image.all()]
    missing = int(np.logical_or.reduce(partly).sum()) if partly else 0
    if missing:
        notes.append(
            f"{missing} of {low.values[0].size} pixels hold NaN: not measured, and NaN in the result"
        )
    below = int(np.count_nonzero(low.values < 0))
    if not below:
        return low
    notes.append(
        f"{below} of {low.values.size} intensities are negative: set to 0, as in every run"
    )
    return replace(low, values=np.maximum(low.values, 0))  # NaN stays


def _present(low: MSImage, name: str, notes: list[str]) -> list[int]:
    """Return the channels that hold anything, and note the others.

    Raises
    ------
    DataError
        If none does.
    """
    names = low.channel_names()
    present = low.present()
    absent = [names[channel] for channel in range(low.channels) if channel not in set(present)]
    if not present:
        raise DataError(
            f"{name}: no signal in any of the {low.channels} ion images; choose other "
            "m/z or a wider window (--ppm)"
        )
    if absent:
        unknown = " (NaN where nothing was measured)" if np.isnan(low.values).any() else ""
        notes.append(
            f"nothing present in {len(absent)} of {low.channels} ion images, which are 0{unknown} in the result "
            f"and were not given to the method: {some_of(absent)}"
        )
    return present


def built(spec: MethodSpec, config: Mapping[str, object]) -> Method:
    """Make a method with its whole configuration and its verified weights."""
    from msibench.plugin_manager import resolve_target
    from msibench.weights import require

    weights = {file.name: require(file) for file in spec.weights}
    made: Method = resolve_target(spec.target)(
        **config, **({"weights": weights} if weights else {})
    )
    return made
