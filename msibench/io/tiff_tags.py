"""What a TIFF file says beside its pixels: channel names and pixel size, from OME-XML, ImageJ or tags."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from msibench.io.pixel_size import (
    micrometres_of,
    pixel_size_from_density,
    pixel_size_in_um,
    square_or_said,
)

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from tifffile import TiffFile

RESOLUTION_UNIT_UM = {2: 25_400.0, 3: 10_000.0}
"""TIFF's inch and centimetre; 1 says that there is no unit."""


def channel_names(tiff: TiffFile, index: int) -> tuple[str, ...]:
    """Return one name per channel of a series, as far as OME-XML or ImageJ give them; or nothing.

    The only channel of an OME image that has no name of its own is called like the image.
    """
    image = _ome_image(tiff, index)
    if image is not None:
        found = _pixels(image)
        channels = [] if found is None else _children(found, "Channel")
        names = tuple(channel.get("Name", "") for channel in channels)
        if not any(names) and len(names) <= 1 and image.get("Name"):
            return (str(image.get("Name")),)
        return names
    imagej = tiff.imagej_metadata if tiff.is_imagej else None
    labels = (imagej or {}).get("Labels") or ()
    return tuple(map(str, labels)) if isinstance(labels, list | tuple) else (str(labels),)


def tiff_pixel_size(tiff: TiffFile, index: int, *, resolution_tags: bool) -> tuple[float, float]:
    """Return the edges of a pixel of a series, ``(x, y)`` in micrometres; NaN where not stated.

    Parameters
    ----------
    tiff, index
        An open file, and which of its series.
    resolution_tags
        Believe a bare resolution tag, unless it is one for printing: true of optical images; of
        stacks of ion images it says nothing about the specimen.

    Returns
    -------
    As stated: 0, negative and infinite where the OME-XML says so.
    """
    page = tiff.series[index].keyframe
    image = _ome_image(tiff, index)
    pixels = None if image is None else _pixels(image)
    if pixels is not None:
        x, y = (_edge(pixels, axis) for axis in "XY")
        if not (math.isnan(x) and math.isnan(y)):
            return (y if math.isnan(x) else x), (x if math.isnan(y) else y)
    stated = (
        re.search(r"\bMPP\s*=\s*([0-9.,]+)", page.description or "") if resolution_tags else None
    )
    if stated:
        size = pixel_size_in_um(_number(stated[1].replace(",", ".")), "µm")
        return size, size
    across, down, unit = (
        page.tags.get(name) for name in ("XResolution", "YResolution", "ResolutionUnit")
    )
    if across is None or down is None:
        return math.nan, math.nan
    density = _ratio(across.value), _ratio(down.value)
    unit_um = RESOLUTION_UNIT_UM.get(2 if unit is None else int(unit.value), math.nan)
    if tiff.is_imagej:
        length = micrometres_of(str((tiff.imagej_metadata or {}).get("unit", "")))
        if not math.isnan(length) and min(density) > 0:
            return length / density[0], length / density[1]
    if not resolution_tags or math.isnan(unit_um):
        return math.nan, math.nan
    size = pixel_size_from_density(density, unit_um)
    if math.isnan(size) and min(density) > 0 and abs(density[0] / density[1] - 1) > 0.01:
        return unit_um / density[0], unit_um / density[1]
    return size, size


def guide_pixel_size(tiff: TiffFile, index: int) -> float:
    """Return the edge of an optical image's square pixel in micrometres; NaN where it has none."""
    x, y = tiff_pixel_size(tiff, index, resolution_tags=True)
    if not (0 < x < math.inf and 0 < y < math.inf):
        return math.nan
    return square_or_said(x, y, tiff.filename)


def _ome_image(tiff: TiffFile, index: int) -> Element | None:
    """Return the Image element of a series; None without OME-XML that can be read."""
    from xml.etree import ElementTree

    if not tiff.is_ome:
        return None
    try:
        images = _children(ElementTree.fromstring(tiff.ome_metadata or ""), "Image")
    except (ElementTree.ParseError, TypeError, ValueError):
        return None  # malformed OME-XML costs the names and the size, not the picture
    return images[index] if index < len(images) else None


def _pixels(image: Element) -> Element | None:
    return next(iter(_children(image, "Pixels")), None)


def _children(node: Element, name: str) -> list[Element]:
    return [child for child in node if child.tag.rpartition("}")[2] == name]


def _edge(pixels: Element, axis: str) -> float:
    """Return an edge as the file states it, in micrometres; NaN for no number or no length."""
    size = _number(pixels.get(f"PhysicalSize{axis}"))
    if size is None:
        return math.nan
    return size * micrometres_of(pixels.get(f"PhysicalSize{axis}Unit") or "µm")


def _ratio(value: object) -> float:
    return value[0] / value[1] if isinstance(value, tuple) and value[1] else 0.0


def _number(value: object) -> float | None:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
