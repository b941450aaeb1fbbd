"""Where spectra lie in the image, from their coordinates alone."""

from pathlib import Path

import numpy as np
import pytest

from msibench.errors import ConfigurationError, DataError
from msibench.io.imzml.grid import make_grid
from msibench.io.imzml.header import Header
from msibench.io.imzml.spectra import ABSENT, COLUMNS, SpectrumTable


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


def laid_out(pixels, policy, header):
    numbers = np.zeros((len(pixels), len(COLUMNS)), dtype=np.int64)
    for row, (x, y) in enumerate(pixels):
        numbers[row, COLUMNS.index("x")], numbers[row, COLUMNS.index("y")] = x, y
        numbers[row, COLUMNS.index("z")] = 1
    table = SpectrumTable(numbers, ())
    return make_grid(Path("a.imzML"), header, table, z=None, duplicates="sum", policy=policy)


def declaring(rows, columns):
    from msibench.io.imzml.header import CvParam

    header = Header()
    header.scan_settings += [
        CvParam("IMS:1000042", "max count of pixels x", str(columns)),
        CvParam("IMS:1000043", "max count of pixels y", str(rows)),
    ]
    return header


@pytest.mark.parametrize(
    ("pixels", "holds"),
    [
        ([(1, 1), (5, 4)], True),
        ([(2, 3), (3, 4)], True),
        ([(0, 1), (5, 4)], False),
        ([(1, 0), (5, 4)], False),
        ([(2, 1), (6, 4)], False),
        ([(1, 2), (5, 5)], False),
    ],
)
def test_a_declared_grid_counts_from_one_and_must_hold_every_pixel(pixels, holds):
    header = declaring(4, 5)
    if holds:
        found = laid_out(pixels, "declared", header)
        assert (found.shape, found.origin) == ((4, 5), (1, 1))
        np.testing.assert_array_equal(found.pixel, [(y - 1) * 5 + x - 1 for x, y in pixels])
    else:
        (left, top), (right, bottom) = pixels
        held = rf"the coordinates \(y {top} to {bottom}, x {left} to {right}\)"
        with pytest.raises(DataError, match=rf"declares \(4 x 5\) does not hold {held}"):
            laid_out(pixels, "declared", header)
    tight = laid_out(pixels, "tight", header)
    assert tight.shape == (pixels[1][1] - pixels[0][1] + 1, pixels[1][0] - pixels[0][0] + 1)
    assert bool(tight.notes) is (tight.shape != (4, 5))


def test_a_grid_that_nobody_declared_cannot_be_asked_for():
    with pytest.raises(DataError, match=r"declares \(none\)"):
        laid_out([(1, 1), (2, 2)], "declared", Header())
    for wrong, named in (({"duplicates": "mean"}, "duplicates must be"), ({}, "grid must be")):
        with pytest.raises(ConfigurationError, match=named):
            make_grid(
                Path("a.imzML"), HEADER, SpectrumTable(np.zeros((0, len(COLUMNS)), np.int64), ()),
                z=None, **{"duplicates": "sum", "policy": "wide"} | wrong,
            )  # fmt: skip


def test_a_position_that_is_missing_is_counted_and_named():
    for axis in ("x", "y"):
        numbers = np.ones((4, len(COLUMNS)), dtype=np.int64)
        numbers[2:, COLUMNS.index(axis)] = ABSENT
        with pytest.raises(DataError, match=rf"spectrum 2: has no position {axis} \(2 of 4"):
            make_grid(
                Path("a.imzML"), HEADER, SpectrumTable(numbers, ()), z=None, duplicates="sum",
                policy="auto",
            )  # fmt: skip


def test_an_image_of_four_million_pixels_needs_no_spectra_and_a_larger_one_4096_pixels_each():
    assert grid([(1, 1), (2048, 2048)]).shape == (2048, 2048)
    with pytest.raises(DataError, match="2 spectra would need an image of 2048 x 2049"):
        grid([(1, 1), (2049, 2048)])
    many = [(column, 1) for column in range(1, 1026)]  # 1025 spectra: 4,198,400 pixels
    assert grid([*many, (1025, 4096)]).shape == (4096, 1025)


@pytest.mark.parametrize(
    ("given", "listed"), [(8, "1, 2, 3, 4, 5, 6, 7, 8\\)"), (9, "8, \\.\\.\\.")]
)
def test_slices_are_listed_as_far_as_eight(given, listed):
    with pytest.raises(DataError, match=rf"holds {given} slices \(z = .*{listed}"):
        grid([(1, 1, z) for z in range(1, given + 1)])


def test_the_repeat_of_a_pixel_in_a_slice_is_named_as_the_file_counts():
    pixels = [(1, 1, 1), (4, 3, 2), (5, 3, 2), (5, 3, 2), (5, 3, 2)]
    with pytest.raises(
        DataError, match=r"spectrum 3: lies on the same pixel \(x 5, y 3\) as spectrum 2, and 2 "
    ):
        grid(pixels, duplicates="error", z=2)
    assert grid(pixels, z=2).repeated == 2
    with pytest.raises(DataError, match="spectrum 4: lies at x 9000"):
        grid([(1, 1, 1), (1, 1, 2), (2, 1, 2), (3, 1, 2), (9000, 9000, 2)], z=2)
