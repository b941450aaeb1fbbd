"""What a header alone shows: claims at their limits, and what is said of them."""

import h5py
import numpy as np
import pytest

from msibench.io.hdf5_guard import FREE_BYTES, PACKING, has, why_unsafe

MIB = 1 << 20


@pytest.fixture
def file(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as opened:
        yield opened


@pytest.mark.parametrize(("kind", "width"), [("f4", 4), ("f8", 8), ("i1", 4), ("u2", 4), ("?", 4)])
def test_a_claim_of_64_mib_as_read_is_free(file, kind, width):
    most = FREE_BYTES // width
    file.create_dataset("just", (most,), kind, chunks=(1024,))
    assert why_unsafe(file, "just") == ""
    file.create_dataset("more", (most + 1,), kind, chunks=(1024,))
    assert why_unsafe(file, "more").startswith(
        f"/more claims {(most + 1) * width} bytes but stores 0 "
    )


def test_the_claim_is_told_in_gib(file):
    file.create_dataset("x", (3, 1 << 28), "f4", chunks=(1, 1024))
    assert why_unsafe(file, "x").endswith("(3.0 GiB claimed)")


def test_a_stored_byte_may_stand_for_as_many_as_its_packing_allows(file):
    packed = file.create_dataset(
        "x", (20 * MIB,), "f4", chunks=(MIB,), compression="gzip", compression_opts=9
    )
    packed[:] = 0.0
    stored = packed.id.get_storage_size()
    assert PACKING * stored >= 80 * MIB
    assert why_unsafe(file, "x") == ""


def test_a_chunk_is_no_larger_than_its_values_or_64_mib(file):
    for name, chunk in (("just", FREE_BYTES // 4), ("more", FREE_BYTES // 4 + 1)):
        space = h5py.h5s.create_simple((8,), (h5py.h5s.UNLIMITED,))
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((chunk,))
        h5py.h5d.create(file.id, name.encode(), h5py.h5t.NATIVE_FLOAT, space, plist)
    assert why_unsafe(file, "just") == ""
    assert why_unsafe(file, "more") == (
        f"/more has chunks of {FREE_BYTES + 4} bytes for 32 bytes of values"
    )


def test_what_is_no_plain_array_of_numbers_is_named(file):
    file["x"] = np.ones(3)
    file["soft"] = h5py.SoftLink("/x")
    file["nothing"] = h5py.Empty("f4")
    file["words"] = ["a", "b"]
    file.create_group("group")
    assert why_unsafe(file, "x") == ""
    for name, said in (
        ("soft", "is a link to another place"),
        ("group", "should be a dataset, got a group"),
        ("nothing", "is empty of any shape"),
        ("words", "not numbers"),
    ):
        assert said in why_unsafe(file, name)
        assert has(file, name)
    assert not has(file, "y")
