"""Physical pixel size from what image files say about it."""

from __future__ import annotations

import math

import numpy as np

from msibench.errors import ConfigurationError, DataError
from msibench.io.data_warning import warn_about_data

MICROMETRES = {
    "Mm": 1e12, "km": 1e9, "m": 1e6, "dm": 1e5, "cm": 1e4, "mm": 1e3, "µm": 1.0, "nm": 1e-3, "pm": 1e-6,
    "fm": 1e-9, "Å": 1e-4, "thou": 25.4, "mil": 25.4, "in": 25_400.0, "ft": 304_800.0,
    "yd": 914_400.0, "pt": 25_400.0 / 72,
}  # fmt: skip
"""How many micrometres one unit is, by its sign, in which capitals count (OME-XML, ImageJ)."""

MICROMETRES_OF_NAME = {
    **dict.fromkeys(("meter", "metre"), 1e6),
    **dict.fromkeys(("centimeter", "centimetre"), 1e4),
    **dict.fromkeys(("millimeter", "millimetre"), 1e3),
    **dict.fromkeys(("micrometer", "micrometre", "micron", "um", "mum", "micro m"), 1.0),
    **dict.fromkeys(("nanometer", "nanometre"), 1e-3),
    **dict.fromkeys(("angstrom", "ångström", "ångstrom", "å"), 1e-4),
    **dict.fromkeys(("inch", "inche", '"'), 25_400.0),
}
"""How many micrometres one unit is, by its name in small letters, without a plural s."""

MICROMETRES_OF_ACCESSION = {
    "UO:0000008": 1e6,
    "UO:0000015": 1e4,
    "UO:0000016": 1e3,
    "UO:0000017": 1.0,
    "UO:0000018": 1e-3,
    "UO:0000019": 1e-4,
    "UO:0000020": 1e-6,
}
"""How many micrometres one unit is, by its term in the Unit Ontology."""

PRINT_DPI = (72, 96, 100, 120, 150, 200, 240, 300, 400, 600)
"""Resolutions that programs write by default; they say how to print an image, not how it was taken."""


PLACEHOLDER_DPI = (1.0, 2.54, 0.0254)
"""One pixel per inch, centimetre and metre: what programs write when they do not know the resolution."""


PLAUSIBLE_UM = 0.02, 2000.0
"""Edges of the pixels of mass spectrometry images, from nanoSIMS to coarse ablation and DESI, in µm."""
POSSIBLE_UM = 1e-3, 1e5
"""Outside of these no pixel can be meant: smaller than a molecule, larger than a slide."""


def check_pixel_size(size_um: float) -> str:
    """Return a doubt about a pixel size in µm; empty for a plausible one, and for NaN.

    Raises
    ------
    ConfigurationError
        If no pixel can be meant.
    """
    if math.isnan(size_um):
        return ""
    if not POSSIBLE_UM[0] <= size_um <= POSSIBLE_UM[1]:
        raise ConfigurationError(
            f"a pixel size must be between {POSSIBLE_UM[0]:g} and {POSSIBLE_UM[1]:,.0f} µm, got "
            f"{size_um:g} µm; give the edge of a pixel in µm"
        )
    if PLAUSIBLE_UM[0] <= size_um <= PLAUSIBLE_UM[1]:
        return ""
    return (
        f"pixels of {size_um:g} µm are unusual ({PLAUSIBLE_UM[0]:g} to {PLAUSIBLE_UM[1]:g} µm); if that is "
        "in nm, mm or m, give it in µm"
    )


def micrometres_of(unit: str) -> float:
    """Return how many micrometres a unit is, by its sign or name; NaN for one that is not a length."""
    sign = unit.strip().replace("\u03bc", "µ").replace("\\u00b5", "µ").replace("\\u00B5", "µ")
    if sign in MICROMETRES:
        return MICROMETRES[sign]
    name = sign.lower().replace("µ", "u")
    if name not in MICROMETRES_OF_NAME and len(name) > 3:
        name = name.removesuffix("s")
    return MICROMETRES_OF_NAME.get(name, MICROMETRES.get(name, math.nan))


def pixel_size_in_um(size: float | None, unit: str | None) -> float:
    """Return `size` in micrometres; NaN when it is absent, not positive or in an unknown unit.

    Without a unit it is in micrometres, as OME-XML and imzML say.
    """
    if size is None or not math.isfinite(size) or size <= 0:
        return math.nan
    return size * micrometres_of(unit or "µm")


def stated_pixel_size(value: object, source: str) -> float:
    """Return the pixel size that a file states, in micrometres: one positive number, or NaN.

    Two numbers are the edges of a pixel; where they differ, a warning is given and NaN returned.

    Raises
    ------
    DataError
        If it is not a number, or 0, negative or infinite.
    """
    try:
        edges = [float(edge) for edge in np.ravel(np.asarray(value, dtype=np.float64))]
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{source}: pixel_size_um must be one number ({error}); write it again, NaN where it is "
            "not known"
        ) from error
    if len(edges) not in (1, 2):
        raise DataError(f"{source}: pixel_size_um must be one number, got {len(edges)}")
    for edge in edges:
        refuse_impossible(edge, source)
    return edges[0] if len(edges) == 1 else square_or_said(edges[0], edges[1], source)


def refuse_impossible(edge_um: float, source: str) -> None:
    """Raise DataError where a pixel size is not positive, or outside of `POSSIBLE_UM`; NaN is unknown."""
    if not math.isnan(edge_um) and not POSSIBLE_UM[0] <= edge_um <= POSSIBLE_UM[1]:
        raise DataError(
            f"{source}: states a pixel size of {edge_um:g} µm, which no pixel has; correct the file, "
            "or give the right one with --pixel-size (pixel_size_um=)"
        )


def square_or_said(x_um: float, y_um: float, source: str) -> float:
    """Return the edge of a square pixel; NaN, with a DataWarning, when the two differ by over 1 %."""
    size = square_pixel(x_um, y_um)
    if math.isnan(size) and not math.isnan(x_um) and not math.isnan(y_um):
        warn_about_data(
            f"{source}: pixels of {x_um:g} x {y_um:g} µm are not square; the pixel size is left "
            "unknown, and an affine transform has to carry the ratio"
        )
    return size


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
    Micrometres; NaN for an absent density, a print resolution, the placeholder of one pixel per
    inch, centimetre or metre, or pixels that are not square.
    """
    if not isinstance(density, tuple | list) or len(density) != 2:
        return math.nan
    x, y = (float(value) for value in density)
    if not (math.isfinite(x) and math.isfinite(y)) or min(x, y) <= 0:
        return math.nan
    dpi = x * 25_400.0 / unit_um
    if any(abs(dpi - usual) < 0.5 for usual in PRINT_DPI):
        return math.nan
    if any(abs(dpi / one - 1) < 1e-3 for one in PLACEHOLDER_DPI):
        return math.nan
    return square_pixel(unit_um / x, unit_um / y)


def square_pixel(x_um: float, y_um: float) -> float:
    """Return the edge of a square pixel; NaN when the two differ by more than 1 %."""
    if not (x_um > 0 and y_um > 0) or abs(x_um - y_um) > 0.01 * max(x_um, y_um):
        return math.nan
    return x_um
