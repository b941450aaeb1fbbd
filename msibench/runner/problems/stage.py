"""Make a problem once: read the section, scale and degrade it, and keep what methods may see.

A section goes through memory in groups of ion images; a small one is one group.

The result is two files: ``problem.h5``, which is copied into every cell, and ``section.h5`` with the
truth, which the supervising process keeps for scoring and pages and never hands to a method.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msibench.contracts.plain_text import few_of
from msibench.datasets import Card, Section, read_section
from msibench.degradation import DegradationProtocol, Prepared
from msibench.errors import DataError
from msibench.image import MSImage, Pair, Problem
from msibench.io.stored_stack import groups
from msibench.results.files import explained
from msibench.results.problems import (
    PROBLEM,
    SECTION,
    Arrays,
    pack_frame,
    pack_guide,
    pack_image,
    section_file,
    write_problem,
)
from msibench.results.store import Store
from msibench.runner.problem_plan import ProblemPlan
from msibench.runner.problems.guides import crop_guide, guides_for
from msibench.runner.problems.kept_pairs import KeptPairs
from msibench.runner.problems.staged_files import check_data, is_staged, put_in_place

SMALLEST_SIDE = 2
"""Coarse pixels along a side below which nothing can be scored."""

NAMED = 12
"""Ions that one note names."""


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
        make = write_scored if plan.card.ground_truth else write_unscored
        write_problem(work / PROBLEM, make(plan, section, work / SECTION))
    check_data(plan)
    put_in_place(work, folder, store)
    return folder


def _read(plan: ProblemPlan) -> Section:
    mz_set = plan.mz_set.name if _listed(plan) else plan.mz_set
    with_tic = plan.protocol.normalisation == "tic"
    return read_section(plan.card, plan.section, mz_set, lazily=True, with_tic=with_tic)


def write_scored(plan: ProblemPlan, section: Section, path: Path) -> Problem:
    """Write the truth of a section to `path`, and return the problem that methods see.

    Raises
    ------
    DataError
        If the section is too small, or holds infinite intensities.
    """
    fine, factor = section.image, plan.protocol.factor
    rows, columns = (side // factor * factor for side in fine.shape)
    crop = (slice(rows), slice(columns))
    cut = groups(fine.values.shape)
    prepared = plan.protocol.prepare_in_groups(
        fine,
        cut,
        seed=plan.seed,
        declared_range=plan.card.declared_range,
        counts_per_unit=section.counts_per_unit,
        norm=section.tic,
        repeats=_partners(_repeats(plan, fine.mz)),
    )
    parts: list[Prepared] = []
    with section_file(path, (fine.channels, rows, columns), whole=len(cut) == 1) as file:
        for group, part in zip(cut, prepared, strict=True):
            _check_size(plan, fine, part.low)
            file.add("truth", group, part.truth.values)
            if section.noise_free is not None:
                signal = section.noise_free[group, :rows, :columns] / part.scale[:, None, None]
                file.add("noise_free", group, signal.astype(np.float32))
            parts.append(part.without_truth())
        low = replace(
            parts[0].low, values=np.concatenate([part.low.values for part in parts]), mz=fine.mz
        )
        notes = [*section.notes, *Prepared.joint_notes(parts), *_notes_on_absent(low)]
        guide, second = guides_for(
            plan,
            crop_guide(section.guide, crop),
            None if section.second is None else section.second.crop(*crop),
            notes,
        )
        arrays: Arrays = {"scale": np.concatenate([part.scale for part in parts])}
        header: dict[str, Any] = {"protocol": plan.protocol.name, "notes": notes}
        pack_frame("truth", parts[0].truth, arrays, header, mz=fine.mz)
        pack_image("low", low, arrays, header)
        pack_guide(guide, arrays, header)
        if parts[0].counts_per_unit is not None:
            counts = [part.counts_per_unit for part in parts if part.counts_per_unit is not None]
            arrays["counts_per_unit"] = np.concatenate(counts)
        if repeats := _repeats(plan, fine.mz):
            header["repeats"] = repeats
        if section.uncharted is not None:
            arrays["uncharted"] = section.uncharted[crop]
        file.finish(arrays, header)
    return Problem(
        low=low,
        factor=factor,
        guide=guide,
        second=second,
        middle=section.middle,
        protocol=plan.protocol.name,
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


PAIRS = KeptPairs()


def _pair(card: Card, section: str, chosen: DegradationProtocol, mz_set: str) -> Pair:
    """Return the training pair of one section; methods of one run share it."""
    key = (card, section, chosen, mz_set)
    return PAIRS.get(key, lambda: _made_pair(card, section, chosen, mz_set))


def _made_pair(card: Card, section: str, chosen: DegradationProtocol, mz_set: str) -> Pair:
    found = read_section(card, section, mz_set, with_tic=chosen.normalisation == "tic")
    prepared = chosen.prepare(
        found.image,
        declared_range=card.declared_range,
        norm=found.tic,
        repeats=_partners(
            _repeats_of(
                card, section, found.image.mz, card.mz_set(mz_set or card.default_mz_set).ppm
            )
        )
        if chosen.repeated
        else None,
    )
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


def write_unscored(plan: ProblemPlan, section: Section, path: Path) -> Problem:
    """Write a section without a finer measurement, and return the problem that methods see."""
    factor = plan.protocol.factor
    measured = section.image.values
    scale = plan.protocol.scaling.scale(measured, section.image.mask, plan.card.declared_range)
    values = np.empty(measured.shape, dtype=np.float32)
    for channel, one in enumerate(scale):
        values[channel] = np.clip(measured[channel] / one, 0, 1)
    low = replace(section.image, values=values, unit="scaled")
    notes = [*section.notes, "no ground truth: nothing here is scored against a measurement"]
    guide, second = guides_for(plan, section.guide, section.second, notes)
    arrays: Arrays = {"scale": scale}
    header: dict[str, Any] = {"protocol": plan.protocol.name, "notes": notes}
    pack_image("low", low, arrays, header)
    pack_guide(guide, arrays, header)
    with section_file(path, low.values.shape, whole=True) as file:
        file.finish(arrays, header)
    return Problem(low=low, factor=factor, guide=guide, second=second, protocol=plan.protocol.name)


def _notes_on_absent(low: MSImage) -> list[str]:
    """Note which ions are absent from the coarse images: methods do not get them."""
    absent = sorted({*range(low.channels)} - {*low.present()})
    if not absent:
        return []
    names = [low.channel_names()[channel] for channel in absent]
    return [
        f"nothing is present in {len(absent)} of {low.channels} ion images, which methods do not get: "
        f"{few_of(names, NAMED)}"
    ]


def _check_size(plan: ProblemPlan, fine: MSImage, low: MSImage) -> None:
    if min(low.shape) < SMALLEST_SIDE:
        most = min(fine.shape) // SMALLEST_SIDE
        smaller = f", or a factor of at most {most}" if most > 1 else ""
        raise DataError(
            f"{plan.card.name}/{plan.section} has {fine.shape} pixels; at factor "
            f"{plan.protocol.factor} that leaves {low.shape}, fewer than {SMALLEST_SIDE} along a "
            f"side: take a larger section{smaller}"
        )


def _partners(repeats: list[list[int | str]]) -> dict[int, int]:
    return {int(one): int(other) for one, other, _ in repeats}


def _repeats(plan: ProblemPlan, mz: NDArray[np.float64]) -> list[list[int | str]]:
    return _repeats_of(plan.card, plan.section, mz, plan.mz_set.ppm)


def _repeats_of(
    card: Card, section: str, mz: NDArray[np.float64], ppm: float
) -> list[list[int | str]]:
    """Return which channels measure the same again, as the card says: channel, other, shared noise."""
    found: list[list[int | str]] = []
    for repeat in card.repeats:
        if repeat.sections and section not in repeat.sections:
            continue
        places = [np.flatnonzero(np.abs(mz - value) <= value * ppm * 1e-6) for value in repeat.mz]
        if all(len(place) == 1 for place in places):
            one, two = (int(place[0]) for place in places)
            found += [[one, two, repeat.shared_noise], [two, one, repeat.shared_noise]]
    return found
