"""The commands under *Rebuild* are those that fill the board, and no more."""

from types import SimpleNamespace

import pytest

from msibench.leaderboard.rebuild import (
    RUNS,
    AskedRun,
    page_commands,
    rebuild_commands,
    runs_of,
    with_run,
)
from msibench.results.index import TrackIndex
from msibench.tracks import ProblemSet, Track

TRACK = Track(name="mine", problems=(ProblemSet(dataset="speck", protocols=("area-x4@1",)),))


def run(*methods, track="mine", **options):
    named = {f"--{name}": value for name, value in options.items()}
    return AskedRun(track=track, arguments=tuple(named.items()), methods=methods)


def after(*runs):
    facts = {}
    for each in runs:
        facts[RUNS] = with_run(facts, each)
    return facts


def board(*runs, published=False, **facts):
    index = TrackIndex({}, {**after(*runs), **facts})
    return SimpleNamespace(track=TRACK, index=index, published=published)


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([run("a", "b")], ["mine"]),
        ([run("a", methods="a")], ["mine --methods a"]),
        ([run("a", methods="a"), run("b", methods="b,c*")], ["mine --methods 'a,b,c*'"]),
        ([run("a", methods="a"), run("a", "b")], ["mine"]),
        ([run("a", "b"), run("a", methods="a")], ["mine", "mine --methods a"]),
        ([run("a", seed="1"), run("a", seed="2")], ["mine --seed 1", "mine --seed 2"]),
        ([run("a", seed="1"), run("a", seed="1")], ["mine --seed 1"]),
        ([run("a", "left out of @ready since"), run("a"), run("a")], ["mine"]),
        ([run("a", metrics="psnr"), run("a")], ["mine"]),
        (
            [run("a", methods="a", device="cuda"), run("b", methods="b")],
            ["mine --methods a --device cuda", "mine --methods b"],
        ),
        ([run("a", method="my file.py:A")], ["mine --method 'my file.py:A'"]),
    ],
)
def test_runs_that_others_cover_are_left_out_and_like_ones_joined(runs, expected):
    found = rebuild_commands(board(*runs)).splitlines()
    assert found == [*(f"msibench run {text}" for text in expected), "msibench leaderboard mine"]


def test_other_columns_than_the_tracks_are_made_by_the_run_alone():
    made = board(run("a", metrics="psnr"), results="out folder")
    assert rebuild_commands(made) == "msibench run mine --metrics psnr --results 'out folder'"
    assert page_commands(made) == rebuild_commands(made)
    assert page_commands(board(run("a"))).splitlines()[-1] == "msibench report mine"


def test_a_published_board_names_its_track_alone():
    found = rebuild_commands(board(run("a", method="/home/me/mine.py:A"), published=True))
    assert found == "msibench run mine\nmsibench leaderboard mine"


def test_a_board_of_an_older_msibench_keeps_its_methods():
    facts = {"track": {"name": "mine"}, "methods": {"a": {}, "b": {}}}
    told = [r.command("") for r in runs_of({RUNS: with_run(facts, run("c", methods="c"))})]
    assert told == ["msibench run mine", "msibench run mine --methods c"]
    assert runs_of({RUNS: [{"track": "mine"}]}) == []


def test_cells_that_came_from_others_were_run_by_nobody_here():
    facts = {"methods": {"theirs": {}}}  # an index of nothing but a bundle's cells
    (told,) = runs_of({RUNS: with_run(facts, run("c", methods="c"))})
    assert told.methods == ("c",)
