"""What a method learns from training sections: once per training set, never from a test section."""

import dataclasses

import numpy as np
import pytest

from msibench.tracks import Entry

METHODS = '''
import numpy as np

class Mean:
    """Learns the mean intensity of its training sections, and says how it came to it."""

    def __init__(self, *, share: float = 0.1) -> None:
        self.share, self.mean = share, None

    def fit(self, pairs, *, seed, budget):
        held = list(pairs)
        self.mean = float(np.mean([pair.high.values.mean() for pair in held]))
        self.told = f"fitted to {', '.join(p.section for p in held)}; budget {budget.name}"

    def learned(self):
        return {"mean": np.array(self.mean)}

    def restore(self, learned):
        self.mean, self.told = float(learned["mean"]), "restored"

    def upscale(self, problem):
        low = np.nan_to_num(problem.low.values).repeat(problem.factor, 1).repeat(problem.factor, 2)
        return ((1 - self.share) * low + self.share * self.mean).astype(np.float32)

    def report(self):
        return {"told": self.told}

class Large(Mean):
    def learned(self):
        return {"mean": np.array(self.mean), "more": np.zeros(400_000)}

class Forgetful:
    def __init__(self) -> None:
        self.mean = Mean()

    def fit(self, pairs, *, seed, budget):
        self.mean.fit(pairs, seed=seed, budget=budget)

    def upscale(self, problem):
        return self.mean.upscale(problem)

    def report(self):
        return {"told": self.mean.told}
'''
FITTED = "fitted to small/synthetic-3; budget quick"


@pytest.fixture
def told(bench, tmp_path):
    """Return a function that runs a method of the file, and what it told for each section."""
    file = tmp_path / "learners.py"
    file.write_text(METHODS)

    def run(name, **config):
        entry = Entry(method=f"{file}:{name}", label=name, config=config)
        sections = ("synthetic-1", "synthetic-2")
        plan = bench.plan(entry, sections=sections, metrics=("psnr",))
        bench.run(entry, sections=sections, metrics=("psnr",))
        records = [bench.store.record(cell.key) for cell in plan.cells]
        return [record.report["told"] for record in records], records

    return run


def test_a_single_file_is_fitted_once_for_all_test_sections(told, bench):
    said, records = told("Mean")
    assert said == [FITTED, "restored"]
    assert {record.status for record in records} == {"ok"}
    assert len(list((bench.store.root / "fits").iterdir())) == 1
    assert "fit.h5" not in records[0].files


def test_two_cells_side_by_side_make_one_fit(bench, tmp_path):
    from msibench.runner.options import RunOptions

    file = tmp_path / "learners.py"
    file.write_text(METHODS)
    entry = Entry(method=f"{file}:Mean", label="Mean")
    facts = {"sections": ("synthetic-1", "synthetic-2"), "metrics": ("psnr",)}
    bench.run(entry, options=RunOptions(jobs=2), **facts)
    records = [bench.store.record(cell.key) for cell in bench.plan(entry, **facts).cells]
    assert sorted(record.report["told"] for record in records) == [FITTED, "restored"]


def test_what_is_restored_gives_the_bytes_of_a_fit(told, bench):
    from msibench.results.arrays import read_arrays

    _, records = told("Mean")
    _, forgetful = told("Forgetful")
    for one, other in zip(records, forgetful, strict=True):
        values = [
            read_arrays(bench.store.cell_folder(record.key) / "prediction.h5")[0]["prediction"]
            for record in (one, other)
        ]
        np.testing.assert_array_equal(*values)


def test_another_configuration_is_fitted_anew(told):
    told("Mean")
    assert told("Mean", share=0.2)[0] == [FITTED, "restored"]


def test_one_that_keeps_nothing_is_fitted_for_every_section(told, bench):
    assert told("Forgetful")[0] == [FITTED, FITTED]
    assert not (bench.store.root / "fits").exists()


def test_too_much_is_not_kept_and_said(told, monkeypatch):
    monkeypatch.setattr("msibench.runner.supervisor.FIT_BYTES", 1 << 20)
    assert told("Large")[0] == [FITTED, FITTED]


def test_a_key_names_what_was_learned_from(bench, tmp_path):
    from msibench.runner.supervisor import fit_key

    file = tmp_path / "learners.py"
    file.write_text(METHODS)
    entry = Entry(method=f"{file}:Mean", label="Mean")
    first, second = bench.plan(entry, sections=("synthetic-1", "synthetic-2")).cells
    assert fit_key(first) == fit_key(second)
    other = dataclasses.replace(bench.card, train=("synthetic-4",))
    bench.card = other
    assert fit_key(bench.plan(entry).cells[0]) != fit_key(first)
