"""Values of one prediction hold one another: a number that was changed alone contradicts the others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from msibench.metrics.specs import builtin_metrics

Floats = NDArray[np.float64]

TOLERANCE = 1e-6
"""Share by which arithmetic may differ; on committed boards it is below 1e-9."""
LEAST_ERROR = 1e-12
"""Mean squared errors below this one hold no ratio."""
IMAGE = ["dataset", "section", "protocol", "mz_set", "channel", "region"]
PREDICTION = [*IMAGE, "method", "seed", "control", "cell"]


def _rmse_of(psnr: Floats) -> Floats:
    return np.asarray(10.0 ** (-psnr / 20.0))


EQUALITIES: tuple[tuple[str, tuple[str, ...], Callable[..., Floats]], ...] = (
    ("skill", ("detail_gain", "input_error"), np.subtract),
    ("rmse", ("psnr",), _rmse_of),
    ("detail_match", ("detail_precision", "detail_recall"), lambda p, r: np.sign(r) * np.abs(p * r)),
    ("detail_gain", ("detail_precision", "detail_recall"), lambda p, r: 2.0 * r - r / p),
    ("improved_share", ("omitted_share", "invented_share"), lambda o, i: 1.0 - o - i),
)  # fmt: skip
"""A metric, those that give it, and how. Definitions: docs/metrics.md."""
SHARES = ("skill", "r2")
"""``1 - value`` is the mean squared error over a constant of the truth, the same for every method."""


def contradictions(rows: pd.DataFrame) -> list[str]:
    """Return where the values of one prediction cannot all be true, one sentence for each kind.

    Skill, gain and input error, PSNR and RMSE, match, precision and recall, and the three shares of the
    pixels follow from one another; skill and R² of all methods on an ion image from their mean squared
    errors and one constant of its truth. A forged value is found unless all of them were forged together.

    Parameters
    ----------
    rows
        Tidy rows, as a board keeps them.
    """
    known = rows[rows["metric"].isin(_named()) & np.isfinite(rows["value"])]
    if not len(known):
        return []
    values = known.pivot_table(index=PREDICTION, columns="metric", values="value", aggfunc="first")
    found = [_differs(values, *equality) for equality in EQUALITIES]
    found += [_of_other_truth(values, name) for name in SHARES]
    return [text for text in found if text]


def impossible(rows: pd.DataFrame) -> list[str]:
    """Return the core's metrics that have a value which they cannot have, one sentence each.

    Such as a skill above 1, which the truth itself has.
    """
    bounds = {spec.name: spec.bounds for spec in builtin_metrics()}
    ends = rows.groupby("metric")["value"].agg(["min", "max"]).dropna()
    found = []
    for name, low, high in ends.itertuples():
        lowest, highest = bounds.get(name, (-np.inf, np.inf))
        for value in (low, high):
            if not lowest - TOLERANCE <= value <= highest + TOLERANCE:
                found.append(f"{name} is {value:.6g}, and can be {lowest:g} to {highest:g} alone")
                break
    return found


def _named() -> set[str]:
    """Return the metrics that are held against one another."""
    return {"rmse", *SHARES, *(name for first, rest, _ in EQUALITIES for name in (first, *rest))}


def _differs(
    values: pd.DataFrame, name: str, others: tuple[str, ...], rule: Callable[..., Floats]
) -> str:
    """Return where a value is not what others give."""
    if not {name, *others} <= set(values.columns):
        return ""
    value = values[name].to_numpy(float)
    given = rule(*(values[other].to_numpy(float) for other in others))
    off = np.abs(value - given) > TOLERANCE * (1.0 + np.abs(given))
    return _told(values, off, f"{name} contradicts {' and '.join(others)}")


def _of_other_truth(values: pd.DataFrame, name: str) -> str:
    """Return where a share of the truth and a mean squared error do not belong to the image's truth."""
    if not {name, "rmse"} <= set(values.columns):
        return ""
    error = values["rmse"] ** 2
    ratio = ((1.0 - values[name]) / error).where(error > LEAST_ERROR)
    usual = ratio.groupby(level=IMAGE).transform("median")
    off = (ratio - usual).abs() > TOLERANCE * usual.abs()
    return _told(values, off.to_numpy(bool), f"{name} contradicts rmse and the other methods")


def _told(values: pd.DataFrame, off: NDArray[np.bool_], what: str) -> str:
    """Return a sentence on the first place and the number of places; empty where there is none."""
    if not off.any():
        return ""
    first = dict(zip(values.index.names, values.index[int(np.argmax(off))], strict=True))
    return (
        f"{what} on {int(off.sum())} ion image{'s' if off.sum() > 1 else ''}, first {first['method']} on "
        f"{first['dataset']}/{first['section']}, channel {first['channel']} ({first['region']})"
    )
