"""Checkpoints from strangers give tensors or a refusal, and never more memory than their file."""

from __future__ import annotations

import collections
import json
import os
import pickle
import struct
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

READ = "msibench.weights:read_state_dict"
SPANDREL = "msibench_spandrel.method:read_checkpoint"
MEMORY = 256


class Payload:
    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


def repacked(path, change=lambda name, content: content, compress=zipfile.ZIP_STORED, extra=()):
    out = path.with_name("changed.pth")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(out, "w", compress) as target:
        for name in source.namelist():
            target.writestr(name, change(name, source.read(name)))
        for name, content in extra:
            target.writestr(name, content)
    return out


@pytest.mark.sweep
@pytest.mark.parametrize(
    "suffix",
    [
        ".pth",
        "",
        *(pytest.param(s, marks=pytest.mark.slow) for s in (".pt", ".pkl", ".ckpt", ".bin")),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("reader", [READ, SPANDREL])
def test_a_pickle_that_calls_something_is_refused_and_calls_nothing(
    refused, tmp_path, suffix, zipped, reader
):
    made = tmp_path / "made"
    path = tmp_path / f"net{suffix}"
    content = {"params": Payload(os.mkdir, str(made))}
    if zipped:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    refused(reader, path, names="more than tensors", memory_mib=MEMORY)
    assert not made.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"cposix\nsystem\n(S'touch made'\ntR.",
        b"cbuiltins\nexec\n(S'1/0'\ntR.",
        b"ctorch.hub\nload\n(S'a/b'\ntR.",
        b"ctorch._utils\n_rebuild_tensor_v2\n.",
        b"(" * 200_000 + b"t" * 200_000 + b".",
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"x.",
        b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b"}.",
        b"]" + b"(lp0\n" * 1000 + b".",
        b"I" + b"9" * 100_000 + b"\n.",
    ],
)
def test_raw_pickles_are_refused(refused, tmp_path, content):
    path = tmp_path / "net.pth"
    path.write_bytes(content)
    refused(READ, path, names="net.pth", memory_mib=MEMORY)


def test_packed_storages_are_refused_before_they_are_unpacked(refused, tmp_path):
    path = tmp_path / "net.pth"
    torch.save({"weight": torch.zeros(64 << 20, dtype=torch.uint8)}, path)
    bomb = repacked(path, compress=zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 1 << 20
    refused(READ, bomb, names="is packed", memory_mib=32)
    refused(SPANDREL, bomb, names="is packed", memory_mib=MEMORY)


def test_torchscript_damaged_doubled_and_tar_archives_are_refused(refused, tmp_path):
    path = tmp_path / "net.pth"
    torch.save({"weight": torch.zeros(3)}, path)
    script = repacked(
        path, extra=[("archive/code/__torch__.py", b"x"), ("archive/constants.pkl", b"")]
    )
    for reader in (READ, SPANDREL):
        refused(reader, script, names="TorchScript", memory_mib=MEMORY)
    with pytest.warns(UserWarning, match="Duplicate"):
        doubled = repacked(path, extra=[("net/data.pkl", pickle.dumps({}))])
    refused(READ, doubled, names="twice", memory_mib=MEMORY)
    whole = path.read_bytes()
    for cut in (len(whole) // 2, len(whole) - 10, 100):
        path.write_bytes(whole[:cut])
        refused(READ, path, names="net.pth", memory_mib=MEMORY)
    directory = whole.rfind(b"PK\x01\x02")
    path.write_bytes(whole[:directory] + b"\xff" * 60 + whole[directory + 60 :])
    refused(READ, path, names="net.pth", memory_mib=MEMORY)
    old = tmp_path / "old.tar"
    with tarfile.open(old, "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, "/dev/zero"
            archive.addfile(info)
    for reader in (READ, SPANDREL):
        refused(reader, old, names="tar archive", memory_mib=MEMORY)


def test_an_archive_of_too_many_members_is_refused(refused, tmp_path):
    path = tmp_path / "net.pth"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(20_001):
            archive.writestr(f"a/data/{number}", b"")
    refused(READ, path, names="members", memory_mib=MEMORY)


def hand_made(path, size, stride, *, offset=0, numel=4, stored=16):
    """A checkpoint of one tensor with a shape of the writer's choice."""
    storage = (
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
        + pickle.dumps(numel, protocol=2)[2:-1]
        + b"tQ"
    )
    numbers = [pickle.dumps(tuple(v), protocol=2)[2:-1] for v in (size, stride)]
    data = (
        b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n("
        + storage
        + pickle.dumps(offset, protocol=2)[2:-1]
        + b"".join(numbers)
        + b"\x89ccollections\nOrderedDict\n)RtRs."
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", data)
        archive.writestr("net/byteorder", b"little")
        archive.writestr("net/data/0", b"\0" * stored)
        archive.writestr("net/version", b"3\n")
    return path


def test_a_hand_made_checkpoint_that_is_sound_is_read(bounded, tmp_path):
    """The forgery below is a checkpoint but for its numbers."""
    ended = bounded(READ, hand_made(tmp_path / "net.pth", (2, 2), (2, 1)))
    assert ended.value == "{'w': tensor([[0., 0.],\n        [0., 0.]])}"


@pytest.mark.parametrize(
    "facts",
    [
        {"size": (1 << 20, 1 << 20), "stride": (0, 0)},
        {"size": (1 << 31, 4), "stride": (0, 1)},
        {"size": (1 << 40,), "stride": (1,)},
        {"size": (-1, 4), "stride": (4, 1)},
        {"size": (2, 2), "stride": (-2, 1)},
        {"size": (2, 2), "stride": (2, 1), "offset": 1 << 50},
        {"size": (2, 2), "stride": (2, 1), "offset": -4},
        {"size": (1 << 33,), "stride": (1,), "numel": 1 << 33},
        {"size": (4,), "stride": (1,), "numel": -4},
        {"size": (1 << 62, 1 << 62), "stride": (1, 1)},
        {"size": tuple([1] * 70), "stride": tuple([1] * 70)},
    ],
    ids=str,
)
def test_absurd_shapes_strides_and_sizes_are_refused(bounded, tmp_path, facts):
    path = hand_made(tmp_path / "net.pth", **facts)
    ended = bounded(READ, path, memory_mib=MEMORY)
    if facts["size"] == tuple([1] * 70) and not ended.error:
        return  # many dimensions of one element are harmless
    assert ended.on_purpose, ended
    assert "net.pth" in ended.message


def test_many_views_of_one_storage_are_refused(refused, tmp_path):
    base = torch.zeros(1 << 20)
    path = tmp_path / "net.pth"
    torch.save({f"w{number}": base.view(1024, 1024) for number in range(200)}, path)
    assert path.stat().st_size < 5 << 20
    refused(READ, path, names="expanded views", memory_mib=MEMORY)


@pytest.mark.parametrize(
    "value",
    [
        lambda: torch.sparse_coo_tensor(
            torch.zeros(2, 1, dtype=torch.long),
            torch.ones(1),
            (1 << 30, 1 << 30),
            check_invariants=True,
        ),
        lambda: torch.empty(1 << 40, device="meta"),
    ],
    ids=["sparse", "meta"],
)
def test_tensors_without_plain_values_are_refused(refused, tmp_path, value):
    path = tmp_path / "net.pth"
    torch.save({"w": value()}, path)
    refused(READ, path, names="net.pth", memory_mib=MEMORY)


def test_containers_that_refer_to_one_another_are_walked_once(bounded, refused, tmp_path):
    nested = []
    for _ in range(60):
        nested = [nested, nested]
    torch.save({"w": torch.zeros(1), "laughs": nested}, tmp_path / "net.pth")
    ended = bounded("bounded:names_of", tmp_path / "net.pth", memory_mib=MEMORY)
    assert ended.value == "['laughs', 'w']", ended
    deep = torch.zeros(1)
    for _ in range(200):
        deep = {"inner": deep}
    torch.save(deep, tmp_path / "deep.pth")
    refused(READ, tmp_path / "deep.pth", names="nested", memory_mib=MEMORY)


def safetensors(path, header, body=b"\0" * 16, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + body)
    return path


TENSOR = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}


@pytest.mark.parametrize(
    "facts",
    [
        {"header": {"w": TENSOR | {"shape": [1 << 20, 1 << 20]}}},
        {"header": {"w": TENSOR | {"shape": [1 << 63, 1 << 63]}}},
        {"header": {"w": TENSOR | {"shape": [-2, -2]}}},
        {"header": {"w": TENSOR | {"data_offsets": [0, 1 << 40]}}},
        {"header": {"w": TENSOR | {"data_offsets": [16, 0]}}},
        {"header": {"w": TENSOR | {"data_offsets": [8, 24]}}, "body": b"\0" * 24},
        {"header": {"w": TENSOR, "v": TENSOR}},
        {"header": {"w": TENSOR | {"dtype": "Q64"}}},
        {"header": {"w": TENSOR}, "length": 1 << 62},
        {"header": {"w": TENSOR}, "length": 100_000_001},
        {"header": {"w": TENSOR}, "body": b"\0" * 8},
        {"header": {"w": TENSOR}, "body": b"\0" * 400},
        {"header": b"[" * 100_000},
        {"header": b'{"w":' * 100_000},
        {"header": b"\xff\xfe"},
        {"header": {"w": 3}},
    ],
    ids=lambda facts: str(facts)[:60],
)
def test_safetensors_that_lie_are_refused(refused, tmp_path, facts):
    path = safetensors(tmp_path / "net.safetensors", **facts)
    refused(READ, path, names="net.safetensors", memory_mib=64)


def test_spandrel_does_not_build_what_a_shape_asks_for(bounded, tmp_path):
    """A state dict with a known architecture's names and absurd widths, in a tiny file."""
    tensors = {"conv_first.weight": torch.zeros(0, 1 << 20, 3, 3)}
    save_file(tensors, tmp_path / "net.safetensors")
    ended = bounded(SPANDREL, tmp_path / "net.safetensors", memory_mib=512)
    assert ended.on_purpose, ended


def test_the_command_line_says_it_in_one_message(bounded, tmp_path):
    path = tmp_path / "net.pth"
    path.write_bytes(pickle.dumps(collections.OrderedDict(a=Payload(os.getcwd))))
    section = tmp_path / "s.npz"
    np.savez(section, cube=np.ones((1, 8, 8), np.float32), mz=[500.0])
    arguments = ("upscale", f"spandrel:{path}", str(section), "-o", str(tmp_path / "o.h5"))
    ended = bounded("bounded:command_line", *arguments, memory_mib=4096)
    assert ended.value.startswith("(2,"), ended
    assert "more than tensors" in ended.value
    assert "Traceback" not in ended.value
