import numpy as np
import pytest
from scipy.ndimage import fourier_shift, gaussian_filter

from msibench.contracts.metric import Evaluation
from msibench.degradation import protocol
from msibench.image import as_stack
from msibench.metrics import shift
from msibench.metrics.shift import NO_STRUCTURE, displacement, evaluate
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
