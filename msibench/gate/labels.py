"""The labels of a record, checked against the description that its key is the digest of.

A digest shows that bytes are the same, not that a label is true: whoever exchanges two names can make
every digest of the record anew. The key follows from the description alone, and the description names
the method with its code, the data, the protocol, the seed and the device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from msibench.contracts.metric import MetricSpec
from msibench.degradation import protocol
from msibench.errors import MSIBenchError
from msibench.results.identity import PROBLEM_FIELDS
from msibench.results.keys import KEY_SCHEMA, digest_of, key_of, plain
from msibench.results.problems import Staged
from msibench.results.schema import CellRecord, Status
from msibench.results.store import METRICS, PREDICTION
from msibench.runner.scores.score import score_keys

SHOWN = {"dataset": "data set", "mz_set": "m/z set", "control": "wrong guide"}
"""What messages call a field."""


def contradictions(record: CellRecord, *, protocols: bool = True) -> list[str]:
    """Return every label of a record that contradicts its own description; empty when they agree.

    Parameters
    ----------
    protocols
        To check the definition of its protocol against the one known here by that name.
    """
    document: Mapping[str, Any] = record.key_document
    try:
        problem, method = document["problem"], document["method"]
        if document["schema"] != KEY_SCHEMA:
            return [f"its key document has schema {document['schema']!r}, not {KEY_SCHEMA}"]
        key = key_of(document)
        said = {
            "method": (record.method, method["label"]),
            "precision": (record.precision, method["precision"]),
            **{
                SHOWN.get(name, name): (getattr(record, name), problem[name])
                for name in PROBLEM_FIELDS
                if name != "protocol"  # of which the key has the definition, not the name
            },
            "seed": (record.seed, document["seed"]),
            "device": (record.device, document["device"]),
            "problem key": (record.problem_key, digest_of(problem)),
        }
        meant = problem["protocol"]
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        return [f"its key document is incomplete ({error!r})"]
    found = []
    if key != record.key:
        found.append(f"its key document belongs to key {key[:12]}…")
    for name, (label, described) in said.items():
        if label != described or type(label) is not type(described):
            found.append(f"{name} is {label!r}; its key stands for {described!r}")
    try:
        if protocols and plain(protocol(record.protocol).definition()) != plain(meant):
            found.append(f"protocol {record.protocol!r} is not the one that its key stands for")
    except MSIBenchError:  # of a plugin that is not here, or named otherwise now
        found.append(f"there is no protocol {record.protocol!r}")
    if record.status is not Status.OK and {METRICS, PREDICTION} & set(record.files):
        found.append(f"it ended as {record.status}, and yet has a prediction or scores")
    return found


def place_of(record: CellRecord) -> str:
    """Return the identity under which a track lists a cell."""
    return str(record.identity)


def differs_from_problem(record: CellRecord, staged: Staged) -> list[str]:
    """Return where a record contradicts its problem about its ion images."""
    low = staged.low
    found = []
    mz = tuple(math.nan if value is None else float(value) for value in record.mz)
    if not np.array_equal(np.array(mz), low.mz, equal_nan=True):
        found.append("its m/z are not those of its problem")
    if tuple(record.channel_names) != tuple(low.channel_names()):
        found.append("its channel names are not those of its problem")
    size = low.pixel_size_um / staged.protocol.factor
    known = math.nan if record.pixel_size_um is None else record.pixel_size_um
    if not np.isclose(known, size, rtol=1e-9, equal_nan=True):
        found.append(f"pixel size is {known:g} µm; its problem gives {size:g} µm")
    return found


def lacking_metrics(
    record: CellRecord,
    rows: pd.DataFrame,
    staged: Staged,
    wanted: Mapping[str, MetricSpec],
) -> list[str]:
    """Return the scores that a cell must have and lacks: of its own record, and of its track.

    Parameters
    ----------
    wanted
        Metrics of the track.
    """
    there = {f"{m}@{r}" for m, r in rows[["metric", "region"]].drop_duplicates().to_numpy()}
    said = set(record.scores)
    found = [f"{name} is on its record, and not among its scores" for name in sorted(said - there)]
    found += [f"{name} is among its scores, and not on its record" for name in sorted(there - said)]
    expected = set(score_keys(wanted.values(), staged, record.files.get(PREDICTION, "")))
    found += [
        f"{name} is a metric of the track, and not among its scores; bring it up to date with: "
        "msibench score"
        for name in sorted(expected - there - said)
    ]
    return found
