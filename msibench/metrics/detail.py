"""How much of what the low image cannot see a prediction has right.

A linear degradation A splits every image x into what the low image fixes, ``A⁺A x``, and what it
cannot see, ``N(x) = x - A⁺A x``. ``A⁺A`` is an orthogonal projector, so the squared error of a
prediction splits into the two without remainder: an error in what it was given, and an error in the
detail that it had to find. With ``n = N(prediction)``, ``t = N(truth)``:

========================  ==========================  ====================================
`detail_gain`             ``1 - |n - t|² / |t|²``     0 adds nothing, 1 the truth
`detail_match`            ``±⟨n,t⟩² / (|n|² |t|²)``   the gain at the best single amplitude
`detail_precision`        ``⟨n,t⟩ / |n|²``            1 right, above 1 timid, 0 invented
`detail_recall`           ``⟨n,t⟩ / |t|²``            share of the truth's detail found
`input_error`             ``|A⁺A(p - x)|² / |t|²``    0 keeps its input
`skill`                   ``1 - |p - x|² / |t|²``     ``detail_gain - input_error``
========================  ==========================  ====================================

Norms run over the whole domain of A. A mask cuts it: then the two errors are no longer orthogonal, and
what is left over is `ErrorSplit.remainder`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from msibench.contracts.metric import Evaluation, Scored
from msibench.metrics.arrays import NOT_FINITE, Floats, check_pair, first_reason, to_host
from msibench.metrics.detail_specs import ADDS_NOTHING, NO_DETAIL, NO_SPLIT
from msibench.metrics.pairs import ImagesT

if TYPE_CHECKING:
    from msibench.degradation.protocol import DegradationProtocol

Splitter = Callable[[NDArray[np.floating]], tuple[Floats, Floats]]
"""``DegradationProtocol.split``."""
Degradation: TypeAlias = "str | DegradationProtocol | Splitter"
"""A degradation protocol, by its name (``"area-x4@1"``), itself, or its `split`."""

LEAST_ADDED = 0.01
"""Share of the truth's detail ``|t|`` that a prediction must add to be precise or not."""
ROUNDING = 1e-6
"""Detail below this share of the truth's root mean square is what float32 leaves: none."""
MEASURES = (
    "skill",
    "detail_gain",
    "detail_match",
    "detail_precision",
    "detail_recall",
    "input_error",
    "detail_energy",
)
"""Names of the measures, each a property of `ErrorSplit`."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ErrorSplit:
    """Energies (sums over pixels) of a prediction, its truth and its error, split by a degradation.

    One number per image each, ``(...)``; NaN where a pixel is not finite. A sum of several makes the
    pooled measures (`pooled`).
    """

    wanted: Floats
    """``|t|²``: the truth's detail. 0 where it is no more than rounding."""
    added: Floats
    """``|n|²``: the prediction's detail."""
    shared: Floats
    """``⟨n,t⟩``."""
    wrong_detail: Floats
    """``|n - t|²``."""
    wrong_input: Floats
    """``|A⁺A(p - x)|²``."""
    wrong: Floats
    """``|p - x|²``."""

    @property
    def skill(self) -> Floats:
        """``1 - |p - x|² / |t|²``: 0 for the image of least norm with this low image, 1 for the truth."""
        return 1 - self._of_wanted(self.wrong)

    @property
    def detail_gain(self) -> Floats:
        """``1 - |n - t|² / |t|²``."""
        return 1 - self._of_wanted(self.wrong_detail)

    @property
    def detail_match(self) -> Floats:
        """``sign(⟨n,t⟩) ⟨n,t⟩² / (|n|² |t|²)``; 0 where nothing is added."""
        share = np.divide(
            self.shared * np.abs(self.shared),
            self.added,
            out=np.where(np.isfinite(self.added), 0.0, np.nan),
            where=self.added > ROUNDING**2 * self.wanted,
        )
        return self._of_wanted(share)

    @property
    def detail_precision(self) -> Floats:
        """``⟨n,t⟩ / |n|²``; NaN where ``|n|`` is below 1 % of ``|t|``."""
        enough = (self.added >= LEAST_ADDED**2 * self.wanted) & (self.wanted > 0)
        return np.divide(
            self.shared, self.added, out=np.full_like(self.added, np.nan), where=enough
        )

    @property
    def detail_recall(self) -> Floats:
        """``⟨n,t⟩ / |t|²``."""
        return self._of_wanted(self.shared)

    @property
    def input_error(self) -> Floats:
        """``|A⁺A(p - x)|² / |t|²``."""
        return self._of_wanted(self.wrong_input)

    @property
    def detail_energy(self) -> Floats:
        """``|t|²`` itself: the weight of an image among several (`pooled`)."""
        return self.wanted

    @property
    def remainder(self) -> Floats:
        """``detail_gain - input_error - skill``: 0 over the whole domain, not where a mask cuts it."""
        return self._of_wanted(self.wrong - self.wrong_detail - self.wrong_input)

    def pooled(self) -> ErrorSplit:
        """Return the sums over all images whose pixels are finite."""
        names = ("wanted", "added", "shared", "wrong_detail", "wrong_input", "wrong")
        return ErrorSplit(**{name: np.nansum(getattr(self, name)) for name in names})

    def _of_wanted(self, energy: Floats) -> Floats:
        return np.divide(
            energy, self.wanted, out=np.full_like(energy, np.nan), where=self.wanted > 0
        )


def split_error(
    test: ImagesT,
    reference: ImagesT,
    *,
    protocol: Degradation,
    mask: ArrayLike | None = None,
) -> ErrorSplit:
    """Split a prediction's error into that in its input and that in its detail.

    Parameters
    ----------
    test, reference
        Prediction and truth, ``(..., row, column)``, sides multiples of the protocol's factor.
    protocol
        Name of the degradation protocol (``"area-x4@1"``), the protocol, or its `split`.
    mask
        Pixels over which norms run, bool ``(row, column)``; None: all, and nothing is left over. Images
        are split whole; a pixel that is not finite outside the mask counts as 0 in both.

    Notes
    -----
    Images are taken one after the other, each with about 8 times its own float64 size.
    """
    images, _ = to_host(test, "test")
    truth, _ = to_host(reference, "reference")
    check_pair(images, truth)
    grid = images.shape[-2:]
    inside = None if mask is None else np.asarray(mask)
    if inside is not None and (inside.dtype != np.bool_ or inside.shape != grid):
        raise ValueError(
            f"mask must be bool (row, column) = {grid}, got {inside.dtype} {inside.shape}"
        )
    split = splitter_of(protocol)
    pairs = zip(images.reshape(-1, *grid), truth.reshape(-1, *grid), strict=True)
    found = [_energies(image, other, split, inside) for image, other in pairs]
    columns = np.array(found, dtype=np.float64).reshape(-1, 6).T
    names = ("wanted", "added", "shared", "wrong_detail", "wrong_input", "wrong")
    return ErrorSplit(
        **{
            name: column.reshape(images.shape[:-2])
            for name, column in zip(names, columns, strict=True)
        }
    )


def detail_gain(
    test: ImagesT, reference: ImagesT, *, protocol: Degradation, mask: ArrayLike | None = None
) -> ImagesT:
    """Share of the truth's unseen detail that the prediction has right: ``1 - |n - t|² / |t|²``.

    0 for an image that adds nothing to what the low image fixes, 1 for the truth, negative without
    limit where detail is invented (`bounded` for means). Arguments as `split_error`.

    Returns
    -------
    One value per image, ``(...)``; NaN where the truth has no such detail or a pixel is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.random.default_rng(0).random((8, 12))
    >>> blocks = np.kron(truth.reshape(2, 4, 3, 4).mean((1, 3)), np.ones((4, 4)))
    >>> [round(float(detail_gain(p, truth, protocol="area-x4@1")), 6) for p in (truth, blocks)]
    [1.0, 0.0]
    """
    return _measure("detail_gain", test, reference, protocol, mask)


def detail_match(
    test: ImagesT, reference: ImagesT, *, protocol: Degradation, mask: ArrayLike | None = None
) -> ImagesT:
    """Detail gain at the best single amplitude: ``sign(⟨n,t⟩) ⟨n,t⟩² / (|n|² |t|²)``.

    No stretch of the prediction changes it; noise and paint lower it. 0 for an image that adds nothing.
    Arguments and undefined values as `detail_gain`.
    """
    return _measure("detail_match", test, reference, protocol, mask)


def detail_precision(
    test: ImagesT, reference: ImagesT, *, protocol: Degradation, mask: ArrayLike | None = None
) -> ImagesT:
    """How much of the added detail is true: ``⟨n,t⟩ / |n|²``.

    1 where the added detail is right on the whole, above 1 where it is right but too weak, 0 for noise
    and paint, negative where it goes against the truth. Arguments as `split_error`.

    Returns
    -------
    One value per image, ``(...)``; NaN where ``|n|`` is below 1 % of ``|t|``, and as `detail_gain`.
    """
    return _measure("detail_precision", test, reference, protocol, mask)


def detail_recall(
    test: ImagesT, reference: ImagesT, *, protocol: Degradation, mask: ArrayLike | None = None
) -> ImagesT:
    """How much of the truth's unseen detail was found: ``⟨n,t⟩ / |t|²``; 1 at best.

    Arguments and undefined values as `detail_gain`.
    """
    return _measure("detail_recall", test, reference, protocol, mask)


def input_error(
    test: ImagesT, reference: ImagesT, *, protocol: Degradation, mask: ArrayLike | None = None
) -> ImagesT:
    """Error in what the low image fixes, on the scale of the gain: ``|A⁺A(p - x)|² / |t|²``.

    0 for a prediction that keeps its input. Arguments and undefined values as `detail_gain`.
    """
    return _measure("input_error", test, reference, protocol, mask)


def skill(
    test: ImagesT, reference: ImagesT, *, protocol: Degradation, mask: ArrayLike | None = None
) -> ImagesT:
    """Squared error against that of the least-norm reconstruction: ``1 - |p - x|² / |x - A⁺Ax|²``.

    ``detail_gain - input_error``: 0 for ``A⁺A x`` (each pixel repeated where A is the area mean), 1 for
    the truth. Arguments and undefined values as `detail_gain`.
    """
    return _measure("skill", test, reference, protocol, mask)


def bounded(values: ArrayLike) -> Floats:
    """Bound gains and skills below, for means that one image must not decide.

    With the relative error ``e = 1 - value``: ``1 - e`` where ``e <= 1``, ``1 / e - 1`` beyond. Values
    from 0 to 1 stay, negative ones lie above -1, and the slope at 0 is one. Of an `input_error` ``e``
    take ``-bounded(-e)``, which is ``e / (1 + e)``.
    """
    array = np.asarray(values, dtype=np.float64)
    return np.asarray(np.where(array < 0, array / (1 + np.abs(array)), array))


def pooled(measures: Mapping[str, ArrayLike]) -> dict[str, float]:
    """Return the measures of many images taken as one: ratios of sums, not means of ratios.

    An image weighs as much as the energy of its unseen detail, and one that adds nothing needs no
    precision of its own.

    Parameters
    ----------
    measures
        Values per image of ``detail_energy``, ``detail_gain``, ``detail_recall`` and ``input_error``.
        Images with NaN in one of them are left out.

    Returns
    -------
    All of `MEASURES` and ``images``, how many were pooled.
    """
    names = ("detail_energy", "detail_gain", "detail_recall", "input_error")
    table = np.array([np.asarray(measures[name], dtype=np.float64).ravel() for name in names])
    wanted, gain, recall, error = table[:, np.isfinite(table).all(axis=0)]
    shared = recall * wanted
    whole = ErrorSplit(
        wanted=wanted,
        added=np.maximum((2 * recall - gain) * wanted, 0.0),
        shared=shared,
        wrong_detail=(1 - gain) * wanted,
        wrong_input=error * wanted,
        wrong=(1 - gain + error) * wanted,
    ).pooled()
    return {**{name: float(getattr(whole, name)) for name in MEASURES}, "images": len(wanted)}


def evaluate(evaluation: Evaluation, *, measure: str = "skill") -> Scored:
    """Score one cell over the whole domain of its protocol.

    Parameters
    ----------
    evaluation
        Its `split` is that of the protocol's noise-free degradation.
    measure
        One of `MEASURES`.
    """
    assert evaluation.truth is not None
    count = len(evaluation.prediction)
    if evaluation.split is None:
        return Scored(np.full(count, np.nan), (NO_SPLIT,) * count)
    truth, split = evaluation.truth.values, evaluation.split
    found = evaluation.once(
        "split_error", lambda: split_error(evaluation.prediction, truth, protocol=split)
    )
    values = np.asarray(getattr(found, measure))
    reasons = first_reason(
        count,
        (np.isnan(found.wanted), NOT_FINITE),
        ((found.wanted == 0) & np.isnan(values), NO_DETAIL),
        (np.isnan(values), ADDS_NOTHING),
    )
    return Scored(values, reasons)


def _measure(
    name: str, test: ImagesT, reference: ImagesT, protocol: Degradation, mask: ArrayLike | None
) -> ImagesT:
    _, back = to_host(test, "test")
    values: ImagesT = back(
        getattr(split_error(test, reference, protocol=protocol, mask=mask), name)
    )
    return values


def splitter_of(chosen: Any) -> Splitter:
    """Return the `split` of a protocol, of its name, or itself."""
    from msibench.degradation import protocol  # scipy stays unloaded until a metric needs it

    named = protocol(chosen) if isinstance(chosen, str) else chosen
    return cast("Splitter", named if callable(named) else named.split)


def _energies(
    image: Floats, truth: Floats, split: Splitter, mask: NDArray[np.bool_] | None
) -> tuple[float, ...]:
    """Return the six energies of one pair, in the order of `ErrorSplit`."""
    if mask is not None:
        image, truth = (
            np.where(mask | (np.isfinite(image) & np.isfinite(truth)), one, 0.0)
            for one in (image, truth)
        )
    if not (np.isfinite(image).all() and np.isfinite(truth).all()):
        return (float("nan"),) * 6
    floor = ROUNDING**2 * _energy(truth, mask)
    seen_error, unseen_error = split(image - truth)
    _, wanted = split(truth)
    added = unseen_error + wanted
    energy = _energy(wanted, mask)
    return (
        energy if energy > floor else 0.0,
        _energy(added, mask),
        _product(added, wanted, mask),
        _energy(unseen_error, mask),
        _energy(seen_error, mask),
        _energy(image - truth, mask),
    )


def _energy(image: Floats, mask: NDArray[np.bool_] | None) -> float:
    return _product(image, image, mask)


def _product(first: Floats, second: Floats, mask: NDArray[np.bool_] | None) -> float:
    """Sum of products, added pairwise in a fixed order whatever the number of threads."""
    product = first * second
    return float(np.add.reduce(product, axis=None) if mask is None else product[mask].sum())
