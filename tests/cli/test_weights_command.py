"""``msibench weights``: what a user types, and what comes back."""

import hashlib
import json

import pytest
from click.testing import CliRunner

from msibench.cli.weights import command
from msibench.errors import IntegrityError, MissingWeightsError, UnknownNameError
from msibench.weights import CORE_WEIGHTS


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    for name in ("MSIBENCH_CACHE", "MSIBENCH_MIRROR", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    return tmp_path


def call(*arguments):
    return CliRunner().invoke(command, arguments, catch_exceptions=False)


def test_the_list_says_who_needs_a_file_and_under_which_licence():
    rows = {row["file"]: row for row in json.loads(call("list", "--json").output)}

    row = rows["002_lightweightSR_DIV2K_s64w8_SwinIR-S_x4.pth"]
    assert row["used_by"] == ["swinir-light"]
    assert row["state"] == "to fetch"
    assert "Apache-2.0" in row["licence"]
    assert "photographs" in row["trained_on"]
    assert rows["vgg16-397923af.pth"]["name"] == "vgg16"
    assert rows["MOSR_x4.pth"]["state"] == "to ask for"


def test_the_list_can_be_read_by_people():
    shown = call("list", "vgg16").output

    assert "vgg16  [to fetch]" in shown
    assert "553.4 MB" in shown


def test_a_file_is_added_then_verified_then_found_damaged(places):
    own = places / "MOSR_x4.pth"
    own.write_bytes(b"weights")

    assert "MOSR_x4.pth" in call("add", str(own)).output
    verified = call("verify").output.splitlines()
    assert "MOSR_x4.pth: ok" in verified
    assert all(line.endswith(": ok") for line in verified)

    (places / "msibench_cache" / "weights" / "MOSR_x4.pth").write_bytes(b"rotten")
    with pytest.raises(IntegrityError, match="MOSR_x4"):
        call("verify")


def test_a_downloaded_file_of_another_name_is_added_under_the_registered_one(places):
    own = places / "net_g_latest.pth"
    own.write_bytes(b"weights")

    call("add", str(own), "--as", "MambaIR-real.pth")

    assert (places / "msibench_cache" / "weights" / "MambaIR-real.pth").read_bytes() == b"weights"
    with pytest.raises(UnknownNameError, match="net_g_latest"):
        call("add", str(own))


def test_fetching_by_a_methods_name_fetches_its_files():
    with pytest.raises(MissingWeightsError, match="USTC-xlab/MOSR"):
        call("fetch", "mosr")


def test_a_file_is_fetched_and_verified(places, monkeypatch):
    source = places / "vgg.pth"
    source.write_bytes(b"weights")
    from dataclasses import replace

    digest = hashlib.sha256(b"weights").hexdigest()
    file = replace(CORE_WEIGHTS["vgg16"], url=source.as_uri(), sha256=digest)
    monkeypatch.setattr("msibench.weights.registry.CORE_WEIGHTS", {"vgg16": file})
    monkeypatch.setattr("msibench.weights.CORE_WEIGHTS", {"vgg16": file})

    shown = call("fetch", "vgg16").output

    assert "BSD-3-Clause" in shown
    assert (places / "msibench_cache/weights/vgg16-397923af.pth").read_bytes() == b"weights"
