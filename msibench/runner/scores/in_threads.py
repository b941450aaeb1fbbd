"""Score cells in parallel, and leave them when the run is stopped."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

PATIENCE_S = 1.0
"""For how long the end of a run waits for cells that are stored without scores."""


class Claim:
    """Checked before a cell is stored: whether it is still to be stored."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.taken = False

    def __call__(self) -> bool:
        """Take it; False where it was taken before."""
        with self._lock:
            first, self.taken = not self.taken, True
        return first


class Scorers:
    """Threads that carry out work, each piece once, and are not waited for after a stop.

    A piece of work is a function of a `Claim`. When the run is stopped, whatever was not claimed is
    carried out again at once (the work sees that the run was stopped, and leaves the long part out); the
    thread that is still at the long part finds its claim refused, and ends with the process.
    """

    def __init__(self, threads: int, stop: threading.Event) -> None:
        self._stop = stop
        self._waiting: queue.Queue[_Piece | None] = queue.Queue()
        self._pieces: list[_Piece] = []
        self._failures: list[BaseException] = []
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, work: Callable[[Claim], None]) -> None:
        """Have a piece of work done."""
        piece = _Piece(work)
        self._pieces = [old for old in self._pieces if not old.done.is_set()]
        self._pieces.append(piece)
        self._waiting.put(piece)

    def wait(self) -> None:
        """Return when all is done; soon, when the run is stopped."""
        for piece in self._pieces:
            while not piece.done.wait(0.05):
                if self._stop.is_set():
                    break
        for _ in self._threads:
            self._waiting.put(None)
        if self._stop.is_set():
            self._hurry()

    def raise_failures(self) -> None:
        """Raise what a piece of work raised, if any did."""
        if self._failures:
            raise self._failures[0]

    @property
    def failures(self) -> list[BaseException]:
        """What pieces of work have raised so far."""
        return list(self._failures)

    def _hurry(self) -> None:
        left = [_Piece(piece.work, piece.claim) for piece in self._pieces if not piece.claim.taken]
        threads = [threading.Thread(target=self._carry_out, args=(p,), daemon=True) for p in left]
        for thread in threads:
            thread.start()
        end = time.monotonic() + PATIENCE_S
        for piece in (*(piece for piece in self._pieces if piece.claim.taken), *left):
            piece.done.wait(max(0.0, end - time.monotonic()))

    def _serve(self) -> None:
        while (piece := self._waiting.get()) is not None:
            if not self._stop.is_set():
                self._carry_out(piece)

    def _carry_out(self, piece: _Piece) -> None:
        try:
            piece.work(piece.claim)
        except BaseException as error:
            if not (self._stop.is_set() and piece.claim.taken):
                self._failures.append(error)
        finally:
            piece.done.set()


class _Piece:
    """One try at a piece of work; of two tries at the same one, one may claim it."""

    def __init__(self, work: Callable[[Claim], None], claim: Claim | None = None) -> None:
        self.work = work
        self.claim = claim or Claim()
        self.done = threading.Event()
