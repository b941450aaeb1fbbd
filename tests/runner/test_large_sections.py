"""Sections that memory should not hold give the numbers of those that it can."""

import json
import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from msibench.contracts.metric import MetricSpec
from msibench.datasets import card_from_table
from msibench.degradation import protocol
from msibench.degradation.prepared import Prepared
from msibench.image import MSImage
from msibench.io.hdf5 import read_hdf5, write_hdf5
from msibench.io.stored_stack import StoredStack, bands, groups, is_large, large_bytes
from msibench.metrics.specs import builtin_metrics
from msibench.results.arrays import array_file, read_arrays, write_arrays
from msibench.results.problems import load_staged
from msibench.results.schema import Status
from msibench.results.store import PREDICTION, Store
from msibench.runner.problems.stage import stage
from msibench.runner.scores.prediction_scores import load_staged_once
from msibench.runner.scores.score import score

METRICS = tuple(spec.name for spec in builtin_metrics() if not spec.weights)
FEW_METRICS = ("psnr", "spectral_angle")
ROUNDED = {"colocalisation"}
"""Sums over all pixels of all pairs run band by band: equal within rounding."""
LIMIT = "0.05"
"""MiB: 14 ion images of 48 x 56 float32 take 0.14, so six go at a time."""


@pytest.fixture
def large(monkeypatch):
    """Let the small sections of these tests be large ones."""
    load_staged_once.cache_clear()
    monkeypatch.setenv("MSIBENCH_LARGE_MIB", LIMIT)


def rows_of(bench, records, method):
    rows = bench.store.metric_rows(records[method])
    return rows.sort_values(["metric", "region", "channel"]).reset_index(drop=True)


def same_rows(whole, parts):
    assert list(whole["metric"]) == list(parts["metric"])
    assert list(whole["reason"]) == list(parts["reason"])
    for metric in set(whole["metric"]):
        a, b = (rows[rows["metric"] == metric]["value"].to_numpy() for rows in (whole, parts))
        if metric in ROUNDED:
            np.testing.assert_allclose(b, a, rtol=1e-10, atol=1e-12)
        else:
            np.testing.assert_array_equal(b, a, err_msg=metric)


def prediction_of(bench, record):
    return read_arrays(bench.store.cell_folder(record.key) / PREDICTION, ("prediction", "mz"))


class TestGroups:
    def test_every_ion_image_is_in_one_group_and_none_is_alone(self, monkeypatch):
        monkeypatch.setenv("MSIBENCH_LARGE_MIB", "0.01")
        for channels in range(1, 12):
            for side in (3, 10, 30, 90):
                found = groups((channels, side, side))
                places = [i for group in found for i in range(group.start, group.stop)]
                assert places == list(range(channels))
                assert channels == 1 or min(g.stop - g.start for g in found) > 1

    def test_every_row_is_in_one_band(self, monkeypatch):
        monkeypatch.setenv("MSIBENCH_LARGE_MIB", "0.01")
        for shape in ((3, 50, 40), (45, 7, 900), (1, 1, 1)):
            found = bands(shape)
            assert [i for band in found for i in range(band.start, band.stop)] == list(
                range(shape[1])
            )

    def test_a_limit_that_is_no_number_is_told(self, monkeypatch):
        for text in ("much", "-1", "nan", "0"):
            monkeypatch.setenv("MSIBENCH_LARGE_MIB", text)
            with pytest.raises(ValueError, match="positive number of MiB"):
                large_bytes()

    def test_a_million_pixels_of_45_ions_are_large_and_what_tests_and_boards_use_is_not(self):
        assert is_large((45, 1000, 1000))
        assert not is_large((79, 260, 134))
        assert groups((45, 4000, 4000))[0] == slice(0, 2)


class TestStoredStack:
    @pytest.fixture
    def pair(self, tmp_path):
        values = np.random.default_rng(0).random((5, 13, 9)).astype(np.float32)
        with array_file(tmp_path / "a.h5") as file:
            file.stack("x", values.shape)[:] = values
        return values, StoredStack(tmp_path / "a.h5", "x", values.shape, values.dtype)

    @pytest.mark.parametrize(
        "key",
        [
            3,
            -1,
            slice(1, 4),
            slice(None),
            ...,
            (slice(None), slice(2, 7)),
            (2, slice(3), slice(None, None, 2)),
            [4, 0, 2],
            np.array([True, False, True, False, False]),
            slice(None, None, -1),
            (slice(None), [5, 3, 3]),
        ],
        ids=str,
    )
    def test_whatever_is_asked_of_it_is_what_the_array_gives(self, pair, key):
        values, stack = pair
        np.testing.assert_array_equal(stack[key], values[key])

    def test_it_looks_like_the_array(self, pair):
        values, stack = pair
        for name in ("shape", "dtype", "ndim", "size", "nbytes"):
            assert getattr(stack, name) == getattr(values, name)
        assert len(stack) == 5
        np.testing.assert_array_equal(np.asarray(stack), values)
        np.testing.assert_array_equal(np.stack(list(stack)), values)

    def test_an_image_holds_it_unread_and_selects_arrays(self, pair):
        values, stack = pair
        image = MSImage(stack, np.arange(5.0))
        assert image.values is stack
        np.testing.assert_array_equal(image.select([3, 1]).values, values[[3, 1]])

    def test_only_large_stacks_stay_in_the_file(self, tmp_path, large):
        write_arrays(
            tmp_path / "a.h5",
            {"big": np.zeros((14, 48, 56), np.float32), "small": np.zeros((2, 3, 4), np.float32)},
        )
        arrays, _ = read_arrays(tmp_path / "a.h5", lazily=("big", "small"))
        assert isinstance(arrays["big"], StoredStack)
        assert isinstance(arrays["small"], np.ndarray)
        arrays, _ = read_arrays(tmp_path / "a.h5")
        assert isinstance(arrays["big"], np.ndarray)


class TestPreparation:
    @pytest.mark.parametrize(
        "name",
        ["area-x4@1", "bicubic8-x4@1", "area-poisson-x4@1", "area-dropout-x4@1", "spot-x2@1"],
    )
    def test_parts_are_the_whole(self, name):
        chosen = protocol(name)
        rng = np.random.default_rng(0)
        values = rng.gamma(0.5, 2.0, (5, 26, 39)).astype(np.float32)
        values[1, 3:5, 7] = np.nan
        values[2, 9] = -1
        mz = np.array([100.0, np.nan, 200.0, np.nan, 300.0])
        fine = MSImage(values, mz, mask=rng.random((26, 39)) > 0.2)
        counts = np.arange(1.0, 6.0)
        whole = chosen.prepare(fine, seed=3, counts_per_unit=counts)
        parts = list(
            chosen.prepare_in_groups(
                fine, [slice(0, 2), slice(2, 5)], seed=3, counts_per_unit=counts
            )
        )
        for field in ("truth", "low"):
            joined = np.concatenate([getattr(part, field).values for part in parts])
            np.testing.assert_array_equal(joined, getattr(whole, field).values)
            for part in parts:
                np.testing.assert_array_equal(getattr(part, field).mask, getattr(whole, field).mask)
        for field in ("scale", "counts_per_unit"):
            joined = np.concatenate([getattr(part, field) for part in parts])
            np.testing.assert_array_equal(joined, getattr(whole, field))
        assert Prepared.joint_notes(parts) == whole.notes


class TestCells:
    @pytest.mark.parametrize(
        ("method", "metrics"),
        [
            ("bicubic", METRICS),
            ("Sound", FEW_METRICS),
            pytest.param("cca-regression", FEW_METRICS, marks=pytest.mark.slow),
            pytest.param("swinir-msi-tiny", FEW_METRICS, marks=pytest.mark.slow),
        ],
    )
    def test_a_section_in_parts_gives_the_bytes_and_scores_of_the_whole(
        self, bench, tmp_path, method, metrics, monkeypatch
    ):
        _, records = bench.run(method, metrics=metrics)
        assert records[method].status is Status.OK, records[method].reason
        whole = rows_of(bench, records, method)
        first, _ = prediction_of(bench, records[method])
        load_staged_once.cache_clear()
        monkeypatch.setenv("MSIBENCH_LARGE_MIB", LIMIT)
        bench.store = Store.open(tmp_path / "in-parts")
        _, again = bench.run(method, metrics=metrics)
        record = again[method]
        assert record.status is Status.OK, record.reason
        assert record.key == records[method].key
        assert record.notes == records[method].notes
        second, facts = prediction_of(bench, record)
        np.testing.assert_array_equal(second["prediction"], first["prediction"])
        np.testing.assert_array_equal(second["mz"], first["mz"])
        assert facts["pixel_size_um"] == 10.0
        all_together = method in {"Sound", "cca-regression"}
        assert ("groups_of_ion_images" in record.report) == (not all_together)
        same_rows(whole, rows_of(bench, again, method))

    def test_a_staged_problem_in_parts_holds_the_same_arrays(self, bench, tmp_path, monkeypatch):
        plan = bench.plan("bicubic").cells[0].problem
        whole = stage(plan, Store.open(tmp_path / "whole"))
        monkeypatch.setenv("MSIBENCH_LARGE_MIB", LIMIT)
        parts = stage(plan, bench.store)
        for name in ("section.h5", "problem.h5"):
            expected, about = read_arrays(whole / name)
            found, attributes = read_arrays(parts / name)
            assert found.keys() == expected.keys()
            for array, values in expected.items():
                np.testing.assert_array_equal(found[array], values, err_msg=array)
            assert json.loads(attributes["facts"]) == json.loads(about["facts"])
        staged = load_staged(parts)
        assert isinstance(staged.truth.values, StoredStack)
        assert isinstance(staged.low.values, np.ndarray)

    def test_a_large_section_is_staged_to_the_same_bytes_each_time(self, bench, tmp_path, large):
        plan = bench.plan("bicubic").cells[0].problem
        first = stage(plan, bench.store)
        second = stage(plan, Store.open(tmp_path / "other"))
        for name in ("section.h5", "problem.h5"):
            assert (first / name).read_bytes() == (second / name).read_bytes()

    @pytest.mark.parametrize(
        ("method", "reason"),
        [("Negative", "negative intensities"), ("WritesNaN", "NaN or infinite")],
    )
    def test_faults_in_a_large_prediction_are_found(self, bench, large, method, reason):
        _, records = bench.run(method)
        assert records[method].status is Status.INVALID_OUTPUT
        assert reason in records[method].reason

    def test_a_metric_of_all_ions_that_cannot_read_parts_says_why(self, bench, large, monkeypatch):
        _, records = bench.run("bicubic")
        staged = load_staged(bench.store.problem_folder(records["bicubic"].problem_key))
        arrays, _ = prediction_of(bench, records["bicubic"])
        spec = MetricSpec(
            name="whole",
            version=1,
            target=f"{Path(__file__)}:mean_of_all",
            direction="lower",
            kind="contextual",
            regions=("image",),
        )
        rows = score(arrays["prediction"], staged, [spec])
        assert np.isfinite(rows["value"]).all()
        monkeypatch.setenv("MSIBENCH_SCORE_GIB", "0.0001")
        rows = score(arrays["prediction"], staged, [spec])
        assert rows["value"].isna().all()
        assert rows["reason"].str.contains("all 14 ion images together").all()

    def test_an_image_too_large_for_a_metric_has_a_reason_instead_of_a_crash(self, bench, large):
        _, records = bench.run("bicubic")
        staged = load_staged(bench.store.problem_folder(records["bicubic"].problem_key))
        arrays, _ = prediction_of(bench, records["bicubic"])
        psnr = next(spec for spec in builtin_metrics() if spec.name == "psnr")
        rows = score(arrays["prediction"], staged, [replace(psnr, largest_image=100)])
        assert rows["value"].isna().all()
        assert rows["reason"].str.contains("48 x 56 pixels").all()


def mean_of_all(evaluation):
    from msibench.contracts.metric import Scored

    count = len(evaluation.prediction)
    return Scored(np.full(count, evaluation.prediction.mean()), ("",) * count)


def test_upscale_in_groups_writes_what_the_whole_would(tmp_path, monkeypatch):
    from msibench.cli.main import cli

    values = np.random.default_rng(0).random((5, 40, 30)).astype(np.float32)
    write_hdf5(tmp_path / "s.h5", MSImage(values, np.arange(5) + 100.0, pixel_size_um=20.0))
    names = ("fine.h5", "fine.ome.tif", "fine.npz", "fine.imzML")
    said = []
    for folder, limit in (("whole", ""), ("parts", LIMIT)):
        monkeypatch.setenv("MSIBENCH_LARGE_MIB", limit)
        (tmp_path / folder).mkdir()
        outputs = [part for name in names for part in ("-o", str(tmp_path / folder / name))]
        result = CliRunner().invoke(cli, ["upscale", "bicubic", str(tmp_path / "s.h5"), *outputs])
        assert result.exit_code == 0, result.output
        said.append(result.output.replace(str(tmp_path / folder), ""))
    monkeypatch.delenv("MSIBENCH_LARGE_MIB")
    assert said[0] == said[1]
    whole, parts = (read_hdf5(tmp_path / folder / "fine.h5") for folder in ("whole", "parts"))
    np.testing.assert_array_equal(whole.values, parts.values)
    assert (tmp_path / "whole/fine.ome.tif").read_bytes() == (
        tmp_path / "parts/fine.ome.tif"
    ).read_bytes()
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == sorted(
        (*names, "fine.ibd")
    )


# -- memory ----------------------------------------------------------------------------------------

RUN = """
import json, resource, sys
from pathlib import Path
from msibench.datasets import card_from_table
from msibench.metrics.specs import builtin_metrics
from msibench.plugin_manager.discovery import discover
from msibench.results.store import Store
from msibench.runner.plan import make_plan
from msibench.runner.supervisor import Supervisor
from msibench.runner.options import RunOptions
from msibench.tracks import Entry, Limits, ProblemSet, Track

folder, methods, metrics = Path(sys.argv[1]), sys.argv[2].split(","), sys.argv[3].split(",")
card = card_from_table(json.loads((folder / "card.json").read_text()), folder=folder)
from dataclasses import replace
card = replace(card, local_files={"section.h5": folder / "section.h5"})
catalogue = discover(builtin_metrics=builtin_metrics())
track = Track(name="large", entries=tuple(Entry(method=m) for m in methods),
    problems=(ProblemSet(dataset="large", protocols=("area-x4@1",)),),
    metrics=tuple(metrics), limits=Limits(timeout_s=36000.0))
plan = make_plan(track, catalogue, cards={"large": card})
store = Store.open(folder / "results")
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
Supervisor(store, catalogue, RunOptions(threads=1, memory_gb=16.0)).run(plan)
records = [store.record(cell.key) for cell in plan.cells]
print(json.dumps({
    "base": base,
    "supervisor": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    "cells": {r.method: [str(r.status), r.reason, r.peaks.get("rss"), r.timings] for r in records},
    "rows": sum(len(store.metric_rows(r)) for r in records if str(r.status) == "ok"),
    "defined": sum(int(store.metric_rows(r)["value"].notna().sum()) for r in records
                   if str(r.status) == "ok"),
}))
"""


def write_section(path, ions, rows, columns):
    """Write a section of smooth structures with counting noise, ion after ion."""
    from scipy.ndimage import zoom

    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file.attrs.update(
            {
                "format": "msibench-section",
                "schema_version": 1,
                "pixel_size_um": 10.0,
                "unit": "counts",
            }
        )
        file["mz"] = np.linspace(500.0, 900.0, ions)
        images = file.create_dataset(
            "images",
            (ions, rows, columns),
            np.float32,
            chunks=(1, min(rows, 256), columns),
            compression="gzip",
            compression_opts=1,
            shuffle=True,
        )
        for ion in range(ions):
            shape = (-(-rows // 20) + 1, -(-columns // 20) + 1)
            smooth = zoom(rng.random(shape, np.float32), 20, order=1)[:rows, :columns]
            images[ion] = rng.poisson(20 * smooth).astype(np.float32)


def card_of(ions, ground_truth=True, factor=None):
    table = {
        "schema_version": 1,
        "name": "large",
        "title": "large",
        "pixel_size_um": 10.0,
        "unit": "counts",
        "counts": True,
        "ground_truth": ground_truth,
        "protocols": ["area-x4@1"],
        "sections": {"test": ["s"], "train": []},
        "files": [{"name": "section.h5", "role": "section", "section": "s"}],
    }
    return table if factor is None else {**table, "factor": factor}


def run_large(folder, methods, metrics, environment):
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(folder), ",".join(methods), ",".join(metrics)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_what_is_held_at_a_time_is_less_than_the_whole(bench, tmp_path, monkeypatch):
    """Staging, predicting and scoring 40 ion images of 96 x 112 pixels, 1.6 MiB, in this process."""
    (tmp_path / "large").mkdir()
    write_section(tmp_path / "large" / "section.h5", 40, 96, 112)
    card = card_from_table(card_of(40), folder=tmp_path / "large")
    card = replace(card, local_files={"section.h5": tmp_path / "large" / "section.h5"})
    bench.card = replace(card, name="small", protocols=("area-x4@1",))
    plan = bench.plan("bicubic", sections=("s",)).cells[0].problem
    peaks = {}
    for limit in ("1000", "0.2"):
        monkeypatch.setenv("MSIBENCH_LARGE_MIB", limit)
        load_staged_once.cache_clear()
        tracemalloc.start()
        staged = stage(plan, Store.open(tmp_path / limit))
        problem = load_staged(staged)
        psnr = next(spec for spec in builtin_metrics() if spec.name == "psnr")
        score(problem.truth.values, problem, [psnr])
        peaks[limit] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    stack = 40 * 96 * 112 * 4
    assert peaks["1000"] > 2 * stack
    assert peaks["0.2"] < 0.5 * peaks["1000"]


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("frc", "consistency")])
def test_memory_does_not_grow_with_the_ions_of_a_large_section(tmp_path, more):
    """250,000 pixels of 48 ions, 48 MB in float32: held to what three groups of images take."""
    write_section(tmp_path / "section.h5", 48, 500, 500)
    (tmp_path / "card.json").write_text(json.dumps(card_of(48)))
    metrics = ("psnr", "spectral_angle", *more)
    found = run_large(tmp_path, ("bicubic",), metrics, {"MSIBENCH_LARGE_MIB": "4"})
    status, reason, child, _ = found["cells"]["bicubic"]
    assert status == "ok", reason
    assert found["rows"] == 48 * (1 + len(more)) + 1  # no mask is on record: no tissue region
    stack = 48 * 500 * 500 * 4 / 2**20
    assert found["supervisor"] - found["base"] < 4 * stack
    assert child < found["base"] + 1.5 * stack


@pytest.mark.slow
@pytest.mark.skipif(
    not os.environ.get("MSIBENCH_SLOW_TESTS"), reason="an hour; set MSIBENCH_SLOW_TESTS=1 to run it"
)
@pytest.mark.parametrize("side", [1000, 4000])
def test_a_million_measured_or_coarse_pixels_of_45_ions_stay_within_4_gb(tmp_path, side):
    write_section(tmp_path / "section.h5", 45, side, side)
    (tmp_path / "card.json").write_text(json.dumps(card_of(45)))
    methods = ("bicubic", "swinir-msi-tiny") if side == 1000 else ("bicubic",)
    metrics = METRICS if side == 1000 else ("psnr", "ssim", "nqm", "vif", "frc", "spectral_angle")
    found = run_large(tmp_path, methods, metrics, {})
    for status, reason, peak, _ in found["cells"].values():
        assert status == "ok", reason
        assert peak < 4000
    assert found["supervisor"] < 4000
