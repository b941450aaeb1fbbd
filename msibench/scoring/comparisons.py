"""Every method against one reference method, paired image by image."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from msibench.contracts.metric import TARGETS, turned
from msibench.scoring.composite import score_images
from msibench.scoring.cube import Cube, cubes
from msibench.scoring.multiple_tests import holm
from msibench.scoring.paired import every_pair, win_rate
from msibench.scoring.replicates import SECTIONS
from msibench.scoring.schemes import Scheme
from msibench.scoring.table import round_significant


def comparisons(
    rows: pd.DataFrame,
    scheme: Scheme,
    reference: str,
    *,
    control_method: str | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Compare every method with `reference` in the composite and in every metric and region.

    Parameters
    ----------
    rows, scheme, control_method
        As in `composite`.
    reference
        The method that the others are set against.
    level
        Nominal coverage of the intervals, each by itself.

    Returns
    -------
    One row per protocol, measure and method: ``protocol metric region direction method reference
    difference low high scope win_rate p p_holm images sections specimens note``. ``difference`` is method -
    reference in the metric's own unit; for a direction with a target (``"one"``) it is the difference of ``-|target -
    value|``. Intervals and p are those of `paired_difference`, as in the rank groups; Holm's
    correction runs over the methods of one measure. Below five specimens ``p`` is NaN and ``note``
    says so: nothing is decided about others.
    """
    frames = []
    for cube in cubes(rows):
        base = cube.method(reference)
        ions = cube.ion_images()
        scored = score_images(ions, scheme, control_method=control_method).composite
        frames.append(_against(ions, scored, base, ("composite", scheme.region), "higher", level))
        for index, measure in enumerate(cube.measures):
            values, direction = cube.values[..., index], cube.directions[index]
            if direction in TARGETS:
                values = turned(values, direction)
            frames.append(_against(cube, values, base, measure, direction, level))
    if not frames:
        return pd.DataFrame(columns=["protocol", "metric", "region", "method", "reference"])
    table = pd.concat(frames, ignore_index=True)
    for column in table.select_dtypes("float"):
        table[column] = round_significant(table[column].to_numpy())
    return table


def _against(
    cube: Cube,
    values: NDArray[np.float64],
    base: int,
    measure: tuple[str, str],
    direction: str,
    level: float,
) -> pd.DataFrame:
    others = [index for index in range(len(cube.methods)) if index != base]
    first, second, found = every_pair(values, cube.sections, specimens=cube.specimens, level=level)
    place = np.array(
        [np.flatnonzero(np.isin(first, (m, base)) & np.isin(second, (m, base)))[0] for m in others],
        dtype=np.intp,
    )
    interval = found.part(place)
    turned = np.where(first[place] == base, -1.0, 1.0)  # pairs hold the lower number first
    sign = -1.0 if direction == "lower" else 1.0
    p = np.where(interval.scope == SECTIONS, interval.p, np.nan)
    return pd.DataFrame(
        {
            "protocol": cube.protocol,
            "metric": measure[0],
            "region": measure[1],
            "direction": direction,
            "method": [cube.methods[m] for m in others],
            "reference": cube.methods[base],
            "difference": turned * interval.mean,
            "low": np.where(turned > 0, interval.low, -interval.high),
            "high": np.where(turned > 0, interval.high, -interval.low),
            "scope": interval.scope.astype(object),
            "win_rate": [win_rate(sign * values[:, m], sign * values[:, base]) for m in others],
            "p": p,
            "p_holm": holm(p),
            "images": interval.images,
            "sections": interval.sections,
            "specimens": interval.specimens,
            "note": interval.note.astype(object),
        }
    )
