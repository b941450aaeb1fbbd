"""What is installed without the checkout: every file of every package, not its code alone."""

import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("msibench", "datasets/msibench_datasets", "plugins/*/msibench_*")


def setuptools_is_recent():
    try:
        return int(version("setuptools").partition(".")[0]) >= 77
    except PackageNotFoundError:
        return False


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy: a build leaves folders beside the sources."""
    if not setuptools_is_recent():
        pytest.skip("building a wheel without a network needs setuptools >= 77 here")
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("the files of the project are those that git knows; this is not a checkout")
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    listed = ["git", "ls-files", "-z", "--", *PACKAGES, "leaderboards/*/track.toml", "*.md"]
    listed += ["pyproject.toml", "LICENSE"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name, follow_symlinks=False)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "-w", str(out), str(copy)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("*.whl")
    return copy, built


def test_the_wheel_holds_every_file_of_every_package(wheel):
    copy, built = wheel
    expected = set()
    for pattern in PACKAGES:
        for package in copy.glob(pattern):
            files = (path for path in package.rglob("*") if path.is_file())
            expected |= {str(path.relative_to(package.parent)) for path in files}
    with zipfile.ZipFile(built) as archive:
        there = set(archive.namelist())
        for track in copy.glob("leaderboards/*/track.toml"):
            inside = f"msibench/tracks_shipped/{track.relative_to(copy)}"
            assert archive.read(inside) == track.read_bytes()

    assert expected - there == set()
    assert {"msibench_datasets/mouse-kidney/published.csv"} <= there
