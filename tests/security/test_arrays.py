"""HDF5, npz and npy files from strangers: read as numbers of a believable size, or refused."""

from __future__ import annotations

import io
import os
import struct
import zipfile

import h5py
import numpy as np
import pytest

SECTION = "msibench.io.read:read_section"
ARRAYS = "msibench.results.arrays:read_arrays"
CUBE = np.ones((2, 3, 4), np.float32)


@pytest.fixture
def h5(tmp_path):
    """Return a function that makes a section whose stack is made by `fill`."""

    def make(fill, **options):
        path = tmp_path / "s.h5"
        with h5py.File(path, "w", **options) as file:
            file["mz"] = [500.0, 600.0]
            fill(file)
        return path

    return make


def virtual(file):
    layout = h5py.VirtualLayout(shape=(2, 1 << 20, 1 << 20), dtype="f4")
    layout[:, :3, :4] = h5py.VirtualSource("/etc/passwd", "x", shape=(2, 3, 4))
    file.create_virtual_dataset("images", layout)


def external(file):
    file.create_dataset("images", (2, 3, 4), "f4", external=[("/etc/passwd", 0, 96)])


def huge_chunk(file):
    made = file.create_dataset(
        "images", (2, 3, 4), "f4", maxshape=(None, None, None), chunks=(1, 6000, 6000),
        compression="gzip",
    )  # fmt: skip
    made[0, 0, 0] = 1.0


def unknown_filter(file):
    created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    created.set_chunk((1, 3, 4))
    created.set_filter(32015, h5py.h5z.FLAG_OPTIONAL)  # Zstandard, a plugin that would be loaded
    space = h5py.h5s.create_simple((2, 3, 4))
    h5py.h5d.create(file.id, b"images", h5py.h5t.IEEE_F32LE, space, dcpl=created)


ODD = {
    "external link": (lambda f: f.__setitem__("images", h5py.ExternalLink("/etc/passwd", "/x")), "link"),
    "link to a pipe": (lambda f: f.__setitem__("images", h5py.ExternalLink("pipe", "/x")), "link"),
    "soft link loop": (lambda f: f.__setitem__("images", h5py.SoftLink("/images")), "link"),
    "dangling link": (lambda f: f.__setitem__("images", h5py.SoftLink("/none")), "link"),
    "virtual": (virtual, "other files"),
    "external storage": (external, "other files"),
    "absurd shape": (lambda f: f.create_dataset("images", (2, 1 << 20, 1 << 20), "f4"), "claims"),
    "absurd chunked": (
        lambda f: f.create_dataset("images", (2, 1 << 20, 1 << 20), "f4", chunks=(1, 8, 8)), "claims",
    ),
    "overflowing shape": (
        lambda f: f.create_dataset("images", (1 << 40, 1 << 40, 1 << 40), "f4", chunks=(1, 8, 8)),
        "claims",
    ),
    "huge chunk": (huge_chunk, "chunks of"),
    "plugin filter": (unknown_filter, "filters [32015]"),
    "references": (lambda f: f.create_dataset("images", (2, 3, 4), h5py.ref_dtype), "not numbers"),
    "strings of any length": (
        lambda f: f.create_dataset("images", (2, 3, 4), h5py.string_dtype()), "not numbers",
    ),
    "compound": (lambda f: f.create_dataset("images", (2, 3, 4), [("a", "f4")]), "not numbers"),
    "no shape": (lambda f: f.__setitem__("images", h5py.Empty("f4")), "shape"),
    "group": (lambda f: f.create_group("images"), "group"),
    "four axes": (lambda f: f.create_dataset("images", (2, 3, 4, 5), "f4"), "shape"),
}  # fmt: skip


@pytest.mark.parametrize("what", ODD)
def test_odd_hdf5_is_refused_by_every_reader(refused, h5, tmp_path, what):
    os.mkfifo(tmp_path / "pipe")  # opening it would never return
    fill, named = ODD[what]
    path = h5(fill)
    refused(SECTION, path, names=named, memory_mib=96)
    if what != "four axes":
        refused(ARRAYS, path, ("images",), names=named, memory_mib=96)
    if what != "group":
        refused(ARRAYS, path, names="", memory_mib=96) if what != "four axes" else None


def test_damaged_hdf5_and_odd_attributes_are_refused(refused, bounded, h5, tmp_path):
    path = h5(lambda f: f.create_dataset("images", data=CUBE, chunks=(1, 3, 4), compression="gzip"))
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 15)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        ended = bounded(SECTION, path, memory_mib=96)
        assert not ended.error or ended.on_purpose, (place, ended)
    for cut in (10, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        refused(SECTION, path, memory_mib=96)
        refused(ARRAYS, path, memory_mib=96)

    def odd(file):
        file["images"] = CUBE
        file.attrs["format"] = "msibench-section"
        file.attrs["schema_version"] = "many"
        file.attrs["pixel_size_um"] = np.zeros(3)

    refused(SECTION, h5(odd), memory_mib=96)


def test_a_file_behind_a_user_block_is_a_file(bounded, h5):
    path = h5(lambda f: f.create_dataset("images", data=CUBE), userblock_size=512)
    path.write_bytes(b"#!/bin/sh\n" + path.read_bytes()[10:])
    assert not bounded(SECTION, path).error


def npy(shape, dtype="<f4", body=b"", version=(1, 0), text=None):
    head = text or f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}"
    head = head.encode().ljust(118) + b"\n"
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H", len(head)) + head + body


def npz(path, members, compress=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compress) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("member", "named"),
    [
        (npy((1 << 20, 1 << 20, 1 << 20)), "claims"),
        (npy((1 << 62, 1 << 62, 4)), "claims"),
        (npy((-1, 2, 2)), "shape"),
        (npy((2, 3, 4), dtype="|O", body=b"\x80\x04."), "objects"),
        (npy((2, 3, 4), dtype="<f4", body=b"\0" * 10), "claims"),
        (npy((2, 3, 4), text="{'descr': '<f4', 'shape': (" + "(" * 60), "npz"),
        (npy((2,), text="__import__('os').system('touch made')"), "npz"),
        (b"\x93NUMPY\x09\x00", "npz"),
        (b"", "npz"),
        (npy((2, 3, 4), dtype="<U100000000", body=b""), "claims"),
    ],
)
def test_odd_members_of_npz_are_refused(refused, tmp_path, member, named):
    path = npz(tmp_path / "s.npz", {"cube.npy": member})
    refused(SECTION, path, names=named, memory_mib=64)


def test_npz_bombs_and_odd_archives_are_refused(refused, tmp_path):
    zeros = npy((1, 1 << 12, 1 << 12), body=b"\0" * (1 << 26))
    bomb = npz(tmp_path / "bomb.npz", {"cube.npy": zeros}, zipfile.ZIP_BZIP2)
    refused(SECTION, bomb, names="unsupported compression", memory_mib=64)
    lying = npz(tmp_path / "lying.npz", {"cube.npy": npy((2, 3, 4), body=b"\0" * 96)})
    raw = bytearray(lying.read_bytes())
    for signature, place in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        at = raw.find(signature) + place
        raw[at : at + 4] = struct.pack("<I", 0xFFFFFFF0)
    lying.write_bytes(raw)
    refused(SECTION, lying, names="lying.npz", memory_mib=64)
    many = npz(tmp_path / "many.npz", {f"{n}.npy": b"" for n in range(1001)})
    refused(SECTION, many, names="members", memory_mib=64)
    with zipfile.ZipFile(many, "w") as archive:
        archive.writestr("cube.npy", npy((2, 3, 4), body=b"\0" * 96))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("cube.npy", npy((2, 3, 4), body=b"\0" * 96))
    refused(SECTION, many, names="twice", memory_mib=64)


@pytest.mark.parametrize("field", ["pixel_size_um", "ppm", "mz", "mask", "unit"])
@pytest.mark.parametrize(
    "value",
    [np.zeros((3, 3)), np.array(["a", "b"]), np.array([]), np.array(-1.0), np.array(np.inf)],
)
def test_odd_facts_in_npz_are_refused_or_read(bounded, tmp_path, field, value):
    out = io.BytesIO()
    np.savez(out, cube=CUBE, **{field: value})
    path = tmp_path / "s.npz"
    path.write_bytes(out.getvalue())
    ended = bounded(SECTION, path, memory_mib=64)
    assert not ended.error or ended.on_purpose, ended


def test_masks_from_npy_are_as_large_as_their_file(refused, tmp_path):
    path = tmp_path / "mask.npy"
    for content in (
        npy((1 << 20, 1 << 20)),
        npy((2, 2), dtype="|O", body=b"\x80\x04."),
        b"",
        b"x" * 99,
    ):
        path.write_bytes(content)
        refused("msibench.io.tissue:read_mask", path, names="mask.npy", memory_mib=64)
