"""All seven steps from two or three imzML files: coarse and rich in m/z, to fine.

>>> fusion = fuse("fticr.imzML", "tofsims.imzML", middle="malditof.imzML")  # doctest: +SKIP
>>> image = fusion.ion_image(790.8273, half_width=5.0)  # doctest: +SKIP
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from msibench import MSImage
from msibench.decomposition import write_rows
from msibench.errors import DataError
from msibench.io import open_imzml
from msibench_cca.back_to_mz import SpectrumCheck, check_spectra, ion_images
from msibench_cca.canonical import Stage, predict_in_stages
from msibench_cca.config import CCAConfig
from msibench_cca.grid_artefact import WithoutGrid
from msibench_cca.maps import Maps, factor
from msibench_cca.masks import same_section, sections_of, tissue_mask
from msibench_cca.mz_grid import MzGrid, SpectraOnGrid, binned, make_grid
from msibench_cca.registration import Motion, move, register_rigid

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, slots=True, eq=False)
class Fusion:
    """The coarse modality on the finest grid, kept as maps and spectra: never as a dense cube."""

    predicted: Maps
    """On the finest modality's grid, cropped to the section."""
    measured: Maps
    """The coarse modality on its own grid, cropped to the section."""
    mz: NDArray[np.float64]
    """Da, ``(m/z,)``."""
    crops: tuple[tuple[slice, slice], ...]
    """Rows and columns of each file that the section takes, coarse first."""
    motions: tuple[Motion, ...]
    """How each finer modality was moved."""
    stages: tuple[Stage, ...]
    pixel_size_um: float
    """Of the prediction."""

    def ion_image(self, mz: float, *, half_width: float) -> MSImage:
        """Return the mean predicted image of the m/z within `half_width` (Da) of `mz`."""
        window = np.flatnonzero(np.abs(self.mz - mz) <= half_width)
        if not len(window):
            raise DataError(f"no m/z of the coarse file lies within {mz:g} +- {half_width:g} Da")
        values = ion_images(self.predicted, window).mean(0, keepdims=True)
        return MSImage(values, np.array([mz]), self.pixel_size_um, self.predicted.known)

    def spectrum(self, row: int, column: int) -> NDArray[np.float32]:
        """Return the predicted spectrum of one fine pixel, one value per `mz`."""
        values = self.predicted.values[:, row, column] @ self.predicted.spectra
        return np.maximum(values, 0).astype(np.float32)

    def check(
        self,
        mz: float = 790.8273,
        half_width: float = 5.0,
        box: tuple[slice, slice] | None = None,
    ) -> SpectrumCheck:
        """Compare mean spectra and one window, measured against predicted; see `check_spectra`."""
        return check_spectra(
            self.measured, self.predicted, self.mz, at=mz, half_width=half_width, box=box
        )


def fuse(
    coarse: PathLike,
    fine: PathLike,
    *,
    middle: PathLike | None = None,
    config: CCAConfig | None = None,
    seed: int = 0,
    device: str = "cpu",
    scratch: PathLike | None = None,
) -> Fusion:
    """Put the coarse modality on the grid of the fine one.

    Parameters
    ----------
    coarse, fine, middle
        imzML files of one section: rich in m/z; finest; between the two.
    config
        Hyper-parameters; None: the defaults with registration. ``section`` says which of several
        sections on the slides is meant; it is the same one in every modality.
    seed, device
        Of the factorisation.
    scratch
        A folder for the binned spectra, from which the factorisation then streams; None: memory.

    Raises
    ------
    DataError
        If a file has no peaks, no m/z of a finer file matches the coarse one's, there is no such section,
        or the sections share no pixels.
    """
    settings = config or CCAConfig(register=True)
    paths = [Path(coarse), *([Path(middle)] if middle is not None else []), Path(fine)]
    sections = [open_imzml(path) for path in paths]
    grid = make_grid(sections[0], settings.mz_gap)
    wholes = []
    for index, section in enumerate(sections):
        own = grid
        if index and settings.match_ppm is None:
            own = make_grid(section, settings.mz_gap)
        tile = settings.grid_tile if index == len(sections) - 1 else None
        whole = _decompose(
            section,
            own,
            settings,
            match_ppm=settings.match_ppm if index else None,
            tile=tile,
            store=None if scratch is None else Path(scratch) / f"modality-{index}.h5",
            seed=seed,
            device=device,
        )
        wholes.append(whole)
    slides = [
        sections_of(tissue_mask(whole.known, settings.mask_dilation), whole.known)
        for whole in wholes
    ]
    crops = [(piece.rows, piece.columns) for piece in same_section(slides, settings.section)]
    maps = [whole.crop(*crop) for whole, crop in zip(wholes, crops, strict=True)]
    motions = []
    for index in range(1, len(maps)):
        if not settings.register:
            break
        found = register_rigid(
            maps[index],
            maps[index - 1],
            steps=settings.register_steps,
            rate=settings.register_rate,
        )
        motions.append(found)
        maps[index] = move(maps[index], found)
    predicted, stages = predict_in_stages(maps[0], maps[1:], settings)
    return Fusion(
        predicted,
        maps[0],
        grid.mz,
        tuple(crops),
        tuple(motions),
        tuple(stages),
        sections[-1].pixel_size_um,
    )


def _decompose(
    section: SpectraOnGrid,
    grid: MzGrid,
    config: CCAConfig,
    *,
    match_ppm: float | None,
    tile: int | None,
    store: Path | None,
    seed: int,
    device: str,
) -> Maps:
    """Do steps 1 to 3 for one file."""
    streamed = binned(section, grid, match_ppm)
    rows: Any
    if store is None:
        rows = [sparse.vstack(list(streamed), format="csr")]
    else:
        rows = write_rows(store, streamed)
    if tile is not None:
        rows = WithoutGrid(rows, section.pixels, section.shape, tile, keep_level=config.keep_level)
    if not any(block.count_nonzero() for block in rows):
        raise DataError(
            f"no m/z of a finer file lies within {match_ppm} ppm of one of the coarse file's; raise "
            "match_ppm, or set it to None to keep each file's own m/z"
        )
    return factor(
        rows, section.pixels, section.shape, len(grid.mz), config, seed=seed, device=device
    )
