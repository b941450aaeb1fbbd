import numpy as np
import pytest
import tifffile

from msibench.contracts.metric import Evaluation
from msibench.image import as_stack
from msibench.metrics import neighbour, noise_ceiling, psnr, ssim
from msibench.metrics.neighbour import evaluate as evaluate_neighbour
from msibench.metrics.noise_ceiling import evaluate, noise_map
from msibench.metrics.upsampling import bicubic
from msibench.testing.mirror import mirrored
from msibench_datasets.phantom.generator import make_phantom


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(seed=3, shape=(96, 120))


@pytest.fixture(scope="module")
def scaled(phantom):
    return phantom.counts / 60.0, phantom.expected / 60.0


def test_with_the_signal_known_the_ceiling_is_its_own_score(scaled):
    truth, signal = scaled
    np.testing.assert_array_equal(
        noise_ceiling(psnr, truth, noise_free=signal), psnr(signal, truth)
    )


def test_counting_statistics_give_the_psnr_of_the_unseen_signal(scaled):
    truth, signal = scaled
    counted = noise_ceiling(psnr, truth, counts=np.full(len(truth), 60.0))
    np.testing.assert_allclose(counted, psnr(signal, truth), atol=0.8)


def test_counting_statistics_give_the_ssim_of_the_unseen_signal(scaled):
    truth, signal = scaled
    counted = noise_ceiling(ssim, truth, counts=np.full(len(truth), 60.0))
    np.testing.assert_allclose(counted, ssim(signal, truth), atol=0.08)


def test_the_estimate_finds_white_noise_on_a_smooth_image():
    rng = np.random.default_rng(0)
    row, column = np.indices((120, 90))
    signal = 0.5 + 0.3 * np.sin(row / 15) * np.cos(column / 20)
    truth = signal + rng.normal(0, 0.05, signal.shape)
    np.testing.assert_allclose(noise_map(truth).mean(), 0.05, rtol=0.05)
    assert noise_ceiling(psnr, truth) == pytest.approx(float(psnr(signal, truth)), abs=0.4)


def test_noise_is_looked_for_in_the_tissue_only():
    rng = np.random.default_rng(0)
    truth = np.zeros((60, 80))
    mask = np.zeros((60, 80), bool)
    mask[:, :30] = True
    truth[mask] = 0.5 + rng.normal(0, 0.05, int(mask.sum()))
    np.testing.assert_allclose(noise_map(truth, mask)[mask].mean(), 0.05, rtol=0.06)
    assert (noise_map(truth, mask)[~mask] == 0).all()
    np.testing.assert_allclose(noise_map(truth)[mask].mean(), 0.05, rtol=0.06)  # empty blocks
    expected = -10 * np.log10(0.05**2 * mask.mean())
    assert noise_ceiling(psnr, truth, mask=mask) == pytest.approx(expected, abs=0.4)


def test_an_image_without_noise_has_no_estimate():
    truth = np.kron(np.arange(1.0, 13.0).reshape(3, 4), np.ones((8, 8)))
    assert (noise_map(truth) == 0).all()
    assert np.isnan(noise_ceiling(psnr, truth))
    assert np.isnan(noise_map(np.zeros((8, 8)))).all()


def test_the_estimate_follows_noise_that_grows_with_the_signal(phantom, scaled):
    truth, signal = scaled
    estimated = noise_ceiling(psnr, truth, mask=phantom.mask)
    exact = psnr(signal, truth)
    assert np.median(np.abs(estimated - exact)) < 1.5


def test_the_same_seed_gives_the_same_ceiling(scaled):
    truth, _ = scaled
    counts = np.full(len(truth), 60.0)
    one, two = (noise_ceiling(psnr, truth, counts=counts, seed=4) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def cell(truth, **facts):
    return Evaluation(
        prediction=truth.astype(np.float32),
        truth=as_stack(truth),
        low=as_stack(truth),
        factor=1,
        degrade=lambda fine: fine,
        **facts,
    )


def test_a_cell_says_where_its_ceiling_comes_from(scaled):
    truth, signal = scaled
    truth, signal = truth[:3], signal[:3].astype(np.float32)
    assert list(evaluate(cell(truth, noise_free=signal)).curves["source"]) == [0, 0, 0]
    mixed = evaluate(cell(truth, counts_per_unit=np.array([60.0, np.nan, 60.0])))
    assert list(mixed.curves["source"]) == [1, 2, 1]
    assert list(evaluate(cell(truth)).curves["source"]) == [2, 2, 2]
    assert np.isfinite(mixed.values).all()


def test_a_cell_says_why_it_has_no_ceiling():
    truth = np.zeros((2, 10, 12))
    truth[1, 0, 0] = np.nan
    scored = evaluate(cell(truth))
    assert np.isnan(scored.values).all()
    assert "no noise could be estimated" in scored.reasons[0]
    assert "NaN" in scored.reasons[1]
    assert evaluate(cell(np.zeros((1, 8, 8))), metric="ssim").reasons[0]


def test_a_pixel_never_sees_itself():
    image = np.random.default_rng(0).random((9, 14))
    changed = image.copy()
    changed[4, 6] += 100
    before, after = neighbour(image), neighbour(changed)
    assert before[4, 6] == after[4, 6]
    assert (before != after).sum() == 8


def test_the_neighbours_of_a_ramp_give_the_ramp_and_their_mean_is_a_limit():
    row, column = np.indices((8, 11), dtype=float)
    ramp = 2 * row + column
    np.testing.assert_allclose(neighbour(ramp)[1:-1, 1:-1], ramp[1:-1, 1:-1])
    image = np.random.default_rng(0).random((7, 9))
    block = image[2:5, 3:6]
    assert neighbour(image, sigma=np.inf)[3, 4] == pytest.approx((block.sum() - block[1, 1]) / 8)
    with pytest.raises(ValueError, match="needs neighbours"):
        neighbour(np.ones((1, 5)))


def test_a_flat_image_has_no_finite_neighbour_score():
    scored = evaluate_neighbour(cell(np.full((1, 5, 6), 0.5)))
    assert np.isnan(scored.values).all()
    assert "infinite" in scored.reasons[0]


def test_on_the_mouse_brain_there_is_a_third_of_a_decibel_between_bicubic_and_the_neighbours():
    bicubic_db, neighbour_db = [], []
    for number in (5, 12, 17, 22, 27, 30):
        path = mirrored(f"lbae-mouse-brain/slice_{number}.tiff")
        image = np.squeeze(tifffile.imread(path)).astype(np.float64) / 255
        rows, columns = (side // 4 * 4 for side in image.shape)
        image = image[:rows, :columns]
        low = image.reshape(rows // 4, 4, columns // 4, 4).mean((1, 3))
        bicubic_db.append(psnr(np.clip(bicubic(low, 4), 0, 1), image))
        neighbour_db.append(psnr(neighbour(image), image))
    assert np.mean(bicubic_db) == pytest.approx(23.09, abs=0.005)
    assert np.mean(neighbour_db) == pytest.approx(23.38, abs=0.005)
