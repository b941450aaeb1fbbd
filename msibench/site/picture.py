"""A picture of a data set: its clearest ion image, and its guide where it has one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from msibench.datasets import Card, Section, read_section
from msibench.errors import MSIBenchError
from msibench.leaderboard.figure_style import fixed_style, saved, scale_bar
from msibench.leaderboard.images import TOP_QUANTILE, guide_name, neighbour_correlation
from msibench.leaderboard.page_json import label_of

UNSTATED = ("", "none stated", "not stated", "the user's own data")
"""Licences under which no picture is made: nothing says that it may be shown."""
MOST_PIXELS = 1200
"""Rows or columns above which every n-th pixel is drawn."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture, or why there is none."""

    content: bytes = b""
    """PNG."""
    text: str = ""
    """What it shows and whose it is; or the reason."""


def picture_of(card: Card) -> Picture:
    """Draw a section of a data set whose files are at hand and whose licence is stated.

    Returns
    -------
    A PNG of the ion image with the clearest structure (and the guide beside it), with scale bar and
    colour bar; the same files give the same bytes.
    """
    if card.licence in UNSTATED:
        return Picture(text=f"No picture: its licence is {card.licence or 'not stated'}.")
    try:
        section = read_section(card, (card.test or card.sections)[0])
    except (MSIBenchError, IndexError):
        return Picture(text="No picture: its files were not at hand when this site was built.")
    channel = _clearest(section)
    image = section.image
    label = label_of(float(image.mz[channel]), f"channel {channel}", image.ppm)
    guide = section.guide
    kind = f"; right, the guide ({guide_name(guide)})" if guide is not None else ""
    said = f"Section {section.name}, {label}{kind}. "
    origin = "Synthetic" if card.synthetic else f"Drawn from the data set ({card.citation})"
    with fixed_style():
        content = _drawn(section, channel, label)
    return Picture(content, f"{said}{origin}; licence: {card.licence}.")


def _clearest(section: Section) -> int:
    values = section.image.values
    found = [(-neighbour_correlation(values[c], section.image.mask), c) for c in range(len(values))]
    return min(found)[1]


def _drawn(section: Section, channel: int, label: str) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    image = section.image
    fine = np.asarray(image.values[channel], dtype=np.float64)
    step = -(-max(fine.shape) // MOST_PIXELS)
    shown = fine[::step, ::step]
    panels = 1 if section.guide is None else 2
    rows, columns = shown.shape
    width = 4.2 if columns >= rows else 4.2 * columns / rows
    height = width * rows / columns
    figure = Figure(figsize=(panels * width + 1.0, height + 0.5), layout="compressed")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(1, panels, squeeze=False)[0])
    for each in axes:
        each.set_axis_off()
    finite = fine[np.isfinite(fine)]
    top = float(np.quantile(finite, TOP_QUANTILE)) or float(finite.max(initial=0.0)) or 1.0
    drawn = axes[0].imshow(
        shown,
        cmap="viridis",
        vmin=0,
        vmax=top,
        interpolation="nearest",
        extent=(0, columns, rows, 0),
    )
    axes[0].set_title(label, fontsize=10)
    if np.isfinite(image.pixel_size_um):
        scale_bar(axes[0], columns, rows, image.pixel_size_um * step, size=10)
    bar = figure.colorbar(drawn, ax=axes, fraction=0.04, pad=0.01, extend="max")
    unit = image.unit if image.unit not in {"", "scaled", "arbitrary"} else "arbitrary unit"
    bar.set_label(f"intensity ({unit})")
    if section.guide is not None:
        guide = np.asarray(section.guide.values)[:, ::step, ::step]
        axes[1].imshow(_visible(guide), cmap="gray", extent=(0, columns, rows, 0))
        axes[1].set_title(f"guide ({guide_name(section.guide)})", fontsize=10)
    return saved(figure, ".png", background="white")


def _visible(guide: Any) -> Any:
    """Return a guide as RGB in 0 to 1, or its mean where it has other than three channels."""
    values = np.nan_to_num(np.asarray(guide, dtype=np.float64))
    low, high = values.min(initial=0.0), values.max(initial=0.0)
    values = (values - low) / ((high - low) or 1.0)
    return np.moveaxis(values, 0, -1) if len(values) == 3 else values.mean(axis=0)
