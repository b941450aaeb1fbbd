"""Plans, caches and resumes."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from msibench.contracts.method import MethodSpec, Task, WeightFile
from msibench.errors import ConfigurationError, UnknownNameError
from msibench.metrics.specs import builtin_metrics
from msibench.results.arrays import read_arrays
from msibench.results.keys import key_of
from msibench.results.problems import load_staged
from msibench.results.schema import Status
from msibench.results.seen_cells import metrics_digest
from msibench.results.store import PREDICTION, Store
from msibench.runner.options import RunOptions
from msibench.runner.plan import Filters, make_plan
from msibench.runner.problems.stage import stage
from msibench.runner.scores.rescore import rescore
from msibench.runner.scores.score import score
from msibench.scoring.cube import NOTHING_PRESENT
from msibench.tracks import Entry, ProblemSet, Track
from msibench.weights import CORE_WEIGHTS


def test_a_second_run_runs_nothing(bench):
    first, _ = bench.run("bicubic", "nearest")
    second, _ = bench.run("bicubic", "nearest")
    assert (first.ran, first.cached) == (2, 0)
    assert (second.ran, second.cached) == (0, 2)


def test_a_failure_stays_on_record_and_is_run_again_on_request(bench):
    bench.run("Raises")
    again, records = bench.run("Raises")
    assert (again.ran, again.cached, again.counts) == (0, 1, {"failed": 1})
    retried, _ = bench.run("Raises", options=RunOptions(retry=frozenset({"failed"})))
    assert retried.ran == 1
    assert records["Raises"].status is Status.FAILED


def test_rows_of_every_image_metric_and_region_are_stored(bench):
    _, records = bench.run("bicubic")
    rows = bench.store.metric_rows(records["bicubic"])
    assert set(rows["metric"]) == {"psnr", "rmse"}
    assert set(rows["region"]) == {"image", "tissue"}
    assert len(rows) == 14 * 2 * 2
    assert np.isfinite(rows["value"]).all()


def test_the_prediction_lies_beside_its_record(bench):
    _, records = bench.run("bicubic")
    path = bench.store.cell_folder(records["bicubic"].key) / PREDICTION
    arrays, facts = read_arrays(path)
    assert arrays["prediction"].shape == (14, 48, 56)
    assert arrays["prediction"].dtype == np.float32
    assert facts["pixel_size_um"] == 10.0


def test_the_same_bytes_come_out_of_one_slot_and_of_two(bench, tmp_path):
    found = []
    for number, jobs in enumerate((1, 2, 1)):
        bench.store = Store.open(tmp_path / str(number))
        methods = ("bicubic", "lanczos3")[:: -1 if number else 1]
        _, records = bench.run(*methods, options=RunOptions(jobs=jobs, threads=jobs))
        found.append({name: record.files[PREDICTION] for name, record in records.items()})
    assert found[0] == found[1] == found[2]


def test_a_damaged_cell_is_set_aside_and_run_again(bench):
    _, records = bench.run("bicubic")
    path = bench.store.cell_folder(records["bicubic"].key) / PREDICTION
    path.write_bytes(path.read_bytes()[:-7])
    again, _ = bench.run("bicubic")
    assert (again.ran, again.set_aside) == (1, [records["bicubic"].key])
    assert list((bench.store.root / "set-aside").iterdir())


def test_a_new_metric_is_computed_from_the_stored_prediction(bench):
    _, records = bench.run("bicubic")
    key = records["bicubic"].key
    specs = [bench.catalogue.metric(name) for name in ("psnr", "ssim")]
    total = rescore(bench.store, [key], specs)
    assert (total.computed, total.kept) == (2, 2)
    rows = bench.store.metric_rows(bench.store.record(key))
    assert set(rows["metric"]) == {"psnr", "rmse", "ssim"}
    assert rescore(bench.store, [key], specs).computed == 0
    newer = replace(specs[0], version=specs[0].version + 1)
    assert rescore(bench.store, [key], [newer]).computed == 2


def test_a_metric_is_computed_once_its_pretrained_files_are_here(bench, tmp_path, monkeypatch):
    """And cells that a run saw as complete are looked at again."""
    monkeypatch.setenv("MSIBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MSIBENCH_MIRROR", "")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    file = WeightFile(name="tiny.pth", licence="Apache-2.0")
    monkeypatch.setitem(CORE_WEIGHTS, "tiny", file)
    spec = replace(bench.catalogue.metric("psnr"), weights=("tiny",))
    _, records = bench.run("bicubic", metrics=("rmse",))
    key = records["bicubic"].key

    def values():
        rows = bench.store.metric_rows(bench.store.record(key))
        found = rows[(rows["metric"] == "psnr") & (rows["region"] == "image")]
        return found["value"], found["reason"]

    before = metrics_digest([spec])
    assert rescore(bench.store, [key], [spec]).computed == 2
    assert values()[1].str.startswith("weights-missing").all()
    assert rescore(bench.store, [key], [spec]).computed == 0
    (tmp_path / "cache" / "weights").mkdir(parents=True)
    (tmp_path / "cache" / "weights" / "tiny.pth").write_bytes(b"weights")
    assert metrics_digest([spec]) != before
    assert rescore(bench.store, [key], [spec]).computed == 2
    assert np.isfinite(values()[0]).all()
    assert rescore(bench.store, [key], [spec]).computed == 0


def test_a_cell_leased_by_another_run_is_left_to_it(bench):
    plan = bench.plan("bicubic")
    path = bench.store.lease_path(plan.cells[0].key)
    path.parent.mkdir()
    path.write_text(json.dumps({"host": "elsewhere", "pid": 1, "token": "t"}))
    events = []
    supervisor_summary, _ = (None, None)
    from msibench.runner.supervisor import Supervisor

    supervisor_summary = Supervisor(bench.store, bench.catalogue, on_event=events.append).run(plan)
    assert supervisor_summary.busy == 1
    assert any("elsewhere" in event.reason for event in events)


# -- plans -------------------------------------------------------------------------------------


def spec(**facts):
    base = {
        "name": "m", "target": "msibench_interpolation.method:Interpolation",
        "task": Task.SINGLE_IMAGE, "citation": "none", "licence": "none",
        "config": {"kernel": "bicubic"},
    }  # fmt: skip
    return MethodSpec(**{**base, **facts})


def plan_of(bench, method, **facts):
    track = Track(
        name="t",
        entries=(Entry(method=method.name, **facts.pop("entry", {})),),
        problems=(ProblemSet(dataset="small", protocols=facts.pop("protocols", ("area-x4@1",))),),
        **facts,
    )
    catalogue = replace(bench.catalogue, methods={**bench.catalogue.methods, method.name: method})
    return make_plan(track, catalogue, cards={"small": bench.card})


def test_what_changes_a_prediction_changes_the_key(bench):
    method = spec()
    base = plan_of(bench, method).cells[0].key
    weights = (WeightFile(name="w", sha256="0" * 64),)
    others = [
        plan_of(bench, method, seeds=(1,)),
        plan_of(bench, method, protocols=("bicubic-x4@1",)),
        plan_of(bench, method, protocols=("area-x2@1",)),
        plan_of(bench, method, entry={"config": {"kernel": "nearest"}}),
        plan_of(bench, method, entry={"precision": "bfloat16"}),
        plan_of(bench, spec(weights=weights)),
        plan_of(bench, spec(target="msibench_interpolation.method:fine_taps")),
        plan_of(bench, spec(trainable=True)),
    ]
    keys = {base, *(plan.cells[0].key for plan in others)}
    assert len(keys) == len(others) + 1


def test_what_does_not_change_a_prediction_keeps_the_key(bench, tmp_path):
    method = spec()
    base = plan_of(bench, method)
    moved = replace(bench.card, folder=tmp_path, title="another title", citation="another")
    bench.card = moved
    again = plan_of(bench, method, metrics=("ssim",), description="other", control_method="x")
    assert [cell.key for cell in base.cells] == [cell.key for cell in again.cells]


def test_the_key_is_the_digest_of_its_document(bench):
    for cell in bench.plan("bicubic", "Sound").cells:
        assert key_of(cell.document) == cell.key


def test_a_method_that_cannot_do_a_problem_is_told_so_beforehand(bench):
    verdicts = {
        "factor": spec(factors=frozenset({2})),
        "seen": spec(training_data=("small/synthetic-1", "small/synthetic-2")),
        "weights": spec(weights=(WeightFile(name="gone.pth", how="ask the authors"),)),
    }
    found = {name: plan_of(bench, method).cells[0] for name, method in verdicts.items()}
    assert found["factor"].verdict is Status.NOT_APPLICABLE
    assert "does factor 2; the protocol asks for 4" in found["factor"].reason
    assert "a score there would measure memory, not skill" in found["seen"].reason
    assert found["weights"].verdict is Status.WEIGHTS_MISSING
    assert "ask the authors" in found["weights"].reason


def test_a_fusion_method_on_ion_images_alone_is_not_applicable(bench):
    bench.card = replace(bench.card, tasks=("single-image",))
    cell = plan_of(bench, spec(task=Task.GUIDED)).cells[0]
    assert cell.verdict is Status.NOT_APPLICABLE
    assert "needs a guide" in cell.reason


def test_wrong_names_and_keys_are_refused_with_the_nearest(bench):
    with pytest.raises(UnknownNameError, match="Did you mean 'bicubic'"):
        bench.plan("bicubc")
    with pytest.raises(ConfigurationError, match="Did you mean 'kernel'"):
        plan_of(bench, spec(), entry={"config": {"kernal": 1}})
    with pytest.raises(UnknownNameError, match="protocol"):
        plan_of(bench, spec(), protocols=("aera-x4@1",))


def test_filters_leave_out_what_was_not_asked_for(bench):
    track = bench.plan("bicubic", "nearest", sections=("synthetic-1", "synthetic-2")).track
    filters = Filters(methods=("near*",), sections=("*-2",), mz=(301.141,))
    plan = make_plan(track, bench.catalogue, cards={"small": bench.card}, filters=filters)
    (cell,) = plan.cells
    assert (cell.label, cell.problem.section) == ("nearest", "synthetic-2")
    assert cell.problem.mz_set.mz == (301.141,)


# -- kill -9 -----------------------------------------------------------------------------------


def start(results, *extra):
    command = [
        sys.executable, "-m", "msibench.cli.main", "run", "quickstart", "--results", str(results),
        "--methods", "nearest,bilinear,bicubic,bicubic-075,lanczos3", "--sections", "synthetic-1",
        "--metrics", "psnr", "--json", *extra,
    ]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def stored_bytes(results: Path):
    store = Store.open(results)
    return {
        record.method: (record.status, record.files[PREDICTION], record.files["metrics.parquet"])
        for record in store.records()
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    results = tmp_path_factory.mktemp("undisturbed")
    run = start(results)
    out, err = run.communicate(timeout=300)
    assert run.returncode == 0, err
    assert json.loads(out)["ran"] == 5
    return stored_bytes(results)


# The short versions of the slow ones fork their supervisors: test_faults_killed.py.


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_in_the_same_bytes(undisturbed, tmp_path):
    moment = random.Random(10)
    for _ in range(10):
        run = start(tmp_path)
        time.sleep(moment.uniform(0.3, 4.0))
        os.kill(run.pid, signal.SIGKILL)
        run.communicate()
    last = start(tmp_path)
    out, err = last.communicate(timeout=300)
    assert last.returncode == 0, err
    assert json.loads(out)["statuses"] == {"ok": 5}
    assert stored_bytes(tmp_path) == undisturbed
    assert not list((tmp_path / "work").iterdir())


@pytest.mark.slow
def test_two_runs_on_one_folder_do_no_cell_twice(undisturbed, tmp_path):
    runs = [start(tmp_path), start(tmp_path)]
    summaries = []
    for run in runs:
        out, err = run.communicate(timeout=300)
        assert run.returncode in {0, 6}, err
        summaries.append(json.loads(out))
    assert sum(summary["ran"] for summary in summaries) == 5
    assert stored_bytes(tmp_path) == undisturbed


def test_a_folder_that_was_moved_is_read_where_it_is(bench, tmp_path):
    bench.run("nearest", "bicubic")
    before = stored_bytes(bench.store.root)
    shutil.move(bench.store.root, tmp_path / "b")
    bench.store = Store.open(tmp_path / "b")
    summary, _ = bench.run("nearest", "bicubic")
    assert summary.cached == 2
    assert summary.ran == 0
    assert stored_bytes(tmp_path / "b") == before


def test_an_ion_without_a_single_count_has_no_value_of_any_metric(bench):
    staged = load_staged(stage(bench.plan("bicubic").cells[0].problem, bench.store))
    values = np.array(staged.truth.values)
    values[2] = 0.0
    staged = replace(staged, truth=replace(staged.truth, values=values))
    chosen = [spec for spec in builtin_metrics() if spec.name in {"rmse", "ssim", "psnr"}]
    rows = score(np.full_like(values, 0.1), staged, chosen)
    hit = rows["channel"] == 2
    assert rows.loc[hit, "value"].isna().all()
    assert set(rows.loc[hit, "reason"]) == {NOTHING_PRESENT}
    assert rows.loc[~hit & (rows["region"] == "image"), "value"].notna().all()
