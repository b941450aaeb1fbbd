"""A section measured by imaging mass spectrometry, read from an imzML pair."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msibench.errors import ConfigurationError
from msibench.image import MSImage
from msibench.io.data_warning import warn_about_data
from msibench.io.imzml.header import Header, polarity_of, spectrum_mode_of
from msibench.io.imzml.strongest_peaks import (
    Bins,
    Sampling,
    StrongestPeaks,
    sampling_of,
    strongest_of_axis,
)
from msibench.io.imzml.sums import SpectrumSums
from msibench.io.mz_windows import mz_windows


class ImzMLSection:
    """Spectra of one section and the ion images made of them.

    Made by `open_imzml`. Reading is thread-safe, and the object can be pickled (the other process
    maps the files again). Spectra are counted from 0 in the order of the file; with a slice ``z``
    chosen, only those of the slice are counted.

    Attributes
    ----------
    path, ibd
        The two halves.
    shape
        ``(row, column)`` of the images: the smallest rectangle around all coordinates.
    origin
        Coordinates ``(y, x)`` of pixel (0, 0), as the file counts.
    pixel_size_um
        Edge length of a pixel in µm; NaN when the file does not say, or pixels are not square
        (then `pixel_size_xy_um` has both).
    uuid
        Lower case with dashes; None when the file has none.
    notes
        Oddities of the file that were read right, in words.
    """

    def __init__(self, path: Path, header: Header, sums: SpectrumSums, *, terms: set[str]) -> None:
        self.path, self.ibd = path, sums.store.ibd
        self.header = header
        self.notes: tuple[str, ...] = ()
        grid = sums.grid
        self.shape, self.origin, self.z = grid.shape, grid.origin, grid.z
        self._sums, self._grid, self._terms = sums, grid, terms

    @property
    def threads(self) -> int | None:
        """Threads of a pass over the file; None: one per processor, at most 8. Results do not depend on it."""
        return self._sums.threads

    @threads.setter
    def threads(self, count: int | None) -> None:
        self._sums.threads = count

    def __len__(self) -> int:
        return len(self._sums)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the .ibd file; it is mapped again when needed."""
        self._sums.store.close()

    def __repr__(self) -> str:
        rows, columns = self.shape
        return (
            f"<ImzMLSection {self.path.name}: {len(self)} spectra, {rows} x {columns} pixels, "
            f"{self.mode}>"
        )

    @property
    def mode(self) -> Literal["continuous", "processed"]:
        """Whether all spectra share one m/z array, as stored; not what the header calls it."""
        found: Literal["continuous", "processed"]
        found = "continuous" if self._sums.shared else "processed"
        if np.count_nonzero(self._sums.layout.length) > 1:
            return found
        return self.header.declared_mode or found

    @property
    def polarity(self) -> Literal["positive", "negative", "mixed"] | None:
        """Polarity of the measurement; None when the file does not say."""
        return polarity_of(self._terms)

    @property
    def spectrum_mode(self) -> Literal["centroid", "profile"] | None:
        """``"centroid"`` or ``"profile"``; None when the file says neither, or both."""
        return spectrum_mode_of(self._terms)

    @property
    def pixel_size_xy_um(self) -> tuple[float, float]:
        """Edge lengths of a pixel ``(x, y)`` in µm; NaN where the file does not say."""
        return self.header.pixel_size_um()

    @property
    def pixel_size_um(self) -> float:
        """Edge length of a square pixel in µm, or NaN."""
        x, y = self.pixel_size_xy_um
        if np.isnan(x) or np.isnan(y):
            return y if np.isnan(x) else x
        return x if abs(x - y) <= 1e-6 * max(x, y) else float("nan")

    @property
    def uuid(self) -> str | None:
        """Universally unique identifier, ``"554a27fa-79d2-4766-9a2c-862e6d78b1f3"``."""
        return None if self.header.uuid is None else str(self.header.uuid)

    @property
    def axis_length(self) -> int:
        """Length of the m/z axis that all spectra share; 0 if they share none."""
        return int(self._sums.layout.length.max(initial=0)) if self._sums.shared else 0

    @property
    def file_identity(self) -> tuple[int, int]:
        """Size in bytes and time of change (ns) of the .ibd file as it was opened."""
        return self._sums.store.size, self._sums.store.modified

    def layout_digest(self) -> str:
        """Return a digest of which bytes go to which pixel, and how repeated pixels are treated."""
        digest = hashlib.sha256(
            f"{self.shape} {self._sums.duplicates} {self.pixel_size_um}".encode()
        )
        layout = self._sums.layout
        for array in (self._grid.pixel, layout.length, layout.mz.offset, layout.intensity.offset):
            digest.update(array.tobytes())
        digest.update(repr((layout.mz.encodings, layout.intensity.encodings)).encode())
        return digest.hexdigest()

    @property
    def coordinates(self) -> NDArray[np.int64]:
        """Position of each spectrum as the file counts, ``(spectrum, 2)``: x, y."""
        row, column = np.divmod(self._grid.pixel, self.shape[1])
        return np.stack([column + self.origin[1], row + self.origin[0]], axis=1)

    @property
    def pixels(self) -> NDArray[np.int64]:
        """``(row, column)`` of each spectrum in the images, ``(spectrum, 2)``."""
        return np.stack(np.divmod(self._grid.pixel, self.shape[1]), axis=1)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Which pixels have a spectrum, ``(row, column)``."""
        mask = np.zeros(self.shape, dtype=np.bool_)
        mask.reshape(-1)[self._grid.pixel] = True
        return mask

    @property
    def mz_range(self) -> tuple[float, float]:
        """Smallest and largest finite m/z in the file, in Da; NaN when there are no peaks.

        The first use reads all m/z arrays once.
        """
        survey = self._sums.survey()
        low, high = float(survey.lowest.min()), float(survey.highest.max())
        return (low, high) if low <= high else (float("nan"), float("nan"))

    def spectrum(self, i: int) -> tuple[NDArray[np.number], NDArray[np.number]]:
        """Return m/z and intensities of spectrum `i`, in the types in which they are stored.

        Raises
        ------
        IndexError
            There is no such spectrum.
        DataError
            Its compressed data are damaged.
        """
        count = len(self)
        if not -count <= i < count:
            raise IndexError(f"{self.path.name} has {count} spectra, 0 to {count - 1}; got {i}")
        row = i % count
        store = self._sums.store
        return store.array("mz", row), store.array("intensity", row)

    def ion_images(self, mz: ArrayLike, ppm: float = 5.0) -> MSImage:
        """Return one image per m/z, made in one pass over the file.

        Parameters
        ----------
        mz
            Centres in Da; one or several, in any order, windows may overlap.
        ppm
            Half-width of the closed window: peaks with ``|m - mz| <= ppm * 1e-6 * mz`` in float64.

        Returns
        -------
        Sums of the peaks in each window, ``(channel, row, column)``: added in float64, rounded to
        float32 once, in the order in which the m/z were given. 0 where a pixel has no peak in the
        window; `mask` tells which pixels have a spectrum. Peaks that are not finite are left out,
        with a DataWarning.
        """
        windows = mz_windows(mz, ppm)
        rows, columns = self.shape
        images = np.zeros((windows.mz.size, rows * columns), dtype=np.float32)
        left_out = self._sums.add_windows(windows, images)
        if (np.diff(windows.order) < 0).any():
            ordered = np.empty_like(images)
            ordered[windows.order] = images
            images = ordered
        return self._image(images, windows.mz, windows.ppm, left_out)

    def channel_images(self) -> MSImage:
        """Return one image per value of the m/z axis that all spectra share, unsummed.

        Raises
        ------
        ConfigurationError
            The spectra do not share one axis.
        """
        if not self._sums.shared:
            raise ConfigurationError(
                f"{self.path.name}: its spectra do not share one m/z axis, so there is no image per stored m/z; choose m/z values with ion_images(mz, ppm=...), on the "
                "command line --mz 798.54,741.53 --ppm 5."
            )
        axis = self._sums.axis()
        images = np.zeros((axis.size, self.shape[0] * self.shape[1]), dtype=np.float32)
        stops = np.arange(axis.size + 1, dtype=np.int64)
        left_out = self._sums.add_values(stops[:-1], stops, images)
        return self._image(images, axis, None, left_out)

    def tic(self) -> NDArray[np.float64]:
        """Return the sum of all intensities of each pixel, ``(row, column)``; 0 without a spectrum."""
        image = np.zeros(self.shape[0] * self.shape[1], dtype=np.float64)
        self._warn_left_out(self._sums.add_all(image))
        return image.reshape(self.shape)

    def nearest_peaks(self, mz: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the peaks of the whole file that lie nearest to each m/z.

        Returns
        -------
        Per m/z, in the order asked for: the nearest stored m/z, and the nearest whose intensity is
        above 0; NaN where the file has none.
        """
        wanted = mz_windows(mz, 0.0)
        found = self._sums.nearest(wanted.mz[wanted.order])
        ordered = np.empty_like(found)
        ordered[:, wanted.order] = found
        return ordered[0], ordered[1]

    def strongest_peaks(self, count: int, ppm: float = 5.0) -> StrongestPeaks:
        """Return the `count` most intense peaks of the mean spectrum, from one pass over the file.

        How peaks are distinguished from flanks and noise: `msibench.io.imzml.strongest_peaks`.

        Parameters
        ----------
        count
            How many; fewer if the spectrum has fewer.
        ppm
            Half-width of the windows of the ion images that they are for; positive.

        Raises
        ------
        ConfigurationError
            `count` is below 1 or `ppm` not positive.
        """
        if count < 1 or not 0 < ppm < 1e5:
            raise ConfigurationError(
                f"expected at least one peak and 0 < ppm < 100,000, got {count} peaks, ppm {ppm:g}"
            )
        step = self._sampling()
        if self._sums.shared:
            axis = self._sums.axis()
            total = np.zeros(axis.size)
            self._warn_left_out(self._sums.add_to_axis(total))
            return strongest_of_axis(axis, total, count, len(self), ppm, step)
        low, high = self.mz_range
        if not 0 < high < np.inf:
            return StrongestPeaks(np.empty(0), np.empty(0), 0)
        bins = Bins(low if low > 0 else min(1.0, high), high, ppm, step)
        self._warn_left_out(self._sums.add_to_bins(bins))
        return bins.strongest(count, len(self))

    def _sampling(self) -> Sampling | None:
        """Return how densely the spectra are sampled where they are profiles; from a few of them."""
        rows = np.flatnonzero(self._sums.layout.length)
        some = rows[np.linspace(0, rows.size - 1, 9).astype(np.int64)] if rows.size else rows
        said = {"profile": True, "centroid": False}.get(self.spectrum_mode or "")
        axes = [self._sums.store.array("mz", int(row)).astype(np.float64) for row in some]
        return sampling_of([axis[np.isfinite(axis)] for axis in axes], profile=said)

    def _image(
        self, images: NDArray[np.float32], mz: NDArray[np.float64], ppm: float | None, left_out: int
    ) -> MSImage:
        self._warn_left_out(left_out)
        if not np.isfinite(images.max(initial=0.0)):
            warn_about_data(
                f"{self.path.name}: some sums exceed the largest float32 number and became infinite"
            )
        return MSImage(
            images.reshape(mz.size, *self.shape),
            mz,
            pixel_size_um=self.pixel_size_um,
            mask=self.mask,
            ppm=ppm,
        )

    def _warn_left_out(self, count: int) -> None:
        if count:
            warn_about_data(
                f"{self.path.name}: {count} peaks whose intensity is NaN or infinite were left out"
            )
