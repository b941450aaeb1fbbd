"""A small results folder made by hand: two sections, a guide, hostile names, every way to end."""

import json
import shutil
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest

from msibench.results.arrays import write_arrays
from msibench.results.identity import CellIdentity
from msibench.results.index import update_index
from msibench.results.metric_rows import ROW_COLUMNS, rows_as_parquet
from msibench.results.schema import CellRecord, Status
from msibench.results.store import Store
from msibench.tracks import ProblemSet, Track

HOSTILE = 'evil</script><script>alert("x")</script>'
SHAPE, FACTOR, GAP = (12, 20), 4, 8
MZ = (400.25, 500.5, 700.125)
METRICS = {"psnr": "higher", "ssim": "higher", "rmse": "lower"}
METHODS = ("bicubic", "better", HOSTILE)
SECTIONS = ("s1", "s2")


@dataclass(frozen=True)
class Toy:
    store: Store
    track: Track
    truth: dict
    gap: int
    """Rows and columns of the corner that was not measured."""


def make_toy(root, *, gap=False):
    """Write the store; the same call gives the same bytes. `gap`: a corner was not measured."""
    store = Store.open(root)
    rng = np.random.default_rng(4)
    cells, truths = {}, {}
    for section in SECTIONS:
        rows, columns = np.indices(SHAPE)
        waves = [np.sin(rows / (2 + c)) + np.cos(columns / (3 + c)) + 2 for c in range(3)]
        truth = np.clip(np.array(waves) / 4 + rng.normal(0, 0.02, (3, *SHAPE)), 0, 1)
        mask = np.ones(SHAPE, np.uint8)
        if gap:
            truth[:, :GAP, :GAP] = mask[:GAP, :GAP] = 0
        truths[section] = truth.astype(np.float32)
        problem = f"{section:0>4}" * 16
        _stage(store, problem, truths[section], mask, rng)
        for place, method in enumerate(METHODS):
            error = (0.1, 0.03, 0.2)[place]
            guess = np.clip(truth + rng.normal(0, error, truth.shape), 0, None).astype(np.float32)
            cells |= _cell(store, method, section, problem, truth, guess)
        cells |= _cell(store, f"broken-{HOSTILE}", section, problem, truth, None)
    track = Track(
        name="toy",
        title=f"A toy {HOSTILE}",
        problems=(ProblemSet(dataset="toy", protocols=("area-x4@1",)),),
        metrics=tuple(METRICS),
    )
    update_index(store, "toy", cells, _facts())
    return Toy(store, track, truths, GAP if gap else 0)


def _stage(store, problem, truth, mask, rng):
    folder = store.problem_folder(problem)
    folder.mkdir(parents=True)
    low = truth.reshape(3, SHAPE[0] // 4, 4, SHAPE[1] // 4, 4).mean((2, 4)).astype(np.float32)
    facts = {
        "protocol": "area-x4@1",
        "notes": [f"a note {HOSTILE}"],
        "truth": {"pixel_size_um": "10.0", "ppm": 5.0, "unit": "scaled"},
        "low": {"pixel_size_um": "40.0", "ppm": 5.0, "unit": "scaled"},
        "guide": {"pixel_size_um": "10.0", "channel_names": list("rgb"), "kind": "optical"},
    }
    arrays = {
        "truth": truth, "low": low, "scale": np.array([100.0, 200.0, 300.0]),
        "truth_mask": mask, "low_mask": mask[::4, ::4], "truth_mz": np.array(MZ), "low_mz": np.array(MZ),
        "guide": rng.uniform(0, 1, (3, *SHAPE)).astype(np.float32),
    }  # fmt: skip
    write_arrays(folder / "section.h5", arrays, {"facts": json.dumps(facts, sort_keys=True)})


def _cell(store, method, section, problem, truth, guess):
    key = str(
        CellIdentity(
            method=method,
            dataset="toy",
            section=section,
            protocol="area-x4@1",
            mz_set="all",
            seed=0,
        )
    )
    name = f"{len(method):02d}{section:0>6}" * 8
    work = store.new_work(name)
    status, reason = Status.OK, ""
    if guess is None:
        status, reason = Status.FAILED, f"RuntimeError: {HOSTILE}"
    else:
        write_arrays(work / "prediction.h5", {"prediction": guess})
        values = []
        for channel, mz in enumerate(MZ):
            rmse = float(np.sqrt(np.mean((guess[channel] - truth[channel]) ** 2)))
            numbers = {"psnr": -20 * np.log10(rmse), "ssim": 1 - 2 * rmse, "rmse": rmse}
            values += [
                (channel, mz, metric, 1, "image", METRICS[metric], number, "")
                for metric, number in numbers.items()
            ]
        rows = pd.DataFrame(values, columns=list(ROW_COLUMNS)).astype(ROW_COLUMNS)
        (work / "metrics.parquet").write_bytes(rows_as_parquet(rows))
    record = CellRecord(
        key=name, key_document={}, status=status, reason=reason, method=method, dataset="toy",
        section=section, protocol="area-x4@1", mz_set="all", seed=0, mz=MZ,
        channel_names=tuple(f"m/z {mz:.4f}" for mz in MZ), pixel_size_um=10.0, problem_key=problem,
        timings={"upscale": 0.3 * (1 + len(method))}, peaks={"rss": 100.0},
        report={"fit": {"iteration": [1, 10, 20], "loss": [3.0, 2.0, 1.5]}} if method == "better" else {},
        provenance={"host": "secret-host", "finished": "2026-01-02T03:04:05Z", "python": "3.11",
                    "libraries": {"numpy": "2.0"}},
    )  # fmt: skip
    store.commit(work, record)
    return {key: name}


def _facts():
    facts = {"version": 1, "unit": "", "title": "", "citation": ""}
    method = {"title": "", "licence": "MIT", "config": {"a": HOSTILE}, "training_data": []}
    return {
        "datasets": {"toy": {"title": "Toy", "citation": "A & B, 2020", "bibtex": "@misc{toy}",
                             "description": HOSTILE, "synthetic": True}},
        "protocols": {"area-x4@1": {"description": "area mean", "definition": {"factor": 4}}},
        "methods": {name: {**method, "citation": f"{name} et al. {{2021}}"} for name in METHODS},
        "metrics": {name: {**facts, "direction": way} for name, way in METRICS.items()},
        "published": {"toy": {"source": "Elsewhere (2019)", "rows": [["method", "psnr"], ["x", "31.5"]]}},
        "notes": [f"left out: {HOSTILE}"],
    }  # fmt: skip


@pytest.fixture(scope="session")
def toy(tmp_path_factory):
    """The store, only to be read."""
    return make_toy(tmp_path_factory.mktemp("toy") / "results")


@pytest.fixture
def own_toy(toy, tmp_path):
    """A copy of the store that a test may damage."""
    shutil.copytree(toy.store.root, tmp_path / "results")
    return replace(toy, store=Store.open(tmp_path / "results"))


@pytest.fixture(scope="session")
def gap_toy(tmp_path_factory):
    """The store of a section whose corner was not measured."""
    return make_toy(tmp_path_factory.mktemp("gap") / "results", gap=True)
