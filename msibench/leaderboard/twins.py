"""The same cell on the other kind of device: how far a method's result depends on where it was run.

A twin is a cell whose key stands for the same code, configuration, data and seed, run on a processor
instead of a graphics card, or the other way round. It is looked for in the results folder and among the
committed boards; its values stand beside those of the board, in a column of its own, and enter no score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from msibench.errors import IntegrityError, SchemaError
from msibench.results.experiment import kind_of
from msibench.results.keys import digest_of_parsed, short_key
from msibench.results.schema import CellRecord, Status
from msibench.results.store import Store
from msibench.tracks import shipped_rows

TWIN = "value_elsewhere"
"""A column of rows: the value that the twin of a cell got, NaN where it has none. Present only when some
cell of a board has a twin."""
COMPARED = ("psnr", "ssim", "rmse", "skill")
"""The first of these that a board has decides whether a method is unstable."""
UNSTABLE = "unstable"
OTHER = {"cpu": "cuda", "cuda": "cpu"}
_VALUE = ["metric", "metric_version", "region", "channel"]


def twin_key(record: CellRecord) -> str:
    """Return the key of the same cell on the other kind of device.

    Empty where that is unknown: a cell of an older msibench, or of a device of another kind.
    """
    document = record.key_document
    other = OTHER.get(kind_of(record.device), "")
    try:
        if not other:
            return ""
        method, problem = (digest_of_parsed(document[name]) for name in ("method", "problem"))
        on = partial(short_key, method, problem, document["training"], document["seed"])
        return on(other) if on(document["device"]) == record.key else ""
    except (KeyError, TypeError):
        return ""


def twin_values(
    store: Store, records: Sequence[CellRecord], twins: Mapping[str, str] | None = None
) -> dict[str, pd.Series[float]]:
    """Return what the twins of cells got: key → value by metric, version, region and channel.

    A twin of the results folder goes before one of a committed board; a damaged one counts as none.

    Parameters
    ----------
    twins
        `twin_key` of every record, by its key, where that is known already.
    """
    if twins is None:
        twins = {record.key: twin_key(record) for record in records}
    wanted = {record.key: twin for record in records if (twin := twins[record.key])}
    found: dict[str, pd.Series[float]] = {}
    for key, twin in wanted.items():
        if store.has(twin) and (rows := _rows_in(store, twin)) is not None:
            found[key] = rows.set_index(_VALUE)["value"]
    kinds = {kind_of(record.device) for record in records}
    lacking = {twin: key for key, twin in wanted.items() if key not in found}
    for kind in sorted(kinds) if lacking else ():
        for path in shipped_rows(OTHER.get(kind, "")):
            try:
                changed = path.stat()
                if _cells_in(path, changed.st_mtime_ns, changed.st_size).isdisjoint(lacking):
                    continue
                rows = pd.read_parquet(path, columns=["cell", *_VALUE, "value"],
                                       filters=[("cell", "in", list(lacking))])  # fmt: skip
            except (OSError, ValueError):  # pyarrow's errors are both; `verify` names the file
                continue
            for cell, part in rows[rows["metric"] != ""].groupby("cell", sort=True):
                found.setdefault(lacking[str(cell)], part.set_index(_VALUE)["value"])
    return found


@lru_cache(maxsize=256)
def _cells_in(path: Path, mtime_ns: int, size: int) -> frozenset[str]:
    """Return the cells of a committed board, read once as long as its file stays as it is."""
    del mtime_ns, size
    return frozenset(map(str, pd.read_parquet(path, columns=["cell"])["cell"].unique()))


def _rows_in(store: Store, key: str) -> pd.DataFrame | None:
    try:
        record = store.record(key)
        return store.metric_rows(record) if record.status is Status.OK else None
    except (IntegrityError, SchemaError):
        return None


def with_twins(rows: pd.DataFrame, twins: Mapping[str, pd.Series[float]]) -> pd.DataFrame:
    """Return rows with the column `TWIN`; as they are where no cell has a twin."""
    if not twins:
        return rows
    values = np.full(len(rows), np.nan)
    for cell, part in rows.reset_index(drop=True).groupby("cell", sort=False):
        if str(cell) in twins:
            of_twin = twins[str(cell)]
            of_twin = of_twin[~of_twin.index.duplicated()]
            values[part.index] = of_twin.reindex(pd.MultiIndex.from_frame(part[_VALUE])).to_numpy()
    return rows.assign(**{TWIN: values})


def unstable(rows: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Return (protocol, method) → how its result depends on the kind of device, where it does.

    A method is unstable when the values of single ion images differ between the two kinds of device, as
    a root mean square, by more than half the width of the 95 % interval of the method's own mean (t over
    these ion images): then the choice of a device matters more than the choice of the ions.
    """
    if TWIN not in rows:
        return {}
    scored = rows[(rows["region"] == "image") & (rows["control"] == "") & ~rows["is_control"]]
    metric = next((name for name in COMPARED if (scored["metric"] == name).any()), None)
    found: dict[tuple[str, str], str] = {}
    chosen = scored[scored["metric"] == metric]
    for (protocol, method), part in chosen.groupby(["protocol", "method"], sort=True):
        here, there = (part[name].to_numpy(float) for name in ("value", TWIN))
        both = np.isfinite(here) & np.isfinite(there)
        here, there = here[both], there[both]
        if len(here) < 2:
            continue
        apart = float(np.sqrt(np.mean((here - there) ** 2)))
        half = float(stdtrit(len(here) - 1, 0.975) * here.std(ddof=1) / np.sqrt(len(here)))
        if apart > half:
            device = kind_of(str(part["device"].iloc[0]))
            found[str(protocol), str(method)] = _said(
                metric, device, here.mean(), there.mean(), apart, half
            )
    return found


def _said(metric: Any, device: str, here: float, there: float, apart: float, half: float) -> str:
    return (
        f"unstable: {metric} {here:.3f} on {device} and {there:.3f} on {OTHER[device]}; single ion images "
        f"differ by {apart:.3f} (root mean square), more than the interval of its mean (± {half:.3f})"
    )
