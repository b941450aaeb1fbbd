"""Two methods m/z by m/z, in the layout of Cao et al., Tables S2 and S3."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from msibench.contracts.plain_text import few_of
from msibench.errors import DataError
from msibench.scoring.composite import composite
from msibench.scoring.schemes import Scheme

MZ_TOLERANCE = 1e-3
"""Da within which a measured m/z is the published one; the tables print three decimals."""


def pair_table(
    rows: pd.DataFrame,
    scheme: Scheme,
    method_a: str,
    method_b: str,
    published: pd.DataFrame | None = None,
    *,
    control_method: str | None = None,
    tissue: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Set the composites of two methods beside one another for every m/z.

    A scheme that scales per image across methods (``cao2025``) compares these two only: on each image
    their scores then add up to 1 for every metric, which those of the published tables do not.
    ``cao2025-pooled`` scales over all images and methods of `rows`.

    Parameters
    ----------
    rows
        Long table with the columns of ``msibench.scoring.cube.COLUMNS``.
    scheme, control_method
        As in `composite`.
    method_a, method_b
        The two methods; the ratio is a / b.
    published
        A published table, ``id mz tissue`` and its scores (``fine_tuned pre_trained ratio``). Its
        columns appear with the prefix ``published_`` and never enter a measured one; an m/z that is
        published but not measured stands with empty scores.
    tissue
        Name of the tissue per data set; without it the data set's own name is shown.

    Returns
    -------
    ``protocol id mz tissue score_a score_b ratio images missing reason``; scores are means over the
    sections that hold the m/z, ``ratio`` is NaN unless both are above 0.

    Raises
    ------
    DataError
        If one of the methods has no row, or `published` lacks a column.
    """
    for name in (method_a, method_b):
        if name not in set(rows["method"]):
            known = few_of(sorted(map(str, rows["method"].unique())))
            raise DataError(f"There is no row of method {name!r}; there are rows of {known}")
    wanted = {method_a, method_b}
    if scheme.normalisation == "anchored" and control_method is not None:
        wanted.add(control_method)
    if scheme.normalisation != "minmax-pooled":
        rows = rows[rows["method"].isin(wanted)]
    scored = composite(rows, scheme, control_method=control_method)
    sides = [_per_mz(scored[scored["method"] == name]) for name in (method_a, method_b)]
    keys = ["protocol", "dataset", "channel", "mz"]
    table = sides[0].merge(sides[1], on=keys, how="outer", suffixes=("_a", "_b")).sort_values(keys)
    table["tissue"] = [(tissue or {}).get(name, name) for name in table["dataset"]]
    table["images"] = table[["images_a", "images_b"]].fillna(0).min(axis=1).astype(int)
    for column in ("missing", "reason"):
        first, second = table[f"{column}_a"].fillna(""), table[f"{column}_b"].fillna("")
        table[column] = [
            a
            if a == b
            else "; ".join(t for t in (a and f"{method_a}: {a}", b and f"{method_b}: {b}") if t)
            for a, b in zip(first, second, strict=True)
        ]
    both = (table["score_a"] > 0) & (table["score_b"] > 0)
    table["ratio"] = (table["score_a"] / table["score_b"].where(both)).where(both)
    frames = [
        _with_published(part.copy(), published) for _, part in table.groupby("protocol", sort=True)
    ]
    result = pd.concat(frames, ignore_index=True) if frames else _with_published(table, None)
    order = ["protocol", "id", "mz", "tissue", "score_a", "score_b", "ratio", "images"]
    shown = [name for name in result.columns if name.startswith("published_")]
    return result[[*order, *shown, "missing", "reason"]]


def _per_mz(scored: pd.DataFrame) -> pd.DataFrame:
    """Mean composite of one method per data set and channel, with the reason where there is none."""
    mz = scored.groupby(["protocol", "dataset", "channel"])["mz"].transform("max")
    groups = scored.assign(mz=mz.fillna(-1.0)).groupby(["protocol", "dataset", "channel", "mz"])
    return groups.agg(
        score=("composite", "mean"),
        images=("composite", "count"),
        missing=("missing", "first"),
        reason=("reason", lambda reasons: "; ".join(sorted({r for r in reasons if r}))),
    ).reset_index()


def _with_published(table: pd.DataFrame, published: pd.DataFrame | None) -> pd.DataFrame:
    """Add the published columns to the nearest m/z within the tolerance, and number the rows."""
    table["mz"] = table["mz"].where(table["mz"] >= 0)
    if published is None:
        table["id"] = np.arange(1, len(table) + 1)
        return table
    absent = [name for name in ("id", "mz", "tissue") if name not in published.columns]
    if absent:
        raise DataError(
            f"A published table needs the columns id, mz and tissue; missing: {', '.join(absent)}"
        )
    distance = np.abs(
        table["mz"].to_numpy(np.float64)[:, None] - published["mz"].to_numpy(np.float64)[None, :]
    )
    distance = np.where(np.isnan(distance), np.inf, distance)
    match = np.full(len(table), -1)
    while distance.size and distance.min() <= MZ_TOLERANCE * (1 + 1e-6):  # nearest pair first
        row, entry = np.unravel_index(int(np.argmin(distance)), distance.shape)
        match[row] = entry
        distance[row, :] = np.inf
        distance[:, entry] = np.inf
    beside = published.add_prefix("published_")
    joined = table.assign(_entry=match).merge(
        beside.assign(_entry=np.arange(len(beside))), on="_entry", how="outer"
    )
    joined["protocol"] = joined["protocol"].fillna(table["protocol"].iloc[0])
    unmeasured = joined["dataset"].isna()
    joined["mz"] = joined["mz"].fillna(joined["published_mz"])
    joined["tissue"] = joined["tissue"].fillna(joined["published_tissue"])
    joined["images"] = joined["images"].fillna(0).astype(int)
    joined["missing"] = joined["missing"].fillna("")
    joined["reason"] = joined["reason"].fillna("").mask(unmeasured, "not measured")
    joined = joined.sort_values(
        "published_id", kind="stable"
    )  # ions that are not published come last
    own = beside["published_id"].max() + joined["published_id"].isna().cumsum()
    joined["id"] = joined["published_id"].fillna(own).astype(int)
    return joined
