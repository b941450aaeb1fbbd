import fcntl

import h5py
import numpy as np
import pytest

from msibench.errors import IntegrityError
from msibench.results import arrays as module
from msibench.results.arrays import array_file, read_arrays, shape_of, write_arrays


def test_the_same_content_gives_the_same_bytes(tmp_path):
    arrays = {"prediction": np.random.default_rng(0).random((2, 5, 7), dtype=np.float32)}
    for name in ("a.h5", "b.h5"):
        write_arrays(tmp_path / name, arrays, {"factor": 4})
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    with h5py.File(tmp_path / "a.h5") as file:  # nor does the second matter in which it was made
        assert not file["prediction"].id.get_create_plist().get_obj_track_times()


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


def test_a_large_stack_stays_in_its_file_where_that_is_asked_for(tmp_path, monkeypatch):
    stack = np.random.default_rng(0).random((2, 5, 7), dtype=np.float32)
    kept = {"a": stack, "b": stack, "double": stack.astype(float), "flat": stack[0]}
    write_arrays(tmp_path / "a.h5", kept)
    names = ("a", "double", "flat")
    small, _ = read_arrays(tmp_path / "a.h5", lazily=names)
    assert all(isinstance(values, np.ndarray) for values in small.values())
    monkeypatch.setattr(module, "is_large", lambda shape: True)
    found, _ = read_arrays(tmp_path / "a.h5", lazily=names)
    assert {name for name in found if not isinstance(found[name], np.ndarray)} == {"a"}
    assert found["a"].shape == stack.shape
    for name, values in kept.items():
        np.testing.assert_array_equal(np.asarray(found[name][:]), values)


def test_an_array_written_in_parts_has_the_bytes_of_one_written_whole(tmp_path):
    stack = np.random.default_rng(0).random((3, 5, 7), dtype=np.float32)
    write_arrays(tmp_path / "whole.h5", {"a": stack}, {"facts": "x"})
    with array_file(tmp_path / "parts.h5", {"facts": "x"}) as file:
        part = file.stack("a", stack.shape)
        part[:2] = stack[:2]
        part[2:] = stack[2:]
    whole, parts = (read_arrays(tmp_path / f"{name}.h5") for name in ("whole", "parts"))
    np.testing.assert_array_equal(whole[0]["a"], parts[0]["a"])
    assert whole[1] == parts[1] == {"facts": "x"}


def test_the_shape_of_an_array_is_told_without_reading_it(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", (1 << 20, 1 << 20), "f4", chunks=(1024, 1024))
        file.create_group("group")
    assert shape_of(tmp_path / "a.h5", "x") == (1 << 20, 1 << 20)
    for name in ("y", "group"):
        with pytest.raises(IntegrityError, match=f"no array '{name}'"):
            shape_of(tmp_path / "a.h5", name)
    (tmp_path / "b.h5").write_bytes(b"nothing")
    with pytest.raises(IntegrityError, match="cannot be read as HDF5"):
        shape_of(tmp_path / "b.h5", "x")


@pytest.mark.parametrize(
    ("shape", "chunks"),
    [
        ((3, 10, 7), (1, 10, 7)),
        ((2, 3, 1024, 1024), (1, 1, 1024, 1024)),
        ((1025, 1024), (1024, 1024)),
        ((1, 2, 1 << 21), (1, 1, 1 << 21)),
        (((1 << 20) + 1, 1), (1 << 20, 1)),
        (((1 << 20) + 1, 2), (1 << 19, 2)),
        ((3, 4, 0), (1, 4, 0)),
    ],
)
def test_a_chunk_is_one_image_or_a_band_of_a_million_pixels(shape, chunks):
    assert module._chunks(shape) == chunks


def test_an_array_of_just_the_bytes_that_may_be_read_is_read(tmp_path):
    write_arrays(tmp_path / "a.h5", {"x": np.ones(4)})
    assert read_arrays(tmp_path / "a.h5", max_bytes=32)[0]["x"].size == 4
    with pytest.raises(IntegrityError, match="GiB"):
        read_arrays(tmp_path / "a.h5", max_bytes=31)


def test_groups_beside_arrays_are_passed_over_and_never_read_as_one(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.ones(3)
        file.create_group("group")["y"] = np.ones(3)
        file.attrs["bytes"] = np.bytes_(b"a\xff")
        file.attrs["number"] = np.float64(1.5)
    arrays, attributes = read_arrays(tmp_path / "a.h5")
    assert list(arrays) == ["x"]
    assert attributes == {"bytes": "a\ufffd", "number": 1.5}
    assert type(attributes["number"]) is float
    with pytest.raises(IntegrityError, match="got a group"):
        read_arrays(tmp_path / "a.h5", ("group",))


def test_images_are_packed_and_lists_and_empty_arrays_are_not(tmp_path):
    with array_file(tmp_path / "a.h5") as file:
        file.write("image", np.zeros((3, 40, 50)))
        file.write("list", np.zeros(40))
        file.write("empty", np.zeros((3, 0)))
        file.stack("stack", (2, 3, 4))
        file.note("facts", "x")
    with h5py.File(tmp_path / "a.h5") as file:
        assert (file["image"].compression, file["image"].shuffle) == ("gzip", True)
        assert file["image"].chunks == (1, 40, 50)
        assert file["list"].chunks is None
        assert file["empty"].chunks is None
        assert file["stack"].dtype == np.float32
        assert file.attrs["facts"] == "x"


def test_too_little_memory_is_said(tmp_path, monkeypatch):
    write_arrays(tmp_path / "a.h5", {"x": np.ones(3)})

    def full(*_):
        raise MemoryError

    monkeypatch.setattr(h5py.Dataset, "__getitem__", full)
    with pytest.raises(IntegrityError, match="does not fit into free memory"):
        read_arrays(tmp_path / "a.h5")


def test_the_size_of_what_is_too_large_is_told_in_gib(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        stored = file.create_dataset("x", (3, 1 << 26), "f8", chunks=(1, 1 << 20))
        stored.id.write_direct_chunk((0, 0), bytes(8 << 20))
    monkeypatch.setattr(module, "why_unsafe", lambda *_: "")
    with pytest.raises(IntegrityError, match=r"would take 1\.5 GiB; at most 0\.5 GiB"):
        read_arrays(tmp_path / "a.h5", ("x",), max_bytes=1 << 29)


@pytest.mark.parametrize("rows", [16, 18, 40])
def test_four_chunks_of_a_large_stack_make_up_a_band(monkeypatch, rows):
    monkeypatch.setattr(module, "is_large", lambda shape: True)
    monkeypatch.setattr(module, "bands", lambda shape: [slice(0, rows), slice(rows, 100)])
    assert module._chunks((5, 100, 7)) == (1, rows // 4, 7)
    monkeypatch.setattr(module, "bands", lambda shape: [slice(0, 3), slice(3, 100)])
    assert module._chunks((5, 100, 7)) == (1, 1, 7)


def test_a_file_that_another_program_holds_is_read(tmp_path):
    write_arrays(tmp_path / "a.h5", {"x": np.ones((2, 3, 4), np.float32)})
    with (tmp_path / "a.h5").open("rb+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert shape_of(tmp_path / "a.h5", "x") == (2, 3, 4)
        assert read_arrays(tmp_path / "a.h5")[0]["x"].sum() == 24
