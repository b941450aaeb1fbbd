import json
import re

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from torch import nn

from msibench import MethodSpec, Problem, Task, WeightFile
from msibench.errors import ConfigurationError, IntegrityError, MissingWeightsError
from msibench.image import as_stack
from msibench.training.checkpoints import load_record
from msibench.training.config import TrainingConfig
from msibench.training.finetune import FinetuneOptions, FinetuneRequest, TrainingSection, finetune
from msibench.training.grid import expand, run_grid
from msibench.training.networks import (
    BackProjected,
    OnInterpolation,
    around,
    inner,
    network_for,
    require_factor,
)
from msibench.training.seen import refusal
from msibench.training.variants import install, is_training, method_from_training, read_variant

PLUGIN = """
import torch
from torch import nn

def network_for_training(config, *, factor, weights):
    net = nn.Sequential(nn.Conv2d(1, config["width"], 3, padding=1), nn.ReLU(),
                        nn.Conv2d(config["width"], factor**2, 3, padding=1), nn.PixelShuffle(factor))
    if weights:
        from safetensors.torch import load_file
        net.load_state_dict(load_file(next(iter(weights.values()))))
    return net
"""


@pytest.fixture
def spec(tmp_path, monkeypatch):
    """Return the spec of a plugin made for the test: a two-layer network."""
    package = tmp_path / "plugin" / f"msibench_two_layers_{tmp_path.name.replace('-', '_')}"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "training.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(package.parent)
    return MethodSpec(
        name="two-layers",
        target=f"{package.name}.method:TwoLayers",
        task=Task.SINGLE_IMAGE,
        config={"width": 4},
        weights=(WeightFile(name="two-layers.safetensors", non_commercial=True),),
        training_data=("photographs",),
        citation="none",
        licence="none",
    )


def section(seed, shape=(24, 36)):
    rng = np.random.default_rng(seed)
    coarse = rng.random((2, shape[0] // 4, shape[1] // 4))
    image = coarse.repeat(4, axis=1).repeat(4, axis=2)
    return as_stack(np.clip(image + 0.05 * rng.random(image.shape), 0, 1))


def sections(*names):
    return [TrainingSection(name=name, image=section(sum(name.encode()))) for name in names]


def request(**changes):
    training = {"iterations": 6, "lr": 1e-2, "validate_every": 3, "checkpoint_every": 3}
    return FinetuneRequest.from_mapping(
        {
            "method": "two-layers",
            "sections": ["brain/a", "brain/b"],
            "validation": ["brain/v"],
            "factor": 2,
            "start": "scratch",
            "patch": 6,
            "batch": 2,
            "training": training,
            **changes,
        }
    )


def train(spec, folder, asked=None, **options):
    asked = asked or request()
    return finetune(
        asked,
        spec,
        sections(*asked.sections),
        sections(*asked.validation),
        folder,
        FinetuneOptions(**options),
    )


def test_the_record_says_what_was_learned_from_what_and_how(spec, tmp_path):
    record = train(spec, tmp_path / "out", command="msibench finetune two-layers")
    stored = json.loads((tmp_path / "out" / "record.json").read_text())
    assert stored == record
    assert [entry["section"] for entry in record["data"]] == ["brain/a", "brain/b"]
    assert all(len(entry["sha256"]) == 64 for entry in record["data"])
    assert record["request"]["protocols"] == {"area-x2@1": 1.0}
    assert record["curve"]["iteration"] == [1, 2, 3, 4, 5, 6]
    assert [point["iteration"] for point in record["validation"]] == [3, 6]
    assert {"torch", "numpy", "msibench", "python"} <= record["versions"].keys()
    assert record["command"] == "msibench finetune two-layers"
    assert not (tmp_path / "out" / "state.safetensors").exists()


def test_the_same_request_gives_the_same_bytes(spec, tmp_path):
    for name in ("one", "two"):
        train(spec, tmp_path / name)
    for file in ("weights.safetensors", "record.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_finished_training_is_never_overwritten_and_never_repeated(spec, tmp_path):
    train(spec, tmp_path / "out")
    before = (tmp_path / "out" / "weights.safetensors").stat().st_mtime_ns
    with pytest.raises(ConfigurationError, match="already holds a finished training"):
        train(spec, tmp_path / "out")
    train(spec, tmp_path / "out", resume=True)
    assert (tmp_path / "out" / "weights.safetensors").stat().st_mtime_ns == before
    with pytest.raises(ConfigurationError, match="another request"):
        train(spec, tmp_path / "out", request(batch=4), resume=True)


def test_fine_tuning_starts_from_the_given_weights(spec, tmp_path):
    train(spec, tmp_path / "first")
    file = tmp_path / "first" / "weights.safetensors"
    asked = request(
        start="weights", training={"iterations": 1, "lr": 0.0, "lr_min": 0.0, "ema": 0.0}
    )
    record = train(spec, tmp_path / "second", asked, weights={"two-layers.safetensors": file})
    ours, theirs = (
        load_file(tmp_path / name / "weights.safetensors") for name in ("second", "first")
    )
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert list(record["base"]["weights"]) == ["two-layers.safetensors"]


class TestVariant:
    @pytest.fixture
    def variant(self, spec, tmp_path):
        train(spec, tmp_path / "xyz")
        return read_variant(tmp_path / "xyz", spec)

    def test_is_a_method_of_its_own_with_its_weights_and_what_it_has_seen(self, variant, spec):
        assert variant.spec.name == "two-layers@finetuned-xyz"
        assert variant.spec.training_data == ("brain/a", "brain/b")
        assert variant.spec.factors == {2}
        assert not variant.spec.weights[0].non_commercial, "it started from scratch"
        assert is_training(variant.weights.parent)

    def test_inherits_data_and_licence_of_the_weights_it_started_from(self, spec, tmp_path):
        train(spec, tmp_path / "first")
        file = tmp_path / "first" / "weights.safetensors"
        train(
            spec,
            tmp_path / "second",
            request(start="weights"),
            weights={"two-layers.safetensors": file},
        )
        tuned = read_variant(tmp_path / "second", spec).spec
        assert tuned.training_data == ("photographs", "brain/a", "brain/b")
        assert tuned.weights[0].non_commercial

    def test_refuses_sections_that_it_has_seen_with_the_reason(self, variant):
        assert "has learned from brain/a" in variant.refusal("brain/a")
        assert variant.refusal("brain/c") == ""

    def test_refuses_a_copy_of_a_seen_section_under_another_name(self, variant):
        seen = sections("brain/b")[0].image
        values = np.rint(np.rot90(seen.values, axes=(1, 2)) * 200)
        reason = variant.refusal("liver/new", as_stack(np.ascontiguousarray(values)))
        assert "liver/new is brain/b under another name" in reason
        assert variant.refusal("liver/new", section(12345)) == ""

    def test_is_found_in_the_cache_once_installed(self, variant, tmp_path, monkeypatch):
        from msibench.weights import find

        monkeypatch.setenv("MSIBENCH_CACHE", str(tmp_path / "cache"))
        install(variant)
        found = find(variant.spec.weights[0])
        assert found is not None
        copied = section(sum(b"brain/a"))
        assert "brain/a under another name" in refusal(variant.spec, "x/y", copied)
        assert refusal(variant.spec, "x/y", section(4711)) == ""
        assert found.read_bytes() == variant.weights.read_bytes()

    def test_a_folder_becomes_a_method_that_runs(self, tmp_path, monkeypatch):
        from msibench.plugin_manager import resolve_target
        from msibench.plugin_manager.discovery import discover
        from msibench.weights import require

        monkeypatch.setenv("MSIBENCH_CACHE", str(tmp_path / "cache"))
        base = discover()
        asked = request(
            method="mosr",
            config={"num_feat": 4, "num_block": 1, "num_grow_ch": 2, "skip": "bicubic"},
        )
        train(base.method("mosr"), tmp_path / "mine", asked)
        tuned = method_from_training(tmp_path / "mine", base)
        assert tuned.name == "mosr@finetuned-mine"
        weights = {file.name: require(file) for file in tuned.weights}
        method = resolve_target(tuned.target)(**tuned.config, weights=weights)
        low = as_stack(np.random.default_rng(0).random((2, 9, 7)) * 300)
        assert method.upscale(Problem(low=low, factor=2)).shape == (2, 18, 14)

    def test_changed_weights_are_noticed(self, variant, spec):
        with variant.weights.open("ab") as stream:
            stream.write(b"x")
        with pytest.raises(IntegrityError, match="not the file of its record"):
            read_variant(variant.weights.parent, spec)

    def test_a_training_of_another_method_is_refused(self, variant, spec):
        other = MethodSpec(
            name="other", target=spec.target, task=spec.task, citation="", licence=""
        )
        with pytest.raises(ConfigurationError, match="'two-layers', not of 'other'"):
            read_variant(variant.weights.parent, other)


GRID = """
[base]
batch = 4
[grid]
"training.lr" = [1e-3, 1e-2]
"training.loss" = [{ l1 = 1.0 }, { charbonnier = 1.0, ssim = 0.1 }]
[[run]]
"config.width" = 6
"""


class TestGrid:
    def test_runs_every_combination_and_draws_them(self, spec, tmp_path):
        grid = tmp_path / "grid.toml"
        grid.write_text(GRID)
        said = []
        outcome = run_grid(
            grid, request(), spec, lambda names: sections(*names), tmp_path / "out", say=said.append
        )
        assert set(outcome.values()) == {"ok"}
        assert len(outcome) == 5
        records = [load_record(tmp_path / "out" / name) for name in outcome]
        assert {record["request"]["batch"] for record in records} == {4}
        assert {record["request"]["training"]["lr"] for record in records} == {1e-3, 1e-2}
        assert records[-1]["request"]["config"] == {"width": 6}
        lines = (tmp_path / "out" / "trainings.csv").read_text().splitlines()
        assert lines[0].startswith("rank,training,config.width,training.loss,training.lr,last loss")
        psnr = [float(line.split(",")[-3]) for line in lines[1:]]
        assert psnr == sorted(psnr, reverse=True)
        first = (tmp_path / "out" / "loss-curves.svg").read_bytes()
        again = run_grid(
            grid, request(), spec, lambda names: sections(*names), tmp_path / "out", say=said.append
        )
        assert again == outcome
        assert "finished before" in said[-1]
        assert (tmp_path / "out" / "loss-curves.svg").read_bytes() == first

    def test_a_training_that_fails_leaves_its_reason_and_the_others_go_on(self, spec, tmp_path):
        grid = tmp_path / "grid.toml"
        grid.write_text('[grid]\n"training.lr" = [1e-3, 1e30]\n')
        outcome = run_grid(
            grid,
            request(training={"iterations": 40, "clip": 0.0, "optimiser": "adam"}),
            spec,
            lambda names: sections(*names),
            tmp_path / "out",
            say=lambda text: None,
        )
        good, bad = outcome.items()
        assert good[1] == "ok"
        assert "DivergedError" in bad[1]
        reason = json.loads((tmp_path / "out" / bad[0] / "failed.json").read_text())["reason"]
        assert "lower the learning rate" in reason

    @pytest.mark.parametrize(
        ("table", "message"),
        [
            ({}, "empty"),
            ({"grids": {}}, "grids"),
            ({"grid": {"training.lr": 1e-3}}, "list of choices"),
            ({"grid": {"training.rl": [1e-3]}}, "rl"),
            ({"grid": {"batch": [4, 4]}}, "twice"),
        ],
    )
    def test_a_table_that_cannot_be_meant_is_refused(self, table, message):
        with pytest.raises(ConfigurationError, match=message):
            expand(table, request())


def test_a_section_cannot_be_learned_from_and_validated_on():
    with pytest.raises(ConfigurationError, match="brain/a"):
        request(validation=["brain/a"])


def test_a_request_comes_back_from_its_json_as_it_was():
    asked = request(protocols={"area-x2@1": 0.5, "bicubic-x2@1": 0.5})
    again = FinetuneRequest.from_mapping(json.loads(json.dumps(asked.as_json())))
    assert again == asked


def test_networks_of_three_channels_see_grey_three_times_and_answer_with_the_mean():
    rgb = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2))
    whole = around(rgb, factor=2)
    grey = torch.rand(2, 1, 5, 7)
    torch.testing.assert_close(whole(grey), rgb(grey.repeat(1, 3, 1, 1)).mean(1, keepdim=True))
    assert inner(whole) is rgb


def test_the_skip_adds_the_interpolated_image_and_keeps_the_inner_state_dict():
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.PixelShuffle(2))
    whole = around(net, factor=2, skip="bicubic")
    assert isinstance(whole, OnInterpolation)
    low = torch.rand(1, 1, 6, 5)
    cubic = nn.functional.interpolate(low, scale_factor=2, mode="bicubic")
    torch.testing.assert_close(whole(low) - net(low), cubic)
    assert inner(whole) is net


@pytest.mark.parametrize("skip", ["none", "bicubic"])
def test_a_back_projected_network_gives_its_input_back_and_keeps_its_detail(skip):
    net = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2))
    whole = around(net, factor=2, skip=skip, back_project=True)
    assert isinstance(whole, BackProjected)
    low = torch.rand(2, 1, 6, 5)
    torch.testing.assert_close(nn.functional.avg_pool2d(whole(low), 2), low)
    added = whole(low) - around(net, factor=2, skip=skip)(low)
    blocks = added.unfold(2, 2, 2).unfold(3, 2, 2)
    torch.testing.assert_close(blocks, blocks[..., :1, :1].expand_as(blocks))
    assert inner(whole) is net


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1.0}, "lr must be at least 0, got -1"),
        ({"lr": "fast"}, "lr must be a finite number, got 'fast'"),
        ({"lr": float("nan")}, "lr must be a finite number, got nan"),
        ({"iterations": 1.5}, "iterations must be a whole number, got 1.5"),
        ({"betas": (0.9,)}, "betas must be two numbers in"),
        ({"betas": (0.9, 1.0)}, "betas must be two numbers in"),
        ({"weight_decay": -0.1}, "weight_decay must be at least 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"loss": 3}, "loss must be a table"),
        ({"milestones": (1.5,)}, "milestones must be a whole number, got 1.5"),
        ({"iterations": 3, "warmup": 10}, "warmup <= iterations"),
    ],
)
def test_training_options_that_cannot_be_meant_are_refused_before_a_network_is_made(
    options, message
):
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        TrainingConfig(**options)


def test_a_network_of_another_factor_names_its_own():
    twice = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.PixelShuffle(2))
    require_factor("tiny", twice, 2, 8)
    with pytest.raises(ConfigurationError, match="a network for factor 2, and --factor asks for 4"):
        require_factor("tiny", twice, 4, 8)
    assert twice.training


def test_a_method_without_a_network_cannot_be_trained():
    bicubic = MethodSpec(
        name="bicubic",
        target="msibench_interpolation.method:Interpolation",
        task=Task.SINGLE_IMAGE,
        citation="",
        licence="",
    )
    with pytest.raises(ConfigurationError, match="cannot be trained"):
        network_for(bicubic, factor=2, weights=None)


class TestCommand:
    def run(self, *arguments):
        from msibench.cli.finetune import command

        return CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=True)

    def test_trains_on_the_sections_of_a_card_and_shows_the_last_values(self, tmp_path):
        done = self.run(
            *("swinir-light", "--dataset", "phantom", "--sections", "synthetic-11"),
            *("--validation", "phantom/synthetic-12", "--from-scratch", "--iterations", "2"),
            *("--set", "embed_dim=8", "--set", "depths=[2]", "--set", "num_heads=[2]"),
            *("--train", "lr=1e-3", "--train", "loss={l1 = 1.0, ssim = 0.1}", "--factor", "2"),
            *("--patch", "8", "--batch", "2", "--out", tmp_path / "out"),
        )
        assert done.exit_code == 0, done.output
        assert "psnr" in done.output
        record = load_record(tmp_path / "out")
        assert record["method"] == "swinir-light"
        assert record["request"]["training"]["loss"] == {"l1": 1.0, "ssim": 0.1}
        assert record["data"][0]["section"] == "phantom/synthetic-11"
        assert len(record["data"][0]["files"]) == 64

    def test_missing_weights_name_the_way_out(self, tmp_path, monkeypatch):
        monkeypatch.setenv("MSIBENCH_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("MSIBENCH_MIRROR", str(tmp_path))
        done = self.run(
            "swinir-light", "--dataset", "phantom", "--iterations", 1, "--out", tmp_path / "out"
        )
        assert isinstance(done.exception, MissingWeightsError)
        assert "--from-scratch" in str(done.exception)

    def test_a_plain_section_needs_one_data_set(self, tmp_path):
        done = self.run("swinir-light", "--sections", "synthetic-11", "--out", tmp_path / "out")
        assert isinstance(done.exception, ConfigurationError)
        assert "DATASET/SECTION" in str(done.exception)


def test_a_method_of_a_single_file_is_named_like_everywhere_and_cannot_be_trained(tmp_path):
    from msibench.cli.main import cli

    file = tmp_path / "mine.py"
    file.write_text("class Mine:\n    def upscale(self, problem):\n        return problem.low\n")
    asked = ["finetune", f"{file}:Mine", "--dataset", "phantom", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(cli, [*asked, "--from-scratch"])
    assert result.exit_code != 0
    assert (
        "it is a single file, and a network to train comes from a plugin"
        in str(result.exception) + result.output
    )
