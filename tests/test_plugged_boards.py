"""Operators, protocols, schemes and tracks come from plugins as methods do, and total ion counts from imzML."""

import json
import sys
import textwrap
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points

import numpy as np
import pytest
from click.testing import CliRunner

from msibench import plugin_manager
from msibench.cli.main import cli
from msibench.degradation import protocol
from msibench.errors import MissingDataError, PluginError, UnknownNameError
from msibench.image import MSImage
from msibench.io.imzml.image_writer import write_imzml
from msibench.metrics.specs import builtin_metrics
from msibench.results.store import Store
from msibench.run_track import BoardOptions, run_track
from msibench.runner.options import RunOptions
from msibench.runner.own_section import card_for_files
from msibench.runner.plan import make_plan
from msibench.scoring import load_scheme
from msibench.tracks import Entry, ProblemSet, Track, load_track

PLUGIN = """
from dataclasses import dataclass
from pathlib import Path
from msibench import ProtocolSpec, SchemeSpec, TrackSpec, hookimpl

HERE = Path(__file__).parent

@hookimpl
def msibench_protocols():
    yield ProtocolSpec(name="pick@1", target="pick_operator:FAMILY", description="every n-th pixel")
    yield ProtocolSpec(name="odd@1", target="pick_operator:Pick", description="no family")

@hookimpl
def msibench_schemes():
    yield SchemeSpec(name="sharpness", path=HERE / "sharpness.toml")

@hookimpl
def msibench_tracks():
    yield TrackSpec(name="picked", path=HERE / "picked.toml")
"""
OPERATOR = """
from dataclasses import dataclass
from msibench.degradation import Family

@dataclass(frozen=True)
class Pick:
    factor: int
    linear = True

    def definition(self):
        return {"step": "pick", "factor": self.factor}

    def apply(self, values, noise):
        return values[:, :: self.factor, :: self.factor]

FAMILY = Family(description="every n-th pixel", steps=lambda factor: (Pick(factor),))
"""
SCHEME = """
name = "sharpness"
title = "SSIM alone"
normalisation = "none"
[metrics.ssim]
weight = 1
direction = "higher"
"""
TRACK = """
schema_version = 1
name = "picked"
methods = ["bicubic"]
scheme = "sharpness"
[[problems]]
dataset = "phantom"
protocols = ["pick-x2@1"]
sections = ["synthetic-1"]
mz = [417.2402, 616.1773, 703.5748, 734.5694]
"""


@pytest.fixture
def plugged(tmp_path, monkeypatch):
    """A plugin of one operator, a protocol made of it, a scheme and a track."""
    for name, text in {
        "pick_plugin.py": PLUGIN, "pick_operator.py": OPERATOR, "sharpness.toml": SCHEME,
        "picked.toml": TRACK,
    }.items():  # fmt: skip
        (tmp_path / name).write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(tmp_path)
    points = [
        *entry_points(group="msibench"),
        EntryPoint("pick", "pick_plugin", "msibench"),
    ]
    monkeypatch.setattr(plugin_manager.discovery, "entry_points", lambda **_: points)
    plugin_manager.installed.cache_clear()
    yield tmp_path
    plugin_manager.installed.cache_clear()
    for name in ("pick_plugin", "pick_operator"):
        sys.modules.pop(name, None)


def listed(kind):
    result = CliRunner().invoke(cli, ["list", kind, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_plugin_s_protocol_is_made_of_its_operator(plugged):
    chosen = protocol("pick-x2@1")
    values = np.random.default_rng(0).random((2, 8, 6)).astype(np.float32)
    made = chosen.prepare(MSImage(values, np.array([400.0, 500.0])))
    np.testing.assert_array_equal(made.low.values, made.truth.values[:, ::2, ::2])
    assert chosen.definition()["steps"] == [{"step": "pick", "factor": 2}]
    assert {"protocol": "pick-xN@1", "description": "every n-th pixel"} in listed("protocols")
    with pytest.raises(PluginError, match="must be a msibench"):
        protocol("odd-x2@1")


def test_a_plugin_s_scheme_and_track_are_found_by_name(plugged):
    assert load_scheme("sharpness").title == "SSIM alone"
    assert {"scheme": "sharpness", "title": "SSIM alone"} in listed("schemes")
    track = load_track("picked")
    assert track.problems[0].protocols == ("pick-x2@1",)
    assert track.folder is None
    assert "picked" in {row["track"] for row in listed("tracks")}


def test_without_the_plugin_the_names_are_unknown():
    plugin_manager.installed.cache_clear()
    with pytest.raises(UnknownNameError, match="No protocol named 'pick-x2@1'"):
        protocol("pick-x2@1")
    with pytest.raises(UnknownNameError, match="No scoring scheme named 'sharpness'"):
        load_scheme("sharpness")
    with pytest.raises(UnknownNameError, match="No track named 'picked'"):
        load_track("picked")


def test_the_total_ion_count_of_an_imzml_file_reaches_the_protocol(tmp_path):
    rng = np.random.default_rng(3)
    values = rng.gamma(2.0, 10.0, (4, 24, 32)).astype(np.float32)
    image = MSImage(values, np.array([400.0, 500.0, 600.0, 700.0]), pixel_size_um=10.0)
    write_imzml(tmp_path / "s.imzML", image)
    card = card_for_files([tmp_path / "s.imzML"], mz=(400.0, 600.0))
    catalogue = plugin_manager.discover(builtin_metrics=builtin_metrics())
    track = Track(
        name="tic",
        entries=(Entry(method="nearest"), Entry(method="bicubic")),
        problems=(ProblemSet(dataset=card.name, protocols=("area-tic-x2@1",)),),
        metrics=("psnr",),
    )
    plan = make_plan(track, catalogue, cards={card.name: card})
    store = Store.open(tmp_path / "results")
    done = run_track(
        track, catalogue, store, RunOptions(threads=1), plan=plan, board=BoardOptions(page=False)
    )
    assert done.counts == {"ok": 2}, [store.record(key).reason for key in done.keys]
    record = store.record(done.keys[0])
    assert "normalised by tic before scaling" in record.notes
    from msibench.results.problems import load_staged

    staged = load_staged(store.problem_folder(record.problem_key))
    tic = values.sum(axis=0, dtype=np.float64)
    expected = values[0] * (np.median(tic) / tic)
    expected = np.clip(expected / staged.scale[0], 0, 1)
    np.testing.assert_allclose(staged.truth.values[0], expected, rtol=1e-5, atol=1e-6)


def test_ion_images_alone_have_no_total_ion_count_and_that_is_said(tmp_path):
    with pytest.raises(MissingDataError, match="tic normalisation needs the tic"):
        protocol("area-tic-x2@1").prepare(
            replace(MSImage(np.ones((1, 4, 4), np.float32), np.array([400.0])), unit="counts")
        )
