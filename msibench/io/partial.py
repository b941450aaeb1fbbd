"""Write a file beside its place and rename it: readers find the whole file, or none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from msibench.errors import StoreError
from msibench.owners import is_forgotten, is_orphaned, owned_name

SUFFIX = ".partial"


@contextmanager
def beside(target: Path) -> Iterator[Path]:
    """Yield where to write; rename it to `target` at the end, or leave nothing behind.

    What an earlier command left beside the target, because it was killed, is removed first, so that it
    does not fill the disk for good.

    Raises
    ------
    StoreError
        If the disk is full or the folder cannot be written; an older file is left as it was.
    """
    sweep(target)
    partial = target.with_name(f"{owned_name(target.name)}{SUFFIX}")
    try:
        yield partial
        partial.replace(target)
    except StoreError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(f"{target} cannot be written: {reason}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def sweep(target: Path) -> None:
    """Remove the unfinished files that dead processes left beside a target."""
    with suppress(OSError):
        for left in target.parent.iterdir():
            ours = left.name.startswith(f"{target.name}-") and left.name.endswith(SUFFIX)
            if ours and (is_orphaned(left.name) or is_forgotten(left)):
                with suppress(OSError):
                    left.unlink()
