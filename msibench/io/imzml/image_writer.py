"""Write ion images as an imzML pair."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from msibench.errors import ConfigurationError
from msibench.image import MSImage
from msibench.io.data_warning import warn_about_data
from msibench.io.imzml.writer import ImzMLWriter, Mode, Origin

BAND = 64
"""Rows that are read at a time from a stack that stays in its file."""


def write_imzml(
    path: str | os.PathLike[str],
    image: MSImage,
    *,
    mode: Mode = "continuous",
    polarity: Literal["positive", "negative"] | None = None,
    predicted: str = "",
    provenance: Mapping[str, object] | None = None,
    identifier: uuid.UUID | None = None,
) -> Path:
    """Write ion images as a centroid imzML pair: every pixel of the mask becomes a spectrum.

    A pixel of which no channel was measured (all NaN) has none.

    Parameters
    ----------
    path
        The .imzML file.
    image
        Its m/z must be known; channels are written in ascending m/z, without rounding (float64 m/z,
        float32 intensities).
    mode
        ``"continuous"`` stores every value; ``"processed"`` only those that are not zero.
    predicted
        Name of the method that predicted the intensities, for ``dataProcessing``.

    Returns
    -------
    The .imzML file.

    Raises
    ------
    ConfigurationError
        A channel has no m/z, or the mask is empty.

    Warns
    -----
    DataWarning
        Some channels of a pixel are NaN: read back, they are 0.
    """
    if not np.isfinite(image.mz).all() or image.channels == 0:
        raise ConfigurationError(
            "imzML needs the m/z of every channel; this stack has channels without one. Give them "
            "with --mz, or write HDF5 or OME-TIFF, which do not need them."
        )
    order = np.argsort(image.mz, kind="stable")
    axis = image.mz[order]
    mask = np.ones(image.shape, dtype=np.bool_) if image.mask is None else image.mask
    if not mask.any():
        raise ConfigurationError("no pixel lies in the mask, so there is no spectrum to write")
    if identifier is None:
        identifier = uuid.uuid4()
    writer = ImzMLWriter(
        path,
        shape=image.shape,
        mode=mode,
        pixel_size_um=image.pixel_size_um,
        polarity=polarity,
        identifier=identifier,
        origin=Origin(predicted=predicted, provenance=provenance),
    )
    lost = 0
    with writer:
        height = image.shape[0] if isinstance(image.values, np.ndarray) else BAND
        for row in range(image.shape[0]):
            if row % height == 0:  # a stack that stays in its file is read by bands of rows
                band = image.values[:, row : row + height]
            spectra = np.ascontiguousarray(band[order, row % height, :].T)  # (column, channel)
            unknown = np.isnan(spectra)
            for column in np.flatnonzero(mask[row] & ~unknown.all(axis=1)):
                spectrum = spectra[column]
                lost += int(np.count_nonzero(unknown[column]))
                if mode == "continuous":
                    writer.add(row, int(column), axis, spectrum)
                else:
                    present = np.flatnonzero((spectrum != 0) & ~unknown[column])
                    writer.add(row, int(column), axis[present], spectrum[present])
    if lost:
        warn_about_data(
            f"{writer.path.name}: {lost} intensities are not measured (NaN) in pixels that have others; "
            "imzML knows no such thing, and they are read as 0. HDF5, npz and OME-TIFF keep them"
        )
    return writer.path
