"""TIFF, OME-TIFF and pyramids: one level, one region, only the tiles that are needed."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msibench.errors import DataError
from msibench.image import GuideImage
from msibench.io.data_warning import warn_about_data
from msibench.io.guide.colour import ColourFacts, guide_from_pixels
from msibench.io.guide.limits import Region, check_size, resolve_region
from msibench.io.pixel_size import (
    MICROMETRES,
    pixel_size_from_density,
    pixel_size_in_um,
    square_pixel,
)
from msibench.io.tiff_guard import check_page, check_tiff

MAX_CHANNELS = 512
_RESOLUTION_UNIT_UM = {2: 25_400.0, 3: 10_000.0}  # inch, centimetre
_WHITE_IS_ZERO, _PALETTE, _SEPARATED = 0, 3, 5
_ASSOCIATED_ALPHA, _UNASSOCIATED_ALPHA = 1, 2


def read_tiff_guide(
    path: Path,
    region: Region | None,
    level: int | None,
    target_um: float | None,
    max_pixels: int,
) -> GuideImage:
    """Read one level of the first image series; see `msibench.io.guide.open.read_guide`."""
    import tifffile

    check_tiff(path)
    try:
        with tifffile.TiffFile(path, _multifile=False) as tiff:
            return _read(path, tiff, region, level, target_um, max_pixels)
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"{path} asks for more memory than there is; read a region") from error
    except Exception as error:  # a damaged TIFF fails in many ways inside the decoder
        raise DataError(
            f"{path} cannot be decoded as TIFF ({type(error).__name__}: {error}); is the file "
            "complete? Copy it again, or export it as OME-TIFF"
        ) from error


def _read(
    path: Path,
    tiff: Any,
    region: Region | None,
    level: int | None,
    target_um: float | None,
    max_pixels: int,
) -> GuideImage:
    if not len(tiff.pages) or not tiff.series:
        raise DataError(f"{path} holds no image")
    levels = tiff.series[0].levels
    finest = _grid(path, levels[0])
    size_um = _pixel_size(tiff, levels[0])
    chosen = _choose_level(path, levels, finest, size_um, level, target_um)
    grid = _grid(path, levels[chosen])
    rows, columns = resolve_region(path, region, finest)
    rows, columns = _on_level(rows, finest[0], grid[0]), _on_level(columns, finest[1], grid[1])
    check_size(path, (rows.stop - rows.start, columns.stop - columns.start), max_pixels)
    pages = _planes(path, levels[chosen])
    for page in pages:
        check_page(path, page)
    planes = [_page_region(path, page, rows, columns, max_pixels) for page in pages]
    first = pages[0]
    if len(planes) == 1 and first.photometric == _PALETTE and first.colormap is not None:
        colours = np.asarray(first.colormap)  # (3, entry), 16 bits
        planes = [np.moveaxis(colours[:, planes[0][..., 0]], 0, -1)]
        facts = ColourFacts()
    else:
        facts = _colour_facts(tiff, first, len(planes))
    if first.tags.get("Orientation") is not None and first.tags["Orientation"].value != 1:
        warn_about_data(
            f"{path}: the orientation tag says {int(first.tags['Orientation'].value)}; it is not "
            "applied, rows and columns count on the stored grid"
        )
    scale = (finest[0] / grid[0] + finest[1] / grid[1]) / 2
    return guide_from_pixels(
        np.concatenate(planes, axis=-1), facts, size_um * scale, source=str(path)
    )


def _choose_level(
    path: Path,
    levels: Any,
    finest: tuple[int, int],
    size_um: float,
    level: int | None,
    target_um: float | None,
) -> int:
    if level is not None:
        if not 0 <= level < len(levels):
            raise DataError(
                f"{path} has {len(levels)} levels, 0 the finest; level {level} asked for"
            )
        return level
    if target_um is None:
        return 0
    if not target_um > 0:
        raise DataError(f"target_um must be a positive number of micrometres, got {target_um}")
    if math.isnan(size_um):
        raise DataError(
            f"{path} does not state its pixel size, so target_um cannot choose a level; give level"
        )
    fine_enough = [
        index
        for index, candidate in enumerate(levels)
        if size_um * finest[0] / _grid(path, candidate)[0] <= target_um * 1.001
    ]
    return max(fine_enough, default=0)


def _grid(path: Path, series: Any) -> tuple[int, int]:
    """Rows and columns of a series, whatever the order of its axes."""
    axes, shape = series.get_axes(True), series.get_shape(True)
    if "Y" not in axes or "X" not in axes:
        raise DataError(f"{path}: expected axes Y and X, got {axes!r} {tuple(shape)}")
    for axis, side in zip(axes, shape, strict=True):
        if axis not in "YXSC" and axis not in "QI" and side > 1:
            raise DataError(
                f"{path}: axis {axis} holds {side} planes ({axes} {tuple(shape)}); a guide is one "
                "plane: export it by itself"
            )
    return int(shape[axes.index("Y")]), int(shape[axes.index("X")])


def _planes(path: Path, series: Any) -> list[Any]:
    """Return the pages of a series, each one plane with all its samples."""
    pages = [
        page if page is None else getattr(page, "aspage", lambda p=page: p)()
        for page in series.pages
    ]
    if any(page is None for page in pages):
        raise DataError(f"{path}: a plane of the series is missing")
    if len(pages) > MAX_CHANNELS:
        raise DataError(f"{path} holds {len(pages)} planes; a guide has at most {MAX_CHANNELS}")
    if len(pages) == 1 and series.keyframe.imagedepth > 1:
        raise DataError(f"{path} holds a volume; a guide is one plane: export it by itself")
    count = math.prod(
        side
        for axis, side in zip(series.get_axes(True), series.get_shape(True), strict=True)
        if axis not in "YXS"
    )
    if count != len(pages):
        raise DataError(
            f"{path}: the file announces {count} planes and holds {len(pages)}; it is written as one "
            "block. Save it with one page a channel (OME-TIFF)"
        )
    return pages


def _on_level(part: slice, finest: int, side: int) -> slice:
    start = part.start * side // finest
    stop = -(-part.stop * side // finest)
    return slice(start, min(max(stop, start + 1), side))


def _page_region(
    path: Path, page: Any, rows: slice, columns: slice, max_pixels: int
) -> NDArray[np.generic]:
    """Decode the tiles or strips of one page that touch the region: ``(row, column, sample)``."""
    tall = int(page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength))
    wide = int(page.tilewidth if page.is_tiled else page.imagewidth)
    if tall < 1 or wide < 1 or tall * wide > max(max_pixels, 2**24):
        raise DataError(f"{path}: tiles of {tall} x {wide} pixels are no tiles; is it damaged?")
    separate = page.planarconfig == 2 and page.samplesperpixel > 1
    contiguous = 1 if separate else int(page.samplesperpixel)
    shape = (rows.stop - rows.start, columns.stop - columns.start, int(page.samplesperpixel))
    out = np.full(shape, page.nodata, dtype=page.dtype)
    down, across = -(-page.imagelength // tall), -(-page.imagewidth // wide)
    tables = page.tags.get("JPEGTables")
    extra = {} if tables is None else {"jpegtables": tables.value}
    file = page.parent.filehandle
    for plane in range(int(page.samplesperpixel) if separate else 1):
        for i in range(rows.start // tall, -(-rows.stop // tall)):
            for j in range(columns.start // wide, -(-columns.stop // wide)):
                index = (plane * down + i) * across + j
                if index >= len(page.dataoffsets):
                    raise DataError(f"{path}: tile {index} is not in the file; is it complete?")
                if not page.databytecounts[index]:
                    continue
                file.seek(page.dataoffsets[index])
                packed = file.read(page.databytecounts[index])
                if len(packed) < page.databytecounts[index]:
                    raise DataError(f"{path} ends inside tile {index}; copy it again")
                tile = page.decode(packed, index, **extra)[0]
                if tile is None:
                    continue
                tile = np.asarray(tile)[0][..., :contiguous]
                top, left = i * tall, j * wide
                a, b = max(rows.start, top), min(rows.stop, top + tile.shape[0])
                c, d = max(columns.start, left), min(columns.stop, left + tile.shape[1])
                out[
                    a - rows.start : b - rows.start,
                    c - columns.start : d - columns.start,
                    plane : plane + contiguous,
                ] = tile[a - top : b - top, c - left : d - left]
    return out


def _colour_facts(tiff: Any, page: Any, planes: int) -> ColourFacts:
    bits = int(page.bitspersample)
    odd_depth = np.issubdtype(page.dtype, np.integer) and bits not in (8, 16, 32, 64)
    full_scale = float(2**bits - 1) if odd_depth else None
    extras = tuple(int(kind) for kind in page.extrasamples)
    if page.photometric == _SEPARATED:
        return ColourFacts(model="cmyk", full_scale=full_scale)
    if page.photometric == _WHITE_IS_ZERO:
        return ColourFacts(model="white-is-zero", full_scale=full_scale)
    alpha = (
        planes == 1 and len(extras) == 1 and extras[0] in (_ASSOCIATED_ALPHA, _UNASSOCIATED_ALPHA)
    )
    return ColourFacts(
        alpha=alpha,
        premultiplied=alpha and extras[0] == _ASSOCIATED_ALPHA,
        full_scale=full_scale,
        names=_ome_channel_names(tiff),
    )


def _ome_channel_names(tiff: Any) -> tuple[str, ...]:
    if not tiff.is_ome:
        return ()
    channels = _first_image(tiff).get("Channel", [])
    channels = [channels] if isinstance(channels, dict) else channels
    names = tuple(str(channel.get("Name", "")) for channel in channels)
    return names if all(names) else ()


def _first_image(tiff: Any) -> dict[str, Any]:
    """Return the Pixels element of the first OME image, as tifffile parses it."""
    import tifffile

    try:
        image = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]
        image = image[0] if isinstance(image, list) else image
        pixels = image["Pixels"]
    except Exception:  # malformed OME-XML costs the names and the size, not the picture
        return {}
    return pixels if isinstance(pixels, dict) else {}


def _pixel_size(tiff: Any, series: Any) -> float:
    """Micrometres per pixel of the finest level, from OME-XML, Aperio, ImageJ or the TIFF tags."""
    if tiff.is_ome:
        pixels = _first_image(tiff)
        sizes = [
            pixel_size_in_um(
                _number(pixels.get(f"PhysicalSize{axis}")), pixels.get(f"PhysicalSize{axis}Unit")
            )
            for axis in "XY"
        ]
        if not any(math.isnan(size) for size in sizes):
            return _square(sizes[0], sizes[1], tiff.filename)
    page = series.keyframe
    stated = re.search(r"\bMPP\s*=\s*([0-9.]+)", page.description or "")
    if stated:
        return pixel_size_in_um(_number(stated[1]), "µm")
    tags = [page.tags.get(name) for name in ("XResolution", "YResolution", "ResolutionUnit")]
    if tags[0] is None or tags[1] is None:
        return math.nan
    density = tuple(_ratio(tag.value) for tag in tags[:2])
    unit_um = _RESOLUTION_UNIT_UM.get(2 if tags[2] is None else int(tags[2].value), math.nan)
    if tiff.is_imagej:
        unit = str((tiff.imagej_metadata or {}).get("unit", ""))
        if unit in MICROMETRES and min(density) > 0:
            return _square(
                MICROMETRES[unit] / density[0], MICROMETRES[unit] / density[1], tiff.filename
            )
    return math.nan if math.isnan(unit_um) else pixel_size_from_density(density, unit_um)


def _square(x_um: float, y_um: float, source: str) -> float:
    size = square_pixel(x_um, y_um)
    if math.isnan(size):
        warn_about_data(
            f"{source}: pixels of {x_um:g} x {y_um:g} µm are not square; the pixel size is left "
            "unknown, and an affine transform has to carry the ratio"
        )
    return size


def _ratio(value: Any) -> float:
    return value[0] / value[1] if isinstance(value, tuple) and value[1] else 0.0


def _number(value: object) -> float | None:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
