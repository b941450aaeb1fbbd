"""Where spectra lie in the image, from their coordinates alone."""

from pathlib import Path

import numpy as np
import pytest

from msibench.errors import DataError
from msibench.io.imzml.grid import make_grid
from msibench.io.imzml.header import Header
from msibench.io.imzml.spectra import COLUMNS, SpectrumTable


def grid(pixels, duplicates="sum", z=None):
    """Lay out spectra at ``(x, y)`` or ``(x, y, z)``."""
    numbers = np.zeros((len(pixels), len(COLUMNS)), dtype=np.int64)
    for row, pixel in enumerate(pixels):
        for name, value in zip(("x", "y", "z"), (*pixel, 1)[:3], strict=True):
            numbers[row, COLUMNS.index(name)] = value
    table = SpectrumTable(numbers, ())
    return make_grid(Path("a.imzML"), HEADER, table, z=z, duplicates=duplicates, policy="auto")


HEADER = Header()


def test_a_pixel_that_follows_itself_is_a_repeat_too():
    found = grid([(1, 1), (2, 1), (2, 1), (3, 1)])
    assert found.repeated == 1
    np.testing.assert_array_equal(found.pixel, [0, 1, 1, 2])
    with pytest.raises(DataError, match=r"spectrum 2: lies on the same pixel \(x 2, y 1\)"):
        grid([(1, 1), (2, 1), (2, 1), (3, 1)], duplicates="error")


def test_pixels_out_of_order_are_no_repeats():
    assert grid([(2, 1), (1, 1), (2, 2), (1, 2)], duplicates="error").repeated == 0


@pytest.mark.parametrize(("x", "y"), [(0, 0), (1, 1), (7, -3)])
def test_the_smallest_coordinates_are_the_first_pixel(x, y):
    found = grid([(x, y), (x + 2, y + 1)])
    assert found.shape == (2, 3)
    assert found.origin == (y, x)
    np.testing.assert_array_equal(found.pixel, [0, 5])


def test_one_slice_of_several_is_chosen_by_its_number():
    pixels = [(1, 1, 1), (2, 1, 1), (1, 1, 2), (2, 1, 2)]
    with pytest.raises(DataError, match="holds 2 slices"):
        grid(pixels)
    found = grid(pixels, z=2)
    np.testing.assert_array_equal(found.kept, [2, 3])
    assert (found.z, found.repeated) == (2, 0)
    with pytest.raises(DataError, match="no slice z = 3; it has 1, 2"):
        grid(pixels, z=3)


def test_a_pixel_far_away_is_named():
    with pytest.raises(DataError, match="spectrum 2: lies at x 100000, y 100000"):
        grid([(1, 1), (2, 1), (100_000, 100_000)])
