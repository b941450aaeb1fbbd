"""All boards at one glance: ``README.md`` of a folder of boards, from their committed tables and rows alone.

No number of two boards is ever put together: a column belongs to one board, and nothing is averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from msibench.contracts.plain_text import in_markdown
from msibench.leaderboard.listed import (
    PERCENT,
    ROWS,
    TABLE,
    Listed,
    apart_from_methods,
    best_row,
    boards_in,
    range_text,
    with_interval,
)
from msibench.leaderboard.render import whole
from msibench.leaderboard.rows import SELF_REPORTED
from msibench.leaderboard.sentences import advice_for, sentences
from msibench.results.files import write_atomically

INDEX = "README.md"
TRUST = (
    ("invented_share", "invented", 100.0, PERCENT),
    ("guide_leakage", "follows the guide alone", 100.0, PERCENT),
)
"""Measures of trust that the overview shows: metric, heading, scale, unit."""
COSTS = ("seconds_per_image", "s / image")


def write_index(folder: Path) -> Path:
    """Write ``README.md`` of a folder of boards; same boards, same bytes.

    Returns
    -------
    Its path.
    """
    path = folder / INDEX
    write_atomically(path, index_page(boards_in(folder), prepared_in(folder)).encode())
    return path


def prepared_in(folder: Path) -> list[str]:
    """Return the names of the tracks of a folder that have no table yet."""
    return sorted(
        path.parent.name
        for path in folder.glob("*/track.toml")
        if not (path.parent / TABLE).is_file()
    )


def index_page(boards: list[Listed], prepared: Sequence[str] = ()) -> str:
    """Return the overview as Markdown: every family of sections with its methods, then a list of all boards.

    Parameters
    ----------
    boards
        The measured boards.
    prepared
        Tracks without a measured board.
    """
    parts = [
        "# All boards",
        "_Made by `msibench leaderboard --index leaderboards` from the tables of the boards. Columns are "
        "boards; numbers of two boards are never put together. A skill (in %) is 0 for an image that adds "
        "nothing to its input and 100 for the truth; boards without % hold older rows, ranked by the "
        "share of the control's error that is gone. Measures of trust of an older version are left out. "
        "[A list of the boards](#boards) is at the end._",
    ]
    for family in dict.fromkeys(board.family for board in boards):
        here = [board for board in boards if board.family == family]
        advice = advice_for(here)
        parts += [f"## {in_markdown(heading(here))}", *([advice] if advice else [])]
        parts += [sentences(here), _methods(here)]
    parts += ["## Boards", _list(boards)]
    if prepared:
        names = ", ".join(f"`{in_markdown(name)}`" for name in prepared)
        parts.append(
            f"Tracks that are ready and not measured yet (`msibench run NAME` does it): {names}."
        )
    return "\n\n".join(parts) + "\n"


def _list(boards: list[Listed]) -> str:
    lines = []
    for board in boards:
        best = best_row(board)
        specimens = board.specimens()
        cut_from = f" ({specimens} specimen{'' if specimens == 1 else 's'})"
        images = board.table["images"].max() if "images" in board.table else None
        lines.append(
            [
                f"[{in_markdown(board.name)}]({board.track.name}/README.md)",
                in_markdown(board.track.title),
                f"{board.sections()}{cut_from if specimens < board.sections() else ''}",
                whole(images),
                len(board.table),
                "–" if best is None else f"`{in_markdown(str(best['method']))}`",
                "–" if best is None else f"{with_interval(board, best)}",
            ]
        )
    headers = ["board", "", "sections", "ion images", "methods", "highest score", "score"]
    return tabulate(lines, headers=headers, tablefmt="pipe", disable_numparse=True)


def heading(boards: list[Listed]) -> str:
    """Return what the titles of all boards of a family begin with, and its data sets' names."""
    titles = [board.track.title.partition(":")[0].split() for board in boards]
    shared = []
    for words in zip(*titles, strict=False):
        if len({word.rstrip(",") for word in words}) > 1:
            break
        shared.append(min(words, key=len))
    family = boards[0].family
    return f"{' '.join(shared).rstrip(',')} ({family})" if shared else family


def _methods(boards: list[Listed]) -> str:
    """Return one table of a family: a row a method, a column a board, then trust, seconds and flags."""
    apart = {
        str(m) for board in boards for m in board.table.loc[apart_from_methods(board), "method"]
    }
    longest = sorted(boards, key=lambda board: -len(board.table))
    names = dict.fromkeys(str(name) for board in longest for name in board.table["method"])
    ordered = [name for name in names if name not in apart] + [n for n in names if n in apart]
    shown = [each for each in TRUST if any(f"{each[0]}.image.mean" in b.table for b in boards)]
    alike = {metric: _of_newest_version(boards, metric) for metric, *_ in shown}
    headers = ["method", *(in_markdown(board.name) for board in boards)]
    timed = longest[0]  # boards may have been run on different machines: one column, one board
    seconds = COSTS[1] if len(boards) == 1 else f"{COSTS[1]}, {in_markdown(timed.name)}"
    headers += [*(heading for _, heading, _, _ in shown), seconds, "flags"]
    lines = []
    places = [{str(m): row for row, m in enumerate(board.table["method"])} for board in boards]
    for name in ordered:
        rows = [
            (board, board.table.iloc[place[name]])
            for board, place in zip(boards, places, strict=True)
            if name in place
        ]
        held = {board.name: with_interval(board, row) for board, row in rows}
        line = [f"`{in_markdown(name)}`", *(held.get(board.name, "") for board in boards)]
        for metric, _, scale, unit in shown:
            held_by = [row for board, row in rows if board in alike[metric]]
            line.append(
                range_text([row.get(f"{metric}.image.mean") for row in held_by], scale, unit)
            )
        times = [row.get(COSTS[0]) for board, row in rows if board is timed]
        line.append(range_text(times))
        lines.append([*line, flags_of(name, rows)])
    return tabulate(lines, headers=headers, tablefmt="pipe", disable_numparse=True)


def _of_newest_version(boards: list[Listed], metric: str) -> list[Listed]:
    """Return the boards that hold a metric in its newest version among them: others measured something else."""
    versions = {board.name: _version(board, metric) for board in boards}
    return [board for board in boards if versions[board.name] == max(versions.values())]


def _version(board: Listed, metric: str) -> int:
    """Return the version of a metric on a board, 0 where it has no such rows."""
    path = (board.track.folder or Path()) / ROWS
    if not path.is_file():
        return 0
    rows = pd.read_parquet(path, columns=["metric_version"], filters=[("metric", "==", metric)])
    return int(rows["metric_version"].max()) if len(rows) else 0


def flags_of(name: str, rows: list[tuple[Listed, pd.Series[Any]]]) -> str:
    """Return remarks on a method's results: flags, controls, and whose numbers they are."""
    said = []
    for board, row in rows:
        flag = row.get("flag")
        if isinstance(flag, str) and flag:
            said.append(f"{board.name}: {flag}")
        if bool(row["control"]) and name != board.track.control_method:
            said.append("control")
        share = row.get("coverage")
        if share is not None and share < 1:
            said.append(f"{board.name}: {share:.0%} of the images")
        origins = str(row.get("origin", ""))
        said += [word for word in (SELF_REPORTED, "not isolated") if word in origins]
    return in_markdown("; ".join(dict.fromkeys(said)))
