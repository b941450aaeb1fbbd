"""mb.advise: told from the coarse image alone, held against the fine truth."""

import json

import numpy as np
import pytest
from scipy.stats import spearmanr

import msibench as mb
from msibench.degradation import area_mean
from msibench.metrics import skill

FAST = ("bilinear", "bicubic", "lanczos3")


def anatomy(shape, seed):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = 0.2 + 0.1 * np.sin(y / 9)
    for row, column, size in rng.uniform((0, 0, 3), (*shape, 9), (40, 3)):
        image += rng.uniform(0.2, 1) * np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * size**2))
    return image


def fine_section(counts=(0.3, 1, 3, 10, 30, 100, 300, 1000), shape=(128, 144), seed=0):
    images = [
        np.random.default_rng([seed, k]).poisson(n * anatomy(shape, seed + k))
        for k, n in enumerate(counts)
    ]
    return mb.MSImage(np.array(images, dtype=np.float32), 400 + np.arange(len(counts)), 10.0)


def coarse(fine, factor):
    low = area_mean(fine.values, factor).astype(np.float32)
    return mb.MSImage(low, fine.mz, fine.pixel_size_um * factor)


@pytest.mark.parametrize(("factor", "rows"), [(2, 128), (3, 120), (4, 128)])
def test_what_is_told_of_the_coarse_image_is_what_the_fine_one_shows(factor, rows):
    fine = fine_section(shape=(rows, 144))
    told = mb.advise(coarse(fine, factor), factor, methods=FAST)
    done = mb.upscale(coarse(fine, factor), "bicubic", factor=factor)
    true = skill(done.values, fine.values, protocol=f"area-x{factor}@1")
    expected = told.per_ion["bicubic"]
    assert spearmanr(true, expected).statistic >= 0.75
    assert np.abs(true - expected)[:2].max() < 0.05  # where noise decides


def test_noise_alone_is_to_be_kept():
    rng = np.random.default_rng(0)
    low = mb.MSImage(rng.poisson(3, (4, 50, 60)).astype(np.float32), np.arange(4.0), 20.0)
    told = mb.advise(low, 2, methods=FAST)
    assert told.recommended == "keep"
    assert all(ion.method == "keep" and ion.reason for ion in told.ions)
    assert told.effective_um == 20.0
    assert "keep what you measured" in told.sentence()


def test_everything_is_json_and_text():
    low = coarse(fine_section(counts=(0, 5, 500)), 2)
    told = mb.advise(low, 2, methods=(*FAST, "swinir-msi-tiny"))
    facts = json.loads(json.dumps(told.to_json(), allow_nan=False))
    assert facts["factor"] == 2
    assert {ion["name"] for ion in facts["ions"]} == set(low.channel_names())
    assert facts["ions"][-1]["reason"] == "nothing is present"
    assert "factor 4, not 2" in facts["left_out"]["swinir-msi-tiny"]
    assert [one["time"] for one in facts["finer"]] == [4, 16]
    assert "Measure finer instead?" in str(told)
    assert "m/z 402.0000" in str(told)


def test_a_guide_that_shows_something_else_paints_and_is_not_recommended():
    fine = fine_section(counts=(300, 1000))
    low = coarse(fine, 2)
    rng = np.random.default_rng(3)
    wrong = mb.GuideImage(rng.random((3, *fine.shape)).astype(np.float32))
    told = mb.advise(low, 2, guide=wrong, methods=("bicubic", "guided-filter", "ridge"))
    assert {one.method for one in told.guide} == {"guided-filter", "ridge"}
    assert all(one.verdict != "helps" for one in told.guide)
    right = fine.values / fine.values.max((1, 2), keepdims=True)
    told = mb.advise(low, 2, guide=mb.GuideImage(right), methods=("bicubic", "guided-filter"))
    assert [one.verdict for one in told.guide] == ["helps"]


def test_bad_input_is_refused_with_the_reason():
    small = mb.MSImage(np.ones((1, 10, 10), dtype=np.float32), np.array([400.0]))
    with pytest.raises(mb.MSIBenchError, match="100 tissue pixels"):
        mb.advise(small, 2)
    with pytest.raises(mb.MSIBenchError, match="at least 2"):
        mb.advise(coarse(fine_section(counts=(5,)), 2), 1)
    with pytest.raises(mb.MSIBenchError, match="No method named 'sharpest'"):
        mb.advise(coarse(fine_section(counts=(5,)), 2), 2, methods=("sharpest",))


METHODS = """
import numpy as np

class Random:
    def upscale(self, problem):
        fine = problem.low.values.repeat(problem.factor, 1).repeat(problem.factor, 2)
        drawn = np.random.default_rng(problem.seed).uniform(0.5, 1.5, fine.shape)
        return np.nan_to_num(fine * drawn).astype(np.float32)

class Fails:
    def upscale(self, problem):
        raise RuntimeError("no such luck")

class NotFinite:
    def upscale(self, problem):
        return np.full((problem.low.channels, *problem.fine_shape), np.nan, np.float32)
"""


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.py").write_text(METHODS)
    return tmp_path / "mine.py"


def test_a_method_that_fails_costs_its_own_line_and_a_random_one_is_averaged(mine):
    low = coarse(fine_section(counts=(50, 500), shape=(64, 72)), 2)
    names = [f"{mine}:{name}" for name in ("Random", "Fails", "NotFinite")]
    told = mb.advise(low, 2, methods=("bicubic", *names))
    assert told.averaged == (names[0],)
    assert "the mean of 5 seeds" in str(told)
    assert "no such luck" in told.left_out[names[1]]
    assert "NaN" in told.left_out[names[2]]
    assert set(told.methods) == {"bicubic", names[0]}
    one = mb.upscale(low, names[0], factor=2).values
    alone = skill(one, fine_section(counts=(50, 500), shape=(64, 72)).values, protocol="area-x2@1")
    assert (told.per_ion[names[0]] > alone).all(), "less noise in a mean"


def test_a_network_is_tried_on_one_thread(monkeypatch):
    """On a busy machine a second one only waits for the first."""
    import torch

    from msibench.advice import energies

    threads = torch.get_num_threads()
    seen = []

    usual = energies.added

    def added(*args, **kwargs):
        seen.append(torch.get_num_threads())
        return usual(*args, **kwargs)

    monkeypatch.setattr(energies, "added", added)
    torch.set_num_threads(2)
    try:
        for name in ("swinir-msi-tiny", "bicubic"):
            mb.advise(coarse(fine_section(counts=(50,)), 4), 4, methods=(name,))
        assert seen == [1, 2], "a network, and what is not one"
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_nothing_present_is_refused_and_an_ion_that_was_never_measured_is_not():
    low = coarse(fine_section(counts=(0, 0)), 2)
    with pytest.raises(mb.MSIBenchError, match="no signal in any of the 2 ion images"):
        mb.advise(low, 2, methods=FAST)
    low = coarse(fine_section(counts=(100, 100)), 2)
    low.values[1] = np.nan
    told = mb.advise(low, 2, methods=FAST)
    assert told.ions[-1].reason == "nothing is present"
    assert "nan" not in str(told)


def test_what_the_sentence_says_is_of_the_ions_that_may_be_sharpened():
    told = mb.advise(coarse(fine_section(counts=(0, 0.3, 0.3, 1000)), 2), 2, methods=FAST)
    may = [ion for ion in told.ions if ion.method != "keep"]
    assert len(may) == 1
    gain = told.per_ion[told.recommended][may[0].channel]
    assert f"sharpen 1 of 4 ions with {told.recommended}: expected skill {gain:.0%}" in str(told)
    assert told.effective_um < 0.95 * told.pixel_size_um
    assert all(one.gain > 0.3 for one in told.finer)


def test_counts_are_those_of_a_tissue_pixel():
    rng = np.random.default_rng(2)
    mask = np.zeros((80, 80), dtype=bool)
    mask[10:50, 20:60] = True
    image = rng.poisson(50, (1, 80, 80)) * mask
    low = mb.MSImage(image.astype(np.float32), np.arange(1.0), 20.0, mask=mask)
    told = mb.advise(low, 2, methods=FAST)
    assert 25 < told.ions[0].counts < 100
