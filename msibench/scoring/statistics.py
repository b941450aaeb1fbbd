"""The statistics of a comparison, gathered in one place (see ``docs/scores.md``)."""

from msibench.scoring.bootstrap import Interval, mean_and_sem, two_level_bootstrap
from msibench.scoring.paired import Difference, holm, moderated, paired_difference, win_rate
from msibench.scoring.ranking import rank_groups, ranks, weight_sensitivity

__all__ = [
    "Difference",
    "Interval",
    "holm",
    "mean_and_sem",
    "moderated",
    "paired_difference",
    "rank_groups",
    "ranks",
    "two_level_bootstrap",
    "weight_sensitivity",
    "win_rate",
]
