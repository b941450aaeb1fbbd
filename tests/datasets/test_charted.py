"""The charted phantom, and what every fusion method must do on it."""

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from msibench import GuideImage, MSImage, Problem
from msibench.contracts.method import Task
from msibench.datasets import load_card, read_section
from msibench.degradation import area_mean, protocol
from msibench.errors import UnknownNameError
from msibench.plugin_manager import resolve_target
from msibench.plugin_manager.discovery import discover
from msibench.training.ions import magnify, scale_ions
from msibench_datasets.charted.generator import CHANNELS, HELD, NOT_HELD, make_charted

CATALOGUE = discover()
CARD = load_card(CATALOGUE.dataset("charted"))
SMALL = (64, 80)
EVERY = tuple(range(len(CHANNELS)))
AT_ONCE = (
    "ols", "ridge", "pls", "guided-filter", "joint-bilateral", "guided-filter+consistent",
)  # fmt: skip
FITTED = (
    "pixtransform-quick", "smsdl-net-quick", "cnn3-footprint-quick", "unet-footprint-quick",
    "lcrn-footprint-quick",
)  # fmt: skip
CANNOT = {
    "cnn3-quick": "fitted to the bilinear image",
    "unet-quick": "fitted to the bilinear image",
    "lcrn-quick": "fitted to the bilinear image and to the guide's own edges",
}
"""Quick methods that do not beat interpolation on what the guide holds, and why; their pages say so."""
SOME = (0, 1, 3, 6, 7, 9)
"""Channels for methods that fit a network an ion: four that the guide holds, two that it does not."""
FEW = (0, 1, 7)
"""Of these, two that the guide holds and one that it does not."""


def psnr(images, truth):
    peak = np.ptp(truth, axis=(1, 2)) ** 2
    error = np.square(images.astype(np.float64) - truth).mean((1, 2))
    return 10 * np.log10(peak / np.maximum(error, 1e-14))


@cache
def charted(shape=SMALL, seed=1, counts=None):
    return make_charted(seed=seed, shape=shape, counts=counts)


def upscaled(name, guide, channels=EVERY, factor=4, section=None):
    """Return the PSNR of every channel."""
    section = section or charted()
    image = MSImage(section.ions, section.mz).select(list(channels))
    chosen = protocol(f"area-x{factor}@1")
    prepared = chosen.prepare(image)
    given = Problem(
        low=prepared.low,
        factor=factor,
        guide=GuideImage(guide),
        second=MSImage(section.second, section.second_mz),
        protocol=chosen.name,
    )
    spec = CATALOGUE.method(name)
    fine = resolve_target(spec.target)(**spec.config).upscale(given)
    return psnr(fine, prepared.truth.values)


def wrong_guides():
    turned = charted().guide[:, ::-1, ::-1].copy()
    return turned, charted(seed=2).guide


# --- the generator ---


def test_the_same_seed_gives_the_same_section_and_another_gives_another():
    again = make_charted(seed=1, shape=SMALL)
    np.testing.assert_array_equal(again.ions, charted().ions)
    np.testing.assert_array_equal(again.second, charted().second)
    assert np.abs(charted(seed=2).ions - again.ions).mean() > 0.05


def test_linear_ions_are_linear_in_the_colours_of_the_guide():
    colours = np.vstack([charted().guide.reshape(3, -1), np.ones(SMALL[0] * SMALL[1])]).T
    for ion, image in zip(CHANNELS, charted().ions, strict=True):
        left = image.ravel() - colours @ np.linalg.lstsq(colours, image.ravel())[0]
        exact = left.std() < 1e-5
        assert exact == (
            ion in ("linear", "linear, reversed contrast", "linear, difference of colours")
        )


def test_ions_that_the_guide_holds_are_equal_where_its_colours_are():
    """All but the one whose slope drifts: a table from colour to intensity reproduces them."""
    from scipy.spatial import cKDTree

    large = charted(shape=(160, 200))
    colours = large.guide.reshape(3, -1).T.astype(float)
    near = cKDTree(colours).query(colours, k=2)[1][:, 1]
    for ion, image in zip(CHANNELS, large.ions, strict=True):
        flat = image.ravel()
        unlike = np.abs(flat - flat[near]).mean() / flat.std()
        if ion in HELD and "drifts" not in ion:
            assert unlike < 0.06, ion
        elif ion in NOT_HELD:
            assert unlike > 0.25, ion


def test_ions_that_the_guide_does_not_hold_follow_none_of_its_colours():
    large = charted(shape=(160, 200))
    for image in large.ions[len(HELD) :]:
        for band in large.guide:
            assert abs(np.corrcoef(image.ravel(), band.ravel())[0, 1]) < 0.15  # by chance


def test_counts_are_poisson_about_the_signal():
    noisy = make_charted(seed=1, shape=SMALL, counts=60)
    exact = charted()
    np.testing.assert_allclose(noisy.expected, exact.expected * 60, rtol=1e-5)
    spread = (noisy.ions - noisy.expected) / np.sqrt(np.maximum(noisy.expected, 1e-9))
    bright = noisy.expected > 5
    assert abs(spread[bright].mean()) < 0.05
    assert abs(spread[bright].std() - 1) < 0.05
    assert (noisy.ions == np.rint(noisy.ions)).all()


def test_the_card_names_sections_of_every_kind():
    exact, moved = (read_section(CARD, name) for name in ("exact-1", "moved-1"))
    np.testing.assert_array_equal(exact.image.values, moved.image.values)
    assert np.abs(exact.guide.values - moved.guide.values).mean() > 0.01
    assert exact.second.channels == 20
    assert read_section(CARD, "poor-1").second.channels == 4
    dose = read_section(CARD, "dose60-1", "held")
    assert dose.image.channels == len(HELD)
    np.testing.assert_array_equal(dose.counts_per_unit, 1)
    np.testing.assert_allclose(dose.noise_free, exact.image.values[: len(HELD)] * 60, rtol=1e-5)
    assert read_section(CARD, "exact-1", "not-held").image.mz.tolist() == list(NOT_HELD.values())
    with pytest.raises(UnknownNameError):
        read_section(CARD, "exact-99")


def test_a_dose_with_a_moved_guide_is_that_dose_with_the_guide_of_the_moved_section():
    card = load_card(CATALOGUE.dataset("charted-moved"))
    assert card.parameters == CARD.parameters
    moved = read_section(CARD, "moved-1").guide.values
    for name in card.sections:
        both, dose = read_section(card, name), read_section(CARD, name)
        assert both.dataset == "charted-moved"
        np.testing.assert_array_equal(both.image.values, dose.image.values)
        np.testing.assert_array_equal(both.second.values, dose.second.values)
        np.testing.assert_array_equal(both.noise_free, dose.noise_free)
        np.testing.assert_array_equal(both.guide.values, moved)


def test_the_small_card_is_a_section_of_the_same_generator():
    """Its reader lies beside the generator, whose code its key so holds, too."""
    spec = CATALOGUE.dataset("charted-small")
    card = load_card(spec)
    small = (card.parameters["rows"], card.parameters["columns"])
    made, section = charted(shape=small), read_section(card, "exact-1")
    assert section.dataset == "charted-small"
    np.testing.assert_array_equal(section.image.values, made.ions)
    np.testing.assert_array_equal(section.guide.values, made.guide)
    for name, ion in (("held", "linear, reversed contrast"), ("not-held", "islands")):
        (mz,) = read_section(card, "exact-1", name).image.mz
        assert CHANNELS[list(made.mz).index(mz)] == ion
    assert Path(spec.reader.rpartition(":")[0]).parent.resolve() == CARD.folder.resolve()


# --- the gate: what the guide holds, and what it does not ---


def test_every_fusion_method_has_its_place_here():
    """A method that is added must beat interpolation on what the guide holds, or say why it cannot."""
    quick = {
        name
        for name, spec in CATALOGUE.methods.items()
        if spec.task is Task.GUIDED and spec.budget in ("", "quick") and not spec.control
    }
    assert quick == {*AT_ONCE, *FITTED, *CANNOT} - {"guided-filter+consistent"}


@pytest.mark.parametrize("factor", [4, 8, 16])
@pytest.mark.parametrize("name", AT_ONCE)
def test_what_the_guide_holds_is_found(name, factor):
    held = slice(len(HELD))
    bicubic = upscaled("bicubic", charted().guide, factor=factor)[held]
    found = upscaled(name, charted().guide, factor=factor)[held]
    assert found.mean() > bicubic.mean() + 1.5
    reversed_contrast = list(HELD).index("linear, reversed contrast")
    assert found[reversed_contrast] > bicubic[reversed_contrast] + 1.5


@pytest.mark.parametrize("name", AT_ONCE)
def test_what_it_does_not_hold_gains_no_more_than_with_wrong_guides(name):
    rest = slice(len(HELD), None)
    true = upscaled(name, charted().guide)[rest].mean()
    wrong = [upscaled(name, guide)[rest].mean() for guide in wrong_guides()]
    assert true < max(wrong) + 0.3
    alone = f"bicubic{'+consistent' if name.endswith('+consistent') else ''}"
    assert true < upscaled(alone, charted().guide)[rest].mean() + 0.3


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        pytest.param("pixtransform-quick", FEW, marks=pytest.mark.slow),
        ("cnn3-footprint-quick", FEW),
        *(pytest.param(name, SOME, marks=pytest.mark.slow) for name in FITTED),
    ],
)
def test_fitted_networks_find_what_the_guide_holds_and_nothing_else(name, channels):
    count = sum(channel < len(HELD) for channel in channels)
    held, rest = slice(count), slice(count, None)
    bicubic = upscaled("bicubic", charted().guide, channels)
    true = upscaled(name, charted().guide, channels)
    wrong = upscaled(name, wrong_guides()[0], channels)
    assert true[held].mean() > bicubic[held].mean() + 1.5
    assert wrong[held].mean() < bicubic[held].mean()
    assert true[rest].mean() < max(wrong[rest].mean(), bicubic[rest].mean()) + 0.3


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("cnn3-quick", SOME[:2]),
        *(pytest.param(name, SOME[:4], marks=pytest.mark.slow) for name in CANNOT),
    ],
)
def test_networks_that_are_told_the_bilinear_image_lose_to_interpolation(name, held):
    fitted = upscaled(name, charted().guide, held)
    assert fitted.mean() < upscaled("bicubic", charted().guide, held).mean()


def test_the_bilinear_image_is_the_wrong_teacher():
    """Of an ion that is exactly linear in the guide, least squares finds everything through the footprint,
    and from the bilinear image a map that blurs: no budget of a network mends that."""
    section = charted()
    ion = list(HELD).index("linear, reversed contrast")
    truth = section.ions[ion]
    low = MSImage(area_mean(section.ions[ion : ion + 1], 4), section.mz[ion : ion + 1])
    ions = scale_ions(low)
    bilinear = magnify(ions, slice(None), 4, range(SMALL[0]), range(SMALL[1]))[0]
    bilinear = ions.restore(bilinear)[0]

    def fitted(guide, target):
        flat = np.vstack([guide.reshape(3, -1), np.ones(target.size)]).T
        fine = np.vstack([section.guide.reshape(3, -1), np.ones(truth.size)]).T
        painted = fine @ np.linalg.lstsq(flat, target.ravel())[0]
        return psnr(painted.reshape(1, *SMALL), truth[None])[0]

    through_footprint = fitted(area_mean(section.guide, 4), low.values[0])
    from_bilinear = fitted(section.guide, bilinear)
    interpolated = psnr(bilinear[None], truth[None])[0]
    assert through_footprint > 60
    assert from_bilinear < interpolated + 6
    assert from_bilinear < 30


@pytest.mark.slow
def test_cca_needs_a_second_modality_as_rich_as_the_ions():
    found = {}
    for name in ("exact-1", "poor-1"):
        section = read_section(CARD, name)
        prepared = protocol("area-x4@1").prepare(section.image)
        given = Problem(low=prepared.low, factor=4, second=section.second)
        for method in ("bicubic", "cca-regression"):
            spec = CATALOGUE.method(method)
            fine = resolve_target(spec.target)(**spec.config).upscale(given)
            found[name, method] = psnr(fine, prepared.truth.values).mean()
    assert found["exact-1", "cca-regression"] > found["exact-1", "bicubic"] + 10
    assert found["poor-1", "cca-regression"] < found["poor-1", "bicubic"]


def test_the_committed_board_shows_the_same():
    """On the large section, by skill: who beats interpolation there is who does here."""
    folder = Path(__file__).parents[2] / "leaderboards" / "charted-held-x4"
    table = pd.read_csv(folder / "leaderboard.csv").set_index("method")["composite"].astype(float)
    able = [name for name in (*AT_ONCE, *FITTED) if name in table]
    assert len(able) > len(AT_ONCE)
    for name in able:
        assert table[name] > table["bicubic"], name
    for name in CANNOT:
        assert table[name] < 0 < table["bicubic"], name
