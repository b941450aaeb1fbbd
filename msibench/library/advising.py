"""Which ions may be sharpened, with what, and whether measuring finer would do more."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from msibench.contracts.method import MethodSpec, Task
from msibench.contracts.progress import tell_progress
from msibench.errors import ConfigurationError, DataError, MSIBenchError
from msibench.image import GuideImage, MSImage, Problem

if TYPE_CHECKING:
    from msibench.advice.energies import Upscaler
    from msibench.advice.expected import Detail, Expected
    from msibench.library.sections import FilePath
    from msibench.library.similar_boards import SimilarBoard
    from msibench.plugin_manager import Catalogue
    from msibench.uncertainty.difficulty import Floats

KEEP = "keep"
"""The recommendation to leave an ion image, or a section, as it was measured."""
SINGLE = (
    "bilinear", "bicubic", "bicubic-075", "lanczos3", "bicubic-backprojected", "lanczos3-backprojected",
    "wiener", "swinir-msi-tiny", "mosr-msi-tiny", "mambair-msi-tiny", "dctlsa-msi",
)  # fmt: skip
"""Methods that advice tries where none are named: quick, and nothing to download."""
GUIDED = ("guided-filter", "joint-bilateral", "ridge", "pls")
"""And where there is a guide."""
MARGIN = 0.09
"""Expected skill of an ion from which on it may be sharpened, our choice (docs/confidence.md says how often it
misleads)."""
ERROR = {2: 0.39, 4: 0.46}
"""Half-width of the interval of an ion's expected skill over `doubt`, by factor: 90 % of all ions and methods of 25
sections were off by no more (docs/confidence.md). That of the largest factor counts beyond it."""
WORTH = 0.02
"""Expected skill of a section from which on sharpening is worth its name."""
FEW_COUNTS = 0.1
"""Share of signal in the finer detail below which an ion is too noisy to be sharpened."""
LARGEST = 48
"""Edge in coarse pixels of the piece that a network is tried on: its skill does not need more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IonAdvice:
    """What is expected of one ion image."""

    channel: int
    name: str
    method: str
    """Best method for this ion, or ``"keep"``."""
    skill: float
    """Its expected skill, 0 for pixels repeated and 1 for the finer measurement; NaN: no detail at all."""
    low: float
    high: float
    """Ends of the 90 % interval of `skill`."""
    ceiling: float
    """Skill that no method can exceed: the rest is noise of the finer measurement."""
    counts: float
    """Counted ions per measured pixel, by the noise; infinite where no noise is seen."""
    reason: str
    """Why it should not be sharpened; empty where it may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finer:
    """What measuring with smaller pixels would give."""

    factor: int
    """How many times smaller."""
    pixel_size_um: float
    time: int
    """Times the time, at equal dwell."""
    counts: float
    """Median over ions of the counted ions per pixel."""
    gain: float
    """Share of the signal's detail that is right in the finer measurement, its noise filtered as well as
    can be: median over the ions that may be sharpened, over all where none may; NaN where none has any."""
    gain_of_method: float
    """The same of the same ions, each with its best method; 0 where the advice is to keep."""
    effective_um: float
    """Effective pixel size of the finer measurement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuideAdvice:
    """Whether a method gets its detail from the guide, one scale up."""

    method: str
    right: float
    """Mean skill with the guide."""
    wrong: float
    """Mean skill with the guide mirrored."""
    verdict: str
    """``"helps"``, ``"paints"`` or ``"makes no difference"``."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Advice:
    """What to do with one section at one factor."""

    factor: int
    pixel_size_um: float
    recommended: str
    """A method, or ``"keep"``."""
    skill: float
    """Mean over ions of the bounded skill that is expected of it; 0 for ``"keep"``."""
    effective_um: float
    """Effective pixel size that the ions that may be sharpened reach, median: the measured one where the
    advice is to keep."""
    methods: Mapping[str, float]
    """Mean expected skill of every method that was tried, best first."""
    left_out: Mapping[str, str]
    """Methods that could not be tried, and why."""
    ions: tuple[IonAdvice, ...]
    """By what they gain, most first."""
    guide: tuple[GuideAdvice, ...]
    finer: tuple[Finer, ...]
    averaged: tuple[str, ...]
    """Random methods: what is told of them is told of the mean of `msibench.library.intervals.SEEDS` runs."""
    boards: tuple[SimilarBoard, ...]
    """Boards of the most similar sections, nearest first: beside what is told of this one, and never part of it."""
    assumptions: tuple[str, ...]
    per_ion: Mapping[str, Floats]
    """Expected skill of every method for every ion, ``(channel,)``."""

    def sentence(self) -> str:
        """Return the advice in one sentence."""
        may = [ion for ion in self.ions if ion.method != KEEP]
        if self.recommended == KEEP:
            some = (
                f" on the whole, though {len(may)} of {len(self.ions)} ions may gain" if may else ""
            )
            return f"x{self.factor}: keep what you measured: no method is expected to add more than noise{some}."
        if not may:
            return (
                f"x{self.factor}: keep what you measured: no ion is expected to gain enough (on average "
                f"{self.skill:.0%} with the best method, {self.recommended})."
            )
        gains = [self.per_ion[self.recommended][ion.channel] for ion in may]
        return (
            f"x{self.factor}: sharpen {len(may)} of {len(self.ions)} ions with {self.recommended}: "
            f"expected skill {float(np.mean(gains)):.0%}, effective pixel {_um(self.effective_um)} instead of "
            f"{_um(self.pixel_size_um)}"
            + ("." if len(may) == len(self.ions) else "; keep the others as measured.")
        )

    def __str__(self) -> str:
        """Return the whole advice as text."""
        from msibench.library.similar_boards import in_words

        lines = [self.sentence(), ""]
        lines += [
            f"  {name:<26}{_share(skill, '+.1%'):>7}" + self._averaged(name)
            for name, skill in self.methods.items()
        ]
        lines += [f"  {name:<26}not tried: {why}" for name, why in self.left_out.items()]
        lines += [
            "",
            "  ion                 method                    skill   90 % interval    at most",
        ]
        lines += [
            f"  {ion.name:<20}{ion.method:<24}{_share(ion.skill, '+.1%'):>7}  {_share(ion.low, '+.0%'):>6} to "
            f"{_share(ion.high, '+.0%'):>5}{_share(ion.ceiling, '.0%'):>9}  {ion.reason}"
            for ion in self.ions
        ]
        for told in self.guide:
            lines.append(
                f"  guide, {told.method}: {told.verdict} (one scale up: {told.right:+.1%}, with the "
                f"guide mirrored {told.wrong:+.1%})"
            )
        lines += ["", "  Measure finer instead?"]
        lines += [
            f"  {_um(one.pixel_size_um)}: {one.time} x the time, {counts_in_words(one.counts)}, "
            f"{_share(one.gain, '.0%')} of the detail right ({'best method' if one.gain_of_method else KEEP}: "
            f"{one.gain_of_method:.0%}), effective "
            f"pixel {_um(one.effective_um)}"
            for one in self.finer
        ]
        lines += ["", "  Boards of similar sections (they do not change the advice above)"]
        lines += [f"  {line}" for line in in_words(self.boards, self.methods)]
        return "\n".join([*lines, "", *(f"  Assumed: {each}" for each in self.assumptions)])

    def _averaged(self, method: str) -> str:
        from msibench.library.intervals import SEEDS

        return f"  random: the mean of {SEEDS} seeds" if method in self.averaged else ""

    def _repr_html_(self) -> str:
        from msibench.library.show import advice_html

        return advice_html(self)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values; what is not a number is None."""
        from dataclasses import asdict

        table = {name: getattr(self, name) for name in self.__slots__ if name != "per_ion"}
        for name in ("ions", "guide", "finer", "boards"):
            table[name] = [asdict(one) for one in table[name]]
        table["sentence"] = self.sentence()
        table["per_ion"] = {name: list(map(float, told)) for name, told in self.per_ion.items()}
        plain: dict[str, Any] = _plain(table)
        return plain


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
    from msibench.advice.energies import counting_variance, finest_octaves
    from msibench.advice.expected import expected_detail
    from msibench.library.installed import catalogue
    from msibench.library.intervals import check_section
    from msibench.library.notebook import bar_in_notebook
    from msibench.library.sections import guide_on
    from msibench.library.similar_boards import similar_boards
    from msibench.plugin_manager import resolve_method
    from msibench.uncertainty.sections import one_scale_up

    if factor < 2:
        raise ConfigurationError(f"the factor must be at least 2, got {factor}")
    low = replace(section, values=np.maximum(np.asarray(section.values), 0))
    if not low.present():
        raise DataError(
            f"no signal in any of the {low.channels} ion images; choose other m/z or a wider window (--ppm)"
        )
    check_section(low)
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
            except MSIBenchError as error:
                left_out[name] = str(error).split(". ")[0]
            except Exception as error:  # a method is a plugin: its faults cost its own line
                left_out[name] = f"it failed: {type(error).__name__}: {error}"[:300]
            else:
                averaged += [name] if seeds > 1 else []
        about = (
            _about_guide(problem, [resolve_method(name, found) for name in told], told)
            if image is not None
            else ()
        )
    advice = _advice(low, factor, variance, detail, told, about)
    usable = _usable(found, guided=image is not None)
    boards = similar_boards(low, factor, usable, None if results is None else Path(results))
    return replace(advice, left_out=left_out, averaged=tuple(averaged), boards=boards)


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
    from msibench.advice.energies import added, counting_variance, finest_octaves, fullest
    from msibench.advice.expected import expected_detail, expected_skill
    from msibench.library.intervals import seeds_of
    from msibench.library.upscaling import check_factor
    from msibench.uncertainty.sections import one_scale_up

    check_factor(spec, problem.factor, found)
    given = problem
    if spec.each_ion_alone and not _is_cheap(spec) and max(problem.low.shape) > LARGEST:
        given = fullest(problem, LARGEST)
        low = given.low
        detail = expected_detail(finest_octaves(low), counting_variance(low), given.factor)
    up, truth = one_scale_up(given)
    seeds = seeds_of(spec, up, {})
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


def _is_cheap(spec: MethodSpec) -> bool:
    return not spec.weights


def _about_guide(
    problem: Problem, specs: Sequence[MethodSpec], told: Mapping[str, Expected]
) -> tuple[GuideAdvice, ...]:
    """Compare each method that looks at the guide with itself under a mirrored one, one scale up."""
    from msibench.advice.energies import skill_one_scale_up
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


def _advice(
    low: MSImage,
    factor: int,
    variance: Floats,
    detail: Detail,
    told: Mapping[str, Expected],
    about: tuple[GuideAdvice, ...],
) -> Advice:
    from msibench.library.intervals import tissue_of

    means = {name: mean_skill(one.skill) for name, one in told.items()}
    ranked = dict(sorted(means.items(), key=lambda item: -item[1]))
    painted = {one.method for one in about if one.verdict == "paints"}
    usable = [name for name in ranked if name not in painted]
    best = usable[0] if usable and ranked[usable[0]] >= WORTH else KEEP
    present = set(low.present())
    with np.errstate(divide="ignore", invalid="ignore"):
        inside = tissue_of(low)
        average = np.array([float(np.nan_to_num(image).mean()) for image in low.values])
        # Both are means over the image, tissue or not: of tissue pixels they are 1 / inside times as large.
        counts = np.where(variance > 0, average**2 / (variance * inside.mean()), np.inf)
    ions = [
        _ion(channel, name, told, usable, detail, counts, factor, channel in present)
        for channel, name in enumerate(low.channel_names())
    ]
    ions.sort(key=lambda ion: -np.inf if np.isnan(ion.skill) else ion.skill, reverse=True)
    may = [] if best == KEEP else [ion for ion in ions if ion.method != KEEP]
    right = [told[ion.method].signal_gain[ion.channel] for ion in may]
    gain = float(np.clip(np.median(right), 0, 1)) if right else 0.0
    shown = [ion.channel for ion in may] or sorted(present)
    return Advice(
        factor=factor,
        pixel_size_um=low.pixel_size_um,
        recommended=best,
        skill=0.0 if best == KEEP else ranked[best],
        effective_um=low.pixel_size_um / factor**gain,
        methods=ranked,
        left_out={},
        averaged=(),
        boards=(),
        ions=tuple(ions),
        guide=about,
        finer=_finer(low, shown, variance, counts, gain),
        assumptions=ASSUMPTIONS,
        per_ion={name: one.skill for name, one in told.items()},
    )


ASSUMPTIONS = (
    "the coarse pixels are area means of finer ones",
    "noise is that of counted ions, independent from pixel to pixel: a pixel f times smaller counts f² "
    "times fewer at equal dwell",
    "the signal's detail goes on below the pixel as it does above",
    "what is right of a method's detail one scale up is right here",
)


def _ion(
    channel: int,
    name: str,
    told: Mapping[str, Expected],
    usable: Sequence[str],
    detail: Detail,
    counts: Floats,
    factor: int,
    present: bool,
) -> IonAdvice:
    skills = {method: float(told[method].skill[channel]) for method in usable}
    sound = {method: skill for method, skill in skills.items() if np.isfinite(skill)}
    best = max(sound, key=lambda method: sound[method]) if sound else KEEP
    skill = sound.get(best, float("nan"))
    ceiling = float(detail.ceiling[channel])
    off = ERROR[max(known for known in ERROR if known <= factor)] * float(doubt(skill, ceiling))
    reason = ""
    if not present:
        reason = "nothing is present"
    elif not sound:
        reason = "nothing below the pixel"
    elif ceiling < FEW_COUNTS:
        reason = f"too few counts: {1 - ceiling:.0%} of finer detail would be noise"
    elif skill <= MARGIN:
        reason = "no method is expected to find enough of its detail"
    return IonAdvice(
        channel=channel,
        name=name,
        method=KEEP if reason else best,
        skill=skill,
        low=skill - off,
        high=min(skill + off, 1.0),
        ceiling=ceiling,
        counts=float(counts[channel]),
        reason=reason,
    )


def doubt(
    skill: NDArray[np.floating] | float, ceiling: NDArray[np.floating] | float
) -> NDArray[np.floating]:
    """Return what errors of an expected skill are proportional to: more where there is more detail to gain."""
    return np.asarray(0.05 + (np.abs(skill) + ceiling) / 2)


def _finer(
    low: MSImage, shown: Sequence[int], variance: Floats, counts: Floats, gain_of_method: float
) -> tuple[Finer, ...]:
    """Foretell finer measurements of the ions `shown`."""
    from msibench.advice.energies import finest_octaves
    from msibench.advice.expected import expected_detail

    octaves, found = finest_octaves(low), []
    for step in (2, 4):
        gain = _median(expected_detail(octaves, variance, step).ceiling[shown])
        found.append(
            Finer(
                factor=step,
                pixel_size_um=low.pixel_size_um / step,
                time=step * step,
                counts=_median(counts[shown]) / step**2,
                gain=gain,
                gain_of_method=gain_of_method,
                effective_um=low.pixel_size_um / step ** np.nan_to_num(gain),
            )
        )
    return tuple(found)


def mean_skill(skills: Floats) -> float:
    """Return the mean over ions of the skill, bounded below by -1 so that no ion alone decides."""
    from msibench.metrics.detail import bounded

    known = skills[np.isfinite(skills)]
    return float(bounded(known).mean()) if known.size else float("nan")


def _median(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if known.size else float("nan")


def counts_in_words(counts: float) -> str:
    """Return how many ions a pixel counts, as text says it."""
    return "no noise seen" if np.isinf(counts) else f"{counts:.3g} counts a pixel"


def _share(value: float, form: str) -> str:
    return "–" if np.isnan(value) else format(value, form)


def _um(size: float) -> str:
    return "of unknown size" if np.isnan(size) else f"{size:.3g} µm"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value
