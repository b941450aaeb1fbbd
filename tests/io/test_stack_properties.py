"""Facts under other names are used or named, in npz and in HDF5."""

import h5py
import numpy as np
import pytest

from msibench.io import DataWarning, read_section

CUBE = np.random.default_rng(0).random((3, 4, 6)).astype(np.float32)
MZ = np.array([500.25, 300.5, 800.0])
TISSUE = np.arange(24).reshape(4, 6) % 3


def save(path, stack=CUBE, **facts):
    if path.suffix == ".npz":
        np.savez(path, cube=stack, **facts)
    else:
        with h5py.File(path, "w") as file:
            file["images"] = stack
            for name, value in facts.items():
                if np.ndim(value) == 0:
                    file.attrs[name] = value
                elif np.asarray(value).dtype.kind == "U":
                    file[name] = np.asarray(value).astype("S")
                else:
                    file[name] = value
    return path


@pytest.fixture(params=["a.npz", "a.h5"])
def path(request, tmp_path):
    return tmp_path / request.param


def test_what_is_meant_is_understood(path):
    save(path, precursor_mz=MZ, tissue=TISSUE, pixel_um=25.0)
    image = read_section(path)
    np.testing.assert_array_equal(image.mz, MZ)
    np.testing.assert_array_equal(image.mask, TISSUE != 0)
    assert image.pixel_size_um == 25.0
    np.testing.assert_array_equal(image.values, CUBE)


@pytest.mark.parametrize("name", ["names", "channel", "channel_names"])
def test_names_of_channels_say_their_mz(path, name):
    save(path, **{name: np.array(["m/z 500.25", "mz=300.5", "m/z 800"])})
    np.testing.assert_array_equal(read_section(path).mz, MZ)


@pytest.mark.parametrize(
    ("facts", "ignored"),
    [
        ({"names": np.array(["P31", "Fe57", "Zn66"])}, "names"),
        ({"mz": MZ, "precursor_mz": MZ + 1}, "precursor_mz"),
        ({"mz": MZ, "tissue": np.zeros((3, 3))}, "tissue"),
        ({"mz": MZ, "ssc": TISSUE, "rt": MZ}, "rt, ssc"),
        ({"mz": MZ, "pixel_um": np.array([10.0, 20.0])}, "pixel_um"),
    ],
)
def test_what_is_not_understood_is_named(path, facts, ignored):
    save(path, **facts)
    with pytest.warns(DataWarning, match=f"ignored: {ignored}; what is understood is called mz"):
        image = read_section(path)
    np.testing.assert_array_equal(image.values, CUBE)
    assert image.mask is None
    if "mz" in facts:
        np.testing.assert_array_equal(image.mz, MZ)


def test_the_proper_name_counts_first(path):
    save(path, mz=MZ, mask=TISSUE > 1, pixel_size_um=10.0)
    image = read_section(path)
    assert (image.pixel_size_um, image.mask.sum()) == (10.0, 8)


def test_pickled_names_are_never_opened(tmp_path):
    np.savez(tmp_path / "a.npz", cube=CUBE, names=np.array([{"a": 1}, None, 3], dtype=object))
    with pytest.warns(DataWarning, match="ignored: names"):
        read_section(tmp_path / "a.npz")


def test_axes_in_another_order_are_told_with_what_to_save(path):
    turned = CUBE.transpose(1, 2, 0)
    for stack, said, facts in (
        (turned, r"as many as axis 2 is long.*np\.moveaxis\(stack, 2, 0\)", {"mz": MZ}),
        (CUBE.transpose(1, 0, 2), r"np\.moveaxis\(stack, 1, 0\)", {"mz": MZ}),
        (CUBE.transpose(0, 2, 1), r"6 x 4 pixels.*mask is 4 x 6.*mask\.T", {"mz": MZ, "mask": TISSUE}),
        (CUBE, "expected shape|should hold 3", {"mz": MZ[:2]}),
    ):  # fmt: skip
        save(path, stack, **facts)
        with pytest.raises(ValueError, match=said):
            read_section(path)
    save(path, np.ones((20, 24, 3), np.float32))
    with pytest.warns(
        DataWarning, match=r"20 ion images of 24 x 3 pixels.*moveaxis\(stack, -1, 0\)"
    ):
        assert read_section(path).shape == (24, 3)
    save(path, np.ones((3, 24, 3), np.float32))
    assert read_section(path).channels == 3
