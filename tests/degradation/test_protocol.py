"""What a protocol promises to everything that is scored under it."""

import hashlib
import json
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from msibench.degradation import Scaling, families, protocol, protocol_families
from msibench.degradation.grid import crop_to_multiple
from msibench.degradation.repeats import second_measurements
from msibench.degradation.step import NoiseSource
from msibench.degradation.thinning import thin_counts
from msibench.errors import (
    ConfigurationError,
    DataError,
    MissingDataError,
    PluginError,
    UnknownNameError,
)
from msibench.image import MSImage, as_stack
from msibench.testing.mirror import mirrored

FROZEN = {
    # sha256 of the definitions for the factors 1 to 32. A line here is never edited: a definition
    # that changes gets a new version, and a new line.
    "area-xN@1": "11c19bf24f73383a2250d1b0da41dd91ae52a5b9a39da00f8fcc55aabe1d6c75",
    "area8-xN@1": "fe380ad0bc560cbd551ba8336c893ba5be8111df9b2e564f87fbe847fb424c59",
    "area-poisson-xN@1": "c4d0bd6c63df5cf58ddb79c46ae133bf535c389d80cd94053fd0890e9593e723",
    "area-poisson10-xN@1": "f46d4379f9c679265c5aec2d65464558b9800cdcbba5105263f1116b69b29443",
    "area-poisson1000-xN@1": "5c37a75296aad3d8ef2c21705b9549aa6947052ca0e51245991e1c80f4f18eae",
    "area-dropout-xN@1": "0bc04a7e80a60bfdab3a93c684c27c2983d1f79ad8db5e384cde57f9e6c4e301",
    "area-tic-xN@1": "7f025b3e429a4ec2f946375700f0354a8b88542ae119c74c7ecf8608471e3964",
    "thinned-area-xN@1": "7a411f1d092b753154e4f910b1f8040907cd560ea27c64c8b50f79d74f028336",
    "repeat-area-xN@1": "d6dab5da15385c0623da6fc596771b6814038def73425f14da63690584db9f61",
    "bicubic-xN@1": "f87dbb823a53af5ee0fe288865ee676e14f3d2cb1e1f518e43b0730dacc06e4e",
    "bicubic8-xN@1": "b9b35b04d905f295ce961fe489fa53f922af73c147855d00c754a4159efffad0",
    "matlab-xN@1": "68169eb3c589eeee47645d084c77b4993dc8ebeee07111d1fef42471c7688bd4",
    "matlab8-xN@1": "6ea334e2326e5e78579ac398a3d14283e00961c34ab1636d6d6315968dfd1138",
    "gaussian-xN@1": "d623d6814c660b6d54b3178d9ea88fd51fc30e0e5625cd82efea501134f0e4e6",
    "spot-xN@1": "ce087952dc502854b2da23a5ec3283762c89f829366880980489a459aa6f1e94",
}
NOISE_FREE = [
    name
    for name in protocol_families()
    if name.split("-xN")[0] in ("area", "bicubic", "matlab", "gaussian", "spot")
]


def named(family, factor):
    return protocol(family.replace("xN", f"x{factor}"))


def section(shape=(27, 38), channels=3, seed=0, **facts):
    values = np.random.default_rng(seed).gamma(0.5, 40.0, (channels, *shape))
    return as_stack(values, np.arange(channels) + 400.25, pixel_size_um=10.0, **facts)


def test_no_definition_changed_under_its_old_version():
    found = {}
    for family in protocol_families():
        definitions = [named(family, factor).definition() for factor in range(1, 33)]
        text = json.dumps(definitions, sort_keys=True, separators=(",", ":"))
        found[family] = hashlib.sha256(text.encode()).hexdigest()
    assert found == FROZEN


@pytest.mark.parametrize("family", protocol_families())
@pytest.mark.parametrize("factor", [1, 2, 5])
def test_every_protocol_makes_a_pair_on_matching_grids(family, factor):
    mask = np.random.default_rng(1).random((27, 38)) > 0.3
    chain = named(family, factor)
    known = {
        "norm": np.full((27, 38), 2.0),
        "counts_per_unit": np.full(3, 5.0),
        "repeats": {0: 1, 1: 2, 2: 0},
    }
    made = chain.prepare(section(mask=mask), **known)
    assert made.truth.shape == (27 - 27 % factor, 38 - 38 % factor)
    assert made.low.shape == (27 // factor, 38 // factor)
    assert made.cropped == (27 % factor, 38 % factor)
    assert made.low.pixel_size_um == 10.0 * factor
    assert made.truth.unit == made.low.unit == "scaled"
    assert made.truth.values.min() >= 0
    assert made.truth.values.max() == 1
    np.testing.assert_array_equal(made.low.mz, section().mz)
    assert any("cropped" in note for note in made.notes) == any(made.cropped)
    json.dumps(chain.definition(), allow_nan=False)


@pytest.mark.parametrize("family", NOISE_FREE)
@pytest.mark.parametrize("factor", [1, 3, 4])
def test_without_noise_the_low_image_is_exactly_the_degraded_truth(family, factor):
    chain = named(family, factor)
    made = chain.prepare(section())
    np.testing.assert_array_equal(chain.degrade(made.truth.values), made.low.values)


def test_counting_noise_is_drawn_around_the_degraded_truth():
    chain = protocol("area-poisson-x2@1")
    made = chain.prepare(section((120, 160)))
    clean = chain.degrade(made.truth.values)
    assert np.abs(made.low.values - clean).max() > 0.01
    ratio = np.mean((made.low.values - clean) ** 2) / np.mean(clean / 100)
    assert ratio == pytest.approx(1, rel=0.05)


def test_the_same_grid_is_returned_unchanged_at_factor_one():
    made = protocol("area-x1@1").prepare(section())
    np.testing.assert_array_equal(made.low.values, made.truth.values)


@given(st.integers(0, 5), st.permutations([0, 1, 2]))
@settings(max_examples=10)
def test_the_noise_of_an_ion_image_does_not_depend_on_the_other_ions(seed, order):
    image = section()
    chain = protocol("area-poisson-x3@1")
    whole = chain.prepare(image, seed=seed).low
    shuffled = chain.prepare(image.select(order), seed=seed).low
    np.testing.assert_array_equal(shuffled.values, whole.values[order])
    alone = chain.prepare(image.select([1]), seed=seed).low
    np.testing.assert_array_equal(alone.values[0], whole.values[1])


@pytest.mark.parametrize("family", ["area-poisson-x3@1", "area-dropout-x1@1"])
def test_the_low_image_depends_on_section_protocol_and_seed_alone(family):
    image = section((60, 60))
    first = protocol(family).prepare(image, seed=4)
    np.random.default_rng().random(7)
    again = protocol(family).prepare(image, seed=4)
    other = protocol(family).prepare(image, seed=5)
    np.testing.assert_array_equal(first.low.values, again.low.values)
    assert np.any(first.low.values != other.low.values)
    np.testing.assert_array_equal(first.truth.values, other.truth.values)


def test_preparing_leaves_the_section_untouched():
    image = section()
    protocol("bicubic8-x4@1").prepare(image)
    np.testing.assert_array_equal(image.values, section().values)


def test_a_declared_range_scales_every_channel_alike():
    levels = np.arange(256, dtype=np.float32).reshape(1, 16, 16)
    made = protocol("area-x2@1").prepare(as_stack(levels), declared_range=255)
    np.testing.assert_array_equal(made.scale, [255.0])
    np.testing.assert_allclose(made.truth.values, levels / 255, rtol=1e-7)


def test_without_a_declared_range_the_tissue_quantile_becomes_one():
    image = section((50, 40))
    mask = np.zeros((50, 40), dtype=bool)
    mask[10:40, 5:35] = True
    made = protocol("area-x2@1").prepare(as_stack(image.values, image.mz, mask=mask))
    expected = np.quantile(image.values[:, mask].astype(float), 0.999, axis=1)
    np.testing.assert_allclose(made.scale, expected)
    np.testing.assert_allclose(
        made.truth.values, np.clip(image.values / expected[:, None, None], 0, 1), rtol=1e-6
    )


def test_a_sparse_channel_uses_its_maximum_and_an_empty_one_one():
    values = np.zeros((2, 60, 50))
    values[0, 3, 4] = 7.0
    made = protocol("area-x2@1").prepare(as_stack(values))
    np.testing.assert_array_equal(made.scale, [7.0, 1.0])
    assert made.truth.values.max() == 1
    assert not made.truth.values[1].any()


def test_a_coarse_pixel_is_tissue_when_half_of_its_fine_pixels_are():
    mask = np.zeros((2, 6), dtype=bool)
    mask[0, 0:2] = True
    mask[0, 2] = True
    mask[:, 4:6] = True
    made = protocol("area-x2@1").prepare(as_stack(np.ones((1, 2, 6)), mask=mask))
    np.testing.assert_array_equal(made.low.mask, [[True, False, True]])


def test_a_pixel_that_was_not_measured_leaves_the_mask():
    values = np.ones((2, 4, 6), dtype=np.float32)
    values[1, 0, 0] = np.nan
    made = protocol("area-x2@1").prepare(as_stack(values))
    assert np.isfinite(made.truth.values).all()
    assert not made.truth.mask[0, 0]
    assert made.truth.mask.sum() == 23
    assert "not measured" in made.notes[0]


def test_eight_bit_protocols_hold_levels_of_a_byte_in_truth_and_low_image():
    made = protocol("bicubic8-x3@1").prepare(section())
    for image in (made.truth, made.low):
        levels = image.values * 255
        np.testing.assert_allclose(levels, np.round(levels), atol=1e-4)
        assert image.values.min() >= 0
        assert image.values.max() <= 1


def test_counts_are_carried_onto_the_scaled_axis():
    counts = np.array([1.0, 2.0, 0.5])
    made = protocol("area-x2@1").prepare(section(), counts_per_unit=counts)
    np.testing.assert_allclose(made.counts_per_unit, counts * made.scale)
    assert protocol("area-x2@1").prepare(section()).counts_per_unit is None


def test_normalisation_comes_before_scaling_and_needs_its_norm():
    image = section((20, 30))
    tic = np.random.default_rng(5).uniform(1, 9, (20, 30))
    made = protocol("area-tic-x2@1").prepare(image, norm=tic)
    ratio = image.values / tic
    expected = np.clip(ratio / np.quantile(ratio, 0.999, axis=(1, 2), keepdims=True), 0, 1)
    np.testing.assert_allclose(made.truth.values, expected, rtol=1e-5, atol=1e-7)
    with pytest.raises(MissingDataError, match="tic"):
        protocol("area-tic-x2@1").prepare(image)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("aera-x4@1", "area-x4@1"),
        ("area-x4", "area-x4@1"),
        ("bicubic-x04@1", "bicubic-x4@1"),
        ("area-poison-x8@1", "area-poisson-x8@1"),
        ("area-x4@2", "area-x4@1"),
        ("aera-x1@1", "area-x1@1"),
        ("aera-x32@1", "area-x32@1"),
        ("aera-x33@1", "area-x4@1"),
        ("aera-x0@1", "area-x4@1"),
        ("aera-x320@1", "area-x4@1"),
        ("aera-x00050@1", "area-x4@1"),
        ("aera-x0008@1", "area-x8@1"),
        ("area-x8@1 and something more", "area-x8@1"),
    ],
)
def test_an_unknown_protocol_gets_the_nearest_name(name, nearest):
    with pytest.raises(UnknownNameError, match=f"Did you mean '{nearest}'"):
        protocol(name)


@pytest.mark.parametrize("name", ["", "area", "area-x0@1", "area-x33@1", "area-x4@0", "@", "-x4@1"])
def test_what_is_no_protocol_is_refused(name):
    with pytest.raises(UnknownNameError):
        protocol(name)


def test_a_section_smaller_than_a_coarse_pixel_is_refused():
    with pytest.raises(ConfigurationError, match="smaller factor"):
        protocol("area-x8@1").prepare(section((7, 40)))


def test_infinite_intensities_and_sections_without_a_measured_pixel_are_refused():
    for value in (np.inf, np.nan):
        with pytest.raises(DataError):
            protocol("area-x2@1").prepare(as_stack(np.full((1, 4, 4), value)))


def test_wrong_shapes_are_refused():
    chain = protocol("area-x2@1")
    with pytest.raises(ConfigurationError, match="channel"):
        chain.degrade(np.ones((4, 4)))
    with pytest.raises(ConfigurationError, match="multiples"):
        chain.degrade(np.ones((1, 5, 4)))
    with pytest.raises(ConfigurationError, match="per channel"):
        chain.prepare(section(), counts_per_unit=np.ones(2))
    for wrong in ([1.0, 0.0, 2.0], [1.0, -1.0, 2.0], [1.0, np.nan, 2.0]):
        with pytest.raises(ConfigurationError, match="one positive number per channel"):
            chain.prepare(section(), counts_per_unit=np.array(wrong))
    with pytest.raises(ConfigurationError, match="declared_range"):
        chain.prepare(section(), declared_range=0)
    with pytest.raises(ConfigurationError, match="quantile"):
        Scaling(quantile=0)


def test_negative_intensities_are_set_to_zero_and_noted():
    values = np.ones((1, 4, 4))
    values[0, 0, 0] = -1
    made = protocol("area-x2@1").prepare(as_stack(values))
    assert made.truth.values.min() == 0
    assert "negative" in " ".join(made.notes)


def test_the_published_figure_of_six_mouse_brain_sections_is_reproduced():
    # 23.09 dB for bicubic x4: area mean down, Keys a = -0.75 up (torch, OpenCV), clipped to [0, 1].
    scores = []
    for number in (5, 12, 17, 22, 27, 30):
        pixels = tifffile.imread(mirrored(f"lbae-mouse-brain/slice_{number}.tiff"))
        made = protocol("area-x4@1").prepare(as_stack(pixels), declared_range=255)
        up = torch.nn.functional.interpolate(
            torch.from_numpy(made.low.values)[None],
            scale_factor=4,
            mode="bicubic",
            align_corners=False,
        )[0].numpy()
        error = np.mean((np.clip(up, 0, 1) - made.truth.values) ** 2, dtype=np.float64)
        scores.append(-10 * np.log10(error))
    assert np.mean(scores) == pytest.approx(23.09, abs=0.005)


def test_an_image_stack_keeps_its_other_facts():
    image = MSImage(np.ones((1, 4, 4), np.float32), np.array([500.5]), 20.0, ppm=5.0)
    made = protocol("area-x2@1").prepare(image)
    assert made.low.ppm == 5.0
    assert made.low.pixel_size_um == 40.0


def test_thinned_counts_are_two_independent_measurements():
    signal = np.full((2, 120, 160), 3.0)
    ions = np.array([4.0, 8.0])
    counted = np.random.default_rng(0).poisson(signal * ions[:, None, None]) / ions[:, None, None]
    chain = protocol("thinned-area-x4@1")
    made = chain.prepare(as_stack(counted, [400.0, 500.0]), counts_per_unit=ions, seed=1)
    scale = made.scale[:, None, None]
    np.testing.assert_allclose(made.counts_per_unit, ions * made.scale / 2)
    truth, low = made.truth.values * scale, made.low.values * scale
    whole = chain.degrade(counted)
    np.testing.assert_allclose(
        (chain.degrade(truth) + low) / 2, whole, rtol=0.05
    )  # clipped at the scale
    one, two = (part - part.mean((1, 2), keepdims=True) for part in (chain.degrade(truth), low))
    together = (one * two).sum((1, 2)) / np.sqrt((one**2).sum((1, 2)) * (two**2).sum((1, 2)))
    assert np.abs(together).max() < 0.08  # of 1200 coarse pixels; the same counts have 1
    again = chain.prepare(as_stack(counted, [400.0, 500.0]), counts_per_unit=ions, seed=1)
    np.testing.assert_array_equal(again.low.values, made.low.values)
    alone = chain.prepare(as_stack(counted[1:], [500.0]), counts_per_unit=ions[1:], seed=1)
    np.testing.assert_array_equal(alone.truth.values[0], made.truth.values[1])


def test_counts_that_are_not_on_record_cannot_be_thinned():
    chain = protocol("thinned-area-x4@1")
    with pytest.raises(MissingDataError, match="thinning needs the ion counts"):
        chain.prepare(section())
    values, noise = np.full((2, 8, 12), 3.0), NoiseSource(1, "p", np.array([400.0, 500.0]))
    assert thin_counts(values, np.array([0.5, 1.0]), noise)[0].shape == values.shape
    for wrong in ([0.5, 0.0], [np.inf, 1.0], [-1.0, 1.0]):
        with pytest.raises(MissingDataError, match="thinning needs the ion counts"):
            thin_counts(values, np.array(wrong), noise)


def test_the_low_image_of_a_repeat_is_of_the_second_measurement():
    rng = np.random.default_rng(3)
    signal = 20 + 200 * rng.random((8, 12)).repeat(2, 0).repeat(2, 1)
    values = np.stack([rng.poisson(signal), rng.poisson(0.25 * signal), rng.poisson(signal)])
    fine = MSImage(values.astype(np.float32), mz=[64.0, 66.0, 31.0], pixel_size_um=15.0)
    chain = protocol("repeat-area-x4@1")
    pair = fine.select([0, 1])
    made = chain.prepare(pair, repeats={0: 1, 1: 0})
    plain = protocol("area-x4@1").prepare(pair)
    np.testing.assert_array_equal(made.truth.values, plain.truth.values)
    second = values[1] * (values[0].sum() / values[1].sum())
    scaled = np.clip(second / made.scale[0], 0, 1)
    expected = scaled.reshape(4, 4, 6, 4).mean((1, 3))
    np.testing.assert_allclose(made.low.values[0], expected, rtol=1e-5)
    assert "second measurement" in " ".join(made.notes)
    with pytest.raises(MissingDataError, match=r"m/z 31\.0000 has none"):
        chain.prepare(fine, repeats={0: 1, 1: 0})
    with pytest.raises(MissingDataError, match="repeats"):
        chain.prepare(pair)


def test_independent_noise_gives_bicubic_the_gain_of_shared_noise():
    """Noise that truth and input share earns no detail gain: the split does not see it."""
    from scipy.ndimage import gaussian_filter, zoom

    from msibench.metrics import detail_gain

    rng = np.random.default_rng(5)
    signal = 300 * gaussian_filter((rng.random((128, 160)) > 0.97).astype(float), 2.5)
    values = np.stack([rng.poisson(signal), rng.poisson(signal)]).astype(np.float32)
    fine = MSImage(values, mz=[64.0, 66.0])
    gains = []
    for name, repeats in (("area-x4@1", None), ("repeat-area-x4@1", {0: 1, 1: 0})):
        made = protocol(name).prepare(fine, repeats=repeats)
        low = made.low.values[0].astype(float)
        cubic = np.maximum(zoom(low, 4, order=3, grid_mode=True, mode="nearest"), 0)
        gains.append(float(detail_gain(cubic, made.truth.values[0], protocol="area-x4@1")))
    assert gains[0] == pytest.approx(gains[1], abs=0.02)
    assert gains[0] > 0.02


def test_channels_without_an_mz_have_noise_of_their_own_place():
    def numbers(noise, channel):
        return noise.channel("x", channel).random(4).tolist()

    whole = NoiseSource(1, "p", np.array([np.nan, np.nan, 300.0]))
    assert numbers(whole, 0) != numbers(whole, 1)
    later = NoiseSource(1, "p", np.array([np.nan, 300.0]), first=1)
    assert numbers(later, 0) == numbers(whole, 1)
    assert numbers(later, 1) == numbers(whole, 2)
    assert numbers(NoiseSource(2, "p", whole.mz), 2) != numbers(whole, 2)
    assert numbers(NoiseSource(1, "q", whole.mz), 2) != numbers(whole, 2)
    assert whole.section("x").random() != whole.section("y").random()


def test_pixels_that_were_not_measured_leave_the_mask_that_there_is():
    values = np.ones((2, 8, 8), np.float32)
    values[1, 2, 3] = np.nan
    mask = np.ones((8, 8), bool)
    mask[6] = False
    for known, tissue in ((None, 63), (mask, 55)):
        image = MSImage(values, np.array([100.0, 200.0]), mask=known)
        found = protocol("area-x2@1").prepare(image)
        assert found.truth.mask.sum() == tissue
        assert not found.truth.mask[2, 3]
        assert not found.truth.values[:, 2, 3].any()
        groups = list(protocol("area-x2@1").prepare_in_groups(image, [slice(0, 1), slice(1, 2)]))
        for one in groups:
            np.testing.assert_array_equal(one.truth.mask, found.truth.mask)


def test_a_family_of_a_plugin_is_found_and_what_is_no_family_is_refused(monkeypatch):
    targets = {
        "own@1": "msibench.degradation.families:OWN",
        "odd@1": "msibench.degradation.families:FAMILIES",
    }
    plugins = {name: SimpleNamespace(target=target) for name, target in targets.items()}
    monkeypatch.setattr(families, "OWN", families.FAMILIES["area@1"], raising=False)
    monkeypatch.setattr(
        "msibench.plugin_manager.installed", lambda: SimpleNamespace(protocols=plugins)
    )
    assert families.find_family("own@1") is families.FAMILIES["area@1"]
    assert families.find_family("area@1") is families.FAMILIES["area@1"]
    assert families.find_family("none@1") is None
    with pytest.raises(
        PluginError, match=r"'odd@1': .*FAMILIES' must be a msibench\.degradation\.Family"
    ):
        families.find_family("odd@1")


def test_sections_in_groups_are_made_with_the_seed_of_whole_ones():
    image = MSImage(np.full((2, 8, 8), 50, np.float32), np.array([100.0, 200.0]), unit="counts")
    chain = protocol("area-poisson10-x2@1")
    whole = chain.prepare(image)
    groups = [slice(0, 1), slice(1, 2)]
    for options in ({}, {"seed": 0}):
        parts = [one.low.values for one in chain.prepare_in_groups(image, groups, **options)]
        np.testing.assert_array_equal(np.concatenate(parts), whole.low.values)


def test_the_least_image_behind_a_single_low_one_is_that_of_the_stack():
    low = np.random.default_rng(0).random((2, 5, 6))
    chain = protocol("area-x2@1")
    np.testing.assert_array_equal(chain.least_norm(low[0]), chain.least_norm(low)[0])
    with pytest.raises(ConfigurationError, match=r"expected images \(\.\.\., row, column\)"):
        chain.least_norm(low[0, 0])


def test_the_numbers_of_a_channel_follow_from_seed_protocol_operator_and_mz_alone():
    noise = NoiseSource(7, "area-x4@1", np.array([300.5, np.nan]), first=2)
    for name, stream in (
        ("blur|mz 0x1.2c80000000000p+8", noise.channel("blur", 0)),
        ("blur|channel 3", noise.channel("blur", 1)),
        ("blur|section", noise.section("blur")),
    ):
        digest = hashlib.sha256(f"7|area-x4@1|{name}".encode()).hexdigest()
        wanted = np.random.Generator(np.random.PCG64(int(digest[:32], 16)))
        assert stream.random(3).tolist() == wanted.random(3).tolist()


def test_what_is_said_of_a_section_is_said_of_what_was_done_alone():
    plain = protocol("area-x1@1").prepare(section())
    (clipped,) = plain.notes
    assert "above the scale" in clipped
    assert plain.truth.mask is plain.low.mask is None
    cut = protocol("area-x5@1").prepare(section())
    assert cut.notes[0] == (
        "cropped 2 rows and 3 columns at the lower and right edge: "
        "27 x 38 pixels are not a multiple of 5"
    )
    counts = np.array([1.0, 2.0, 0.5])
    normalised = protocol("area-tic-x1@1").prepare(
        section(), counts_per_unit=counts, norm=np.full((27, 38), 2.0)
    )
    assert normalised.counts_per_unit is None
    assert normalised.notes[0] == "normalised by tic before scaling"
    assert normalised.notes[-1].startswith("ion counts per intensity vary between pixels")


@pytest.mark.parametrize("shape", [(4, 5), (5, 4), (4, 4), (2, 2)])
def test_what_is_cut_off_lies_below_and_to_the_right(shape):
    image = as_stack(np.arange(float(np.prod(shape))).reshape(1, *shape))
    found, cut = crop_to_multiple(image, 2)
    assert cut == (shape[0] % 2, shape[1] % 2)
    kept = image.values[:, : shape[0] - cut[0], : shape[1] - cut[1]]
    np.testing.assert_array_equal(found.values, kept)


def test_whole_numbers_are_degraded_to_their_means():
    low = protocol("area-x2@1").degrade(np.array([[[1, 2], [2, 2]]]))
    assert (low.dtype, low.tolist()) == (np.float64, [[[1.75]]])
    single = np.ones((1, 2, 2), np.float32)
    assert protocol("area-x2@1").degrade(single).dtype == np.float32


def test_the_truth_is_left_out_once_it_is_on_disk():
    made = protocol("area-x2@1").prepare(section((4, 6)))
    left = made.without_truth()
    assert left.truth.values.shape == (0, 4, 6)
    assert left.truth.mz.size == 0
    assert left.low is made.low
    assert left.truth.pixel_size_um == 10.0


def test_a_second_measurement_is_brought_to_the_total_of_what_was_measured():
    values = np.zeros((2, 2, 2), np.float32)
    values[0], values[1] = [[8, 1], [2, 3]], [[9, 0.25], [0, 0.25]]
    fine = MSImage(values, np.array([64.0, 66.0]))
    missing = np.array([[True, False], [False, False]])
    found = second_measurements(fine, slice(0, 1), {0: 1}, missing)
    np.testing.assert_allclose(found, [[[0, 3], [0, 3]]])  # 6 measured, 0.5 measured again
    both = second_measurements(fine, slice(0, 2), {0: 1, 1: 0})
    np.testing.assert_allclose(both.sum(axis=(1, 2)), [14, 9.5])
    np.testing.assert_allclose(both[1], values[0] * 9.5 / 14, rtol=1e-6)
    empty = MSImage(np.stack([values[0], 0 * values[0]]), np.array([64.0, 66.0]))
    with pytest.raises(MissingDataError, match=r"of m/z 64\.0000 holds nothing"):
        second_measurements(empty, slice(0, 1), {0: 1})


def test_halves_of_counts_add_up_and_nothing_is_halved_into_nothing():
    values = np.array([[[0.0, 0.5], [1.0, 20.0]]])
    noise = NoiseSource(1, "p", np.array([400.0]))
    one, two = thin_counts(values, np.array([2.0]), noise)
    np.testing.assert_array_equal((one + two) / 2, values)
    assert (one[0, 0, 0], two[0, 0, 0]) == (0, 0)
    negative, rest = thin_counts(-values, np.array([2.0]), noise)
    assert not negative.any()
    assert not rest.any()


def test_an_ion_of_which_nothing_was_measured_is_named():
    values = np.ones((2, 8, 8), np.float32)
    values[1] = np.nan
    section = MSImage(values=values, mz=(400.0, 500.0), pixel_size_um=10.0)
    with pytest.raises(DataError, match=r"nothing but NaN in m/z 500\.0000; leave out such ions"):
        protocol("area-x4@1").prepare(section)
