"""Whether the output of a method's process is a prediction at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msibench.contracts.method import MethodSpec
from msibench.contracts.metric import CalibratedInterval, ToldInterval
from msibench.errors import IntegrityError
from msibench.io.stored_stack import groups
from msibench.results.arrays import read_arrays
from msibench.results.problems import Staged
from msibench.results.store import PREDICTION
from msibench.results.told_intervals import calibrated_interval, told_interval
from msibench.uncertainty.sections import LEVELS


def largest_file(shape: Sequence[int]) -> int:
    """Return the length beyond which the file of a prediction is not read, in bytes.

    A file with holes may claim any length and take no room on the disk: to hash it takes hours.
    """
    return 24 * math.prod(shape) + (
        16 << 20
    )  # with both ends of an interval, and with that of the harness


def check_prediction(
    path: Path, staged: Staged, spec: MethodSpec
) -> tuple[NDArray[np.float32] | None, str]:
    """Return a valid prediction, or None and what is wrong with it.

    A large one stays in its file (`msibench.io.stored_stack`) and is checked a few ion images at a
    time.
    """
    expected = (
        staged.low.channels,
        staged.low.shape[0] * staged.protocol.factor,
        staged.low.shape[1] * staged.protocol.factor,
    )
    if not path.is_file() or path.is_symlink():
        return None, "the method returned, but left no prediction"
    size, most = path.stat().st_size, largest_file(expected)
    if size > most:
        return None, (
            f"{PREDICTION} is {size / 2**20:.0f} MiB long; a prediction of {expected} takes at most "
            f"{most / 2**20:.0f} MiB"
        )
    try:
        arrays, _ = read_arrays(
            path,
            ("prediction",),
            max_bytes=8 * math.prod(expected) + 4096,
            lazily=("prediction",),
        )
        values = arrays["prediction"]
        if values.shape != expected:
            return None, (
                f"expected (channel, row, column) = {expected}, low times factor "
                f"{staged.protocol.factor}; got {values.shape}"
            )
        if values.dtype != np.float32:
            return None, f"expected float32, got {values.dtype}: return image.astype(numpy.float32)"
        most_bytes = 4 * math.prod(expected) + 4096
        told = told_interval(path, max_bytes=most_bytes)
        if told is not None and (fault := _interval_fault(told, values)):
            return None, fault
        calibrated = calibrated_interval(path, max_bytes=max(most_bytes, 1 << 20))
        if calibrated is not None and (fault := _calibrated_fault(calibrated, values)):
            return None, fault
        unsound, lowest = 0, math.inf
        for group in groups(expected):
            part = values[group]
            unsound += int(np.count_nonzero(~np.isfinite(part)))
            lowest = min(lowest, float(part.min(initial=math.inf)))
    except IntegrityError as error:
        return None, str(error).replace(str(path), PREDICTION)
    if unsound:
        return None, f"{unsound} of {values.size} values are NaN or infinite"
    if spec.never_negative and lowest < 0:
        return None, (
            f"negative intensities down to {lowest:.3g}, though the method promises none "
            "(MethodSpec.never_negative)"
        )
    return values, ""


def _interval_fault(told: ToldInterval, prediction: NDArray[np.float32]) -> str:
    """Return what is wrong with a method's interval; empty where it is valid."""
    for name, ends in (("lower", told.lower), ("upper", told.upper)):
        if ends.shape != prediction.shape or ends.dtype != np.float32:
            return (
                f"expected the {name} ends of the interval as float32 of {prediction.shape}, got "
                f"{ends.dtype} of {ends.shape}"
            )
    apart = flat = 0
    for group in groups(prediction.shape):
        part, here = prediction[group], told.some_ions(group)
        known = ~(np.isnan(here.lower) & np.isnan(here.upper))
        apart += int(np.count_nonzero(known & ~((here.lower <= part) & (part <= here.upper))))
        flat += int(np.count_nonzero(known & (here.lower == here.upper)))
    if apart:
        return f"{apart} of {prediction.size} pixels lie outside the interval that the method tells"
    if flat:
        return (
            f"the interval that the method tells has no width in {flat} of {prediction.size} pixels; give "
            "NaN for both ends where nothing is known"
        )
    return ""


def _calibrated_fault(found: CalibratedInterval, prediction: NDArray[np.float32]) -> str:
    """Return what is wrong with the interval calibrated in the method's process; empty where it is valid."""
    wanted = {"reach": prediction.shape, "signal": prediction.shape}
    wanted |= {"quantiles": (len(prediction), len(LEVELS)), "levels": LEVELS.shape}
    wanted |= {"up": (len(prediction),)}
    for name, shape in wanted.items():
        if (got := getattr(found, name).shape) != shape:
            return f"expected the {name} of the calibrated interval as {shape}, got {got}"
    if not np.array_equal(found.levels, LEVELS) or not (found.up > 0).all():
        return (
            "the calibrated interval has other levels than those of the harness, or reaches nowhere"
        )
    steps = np.diff(found.quantiles, axis=1)
    if (found.quantiles <= 0).any() or (steps < 0).any():
        return "the calibrated interval is narrower at a higher level, or has no width"
    for group in groups(prediction.shape):
        for stack in (found.reach, found.signal):
            part = np.asarray(stack[group])
            if part.dtype != np.float32 or (part <= 0).any() or np.isinf(part).any():
                return "the calibrated interval has no width, or no end, in some pixels"
    return ""
