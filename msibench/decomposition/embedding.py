"""A few channels that summarise a whole stack of ion images: PCA, NMF or UMAP, scaled to [0, 1]."""

from __future__ import annotations

import warnings
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from msibench.decomposition.nmf import nmf
from msibench.errors import ConfigurationError, DataError, MSIBenchError
from msibench.image import MSImage


class MissingExtraError(MSIBenchError, ImportError):
    """A required optional library is not installed; the message says how to install it."""


def embed(
    image: MSImage,
    *,
    method: Literal["pca", "nmf", "umap"] = "pca",
    channels: int = 3,
    seed: int = 0,
) -> MSImage:
    """Summarise the ion images of a section in a few channels, as DeepFERE's guide to its anatomy.

    Parameters
    ----------
    image
        Ion images; pixels outside its mask and pixels with NaN in any channel are left out.
    method
        ``"pca"`` (principal scores of the raw intensities), ``"nmf"``, or ``"umap"`` (the extra
        ``msibench[umap]``; what the DeepFERE paper uses).
    channels
        Channels of the embedding. Where the data hold fewer (one ion image, few pixels), the
        remaining channels are 0.
    seed
        Of NMF and UMAP; PCA has no random part. The sign of each principal component is chosen so that
        its largest loading is positive.

    Returns
    -------
    MSImage
        ``(channels, row, column)`` in [0, 1], each channel scaled from its own smallest to its own
        largest value on the tissue; 0 outside. Its m/z are NaN.

    Raises
    ------
    MissingExtraError
        If ``"umap"`` is asked for and umap-learn is not installed.
    DataError
        If no pixel is left.
    """
    if channels < 1:
        raise ConfigurationError(f"channels must be at least 1, got {channels}")
    usable = np.isfinite(image.values).all(0)
    if image.mask is not None:
        usable &= image.mask
    if not usable.any():
        raise DataError("no pixel is inside the mask and free of NaN: nothing to embed")
    pixels = image.values[:, usable].T
    scores: NDArray[np.floating]
    if method == "pca":
        scores = _principal_scores(pixels, channels)
    elif method == "nmf":
        rank = min(channels, *pixels.shape)
        scores = nmf(np.maximum(pixels, 0), rank, seed=seed, iterations=500, tol=1e-5).W
    elif method == "umap":
        scores = _umap(pixels, channels, seed)
    else:
        raise ConfigurationError(f"method must be pca, nmf or umap, got {method!r}")
    low, high = scores.min(0), scores.max(0)
    span = np.where(high > low, high - low, 1)
    values = np.zeros((channels, *image.shape), dtype=np.float32)
    values[: scores.shape[1], usable] = np.clip((scores - low) / span, 0, 1).T
    return MSImage(
        values,
        np.full(channels, np.nan),
        pixel_size_um=image.pixel_size_um,
        mask=image.mask,
        unit="scaled",
    )


def _principal_scores(pixels: NDArray[np.float32], channels: int) -> NDArray[np.float64]:
    """Return the scores ``(pixel, component)`` on the leading eigenvectors of the covariance."""
    centred = pixels - pixels.mean(0, dtype=np.float64)
    vectors = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :channels]
    largest = vectors[np.abs(vectors).argmax(0), np.arange(vectors.shape[1])]
    return cast("NDArray[np.float64]", centred @ (vectors * np.where(largest < 0, -1, 1)))


def _umap(pixels: NDArray[np.float32], channels: int, seed: int) -> NDArray[np.floating]:
    try:
        import umap
    except ImportError as error:
        raise MissingExtraError(
            "the UMAP embedding needs umap-learn: pip install 'msibench[umap]', or choose "
            "method='pca' or 'nmf', which need nothing more"
        ) from error
    neighbours = min(15, len(pixels) - 1)
    if neighbours < 2 or len(pixels) <= channels + 1:
        raise DataError(
            f"UMAP needs more pixels than {channels + 1} (and at least 3), got {len(pixels)}"
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="n_jobs value")  # a seed means one thread: wanted
        reducer = umap.UMAP(
            n_components=channels, n_neighbors=neighbours, random_state=seed, init="random"
        )
        return cast("NDArray[np.floating]", reducer.fit_transform(pixels))
