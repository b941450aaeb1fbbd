"""The files of a leaderboard: ``rows.parquet``, ``leaderboard.csv`` and ``README.md``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tabulate import tabulate

from msibench.contracts.plain_text import in_markdown, visible
from msibench.io.whole_files import sweep_parts
from msibench.leaderboard.board import Board, board_for, is_published, refuse_to_shrink
from msibench.leaderboard.metrics import BoardMetrics, board_metrics
from msibench.leaderboard.perfect import PERFECT, perfect_signal
from msibench.leaderboard.rebuild import rebuild_commands
from msibench.leaderboard.rows import (
    Collected,
    cells,
    distinct,
    marks,
    measured,
    origins,
    records_of,
)
from msibench.leaderboard.table import BESIDE, has_ranks, scheme_of, what_numbers_mean
from msibench.leaderboard.trust import trust_sections
from msibench.leaderboard.twins import unstable
from msibench.results.files import explained, write_together
from msibench.results.index import TrackIndex
from msibench.results.metric_rows import rows_as_parquet
from msibench.results.store import Store
from msibench.scoring import Scheme
from msibench.scoring.cube import NOTHING_PRESENT, images_of_nothing
from msibench.tracks import Track


def write_leaderboard(
    store: Store | None, track: Track, folder: Path, *, board: Board | None = None
) -> Collected:
    """Write a track's leaderboard from the store alone; the same store gives the same bytes.

    Parameters
    ----------
    store
        None: `board` is of committed rows.
    board
        What `read_board` gave, where it was read already.

    Raises
    ------
    StoreError
        If the track was never run into this store.
    """
    published = store is None or is_published(folder, store)
    if board is None:
        assert store is not None
        board = board_for(store, track, folder)
    if published:
        refuse_to_shrink(board.rows, board.track, folder)
    contents = leaderboard_files(board)
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for place in (folder, *(one for one in folder.iterdir() if one.is_dir())):
            sweep_parts(place)
        new = {folder / name: content for name, content in contents.items()}
        write_together({path: new[path] for path in new if not _holds(path, new[path])})
    return board.collected


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content


def leaderboard_files(board: Board) -> dict[str, bytes]:
    """Return the content of every file of a leaderboard, by name."""
    page = markdown_page(board)
    return {
        "rows.parquet": rows_as_parquet(board.rows),
        "leaderboard.csv": board.csv.encode(),
        "README.md": page.encode(),
    }


def markdown_page(board: Board) -> str:
    """Return ``README.md``: what was compared, the table, what is missing and why."""
    table, collected, track, index = board.table, board.collected, board.track, board.index
    scheme, metrics = scheme_of(track, collected.rows["metric"].unique()), board_metrics(index)
    parts = [f"# {in_markdown(track.title or track.name)}", _paragraphs(track.description)]
    for described in index.track_facts.get("datasets", {}).values():
        origin = (
            "synthetic: made by a generator, measured by nobody" if described["synthetic"] else ""
        )
        notes = "; ".join(note for note in (origin, _line(described["description"])) if note)
        parts.append(f"**{in_markdown(described['title'])}.** {notes}")
    for protocol, part in table.groupby("protocol", sort=True):
        parts += [f"## {in_markdown(str(protocol))}", _protocol_line(index, str(protocol))]
        scored = measured(collected.rows)
        here = scored[scored["protocol"] == protocol]
        lacking, marked = _without_weights(collected.rows), marks(collected.rows)
        parts.append(_table(part, track, metrics, lacking, marked, scheme, perfect_signal(here)))
        parts.append(f"_{' '.join(_below(part, metrics, lacking, scheme, track))}_")
        parts += trust_sections(collected.rows, str(protocol), track, metrics)
    parts.append(
        f"Score: scheme `{scheme.name}`, control method `{track.control_method}`. {scheme.title}. "
        "Intervals of every column are in `leaderboard.csv`. Seconds are the median per ion image, "
        "fitting included; memory is the highest resident set of a cell."
    )
    parts += _remarks(table, collected)
    parts += _published(index)
    parts.append(f"## Rebuild\n\n```\n{rebuild_commands(board)}\n```\n\n{_provenance(collected)}")
    return "\n\n".join(part for part in parts if part) + "\n"


def _protocol_line(index: TrackIndex, protocol: str) -> str:
    described = index.track_facts.get("protocols", {}).get(protocol)
    return f"_{_line(described['description'])}_" if described else ""


def _line(text: object) -> str:
    """Return a description that may hold links of its author, but no HTML, image or second block."""
    line = " ".join(visible(str(text)).split())
    line = line.replace("<", "&lt;").replace(">", "&gt;").replace("![", "!\\[")
    return re.sub(r"\](?=\s*(\((?!https?://)|:))", "\\\\]", line)


def _paragraphs(text: str) -> str:
    """Return a description of several paragraphs, each as `_line` gives it."""
    return "\n\n".join(_line(block) for block in re.split(r"\n\s*\n", text) if block.strip())


def _without_weights(rows: pd.DataFrame) -> dict[str, str]:
    """Return the metrics that were not computed because a pretrained file is missing, and what fetches it."""
    lacking = rows[rows["reason"].str.startswith("weights-missing")]
    first = lacking.groupby("metric")["reason"].first()
    return {str(name): str(why).partition(": ")[2] for name, why in first.items()}


def _table(
    part: pd.DataFrame,
    track: Track,
    metrics: BoardMetrics,
    without_weights: Mapping[str, str],
    marked: Mapping[str, str],
    scheme: Scheme,
    perfect: Mapping[str, tuple[float, float]],
) -> str:
    """Return one protocol's table as Markdown; what asks another question has its own."""
    quality = [name for name in track.metrics if metrics[name].question == "quality"]
    names = [
        name
        for name in quality
        if f"{name}.image.mean" in part
        and (name not in without_weights or part[f"{name}.image.mean"].notna().any())
    ]
    beside = [name for name in BESIDE if name in part and name != scheme.name]
    ranked = has_ranks(part)
    headers = ["rank", "group", "method"] if ranked else ["method"]
    headers += ["score (%)" if scheme.percent else "score"]
    headers += [in_markdown(metrics[name].label) for name in names]
    headers += [*beside, "coverage", "images", "s / image", "MiB", "cells"]
    lines = []
    for row in records_of(part):
        label = f"{row['method']} (control)" if row["control"] else str(row["method"])
        label += marked.get(str(row["method"]), "")
        place = [whole(row.get("rank")), whole(row.get("rank_group"))] if ranked else []
        lines.append(
            [
                *place,
                in_markdown(label),
                _score(row.get("composite"), scheme),
                *(plus_minus(row, f"{name}.image", metrics[name].digits) for name in names),
                *(_score(row.get(name)) for name in beside),
                "" if pd.isna(row.get("coverage")) else f"{row['coverage']:.0%}",
                whole(row.get("images")),
                significant(row["seconds_per_image"]),
                whole(row["rss_mib"]),
                in_markdown(str(row["statuses"])),
            ]
        )
    before, after = (["", ""] if ranked else []), [""] * (len(beside) + 5)
    score = perfect.get("skill") if scheme.name == "skill" else None
    ends = _ends(score, 1, 100.0) if score else "–"
    best = [_ends(perfect.get(name), metrics[name].digits) for name in names]
    lines.append([*before, f"_{PERFECT}_", ends, *best, *after])
    control = records_of(part[part["method"] == track.control_method])
    if control:
        row = control[0]
        held = [plus_minus(row, f"{name}.image", metrics[name].digits) for name in names]
        label = in_markdown(track.control_method) + marked.get(track.control_method, "")
        name = f"_the control, {label}_"
        lines.append([*before, name, _score(row.get("composite"), scheme), *held, *after])
    return tabulate(lines, headers=headers, tablefmt="pipe", disable_numparse=True)


def _ends(ends: tuple[float, float] | None, digits: int, scale: float = 1.0) -> str:
    """Return a value, or a range where its ends differ."""
    if ends is None:
        return "–"
    low, high = (fixed(scale * end, digits) for end in ends)
    return low if low == high else f"{low} to {high}"


def _below(
    part: pd.DataFrame,
    metrics: BoardMetrics,
    without_weights: Mapping[str, str],
    scheme: Scheme,
    track: Track,
) -> list[str]:
    """Return the sentences below a table: what its numbers are, and what would fill what it lacks."""
    said = [what_numbers_mean(part)]
    said.append(
        "Perfect signal: the noise-free image against this noisy truth, exact, measured or estimated."
    )
    for column, name in (("missing", "Score"), *((f"{n}.missing", n) for n in BESIDE)):
        if column in part:
            lacks = sorted({str(text) for text in part[column].dropna() if text})
            if lacks:
                said.append(f"{name}: without {in_markdown('; '.join(lacks))}.")
    apart = part[part["control"].astype(bool) & (part["method"] != track.control_method)]
    if len(apart):
        names = ", ".join(f"`{in_markdown(str(name))}`" for name in apart["method"])
        said.append(f"Below, apart from the methods: {names}, which show what a score is worth.")
    if scheme.name != track.scheme:
        said.append(
            f"These rows hold no {track.scheme}: they are older, and ranked by `{scheme.name}`."
        )
    unfilled = {
        name: how for name, how in without_weights.items() if part.get(f"{name}.image.mean") is not None
        and part[f"{name}.image.mean"].isna().all()
    }  # fmt: skip
    if unfilled:
        labels = ", ".join(in_markdown(metrics[name].label) for name in unfilled)
        how = "; ".join(dict.fromkeys(in_markdown(text) for text in unfilled.values()))
        said.append(f"Not shown: {labels}, which needs pretrained weights ({how}).")
    return said


def plus_minus(row: Mapping[Any, Any], measure: str, digits: int) -> str:
    """Return ``mean ± s.e.m.``, with the number of undefined images where there are any."""
    mean, sem = row.get(f"{measure}.mean"), row.get(f"{measure}.sem")
    if mean is None or pd.isna(mean):
        return "–"
    spread = "" if sem is None or pd.isna(sem) else f" ± {fixed(sem, digits)}"
    undefined = row.get(f"{measure}.undefined", 0)
    holes = f" ({whole(undefined)} undefined)" if undefined and whole(undefined) else ""
    return f"{fixed(mean, digits)}{spread}{holes}"


HUGE = 1e6
"""From here on a number is written with an exponent: sixty digits would break the table."""


def fixed(value: float, digits: int) -> str:
    """Return a number with so many decimals, and no sign before a zero; a huge one with an exponent."""
    return f"{value:z.{digits}f}" if abs(value) < HUGE else f"{value:.2e}"


def _score(score: float | None, scheme: Scheme | None = None) -> str:
    if score is None or pd.isna(score):
        return "–"
    return fixed(100 * score, 1) if scheme is not None and scheme.percent else fixed(score, 3)


def _remarks(table: pd.DataFrame, collected: Collected) -> list[str]:
    """Return what is not in the table, and why."""
    lines = [
        f"- **`{in_markdown(method)}` ({in_markdown(protocol)}) is {in_markdown(why)}**"
        for (protocol, method), why in unstable(collected.rows).items()
    ]
    for _, row in table.iterrows():
        flag = row.get("flag")
        if isinstance(flag, str) and flag:
            lines.append(
                f"- **`{in_markdown(row['method'])}` ({in_markdown(row['protocol'])}) is ranked apart: {flag}**"
            )
        reason = row.get("rank_reason")
        if isinstance(reason, str) and reason:
            lines.append(
                f"- `{in_markdown(row['method'])}` ({in_markdown(row['protocol'])}) has no rank: {in_markdown(reason)}"
            )
        if row["status_reasons"]:
            lines.append(
                f"- `{in_markdown(row['method'])}` ({in_markdown(row['protocol'])}): {in_markdown(row['status_reasons'])}"
            )
    rows = measured(collected.rows)
    nothing = images_of_nothing(rows)
    if nothing:
        lines.append(
            f"- {nothing} ion images on which nothing is present (their truth is zero everywhere) are "
            "left out of every mean"
        )
    holes = rows[(rows["reason"] != "") & (rows["reason"] != NOTHING_PRESENT)]
    for (metric, reason), part in holes.groupby(["metric", "reason"], sort=True):
        count = len(part)
        lines.append(f"- {metric}: {count} values undefined ({in_markdown(str(reason))})")
    lines += [
        f"- cell {key[:12]}… is damaged: {in_markdown(why)}"
        for key, why in collected.damaged.items()
    ]
    lines += [
        f"- {count} {'cell stays' if count == 1 else 'cells stay'} out of every table, {in_markdown(why)}: {in_markdown(names)}"
        for why, count, names in _left_out(collected)
    ]
    lines += [
        f"- `{in_markdown(method)}`: its seconds are not shown, they were measured on another machine "
        f"({in_markdown(machine)})"
        for method, machine in sorted(collected.machines.items())
    ]
    untimed = table["seconds_per_image"].isna() & table["statuses"].str.contains(r"\bok\b")
    lines += [
        f"- `{in_markdown(method)}`: no seconds of it are known on the machine of the others"
        for method in sorted(set(table.loc[untimed, "method"]) - set(collected.machines))
    ]
    return ["## What is missing, and why\n\n" + "\n".join(distinct(lines))] if lines else []


def _left_out(collected: Collected) -> list[tuple[str, int, str]]:
    """Return why cells of other experiments are left out, how many, and some of their names."""
    found = []
    for why in distinct(collected.left_out.values()):
        names = sorted(name for name, reason in collected.left_out.items() if reason == why)
        found.append((why, len(names), "; ".join(names[:3]) + ("; …" if len(names) > 3 else "")))
    return found


def _published(index: TrackIndex) -> list[str]:
    """Show published tables beside the measured ones; never in them."""
    parts = []
    for name, table in sorted(index.track_facts.get("published", {}).items()):
        rows = [[in_markdown(str(cell)) for cell in row] for row in table["rows"]]
        parts.append(
            f"## Published elsewhere: {in_markdown(name)}\n\n{_line(table['source'])}\n\n"
            + tabulate(rows[1:], headers=rows[0], tablefmt="pipe", disable_numparse=True)
        )
    return parts


def _provenance(collected: Collected) -> str:
    found = cells(collected.rows)
    devices = ", ".join(sorted(set(found["device"].unique())))
    origin = ", ".join(origins(found))
    where = in_markdown(f"{devices}, {origin}")
    number = "1 cell" if len(found) == 1 else f"{len(found)} cells"
    return f"{number} on {where}; every number's record is in the store."


def whole(value: object) -> str:
    """Return a whole number, or nothing where it is undefined or infinite."""
    if value is None or pd.isna(value) or not np.isfinite(number := float(value)):  # type: ignore[call-overload,arg-type]
        return ""
    return str(round(number))


def significant(value: float, digits: int = 3) -> str:
    """Return a number with a few significant digits and no exponent."""
    if value is None or not np.isfinite(value):
        return ""
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - int(np.floor(np.log10(abs(value)))))
    return f"{value:.{decimals}f}"
