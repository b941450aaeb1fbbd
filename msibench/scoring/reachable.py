"""Share of the reachable gain: how far a method gets from the control to the noise ceiling."""

from __future__ import annotations

import numpy as np
import pandas as pd

from msibench.scoring.bootstrap import mean_and_sem
from msibench.scoring.cube import cubes
from msibench.scoring.table import round_significant


def reachable_gain(
    rows: pd.DataFrame,
    control_method: str,
    *,
    metric: str = "psnr",
    ceiling: str | None = None,
    neighbour: str | None = None,
    region: str = "image",
) -> pd.DataFrame:
    """Set every method between the control (0) and the noise ceiling (1).

    The share is a ratio of means, ``mean(method - control) / mean(ceiling - control)`` over the
    images that have all three, so that single images on which the control is already at the ceiling
    cannot blow it up.

    Parameters
    ----------
    rows
        Long table with the columns of ``msibench.scoring.cube.COLUMNS``.
    control_method
        The method that is at 0.
    metric, region
        What is compared; direction "higher".
    ceiling, neighbour
        Names of the metrics that hold the ceiling and the neighbour score; None:
        ``noise_ceiling_<metric>`` and ``neighbour_<metric>``.

    Returns
    -------
    One row per protocol and method: ``protocol method score control ceiling neighbour gain
    reachable share images``. Scores are means over the images compared; ``share`` is NaN where the
    ceiling is not above the control or not known, ``neighbour`` where it was not measured.
    """
    ceiling = ceiling or f"noise_ceiling_{metric}"
    neighbour = neighbour or f"neighbour_{metric}"
    lines = []
    for cube in cubes(rows):
        ions = cube.ion_images()
        base = ions.method(control_method)
        empty = np.full((len(ions.images), len(ions.methods)), np.nan)
        measured, limit, near = (
            empty if number is None else ions.values[..., number]
            for number in (
                ions.measure(metric, region),
                ions.measure(ceiling, "image"),
                ions.measure(neighbour, "image"),
            )
        )
        for index, method in enumerate(ions.methods):
            stack = np.stack([measured[:, index], measured[:, base], limit[:, index]])
            both = np.isfinite(stack).all(axis=0)
            score, control, top = (mean_and_sem(line[both])[0] for line in stack)
            reachable = top - control
            lines.append(
                {
                    "protocol": ions.protocol,
                    "method": method,
                    "score": score,
                    "control": control,
                    "ceiling": top,
                    "neighbour": mean_and_sem(near[both, index])[0],
                    "gain": score - control,
                    "reachable": reachable,
                    "share": (score - control) / reachable if reachable > 0 else float("nan"),
                    "images": int(both.sum()),
                }
            )
    table = pd.DataFrame(
        lines,
        columns=["protocol", "method", "score", "control", "ceiling", "neighbour", "gain",
                 "reachable", "share", "images"],
    )  # fmt: skip
    for column in table.select_dtypes("float"):
        table[column] = round_significant(table[column].to_numpy())
    return table
