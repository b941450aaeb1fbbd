"""Canonical correlation analysis in closed form, from one streaming pass over the rows.

References
----------
.. [1] Hotelling, Biometrika 28 (1936) 321-377.
.. [2] Wegelin, A survey of partial least squares methods, Univ. of Washington TR 371 (2000), section 10:
       the NIPALS form, which scikit-learn follows.
"""

from __future__ import annotations

import warnings
from typing import Self, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits

from msibench.errors import ConfigurationError, DataError

_STEP_ROWS = 1_024
"""Rows that are centred and multiplied at a time: they stay in the processor's cache."""


class CCARankWarning(UserWarning):
    """The data have fewer independent columns than components were asked for."""


class CCA:
    """Pairs of linear combinations of two sets of variables that correlate best.

    The covariances of ``[X Y]`` are summed in float64 around the mean of the first rows, so neither
    matrix is copied, centred or needed twice; rows may also come block by block (`partial_fit`).
    Columns are standardised inside, so their units do not matter.

    Parameters
    ----------
    n_components
        Pairs to keep; at most the columns of either side.
    ridge
        Added to the diagonal of both correlation matrices; 0: none. With it `correlations_` are those of
        the regularised problem, and `predict` with all components is ridge regression on standardised
        columns.

    Attributes
    ----------
    correlations_
        Canonical correlations, falling, ``(component,)``; in [0, 1].
    n_components_
        Pairs found: fewer than asked for where the data are rank-deficient; `message_` then says so.
    x_weights_, y_weights_
        ``(column, component)``: centred data times these are the scores.
    coef_
        ``(X column, Y column)`` of `predict`.

    Raises
    ------
    ConfigurationError
        If `n_components` is below 1 or `ridge` is negative.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(500, 4))
    >>> Y = X @ rng.normal(size=(4, 3)) + 0.1 * rng.normal(size=(500, 3))
    >>> CCA(3).fit(X, Y).correlations_.round(1)
    array([1., 1., 1.])
    """

    correlations_: NDArray[np.float64]
    x_weights_: NDArray[np.float64]
    y_weights_: NDArray[np.float64]
    x_mean_: NDArray[np.float64]
    y_mean_: NDArray[np.float64]
    coef_: NDArray[np.float64]
    n_components_: int
    message_: str

    def __init__(self, n_components: int, ridge: float = 0.0) -> None:
        if int(n_components) != n_components or n_components < 1:
            raise ConfigurationError(
                f"n_components must be a whole number of at least 1, got {n_components}"
            )
        if not ridge >= 0:
            raise ConfigurationError(f"ridge must not be negative, got {ridge}")
        self.n_components, self.ridge = int(n_components), float(ridge)
        self._rows = 0
        self._sums: NDArray[np.float64] | None = None

    def fit(self, X: ArrayLike, Y: ArrayLike) -> Self:
        """Fit to all rows of X ``(row, p)`` and Y ``(row, q)``; an earlier fit is discarded.

        Raises
        ------
        DataError
            If the rows differ in number, hold NaN, are fewer than 2, or either side has fewer columns
            than `n_components`.
        """
        self._rows, self._sums = 0, None
        return self.partial_fit(X, Y).finish()

    def partial_fit(self, X: ArrayLike, Y: ArrayLike) -> Self:
        """Add rows to the sums; call `finish` after the last (`predict` and the scores do it, too)."""
        x, y = _matrix(X, "X"), _matrix(Y, "Y")
        if len(x) != len(y):
            raise DataError(f"X and Y must have the same rows (pixels), got {len(x)} and {len(y)}")
        if self._sums is None and len(x):
            self._p, self._q = x.shape[1], y.shape[1]
            self._check_columns()
            first = slice(0, _STEP_ROWS)
            self._shift = np.concatenate(
                [x[first].mean(0, dtype=np.float64), y[first].mean(0, dtype=np.float64)]
            )
            width = self._p + self._q
            self._sum, self._sums = np.zeros(width), np.zeros((width, width))
        if len(x) and (x.shape[1], y.shape[1]) != (self._p, self._q):
            raise DataError(
                f"every block must have {self._p} and {self._q} columns, got {x.shape[1]} and "
                f"{y.shape[1]}"
            )
        self.__dict__.pop("correlations_", None)
        # The products are too small to share between BLAS threads, and one gives the same bytes anywhere.
        with threadpool_limits(1, "blas"):
            self._add(x, y)
        return self

    def _add(self, x: NDArray[np.floating], y: NDArray[np.floating]) -> None:
        both = np.empty((_STEP_ROWS, x.shape[1] + y.shape[1]))
        ones = np.ones(_STEP_ROWS)
        for start in range(0, len(x), _STEP_ROWS):
            stop = min(start + _STEP_ROWS, len(x))
            part = both[: stop - start]
            np.subtract(x[start:stop], self._shift[: self._p], out=part[:, : self._p])
            np.subtract(y[start:stop], self._shift[self._p :], out=part[:, self._p :])
            column_sums = ones[: stop - start] @ part
            if not np.isfinite(column_sums).all():
                raise DataError(
                    f"X or Y holds NaN or infinite values in rows {start} to {stop - 1}; leave those "
                    "pixels out"
                )
            self._sum += column_sums
            self._sums += part.T @ part  # NumPy sees the symmetry and does half the work
            self._rows += stop - start

    def finish(self) -> Self:
        """Solve for the canonical pairs of all rows so far.

        Warns
        -----
        CCARankWarning
            If the data have fewer independent columns than `n_components`: fewer pairs are kept.
        """
        if self._sums is None or self._rows < 2:
            raise DataError(f"CCA needs at least 2 rows (pixels), got {self._rows}")
        offset = self._sum / self._rows
        covariance = (self._sums - self._rows * np.outer(offset, offset)) / (self._rows - 1)
        mean = self._shift + offset
        variance = np.diag(covariance)
        # What rounding leaves of a constant column counts as zero.
        floor = 1e-13 * (np.diag(self._sums) / self._rows + mean**2 * np.finfo(np.float64).eps)
        scale = np.sqrt(np.where(variance > floor, variance, np.inf))
        correlation = covariance / np.outer(scale, scale)

        p = self._p
        cross = correlation[:p, p:]
        x_white, y_white = (
            _whiten(correlation[:p, :p], self.ridge),
            _whiten(correlation[p:, p:], self.ridge),
        )
        rank = min(x_white.shape[1], y_white.shape[1], self._rows - 1)
        if rank == 0:
            raise DataError("X or Y is constant: there is nothing to correlate")
        self.message_ = ""
        if rank < self.n_components:
            self.message_ = (
                f"{self.n_components} components were asked for, but X ({self._rows} x {p}) has rank "
                f"{x_white.shape[1]} and Y ({self._rows} x {self._q}) {y_white.shape[1]}: {rank} kept"
            )
            warnings.warn(self.message_, CCARankWarning, stacklevel=2)
        kept = self.n_components_ = min(rank, self.n_components)
        left, values, right = np.linalg.svd(x_white.T @ cross @ y_white, full_matrices=False)
        x_side, y_side = x_white @ left[:, :kept], y_white @ right[:kept].T
        self.correlations_ = np.clip(values[:kept], 0.0, 1.0)

        x_scale, y_scale = scale[:p, None], scale[None, p:]
        y_spread = np.where(np.isfinite(y_scale), y_scale, 0.0)
        self.x_mean_, self.y_mean_ = mean[:p], mean[p:]
        self.x_weights_, self.y_weights_ = x_side / x_scale, y_side / y_scale.T
        self.coef_ = x_side @ (x_side.T @ cross) / x_scale * y_spread
        # scikit-learn's rotations make scores of these lengths, see predict_as_sklearn.
        lengths = _unit_weight_lengths(x_side) / _unit_weight_lengths(y_side)
        y_loadings = correlation[p:, p:] @ y_side
        self._sklearn_coef = (x_side * lengths) @ y_loadings.T / x_scale * y_spread
        return self

    def x_scores(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the canonical scores of X ``(row, p)``: ``(row, component)``, unit variance in the fit."""
        return self._centred(X, "X") @ self.x_weights_

    def y_scores(self, Y: ArrayLike) -> NDArray[np.float64]:
        """Return the canonical scores of Y ``(row, q)``: ``(row, component)``, unit variance in the fit."""
        return self._centred(Y, "Y") @ self.y_weights_

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return Y for X ``(row, p)``: least squares of Y on the canonical scores of X, ``(row, q)``.

        With all components this is ordinary least squares of Y on X (ridge regression where `ridge` is
        not 0).
        """
        return self._centred(X, "X") @ self.coef_ + self.y_mean_

    def predict_as_sklearn(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return what ``sklearn.cross_decomposition.CCA.predict`` does, ``(row, q)``.

        It uses the X scores in place of the Y scores with the Y loadings. The canonical correlations
        are left out, so weakly correlated pairs come back as strong as any and the prediction is
        over-dispersed; use `predict` unless you want to repeat a published result. (The X scores of
        NIPALS are also longer or shorter than the Y scores, because its *weights* have unit length: that
        ratio is repeated, too.)
        """
        return cast(
            "NDArray[np.float64]", self._centred(X, "X") @ self._sklearn_coef + self.y_mean_
        )

    def _centred(self, values: ArrayLike, side: str) -> NDArray[np.float64]:
        if not hasattr(self, "correlations_"):
            self.finish()
        mean = self.x_mean_ if side == "X" else self.y_mean_
        matrix = _matrix(values, side)
        if matrix.shape[1] != mean.size:
            raise DataError(f"{side} must have {mean.size} columns, got {matrix.shape[1]}")
        return matrix - mean

    def _check_columns(self) -> None:
        if self.n_components > min(self._p, self._q):
            raise DataError(
                f"{self.n_components} components need as many columns on both sides, X has {self._p} "
                f"and Y {self._q}; ask for at most {min(self._p, self._q)}"
            )


def _matrix(values: ArrayLike, name: str) -> NDArray[np.floating]:
    matrix = np.asarray(values)
    matrix = matrix[:, None] if matrix.ndim == 1 else matrix
    if matrix.ndim != 2:
        raise DataError(f"{name} must be (row, column), got shape {matrix.shape}")
    return matrix


def _whiten(correlation: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
    """Return A with ``Aᵀ (correlation + ridge) A = 1`` on the independent directions."""
    present = np.diag(correlation) > 0
    values, vectors = np.linalg.eigh(correlation + ridge * np.diag(present.astype(np.float64)))
    # Rounding of the sums, not of eigh, sets what can be told from zero.
    kept = values > max(values.max(initial=0.0), 0.0) * len(values) * 1e-13
    return cast("NDArray[np.float64]", vectors[:, kept] / np.sqrt(values[kept]))


def _unit_weight_lengths(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard deviation of each NIPALS score.

    NIPALS deflates the data by the scores it has found and normalises the next weight vector, which is
    the part of ours that is orthogonal to those before it; the score shrinks by that part's length.
    """
    return 1 / np.abs(np.diag(np.linalg.qr(weights)[1]))
