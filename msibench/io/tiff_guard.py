"""Check a TIFF file by its directories, before tifffile opens a page of it."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from msibench.errors import DataError

if TYPE_CHECKING:
    from tifffile import TiffPage

MOST_PAGES = 16_384
MOST_TAGS = 4096
LARGEST_SEGMENT = 1 << 28
"""Bytes of one tile or strip once it is decoded."""
TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
              16: 8, 17: 8, 18: 8}  # fmt: skip
KNOWN_COMPRESSION = {
    1: "none", 5: "LZW", 6: "JPEG", 7: "JPEG", 8: "deflate", 32773: "PackBits", 32946: "deflate",
    33003: "JPEG 2000", 33005: "JPEG 2000", 34712: "JPEG 2000", 34925: "LZMA", 50000: "Zstandard",
}  # fmt: skip
OWN_SIZE = {6, 7, 33003, 33005, 34712}
"""Compressions whose data state their own decoded size."""
IMAGE_DESCRIPTION = 270


def check_tiff(path: Path) -> None:
    """Raise unless a TIFF's chain of directories ends, and its tags lie in the file.

    Raises
    ------
    DataError
        If the chain loops or has more than 16,384 pages, a tag reaches beyond the file, or an
        OME-XML description declares a document type: entities are never needed and can fill memory.
    """
    with path.open("rb") as file:
        head = file.read(16)
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        if order is None or len(head) < 8:
            raise DataError(
                f"{path.name}: cannot be read as TIFF: it does not start with a TIFF header."
            )
        big = struct.unpack(f"{order}H", head[2:4])[0] == 43
        size = file.seek(0, os.SEEK_END)
        try:
            start = struct.unpack(f"{order}Q", head[8:16]) if big else struct.unpack(
                f"{order}I", head[4:8]
            )  # fmt: skip
            _walk(path, file, order, big, size, start[0])
        except struct.error as error:
            raise DataError(
                f"{path.name}: cannot be read as TIFF: it ends inside a directory ({error}). Copy it "
                "again."
            ) from error


def _walk(path: Path, file: BinaryIO, order: str, big: bool, size: int, start: int) -> None:
    """Follow the chain of directories to its end."""
    seen: set[int] = set()
    offset = start
    while offset:
        if offset in seen:
            raise DataError(f"{path.name}: its chain of pages is circular; it is damaged.")
        if len(seen) >= MOST_PAGES:
            raise DataError(f"{path.name}: has more than {MOST_PAGES} pages; it is damaged.")
        if offset >= size:
            raise DataError(
                f"{path.name}: cannot be read as TIFF: a page should begin at byte {offset} of "
                f"{size}. Copy it again."
            )
        seen.add(offset)
        file.seek(offset)
        count = struct.unpack(f"{order}{'Q' if big else 'H'}", file.read(8 if big else 2))[0]
        if count > MOST_TAGS:
            raise DataError(f"{path.name}: a page claims {count} tags; it is damaged.")
        width = 20 if big else 12
        table = file.read(count * width)
        after = file.read(8 if big else 4)
        for place in range(0, count * width, width):
            _check_tag(path, file, order, big, size, table[place : place + width])
        offset = struct.unpack(f"{order}{'Q' if big else 'I'}", after)[0]


def _check_tag(path: Path, file: BinaryIO, order: str, big: bool, size: int, tag: bytes) -> None:
    code, kind, count = struct.unpack(f"{order}HH{'Q' if big else 'I'}", tag[: 12 if big else 8])
    taken = TYPE_BYTES.get(kind, 1) * count
    inside = tag[12:] if big else tag[8:]
    place = struct.unpack(f"{order}{'Q' if big else 'I'}", inside)[0]
    if taken > len(inside) and place + taken > size:
        raise DataError(
            f"{path.name}: tag {code} should lie in bytes {place} to {place + taken} of {size}; the "
            "file is damaged. Copy it again."
        )
    if code == IMAGE_DESCRIPTION and taken > len(inside):
        file.seek(place)
        refuse_doctype(path, file.read(taken))


def refuse_doctype(path: Path, description: bytes) -> None:
    """Raise if XML in a description declares a document type, in whatever encoding."""
    bare = description.replace(b"\0", b"")
    if b"<!DOCTYPE" in bare or b"<!ENTITY" in bare:
        raise DataError(
            f"{path.name}: cannot be read as TIFF: its OME-XML declares entities, which can make a small "
            "file fill the memory; export it again."
        )


def check_page(path: Path, page: TiffPage) -> None:
    """Raise unless the tiles or strips of an open page may be decoded.

    Raises
    ------
    DataError
        If its compression is not one that is read, a tile is larger than 256 MiB, or the data of a
        tile say of themselves that they are larger than the tile.
    """
    own, page = page, getattr(page, "keyframe", page)  # frames of a series share a layout
    compression = int(page.compression)
    if compression not in KNOWN_COMPRESSION:
        known = ", ".join(sorted(set(KNOWN_COMPRESSION.values())))
        raise DataError(
            f"{path.name}: its pixels use compression {compression}, which is not supported; "
            f"save it with one of {known}."
        )
    tall = int(page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength))
    wide = int(page.tilewidth if page.is_tiled else page.imagewidth)
    deep = max(1, int(getattr(page, "tiledepth", 1) or 1)) if page.is_tiled else 1
    decoded = tall * wide * deep * int(page.samplesperpixel) * max(1, int(page.bitspersample)) // 8
    whole = pixel_bytes(page)
    if tall < 1 or wide < 1 or decoded > max(LARGEST_SEGMENT, whole):
        raise DataError(
            f"{path.name}: tiles of {tall} x {wide} pixels are not possible; is the file damaged?"
        )
    if compression in OWN_SIZE:
        file = page.parent.filehandle
        for offset, count in zip(own.dataoffsets, own.databytecounts, strict=True):
            if count:
                file.seek(offset)
                check_segment(path, compression, file.read(min(count, 1 << 20)), tall, wide)


def pixel_bytes(page: TiffPage) -> int:
    """Return the bytes of a page's own pixels."""
    return int(page.imagelength) * int(page.imagewidth) * int(page.samplesperpixel) * (
        max(8, int(page.bitspersample)) // 8
    )  # fmt: skip


def check_segment(path: Path, compression: int, data: bytes, tall: int, wide: int) -> None:
    """Raise if JPEG or JPEG 2000 data announce more pixels than their tile has."""
    size = _jpeg_size(data) if compression in {6, 7} else _jpeg_2000_size(data)
    if size is None:
        raise DataError(f"{path.name}: a tile holds no {KNOWN_COMPRESSION[compression]} image.")
    if size[0] > 2 * tall + 16 or size[1] > 2 * wide + 16:
        raise DataError(
            f"{path.name}: a tile of {tall} x {wide} pixels holds an image of {size[0]} x {size[1]}; "
            "it is damaged or malicious."
        )


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return (rows, columns) of the first frame of a JPEG stream."""
    place = 2
    while place + 9 <= len(data):
        if data[place] != 0xFF:
            place += 1
            continue
        marker = data[place + 1]
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            rows, columns = struct.unpack(">HH", data[place + 5 : place + 9])
            return rows, columns
        if marker in {0xFF, 0x00, 0x01} or 0xD0 <= marker <= 0xD8:
            place += 1 if marker == 0xFF else 2
            continue
        place += 2 + struct.unpack(">H", data[place + 2 : place + 4])[0]
    return None


def _jpeg_2000_size(data: bytes) -> tuple[int, int] | None:
    """Return (rows, columns) of a JPEG 2000 code stream."""
    place = data.find(b"\xff\x4f\xff\x51")
    if place < 0 or len(data) < place + 24:
        return None
    right, bottom, left, top = struct.unpack(">IIII", data[place + 8 : place + 24])
    return bottom - top, right - left
