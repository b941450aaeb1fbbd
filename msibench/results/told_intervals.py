"""The interval that a method tells of its prediction, in the file of the prediction."""

from __future__ import annotations

from pathlib import Path

from msibench.contracts.metric import ToldInterval
from msibench.results.arrays import read_arrays


def told_interval(path: Path, *, max_bytes: int = 64 << 30) -> ToldInterval | None:
    """Return the interval beside a prediction; None where the method told none.

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
