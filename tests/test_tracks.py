from dataclasses import replace
from pathlib import Path

import pytest

from msibench.errors import ConfigurationError, UnknownNameError
from msibench.tracks import (
    Entry,
    Limits,
    Own,
    ProblemSet,
    Track,
    available_tracks,
    load_track,
    track_as_text,
    track_from_text,
)

ROOT = Path(__file__).parents[1]
MINIMAL = """
schema_version = 1
name = "t"
[[problems]]
dataset = "phantom"
protocols = ["area-x4@1"]
"""


def test_the_quickstart_ships_inside():
    assert load_track("quickstart").problems[0].dataset == "phantom"


def test_a_track_beside_the_working_folder_is_found(tmp_path, monkeypatch):
    folder = tmp_path / "leaderboards" / "mine"
    folder.mkdir(parents=True)
    (folder / "track.toml").write_text(MINIMAL)
    monkeypatch.chdir(tmp_path)
    assert load_track("mine").folder == folder
    assert load_track(str(folder)).folder == folder
    assert load_track(str(folder / "track.toml")).folder == folder


def test_an_unknown_track_names_the_nearest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownNameError, match="Did you mean 'quickstart'"):
        load_track("quickstat")
    assert set(available_tracks().values()) == {None}


def test_every_committed_track_ships_with_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    committed = {path.parent.name: path for path in ROOT.glob("leaderboards/*/track.toml")}
    assert set(available_tracks()) == {"quickstart", *committed}
    for name, path in committed.items():
        assert load_track(name) == replace(load_track(str(path)), folder=None)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('metrix = ["psnr"]', "no key 'metrix'. Did you mean 'metrics'"),
        ("[limits]\ntimeout = 3", "no key 'timeout'. Did you mean 'timeout_s'"),
        ('methods = [{ method = "a", konfig = 1 }]', "no key 'konfig'"),
        ("methods = [3]", "a method is a name or a table, got 3"),
    ],
)
def test_a_key_that_does_not_exist_is_named(line, message):
    head, brace, tail = MINIMAL.partition("[[problems]]")
    with pytest.raises(ConfigurationError) as error:
        track_from_text(head + line + "\n" + brace + tail, None, "track.toml")
    assert message in str(error.value)


def test_a_track_without_problems_or_schema_is_refused():
    with pytest.raises(ConfigurationError, match="at least one"):
        track_from_text('schema_version = 1\nname = "t"', None, "t")
    with pytest.raises(ConfigurationError, match="schema_version must be 1"):
        track_from_text('name = "t"', None, "t")
    with pytest.raises(ConfigurationError, match="is not TOML"):
        track_from_text("=", None, "t")


def test_a_track_is_written_as_it_is_read():
    track = Track(
        name="all-of-it",
        title='of "quotes" and µm\x7f',
        entries=(
            Entry(method="bicubic"),
            Entry(method="ridge", label="mine", config={"alpha": 0.5, "list": [1, 2], "on": True}),
        ),
        problems=(
            ProblemSet(dataset="a", protocols=("area-x4@1",), sections=("1", "2"), mz_set="demo"),
            ProblemSet(dataset="b", protocols=("area-x2@1",), mz=(798.541, 1e-3, 1e16)),
        ),
        seeds=(3, 4),
        scheme="cao2025",
        guide_controls=("guide-shuffled",),
        required_coverage=0.5,
        device="cuda",
        limits=Limits(timeout_s=3.0, memory_gb=2.0),
        own=Own(
            data=("/a/b c.imzML",),
            guide=("/he.png",),
            mz=(1.5,),
            pixel_size_um=20.0,
            specimens=("mouse=a,b",),
        ),
    )
    assert track_from_text(track_as_text(track), None, "text") == track
    for path in ROOT.glob("leaderboards/*/track.toml"):
        read = load_track(str(path))
        assert track_from_text(track_as_text(read), read.folder, "text") == read


def test_a_device_that_is_none_is_refused():
    with pytest.raises(ConfigurationError, match="cpu or cuda; got 'gpu'"):
        track_from_text(MINIMAL.replace('name = "t"', 'name = "t"\ndevice = "gpu"'), None, "t")
