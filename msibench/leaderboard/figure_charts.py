"""Charts over methods: boxes, violins, paired differences, quality against time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from msibench.contracts.metric import TARGETS, turned
from msibench.leaderboard.figure_source import Source, require_known, require_some
from msibench.leaderboard.figure_style import (
    BLUE,
    GREY,
    INCH_PER_METHOD,
    ORANGE,
    axis_label,
    new_axes,
)
from msibench.leaderboard.rows import measured
from msibench.leaderboard.table import scheme_of
from msibench.scoring import comparisons

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure


def box(source: Source) -> Figure:
    """Draw one box per method, with every ion image as a dot."""
    figure, axes, shown, places = _one_line_a_method(source, dot=3)
    axes.boxplot(
        shown, positions=places, orientation="horizontal", widths=0.6, showfliers=False,
        medianprops={"color": "black"}, boxprops={"color": GREY}, whiskerprops={"color": GREY},
        capprops={"color": GREY}, manage_ticks=False,
    )  # fmt: skip
    return figure


def violin(source: Source) -> Figure:
    """Draw the density of every method's values, with quartiles and every ion image as a dot."""
    figure, axes, shown, places = _one_line_a_method(source, dot=2)
    spread = [at for at, each in enumerate(shown) if np.ptp(each) > 0]  # a density needs a spread
    if spread:
        drawn = axes.violinplot(
            [shown[at] for at in spread], positions=places[spread], orientation="horizontal",
            widths=0.8, showextrema=False,
        )  # fmt: skip
        for body in cast("Sequence[PolyCollection]", drawn["bodies"]):
            body.set(facecolor=BLUE, edgecolor="none", alpha=0.3)
    for place, each in zip(places, shown, strict=True):
        low, middle, high = np.quantile(each, (0.25, 0.5, 0.75))
        axes.plot([low, high], [place, place], color=GREY, linewidth=2)
        axes.plot([middle], [place], "|", color="black", markersize=8)
    return figure


def _one_line_a_method(
    source: Source, *, dot: float
) -> tuple[Figure, Axes, list[NDArray[np.float64]], NDArray[np.int64]]:
    """Return axes with a line for each method, every ion image as a dot, and the values and places."""
    name, direction, values = source.values()
    require_some(values, name)
    figure, axes = new_axes(6.5, 1.0 + INCH_PER_METHOD * len(values))
    shown = [each[np.isfinite(each)] for each in values.values()]
    places = np.arange(len(shown), 0, -1)
    for place, each in zip(places, shown, strict=True):
        jitter = (np.arange(len(each)) * 0.618 % 1 - 0.5) * 0.5
        axes.plot(each, place + jitter, ".", color=BLUE, alpha=0.5, markersize=dot)
    axes.set_yticks(places, list(values))
    axes.set_ylim(0.4, len(shown) + 0.6)
    axes.set_xlabel(axis_label(source.label(name), direction))
    axes.grid(axis="x", color="0.9")
    return figure, axes, shown, places


def paired(source: Source) -> Figure:
    """Draw every method's paired difference to the reference, with its interval."""
    reference = source.choice.reference or source.track.control_method
    scored = measured(source.rows)
    scored = scored[scored["protocol"] == source.protocol]
    order = source.table["method"].tolist()
    require_known((reference,), sorted(set(scored["method"].unique())), "method")
    found = comparisons(
        scored,
        scheme_of(source.track, source.rows["metric"].unique()),
        reference,
        control_method=source.track.control_method,
    )
    metric = source.choice.metric or "composite"
    require_known((metric,), sorted(set(found["metric"].unique())), "metric")
    found = found[found["metric"] == metric]
    if "image" in set(found["region"].unique()):
        found = found[found["region"] == "image"]
    found = found[found["method"].isin(order)].set_index("method")
    order = [method for method in order if method in found.index]
    require_some(order, metric)
    figure, axes = new_axes(6.5, 1.0 + INCH_PER_METHOD * len(order))
    places = np.arange(len(order), 0, -1)
    part = found.loc[order]
    percent = metric == "composite" and "%" in source.score_name
    scale = 100.0 if percent else 1.0
    mean = scale * part["difference"].to_numpy(np.float64)
    low, high = (scale * part[side].to_numpy(np.float64) for side in ("low", "high"))
    reach = np.nan_to_num(np.abs(np.vstack([mean - low, high - mean])))
    axes.errorbar(mean, places, xerr=reach, fmt="o", color=BLUE, capsize=3)
    axes.set_ylim(0.4, len(order) + 0.6)
    axes.axvline(0, color=ORANGE, linestyle="--", linewidth=1)
    axes.set_yticks(places, order)
    direction = str(part["direction"].iloc[0])
    shown = (
        f"-|{TARGETS[direction]:g} - {metric}|"
        if direction in TARGETS
        else metric.replace("composite", source.score_name)
    )
    better = "left" if direction == "lower" else "right"
    axes.set_xlabel(f"difference to {reference} in {shown} (better: {better})")
    axes.grid(axis="x", color="0.9")
    return figure


def pareto(source: Source) -> Figure:
    """Draw mean quality against time; the line joins methods that no other beats in both."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    name, direction, values = source.values()
    seconds = dict(zip(source.table["method"], source.table["seconds_per_image"], strict=True))
    points = [
        (float(seconds[m]), float(np.mean(v[np.isfinite(v)])), m)
        for m, v in values.items()
        if np.isfinite(v).any() and np.isfinite(seconds[m]) and seconds[m] > 0
    ]
    require_some(points, name)
    points.sort(key=lambda p: (p[0], p[2]))
    figure, axes = new_axes(6.5, 4.2)
    front, best = [], -np.inf
    for x, y, _ in points:
        good = float(turned(np.array(y), direction))
        if good > best:
            front.append((x, y))
            best = good
    axes.plot(*zip(*front, strict=True), ":", color=BLUE, zorder=1)
    axes.plot([p[0] for p in points], [p[1] for p in points], "o", color=BLUE)
    axes.set_xscale("log")
    decades = np.log10(points[-1][0] / points[0][0])
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 3 else (1,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("seconds per ion image")
    axes.set_ylabel(axis_label(source.label(name), direction))
    axes.grid(color="0.92")
    axes.margins(x=0.12, y=0.08)
    _name_points(figure, axes, points)
    return figure


def _name_points(figure: Figure, axes: Axes, points: Sequence[tuple[float, float, str]]) -> None:
    """Write a name beside every point, clear of other names and points; with a line to it if far."""
    from matplotlib.patheffects import withStroke

    figure.draw_without_rendering()  # the layout decides where points lie
    figure.set_layout_engine("none")
    pixel = figure.dpi / 72
    centres = axes.transData.transform([(x, y) for x, y, _ in points])
    frame = axes.bbox
    taken = [(x - 3 * pixel, y - 3 * pixel, x + 3 * pixel, y + 3 * pixel) for x, y in centres]
    high = 8 * pixel
    for (x, y, method), (left, low) in zip(points, centres, strict=True):
        wide = (4.1 * len(method) + 2) * pixel
        spots = [
            (side, step)
            for step in sorted(range(-60, 61, 5), key=abs)
            for side in (1, -1)
            if frame.x0
            < left + side * (6 * pixel + wide)
            < frame.x1 + (0 if side < 0 else 8 * pixel)
            and frame.y0 < low + step * pixel < frame.y1 - high
        ]
        for side, step in spots or [(1, 0)]:
            start = left + 6 * pixel if side > 0 else left - 6 * pixel - wide
            box_ = (
                start,
                low + step * pixel - high / 2,
                start + wide,
                low + step * pixel + high / 2,
            )
            if not any(_meet(box_, other) for other in taken):
                break
        taken.append(box_)
        axes.annotate(
            method, (x, y), xytext=(6 * side, step), textcoords="offset points", fontsize=7,
            va="center", ha="left" if side > 0 else "right",
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
            arrowprops={"arrowstyle": "-", "color": "0.7", "lw": 0.5} if abs(step) > 8 else None,
        )  # fmt: skip


def _meet(first: tuple[float, ...], second: tuple[float, ...]) -> bool:
    """Whether two boxes (left, low, right, high) have a point in common."""
    return (
        first[0] < second[2]
        and second[0] < first[2]
        and first[1] < second[3]
        and second[1] < first[3]
    )
