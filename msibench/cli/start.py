"""Where the command begins: before anything is imported, Ctrl-C ends it with a word, not a traceback."""

from __future__ import annotations

import os
import signal


def main() -> None:
    """Run the command line."""
    try:
        before = [signal.signal(n, _leave) for n in (signal.SIGINT, signal.SIGTERM)]
    except ValueError:  # not in the main thread
        before = []
    from msibench.cli.main import main as run

    for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=False):
        signal.signal(number, handler)
    run()


def _leave(number: int, frame: object) -> None:
    os.write(2, b"stopped\n")
    os._exit(130)


if __name__ == "__main__":
    main()
