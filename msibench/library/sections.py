"""Sections and the problems that are made of them."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from msibench.errors import ConfigurationError
from msibench.image import GuideImage, MSImage, Problem

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from msibench.degradation import Prepared
    from msibench.library.intervals import Confidence

FilePath = str | os.PathLike[str]

DEFAULT_PROTOCOL = "area-x4@1"


def read(
    path: FilePath,
    *,
    mz: ArrayLike | None = None,
    ppm: float = 5.0,
    pixel_size_um: float | None = None,
) -> MSImage:
    """Read the ion images of one section.

    Parameters
    ----------
    path
        imzML, HDF5, npz, TIFF, OME-TIFF, or one greyscale picture.
    mz
        m/z in Da. None: every channel of a stack.
    ppm
        Half-width of the m/z window, parts per million.
    pixel_size_um
        Edge length of a pixel in µm, where the file does not say.

    Returns
    -------
    Intensities ``(channel, row, column)`` in the file's own unit, with m/z, pixel size and tissue mask.

    Raises
    ------
    MissingDataError, DataError
        The file is not there, or cannot be read right.
    ConfigurationError
        No m/z were given for a file that has no channels, or no peak lies in the window of one.
    """
    from msibench.io import read_section
    from msibench.io.data_warning import warn_about_data
    from msibench.io.mz_windows import check_ppm
    from msibench.io.pixel_size import check_pixel_size

    size = math.nan if pixel_size_um is None else pixel_size_um
    for doubt in (check_ppm(ppm), check_pixel_size(size)):
        if doubt:
            warn_about_data(doubt)
    return read_section(path, mz=mz, ppm=ppm, pixel_size_um=pixel_size_um)


def degrade(
    section: MSImage,
    protocol: str = DEFAULT_PROTOCOL,
    *,
    guide: GuideImage | FilePath | None = None,
    transform: FilePath | None = None,
    second: MSImage | None = None,
    device: str = "cpu",
    seed: int = 0,
) -> Problem:
    """Make the coarse problem of a section whose fine images then serve as the truth.

    Parameters
    ----------
    section
        Fine ion images, ``(channel, row, column)``.
    protocol
        How the coarse images are made, e.g. ``"area-x4@1"`` (``msibench list protocols``).
    guide
        A stained or otherwise optical image: on the grid of `section`, or a file.
    transform
        For a guide from a file: what ``msibench register`` wrote. None: it shows the section's field
        of view.
    second
        A second MSI modality on the grid of `section`.
    device, seed
        For the method that solves the problem; a noisy protocol draws its noise from `seed` as well.

    Returns
    -------
    Coarse ion images, scaled per ion to [0, 1] as the protocol says, and the guide on the fine grid.

    Raises
    ------
    ConfigurationError
        The protocol is unknown, or guide or second modality do not lie on the section's grid.
    DataError
        The section is too small for the protocol.
    """
    from msibench.degradation import protocol as named
    from msibench.runner.problems.guides import crop_guide

    prepared = _prepared(section, protocol, seed)
    rows, columns = prepared.truth.shape
    crop = (slice(rows), slice(columns))
    image = guide_on(section, guide, transform)
    if second is not None and second.shape != section.shape:
        raise ConfigurationError(
            f"the second modality must lie on the section's grid {section.shape}, got {second.shape}"
        )
    return Problem(
        low=prepared.low,
        factor=named(protocol).factor,
        guide=crop_guide(image, crop),
        second=None if second is None else second.crop(*crop),
        device=device,
        seed=seed,
        protocol=protocol,
    )


def guide_on(
    section: MSImage,
    guide: GuideImage | FilePath | None,
    transform: FilePath | None,
    factor: int = 1,
    level: int | None = None,
) -> GuideImage | None:
    """Return a guide on the grid `factor` times finer than that of `section`.

    `level` is that of a pyramid to read; None: the one that is needed.

    Raises
    ------
    ConfigurationError
        A guide in memory does not lie on that grid, or a transform comes without a file.
    """
    from msibench.datasets import guide_on_grid

    rows, columns = section.shape
    grid = (rows * factor, columns * factor)
    if isinstance(guide, GuideImage) or guide is None:
        if transform is not None:
            raise ConfigurationError("a transform goes with a guide from a file")
        if guide is not None and guide.shape != grid:
            raise ConfigurationError(f"the guide must lie on the grid {grid}, got {guide.shape}")
        return guide
    where = None if transform is None else Path(transform)
    return guide_on_grid(
        Path(guide), where, grid, factor, section.pixel_size_um / factor, level=level
    )


def evaluate(
    prediction: MSImage | Confidence | NDArray[np.floating],
    section: MSImage,
    problem: Problem,
    *,
    metrics: tuple[str, ...] | list[str] = (),
) -> pd.DataFrame:
    """Measure a prediction against the section that its problem was made of.

    Parameters
    ----------
    prediction
        What a method gave for `problem`, ``(channel, row, column)`` on the fine grid and on the scale
        of ``problem.low``; or what `confidence` gave, whose interval ``interval_coverage`` and the like then measure.
    section
        What was given to `degrade`.
    problem
        What `degrade` gave.
    metrics
        Names (``msibench list metrics``). Empty: those of the shipped tracks.

    Returns
    -------
    One row per ion image, metric and region: ``mz``, ``channel``, ``metric``, ``region``, ``value``
    and ``reason``, which is empty where the value stands. A measure of the whole section has
    channel -1 and no m/z. ``attrs["isolation"]`` says whether the method could have seen the truth:
    ``"not isolated"`` for what `upscale` made, ``"not known"`` for an array from elsewhere.

    Raises
    ------
    ConfigurationError
        Shapes do not fit, or the problem was not made by `degrade`.
    UnknownNameError
        A metric is unknown.
    """
    from msibench.contracts.metric import Intervals, ToldInterval
    from msibench.library.installed import catalogue
    from msibench.library.intervals import Confidence
    from msibench.results.problems import Staged
    from msibench.runner.scores.score import score
    from msibench.tracks import DEFAULT_METRICS

    if not problem.protocol:
        raise ConfigurationError("the problem names no protocol: make it with msibench.degrade")
    prepared = _prepared(section, problem.protocol, problem.seed)
    told = None
    if isinstance(prediction, Confidence):
        told = ToldInterval(
            lower=prediction.lower.values, upper=prediction.upper.values, level=prediction.level
        )
        prediction = prediction.prediction
    values = prediction.values if isinstance(prediction, MSImage) else np.asarray(prediction)
    isolation = prediction.isolation if isinstance(prediction, MSImage) else ""
    expected = (problem.low.channels, *problem.fine_shape)
    if values.shape != expected or prepared.truth.values.shape != expected:
        raise ConfigurationError(
            f"expected a prediction and a section of (channel, row, column) = {expected}, got "
            f"{values.shape} and {prepared.truth.values.shape}: give the section that the problem "
            "was made of, and what a method made of the problem"
        )
    staged = Staged(
        truth=prepared.truth,
        low=problem.low,
        protocol_name=problem.protocol,
        guide=problem.guide,
        scale=prepared.scale,
        counts_per_unit=prepared.counts_per_unit,
        noise_free=None,
        uncharted=None,
        notes=prepared.notes,
        digest="",
    )
    found = catalogue()
    specs = [found.metric(name) for name in metrics or DEFAULT_METRICS]
    rows = score(
        np.asarray(values, dtype=np.float32),
        staged,
        specs,
        seed=problem.seed,
        intervals=Intervals(told=told),
    )
    table = rows[["mz", "channel", "metric", "region", "value", "reason"]].reset_index(drop=True)
    table["unit"] = table["metric"].map({spec.name: spec.unit for spec in specs})
    table.attrs["isolation"] = isolation or "not known"
    return table


def in_original_unit(prediction: MSImage, section: MSImage, problem: Problem) -> MSImage:
    """Return a prediction in the intensity unit of the section, rather than on the scale of [0, 1]."""
    scale = _prepared(section, problem.protocol, problem.seed).scale
    values = prediction.values * scale[:, None, None].astype(np.float32)
    return replace(prediction, values=values, unit=section.unit)


def _prepared(section: MSImage, name: str, seed: int) -> Prepared:
    from msibench.degradation import protocol

    return protocol(name).prepare(section, seed=seed)
