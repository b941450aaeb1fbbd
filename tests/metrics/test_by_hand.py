"""Values worked out by hand, or by another road, where a law alone would let a slip through."""

import re
from importlib import import_module
from inspect import signature

import numpy as np
import pytest
from scipy.ndimage import correlate

from msibench.contracts.metric import Evaluation
from msibench.degradation import protocol
from msibench.image import GuideImage, as_stack
from msibench.metrics import band_power, frc, guide_leakage, hallucination_map, neighbour, shift
from msibench.metrics.band_power import NO_BAND, radial_power_ratio
from msibench.metrics.hallucination import _noise_of, shares
from msibench.metrics.specs import REFERENCE_METRICS
from msibench.metrics.spectra import frequencies, ring_sums, rings, spectrum
from msibench.metrics.wrong_guides import mirrored, other_section, shuffled_blocks

conservation, consistency, off_tissue, power, shifts = (
    import_module(f"msibench.metrics.{name}")
    for name in ("conservation", "consistency", "off_tissue", "band_power", "shift")
)
dists_module = import_module("msibench.metrics.dists")
CHAIN = protocol("area-x4@1")


def images(count=3, shape=(32, 48), seed=0):
    return np.random.default_rng(seed).random((count, *shape))


# -- spectra -----------------------------------------------------------------------------------


def waves(shape, *parts):
    """Add up plane waves of ``(cycles along rows, along columns, amplitude)``."""
    rows, columns = np.indices(shape)
    return sum(
        size * np.cos(2 * np.pi * (down * rows / shape[0] + across * columns / shape[1]))
        for down, across, size in parts
    )


def power_between(image, above, below):
    """Power of the windowed image from its discrete Fourier sum, coefficient by coefficient."""
    rows, columns = image.shape
    window = np.outer(
        *(np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2 for side in image.shape)
    )
    weighted = image * window
    weighted = weighted - window * weighted.sum() / window.sum()
    down = np.exp(-2j * np.pi * np.outer(np.arange(rows), np.arange(rows)) / rows)
    across = np.exp(-2j * np.pi * np.outer(np.arange(columns), np.arange(columns)) / columns)
    found = np.abs(down @ weighted @ across) ** 2
    total = 0.0
    for row in range(rows):
        for column in range(columns):
            frequency = np.hypot(
                min(row, rows - row) / rows, min(column, columns - column) / columns
            )
            if above < frequency <= below:
                total += found[row, column]
    return total


def test_power_is_compared_in_each_band_by_itself():
    shape = (32, 24)
    strengths = (5.0, 3.0, 2.0, 1.0)
    truth = waves(shape, *((at, 0, 1.0) for at in (2, 6, 10, 14))) + 0.1 * images(1, shape)[0]
    test = waves(shape, *zip((2, 6, 10, 14), (0,) * 4, strengths, strict=True)) + 0.3
    ratio, upper = radial_power_ratio(test, truth, bands=4)
    np.testing.assert_allclose(upper, [0.125, 0.25, 0.375, 0.5])
    wanted = [
        power_between(test, high - 0.125, high) / power_between(truth, high - 0.125, high)
        for high in upper
    ]
    np.testing.assert_allclose(ratio, wanted)
    assert wanted == sorted(wanted, reverse=True)
    for above, below in ((0.125, 0.5), (0.25, 0.375), (0.0, 0.25)):
        np.testing.assert_allclose(
            band_power(test, truth, above=above, below=below),
            power_between(test, above, below) / power_between(truth, above, below),
        )
    assert radial_power_ratio(test, truth)[0].shape == (8,)
    for edges in ((0.3, 0.3), (0.4, 0.3), (-0.1, 0.3)):
        with pytest.raises(ValueError, match="expected rising frequencies"):
            band_power(test, truth, above=edges[0], below=edges[1])


@pytest.mark.parametrize("level", [0.1, 1.0, 3.0])
def test_a_truth_whose_power_is_rounding_has_no_ratio(level):
    wave = waves((12, 16), (3, 4, 1.0))
    bands = [(0.1, 0.3), (0.3, 0.5)]
    strength = np.array([power_between(wave, *band) for band in bands])
    # The limit for level + a wave is 1e-12 * level * pixels, as an amplitude.
    limit = 1e-12 * level * 12 * 16 / np.sqrt(strength)
    for share, known in ((0.9, False), (1.1, True)):
        for amplitude, (above, below) in zip(share * limit, bands, strict=True):
            found = band_power(wave, level + amplitude * wave, above=above, below=below)
            assert np.isfinite(found) == known
    plain = band_power(wave, wave + images(1, (12, 16))[0], above=0.125)
    full = band_power(wave, wave + images(1, (12, 16))[0], above=0.125, below=0.5)
    assert plain == full


def test_a_grid_that_is_not_finer_has_no_band_and_one_of_two_has():
    truth = images(2)
    for factor, reasons in ((1, (NO_BAND, NO_BAND)), (2, ("", ""))):
        low = as_stack(truth.reshape(2, 32 // factor, factor, 48 // factor, factor).mean((2, 4)))
        cell = Evaluation(prediction=truth.astype(np.float32) * 2, truth=as_stack(truth), low=low,
                          factor=factor, degrade=None)  # fmt: skip
        scored = power.evaluate(cell)
        assert tuple(scored.reasons) == reasons
        np.testing.assert_allclose(scored.values, np.nan if factor == 1 else 4.0, rtol=1e-5)


def test_rings_are_as_wide_as_a_step_of_the_shorter_side():
    number, centres = rings((4, 6))
    np.testing.assert_allclose(centres, [0.25, 0.5])
    # cycles per pixel x 4 of columns 0 1/6 1/3 1/2 1/3 1/6 and rows 0 1/4 1/2 1/4, rounded, less 1
    np.testing.assert_array_equal(
        number,
        [
            [-1, 0, 0, 1, 0, 0],
            [0, 0, 1, -1, 1, 0],
            [1, -1, -1, -1, -1, -1],
            [0, 0, 1, -1, 1, 0],
        ],
    )
    values = np.arange(48.0).reshape(2, 4, 6)
    sums = ring_sums(values, number, 3)
    for image in (0, 1):
        wanted = [values[image][number == ring].sum() for ring in range(3)]
        np.testing.assert_allclose(sums[image], wanted)
    np.testing.assert_allclose(frequencies((4, 6))[1, 2], np.hypot(1 / 4, 1 / 3))


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (1, 5), (3, 4), (7, 8)])
def test_a_spectrum_is_that_of_the_windowed_image_without_its_mean(shape):
    image = images(1, shape)[0]
    found = spectrum(image)
    np.testing.assert_allclose(found[0, 0], 0, atol=1e-12)
    np.testing.assert_allclose(spectrum(image + 7), found, atol=1e-12)
    sides = [
        np.ones(side) if side < 3 else np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2
        for side in shape
    ]
    window = np.outer(*sides)
    weighted = image * window
    weighted -= window * weighted.sum() / window.sum()
    np.testing.assert_allclose(np.fft.ifft2(found).real, weighted, atol=1e-12)


def test_a_spectrum_of_a_stack_is_that_of_each_image():
    stack = images(6, (5, 7)).reshape(2, 3, 5, 7)
    found = spectrum(stack)
    for place in np.ndindex(2, 3):
        np.testing.assert_allclose(found[place], spectrum(stack[place]), atol=1e-12)


def test_a_curve_is_cut_between_the_rings_where_it_passes_its_limit():
    crossing = import_module("msibench.metrics.frc")._crossing
    frequency = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    limit = np.array([0.6, 0.5, 0.4, 0.45, 0.4])
    curve = np.array([0.9, 0.8, 0.3, 0.9, 0.1])
    # 0.3 above the limit at 0.2, 0.1 below it at 0.3
    assert crossing(curve, limit, frequency, 0.0) == pytest.approx(0.2 + 0.75 * 0.1)
    assert crossing(curve, limit, frequency, 0.4) == pytest.approx(0.4 + 0.1 * 0.45 / 0.75)
    assert crossing(curve, limit, frequency, 0.25) == pytest.approx(0.25)  # below from the start
    assert crossing(curve - 0.5, limit, frequency, 0.0) == pytest.approx(0.1)
    assert crossing(limit, limit, frequency, 0.0) == 0.5  # touches it and never passes
    assert crossing(limit + 0.1, limit, frequency, 0.3) == 0.5


def test_power_below_rounding_of_the_brightest_pixel_is_none():
    no_power = import_module("msibench.metrics.frc")._no_power
    stack = np.zeros((2, 3, 5))
    stack[0, 1, 2], stack[1, 2, 4] = -2.0, 0.1
    limits = 1e-24 * np.array([4.0, 0.01]) * 15**2
    power = limits[:, None] * [0.0, 0.99, 1.01]
    np.testing.assert_array_equal(no_power(stack, power), [[True, True, False]] * 2)
    np.testing.assert_array_equal(no_power(stack[1], power[1]), [True, True, False])


def test_rings_correlate_and_noise_may_by_hand():
    module = import_module("msibench.metrics.frc")
    first, second = images(2, (12, 16))
    ring, _ = rings((12, 16))
    f, g = spectrum(first), spectrum(second)
    found, at = module.ring_correlation(first, second)
    np.testing.assert_allclose(at, np.arange(1, 7) / 12)
    for number in range(6):
        chosen = ring == number
        across = (f[chosen] * g[chosen].conj()).sum().real
        own = (np.abs(f[chosen]) ** 2).sum() * (np.abs(g[chosen]) ** 2).sum()
        assert found[number] == pytest.approx(across / np.sqrt(own))
        half = chosen.sum() / 2
        assert module.chance_floor((12, 16))[number] == pytest.approx(min(1.645 / half**0.5, 1))
        asked = module.threshold_curve((12, 16), "half-bit")[number]
        root = half**0.5
        assert asked == pytest.approx((0.2071 + 1.9102 / root) / (1.2071 + 0.9102 / root))
    assert list(module.threshold_curve((12, 16), "1/7")) == [1 / 7] * 6
    for wrong in (0, 1, 1.5, "half"):
        with pytest.raises(ValueError, match="threshold must be"):
            module.threshold_curve((12, 16), wrong)
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="pixel_size_um must be above 0"):
            frc(first, second, pixel_size_um=wrong)
    smallest = module.SMALLEST
    square = images(1, (smallest, smallest))[0]
    assert np.isfinite(frc(square, square, pixel_size_um=1.0))
    for shape in ((smallest - 1, 20), (20, smallest - 1)):
        thin = images(1, shape)[0]
        assert np.isnan(frc(thin, thin, pixel_size_um=1.0))


# -- a pixel that is not known -----------------------------------------------------------------


def leaks(prediction, truth, low):
    return guide_leakage(prediction, truth, low, images(1, seed=5), protocol=CHAIN, noise=0.3)


MEASURES = {
    "shift": (lambda prediction, truth, low: shift(prediction, low), (0, 2)),
    "band_power": (lambda p, t, low: band_power(p, t, above=0.125), (0, 1)),
    "frc": (lambda p, t, low: frc(p, t, pixel_size_um=1.0), (0, 1)),
    "conservation": (lambda p, t, low: conservation.conservation(p, low), (0, 2)),
    "consistency": (
        lambda p, t, low: consistency.consistency(p, low, degrade=CHAIN.degrade), (0, 2),
    ),
    "guide_leakage": (leaks, (0, 1, 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", MEASURES)
def test_one_unknown_pixel_on_any_side_undoes_its_own_image_alone(name):
    measure, sides = MEASURES[name]
    truth = images()
    cell = [truth + 0.1 * images(seed=1), truth, CHAIN.degrade(truth)]
    whole = np.asarray(measure(*cell))
    assert np.isfinite(whole).all()
    for side in sides:
        for bad in (np.nan, np.inf):
            spoilt = [one.copy() for one in cell]
            spoilt[side][1, 3, 4] = bad
            found = np.asarray(measure(*spoilt))
            assert np.isnan(found[1])
            np.testing.assert_allclose(found[[0, 2]], whole[[0, 2]], rtol=1e-9)


@pytest.mark.parametrize("name", [name for name in MEASURES if name != "guide_leakage"])
def test_a_measure_of_images_on_two_axes_or_none_is_that_of_each(name):
    measure, _ = MEASURES[name]
    truth = images(6)
    cell = [truth + 0.1 * images(6, seed=1), truth, CHAIN.degrade(truth)]
    each = np.array([float(measure(*(one[place] for one in cell))) for place in range(6)])
    folded = measure(*(one.reshape(2, 3, *one.shape[1:]) for one in cell))
    np.testing.assert_allclose(np.asarray(folded), each.reshape(2, 3), rtol=1e-9)


def test_shares_of_maps_on_two_axes_or_none_are_those_of_each():
    maps = np.random.default_rng(0).integers(0, 4, (6, 5, 4)).astype(np.int8)
    maps[4] = 0
    each = np.array([shares(one) for one in maps])
    for one, found in zip(maps, each, strict=True):
        counts = np.array([(one == what).sum() for what in (1, 2, 3)])
        np.testing.assert_allclose(found, counts / counts.sum() if counts.any() else np.nan)
    np.testing.assert_array_equal(shares(maps.reshape(2, 3, 5, 4)), each.reshape(2, 3, 3))


def test_numpy_works_on_tensors_in_a_processors_memory_unless_told_not_to(monkeypatch):
    torch = pytest.importorskip("torch")
    pairs = import_module("msibench.metrics.pairs")
    tensors = torch.as_tensor(images(2)), torch.as_tensor(images(2))
    assert pairs.pair_images(*tensors).xp is np
    monkeypatch.setattr(pairs, "HOST_TENSORS_AS_ARRAYS", False)
    assert pairs.pair_images(*tensors).xp is torch


def test_an_unknown_pixel_on_either_side_leaves_the_map_empty():
    truth = np.zeros((3, 32, 48))
    truth[:, 8:10, 8:10] = truth[:, 10:12, 10:12] = 1.0  # in one coarse pixel
    for side in (0, 1):
        pair = [2 * truth, truth.copy()]
        pair[side][1, 3, 4] = np.nan
        found = hallucination_map(*pair, protocol=CHAIN)
        assert not found[1].any()
        assert found[0].any()


def test_a_measure_of_a_cell_says_which_image_is_not_known():
    truth = images()
    for side in ("prediction", "low"):
        prediction, low = truth.astype(np.float32), CHAIN.degrade(truth)
        (prediction if side == "prediction" else low)[1, 2, 3] = np.nan
        cell = Evaluation(prediction=prediction, truth=as_stack(truth), low=as_stack(low),
                          factor=4, degrade=CHAIN.degrade)  # fmt: skip
        for module in (shifts, conservation, consistency):
            scored = module.evaluate(cell)
            assert list(scored.reasons) == ["", "a pixel is NaN or infinite", ""]
            assert list(np.isnan(scored.values)) == [False, True, False]


# -- what scales, and what is a share ----------------------------------------------------------


@pytest.mark.parametrize("size", [1e-9, 1e-3, 1.0, 1e6])
def test_the_least_noise_is_a_millionth_of_the_brightest_pixel_at_any_scale(size):
    truth = np.zeros((64, 64))
    truth[20:24, 20:24] = 1.0  # nothing else differs from its neighbours: there is no noise
    inside = np.ones((64, 64), bool)
    found = _noise_of(size * truth, inside)
    assert found.min() == pytest.approx(1e-6 * size)
    np.testing.assert_allclose(found, size * _noise_of(truth, inside), rtol=1e-6)


def test_shares_off_the_tissue_and_of_the_intensity_by_hand():
    image = np.array([[1.0, -2.0, 3.0], [4.0, 0.0, 10.0]])
    tissue = np.array([[True, True, False], [True, True, False]])
    assert off_tissue.off_tissue(image, tissue) == pytest.approx(13 / 20)
    stack = np.stack([image, np.zeros((2, 3)), image])
    stack[2, 0, 0] = np.nan
    found = off_tissue.off_tissue(stack, tissue)
    np.testing.assert_array_equal(np.isnan(found), [False, True, True])
    for wrong in (tissue.astype(int), tissue[:1]):
        with pytest.raises(ValueError, match="mask must be bool"):
            off_tissue.off_tissue(image, wrong)
    fine = np.full((4, 6), 3.0)
    for mean, wanted in ((1.5, 2.0), (0.0, np.nan), (-1.5, np.nan)):
        value = conservation.conservation(fine, np.full((2, 3), mean))
        np.testing.assert_equal(float(value), wanted)


def test_a_prediction_is_as_far_from_its_low_image_as_counting_allows_by_hand():
    low = np.array([[2.0, 0.0]])
    fine = np.kron(np.array([[2.5, 0.25]]), np.ones((2, 2)))

    def degrade(values):
        return values.reshape(-1, 1, 2, 2, 2).mean((2, 4))

    relative = consistency.consistency(fine, low, degrade=degrade)
    assert float(relative) == pytest.approx(np.hypot(0.5, 0.25) / 2)
    # 4 x 0.5 ions per unit: 4 and 0 ions, told as 5 and 0.5; sigma 2 and 1
    counted = consistency.consistency(fine, low, degrade=degrade, counts=0.5)
    assert float(counted) == pytest.approx(np.sqrt(((1 / 2) ** 2 + 0.5**2) / 2))


def test_a_pixel_is_told_from_its_eight_neighbours_by_their_distance():
    image = np.arange(12.0).reshape(3, 4) ** 2
    near, far = np.exp(-1 / (2 * 1.5**2)), np.exp(-2 / (2 * 1.5**2))
    around = image[0:3, 0:3]
    edges = around[0, 1] + around[1, 0] + around[1, 2] + around[2, 1]
    corners = around[0, 0] + around[0, 2] + around[2, 0] + around[2, 2]
    wanted = (near * edges + far * corners) / (4 * (near + far))
    assert neighbour(image)[1, 1] == pytest.approx(wanted)
    plain = neighbour(image, sigma=np.inf)
    assert plain[1, 1] == pytest.approx((edges + corners) / 8)
    corner = 4 * image[1, 1] + 2 * image[0, 1] + 2 * image[1, 0]  # reflected at both edges
    assert plain[0, 0] == pytest.approx(corner / 8)
    assert neighbour(images(1, (2, 2)))[0].shape == (2, 2)
    for shape in ((1, 5), (5, 1)):
        with pytest.raises(ValueError, match="needs neighbours on both axes"):
            neighbour(np.ones(shape))


# -- guides that do not belong -----------------------------------------------------------------


def test_a_wrong_guide_has_a_mask_only_where_the_right_one_has():
    bare = GuideImage(images(1, (8, 12)).astype(np.float32))
    masked = GuideImage(bare.values, mask=bare.values[0] > 0.5)
    for change in (
        lambda guide: shuffled_blocks(guide, block=4, seed=1),
        lambda guide: shuffled_blocks(guide, block=8, seed=1),  # one block: turned
        mirrored,
        lambda guide: other_section(guide, (6, 20)),
    ):
        assert change(bare).mask is None
        np.testing.assert_array_equal(change(masked).mask, change(masked).values[0] > 0.5)
        np.testing.assert_array_equal(change(masked).values, change(bare).values)


def test_two_blocks_are_exchanged_and_one_is_turned():
    guide = GuideImage(np.arange(15, dtype=np.float32).reshape(1, 3, 5))
    wrong = shuffled_blocks(guide, block=2, seed=0).values[0]
    np.testing.assert_array_equal(wrong, [[2, 3, 0, 1, 4], [7, 8, 5, 6, 9], [10, 11, 12, 13, 14]])
    turned = shuffled_blocks(guide, block=3, seed=0).values
    np.testing.assert_array_equal(turned, guide.values[:, ::-1, ::-1])
    assert shuffled_blocks(guide, block=1, seed=0).shape == (3, 5)


def test_another_section_is_cut_about_its_centre_or_reflected_at_its_edges():
    guide = GuideImage(np.arange(5, dtype=np.float32)[None, None, :].repeat(2, 1))
    for side, wanted in (
        (3, [1, 2, 3]),
        (2, [1, 2]),
        (5, [0, 1, 2, 3, 4]),
        (9, [1, 0, 0, 1, 2, 3, 4, 4, 3]),
        (15, [4, 3, 2, 1, 0, 0, 1, 2, 3, 4, 4, 3, 2, 1, 0]),
        (25, [0, 1, 2, 3, 4, 4, 3, 2, 1, 0] * 2 + [0, 1, 2, 3, 4]),
    ):
        found = other_section(guide, (2, side)).values[0]
        np.testing.assert_array_equal(found, [wanted] * 2)


# -- filters -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (7, 7)])
def test_a_product_of_spectra_correlates_with_a_kernel_about_its_centre(shape):
    pyramid = import_module("msibench.metrics.steerable_pyramid")
    image, kernel = images(1, (12, 15))[0], np.random.default_rng(1).normal(size=shape)
    found = np.fft.irfft2(pyramid._spectrum(kernel, (12, 15)) * np.fft.rfft2(image), (12, 15))
    np.testing.assert_allclose(found, correlate(image, kernel, mode="wrap"), atol=1e-12)


def channel(power, test_power, covariance, tolerance, area=1):
    """Return gain and noise of a distortion, with the corrections in the order of the original.

    Of sums over an area, where these are not means.
    """
    gain = covariance / (power + tolerance)
    noise = (test_power - gain * covariance) / area
    if power < tolerance:
        gain, noise = 0.0, test_power
    if test_power < tolerance:
        gain, noise = 0.0, 0.0
    if gain < 0:
        gain, noise = 0.0, test_power
    return gain, max(noise, tolerance)


def faint(shape, size, seed):
    """Return a reference and a test whose variances lie about the square of `size`, each quarter in its way."""
    reference, noise = size * np.random.default_rng(seed).normal(size=(2, *shape))
    test = 0.8 * reference + 0.3 * noise
    middle = shape[1] // 2
    reference[:, :middle] *= np.linspace(0.2, 1.5, middle)  # some below the tolerance
    test[: shape[0] // 2, middle:] *= -np.linspace(0.2, 1.5, shape[1] - middle)
    return reference[None], test[None]


def test_a_faint_distortion_in_pixels_has_the_gain_and_noise_of_the_original():
    reference, test = faint((9, 24), 1.5e-5, 0)
    weights = (0.25, 0.5, 0.25)
    found = import_module("msibench.metrics.vifp")._distortion_channel(reference, test, weights, np)
    kernel = np.outer(weights, weights)
    silent = set()
    for row, column in np.ndindex(7, 22):
        x, y = (one[0, row : row + 3, column : column + 3] for one in (reference, test))
        mean, test_mean = (kernel * x).sum(), (kernel * y).sum()
        power = (kernel * x * x).sum() - mean**2
        test_power = (kernel * y * y).sum() - test_mean**2
        covariance = (kernel * x * y).sum() - mean * test_mean
        gain, noise = channel(power, test_power, covariance, 1e-10)
        wanted = (gain, noise, power if power >= 1e-10 else 0.0)
        np.testing.assert_allclose([one[0, row, column] for one in found], wanted, rtol=1e-6)
        silent.add((power < 1e-10, test_power < 1e-10, covariance < 0))
    assert len(silent) >= 6


@pytest.mark.parametrize("window", [3, 5])
def test_a_faint_distortion_of_wavelets_has_the_gain_and_noise_of_the_original(window):
    reference, test = faint((12, 42), 1.5e-8, 1)
    vif = import_module("msibench.metrics.vif")
    total, squares = (vif._box_sums(one, window, np) for one in (reference, reference**2))
    power = np.maximum(squares - total**2 / window**2, 0)
    unread = [np.zeros(0)] * 4
    scene = vif._Scene(reference, (), window, total, power, *unread)
    found = vif._distortion_channel(scene, test, np)
    reach = window // 2
    wide = [np.pad(one[0], reach, mode="reflect") for one in (reference, test)]
    silent = set()
    for row, column in np.ndindex(4, 14):
        at = (
            slice(3 * row + 1, 3 * row + 1 + window),
            slice(3 * column + 1, 3 * column + 1 + window),
        )
        x, y = (one[at] for one in wide)
        power = (x * x).sum() - x.sum() ** 2 / window**2
        test_power = (y * y).sum() - y.sum() ** 2 / window**2
        covariance = (x * y).sum() - x.sum() * y.sum() / window**2
        wanted = channel(power, test_power, covariance, 1e-15, window**2)
        np.testing.assert_allclose([one[0, row, column] for one in found], wanted, rtol=1e-6)
        silent.add((power < 1e-15, test_power < 1e-15, covariance < 0))
    assert len(silent) >= 3


def test_a_lobe_is_a_cosine_over_two_octaves():
    lobe = import_module("msibench.metrics.nqm")._lobe
    found = lobe(np.array([0.0, 1.0, 2.0, 2 * 2**0.5, 4.0, 8 * 2**-0.5, 8.0, 9.0]), 4)
    half = [0.5 * (1 + np.cos(np.pi / 2))] * 1
    np.testing.assert_allclose(found, [0, 0, 0, *half, 1, *half, 0, 0], atol=1e-12)


def test_a_noise_quality_that_is_no_number_says_which_side_has_nothing_to_see():
    nqm = import_module("msibench.metrics.nqm")
    nothing, texture = np.zeros((48, 64)), 0.2 + images(1, (48, 64))[0]
    for test, reference, reason in (
        (nothing, nothing, nqm.NEITHER),
        (texture, nothing, nqm.NO_DETAIL),
        (texture, texture, nqm.NO_ERROR),
        (texture**2, texture, ""),
    ):
        assert nqm.why_undefined(test, reference) == [reason]
        assert np.isnan(nqm.nqm(test, reference)) == bool(reason)


def test_images_as_far_from_zero_as_their_numbers_can_tell_have_a_similarity():
    ssim = import_module("msibench.metrics.ssim")
    texture = images(1, (12, 15))[0]
    gap = np.finfo(np.float64).eps
    for share, reason in ((0.9, ""), (1.1, ssim.TOO_FAR)):
        far = share * 0.03 / gap + texture
        assert ssim.why_undefined(far, far) == [reason]
        assert np.isnan(ssim.ssim(far, far)) == bool(reason)
        assert ssim.why_undefined(far, texture) == [""]


# -- DISTS -------------------------------------------------------------------------------------


def test_texture_and_structure_of_features_by_hand():
    torch = pytest.importorskip("torch")
    test, reference = (torch.as_tensor(images(2, (3, 8, 9), seed)) for seed in (1, 2))
    texture, structure = dists_module._similarities(test, reference)
    for image in range(2):
        for channel in range(3):
            x, y = (side[image, channel].numpy() for side in (test, reference))
            means = 2 * x.mean() * y.mean() + 1e-6, x.mean() ** 2 + y.mean() ** 2 + 1e-6
            spread = 2 * ((x - x.mean()) * (y - y.mean())).mean() + 1e-6, x.var() + y.var() + 1e-6
            assert float(texture[image, channel]) == pytest.approx(means[0] / means[1])
            assert float(structure[image, channel]) == pytest.approx(spread[0] / spread[1])
    colours = [torch.tensor([[0.1, 0.2, 0.3]], dtype=torch.float64)]
    others = [torch.tensor([[0.2, 0.1, 0.1]], dtype=torch.float64)]
    found = dists_module.distance(torch.nn.Sequential(), test, reference, colours, others)
    expected = 1 - (texture * colours[0] + structure * others[0]).sum(1)
    torch.testing.assert_close(found, expected)


def test_every_measure_takes_images_of_a_range_of_one_unless_told():
    for spec in REFERENCE_METRICS:
        module, _, name = spec.target.partition(":")
        parameters = signature(getattr(import_module(module), name)).parameters
        if "data_range" in parameters:
            assert parameters["data_range"].default == 1.0, spec.name


def test_a_mask_of_another_shape_is_told_which_shape_is_asked_for():
    with pytest.raises(ValueError, match=re.escape("(row, column) = (6, 7), got bool (7, 6)")):
        off_tissue.off_tissue(images(2, (6, 7)), np.ones((7, 6), bool))
