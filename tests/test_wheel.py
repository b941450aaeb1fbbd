"""What is installed without the checkout: every file of every package, not its code alone."""

import shutil
import subprocess
import sys
import tarfile
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


def copied(folder, *patterns):
    """Copy the files that git knows; a build leaves folders beside the sources."""
    if not setuptools_is_recent():
        pytest.skip("building without a network needs setuptools >= 77 here")
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("the files of the project are those that git knows; this is not a checkout")
    listed = ["git", "ls-files", "-z", "--", *patterns]
    found = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    names = set(filter(None, found.split("\0")))
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name, follow_symlinks=False)
    return names


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    copied(copy, *PACKAGES, "leaderboards/*/track.toml", "*.md", "pyproject.toml", "LICENSE")
    build = f"from setuptools.build_meta import build_wheel as b; b({str(out)!r})"  # as pip does
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=copy, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (built,) = out.glob("*.whl")
    return copy, built


@pytest.mark.slow
def test_the_source_distribution_holds_every_file_of_the_project(tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    names = copied(source)
    build = f"from setuptools.build_meta import build_sdist as b; b({str(out)!r})"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (built,) = out.glob("*.tar.gz")
    with tarfile.open(built) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert names - held == set()
    extra = {name for name in held - names if name and (source / name).is_file()}
    boards = {name for name in names if name.startswith("leaderboards/")}
    tracks = {f"msibench/tracks_shipped/{name}" for name in boards if name.endswith("track.toml")}
    made = {name for name in extra if "egg-info" not in name}
    assert made - tracks <= {"PKG-INFO", "setup.cfg"}
    assert tracks <= held


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
