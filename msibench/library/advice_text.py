"""Advice in words: one sentence, and a page of a terminal."""

from __future__ import annotations

import numpy as np

from msibench.library.advice_values import KEEP, Advice, Finer
from msibench.library.intervals import SEEDS
from msibench.library.similar_boards import in_words


def sentence(advice: Advice) -> str:
    """Return the advice in one sentence."""
    may = [ion for ion in advice.ions if ion.method != KEEP]
    if advice.recommended == KEEP:
        some = (
            f" on the whole, though {len(may)} of {len(advice.ions)} ions may gain" if may else ""
        )
        return f"x{advice.factor}: keep what you measured: no method is expected to add more than noise{some}."
    if not may:
        return (
            f"x{advice.factor}: keep what you measured: no ion is expected to gain enough (on average "
            f"{advice.skill:z.0%} with the best method, {advice.recommended})."
        )
    gains = [advice.per_ion[advice.recommended][ion.channel] for ion in may]
    return (
        f"x{advice.factor}: sharpen {len(may)} of {len(advice.ions)} ions with {advice.recommended}: "
        f"expected skill {float(np.mean(gains)):z.0%}"
        + effective(advice.effective_um, advice.pixel_size_um)
        + ("." if len(may) == len(advice.ions) else "; keep the others as measured.")
    )


def text_of(advice: Advice) -> str:
    """Return the whole advice as text."""
    lines = [sentence(advice), ""]
    lines += [
        f"  {name:<26}{_share(skill, '+.1%'):>7}" + _averaged(advice, name)
        for name, skill in advice.methods.items()
    ]
    lines += [f"  {name:<26}not tried: {why}" for name, why in advice.left_out.items()]
    lines += [
        "",
        "  ion                 method                    skill   90 % interval    at most",
    ]
    lines += [
        f"  {ion.name:<20}{ion.method:<24}{_share(ion.skill, '+.1%'):>7}  {_share(ion.low, '+.0%'):>6} to "
        f"{_share(ion.high, '+.0%'):>5}{_share(ion.ceiling, '.0%'):>9}  {ion.reason}"
        for ion in advice.ions
    ]
    for told in advice.guide:
        lines.append(
            f"  guide, {told.method}: {told.verdict} (one scale up: {told.right:+z.1%}, with the "
            f"guide mirrored {told.wrong:+z.1%})"
        )
    lines += ["", "  Measure finer instead?"]
    lines += [
        f"  {pixels_of(one)}: {one.time} x the time, {counts_in_words(one.counts)}, "
        f"{_share(one.gain, '.0%')} of the detail right ({'best method' if one.gain_of_method else KEEP}: "
        f"{one.gain_of_method:z.0%}){effective(one.effective_um)}"
        for one in advice.finer
    ]
    lines += ["", "  Boards of the most similar sections"]
    lines += [f"  {line}" for line in in_words(advice.boards, advice.methods)]
    return "\n".join([*lines, "", *(f"  Assumed: {each}" for each in advice.assumptions)])


def _averaged(advice: Advice, method: str) -> str:
    return f"  random: the mean of {SEEDS} seeds" if method in advice.averaged else ""


def counts_in_words(counts: float) -> str:
    """Return how many ions a pixel counts, as text says it."""
    return "no noise seen" if np.isinf(counts) else f"{counts_of(counts)} counts a pixel"


def counts_of(counts: float) -> str:
    """Return a number of counted ions: whole from a hundred on, three digits below."""
    return f"{counts:,.0f}" if counts >= 100 else f"{counts:.3g}"


def _share(value: float, form: str) -> str:
    return "–" if np.isnan(value) else format(value, form)


def pixels_of(finer: Finer) -> str:
    """Return how large the pixels of a finer measurement are; how much finer, where no size is known."""
    size = finer.pixel_size_um
    return f"{finer.factor} x finer" if np.isnan(size) else f"{size:.3g} µm"


def effective(size: float, before: float = np.nan) -> str:
    """Return the effective pixel in µm as the end of a list; nothing where no size is known."""
    instead = "" if np.isnan(before) else f" instead of {before:.3g} µm"
    return "" if np.isnan(size) else f", effective pixel {size:.3g} µm{instead}"
