import numpy as np
import pytest
from scipy.ndimage import median_filter
from sklearn.metrics.pairwise import cosine_similarity

from msibench.contracts.metric import Evaluation
from msibench.image import as_stack
from msibench.metrics import colocalisation
from msibench.metrics.colocalisation import colocalisation_matrix, evaluate


def ions(channels=4, rows=11, columns=17, seed=0):
    return np.random.default_rng(seed).gamma(1.0, size=(channels, rows, columns))


def test_the_matrix_is_metaspaces():
    images = ions()
    prepared = []
    for image in images:  # as the METASPACE engine describes it, one image at a time
        kept = image.copy()
        kept[kept < np.quantile(kept, 0.5)] = 0
        prepared.append(median_filter(kept, (3, 3)).ravel())
    np.testing.assert_allclose(
        colocalisation_matrix(images), cosine_similarity(prepared), atol=1e-12
    )


def test_the_truth_keeps_its_colocalisation_and_a_gain_does_not_change_it():
    images = ions()
    gains = np.array([1, 2, 5, 0.1])[:, None, None]
    np.testing.assert_allclose(colocalisation(images * gains, images), 0, atol=1e-12)


def test_one_lost_ion_costs_itself_more_than_the_others():
    truth = np.stack([ions(1)[0]] * 3) + 0.1
    broken = truth.copy()
    broken[1] = 0
    values = colocalisation(broken, truth)
    np.testing.assert_allclose(values, [0.5, 1.0, 0.5], atol=1e-9)


def test_images_that_say_nothing_are_no_partners():
    truth = ions()
    truth[2] = 0
    assert np.isnan(colocalisation(truth, truth)[2])
    others = [0, 1, 3]
    np.testing.assert_allclose(
        colocalisation(ions(seed=4), truth)[others],
        colocalisation(ions(seed=4)[others], truth[others]),
    )


def test_a_cell_says_why_there_is_no_number():
    truth = ions()
    truth[2] = 0
    prediction = ions(seed=1)
    prediction[3, 0, 0] = np.nan
    scored = evaluate(
        Evaluation(
            prediction=prediction.astype(np.float32),
            truth=as_stack(truth),
            low=as_stack(truth),
            factor=1,
            degrade=lambda fine: fine,
        )
    )
    assert scored.reasons[:2] == ("", "")
    assert "keeps no pixel" in scored.reasons[2]
    assert "NaN" in scored.reasons[3]
    assert scored.curves["truth"].shape == (4, 4)
    assert np.isnan(colocalisation(truth[:1], truth[:1])).all()
    with pytest.raises(ValueError, match="channel, row, column"):
        colocalisation(truth[0], truth[0])
