"""The trust section of a leaderboard: is the detail real, and how much is there to gain at all."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from tabulate import tabulate

from msibench.contracts.metric import Question
from msibench.contracts.plain_text import in_markdown
from msibench.leaderboard.guide_difference import DIFFERENCE
from msibench.leaderboard.metrics import ARROWS, BoardMetrics
from msibench.leaderboard.perfect import PERFECT, perfect_signal
from msibench.leaderboard.rows import marks, measured, records_of
from msibench.scoring.reachable import reachable_gain
from msibench.tracks import Track

TOLD = ("detail_energy", "detail_ceiling_low", "detail_ceiling_high", "detail_ceiling_source")
"""Values in the text on the reachable gain, and those that only serve to pool."""


def trust_sections(
    rows: pd.DataFrame, protocol: str, track: Track, metrics: BoardMetrics
) -> list[str]:
    """Return Markdown parts for one protocol: trust, reachable gain, wrong guides, cost."""
    part = measured(rows, controls=True)
    part = part[part["protocol"] == protocol]
    real = part[part["control"] == ""]
    marked = marks(rows)
    trust, cost = (
        _means(real, metrics, question, marked, track.control_method)
        for question in ("trust", "cost")
    )
    reachable = _reachable(real, track, marked)
    texts = (
        trust
        and (
            "### Is the detail real?\n\nMeans over ion images. Consistency: error of the prediction "
            "degraded again; guide leakage: share of the added detail that is invented and that the "
            "guide explains; resolution: where the unseen detail stops agreeing with the truth's "
            "(Fourier rings at 1/7); improved, omitted, invented: shares of the pixels with clear "
            "detail, where repeating each coarse pixel is all omission."
            f"\n\n{trust}"
        ),
        reachable,
        _ceilings(real, metrics),
        _wrong_guides(part, marked),
        cost and f"### What does it take?\n\nMeans over ion images.\n\n{cost}",
    )
    return [text for text in texts if text]


def _means(
    real: pd.DataFrame,
    metrics: BoardMetrics,
    question: Question,
    marked: Mapping[str, str],
    control_method: str,
) -> str:
    """Return the mean of every metric that answers a question, one line a method.

    Below them, for what is asked of trust, the perfect signal and the control.
    """
    chosen = real[real["metric"].isin(metrics.of(question))]
    if not len(chosen):
        return ""
    means = chosen.pivot_table(index="method", columns="metric", values="value", aggfunc="mean")
    names = [name for name in metrics.of(question) if name in means.columns]
    lines = [
        [_named(method, marked), *(_short(means.loc[method, n]) for n in names)]
        for method in means.index
    ]
    if question == "trust":
        best = perfect_signal(real)
        known = [_short(best[n][0]) if n in best else "–" for n in names]
        lines.append([f"_{PERFECT}_", *known])
        if control_method in means.index:
            row = means.loc[control_method].to_dict()
            held = (_short(row[name]) for name in names)
            lines.append([f"_the control, {_named(control_method, marked)}_", *held])
    heads = [f"{in_markdown(metrics[n].label)} {ARROWS[metrics[n].direction]}" for n in names]
    return tabulate(lines, headers=["method", *heads], tablefmt="pipe", disable_numparse=True)


def _ceilings(real: pd.DataFrame, metrics: BoardMetrics) -> str:
    """Return the limits set by the truth itself, the same for every method."""
    found = real[real["metric"].isin(metrics.of("ceiling"))].groupby("metric")["value"].mean()
    said = [
        f"{in_markdown(metrics[name].label)} {_short(found[name])}"
        for name in metrics.of("ceiling")
        if name in found.index and name not in TOLD and np.isfinite(found[name])
    ]
    return f"Whatever the method, this truth allows: {'; '.join(said)}." if said else ""


def _reachable(real: pd.DataFrame, track: Track, marked: Mapping[str, str]) -> str:
    """Gain over the control as a share of what the noise in the truth leaves to gain."""
    if track.control_method not in real["method"].unique():
        return ""
    if not {"skill", "detail_ceiling_low"} <= set(real["metric"].unique()):
        return ""
    gain = reachable_gain(real, track.control_method)
    gain = gain.sort_values("score", ascending=False, kind="stable")
    first = gain.iloc[0]
    withheld = [f"No share: {text}." for text in gain["withheld"].unique() if text]
    lines = [
        [
            _named(row["method"], marked),
            _percent(row["score"]),
            _percent(row["gain"], sign="+"),
            percent_range(row["share_low"], row["share_high"]),
        ]
        for row in records_of(gain)
    ]
    table = tabulate(
        lines,
        headers=["method", "bounded skill", "gain over control", "share of the reachable gain"],
        tablefmt="pipe",
        disable_numparse=True,
    )
    return (
        "### How much is there to gain?\n\nThe measured truth is noisy, and nobody can predict its "
        "noise: of the detail that the coarse image does not show, the signal itself would get "
        f"{percent_range(first['ceiling_low'], first['ceiling_high'])} ({first['source']}). "
        f"`{track.control_method}` gets {_percent(first['control'])}. {' '.join(withheld)}"
    ).rstrip() + f"\n\n{table}"


def _wrong_guides(part: pd.DataFrame, marked: Mapping[str, str]) -> str:
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
    for metric, title, column in (
        ("psnr", "PSNR (dB)", "value"),
        ("guide_leakage", "Guide leakage", "value"),
        ("guide_leakage", "Leakage of what the guide brought", DIFFERENCE),
    ):
        values = shown[shown["metric"] == metric]
        if column not in values or not values[column].notna().any():
            continue
        means = values.pivot_table(index="method", columns="control", values=column, aggfunc="mean")
        heads = [control for control in controls if column == "value" or control]
        lines = [
            [
                _named(m, marked),
                *(_short(means.loc[m, c]) if c in means.columns else "" for c in heads),
            ]
            for m in methods
            if m in means.index
        ]
        headers = [title, *(in_markdown(control) or "true guide" for control in heads)]
        parts.append(tabulate(lines, headers=headers, tablefmt="pipe", disable_numparse=True))
    if DIFFERENCE in shown and shown[DIFFERENCE].notna().any():
        parts.append(
            "What the guide brought: the prediction with the true guide less that with a wrong one. Of "
            "that difference, the share that is invented and follows the true guide."
        )
    return "\n\n".join(parts)


def _named(method: object, marked: Mapping[str, str]) -> str:
    return in_markdown(f"{method}{marked.get(str(method), '')}")


def _short(value: float) -> str:
    return "–" if not np.isfinite(value) else f"{value:.3g}"


def _percent(share: float, sign: str = "") -> str:
    return "–" if not np.isfinite(share) else f"{100 * share:{sign}z.1f} %"


def percent_range(low: float, high: float) -> str:
    """Write a range of shares in whole percent, as one number where its ends print alike."""
    if not (np.isfinite(low) and np.isfinite(high)):
        return "–"
    ends = [f"{100 * end:z.0f}" for end in (low, high)]
    return f"{ends[0]} %" if ends[0] == ends[1] else f"{ends[0]} to {ends[1]} %"
