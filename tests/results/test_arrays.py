import h5py
import numpy as np
import pytest

from msibench.errors import IntegrityError
from msibench.results.arrays import read_arrays, write_arrays


def test_the_same_content_gives_the_same_bytes(tmp_path):
    arrays = {"prediction": np.random.default_rng(0).random((2, 5, 7), dtype=np.float32)}
    for name in ("a.h5", "b.h5"):
        write_arrays(tmp_path / name, arrays, {"factor": 4})
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_arrays_and_attributes_come_back(tmp_path):
    values = np.arange(6, dtype=np.int16).reshape(2, 3)
    write_arrays(tmp_path / "a.h5", {"x": values, "empty": np.zeros((0, 3))}, {"unit": "counts"})
    arrays, attributes = read_arrays(tmp_path / "a.h5")
    np.testing.assert_array_equal(arrays["x"], values)
    assert arrays["empty"].shape == (0, 3)
    assert attributes == {"unit": "counts"}


@pytest.mark.parametrize("raw", [b"", b"not hdf5", b"\x89HDF\r\n\x1a\n" + b"\0" * 100])
def test_a_file_that_is_no_hdf5_is_named(tmp_path, raw):
    (tmp_path / "a.h5").write_bytes(raw)
    with pytest.raises(IntegrityError, match=r"a\.h5"):
        read_arrays(tmp_path / "a.h5")


def test_links_to_elsewhere_are_not_followed(tmp_path):
    write_arrays(tmp_path / "secret.h5", {"x": np.ones(3)})
    for link in (h5py.ExternalLink("secret.h5", "/x"), h5py.SoftLink("/y")):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["y"] = np.ones(2)
            file["prediction"] = link
        with pytest.raises(IntegrityError, match="link to elsewhere"):
            read_arrays(tmp_path / "a.h5", ("prediction",))


def test_virtual_and_external_data_sets_are_refused(tmp_path):
    layout = h5py.VirtualLayout(shape=(1 << 20, 1 << 20), dtype="f4")
    with h5py.File(tmp_path / "v.h5", "w") as file:
        file.create_virtual_dataset("prediction", layout)
    with pytest.raises(IntegrityError, match="other files"):
        read_arrays(tmp_path / "v.h5", ("prediction",))
    with h5py.File(tmp_path / "e.h5", "w") as file:
        file.create_dataset("prediction", (4,), "f4", external=[(str(tmp_path / "raw"), 0, 16)])
    with pytest.raises(IntegrityError, match="other files"):
        read_arrays(tmp_path / "e.h5", ("prediction",))


def test_a_shape_that_would_fill_the_memory_is_refused_before_it_is_read(tmp_path):
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        file.create_dataset("prediction", (1 << 20, 1 << 20), "f4", chunks=(1024, 1024))
    with pytest.raises(IntegrityError, match="GiB"):
        read_arrays(tmp_path / "huge.h5", ("prediction",), max_bytes=1 << 30)


def test_a_missing_array_is_named(tmp_path):
    write_arrays(tmp_path / "a.h5", {"x": np.ones(3)})
    with pytest.raises(IntegrityError, match="no array 'prediction'"):
        read_arrays(tmp_path / "a.h5", ("prediction",))
