"""The statistics of a comparison, gathered in one place (see ``docs/scores.md``)."""

from msibench.scoring.bootstrap import Interval, mean_and_sem, two_level_bootstrap
from msibench.scoring.paired import (
    SignedRank,
    holm,
    paired_difference,
    section_means,
    signed_rank,
    win_rate,
)
from msibench.scoring.ranking import rank_groups, ranks, weight_sensitivity

__all__ = [
    "Interval",
    "SignedRank",
    "holm",
    "mean_and_sem",
    "paired_difference",
    "rank_groups",
    "ranks",
    "section_means",
    "signed_rank",
    "two_level_bootstrap",
    "weight_sensitivity",
    "win_rate",
]
