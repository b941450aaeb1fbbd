"""Two methods side by side, m/z by m/z, as Cao et al. print them in Tables S2 and S3."""

from __future__ import annotations

import io

import pandas as pd
from tabulate import tabulate

from msibench.leaderboard.rows import measured
from msibench.leaderboard.table import scheme_of
from msibench.results.index import read_index
from msibench.results.store import Store
from msibench.scoring import pair_table
from msibench.tracks import Track


def pair_page(rows: pd.DataFrame, track: Track, store: Store, first: str, second: str) -> str:
    """Return the per-m/z table of two methods as Markdown, published scores beside it."""
    facts = read_index(store, track.name).facts
    published = None
    for table in facts.get("published", {}).values():
        text = "\n".join(",".join(map(str, row)) for row in table["rows"])
        found = pd.read_csv(io.StringIO(text))
        if {"id", "mz", "tissue"} <= set(found.columns):  # other published tables are per method
            published = found
    scored = measured(rows)
    table = pair_table(
        scored[scored["method"].isin([first, second, track.control_method])],
        scheme_of(track),
        first,
        second,
        published=published,
        control_method=track.control_method,
    )
    return tabulate(
        table.to_dict("list"), headers="keys", tablefmt="pipe", showindex=False, floatfmt=".6g"
    )
