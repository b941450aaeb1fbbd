"""Check an npz file by its headers: arrays as large as they claim, and no larger than zlib can pack."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np

from msibench.contracts.plain_text import without_advice
from msibench.errors import DataError

MOST_MEMBERS = 1000
FREE_BYTES = 64 << 20
PACKING = 1100
"""The most bytes that a stored byte can stand for in zlib's format."""


def check_npz(path: Path, names: Iterable[str] | None = None) -> None:
    """Raise unless the named arrays (None: all) may be read into memory.

    Only headers are read: of the archive, and of each array.

    Raises
    ------
    DataError
        If a member occurs twice, is packed in an odd way, holds objects, claims a shape that its bytes
        do not fill, or grows beyond what zlib can pack.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > MOST_MEMBERS or len({m.filename for m in members}) < len(members):
                raise DataError(
                    f"{path.name}: holds {len(members)} members, more than {MOST_MEMBERS} or one "
                    "twice; write it again with np.savez."
                )
            wanted = None if names is None else {f"{name}.npy" for name in names} | set(names)
            for member in members:
                if wanted is None or member.filename in wanted:
                    _check_member(path, archive, member)
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path.name}: cannot be read as npz ({without_advice(str(error))}); write it again."
        ) from error


def check_npy(path: Path) -> None:
    """Raise unless the array of an npy file fills its file."""
    with path.open("rb") as stream:
        try:
            header = _header_bytes(stream)
        except Exception as error:  # numpy parses the header as Python's own literals
            raise DataError(
                f"{path.name} is not an array file: {without_advice(str(error))}; write it again with np.save."
            ) from error
        _check_claim(path, path.name, header, path.stat().st_size - stream.tell())


def _check_member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED} or (
        member.flag_bits & 0x1
    ):
        raise DataError(f"{path.name}: {member.filename!r} uses an unsupported compression.")
    if member.file_size > max(FREE_BYTES, PACKING * member.compress_size):
        raise DataError(
            f"{path.name}: {member.filename!r} grows from {member.compress_size} to "
            f"{member.file_size} bytes; it is damaged or malicious."
        )
    with archive.open(member) as stream:
        try:
            claimed = _header_bytes(stream)
        except Exception as error:  # numpy parses the header as Python's own literals
            raise DataError(
                f"{path.name}: cannot be read as npz ({member.filename!r} is not a plain array: {without_advice(str(error))}); "
                "write it again."
            ) from error
        _check_claim(path, member.filename, claimed, member.file_size - stream.tell())


def _header_bytes(stream: IO[bytes]) -> int:
    """Return the bytes of values that a header claims."""
    form: Any = np.lib.format
    version = form.read_magic(stream)
    read = {(1, 0): form.read_array_header_1_0, (2, 0): form.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"version {version} of the format is not read")
    shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError(f"it holds {dtype}: objects, which are never unpickled")
    if any(side < 0 for side in shape):
        raise ValueError(f"its shape is {shape}")
    return math.prod(int(side) for side in shape) * int(dtype.itemsize)


def _check_claim(path: Path, name: str, claimed: int, there: int) -> None:
    if claimed > there:
        raise DataError(
            f"{path.name}: {name!r} claims {claimed} bytes of values and has {there}; it is truncated or malicious. Copy it again."
        )
