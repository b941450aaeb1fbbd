"""What boards of other sections say of methods, beside what the section itself tells of them.

A network has learned detail of one scale, and one scale up it meets another: what it gets right there says less of
what it will get right than for interpolation, which has learned nothing. On boards, whatever the tissue, methods stand
in much the same ratios. Of the expected skill of a method a part is therefore what boards foretell: the ratios of the
methods on them, times what the section itself tells of interpolation.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace

import numpy as np

from msibench.advice.expected import Expected

PART_OF_BOARDS = {"network": 0.75, "other": 0.25}
"""Part of a method's expected skill that boards foretell (docs/confidence.md says how it was chosen)."""
FEWEST_SHARED = 3
"""Methods, networks apart, that the section and every board must have in common."""


def with_boards(
    told: Mapping[str, Expected],
    records: Sequence[Mapping[str, float]],
    networks: Container[str],
) -> dict[str, Expected]:
    """Return the expected skill of every method with the part that boards foretell.

    Parameters
    ----------
    told
        What the section itself tells of each method.
    records
        Of every board, of other sections each, the mean skill of its methods.
    networks
        Names of the methods that have learned from images.

    Returns
    -------
    As it was, where the boards and the section have too few methods in common, where interpolation adds nothing to
    an ion, and of methods that are on no board.
    """
    plain = [name for name in told if name not in networks]
    boards = [one for one in records if 2 * sum(name in one for name in plain) >= len(plain)]
    common = [name for name in plain if all(name in one for one in boards)]
    if not boards or len(common) < FEWEST_SHARED:
        return dict(told)
    sizes = [np.sqrt(np.mean([one[name] ** 2 for name in common])) for one in boards]
    ratio = {
        name: float(np.mean([one[name] / size for one, size in zip(boards, sizes, strict=True) if name in one]))
        for name in told
        if any(name in one for one in boards)
    }  # fmt: skip
    whole = sum(ratio[name] ** 2 for name in common)
    level = sum(told[name].skill * ratio[name] for name in common) / whole
    found = dict(told)
    for name, times in ratio.items():
        part = PART_OF_BOARDS["network" if name in networks else "other"]
        one = told[name]
        skill = np.where(level > 0, (1 - part) * one.skill + part * level * times, one.skill)
        gain = one.signal_gain * np.divide(
            skill, one.skill, out=np.ones_like(skill), where=one.skill != 0
        )
        found[name] = replace(one, skill=skill, signal_gain=gain)
    return found
