"""One picture of each side that can be compared: the guide's darkness, and its prediction from the ion images.

No single ion image looks like a stain. The ion images are therefore reduced to a few principal
components, and the combination of them that follows the guide best (least squares, at the
transform at hand) is the picture that is registered; with one ion image it is that image.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from msibench.errors import RegistrationError
from msibench.image import GuideImage, MSImage
from msibench.registration.transform import Transform, pixel_centres

COMPONENTS = 5
BLACK = 0.25
"""All channels below it: darker than stained tissue is."""
RIM_FADES = 3
"""Pixels over which a black rim passes into the slide."""


def guide_picture(
    moving: GuideImage | ArrayLike,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return one channel of the guide, and where it shows the slide, both ``(row, column)``.

    The channel is the darkness of a stained image, else the mean of the channels. Black at the rim
    of an optical image is what a scanner or an earlier rotation left, not stain; it and what the
    guide's mask leaves out are filled from the nearest pixel of the slide.
    """
    if isinstance(moving, GuideImage):
        grey = moving.values.mean(axis=0, dtype=np.float64)
        stained = moving.kind == "optical" and moving.values.shape[0] == 3
        picture = _checked(1.0 - grey if stained else grey, "the guide")
        slide = np.ones(picture.shape, dtype=bool) if moving.mask is None else moving.mask
        if stained:
            slide = slide & ~_black_rim(moving.values)
    else:
        picture = _checked(np.asarray(moving, dtype=np.float64), "the guide")
        slide = np.ones(picture.shape, dtype=bool)
    if not slide.any():
        raise RegistrationError("the guide's mask is empty: there is nothing to register on")
    if not slide.all():
        nearest = ndimage.distance_transform_edt(
            ~slide, return_distances=False, return_indices=True
        )
        picture = picture[tuple(nearest)]
    return picture, slide


def _black_rim(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Find black that is joined to the border, with the few pixels in which it fades."""
    black = np.asarray(values.max(axis=0) < BLACK)
    labels, _ = ndimage.label(black, structure=np.ones((3, 3)))
    edges = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    rim = np.isin(labels, np.unique(edges[edges > 0]))
    return np.asarray(ndimage.binary_dilation(rim, iterations=RIM_FADES)) if rim.any() else rim


def ion_components(fixed: MSImage | ArrayLike, components: int = COMPONENTS) -> NDArray[np.float64]:
    """Return an orthonormal basis of the ion images' main patterns, ``(row * column, k + 1)``.

    Square roots first, which makes the variance of counted ions even; the last column is constant.
    """
    values = fixed.values if isinstance(fixed, MSImage) else np.asarray(fixed, dtype=np.float64)
    stack = values[None] if values.ndim == 2 else values
    if stack.ndim != 3:
        raise RegistrationError(
            f"expected ion images (channel, row, column) or (row, column), got {stack.shape}"
        )
    roots = np.sqrt(np.maximum(np.nan_to_num(stack), 0.0, dtype=np.float64)).reshape(len(stack), -1)
    roots -= roots.mean(axis=1, keepdims=True)
    spread = roots.std(axis=1, keepdims=True)
    roots = roots[spread[:, 0] > 0] / spread[spread[:, 0] > 0]
    if not len(roots):
        raise RegistrationError("every ion image is constant: there is nothing to register on")
    # Through the small channel-by-channel matrix: sections have far more pixels than ions.
    strength, vectors = np.linalg.eigh(roots @ roots.T)
    chosen = vectors[:, np.argsort(strength)[::-1][:components]]
    patterns = (chosen.T @ roots).T
    constant = np.ones((patterns.shape[0], 1))
    return np.asarray(np.linalg.qr(np.concatenate([patterns, constant], axis=1))[0])


def follow(
    basis: NDArray[np.float64], seen: NDArray[np.float64], known: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the guide as the ion images predict it: its least-squares image in the basis, at every pixel.

    Parameters
    ----------
    basis
        ``(pixel, k)`` from `ion_components`.
    seen
        The guide on the fixed grid, ``(row, column)``.
    known
        Where it is on the guide, ``(row, column)``.
    """
    inside = known.ravel()
    weights = np.linalg.lstsq(basis[inside], seen.ravel()[inside], rcond=None)[0]
    return np.asarray(basis @ weights).reshape(seen.shape)


def look(
    picture: NDArray[np.float64],
    slide: NDArray[np.bool_],
    transform: Transform,
    shape: tuple[int, int],
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the guide's picture on the fixed grid, and where the grid lies on the slide."""
    points = transform(pixel_centres(shape))
    where = [points[..., 0], points[..., 1]]
    seen = ndimage.map_coordinates(picture, where, order=1, mode="nearest")
    known = ndimage.map_coordinates(slide.view(np.uint8), where, order=0, mode="constant") > 0
    return seen, known


def smooth_to(picture: NDArray[np.float64], ratio: float) -> NDArray[np.float64]:
    """Blur the guide to the resolution of a grid `ratio` times coarser."""
    if ratio <= 1.0:
        return picture
    return np.asarray(ndimage.gaussian_filter(picture, 0.5 * float(np.sqrt(ratio**2 - 1.0))))


def _checked(picture: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    if picture.ndim != 2:
        raise RegistrationError(f"{name} must be (row, column), got {picture.shape}")
    if not np.isfinite(picture).all():
        raise RegistrationError(f"{name} holds NaN or infinite pixels; set a mask instead")
    if np.ptp(picture) == 0:
        raise RegistrationError(f"{name} is constant: there is nothing to register on")
    return picture
