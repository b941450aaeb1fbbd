"""Optical images as guides: PNG, JPEG, TIFF, OME-TIFF and pyramids, as whole images or regions.

Whatever the file holds (grey, palette, RGB, RGBA, CMYK, 8, 16 or 32 bits) becomes ``(channel, row,
column)`` in [0, 1]; transparency becomes the guide's mask. The size is read from the header and
judged before a pixel is decoded. Orientation tags are not applied: landmarks and transforms are
counted on the stored grid, as Fiji does.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msibench.errors import DataError, MissingDataError
from msibench.image import GuideImage
from msibench.io.guide.colour import ColourFacts, guide_from_pixels
from msibench.io.guide.limits import Region, check_size, resolve_region
from msibench.io.guide.tiff import read_tiff_guide
from msibench.io.pixel_size import pixel_size_from_density
from msibench.stand_ins import stand_in

MAX_PIXELS = 100_000_000
"""Largest number of pixels that is decoded at once unless the caller says otherwise."""

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


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
        PNG, JPEG, TIFF or OME-TIFF file, told apart by content and not by name.
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
    if magic[:4] in _TIFF_MAGIC:
        return read_tiff_guide(path, region, level, target_um, max_pixels)
    if magic[:8] == _PNG_MAGIC or magic[:3] == b"\xff\xd8\xff":
        if level not in (None, 0):
            raise DataError(f"{path}: a PNG or JPEG file has level 0 only, level {level} asked for")
        return _read_flat(path, magic, region, max_pixels)
    if instead := stand_in(path):
        raise DataError(f"{path} {instead}")
    raise DataError(
        f"{path} is neither PNG, JPEG nor TIFF (it begins with {magic[:8]!r}); export it as "
        "OME-TIFF, for instance with QuPath or bioformats2raw"
    )


def _read_flat(path: Path, magic: bytes, region: Region | None, max_pixels: int) -> GuideImage:
    """Read a PNG or JPEG, whose pixels can only be decoded all together."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            # The limit of this function replaces PIL's warning; PIL's hard limit still holds.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=("PNG", "JPEG")) as image:
                check_size(path, (image.height, image.width), max_pixels)
                pixel_size = pixel_size_from_density(image.info.get("dpi"), unit_um=25_400.0)
                pixels, facts = _decode(path, image, magic)
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
    rows, columns = resolve_region(path, region, (pixels.shape[0], pixels.shape[1]))
    return guide_from_pixels(pixels[rows, columns], facts, pixel_size, source=str(path))


def _decode(path: Path, image: object, magic: bytes) -> tuple[NDArray[np.generic], ColourFacts]:
    """Return ``(row, column, sample)`` and what the samples mean."""
    from PIL import Image

    assert isinstance(image, Image.Image)
    sixteen_bit_png = magic[:8] == _PNG_MAGIC and len(magic) > 25 and magic[24] == 16
    if sixteen_bit_png:  # PIL would cut 16-bit colour down to 8 bits
        import imagecodecs

        try:
            pixels = np.asarray(imagecodecs.png_decode(path.read_bytes()))
        except Exception as error:
            raise DataError(
                f"{path} cannot be decoded ({error}); is the file complete? Copy it again"
            ) from error
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
        return pixels, ColourFacts(alpha=pixels.shape[-1] in (2, 4))
    transparent = image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info
    if image.mode == "CMYK":  # of Adobe's inverted files, too, PIL hands back amounts of ink
        return np.asarray(image), ColourFacts(model="cmyk")
    if image.mode in ("1", "L") and not transparent:
        return np.asarray(image.convert("L"))[..., None], ColourFacts()
    if image.mode == "L" or image.mode == "LA":
        return np.asarray(image.convert("LA")), ColourFacts(alpha=True)
    if image.mode.startswith("I") or image.mode == "F":
        return np.asarray(image)[..., None], ColourFacts()
    wanted = "RGBA" if transparent else "RGB"
    return np.asarray(image.convert(wanted)), ColourFacts(alpha=transparent)
