"""What a run finds in its results folder is checked before it is used; damaged parts are set aside."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from msibench.errors import DataError, IntegrityError, NewerSchemaError, SchemaError
from msibench.results.schema import CellRecord
from msibench.results.store import Store
from msibench.runner.plan import Plan
from msibench.runner.problems.stage import stage
from msibench.runner.problems.staged_files import set_problem_aside, staged_fault


def sound_record(
    store: Store, key: str, set_aside: Callable[[str, Path], None]
) -> CellRecord | None:
    """Return a stored cell's record; None when there is none, or it was damaged and set aside.

    Parameters
    ----------
    set_aside
        Called with what was wrong with a cell, and its new path.

    Raises
    ------
    NewerSchemaError
        If a newer msibench wrote it: it is sound, and not ours to put away.
    """
    for last_look in (False, True):
        if not store.has(key):
            return None
        try:
            record = store.record(key)
            store.check_files(record)
        except NewerSchemaError:
            raise
        except (IntegrityError, SchemaError, FileNotFoundError) as error:
            if last_look:
                set_aside(str(error), store.set_aside(key))
            else:  # another run may be replacing it at this moment
                time.sleep(0.05)
        else:
            return record
    return None


def mend_problems(store: Store, plan: Plan, note: Callable[[str], None]) -> None:
    """Set damaged staged problems aside and stage them anew; the data give the same bytes."""
    for problem in {cell.problem.key: cell.problem for cell in plan.cells}.values():
        fault = staged_fault(store.problem_folder(problem.key))
        if not fault:
            continue
        aside = set_problem_aside(store, problem.key)
        note(f"{fault}; set aside in {aside}, staged anew")
        try:
            stage(problem, store)
        except (DataError, IntegrityError) as error:
            note(f"it cannot be staged anew: {error}")
