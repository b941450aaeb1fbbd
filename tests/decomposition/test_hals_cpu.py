"""The inner loops against SciPy and the definition, for every remainder of what they take at a time."""

import numpy as np
import pytest
import scipy.sparse as sparse

from msibench.decomposition.hals_cpu import (
    CpuEngine,
    add_transposed_times,
    hals_sweep,
    sparse_times,
)

RNG = np.random.default_rng(8)


def rows_of_every_length(most=19, columns=23):
    """CSR rows with 0, 1, 2 … entries, each column at most once."""
    dense = np.zeros((most + 1, columns))
    for length in range(most + 1):
        dense[length, RNG.choice(columns, length, replace=False)] = RNG.random(length) + 0.1
    return sparse.csr_matrix(dense)


@pytest.mark.parametrize("rank", [1, 4, 7])
def test_products_with_rows_of_every_length_are_scipys(rank):
    X = rows_of_every_length()
    W, H = RNG.random((X.shape[0], rank)), RNG.random((X.shape[1], rank))
    out, total = np.full_like(W, np.nan), np.ones_like(H)
    sparse_times(X.indptr, X.indices, X.data, H, out)
    add_transposed_times(X.indptr, X.indices, X.data, W, total)
    np.testing.assert_allclose(out, X @ H, rtol=1e-13)
    np.testing.assert_allclose(total, 1 + X.T @ W, rtol=1e-13)


@pytest.mark.parametrize(("rows", "rank"), [(1, 1), (64, 4), (67, 5), (130, 10), (3, 11)])
def test_a_sweep_minimises_each_column_in_turn(rows, rank):
    W, numerator = RNG.random((rows, rank)), 3 * RNG.random((rows, rank))
    factor = RNG.random((12, rank))
    factor[:, rank // 2] *= rank > 4  # one component has died
    gram = factor.T @ factor
    expected = W.copy()
    for c in np.flatnonzero(np.diag(gram)):
        others = expected @ gram[c] - expected[:, c] * gram[c, c]
        expected[:, c] = np.maximum((numerator[:, c] - others) / gram[c, c], 0)
    hals_sweep(W, numerator, gram)
    np.testing.assert_allclose(W, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("threads", [1, 3])
def test_sums_over_many_chunks_are_those_of_the_whole(threads):
    X = sparse.random(9_300, 31, 0.2, "csr", random_state=0)
    W, H = RNG.random((9_300, 3)), RNG.random((31, 3))
    engine = CpuEngine(threads)
    for _ in range(2):  # what one pass leaves behind is not in the next
        cross, gram = engine.update_rows([X[:5_000], X[5_000:]], W, H)
        np.testing.assert_allclose(cross, X.T @ W, rtol=1e-12)
        np.testing.assert_allclose(gram, W.T @ W, rtol=1e-12)
