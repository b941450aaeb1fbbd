"""Noise, intervals and explanations: each step of an estimate on a case small enough to do by hand."""

from importlib import import_module

import numpy as np
import pytest

from msibench.contracts.metric import Evaluation
from msibench.degradation import protocol
from msibench.image import as_stack
from msibench.metrics import guide_leakage, noise_ceiling
from msibench.metrics.detail_specs import NO_DETAIL

leakage, lending, ceiling, noise, intervals, together = (
    import_module(f"msibench.metrics.{name}")
    for name in (
        "guide_leakage", "guide_lending", "detail_ceiling", "noise_ceiling", "interval",
        "colocalisation",
    )
)  # fmt: skip
CHAIN = protocol("area-x4@1")
RNG = np.random.default_rng(0)


# -- noise -------------------------------------------------------------------------------------


def test_noise_is_the_median_haar_coefficient_of_each_level_over_0_6745(monkeypatch):
    """Two levels of brightness; in each a quarter of the blocks hold structure, which is larger."""
    normal = 0.6744897501960817
    blocks = np.zeros((2, 40, 4))
    for level, (bright, step) in enumerate(((10.0, 1.0), (50.0, 4.0))):
        size = step * np.where(np.arange(40) % 4 < 3, 1.0, 9.0)
        blocks[level] = bright
        blocks[level, :, 0] += size  # (a - b - c + d) / 2 is half of it
    levels = blocks.mean((1, 2))
    image = blocks.reshape(8, 10, 2, 2).transpose(0, 2, 1, 3).reshape(16, 20)
    whole = np.ones((8, 10), bool)
    around = np.full((16, 20), levels.mean())
    around[0], around[1] = 0.0, 1e3  # beyond both levels
    monkeypatch.setattr(noise, "GROUP", 81)
    (one,) = np.unique(noise._noise_by_level(image, around, whole))
    assert one == pytest.approx(2.0 / normal)  # of 0.5, 2.0, 4.5 and 18: 30, 30, 10 and 10 times
    monkeypatch.setattr(noise, "GROUP", 40)
    found = noise._noise_by_level(image, around, whole)
    for row, wanted in ((0, 0.5), (1, 2.0), (2, (0.5 + 2.0) / 2)):
        np.testing.assert_allclose(found[row], wanted / normal)
    upper = whole.copy()
    upper[4:] = False
    (one,) = np.unique(noise._noise_by_level(image, around, upper))
    assert one == pytest.approx(0.5 / normal)
    assert np.isnan(noise._noise_by_level(image, around, np.zeros((8, 10), bool))).all()
    assert np.isnan(noise._noise_by_level(np.zeros((16, 20)), around, whole)).all()


def test_where_most_blocks_are_even_the_noise_is_their_root_mean_square():
    image = np.full((20, 20), 3.0)
    image[::4, ::4] += 2.0  # a quarter of the blocks have a coefficient of 1
    (found,) = np.unique(noise._noise_by_level(image, image, np.ones((10, 10), bool)))
    assert found == pytest.approx(np.sqrt(25 * 1.0**2 / 100))


def test_the_noise_map_is_nothing_outside_the_mask_and_where_nothing_was_counted():
    image = 5 + RNG.normal(0, 0.3, (3, 41, 61))
    image[:, 7, 9] = 0.0
    mask = np.ones((41, 61), bool)
    mask[:, 50:] = False
    for inside in (None, mask):
        found = noise.noise_map(image, inside)
        known = (image != 0) & (True if inside is None else inside)
        assert (found[~known] == 0).all()
        assert (found[known] > 0).all()
        assert found[known].mean() == pytest.approx(0.3, rel=0.1)
    np.testing.assert_array_equal(noise.noise_map(image[1]), noise.noise_map(image)[1])
    assert np.isnan(noise.noise_map(np.zeros((4, 6)))).all()


def test_a_block_tells_something_where_one_of_its_pixels_was_counted():
    for place in np.ndindex(2, 2):
        image = np.zeros((2, 2))
        image[place] = 3.0
        found = noise._noise_by_level(image, image, np.ones((1, 1), bool))
        np.testing.assert_allclose(found, 1.5 / 0.6744897501960817)


def test_the_noise_of_a_pixel_is_that_of_the_mean_of_five_by_five_around_it():
    image = np.sort(RNG.gamma(1.0, size=(24, 36)), axis=1)  # brighter, and noisier, to the right
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(image, 2, mode="symmetric"), (5, 5))
    wanted = noise._noise_by_level(image, windows.mean((-2, -1)), np.ones((12, 18), bool))
    np.testing.assert_allclose(noise.noise_map(image), wanted)
    assert len(np.unique(wanted)) > 100


def test_an_estimated_signal_has_its_estimated_noise_put_on_it():
    image = 5 + RNG.normal(0, 0.3, (12, 14))
    mask = np.ones((12, 14), bool)
    mask[:, 10:] = False
    model = noise._Model.of(image, None, mask)
    sigma = noise.noise_map(image, mask)
    assert (model.ions, model.told) == (None, True)
    np.testing.assert_array_equal(model.sigma, sigma)
    np.testing.assert_array_equal(model.signal, noise._wiener(image, sigma**2))
    normal = np.random.default_rng(3).standard_normal((12, 14))
    measured = model.measured(np.random.default_rng(3))
    np.testing.assert_allclose(measured, model.signal + sigma * normal)
    assert not noise._Model.of(np.full((12, 14), 5.0), None, None).told
    assert noise._Model.of(image, 5.0, None).sigma.size == 0
    stack = np.stack([image, image**2])
    for place, one in enumerate(stack):
        np.testing.assert_allclose(noise._wiener(stack, None)[place], noise._wiener(one, None, 1.0))


def test_a_ceiling_that_is_not_told_is_that_of_the_seed_0():
    truth = RNG.poisson(8.0, (12, 14)) / 10.0

    def first_pixel(signal, measured):
        return measured[0, 0]

    plain, first, second = (
        float(noise_ceiling(first_pixel, truth, counts=10.0, **seed))
        for seed in ({}, {"seed": 0}, {"seed": 1})
    )
    assert plain == first != second


def test_a_ceiling_says_whether_the_noise_or_the_metric_is_missing():
    values, finite = np.array([1.0, np.nan, np.nan, 2.0, np.nan]), np.ones(5, bool)
    finite[4] = False
    scored = noise._scored(values, np.array([2.0, 2.0, 0.0, 0.0, 2.0]), finite, "ssim")
    undefined = "ssim of the signal against this truth is undefined"
    assert scored.reasons == ("", noise.NO_NOISE, undefined, "", noise.NOT_FINITE)


def test_a_pixel_is_pulled_to_its_mean_as_far_as_noise_explains_the_variance():
    image = RNG.random((9, 11))
    window = np.lib.stride_tricks.sliding_window_view(np.pad(image, 2, mode="symmetric"), (5, 5))
    mean, variance = window.mean((-2, -1)), window.var((-2, -1))
    for variances in (np.full((9, 11), 0.02), np.full((9, 11), 10.0), np.zeros((9, 11))):
        kept = np.maximum(variance - variances, 0) / variance
        found = noise._wiener(image, variances)
        np.testing.assert_allclose(found, mean + kept * (image - mean), atol=1e-12)
    kept = np.maximum(variance - mean / 50, 0) / variance
    found = noise._wiener(image, None, 50.0)
    np.testing.assert_allclose(found, mean + kept * (image - mean), atol=1e-12)
    flat = np.full((9, 11), 0.5)
    np.testing.assert_allclose(noise._wiener(flat, None, 50.0), flat)


def test_a_ceiling_is_the_mean_over_draws_of_one_stream():
    truth = RNG.poisson(8.0, (2, 12, 14)) / 10.0
    seen = []

    def first_pixel(signal, measured):
        seen.append((signal, measured))
        return measured[0, 0]

    found = noise_ceiling(first_pixel, truth, counts=[10.0, 0.0], seed=5, draws=3)
    assert len(seen) == 6
    rng = np.random.default_rng(5)
    wanted = []
    for place, (signal, measured) in enumerate(seen):
        ions = (10.0, 1.0)[place % 2]
        np.testing.assert_allclose(
            signal, np.clip(noise._wiener(truth[place % 2], None, ions), 0, None)
        )
        np.testing.assert_array_equal(measured, rng.poisson(signal * ions) / ions)
        wanted.append(measured[0, 0])
    assert found[0] == pytest.approx(np.mean(wanted[::2]))
    assert np.isnan(found[1])  # no ions: nothing is told
    few = noise._Model.of(truth[0], 0.5, None)  # half an ion a unit is noise as well
    assert (few.ions, few.told) == (0.5, True)
    np.testing.assert_allclose(few.signal, np.clip(noise._wiener(truth[0], None, 0.5), 0, None))
    assert not noise._Model.of(truth[0], 0.0, None).told
    broken = truth.copy()
    broken[1, 0, 0] = np.nan
    values = noise_ceiling(lambda a, b: np.zeros(a.shape[:-2]), broken, noise_free=truth)
    np.testing.assert_array_equal(values, [0.0, np.nan])
    values = noise_ceiling(lambda a, b: np.zeros(a.shape[:-2]), truth, noise_free=broken)
    np.testing.assert_array_equal(values, [0.0, np.nan])


def test_the_nugget_is_the_line_through_two_semivariances_drawn_to_nothing():
    image, mask = RNG.random((6, 7)), RNG.random((6, 7)) > 0.2
    half = []
    for step in (1, 2):
        squares = [
            (image[row, column] - image[other]) ** 2
            for row in range(6)
            for column in range(7)
            for other in ((row + step, column), (row, column + step))
            if other[0] < 6 and other[1] < 7 and mask[row, column] and mask[other]
        ]
        half.append(np.mean(squares) / 2)
    assert ceiling.nugget(image, mask) == pytest.approx(2 * half[0] - half[1])
    ramp = np.arange(42.0).reshape(6, 7)
    assert ceiling.nugget(ramp, np.ones((6, 7), bool)) == 0.0  # its line meets 0 below
    assert ceiling.nugget(image, np.zeros((6, 7), bool)) == 0.0


def test_halves_of_counts_agree_by_what_is_not_noise():
    counts = np.kron(np.array([[0, 400], [400, 0]] * 2), np.ones((2, 2)))  # in coarse pixels of 4
    found = ceiling.ceiling_of_counts(counts / 400, 400.0, split=CHAIN.split, seed=3, draws=2)
    rng = np.random.default_rng(3)
    whole = counts.astype(int)
    total = 0.0
    for _ in range(2):
        half = rng.binomial(whole, 0.5)
        first, second = (CHAIN.split(one.astype(float))[1] for one in (half, whole - half))
        total += 2 * (first * second).sum()
    wanted = total / (CHAIN.split(counts)[1] ** 2).sum()
    assert 0.9 < wanted < 1
    assert found == pytest.approx(wanted)
    assert np.isnan(
        ceiling.ceiling_of_counts(np.ones((4, 4)), 400.0, split=CHAIN.split, seed=0, draws=2)
    )


# -- intervals ---------------------------------------------------------------------------------


def test_coverage_width_and_score_by_hand():
    low = np.array([[0.0, 1.0, 2.0, np.nan]])
    high = np.array([[1.0, 1.0, 5.0, 9.0]])
    true = np.array([[1.0, 1.5, 1.0, 3.0]])  # held, missed by 0.5 and by 1, not told
    assert float(intervals.coverage(low, high, true)) == pytest.approx(1 / 3)
    assert float(intervals.interval_width(low, high, true, scale=2.0)) == pytest.approx(4 / 3 / 2)
    score = intervals.interval_score(low, high, true, level=0.8, scale=2.0)
    assert float(score) == pytest.approx((4 + 10 * 1.5) / 3 / 2)
    mask = np.array([[True, True, False, True]])
    assert float(intervals.coverage(low, high, true, mask=mask)) == pytest.approx(1 / 2)
    assert float(intervals.interval_width(low, high, true, mask=mask)) == pytest.approx(1 / 2)
    none = np.zeros((1, 4), bool)
    assert np.isnan(intervals.coverage(low, high, true, mask=none))
    for place, part in enumerate((low, high, true)):
        spoilt = [one.copy() for one in (low, high, true)]
        spoilt[place][0, 0] = np.nan
        assert float(intervals.coverage(*spoilt)) == 0.0
        assert part[0, 0] in (0.0, 1.0)
    assert float(intervals.coverage(true, true, true)) == 1.0  # the ends are in


def test_structures_are_the_tenth_with_most_and_never_the_least():
    found = intervals._most(np.arange(40.0).reshape(5, 8)[::-1])
    np.testing.assert_array_equal(np.flatnonzero(found), [4, 5, 6, 7])
    assert not intervals._most(np.zeros((5, 8))).any()
    assert intervals._most(np.arange(9.0).reshape(3, 3)).sum() == 0  # less than ten pixels
    assert intervals._most(np.r_[np.zeros(38), 1, 2].reshape(5, 8)).sum() == 2


# -- colocalisation ----------------------------------------------------------------------------


def test_cosines_are_of_images_above_their_median_without_single_pixels():
    stack = RNG.random((3, 6, 7))
    unit = []
    for image in stack:
        kept = np.pad(np.where(image < np.median(image), 0, image), 1, mode="symmetric")
        windows = np.lib.stride_tricks.sliding_window_view(kept, (3, 3))
        smooth = np.median(windows, axis=(-2, -1)).ravel()
        unit.append(smooth / np.linalg.norm(smooth))
    wanted = np.array(unit) @ np.array(unit).T
    np.testing.assert_allclose(together.colocalisation_matrix(stack), wanted, atol=1e-12)
    stack[1] = 0.0
    found = together.colocalisation_matrix(stack)
    np.testing.assert_array_equal(found[1], np.zeros(3))


def test_the_change_is_the_mean_over_other_partners():
    before = np.array([[1.0, 0.5, 0.2], [0.5, 1.0, 0.9], [0.2, 0.9, 1.0]])
    after = np.array([[0.0, 0.1, 0.8], [0.1, 0.0, 0.7], [0.8, 0.7, 0.0]])
    every = np.ones(3, bool)
    np.testing.assert_allclose(
        together._mean_change(before, after, every), [0.5, 0.3, 0.4], atol=1e-12
    )
    two = np.array([True, False, True])
    np.testing.assert_allclose(
        together._mean_change(before, after, two), [0.6, np.nan, 0.6], atol=1e-12
    )
    assert np.isnan(together._mean_change(before, after, np.array([True, False, False]))).all()
    with pytest.raises(ValueError, match=r"\(channel, row, column\)"):
        together.colocalisation(before, before)


# -- what the guide explains -------------------------------------------------------------------


def test_what_the_right_guide_explains_beyond_wrong_ones_is_a_share_with_an_error():
    own, wrong = np.array([4.0, 6.0, 2.0]), np.array([1.0, 1.0, 1.0])
    found = leakage._beyond(own, wrong, 18.0)
    assert found.value == pytest.approx((12 - 3) / 18)
    assert found.error == pytest.approx(np.sqrt(3) * 2.0 / 18)  # deviations of 3, 5 and 1
    assert found.low == pytest.approx(0.5 - 1.96 * found.error)
    assert leakage._beyond(own, -wrong, 18.0).value == pytest.approx(12 / 18)
    assert leakage._beyond(-own, wrong, 18.0).value == 0.0
    assert leakage._beyond(-own, wrong, 18.0).low == 0.0
    assert leakage._beyond(10 * own, wrong, 18.0).value == 1.0
    assert leakage._beyond(own[:1], wrong[:1], 18.0) == leakage.Leakage(3 / 18, 0.0)
    assert leakage._beyond(own[:2], wrong[:2], 18.0).error > 0


def test_tiles_go_row_by_row_and_end_in_zeros():
    images = 1 + RNG.random((2, 5, 7))
    found = lending.in_tiles(images, 3)
    wide = np.zeros((2, 6, 9))
    wide[:, :5, :7] = images
    wanted = [
        wide[:, top : top + 3, start : start + 3].reshape(2, 9)
        for top in (0, 3)
        for start in (0, 3, 6)
    ]
    np.testing.assert_array_equal(found, np.stack(wanted, 1))
    np.testing.assert_array_equal(lending.in_tiles(wide, 3), found)


@pytest.mark.parametrize(
    ("shape", "factor", "bands"),
    [
        ((300, 10), 4, [slice(0, 128), slice(128, 256), slice(256, 300)]),
        ((300, 10), 3, [slice(0, 120), slice(120, 240), slice(240, 300)]),  # of 24 rows
        ((300, 10), 17, [slice(0, 136), slice(136, 272), slice(272, 300)]),
        ((100, 10), 2, [slice(0, 100)]),
        ((600, 2048), 4, [slice(0, 128), slice(256, 384), slice(512, 600)]),  # every other
    ],
)
def test_patches_are_sought_in_whole_bands_up_to_a_million_pixels(shape, factor, bands):
    mask = np.ones(shape, bool)
    mask[: shape[0] // 3] = False
    found, share = lending.Judged(mask, CHAIN.split, factor).bands_sought()
    assert found == bands
    assert share == pytest.approx(sum(mask[band].sum() for band in bands) / mask.sum())
    nothing = lending.Judged(np.zeros(shape, bool), CHAIN.split, factor)
    assert nothing.bands_sought()[1] == 1.0


def test_shifts_repeat_the_edge_and_wrong_guides_are_turned_and_moved_by_half():
    image = np.arange(20.0).reshape(4, 5)
    rows, columns = np.indices((4, 5))
    for shift, found in zip(
        lending.ALL_SHIFTS, lending.shifted(image, lending.ALL_SHIFTS), strict=True
    ):
        at = np.clip(rows + shift[0], 0, 3), np.clip(columns + shift[1], 0, 4)
        np.testing.assert_array_equal(found, image[at])
    (turned,), (down,), (across,) = leakage._wrong([image])
    np.testing.assert_array_equal(turned, image[3 - rows, 4 - columns])
    np.testing.assert_array_equal(down, image[(rows - 2) % 4, columns])
    np.testing.assert_array_equal(across, image[rows, (columns - 2) % 5])


def test_features_have_unit_power_or_none():
    stack = np.stack([3 * RNG.random((4, 5)), np.full((4, 5), 1e-12), -2 * np.ones((4, 5))])
    found = lending.of_unit_power(stack)
    np.testing.assert_allclose((found[[0, 2]] ** 2).mean((1, 2)), 1.0)
    assert not found[1].any()
    assert not lending.of_unit_power(np.zeros((2, 4, 5))).any()


def test_colours_are_the_strongest_components_and_a_weak_second_is_left_out():
    rows, columns = np.meshgrid(np.linspace(-1, 1, 8), np.linspace(-1, 1, 10), indexing="ij")
    for strength, count in ((0.5, 2), (0.11, 2), (0.09, 1)):
        tint = strength * columns * np.sqrt((rows**2).sum() / (columns**2).sum())
        found = leakage._colours(np.stack([rows + 3, tint - 1]))
        assert len(found) == count
        for one, wanted in zip(found, (rows, columns), strict=False):
            assert (one**2).mean() == pytest.approx(1)
            assert abs(np.corrcoef(one.ravel(), wanted.ravel())[0, 1]) == pytest.approx(1)
    (flat,) = leakage._colours(np.ones((3, 8, 10)))
    assert not flat.any()
    assert len(leakage._colours(rows[None])) == 1
    assert len(leakage._colours(np.stack([rows, columns, rows * columns]))) == 2


def test_arguments_of_leakage_that_do_not_fit_are_refused():
    truth = RNG.random((2, 8, 12))
    low, guide = CHAIN.degrade(truth), RNG.random((1, 8, 12))
    assert guide_leakage(truth, truth, low, guide, protocol=CHAIN, noise=0.0).shape == (2,)
    assert guide_leakage(truth, truth, low, guide, protocol=CHAIN, noise=[0.0, 0.5]).shape == (2,)
    for wrong in (guide[0], guide[:, :4], guide[:, :, :8]):
        with pytest.raises(ValueError, match="guide must be"):
            guide_leakage(truth, truth, low, wrong, protocol=CHAIN)


def test_a_prediction_that_matches_the_truth_better_than_its_noise_allows_shares_the_noise():
    truth = RNG.random((1, 48, 64))
    low, guide = CHAIN.degrade(truth), RNG.random((1, 48, 64))
    unseen = CHAIN.split(truth)[1]
    close = truth + 0.2 * (np.roll(unseen, 1, axis=2) + guide - guide.mean())
    added = CHAIN.split(close)[1]
    match = float((added * unseen).sum() ** 2 / ((added**2).sum() * (unseen**2).sum()))
    assert 0.7 < match < 0.95

    def by_noise(share):
        return float(guide_leakage(close, truth, low, guide, protocol=CHAIN, noise=share)[0])

    assert by_noise(0.9) == pytest.approx(by_noise(1 - match), rel=1e-9)
    assert by_noise(1 - match) != pytest.approx(by_noise(0.5 * (1 - match)), rel=1e-4)


def test_detail_that_is_nothing_but_rounding_has_no_resolution():
    truth = RNG.random((1, 48, 60)).astype(np.float32)

    def split(image):
        return image, np.broadcast_to(1e-15 * truth[0], image.shape)

    cell = Evaluation(
        prediction=RNG.random(truth.shape, dtype=np.float32),
        truth=as_stack(truth, pixel_size_um=10.0),
        low=as_stack(CHAIN.degrade(truth)),
        factor=4,
        degrade=CHAIN.degrade,
        split=split,
    )
    scored = import_module("msibench.metrics.frc").evaluate(cell)
    assert np.isnan(scored.values[0])
    assert list(scored.reasons) == [NO_DETAIL]
