"""The levels of a pyramid, and which of them is needed."""

from __future__ import annotations

from pathlib import Path

from msibench.errors import DataError, MissingDataError
from msibench.io.guide.limits import MAX_PIXELS
from msibench.io.picture import open_picture, upright_shape
from msibench.io.tiff_guard import check_tiff

Levels = tuple[tuple[int, int], ...]
"""``(row, column)`` of every level, the finest first; one for a flat image."""

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def guide_levels(path: Path) -> Levels:
    """Return the grids that an optical image can be read on, from its header.

    Raises
    ------
    MissingDataError, DataError
        There is no such image, or it cannot be read.
    """
    if not path.is_file():
        raise MissingDataError(f"there is no guide image {path}; expected a PNG, JPEG or TIFF file")
    with path.open("rb") as file:
        magic = file.read(4)
    try:
        if magic not in TIFF_MAGIC:
            with open_picture(path, ("PNG", "JPEG")) as image:
                return (upright_shape(image),)
        import tifffile

        from msibench.io.sub_images import grid, main_series

        check_tiff(path)
        with tifffile.TiffFile(path, _multifile=False) as tiff:
            series = tiff.series[main_series(path, tiff, tell=False)[0]]
            return tuple(grid(path, level) for level in series.levels)
    except DataError:
        raise
    except Exception:  # what is wrong with it is said by whoever reads it
        return ()


def needed_level(levels: Levels, across: float, most: int = MAX_PIXELS) -> int:
    """Return the level to read for a grid that lies on the guide.

    The finest, as long as it may be decoded whole; else the coarsest whose pixels are no larger than
    those of the grid, or, where none is that fine, the finest that may be decoded.

    Parameters
    ----------
    levels
        Of the guide.
    across
        Pixels of the finest level along one pixel of the grid; NaN where it is not known.
    most
        Largest number of pixels that is decoded at once.
    """
    if not levels or levels[0][0] * levels[0][1] <= most:
        return 0
    small = [index for index, (rows, columns) in enumerate(levels) if rows * columns <= most]
    fine = [index for index in small if across * levels[index][0] / levels[0][0] >= 0.999]
    return max(fine) if fine else min(small, default=0)
