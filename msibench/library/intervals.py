"""How far each pixel of a sharpened image can be trusted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from msibench.contracts.method import MethodSpec, Uncertain
from msibench.errors import ConfigurationError
from msibench.image import MSImage, Pair, Problem, Skip
from msibench.uncertainty.tissue import check_section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from msibench.uncertainty.conformal import Calibration, KnownPixels
    from msibench.uncertainty.difficulty import Floats

SEEDS = 5
"""Runs that are averaged where a method is random."""
TRIED = 8
"""Edge in coarse pixels of the piece on which two seeds are tried."""
SHOWN = 0.03
"""Of the colour range of a picture: a difference that can be seen."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Confidence:
    """A sharpened section with an interval for every pixel."""

    prediction: MSImage
    """On the fine grid."""
    lower: MSImage
    upper: MSImage
    """Ends of the interval, in the unit of `prediction`; NaN where no interval is defined."""
    level: float
    """Share of the pixels *as they would be measured* that the intervals should hold."""
    calibrated: str
    """On what it was calibrated, and what that assumes; a sentence."""
    undefined: Mapping[int, str] = field(default_factory=dict)
    """Channels without an interval, and why."""
    seeds: int = 1
    """Runs that `prediction` is the mean of: more than 1 where the method is random."""
    method: str = ""
    low: MSImage
    """What was measured: the input."""
    factor: int
    _reach: NDArray[np.float32] = field(repr=False)
    """Difficulty, ``(channel, row, column)``: an interval's reach down is this times a quantile."""
    _signal: NDArray[np.float32] = field(repr=False)
    """The same without the counting noise of a fine pixel's own measurement."""
    _calibrations: Sequence[Calibration | None] = field(repr=False)
    _floor: float = field(repr=False, default=0.0)

    def at(self, level: float) -> Confidence:
        """Return the intervals of another level; nothing is predicted or calibrated again."""
        from msibench.uncertainty.sections import ends_of

        lower, upper = ends_of(
            self.prediction.values, self._reach, self._calibrations, level, self._floor
        )
        return replace(
            self,
            level=level,
            lower=replace(self.prediction, values=lower),
            upper=replace(self.prediction, values=upper),
        )

    def of_signal(self) -> Confidence:
        """Return intervals for the signal without the noise that a measurement of fine pixels would have.

        The part of the difficulty that is counting noise is taken at the size that it has in a coarse
        pixel. Only synthetic sections can tell how often these hold (docs/confidence.md).
        """
        return replace(self, _reach=self._signal).at(self.level)

    def supported(self) -> NDArray[np.bool_]:
        """Return where the added detail is larger than its uncertainty, ``(channel, row, column)``.

        There the interval of the signal (`of_signal`) does not hold the intensity of the measured pixel, so
        that the finer pixel differs from it at this level. False also where no interval is defined.
        """
        ends = self.of_signal()
        flat = self.low.values.repeat(self.factor, 1).repeat(self.factor, 2)
        return np.asarray((flat < ends.lower.values) | (flat > ends.upper.values))

    def veil(self) -> NDArray[np.bool_]:
        """Return where a picture shows detail that is not `supported`, ``(channel, row, column)``.

        Detail counts as shown where it differs from the measured pixel by more than `SHOWN` of the
        colour range of a picture; what does not is neither veiled nor vouched for, and nor is what lies
        outside the section's tissue mask, where it has one.
        """
        from msibench.io.figure import hotspot_limit

        flat = self.low.values.repeat(self.factor, 1).repeat(self.factor, 2)
        fine = self.prediction.values
        limit = np.array([hotspot_limit(image) for image in fine])[:, None, None]
        inside = True if self.prediction.mask is None else self.prediction.mask
        return np.asarray((np.abs(fine - flat) > SHOWN * limit) & ~self.supported() & inside)

    def plot(self, *, channels: Iterable[int] | None = None, colours: str = "viridis") -> Figure:
        """Draw the prediction, grey and hatched under the `veil`; see `msibench.library.show.plot`."""
        from msibench.library.show import plot

        return plot(self.prediction, channels=channels, colours=colours, veil=self.veil())

    def _repr_html_(self) -> str:
        from msibench.library.show import confidence_html

        return confidence_html(self)


def confidence(
    problem: Problem,
    method: str | MethodSpec,
    level: float = 0.9,
    *,
    calibration: Sequence[MSImage | Pair] = (),
    config: Mapping[str, object] | None = None,
) -> Confidence:
    """Sharpen a section and say for every pixel how far it can be trusted.

    Split conformal prediction (`msibench.uncertainty.conformal`): the method also sharpens images whose
    truth is known, and its errors there, relative to the local difficulty, give the width of the
    intervals here. Of a random method the mean of `SEEDS` runs is taken.

    Parameters
    ----------
    problem
        A section of your own as ``Problem(low=section, factor=4)``, or what `degrade` made.
    method
        Name of a method, as `upscale` takes it.
    level
        Share of the fine pixels, as they would be measured, that should lie within their interval.
    calibration
        Fine sections of the same kind, which the problem's protocol then makes coarse, or pairs with
        their guides. None: the problem's own coarse image is made coarser once more, and what is known
        there plays the truth. That assumes that errors one scale up are like those asked for, counting
        noise aside, which is scaled to the smaller pixels.
    config
        What differs from the method's configuration.

    Raises
    ------
    DataError
        The section has fewer than 200 measured tissue pixels, or is too small to be made coarser.
    ConfigurationError
        The level is none, or too high for the pixels that there are; calibration sections do not fit.
    NotApplicableError
        The method cannot do this problem.
    """
    from msibench.library.installed import catalogue
    from msibench.library.notebook import bar_in_notebook
    from msibench.library.upscaling import check_factor
    from msibench.plugin_manager import resolve_method

    found = catalogue(with_metrics=False)
    spec = method if isinstance(method, MethodSpec) else resolve_method(method, found)
    check_factor(spec, problem.factor, found)
    with bar_in_notebook(f"{spec.name} and its intervals"):
        return confident(spec, problem, config or {}, level=level, calibration=calibration)


def confident(
    spec: MethodSpec,
    problem: Problem,
    changes: Mapping[str, object],
    *,
    level: float,
    calibration: Sequence[MSImage | Pair] = (),
    given: NDArray[np.floating] | None = None,
) -> Confidence:
    """Give a problem's prediction its intervals; `given` is a prediction that was made already."""
    from msibench.uncertainty.sections import (
        calibrations_of,
        calibrations_of_itself,
        difficulties,
        ends_of,
        one_scale_up,
    )

    check(problem, level)
    truths = [_pair(one, problem) for one in calibration] or [one_scale_up(problem)]
    seeds = seeds_of(spec, truths[0][0], changes)
    low, factor = problem.low, problem.factor
    known = [_known(spec, up, truth, changes, seeds, own=not calibration) for up, truth in truths]
    if calibration:
        calibrations = calibrations_of(known, [truth for _, truth in truths], low)
    else:
        calibrations = calibrations_of_itself(known[0], truths[0][1], low, factor)

    fine, spread = (
        _predict(spec, problem, changes, seeds)
        if given is None or seeds > 1
        else (np.asarray(given, dtype=np.float64), _own_spread(spec, problem, changes))
    )
    reach, signal, undefined = difficulties(fine, spread, calibrations, low, factor)
    sound = [None if channel in undefined else one for channel, one in enumerate(calibrations)]
    floor = 0.0 if spec.never_negative else -np.inf
    lower, upper = ends_of(fine, reach, sound, level, floor)
    mask = None if low.mask is None else low.mask.repeat(factor, 0).repeat(factor, 1)
    image = replace(
        low,
        values=fine.astype(np.float32),
        mask=mask,
        pixel_size_um=low.pixel_size_um / factor,
    )
    return Confidence(
        prediction=image,
        lower=replace(image, values=lower),
        upper=replace(image, values=upper),
        level=level,
        calibrated=_words(problem, truths, seeds, own=not calibration),
        undefined=undefined,
        seeds=seeds,
        method=spec.name,
        low=low,
        factor=factor,
        _reach=reach,
        _signal=signal,
        _calibrations=sound,
        _floor=floor,
    )


def check(problem: Problem, level: float) -> None:
    """Refuse what no interval can be told of, before anything is computed.

    Raises
    ------
    ConfigurationError, DataError
        As `confidence` does.
    """
    if not 0 < level < 1:
        raise ConfigurationError(f"the level must lie between 0 and 1, got {level}; 0.9 means 90 %")
    if problem.factor < 2:
        raise ConfigurationError("factor 1 adds no detail, so there is no uncertainty to report")
    check_section(problem.low)


def _pair(one: MSImage | Pair, problem: Problem) -> tuple[Problem, MSImage]:
    """Return a calibration section as a problem and its truth."""
    if isinstance(one, Pair):
        if one.factor != problem.factor:
            raise ConfigurationError(
                f"a calibration pair has factor {one.factor}, the problem {problem.factor}"
            )
        return replace(problem, low=one.low, guide=one.guide, second=None, middle=None), one.high
    if problem.guide is not None or problem.second is not None:
        raise ConfigurationError(
            "this problem has a guide: give calibration sections as msibench.Pair, with theirs"
        )
    from msibench.degradation import protocol

    name = problem.protocol or f"area-x{problem.factor}@1"
    prepared = protocol(name).prepare(one, seed=problem.seed)
    return replace(problem, low=prepared.low), prepared.truth


def _known(
    spec: MethodSpec,
    problem: Problem,
    truth: MSImage,
    changes: Mapping[str, object],
    seeds: int,
    *,
    own: bool,
) -> list[KnownPixels | None]:
    """Return what is known of a method's errors on one section, one entry per ion."""
    from msibench.uncertainty.sections import errors_on

    fine, spread = _predict(spec, problem, changes, seeds)
    return errors_on(problem, truth, fine, spread, own=own)


def _predict(
    spec: MethodSpec, problem: Problem, changes: Mapping[str, object], seeds: int
) -> tuple[Floats, Floats | None]:
    """Return the prediction, the mean over seeds, and what is known of its own spread."""
    from msibench.library.upscaling import upscaled

    total: Floats | None = None
    square: Floats | None = None
    for seed in range(problem.seed, problem.seed + seeds):
        with upscaled(spec, replace(problem, seed=seed), changes) as done:
            fine = np.asarray(done.image.values, dtype=np.float64)
        total = fine if total is None else total + fine
        square = fine * fine if square is None else square + fine * fine
    assert total is not None
    assert square is not None
    mean = total / seeds
    if seeds > 1:
        return mean, np.sqrt(np.maximum(square / seeds - mean * mean, 0))
    return mean, _own_spread(spec, problem, changes)


def _own_spread(spec: MethodSpec, problem: Problem, changes: Mapping[str, object]) -> Floats | None:
    """Return half the width of the interval that a method tells (`Uncertain`); None where it tells none."""
    from msibench.library.upscaling import built
    from msibench.plugin_manager import resolve_target
    from msibench.runner.competitors import resolve_config

    kind = resolve_target(spec.target)
    if not hasattr(kind, "interval"):
        return None
    method = built(spec, resolve_config(spec, changes))
    if not isinstance(method, Uncertain):
        return None
    from msibench.uncertainty.sections import told_spread

    told = told_spread(method, problem)
    return None if isinstance(told, Skip) else told


def seeds_of(spec: MethodSpec, up: Problem, changes: Mapping[str, object]) -> int:
    """Return how many runs to average: two seeds are tried on a piece of the problem one scale up."""
    from msibench.library.upscaling import upscaled

    piece = _piece(up)
    tried = []
    for seed in (piece.seed, piece.seed + 1):
        with upscaled(spec, replace(piece, seed=seed), changes) as done:
            tried.append(np.array(done.image.values))
    return 1 if np.array_equal(tried[0], tried[1], equal_nan=True) else SEEDS


def _piece(problem: Problem) -> Problem:
    """Return at most `TRIED` x `TRIED` coarse pixels about the brightest of the most intense ion image."""
    from msibench.advice.energies import piece_of, window_about

    low = problem.low
    channel = int(np.argmax([np.nanmean(np.where(image > 0, image, 0)) for image in low.values]))
    image = np.nan_to_num(low.values[channel])
    row, column = np.unravel_index(int(image.argmax()), image.shape)
    rows, columns = window_about(low, TRIED, (int(row), int(column)))
    return piece_of(replace(problem, low=low.select([channel])), rows, columns)


def _words(
    problem: Problem, truths: Sequence[tuple[Problem, MSImage]], seeds: int, *, own: bool
) -> str:
    from msibench.uncertainty.sections import words_of

    said = words_of(problem.factor, 0 if own else len(truths))
    return said + (f"; a random method: the mean of {seeds} seeds" if seeds > 1 else "")
