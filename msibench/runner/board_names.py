"""Which board a run belongs to: that of its track, or one with a name of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from msibench.errors import ConfigurationError, StoreError
from msibench.plugin_manager import Catalogue
from msibench.results.experiment import (
    Experiment,
    board_name,
    differences,
    held_by,
    kind_of,
    place,
)
from msibench.results.index import read_index
from msibench.results.store import Store
from msibench.runner.plan import Plan, experiment_of_track
from msibench.tracks import Entry, Track, available_tracks


def on_its_board(
    plan: Plan,
    given: Track | None,
    catalogue: Catalogue,
    store: Store | None,
    *,
    name: str = "",
    entries: Sequence[Entry] = (),
    tell: Callable[[str], None] = lambda text: None,
) -> Plan:
    """Name a plan's track as the board that holds its experiment, and no other.

    A track that is run as it is has its own board. One's own sections, and a track that is turned into
    another experiment or run on another kind of device, get the first free name.

    Parameters
    ----------
    given
        The track as it was found; None for sections of one's own.
    store
        Where boards are looked up; None: nothing is stored yet.
    name
        What the user calls the board; empty: chosen here.
    entries
        Methods that the user added, which the track of the board names, too.
    tell
        Told in words where the board has another name than its track.

    Raises
    ------
    ConfigurationError
        If `name` is that of a track, or of a board that holds another experiment.
    """
    if given is not None:
        wanted, official = _board_of_track(plan, given, catalogue, store)
        if wanted == given.name:
            if name:
                raise ConfigurationError(
                    f"--name needs --data: the board of track {given.name!r} already has a name"
                )
            return replace(plan, experiment=official)
    else:
        wanted = plan.track.name
    tracks = {*available_tracks(), *([given.name] if given else [])}
    if name in tracks:
        raise ConfigurationError(f"--name {name}: a track already has this name; choose another")
    wanted = name or wanted or plan.track.name
    found = board_name(store, wanted, plan.experiment, tracks)
    if given is None and wanted in tracks:
        tell(f"a track is called {wanted}; the board of this run is {found}")
    elif store is not None and found != wanted and wanted not in tracks:
        other = _what_differs(plan, store, wanted)
        if name:
            raise ConfigurationError(
                f"--name {name}: that board holds another experiment (other {other}); choose "
                f"another name, or leave it to msibench: {found}"
            )
        tell(
            f"board {wanted} holds another experiment (other {other}) and stays as it is; the board "
            f"of this run is {found}"
        )
    elif given is not None:
        tell(
            f"this is another experiment than track {given.name}, whose board stays as it is; the "
            f"board of this run is {found}"
        )
    known = {entry.name for entry in plan.track.entries}
    added = (entry for entry in entries if entry.name not in known)
    track = replace(
        plan.track,
        name=found,
        entries=(*plan.track.entries, *added),
        folder=None,
        device=plan.track.device and plan.experiment.device,
    )
    return replace(plan, track=track)


def _what_differs(plan: Plan, store: Store, board: str) -> str:
    documents = {place(p.names): p.document for p in plan.problems}
    return differences(store, board, plan.experiment, documents)


def _board_of_track(
    plan: Plan, given: Track, catalogue: Catalogue, store: Store | None
) -> tuple[str, Experiment]:
    """Return the name that the board of a track is to have, and the experiment of the track.

    The name is empty where it must be another than the track's.
    """
    here = plan.experiment.device
    official = plan.experiment
    if plan.track.problems != given.problems:
        official = experiment_of_track(given, catalogue, here)
    if not plan.experiment.true_problems.items() <= official.true_problems.items():
        return "", official
    stated = given.device
    if not stated and store is not None:
        with suppress(StoreError):  # a damaged index is set aside by the run
            index = read_index(store, given.name)
            stated = held_by(store, index).device if index.cells else ""
    if stated and kind_of(stated) != here:
        return f"{given.name}-{here}", official
    return given.name, official
