"""Where the command begins: before anything is imported, Ctrl-C ends it with a message, not a traceback."""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Run the command line."""
    _open_what_is_closed()
    try:
        before = [signal.signal(n, _leave) for n in (signal.SIGINT, signal.SIGTERM)]
    except ValueError:  # not in the main thread
        before = []
    from msibench.cli.main import main as run

    for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=False):
        signal.signal(number, handler)
    run()


def _open_what_is_closed() -> None:
    """Open a closed standard stream (``2>&-``) on the null device, or the next opened file would take its place."""
    for descriptor, name in ((0, "stdin"), (1, "stdout"), (2, "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one
            if nowhere != descriptor:
                os.dup2(nowhere, descriptor)
                os.close(nowhere)
        if getattr(sys, name) is None:
            mode = "r" if descriptor == 0 else "w"
            setattr(sys, name, open(descriptor, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def _leave(number: int, frame: object) -> None:
    os.write(2, b"stopped\n")
    os._exit(130)


if __name__ == "__main__":
    main()
