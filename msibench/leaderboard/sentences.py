"""What the boards of one family of sections say, in sentences that a chemist can act on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from msibench.contracts.plain_text import in_markdown
from msibench.leaderboard.listed import (
    PERCENT,
    ROWS,
    Listed,
    apart_from_methods,
    best_row,
    guide_gains,
    range_text,
    with_interval,
)
from msibench.leaderboard.render import fixed
from msibench.leaderboard.rows import measured
from msibench.scoring.replicates import MINIMUM_SECTIONS


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
    found = range_text([best["composite"] for _, best in scored], 100.0, PERCENT)
    beside = [f"{' or '.join(controls)} {range_text(held, 100.0, PERCENT)}", *_signal(boards)]
    return (
        f"{'Best on these synthetic sections is' if all(board.synthetic for board in boards) else 'Take'} "
        f"{' or '.join(names)}, which brings back {found} of the detail that a coarse image does not show "
        f"({'; '.join(beside)})"
    )


def _beats(name: str, other: str, boards: list[Listed]) -> bool:
    """Whether a method is above another on a board that has both, and nowhere below it."""
    scores = [board.scores for board in boards]
    signs = {
        float(np.sign(found[name] - found[other]))
        for found in scores
        if name in found and other in found
    }
    return 1.0 in signs and -1.0 not in signs


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
    return [f"the signal alone would give {range_text(known, 1.0, PERCENT)}, the rest is noise"]


def _guides(boards: list[Listed]) -> str:
    """Return on which boards a guide helps; empty where no board has methods with and without one."""
    said = {
        True: "gains",
        False: "loses",
        None: "is not told apart from the best without",
    }
    asked = [board for board in boards if board.best_pair is not None]
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
        f"{words}: {', '.join(_with_settings(names, boards))}."
        for words, names in (
            ("Worse than repeating each pixel, so not to be used here", worse),
            ("Below repeating each pixel, but not told apart from it", unclear),
        )
        if names
    ]
    return " ".join(said) or "No method is worse than repeating each pixel."


def _with_settings(names: list[str], boards: list[Listed]) -> list[str]:
    """Write names; those that a track gave to settings of one method are counted."""
    method = {entry.name: entry.method for board in boards for entry in board.track.entries}
    settings = Counter(method[name] for name in names if method.get(name, name) != name)
    plain = [f"`{in_markdown(name)}`" for name in names if method.get(name, name) == name]
    return plain + [
        f"`{in_markdown(name)}` with {count} other setting{'' if count == 1 else 's'}"
        for name, count in settings.items()
    ]


def sentences(boards: list[Listed]) -> str:
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
    pair = board.best_pair
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
