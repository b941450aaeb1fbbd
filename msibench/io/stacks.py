"""Read stacks of ion images: npz, TIFF and OME-TIFF, and single greyscale images."""

from __future__ import annotations

import math
import os
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msibench.errors import DataError, MissingDataError
from msibench.image import MSImage, as_stack
from msibench.io.imzml.header import MICROMETRES_OF_UNIT_NAME
from msibench.io.npz_guard import check_npz
from msibench.io.ome_tiff import ome_facts, unpack_mask
from msibench.io.tiff_guard import check_page, check_tiff

STACK_KEYS = ("cube", "images", "values", "prediction")
PACKING = 4096
"""The most bytes of image that a byte of an honest compressed file stands for."""
FREE_BYTES = 64 << 20
CHANNEL_NAME = re.compile(r"^\s*m/?z[\s_:=]*([0-9]+(?:\.[0-9]+)?)", re.IGNORECASE)


def read_npz(path: str | os.PathLike[str]) -> MSImage:
    """Read a stack from npz.

    ``cube`` (also ``images``, ``values``, ``prediction``) is ``(channel, row, column)``; ``mz``,
    ``mask``, ``pixel_size_um``, ``ppm`` and ``unit`` are taken when they are there. Nothing in the
    file is unpickled.

    Raises
    ------
    MissingDataError, DataError
    """
    source = _existing(path)
    if zipfile.is_zipfile(source):
        check_npz(source, (*STACK_KEYS, "mz", "mask", "pixel_size_um", "ppm", "unit"))
    try:
        with source.open("rb") as file, np.load(file, allow_pickle=False) as held:
            if isinstance(held, np.ndarray):
                raise DataError(
                    f"{source.name} is a single .npy array; save it with np.savez(cube=)"
                )
            name = next((key for key in STACK_KEYS if key in held.files), None)
            if name is None:
                raise DataError(
                    f"{source.name}: expected an array 'cube' (channel, row, column), it holds "
                    f"{', '.join(held.files) or 'nothing'}; save it with np.savez(path, cube=..., mz=...)"
                )
            facts = {
                key: held[key]
                for key in ("mz", "mask", "pixel_size_um", "ppm", "unit")
                if key in held.files
            }
            values = held[name]
    except MemoryError as error:
        raise DataError(f"{source.name}: does not fit into the memory that is free.") from error
    except Exception as error:  # a damaged archive makes zipfile, zlib and numpy raise anything
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{source.name}: cannot be read as npz ({error}); write it again."
        ) from error
    try:
        size, ppm = (float(facts.get(name, math.nan)) for name in ("pixel_size_um", "ppm"))
        mask = None if "mask" not in facts else np.asarray(facts["mask"] != 0)
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{source.name}: pixel_size_um and ppm must each be one number ({error}); write it again."
        ) from error
    return _stack(
        source,
        values,
        facts.get("mz"),
        mask=mask,
        pixel_size_um=size,
        ppm=None if math.isnan(ppm) else ppm,
        unit=str(facts.get("unit", "arbitrary")),
    )


def read_tiff(path: str | os.PathLike[str]) -> MSImage:
    """Read a TIFF or OME-TIFF: one greyscale image, or a stack of them.

    Channels named like ``m/z 298.0700`` get their m/z; the pixel size is taken from OME or ImageJ
    metadata (a bare resolution tag says nothing about the specimen and is ignored).

    Raises
    ------
    MissingDataError, DataError
    """
    import tifffile

    source = _existing(path)
    check_tiff(source)
    try:
        # One file, whatever other files its OME-XML names.
        with tifffile.TiffFile(source, _multifile=False) as file:
            if not file.series:
                raise DataError(f"{source.name}: the TIFF holds no image")
            series = file.series[0]
            _believable(source, series.shape, series.dtype)
            for page in series.pages:
                if page is not None:
                    check_page(source, page)
            values = _channels_first(source, series.asarray(), series.axes)
            names, size = _tiff_facts(file)
            facts = ome_facts(file.ome_metadata) if file.ome_metadata else {}
            shaped = file.shaped_metadata[0] if file.shaped_metadata else {}
    except DataError:
        raise
    except Exception as error:  # a damaged TIFF makes tifffile and its codecs raise anything
        raise DataError(
            f"{source.name}: cannot be read as TIFF ({error}); write it again."
        ) from error
    masses = [_mz_of(name) for name in names] if len(names) == values.shape[0] else None
    if masses is None and isinstance(shaped, dict) and len(shaped.get("mz", ())) == values.shape[0]:
        masses = [float(value) for value in shaped["mz"]]
    exact = facts.get("mz")
    if isinstance(exact, list) and len(exact) == values.shape[0]:
        masses = [math.nan if mz is None else float(mz) for mz in exact]
    try:
        mask = unpack_mask(facts["mask"], values.shape[1:]) if facts.get("mask") else None
    except ValueError as error:
        raise DataError(f"{source.name}: {error}; write it again.") from error
    ppm = facts.get("ppm")
    return _stack(
        source,
        values,
        masses,
        pixel_size_um=size,
        mask=mask,
        ppm=float(ppm) if isinstance(ppm, (int, float)) else None,
        unit=str(facts.get("unit", "arbitrary")),
    )


def read_picture(path: str | os.PathLike[str]) -> MSImage:
    """Read one ion image from a greyscale PNG, JPEG, BMP or GIF.

    Raises
    ------
    MissingDataError
    DataError
        The picture has colours: it shows an ion image through a colour map, or is an optical image.
    """
    import warnings

    from PIL import Image

    source = _existing(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(source, formats=("PNG", "JPEG", "BMP", "GIF")) as picture:
                values = np.asarray(
                    picture.convert("RGB") if picture.mode in ("P", "1") else picture
                )
    except (
        OSError,
        ValueError,
        SyntaxError,
        MemoryError,
        EOFError,
        KeyError,
        TypeError,
        IndexError,
        OverflowError,
        struct.error,
        zlib.error,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise DataError(f"{source.name}: cannot be read as a picture ({error}).") from error
    if values.ndim == 3:
        colours = values[..., :3] if values.shape[-1] in (3, 4) else values[..., :1]
        if not (colours == colours[..., :1]).all():
            raise DataError(
                f"{source.name}: is a colour picture; an ion image has one intensity a pixel. Give "
                "an optical image with --guide, or export the ion image without a colour map."
            )
        values = colours[..., 0]
    return _stack(source, values, None)


def _existing(path: str | os.PathLike[str]) -> Path:
    source = Path(path)
    if not source.is_file():
        raise MissingDataError(f"{source} does not exist; check the path of the image file.")
    return source


def _stack(source: Path, values: NDArray[Any], mz: Any, **facts: Any) -> MSImage:
    if values.dtype.kind not in "fiub" or values.ndim not in (2, 3) or values.size == 0:
        raise DataError(
            f"{source.name}: expected numbers (channel, row, column), got {values.dtype} "
            f"{values.shape}"
        )
    try:
        return as_stack(values, mz, **facts)
    except ValueError as error:
        raise DataError(f"{source.name}: {error}") from error


def _believable(source: Path, shape: tuple[int, ...], dtype: Any) -> None:
    claimed = math.prod(shape) * np.dtype(dtype).itemsize
    size = source.stat().st_size
    if claimed > max(FREE_BYTES, PACKING * size):
        raise DataError(
            f"{source.name}: claims an image of {claimed} bytes in a file of {size}; it is damaged "
            "or made to fill the memory."
        )


def _channels_first(source: Path, values: NDArray[Any], axes: str) -> NDArray[Any]:
    keep = [size != 1 or axis in "YX" for axis, size in zip(axes, values.shape, strict=True)]
    axes = "".join(axis for axis, kept in zip(axes, keep, strict=True) if kept)
    values = values.reshape([size for size, kept in zip(values.shape, keep, strict=True) if kept])
    if values.ndim == 2:
        return values[None]
    if values.ndim == 3 and axes.endswith("S") and values.shape[-1] in (3, 4):
        if (values[..., :3] == values[..., :1]).all():
            return values[..., 0][None]
        raise DataError(
            f"{source.name}: is a colour image; an ion image has one intensity a pixel. Give an "
            "optical image with --guide."
        )
    if values.ndim == 3:
        return np.moveaxis(values, -1, 0) if axes.endswith("S") else values
    raise DataError(
        f"{source.name}: has axes {axes} of {values.shape}; expected one image or a stack of "
        "channels (channel, row, column)."
    )


def _tiff_facts(file: Any) -> tuple[list[str], float]:
    """Return channel names and pixel size in µm as OME or ImageJ metadata give them."""
    if file.ome_metadata:
        from xml.etree import ElementTree

        root = ElementTree.fromstring(file.ome_metadata)
        pixels = next((node for node in root.iter() if node.tag.endswith("}Pixels")), None)
        if pixels is None:
            return [], math.nan
        names = [node.get("Name", "") for node in pixels if node.tag.endswith("}Channel")]
        return names, _length_um(pixels.get("PhysicalSizeX"), pixels.get("PhysicalSizeXUnit", "µm"))
    imagej = file.imagej_metadata
    if imagej:
        resolution = file.pages[0].tags.get("XResolution")
        labels = imagej.get("Labels") or []
        if resolution is not None and resolution.value[0]:
            unit = str(imagej.get("unit", "")).replace("\\u00B5", "µ")
            return list(labels), _length_um(resolution.value[1] / resolution.value[0], unit)
        return list(labels), math.nan
    return [], math.nan


def _length_um(value: Any, unit: str) -> float:
    try:
        length = float(value) * MICROMETRES_OF_UNIT_NAME.get(unit.strip().lower(), math.nan)
    except (TypeError, ValueError):
        return math.nan
    return length if math.isfinite(length) and length > 0 else math.nan


def _mz_of(name: str) -> float:
    found = CHANNEL_NAME.match(name or "")
    return float(found[1]) if found else math.nan
