"""TIFF, OME-TIFF and pyramids: one level, one region, only the tiles that are needed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from msibench.errors import DataError
from msibench.image import GuideImage
from msibench.io.guide.colour import guide_from_pixels
from msibench.io.guide.limits import Region, check_size, resolve_region
from msibench.io.samples import tiff_samples
from msibench.io.sub_images import grid, main_series, name_unread, warn_of_orientation
from msibench.io.tiff_guard import check_page, check_tiff
from msibench.io.tiff_tags import channel_names, guide_pixel_size

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffPageSeries

MAX_CHANNELS = 512


def read_tiff_guide(
    path: Path,
    region: Region | None,
    level: int | None,
    target_um: float | None,
    max_pixels: int,
) -> GuideImage:
    """Read one level of the largest image; see `msibench.io.guide.open.read_guide`."""
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
    tiff: TiffFile,
    region: Region | None,
    level: int | None,
    target_um: float | None,
    max_pixels: int,
) -> GuideImage:
    full = main_series(path, tiff)
    index = full[0]
    levels = tiff.series[index].levels
    finest = _grid(path, levels[0])
    if len(full) > 1:
        name_unread(path, [finest] * (len(full) - 1))
    size_um = guide_pixel_size(tiff, index)
    chosen = _choose_level(path, levels, finest, size_um, level, target_um)
    on_level = _grid(path, levels[chosen])
    rows, columns = resolve_region(path, region, finest)
    rows, columns = (
        _on_level(rows, finest[0], on_level[0]),
        _on_level(columns, finest[1], on_level[1]),
    )
    check_size(path, (rows.stop - rows.start, columns.stop - columns.start), max_pixels)
    pages = _planes(path, levels[chosen])
    for page in pages:
        check_page(path, page)
    samples = tiff_samples(path, pages[0])
    if len(pages) > 1 and (
        samples.model not in ("grey", "white-is-zero") or samples.alpha is not None
    ):
        raise DataError(
            f"{path}: holds {len(pages)} planes, each a picture of {pages[0].samplesperpixel} samples a "
            "pixel; a guide is a single picture: export it by itself"
        )
    planes = [_page_region(path, page, rows, columns, max_pixels) for page in pages]
    warn_of_orientation(path, pages[0])
    scale = (finest[0] / on_level[0] + finest[1] / on_level[1]) / 2
    return guide_from_pixels(
        np.concatenate(planes, axis=-1),
        samples,
        size_um * scale,
        source=str(path),
        names=channel_names(tiff, index) if samples.model == "grey" else (),
    )


def _choose_level(
    path: Path,
    levels: list[TiffPageSeries],
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


def _grid(path: Path, series: TiffPageSeries) -> tuple[int, int]:
    """Rows and columns of a series of one plane, whatever the order of its axes."""
    for axis, side in zip(series.get_axes(True), series.get_shape(True), strict=True):
        if axis not in "YXSC" and axis not in "QI" and side > 1:
            raise DataError(
                f"{path}: axis {axis} holds {side} planes ({series.get_axes(True)} "
                f"{tuple(series.get_shape(True))}); a guide is a single plane: export it by itself"
            )
    return grid(path, series)


def _planes(path: Path, series: TiffPageSeries) -> list[TiffPage]:
    """Return the pages of a series, each one plane with all its samples."""
    pages = [
        getattr(page, "aspage", lambda p=page: p)() for page in series.pages if page is not None
    ]
    if len(pages) < len(series.pages):
        raise DataError(f"{path}: a plane of the series is missing")
    if len(pages) > MAX_CHANNELS:
        raise DataError(f"{path} holds {len(pages)} planes; a guide has at most {MAX_CHANNELS}")
    if len(pages) == 1 and series.keyframe.imagedepth > 1:
        raise DataError(f"{path} holds a volume; a guide is a single plane: export it by itself")
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
    path: Path, page: TiffPage, rows: slice, columns: slice, max_pixels: int
) -> NDArray[np.generic]:
    """Decode the tiles or strips of one page that touch the region: ``(row, column, sample)``."""
    tall = int(page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength))
    wide = int(page.tilewidth if page.is_tiled else page.imagewidth)
    if tall < 1 or wide < 1 or tall * wide > max(max_pixels, 2**24):
        raise DataError(
            f"{path}: tiles of {tall} x {wide} pixels are not possible; is the file damaged?"
        )
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
