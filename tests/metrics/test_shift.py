from importlib import import_module

import numpy as np
import pytest
from scipy.ndimage import fourier_shift, gaussian_filter

from msibench.contracts.metric import Evaluation
from msibench.degradation import protocol
from msibench.image import as_stack
from msibench.metrics import shift
from msibench.metrics.shift import NO_STRUCTURE, _Fixed, _moved, _step, displacement, evaluate
from msibench.metrics.spectra import spectrum
from msibench.metrics.upsampling import bicubic

CHAIN = protocol("area-x4@1")


def section(shape=(96, 128), seed=0):
    """Blobs well inside the image, so that nothing comes round its edges."""
    image = gaussian_filter(np.random.default_rng(seed).random(shape), 3)
    rows, columns = (np.hanning(side) for side in shape)
    return (image - image.min()) * rows[:, None] * columns


def moved(image, by):
    return np.fft.ifft2(fourier_shift(np.fft.fft2(image), by)).real


@pytest.mark.parametrize("by", [(0.0, 0.0), (0.3, -0.7), (2.0, 1.0), (-3.4, 5.25), (0.05, 0.02)])
def test_a_known_displacement_is_found_to_a_few_hundredths_of_a_pixel(by):
    image = section()
    low = CHAIN.degrade(image[None])[0]
    np.testing.assert_allclose(displacement(moved(image, by), low), by, atol=0.05)
    assert shift(moved(image, by), low) == pytest.approx(np.hypot(*by), abs=0.06)


def test_interpolation_and_noise_stay_in_place():
    image = section()
    low = CHAIN.degrade(image[None])
    noisy = image + 0.2 * image.std() * np.random.default_rng(1).standard_normal(image.shape)
    for prediction in (bicubic(low, 4)[0], np.kron(low[0], np.ones((4, 4))), image, noisy):
        assert shift(prediction, low[0]) < 0.1


def test_the_corner_convention_of_some_enlargements_is_found():
    """Grids aligned at their corners' pixels rather than edges move by 1.5 pixels at the corner."""
    low = CHAIN.degrade(section()[None])[0]
    assert shift(np.roll(np.kron(low, np.ones((4, 4))), (1, 2), (0, 1)), low) == pytest.approx(
        np.hypot(1, 2), abs=0.1
    )


def test_what_has_no_structure_has_no_place_and_says_so():
    truth = np.stack([section(), np.ones((96, 128)), section()]).astype(np.float32)
    prediction = truth.copy()
    prediction[2, 0, 0] = np.nan
    cell = Evaluation(prediction=prediction, truth=None, low=as_stack(CHAIN.degrade(truth)),
                      factor=4, degrade=CHAIN.degrade)  # fmt: skip
    scored = evaluate(cell)
    assert scored.values[0] < 0.1
    assert list(scored.reasons) == ["", NO_STRUCTURE, "a pixel is NaN or infinite"]


# -- step by step ------------------------------------------------------------------------------


def wrapped(at, side):
    return at - side if at >= side - side // 2 else at


@pytest.mark.parametrize(
    ("shape", "factor", "size"), [((24, 20), 2, 1.0), ((21, 27), 3, 1e-4), ((16, 24), 4, 1e3)]
)
def test_a_step_is_the_peak_of_the_phases_less_the_slope_of_what_is_left(shape, factor, size):
    rng = np.random.default_rng(1)
    enlarged = size * gaussian_filter(rng.standard_normal(shape), factor, mode="wrap")
    other = 0.1 * size * gaussian_filter(rng.standard_normal(shape), 1)
    image = moved(enlarged, (2.3, -3.4)) + other
    one, other = spectrum(image), spectrum(enlarged)
    frequency = [np.fft.fftfreq(side) for side in shape]
    phases, kept = np.zeros(shape, complex), []
    for row, column in np.ndindex(shape):
        if 0 < np.hypot(frequency[0][row], frequency[1][column]) < 0.5 / factor:
            product = one[row, column] * other[row, column].conjugate()
            phases[row, column] = product / abs(product)
            kept.append((row, column, abs(product)))
    peak = np.unravel_index(np.argmax(np.fft.ifft2(phases).real), shape)
    whole = [wrapped(int(at), side) for at, side in zip(peak, shape, strict=True)]
    assert 1 <= whole[0] <= 4
    assert -5 <= whole[1] <= -2
    design, left = [], []
    for row, column, strength in kept:
        turn = 2 * np.pi * np.array([frequency[0][row], frequency[1][column]])
        angle = np.angle(phases[row, column] * np.exp(1j * (turn @ whole)))
        design.append(np.sqrt(strength) * turn)
        left.append(np.sqrt(strength) * angle)
    slope = np.linalg.lstsq(np.array(design), np.array(left), rcond=None)[0]
    np.testing.assert_allclose(_step(image, _Fixed.of(enlarged, factor)), whole - slope, atol=1e-9)


def test_structure_below_rounding_is_none():
    rng = np.random.default_rng(2)
    texture, enlarged = rng.standard_normal((2, 16, 12)) * [[[1.0]], [[7.0]]]
    strength = np.abs(spectrum(texture) * spectrum(enlarged))
    low = np.hypot(*np.meshgrid(np.fft.fftfreq(16), np.fft.fftfreq(12), indexing="ij")) < 0.25
    # 1 + a t has a times the spectrum of t: its strongest common coefficient is to be at the limit.
    limit = 1e-12 * np.abs(enlarged).max() * (16 * 12) ** 2 / strength[low].max()
    fixed = _Fixed.of(enlarged, 2)
    assert np.isnan(_step(1 + 0.9 * limit * texture, fixed)).all()
    assert np.isfinite(_step(1 + 1.1 * limit * texture, fixed)).all()
    assert np.isnan(_step(np.ones((16, 12)), fixed)).all()


def test_an_image_is_moved_by_whole_pixels_and_by_parts_of_one():
    image = np.random.default_rng(0).random((6, 9))
    whole = np.fft.fft2(image)
    np.testing.assert_allclose(_moved(whole, np.array([2, -3])), np.roll(image, (2, -3), (0, 1)))
    np.testing.assert_allclose(_moved(whole, np.array([0.0, 1])), np.roll(image, 1, 1))
    np.testing.assert_allclose(_moved(whole, np.array([0.3, -0.7])), moved(image, (0.3, -0.7)))
    np.testing.assert_allclose(_moved(whole, np.zeros(2)), image)


@pytest.mark.parametrize(
    ("steps", "looks", "total"),
    [
        ([(2, 1), (0.5, -0.25), (0.0009, -0.0002), (9, 9)], 3, (2.5009, 0.7498)),
        ([(2, 1), (0.0002, -0.001), (0.0, 0.0), (9, 9)], 3, (2.0002, 0.999)),
        ([(1, -1)] * 20, 8, (8, -8)),
        ([(2, 1), (np.nan, np.nan), (9, 9)], 2, (np.nan, np.nan)),
    ],
)
def test_the_image_is_brought_back_until_it_stays(monkeypatch, steps, looks, total):
    image, low = section((16, 24)), np.random.default_rng(0).random((4, 6))
    seen = []

    def step(shown, fixed):
        seen.append(shown)
        enlarged = bicubic(low, 4)
        np.testing.assert_allclose(fixed.conjugate, spectrum(enlarged).conj(), atol=1e-12)
        np.testing.assert_array_equal(fixed.kept, _Fixed.of(enlarged, 4).kept)
        return np.array(steps[len(seen) - 1], dtype=float)

    monkeypatch.setattr(import_module("msibench.metrics.shift"), "_step", step)
    np.testing.assert_allclose(displacement(image, low), total)
    assert len(seen) == looks
    for place, shown in enumerate(seen):
        back = -np.sum(steps[:place], axis=0) if place else (0, 0)
        np.testing.assert_allclose(shown, moved(image, back), atol=1e-12)
