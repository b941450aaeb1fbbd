"""All models of a grid at one glance: metrics, score, and the best one compared with its starting point.

The counterparts of Cao et al.'s Figure S1 (six metrics of pre-trained networks), Figure S3 (of all fine-tuned
models), Figure S4 (their weighted score, ranked), Figures S5 and S6 (images of two ions, fine-tuned and pre-trained) and Tables S2 and S3
(the two, m/z by m/z).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from msibench.errors import DataError
from msibench.leaderboard.figure_boxes import METRICS, boxes, metric_boxes, panels
from msibench.leaderboard.figure_images import images
from msibench.leaderboard.figure_source import Choice, Source
from msibench.leaderboard.figure_style import BLUE, GREY, ORANGE, fixed_style, saved
from msibench.leaderboard.metrics import board_metrics
from msibench.leaderboard.pair import pair_page
from msibench.leaderboard.rows import collect, measured
from msibench.leaderboard.table import has_ranks, leaderboard_table, scheme_of
from msibench.results.files import write_atomically
from msibench.results.index import read_index
from msibench.results.store import Store
from msibench.scoring import composite, load_scheme
from msibench.scoring.schemes import DEFAULT_SCHEME, OLDER_SCHEME
from msibench.tracks import Track

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IONS = 2
"""Ions of which the grid's figure shows images, as in Cao et al.'s Figures S5 and S6."""
ORDER_DRAWS = 100
"""Bootstrap draws where only order and means are needed, which do not depend on them."""
PUBLISHED_SCHEME = "cao2025"


def scheme_for(rows: pd.DataFrame) -> tuple[str, tuple[str, ...]]:
    """Return the scheme that the metrics allow, and the metrics that ``cao2025`` lacks.

    Parameters
    ----------
    rows
        Long table with the columns of `msibench.leaderboard.rows.COLUMNS`.

    Returns
    -------
    ``("cao2025", ())`` where every method that was scored under a protocol has a value of each of its
    metrics, else ``"skill"`` (``"anchored"`` for rows from before it) and the names of the metrics that are missing.
    """
    scored = measured(rows)
    wanted = [metric.name for metric in load_scheme(PUBLISHED_SCHEME).metrics]
    lacking: set[str] = set() if len(scored) else set(wanted)
    for _, part in scored[scored["region"] == "image"].groupby(["protocol", "method"]):
        lacking |= set(wanted) - set(part.loc[np.isfinite(part["value"]), "metric"])
    missing = tuple(name for name in wanted if name in lacking)
    if not missing:
        return PUBLISHED_SCHEME, ()
    return (DEFAULT_SCHEME if DEFAULT_SCHEME in set(scored["metric"]) else OLDER_SCHEME), missing


def write_overview(
    rows: pd.DataFrame,
    track: Track,
    store: Store,
    folder: Path,
    *,
    variants: Sequence[str],
    start: str = "",
    missing: Sequence[str] = (),
) -> list[Path]:
    """Write the figures and ``pair.md`` into `folder`; same rows, same bytes.

    ``pretrained.svg`` and ``metrics.svg`` show the six metrics of what no training of the grid made, and of all models;
    ``score.svg`` the score, ``images.png`` two ions.

    Where a track has several protocols, the figures of each carry its name.

    Parameters
    ----------
    rows
        Rows of the track, as `msibench.leaderboard.rows.collect` gives them.
    track
        Its scheme makes the score.
    store
        Where published scores are looked up.
    variants
        The methods of the grid, by their names in the rows.
    start
        The method that they started from; empty where it has no weights: the best variant is then
        set against the track's control method.
    missing
        Metrics for want of which the scheme is not ``cao2025``; the figure's title names them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    board = leaderboard_table(rows, track, draws=ORDER_DRAWS)
    index = read_index(store, track.name)
    known, records = board_metrics(index), collect(store, index).records
    protocols = sorted(set(board["protocol"].unique()))
    written: list[Path] = []
    pairs: list[str] = []
    for protocol in protocols:
        tail = f"-{protocol}" if len(protocols) > 1 else ""
        here = rows[rows["protocol"] == protocol]
        table = board[board["protocol"] == protocol].reset_index(drop=True)
        colours = {
            method: BLUE if method in variants else ORANGE if method == start else GREY
            for method in table["method"]
        }
        source = Source(
            store=store,
            track=track,
            choice=Choice(ions=IONS),
            rows=here,
            records=records,
            metrics=known,
            protocol=protocol,
            table=table,
        )
        values = measured(here)
        scored = set(values.loc[np.isfinite(values["value"]), "metric"])
        names = [name for name in METRICS if name in scored]
        untrained = {name: colour for name, colour in colours.items() if name not in variants}
        best = best_of(table, variants)
        other = start if start in set(measured(here)["method"]) else track.control_method
        with fixed_style():
            pictures = {
                f"pretrained{tail}.svg": metric_boxes(source, names, untrained),
                f"metrics{tail}.svg": metric_boxes(source, names, colours),
                f"score{tail}.svg": _score_figure(here, table, track, colours, protocol, missing),
                f"images{tail}.png": _images(source, best, other),
            }
            for name, figure in pictures.items():
                if figure is not None:
                    write_atomically(folder / name, saved(figure, Path(name).suffix))
                    written.append(folder / name)
        pairs.append(_pair(here, table, track, store, variants, start, protocol))
    write_atomically(folder / "pair.md", "\n\n".join(pairs) + "\n")
    return [*written, folder / "pair.md"]


def best_of(table: pd.DataFrame, methods: Sequence[str]) -> str:
    """Return the method with the highest score in one protocol's leaderboard, or an empty string."""
    scores = table["composite"] if "composite" in table else pd.Series(np.nan, table.index)
    found = [
        (float(score), str(method))
        for method, score in zip(table["method"], scores, strict=True)
        if method in methods and pd.notna(score)
    ]
    return max(found, default=(0.0, ""), key=lambda entry: entry[0])[1]


def _score_figure(
    rows: pd.DataFrame,
    table: pd.DataFrame,
    track: Track,
    colours: Mapping[str, str],
    protocol: str,
    missing: Sequence[str],
) -> Figure:
    """Draw the composite of every ion image, models by rank, the mean written beside each."""
    figure, (axes,) = panels(1, len(colours), width=6.5)
    scores = table["composite"] if "composite" in table else pd.Series(np.nan, table.index)
    means = dict(zip(table["method"], scores.astype("float64"), strict=True))
    values: dict[str, NDArray[np.float64]] = {}
    if any(np.isfinite(mean) for mean in means.values()):
        found = composite(
            measured(rows),
            scheme_of(track, rows["metric"].unique()),
            control_method=track.control_method,
        )
        values = {
            str(m): part["composite"].to_numpy(np.float64) for m, part in found.groupby("method")
        }
    values = {m: v[np.isfinite(v)] for m, v in values.items() if np.isfinite(v).any()}
    boxes(axes, values, colours)
    labels = []
    ranked = has_ranks(table)
    for rank, method in enumerate(colours, start=1):
        mean = means[method]
        labels.append(
            f"{f'{rank}. ' if ranked else ''}{method}  {mean:.3f}"
            if np.isfinite(mean)
            else f"{method}  no score"
        )
        if np.isfinite(mean):
            axes.plot([mean], [len(colours) + 1 - rank], "D", color="black", markersize=4)
    axes.set_yticks(np.arange(len(colours), 0, -1), labels)
    axes.set_xlabel("score of each ion image; ◆ mean (higher is better)")
    why = f" ({PUBLISHED_SCHEME} needs {', '.join(missing)})" if missing else ""
    axes.set_title(f"score, scheme {track.scheme}{why}; {protocol}")
    return figure


def _images(source: Source, best: str, other: str) -> Figure | None:
    """Draw coarse image, truth, the best training and what it is set against; None where rows hold no images."""
    table = source.table[source.table["method"].isin((best, other))]
    try:
        return images(replace(source, table=table.reset_index(drop=True)))
    except DataError:
        return None


def _pair(
    rows: pd.DataFrame,
    table: pd.DataFrame,
    track: Track,
    store: Store,
    variants: Sequence[str],
    start: str,
    protocol: str,
) -> str:
    """Return one protocol's per-m/z table of the best variant and its start, or why there is none."""
    head = f"# Fine-tuned and pre-trained, m/z by m/z: {protocol}"
    published = read_index(store, track.name).track_facts.get("published", {})
    best = best_of(table, variants)
    scored = set(measured(rows)["method"])
    other = start if start in scored else track.control_method
    if not best or other not in scored:
        return f"{head}\n\nNo table: no trained model has a score beside {other}."
    fate = ""
    if start and other != start:
        fate = f" `{start}`, from which it started, has no score here."
    elif not start:
        fate = " The method that was trained has no weights of its own to start from."
    return (
        f"{head}\n\nA is `{best}`, the best trained model; B is `{other}`"
        f"{' (the control)' if other == track.control_method else ''}.{fate} Scheme `{track.scheme}`; "
        "a ratio above 1 says that A is better. A scheme that scales across methods compares these "
        f"two only.\n\n{pair_page(rows, track, published, best, other)}"
    )
