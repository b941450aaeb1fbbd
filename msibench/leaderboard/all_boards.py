"""All boards at one glance: ``README.md`` of a folder of boards, from their committed tables and rows alone.

No number of two boards is ever put together: a column belongs to one board, and nothing is averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tabulate import tabulate

from msibench.contracts.method import Task
from msibench.contracts.plain_text import in_markdown
from msibench.datasets import load_card
from msibench.errors import ConfigurationError, IntegrityError, MSIBenchError
from msibench.leaderboard.perfect import REFERENCE
from msibench.leaderboard.render import fixed, significant, whole
from msibench.leaderboard.rows import SELF_REPORTED, measured
from msibench.leaderboard.table import (
    replicates_behind,
    scheme_of,
    sections_behind,
    specimens_behind,
)
from msibench.plugin_manager import installed
from msibench.results.files import write_atomically
from msibench.scoring import Scheme
from msibench.scoring.composite import score_images
from msibench.scoring.cube import cubes
from msibench.scoring.paired import Difference, paired_difference
from msibench.scoring.replicates import MINIMUM_SECTIONS
from msibench.tracks import Track, load_track

TABLE, ROWS, INDEX = "leaderboard.csv", "rows.parquet", "README.md"
TRUST = (
    ("invented_share", "invented", 100.0, " %"),
    ("guide_leakage", "follows the guide alone", 100.0, " %"),
)
"""Measures of trust that the overview shows: metric, heading, scale, unit."""
COSTS = ("seconds_per_image", "s / image")


@dataclass(frozen=True, eq=False)
class Listed:
    """One protocol of one board."""

    track: Track
    protocol: str
    table: pd.DataFrame
    scheme: Scheme

    @property
    def family(self) -> str:
        """Data sets of the board, as named in its track."""
        return ", ".join(dict.fromkeys(problem.dataset for problem in self.track.problems))

    @property
    def name(self) -> str:
        """The name of a column: the board, with its protocol where the board has several."""
        several = len({p for problem in self.track.problems for p in problem.protocols}) > 1
        return f"{self.track.name} ({self.protocol})" if several else self.track.name

    def score(self, row: pd.Series[Any], end: str = "") -> str:
        """Return a score, or an end of its interval, as this board shows it."""
        value = row.get(f"composite{end}")
        if value is None or pd.isna(value):
            return "–"
        return fixed(100 * value, 1) if self.scheme.percent else fixed(value, 3)

    @cached_property
    def guide_difference(self) -> Difference | None:
        """What `guide_difference` finds, worked out once."""
        return guide_difference(self)

    def sections(self) -> int:
        """Return the number of sections behind the scores."""
        return sections_behind(self.table)

    def replicates(self) -> str:
        """Return sections and, where some share one, specimens in words."""
        return replicates_behind(self.table)

    def specimens(self) -> int:
        """Return the number of specimens that these were cut from: as many, unless the cards say otherwise."""
        return specimens_behind(self.table)


def boards_in(folder: Path) -> list[Listed]:
    """Read every board of a folder that has a table, by name.

    Raises
    ------
    ConfigurationError
        There is no such folder, or no board in it.
    IntegrityError
        A table cannot be read.
    """
    found: list[Listed] = []
    for path in sorted(folder.glob(f"*/{TABLE}")):
        track = load_track(str(path.parent))
        try:
            table = pd.read_csv(path)
            table = table[table["task"] != REFERENCE]
            for protocol, part in table.groupby("protocol", sort=True):
                names = [str(name).partition(".")[0] for name in part.columns]
                scheme = scheme_of(track, names)
                found.append(Listed(track, str(protocol), part.reset_index(drop=True), scheme))
        except (OSError, ValueError, KeyError) as error:
            if isinstance(error, MSIBenchError):
                raise
            raise IntegrityError(f"{path} is not a table of a board: {error}") from error
    if not found:
        raise ConfigurationError(
            f"no board in {folder}: expected folders with {TABLE} and track.toml, as leaderboards/ has "
            "them; `msibench run NAME --publish` writes them"
        )
    return found


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
    """Return the overview as Markdown: all boards, then every family of sections with its methods.

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
        "share of the control's error that is gone. Measures of trust of an older version are left out._",
        _list(boards),
    ]
    if prepared:
        names = ", ".join(f"`{in_markdown(name)}`" for name in prepared)
        parts.append(
            f"Tracks that are ready and not measured yet (`msibench run NAME` does it): {names}."
        )
    for family in dict.fromkeys(board.family for board in boards):
        here = [board for board in boards if board.family == family]
        advice = advice_for(here)
        parts += [f"## {in_markdown(_heading(here))}", *([advice] if advice else [])]
        parts += [_sentences(here), _methods(here)]
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


def apart_from_methods(board: Listed) -> pd.Series[bool]:
    """Which rows do not compete: controls other than the board's own, flagged results, and incomplete ones.

    Who leaves out the images on which it would do badly has a high mean over the others.
    """
    table = board.table
    apart = table["control"].astype(bool) & (table["method"] != board.track.control_method)
    if "flag" in table:
        apart |= table["flag"].notna()
    return apart | _incomplete(table)


def _incomplete(table: pd.DataFrame) -> pd.Series[bool]:
    """Which rows lack an expected image, or a part of their score."""
    if "rank_reason" not in table:
        return pd.Series(False, index=table.index)
    return table["rank_reason"].notna() & (table["rank_reason"] != "")


def best_row(board: Listed) -> pd.Series[Any] | None:
    """Return the row with the highest score among those that compete."""
    if "composite" not in board.table:
        return None
    scores = board.table["composite"].astype(float).mask(apart_from_methods(board))
    return None if scores.isna().all() else board.table.iloc[int(np.nanargmax(scores.to_numpy()))]


def with_interval(board: Listed, row: pd.Series[Any]) -> str:
    """Return a score with its interval and unit, as its board shows it."""
    low, high = board.score(row, ".low"), board.score(row, ".high")
    score, unit = board.score(row), " %" if board.scheme.percent else ""
    interval = "" if "–" in {low, high} else f" [{low}, {high}]"
    return score if score == "–" else f"{score}{unit}{interval}"


def _heading(boards: list[Listed]) -> str:
    """Return what the titles of all boards of a family begin with, and its data sets' names."""
    titles = [board.track.title.partition(":")[0].split() for board in boards]
    shared = []
    for words in zip(*titles, strict=False):
        if len({word.rstrip(",") for word in words}) > 1:
            break
        shared.append(min(words, key=len))
    family = boards[0].family
    return f"{' '.join(shared).rstrip(',')} ({family})" if shared else family


def advice_for(boards: list[Listed]) -> str:
    """Return one sentence on which method to use for such sections, and one on which to avoid.

    Empty without a board in percent.
    """
    leading = [(board, best_row(board)) for board in boards if board.scheme.percent]
    scored = [(board, best) for board, best in leading if best is not None]
    if not scored:
        return ""
    measured = [board for board, _ in scored]
    guide = _guides(measured)
    sentence = f"**{_what_to_take(scored)}{f'; {guide}' if guide else ''}.**"
    few = max(board.specimens() for board in measured) < MINIMUM_SECTIONS
    caution = "Too few specimens to promise the same for others. " if few else ""
    return f"{sentence} {caution}{_harmful(measured)}"


def _what_to_take(scored: list[tuple[Listed, pd.Series[Any]]]) -> str:
    """Return the method with the highest score, beside the boards' control method and the signal's own score."""
    boards = [board for board, _ in scored]
    leading = dict.fromkeys(str(best["method"]) for _, best in scored)
    kept = [name for name in leading if not any(_beats(other, name, boards) for other in leading)]
    if len(kept) > 2:
        return "No one method is best on all of these boards, so choose by board"
    names = [f"`{in_markdown(name)}`" for name in kept]
    scored = [(board, best) for board, best in scored if str(best["method"]) in kept]
    boards = [board for board, _ in scored]
    held = [
        float(value)
        for board in boards
        for value in board.table.loc[
            board.table["method"] == board.track.control_method, "composite"
        ]
    ]
    controls = dict.fromkeys(f"`{in_markdown(board.track.control_method)}`" for board in boards)
    found = range_text([best["composite"] for _, best in scored], 100.0, " %")
    beside = [f"{' or '.join(controls)} {range_text(held, 100.0, ' %')}", *_signal(boards)]
    return (
        f"{'Best on these synthetic sections is' if _synthetic(boards) else 'Take'} "
        f"{' or '.join(names)}, which brings back {found} of the detail that a coarse image does not show "
        f"({'; '.join(beside)})"
    )


def _beats(name: str, other: str, boards: list[Listed]) -> bool:
    """Whether a method is above another on a board that has both, and nowhere below it."""
    signs = set()
    for board in boards:
        table = board.table.loc[~_incomplete(board.table), ["method", "composite"]]
        scores = table.drop_duplicates("method").set_index("method")["composite"]
        if name in scores and other in scores:
            signs.add(float(np.sign(scores[name] - scores[other])))
    return 1.0 in signs and -1.0 not in signs


def _synthetic(boards: list[Listed]) -> bool:
    """Whether no section of these boards was measured, as far as their cards are here."""
    known = installed().datasets
    names = {problem.dataset for board in boards for problem in board.track.problems}
    return all(name in known and load_card(known[name]).synthetic for name in names)


def _signal(boards: list[Listed]) -> list[str]:
    """Return how much of the detail is signal, where that is known."""
    ceiling = [
        100 * float(board.table[f"detail_ceiling_{end}.image.mean"].mean())
        for board in boards
        for end in ("low", "high")
        if f"detail_ceiling_{end}.image.mean" in board.table
    ]
    known = [value for value in ceiling if np.isfinite(value)]
    if not known:
        return []
    if min(known) >= 99.5:
        return ["all of it is signal"]
    return [f"the signal alone would give {range_text(known, 1.0, ' %')}, the rest is noise"]


def best_with_and_without_a_guide(
    board: Listed,
) -> tuple[pd.Series[Any], pd.Series[Any]] | None:
    """Return the best row of the methods that see a guide, and of those that do not; None without both."""
    table = board.table
    part = table.loc[~apart_from_methods(board) & table["composite"].notna(), ["task", "composite"]]
    ordered = part.sort_values("composite", ascending=False, kind="stable")
    alone = ordered["task"] == Task.SINGLE_IMAGE
    if alone.all() or not alone.any():
        return None
    return table.loc[ordered.index[~alone][0]], table.loc[ordered.index[alone][0]]


def guide_difference(board: Listed) -> Difference | None:
    """Return the score of the best method with a guide less that of the best without, ion image by ion image.

    None without both, or where the board's rows are not beside its table.
    """
    pair = best_with_and_without_a_guide(board)
    path = (board.track.folder or Path()) / ROWS
    if pair is None or not path.is_file():
        return None
    names, control = [str(row["method"]) for row in pair], board.track.control_method
    chosen = [("protocol", "==", board.protocol), ("method", "in", [*names, control])]
    rows = measured(pd.read_parquet(path, filters=chosen))
    ions = next(cubes(rows)).ion_images()
    scores = score_images(ions, board.scheme, control_method=control).composite
    guided, alone = (scores[:, ions.method(name)] for name in names)
    return paired_difference(guided, alone, ions.sections, specimens=ions.specimens)


def guide_gains(found: Difference | None) -> bool | None:
    """Whether the best method with a guide is better than the best without; None where they are not told apart.

    It is where the whole interval of their paired difference is above zero, and is not where all of it is
    below: the same evidence either way.
    """
    if found is None:
        return None
    return True if found.low > 0 else False if found.high < 0 else None


def _guides(boards: list[Listed]) -> str:
    """Return on which boards a guide helps; empty where no board has methods with and without one."""
    said = {
        True: "gains",
        False: "loses",
        None: "is not told apart from the best without",
    }
    asked = [board for board in boards if best_with_and_without_a_guide(board) is not None]
    answers = {board.name: guide_gains(board.guide_difference) for board in asked}
    groups = {
        words: [f"`{in_markdown(name)}`" for name, found in answers.items() if found is answer]
        for answer, words in said.items()
    }
    there = {words: names for words, names in groups.items() if names}
    subject = "the best method with a guide or second modality"
    if len(there) == 1:
        return f"{subject} {next(iter(there))} here"
    parts = [f"{words} on {', '.join(names)}" for words, names in there.items()]
    return f"{subject} {', '.join(parts)}" if parts else ""


def _harmful(boards: list[Listed]) -> str:
    """Return the methods that are below repeating each pixel on every board that has them.

    Such a method is worse where a whole interval lies below zero on one board at least, or none has an
    interval; else it is not told apart.
    """
    scores: dict[str, list[tuple[float, float]]] = {}
    for board in boards:
        table = board.table.reindex(columns=["method", "composite", "composite.high"])
        for name, score, high in table.itertuples(index=False):
            if np.isfinite(score):
                scores.setdefault(str(name), []).append((float(score), float(high)))
    below = {
        name: np.array(found)[:, 1]
        for name, found in scores.items()
        if max(score for score, _ in found) < -0.0005
    }
    worse = [name for name, high in below.items() if np.isnan(high).all() or (high < 0).any()]
    unclear = [name for name in below if name not in worse]
    said = [
        f"{words}: {', '.join(f'`{in_markdown(name)}`' for name in names)}."
        for words, names in (
            ("Worse than repeating each pixel, so not to be used here", worse),
            ("Below repeating each pixel, but not told apart from it", unclear),
        )
        if names
    ]
    return " ".join(said) or "No method is worse than repeating each pixel."


def _sentences(boards: list[Listed]) -> str:
    """Return one line per board on what it means for such sections."""
    lines = []
    for board in boards:
        best, control = best_row(board), board.track.control_method
        if best is None:
            lines.append(f"- `{board.name}`: nobody has a score.")
            continue
        held = board.table[board.table["method"] == control]
        against = (
            f" `{in_markdown(control)}` has {with_interval(board, held.iloc[0])}."
            if len(held) and best["method"] != control
            else ""
        )
        lines.append(
            f"- `{board.name}`: `{in_markdown(str(best['method']))}` has the highest score, "
            f"{with_interval(board, best)}{_losing(board, str(best['method']))}.{against}"
            f"{_guided_beside_alone(board)} {_not_told_apart(board)}"
        )
    return "\n".join(lines)


def _losing(board: Listed, method: str) -> str:
    """Return for how many ion images a method is worse than repeating each pixel: a mean hides them."""
    path = (board.track.folder or Path()) / ROWS
    if not board.scheme.percent or not path.is_file():
        return ""
    wanted = [
        ("metric", "==", "skill"),
        ("method", "==", method),
        ("protocol", "==", board.protocol),
    ]
    rows = measured(pd.read_parquet(path, filters=wanted))
    images = rows.groupby(["dataset", "section", "mz_set", "channel"])["value"].mean().dropna()
    losing = int((images < 0).sum())
    return f", and is below zero for {losing} of {len(images)} ion images" if losing else ""


def _guided_beside_alone(board: Listed) -> str:
    """Compare the best method with a guide with the best without, where the board has both."""
    pair = best_with_and_without_a_guide(board)
    if pair is None:
        return ""
    shown = [f"`{in_markdown(str(row['method']))}` {with_interval(board, row)}" for row in pair]
    found, percent = board.guide_difference, board.scheme.percent
    apart = ""
    if found is not None and np.isfinite(found.low):
        ends = (found.mean, found.low, found.high)
        mean, low, high = (fixed(100 * x, 1) if percent else fixed(x, 3) for x in map(float, ends))
        apart = (
            f"; difference, image by image, {mean} [{low}, {high}]{' points' if percent else ''}"
        )
    return f" Best with a guide or second modality: {shown[0]}; best without: {shown[1]}{apart}."


def _not_told_apart(board: Listed) -> str:
    if board.specimens() < MINIMUM_SECTIONS:
        return "Too few specimens to say that of others."
    part = board.table[~apart_from_methods(board)]
    equal = part.loc[part["rank_group"] == 1, "method"].astype(str).tolist()
    if len(equal) < 2:  # a group is held against the first of the one above, and nobody else
        below = part.loc[part["rank_group"] == 2, "method"].astype(str).tolist()
        return f"It is told apart from the next, `{in_markdown(below[0])}`." if below else ""
    return f"Not told apart at the top: {', '.join(f'`{in_markdown(name)}`' for name in equal)}."


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


def range_text(values: list[Any], scale: float = 1.0, unit: str = "") -> str:
    """Return the lowest and the highest of several boards' values: they are never averaged."""
    found = [scale * float(value) for value in values if value is not None and np.isfinite(value)]
    if not found:
        return "–"
    low, high = (significant(end, 2) for end in (min(found), max(found)))
    return f"{low}{unit}" if low == high else f"{low} to {high}{unit}"


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
