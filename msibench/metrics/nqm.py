"""Noise quality measure of Damera-Venkata et al. (2000), as MeTriX MuX computes it.

Both images are split into six cosine-log bands; contrast in each band is Peli's local one. Errors
that the eye would not notice beside the reference's own contrast are taken out, as is every detail
below the threshold of detection; the measure is the ratio of what is left of the reference to what
is left of the error. Written from a description of the algorithm; agrees with the original MATLAB
code to rounding error.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msibench.metrics import frequency
from msibench.metrics.kept import of_images
from msibench.metrics.pairs import (
    ImagePair,
    Images,
    ImagesT,
    Mask,
    Precision,
    check_data_range,
    pair_images,
)
from msibench.metrics.separable import as_like

VIEWING_ANGLE_DEG = 16.37022271802352
"""Angle that the image subtends at the eye in MeTriX; turns cycles/image into cycles/degree."""
BANDS = 5
STRIP = 32
"""Rows that are worked on at a time."""
NO_DETAIL = "the reference has no visible detail: the ratio is minus infinity"
NO_ERROR = "the test has no visible error: the ratio is infinite"
NEITHER = "neither image has visible detail: the ratio is 0/0"


def nqm(
    test: ImagesT,
    reference: ImagesT,
    *,
    data_range: float = 1.0,
    mask: Mask | None = None,
    dtype: Precision = "float64",
) -> ImagesT:
    """Noise quality measure in dB; higher is better.

    The measure has no scale, but it depends on the image size: frequencies count in cycles per image,
    and nothing above 64 cycles per image is seen. Evaluate whole images and compare like with like.

    A large image is transformed as a whole too, as a tile would have other frequencies: images are taken
    one after the other, each with about 22 times its own float64 size in memory.

    Parameters
    ----------
    test, reference
        Images ``(..., row, column)``, numpy arrays or torch tensors. Not symmetric.
    data_range
        Not used beyond its check: scaling both images alike changes nothing.
    mask
        bool ``(row, column)``: both images are cut to its bounding box and are 0 outside of it.
    dtype
        Precision to compute in.

    Returns
    -------
    One float64 value per image, ``(...)``; 0 for a test without detail. NaN where the ratio would be
    infinite (no visible error, no visible detail in the reference) or 0/0, and for images with NaN.

    References
    ----------
    .. [1] Damera-Venkata et al., IEEE Trans. Image Process. 9 (2000) 636-650.
    .. [2] Peli, J. Opt. Soc. Am. A 7 (1990) 2032-2040 (contrast in bands).

    Examples
    --------
    >>> import numpy as np
    >>> reference = np.random.default_rng(0).random((48, 64))
    >>> gain = float(nqm(0.5 * reference, reference))
    >>> bool(np.isclose(gain, float(nqm(50 * reference, 100 * reference))))
    True
    """
    check_data_range(data_range)
    pair = pair_images(test, reference, mask=mask, dtype=dtype)
    signal, noise = _energies(pair)
    with np.errstate(divide="ignore", invalid="ignore"):
        values: ImagesT = pair.values(10 * pair.xp.log10(signal / noise))
    return values


def why_undefined(
    test: Images, reference: Images, *, mask: Mask | None = None, **_: object
) -> list[str]:
    """Return for each image why `nqm` is NaN; empty where it is defined."""
    pair = pair_images(test, reference, mask=mask)
    signal, noise = _energies(pair)
    return pair.reasons(
        ((signal == 0) & (noise == 0), NEITHER),
        (signal == 0, NO_DETAIL),
        (noise == 0, NO_ERROR),
    )


def _energies(pair: ImagePair) -> tuple[Any, Any]:
    """Return the energy of the visible reference and of the visible error, ``(image,)`` each."""
    whole = pair.cropped()
    nothing = whole.to_float64(whole.usable) * 0
    if 0 in whole.shape or not len(whole.test):
        return nothing, nothing
    parts = [_energies_of(part) for part in whole.chunks(pixels=1 << 22)]
    signal, noise = (pair.xp.concatenate(sums) for sums in zip(*parts, strict=True))
    return signal, noise


def _energies_of(pair: ImagePair) -> tuple[Any, Any]:
    reference = of_images("nqm", pair.reference, lambda: list(_bands(pair.reference, pair.xp)))
    bands = [reference, list(_bands(pair.test, pair.xp))]
    # Some twenty passes follow: on a processor they go by strips that stay in its cache.
    height = STRIP if pair.on_host() else pair.shape[0]
    signal = noise = 0.0
    for top in range(0, pair.shape[0], height):
        strip = (slice(None), slice(top, top + height))
        parts, test_parts = ([band[strip] for band in side] for side in bands)
        detail, error = _visible(parts, test_parts, pair.xp)
        signal = signal + (detail * detail).sum((-2, -1))
        noise = noise + (error * error).sum((-2, -1))
    return signal, noise


def _visible(bands: list[Any], test_bands: list[Any], xp: ModuleType) -> tuple[Any, Any]:
    """Return the detail of the reference that the eye sees, and the part of it that the test gets wrong."""
    detail, error = xp.zeros_like(bands[0]), xp.zeros_like(bands[0])
    one = xp.ones_like(bands[0][:1, :1, :1])
    below, test_below = bands[0], test_bands[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        for index in range(BANDS):
            band, test_band = bands[index + 1], test_bands[index + 1]
            contrast, test_contrast = band / below, test_band / test_below
            below, test_below = below + band, test_below + test_band
            strength = abs(test_contrast)
            # Contrast above 1, of either sign, is clipped to +1: so does the original.
            clipped = xp.where(strength > 1, one, test_contrast)
            hidden = abs(clipped - contrast) - (0.86 * contrast - 0.56 * MASKING[index]) < 0
            # "Below the threshold" rather than "not above": an undefined contrast keeps its detail.
            faint, test_faint = abs(contrast) < DETECTION[index], strength < DETECTION[index]
            # Products with 0 and 1 choose exactly, and faster than branches on noise do.
            seen = band * ~faint
            masked = band * hidden + test_band * ~hidden
            detail += seen
            error += seen - masked * ~test_faint
    return detail, error


def _bands(images: Any, xp: ModuleType) -> Iterator[Any]:
    """Yield the low-pass image and the five bands above it, ``(image, row, column)`` each."""
    rows, columns = (int(side) for side in images.shape[-2:])
    spectrum = frequency.forward(images, (rows, columns), xp)
    for band in band_filters(rows, columns):
        passed = as_like(band, images, xp)
        yield frequency.inverse(passed * spectrum[..., : band.shape[-1]], (rows, columns), xp)


@lru_cache(maxsize=16)
def band_filters(rows: int, columns: int) -> tuple[NDArray[np.float64], ...]:
    """Return the six cosine-log filters on the half plane of ``rfft2``, ``(row, frequency)`` each.

    Centres are 0, 2, 4, 8, 16 and 32 cycles/image. Distances count in frequency indices, whatever the
    aspect ratio, and the filters of odd sides are off by half an index, as in the original. Those
    are not even functions; the original keeps the real part of the result, which is what the even
    part of the filter gives.
    """
    vertical, horizontal = (np.arange(side) - side / 2 for side in (rows, columns))
    radius = np.hypot(vertical[:, None], horizontal)
    filters = np.stack([_lobe(radius + 2, 2), *(_lobe(radius, 2**k) for k in range(1, BANDS + 1))])
    filters = np.fft.fftshift(filters, axes=(1, 2))
    mirrored = np.roll(filters[:, ::-1, ::-1], 1, axis=(1, 2))
    even = (filters + mirrored) / 2
    half = even[:, :, : columns // 2 + 1]
    # Columns beyond the band's last frequency are zero and left out.
    widths = [int(np.flatnonzero(band.any(0)).max(initial=0)) + 1 for band in half]
    return tuple(band[:, :width].copy() for band, width in zip(half, widths, strict=True))


def _lobe(x: NDArray[np.float64], centre: float) -> NDArray[np.float64]:
    """Cosine on a logarithmic axis: 1 at `centre`, 0 an octave away from it and beyond."""
    octaves = np.log2(np.maximum(x, centre / 4)) - np.log2(centre)
    return np.where(abs(octaves) <= 1, 0.5 * (1 + np.cos(np.pi * octaves)), 0.0)


def _contrast_threshold(frequency: float) -> float:
    """Smallest contrast that the eye sees at `frequency`, in cycles/degree."""
    return 1 / (520 * (0.0192 + 0.114 * frequency) * float(np.exp(-((0.114 * frequency) ** 1.1))))


DETECTION = tuple(_contrast_threshold(2**k / VIEWING_ANGLE_DEG) for k in range(1, BANDS + 1))
"""Smallest visible contrast per band."""
MASKING = tuple(_contrast_threshold(k) for k in range(1, BANDS + 1))
"""Masking constants; the original takes the band's index for its frequency."""
