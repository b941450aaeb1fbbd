"""The guide of a problem: cut to the truth's grid, and replaced by a wrong one for a control."""

from __future__ import annotations

from dataclasses import replace

from msibench.datasets import read_section
from msibench.errors import ConfigurationError
from msibench.image import GuideImage, MSImage
from msibench.runner.problem_plan import ProblemPlan

GUIDE_CONTROLS = ("guide-shuffled", "guide-mirrored", "guide-other-section")


def guides_for(
    plan: ProblemPlan, guide: GuideImage | None, second: MSImage | None, notes: list[str]
) -> tuple[GuideImage | None, MSImage | None]:
    """Replace the guide by a wrong one where the plan asks for a control."""
    if not plan.control:
        return guide, second
    if plan.control not in GUIDE_CONTROLS:
        raise ConfigurationError(
            f"unknown guide control {plan.control!r}; known: {', '.join(GUIDE_CONTROLS)}"
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


def crop_guide(guide: GuideImage | None, crop: tuple[slice, slice]) -> GuideImage | None:
    """Cut a guide to the part of its grid that the truth keeps."""
    if guide is None:
        return None
    mask = None if guide.mask is None else guide.mask[crop]
    return replace(guide, values=guide.values[:, crop[0], crop[1]], mask=mask)
