"""What advice says of one section: values, and their JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from msibench.library.similar_boards import SimilarBoard
    from msibench.uncertainty.difficulty import Floats

KEEP = "keep"
"""The recommendation to leave an ion image, or a section, as it was measured."""


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
        from msibench.library.advice_text import sentence

        return sentence(self)

    def __str__(self) -> str:
        """Return the whole advice as text."""
        from msibench.library.advice_text import text_of

        return text_of(self)

    def _repr_html_(self) -> str:
        from msibench.library.show import advice_html

        return advice_html(self)

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values; what is not a number is None."""
        table = {name: getattr(self, name) for name in self.__slots__ if name != "per_ion"}
        for name in ("ions", "guide", "finer", "boards"):
            table[name] = [asdict(one) for one in table[name]]
        table["sentence"] = self.sentence()
        table["per_ion"] = {name: list(map(float, told)) for name, told in self.per_ion.items()}
        plain: dict[str, Any] = _plain(table)
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value
