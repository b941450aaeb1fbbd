"""Predictions that a yardstick must not reward: they know tricks, not tissue.

Each takes what a method sees (and, where it cheats outright, the truth) and an honest base to start
from; all arrays ``(channel, row, column)``.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, median_filter, rotate, shift, sobel

from msibench.metrics.upsampling import bicubic


def clipped(values):
    return np.clip(values, 0.0, None)


def stretch(base, gain):
    """Contrast about the mean: wins on standard deviations."""
    mean = base.mean((1, 2), keepdims=True)
    return clipped(mean + gain * (base - mean))


def sharpen(base, amount, width=2.0):
    """Unsharp mask."""
    return clipped(base + amount * (base - gaussian_filter(base, width, axes=(1, 2))))


def noise(base, share, seed=0):
    """White noise of a share of each image's standard deviation."""
    size = share * base.std((1, 2), keepdims=True)
    return clipped(base + size * np.random.default_rng(seed).standard_normal(base.shape))


def null_space_noise(base, share, split, seed=0):
    """Noise that no coarse pixel notices: perfectly consistent."""
    size = share * base.std((1, 2), keepdims=True)
    return base + size * split(np.random.default_rng(seed).standard_normal(base.shape))[1]


def detail_of(grey, split):
    """The guide's unseen detail, of unit power."""
    detail = split(grey)[1]
    return detail / np.sqrt((detail**2).mean())


def painted(base, detail, strength):
    """Add one detail to every ion image, a share of the base's standard deviation strong."""
    return base + strength * base.std((1, 2), keepdims=True) * detail


def linear_paint(base, grey, split, strength=0.3):
    return painted(base, detail_of(grey, split), strength)


def shifted_paint(base, grey, split, strength=0.3, by=(2, 1)):
    """Displaced by two pixels, so that the guide in place does not find it."""
    return painted(base, detail_of(np.roll(grey, by, (0, 1)), split), strength)


def edge_paint(base, grey, split, strength=0.3):
    """Edges without their sign."""
    edges = np.hypot(sobel(grey, 0), sobel(grey, 1))
    return painted(base, detail_of(edges, split), strength)


def sign_flipped_paint(base, grey, split, strength=0.3, block=16, seed=0):
    """With another sign in every block, so that it correlates with the guide nowhere on the whole."""
    rng = np.random.default_rng(seed)
    rows, columns = (-(-side // block) for side in grey.shape)
    signs = np.kron(rng.choice([-1.0, 1.0], (rows, columns)), np.ones((block, block)))
    return painted(base, detail_of(grey * signs[: grey.shape[0], : grey.shape[1]], split), strength)


def multiplied_paint(base, grey, strength=0.5):
    """Shades the image with the guide: where there is nothing it paints nothing."""
    detail = grey - gaussian_filter(grey, 2.0)
    return clipped(base * (1 + strength * detail / detail.std()))


def wary_paint(base, low, grey, split, factor, strength=0.3, least=0.1):
    """Paints only what looks like the right guide, so that wrong-guide controls find nothing."""
    coarse = grey.reshape(low.shape[1], factor, low.shape[2], factor).mean((1, 3)).ravel()
    out = base.copy()
    for channel, image in enumerate(low):
        if abs(np.corrcoef(image.ravel(), coarse)[0, 1]) > least:
            out[channel] = linear_paint(base[channel : channel + 1], grey, split, strength)[0]
    return out


def copycat(base, others, split, strength=1.0):
    """Lends every ion image the true detail of another one, which it was trained on."""
    detail = split(np.roll(others, 1, axis=0))[1]
    size = base.std((1, 2), keepdims=True) / np.maximum(others.std((1, 2), keepdims=True), 1e-12)
    return clipped(base + strength * size * detail)


def reader_of_truth(truth, base, share=0.5):
    """Has found the file that it is judged by, and mixes it in so as not to be too good."""
    return (1 - share) * base + share * truth


def bicubic_base(low, factor):
    """Plain bicubic enlargement."""
    return clipped(bicubic(low, factor))


def matched_to_histogram(base, truth):
    """Give every image the truth's own distribution of intensities, which it was told."""
    out = np.empty_like(base)
    for channel, image in enumerate(base):
        order = np.argsort(image, axis=None, kind="stable")
        out[channel].ravel()[order] = np.sort(truth[channel], axis=None)
    return out


def gamma(base, power):
    """Bend the scale of intensities."""
    top = base.max((1, 2), keepdims=True)
    return top * (clipped(base) / np.maximum(top, 1e-12)) ** power


def clip_ends(base, share=0.02):
    """Cut the darkest and the brightest pixels off, and spread the rest."""
    low, high = np.quantile(base, [share, 1 - share], axis=(1, 2))[..., None, None]
    top = base.max((1, 2), keepdims=True)
    return np.clip((base - low) / np.maximum(high - low, 1e-12), 0, 1) * top


def moved(base, by=(0.5, 0.5)):
    """Displace every image by part of a pixel."""
    return clipped(np.stack([shift(image, by, order=3, mode="nearest") for image in base]))


def median_filtered(base, side=3):
    """Denoise."""
    return median_filter(base, size=(1, side, side))


def adaptively_sharpened(base, amount=2.0, width=1.5):
    """Unsharp mask that is strong where the image has structure already."""
    detail = base - gaussian_filter(base, width, axes=(1, 2))
    spread = np.sqrt(gaussian_filter(detail**2, 2 * width, axes=(1, 2)))
    top = np.maximum(spread.max((1, 2), keepdims=True), 1e-12)
    return clipped(base + amount * spread / top * detail)


def ensemble_of_noise(base, share=0.3, members=5):
    """The mean of several noisy draws, whose seeds are always the same."""
    return np.mean([noise(base, share, seed) for seed in range(members)], axis=0)


def half_pixel_paint(base, grey, split, strength=0.3):
    """Paint the guide displaced by half a pixel, between its own pixels."""
    return painted(
        base, detail_of(shift(grey, (0.5, 0.5), order=3, mode="nearest"), split), strength
    )


def bent_paint(base, grey, split, strength=0.3, block=8, seed=0):
    """Paint a non-linear map of the guide, with another sign in every small block."""
    rank = grey.argsort(axis=None).argsort().reshape(grey.shape) / grey.size
    return sign_flipped_paint(base, np.sin(3 * np.pi * rank), split, strength, block, seed)


def turned_paint(base, grey, split, strength=0.3, degrees=1.5):
    """Paint a guide that is turned a little, so that its displacement differs from place to place."""
    turned = rotate(grey, degrees, reshape=False, order=1, mode="nearest")
    return painted(base, detail_of(turned, split), strength)


def far_paint(base, grey, split, strength=0.3, by=(4, -3)):
    """Paint the guide displaced by five pixels."""
    return painted(base, detail_of(np.roll(grey, by, (0, 1)), split), strength)


def binary_paint(base, grey, split, strength=0.3):
    """Paint the guide's dark structures in one tone."""
    return painted(base, detail_of((grey < np.quantile(grey, 0.3)).astype(float), split), strength)


def texture_paint(base, grey, split, strength=0.3, width=1.5):
    """Paint the guide's local variance."""
    variance = gaussian_filter(grey**2, width) - gaussian_filter(grey, width) ** 2
    return painted(base, detail_of(np.sqrt(np.maximum(variance, 0)), split), strength)


def colour_paint(base, guide, split, strength=0.3):
    """Paint the difference of two of the guide's colours, or the square of its only one."""
    other = guide[0] - guide[-1] if len(guide) > 1 else guide[0] ** 2
    return painted(base, detail_of(other, split), strength)


def pan_sharpened(base, low, grey, factor):
    """Multiply with the guide over its own coarse image (Brovey), as remote sensing does."""
    coarse = grey.reshape(low.shape[1], factor, low.shape[2], factor).mean((1, 3))
    ratio = grey / np.maximum(bicubic(coarse[None], factor)[0], 0.05 * grey.max())
    return clipped(base * ratio)


def signed_by_the_coarse_image(base, low, grey, split, factor, strength=0.3, block=2):
    """Paint the guide with the sign that its coarse image has against the ion's, block by block."""
    coarse = grey.reshape(low.shape[1], factor, low.shape[2], factor).mean((1, 3))
    out = base.copy()
    detail = detail_of(grey, split)
    for channel, image in enumerate(low):
        both = [one - gaussian_filter(one, block) for one in (image, coarse)]
        sign = np.sign(gaussian_filter(both[0] * both[1], block))
        fine = np.kron(sign, np.ones((factor, factor)))
        out[channel] = painted(base[channel : channel + 1], split(detail * fine)[1], strength)[0]
    return out


def structure_of_another(base, low, split, factor):
    """Lend every ion image the detail that interpolation makes of another ion."""
    other = bicubic(np.roll(low, 1, axis=0), factor)
    detail = split(other)[1]
    size = base.std((1, 2), keepdims=True) / np.maximum(other.std((1, 2), keepdims=True), 1e-12)
    return clipped(base + 2 * size * detail)
