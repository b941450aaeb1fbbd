"""Predictions that a yardstick must not reward: they know tricks, not tissue.

Each takes what a method sees (and, where it cheats outright, the truth) and an honest base to start
from; all arrays ``(channel, row, column)``.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, sobel

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
