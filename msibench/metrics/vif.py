"""Visual information fidelity in the wavelet domain (LIVE's ``vifvec`` with MeTriX' padding).

Sheikh and Bovik model 3 x 3 neighbourhoods of a subband as a Gaussian scale mixture, the test as the
reference times a gain plus noise, and the eye as further noise. The measure is the information about
the scene that the test still carries, over the information that the reference carries.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msibench.metrics.kept import of_images
from msibench.metrics.metrix_padding import pad_like_metrix
from msibench.metrics.pairs import (
    ImagePair,
    Images,
    ImagesT,
    Mask,
    Precision,
    check_data_range,
    pair_images,
)
from msibench.metrics.products import one_thread, product
from msibench.metrics.separable import as_like
from msibench.metrics.steerable_pyramid import oriented_bands

BLOCK = 3
"""Side of the neighbourhoods that form one vector."""
EYE_NOISE = 0.4
"""Variance of the noise in the eye, on the 0..255 scale."""
WINDOWS = (17, 9, 5, 3)
"""Side of the window in which gain and noise are estimated, finest level first."""
TOLERANCE = 1e-15
STRIP = 16
"""Rows whose patches are gathered at a time: they stay in a processor's cache."""
REFERENCE_CONSTANT = "the reference is constant: it carries no information"
DEPENDENT = (
    "neighbouring wavelet coefficients of the reference depend on one another (it varies along one "
    "direction only): their covariance cannot be inverted"
)


def vif(
    test: ImagesT,
    reference: ImagesT,
    *,
    data_range: float = 1.0,
    mask: Mask | None = None,
    dtype: Precision = "float64",
) -> ImagesT:
    """Visual information fidelity, wavelet domain; 1 for identical images, higher is better.

    Parameters
    ----------
    test, reference
        Images ``(..., row, column)`` of any size, numpy arrays or torch tensors. Not symmetric.
    data_range
        Distance between the smallest and the largest possible intensity. Images are brought onto the
        0..255 scale first, because the noise of the eye is given there.
    mask
        bool ``(row, column)``: both images are cut to its bounding box and are 0 outside of it.
    dtype
        Precision to compute in. float32 cannot tell a constant region from a faint one.

    Returns
    -------
    One float64 value per image, ``(...)``, at least 0; above 1 where contrast was enhanced. 0 for a
    constant test. NaN for a constant reference, one that varies along one direction only, and for
    images with NaN.

    Notes
    -----
    Global: the covariance of a band's neighbourhoods is that of the whole band, however large the image. Images are taken one after the other, each with
    about 20 times its own float64 size; nothing is tiled.

    References
    ----------
    .. [1] Sheikh and Bovik, IEEE Trans. Image Process. 15 (2006) 430-444; ``vifvec.m``.
    .. [2] Gaubatz, MeTriX MuX 1.1: symmetric extension to multiples of 32, at least 128.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.random.default_rng(0).random((40, 56))
    >>> round(float(vif(image, image)), 9), round(float(vif(0.5 * image, image)), 2)
    (1.0, 0.71)
    """
    scale = 255 / check_data_range(data_range)
    pair = pair_images(test, reference, mask=mask, dtype=dtype)
    xp = pair.xp
    whole = pair.cropped()
    if 0 in whole.shape or not len(whole.test):
        return pair.undefined()  # type: ignore[no-any-return]
    fractions = []
    for part in whole.chunks(pixels=1 << 24):
        carried, available, dependent = _information(part, scale)
        with np.errstate(divide="ignore", invalid="ignore"):
            fraction = part.to_float64(carried) / part.to_float64(available)
        fraction = xp.where(part.constant(part.test), xp.zeros_like(fraction), fraction)
        undefined = dependent | part.constant(part.reference)
        fractions.append(xp.where(undefined, xp.full_like(fraction, float("nan")), fraction))
    values: ImagesT = pair.values(xp.concatenate(fractions))
    return values


def why_undefined(
    test: Images, reference: Images, *, mask: Mask | None = None, **_: object
) -> list[str]:
    """Return for each image why `vif` is NaN; empty where it is defined."""
    pair = pair_images(test, reference, mask=mask)
    constant = dependent = ~pair.usable
    whole = pair.cropped()
    if 0 not in whole.shape and len(whole.test):
        constant = whole.constant(whole.reference)
        parts = [_information(part, 1.0)[2] for part in whole.chunks(pixels=1 << 24)]
        dependent = pair.xp.concatenate(parts)
    return pair.reasons((constant, REFERENCE_CONSTANT), (dependent, DEPENDENT))


def _information(pair: ImagePair, scale: float) -> tuple[Any, Any, Any]:
    """Return the information in the test and in the reference (nats), and whether that is undefined."""
    xp = pair.xp
    with one_thread():
        scenes = of_images("vif", pair.reference, lambda: _scenes(pair.reference, scale, xp), scale)
        carried = available = xp.zeros_like(pair.reference[:, 0, 0])
        dependent = xp.zeros_like(pair.usable)
        for scene, (_, band) in zip(
            scenes, oriented_bands(pad_like_metrix(pair.test * scale), xp), strict=True
        ):
            gain, noise = _distortion_channel(scene, band, xp)
            gain, noise = gain[scene.inside], noise[scene.inside]
            strength = gain * gain * scene.signal / (noise + EYE_NOISE)
            carried = carried + _nats(strength, scene.eigenvalues, xp)
            available = available + scene.available
            dependent = dependent | scene.singular
    return carried, available, dependent


@dataclass(frozen=True, slots=True, eq=False)
class _Scene:
    """What one band of the reference holds, whatever the test is."""

    band: Any
    """``(image, row, column)``, whole blocks."""
    inside: tuple[slice, ...]
    """Blocks whose window lies inside the band."""
    window: int
    total: Any
    """Sum in the window around each block, ``(image, block row, block column)``."""
    power: Any
    """Sum of squares about the mean there."""
    signal: Any
    """Local signal strength of each block inside."""
    eigenvalues: Any
    """Of the covariance of the band's patches, ``(image, 9)``."""
    singular: Any
    """Whether that cannot be inverted, bool ``(image,)``."""
    available: Any
    """Information about the band, nats, ``(image,)``."""


def _scenes(reference: Any, scale: float, xp: ModuleType) -> list[_Scene]:
    """Return what each oriented band of the reference holds."""
    found = []
    for level, whole in oriented_bands(pad_like_metrix(reference * scale), xp):
        window = WINDOWS[level]
        rows, columns = (BLOCK * (int(side) // BLOCK) for side in whole.shape[-2:])
        edge = -(-(window // 2) // BLOCK)
        inside = (slice(None), *(slice(edge, side // BLOCK - edge) for side in (rows, columns)))
        band = whole[:, :rows, :columns]
        total = _box_sums(band, window, xp)
        squares = _box_sums(band * band, window, xp) - total * total / (window * window)
        power = xp.maximum(squares, xp.zeros_like(total[:1, :1, :1]))
        signal, eigenvalues, singular = _scale_mixture(band, xp)
        signal = signal[inside]
        available = _nats(signal / EYE_NOISE, eigenvalues, xp)
        found.append(
            _Scene(band, inside, window, total, power, signal, eigenvalues, singular, available)
        )
    return found


def _distortion_channel(scene: _Scene, test: Any, xp: ModuleType) -> tuple[Any, Any]:
    """Return gain and noise variance of ``test = gain * reference + noise`` around each block."""
    reference, window, power = scene.band, scene.window, scene.power
    test = test[:, : reference.shape[-2], : reference.shape[-1]]
    area = window * window
    total, squares, products = (
        _box_sums(image, window, xp) for image in (test, test * test, reference * test)
    )
    zero = xp.zeros_like(total[:1, :1, :1])
    test_power = xp.maximum(squares - total * total / area, zero)
    covariance = products - scene.total * total / area
    gain = covariance / (power + TOLERANCE)
    noise = (test_power - gain * covariance) / area
    # The order of these corrections is the original's; sums stand where one would expect variances.
    silent = power < TOLERANCE
    gain, noise = xp.where(silent, zero, gain), xp.where(silent, test_power, noise)
    silent = test_power < TOLERANCE
    gain, noise = xp.where(silent, zero, gain), xp.where(silent, zero, noise)
    noise = xp.where(gain < 0, test_power, noise)
    return xp.maximum(gain, zero), xp.maximum(noise, zero + TOLERANCE)


def _scale_mixture(band: Any, xp: ModuleType) -> tuple[Any, Any, Any]:
    """Return the local signal strength per block, the eigenvalues, and whether these are singular."""
    count, rows, columns = (int(side) for side in band.shape)
    covariance = _patch_covariance(band, xp)
    eigenvalues = xp.linalg.eigvalsh(covariance)
    smallest, largest = eigenvalues[:, 0], eigenvalues[:, -1]
    singular = smallest <= BLOCK**2 * xp.finfo(band.dtype).eps * largest
    identity = as_like(np.eye(BLOCK**2), band, xp)
    inverse = xp.linalg.inv(xp.where(singular[:, None, None], identity, covariance))
    corners = [(row, column) for row in range(BLOCK) for column in range(BLOCK)]
    blocks = xp.stack([band[:, row::BLOCK, column::BLOCK] for row, column in corners], 1)
    flat = blocks.reshape(count, BLOCK**2, -1)
    signal = (product(inverse, flat) * flat).sum(1) / BLOCK**2
    return signal.reshape(count, rows // BLOCK, columns // BLOCK), eigenvalues, singular


def _patch_covariance(band: Any, xp: ModuleType) -> Any:
    """Return the covariance of all overlapping 3 x 3 patches, ``(image, 9, 9)``."""
    rows, columns = (int(side) for side in band.shape[-2:])
    height, width = rows - BLOCK + 1, columns - BLOCK + 1
    moments: Any = 0.0
    strip = STRIP if xp is np else height
    for top in range(0, height, strip):
        bottom = min(top + strip, height)
        moments = moments + _patch_moments(band[:, top : bottom + BLOCK - 1], bottom - top, xp)
    moments = moments / (height * width)
    # Subbands have next to no mean, so nothing is lost by subtracting its square afterwards.
    means = moments[:, -1:, :-1]
    return moments[:, :-1, :-1] - means.swapaxes(-1, -2) * means


def _patch_moments(band: Any, height: int, xp: ModuleType) -> Any:
    """Return sums of products of patch elements, ``(image, 10, 10)``; the tenth element is 1."""
    count, columns = len(band), int(band.shape[-1])
    width = columns - BLOCK + 1
    patches = [
        band[:, row : row + height, column : column + width]
        for row in range(BLOCK)
        for column in range(BLOCK)
    ]
    flat = xp.stack([*patches, xp.ones_like(patches[0])], 1)
    flat = flat.reshape(count, BLOCK**2 + 1, height * width)
    return product(flat, flat.swapaxes(-1, -2))


def _nats(strength: Any, eigenvalues: Any, xp: ModuleType) -> Any:
    """Return ``Σ log(1 + strength * eigenvalue)`` over blocks and eigenvalues, ``(image,)``."""
    total = xp.zeros_like(eigenvalues[:, 0])
    for first in range(0, BLOCK**2, BLOCK):
        # One logarithm for three factors: it is what takes the time here.
        product = xp.ones_like(strength)
        for index in range(first, first + BLOCK):
            product = product * (1 + strength * eigenvalues[:, index, None, None])
        total = total + xp.log(product).sum((-2, -1))
    return total


def _box_sums(images: Any, window: int, xp: ModuleType) -> Any:
    """Sum over a window around the centre of each block, with mirrored borders."""
    rows, columns = (as_like(_box(int(side), window), images, xp) for side in images.shape[-2:])
    return product(rows.swapaxes(0, 1), product(images, columns))


@lru_cache(maxsize=64)
def _box(side: int, window: int) -> NDArray[np.float64]:
    """Return how often each pixel of a line enters each window, ``(side, side / 3)``."""
    mirrored = np.pad(np.arange(side), window // 2, mode="reflect")
    counts = np.zeros((side, side // BLOCK))
    for block in range(side // BLOCK):
        centre = BLOCK * block + BLOCK // 2
        np.add.at(counts[:, block], mirrored[centre : centre + window], 1)
    return counts
