"""Sections that nobody has seen, and a second draw."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from msibench.errors import MSIBenchError
from msibench.gate.fresh import fresh_sections, judge_afresh
from msibench.gate.rerun import rerun
from msibench.plugin_manager import method_from_file
from msibench.results.problems import load_staged
from msibench.runner.options import RunOptions
from tests.runner.conftest import bench, catalogue, small_card

__all__ = ["bench", "catalogue", "small_card"]
LEAKY = Path(__file__).with_name("leaky.py")
OPEN = RunOptions(sandbox="none")


def test_fresh_sections_are_new_each_time_and_only_of_synthetic_data(small_card):
    first, second = fresh_sections(small_card), fresh_sections(small_card)
    assert len({*first, *second, *small_card.test, *small_card.train}) == len(first) * 2 + 3
    with pytest.raises(
        MSIBenchError, match="is not a data set of sections that are made from a seed"
    ):
        fresh_sections(replace(small_card, synthetic=False))


def test_a_method_that_knows_the_sections_of_the_board_is_flagged(
    bench, catalogue, small_card, tmp_path
):
    bench.run("nearest", options=OPEN)
    (folder,) = (path.parent for path in bench.store.root.glob("problems/*/*/section.h5"))
    np.savez(tmp_path / "held.npz", load_staged(folder).truth.values)
    reference = f"{LEAKY}:KnowsTheSection"
    entry = bench.entry("nearest")
    entry = replace(
        entry, method=reference, label="leaky", config={"held": str(tmp_path / "held.npz")}
    )
    _, records = bench.run(entry, options=OPEN)
    single = {method_from_file(reference).name: reference}
    options = {"cards": {"small": small_card}, "single": single, "options": OPEN}
    checked = judge_afresh(bench.store, records["leaky"].key, catalogue, **options)
    assert any("check for leaks" in fault for fault in checked.faults), checked


def test_an_honest_method_does_as_well_on_fresh_sections(bench, catalogue, small_card):
    _, records = bench.run("lanczos3", options=OPEN)
    checked = judge_afresh(
        bench.store, records["lanczos3"].key, catalogue, cards={"small": small_card}, options=OPEN
    )
    assert checked.faults == []
    assert "nobody has seen" in checked.notes[0]


def test_output_that_is_random_without_saying_so_is_flagged(bench, catalogue, small_card):
    reference = f"{LEAKY}:DrawsWithoutASeed"
    entry = replace(bench.entry("nearest"), method=reference, label="random")
    _, records = bench.run(entry, options=OPEN)
    single = {method_from_file(reference).name: reference}
    cards = {"small": small_card}
    key = records["random"].key
    checked = rerun(bench.store, key, catalogue, cards=cards, single=single, options=OPEN)
    assert any("random and it does not say so" in fault for fault in checked.faults)
