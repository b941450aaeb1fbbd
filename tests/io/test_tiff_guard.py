"""What the compressed tiles of a TIFF announce, and when a stack counts as large."""

import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from msibench.errors import ConfigurationError, DataError
from msibench.io.stored_stack import is_large, large_bytes
from msibench.io.tiff_guard import check_segment

JPEG, JPEG_2000 = 7, 34712
ROWS, COLUMNS = 40, 56


def stream(rows, columns, before=b""):
    """A JPEG stream up to its frame header."""
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, rows, columns, 3) + bytes(9)
    return b"\xff\xd8" + before + frame


def sized(data, compression, tall, wide):
    check_segment(Path("a.tif"), compression, data, tall, wide)


def test_real_streams_are_as_large_as_what_was_encoded():
    pixels = np.zeros((ROWS, COLUMNS, 3), np.uint8)
    for compression, data in (
        (JPEG, imagecodecs.jpeg_encode(pixels)),
        (JPEG_2000, imagecodecs.jpeg2k_encode(pixels, codecformat="j2k")),
    ):
        sized(data, compression, ROWS, COLUMNS)
        with pytest.raises(
            DataError, match=rf"of 4 x 5 pixels holds an image of {ROWS} x {COLUMNS}"
        ):
            sized(data, compression, 4, 5)
        with pytest.raises(DataError, match="holds no"):
            sized(data[:20], compression, ROWS, COLUMNS)


@pytest.mark.parametrize(
    "before",
    [
        b"", b"\xff\xff", b"\xff\x01", b"\xff\xd0\xff\xd7", b"\x00\x00", b"\xff\xe0\x00\x04ab",
        b"\xff\xc4\x00\x02", b"\xff\xcc\x00\x02",
    ],
)  # fmt: skip
@pytest.mark.parametrize("make", ["rows", "columns"])
def test_a_tile_may_announce_twice_its_side_and_sixteen_pixels(before, make):
    side = {"rows": 4, "columns": 6}[make]
    for extra, good in ((16, True), (17, False)):
        sides = {"rows": 1, "columns": 1, make: 2 * side + extra}
        if good:
            sized(stream(**sides, before=before), JPEG, 4, 6)
        else:
            with pytest.raises(DataError, match="damaged or malicious"):
                sized(stream(**sides, before=before), JPEG, 4, 6)


@pytest.mark.parametrize(("text", "size"), [("2", 2**21), ("0.5", 2**19)])
def test_the_size_from_which_a_stack_is_large_is_in_mib(monkeypatch, text, size):
    monkeypatch.setenv("MSIBENCH_LARGE_MIB", text)
    assert large_bytes() == size
    assert is_large((1, size // 4 + 1, 1))
    for wrong in ("0", "-1", "inf", "nan", "much"):
        monkeypatch.setenv("MSIBENCH_LARGE_MIB", wrong)
        with pytest.raises(ConfigurationError, match="positive number of MiB"):
            large_bytes()
