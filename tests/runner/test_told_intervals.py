"""Methods that tell an interval: kept beside the prediction, checked, scored, verified."""

import numpy as np
import pytest

import msibench as mb
from msibench.metrics.interval import coverage
from msibench.results.store import PREDICTION
from msibench.results.told_intervals import told_interval

METHODS = """
import numpy as np
from msibench import Interval

class Knows:
    def upscale(self, problem):
        return np.nan_to_num(problem.low.values.repeat(problem.factor, 1).repeat(problem.factor, 2))

    def interval(self, problem, *, level):
        fine = self.upscale(problem)
        return Interval.from_deviation(fine, 0.02 + 0.2 * np.sqrt(fine), level=level)

class Certain(Knows):
    def interval(self, problem, *, level):
        fine = self.upscale(problem)
        return Interval(fine, fine, fine)

class Elsewhere(Knows):
    def interval(self, problem, *, level):
        fine = self.upscale(problem)
        return Interval(fine, fine + 1, fine + 2)
"""
TRACK = """
schema_version = 1
name = "sure"
methods = ["bicubic", {methods}]
metrics = ["psnr", "interval_coverage", "worst_interval_coverage", "interval_width", "interval_score"]
control_method = "bicubic"
[[problems]]
dataset = "phantom"
protocols = ["area-x4@1"]
sections = ["synthetic-1"]
mz = [417.2402, 616.1773, 703.5748, 734.5694]
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sure")
    (folder / "mine.py").write_text(METHODS)
    names = ("Knows", "Certain", "Elsewhere")
    entries = ", ".join(f'{{ method = "{folder}/mine.py:{n}", label = "{n}" }}' for n in names)
    (folder / "track.toml").write_text(TRACK.format(methods=entries))
    results = folder / "results"
    return mb.run(str(folder / "track.toml"), results=results), results


def values(board, method, metric):
    rows = board.rows()
    found = rows[(rows["method"] == method) & (rows["metric"] == metric)]
    return found.sort_values("channel")


def test_what_is_told_is_kept_and_scored(ran):
    board, results = ran
    (path,) = (
        path
        for path in results.rglob(PREDICTION)
        if path.parent.name in set(values(board, "Knows", "psnr")["cell"])
    )
    told = told_interval(path)
    assert told.level == 0.9
    truth = np.stack([board.images(ion)["truth"].values[0] for ion in board.ions])
    assert told.lower.shape == truth.shape
    found = values(board, "Knows", "interval_coverage")
    for metric in (
        "interval_coverage",
        "worst_interval_coverage",
        "interval_width",
        "interval_score",
    ):
        table = values(board, "Knows", metric)
        assert table["value"].notna().all()
        assert (table["reason"] == "").all()
    assert (
        values(board, "Knows", "worst_interval_coverage")["value"].to_numpy() <= found["value"]
    ).all()
    everywhere = coverage(told.lower, told.upper, truth)
    assert np.abs(found["value"].to_numpy() - everywhere).max() < 0.35, "on tissue alone"
    assert (values(board, "Knows", "interval_width")["value"] > 0).all()


def test_a_method_that_tells_none_is_undefined_and_never_of_no_width(ran):
    board, _ = ran
    for metric in ("interval_coverage", "interval_width", "interval_score"):
        table = values(board, "bicubic", metric)
        assert len(table) == 4
        assert table["value"].isna().all()
        assert set(table["reason"]) == {"the method tells no interval"}


@pytest.mark.parametrize(
    ("method", "words"), [("Certain", "has no width"), ("Elsewhere", "outside the interval")]
)
def test_an_interval_that_cannot_be_is_invalid_output(ran, method, words):
    board, _ = ran
    rows = board.rows()
    mine = rows[rows["method"] == method]
    assert set(mine["status"]) == {"invalid-output"}
    assert words in mine["status_reason"].iloc[0]


def test_it_is_verified_with_its_scores(ran, capsys):
    from msibench.cli.main import main

    _, results = ran
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(results / "leaderboards" / "sure"), "--results", str(results)])
    assert ended.value.code == 0, capsys.readouterr().out


def test_the_interval_of_the_harness_is_measured_in_the_same_way():
    from msibench_datasets.phantom.generator import make_phantom

    made = make_phantom(seed=3, shape=(96, 96))
    section = mb.MSImage(made.counts[[4]], made.mz[[4]], 10.0, mask=made.mask)
    problem = mb.degrade(section, "area-x2@1")
    done = mb.confidence(problem, "bicubic")
    table = mb.evaluate(done, section, problem, metrics=["interval_coverage", "interval_score"])
    held = float(table.loc[table["metric"] == "interval_coverage", "value"].iloc[0])
    assert 0.8 < held <= 1
    alone = mb.evaluate(done.prediction, section, problem, metrics=["interval_coverage"])
    assert alone["reason"].tolist() == ["the method tells no interval"]
