"""What a run shows: a bar on a terminal, a line a cell elsewhere, events for machines."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Protocol

import click

from msibench.cli._stop import WITHIN_S, told
from msibench.contracts.plain_text import visible

if TYPE_CHECKING:
    from rich.progress import TaskID

    from msibench.runner.events import Event


class Listener(Protocol):
    """Something that receives the events of a run."""

    def __call__(self, event: Event) -> None:
        """Take one event."""
        ...


@contextmanager
def listener(*, events: bool, quiet: bool) -> Iterator[Listener]:
    """Yield what fits the output: JSON events, a progress bar, or plain lines."""
    if events:
        yield JsonLines()
    elif quiet:
        yield lambda event: None
    elif sys.stderr.isatty():
        with Bar() as bar:
            yield bar
    else:
        yield Lines()


@contextmanager
def stopped_by_signals(within_s: float = WITHIN_S) -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C, or a request to terminate, sets: children are ended politely.

    A child that has not ended after `within_s` seconds is killed.
    """
    stop = threading.Event()
    with told(stop.set, within_s):
        yield stop


@contextmanager
def bar_of_progress(what: str) -> Iterator[None]:
    """Show on a terminal how far a computation in this process has come; nothing elsewhere."""
    from msibench.contracts.progress import Stage, heard

    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None)

        def show(stage: Stage) -> None:
            progress.update(
                task,
                description=f"{what}: {stage.words}",
                total=stage.total,
                completed=stage.done,
            )

        with heard(show):
            yield


class JsonLines:
    """One JSON object per event, on standard output."""

    def __call__(self, event: Event) -> None:
        """Print one event."""
        click.echo(json.dumps(asdict(event), sort_keys=True))


class Lines:
    """One plain line per cell, on standard error."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Print a finished cell; stay silent about cached ones."""
        with self._lock:
            if event.kind == "planned":
                number = "1 cell" if event.total == 1 else f"{event.total} cells"
                click.echo(f"{number}, {event.total - event.done} to run", err=True)
            elif event.kind == "finished":
                reason = f": {visible(event.reason)}" if event.reason else ""
                place = f"[{event.done}/{event.total}] " if event.total else ""
                click.echo(f"{place}{event.status:<16} {visible(event.cell)}{reason}", err=True)
            elif event.kind in {"busy", "dropped", "note"}:
                click.echo(visible(f"{event.kind}: {event.cell} {event.reason}".strip()), err=True)


class Bar:
    """A progress bar with the time left, failures printed above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._progress.add_task("cells", total=None)
        self._running: dict[str, TaskID] = {}

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Move the bar."""
        from rich.text import Text

        if event.kind == "planned":
            self._progress.update(self._task, total=event.total, completed=event.done)
        elif event.kind == "started":
            self._running[event.key] = self._progress.add_task(event.cell[:48], total=None)
        elif event.kind == "progress" and event.key in self._running:
            unit = event.reason.partition(",")[0].split(" ", 3)[-1]
            self._progress.update(
                self._running[event.key],
                description=visible(f"{event.cell[:48]} ({unit})"),
                total=event.total,
                completed=event.done,
            )
        elif event.kind in {"finished", "dropped"}:
            if event.key in self._running:
                self._progress.remove_task(self._running.pop(event.key))
            if event.kind == "finished" and event.total:
                self._progress.update(self._task, completed=event.done)
        if event.reason and event.kind in {"finished", "busy", "dropped", "note"}:
            line = f"{event.status or event.kind}: {event.cell}: {event.reason}"
            self._progress.console.print(Text(visible(line)))
