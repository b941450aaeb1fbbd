"""Checkpoints give tensors, and no checkpoint runs code."""

from __future__ import annotations

import os
import pickle
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from msibench.errors import MissingWeightsError
from msibench.weights import UnsafeWeightsError, bare_state_dict, read_state_dict

TENSORS = {"conv.weight": torch.arange(6.0).reshape(2, 3), "conv.bias": torch.ones(2)}


class Payload:
    """What a hostile pickle does: call a function of its choice while it is read."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def same(loaded):
    assert loaded.keys() == TENSORS.keys()
    assert all(torch.equal(loaded[name], TENSORS[name]) for name in TENSORS)


def test_safetensors_and_pth_give_the_same_tensors(tmp_path):
    save_file(TENSORS, tmp_path / "net.safetensors")
    torch.save(TENSORS, tmp_path / "net.pth")

    same(read_state_dict(tmp_path / "net.safetensors"))
    same(read_state_dict(tmp_path / "net.pth"))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_hostile_pickle_is_refused_and_does_nothing(tmp_path, zipped):
    target = tmp_path / "made-by-the-payload"
    path = tmp_path / "net.pth"
    if zipped:
        torch.save({"params": Payload(target)}, path)
    else:
        path.write_bytes(pickle.dumps({"params": Payload(target)}))

    with pytest.raises(UnsafeWeightsError, match="more than tensors"):
        read_state_dict(path)

    assert not target.exists()


def test_torchscript_is_refused_before_it_is_loaded(tmp_path):
    path = tmp_path / "net.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", b"")
        archive.writestr("net/constants.pkl", b"")
        archive.writestr("net/code/__torch__/net.py", b"")

    with pytest.raises(UnsafeWeightsError, match="TorchScript"):
        read_state_dict(path)


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
@pytest.mark.parametrize("content", [b"", b"garbage" * 50])
def test_damaged_files_are_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(UnsafeWeightsError, match=name):
        read_state_dict(tmp_path / name)


def test_a_checkpoint_must_be_a_mapping(tmp_path):
    torch.save([1, 2], tmp_path / "net.pth")

    with pytest.raises(UnsafeWeightsError, match="mapping"):
        read_state_dict(tmp_path / "net.pth")


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(MissingWeightsError):
        read_state_dict(tmp_path / "net.pth")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tensors: tensors,
        lambda tensors: {"params": tensors},
        lambda tensors: {"params": {}, "params_ema": tensors},
        lambda tensors: {"state_dict": tensors, "epoch": 3},
        lambda tensors: {f"module.{name}": tensor for name, tensor in tensors.items()},
        lambda tensors: {
            "params": {f"module._orig_mod.{name}": tensor for name, tensor in tensors.items()}
        },
    ],
)
def test_what_training_frameworks_wrap_around_tensors_comes_off(wrap):
    same(bare_state_dict(wrap(TENSORS)))


STAND_INS = {
    "pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "git lfs pull",
    ),
    "page": (b"\n<!DOCTYPE html><html><title>Virus scan warning</title></html>", "web page"),
    "page with a mark": (b"\xef\xbb\xbf<html><head></head></html>", "web page"),
    "answer": (b'{"error": "Invalid username or password."}', "error message"),
    "nothing": (b"", "empty"),
}


@pytest.mark.parametrize("what", STAND_INS)
@pytest.mark.parametrize("name", ["net.pth", "net.safetensors", "NET.SAFETENSORS"])
def test_what_came_in_place_of_a_checkpoint_is_said(tmp_path, name, what):
    content, words = STAND_INS[what]
    (tmp_path / name).write_bytes(content)

    with pytest.raises(UnsafeWeightsError, match=words) as refusal:
        read_state_dict(tmp_path / name)
    assert "weights_only" not in str(refusal.value)


@pytest.mark.parametrize("name", ["NET.SAFETENSORS", "net.Safetensors", "net.pth", "net.bin"])
def test_the_content_tells_safetensors_and_not_the_name(tmp_path, name):
    save_file(TENSORS, tmp_path / "there")
    (tmp_path / "there").rename(tmp_path / name)
    same(read_state_dict(tmp_path / name))


def test_a_torch_file_with_the_other_suffix_is_read(tmp_path):
    torch.save(TENSORS, tmp_path / "net.safetensors")
    same(read_state_dict(tmp_path / "net.safetensors"))


def test_a_refusal_names_the_object_and_gives_no_advice_to_trust_it(tmp_path):
    import numpy as np

    torch.save({"model": TENSORS, "best": np.float64(31.2)}, tmp_path / "train.pth")

    with pytest.raises(UnsafeWeightsError, match=r"numpy.*scalar") as refusal:
        read_state_dict(tmp_path / "train.pth")
    assert "\x1b" not in str(refusal.value)
    assert "Re-running" not in str(refusal.value)


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "model._orig_mod."]
)  # fmt: skip
def test_prefixes_of_wrappers_are_taken_off(prefix):
    same(bare_state_dict({f"{prefix}{name}": tensor for name, tensor in TENSORS.items()}))


def test_a_compiled_part_has_the_name_of_the_part():
    same(bare_state_dict({"conv._orig_mod.weight": TENSORS["conv.weight"],
                          "conv._orig_mod.bias": TENSORS["conv.bias"]}))  # fmt: skip
