"""From rows to scores: schemes, composites, statistics and tables; numpy, scipy and pandas only."""

from msibench.scoring.compare_rows import compare_rows
from msibench.scoring.comparisons import comparisons
from msibench.scoring.composite import composite
from msibench.scoring.cube import COLUMNS, check_rows
from msibench.scoring.noninferiority import noninferiority
from msibench.scoring.pair_table import pair_table
from msibench.scoring.reachable import reachable_gain
from msibench.scoring.rerun_noise import Noise
from msibench.scoring.schemes import (
    DEFAULT_SCHEME,
    Scheme,
    WeightedMetric,
    load_scheme,
    scheme_from_mapping,
    shipped_schemes,
)
from msibench.scoring.seeds import seed_from
from msibench.scoring.table import summarise
from msibench.scoring.verdict import Verdict

__all__ = [
    "COLUMNS",
    "DEFAULT_SCHEME",
    "Noise",
    "Scheme",
    "Verdict",
    "WeightedMetric",
    "check_rows",
    "compare_rows",
    "comparisons",
    "composite",
    "load_scheme",
    "noninferiority",
    "pair_table",
    "reachable_gain",
    "scheme_from_mapping",
    "seed_from",
    "shipped_schemes",
    "summarise",
]
