from importlib import import_module

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


# -- by hand -----------------------------------------------------------------------------------


module = import_module("msibench.metrics.hallucination")


def test_clear_detail_and_errors_are_more_than_the_noise_allows(monkeypatch):
    monkeypatch.setattr(module, "_noise_of", lambda truth, mask: np.ones(truth.shape))
    table = [  # detail of the truth and of the prediction, in standard deviations of the noise
        (2.0, 2.0, 0), (2.5, 2.5, IMPROVED), (2.5, 1.0, OMITTED), (2.5, 1.25, IMPROVED),
        (2.5, 0.0, OMITTED), (0.0, 2.0, 0), (0.0, 2.25, INVENTED), (1.5, -1.0, 0),
        (1.5, -1.25, INVENTED), (3.0, -1.5, INVENTED), (-3.0, -2.5, IMPROVED), (0.0, 1.0, 0),
        (3.0, 3.0, 0),
    ]  # fmt: skip
    wanted, added, expected = (np.array(one)[None] for one in zip(*table, strict=True))
    mask = np.ones(wanted.shape, bool)
    mask[0, -1] = False  # not looked at

    def split(image):
        return 5 - image, image

    found = module._map_of(added, wanted, split, mask)
    np.testing.assert_array_equal(found, expected)


def test_the_noise_of_a_pixel_is_that_of_its_surroundings_and_never_next_to_nothing():
    rng = np.random.default_rng(0)
    truth = rng.random((16, 24))
    truth[:, 12:] = 0  # nothing was counted
    mask = rng.random((16, 24)) > 0.05
    square = module.noise_map(truth, mask) ** 2
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(square, 2, mode="symmetric"), (5, 5))
    around = np.sqrt(windows.mean((-2, -1)))
    least = 0.25 * np.sqrt(square[mask].mean())
    found = module._noise_of(truth, mask)
    np.testing.assert_allclose(found, np.maximum(around, least))
    assert (found == least).any()
    nowhere = np.zeros((16, 24), bool)
    np.testing.assert_allclose(module._noise_of(truth, nowhere), 1e-6 * truth.max())


def test_a_map_looks_at_the_tissue_alone():
    rng = np.random.default_rng(0)
    truth, prediction = rng.random((2, 2, 16, 24))
    mask = rng.random((16, 24)) > 0.3
    found = hallucination_map(prediction, truth, protocol=CHAIN, mask=mask.tolist())
    assert found.dtype == np.int8
    assert not found[:, ~mask].any()
    for one, image, other in zip(found, prediction, truth, strict=True):
        np.testing.assert_array_equal(one, module._map_of(image, other, CHAIN.split, mask))
        whole = hallucination_map(image, other, protocol=CHAIN)
        assert whole[~mask].any()


def test_one_pixel_alone_is_all_there_is():
    for what in (IMPROVED, OMITTED, INVENTED):
        found = np.zeros((3, 4), np.int8)
        found[1, 2] = what
        np.testing.assert_array_equal(shares(found), np.arange(1, 4) == what)
