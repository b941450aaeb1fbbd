"""Pretrained files are found, checked and explained; nothing is downloaded unasked."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from msibench import WeightFile
from msibench.errors import (
    ConfigurationError,
    IntegrityError,
    MissingWeightsError,
    UnknownNameError,
)
from msibench.testing.mirror import mirrored
from msibench.weights import CORE_WEIGHTS, add, fetch, find, require, resolve, verify
from msibench.weights.search_paths import cached_path

BYTES = b"weights of a network"
DIGEST = hashlib.sha256(BYTES).hexdigest()
FILE = WeightFile(name="net_x4.pth", url="http://192.0.2.1/net_x4.pth", sha256=DIGEST)


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    for name in ("MSIBENCH_CACHE", "MSIBENCH_MIRROR", "TORCH_HOME"):
        folder = tmp_path / name.lower()
        folder.mkdir()
        monkeypatch.setenv(name, str(folder))
    return tmp_path


def put(path: Path, content: bytes = BYTES) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "place",
    [
        "msibench_cache/weights/net_x4.pth",
        "torch_home/hub/checkpoints/net_x4.pth",
        "msibench_mirror/net_x4.pth",
        "msibench_mirror/weights/net_x4.pth",
        "msibench_mirror/weights/sr/net_x4.pth",
    ],
)
def test_a_file_is_found_wherever_it_lies(places, place):
    path = put(places / place)

    assert find(FILE) == path


def test_a_file_named_by_the_user_comes_first(places):
    put(cached_path(FILE))
    own = put(places / "own" / "net_x4.pth")

    assert find(FILE, given=[own]) == own
    assert find(FILE, given=[own.parent]) == own


def test_nothing_is_found_where_nothing_lies():
    assert find(FILE) is None
    assert find("vgg16") is None


def test_a_missing_file_is_explained_with_one_command():
    with pytest.raises(MissingWeightsError, match=r"msibench weights fetch vgg16$"):
        require("vgg16")
    asked = WeightFile(name="MambaIR-real.pth", how="Ask the authors.")
    with pytest.raises(
        MissingWeightsError, match=r"Ask the authors\. .*weights add PATH --as MambaIR-real\.pth"
    ):
        require(asked)


def test_a_misspelt_name_gets_a_suggestion():
    with pytest.raises(UnknownNameError, match="Did you mean 'vgg16'"):
        find("vgg-16")


def test_wrong_bytes_are_refused_and_a_good_copy_elsewhere_is_taken(places):
    put(cached_path(FILE), b"something else")
    with pytest.raises(IntegrityError, match="not the published net_x4"):
        find(FILE)

    good = put(places / "msibench_mirror" / "net_x4.pth")
    assert find(FILE) == good


def test_eight_published_digits_are_checked():
    put(cached_path(FILE))

    assert find(replace(FILE, sha256=DIGEST[:8])) == cached_path(FILE)
    with pytest.raises(IntegrityError, match="expected sha256 00000000…"):
        find(replace(FILE, sha256="00000000"))


def test_an_unpublished_digest_is_recorded_at_first_sight_and_checked_ever_after(places):
    unknown = replace(FILE, sha256="")
    path = put(cached_path(unknown))
    assert find(unknown) == path
    ledger = json.loads((places / "msibench_cache/weights/digests.json").read_text())
    assert ledger["net_x4.pth"]["sha256"] == DIGEST

    put(path, b"changed since then")
    with pytest.raises(IntegrityError, match=r"has changed since .* --replace"):
        find(unknown)

    add(path, unknown, replace=True)
    assert find(unknown) == path


def test_adding_copies_only_the_right_file(places):
    own = put(places / "downloads" / "renamed.bin")

    assert add(own, FILE).read_bytes() == BYTES
    assert find(FILE) == cached_path(FILE)
    with pytest.raises(IntegrityError):
        add(put(places / "other.bin", b"other"), FILE)


def test_a_file_name_cannot_leave_the_cache():
    with pytest.raises(ConfigurationError, match="relative path"):
        find(replace(FILE, name="../../etc/passwd"))


def test_a_single_given_file_serves_a_method_that_needs_a_single_one(places):
    own = put(places / "fine_tuned.safetensors")

    assert resolve([replace(FILE, sha256="")], [own]) == ({"net_x4.pth": own}, ())


def test_resolving_tells_found_files_from_missing_ones():
    put(cached_path(FILE))
    other = replace(FILE, name="net_x2.pth")

    found, missing = resolve([FILE, other])

    assert found == {"net_x4.pth": cached_path(FILE)}
    assert missing == (other,)


def test_verifying_reports_every_file():
    put(cached_path(FILE))
    other = replace(FILE, name="net_x2.pth")
    assert verify([FILE, other]) == {"net_x4.pth": "ok", "net_x2.pth": "missing"}

    put(cached_path(FILE), b"bit rot")
    assert "not the published" in verify([FILE])["net_x4.pth"]


def test_a_non_commercial_licence_is_asked_for(places):
    source = put(places / "server" / "net_x4.pth")
    file = replace(FILE, url=source.as_uri(), licence="S-Lab License 1.0", non_commercial=True)
    with pytest.raises(ConfigurationError, match=r"S-Lab License 1\.0: NON-COMMERCIAL"):
        fetch(file)
    with pytest.raises(ConfigurationError):
        fetch(file, ask=lambda terms: False)
    assert not cached_path(file).exists()

    asked = []
    assert fetch(file, ask=lambda terms: not asked.append(terms)).read_bytes() == BYTES
    assert "S-Lab License 1.0" in asked[0]


def test_fetching_replaces_a_damaged_copy(places):
    source = put(places / "server" / "net_x4.pth")
    put(cached_path(FILE), b"damaged")

    assert fetch(replace(FILE, url=source.as_uri())).read_bytes() == BYTES


def test_fetching_a_file_without_an_address_says_how_to_get_it():
    with pytest.raises(MissingWeightsError, match="no public address"):
        fetch(replace(FILE, url=""))


def test_the_registered_digests_are_those_of_the_mirrored_files(monkeypatch):
    monkeypatch.delenv("MSIBENCH_MIRROR")
    for name in ("dists", "lpips-alex", "lpips-vgg", "lpips-squeeze"):
        mirrored(CORE_WEIGHTS[name].name)
        assert find(name) is not None


def test_looking_for_weights_imports_no_torch():
    script = (
        "import sys; from msibench import weights; weights.find('vgg16'); "
        "sys.exit('torch' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
