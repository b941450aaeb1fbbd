import numpy as np
import pytest

from msibench.contracts.metric import Evaluation
from msibench.image import as_stack
from msibench.metrics import spectral_angle
from msibench.metrics.spectral_angle import evaluate


def cell(prediction, truth, **facts):
    return Evaluation(
        prediction=np.asarray(prediction, np.float32),
        truth=as_stack(truth, **facts),
        low=as_stack(truth),
        factor=1,
        degrade=lambda fine: fine,
    )


def test_angles_known_from_geometry():
    reference = np.array([[1.0, 1, 1, 0], [0.0, 0, 0, 0]])[:, None, :]
    test = np.array([[1.0, 1, 0, 1], [0.0, 1, 1, 1]])[:, None, :]
    np.testing.assert_allclose(spectral_angle(test, reference)[0], [0, 45, 90, np.nan], atol=1e-9)


def test_a_gain_does_not_turn_a_spectrum():
    spectra = np.random.default_rng(0).random((5, 6, 7))
    np.testing.assert_allclose(spectral_angle(3.7 * spectra, spectra), 0, atol=1e-7)


def test_a_section_has_one_number_of_its_tissue():
    truth = np.zeros((2, 2, 3))
    truth[0] = 1
    prediction = np.zeros((2, 2, 3))
    prediction[1, 0], prediction[0, 1] = 1, 1
    mask = np.array([[True, True, False], [True, True, False]])
    assert evaluate(cell(prediction, truth, mask=mask)).values == pytest.approx([45.0])
    prediction[:, 1] = 0  # no spectrum where the truth has one is as wrong as can be
    assert evaluate(cell(prediction, truth)).values == pytest.approx([90.0])


def test_what_was_not_measured_is_left_out():
    truth = np.zeros((2, 2, 3))
    assert evaluate(cell(truth, truth)).reasons == ("no pixel of the truth holds any intensity",)
    truth[:, 0, 0] = 1
    assert evaluate(cell(np.ones((2, 2, 3)), truth)).values == pytest.approx([0.0], abs=1e-6)


def test_one_ion_image_has_no_angle():
    scored = evaluate(cell(np.ones((1, 2, 3)), np.ones((1, 2, 3))))
    assert np.isnan(scored.values).all()
    assert scored.reasons == ("an angle needs at least two ion images",)
