"""Step 7: from maps of components back to m/z, and a look at the spectra."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msibench.errors import DataError
from msibench_cca.maps import Maps

Floats = NDArray[np.float64]


def ion_images(maps: Maps, channels: NDArray[np.intp] | slice = slice(None)) -> NDArray[np.float32]:
    """Return ``maps · spectra`` of some m/z, ``(m/z, row, column)``; an intensity is never negative.

    Components may be predicted below 0 and are used as they are; only what comes of them is clipped.
    """
    chosen = maps.spectra[:, channels]
    return np.maximum(np.tensordot(chosen.T, maps.values, 1), 0).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class SpectrumCheck:
    """Mean spectra and one m/z window, measured against predicted."""

    mz: Floats
    """Da."""
    measured: Floats
    """Mean spectrum of the coarse modality over the box."""
    predicted: Floats
    """Mean spectrum of the prediction over the same area."""
    cosine: float
    """Similarity of the two, 1: the same but for a factor."""
    window_measured: Floats
    """Mean image over the window, ``(row, column)`` on the coarse grid."""
    window_predicted: Floats
    """Mean image over the window on the fine grid."""


def check_spectra(
    measured: Maps,
    predicted: Maps,
    mz: Floats,
    *,
    at: float = 790.8273,
    half_width: float = 5.0,
    box: tuple[slice, slice] | None = None,
) -> SpectrumCheck:
    """Compare prediction and measurement as the paper's figure 5 does.

    Parameters
    ----------
    measured, predicted
        Maps on the coarse and on the fine grid, over the same area and with the same spectra.
    mz
        Of the spectra, Da.
    at, half_width
        The window in Da whose mean images are compared; the paper's are the defaults.
    box
        Rows and columns of the coarse grid whose mean spectra are compared; None: all.

    Raises
    ------
    DataError
        If no m/z lies in the window, or no measured pixel in the box.
    """
    window = np.flatnonzero(np.abs(mz - at) <= half_width)
    if not len(window):
        raise DataError(
            f"no m/z lies within {at:g} +- {half_width:g}; the nearest is "
            f"{mz[np.abs(mz - at).argmin()]:.4f}"
        )
    rows, columns = box or (slice(None), slice(None))
    ratio = [fine / coarse for fine, coarse in zip(predicted.shape, measured.shape, strict=True)]
    fine_box = tuple(
        slice(
            None if part.start is None else round(part.start * scale),
            None if part.stop is None else round(part.stop * scale),
        )
        for part, scale in zip((rows, columns), ratio, strict=True)
    )
    spectra = []
    for maps, place in ((measured, (rows, columns)), (predicted, fine_box)):
        known = maps.known[place]
        if not known.any():
            raise DataError("no measured pixel lies in the box")
        spectra.append(maps.values[:, *place][:, known].mean(1) @ maps.spectra)
    one, two = spectra
    length = float(np.linalg.norm(one) * np.linalg.norm(two))
    return SpectrumCheck(
        mz=mz,
        measured=one,
        predicted=two,
        cosine=float(one @ two / length) if length > 0 else 0.0,
        window_measured=ion_images(measured, window).mean(0, dtype=np.float64),
        window_predicted=ion_images(predicted, window).mean(0, dtype=np.float64),
    )
