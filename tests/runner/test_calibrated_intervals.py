"""Intervals that the harness calibrates in a run: stored, measured, kept apart from those of methods."""

import numpy as np
import pytest

import msibench as mb
from msibench.metrics.interval import LEVELS, coverage
from msibench.results.store import PREDICTION
from msibench.results.told_intervals import calibrated_interval
from msibench.runner.plan import make_plan
from msibench.tracks import load_track, track_as_text, track_from_text
from msibench_datasets.phantom.generator import make_phantom

METHODS = """
import numpy as np
from msibench import Interval, Skip

class Knows:
    def upscale(self, problem):
        return np.nan_to_num(problem.low.values.repeat(problem.factor, 1).repeat(problem.factor, 2))

    def interval(self, problem, *, level):
        fine = self.upscale(problem)
        return Interval.from_deviation(fine, 0.02 + 0.2 * np.sqrt(fine), level=level)

class Whole(Knows):
    def upscale(self, problem):
        if problem.low.shape[0] < 64:
            raise RuntimeError("needs 64 rows")
        return super().upscale(problem)

class Learns(Knows):
    def fit(self, train, seed, budget=None):
        self.pairs = len(train)
"""
NAMES = ("calibrated_coverage", "worst_calibrated_coverage", "calibrated_width", "calibrated_score",
         "calibrated_calibration_error")  # fmt: skip
TRACK = """
schema_version = 1
name = "sure"
methods = ["bicubic", {methods}]
metrics = ["psnr", "interval_coverage", "interval_calibration_error", "calibrated_signal_coverage"]
intervals = "{intervals}"
control_method = "bicubic"
[[problems]]
dataset = "phantom"
protocols = ["area-x2@1"]
sections = ["synthetic-1"]
"""
SIX = "mz = [417.2402, 616.1773, 703.5748, 734.5694, 798.5410, 810.6007]\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sure")
    (folder / "mine.py").write_text(METHODS)
    return folder


def board(place, intervals, names, mz=""):
    entries = ", ".join(f'{{ method = "{place}/mine.py:{n}", label = "{n}" }}' for n in names)
    file = place / f"{intervals}.toml"
    file.write_text(TRACK.format(methods=entries, intervals=intervals) + mz)
    return mb.run(str(file), results=place / intervals)


@pytest.fixture(scope="module")
def itself(place):
    return board(place, "one-scale-up", ("Knows", "Whole"), SIX)


def values(board, method, metric):
    rows = board.rows()
    found = rows[(rows["method"] == method) & (rows["metric"] == metric)]
    return found.sort_values("channel")


def stored(board, method):
    (record,) = (one for one in board.records if one.method == method)
    return board.store.cell_folder(record.key) / PREDICTION, record


def test_every_method_has_intervals_that_are_measured_apart_from_its_own(itself):
    for method in ("bicubic", "Knows"):
        held = values(itself, method, "calibrated_coverage")
        assert len(held) == 6
        assert 0.85 < held["value"].mean() < 0.96
        assert values(itself, method, "calibrated_calibration_error")["value"].mean() < 0.1
        assert 0.8 < values(itself, method, "calibrated_signal_coverage")["value"].mean() <= 1
        assert (values(itself, method, "calibrated_width")["value"] > 0).all()
    assert values(itself, "bicubic", "interval_coverage")["value"].isna().all()
    own, harness = (
        values(itself, "Knows", f"{one}_coverage") for one in ("interval", "calibrated")
    )
    assert (own["value"].to_numpy() != harness["value"].to_numpy()).any()
    assert values(itself, "Knows", "interval_calibration_error")["value"].notna().all()


def test_what_is_measured_is_what_is_kept(itself):
    path, record = stored(itself, "bicubic")
    found = calibrated_interval(path)
    assert "made 2 times coarser once more" in found.calibrated
    assert record.report["intervals"] == f"calibrated {found.calibrated}"
    assert record.timings["calibration"] > 0
    images = [itself.images(ion) for ion in itself.ions]
    fine = np.stack([one["bicubic"].values[0] for one in images])
    truth = np.stack([one["truth"].values[0] for one in images])
    made = make_phantom(seed=1)
    mask = made.mask[: truth.shape[1], : truth.shape[2]]
    for level in LEVELS:
        lower, upper = found.ends(fine, level)
        assert (lower <= fine).all()
        assert (upper > lower).all()
    np.testing.assert_allclose(
        coverage(*found.ends(fine, 0.9), truth, mask=mask),
        values(itself, "bicubic", "calibrated_coverage")["value"],
    )


def test_a_method_that_cannot_be_calibrated_keeps_its_prediction_and_says_why(itself):
    _, record = stored(itself, "Whole")
    assert record.status == "ok"
    assert "needs 64 rows" in record.report["intervals"]
    held = values(itself, "Whole", "calibrated_coverage")
    assert held["value"].isna().all()
    (why,) = set(held["reason"])
    assert why.startswith("the harness could calibrate no interval for this prediction: ")
    assert "needs 64 rows" in why
    assert values(itself, "Whole", "psnr")["value"].notna().any()


def test_training_sections_calibrate_those_who_have_not_learned_from_them(place):
    told = board(place, "training", ("Knows", "Learns"))
    held = values(told, "Knows", "calibrated_coverage")["value"]
    assert held.mean() == pytest.approx(0.9, abs=0.03)
    path, record = stored(told, "bicubic")
    assert "on 4 calibration sections" in calibrated_interval(path).calibrated
    assert sorted(record.key_document["training"]) == [
        f"calibration: synthetic-{n}" for n in range(11, 15)
    ]
    path, record = stored(told, "Learns")
    assert calibrated_interval(path) is None
    assert "no training section that it has not seen" in record.report["intervals"]
    held = values(told, "Learns", "calibrated_coverage")
    assert held["value"].isna().all()
    assert held["reason"].str.contains("there is no training section that it has not seen").all()


def test_it_is_verified_with_its_scores(itself, capsys):
    from msibench.cli.main import main

    root = itself.store.root
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(root / "leaderboards" / "sure"), "--results", str(root)])
    assert ended.value.code == 0, capsys.readouterr().out


def test_keys_without_intervals_are_those_of_always_and_the_track_keeps_the_option():
    from msibench.library.installed import catalogue
    from msibench.tracks import with_intervals

    track = load_track("phantom")
    plain, sure = (
        make_plan(each, catalogue()).cells
        for each in (track, with_intervals(track, "one-scale-up"))
    )
    assert {cell.key for cell in plain}.isdisjoint(cell.key for cell in sure)
    assert all("intervals" not in cell.document["method"] for cell in plain)
    assert [cell.problem.key for cell in plain] == [cell.problem.key for cell in sure]
    again = track_from_text(track_as_text(with_intervals(track, "training")), None, "kept")
    assert again.intervals == "training"
    assert set(NAMES) <= set(again.metrics)
    with pytest.raises(mb.MSIBenchError, match="one-scale-up or training"):
        mb.run("phantom", intervals="always")
    text = track_as_text(track).replace(
        'name = "phantom"', 'name = "phantom"\nintervals = "always"'
    )
    with pytest.raises(mb.MSIBenchError, match="one-scale-up or training"):
        track_from_text(text, None, "wrong")
