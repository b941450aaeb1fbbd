"""Stage a section that memory should not hold: its truth goes to the file a few ion images at a time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msibench.datasets import Section
from msibench.degradation.in_parts import joint_notes, prepare_in_parts
from msibench.errors import DataError
from msibench.image import MSImage, Problem
from msibench.io.stored_stack import groups
from msibench.results.arrays import array_file
from msibench.runner.plan import ProblemPlan
from msibench.runner.problems.guides import crop_guide, guides_for
from msibench.runner.problems.problem_file import Arrays, pack_guide, pack_image, write_problem
from msibench.runner.problems.staged_files import PROBLEM, SECTION

SMALLEST_SIDE = 2
"""Coarse pixels along a side below which nothing can be judged."""


def write_large(plan: ProblemPlan, section: Section, work: Path) -> None:
    """Write problem and truth of a large section into `work`.

    The values are those of `msibench.runner.problems.stage.make_problem`; at any time only one group of fine
    ion images is in memory, beside the coarse ones and the guide.

    Raises
    ------
    DataError
        If the section is too small, or holds infinite intensities.
    """
    fine, factor = section.image, plan.protocol.factor
    rows, columns = (side // factor * factor for side in fine.shape)
    with array_file(work / SECTION) as file:
        truth = file.stack("truth", (fine.channels, rows, columns))
        clean = None
        if section.noise_free is not None:
            clean = file.stack("noise_free", (fine.channels, rows, columns))
        parts = []
        for group, part in zip(
            groups(fine.values.shape),
            prepare_in_parts(
                plan.protocol,
                fine,
                groups(fine.values.shape),
                seed=plan.seed,
                declared_range=plan.card.declared_range,
                counts_per_unit=section.counts_per_unit,
            ),
            strict=True,
        ):
            check_size(plan, fine, part.low)
            truth[group] = part.truth.values
            if clean is not None and section.noise_free is not None:
                signal = section.noise_free[group, :rows, :columns] / part.scale[:, None, None]
                clean[group] = signal.astype(np.float32)
            nothing = np.empty((0, rows, columns), dtype=np.float32)
            parts.append(replace(part, truth=replace(part.truth, values=nothing, mz=np.empty(0))))
        low = replace(
            parts[0].low, values=np.concatenate([part.low.values for part in parts]), mz=fine.mz
        )
        notes = [
            *section.notes,
            *joint_notes([part.notes for part in parts], [part.clipped for part in parts]),
        ]
        crop = (slice(rows), slice(columns))
        guide = crop_guide(section.guide, crop)
        second = None if section.second is None else section.second.crop(*crop)
        guide, second = guides_for(plan, guide, second, notes)
        arrays: Arrays = {"scale": np.concatenate([part.scale for part in parts])}
        facts: dict[str, Any] = {"protocol": plan.protocol.name, "notes": notes}
        pack_image("truth", parts[0].truth, arrays, facts)
        del arrays["truth"]
        arrays["truth_mz"] = fine.mz
        pack_image("low", low, arrays, facts)
        pack_guide(guide, arrays, facts)
        if parts[0].counts_per_unit is not None:
            counts = [part.counts_per_unit for part in parts if part.counts_per_unit is not None]
            arrays["counts_per_unit"] = np.concatenate(counts)
        if repeats := repeats_in(plan, fine.mz):
            facts["repeats"] = repeats
        if section.uncharted is not None:
            arrays["uncharted"] = section.uncharted[crop]
        for name, values in sorted(arrays.items()):
            file.write(name, np.asarray(values))
        file.note("facts", json.dumps(facts, sort_keys=True))
    problem = Problem(
        low=low,
        factor=factor,
        guide=guide,
        second=second,
        middle=section.middle,
        protocol=plan.protocol.name,
    )
    write_problem(work / PROBLEM, problem)


def check_size(plan: ProblemPlan, fine: MSImage, low: MSImage) -> None:
    """Raise if too few coarse pixels are left.

    Raises
    ------
    DataError
        With what to do instead.
    """
    if min(low.shape) < SMALLEST_SIDE:
        raise DataError(
            f"{plan.card.name}/{plan.section} has {fine.shape} pixels; at factor "
            f"{plan.protocol.factor} that leaves {low.shape}, fewer than {SMALLEST_SIDE} along a "
            "side: take a smaller factor"
        )


def repeats_in(plan: ProblemPlan, mz: NDArray[np.float64]) -> list[list[int | str]]:
    """Return which channels measure the same again, as the card says: channel, other, shared noise."""
    found: list[list[int | str]] = []
    for repeat in plan.card.repeats:
        if repeat.sections and plan.section not in repeat.sections:
            continue
        places = [
            np.flatnonzero(np.abs(mz - value) <= value * plan.mz_set.ppm * 1e-6)
            for value in repeat.mz
        ]
        if all(len(place) == 1 for place in places):
            one, two = (int(place[0]) for place in places)
            found += [[one, two, repeat.shared_noise], [two, one, repeat.shared_noise]]
    return found
