"""What a figure is drawn from: the rows of one protocol, and what was chosen to be shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from msibench.contracts.plain_text import few_of
from msibench.errors import DataError, UnknownNameError
from msibench.leaderboard.metrics import BoardMetrics
from msibench.leaderboard.rows import measured
from msibench.leaderboard.table import scheme_of
from msibench.results.schema import CellRecord
from msibench.results.store import Store
from msibench.scoring import composite
from msibench.scoring.cube import cubes
from msibench.tracks import Track


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a figure shows; empty: everything, or the first."""

    metric: str = ""
    """For ``box``, ``pareto`` and ``paired``; empty: the composite score where there is one."""
    methods: tuple[str, ...] = ()
    reference: str = ""
    """For ``paired``; empty: the track's control method."""
    protocol: str = ""
    section: str = ""
    mz: tuple[float, ...] = ()
    """For ``images``; the nearest ion of each. Empty: those with the clearest structure."""
    ions: int = 1
    """For ``images`` without `mz`: how many."""
    colours: str = "viridis"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Source:
    """One protocol of a track, ready to be drawn."""

    store: Store | None
    track: Track
    choice: Choice
    rows: pd.DataFrame
    records: tuple[CellRecord, ...] = ()
    metrics: BoardMetrics = field(default_factory=BoardMetrics)
    protocol: str
    table: pd.DataFrame
    """The leaderboard of the protocol, best first, of the chosen methods."""

    @property
    def score_name(self) -> str:
        """The score's label on an axis: with its unit, where it has one."""
        percent = scheme_of(self.track, self.rows["metric"].unique()).percent
        return "score (%)" if percent else "score"

    def label(self, name: str) -> str:
        """Return a measure's label on an axis."""
        return name if name == self.score_name else self.metrics[name].label

    def values(self) -> tuple[str, str, dict[str, NDArray[np.float64]]]:
        """Return the measure's name, its direction, and every method's values, best method first."""
        scored = measured(self.rows)
        scored = scored[scored["protocol"] == self.protocol]
        order = self.table["method"].tolist()
        if not self.choice.metric:
            scheme = scheme_of(self.track, self.rows["metric"].unique())
            control = self.track.control_method
            found = composite(scored, scheme, control_method=control)
            scale = 100.0 if scheme.percent else 1.0
            parts = {
                m: scale * found.loc[found["method"] == m, "composite"].to_numpy() for m in order
            }
            return (
                self.score_name,
                "higher",
                {m: v for m, v in parts.items() if np.isfinite(v).any()},
            )
        cube = next(iter(cubes(scored)))
        names = sorted({name for name, _ in cube.measures})
        require_known((self.choice.metric,), names, "metric")
        place = next(i for i, (name, _) in enumerate(cube.measures) if name == self.choice.metric)
        if (at := cube.measure(self.choice.metric, "image")) is not None:
            place = at
        values = {m: cube.values[:, cube.method(m), place] for m in order if m in cube.methods}
        return self.choice.metric, cube.directions[place], values


def require_some(found: Any, name: str) -> None:
    """Raise when no method has a value to draw."""
    if not len(found):
        raise DataError(f"no method has a value of {name!r}; choose another with --metric")


def require_known(asked: Sequence[str], known: Sequence[str], what: str) -> None:
    """Raise unless every requested name is known, with the nearest that is."""
    for name in asked:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise UnknownNameError(f"No {what} named {name!r}.{hint} There are: {few_of(known)}.")
