"""One unit table and one judgement of pixel sizes, whatever the file."""

import math

import h5py
import numpy as np
import pytest
import tifffile

from msibench import MSImage
from msibench.errors import ConfigurationError, DataError
from msibench.io import DataWarning, read_section, write_hdf5, write_image
from msibench.io.guide import read_guide
from msibench.io.pixel_size import (
    check_pixel_size,
    micrometres_of,
    pixel_size_from_density,
    pixel_size_in_um,
    square_pixel,
    stated_pixel_size,
)

STACK = np.random.default_rng(0).random((2, 20, 24), dtype=np.float32)

UNITS = {
    "µm": 1, "μm": 1, "um": 1, "\\u00b5m": 1, "\\u00B5m": 1, "micron": 1, "microns": 1, "Micrometers": 1,
    "micrometres": 1, "nm": 1e-3, "nanometer": 1e-3, "Å": 1e-4, "angstrom": 1e-4, "pm": 1e-6,
    "mm": 1e3, "millimeters": 1e3, "cm": 1e4, "m": 1e6, "meters": 1e6, "in": 25_400, "inch": 25_400,
    "inches": 25_400, "INCH": 25_400, " mm ": 1e3, "MM": 1e3,
}  # fmt: skip


@pytest.mark.parametrize("unit", UNITS)
def test_units_are_known_by_sign_and_name(unit):
    assert micrometres_of(unit) == pytest.approx(UNITS[unit])


@pytest.mark.parametrize("unit", ["pixel", "reference frame", "", "second", "µ", "ms", "s"])
def test_what_is_no_length_is_unknown(unit):
    assert math.isnan(micrometres_of(unit))


def ome(path, x, y, unit, pixels=STACK, axes="CYX", **options):
    facts = {"axes": axes}
    for axis, size in (("X", x), ("Y", y)):
        if size is not None:
            facts |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": unit}
    tifffile.imwrite(path, pixels, metadata=facts, ome=True, **options)
    return path


OME = {
    "µm": ((10.0, 10.0, "µm"), 10), "nm": ((500.0, 500.0, "nm"), 0.5), "mm": ((0.02, 0.02, "mm"), 20),
    "inch": ((0.001, 0.001, "in"), 25.4), "x only": ((10.0, None, "µm"), 10),
    "y only": ((None, 10.0, "µm"), 10), "a pixel": ((1.0, 1.0, "pixel"), math.nan),
    "reference frame": ((1.0, 1.0, "reference frame"), math.nan), "none": ((None, None, ""), math.nan),
}  # fmt: skip


@pytest.mark.parametrize("case", OME)
def test_section_and_guide_read_one_size_of_ome(tmp_path, case):
    (x, y, unit), expected = OME[case]
    path = ome(tmp_path / "a.ome.tif", x, y, unit)
    assert read_section(path).pixel_size_um == pytest.approx(expected, nan_ok=True)
    assert read_guide(path).pixel_size_um == pytest.approx(expected, nan_ok=True)


def test_each_ome_image_has_its_own_size(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as writer:
        for size, pixels in ((99.0, STACK[0, :5]), (7.0, STACK[0])):
            writer.write(pixels, metadata={
                "axes": "YX", "PhysicalSizeX": size, "PhysicalSizeXUnit": "µm",
                "PhysicalSizeY": size, "PhysicalSizeYUnit": "µm"})  # fmt: skip
    with pytest.warns(DataWarning, match="further images"):
        assert read_section(tmp_path / "a.ome.tif").pixel_size_um == 7
    with pytest.warns(DataWarning, match="further images"):
        assert read_guide(tmp_path / "a.ome.tif").pixel_size_um == 7


@pytest.mark.parametrize("unit", ["micron", "microns", "um", "\\u00B5m"])
def test_section_and_guide_read_one_size_of_imagej(tmp_path, unit):
    tifffile.imwrite(tmp_path / "a.tif", STACK, imagej=True, resolution=(2, 2),
                     metadata={"unit": unit, "axes": "ZYX"})  # fmt: skip
    tifffile.imwrite(tmp_path / "b.tif", STACK[0], imagej=True, resolution=(2, 2),
                     metadata={"unit": unit})  # fmt: skip
    assert read_section(tmp_path / "a.tif").pixel_size_um == 0.5
    assert read_guide(tmp_path / "b.tif").pixel_size_um == 0.5


@pytest.mark.parametrize("write", ["ome", "imagej", "npz"])
def test_pixels_that_are_not_square_are_said(tmp_path, write):
    path = tmp_path / f"a.{'npz' if write == 'npz' else 'tif'}"
    if write == "ome":
        ome(path, 10.0, 20.0, "µm")
    elif write == "imagej":
        tifffile.imwrite(path, STACK, imagej=True, resolution=(1 / 10, 1 / 20),
                         metadata={"unit": "um", "axes": "ZYX"})  # fmt: skip
    else:
        np.savez(path, cube=STACK, pixel_size_um=[10.0, 20.0])
    with pytest.warns(DataWarning, match="10 x 20 µm are not square"):
        assert math.isnan(read_section(path).pixel_size_um)
    assert read_section(path, pixel_size_um=12.0).pixel_size_um == 12  # and no word is left to say


IMPOSSIBLE = [0.0, -10.0, math.inf, -math.inf]


@pytest.mark.parametrize("size", IMPOSSIBLE)
@pytest.mark.parametrize("kind", ["npz", "h5", "ome.tif"])
def test_a_size_that_no_pixel_has_is_refused_with_the_remedy(tmp_path, kind, size):
    path = tmp_path / f"a.{kind}"
    if kind == "npz":
        np.savez(path, cube=STACK, mz=[500.0, 600.0], pixel_size_um=size)
    elif kind == "h5":
        write_hdf5(path, MSImage(STACK, np.array([500.0, 600.0]), pixel_size_um=size))
    else:
        ome(path, 10.0, 10.0, "µm")
        path.write_bytes(path.read_bytes().replace(b'"10.0"', f'"{size}"'.encode().ljust(6)[:6]))
        if b"PhysicalSizeX=" + f'"{size}"'.encode() not in path.read_bytes():
            pytest.skip("does not fit into the place of the other")
    with pytest.raises(DataError, match=r"which no pixel has.*--pixel-size"):
        read_section(path)
    assert read_section(path, pixel_size_um=12.0).pixel_size_um == 12


@pytest.mark.parametrize("size", IMPOSSIBLE)
@pytest.mark.parametrize("suffix", ["png", "ome.tif", "imzML", "h5", "npz"])
def test_a_size_that_no_pixel_has_is_not_written(tmp_path, suffix, size):
    image = MSImage(STACK, np.array([500.0, 600.0]), pixel_size_um=size)
    with pytest.raises(ConfigurationError, match="cannot be written"):
        write_image(tmp_path / f"a.{suffix}", image)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_a_number_may_be_an_array_of_one(tmp_path, shape):
    image = MSImage(STACK, np.array([500.0, 600.0]), pixel_size_um=10.0, ppm=5.0, unit="counts")
    write_hdf5(tmp_path / "a.h5", image)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        for name in ("pixel_size_um", "ppm", "schema_version"):
            file.attrs[name] = np.full(shape, file.attrs[name])
        for name in ("unit", "format"):
            text = file.attrs[name]
            file.attrs.create(name, np.full(shape, text, dtype=h5py.string_dtype()))
    found = read_section(tmp_path / "a.h5")
    assert (found.pixel_size_um, found.ppm, found.unit) == (10.0, 5.0, "counts")
    np.savez(tmp_path / "a.npz", cube=STACK, mz=[500.0, 600.0],
             pixel_size_um=np.full(shape, 10.0), ppm=np.full(shape, 5.0))  # fmt: skip
    assert (read_section(tmp_path / "a.npz").pixel_size_um, read_section(tmp_path / "a.npz").ppm) == (
        10.0, 5.0)  # fmt: skip


@pytest.mark.parametrize("unit", ["NONE", "INCH", "CENTIMETER"])
def test_one_pixel_per_unit_is_a_placeholder(tmp_path, unit):
    rgb = np.zeros((20, 24, 3), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", rgb, resolution=(1, 1), resolutionunit=unit, metadata=None)
    assert math.isnan(read_guide(tmp_path / "a.tif").pixel_size_um)


def test_resolutions_of_optical_images(tmp_path):
    rgb = np.zeros((20, 24, 3), np.uint8)
    for unit, density, expected in (
        ("INCH", 50_800, 0.5), ("CENTIMETER", 20_000, 0.5), ("NONE", 20_000, math.nan), ("INCH", 300, math.nan),
    ):  # fmt: skip
        tifffile.imwrite(tmp_path / "a.tif", rgb, resolution=(density, density), resolutionunit=unit,
                         metadata=None)  # fmt: skip
        found = read_guide(tmp_path / "a.tif").pixel_size_um
        assert found == pytest.approx(expected, nan_ok=True)
    assert math.isnan(pixel_size_from_density((1, 1), 1e6))


@pytest.mark.parametrize(
    ("x", "y", "edge"),
    [
        (10.0, 10.0, 10.0), (10.0, 9.91, 10.0), (10.0, 9.89, math.nan), (9.89, 10.0, math.nan),
        (0.0, 10.0, math.nan), (10.0, 0.0, math.nan), (-1.0, -1.0, math.nan), (math.nan, 10.0, math.nan),
    ],
)  # fmt: skip
def test_edges_that_differ_by_more_than_a_hundredth_are_not_square(x, y, edge):
    assert square_pixel(x, y) == pytest.approx(edge, nan_ok=True)


@pytest.mark.parametrize(
    ("dpi", "known"),
    [(71.4, True), (71.6, False), (72.4, False), (72.6, True), (300, False), (301, True),
     (1.0005, False), (1.002, True), (2.54, False), (0.0254, False), (50_800, True)],
)  # fmt: skip
def test_a_resolution_for_printing_or_none_at_all_says_nothing(dpi, known):
    found = pixel_size_from_density((dpi, dpi), 25_400.0)
    assert math.isnan(found) is not known
    if known:
        assert found == pytest.approx(25_400 / dpi)
        assert pixel_size_from_density([dpi / 2.54, dpi / 2.54], 1e4) == pytest.approx(25_400 / dpi)


@pytest.mark.parametrize(
    "density",
    [None, (1000,), (1000, 1000, 1000), (0, 1000), (1000, -1), (math.inf, 9), (9, math.nan)],
)
def test_a_density_that_cannot_be_one_says_nothing(density):
    assert math.isnan(pixel_size_from_density(density, 25_400.0))


@pytest.mark.parametrize(
    ("size", "unit", "um"),
    [(2.0, None, 2.0), (2.0, "nm", 2e-3), (2.0, "pixel", math.nan), (None, "um", math.nan),
     (0.0, "um", math.nan), (-1.0, "um", math.nan), (math.inf, "um", math.nan), (math.nan, "um", math.nan)],
)  # fmt: skip
def test_a_size_is_in_micrometres_unless_a_unit_is_said(size, unit, um):
    assert pixel_size_in_um(size, unit) == pytest.approx(um, nan_ok=True)


def test_a_stated_size_is_one_number_or_two_edges():
    assert stated_pixel_size(12, "a") == 12.0
    assert stated_pixel_size([12.0, 12.05], "a") == 12.0
    assert math.isnan(stated_pixel_size(math.nan, "a"))
    with pytest.raises(DataError, match="must be one number, got 3"):
        stated_pixel_size([1, 2, 3], "a")
    with pytest.raises(DataError, match="must be one number, got 0"):
        stated_pixel_size([], "a")
    with pytest.raises(DataError, match="must be one number"):
        stated_pixel_size("wide", "a")


def test_the_ends_of_what_is_plausible_and_of_what_is_possible():
    assert all(not check_pixel_size(size) for size in (0.02, 2000.0, math.nan))
    assert all(check_pixel_size(size) for size in (0.001, 0.019, 2001.0, 1e5))
    for size in (0.0, 9e-4, 1.1e5, math.inf, -1.0):
        with pytest.raises(ConfigurationError, match=r"between 0\.001 and 100,000 µm"):
            check_pixel_size(size)
