"""Files that are not there yet, and files that somebody else holds."""

import subprocess
import sys

import h5py
import numpy as np
import pytest

from msibench import MSImage
from msibench.errors import DataError
from msibench.io import read_section, write_hdf5
from msibench.io.guide import read_guide

STAND_INS = {
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
    "page": (b"<!DOCTYPE html><html><title>Sign in</title></html>", "web page"),
    "page in UTF-16": ("\ufeff<html><body>".encode("utf-16-le"), "web page"),
    "answer": (b'{"message": "Not Found"}', "error message"),
}  # fmt: skip


@pytest.mark.parametrize("what", STAND_INS)
@pytest.mark.parametrize("suffix", ["h5", "npz", "tif", "png", "jpg", "imzML", "unknown"])
def test_what_came_in_place_of_a_section_is_said(tmp_path, suffix, what):
    content, words = STAND_INS[what]
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_section(path)
    if suffix in ("tif", "png", "jpg"):
        with pytest.raises(DataError, match=words):
            read_guide(path)


@pytest.fixture
def section(tmp_path):
    image = MSImage(np.ones((1, 4, 5), np.float32), np.array([500.0]))
    return write_hdf5(tmp_path / "a.h5", image)


HOLD = """
import sys, h5py
file = h5py.File(sys.argv[1], "a")
print("held", flush=True)
sys.stdin.readline()
file.close()
"""


def test_a_file_that_another_program_writes_is_refused_with_the_true_reason(section):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, section],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(DataError, match="another program has it open for writing"):
            read_section(section)
    finally:
        holder.communicate("\n", timeout=30)
    assert read_section(section).shape == (4, 5)


@pytest.mark.parametrize("number", [37, 38, 95, 524])
def test_a_file_system_without_locks_is_read_without_one(section, monkeypatch, number):
    opened = h5py.File

    def without_locks(path, mode="r", **options):
        if options.get("locking") is not False:
            raise BlockingIOError(
                f"[Errno {number}] Unable to synchronously open file (unable to lock file, errno = "
                f"{number}, error message = 'No locks available')"
            )
        return opened(path, mode, **options)

    monkeypatch.setattr(h5py, "File", without_locks)
    assert read_section(section).shape == (4, 5)


def test_a_mark_that_a_crash_left_is_said(section, monkeypatch):
    def marked(*_, **__):
        raise OSError(
            "Unable to open file (file is already open for write (may use <h5clear file> to clear "
            "file consistency flags))"
        )

    monkeypatch.setattr(h5py, "File", marked)
    with pytest.raises(DataError, match=r"h5clear --status a\.h5"):
        read_section(section)
