"""What a prepared section in HDF5 may hold, entry by entry, and what is said of it."""

import h5py
import numpy as np
import pytest

from msibench.errors import DataError, MissingDataError, SchemaError
from msibench.image import MSImage
from msibench.io.data_warning import DataWarning
from msibench.io.hdf5 import FORMAT, SCHEMA_VERSION, read_hdf5, validate_hdf5, write_hdf5

STACK = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def file_of(path, attributes=(), **arrays):
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
        file.attrs.update(dict(attributes))
    return path


@pytest.mark.parametrize("name", ["images", "prediction", "cube"])
@pytest.mark.parametrize("kind", ["f4", "f8", "i2", "u1"])
def test_a_stack_of_numbers_needs_nothing_else(tmp_path, name, kind):
    found = read_hdf5(file_of(tmp_path / "a.h5", **{name: STACK.astype(kind)}))
    np.testing.assert_array_equal(found.values, STACK)
    assert found.values.dtype == np.float32
    assert np.isnan(found.mz).all()
    assert (found.mask, found.ppm, found.unit) == (None, None, "arbitrary")
    assert np.isnan(found.pixel_size_um)
    assert validate_hdf5(tmp_path / "a.h5") == (f"attribute format should be {FORMAT!r}, got ''",)


def test_images_come_before_prediction_and_cube(tmp_path):
    with pytest.warns(DataWarning, match="prediction"):
        found = read_hdf5(file_of(tmp_path / "a.h5", cube=STACK + 1, prediction=STACK + 2, images=STACK))  # fmt: skip
    np.testing.assert_array_equal(found.values, STACK)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({}, "no dataset /images .* it holds nothing"), ({"x": 1, "a": 2}, "it holds a, x"),
        ({"images": STACK[0]}, r"should be \(channel, row, column\), got shape \(3, 4\)"),
        ({"images": STACK > 3}, "/images should be float32, got bool"),
        ({"images": STACK, "mz": [1.0]}, r"/mz should hold 2 numbers, got float64 \(1,\)"),
        ({"images": STACK, "mz": [True, False]}, "/mz should hold 2 numbers, got bool"),
        ({"images": STACK, "mask": np.ones((4, 3), "u1")}, "the mask is 4 x 3: one of them is transposed"),
        ({"images": STACK, "mask": np.ones((3, 4))}, r"/mask should be uint8 .*got float64"),
    ],
)  # fmt: skip
def test_what_is_not_a_section_is_named(tmp_path, arrays, said):
    path = file_of(tmp_path / "a.h5", **arrays)
    with pytest.raises(DataError, match=said):
        read_hdf5(path)
    assert len(validate_hdf5(path)) == 1


@pytest.mark.parametrize("kind", ["?", "u1", "i4"])
def test_a_mask_is_what_is_not_zero(tmp_path, kind):
    mask = np.eye(3, 4) * 1
    found = read_hdf5(file_of(tmp_path / "a.h5", images=STACK, mask=mask.astype(kind)))
    np.testing.assert_array_equal(found.mask, mask > 0)


@pytest.mark.parametrize(
    ("attributes", "facts"),
    [
        ({"ppm": 3.0}, (None, 3.0, "arbitrary")), ({"ppm": np.array([3.0])}, (None, 3.0, "arbitrary")),
        ({"ppm": "much"}, (None, None, "arbitrary")), ({"ppm": [1.0, 2.0]}, (None, None, "arbitrary")),
        ({"unit": "counts"}, (None, None, "counts")), ({"unit": np.bytes_(b"counts")}, (None, None, "counts")),
        ({"unit": ""}, (None, None, "arbitrary")), ({"pixel_size_um": 20}, (20.0, None, "arbitrary")),
        ({"pixel_size_um": [20.0]}, (20.0, None, "arbitrary")), ({"pixel_size_um": [20.0, 20.0]}, (20.0, None, "arbitrary")),
    ],
)  # fmt: skip
def test_attributes_are_numbers_and_words_however_they_were_written(tmp_path, attributes, facts):
    found = read_hdf5(file_of(tmp_path / "a.h5", attributes, images=STACK))
    size = None if np.isnan(found.pixel_size_um) else found.pixel_size_um
    assert (size, found.ppm, found.unit) == facts
    assert read_hdf5(tmp_path / "a.h5", pixel_size_um=7.0).pixel_size_um == 7.0


@pytest.mark.parametrize(
    ("version", "error"),
    [(SCHEMA_VERSION, None), (SCHEMA_VERSION - 1, None), (np.array([SCHEMA_VERSION]), None),
     (SCHEMA_VERSION + 1, SchemaError), ([1, 1], SchemaError), ("x", DataError)],
)  # fmt: skip
def test_a_newer_schema_is_left_alone(tmp_path, version, error):
    arrays = {"images": STACK, "mz": [1.0, 2.0]}
    path = file_of(tmp_path / "a.h5", {"format": FORMAT, "schema_version": version}, **arrays)
    if error is None:
        assert validate_hdf5(path) == ()
    else:
        with pytest.raises(error, match=r"a\.h5"):
            read_hdf5(path)
    other = file_of(tmp_path / "b.h5", {"schema_version": version}, **arrays)
    np.testing.assert_array_equal(read_hdf5(other).mz, [1, 2])
    with pytest.raises(MissingDataError, match="does not exist"):
        read_hdf5(tmp_path / "none.h5")


def test_what_is_written_is_packed_one_image_a_chunk(tmp_path):
    write_hdf5(tmp_path / "a.h5", MSImage(STACK, np.array([1.0, 2.0]), mask=np.eye(3, 4) > 0))
    with h5py.File(tmp_path / "a.h5") as file:
        images = file["images"]
        assert (images.chunks, images.compression, images.compression_opts, images.shuffle) == (
            (1, 3, 4), "gzip", 1, True,
        )  # fmt: skip
        assert file["mask"].dtype == np.uint8
        assert np.isnan(file.attrs["ppm"])
        assert file.attrs["provenance"] == "{}"
