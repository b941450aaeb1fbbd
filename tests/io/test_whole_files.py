"""Files are replaced whole or not at all, and what dead processes left is swept."""

import errno
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from msibench.errors import StoreError
from msibench.io import hdf5_writing, whole_files
from msibench.io.hdf5_writing import hdf5_errno, let_go, new_hdf5
from msibench.io.partial import beside, sweep
from msibench.io.whole_files import sweep_parts, sync_file, sync_folder, write_whole
from msibench.owners import owned_name


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def still_open():
    return len(list(Path("/proc/self/fd").iterdir()))


def of_the_dead(name):
    return owned_name(name).replace(f"-{os.getpid()}-", "-4194303-")


def test_files_are_replaced_together_and_flushed(tmp_path, monkeypatch):
    flushed = []
    fsync = os.fsync
    monkeypatch.setattr(whole_files.os, "fsync", lambda number: (flushed.append(number), fsync(number)))  # fmt: skip
    (tmp_path / "a").write_text("old")
    (tmp_path / "inner").mkdir()
    write_whole({tmp_path / "a": b"new", tmp_path / "inner" / "b": b"", tmp_path / "c": b"x"})
    assert (tmp_path / "a").read_bytes() == b"new"
    assert (tmp_path / "inner" / "b").read_bytes() == b""
    assert names(tmp_path) == ["a", "c", "inner"]
    assert names(tmp_path / "inner") == ["b"]
    assert len(flushed) == 3 + 2  # the files, and each folder once


def test_files_of_a_folder_that_a_crash_may_take_are_replaced_and_not_flushed(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(whole_files.os, "fsync", lambda number: pytest.fail("flushed"))
    (tmp_path / "a").write_text("old")
    write_whole({tmp_path / "a": b"new", tmp_path / "b": b"x"}, flushed=False)
    assert (tmp_path / "a").read_bytes() == b"new"
    assert names(tmp_path) == ["a", "b"]


@pytest.mark.parametrize("fails", ["first", "second"])
def test_a_disk_that_fills_leaves_every_old_file(tmp_path, monkeypatch, fails):
    (tmp_path / "a").write_text("old")
    (tmp_path / "b").write_text("old")
    count = iter((fails == "first", fails == "second"))

    def full(_):
        if next(count):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(whole_files.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole({tmp_path / "a": b"new", tmp_path / "b": b"new"})
    assert names(tmp_path) == ["a", "b"]
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text() == "old"


def test_parts_of_the_dead_are_swept_and_no_others(tmp_path):
    dead, living = f".{of_the_dead('a')}.part", f".{owned_name('a')}.part"
    bare = dead.removeprefix(".")
    for name in (dead, living, "a.part", bare, ".foreign.part"):
        (tmp_path / name).write_text("")
    sweep_parts(tmp_path)
    kept = {".foreign.part", living, "a.part", bare}
    assert set(names(tmp_path)) == kept
    os.utime(tmp_path / ".foreign.part", (0, 0))
    sweep_parts(tmp_path)
    assert set(names(tmp_path)) == kept - {".foreign.part"}


def test_flushing_leaves_nothing_open(tmp_path):
    (tmp_path / "a").write_text("x")
    before = still_open()
    for _ in range(3):
        sync_file(tmp_path / "a")
        sync_folder(tmp_path)
        sync_folder(tmp_path / "none")
    assert still_open() == before
    with pytest.raises(FileNotFoundError):
        sync_file(tmp_path / "none")


def test_a_file_is_written_beside_its_place(tmp_path):
    target = tmp_path / "a.png"
    with beside(target) as partial:
        partial.write_text("new")
        assert partial.parent == tmp_path
        assert not target.exists()
    assert names(tmp_path) == ["a.png"]
    assert target.read_text() == "new"
    with pytest.raises(ValueError, match="1"), beside(target) as partial:
        raise ValueError(partial.write_text("x"))
    with pytest.raises(StoreError, match=r"a\.png cannot be written: No space"), beside(target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(StoreError, match=r"^said$"), beside(target):
        raise StoreError("said")
    assert names(tmp_path) == ["a.png"]
    assert target.read_text() == "new"


def test_what_the_dead_left_beside_a_target_is_swept(tmp_path):
    kept = [f"{owned_name('a.png')}.partial", f"{of_the_dead('b.png')}.partial", of_the_dead("a.png"), "a.png"]  # fmt: skip
    for name in (f"{of_the_dead('a.png')}.partial", *kept):
        (tmp_path / name).write_text("")
    sweep(tmp_path / "a.png")
    assert names(tmp_path) == sorted(kept)
    foreign = tmp_path / "a.png-elsewhere.partial"
    foreign.write_text("")
    os.utime(foreign, (0, 0))
    with beside(tmp_path / "a.png") as partial:
        assert not foreign.exists()
        partial.write_text("")
    sweep(tmp_path / "none" / "a.png")


def test_the_number_of_an_error_is_found_in_what_hdf5_says():
    assert hdf5_errno("file write failed: time = x, errno = 28, error message = 'No space'") == 28
    assert hdf5_errno("file write failed: errno = none") is None
    assert hdf5_errno("myerrno = 28") is None


def test_what_hdf5_wraps_is_the_systems_error(tmp_path):
    with new_hdf5(tmp_path / "a.h5") as file:
        file["x"] = np.ones(3)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["x"][:].tolist() == [1, 1, 1]
    with pytest.raises(FileNotFoundError) as caught, new_hdf5(tmp_path / "none" / "a.h5"):
        pass
    assert caught.value.errno == errno.ENOENT
    path = tmp_path / "b.h5"
    with pytest.raises(OSError, match="No space") as caught, new_hdf5(path) as file:
        raise RuntimeError(f"Can't flush (file write failed: errno = {errno.ENOSPC}, error message")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    assert not file
    with pytest.raises(RuntimeError, match="another"), new_hdf5(path):
        raise RuntimeError("another")
    with pytest.raises(StoreError, match="errno = 28"), new_hdf5(path):
        raise StoreError("errno = 28")


def test_what_is_let_go_is_written_nowhere(tmp_path):
    before = still_open()
    with (tmp_path / "a").open("wb", buffering=0) as stream:
        stream.write(b"a")
        let_go(stream.fileno())
        stream.write(b"b")
        assert still_open() == before + 1
    assert (tmp_path / "a").read_bytes() == b"a"
    assert hdf5_writing.let_go(-1) is None
