"""Read stacks of ion images: npz, TIFF and OME-TIFF, and single greyscale images."""

from __future__ import annotations

import math
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msibench.contracts.plain_text import without_advice
from msibench.errors import DataError, MissingDataError
from msibench.image import MSImage, as_stack
from msibench.io.channel_names import mz_of
from msibench.io.float32_range import refuse_infinite
from msibench.io.npz_guard import check_npz
from msibench.io.ome_tiff import read_annotation, unpack_mask
from msibench.io.picture import decode_frame, frames, open_picture
from msibench.io.pixel_size import refuse_impossible, square_or_said, stated_pixel_size
from msibench.io.samples import intensities, tiff_samples
from msibench.io.stack_properties import PROPERTIES, other_names, refuse_other_axes
from msibench.io.sub_images import main_series, warn_of_orientation
from msibench.io.tiff_guard import check_page, check_tiff
from msibench.io.tiff_tags import channel_names, tiff_pixel_size

STACK_KEYS = ("cube", "images", "values", "prediction")
PACKING = 400
"""The most bytes of image that a byte of an honest compressed file stands for."""
FREE_BYTES = 256 << 20
MOST_PIXELS = 100_000_000
"""Pixels of a picture that is read as ion images, all frames together."""


def read_npz(path: str | os.PathLike[str], *, pixel_size_um: float | None = None) -> MSImage:
    """Read a stack from npz.

    ``cube`` (also ``images``, ``values``, ``prediction``) is ``(channel, row, column)``; ``mz``,
    ``mask``, ``pixel_size_um``, ``ppm`` and ``unit`` are taken when they are there, also under other
    names (`msibench.io.stack_properties`); a DataWarning names what is ignored. Nothing in the file is
    unpickled. With `pixel_size_um` given, the file's is ignored.

    Raises
    ------
    MissingDataError, DataError
    """
    source = _existing(path)
    if zipfile.is_zipfile(source):
        check_npz(source, (*STACK_KEYS, *PROPERTIES))
    try:
        _refuse_npy(source)
        with source.open("rb") as file, np.load(file, allow_pickle=False) as held:
            name = next((key for key in STACK_KEYS if key in held.files), None)
            if name is None:
                raise DataError(
                    f"{source.name}: expected an array 'cube' (channel, row, column), it holds "
                    f"{', '.join(held.files) or 'nothing'}; save it with np.savez(path, cube=..., mz=...)"
                )
            described = {key: held[key] for key in PROPERTIES if key in held.files}
            values = held[name]

            def checked(other: str) -> Any:
                check_npz(source, (other,))
                return held[other]

            shape = values.shape if values.ndim == 3 else (1, *values.shape)
            described |= other_names(
                shape, held.files, checked, source.name, taken={name, *described}
            )
    except MemoryError as error:
        raise DataError(f"{source.name}: does not fit into free memory.") from error
    except Exception as error:  # a damaged archive makes zipfile, zlib and numpy raise anything
        if isinstance(error, DataError | Warning):
            raise
        raise DataError(
            f"{source.name}: cannot be read as npz ({without_advice(str(error))}); write it again."
        ) from error
    stated = described.get("pixel_size_um", math.nan) if pixel_size_um is None else pixel_size_um
    size = stated_pixel_size(stated, source.name)
    try:
        ppm = float(np.asarray(described.get("ppm", math.nan), dtype=np.float64).item())
        mask = None if "mask" not in described else np.asarray(described["mask"] != 0)
        unit = str(np.asarray(described.get("unit", "arbitrary")).item())
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{source.name}: ppm must be one number and unit one word ({error}); write it again."
        ) from error
    return _stack(
        source,
        values,
        described.get("mz"),
        mask=mask,
        pixel_size_um=size,
        ppm=None if math.isnan(ppm) else ppm,
        unit=unit,
    )


def read_tiff(path: str | os.PathLike[str], *, pixel_size_um: float | None = None) -> MSImage:
    """Read a TIFF or OME-TIFF: one greyscale image, or a stack of them.

    All full images of one grid are channels, whether they are pages, series or OME images;
    thumbnails, labels and masks are left out, other grids are named in a DataWarning.

    Channels named like ``m/z 298.0700`` get their m/z; the pixel size is taken from OME or ImageJ
    metadata (a bare resolution tag says nothing about the specimen and is ignored). With
    `pixel_size_um` given, what the file says of it is not looked at.

    Raises
    ------
    MissingDataError, DataError
    """
    import tifffile

    source = _existing(path)
    given = pixel_size_um
    check_tiff(source)
    try:
        # One file, whatever other files its OME-XML names.
        with tifffile.TiffFile(source, _multifile=False) as file:
            full = main_series(source, file)
            values, mask, names = _images(source, file, full)
            x, y = (0.0, 0.0) if given else tiff_pixel_size(file, full[0], resolution_tags=False)
            described = read_annotation(file.ome_metadata) if file.ome_metadata else {}
            shaped = file.shaped_metadata[0] if file.shaped_metadata else {}
    except DataError:
        raise
    except Exception as error:  # a damaged TIFF makes tifffile and its codecs raise anything
        raise DataError(
            f"{source.name}: cannot be read as TIFF ({error}); write it again."
        ) from error
    masses = [mz_of(name) for name in names] if len(names) == values.shape[0] else None
    if masses is None and isinstance(shaped, dict) and len(shaped.get("mz", ())) == values.shape[0]:
        masses = [float(value) for value in shaped["mz"]]
    exact = described.get("mz")
    if isinstance(exact, list) and len(exact) == values.shape[0]:
        masses = [math.nan if mz is None else float(mz) for mz in exact]
    try:
        if described.get("mask"):
            mask = unpack_mask(described["mask"], values.shape[1:])
    except ValueError as error:
        raise DataError(f"{source.name}: {error}; write it again.") from error
    ppm = described.get("ppm")
    return _stack(
        source,
        values,
        masses,
        pixel_size_um=given or _square(x, y, source.name),
        mask=mask,
        ppm=float(ppm) if isinstance(ppm, (int, float)) else None,
        unit=str(described.get("unit", "arbitrary")),
    )


def read_picture(path: str | os.PathLike[str]) -> MSImage:
    """Read ion images from a greyscale PNG, JPEG, BMP or GIF; the frames of an animation are channels.

    Raises
    ------
    MissingDataError
    DataError
        The picture has colours: it shows an ion image through a colour map, or is an optical image.
    """
    from PIL import Image

    source = _existing(path)
    parts, masks = [], []
    try:
        with open_picture(source, ("PNG", "JPEG", "BMP", "GIF")) as picture:
            count = frames(picture)
            if picture.width * picture.height * count > MOST_PIXELS:
                raise DataError(
                    f"{source.name}: holds {count} x {picture.height} x {picture.width} pixels, ion "
                    f"images in a picture at most {MOST_PIXELS}; is it an optical image? Give it with "
                    "--guide. Save stacks as TIFF."
                )
            for index in range(count):
                frame = decode_frame(source, picture, index)
                values, mask = intensities(frame.pixels, frame.samples, source.name)
                parts.append(values)
                masks.append(mask)
    except Image.DecompressionBombError as error:
        raise DataError(f"{source.name}: cannot be read as a picture ({error}).") from error
    except Exception as error:  # a damaged picture makes its decoder raise anything
        if isinstance(error, DataError):
            raise
        raise DataError(f"{source.name}: cannot be read as a picture ({error}).") from error
    return _stack(source, _together(source, parts), None, mask=_seen(masks))


def _existing(path: str | os.PathLike[str]) -> Path:
    source = Path(path)
    if not source.is_file():
        raise MissingDataError(f"{source} does not exist; check the path of the image file.")
    return source


def _refuse_npy(source: Path) -> None:
    with source.open("rb") as file:
        if file.read(6) == np.lib.format.MAGIC_PREFIX:
            raise DataError(f"{source.name} is a single .npy array; save it with np.savez(cube=)")


def _stack(source: Path, values: NDArray[np.generic], mz: Any, **described: Any) -> MSImage:
    if values.dtype.kind not in "fiub" or values.ndim not in (2, 3) or values.size == 0:
        raise DataError(
            f"{source.name}: expected numbers (channel, row, column), at least one of each, got "
            f"{values.dtype} of shape {values.shape}"
        )
    refuse_infinite(values, source.name)
    refuse_other_axes(source.name, values.shape, mz, described.get("mask"))
    try:
        return as_stack(values, mz, **described)
    except ValueError as error:
        raise DataError(f"{source.name}: {error}") from error


def _believable(source: Path, shape: tuple[int, ...], dtype: Any) -> None:
    # in memory it is float32, whatever it is in the file, and both are there at a time
    claimed = math.prod(shape) * max(4, np.dtype(dtype).itemsize)
    size = source.stat().st_size
    if claimed > max(FREE_BYTES, PACKING * size):
        raise DataError(
            f"{source.name}: claims an image of {claimed} bytes in a file of {size}; it is damaged "
            "or made to fill the memory."
        )


def _images(
    source: Path, file: Any, chosen: list[int]
) -> tuple[NDArray[np.generic], NDArray[np.bool_] | None, list[str]]:
    """Return the channels of the chosen series of a TIFF, where they are seen, and their names."""
    parts: list[NDArray[np.generic]] = []
    masks: list[NDArray[np.bool_] | None] = []
    names: list[str] = []
    series = [file.series[index] for index in chosen]
    total = (sum(math.prod(one.shape) for one in series),)
    _believable(source, total, np.result_type(*(one.dtype for one in series)))
    for index, one in zip(chosen, series, strict=True):
        for page in one.pages:
            if page is not None:
                check_page(source, page)
        samples = tiff_samples(source, one.keyframe)
        warn_of_orientation(source, one.keyframe)
        for plane in _planes(source, one.asarray(), one.axes):
            values, mask = intensities(plane, samples, source.name)
            parts.append(values)
            masks.append(mask)
        names += channel_names(file, index)
    return _together(source, parts), _seen(masks), names


def _planes(source: Path, values: NDArray[np.generic], axes: str) -> NDArray[np.generic]:
    """Bring a series into the order ``(plane, row, column, sample)``."""
    keep = [size != 1 or axis in "YXS" for axis, size in zip(axes, values.shape, strict=True)]
    axes = "".join(axis for axis, kept in zip(axes, keep, strict=True) if kept)
    values = values.reshape([size for size, kept in zip(values.shape, keep, strict=True) if kept])
    others = [axis for axis in axes if axis not in "YXS"]
    if len(others) > 1 or any(axes.count(axis) != 1 for axis in "YX"):
        raise DataError(
            f"{source.name}: has axes {axes} of {values.shape}; expected one image or a stack of "
            "channels (channel, row, column)."
        )
    for axis, place in (("S", -1), (others[0] if others else "", 0)):
        if axis and axis in axes:
            values = np.moveaxis(values, axes.index(axis), place)
            axes = axes.replace(axis, "")
            axes = axes + axis if place else axis + axes
    if "S" not in axes:
        values = values[..., None]
    if not others:
        values = values[None]
    return values if axes.index("Y") < axes.index("X") else values.swapaxes(1, 2)


def _together(source: Path, parts: list[NDArray[np.generic]]) -> NDArray[np.generic]:
    """Stack channels of one grid."""
    if len({part.shape[1:] for part in parts}) > 1:
        grids = ", ".join(f"{part.shape[1]} x {part.shape[2]}" for part in parts[:5])
        raise DataError(
            f"{source.name}: holds images of different sizes ({grids}); a stack has one grid. Export "
            "each to a file of its own."
        )
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _seen(masks: list[NDArray[np.bool_] | None]) -> NDArray[np.bool_] | None:
    """Return the pixels that no image says are transparent; None where none says so."""
    found = [mask for mask in masks if mask is not None]
    return np.logical_and.reduce(found) if found else None


def _square(x_um: float, y_um: float, source: str) -> float:
    for edge in (x_um, y_um):
        refuse_impossible(edge, source)
    return square_or_said(x_um, y_um, source)
