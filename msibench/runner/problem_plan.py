"""One section under one protocol: what is staged once for all methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from msibench.datasets import Card, MZSet, dataset_digest
from msibench.degradation import DegradationProtocol
from msibench.results.keys import digest_of


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ProblemPlan:
    """One section under one protocol with one m/z set: what is staged once for all methods."""

    card: Card
    section: str
    protocol: DegradationProtocol
    mz_set: MZSet
    seed: int = 0
    control: str = ""
    document: Mapping[str, Any]
    key: str

    @property
    def names(self) -> tuple[str, ...]:
        """What identifies it among the problems of a board (`msibench.results.identity.PROBLEM_FIELDS`)."""
        return (
            self.card.name,
            self.section,
            self.protocol.name,
            self.mz_set.name,
            self.control,
        )


def plan_problem(
    card: Card,
    section: str,
    chosen: DegradationProtocol,
    mz_set: MZSet,
    *,
    control: str = "",
    seed: int = 0,
) -> ProblemPlan:
    """Describe one problem and give it its key; nothing is read."""
    document = {
        "dataset": card.name,
        "data": dataset_digest(card, section),
        "section": section,
        "protocol": chosen.definition(),
        "mz": [repr(value) for value in mz_set.mz],
        "ppm": repr(mz_set.ppm),
        "mz_set": mz_set.name,
        "control": control,
        "seed": seed,
    }
    return ProblemPlan(
        card=card,
        section=section,
        protocol=chosen,
        mz_set=mz_set,
        seed=seed,
        control=control,
        document=document,
        key=digest_of(document),
    )
