"""Decode PNG, JPEG, BMP and GIF: every frame at its full depth, upright, with what its samples mean."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from msibench.errors import DataError
from msibench.io.pixel_size import pixel_size_from_density
from msibench.io.samples import PixelSamples

if TYPE_CHECKING:
    from PIL.Image import Image

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
ORIENTATION = 0x0112


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of a file."""

    pixels: NDArray[np.generic]
    """``(row, column, sample)``, upright."""
    samples: PixelSamples
    pixel_size_um: float
    """NaN where the file states none that is valid."""


def open_picture(path: Path, formats: tuple[str, ...]) -> Image:
    """Open a picture with Pillow without decoding it; limits on its size are the caller's."""
    from PIL import Image

    with warnings.catch_warnings():
        # The caller's limit replaces Pillow's warning; Pillow's hard limit still holds.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(path, formats=formats)


def decode_frame(path: Path, image: Image, index: int = 0) -> Frame:
    """Decode one frame of an open picture.

    The orientation that a camera noted (EXIF) is applied, as every viewer does.
    """
    if index or image.tell() != index:
        image.seek(index)
    pixels, samples = _decode(path, image)
    size = pixel_size_from_density(image.info.get("dpi"), unit_um=25_400.0)
    return Frame(_upright(pixels, orientation(image)), samples, size)


def frames(image: Image) -> int:
    """Return how many pictures a file holds."""
    return int(getattr(image, "n_frames", 1))


def orientation(image: Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 where none is valid."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # damaged EXIF data cost the orientation, not the picture
        try:
            value = image.getexif().get(ORIENTATION, 1)
        except Exception:
            return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def upright_shape(image: Image) -> tuple[int, int]:
    """Return ``(row, column)`` of an open picture as it is seen."""
    shape = (image.height, image.width)
    return shape if orientation(image) < 5 else (shape[1], shape[0])


def _upright(pixels: NDArray[np.generic], turned: int) -> NDArray[np.generic]:
    """Turn ``(row, column, sample)`` as the orientation tag asks."""
    if turned >= 5:
        pixels = pixels.swapaxes(0, 1)
    if turned in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if turned in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _decode(path: Path, image: Image) -> tuple[NDArray[np.generic], PixelSamples]:
    """Return ``(row, column, sample)`` and what the samples mean."""
    with path.open("rb") as file:
        magic = file.read(32)
    if magic[:8] == PNG and len(magic) > 25 and magic[24] == 16:
        if frames(image) > 1:
            raise DataError(f"{path.name}: 16-bit animations are not supported; save it as TIFF")
        return _sixteen_bits(path)
    mode = image.mode
    transparent = mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info
    if mode == "CMYK":  # of Adobe's inverted files, too, Pillow hands back amounts of ink
        return np.asarray(image), PixelSamples("cmyk")
    if mode in ("1", "L") and not transparent:
        return np.asarray(image.convert("L"))[..., None], PixelSamples()
    if mode in ("1", "L", "LA", "La"):
        return np.asarray(image.convert("LA")), PixelSamples(alpha=1)
    if mode.startswith("I") or mode == "F":
        return np.asarray(image)[..., None], PixelSamples()
    wanted = "RGBA" if transparent else "RGB"
    return np.asarray(image.convert(wanted)), PixelSamples("rgb", alpha=3 if transparent else None)


def _sixteen_bits(path: Path) -> tuple[NDArray[np.generic], PixelSamples]:
    """Decode a PNG of 16 bits, which Pillow would cut down to 8 where it has colours or opacity."""
    import imagecodecs

    pixels = np.asarray(imagecodecs.png_decode(path.read_bytes()))
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    count = pixels.shape[-1]
    return pixels, PixelSamples(
        "rgb" if count > 2 else "grey", alpha=count - 1 if count in (2, 4) else None
    )
