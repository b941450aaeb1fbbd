"""The commands that make a board again: the runs that filled it, as few as tell all of it.

Each ``msibench run`` leaves its arguments and its methods in the track's index. A later run of the same
methods and more replaces an earlier one; runs that differ in ``--methods`` alone become one.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from msibench.leaderboard.board import Board, results_flag
from msibench.results.experiment import INDEX_ENTRY

RUNS = "runs"
"""Name under which a track's index holds them."""
METHODS, METRICS = "--methods", "--metrics"
SCOPE = frozenset(
    {"--datasets", "--sections", "--seed", "--protocol", "--controls", "--mz", "--set"}
)
"""Options that leave out, or add, cells of a method."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedRun:
    """One ``msibench run`` of a board."""

    track: str
    """The track as it is named on the command line."""
    arguments: tuple[tuple[str, str], ...] = ()
    """Options with their values, but for what the kept definition of the board says already."""
    methods: tuple[str, ...] = ()
    """Methods that it ran, by their names on the board."""

    def option(self, *names: str) -> tuple[tuple[str, str], ...]:
        """Return the arguments of these options."""
        return tuple(each for each in self.arguments if each[0] in names)

    def covers(self, other: AskedRun) -> bool:
        """Whether it runs all that `other` ran."""
        scope = self.option(*SCOPE)
        return (
            self.track == other.track
            and set(other.methods) <= set(self.methods)
            and (not scope or set(scope) == set(other.option(*SCOPE)))
        )

    def joined(self, other: AskedRun) -> AskedRun | None:
        """Return one run in place of two that differ in ``--methods`` alone, or not at all; None for others."""
        methods = tuple(dict.fromkeys((*other.methods, *self.methods)))
        if (self.track, self.arguments) == (other.track, other.arguments):
            return replace(self, methods=methods)  # one of them ran what is left out of it today
        mine, theirs = self.option(METHODS), other.option(METHODS)
        rest = [tuple(a for a in run.arguments if a[0] != METHODS) for run in (self, other)]
        if not (mine and theirs) or rest[0] != rest[1] or self.track != other.track:
            return None
        names = [name.strip() for _, text in (*theirs, *mine) for name in text.split(",")]
        both = (METHODS, ",".join(dict.fromkeys(filter(None, names))))
        return replace(self, arguments=(both, *rest[0]), methods=methods)

    def command(self, flag: str) -> str:
        """Return it as it is typed; `flag` names the results folder."""
        said = " ".join(f"{option} {shlex.quote(value)}" for option, value in self.arguments)
        return f"msibench run {shlex.quote(self.track)}{said and ' '}{said}{flag}"


def with_run(track_facts: Mapping[str, Any], run: AskedRun) -> list[dict[str, Any]]:
    """Return the runs of a board, as its index keeps them, after one more."""
    before = runs_of(track_facts)
    older, track = track_facts.get("methods"), track_facts.get("track")
    # of an older msibench; of cells that came from others nothing was run
    if not before and older and track:
        before = [AskedRun(track=str(track["name"]), methods=tuple(older))]
    kept = [old for old in before if not run.covers(old)]
    for old in list(kept):
        if (both := run.joined(old)) is not None:
            kept.remove(old)
            run = both
    return [
        {"track": r.track, "arguments": [list(a) for a in r.arguments], "methods": list(r.methods)}
        for r in (*kept, run)
    ]


def runs_of(track_facts: Mapping[str, Any]) -> list[AskedRun]:
    """Return the runs that an index tells of; none where another msibench wrote it."""
    try:
        return [
            AskedRun(
                track=str(run["track"]),
                arguments=tuple((str(option), str(value)) for option, value in run["arguments"]),
                methods=tuple(map(str, run["methods"])),
            )
            for run in track_facts.get(RUNS, ())
        ]
    except (KeyError, TypeError, ValueError):
        return []


def run_commands(board: Board) -> list[str]:
    """Return the runs that make a board, as they are typed where it was made.

    A board that is published follows from its track alone: what it is checked against.
    """
    name, track_facts = board.track.name, board.index.track_facts
    flag = flag_of(board)
    runs = [] if board.published else runs_of(track_facts)
    return [run.command(flag) for run in runs or [AskedRun(track=name)]]


def rebuild_commands(board: Board) -> str:
    """Return the commands that make this board again, as they work where it was run."""
    name, track_facts = board.track.name, board.index.track_facts
    if "rebuild" in track_facts:
        return str(track_facts["rebuild"])
    own = any(each.get("own") for each in track_facts.get("datasets", {}).values())
    if own and INDEX_ENTRY not in track_facts:  # of an older msibench: it is not known by its name
        return f"msibench run --data FILE …\nmsibench leaderboard results/leaderboards/{name}"
    return "\n".join([*run_commands(board), *_tabulated(board, "leaderboard")])


def page_commands(board: Board) -> str:
    """Return the commands that make this board and its page again."""
    return "\n".join([rebuild_commands(board), *_tabulated(board, "report")])


def flag_of(board: Board) -> str:
    """Return what a command needs to find the results folder of a board."""
    return "" if board.published else results_flag(board.index.track_facts.get("results", ""))


def _tabulated(board: Board, command: str) -> Sequence[str]:
    """Return the command that tabulates what is stored, where it gives the same columns."""
    runs = [] if board.published else runs_of(board.index.track_facts)
    if runs and runs[-1].option(METRICS):
        return ()
    track = runs[-1].track if runs else board.track.name
    return (f"msibench {command} {shlex.quote(track)}{flag_of(board)}",)
