"""How a stack that memory should not hold is cut, and the levels of a slide."""

import fcntl

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

from msibench.errors import DataError, IntegrityError, MissingDataError
from msibench.io.guide.levels import guide_levels, needed_level
from msibench.io.stored_stack import StoredStack, bands, groups, is_large

MIB = 1 << 20


@pytest.fixture(autouse=True)
def one_mib(monkeypatch):
    monkeypatch.setenv("MSIBENCH_LARGE_MIB", "1")


def test_a_stack_is_large_beyond_the_limit():
    assert not is_large((1, 512, 512))
    assert is_large((1, 512, 513))
    assert groups((1, 512, 512)) == [slice(0, 1)]


@pytest.mark.parametrize(
    ("pixels", "size"), [(65_536, 2), (32_768, 2), (13_107, 5), (4096, 16), (3855, 16), (2048, 32), (2047, 32), (1985, 32)]
)  # fmt: skip
def test_a_group_takes_a_quarter_of_the_limit_and_whole_sixteens_where_it_can(pixels, size):
    found = groups((400, 1, pixels))
    sizes = [part.stop - part.start for part in found]
    assert set(sizes[:-1]) == {size}
    assert [part.start for part in found[1:]] == [part.stop for part in found[:-1]]
    assert (found[0].start, found[-1].stop) == (0, 400)


def test_no_group_holds_one_image_alone():
    assert groups((3, 512, 512)) == [slice(0, 3)]
    assert groups((4, 512, 512)) == [slice(0, 2), slice(2, 4)]
    assert groups((5, 512, 512)) == [slice(0, 2), slice(2, 5)]
    assert groups((1, 1024, 512)) == [slice(0, 1)]


@pytest.mark.parametrize(
    ("shape", "height"), [((1, 100, 65_536), 1), ((2, 100, 1000), 32), ((4, 100, 65_536), 1), ((0, 10, 0), 10)]
)  # fmt: skip
def test_a_band_takes_a_quarter_of_the_limit(shape, height):
    found = bands(shape)
    assert found[0] == slice(0, height)
    assert [part.start for part in found] == list(range(0, shape[1], height))
    assert found[-1].stop == shape[1]


@pytest.mark.parametrize(
    "key",
    [
        1, -1, np.int64(2), slice(1, None), slice(None, None, 2), slice(None, None, -1), ...,
        (slice(None), 2), (..., slice(1, 3)), (2, 1, 0), [2, 0], np.array([True, False, True]),
        np.array([-1, 0]), (slice(None), [3, 1]), (0, slice(None, None, -1)), np.array([[0], [2]]),
    ],
)  # fmt: skip
def test_a_stack_in_its_file_is_indexed_as_an_array(tmp_path, key):
    values = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = values
    stack = StoredStack(tmp_path / "a.h5", "x", values.shape, values.dtype)
    np.testing.assert_array_equal(stack[key], values[key])
    np.testing.assert_array_equal(np.asarray(stack), values)
    assert np.asarray(stack, dtype=np.float64).dtype == np.float64
    np.testing.assert_array_equal(list(stack), list(values))
    assert (len(stack), stack.size, stack.nbytes, stack.ndim) == (3, 60, 240, 3)
    assert repr(stack) == "StoredStack(a.h5:x, (3, 4, 5), float32)"


def test_a_stack_whose_file_is_damaged_is_named(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"")
    stack = StoredStack(tmp_path / "a.h5", "x", (1, 2, 3), np.dtype("f4"))
    with pytest.raises(IntegrityError, match=r"a\.h5 cannot be read as HDF5"):
        stack[0]
    with h5py.File(tmp_path / "a.h5", "w"):
        pass
    with pytest.raises(IntegrityError, match=r"a\.h5 cannot be read as HDF5"):
        stack[0]


# Levels of a slide ---------------------------------------------------------------------------

SLIDE = ((80, 40), (40, 20), (20, 10), (10, 5))


@pytest.mark.parametrize(
    ("across", "most", "level"),
    [
        (1, 3200, 0), (1, 800, 1), (2, 800, 1), (1.99, 800, 1), (4, 800, 2), (3.9, 800, 1),
        (8, 800, 3), (100, 800, 3), (8 * 0.9991, 800, 3), (float("nan"), 800, 1), (4, 200, 2),
        (1, 199, 3), (1, 49, 0),
    ],
)  # fmt: skip
def test_the_coarsest_level_that_is_fine_enough_is_needed(across, most, level):
    assert needed_level(SLIDE, across, most) == level


def test_the_levels_are_told_from_the_header(tmp_path):
    with pytest.raises(MissingDataError, match="there is no guide image"):
        guide_levels(tmp_path / "none.tif")
    path = tmp_path / "a.tif"
    for big in (False, True):
        with tifffile.TiffWriter(path, bigtiff=big) as file:
            file.write(np.zeros((64, 32, 3), np.uint8), subifds=1, photometric="rgb", tile=(16, 16))
            file.write(np.zeros((32, 16, 3), np.uint8), subfiletype=1, photometric="rgb", tile=(16, 16))  # fmt: skip
        assert guide_levels(path) == ((64, 32), (32, 16))
    tifffile.imwrite(path, np.zeros((7, 9), np.uint8), byteorder=">")
    assert guide_levels(path) == ((7, 9),)
    path.write_bytes(b"II*\0\xff\xff\xff\xff")
    with pytest.raises(DataError, match="should begin at byte"):
        guide_levels(path)
    path.write_bytes(b"II*\0\0\0\0\0")
    with pytest.raises(DataError, match="holds no image"):
        guide_levels(path)


@pytest.mark.parametrize(("turn", "shape"), [(1, (5, 7)), (3, (5, 7)), (6, (7, 5)), (8, (7, 5))])
def test_the_only_level_of_a_picture_is_upright(tmp_path, turn, shape):
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(np.zeros((5, 7), np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    assert guide_levels(tmp_path / "a.jpg") == (shape,)


def test_a_stack_that_another_program_holds_is_read(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.ones((2, 3, 4), np.float32)
    with (tmp_path / "a.h5").open("rb+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert StoredStack(tmp_path / "a.h5", "x", (2, 3, 4), np.dtype("f4"))[0].sum() == 12
