"""What npz and TIFF files claim in their headers, at the limits, and what is said of it."""

import io
import struct
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile

from msibench.errors import DataError
from msibench.io import npz_guard, stacks, tiff_guard
from msibench.io.npz_guard import check_npy, check_npz
from msibench.io.stacks import read_npz
from msibench.io.tiff_guard import check_page, check_segment, check_tiff, pixel_bytes

# npz -----------------------------------------------------------------------------------------


def npy(shape=(2, 3), kind="<f4", body=None, version=(1, 0)):
    """The bytes of an npy file whose header claims a shape, whatever follows."""
    out = io.BytesIO()
    header = {"descr": kind, "fortran_order": False, "shape": shape}
    write = np.lib.format.write_array_header_2_0 if version[0] == 2 else np.lib.format.write_array_header_1_0  # fmt: skip
    write(out, header)
    whole = bytearray(out.getvalue())
    whole[6] = version[0]
    return bytes(whole) + (bytes(4 * 6) if body is None else body)


def archive(path, *members, packed=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", packed) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


def test_an_array_fills_what_it_claims(tmp_path):
    path = tmp_path / "a.npy"
    for version in ((1, 0), (2, 0)):
        path.write_bytes(npy(version=version))
        check_npy(path)
        path.write_bytes(npy(version=version)[:-1])
        with pytest.raises(DataError, match="claims 24 bytes of values and has 23"):
            check_npy(path)
    for content, said in (
        (npy(version=(3, 0)), r"version \(3, 0\)"),
        (npy(kind="|O"), "never unpickled"),
        (npy(shape=(-1, 3)), "its shape is"),
        (b"", "not an array file"),
        (b"\x93NUMPY", "not an array file"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=said):
            check_npy(path)
    path.write_bytes(npy(shape=(0, 3), body=b""))
    check_npy(path)


@pytest.mark.parametrize("packed", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_the_arrays_of_an_archive_fill_what_they_claim(tmp_path, packed):
    path = tmp_path / "a.npz"
    check_npz(archive(path, ("cube.npy", npy()), packed=packed))
    archive(path, ("cube.npy", npy()), ("mz.npy", npy()[:-1]), packed=packed)
    check_npz(path, ("cube",))
    check_npz(path, ("other",))
    for names in (None, ("mz",), ("mz.npy",), ("cube", "mz")):
        with pytest.raises(DataError, match=r"'mz\.npy' claims 24 bytes of values and has 23"):
            check_npz(path, names)


def test_odd_archives_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(DataError, match="unsupported compression"):
        check_npz(archive(path, ("cube.npy", npy()), packed=zipfile.ZIP_BZIP2))
    with pytest.warns(UserWarning, match="Duplicate"):
        archive(path, ("cube.npy", npy()), ("cube.npy", npy()))
    with pytest.raises(DataError, match="holds 2 members"):
        check_npz(path)
    with pytest.raises(DataError, match="is not a plain array"):
        check_npz(archive(path, ("cube.npy", b"text")))
    path.write_bytes(b"text")
    with pytest.raises(DataError, match="cannot be read as npz"):
        check_npz(path)
    archive(path, ("cube.npy", npy()))
    raw = path.read_bytes()
    for place in (raw.find(b"PK\x01\x02") + 8, 6):  # the flags, in both headers
        raw = raw[:place] + bytes([raw[place] | 1]) + raw[place + 1 :]
    path.write_bytes(raw)
    with pytest.raises(DataError, match="unsupported compression"):
        check_npz(path)


def test_an_archive_holds_a_thousand_members(tmp_path):
    members = [(f"{number}.npy", b"") for number in range(1001)]
    check_npz(archive(tmp_path / "a.npz", *members[:1000]), ())
    with pytest.raises(DataError, match="holds 1001 members"):
        check_npz(archive(tmp_path / "a.npz", *members), ())


def test_a_member_grows_as_far_as_zlib_can_pack_or_to_64_mib(tmp_path, monkeypatch):
    assert npz_guard.FREE_BYTES == 64 << 20
    path = archive(
        tmp_path / "a.npz", ("cube.npy", npy((1 << 20,), "|u1", bytes(1 << 20))),
        packed=zipfile.ZIP_DEFLATED,
    )  # fmt: skip
    with zipfile.ZipFile(path) as file:
        (member,) = file.infolist()
    monkeypatch.setattr(npz_guard, "FREE_BYTES", 0)
    check_npz(path)
    monkeypatch.setattr(npz_guard, "PACKING", (member.file_size - 1) / member.compress_size)
    with pytest.raises(DataError, match=f"grows from {member.compress_size} to {member.file_size}"):
        check_npz(path)
    monkeypatch.setattr(npz_guard, "PACKING", member.file_size / member.compress_size)
    check_npz(path)
    monkeypatch.setattr(npz_guard, "PACKING", 1)
    monkeypatch.setattr(npz_guard, "FREE_BYTES", member.file_size)
    check_npz(path)


def test_npz_that_is_no_stack_is_named(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(npy())
    with pytest.raises(DataError, match=r"a single \.npy array"):
        read_npz(path)
    np.savez(path, other=np.zeros(3))
    with pytest.raises(DataError, match="expected an array 'cube'"):
        read_npz(path)
    for wrong in ({"ppm": [1.0, 2.0]}, {"ppm": "much"}, {"unit": ["a", "b"]}):
        np.savez(path, cube=np.ones((1, 2, 3)), **wrong)
        with pytest.raises(DataError, match="one number and unit one word"):
            read_npz(path)
    for values in (np.array(["a"]), np.zeros(3), np.zeros((1, 1, 2, 3)), np.zeros((0, 2, 3)), np.ones((2, 3), complex)):  # fmt: skip
        np.savez(path, cube=values)
        with pytest.raises(DataError, match="expected numbers"):
            read_npz(path)


# TIFF directories ----------------------------------------------------------------------------


def tiff(pages, *, big=False, order="<", loop_to=None, after=b""):
    """A TIFF of directories, each a list of (tag, type, count, value)."""
    width, head = (20, 16) if big else (12, 8)
    size, place = ("Q", "Q") if big else ("H", "I")
    starts, offset = [], head
    for tags in pages:
        starts.append(offset)
        offset += (8 if big else 2) + width * len(tags) + (8 if big else 4)
    out = b"II" if order == "<" else b"MM"
    out += struct.pack(f"{order}H", 43 if big else 42)
    out += struct.pack(f"{order}HH", 8, 0) if big else b""
    out += struct.pack(order + place, starts[0] if starts else 0)
    for number, tags in enumerate(pages):
        out += struct.pack(order + size, len(tags))
        for tag in tags:
            out += struct.pack(f"{order}HH{'QQ' if big else 'II'}", *tag)
        last = number + 1 == len(pages)
        following = (0 if loop_to is None else starts[loop_to]) if last else starts[number + 1]
        out += struct.pack(order + place, following)
    return out + after


FORMS = pytest.mark.parametrize(
    ("big", "order"), [(False, "<"), (False, ">"), (True, "<"), (True, ">")]
)
WIDTH = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
"""Bytes of a value of each type, by TIFF 6.0."""


def checked(path, content):
    path.write_bytes(content)
    check_tiff(path)


@FORMS
@pytest.mark.parametrize(("kind", "width"), sorted(WIDTH.items()))
def test_a_tag_may_end_with_the_file_and_no_byte_later(tmp_path, big, order, kind, width):
    count = 24 // width
    head = len(tiff([[(700, kind, count, 0)]], big=big, order=order))
    page = [(700, kind, count, head)]
    path = tmp_path / "a.tif"
    checked(path, tiff([page], big=big, order=order, after=bytes(24)))
    with pytest.raises(DataError, match=f"tag 700 should lie in bytes {head} to {head + 24} of {head + 23}"):  # fmt: skip
        checked(path, tiff([page], big=big, order=order, after=bytes(23)))


@FORMS
def test_what_fits_into_a_tag_lies_in_it(tmp_path, big, order):
    inside = 8 if big else 4
    path = tmp_path / "a.tif"
    checked(path, tiff([[(700, 1, inside, (1 << 32) - 1)]], big=big, order=order))
    with pytest.raises(DataError, match="tag 700"):
        checked(path, tiff([[(700, 1, inside + 1, (1 << 32) - 1)]], big=big, order=order))


@FORMS
def test_a_chain_of_pages_ends(tmp_path, big, order, monkeypatch):
    path = tmp_path / "a.tif"
    assert (tiff_guard.MOST_PAGES, tiff_guard.MOST_TAGS) == (16_384, 4096)
    monkeypatch.setattr(tiff_guard, "MOST_PAGES", 3)
    monkeypatch.setattr(tiff_guard, "MOST_TAGS", 2)
    tag = (256, 4, 1, 4)
    checked(path, tiff([[tag, tag]] * 3, big=big, order=order))
    with pytest.raises(DataError, match="more than 3 pages"):
        checked(path, tiff([[tag]] * 4, big=big, order=order))
    with pytest.raises(DataError, match="claims 3 tags"):
        checked(path, tiff([[tag] * 3], big=big, order=order))
    for start in (0, 1):
        with pytest.raises(DataError, match="circular"):
            checked(path, tiff([[tag]] * 2, big=big, order=order, loop_to=start))


@FORMS
def test_a_page_lies_in_its_file(tmp_path, big, order):
    path = tmp_path / "a.tif"
    whole = tiff([[(256, 4, 1, 4)]], big=big, order=order)
    for kept in range(8, len(whole)):
        with pytest.raises(DataError, match="cannot be read as TIFF"):
            checked(path, whole[:kept])
    head = 16 if big else 8
    with pytest.raises(DataError, match=f"should begin at byte {head} of {head}"):
        checked(path, whole[:head])


@pytest.mark.parametrize("content", [b"", b"II*\0", b"II*\0\0\0\0", b"GIF89a..", b"IM*\0\0\0\0\0"])
def test_what_does_not_begin_as_tiff_is_named(tmp_path, content):
    with pytest.raises(DataError, match="does not start with a TIFF header"):
        checked(tmp_path / "a.tif", content)
    checked(tmp_path / "a.tif", b"MM\0*\0\0\0\0")


@FORMS
@pytest.mark.parametrize("encoding", ["ascii", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("word", ["<!DOCTYPE x>", "<!ENTITY x>"])
def test_a_description_that_declares_entities_is_refused(tmp_path, big, order, encoding, word):
    text = f"<?xml?>{word}".encode(encoding)
    for code, refused in ((270, True), (271, False)):
        head = len(tiff([[(code, 2, len(text), 0)]], big=big, order=order))
        content = tiff([[(code, 2, len(text), head)]], big=big, order=order, after=text)
        if refused:
            with pytest.raises(DataError, match="declares entities"):
                checked(tmp_path / "a.tif", content)
        else:
            checked(tmp_path / "a.tif", content)


# TIFF pages ----------------------------------------------------------------------------------


def page(**facts):
    plain = {
        "compression": 1, "is_tiled": False, "rowsperstrip": 5, "imagelength": 10, "imagewidth": 7,
        "samplesperpixel": 1, "bitspersample": 8,
    }  # fmt: skip
    return SimpleNamespace(**(plain | facts))


def test_a_page_takes_whole_bytes_a_sample():
    for bits, width in ((1, 1), (8, 1), (12, 1), (16, 2), (32, 4), (64, 8)):
        assert pixel_bytes(page(bitspersample=bits, samplesperpixel=3)) == 10 * 7 * 3 * width


@pytest.mark.parametrize(
    "tile",
    [
        {"is_tiled": True, "tilelength": 1 << 14, "tilewidth": 1 << 14},
        {"is_tiled": True, "tilelength": 1 << 12, "tilewidth": 1 << 14, "tiledepth": 4},
        {"is_tiled": True, "tilelength": 1 << 13, "tilewidth": 1 << 14, "bitspersample": 16},
        {"is_tiled": True, "tilelength": 1 << 12, "tilewidth": 1 << 14, "samplesperpixel": 4},
        {"is_tiled": True, "tilelength": 1 << 14, "tilewidth": 1 << 17, "bitspersample": 1},
    ],
)
def test_a_tile_takes_256_mib_once_it_is_decoded(tile):
    check_page(Path("a.tif"), page(**tile))
    with pytest.raises(DataError, match="are not possible"):
        check_page(Path("a.tif"), page(**tile | {"tilewidth": tile["tilewidth"] + 1}))


def test_a_strip_is_as_large_as_the_image_may_be(monkeypatch):
    monkeypatch.setattr(tiff_guard, "LARGEST_SEGMENT", 8)
    check_page(Path("a.tif"), page(rowsperstrip=1 << 31))
    check_page(Path("a.tif"), page(is_tiled=True, tilelength=10, tilewidth=7))
    with pytest.raises(DataError, match="tiles of 10 x 8 pixels are not possible"):
        check_page(Path("a.tif"), page(is_tiled=True, tilelength=10, tilewidth=8))
    for none in ({"rowsperstrip": 0}, {"imagewidth": 0}, {"imagelength": 0}):
        with pytest.raises(DataError, match="are not possible"):
            check_page(Path("a.tif"), page(**none))
    check_page(Path("a.tif"), page(imagelength=1, imagewidth=1))
    check_page(Path("a.tif"), SimpleNamespace(keyframe=page()))


@pytest.mark.parametrize("compression", sorted(tiff_guard.KNOWN_COMPRESSION))
def test_a_compression_that_is_not_known_is_named(compression):
    own = {"dataoffsets": (), "databytecounts": (), "parent": SimpleNamespace(filehandle=None)}
    check_page(Path("a.tif"), page(compression=compression, **own))
    with pytest.raises(DataError, match=r"compression 34933.*LZW"):
        check_page(Path("a.tif"), page(compression=34933))


def test_every_tile_that_states_its_own_size_is_looked_at(tmp_path):
    imagecodecs = pytest.importorskip("imagecodecs")
    small, large = (imagecodecs.jpeg_encode(np.zeros((side, side), np.uint8)) for side in (8, 90))
    file = io.BytesIO(b"......" + small + large)
    places = {"dataoffsets": (6, 0, 6 + len(small)), "compression": 7, "rowsperstrip": 8, "imagelength": 8, "imagewidth": 8}  # fmt: skip
    own = page(parent=SimpleNamespace(filehandle=file), **places)
    own.databytecounts = (len(small), 0, 0)
    check_page(Path("a.tif"), own)
    own.databytecounts = (len(small), 0, len(large))
    with pytest.raises(DataError, match="of 8 x 8 pixels holds an image of 90 x 90"):
        check_page(Path("a.tif"), own)
    check_segment(Path("a.tif"), 7, large, 37, 37)


@pytest.mark.parametrize("make", ["rows", "columns"])
def test_jpeg_2000_gives_its_size_less_its_origin(make):
    side = {"rows": 4, "columns": 6}[make]
    for extra in (16, 17):
        rows, columns = {"rows": (2 * side + extra, 1), "columns": (1, 2 * side + extra)}[make]
        stream = b"box" + b"\xff\x4f\xff\x51" + bytes(4) + struct.pack(">IIII", columns + 5, rows + 3, 5, 3)  # fmt: skip
        for compression in (33003, 33005, 34712):
            if extra == 16:
                check_segment(Path("a.tif"), compression, stream, 4, 6)
                with pytest.raises(DataError, match="holds no JPEG 2000 image"):
                    check_segment(Path("a.tif"), compression, stream[:-1], 4, 6)
            else:
                with pytest.raises(DataError, match=f"holds an image of {rows} x {columns}"):
                    check_segment(Path("a.tif"), compression, stream, 4, 6)


def test_an_image_is_as_large_as_its_file_may_hold(tmp_path, monkeypatch):
    assert (stacks.FREE_BYTES, stacks.PACKING) == (256 << 20, 400)
    path = tmp_path / "a.tif"
    path.write_bytes(bytes(10))
    monkeypatch.setattr(stacks, "FREE_BYTES", 0)
    stacks._believable(path, (1000,), np.uint8)  # 4 bytes a pixel once it is read
    stacks._believable(path, (5, 100), np.float64)
    for shape, kind in (((1001,), np.uint8), ((501,), np.float64)):
        with pytest.raises(DataError, match="in a file of 10"):
            stacks._believable(path, shape, kind)
    monkeypatch.setattr(stacks, "FREE_BYTES", 4004)
    stacks._believable(path, (1001,), np.uint8)


@pytest.mark.parametrize(
    ("axes", "shape", "order"),
    [
        ("YX", (3, 4), (None, 0, 1, None)), ("XY", (4, 3), (None, 1, 0, None)),
        ("CYX", (2, 3, 4), (0, 1, 2, None)), ("YXC", (3, 4, 2), (2, 0, 1, None)),
        ("YXS", (3, 4, 2), (None, 0, 1, 2)), ("SYX", (2, 3, 4), (None, 1, 2, 0)),
        ("CYXS", (5, 3, 4, 2), (0, 1, 2, 3)), ("CSXY", (5, 2, 4, 3), (0, 3, 2, 1)),
        ("TZCYX", (1, 1, 2, 3, 4), (2, 3, 4, None)),
    ],
)  # fmt: skip
def test_axes_come_into_one_order(axes, shape, order):
    values = np.arange(np.prod(shape)).reshape(shape)
    found = stacks._planes(Path("a.tif"), values, axes)
    sides = tuple(1 if axis is None else shape[axis] for axis in order)
    kept = [axis for axis in order if axis is not None]
    rest = [axis for axis in range(len(shape)) if axis not in kept]
    np.testing.assert_array_equal(found, values.transpose([*rest, *kept]).reshape(sides))


@pytest.mark.parametrize(
    ("axes", "shape"), [("TCYX", (2, 2, 3, 4)), ("CY", (2, 3)), ("CX", (2, 3))]
)
def test_axes_that_are_no_stack_are_named(axes, shape):
    with pytest.raises(DataError, match="expected one image or a stack"):
        stacks._planes(Path("a.tif"), np.zeros(shape), axes)


def test_frames_of_two_sizes_and_masks_of_some_are_put_together():
    parts = [np.ones((1, 2, 3)), np.zeros((2, 2, 3))]
    np.testing.assert_array_equal(stacks._together(Path("a"), parts), np.concatenate(parts))
    with pytest.raises(DataError, match=r"different sizes \(2 x 3, 3 x 2\)"):
        stacks._together(Path("a"), [np.ones((1, 2, 3)), np.ones((1, 3, 2))])
    a, b = np.array([[True, True, False]]), np.array([[True, False, True]])
    np.testing.assert_array_equal(stacks._seen([a, None, b]), [[True, False, False]])
    assert stacks._seen([None, None]) is None


def test_a_picture_of_too_many_pixels_is_no_ion_image(tmp_path, monkeypatch):
    from PIL import Image

    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((3, 5), np.uint8)).save(path)
    assert stacks.MOST_PIXELS == 100_000_000
    monkeypatch.setattr(stacks, "MOST_PIXELS", 15)
    assert stacks.read_picture(path).shape == (3, 5)
    monkeypatch.setattr(stacks, "MOST_PIXELS", 14)
    with pytest.raises(DataError, match="holds 1 x 3 x 5 pixels"):
        stacks.read_picture(path)


def test_masses_in_the_description_of_a_plain_stack_are_taken(tmp_path):
    stack = np.ones((2, 3, 4), np.float32)
    for masses, found in (([100.5, 200.5], [100.5, 200.5]), ([100.5], [np.nan, np.nan])):
        tifffile.imwrite(tmp_path / "a.tif", stack, metadata={"mz": masses}, photometric="minisblack")  # fmt: skip
        np.testing.assert_array_equal(stacks.read_tiff(tmp_path / "a.tif").mz, found)
