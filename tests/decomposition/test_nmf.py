import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.decomposition import NMF

from msibench.decomposition import HDF5Rows, SpectrumRows, nmf, write_rows
from msibench.decomposition.nmf import _descend, _End, _start, _survey
from msibench.decomposition.row_blocks import MatrixRows
from msibench.errors import ConfigurationError, DataError, MissingDataError


def low_rank(rows=90, columns=41, rank=4, fill=0.3, seed=0, dtype=np.float64):
    W = sparse.random(rows, rank, fill, "csr", random_state=seed)
    H = sparse.random(rank, columns, fill, "csr", random_state=seed + 1)
    return (W @ H).tocsr().astype(dtype)


def true_error(X, result):
    dense = X.toarray() if sparse.issparse(X) else X
    return np.linalg.norm(dense - result.W @ result.H) / np.linalg.norm(dense)


@pytest.mark.parametrize("rank", [1, 3, 7])
@pytest.mark.parametrize("is_sparse", [True, False])
def test_iterations_equal_scikit_learns_coordinate_descent(is_sparse, rank):
    X = low_rank(rank=5) if is_sparse else np.random.default_rng(0).random((23, 11))
    rng = np.random.default_rng(3)
    W, H = rng.random((X.shape[0], rank)), rng.random((rank, X.shape[1]))
    peer = NMF(rank, init="custom", solver="cd", max_iter=9, tol=0)
    W_peer = peer.fit_transform(X, W=W.copy(), H=H.copy())

    ours = nmf(X, rank, init=(W, H), iterations=9, tol=0)

    np.testing.assert_allclose(ours.W, W_peer, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(ours.H, peer.components_, rtol=1e-7, atol=1e-9)


def test_exact_low_rank_data_are_recovered():
    rng = np.random.default_rng(1)
    X = rng.random((60, 3)) @ rng.random((3, 20))

    assert nmf(X, 3, iterations=1000, tol=0).relative_error < 1e-4


@settings(max_examples=30, deadline=None)
@given(
    hnp.arrays(np.float64, (11, 6), elements=st.floats(0, 100, allow_subnormal=False)),
    st.integers(1, 6),
)
def test_factors_are_non_negative_and_the_error_falls(X, rank):
    result = nmf(X, rank, iterations=15, tol=0)

    assert result.W.min() >= 0
    assert result.H.min() >= 0
    assert np.isfinite(result.W).all()
    assert np.all(np.diff(result.error_curve) <= 1e-7)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 2e-4), (np.float64, 1e-9)])
@pytest.mark.parametrize("is_sparse", [True, False])
def test_the_reported_error_is_that_of_the_returned_factors(is_sparse, dtype, tolerance):
    X = low_rank(dtype=dtype) if is_sparse else low_rank(dtype=dtype).toarray()

    result = nmf(X, 3, iterations=12, tol=0)

    assert result.W.dtype == result.H.dtype == dtype
    assert result.relative_error == result.error_curve[-1]
    assert result.relative_error == pytest.approx(true_error(X, result), abs=tolerance)


@pytest.mark.parametrize("is_sparse", [True, False])
def test_the_bytes_do_not_depend_on_the_number_of_threads(is_sparse):
    X = sparse.random(9_300, 37, 0.1, "csr", random_state=0, dtype=np.float32)
    X = X if is_sparse else X.toarray()

    one, two, three = (nmf(X, 5, seed=4, iterations=4, tol=0, threads=n) for n in (1, 2, 3))

    assert one.W.tobytes() == two.W.tobytes() == three.W.tobytes()
    assert one.H.tobytes() == two.H.tobytes() == three.H.tobytes()
    assert one.error_curve.tobytes() == two.error_curve.tobytes()


def test_another_seed_starts_elsewhere():
    X = low_rank()

    assert (
        nmf(X, 3, seed=0, iterations=2).W.tobytes() != nmf(X, 3, seed=1, iterations=2).W.tobytes()
    )


def test_restarts_return_the_best_start():
    X = low_rank(rank=6)

    best = nmf(X, 4, restarts=4, iterations=10, tol=0)
    first = nmf(X, 4, iterations=10, tol=0)

    assert best.relative_error <= first.relative_error
    assert best.restart in range(4)
    assert best.relative_error == pytest.approx(true_error(X, best), abs=1e-9)


def test_blocks_of_whole_groups_give_the_bytes_of_the_matrix_in_memory():
    X = sparse.random(140_000, 12, 0.1, "csr", random_state=0, dtype=np.float32)
    blocks = [X[start : start + 65_536] for start in range(0, X.shape[0], 65_536)]

    streamed = nmf(lambda: iter(blocks), 2, iterations=2, tol=0)

    assert streamed.W.tobytes() == nmf(X, 2, iterations=2, tol=0).W.tobytes()


@pytest.mark.parametrize("block_rows", [1, 7, 90, 1000])
@pytest.mark.parametrize("is_sparse", [True, False])
def test_a_matrix_streamed_from_hdf5_gives_the_factors_of_the_matrix_in_memory(
    tmp_path, is_sparse, block_rows
):
    X = low_rank() if is_sparse else low_rank().toarray()
    path = tmp_path / "rows.h5"
    write_rows(path, [X[:40], X[40:41], X[41:]])

    rows = HDF5Rows(path, block_rows=block_rows)
    streamed = nmf(rows, 3, iterations=8, tol=0)
    whole = nmf(X, 3, iterations=8, tol=0)

    assert rows.shape == X.shape
    np.testing.assert_allclose(streamed.W, whole.W, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(streamed.error_curve, whole.error_curve, rtol=1e-8)


def test_spectra_are_binned_on_the_fly():
    class Reader:
        """Two peaks a pixel, at m/z 100 + pixel and 200; as an imzML reader gives them."""

        def __len__(self):
            return 5

        def spectrum(self, index):
            return np.array([100.0 + index, 200.0]), np.array([1.0 + index, 3.0], dtype=np.float32)

    rows = SpectrumRows(
        Reader(), lambda mz: np.where(mz < 104, mz - 100, np.where(mz == 200, 4, -1)).astype(int), 5
    )
    rows.block_rows = 2
    dense = np.vstack([block.toarray() for block in rows])

    expected = np.zeros((5, 5))
    expected[range(4), range(4)] = [1, 2, 3, 4]
    expected[:, 4] = 3
    np.testing.assert_array_equal(dense, expected)
    assert nmf(rows, 2, iterations=3).W.shape == (5, 2)


def test_unsorted_and_repeated_entries_count_as_their_sum():
    X = sparse.csr_array(
        (np.array([1.0, 2.0, 3.0, 4.0]), np.array([2, 0, 2, 1]), np.array([0, 3, 4])), shape=(2, 3)
    )

    result = nmf(X, 2, iterations=300, tol=0)

    np.testing.assert_allclose(result.W @ result.H, [[2, 0, 4], [0, 4, 0]], atol=1e-3)


@pytest.mark.parametrize("kind", ["coo", "csc", "lil"])
def test_any_sparse_layout_is_taken(kind):
    X = low_rank()

    assert nmf(X.asformat(kind), 2, iterations=3).W.tobytes() == nmf(X, 2, iterations=3).W.tobytes()


def test_counts_are_factored_in_float32():
    counts = np.random.default_rng(0).poisson(3, (9, 5)).astype(np.uint16)

    assert nmf(counts, 2, iterations=3).W.dtype == np.float32


def test_an_all_zero_matrix_has_all_zero_factors():
    result = nmf(np.zeros((4, 3)), 2)

    assert result.relative_error == 0
    assert not result.W.any()
    assert not result.H.any()


def test_it_stops_when_the_error_no_longer_falls():
    result = nmf(low_rank(), 4, iterations=500, tol=1e-3)

    assert result.converged
    assert result.iterations < 500
    assert result.iterations >= 20
    before, last = (
        np.median(result.error_curve[part]) for part in (slice(-20, -10), slice(-10, None))
    )
    assert before - last < 1e-3 * before or last < 1e-7


def test_a_rise_in_the_last_digits_is_no_convergence():
    """In float32 the error trembles long before the factors have settled."""
    rng = np.random.default_rng(0)
    X = (rng.gamma(0.5, 1, (600, 8)) @ rng.gamma(0.5, 1, (8, 60))).astype(np.float32)
    result = nmf(X, 8, seed=1, iterations=5000, tol=1e-9)
    curve = result.error_curve
    first_rise = int(np.flatnonzero(np.diff(curve) > -1e-9 * curve[:-1])[0]) + 1
    assert result.iterations > first_rise + 50
    assert result.relative_error < 0.5 * curve[first_rise]
    again = nmf(X, 8, seed=1, iterations=5000, tol=1e-9)
    assert again.W.tobytes() == result.W.tobytes()


def test_progress_hears_of_every_iteration():
    heard = []

    result = nmf(low_rank(), 2, iterations=4, tol=0, progress=lambda *facts: heard.append(facts))

    assert heard == list(enumerate(result.error_curve, start=1))


@pytest.mark.parametrize("is_sparse", [True, False])
def test_the_torch_passes_equal_the_cpu_passes(is_sparse):
    from msibench.decomposition.hals_torch import TorchEngine

    X = low_rank() if is_sparse else low_rank().toarray()
    source = MatrixRows(X)
    facts = _survey(source)
    W, H = _start(facts, 4, np.dtype(np.float64), (0, 0), None)

    other = _descend(source, facts, W, H, TorchEngine("cpu"), _End(6, 0.0, None), (0, 0))

    ours = nmf(X, 4, iterations=6, tol=0)
    np.testing.assert_allclose(other.W, ours.W, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(other.error_curve, ours.error_curve, rtol=1e-8)


@pytest.mark.gpu
def test_a_gpu_gives_the_factors_of_the_cpu():
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    X = low_rank(3000, 200, 5)

    device = nmf(X, 5, iterations=10, tol=0, device="cuda")

    np.testing.assert_allclose(device.W, nmf(X, 5, iterations=10, tol=0).W, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("X", "options", "message"),
    [
        (np.array([[1.0, np.nan], [1, 1]]), {}, "1 NaN"),
        (np.array([[1.0, np.inf], [1, 1]]), {}, "infinite"),
        (np.array([[1.0, -2.0], [1, 1]]), {}, "smallest value is -2"),
        (np.ones((2, 5)), {"rank": 3}, "at most 2 components"),
        (np.zeros((0, 5)), {}, "empty"),
        (np.ones(5), {}, "two axes"),
        (np.ones((2, 2), dtype=complex), {}, "real numbers"),
        ([np.ones((2, 3)), np.ones((2, 4))], {}, "same columns"),
    ],
)
def test_data_that_cannot_be_factored_are_refused(X, options, message):
    with pytest.raises(DataError, match=message):
        nmf(X, **{"rank": 1, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, "rank"),
        ({"rank": 1.5}, "rank"),
        ({"iterations": 0}, "iterations"),
        ({"tol": -1}, "tol"),
        ({"restarts": 0}, "restarts"),
        ({"dtype": np.int32}, "float32 or float64"),
        ({"init": (np.ones((3, 1)), np.ones((2, 2)))}, "init W"),
        ({"init": (np.ones((2, 1)), -np.ones((1, 2)))}, "init H"),
        ({"init": (np.ones((2, 1)), np.ones((1, 2))), "restarts": 2}, "restarts"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        nmf(np.ones((2, 2)), **{"rank": 1, **options})


def test_an_iterator_is_refused_because_it_can_be_read_once_only():
    with pytest.raises(ConfigurationError, match="only once"):
        nmf(iter([np.ones((2, 2))]), 1)


def test_a_source_that_changes_is_found_out():
    passes = iter([[np.ones((5, 3))], [np.ones((4, 3))]])

    with pytest.raises(DataError, match="same blocks on every pass"):
        nmf(lambda: next(passes), 1)


def test_a_file_that_is_not_there_or_holds_no_matrix_is_an_error(tmp_path):
    import h5py

    with pytest.raises(MissingDataError, match=r"absent\.h5"):
        HDF5Rows(tmp_path / "absent.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["flat"] = np.ones(3)
        file["group/data"] = np.ones(3)
    with pytest.raises(DataError, match="flat"):
        HDF5Rows(tmp_path / "other.h5")
    with pytest.raises(DataError, match="two axes"):
        HDF5Rows(tmp_path / "other.h5", "flat")
    with pytest.raises(DataError, match="not a CSR matrix"):
        HDF5Rows(tmp_path / "other.h5", "group")


def test_the_package_is_imported_without_torch():
    script = "import sys, msibench.decomposition; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
