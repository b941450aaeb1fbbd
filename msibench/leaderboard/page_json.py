"""Numbers and names as the JSON of a page holds them."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIGITS = 6


def embedded_json(content: object) -> str:
    """Return JSON that may stand inside a script element: no text of it can end the element."""
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def number(value: Any) -> float | int | None:
    """Return a number as JSON can hold it: few digits, and None where it is not finite."""
    if value is None:
        return None
    value = float(value)
    if not math.isfinite(value):
        return None
    short = float(f"{value:.{DIGITS}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def numbers(values: NDArray[np.float64]) -> list[Any]:
    """Return an array as nested lists of `number`."""
    if values.ndim == 1:
        return [number(value) for value in values]
    return [numbers(part) for part in values]


def label_of(mz: float | None, name: str, ppm: float | None) -> str:
    """Return the name of an ion image: ``m/z 798.5410 ± 5 ppm``."""
    if mz is None or not math.isfinite(mz):
        return name or "unnamed channel"
    return f"m/z {mz:.4f}" + ("" if ppm is None else f" ± {ppm:g} ppm")
