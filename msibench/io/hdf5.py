"""Prepared sections as HDF5: ion images with all that is known about them, in one file.

Schema ``msibench-section``, version 1::

    /                attributes  format          "msibench-section"
                                 schema_version  1
                                 pixel_size_um   float64, NaN when unknown
                                 ppm             float64, half-width of the windows; NaN when unknown
                                 unit            "arbitrary", "counts", "scaled"
                                 provenance      JSON object: where the images come from
    /images          float32     (channel, row, column), chunked by image, gzip
    /mz              float64     (channel,), Da; NaN where a channel has none
    /mask            uint8       (row, column), 1 = inside; absent when nothing is known

A ``prediction.h5`` of the results store (``/prediction`` and ``/mz``) is read as well.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from msibench.errors import DataError, MissingDataError, MSIBenchError, SchemaError
from msibench.image import MSImage
from msibench.io.float32_range import refuse_infinite
from msibench.io.hdf5_guard import has, why_unsafe
from msibench.io.hdf5_writing import new_hdf5
from msibench.io.partial import beside
from msibench.io.pixel_size import stated_pixel_size
from msibench.io.stack_properties import (
    ALSO_CALLED,
    PROPERTIES,
    other_axes,
    other_names,
    refuse_other_axes,
)
from msibench.io.stored_stack import StoredStack, is_large

if TYPE_CHECKING:
    import h5py

FORMAT = "msibench-section"
SCHEMA_VERSION = 1
STACKS = ("images", "prediction", "cube")


def write_hdf5(
    path: str | os.PathLike[str],
    image: MSImage,
    *,
    provenance: Mapping[str, object] | None = None,
) -> Path:
    """Write a section under the schema above; written beside and renamed into place.

    The same section and provenance give the same bytes.

    Raises
    ------
    StoreError
        The file cannot be written.
    """
    target = Path(path)
    with beside(target) as partial, new_hdf5(partial, libver=("v110", "v110")) as file:
        file.attrs["format"] = FORMAT
        file.attrs["schema_version"] = SCHEMA_VERSION
        file.attrs["pixel_size_um"] = float(image.pixel_size_um)
        file.attrs["ppm"] = float("nan") if image.ppm is None else float(image.ppm)
        file.attrs["unit"] = image.unit
        text = json.dumps(dict(provenance or {}), sort_keys=True, default=str)
        file.attrs["provenance"] = text
        filled = image.values.size > 0
        images = file.create_dataset(
            "images",
            shape=image.values.shape,
            dtype=np.float32,
            chunks=(1, *image.shape) if filled else None,
            compression="gzip" if filled else None,
            compression_opts=1 if filled else None,
            shuffle=filled,
        )
        for channel in range(image.channels if filled else 0):
            images[channel] = image.values[channel]
            file.flush()  # a full disk is to be heard of here
        file.create_dataset("mz", data=image.mz)
        if image.mask is not None:
            file.create_dataset("mask", data=image.mask.astype(np.uint8))
    return target


def read_hdf5(
    path: str | os.PathLike[str], *, lazily: bool = False, pixel_size_um: float | None = None
) -> MSImage:
    """Read a prepared section.

    Parameters
    ----------
    path
        The file.
    lazily
        Leave a large stack in the file (`msibench.io.stored_stack`).
    pixel_size_um
        Take this in place of what the file says.

    Raises
    ------
    MissingDataError
        There is no such file.
    SchemaError
        A newer version of msibench wrote it.
    DataError
        It breaks the schema; the message lists how.
    """
    source = Path(path)
    with _open(source) as file, _explained(source):
        problems = _problems(file)
        if problems:
            raise DataError(f"{source.name} is not a prepared section: " + "; ".join(problems))
        stack = next(name for name in STACKS if name in file)
        values: Any
        if lazily and file[stack].dtype == np.float32 and is_large(file[stack].shape):
            values = StoredStack(Path(path), stack, file[stack].shape, file[stack].dtype)
        else:
            values = file[stack][()]
            refuse_infinite(values, source.name)
            values = np.asarray(values, dtype=np.float32)
        described = _other_properties(file, stack, source.name)
        mz = file["mz"][()] if "mz" in file else described.get("mz", np.full(len(values), np.nan))
        mask = file["mask"][()] if "mask" in file else described.get("mask")
        known = mz if "mz" in file or "mz" in described else None
        refuse_other_axes(source.name, values.shape, known, mask)
        ppm = _number(file, "ppm")
        said = _value(file, "pixel_size_um", described.get("pixel_size_um", np.nan))
        return MSImage(
            values,
            np.asarray(mz, dtype=np.float64),
            pixel_size_um=stated_pixel_size(
                said if pixel_size_um is None else pixel_size_um, source.name
            ),
            mask=None if mask is None else np.asarray(mask) != 0,
            ppm=None if np.isnan(ppm) else ppm,
            unit=_text(file, "unit") or "arbitrary",
        )


def _other_properties(file: h5py.File, stack: str, source: str) -> dict[str, Any]:
    """Return what data sets and attributes say under other names; warn of data sets that are ignored."""
    attributes = [name for names in ALSO_CALLED.values() for name in names if name in file.attrs]

    def read(name: str) -> Any:
        if name in attributes:
            return file.attrs[name]
        return None if why_unsafe(file, name) else file[name][()]

    taken = {stack, *(name for name in ("mz", "mask") if name in file)}
    taken |= {name for name in PROPERTIES if name in file.attrs}
    return other_names(file[stack].shape, [*file, *attributes], read, source, taken=taken)


def validate_hdf5(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Return what breaks the schema, in words; empty for a valid file.

    Raises
    ------
    MissingDataError, DataError, SchemaError
        The file is not there, is not HDF5, or was written by a newer version.
    """
    with _open(Path(path)) as file, _explained(Path(path)):
        problems = _problems(file)
        if not problems and _text(file, "format") != FORMAT:
            problems.append(f"attribute format should be {FORMAT!r}, got {_text(file, 'format')!r}")
        return tuple(problems)


def _open(path: Path) -> h5py.File:
    if not path.exists():
        raise MissingDataError(f"{path} does not exist; check the path of the HDF5 file.")
    try:
        file = _unlocked(path)
    except OSError as error:
        if "h5clear" in str(error):
            raise DataError(
                f"{path.name}: is marked as open for writing: another program is writing it, or stopped while writing. Close it there; after a crash: h5clear --status {path.name}"
            ) from error
        raise DataError(f"{path.name}: cannot be read as HDF5 ({error}); copy it again.") from error
    try:
        version = _value(file, "schema_version", SCHEMA_VERSION) if _is_section(file) else 1
        newer = np.ndim(version) != 0 or int(version) > SCHEMA_VERSION
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, OverflowError) as error:
        file.close()
        raise DataError(f"{path.name}: its attributes cannot be read ({error}).") from error
    if newer:
        file.close()
        raise SchemaError(
            f"{path.name}: written under schema {version}, this msibench reads up to "
            f"{SCHEMA_VERSION}; upgrade msibench."
        )
    return file


def _unlocked(path: Path) -> h5py.File:
    """Open a file that no other program is writing; without a lock where the file system has none.

    Raises
    ------
    DataError
        Another program holds it for writing.
    OSError
        It is not an HDF5 file.
    """
    import h5py

    try:
        return h5py.File(path, "r")
    except OSError as error:
        failed = re.search(r"unable to lock file, errno = ([0-9]+)", str(error))
        if failed is None:
            raise
        if int(failed[1]) in (errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK):
            raise DataError(
                f"{path.name}: another program has it open for writing (it is locked); close it there, "
                "or wait until it is done, and try again."
            ) from error
    return h5py.File(path, "r", locking=False)  # network file systems may have no locks at all


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn the errors that h5py raises for a damaged file into one message."""
    try:
        yield
    except MemoryError as error:
        raise DataError(f"{path.name}: does not fit into free memory ({error}).") from error
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, OverflowError) as error:
        if isinstance(error, MSIBenchError):
            raise
        raise DataError(f"{path.name}: is damaged ({error}); copy it again.") from error


def _is_section(file: h5py.File) -> bool:
    return _text(file, "format") == FORMAT


def _problems(file: h5py.File) -> list[str]:
    stack = next((name for name in STACKS if has(file, name)), None)
    if stack is None:
        held = ", ".join(sorted(file)) or "nothing"
        return [f"it has no dataset /images (channel, row, column) float32; it holds {held}"]
    problems = [why_unsafe(file, name) for name in (stack, "mz", "mask") if has(file, name)]
    problems = [problem for problem in problems if problem]
    if problems:
        return problems
    shape = file[stack].shape
    if len(shape) != 3:
        return [f"/{stack} should be (channel, row, column), got shape {shape}"]
    if file[stack].dtype.kind not in "fiu":
        problems.append(f"/{stack} should be float32, got {file[stack].dtype}")
    sizes = {name: file[name].shape for name in ("mz", "mask") if name in file}
    count = sizes["mz"][0] if len(sizes.get("mz", ())) == 1 else None
    if why := other_axes(shape, count, sizes.get("mask")):
        return [why]
    if "mz" in file and (file["mz"].shape != shape[:1] or file["mz"].dtype.kind not in "fiu"):
        problems.append(
            f"/mz should hold {shape[0]} numbers, got {file['mz'].dtype} {file['mz'].shape}"
        )
    if "mz" not in file and _is_section(file):
        problems.append("it has no dataset /mz")
    if "mask" in file and (file["mask"].shape != shape[1:] or file["mask"].dtype.kind not in "bui"):
        problems.append(
            f"/mask should be uint8 {shape[1:]}, got {file['mask'].dtype} {file['mask'].shape}"
        )
    return problems


def _value(file: h5py.File, name: str, absent: object) -> Any:
    """Return an attribute; a scalar also where it was written as an array of one."""
    value = file.attrs.get(name, absent)
    if isinstance(value, np.ndarray):
        return value.reshape(-1)[0] if value.size == 1 else value
    return value


def _number(file: h5py.File, name: str) -> float:
    try:
        return float(_value(file, name, np.nan))
    except (TypeError, ValueError):
        return float("nan")


def _text(file: h5py.File, name: str) -> str:
    value = _value(file, name, "")
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
