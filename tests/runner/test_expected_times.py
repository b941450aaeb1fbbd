from dataclasses import replace

import pytest

from msibench.runner import expected_times
from msibench.runner.expected_times import (
    BOARDS,
    MEASURED,
    expected_seconds,
    known_costs,
    longest_first,
)
from msibench.runner.plan import make_plan
from msibench.tracks import Entry, ProblemSet, Track


@pytest.fixture
def cells(catalogue, monkeypatch):
    costs = {(BOARDS, "lanczos3"): 3.0, (MEASURED, "bilinear"): 40.0, (BOARDS, "nearest"): 0.1}
    monkeypatch.setattr(expected_times, "known_costs", lambda: costs)
    names = ("bicubic", "lanczos3", "nearest", "bilinear")
    track = Track(
        name="order",
        entries=tuple(Entry(method=name) for name in names),
        problems=(
            ProblemSet(
                dataset="phantom",
                protocols=("area-x4@1", "area-x2@1"),
                sections=("synthetic-1",),
                mz=(417.2402, 616.1773),
            ),
        ),
        metrics=("psnr",),
    )
    return make_plan(track, catalogue).cells


def test_long_cells_of_each_problem_begin_first_and_the_rest_stays_in_order(cells):
    assert [cell.label for cell in cells] == ["bicubic", "lanczos3", "nearest", "bilinear"] * 2
    ordered = longest_first(cells)
    assert [cell.label for cell in ordered] == ["bilinear", "lanczos3", "bicubic", "nearest"] * 2
    problems = [cell.problem.key for cell in ordered]
    assert problems == [cell.problem.key for cell in cells]


def test_many_ions_make_a_cell_long(cells):
    few = replace(cells[2].problem.mz_set, mz=cells[2].problem.mz_set.mz * 60)
    many = replace(cells[2], problem=replace(cells[2].problem, mz_set=few))
    seconds, source = expected_seconds(many, expected_times.known_costs())
    assert (seconds, source) == (pytest.approx(2 + 12), BOARDS)
    assert longest_first([cells[0], many]) == [many, cells[0]]


def test_costs_are_those_of_small_sections_and_of_the_shipped_boards():
    costs = known_costs()
    for source in (BOARDS, MEASURED):
        assert costs[source, "lcrn-quick"] > 100 * costs[source, "bicubic"] > 0
