"""Which ions may be sharpened, with what, and whether measuring finer would do more."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from msibench.contracts.method import MethodSpec, Task
from msibench.contracts.progress import tell_progress
from msibench.errors import ConfigurationError, DataError, MSIBenchError
from msibench.image import GuideImage, MSImage, Problem
from msibench.plugin_manager import resolve_method

if TYPE_CHECKING:
    from msibench.advice.energies import Upscaler
    from msibench.advice.expected import Detail, Expected
    from msibench.library.advice_values import Advice, GuideAdvice
    from msibench.library.sections import FilePath
    from msibench.plugin_manager import Catalogue

SINGLE = (
    "bilinear", "bicubic", "bicubic-075", "lanczos3", "bicubic-backprojected", "lanczos3-backprojected",
    "wiener", "swinir-msi-tiny", "mosr-msi-tiny", "mambair-msi-tiny", "dctlsa-msi",
)  # fmt: skip
"""Methods that advice tries where none are named: quick, and nothing to download."""
GUIDED = ("guided-filter", "joint-bilateral", "ridge", "pls")
"""And where there is a guide."""
LARGEST = 48
"""Edge in coarse pixels of the piece that a network is tried on: its skill does not need more."""


def advise(
    section: MSImage,
    factor: int = 4,
    *,
    guide: GuideImage | FilePath | None = None,
    transform: FilePath | None = None,
    methods: Sequence[str] = (),
    device: str = "cpu",
    seed: int = 0,
    results: FilePath | None = None,
) -> Advice:
    """Say which ion images of a section may be sharpened, with what, and what measuring finer would give.

    Everything is told from the section itself: every method is run on it and on the section made coarser
    once more, and `msibench.advice.expected` carries what is found there to the wanted scale, where
    pixels count fewer ions.

    Parameters
    ----------
    section
        What was measured, ``(channel, row, column)``; at least 200 tissue pixels.
    factor
        How many times finer.
    guide, transform
        A stained image, as in `upscale`.
    methods
        Names of methods to try; empty: interpolation and the small networks that ship, and with a guide
        the quick ones that look at it.
    device, seed
        As in `upscale`.
    results
        A results folder whose boards are looked at for similar sections, beside the boards that ship.

    Raises
    ------
    DataError
        The section is too small, or nothing is present in it.
    UnknownNameError
        There is no such method.
    ConfigurationError
        The factor is below 2.
    """
    from msibench.advice.expected import expected_detail
    from msibench.library.board_record import with_boards
    from msibench.library.installed import catalogue
    from msibench.library.notebook import bar_in_notebook
    from msibench.library.recommending import Seen, advice_of
    from msibench.library.sections import guide_on
    from msibench.library.similar_boards import board_skills, similar_boards
    from msibench.uncertainty.noise import counting_variance
    from msibench.uncertainty.octaves import finest_octaves
    from msibench.uncertainty.sections import one_scale_up

    if factor < 2:
        raise ConfigurationError(f"the factor must be at least 2, got {factor}")
    low = _with_signal(section)
    image = guide_on(section, guide, transform, factor)
    problem = Problem(low=low, factor=factor, guide=image, device=device, seed=seed)
    one_scale_up(problem)  # refuses what is too small before anything runs
    found = catalogue(with_metrics=False)
    variance = counting_variance(low)
    detail = expected_detail(finest_octaves(low), variance, factor)
    names = methods or (SINGLE if image is None else SINGLE + GUIDED)
    told: dict[str, Expected] = {}
    left_out: dict[str, str] = {}
    averaged: list[str] = []
    with bar_in_notebook("advice"):
        for place, name in enumerate(names):
            tell_progress(place, len(names), "methods")
            spec = resolve_method(name, found)
            try:
                told[name], seeds = _expected(spec, problem, detail, found)
                averaged += [name] if seeds > 1 else []
            except MSIBenchError as error:
                left_out[name] = str(error).split(". ")[0]
            except Exception as error:  # a method is a plugin: its faults cost its own line
                left_out[name] = f"it failed: {type(error).__name__}: {error}"[:300]
        about = (
            ()
            if image is None
            else _about_guide(problem, [resolve_method(n, found) for n in told], told)
        )
    folder = None if results is None else Path(results)
    single = {name: one for name, one in told.items() if _looks_at_no_guide(name, found)}
    networks = {name for name in single if resolve_method(name, found).weights}
    records = board_skills(factor, single, folder)
    told |= with_boards(single, list(records.values()), networks)
    advice = advice_of(Seen(low=low, variance=variance, detail=detail), factor, told, about)
    usable = _usable(found, guided=image is not None)
    boards = similar_boards(low, factor, usable, folder)
    return replace(advice, left_out=left_out, averaged=tuple(averaged), boards=boards)


def _with_signal(section: MSImage) -> MSImage:
    """Return a section without negative values; refuse one that shows nothing or is too small."""
    from msibench.uncertainty.tissue import check_section

    low = replace(section, values=np.maximum(np.asarray(section.values), 0))
    if not low.present():
        raise DataError(
            f"no signal in any of the {low.channels} ion images; choose other m/z or a wider window (--ppm)"
        )
    check_section(low)
    return low


def _looks_at_no_guide(name: str, found: Catalogue) -> bool:
    return resolve_method(name, found).task is Task.SINGLE_IMAGE


def _usable(found: Catalogue, *, guided: bool) -> set[str]:
    """Return the methods that can sharpen a section of one's own: nothing to train, no other modality."""
    tasks = {Task.SINGLE_IMAGE, Task.GUIDED} if guided else {Task.SINGLE_IMAGE}
    return {
        name
        for name, spec in found.methods.items()
        if spec.task in tasks and not spec.trainable and not spec.control
    }


def _expected(
    spec: MethodSpec, problem: Problem, detail: Detail, found: Catalogue
) -> tuple[Expected, int]:
    """Foretell one method, and say how many seeds of it; a network is tried on a piece of a large section."""
    from msibench.advice.energies import added, fullest
    from msibench.advice.expected import expected_detail, expected_skill
    from msibench.library.intervals import seeds_of
    from msibench.library.upscaling import check_factor
    from msibench.uncertainty.noise import counting_variance
    from msibench.uncertainty.octaves import finest_octaves
    from msibench.uncertainty.sections import one_scale_up

    check_factor(spec, problem.factor, found)
    given = problem
    if spec.each_ion_alone and not _is_cheap(spec) and max(problem.low.shape) > LARGEST:
        given = fullest(problem, LARGEST)
        low = given.low
        detail = expected_detail(finest_octaves(low), counting_variance(low), given.factor)
    up, truth = one_scale_up(given)
    seeds = seeds_of(spec, up, {})
    with _threads_of(spec):
        made = added(_runner(spec, seeds), given, up, truth, detail.variance, seed=problem.seed)
    return expected_skill(made, detail, given.factor), seeds


def _runner(spec: MethodSpec, seeds: int = 1) -> Upscaler:
    """Return what runs a method, the mean over `seeds`."""
    from msibench.io.data_warning import DataWarning
    from msibench.library.upscaling import upscale

    def run(problem: Problem) -> NDArray[np.floating]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            total = upscale(problem, spec).values
            for seed in range(problem.seed + 1, problem.seed + seeds):
                total = total + upscale(replace(problem, seed=seed), spec).values
        return total if seeds == 1 else total / np.float32(seeds)

    return run


def _threads_of(spec: MethodSpec) -> AbstractContextManager[object]:
    """Hold a network to one thread: on pieces this small, beside other work, a second one waits more than it computes."""
    if _is_cheap(spec):
        return nullcontext()
    from msibench.training.threads import one_thread_each

    return one_thread_each()


def _is_cheap(spec: MethodSpec) -> bool:
    return not spec.weights


def _about_guide(
    problem: Problem, specs: Sequence[MethodSpec], told: Mapping[str, Expected]
) -> tuple[GuideAdvice, ...]:
    """Compare each method that looks at the guide with itself under a mirrored one, one scale up."""
    from msibench.advice.energies import skill_one_scale_up
    from msibench.library.advice_values import GuideAdvice
    from msibench.library.recommending import WORTH, mean_skill
    from msibench.metrics.wrong_guides import mirrored
    from msibench.uncertainty.sections import one_scale_up

    up, truth = one_scale_up(problem)
    assert up.guide is not None
    wrong = replace(up, guide=mirrored(up.guide))
    alone = [
        mean_skill(told[spec.name].one_scale_up) for spec in specs if spec.task is Task.SINGLE_IMAGE
    ]
    found = []
    for spec in specs:
        if spec.task is not Task.GUIDED:
            continue
        right = mean_skill(skill_one_scale_up(_runner(spec), up, truth))
        other = mean_skill(skill_one_scale_up(_runner(spec), wrong, truth))
        if abs(right - other) < WORTH:
            verdict = "makes no difference"
        elif right > other and right > max(alone, default=0.0):
            verdict = "helps"
        else:
            verdict = "paints"
        found.append(GuideAdvice(method=spec.name, right=right, wrong=other, verdict=verdict))
    return tuple(found)
