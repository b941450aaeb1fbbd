"""What a run would do with every cell, without doing anything."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from msibench.errors import IntegrityError, SchemaError
from msibench.results.index import read_index
from msibench.results.queue import queue_folder, read_ticket
from msibench.results.schema import FAILURES, CellRecord, Status
from msibench.results.store import Store
from msibench.runner.expected_times import BOARDS, MEASURED, Costs, expected_seconds, known_costs
from msibench.runner.plan import Cell, Plan
from msibench.runner.supervisor import ALWAYS_AGAIN

STORED_CELLS, DECLARED = "stored cells", "the method's declaration"
"""Where an expected time comes from, best and worst."""
SOURCES = (STORED_CELLS, MEASURED, BOARDS, DECLARED)
RUN, STORED, NOT_APPLICABLE, BUSY = "run", "stored", "not applicable", "elsewhere"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Forecast:
    """What a run would do with one cell."""

    cell: Cell
    what: str
    """``run``, ``stored``, ``not applicable`` (or its weights are missing), ``elsewhere``."""
    reason: str = ""
    seconds: float = 0.0
    """Expected wall time; 0 when it is not run."""
    time_from: str = DECLARED
    """One of `SOURCES`."""


def preview(plan: Plan, store: Store | None, retry: Iterable[str] = ()) -> list[Forecast]:
    """Return what a run would do, in the plan's order; `store` None: nothing is stored yet."""
    again = frozenset(retry)
    records = {} if store is None else _records(plan, store)
    times = _wall_seconds(records.values())
    costs = known_costs()
    found = []
    for cell in plan.cells:
        what, reason = _decide(cell, store, records.get(cell.key), again)
        if what not in {RUN, BUSY}:
            found.append(Forecast(cell=cell, what=what, reason=reason))
            continue
        seconds, time_from = _expected(cell, times, costs)
        found.append(
            Forecast(cell=cell, what=what, reason=reason, seconds=seconds, time_from=time_from)
        )
    return found


def _expected(
    cell: Cell, times: Mapping[tuple[str, str], float], costs: Costs
) -> tuple[float, str]:
    """Return the expected wall time of a cell, and where it comes from."""
    if (known := times.get((cell.label, cell.device.partition(":")[0]))) is not None:
        return known, STORED_CELLS
    return expected_seconds(cell, costs) or (60 * cell.spec.resources.minutes, DECLARED)


def _decide(
    cell: Cell, store: Store | None, record: CellRecord | None, again: frozenset[str]
) -> tuple[str, str]:
    if record is not None and cell.verdict is None:
        if record.status not in again and record.status not in ALWAYS_AGAIN:
            failed = record.status in FAILURES
            return STORED, f"{record.status}: {record.reason}" if failed else ""
        return RUN, f"it was {record.status}"
    if cell.verdict is not None:
        return NOT_APPLICABLE, cell.reason
    if store is not None:
        ticket = read_ticket(queue_folder(store, cell.key))
        if ticket is not None:
            return BUSY, f"in SLURM's queue as {ticket['task'] or 'a job whose number is unknown'}"
        if store.lease_path(cell.key).exists():
            return BUSY, "another run has it, or had it when it died"
    return RUN, ""


def _records(plan: Plan, store: Store) -> Mapping[str, CellRecord]:
    """Read the records of the plan's cells, and of their predecessors."""
    keys = {cell.key for cell in plan.cells} | set(
        read_index(store, plan.track.name).cells.values()
    )
    found = {}
    for key in sorted(keys):
        if store.has(key):
            try:
                found[key] = store.record(key)
            except (IntegrityError, SchemaError):
                continue  # damaged: set aside by the run, and run again
    return found


def _wall_seconds(records: Iterable[CellRecord]) -> dict[tuple[str, str], float]:
    """Return the median wall time of finished cells, by method and device."""
    walls: dict[tuple[str, str], list[float]] = {}
    for record in records:
        wall = record.timings.get("wall")
        if record.status is Status.OK and wall:
            walls.setdefault((record.method, record.device), []).append(wall)
    return {name: statistics.median(values) for name, values in walls.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The forecast of one method, or of all."""

    method: str
    counts: Mapping[str, int]
    seconds: float
    time_from: str
    """The least reliable source of the times in the sum."""


def by_method(forecasts: Sequence[Forecast]) -> list[Summary]:
    """Sum forecasts up by method, in the plan's order."""
    labels = dict.fromkeys(each.cell.label for each in forecasts)
    return [summed(label, [f for f in forecasts if f.cell.label == label]) for label in labels]


def summed(name: str, forecasts: Sequence[Forecast]) -> Summary:
    """Sum forecasts up under one name."""
    counts = dict.fromkeys((RUN, STORED, NOT_APPLICABLE, BUSY), 0)
    for each in forecasts:
        counts[each.what] += 1
    timed = [each for each in forecasts if each.what in {RUN, BUSY}]
    return Summary(
        method=name,
        counts=counts,
        seconds=sum(each.seconds for each in timed),
        time_from=max((each.time_from for each in timed), key=SOURCES.index, default=STORED_CELLS),
    )
