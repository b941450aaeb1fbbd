"""By how much a rerun of the same method differs.

The difference on one ion image is a shift of the whole run (another seed of a network; shared by all
images, so that no number of them shows it), a shift of the section, and noise of the image. Section and
image are measured from the differences where there are enough; the shift of the run is measured where both
sides hold several seeds, else stated (`Noise`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from msibench.contracts.metric import TARGETS


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Standard deviations of a rerun's difference, in margins of the metric."""

    image: float = 2.5
    """Of one ion image: 0.25 dB where the margin is 0.1 dB."""
    section: float = 0.5
    rerun: float = 1.0
    """Of all images together: what another seed of a trained method shifts."""

    def of_mean(self, images: float, sections: float, runs: float = 1.0) -> float:
        """Return the standard deviation of a mean over images of sections, in margins."""
        parts = self.rerun**2 / runs + self.section**2 / sections + self.image**2 / images
        return float(np.sqrt(parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunShift:
    """The shift that all images of a run share."""

    deviation: float
    """Standard deviation, in the metric's unit."""
    freedom: float = float("inf")
    """Degrees of freedom it was measured with; infinite where it is stated."""


def seed_spread(
    rows: pd.DataFrame, margins: Mapping[str, float]
) -> dict[tuple[str, str, str, str], tuple[float, int]]:
    """Return the variance of the means of single seeds, and their number, where there are several."""
    chosen = rows[
        rows["metric"].isin(margins) & np.isfinite(rows["value"]) & (rows["channel"] >= 0)
    ]
    if chosen["seed"].nunique() < 2:
        return {}
    target = chosen["direction"].map(TARGETS).to_numpy(np.float64)
    value = chosen["value"].to_numpy(np.float64)
    chosen = chosen.assign(value=np.where(np.isnan(target), value, -np.abs(value - target)))
    keys = ["protocol", "method", "metric", "region"]
    means = chosen.groupby([*keys, "seed"])["value"].agg(["mean", "size"]).reset_index()
    means = means[means["size"] == means.groupby(keys)["size"].transform("max")]
    spread = means.groupby(keys)["mean"].agg(["var", "size"])
    return {
        tuple(map(str, key)): (float(row["var"]), int(row["size"]))  # type: ignore[misc]
        for key, row in spread[spread["size"] > 1].iterrows()
    }


def run_shift(
    first: tuple[float, int] | None, second: tuple[float, int] | None, stated: float
) -> RunShift:
    """Return the shift of a run between two sides.

    Measured where both sides hold several seeds, else as stated.
    """
    if first is None or second is None:
        return RunShift(deviation=stated)
    freedom = first[1] + second[1] - 2
    pooled = (first[0] * (first[1] - 1) + second[0] * (second[1] - 1)) / freedom
    variance = pooled * (1 / first[1] + 1 / second[1])
    return RunShift(deviation=float(np.sqrt(variance)), freedom=float(freedom))
