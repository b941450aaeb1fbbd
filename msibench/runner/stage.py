"""Make a problem once: read the section, scale and degrade it, and keep what methods may see.

Two files come of it: ``problem.h5``, which is copied into every cell, and ``section.h5`` with the
truth, which the supervising process keeps for scoring and pages and never hands to a method.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msibench.datasets import Card, Section, read_section
from msibench.degradation import DegradationProtocol, protocol
from msibench.errors import ConfigurationError, DataError
from msibench.image import GuideImage, MSImage, Pair, Problem
from msibench.results.arrays import read_arrays, write_arrays
from msibench.results.files import explained, sha256_of, sync_file, sync_folder
from msibench.results.store import Store
from msibench.runner.plan import ProblemPlan
from msibench.runner.problem_file import (
    Arrays,
    pack_guide,
    pack_image,
    unpack_guide,
    unpack_image,
    write_problem,
)

PROBLEM, SECTION = "problem.h5", "section.h5"
GUIDE_CONTROLS = ("guide-shuffled", "guide-mirrored", "guide-other-section")
SMALLEST_SIDE = 2
"""Coarse pixels along a side below which nothing can be judged."""


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


def stage(plan: ProblemPlan, store: Store) -> Path:
    """Return the folder of a staged problem, making it when it is not there.

    Raises
    ------
    DataError
        If the section is too small, or cannot be read.
    StoreError
        If the results folder cannot be written.
    """
    folder = store.problem_folder(plan.key)
    if (folder / SECTION).is_file() and (folder / PROBLEM).is_file():
        return folder
    problem, arrays, facts = make_problem(plan)
    work = store.new_work(plan.key)
    with explained(folder):
        write_problem(work / PROBLEM, problem)
        write_arrays(work / SECTION, arrays, {"facts": json.dumps(facts, sort_keys=True)})
        for name in (PROBLEM, SECTION):
            sync_file(work / name)
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            work.rename(folder)
        except OSError:
            if not (folder / SECTION).is_file():
                raise
            shutil.rmtree(work, ignore_errors=True)  # another run was faster with the same bytes
        sync_folder(folder.parent)
    return folder


def make_problem(plan: ProblemPlan) -> tuple[Problem, Arrays, dict[str, Any]]:
    """Read one section and turn it into what methods see and what they are judged by."""
    section = read_section(plan.card, plan.section, plan.mz_set.name if _listed(plan) else "")
    if not _listed(plan):
        section = _chosen(section, plan)
    if not plan.card.ground_truth:
        return _without_truth(plan, section)
    prepared = plan.protocol.prepare(
        section.image,
        seed=plan.seed,
        declared_range=plan.card.declared_range,
        counts_per_unit=section.counts_per_unit,
    )
    if min(prepared.low.shape) < SMALLEST_SIDE:
        raise DataError(
            f"{plan.card.name}/{plan.section} has {section.image.shape} pixels; at factor "
            f"{plan.protocol.factor} that leaves {prepared.low.shape}, fewer than "
            f"{SMALLEST_SIDE} along a side: take a smaller factor"
        )
    rows, columns = prepared.truth.shape
    crop = (slice(rows), slice(columns))
    guide = _crop_guide(section.guide, crop)
    second = None if section.second is None else section.second.crop(*crop)
    notes = [*section.notes, *prepared.notes]
    guide, second = _wrong_guide(plan, guide, second, notes)
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
    if section.noise_free is not None:
        signal = section.noise_free[:, :rows, :columns] / prepared.scale[:, None, None]
        arrays["noise_free"] = signal.astype(np.float32)
    if section.uncharted is not None:
        arrays["uncharted"] = section.uncharted[:rows, :columns]
    return problem, arrays, facts


def load_staged(folder: Path, expected: str = "") -> Staged:
    """Read a staged problem with its truth, for scoring or a page.

    Raises
    ------
    IntegrityError
        If the file is damaged, or not the one of digest `expected`.
    """
    path = folder / SECTION
    arrays, attributes = read_arrays(path)
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
        guide=_crop_guide(found.guide, (slice(rows), slice(columns))),
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
    scale = plan.protocol.scaling.scale(
        section.image.values, section.image.mask, plan.card.declared_range
    )
    low = replace(
        section.image,
        values=np.clip(section.image.values / scale[:, None, None], 0, 1).astype(np.float32),
        unit="scaled",
    )
    notes = [*section.notes, "no ground truth: nothing here is scored against a measurement"]
    guide, second = _wrong_guide(plan, section.guide, section.second, notes)
    problem = Problem(
        low=low, factor=factor, guide=guide, second=second, protocol=plan.protocol.name
    )
    arrays: Arrays = {"scale": scale}
    facts: dict[str, Any] = {"protocol": plan.protocol.name, "notes": notes}
    pack_image("low", low, arrays, facts)
    pack_guide(guide, arrays, facts)
    return problem, arrays, facts


def _wrong_guide(
    plan: ProblemPlan, guide: GuideImage | None, second: MSImage | None, notes: list[str]
) -> tuple[GuideImage | None, MSImage | None]:
    """Replace the guide by a wrong one where the plan asks for a control."""
    if not plan.control:
        return guide, second
    if plan.control not in GUIDE_CONTROLS:
        raise ConfigurationError(
            f"there is no guide control {plan.control!r}; known: {', '.join(GUIDE_CONTROLS)}"
        )
    notes.append(f"control: {plan.control}, the guide does not belong to this section's tissue")
    as_guide = None if second is None else GuideImage(second.values, kind="msi")
    wrong_second = _wrong(plan, as_guide, "second")
    return _wrong(plan, guide, "guide"), (
        None
        if second is None or wrong_second is None
        else replace(second, values=wrong_second.values)
    )


def _wrong(plan: ProblemPlan, guide: GuideImage | None, role: str) -> GuideImage | None:
    from msibench.metrics.wrong_guides import mirrored, other_section, shuffled_blocks

    if guide is None:
        return None
    if plan.control == "guide-mirrored":
        return mirrored(guide)
    if plan.control == "guide-shuffled":
        return shuffled_blocks(guide, block=4 * plan.protocol.factor, seed=plan.seed)
    others = [name for name in plan.card.sections if name != plan.section]
    if not others:
        return mirrored(shuffled_blocks(guide, block=8 * plan.protocol.factor, seed=plan.seed + 1))
    other = read_section(plan.card, others[0], "")
    stranger = other.guide
    if role == "second":
        stranger = None if other.second is None else GuideImage(other.second.values, kind="msi")
    return guide if stranger is None else other_section(stranger, guide.shape)


def _crop_guide(guide: GuideImage | None, crop: tuple[slice, slice]) -> GuideImage | None:
    if guide is None:
        return None
    mask = None if guide.mask is None else guide.mask[crop]
    return replace(guide, values=guide.values[:, crop[0], crop[1]], mask=mask)
