"""What several commands share: options, the catalogue, the store."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from msibench.library.installed import catalogue as catalogue

if TYPE_CHECKING:
    from msibench.results.store import Store

Function = TypeVar("Function", bound=Callable[..., Any])


def results_option(function: Function) -> Function:
    """Add ``--results DIR``."""
    return click.option(
        "--results",
        type=click.Path(file_okay=False, path_type=Path),
        default=None,
        help="Results folder (default: $MSIBENCH_RESULTS, else ./results).",
    )(function)


def open_store(results: Path | None, *, create: bool) -> Store:
    """Open the results folder that was named, or the default one."""
    from msibench.results.store import Store

    return Store.open(results_root(results), create=create)


def results_root(results: Path | None) -> Path:
    """Return the results folder that was named, or the default one; an empty variable names none."""
    return results or Path(os.environ.get("MSIBENCH_RESULTS") or "results")


def comma_list(text: str | None) -> tuple[str, ...]:
    """Split ``"a,b"``; nothing for None."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())
