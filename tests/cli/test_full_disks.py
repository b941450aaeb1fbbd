"""Commands whose output goes to a disk that is full: one message, exit 2, and nothing left behind."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import SERVER

RUN = [
    "run",
    "--data",
    "section.npz",
    "--mz",
    "all",
    "--methods",
    "nearest",
    "--metrics",
    "psnr",
    "--no-sandbox",
]
COMMANDS = {
    "new": ["new", "method", "sharpen", "--into", "{full}"],
    "convert to HDF5": ["convert", "section.npz", "{full}/made.h5", "--mz", "all"],
    "convert to OME-TIFF": ["convert", "section.npz", "{full}/made.ome.tif", "--mz", "all"],
    "convert to imzML": ["convert", "section.npz", "{full}/made.imzML", "--mz", "all"],
    "convert to PNG": ["convert", "section.npz", "{full}/made.png", "--mz", "all"],
    "upscale": ["upscale", "bicubic", "section.npz", "--mz", "all", "-o", "{full}/fine.h5"],
    "upscale to npz": ["upscale", "bicubic", "section.npz", "--mz", "all", "-o", "{full}/fine.npz"],
    "bundle": ["bundle", "section", "--predictions", "-o", "{full}/made.zip"],
    "report": ["report", "section", "-o", "{full}/page"],
    "leaderboard": ["leaderboard", "section", "-o", "{full}/board"],
    "figure": ["figure", "box", "section", "-o", "{full}/figure.svg"],
    "finetune": [
        "finetune",
        "swinir-msi-tiny",
        "--dataset",
        "phantom",
        "--iterations",
        "1",
        "--batch",
        "1",
        "--patch",
        "8",
        "--out",
        "{full}/trained",
    ],
    "run": [*RUN, "--results", "{full}/results"],
}
ROOM = 8 << 10


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A process that forks commands, in a namespace of its own that holds a small disk."""
    full = tmp_path_factory.mktemp("full")
    line = (
        f"mount -t tmpfs -o size=256k none {full} || exit 77; "
        f"head -c {(256 << 10) - ROOM} /dev/zero > {full}/older; exec {sys.executable} {SERVER}"
    )
    process = subprocess.Popen(
        ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", line],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    if process.stdout.readline() != "ready\n":
        pytest.skip(f"no small disk can be made here: {process.communicate()[1][-200:]}")

    def ask(line):
        process.stdin.write(line + "\n")
        process.stdin.flush()
        return process.stdout.readline().strip()

    def run(words, place):
        pid = ask(json.dumps({"words": words, "place": str(place)}))
        return int(ask(f"wait {pid}"))

    yield full, run, Path(f"/proc/{process.pid}/root{full}")
    process.communicate(timeout=30)


@pytest.fixture(scope="module")
def place(server, tmp_path_factory):
    place = tmp_path_factory.mktemp("place")
    cube = np.random.default_rng(0).gamma(2.0, 1.0, (12, 48, 56)).astype(np.float32)
    np.savez(place / "section.npz", cube=cube, mz=np.arange(12) + 700.5, pixel_size_um=10.0)
    assert server[1]([*RUN, "--results", "results"], place) == 0, (place / "said.txt").read_text()
    return place


SLOW = (
    "bundle", "convert to HDF5", "convert to OME-TIFF", "convert to PNG", "upscale", "upscale to npz", "report", "figure", "finetune",
)  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in COMMANDS]
)
def test_a_full_disk_is_one_message_and_leaves_nothing(server, place, tmp_path, name):
    full, run, disk = server
    here = tmp_path / "here"
    shutil.copytree(place, here, ignore=shutil.ignore_patterns("said.txt"))
    code = run([word.format(full=full) for word in COMMANDS[name]], here)
    said = (here / "said.txt").read_text()
    left = {str(path.relative_to(disk)) for path in disk.rglob("*")} - {"older"}
    for path in disk.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "older":
            path.unlink()
    assert code == 2, said
    assert "internal error" not in said
    assert "Traceback" not in said
    assert "No space left on device" in said or "disk is full" in said
    made = {
        path
        for path in left
        if not path.startswith(("results", "page", "board", "sharpen")) and path != "trained"
    }
    assert made == set()
    assert not [path for path in left if path.endswith((".part", ".partial"))]
