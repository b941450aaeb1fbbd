"""Optical images as guides: PNG, JPEG, TIFF, OME-TIFF and pyramids, as whole images or regions.

Whatever the file holds (grey, palette, RGB, RGBA, CMYK, 8, 16 or 32 bits) becomes ``(channel, row,
column)`` in [0, 1]; transparency becomes the guide's mask. The size is read from the header and
checked before a pixel is decoded. The orientation that a camera noted in a PNG or JPEG is applied, as
every viewer does; that of a TIFF is not, with a warning: landmarks and transforms are counted on the
stored grid, as Fiji does.
"""

from __future__ import annotations

from pathlib import Path

from msibench.errors import DataError, MissingDataError
from msibench.image import GuideImage
from msibench.io.data_warning import warn_about_data
from msibench.io.guide.colour import guide_from_pixels
from msibench.io.guide.levels import TIFF_MAGIC
from msibench.io.guide.limits import MAX_PIXELS, Region, check_size, resolve_region
from msibench.io.guide.tiff import read_tiff_guide
from msibench.io.picture import JPEG, PNG, decode_frame, frames, open_picture
from msibench.stand_ins import stand_in


def read_guide(
    path: str | Path,
    *,
    region: Region | None = None,
    level: int | None = None,
    target_um: float | None = None,
    max_pixels: int = MAX_PIXELS,
) -> GuideImage:
    """Read an optical image, or a part of one.

    Parameters
    ----------
    path
        PNG, JPEG, TIFF or OME-TIFF file, recognised by content, not by name.
    region
        ``(slice(top, bottom), slice(left, right))`` in pixels of the finest level. A tiled TIFF
        decodes only the tiles that it touches.
    level
        Level of a pyramid, 0 the finest.
    target_um
        Pixel size that is needed, in micrometres: the coarsest level that is at least as fine is
        taken. Needs a file that states its pixel size; not together with `level`.
    max_pixels
        Refuse to decode more pixels than these.

    Returns
    -------
    A guide on its own grid, ``pixel_size_um`` NaN where the file states none (a print resolution
    such as 72 or 300 dpi is none). To bring it onto a section, see `msibench.registration`.

    Raises
    ------
    MissingDataError
        If there is no such file.
    DataError
        If the file is damaged, of another format, larger than `max_pixels`, or has no such level or
        region.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingDataError(f"there is no guide image {path}; expected a PNG, JPEG or TIFF file")
    if level is not None and target_um is not None:
        raise DataError("give either level or target_um, not both")
    with path.open("rb") as file:
        magic = file.read(32)
    if instead := stand_in(path):
        raise DataError(f"{path} {instead}")
    if magic[:4] in TIFF_MAGIC:
        return read_tiff_guide(path, region, level, target_um, max_pixels)
    if magic[:8] == PNG or magic[:3] == JPEG:
        if level not in (None, 0):
            raise DataError(f"{path}: a PNG or JPEG file has level 0 only, level {level} asked for")
        return _read_flat(path, region, max_pixels)
    raise DataError(
        f"{path} is neither PNG, JPEG nor TIFF (it begins with {magic[:8]!r}); export it as "
        "OME-TIFF, for instance with QuPath or bioformats2raw"
    )


def _read_flat(path: Path, region: Region | None, max_pixels: int) -> GuideImage:
    """Read a PNG or JPEG, whose pixels can only be decoded all together."""
    from PIL import Image

    try:
        with open_picture(path, ("PNG", "JPEG")) as image:
            check_size(path, (image.height, image.width), max_pixels)
            further = frames(image) - 1 if image.format == "PNG" else 0
            frame = decode_frame(path, image)
    except Image.DecompressionBombError as error:
        raise DataError(
            f"{path} is too large to decode at once ({error}); save it as a tiled TIFF, of which "
            "regions and levels can be read"
        ) from error
    except Exception as error:  # a damaged picture makes its decoder raise anything
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path} cannot be decoded ({error}); is the file complete? Copy it again"
        ) from error
    if further:
        warn_about_data(f"{path.name}: an animation; {further} further frames are not read")
    rows, columns = resolve_region(path, region, (frame.pixels.shape[0], frame.pixels.shape[1]))
    return guide_from_pixels(
        frame.pixels[rows, columns], frame.samples, frame.pixel_size_um, source=str(path)
    )
