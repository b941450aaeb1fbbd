"""Our own small checkpoints must beat bicubic interpolation on sections that they have not seen."""

import json
from functools import cache

import numpy as np
import pytest
import torch

from msibench import Problem
from msibench.datasets import load_card, read_section
from msibench.degradation import protocol
from msibench.metrics import psnr, skill, ssim
from msibench.plugin_manager import resolve_target
from msibench.plugin_manager.discovery import discover
from msibench.testing.mirror import mirrored
from msibench.weights import require, sha256_of

METHODS = ("swinir-msi-tiny", "mosr-msi-tiny", "mambair-msi-tiny")
HELD_OUT = {"slice_5", "slice_12", "slice_17", "slice_22", "slice_27", "slice_30"}


@pytest.fixture(scope="module")
def catalogue():
    return discover()


def record_of(spec, file=0):
    path = require(spec.weights[file])
    return json.loads(path.with_suffix(".json").read_text())


def upscaled(spec, low, factor=4):
    weights = {file.name: require(file) for file in spec.weights}
    method = resolve_target(spec.target)(**spec.config, **({"weights": weights} if weights else {}))
    given = Problem(low=low, factor=factor, protocol=f"area-x{factor}@1")
    return method.upscale(given)


@cache
def problems(dataset):
    """Return what is given and what is true, for every test section."""
    card = load_card(discover().dataset(dataset))
    return [
        protocol("area-x4@1").prepare(
            read_section(card, section).image, declared_range=card.declared_range
        )
        for section in card.test
    ]


@cache
def scores(method, dataset):
    """Return PSNR and SSIM, one row an ion image."""
    spec = discover().method(method)
    rows = []
    for made in problems(dataset):
        fine = np.clip(upscaled(spec, made.low), 0, 1)
        rows.append((psnr(fine, made.truth.values), ssim(fine, made.truth.values)))
    return np.concatenate(rows, axis=1).T


def lower_bound(values, rng):
    """Return the lower end of the paired 95 % bootstrap interval of the mean."""
    draws = rng.integers(len(values), size=(4000, len(values)))
    return np.quantile(values[draws].mean(axis=1), 0.025)


@pytest.mark.parametrize("name", METHODS)
def test_the_file_is_small_and_is_the_one_of_its_record(catalogue, name):
    spec = catalogue.method(name)
    path = require(spec.weights[0])
    record = record_of(spec)
    assert path.stat().st_size <= 4_000_000
    assert sha256_of(path) == spec.weights[0].sha256 == record["weights"]["sha256"]
    assert record["command"].startswith(f"msibench finetune {name} --from-scratch")
    assert record["licence"].startswith("Apache-2.0")


@pytest.mark.parametrize("name", METHODS)
def test_it_has_learned_from_training_sections_only(catalogue, name):
    spec = catalogue.method(name)
    learned = [entry["section"] for entry in record_of(spec)["data"]]
    assert tuple(learned) == spec.training_data
    for section in learned:
        dataset, _, inside = section.partition("/")
        assert dataset in {"lbae-mouse-brain", "phantom"}
        assert inside in load_card(catalogue.dataset(dataset)).train
        assert inside not in HELD_OUT


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        pytest.param(dataset, name, marks=pytest.mark.slow)
        for dataset in ("lbae-mouse-brain", "bladder")
        for name in METHODS
    ],
)
def test_it_beats_bicubic_on_what_it_has_not_seen(catalogue, name, dataset):
    mirrored(dataset)
    torch.manual_seed(0)
    card = load_card(catalogue.dataset(dataset))
    assert dataset != "lbae-mouse-brain" or set(card.test) == HELD_OUT
    difference = scores(name, dataset) - scores("bicubic", dataset)
    assert len(difference) == {"lbae-mouse-brain": 6, "bladder": 79}[dataset]
    rng = np.random.default_rng(0)
    for metric, values in zip(("psnr", "ssim"), difference.T, strict=True):
        assert lower_bound(values, rng) > 0, f"{name} on {dataset}: {metric} {values.mean():+.4f}"


def test_one_of_them_beats_bicubic_on_ions_of_the_bladder(catalogue):
    """The short version of all that is claimed of them."""
    mirrored("bladder")
    card = load_card(catalogue.dataset("bladder"))
    image = read_section(card, "bladder").image.select(slice(0, None, 10))
    made = protocol("area-x4@1").prepare(image, declared_range=card.declared_range)
    better = [
        psnr(np.clip(upscaled(catalogue.method(name), made.low), 0, 1), made.truth.values)
        for name in ("mosr-msi-tiny", "bicubic")
    ]
    assert lower_bound(better[0] - better[1], np.random.default_rng(0)) > 0


# --- dctlsa-msi: trained further from public weights, at x4 and x2 ---


def gains(catalogue, section, factor, channels):
    """Return PSNR and skill of `dctlsa-msi` minus those of back-projected bicubic, one row an ion image."""
    dataset, _, name = section.partition("/")
    card = load_card(catalogue.dataset(dataset))
    chosen = protocol(f"area-x{factor}@1")
    image = read_section(card, name).image.select(channels)
    made = chosen.prepare(image, declared_range=card.declared_range)
    truth = made.truth.values
    found = []
    for method in ("dctlsa-msi", "bicubic-backprojected"):
        fine = np.clip(upscaled(catalogue.method(method), made.low, factor), 0, 1)
        found.append([psnr(fine, truth), skill(fine, truth, protocol=chosen.name)])
    return (np.array(found[0]) - np.array(found[1])).T


@pytest.mark.parametrize("factor", [4, 2])
def test_the_files_of_dctlsa_msi_are_small_and_of_their_records(catalogue, factor):
    spec = catalogue.method("dctlsa-msi")
    index = [file.name for file in spec.weights].index(f"dctlsa-msi-x{factor}.safetensors")
    path, record = require(spec.weights[index]), record_of(spec, index)
    assert path.stat().st_size <= 4_000_000
    assert sha256_of(path) == spec.weights[index].sha256 == record["weights"]["sha256"]
    assert record["factor"] == factor
    assert record["config"]["back_project"] is True
    assert "seed" in record["request"]["training"]
    assert record["licence"].startswith("Apache-2.0")
    learned = [entry["section"] for entry in record["data"]]
    assert tuple(learned) == spec.training_data
    chosen_on = [entry["section"] for entry in record["validated_on"]]
    for section in (*learned, *chosen_on):
        dataset, _, inside = section.partition("/")
        assert inside in load_card(catalogue.dataset(dataset)).train
        assert inside not in HELD_OUT
    assert not set(learned) & set(chosen_on)


@pytest.mark.slow
@pytest.mark.parametrize("factor", [4, 2])
def test_dctlsa_msi_finds_more_detail_than_back_projection_on_held_out_brain(catalogue, factor):
    mirrored("lbae-mouse-brain")
    sections = [f"lbae-mouse-brain/{name}" for name in sorted(HELD_OUT)]
    difference = np.concatenate([gains(catalogue, s, factor, slice(1)) for s in sections])
    assert len(difference) == 6
    for values in difference.T:
        assert lower_bound(values, np.random.default_rng(0)) > 0


@pytest.mark.slow
@pytest.mark.parametrize("factor", [4, 2])
def test_dctlsa_msi_finds_more_detail_on_tissue_and_an_instrument_that_it_never_saw(
    catalogue, factor
):
    """Zinc on eight sections of human prostate by laser ablation: an interval over sections."""
    mirrored("laicpms-prostate")
    card = load_card(catalogue.dataset("laicpms-prostate"))
    difference = [
        gains(catalogue, f"laicpms-prostate/{name}", factor, slice(2, 3)).mean(axis=0)
        for name in card.test
    ]
    for values in np.array(difference).T:
        assert lower_bound(values, np.random.default_rng(0)) > 0


@pytest.mark.slow
def test_dctlsa_msi_finds_more_detail_on_ions_of_the_bladder(catalogue):
    mirrored("bladder")
    difference = gains(catalogue, "bladder/bladder", 4, slice(0, None, 5))
    for values in difference.T:
        assert lower_bound(values, np.random.default_rng(0)) > 0
