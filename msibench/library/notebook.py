"""Progress in a notebook: one bar under the cell, which disappears when the work is done."""

from __future__ import annotations

import html
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from msibench.contracts.progress import Stage, heard, in_words, is_heard

if TYPE_CHECKING:
    from msibench.runner.events import Event

EVERY_S = 0.2
"""Least time between two updates: a saved notebook keeps the last one alone."""
FROM_S = 0.5
"""Shorter computations show no bar."""


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook, which can show HTML and replace it."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


@contextmanager
def bar_in_notebook(what: str) -> Iterator[None]:
    """Show the progress of a computation in this process; nothing outside of notebooks.

    Inside another such bar, or where there is a listener already, nothing is shown twice.
    """
    if is_heard() or not in_notebook():
        yield
        return
    with NotebookBar(what) as bar:

        def show(stage: Stage) -> None:
            bar.show(stage.words, stage.done, stage.total)

        with heard(show):
            yield


class NotebookBar:
    """A bar that is drawn by the notebook itself, without widgets; takes the events of a run, too."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._handle: Any = None
        self._began = self._last = 0.0
        self._lock = threading.Lock()
        self._finished = self._total = 0

    def __enter__(self) -> NotebookBar:
        self._began = time.monotonic()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if self._handle is None:
            return
        took = in_words(time.monotonic() - self._began)
        end = f"{self.what}: {took if kind is None else f'stopped after {took}'}"
        if self._total:
            end += f", {self._finished} of {self._total} cells"
        self._draw(f"<small>{html.escape(end)}</small>")

    def show(self, words: str, done: int, total: int) -> None:
        """Draw the progress; most calls within `EVERY_S` draw nothing."""
        with self._lock:
            now = time.monotonic()
            if now - max(self._last, self._began + FROM_S - EVERY_S) < EVERY_S:
                return
            self._last = now
            self._draw(_bar(self.what, words, done, total))

    def _draw(self, content: str) -> None:
        from IPython.display import HTML, display

        if self._handle is None:
            self._handle = display(HTML(content), display_id=True)
        else:
            self._handle.update(HTML(content))

    def __call__(self, event: Event) -> None:
        """Take one event of a run (`msibench.run`)."""
        if event.total and event.kind in {"planned", "finished"}:
            self._finished, self._total = event.done, event.total
        words = f"{self._finished} of {self._total} cells"
        if event.kind in {"started", "progress"}:
            words += f"; {event.cell}"
        if event.kind == "progress":
            words += f" ({event.done} of {event.total})"
        self.show(words, self._finished, self._total)


def _bar(what: str, words: str, done: int, total: int) -> str:
    told = f' value="{done}" max="{total}"' if total else ""
    label = html.escape(f"{what}: {words}" if words else what)
    return f'<label><progress{told} aria-label="{html.escape(what, quote=True)}"></progress> {label}</label>'
