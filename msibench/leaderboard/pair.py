"""Two methods side by side, m/z by m/z, as Cao et al. print them in Tables S2 and S3."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from tabulate import tabulate

from msibench.leaderboard.rows import measured
from msibench.leaderboard.table import scheme_of
from msibench.scoring import Scheme, comparisons, pair_table
from msibench.scoring.replicates import SAME_SPECIMENS, SECTIONS
from msibench.tracks import Track


def pair_page(
    rows: pd.DataFrame,
    track: Track,
    published_tables: Mapping[str, Any],
    first: str,
    second: str,
    *,
    scheme: str = "",
) -> str:
    """Return the per-m/z table of two methods as Markdown, published scores beside it.

    Below it comes the mean paired difference with its interval, as in the board's groups.

    Parameters
    ----------
    published_tables
        What the track's data sets say that others published: ``track_facts["published"]`` of its index.
    scheme
        Name or file of the scoring scheme; empty: the track's.
    """
    published = None
    for table in published_tables.values():
        text = "\n".join(",".join(map(str, row)) for row in table["rows"])
        found = pd.read_csv(io.StringIO(text))
        if {"id", "mz", "tissue"} <= set(found.columns):  # other published tables are per method
            published = found
    scored = measured(rows)
    chosen = replace(track, scheme=scheme) if scheme else track
    used = scheme_of(chosen, scored["metric"].unique())
    table = pair_table(
        scored,
        used,
        first,
        second,
        published=published,
        control_method=track.control_method,
    )
    page = tabulate(
        table.to_dict("list"), headers="keys", tablefmt="pipe", showindex=False, floatfmt=".6g"
    )
    lines = _differences(scored, used, track.control_method, first, second)
    return "\n\n".join([page, f"Scheme `{used.name}`. " + " ".join(lines)])


def _differences(
    scored: pd.DataFrame, scheme: Scheme, control: str, first: str, second: str
) -> list[str]:
    """Return one sentence a protocol on the mean paired difference."""
    lines = []
    for protocol, part in scored.groupby("protocol", sort=True):
        if not {first, second} <= set(part["method"].unique()):
            continue
        found = comparisons(part, scheme, second, control_method=control)
        line = found[(found["metric"] == "composite") & (found["method"] == first)].iloc[0]
        sections, specimens = int(line["sections"]), int(line["specimens"])
        if not np.isfinite(line["difference"]):
            continue
        over = {
            SECTIONS: f"sections ({sections})"
            if specimens == sections
            else f"specimens ({specimens}, {sections} sections)",
            SAME_SPECIMENS: f"sections of these specimens ({specimens}, {sections} sections)",
        }.get(str(line["scope"]), "ion images of these sections")
        interval = (
            f", 95 % interval over {over} [{line['low']:+.3g}, {line['high']:+.3g}]"
            if np.isfinite(line["low"])
            else ""
        )
        p = f", p = {line['p']:.2g}" if np.isfinite(line["p"]) else ""
        note = f" ({line['note']})" if line["note"] else ""
        lines.append(
            f"{protocol}: {first} - {second} = {line['difference']:+.3g}{interval}{p}{note}."
        )
    return lines
