"""Evaluate a method on newly drawn synthetic sections, and compare with those of the board.

Boards and gates keep the seeds of their phantoms, so that numbers stay comparable: they are for practice. A
method that was fitted to them, or that makes them again by their generator, does well there and nowhere
else. Seeds drawn afresh, from the system's own source of chance, are in no file and in no memory.
"""

from __future__ import annotations

import re
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msibench.datasets import Card, load_card
from msibench.errors import MSIBenchError
from msibench.gate.rerun import plan_again
from msibench.gate.verify import Checked
from msibench.metrics.detail import bounded
from msibench.plugin_manager import Catalogue
from msibench.results.schema import CellRecord, Status
from msibench.results.store import Store
from msibench.run_track import run_track
from msibench.runner.options import RunOptions
from msibench.runner.plan import make_plan
from msibench.tracks import Entry

SECTIONS = 3
"""Fresh sections that a method is evaluated on."""
ERRORS = 3.0
"""Standard errors by which its gain over the control must drop to be flagged,"""
SHARE = 0.3
"""and the share of the practised gain that must be lost."""
PERFECT_DB = 100.0
"""PSNR assigned to an identical image, which has none."""


def fresh_sections(card: Card, count: int = SECTIONS) -> tuple[str, ...]:
    """Return names of synthetic sections that were never drawn before.

    Raises
    ------
    MSIBenchError
        If the data set is measured, or its sections are not made from a number.
    """
    shape = re.fullmatch(r"(.*-)\d+", card.test[0]) if card.test else None
    if not card.synthetic or shape is None:
        raise MSIBenchError(f"{card.name} is not a data set of sections that are made from a seed")
    return tuple(f"{shape[1]}{secrets.randbits(62)}" for _ in range(count))


def judge_afresh(
    store: Store,
    key: str,
    catalogue: Catalogue,
    *,
    control_method: str = "bicubic",
    cards: Mapping[str, Card] | None = None,
    single: Mapping[str, str] | None = None,
    options: RunOptions | None = None,
) -> Checked:
    """Run the method of a stored cell on fresh sections, and flag it when its gain drops there.

    The gain is that of `skill`, or of PSNR where that is not a metric here, over the control, image by image.

    Parameters
    ----------
    control_method
        The method whose gain is 0.
    single
        Name → ``file.py:Class`` of methods that no plugin provides.
    """
    record = store.record(key)
    checked = Checked(name=f"{record.method} · {record.dataset} on fresh sections ({key[:12]}…)")
    if record.status is not Status.OK or record.control or record.method == control_method:
        return checked
    try:
        card = (cards or {}).get(record.dataset) or load_card(catalogue.dataset(record.dataset))
        names = fresh_sections(card)
        practised, fresh = _gains(
            record, catalogue, card, names, control_method, single or {}, options
        )
    except MSIBenchError as error:
        checked.notes.append(f"it cannot be judged on fresh sections: {error}")
        return checked
    before, after = float(practised.mean()), float(fresh.mean())
    apart = float(np.hypot(_error(practised), _error(fresh)))
    said = f"gain over {control_method}: {before:.3g} on {record.section}, {after:.3g} on sections that nobody has seen"
    if before - after > max(ERRORS * apart, SHARE * abs(before)) and before > 0:
        checked.faults.append(f"{said}: it knows the sections of the board, check for leaks")
    else:
        checked.notes.append(said)
    return checked


def _gains(
    record: CellRecord,
    catalogue: Catalogue,
    card: Card,
    names: tuple[str, ...],
    control_method: str,
    single: Mapping[str, str],
    options: RunOptions | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the gain of every ion image on the section of the cell, and on fresh ones."""
    metric = "skill" if "skill" in catalogue.metrics else "psnr"
    wider = replace(card, test=(record.section, *names))
    drawn = {record.dataset: wider}
    track, _ = plan_again(record, catalogue, drawn, single)
    problem = replace(track.problems[0], sections=(record.section, *names))
    control = Entry(method=control_method, label="the control")
    track = replace(
        track, entries=(*track.entries, control), problems=(problem,), metrics=(metric,)
    )
    with tempfile.TemporaryDirectory(prefix="msibench-fresh-") as scratch:
        aside = Store.open(Path(scratch) / "results")
        plan = make_plan(track, catalogue, cards=drawn, device=record.device)
        run_track(plan.track, catalogue, aside, options, plan=plan, part=plan.cells)
        values: dict[tuple[str, str], NDArray[np.float64]] = {}
        for cell in plan.cells:
            done = aside.record(cell.key)
            if done.status is not Status.OK:
                raise MSIBenchError(f"{done.method} ended as {done.status}: {done.reason}")
            rows = aside.metric_rows(done)
            rows = rows[(rows["metric"] == metric) & (rows["region"] == "image")]
            found = rows.sort_values("channel")["value"].to_numpy(np.float64)
            perfect = rows.sort_values("channel")["reason"].str.contains("identical").to_numpy()
            values[done.method, done.section] = (
                np.where(perfect, PERFECT_DB, found) if metric == "psnr" else bounded(found)
            )
    gains = {
        section: values[record.method, section] - values["the control", section]
        for section in (record.section, *names)
    }
    practised = gains.pop(record.section)
    pooled = np.concatenate(list(gains.values()))
    return practised[np.isfinite(practised)], pooled[np.isfinite(pooled)]


def _error(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
