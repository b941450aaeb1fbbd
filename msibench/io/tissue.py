"""Tissue masks: from a file, from an image, or estimated; always a step of its own.

No reader and no protocol makes a mask silently: the section's own (where spectra were measured) stays
until one of these replaces it, and each records how it was made.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from msibench.errors import ConfigurationError, DataError, MissingDataError
from msibench.image import GuideImage, MSImage


@dataclass(frozen=True, slots=True, eq=False)
class TissueMask:
    """A mask and where it comes from."""

    mask: NDArray[np.bool_]
    """``(row, column)``: tissue."""
    record: dict[str, object]
    """The step that made it, ready for JSON."""

    def on(self, image: MSImage) -> MSImage:
        """Return `image` with this mask in place of its own.

        Raises
        ------
        ConfigurationError
            If the mask lies on another grid or holds no tissue.
        """
        if self.mask.shape != image.shape:
            raise ConfigurationError(
                f"the mask is {self.mask.shape} (row, column), the section {image.shape}; make it on "
                "the section's grid"
            )
        if not self.mask.any():
            raise ConfigurationError("the mask holds no tissue; lower its threshold")
        return replace(image, mask=self.mask)


def read_mask(path: str | Path, *, threshold: float = 0.5) -> TissueMask:
    """Read a mask from an image (PNG, TIFF) or a NumPy file.

    Parameters
    ----------
    path
        One channel, or RGB whose mean counts; transparent pixels are not tissue.
    threshold
        Share of full scale from which a pixel is tissue. A mask image that holds just two levels is
        split between them.

    Raises
    ------
    MissingDataError
        If there is no such file.
    DataError
        If it holds no mask.
    """
    from msibench.io.guide.open import read_guide
    from msibench.io.npz_guard import check_npy

    path = Path(path)
    if not path.is_file():
        raise MissingDataError(f"mask file not found: {path}")
    if path.suffix.lower() == ".npy":
        check_npy(path)
        try:
            values = np.load(path, allow_pickle=False)
        except (ValueError, EOFError, OSError, MemoryError) as error:
            raise DataError(f"{path} is not an array file: {error}") from error
        if values.ndim != 2 or values.dtype.kind not in "buif":
            raise DataError(f"{path}: a mask is (row, column), got {values.shape} {values.dtype}")
        mask = np.asarray(values > 0)
    else:
        guide = read_guide(path)
        grey = guide.values.mean(axis=0, dtype=np.float64)
        levels = np.unique(grey)
        mask = np.asarray(grey > levels[0] if len(levels) == 2 else grey >= threshold)
        if guide.mask is not None:
            mask = mask & guide.mask
    return TissueMask(mask, {"step": "mask-from-file", "file": path.name, "threshold": threshold})


def mask_from_image(image: ArrayLike, *, threshold: float) -> TissueMask:
    """Call tissue every pixel of a picture ``(row, column)`` above `threshold`; NaN is not tissue."""
    values = np.asarray(image, dtype=np.float64)
    if values.ndim != 2:
        raise ConfigurationError(f"a mask needs one picture (row, column), got {values.shape}")
    return TissueMask(
        np.asarray(np.nan_to_num(values, nan=-np.inf) > threshold),
        {"step": "mask-from-image", "threshold": threshold},
    )


def estimate_tissue(
    image: MSImage | GuideImage | ArrayLike,
    *,
    threshold: float | Literal["otsu"] = 0.0,
    dilation: int = 1,
    fill_holes: bool = True,
    smallest: int = 0,
) -> TissueMask:
    """Estimate the tissue: threshold, dilation, hole filling (Ul Haque et al., section 2.4).

    Parameters
    ----------
    image
        Ion images, whose mean over channels is judged; an optical guide, whose darkness is; or one
        picture ``(row, column)``.
    threshold
        Tissue lies above it. 0, the published rule, says *where anything was measured*; ``"otsu"``
        finds the value that separates two populations best.
    dilation
        Pixels by which the mask grows, which closes gaps.
    fill_holes
        Whether enclosed gaps become tissue.
    smallest
        Pieces of fewer pixels are dropped.

    Raises
    ------
    ConfigurationError
        If a parameter is not valid, or no pixel lies above the threshold.

    References
    ----------
    .. [1] Ul Haque et al., bioRxiv 2025.02.19.639070, section 2.4.
    """
    if dilation < 0 or smallest < 0:
        raise ConfigurationError("dilation and smallest must be numbers of pixels, 0 or more")
    picture = _picture(image)
    level = otsu_threshold(picture) if threshold == "otsu" else float(threshold)
    mask = np.asarray(picture > level)
    if not mask.any():
        raise ConfigurationError(f"no pixel lies above the threshold {level:g}; lower it")
    if dilation:
        mask = np.asarray(ndimage.binary_dilation(mask, iterations=dilation))
    if fill_holes:
        mask = np.asarray(ndimage.binary_fill_holes(mask))
    if smallest:
        labels, _ = ndimage.label(mask)
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        mask = np.asarray(sizes[labels] >= smallest)
    return TissueMask(
        mask,
        {
            "step": "mask-estimated",
            "threshold": level,
            "rule": "otsu" if threshold == "otsu" else "given",
            "dilation": dilation,
            "fill_holes": fill_holes,
            "smallest": smallest,
        },
    )


def otsu_threshold(values: ArrayLike, *, bins: int = 256) -> float:
    """Return the value that splits a histogram into the two most separate classes.

    References
    ----------
    .. [1] Otsu, IEEE Trans. Syst. Man Cybern. 9 (1979) 62-66.
    """
    flat = np.asarray(values, dtype=np.float64).ravel()
    flat = flat[np.isfinite(flat)]
    if not flat.size or np.ptp(flat) == 0:
        raise ConfigurationError("a constant picture has no two populations to separate")
    counts, edges = np.histogram(flat, bins=bins)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = flat.size - below
    total = np.cumsum(counts * centres)
    gap = total[:-1] / np.maximum(below, 1) - (total[-1] - total[:-1]) / np.maximum(above, 1)
    return float(edges[1:-1][np.argmax(below * above * gap**2)])


def _picture(image: MSImage | GuideImage | ArrayLike) -> NDArray[np.float64]:
    if isinstance(image, GuideImage):
        grey = image.values.mean(axis=0, dtype=np.float64)
        picture = 1.0 - grey if image.kind == "optical" else grey
        if image.mask is not None:
            picture = np.where(image.mask, picture, 0.0)
    elif isinstance(image, MSImage):
        picture = np.nan_to_num(image.values).mean(axis=0, dtype=np.float64)
    else:
        picture = np.nan_to_num(np.asarray(image, dtype=np.float64))
    if picture.ndim != 2:
        raise ConfigurationError(f"a mask needs one picture (row, column), got {picture.shape}")
    return np.asarray(picture)
