"""Write ion images to whatever format a file name asks for, with their provenance."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from msibench.errors import ConfigurationError, MSIBenchError, StoreError
from msibench.image import MSImage
from msibench.io.partial import beside

FORMATS = {
    ".ome.tif": "ome-tiff",
    ".ome.tiff": "ome-tiff",
    ".tif": "ome-tiff",
    ".tiff": "ome-tiff",
    ".imzml": "imzml",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".npz": "npz",
    ".png": "png",
}


def format_of(path: Path) -> str:
    """Return ``"ome-tiff"``, ``"imzml"``, ``"hdf5"``, ``"npz"`` or ``"png"`` for a file name.

    Raises
    ------
    ConfigurationError
        The suffix is none of them.
    """
    name = path.name.lower()
    for suffix, kind in FORMATS.items():
        if name.endswith(suffix):
            return kind
    raise ConfigurationError(
        f"{path.name}: no format is known for this suffix; expected one of {', '.join(FORMATS)}."
    )


def beside_name(path: Path, what: str) -> Path:
    """Return the name of a companion file: ``fine_lower.ome.tif`` for ``fine.ome.tif``."""
    for suffix in FORMATS:
        if path.name.lower().endswith(suffix):
            stem = path.name[: -len(suffix)]
            return path.with_name(f"{stem}_{what}{path.name[len(stem) :]}")
    return path.with_name(f"{path.stem}_{what}{path.suffix}")


def write_image(
    path: str | os.PathLike[str],
    image: MSImage,
    *,
    predicted: str = "",
    provenance: Mapping[str, object] | None = None,
    polarity: Literal["positive", "negative"] | None = None,
    mode: Literal["continuous", "processed"] = "continuous",
    clip: float = 0.99,
) -> tuple[Path, ...]:
    """Write ion images in the format that the suffix of `path` names.

    Intensities keep their unit and are never scaled or clipped, except in PNG figures, which say so.

    Parameters
    ----------
    path
        ``.ome.tif``/``.tif``, ``.imzML``, ``.h5``, ``.npz`` or ``.png`` (a figure per channel).
    predicted
        Name of the method that predicted the images; empty for measured ones. imzML marks them in
        ``dataProcessing``, the other formats in their provenance.
    provenance
        What the images were made of, as JSON values.
    polarity, mode
        For imzML.
    clip
        Quantile for PNG.

    Returns
    -------
    The files written.

    Raises
    ------
    ConfigurationError
        The format cannot hold these images, or the pixel size is not a length.
    StoreError
        A file cannot be written.
    """
    target = Path(path)
    kind = format_of(target)
    if not math.isnan(image.pixel_size_um) and not 0 < image.pixel_size_um < math.inf:
        raise ConfigurationError(
            f"a pixel size of {image.pixel_size_um} µm cannot be written; expected a positive length, or "
            "NaN where it is not known"
        )
    origin: dict[str, object] = dict(provenance or {})
    if predicted:
        origin.setdefault("predicted_by", predicted)
    try:
        if not target.parent.is_dir():
            raise StoreError(f"{target.parent} is not a folder; make it first.")
        return _write(kind, target, image, predicted, origin, polarity, mode, clip)
    except OSError as error:
        if isinstance(error, MSIBenchError):
            raise
        raise StoreError(f"{target} cannot be written: {error}") from error


def _write(
    kind: str,
    target: Path,
    image: MSImage,
    predicted: str,
    origin: dict[str, object],
    polarity: Literal["positive", "negative"] | None,
    mode: Literal["continuous", "processed"],
    clip: float,
) -> tuple[Path, ...]:
    if kind == "ome-tiff":
        from msibench.io.ome_tiff import write_ome_tiff

        return (write_ome_tiff(target, image, provenance=origin),)
    if kind == "imzml":
        from msibench.io.imzml.image_writer import write_imzml

        main = write_imzml(
            target, image, mode=mode, polarity=polarity, predicted=predicted, provenance=origin
        )
        return main, main.with_suffix(".ibd")
    if kind == "hdf5":
        from msibench.io.hdf5 import write_hdf5

        return (write_hdf5(target, image, provenance=origin),)
    if kind == "png":
        from msibench.io.figure import write_png

        return tuple(write_png(target, image, clip=clip, provenance=origin, predicted=predicted))
    return (_write_npz(target, image, origin),)


def _write_npz(target: Path, image: MSImage, origin: dict[str, object]) -> Path:
    arrays: dict[str, object] = {
        "cube": image.values,
        "mz": image.mz,
        "pixel_size_um": np.float64(image.pixel_size_um),
        "ppm": np.float64(np.nan if image.ppm is None else image.ppm),
        "unit": np.str_(image.unit),
        "provenance": np.str_(json.dumps(origin, sort_keys=True, default=str)),
    }
    if image.mask is not None:
        arrays["mask"] = image.mask
    with beside(target) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return target
