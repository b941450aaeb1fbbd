"""What a leaderboard says of trust: is the detail real, and how much is there to gain at all."""

from __future__ import annotations

import numpy as np
import pandas as pd
from tabulate import tabulate

from msibench.contracts.plain_text import in_markdown
from msibench.leaderboard.rows import measured
from msibench.metrics.trust_specs import TRUST_METRICS
from msibench.scoring.reachable import reachable_gain
from msibench.tracks import Track

TRUST = tuple(spec.name for spec in TRUST_METRICS)
REFERENCE_LEVELS = ("noise_ceiling_psnr", "noise_ceiling_ssim", "neighbour_psnr")
"""Numbers that belong to the truth and are the same for every method."""
HEADERS = {
    "consistency": "consistency ↓",
    "consistency_noise": "consistency (noise units) ↓",
    "off_tissue": "off tissue ↓",
    "conservation": "conservation → 1",
    "frc": "resolution (µm) ↓",
    "band_power": "band power → 1",
    "guide_leakage": "guide leakage ↓",
    "uncharted_leakage": "uncharted leakage ↓",
    "spectral_angle": "spectral angle (°) ↓",
    "colocalisation": "colocalisation change ↓",
}


def trust_sections(rows: pd.DataFrame, protocol: str, track: Track) -> list[str]:
    """Return Markdown parts for one protocol: trust table, reachable gain, wrong guides."""
    part = measured(rows, controls=True)
    part = part[part["protocol"] == protocol]
    real = part[part["control"] == ""]
    return [
        text for text in (_measures(real), _reachable(real, track), _wrong_guides(part)) if text
    ]


def _measures(real: pd.DataFrame) -> str:
    """Mean of every trust measure, one line a method."""
    chosen = real[real["metric"].isin(TRUST) & ~real["metric"].isin(REFERENCE_LEVELS)]
    if not len(chosen):
        return ""
    means = chosen.pivot_table(index="method", columns="metric", values="value", aggfunc="mean")
    names = [name for name in HEADERS if name in means.columns]
    lines = [
        [in_markdown(str(method)), *(_short(means.loc[method, n]) for n in names)]
        for method in means.index
    ]
    table = tabulate(
        lines,
        headers=["method", *(HEADERS[name] for name in names)],
        tablefmt="pipe",
        disable_numparse=True,
    )
    return (
        "### Is the detail real?\n\nMeans over ion images. Consistency: error of the prediction "
        "degraded again; guide leakage: share of the added detail that follows the guide where the "
        f"truth does not; resolution: Fourier ring correlation with the truth at 1/7.\n\n{table}"
    )


def _reachable(real: pd.DataFrame, track: Track) -> str:
    """Gain over the control as a share of what the noise in the truth leaves to gain."""
    if track.control_method not in real["method"].unique():
        return ""
    if not {"psnr", "noise_ceiling_psnr"} <= set(real["metric"].unique()):
        return ""
    gain = reachable_gain(real, track.control_method)
    gain = gain.sort_values("score", ascending=False, kind="stable")
    first = gain.iloc[0]
    near = (
        f" A predictor that sees the eight true neighbours of every pixel, but not the pixel, gets "
        f"{first['neighbour']:.2f} dB."
        if np.isfinite(first["neighbour"])
        else ""
    )
    lines = [
        [
            in_markdown(str(row["method"])),
            f"{row['score']:.2f}",
            f"{row['gain']:+.2f}",
            _percent(row["share"]),
        ]
        for row in gain.to_dict("records")
    ]
    table = tabulate(
        lines,
        headers=["method", "PSNR (dB)", "gain over control (dB)", "share of the reachable gain"],
        tablefmt="pipe",
        disable_numparse=True,
    )
    return (
        "### How much is there to gain?\n\nThe measured truth is noisy, so no method can score "
        f"arbitrarily well. `{track.control_method}` has {first['control']:.2f} dB; the noise-free "
        f"signal would get {first['ceiling']:.2f} dB against this truth (exact for synthetic "
        "sections, from counting statistics where counts are known, else an estimate)."
        f"{near}\n\n{table}"
    )


def _wrong_guides(part: pd.DataFrame) -> str:
    """PSNR and leakage with the true guide and with wrong ones."""
    wrong = part[part["control"] != ""]
    if not len(wrong):
        return ""
    methods = sorted(wrong["method"].unique())
    controls = ["", *sorted(wrong["control"].unique())]
    shown = part[part["method"].isin(methods) & (part["region"] == "image")]
    parts = [
        "### Does a fusion method follow any guide?\n\nThe same methods with a wrong guide. One whose "
        "score hardly drops does not use its guide; one whose added detail follows the wrong guide "
        "paints it."
    ]
    for metric, title in (("psnr", "PSNR (dB)"), ("guide_leakage", "Guide leakage")):
        values = shown[shown["metric"] == metric]
        if not len(values):
            continue
        means = values.pivot_table(
            index="method", columns="control", values="value", aggfunc="mean"
        )
        lines = [
            [
                in_markdown(m),
                *(_short(means.loc[m, c]) if c in means.columns else "" for c in controls),
            ]
            for m in methods
            if m in means.index
        ]
        headers = [title, *(in_markdown(control) or "true guide" for control in controls)]
        parts.append(tabulate(lines, headers=headers, tablefmt="pipe", disable_numparse=True))
    return "\n\n".join(parts)


def _short(value: float) -> str:
    return "–" if not np.isfinite(value) else f"{value:.3g}"


def _percent(share: float) -> str:
    return "–" if not np.isfinite(share) else f"{share:.0%}"
