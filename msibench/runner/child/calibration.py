"""The harness's own interval for a prediction: the method also sharpens what is known.

Either the section itself made coarser once more, or training sections that it has not seen. All of it happens
in the method's process: how often the interval holds is measured outside, where the truth is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import isqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msibench.advice.energies import on_fine_grid, piece_of, window
from msibench.contracts.method import Method, Uncertain
from msibench.contracts.metric import CalibratedInterval
from msibench.errors import DataError
from msibench.image import MSImage, Pair, Problem, Skip
from msibench.results.problems import read_pairs
from msibench.runner.child.child_folder import CALIBRATION
from msibench.runner.child.in_groups import cuts_of, upscale_in_groups
from msibench.uncertainty.conformal import Calibration
from msibench.uncertainty.difficulty import Floats
from msibench.uncertainty.sections import (
    calibrated_interval,
    calibrations_of,
    calibrations_of_itself,
    errors_on,
    one_scale_up,
    told_spread,
    words_of,
)
from msibench.uncertainty.tissue import check_section

SHARE = 0.11
"""Of the section's coarse pixels: as many are sharpened to calibrate, so that a run costs about as much more."""
SMALLEST = 16
"""Edge in coarse pixels of the piece of a training section that is looked at, at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """What is known of the errors of a method on a section."""

    problem: Problem
    """Every ion of the section included."""
    method: Method
    calibrations: Sequence[Calibration | None]
    """One per ion."""
    words: str
    """On what it was calibrated; a sentence."""

    def interval(
        self, group: slice, fine: NDArray[np.float32], *, never_negative: bool
    ) -> CalibratedInterval:
        """Return the interval of the prediction of some ion images, ``(channel, row, column)``."""
        part = replace(self.problem, low=self.problem.low.select(group))
        return calibrated_interval(
            part,
            fine.astype(np.float64),
            _spread(self.method, part),
            self.calibrations[group],
            never_negative=never_negative,
            words=self.words,
        )


def calibrated_method(
    method: Method, problem: Problem, folder: Path, *, each_ion_alone: bool
) -> Calibrated:
    """Learn how large the errors of a method are where the truth is known.

    Parameters
    ----------
    method, problem
        What is asked for, every ion of the section included.
    folder
        Of the cell; holds `CALIBRATION` where training sections are calibrated on.
    each_ion_alone
        As the method's `msibench.contracts.method.MethodSpec` says.

    Raises
    ------
    DataError
        The section is too small, or the method cannot do what it is calibrated on.
    """
    check_section(problem.low)
    pairs = read_pairs(folder / CALIBRATION) if (folder / CALIBRATION).is_file() else []
    rows, columns = _affordable(problem)
    truths = (
        list(_pieces(problem, pairs)) if pairs else [one_scale_up(piece_of(problem, rows, columns))]
    )
    known = []
    for up, truth in truths:
        made, spread = _sharpened(method, up, each_ion_alone)
        known.append(errors_on(up, truth, made, spread, own=not pairs))
    low, factor = problem.low, problem.factor
    if pairs:
        calibrations = calibrations_of(known, [truth for _, truth in truths], low)
    else:
        corner = (rows.start, columns.start)
        calibrations = calibrations_of_itself(known[0], truths[0][1], low, factor, corner)
    return Calibrated(
        problem=problem,
        method=method,
        calibrations=calibrations,
        words=words_of(factor, len(pairs)),
    )


def _affordable(problem: Problem) -> tuple[slice, slice]:
    """Return rows and columns of the part of a section that has `SHARE` of its pixels once it is made coarser."""
    rows, columns = problem.low.shape
    most = min(1.0, SHARE * problem.factor**2)
    edge = max(rows, columns) if most == 1 else isqrt(int(most * rows * columns))
    if edge >= max(rows, columns):
        return slice(0, rows), slice(0, columns)
    return window(problem.low, edge)


def _pieces(problem: Problem, pairs: Sequence[Pair]) -> Iterator[tuple[Problem, MSImage]]:
    """Yield a piece of every training section and its truth."""
    rows, columns = problem.low.shape
    edge = max(SMALLEST, isqrt(int(SHARE * rows * columns / len(pairs))))
    for pair in pairs:
        here = window(pair.low, edge)
        whole = replace(problem, low=pair.low, guide=pair.guide, second=None, middle=None)
        yield piece_of(whole, *here), pair.high.crop(*on_fine_grid(*here, pair.factor))


def _sharpened(
    method: Method, problem: Problem, each_ion_alone: bool
) -> tuple[Floats, Floats | None]:
    """Return what a method makes of a problem, ions that are nowhere 0, and the spread that it tells."""
    present = problem.low.present()
    if not present:
        raise DataError("there is no signal in the sections to calibrate on")
    given = replace(problem, low=problem.low.select(present))
    fine = np.zeros((len(present), *problem.fine_shape), dtype=np.float32)
    done = upscale_in_groups(method, given, fine, cuts_of(each_ion_alone, given))
    if done.skip is not None:
        raise DataError(f"the method declines the section to calibrate on: {done.skip.reason}")
    among = np.zeros((problem.low.channels, *problem.fine_shape))
    among[present] = fine
    return among, _spread(method, problem)


def _spread(method: Method, problem: Problem) -> Floats | None:
    """Return the standard deviation that a method tells of itself; None where it tells none."""
    if not isinstance(method, Uncertain):
        return None
    told = told_spread(method, problem)
    return None if isinstance(told, Skip) else told
