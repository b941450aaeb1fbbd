"""What the guide brought: a method's prediction with the right guide less that with a wrong one.

The difference of the two holds nothing that the coarse image gave, only what the guide did. How much of it
is invented and the right guide's (`msibench.metrics.guide_leakage`) is a number of two cells, and stands
beside the leakage of the one with the wrong guide, in a column of its own; it enters no score.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from msibench.errors import IntegrityError, SchemaError
from msibench.io.stored_stack import groups
from msibench.metrics.guide_leakage import Leakage, leakages
from msibench.metrics.trust_specs import TRUST_METRICS
from msibench.results.arrays import read_arrays
from msibench.results.files import write_atomically
from msibench.results.keys import canonical_json, digest_of
from msibench.results.problems import Staged, load_staged
from msibench.results.schema import CellRecord, Status
from msibench.results.store import PREDICTION, Store

DIFFERENCE = "value_of_difference"
"""A column of rows: the leakage of the difference, NaN but for that of a wrong guide. There only where a
board has such cells."""
ENDS = {"guide_leakage": "value", "guide_leakage_low": "low"}
"""The metrics that have it, and which number of a leakage each is."""
FOLDER = "differences"
"""In a results folder: results that are computed once."""

Values = Mapping[str, NDArray[np.float64]]


def differences(
    store: Store, records: Iterable[CellRecord], *, again: bool = False
) -> dict[str, Values]:
    """Return key of each cell with a wrong guide → metric → one value per channel.

    A pair that cannot be read is left out: its damage is reported where its cells are.

    Parameters
    ----------
    again
        Work all out anew, whatever the folder holds.
    """
    good = [record for record in records if record.status is Status.OK]
    if not any(record.control for record in good):
        return {}
    right = {_pair(record): record for record in good if not record.control}
    found: dict[str, Values] = {}
    for record in good:
        other = right.get(_pair(record))
        asked = {name.partition("@")[0] for name in record.scores}
        if not record.control or other is None or "guide_leakage" not in asked:
            continue
        with suppress(IntegrityError, SchemaError):
            found[record.key] = _of_pair(store, other, record, again)
    return found


def with_differences(rows: pd.DataFrame, found: Mapping[str, Values]) -> pd.DataFrame:
    """Return rows with the column `DIFFERENCE`; as they are where there is none."""
    if not found:
        return rows
    rows = rows.reset_index(drop=True)
    column = np.full(len(rows), np.nan)
    chosen = rows[rows["metric"].isin(ENDS) & rows["cell"].isin(found) & (rows["channel"] >= 0)]
    for (cell, metric), part in chosen.groupby(["cell", "metric"], sort=False):
        values = found[str(cell)][str(metric)]
        within = part.index[part["channel"].to_numpy() < len(values)]
        column[within] = values[rows.loc[within, "channel"].to_numpy(int)]
    return rows.assign(**{DIFFERENCE: column})


def _pair(record: CellRecord) -> str:
    """Return what two cells of a method share that differ in their guide alone."""
    return canonical_json({**record.identity.as_dict(), "control": ""})


def _of_pair(store: Store, right: CellRecord, wrong: CellRecord, again: bool) -> Values:
    """Return the leakage of one difference, from the folder where it is there."""
    versions = {spec.name: spec.version for spec in TRUST_METRICS if spec.name in ENDS}
    digests = [record.files.get(PREDICTION, "") for record in (right, wrong)]
    key = digest_of({"predictions": digests, "truth": right.truth_digest, "metrics": versions})
    path = store.root / FOLDER / f"{key}.json"
    if not again:
        with suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads(path.read_text(encoding="utf-8"))
            return {name: np.array(kept[name], dtype=np.float64) for name in ENDS}
    values = _worked_out(store, right, wrong)
    told = {
        name: [None if np.isnan(one) else float(one) for one in column]
        for name, column in values.items()
    }
    with suppress(OSError):  # a folder that cannot be written costs the work, not the number
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, canonical_json(told).encode())
    return values


def _worked_out(store: Store, right: CellRecord, wrong: CellRecord) -> Values:
    staged = load_staged(store.problem_folder(right.problem_key), right.truth_digest or None)
    count = len(right.mz)
    values = {name: np.full(count, np.nan) for name in ENDS}
    if staged.truth is None or staged.guide is None:
        return values
    stacks = [
        read_arrays(store.cell_folder(record.key) / PREDICTION, (name,), lazily=(name,))[0][name]
        for record in (right, wrong)
        for name in ("prediction",)
    ]
    noise = _share_of_noise(store, right, count)
    for group in groups(stacks[0].shape):
        with_right, with_wrong = (np.asarray(stack[group], dtype=np.float64) for stack in stacks)
        judged = _leakages(with_right - with_wrong, staged.some_ions(group), noise[group])
        for place, one in enumerate(judged):
            for name, end in ENDS.items():
                values[name][group.start + place] = getattr(one, end)
    return values


def _share_of_noise(store: Store, record: CellRecord, count: int) -> NDArray[np.float64]:
    """Return the share of noise in each truth's unseen detail, by its ceiling; NaN where it has none."""
    rows = store.metric_rows(record)
    ceilings = rows[rows["metric"].isin(("detail_ceiling_low", "detail_ceiling_high"))]
    found = 1 - ceilings.groupby("channel")["value"].mean().reindex(range(count))
    return found.to_numpy(dtype=np.float64)


def _leakages(
    brought: NDArray[np.float64], staged: Staged, noise: NDArray[np.float64]
) -> list[Leakage]:
    """Measure what the guide brought, against the signal where it is known."""
    assert staged.truth is not None
    assert staged.guide is not None
    signal = staged.noise_free
    masks = [mask for mask in (staged.mask, staged.guide.mask) if mask is not None]
    return leakages(
        brought,
        staged.truth.values if signal is None else signal,
        staged.low.values,
        staged.guide.values,
        protocol=staged.protocol.split,
        mask=np.logical_and.reduce(masks) if masks else None,
        noise=noise if signal is None else np.zeros(len(noise)),
    )
