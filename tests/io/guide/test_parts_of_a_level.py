"""Which level, region and pixels of a slide are read, as numbers alone."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile

from msibench.errors import DataError
from msibench.io.guide.limits import check_size, resolve_region
from msibench.io.guide.open import read_guide
from msibench.io.guide.tiff import _choose_level, _on_level

PATH = Path("a.tif")


@pytest.mark.parametrize(
    ("start", "stop", "finest", "side", "found"),
    [
        (0, 100, 100, 50, (0, 50)), (10, 20, 100, 50, (5, 10)), (11, 21, 100, 50, (5, 11)),
        (10, 11, 100, 50, (5, 6)), (99, 100, 100, 33, (32, 33)), (98, 100, 101, 50, (48, 50)),
        (0, 1, 100, 1, (0, 1)), (3, 7, 10, 10, (3, 7)),
    ],
)  # fmt: skip
def test_a_part_covers_every_pixel_that_it_touches_on_a_coarser_level(start, stop, finest, side, found):  # fmt: skip
    assert _on_level(slice(start, stop), finest, side) == slice(*found)


def test_a_region_lies_on_the_grid():
    whole = (slice(0, 5), slice(0, 7))
    assert resolve_region(PATH, None, (5, 7)) == whole
    assert resolve_region(PATH, (slice(None), slice(None)), (5, 7)) == whole
    assert resolve_region(PATH, (slice(4, None), slice(None, 1, 1)), (5, 7)) == (slice(4, 5), slice(0, 1))  # fmt: skip
    for odd in (slice(0, 6), slice(-1, 2), slice(2, 2), slice(3, 2), slice(0, 4, 2)):
        with pytest.raises(DataError, match=r"rows -?\d to \d were asked for; the image has 5"):
            resolve_region(PATH, (odd, slice(None)), (5, 7))
    with pytest.raises(DataError, match="columns 0 to 8 were asked for; the image has 7"):
        resolve_region(PATH, (slice(None), slice(0, 8)), (5, 7))


def test_as_many_pixels_are_decoded_as_allowed():
    check_size(PATH, (5, 7), 35)
    check_size(PATH, (1, 1), 1)
    with pytest.raises(DataError, match="5 x 7 pixels were asked for, more than max_pixels = 34"):
        check_size(PATH, (5, 7), 34)
    for none in ((0, 7), (5, 0)):
        with pytest.raises(DataError, match="holds no pixel"):
            check_size(PATH, none, 100)


def level(rows):
    shape = (rows, rows)
    keyframe = SimpleNamespace(imagelength=rows, imagewidth=rows)
    return SimpleNamespace(
        get_axes=lambda squeeze: "YX", get_shape=lambda squeeze: shape, axes="YX", shape=shape,
        keyframe=keyframe,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "target", "found"),
    [
        (None, None, 0), (0, None, 0), (2, None, 2), (1, 0.1, 1), (None, 0.1, 0), (None, 0.5, 0),
        (None, 0.99, 0), (None, 0.9995, 1), (None, 1.0, 1), (None, 1.99, 1), (None, 2.0, 2), (None, 99.0, 2),
    ],
)  # fmt: skip
def test_the_coarsest_level_that_resolves_a_length_is_read(asked, target, found):
    levels = [level(80), level(40), level(20)]
    assert _choose_level(PATH, levels, (80, 80), 0.5, asked, target) == found


@pytest.mark.parametrize(
    ("asked", "target", "size", "said"),
    [
        (3, None, 0.5, "has 3 levels, 0 the finest; level 3 asked for"), (-1, None, 0.5, "level -1"),
        (None, 0.0, 0.5, "must be a positive number"), (None, -1.0, 0.5, "must be a positive number"),
        (None, float("nan"), 0.5, "must be a positive number"), (None, 1.0, float("nan"), "does not state its pixel size"),
    ],
)  # fmt: skip
def test_a_level_that_is_not_there_is_named(asked, target, size, said):
    with pytest.raises(DataError, match=said):
        _choose_level(PATH, [level(80), level(40), level(20)], (80, 80), size, asked, target)


@pytest.mark.parametrize("options", [{"tile": (16, 32)}, {"rowsperstrip": 7}, {"rowsperstrip": 50}])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("region", [(0, 45, 0, 70), (15, 17, 31, 33), (16, 32, 32, 64), (44, 45, 69, 70), (7, 14, 0, 1)])  # fmt: skip
def test_every_pixel_of_a_region_is_its_own(tmp_path, options, planar, region):
    pixels = np.random.default_rng(0).integers(0, 256, (45, 70, 3), dtype=np.uint8)
    stored = pixels if planar == "contig" else np.moveaxis(pixels, -1, 0)
    tifffile.imwrite(
        tmp_path / "a.tif",
        stored,
        photometric="rgb",
        planarconfig=planar,
        compression="zlib",
        **options,
    )
    top, bottom, left, right = region
    found = read_guide(tmp_path / "a.tif", region=(slice(top, bottom), slice(left, right)))
    expected = np.moveaxis(pixels[top:bottom, left:right], -1, 0) / np.float32(255)
    np.testing.assert_allclose(found.values, expected, atol=1e-7)
