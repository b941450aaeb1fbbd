"""Physical pixel size from what image files say about it."""

from __future__ import annotations

import math

MICROMETRES = {
    "m": 1e6,
    "dm": 1e5,
    "cm": 1e4,
    "mm": 1e3,
    "µm": 1.0,
    "μm": 1.0,  # Greek mu: the other code point that writers use
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "\\u00b5m": 1.0,  # as ImageJ escapes it
    "nm": 1e-3,
    "pm": 1e-6,
    "Å": 1e-4,
    "in": 25_400.0,
    "inch": 25_400.0,
}
"""How many micrometres one unit is."""

PRINT_DPI = (72, 96, 100, 120, 150, 200, 240, 300, 400, 600)
"""Resolutions that programs write by default; they say how to print an image, not how it was taken."""


def pixel_size_in_um(size: float | None, unit: str | None) -> float:
    """Return `size` in micrometres; NaN when it is absent, not positive or in an unknown unit."""
    if size is None or not math.isfinite(size) or size <= 0:
        return math.nan
    return size * MICROMETRES.get(unit or "µm", math.nan)


def pixel_size_from_density(density: object, unit_um: float) -> float:
    """Pixel size from pixels per unit along x and y.

    Parameters
    ----------
    density
        ``(x, y)`` pixels per unit, or None.
    unit_um
        Length of the unit in micrometres.

    Returns
    -------
    Micrometres; NaN for an absent density, a print resolution, or pixels that are not square.
    """
    if not isinstance(density, tuple | list) or len(density) != 2:
        return math.nan
    x, y = (float(value) for value in density)
    if not (math.isfinite(x) and math.isfinite(y)) or min(x, y) <= 0:
        return math.nan
    dpi = x * 25_400.0 / unit_um
    if any(abs(dpi - usual) < 0.5 for usual in PRINT_DPI):
        return math.nan
    return square_pixel(unit_um / x, unit_um / y)


def square_pixel(x_um: float, y_um: float) -> float:
    """Return the edge of a square pixel; NaN when the two differ by more than 1 %."""
    if not (x_um > 0 and y_um > 0) or abs(x_um - y_um) > 0.01 * max(x_um, y_um):
        return math.nan
    return x_um
