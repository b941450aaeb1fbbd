"""Folders that somebody else filled are removed whole, and nothing beside them."""

import os

import pytest

from msibench.results.removal import remove


def test_a_nested_and_locked_folder_goes_and_what_its_links_lead_to_stays(tmp_path):
    kept = tmp_path / "kept"
    (kept / "inner").mkdir(parents=True)
    (kept / "inner" / "a.txt").write_text("a")
    folder = tmp_path / "folder"
    (folder / "one" / "two" / "three").mkdir(parents=True)
    (folder / "one" / "two" / "three" / "file").write_text("x")
    (folder / "one" / "beside").mkdir()
    (folder / "empty").mkdir()
    (folder / "file").write_text("x")
    (folder / "to-folder").symlink_to(kept)
    (folder / "one" / "to-file").symlink_to(kept / "inner" / "a.txt")
    (folder / "one" / "two").chmod(0)
    (folder / "one").chmod(0)
    folder.chmod(0)
    remove(folder)
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]
    assert (kept / "inner" / "a.txt").read_text() == "a"


def test_a_folder_deeper_than_a_path_may_be_long_goes(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    here = os.open(folder, os.O_RDONLY)
    for _ in range(60):  # 60 names of 100 signs: longer than the 4096 of a path
        os.mkdir("d" * 100, dir_fd=here)
        inner = os.open("d" * 100, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    remove(folder)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["file", "link", "broken link", "nothing"])
def test_a_file_or_a_link_goes_alone(tmp_path, kind):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "a").write_text("a")
    path = tmp_path / "b"
    if kind == "file":
        path.write_text("b")
    elif kind != "nothing":
        path.symlink_to(tmp_path / ("kept" if kind == "link" else "none"))
    remove(path)
    assert not path.is_symlink()
    assert not path.exists()
    assert (tmp_path / "kept" / "a").read_text() == "a"
