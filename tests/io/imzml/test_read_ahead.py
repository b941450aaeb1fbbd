"""The disk reads the next part of a file meanwhile: what is read, what is left alone, and that nothing else changes."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from msibench.io import open_imzml
from msibench.io.imzml import read_ahead
from msibench.io.imzml.layout import ArrayColumn
from msibench.io.imzml.read_ahead import PIECE, ReadAhead, spans
from tests.io.imzml.imzml_files import write_odd_imzml

ALL = slice(None)


def column(offset, stored):
    encoding = np.zeros(len(offset), np.int16)
    return ArrayColumn(np.array(offset), np.array(stored), encoding, ())


def forget(path):
    """Have the system forget a file; skip the test where it does not, or does not say what it knows."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if in_memory(path):
            pytest.skip("this file system keeps its files in memory, or cannot tell")


def in_memory(path):
    with path.open("rb") as file:
        return read_ahead._in_memory(file.fileno(), (0, path.stat().st_size))


@pytest.fixture
def large(tmp_path):
    path = tmp_path / "large.ibd"
    path.write_bytes(np.random.default_rng(0).bytes(5 * PIECE + 17))
    return path


def test_arrays_by_turns_are_one_part():
    mz, intensity = column([16, 216, 416], [120, 120, 120]), column([136, 336, 536], [80, 80, 80])

    assert spans([mz, intensity], ALL) == [(16, 616)]
    assert spans([mz, intensity], slice(1, 2)) == [(216, 336), (336, 416)]
    assert spans([intensity], np.array([2, 1])) == [(336, 616)]


def test_arrays_of_each_kind_side_by_side_are_two_parts():
    mz, intensity = column([16, 116], [100, 100]), column([5016, 5066], [50, 50])

    assert spans([mz, intensity], ALL) == [(16, 216), (5016, 5116)]
    assert spans([intensity, mz], ALL) == [(5016, 5116), (16, 216)]


def test_arrays_that_lie_scattered_are_no_part():
    assert spans([column([16, 816], [100, 100])], ALL) == [(16, 916)]
    assert spans([column([16, 1_517], [100, 100])], ALL) == []
    assert spans([column([16, 1_516], [100, 100])], ALL) == [(16, 1_616)]


def test_empty_arrays_have_no_place():
    assert spans([column([0, 500, 0], [0, 10, 0])], ALL) == [(500, 510)]
    assert spans([column([0, 0], [0, 0])], ALL) == []


def test_a_part_is_in_memory_when_it_has_been_waited_for(large):
    forget(large)

    with ReadAhead(large) as disk:
        disk.begin([(0, PIECE + 1), (PIECE + 1, large.stat().st_size)])
        disk.wait()
        disk.wait()  # for nothing

    assert in_memory(large)


def test_what_is_in_memory_is_not_read(large):
    large.read_bytes()

    with ReadAhead(large) as disk:
        disk.begin([(0, large.stat().st_size)])

        assert disk._current is None


def test_a_file_that_is_gone_is_not_read(large):
    large.unlink()

    with ReadAhead(large) as disk:
        disk.begin([(0, PIECE)])
        disk.wait()


def test_a_pass_that_ends_early_does_not_wait_for_the_disk(tmp_path):
    path = tmp_path / "hole.ibd"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # reading all of it would take minutes

    with ReadAhead(path) as disk:
        disk.begin([(0, 1 << 40)])


@pytest.mark.parametrize("gone", [False, True])
def test_images_of_a_file_that_is_not_in_memory(tmp_path, monkeypatch, gone):
    path = write_odd_imzml(tmp_path / "a.imzML")
    mz = np.linspace(200, 800, 40)
    expected = open_imzml(path).ion_images(mz, ppm=5e4).values
    assert (expected > 0).any()
    monkeypatch.setattr("msibench.io.imzml.arrays.BLOCK", 200)  # a few spectra each
    monkeypatch.setattr(read_ahead, "_in_memory", lambda *_: False)

    section = open_imzml(path)
    if gone:
        path.with_suffix(".ibd").unlink()

    np.testing.assert_array_equal(section.ion_images(mz, ppm=5e4).values, expected)


@pytest.mark.skipif(sys.platform != "linux", reason="counts the memory of a process as Linux does")
def test_reading_ahead_keeps_no_bytes(tmp_path):
    path = tmp_path / "hole.ibd"
    with path.open("wb") as file:
        file.truncate(300 << 20)
    code = (
        "import resource, sys\nfrom pathlib import Path\n"
        "from msibench.io.imzml.read_ahead import ReadAhead\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "with ReadAhead(Path(sys.argv[1])) as disk:\n"
        "    disk._current = disk._thread.submit(disk._read, [(0, 300 << 20)])\n"
        "    disk.wait()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )

    ran = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
    )

    assert int(ran.stdout) < 20 << 10  # kB
