"""What the noise-free signal would get against its own noisy truth: the best that a column can hold."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from msibench.scoring.cube import IMAGE_KEY

MEASURED = {"psnr": "noise_ceiling_psnr", "ssim": "noise_ceiling_ssim"}
DETAIL = ("skill", "detail_gain")


def perfect_signal(rows: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Return per metric between what and what the perfect signal stands, means over ion images.

    PSNR and SSIM are measured or estimated (``noise_ceiling_*``), skill and detail gain have a range
    (``detail_ceiling_*``). RMSE is that of the PSNR; R² and SD follow from it and the truth's variance,
    which is that of any method's RMSE and R²: noise is independent of the signal.

    Parameters
    ----------
    rows
        Measured rows of one protocol, without wrong guides.
    """
    image = rows[rows["region"] == "image"]
    levels = {
        str(metric): part.groupby(list(IMAGE_KEY))["value"].first()
        for metric, part in image[np.isfinite(image["value"])].groupby("metric")
        if str(metric).startswith(("noise_ceiling_", "detail_ceiling_"))
    }
    found: dict[str, tuple[float, float]] = {}
    for metric, level in MEASURED.items():
        if level in levels:
            found[metric] = (float(levels[level].mean()),) * 2
    if {"detail_ceiling_low", "detail_ceiling_high"} <= levels.keys():
        ends = [float(levels[f"detail_ceiling_{end}"].mean()) for end in ("low", "high")]
        found |= {name: (min(ends), max(ends)) for name in DETAIL}
    if "noise_ceiling_psnr" in levels:
        noise = 10.0 ** (-levels["noise_ceiling_psnr"] / 10.0)
        found["rmse"] = (float(np.sqrt(noise).mean()),) * 2
        explained = 1.0 - noise / _variance_of_truth(image)
        explained = explained[np.isfinite(explained)]
        if len(explained):
            found["r2"] = (float(explained.mean()),) * 2
            found["sd_ratio"] = (float(np.sqrt(explained.clip(lower=0.0)).mean()),) * 2
    return {name: ends for name, ends in found.items() if np.isfinite(ends).all()}


def _variance_of_truth(image: pd.DataFrame) -> pd.Series[float]:
    """Return the variance of the truth of every ion image, in squares of the data range."""
    keys = [*IMAGE_KEY, "method", "seed"]
    sides: list[pd.Series[float]] = [
        image[image["metric"] == name].groupby(keys)["value"].first() for name in ("rmse", "r2")
    ]
    rmse, r2 = sides[0].align(sides[1], join="inner")
    missed: NDArray[np.float64] = 1.0 - r2.to_numpy(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.where(missed > 1e-6, rmse.to_numpy(np.float64) ** 2 / missed, np.nan)
    return pd.Series(variance, index=rmse.index).groupby(level=list(IMAGE_KEY)).median()
