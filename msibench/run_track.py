"""Run a track: plan it, run the cells that are missing, score them, and write the board.

The command line, the grid of ``msibench finetune`` and a user's own script go this way; there is
no other way.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from msibench.errors import ConfigurationError
from msibench.leaderboard.board import Board, board_folder, for_others, is_published, read_board
from msibench.leaderboard.page import write_page
from msibench.leaderboard.rebuild import RUNS, AskedRun, with_run
from msibench.leaderboard.render import write_leaderboard
from msibench.leaderboard.unchanged import Placed
from msibench.results.experiment import held_by
from msibench.results.files import explained, write_atomically
from msibench.results.index import read_index, set_index_aside, update_index
from msibench.results.leases import STALE_S
from msibench.results.seen_cells import SeenCells, metrics_digest
from msibench.results.store import PREDICTION
from msibench.runner.events import Event, RunSummary
from msibench.runner.options import RunOptions
from msibench.runner.plan import Cell, Plan, make_plan
from msibench.runner.scores.rescore import rescore
from msibench.runner.supervisor import Supervisor
from msibench.runner.track_facts import collect_track_facts, index_cells
from msibench.tracks import Track, board_file, shipped_tracks, track_as_text

if TYPE_CHECKING:
    import pandas as pd

    from msibench.plugin_manager import Catalogue
    from msibench.results.store import Store

AGAIN_S = 20.0
"""Between two checks of cells that another run has."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class BoardOptions:
    """Where the board of a run is written, and its texts."""

    folder: Path | None = None
    """None: beside the track's file, or into the results folder."""
    choose_scheme: Callable[[pd.DataFrame], str] | None = None
    """Called with the board's rows; returns the name of the scheme that ranks them, in place of the
    track's."""
    rebuild: str = ""
    """How to make it again, where that is not ``msibench run``."""
    asked: AskedRun | None = None
    """How the run was asked for on the command line; None: the whole track, or as `rebuild` says."""
    results_name: str = ""
    """The results folder as the user named it, for the commands that the board prints; empty: the
    default one, which needs no naming."""
    page: bool = True
    """Write ``index.html`` too."""


def run_track(
    track: Track,
    catalogue: Catalogue,
    store: Store,
    options: RunOptions | None = None,
    *,
    plan: Plan | None = None,
    part: Iterable[Cell] | None = None,
    board: BoardOptions | None = None,
    listen: Callable[[Event], None] | None = None,
) -> RunSummary:
    """Plan a track, run every cell that the store lacks, score, and write README, CSV, rows and page.

    Parameters
    ----------
    track, catalogue, store
        What is compared, what is installed, and where results are kept.
    options
        How it is carried out; None: one cell at a time on this machine, within the track's limits.
    plan
        The track's plan where it was made already, with filters or a user's own data
        (`msibench.runner.plan.make_plan`); None: all of the track, on the CPU.
    part
        Cells of the plan to run; no board is then written, and cells that another run has are waited
        for. None: all of them.
    board
        Where the board goes and what it says; None: beside the track's file, or into the results
        folder, with a page.
    listen
        Told of every cell.

    Returns
    -------
    How cells ended, and where the board lies. A run that was stopped writes no board: cells that were
    predicted and not yet scored are stored without scores, which the next run computes.

    Raises
    ------
    ConfigurationError
        If no cell is left to run.
    StoreError
        If the results folder cannot be written; finished cells are kept.
    """
    options = options or RunOptions()
    stop = options.stop or threading.Event()
    listen = listen or (lambda event: None)
    board = board or BoardOptions()
    if plan is None:
        plan = make_plan(track, catalogue, given_weights=options.given_weights)
    plan = replace(plan, track=track)
    if not plan.cells:
        raise ConfigurationError(f"nothing to run: track {track.name!r} has no cell")
    if aside := set_index_aside(store, track.name):
        text = f"the track's index was damaged: set aside in {aside}, made anew"
        listen(Event(kind="note", reason=text))
    _keep_track(track, store)
    _update_index(plan, catalogue, store, board)
    chosen = plan if part is None else replace(plan, cells=tuple(part))
    wait = part is not None or options.executor == "slurm"
    seen = SeenCells.read(store, track.name)
    summary = _carry_out(
        lambda: Supervisor(store, catalogue, options, listen, stop, seen), chosen, stop, wait=wait
    )
    store.check_here()
    summary.stopped = stop.is_set()
    if part is not None or summary.stopped:
        return summary
    _tabulate(summary, plan, catalogue, seen, board)
    summary.stopped = stop.is_set()
    return summary


def keeps_definition(track: Track) -> bool:
    """Whether the results folder keeps a track's definition: it has no file of its own."""
    return track.folder is None and track.name not in shipped_tracks()


def _keep_track(track: Track, store: Store) -> None:
    """Keep a track that has no file of its own beside its board in the results folder."""
    if keeps_definition(track):
        kept = board_file(store.root, track.name)
        store.make_folder(kept.parent)
        write_atomically(kept, track_as_text(track))


def _update_index(plan: Plan, catalogue: Catalogue, store: Store, board: BoardOptions) -> None:
    """Write the plan's cells, and what its board says of them, into the track's index."""
    track_facts = collect_track_facts(plan, catalogue)
    if board.rebuild:
        track_facts["rebuild"] = board.rebuild
    index = read_index(store, plan.track.name)
    experiment = plan.experiment
    if index.cells and experiment.continues(held := held_by(store, index)):
        experiment = experiment.with_controls_of(held)
        track_facts |= {  # what is said of methods that are not run today stays said
            part: {**index.track_facts.get(part, {}), **track_facts[part]}
            for part in ("datasets", "protocols", "methods", "metrics", "published")
        }
    track_facts |= {**experiment.as_index_entry(), "results": board.results_name}
    labels = tuple(sorted({cell.label for cell in plan.cells}))
    asked = board.asked or AskedRun(track=plan.track.name)
    track_facts[RUNS] = with_run(index.track_facts, replace(asked, methods=labels))
    update_index(store, plan.track.name, index_cells(plan.cells), track_facts)


def _tabulate(
    summary: RunSummary, plan: Plan, catalogue: Catalogue, seen: SeenCells, options: BoardOptions
) -> None:
    """Score what is stored without scores, collect the rows once, and write the board.

    Nothing of that where the board that lies there is still the one of its cells.
    """
    track, store = plan.track, seen.store
    metrics = [catalogue.metric(name) for name in track.metrics]
    summary.folder = options.folder or board_folder(track, store)
    own = any(cell.problem.card.local_files for cell in plan.cells)
    elsewhere = track.folder is not None and summary.folder != track.folder
    leave_track = own or bool(options.rebuild) or elsewhere
    placed = Placed(store, track, summary.folder, options.page, leave_track)
    index, wanted = read_index(store, track.name), metrics_digest(metrics)
    if options.choose_scheme is None and placed.stands(seen, index, wanted):
        summary.page = summary.folder / "index.html" if options.page else None
        summary.read_rows = placed.read_rows
        return
    keys = [cell.key for cell in plan.cells]
    others = sorted(set(index.cells.values()) - set(keys))
    keys += [key for key in others if (store.cell_folder(key) / PREDICTION).is_file()]
    summary.damaged = rescore(store, keys, metrics, seen=seen).damaged
    board = read_board(store, track, kept=placed.rows(seen))
    if options.choose_scheme is not None:
        track = replace(track, scheme=options.choose_scheme(board.rows))
        track_facts = {"track": collect_track_facts(replace(plan, track=track), catalogue)["track"]}
        index = update_index(store, track.name, {}, track_facts)
        board = Board(board.collected, track, index)
    summary.page = write_board(
        board, store, summary.folder, page=options.page, leave_track=leave_track
    )
    summary.read_rows = lambda: board.rows
    replace(placed, track=track).keep(seen, board, summary.damaged, wanted)


def write_board(
    board: Board, store: Store, folder: Path, *, page: bool = True, leave_track: bool = False
) -> Path | None:
    """Write every file of a board; the statistics are computed once.

    Parameters
    ----------
    page
        Write ``index.html`` too.
    leave_track
        Write ``track.toml`` beside the board, where the track's own file does not lie there.

    Returns
    -------
    The path of ``index.html``; None without a page.
    """
    track = board.track
    if leave_track:
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
        text = track_as_text(replace(track, own=None))  # a board goes to others, paths do not
        write_atomically(folder / "track.toml", text)
    if is_published(folder, store):
        board = for_others(board)
    write_leaderboard(store, track, folder, board=board)
    return write_page(store, track, folder, board=board) if page else None


def _carry_out(
    make: Callable[[], Supervisor], plan: Plan, stop: threading.Event, *, wait: bool
) -> RunSummary:
    """Run a plan; with `wait`, until no other run has any of its cells, or for as long as that helps.

    A run that was begun again on another host (by SLURM, or after its login node went down) finds the
    leases of its earlier life, which are given up only after a silence.
    """
    end = monotonic() + 2 * STALE_S
    while True:
        summary = make().run(plan)
        if not (wait and summary.busy) or monotonic() > end or stop.wait(AGAIN_S):
            return summary
