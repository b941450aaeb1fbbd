"""Boxes of many models side by side: one panel a metric, one box a model (Cao et al., Figures S1 and S3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from msibench.leaderboard.figure_source import Source, require_some
from msibench.leaderboard.figure_style import GREY, INCH_PER_METHOD, axis_label
from msibench.leaderboard.rows import measured

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRICS = ("psnr", "ssim", "vif", "sd_ratio", "nqm", "dists")
"""The six of Cao et al., in their order."""


def metrics(source: Source) -> Figure:
    """Draw those of the six metrics that the board has, one box a method over all ion images, best score on top."""
    scored = measured(source.rows)
    scored = scored[(scored["protocol"] == source.protocol) & np.isfinite(scored["value"])]
    known = set(scored["metric"].unique())
    names = [name for name in METRICS if name in known]
    require_some(names, ", ".join(METRICS))
    return metric_boxes(source, names, dict.fromkeys(source.table["method"], GREY))


def metric_boxes(source: Source, names: list[str], colours: Mapping[str, str]) -> Figure:
    """Draw one panel a metric and one box a model, in the order of `colours`, the first on top."""
    scored = measured(source.rows)
    scored = scored[(scored["region"] == "image") & np.isfinite(scored["value"])]
    scored = scored[scored["protocol"] == source.protocol]
    figure, axes = panels(max(1, len(names)), len(colours))
    for name, each in zip(names, axes, strict=False):
        part = scored[scored["metric"] == name]
        values = {m: v["value"].to_numpy(np.float64) for m, v in part.groupby("method")}
        boxes(each, values, colours)
        if len(part):
            label = axis_label(source.metrics[name].label, str(part["direction"].iloc[0]))
            each.set_xlabel(label, fontsize=8)
    if not names:
        axes[0].set_xlabel("no model has a value of any metric")
    figure.suptitle(
        f"{source.track.title or source.track.name}: every ion image, {source.protocol}"
    )
    return figure


def panels(count: int, methods: int, width: float = 2.4) -> tuple[Figure, list[Axes]]:
    """Return a figure with `count` panels in a row, high enough for so many methods."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size = (width * count + 2.5, 1.4 + INCH_PER_METHOD * methods)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(1, count, squeeze=False, sharey=True)[0])


def boxes(
    axes: Axes, values: Mapping[str, NDArray[np.float64]], colours: Mapping[str, str]
) -> None:
    """Draw a box for each model that has values, and name every model beside the axis."""
    places = dict(zip(colours, range(len(colours), 0, -1), strict=True))
    for method, place in places.items():
        if method not in values:
            continue
        line: dict[str, Any] = {"color": colours[method]}
        axes.boxplot(
            [values[method]], positions=[place], orientation="horizontal", widths=0.6,
            medianprops={"color": "black"}, boxprops=line, whiskerprops=line, capprops=line,
            flierprops={"marker": ".", "markersize": 3, "markeredgecolor": colours[method]},
            manage_ticks=False,
        )  # fmt: skip
    axes.set_ylim(0.4, len(colours) + 0.6)
    axes.set_yticks(list(places.values()), list(places))
    axes.grid(axis="x", color="0.9")
