"""The harness's own interval for a prediction: the method also sharpens what is known.

Either the section itself made coarser once more, or training sections that it has not seen. All of it happens
in the method's process: how often the interval holds is measured outside, where the truth is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import isqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msibench.advice.energies import fullest, on_fine_grid, piece_of, window
from msibench.contracts.method import Method, Uncertain
from msibench.contracts.metric import CalibratedInterval
from msibench.errors import DataError
from msibench.image import MSImage, Pair, Problem, Skip
from msibench.results.problems import read_pairs
from msibench.runner.child.child_folder import CALIBRATION
from msibench.runner.child.in_groups import cuts_of, upscale_in_groups
from msibench.uncertainty.difficulty import Floats
from msibench.uncertainty.sections import (
    calibrated_interval,
    calibrations_of,
    errors_on,
    one_scale_up,
    told_spread,
    words_of,
)

SHARE = 0.11
"""Of the section's coarse pixels: as many are sharpened to calibrate, so that a run costs about as much more."""
SMALLEST = 16
"""Edge in coarse pixels of the piece of a training section that is looked at, at least."""


def calibrated_beside(
    method: Method,
    problem: Problem,
    fine: NDArray[np.float32],
    folder: Path,
    *,
    each_ion_alone: bool,
    never_negative: bool,
) -> CalibratedInterval:
    """Calibrate the interval of a prediction.

    Parameters
    ----------
    method, problem
        What made it of what, every ion of the section included.
    fine
        The prediction, ``(channel, row, column)``.
    folder
        Of the cell; holds `CALIBRATION` where training sections are calibrated on.
    each_ion_alone, never_negative
        As the method's `msibench.contracts.method.MethodSpec` says.

    Raises
    ------
    DataError
        The section is too small, or the method cannot do what it is calibrated on.
    """
    pairs = read_pairs(folder / CALIBRATION) if (folder / CALIBRATION).is_file() else []
    truths = list(_pieces(problem, pairs)) if pairs else [one_scale_up(_affordable(problem))]
    known = []
    for up, truth in truths:
        made, spread = _sharpened(method, up, each_ion_alone)
        known.append(errors_on(up, truth, made, spread, own=not pairs))
    return calibrated_interval(
        problem,
        fine.astype(np.float64),
        _spread(method, problem),
        calibrations_of(known, [truth for _, truth in truths], problem.low),
        never_negative=never_negative,
        words=words_of(problem.factor, len(pairs)),
    )


def _affordable(problem: Problem) -> Problem:
    """Return the part of a section that has `SHARE` of its pixels once it is made coarser."""
    rows, columns = problem.low.shape
    most = SHARE * problem.factor**2
    return problem if most >= 1 else fullest(problem, isqrt(int(most * rows * columns)))


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
