"""Pictures and TIFF files from strangers: what is announced is judged before a pixel is decoded."""

from __future__ import annotations

import io
import os
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

SECTION = "msibench.io.read:read_section"
GUIDE = "msibench.io.guide.open:read_guide"
BOTH = pytest.mark.parametrize("reader", [SECTION, GUIDE])


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(rows, columns, body=b"", colour=0, bits=8, extra=b""):
    head = struct.pack(">IIBBBBB", columns, rows, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + extra
        + chunk(b"IDAT", body)
        + chunk(b"IEND", b"")
    )


@pytest.mark.sweep
@BOTH
@pytest.mark.parametrize("side", [1 << 16, (1 << 31) - 1])
@pytest.mark.parametrize("bits", [8, 16])
def test_pictures_of_absurd_size_are_refused(refused, tmp_path, reader, side, bits):
    path = tmp_path / "s.png"
    path.write_bytes(png(side, side, zlib.compress(b"\0" * (1 << 20), 9), bits=bits))
    refused(reader, path, names="s.png", memory_mib=64)


@BOTH
def test_a_picture_that_grows_a_thousandfold_is_refused_above_the_stated_limit(
    bounded, tmp_path, reader
):
    """A file of a few bytes may claim some 90 million pixels, and no more."""
    path = tmp_path / "s.png"
    path.write_bytes(png(20_000, 20_000, zlib.compress(b"\0" * 20_001_000, 1)))
    ended = bounded(reader, path, memory_mib=64)
    assert ended.on_purpose, ended


@BOTH
def test_text_and_profiles_in_a_picture_do_not_explode(bounded, tmp_path, reader):
    bomb = zlib.compress(b"\0" * (64 << 20), 1)
    body = zlib.compress(b"".join(b"\0" + bytes(8) for _ in range(8)))
    for extra in (
        chunk(b"zTXt", b"a\0\0" + bomb),
        chunk(b"iCCP", b"a\0\0" + bomb),
        chunk(b"iTXt", b"a\0\1\0\0\0" + bomb),
        b"".join(chunk(b"tEXt", b"a\0" + b"x" * 4000) for _ in range(5000)),
    ):
        path = tmp_path / "s.png"
        path.write_bytes(png(8, 8, body, extra=extra))
        ended = bounded(reader, path, memory_mib=96)
        assert not ended.error or ended.on_purpose, ended


@BOTH
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".bmp"])
def test_a_program_is_no_picture(refused, tmp_path, reader, suffix):
    """Pillow would hand PostScript to Ghostscript, whatever the file is called."""
    path = tmp_path / f"s{suffix}"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    refused(reader, path, names=f"s{suffix}", memory_mib=64)


@pytest.mark.parametrize(
    ("reader", "kind"),
    [
        (SECTION, "PNG"),
        (GUIDE, "JPEG"),
        (SECTION, "GIF"),
        (SECTION, "BMP"),
        pytest.param(GUIDE, "PNG", marks=pytest.mark.slow),
        pytest.param(SECTION, "JPEG", marks=pytest.mark.slow),
        pytest.param(GUIDE, "GIF", marks=pytest.mark.slow),
        pytest.param(GUIDE, "BMP", marks=pytest.mark.slow),
    ],
)
def test_damaged_pictures_are_refused_or_read(bounded, tmp_path, reader, kind):
    out = io.BytesIO()
    Image.fromarray(np.arange(96, dtype=np.uint8).reshape(8, 12)).save(out, kind)
    whole = out.getvalue()
    path = tmp_path / f"s.{kind.lower()}"
    for place in range(0, len(whole), max(1, len(whole) // 6)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        ended = bounded(reader, path, memory_mib=600)
        assert not ended.error or ended.on_purpose, (place, ended)


def tiff(directories, *, big=False, loop_to=None):
    """A TIFF of directories, each a list of (tag, type, count, value)."""
    width, head = (20, 16) if big else (12, 8)
    out = bytearray(b"II+\0\x08\0\0\0" if big else b"II*\0")
    offset = head
    offsets = []
    for tags in directories:
        offsets.append(offset)
        offset += (8 if big else 2) + width * len(tags) + (8 if big else 4)
    out += struct.pack("<Q" if big else "<I", offsets[0])
    for number, tags in enumerate(directories):
        out += struct.pack("<Q" if big else "<H", len(tags))
        for code, kind, count, value in tags:
            out += struct.pack("<HHQQ" if big else "<HHII", code, kind, count, value)
        last = number + 1 == len(directories)
        after = (0 if loop_to is None else offsets[loop_to]) if last else offsets[number + 1]
        out += struct.pack("<Q" if big else "<I", after)
    return bytes(out)


def page(rows=4, columns=4, compression=1, offset=8, count=16, more=()):
    tags = [
        (256, 4, 1, columns), (257, 4, 1, rows), (258, 3, 1, 8), (259, 3, 1, compression),
        (262, 3, 1, 1), (273, 4, 1, offset), (277, 3, 1, 1), (278, 4, 1, rows), (279, 4, 1, count),
        *more,
    ]  # fmt: skip
    return sorted(tags)


@BOTH
@pytest.mark.parametrize("big", [False, True])
def test_a_hand_made_tiff_is_read(bounded, tmp_path, reader, big):
    (tmp_path / "s.tif").write_bytes(tiff([page()], big=big) + bytes(64))
    ended = bounded(reader, tmp_path / "s.tif")
    assert not ended.error, ended


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("reader", "big"),
    [
        (SECTION, False),
        (GUIDE, True),
        pytest.param(SECTION, True, marks=pytest.mark.slow),
        pytest.param(GUIDE, False, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(
    ("directories", "loop_to", "named"),
    [
        ([page()], 0, "circular"),
        ([page(), page(), page()], 1, "circular"),
        ([page(1 << 20, 1 << 20)], None, "s.tif"),
        ([page((1 << 32) - 1, (1 << 32) - 1)], None, "s.tif"),
        ([page(0, 0)], None, "s.tif"),
        ([page(more=[(270, 2, (1 << 32) - 1, 8)])], None, "tag 270"),
        ([page(more=[(700, 1, 1 << 31, 8)])], None, "tag 700"),
        ([page(1 << 14, 1 << 14, compression=8, count=16)], None, "s.tif"),
        ([page(offset=1 << 30, count=1 << 30)], None, "s.tif"),
        ([page(compression=34933)], None, "compression 34933"),
        ([page(more=[(322, 4, 1, 1 << 16), (323, 4, 1, 1 << 16)])], None, "s.tif"),
        ([page() for _ in range(16_385)], None, "pages"),
    ],
)
def test_tiff_directories_that_lie_are_refused(
    refused, tmp_path, reader, big, directories, loop_to, named
):
    path = tmp_path / "s.tif"
    path.write_bytes(tiff(directories, big=big, loop_to=loop_to) + bytes(64))
    refused(reader, path, names=named, memory_mib=128)


@BOTH
def test_directories_beyond_or_inside_nothing_are_refused(refused, tmp_path, reader):
    path = tmp_path / "s.tif"
    for content in (
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0\xff\xff",
        b"II+\0\x08\0\0\0" + struct.pack("<Q", 1 << 62),
        b"MM\0*\0\0\0\0",
        b"II*\0",
        tiff([page()])[:40],
    ):
        path.write_bytes(content)
        refused(reader, path, names="s.tif", memory_mib=64)


@pytest.mark.parametrize("compression", ["zlib", "zstd", "lzma"])
def test_tiff_bombs_are_refused(bounded, tmp_path, compression):
    path = tmp_path / "s.tif"
    tifffile.imwrite(
        path, np.zeros((9_000, 9_000), np.uint8), compression=compression, rowsperstrip=9_000,
        compressionargs={"level": 1},
    )  # fmt: skip
    assert path.stat().st_size < 1 << 20
    for reader in (SECTION, GUIDE):
        ended = bounded(reader, path, memory_mib=64)
        assert ended.on_purpose, ended


@BOTH
def test_a_small_tile_that_holds_a_large_jpeg_is_refused(refused, tmp_path, reader):
    out = io.BytesIO()
    Image.fromarray(np.zeros((9000, 9000), np.uint8)).save(out, "JPEG")
    jpeg = out.getvalue()
    head = tiff([page(16, 16, compression=7, offset=0, count=len(jpeg))])
    head = tiff([page(16, 16, compression=7, offset=len(head), count=len(jpeg))])
    (tmp_path / "s.tif").write_bytes(head + jpeg)
    refused(reader, tmp_path / "s.tif", names="holds an image of 9000 x 9000", memory_mib=64)


LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE OME [<!ENTITY a "{a}">'
    + "".join(f'<!ENTITY {n} "{f"&{p};" * 10}">' for p, n in zip("abcdefg", "bcdefgh", strict=True))
    + ']><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">&h;</OME>'
).format(a="ha" * 50)
OUTSIDE = (
    '<?xml version="1.0"?><!DOCTYPE OME [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="&x;"/></OME>'
)


@BOTH
@pytest.mark.parametrize("text", [LAUGHS, OUTSIDE])
def test_ome_xml_with_entities_is_refused(refused, tmp_path, reader, text):
    path = tmp_path / "s.ome.tif"
    tifffile.imwrite(path, np.zeros((4, 4), np.uint8), description=text, metadata=None)
    refused(reader, path, names="entities", memory_mib=64)


@BOTH
def test_ome_xml_opens_no_other_file(bounded, tmp_path, reader):
    """A multi-file OME-TIFF names the files of its planes; a pipe among them would never answer."""
    os.mkfifo(tmp_path / "other.tif")
    text = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="4" '
        'SizeY="4" SizeC="2" SizeZ="1" SizeT="1"><TiffData IFD="0" FirstC="0" PlaneCount="1"/>'
        '<TiffData IFD="0" FirstC="1" PlaneCount="1"><UUID FileName="other.tif">urn:uuid:1</UUID>'
        "</TiffData></Pixels></Image></OME>"
    )
    path = tmp_path / "s.ome.tif"
    tifffile.imwrite(path, np.zeros((4, 4), np.uint8), description=text, metadata=None)
    ended = bounded(reader, path, memory_mib=64, seconds=20)
    assert not ended.error or ended.on_purpose, ended
