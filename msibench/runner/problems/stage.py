"""Make a problem once: read the section, scale and degrade it, and keep what methods may see.

Two files come of it: ``problem.h5``, which is copied into every cell, and ``section.h5`` with the
truth, which the supervising process keeps for scoring and pages and never hands to a method.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msibench.datasets import Card, Section, read_section
from msibench.degradation import DegradationProtocol, protocol
from msibench.image import GuideImage, MSImage, Pair, Problem
from msibench.io.stored_stack import is_large
from msibench.results.arrays import read_arrays, write_arrays
from msibench.results.files import explained, sha256_of
from msibench.results.store import Store
from msibench.runner.plan import ProblemPlan
from msibench.runner.problems.guides import crop_guide, guides_for
from msibench.runner.problems.large_stage import check_size, repeats_in, write_large
from msibench.runner.problems.problem_file import (
    Arrays,
    pack_guide,
    pack_image,
    unpack_guide,
    unpack_image,
    write_problem,
)
from msibench.runner.problems.staged_files import (
    PROBLEM,
    SECTION,
    check_data,
    is_staged,
    put_in_place,
)

__all__ = ["PROBLEM", "SECTION", "Staged", "load_staged", "make_problem", "stage", "training_pairs"]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Staged:
    """Everything that scoring needs to know of one problem."""

    truth: MSImage | None
    low: MSImage
    protocol: DegradationProtocol
    guide: GuideImage | None
    scale: NDArray[np.float64]
    counts_per_unit: NDArray[np.float64] | None
    noise_free: NDArray[np.float32] | None
    uncharted: NDArray[np.float32] | None
    notes: tuple[str, ...]
    digest: str
    """sha256 of ``section.h5``."""
    repeats: Mapping[int, tuple[int, str]] = field(default_factory=dict)
    """Channel → the channel that measures the same again, and the noise that the two share."""
    again: NDArray[np.float32] | None = None
    """Those second measurements, ``(channel, row, column)``, where they are not in `truth`."""


def stage(plan: ProblemPlan, store: Store) -> Path:
    """Return the folder of a staged problem, making it when it is not there.

    Raises
    ------
    DataError
        If the section is too small, or cannot be read.
    IntegrityError
        If its data are not those that it was planned with.
    StoreError
        If the results folder cannot be written.
    """
    folder = store.problem_folder(plan.key)
    if is_staged(folder):
        return folder
    section = _read(plan)
    work = store.new_work(plan.key)
    with explained(folder):
        if plan.card.ground_truth and is_large(section.image.values.shape):
            write_large(plan, section, work)
        else:
            problem, arrays, facts = make_problem(plan, section)
            write_problem(work / PROBLEM, problem)
            write_arrays(work / SECTION, arrays, {"facts": json.dumps(facts, sort_keys=True)})
    check_data(plan)
    put_in_place(work, folder, store)
    return folder


def _read(plan: ProblemPlan) -> Section:
    named = plan.mz_set.name if _listed(plan) else ""
    section = read_section(plan.card, plan.section, named, lazily=True)
    return section if _listed(plan) else _chosen(section, plan)


def make_problem(plan: ProblemPlan, section: Section) -> tuple[Problem, Arrays, dict[str, Any]]:
    """Turn one section into what methods see and what they are judged by."""
    if not plan.card.ground_truth:
        return _without_truth(plan, section)
    prepared = plan.protocol.prepare(
        section.image,
        seed=plan.seed,
        declared_range=plan.card.declared_range,
        counts_per_unit=section.counts_per_unit,
    )
    check_size(plan, section.image, prepared.low)
    rows, columns = prepared.truth.shape
    crop = (slice(rows), slice(columns))
    guide = crop_guide(section.guide, crop)
    second = None if section.second is None else section.second.crop(*crop)
    notes = [*section.notes, *prepared.notes]
    guide, second = guides_for(plan, guide, second, notes)
    problem = Problem(
        low=prepared.low,
        factor=plan.protocol.factor,
        guide=guide,
        second=second,
        middle=section.middle,
        protocol=plan.protocol.name,
    )
    arrays: Arrays = {"scale": prepared.scale}
    facts: dict[str, Any] = {"protocol": plan.protocol.name, "notes": notes}
    pack_image("truth", prepared.truth, arrays, facts)
    pack_image("low", prepared.low, arrays, facts)
    pack_guide(guide, arrays, facts)
    if prepared.counts_per_unit is not None:
        arrays["counts_per_unit"] = prepared.counts_per_unit
    if repeats := repeats_in(plan, prepared.truth.mz):
        facts["repeats"] = repeats
    if section.noise_free is not None:
        signal = section.noise_free[:, :rows, :columns] / prepared.scale[:, None, None]
        arrays["noise_free"] = signal.astype(np.float32)
    if section.uncharted is not None:
        arrays["uncharted"] = section.uncharted[:rows, :columns]
    return problem, arrays, facts


def load_staged(folder: Path, expected: str = "") -> Staged:
    """Read a staged problem with its truth, for scoring or a page; a large truth stays in its file.

    Raises
    ------
    IntegrityError
        If the file is damaged, or not the one of digest `expected`.
    """
    path = folder / SECTION
    arrays, attributes = read_arrays(path, lazily=("truth", "noise_free"))
    facts: Mapping[str, Any] = json.loads(attributes["facts"])
    low = unpack_image("low", arrays, facts)
    assert low is not None
    return Staged(
        truth=unpack_image("truth", arrays, facts),
        low=low,
        protocol=protocol(facts["protocol"]),
        guide=unpack_guide(arrays, facts),
        scale=arrays["scale"],
        counts_per_unit=arrays.get("counts_per_unit"),
        noise_free=arrays.get("noise_free"),
        uncharted=arrays.get("uncharted"),
        notes=tuple(facts["notes"]),
        digest=expected or sha256_of(path),
        repeats={int(one): (int(two), str(what)) for one, two, what in facts.get("repeats", ())},
    )


def training_pairs(plan: ProblemPlan, sections: tuple[str, ...] = ()) -> list[Pair]:
    """Make the pairs that a trainable method learns from: the card's training sections.

    A section that is tested is never among them.
    """
    return [
        _pair(plan.card, section, plan.protocol, plan.mz_set.name if _listed(plan) else "")
        for section in (sections or plan.card.train)
        if section not in plan.card.test
    ]


@lru_cache(maxsize=64)
def _pair(card: Card, section: str, chosen: DegradationProtocol, mz_set: str) -> Pair:
    found = read_section(card, section, mz_set)
    prepared = chosen.prepare(found.image, declared_range=card.declared_range)
    rows, columns = prepared.truth.shape
    return Pair(
        low=prepared.low,
        high=prepared.truth,
        factor=chosen.factor,
        guide=crop_guide(found.guide, (slice(rows), slice(columns))),
        section=f"{card.name}/{section}",
    )


def _listed(plan: ProblemPlan) -> bool:
    """Whether the m/z set is one of the card's, rather than chosen on the command line."""
    return plan.card.mz_sets.get(plan.mz_set.name) == plan.mz_set


def _chosen(section: Section, plan: ProblemPlan) -> Section:
    from msibench.datasets import select_mz

    return select_mz(section, plan.mz_set)


def _without_truth(plan: ProblemPlan, section: Section) -> tuple[Problem, Arrays, dict[str, Any]]:
    """Make a problem of a section that nobody measured on a finer grid."""
    factor = plan.protocol.factor
    measured = section.image.values
    scale = plan.protocol.scaling.scale(measured, section.image.mask, plan.card.declared_range)
    values = np.empty(measured.shape, dtype=np.float32)
    for channel, one in enumerate(scale):
        values[channel] = np.clip(measured[channel] / one, 0, 1)
    low = replace(section.image, values=values, unit="scaled")
    notes = [*section.notes, "no ground truth: nothing here is scored against a measurement"]
    guide, second = guides_for(plan, section.guide, section.second, notes)
    problem = Problem(
        low=low, factor=factor, guide=guide, second=second, protocol=plan.protocol.name
    )
    arrays: Arrays = {"scale": scale}
    facts: dict[str, Any] = {"protocol": plan.protocol.name, "notes": notes}
    pack_image("low", low, arrays, facts)
    pack_guide(guide, arrays, facts)
    return problem, arrays, facts
