"""The leaderboard of a track as one table: scores, coverage, cost, and how cells ended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal, cast

import numpy as np
import pandas as pd

from msibench.errors import ConfigurationError, DataError
from msibench.leaderboard.rows import cells, measured, origins
from msibench.leaderboard.suspicion import ranked_apart, suspicions
from msibench.leaderboard.twins import UNSTABLE, unstable
from msibench.scoring import Scheme, load_scheme, summarise
from msibench.scoring.replicates import MINIMUM_SECTIONS
from msibench.scoring.schemes import DEFAULT_SCHEME, OLDER_SCHEME
from msibench.tracks import Track

BESIDE = ("cao2025",)
"""Schemes whose score is on every board, made of the metrics at hand, whatever ranks it."""
DRAWS = 2_000
FEWER_DRAWS = 1_000
"""Bootstrap draws of a board with more than `MANY_ROWS` rows: 25 lie beyond each end of an interval."""
MANY_ROWS = 1_000_000


def leaderboard_table(
    rows: pd.DataFrame, track: Track, *, draws: int | None = None
) -> pd.DataFrame:
    """Return one row per protocol and method, best first within a protocol.

    Methods without a single score are listed last, with how their cells ended. Behind them, without a
    rank, stand controls other than the track's own, and results that are better than the truth's noise
    allows, which are flagged (`msibench.leaderboard.suspicion`).

    Parameters
    ----------
    rows
        Rows of the track, see `msibench.leaderboard.rows.COLUMNS`.
    track
        Scheme, control method and policy for missing metrics.
    draws
        Bootstrap draws. None: `DRAWS`, of which 50 lie beyond each end of a 95 % interval, and
        `FEWER_DRAWS` for a very large board, which has so many sections that its intervals are narrow.
    """
    scored = measured(rows)
    if draws is None:
        draws = DRAWS if len(scored) <= MANY_ROWS else FEWER_DRAWS
    scheme = scheme_of(track, scored["metric"].unique())
    table = _summary(scored, scheme, track, draws)
    cost = _cost(rows)
    merged = cost.merge(table, on=["protocol", "method"], how="left")
    order = np.lexsort(
        (
            merged["method"],
            -merged.get("composite", pd.Series(np.nan, merged.index)).fillna(-np.inf),
            (merged["rank_reason"] != "").to_numpy()
            if "rank_reason" in merged
            else np.zeros(len(merged)),
            merged["protocol"],
        )
    )
    result = ranked_apart(
        merged.iloc[order].reset_index(drop=True), suspicions(rows), track.control_method
    )
    if shaky := unstable(rows):
        places = zip(result["protocol"], result["method"], strict=True)
        result = result.assign(**{UNSTABLE: [shaky.get(place, "") for place in places]})
    front = ["protocol", "rank", "rank_group", "method", "composite"]
    front = [name for name in front if name in result]
    return result[[*front, *(name for name in result.columns if name not in front)]]


def scheme_of(track: Track, measured_metrics: Iterable[object] | None = None) -> Scheme:
    """Return the track's scheme, with the track's own policy for missing metrics.

    Where the track leaves it at the default and `measured_metrics` hold no skill (rows of msibench 0.1),
    that is `OLDER_SCHEME`.
    """
    if track.missing_metric not in {"mark", "refuse"}:
        raise ConfigurationError(
            f"track {track.name!r}: missing_metric must be 'mark' or 'refuse', "
            f"got {track.missing_metric!r}"
        )
    name = track.scheme
    if name == DEFAULT_SCHEME and measured_metrics is not None:
        name = name if "skill" in set(measured_metrics) else OLDER_SCHEME
    policy = cast(Literal["mark", "refuse"], track.missing_metric)
    return replace(load_scheme(name), missing=policy)


def sections_behind(part: pd.DataFrame) -> int:
    """Return the number of sections behind the scores of one protocol."""
    found = part["sections"].max() if "sections" in part else np.nan
    return 0 if pd.isna(found) else int(found)


def specimens_behind(part: pd.DataFrame) -> int:
    """Return the number of specimens behind the scores of one protocol: its sections, unless stated otherwise."""
    found = part["specimens"].max() if "specimens" in part else np.nan
    return sections_behind(part) if pd.isna(found) else int(found)


def replicates_behind(part: pd.DataFrame) -> str:
    """Return specimens and sections behind the scores of one protocol, in words: ``4 specimens (8 sections)``."""
    sections, specimens = sections_behind(part), specimens_behind(part)
    told = f"{sections} section{'' if sections == 1 else 's'}"
    if specimens == sections:
        return told
    return f"{specimens} specimen{'' if specimens == 1 else 's'} ({told})"


def has_ranks(part: pd.DataFrame) -> bool:
    """Whether one protocol has specimens enough for ranks and groups."""
    return specimens_behind(part) >= MINIMUM_SECTIONS


def what_numbers_mean(part: pd.DataFrame) -> str:
    """Return what means, standard errors and intervals of one protocol's table are over."""
    sections, specimens = sections_behind(part), specimens_behind(part)
    if not sections:
        return "Nobody has a score."
    images = f"{int(part['images'].max())} ion images"
    if specimens >= MINIMUM_SECTIONS:
        unit = "sections" if specimens == sections else "specimens"
        taken = "" if specimens == sections else "specimens "
        return (
            f"Mean ± s.e.m. over {images} of {replicates_behind(part)}, {taken}taken as independent; "
            f"95 % intervals over {unit} ({specimens}). A group begins with the first method that is told "
            f"apart from the first of the group above, by paired differences over {unit} and Holm's "
            "correction over all pairs (family-wise error 5 %), differences below 0.005 of a scaled score not "
            "counted; other methods of different groups need not "
            "be told apart."
        )
    if sections >= MINIMUM_SECTIONS:
        return (
            f"Sorted by score, without ranks or groups: {specimens} specimen{'' if specimens == 1 else 's'} "
            f"decide{'s' if specimens == 1 else ''} nothing about others. Mean ± s.e.m. over {images} of "
            f"{replicates_behind(part)}; 95 % intervals hold for sections of "
            f"{'this specimen' if specimens == 1 else 'these specimens'} only."
        )
    these = "this section" if sections == 1 else f"these {sections} sections"
    animals = (
        "one section is one animal" if sections == 1 else f"{sections} sections are few animals"
    )
    return (
        f"Sorted by score, without ranks or groups: {animals} and decide{'s' if sections == 1 else ''} "
        f"nothing about others. Mean ± s.e.m. over {images} of {these}; 95 % intervals over ion images "
        f"of {these}."
    )


def _summary(scored: pd.DataFrame, scheme: Scheme, track: Track, draws: int) -> pd.DataFrame:
    """Summarise; where the control method has no score, say so instead of giving composites."""
    tables = []
    beside = [replace(load_scheme(name), missing="mark") for name in BESIDE]
    for _, part in scored.groupby("protocol", sort=True):
        try:
            table = summarise(
                part,
                scheme,
                control_method=track.control_method,
                draws=draws,
                beside=beside,
            )
            tables.append(table)
        except DataError as error:
            bare = replace(scheme, normalisation="none")
            table = summarise(part, bare, draws=draws, beside=beside)
            for name in table.columns:
                if name.startswith(("composite", "rank")) and name != "composite.note":
                    table[name] = None if name != "rank_reason" else f"no composite: {error}"
            tables.append(table)
    if not tables:
        return summarise(scored, scheme, control_method=track.control_method, draws=draws)
    columns = list(dict.fromkeys(name for table in tables for name in table.columns))
    filled = [table.dropna(axis="columns", how="all") for table in tables]
    return pd.concat(filled, ignore_index=True).reindex(columns=columns)


def _cost(rows: pd.DataFrame) -> pd.DataFrame:
    """Return seconds, memory and status counts per protocol and method."""
    real = cells(rows)
    real = real[real["control"] == ""]
    out = []
    for (protocol, method), part in real.groupby(["protocol", "method"], sort=True):
        good = part[part["status"] == "ok"]
        counts = part["status"].value_counts().sort_index()
        reasons = sorted({reason for reason in part["status_reason"] if reason})
        out.append(
            {
                "protocol": protocol,
                "method": method,
                "task": part["task"].iloc[0],
                "control": bool(part["is_control"].iloc[0]),
                "seconds_per_image": _median(good["seconds_per_image"]),
                "rss_mib": _highest(good["rss_mib"]),
                "vram_mib": _highest(good["vram_mib"]),
                "statuses": ", ".join(f"{count} {status}" for status, count in counts.items()),
                "status_reasons": " / ".join(reasons)[:1000],
                "origin": ", ".join(origins(part)),
            }
        )
    columns = [
        "protocol", "method", "task", "control", "seconds_per_image", "rss_mib", "vram_mib",
        "statuses", "status_reasons", "origin",
    ]  # fmt: skip
    return pd.DataFrame(out, columns=columns)


def _median(values: pd.Series[float]) -> float:
    return float(values.median()) if values.notna().any() else float("nan")


def _highest(values: pd.Series[float]) -> float:
    return float(values.max()) if values.notna().any() else float("nan")
