"""The intervals beside a prediction, in its file: what the method tells of it, what the harness calibrated."""

from __future__ import annotations

import json
from pathlib import Path

from msibench.contracts.metric import CalibratedInterval, Intervals, ToldInterval
from msibench.errors import IntegrityError
from msibench.results.arrays import read_arrays

SMALL = ("calibrated_quantiles", "calibrated_levels", "calibrated_up")
LARGE = ("calibrated_reach", "calibrated_signal")
"""Arrays of the harness's interval; its sentence and floor are in the attribute ``calibrated``."""
NOT_CALIBRATED = "not_calibrated"
"""Attribute that says why the harness, asked for an interval, could calibrate none."""


def told_interval(path: Path, *, max_bytes: int = 64 << 30) -> ToldInterval | None:
    """Return the interval that the method told beside a prediction; None where it told none.

    Raises
    ------
    IntegrityError
        The file is damaged, or holds half of an interval.
    """
    _, attributes = read_arrays(path, ())
    if "interval_level" not in attributes:
        return None
    names = ("lower", "upper")
    arrays, _ = read_arrays(path, names, max_bytes=max_bytes, lazily=names)
    return ToldInterval(
        lower=arrays["lower"], upper=arrays["upper"], level=float(attributes["interval_level"])
    )


def calibrated_interval(path: Path, *, max_bytes: int = 64 << 30) -> CalibratedInterval | None:
    """Return the interval that the harness calibrated beside a prediction; None where there is none.

    Raises
    ------
    IntegrityError
        The file is damaged, or holds a part of it.
    """
    _, attributes = read_arrays(path, ())
    if "calibrated" not in attributes:
        return None
    arrays, _ = read_arrays(path, (*LARGE, *SMALL), max_bytes=max_bytes, lazily=LARGE)
    try:
        about = json.loads(str(attributes["calibrated"]))
        return CalibratedInterval(
            reach=arrays["calibrated_reach"],
            signal=arrays["calibrated_signal"],
            quantiles=arrays["calibrated_quantiles"],
            levels=arrays["calibrated_levels"],
            up=arrays["calibrated_up"],
            floor=0.0 if about["never_negative"] else float("-inf"),
            calibrated=str(about["words"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"{path}: the calibrated interval is damaged ({error})") from error


def intervals_of(path: Path) -> Intervals:
    """Return every interval beside a prediction.

    Raises
    ------
    IntegrityError
        The file is damaged.
    """
    _, attributes = read_arrays(path, ())
    return Intervals(
        told=told_interval(path),
        calibrated=calibrated_interval(path),
        not_calibrated=str(attributes.get(NOT_CALIBRATED, "")),
    )
