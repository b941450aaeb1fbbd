import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cross_decomposition import CCA as SklearnCCA

from msibench.decomposition import CCA, CCARankWarning
from msibench.errors import ConfigurationError, DataError


def correlated(rows=600, p=5, q=7, shared=3, seed=0):
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(rows, shared))
    X = common @ rng.normal(size=(shared, p)) + 0.5 * rng.normal(size=(rows, p)) + 10
    Y = common @ rng.normal(size=(shared, q)) + rng.normal(size=(rows, q))
    return X, Y * np.logspace(-3, 3, q) - 4


def correlations_by_qr(X, Y):
    bases = [np.linalg.qr(side - side.mean(0))[0] for side in (X, Y)]
    return np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)


def least_squares(X, Y, at):
    with_ones = np.column_stack([np.ones(len(X)), X])
    return np.column_stack([np.ones(len(at)), at]) @ np.linalg.lstsq(with_ones, Y, rcond=None)[0]


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 10_000))
def test_correlations_equal_those_of_qr_and_svd(p, q, seed):
    X, Y = correlated(200, p, q, seed=seed)

    found = CCA(min(p, q)).fit(X, Y).correlations_

    np.testing.assert_allclose(found, correlations_by_qr(X, Y), atol=1e-10)


def test_all_components_predict_as_least_squares():
    X, Y = correlated(p=5, q=7)
    held_out = correlated(seed=9)[0]

    predicted = CCA(5).fit(X, Y).predict(held_out)

    expected = least_squares(X, Y, held_out)
    np.testing.assert_allclose(predicted / Y.std(0), expected / Y.std(0), atol=1e-9)


@pytest.mark.parametrize("components", [1, 2, 4])
def test_prediction_is_least_squares_on_the_canonical_scores(components):
    X, Y = correlated()
    cca = CCA(components).fit(X, Y)

    expected = least_squares(cca.x_scores(X), Y, cca.x_scores(X[:9]))

    np.testing.assert_allclose(cca.predict(X[:9]), expected, rtol=1e-8)


@pytest.mark.parametrize("components", [1, 2, 3, 5])
def test_predict_as_sklearn_does_what_scikit_learn_does(components):
    X, Y = correlated()
    peer = SklearnCCA(components, max_iter=100_000, tol=1e-18).fit(X, Y)
    held_out = correlated(seed=9)[0]

    found = CCA(components).fit(X, Y).predict_as_sklearn(held_out)

    np.testing.assert_allclose(found / Y.std(0), peer.predict(held_out) / Y.std(0), atol=1e-6)


def test_scikit_learns_prediction_is_over_dispersed_where_the_correlation_is_weak():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(5000, 6))
    Y = 0.4 * X + rng.normal(size=X.shape)
    cca = CCA(6).fit(X, Y)

    right, published = cca.predict(X), cca.predict_as_sklearn(X)

    assert published.std() > 2 * right.std()
    assert ((Y - right) ** 2).mean() < Y.var() < ((Y - published) ** 2).mean()


def test_scores_have_unit_variance_and_correlate_pairwise_only():
    X, Y = correlated()
    cca = CCA(4).fit(X, Y)

    both = np.column_stack([cca.x_scores(X), cca.y_scores(Y)])
    covariance = np.cov(both.T)

    np.testing.assert_allclose(covariance[:4, :4], np.eye(4), atol=1e-9)
    np.testing.assert_allclose(covariance[4:, 4:], np.eye(4), atol=1e-9)
    np.testing.assert_allclose(covariance[:4, 4:], np.diag(cca.correlations_), atol=1e-9)


def test_blocks_give_what_all_rows_give_at_once():
    X, Y = correlated(5000)
    blocks = CCA(4)
    for rows in np.split(np.arange(5000), [1, 1500, 1501]):
        blocks.partial_fit(X[rows], Y[rows])

    whole = CCA(4).fit(X, Y)

    np.testing.assert_allclose(blocks.finish().correlations_, whole.correlations_, atol=1e-12)
    np.testing.assert_allclose(blocks.predict(X[:3]), whole.predict(X[:3]), rtol=1e-9)


def test_more_blocks_after_a_prediction_count():
    X, Y = correlated()
    cca = CCA(2).partial_fit(X[:300], Y[:300])
    cca.predict(X[:1])

    cca.partial_fit(X[300:], Y[300:])

    np.testing.assert_allclose(cca.predict(X[:3]), CCA(2).fit(X, Y).predict(X[:3]), rtol=1e-9)


def test_units_do_not_matter():
    X, Y = correlated()

    plain, scaled = CCA(3).fit(X, Y), CCA(3).fit(X * 1e6, Y)

    np.testing.assert_allclose(scaled.correlations_, plain.correlations_, atol=1e-10)
    np.testing.assert_allclose(scaled.predict(X * 1e6), plain.predict(X), rtol=1e-6, atol=1e-8)


def test_a_large_mean_costs_no_precision():
    X, Y = correlated()

    found = CCA(5).fit(X + 1e6, Y - 1e6).correlations_

    np.testing.assert_allclose(found, correlations_by_qr(X, Y), atol=1e-8)


def test_ridge_with_all_components_is_ridge_regression_on_standardised_columns():
    X, Y = correlated(200)
    x = (X - X.mean(0)) / X.std(0, ddof=1)
    weights = np.linalg.solve(x.T @ x / 199 + 0.3 * np.eye(5), x.T @ (Y - Y.mean(0)) / 199)

    cca = CCA(5, ridge=0.3).fit(X, Y)

    np.testing.assert_allclose(cca.predict(X), x @ weights + Y.mean(0), rtol=1e-8, atol=1e-8)
    assert np.all(cca.correlations_ < CCA(5).fit(X, Y).correlations_)


def test_repeated_and_constant_columns_are_reported_and_predicted_through():
    X, Y = correlated(p=3, q=4)
    deficient = np.column_stack([X, X[:, 0] * 2, np.full(len(X), 7.0)])

    with pytest.warns(CCARankWarning, match="rank 3"):
        cca = CCA(4).fit(deficient, Y)

    assert cca.n_components_ == 3
    assert "3 kept" in cca.message_
    np.testing.assert_allclose(cca.predict(deficient), least_squares(X, Y, X), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(cca.correlations_, correlations_by_qr(X, Y), atol=1e-9)


def test_fewer_rows_than_columns_are_reported():
    X, Y = correlated(4)

    with pytest.warns(CCARankWarning, match="3 kept"):
        cca = CCA(5).fit(X, Y)

    np.testing.assert_allclose(cca.predict(X), Y, rtol=1e-6, atol=1e-6)


def test_one_column_a_side_is_simple_regression():
    X, Y = correlated(p=1, q=1)

    cca = CCA(1).fit(X[:, 0], Y[:, 0])

    assert cca.correlations_[0] == pytest.approx(abs(np.corrcoef(X[:, 0], Y[:, 0])[0, 1]))
    np.testing.assert_allclose(cca.predict(X), least_squares(X, Y, X), rtol=1e-8)


@pytest.mark.parametrize(
    ("X", "Y", "message"),
    [
        (np.ones((4, 2)), np.ones((5, 2)), "same rows"),
        (np.full((4, 2), np.nan), np.ones((4, 2)), "NaN"),
        (np.ones((4, 1)), np.ones((4, 2)), "at most 1"),
        (np.ones((1, 2)), np.ones((1, 2)), "at least 2 rows"),
        (np.ones((0, 2)), np.ones((0, 2)), "at least 2 rows"),
        (np.ones((4, 2)), np.ones((4, 2)), "constant"),
        (np.ones((4, 2, 2)), np.ones((4, 2)), r"\(row, column\)"),
    ],
)
def test_data_without_canonical_pairs_are_refused(X, Y, message):
    with pytest.raises(DataError, match=message):
        CCA(2).fit(X, Y)


def test_other_columns_than_in_the_fit_are_refused():
    X, Y = correlated()
    cca = CCA(2).fit(X, Y)

    with pytest.raises(DataError, match="must have 5 columns"):
        cca.predict(X[:, :3])
    with pytest.raises(DataError, match="every block"):
        CCA(2).partial_fit(X, Y).partial_fit(X[:, :3], Y)


@pytest.mark.parametrize("options", [{"n_components": 0}, {"n_components": 2, "ridge": -1}])
def test_options_that_cannot_be_meant_are_refused(options):
    with pytest.raises(ConfigurationError):
        CCA(**options)
