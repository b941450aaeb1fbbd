"""What the samples of an image file mean: colours, opacity, palette, or intensities.

This is decided here alone, for sections and guides alike. `additive` makes light in [0, 1] of
them, for guides; `intensities` gives the stored numbers of what is an intensity image, and rejects
all others.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from msibench.errors import DataError
from msibench.io.data_warning import warn_about_data

if TYPE_CHECKING:
    from tifffile import TiffPage

Model = Literal["grey", "white-is-zero", "rgb", "palette", "cmyk", "ycbcr", "cielab", "icclab"]

MODEL_OF_TIFF: dict[int, Model] = {
    0: "white-is-zero", 1: "grey", 2: "rgb", 3: "palette", 5: "cmyk", 6: "ycbcr", 8: "cielab",
    9: "icclab",
}  # fmt: skip
OTHERS_OF_TIFF = {
    4: "a transparency mask", 10: "an ITU L*a*b* picture", 32803: "a raw mosaic of a camera",
    32844: "a LogL picture", 32845: "a LogLuv picture", 34892: "raw data of a camera",
}  # fmt: skip
COLOURS: dict[Model, int] = {
    "grey": 1, "white-is-zero": 1, "rgb": 3, "palette": 1, "cmyk": 4, "ycbcr": 3, "cielab": 3,
    "icclab": 3,
}  # fmt: skip
NAMED: dict[Model, str] = {
    "rgb": "a colour picture", "palette": "a picture with a colour palette",
    "cmyk": "a CMYK picture", "ycbcr": "a YCbCr picture", "cielab": "a CIE L*a*b* picture",
    "icclab": "a CIE L*a*b* picture",
}  # fmt: skip
ASSOCIATED, UNASSOCIATED = 1, 2
JPEGS = {6, 7, 33003, 33005, 34712}
"""Compressions whose decoders turn YCbCr into RGB themselves."""


@dataclass(frozen=True, slots=True, eq=False)
class PixelSamples:
    """What the samples of a pixel mean."""

    model: Model = "grey"
    """``"grey"``: any number of channels, each with black as zero."""
    alpha: int | None = None
    """Which sample is opacity."""
    premultiplied: bool = False
    """Whether the colours were already multiplied by the opacity."""
    full_scale: float | None = None
    """Sample value that means 1; None: the largest of the integer type, 1 for floats."""
    palette: NDArray[np.integer] | None = None
    """Colours that the indices of a palette image stand for, ``(entry, 3)``."""
    palette_scale: float = 65_535.0
    """Palette value that means 1."""


def tiff_samples(source: Path, page: TiffPage) -> PixelSamples:
    """Return what the samples of a TIFF page mean.

    Raises
    ------
    DataError
        If their colour model is not supported, or their number does not fit.
    """
    photometric = int(page.photometric)
    model = MODEL_OF_TIFF.get(photometric)
    if model is None:
        what = OTHERS_OF_TIFF.get(photometric, f"of photometric interpretation {photometric}")
        raise DataError(
            f"{source.name}: is {what}, which is not supported; save it as RGB or greyscale."
        )
    if model == "ycbcr" and int(page.compression) in JPEGS:
        model = "rgb"
    count = int(page.samplesperpixel)
    extras = tuple(int(kind) for kind in page.extrasamples or ())
    if count - len(extras) < COLOURS[model]:
        raise DataError(
            f"{source.name}: is {NAMED.get(model, 'a greyscale picture')} and has "
            f"{count - len(extras)} colour samples a pixel, {COLOURS[model]} are needed; it is "
            "damaged. Export it again."
        )
    if model == "cmyk" and (inks := page.tags.get("InkSet")) is not None and int(inks.value) != 1:
        raise DataError(f"{source.name}: holds inks other than CMYK; save it as RGB.")
    if model == "ycbcr" and tuple(page.subsampling or (1, 1)) != (1, 1):
        raise DataError(
            f"{source.name}: is YCbCr with fewer colours than pixels (subsampled) and not compressed as JPEG, which is not supported; save it as RGB."
        )
    alpha = next((i for i, kind in enumerate(extras) if kind in (ASSOCIATED, UNASSOCIATED)), None)
    bits = page.bitspersample
    whole = page.dtype is not None and page.dtype.kind in "ui"
    odd = whole and isinstance(bits, int) and bits not in (8, 16, 32, 64)
    palette, palette_scale = _palette(source, page) if model == "palette" else (None, 1.0)
    return PixelSamples(
        model,
        alpha=None if alpha is None else count - len(extras) + alpha,
        premultiplied=alpha is not None and extras[alpha] == ASSOCIATED,
        full_scale=float(2**bits - 1) if odd else None,
        palette=palette,
        palette_scale=palette_scale,
    )


def _palette(source: Path, page: TiffPage) -> tuple[NDArray[np.integer], float]:
    """Return a page's colours, ``(entry, 3)``, and the value that means full light.

    A map has 16 bits; one whose entries all fit in 8 was written in 8, as libtiff takes it, too.
    """
    if page.colormap is None:
        raise DataError(f"{source.name}: is a palette image without its palette; export it again.")
    colours = np.moveaxis(np.asarray(page.colormap), 0, -1)
    return colours, 255.0 if colours.max(initial=0) < 256 else 65_535.0


def additive(
    pixels: NDArray[np.generic], samples: PixelSamples, source: str
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Return light and opacity, both in [0, 1]: ``(row, column, channel)`` and ``(row, column)``.

    Raises
    ------
    DataError
        If the samples are of a type or number that is not an image.
    """
    colours, opacity = _apart(pixels, samples, source)
    if samples.palette is not None:
        shown = _looked_up(colours[..., 0], samples.palette, source) / samples.palette_scale
        return shown.astype(np.float32), opacity
    if samples.model in ("cielab", "icclab"):
        return _from_lab(colours, samples.model, source), opacity
    light = unit_range(colours, samples.full_scale, source)
    if samples.model == "ycbcr":
        light = _from_ycbcr(light)
    if samples.premultiplied and opacity is not None:
        light = _straight(light, opacity)
    if samples.model == "white-is-zero":
        light = np.float32(1) - light
    if samples.model == "cmyk":
        if light.shape[-1] < 4:
            raise DataError(f"{source}: expected 4 inks of CMYK, got {light.shape[-1]} samples")
        light = (np.float32(1) - light[..., :3]) * (np.float32(1) - light[..., 3:4])
    return light, opacity


def intensities(
    pixels: NDArray[np.generic], samples: PixelSamples, source: str
) -> tuple[NDArray[np.generic], NDArray[np.bool_] | None]:
    """Return the stored numbers of an intensity image, ``(channel, row, column)``, and its mask.

    Pixels that are less than half opaque leave the mask. RGB and palettes whose colours are all
    grey are one intensity.

    Raises
    ------
    DataError
        It shows an ion image through a colour map or is an optical image, or it is unclear which
        of its numbers are large intensities.
    """
    colours, opacity = _apart(pixels, samples, source)
    mask = None if opacity is None or bool((opacity >= 0.5).all()) else opacity >= 0.5
    if samples.model == "white-is-zero":
        raise DataError(
            f"{source}: declares 0 as white (MinIsWhite), so its largest numbers are its darkest pixels; it is unclear which of them are large intensities. Save it with black "
            "as zero (MinIsBlack)."
        )
    if samples.palette is not None:
        colours = _looked_up(colours[..., 0], samples.palette, source)
    elif samples.model not in ("grey", "rgb"):
        raise _no_intensities(source, samples.model)
    if samples.model != "grey":
        grey = colours[..., :1]
        if colours.shape[-1] > 3 or not (colours == grey).all():
            raise _no_intensities(source, samples.model)
        colours = grey
    if (
        samples.premultiplied
        and opacity is not None
        and bool(((opacity > 0) & (opacity < 1)).any())
    ):
        colours = _straight(colours.astype(np.float32), opacity)
    return np.moveaxis(colours, -1, 0), mask


def unit_range(
    pixels: NDArray[np.generic], full_scale: float | None, source: str
) -> NDArray[np.float32]:
    """Bring samples to [0, 1] by the range of their type; floats as they are, or by their largest.

    Raises
    ------
    DataError
        If they are not numbers.
    """
    if pixels.dtype == np.bool_:
        return pixels.astype(np.float32)
    if np.issubdtype(pixels.dtype, np.integer):
        top = float(np.iinfo(pixels.dtype).max) if full_scale is None else full_scale  # type: ignore[type-var]
        if pixels.dtype.kind == "i" and pixels.size and int(pixels.min()) < 0:
            warn_about_data(f"{source}: samples below 0 (down to {pixels.min()}) are set to 0")
        return np.clip(pixels.astype(np.float64) / top, 0, 1).astype(np.float32)
    if not np.issubdtype(pixels.dtype, np.floating):
        raise DataError(f"{source}: samples of type {pixels.dtype} are not an image")
    finite = pixels[np.isfinite(pixels)]
    if finite.size and (finite.min() < 0 or finite.max() > 1):
        top = float(finite.max())
        warn_about_data(
            f"{source}: floating-point samples from {float(finite.min()):g} to {top:g}; expected "
            "[0, 1]. Negative values are set to 0 and the rest is divided by the largest"
        )
        pixels = np.maximum(pixels.astype(np.float64), 0) / (top if top > 0 else 1.0)
    values = pixels.astype(np.float32)
    return np.where(np.isinf(values), np.float32(np.nan), values)


def _apart(
    pixels: NDArray[np.generic], samples: PixelSamples, source: str
) -> tuple[NDArray[np.generic], NDArray[np.float32] | None]:
    """Return colour samples and opacity; samples that are neither stay with grey, others lose them."""
    opacity = None
    if samples.alpha is not None:
        opacity = unit_range(pixels[..., samples.alpha], samples.full_scale, source)
        pixels = np.delete(pixels, samples.alpha, axis=-1)
    kept = COLOURS[samples.model]
    if samples.model in ("palette", "cmyk", "ycbcr", "cielab", "icclab"):
        pixels = pixels[..., :kept]
    return pixels, opacity


def _looked_up(
    index: NDArray[np.generic], palette: NDArray[np.integer], source: str
) -> NDArray[np.integer]:
    numbers = index.astype(np.intp)
    if numbers.size and not 0 <= numbers.min() <= numbers.max() < len(palette):
        raise DataError(
            f"{source}: holds palette index {numbers.max()}, its palette has {len(palette)} colours; "
            "it is damaged. Export it again."
        )
    return np.asarray(palette[numbers])


def _straight(colours: NDArray[np.float32], opacity: NDArray[np.float32]) -> NDArray[np.float32]:
    """Undo a multiplication by the opacity; 0 where nothing is seen."""
    seen = np.broadcast_to(opacity[..., None], colours.shape)
    return np.asarray(np.divide(colours, seen, out=np.zeros_like(colours), where=seen > 0))


def _from_ycbcr(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn YCbCr of the full range into RGB (ITU-R BT.601, as TIFF's and JFIF's default)."""
    luma, blue, red = (samples[..., channel] for channel in range(3))
    blue, red = blue - np.float32(128 / 255), red - np.float32(128 / 255)
    light = np.stack(
        [luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue], axis=-1
    )
    return np.asarray(np.clip(light, 0, 1), dtype=np.float32)


def _from_lab(pixels: NDArray[np.generic], model: Model, source: str) -> NDArray[np.float32]:
    """Turn CIE L*a*b* (D50) into sRGB (D65), by way of XYZ.

    TIFF stores L* as 0 to 255 (65,535) for 0 to 100; a* and b* as signed numbers (``"cielab"``), or
    128 (32,768) more than that (``"icclab"``), in 256ths for 16 bits.
    """
    if pixels.dtype.kind not in "ui" or pixels.dtype.itemsize > 2:
        raise DataError(
            f"{source}: L*a*b* samples of type {pixels.dtype} are not read; save as RGB."
        )
    wide = pixels.dtype.itemsize == 2
    raw = pixels.astype(np.float64)
    lightness = raw[..., 0] * 100 / (65_535 if wide else 255)
    half = 32_768 if wide else 128
    chroma = raw[..., 1:]
    if pixels.dtype.kind == "i":
        lightness = np.where(lightness < 0, lightness + 200 * half / (2 * half - 1), lightness)
    else:
        chroma = chroma - half if model == "icclab" else (chroma + half) % (2 * half) - half
    chroma = chroma / 256 if wide else chroma
    middle = (lightness + 16) / 116
    roots = np.stack(
        [middle + chroma[..., 0] / 500, middle, middle - chroma[..., 1] / 200], axis=-1
    )
    ratio = np.where(roots > 6 / 29, roots**3, 3 * (6 / 29) ** 2 * (roots - 4 / 29))
    linear = (ratio * WHITE_D50) @ RGB_OF_XYZ_D50.T
    linear = np.clip(linear, 0, 1)
    light = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(light, dtype=np.float32)


WHITE_D50 = np.array([0.96422, 1.0, 0.82521])
RGB_OF_XYZ_D50 = np.array(
    [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ]
)
"""sRGB of XYZ under D50, Bradford-adapted (B. Lindbloom, http://www.brucelindbloom.com)."""


def _no_intensities(source: str, model: Model) -> DataError:
    stack = " (three ion images with photometric='minisblack')" if model == "rgb" else ""
    return DataError(
        f"{source}: is {NAMED[model]}; an ion image has one intensity a pixel. If it is the optical image, give "
        "it as the guide (--guide; in `msibench register` it comes first); if it is an ion image, export it "
        f"without a colour map{stack}."
    )
