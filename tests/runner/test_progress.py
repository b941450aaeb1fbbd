"""A long cell shows that it lives."""

import json
import os
from pathlib import Path

import pytest

from msibench.cli._progress import Bar
from msibench.contracts.progress import Stage, heard, tell_progress
from msibench.runner.child.progress_file import PROGRESS, progress_writer, read_progress
from msibench.runner.events import Event

QUICK = Path(__file__).with_name("quick.py")


def test_what_a_method_tells_reaches_whoever_watches_the_run(bench):
    seen = []
    _, records = bench.run(f"{QUICK}:Counts", events=seen.append)
    told = [event for event in seen if event.kind == "progress"]
    assert told
    assert {event.total for event in told} == {5}
    assert [event.done for event in told] == sorted({event.done for event in told})
    assert "of 5 epochs" in told[0].reason
    record = next(iter(records.values()))
    assert not (bench.store.cell_folder(record.key) / PROGRESS).exists()


def test_telling_without_a_listener_is_nothing_and_a_listener_that_fails_costs_nothing():
    tell_progress(1, 2)

    def broken(stage):
        raise OSError("gone")

    with heard(broken):
        tell_progress(1, 2)
    heard_of = []
    with heard(heard_of.append):
        tell_progress(1, 2, "ions")
    assert [(stage.done, stage.total, stage.unit) for stage in heard_of] == [(1, 2, "ions")]


def test_the_time_left_is_that_of_the_pace_so_far():
    assert Stage(20, 80, "epochs", 10.0).words == "20 of 80 epochs, 30 s left"
    assert Stage(80, 80, "epochs", 10.0).words == "80 of 80 epochs"
    assert Stage(0, 80, "epochs", 0.0).words == "0 of 80 epochs"


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "[1,2,3]", '[5,2,"ions",1]', '[1,0,"ions",1]', '[1,2,"ions",NaN]', '[true,2,"x",1]',
     '[1,2,3,4]', "[" * 400, '[1,2,"ions",' + "9" * 600 + "]"],
)  # fmt: skip
def test_what_cannot_be_meant_is_not_shown(tmp_path, text):
    (tmp_path / PROGRESS).write_text(text)
    assert read_progress(tmp_path) is None


def test_a_link_or_a_pipe_in_its_place_is_not_read(tmp_path):
    (tmp_path / "else").write_text(json.dumps([1, 2, "ions", 1.0]))
    (tmp_path / PROGRESS).symlink_to(tmp_path / "else")
    assert read_progress(tmp_path) is None
    (tmp_path / PROGRESS).unlink()
    os.mkfifo(tmp_path / PROGRESS)
    assert read_progress(tmp_path) is None
    (tmp_path / PROGRESS).unlink()
    progress_writer(tmp_path)(Stage(1, 2, "a\x1b[2J", 0.0))
    assert read_progress(tmp_path).unit == "a\\x1b[2J"


def test_the_bar_shows_each_running_cell_until_it_ends():
    with Bar() as bar:
        bar(Event(kind="planned", total=2))
        bar(Event(kind="started", cell="lcrn-quick", key="a"))
        bar(Event(kind="started", cell="ridge", key="b"))
        bar(Event(kind="progress", cell="lcrn-quick", key="a", done=3, total=9,
                  reason="3 of 9 epochs of all ions, 4 s left"))  # fmt: skip
        shown = {task.description: task for task in bar._progress.tasks}
        assert shown["lcrn-quick (epochs of all ions)"].completed == 3
        bar(Event(kind="finished", cell="lcrn-quick", key="a", done=1, total=2))
        bar(Event(kind="finished", cell="ridge", key="b", done=2, total=2))
        assert [(task.description, task.completed) for task in bar._progress.tasks] == [
            ("cells", 2)
        ]
