"""An optical image, brought onto the grid of the ion images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from msibench.errors import ConfigurationError
from msibench.image import GuideImage


def guide_on_grid(
    path: Path,
    transform: Path | None,
    shape: tuple[int, int],
    finer: int,
    pixel_size_um: float,
    *,
    level: int | None = None,
) -> GuideImage:
    """Read an optical image and bring it onto a grid.

    A transform that was made on another level of the image's pyramid is rescaled.

    Parameters
    ----------
    path, transform
        The image, and the file that maps the section's pixels to it (``msibench register`` wrote
        it, or an affine map). None: the image shows the very same field of view, which its
        proportions must bear out, and it is resized.
    shape, finer
        ``(row, column)`` of the grid, and how many of its pixels stand along a pixel of the grid
        that `transform` speaks of.
    pixel_size_um
        Of the grid.
    level
        Level of a pyramid to read, 0 the finest; None: the finest, or, where that has more than 100
        million pixels, the coarsest that is as fine as the grid.

    Raises
    ------
    ConfigurationError
        If there is no transform and the proportions differ by more than 2 %.
    DataError
        If the transform was made for a picture of a size that this one has on no level.
    """
    from msibench.io.guide.levels import guide_levels, needed_level
    from msibench.io.guide.open import read_guide
    from msibench.registration import Affine, Composite, Transform, resample
    from msibench.registration.levels import made_for, on_level
    from msibench.registration.resample import guide_pixels_across

    levels = guide_levels(path)
    onto: Transform
    if transform is not None and levels:
        coarse = Affine(np.eye(2) / finer, np.full(2, 0.5 / finer - 0.5))
        given, made = Transform.from_file(transform), made_for(transform, levels, path.name)
        if level is None:
            finest = Composite(coarse, on_level(given, made, levels[0]))
            level = needed_level(levels, guide_pixels_across(finest, shape))
        guide = read_guide(path, level=level)
        onto = Composite(coarse, on_level(given, made, guide.shape))
    else:
        if level is None and levels:
            level = needed_level(levels, levels[0][0] / shape[0])
        guide = read_guide(path, level=level)
        ratio = (guide.shape[0] / guide.shape[1]) / (shape[0] / shape[1])
        if abs(ratio - 1) > 0.02:
            raise ConfigurationError(
                f"{path.name} is {guide.shape[0]} x {guide.shape[1]} pixels and the section's grid "
                f"{shape[0]} x {shape[1]}: it shows another field of view. Bring it onto the "
                "section with `msibench register` and name the result with --transform"
            )
        scale = np.array(guide.shape) / np.array(shape)
        onto = Affine(np.diag(scale), (scale - 1) / 2)
    on_grid = resample(guide, onto, shape)
    return replace(on_grid, pixel_size_um=pixel_size_um)
