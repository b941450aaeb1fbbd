import numpy as np
import pytest

from msibench.contracts.metric import Evaluation
from msibench.degradation import protocol
from msibench.image import as_stack
from msibench.metrics import hallucination_map
from msibench.metrics.detail_specs import NOTHING_ABOVE_NOISE
from msibench.metrics.hallucination import IMPROVED, INVENTED, OMITTED, evaluate, shares
from msibench.metrics.upsampling import bicubic
from msibench_datasets.phantom.generator import make_phantom

CHAIN = protocol("area-x4@1")


@pytest.fixture(scope="module")
def section():
    made = make_phantom(seed=1)
    ions = [1, 3, 9]
    scale = made.counts[ions].max((1, 2))[:, None, None].astype(float)
    return made.counts[ions] / scale, made.expected[ions] / scale, made


def of(prediction, truth, **options):
    return shares(hallucination_map(prediction, truth, protocol=CHAIN, **options))


def test_the_three_shares_sum_to_one_and_tell_predictions_apart(section):
    truth, signal, made = section
    low = CHAIN.degrade(truth)
    painted = bicubic(low, 4) + 0.3 * CHAIN.split(made.guide.mean(0))[1] / made.guide.std()
    found = {
        name: of(prediction, truth, mask=made.mask)
        for name, prediction in
        {"signal": signal, "bicubic": bicubic(low, 4), "painted": painted}.items()
    }  # fmt: skip
    for values in found.values():
        np.testing.assert_allclose(values.sum(-1), 1)
    improved, _, invented = (np.array([v[:, k] for v in found.values()]) for k in range(3))
    assert (improved[0] > improved[1]).all()
    assert (improved[1] > improved[2]).all()
    assert (invented[2] > 3 * invented[0]).all()
    assert (invented[2] > 0.3).all()


def test_repeating_each_pixel_is_all_omission(section):
    truth = section[0]
    nearest = np.kron(CHAIN.degrade(truth), np.ones((4, 4)))
    np.testing.assert_array_equal(of(nearest, truth), np.tile([0, 1, 0], (3, 1)))


def test_the_truth_itself_is_all_improvement_where_detail_is_clear(section):
    truth = section[0]
    np.testing.assert_array_equal(of(truth, truth)[:, 2], 0)
    assert of(truth, truth)[:, 0].min() > 0.99


def test_each_pixel_is_called_what_it_is():
    truth = np.zeros((64, 64))
    truth[8:12, 8:12] = np.kron([[1, 0], [0, 1]], np.ones((2, 2)))  # in one coarse pixel, no noise
    prediction = truth.copy()
    prediction[8:12, 8:12] = 0.5
    prediction[40:44, 40:44] = truth[8:12, 8:12]
    found = hallucination_map(prediction, truth, protocol=CHAIN)
    assert (found[8:12, 8:12] == OMITTED).all()
    assert (found[40:44, 40:44] == INVENTED).all()
    assert (hallucination_map(truth, truth, protocol=CHAIN)[8:12, 8:12] == IMPROVED).all()
    assert found[20:30, 20:30].max() == 0


def test_a_cell_has_the_shares_and_says_why_not(section):
    truth = section[0].astype(np.float32).copy()
    truth[1] = 0.5
    prediction = section[1].astype(np.float32).copy()
    prediction[1] = 0.5
    prediction[2, 0, 0] = np.nan
    cell = Evaluation(prediction=prediction, truth=as_stack(truth, mask=section[2].mask),
                      low=as_stack(CHAIN.degrade(truth)), factor=4, degrade=CHAIN.degrade,
                      split=CHAIN.split)  # fmt: skip
    three = [evaluate(cell, what=what) for what in ("improved", "omitted", "invented")]
    assert sum(scored.values[0] for scored in three) == pytest.approx(1)
    for scored in three:
        assert list(scored.reasons) == ["", NOTHING_ABOVE_NOISE, "a pixel is NaN or infinite"]
