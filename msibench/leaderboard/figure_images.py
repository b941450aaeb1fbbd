"""Ion images of all methods side by side, on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from msibench.contracts.plain_text import few_of
from msibench.errors import DataError, UnknownNameError
from msibench.leaderboard.figure_source import Choice, Source, require_known
from msibench.leaderboard.figure_style import scale_bar
from msibench.leaderboard.images import structure
from msibench.leaderboard.page_images import stored_sections
from msibench.leaderboard.page_json import label_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage
    from matplotlib.patches import Rectangle

    from msibench.leaderboard.images import SectionImages
    from msibench.results.schema import CellRecord


FARTHEST_DA = 0.5
"""A wanted m/z is that of an ion image no farther away: 798.5 for 798.5411."""
MOST_ACROSS = 6
"""Panels per line; more go on the next one."""
TITLE_WIDTH = 26
"""Letters of a title that are as wide as a panel; longer ones take several lines."""


def images(source: Source) -> Figure:
    """Draw low, truth and every method: one row an ion, one scale and colour bar a row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    require_known((source.choice.colours,), ["viridis", "inferno", "gray", "grey"], "colour table")
    record, section = _chosen_section(source)
    channels = _channels(section, record.mz, source.choice)
    panels = _panels(source, section)
    rows, columns = panels[-1][1].shape[1:]
    across = min(len(panels), MOST_ACROSS)
    lines = -(-len(panels) // across)
    titles = [fill(name, TITLE_WIDTH) for name, _ in panels]
    further = 0.12 * max(title.count("\n") for title in titles)
    height = (1.5 * rows / columns + 0.3 + further) * lines * len(channels) + 0.2
    size = (1.5 * across + 0.8, height)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(lines * len(channels), across, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    grid = grid.reshape(len(channels), lines * across)
    colours = "gray" if source.choice.colours == "grey" else source.choice.colours
    for place, (row, channel) in enumerate(zip(grid, channels, strict=True)):
        line: list[Axes] = list(row)
        drawn = _draw_ion(line, panels, section, channel, colours)
        if place == 0 or lines > 1:
            for title, axes in zip(titles, line[: len(panels)], strict=True):
                axes.set_title(title, fontsize=7)
        _label(line[0], record, section, channel)
        if np.isfinite(section.pixel_size_um):
            scale_bar(line[0], columns, rows, section.pixel_size_um, size=6)
        _colour_bar(figure, drawn, line, section.staged.low.unit)
    if section.low_absent.any() or section.absent.any():
        one = [_hatched(1, 1)]
        figure.legend(one, ["not measured"], loc="outside lower right", fontsize=6, frameon=False)
    return figure


def _chosen_section(source: Source) -> tuple[CellRecord, SectionImages]:
    """Return the section to draw, and the record of one of its cells."""
    store = source.store
    found = [] if store is None else stored_sections(store, source.records)
    sections = [(next(iter(s.records.values())), s) for s in found]
    here = {r.section: (r, s) for r, s in reversed(sections) if r.protocol == source.protocol}
    if not here:
        raise DataError(
            f"no images of protocol {source.protocol!r} here: rows hold no images. Run the track, "
            "or import a bundle of the board that has predictions"
        )
    if source.choice.section:
        require_known((source.choice.section,), sorted(here), "section")
    return here[source.choice.section or min(here)]


def _panels(source: Source, section: SectionImages) -> list[tuple[str, NDArray[Any]]]:
    """Return the images to show side by side: the low images, the truth, and every method's."""
    truth = section.truth
    panels: list[tuple[str, NDArray[Any]]] = [("low", section.low)]
    panels += [] if truth is None else [("truth", truth)]
    for method in source.table["method"]:
        prediction = section.prediction(method) if method in section.records else None
        if prediction is not None:
            panels.append((method, prediction))
    return panels


def _draw_ion(
    line: Sequence[Axes],
    panels: Sequence[tuple[str, NDArray[Any]]],
    section: SectionImages,
    channel: int,
    colours: str,
) -> AxesImage:
    """Draw one ion in every panel, on one scale; return the last picture, for the colour bar."""
    rows, columns = panels[-1][1].shape[1:]
    scale = section.scale(channel)
    for (_, stack), axes in zip(panels, line[: len(panels)], strict=True):
        intensities = stack[channel] * (scale.intensity / scale.top)
        absent = section.absent_on(stack.shape[1:])
        if absent is not None:
            axes.add_patch(_hatched(columns, rows))
        drawn = axes.imshow(
            intensities if absent is None else np.where(absent, np.nan, intensities),
            cmap=colours,
            vmin=0,
            vmax=scale.intensity,
            interpolation="nearest",
            extent=(0, columns, rows, 0),
        )
    return drawn


def _label(axes: Axes, record: CellRecord, section: SectionImages, channel: int) -> None:
    """Write the ion beside its first panel."""
    ppm = section.staged.low.ppm
    mz = record.mz[channel] if channel < len(record.mz) else None
    title = label_of(mz, f"channel {channel}", None if ppm is None else float(ppm))
    axes.text(
        -0.06, 0.5, title, rotation=90, fontsize=6, va="center", ha="right",
        transform=axes.transAxes,
    )  # fmt: skip


def _colour_bar(figure: Figure, drawn: AxesImage, line: Sequence[Axes], unit: str) -> None:
    bar = figure.colorbar(drawn, ax=line, fraction=0.03, pad=0.01, extend="max")
    bar.ax.tick_params(labelsize=6)
    known = unit and unit != "scaled"
    bar.set_label(f"intensity ({unit})" if known else "intensity (arbitrary unit)", fontsize=6)


def _hatched(columns: int, rows: int) -> Rectangle:
    """Return the colour of unmeasured pixels, whatever a method predicts there."""
    from matplotlib.patches import Rectangle

    return Rectangle(
        (0, 0), columns, rows, facecolor="#dddddd", edgecolor="#777777", hatch="//////", lw=0
    )


def _channels(section: SectionImages, mz: Sequence[float | None], choice: Choice) -> list[int]:
    """Return the ions to draw: the nearest to each wanted m/z, or the clearest ones."""
    wanted = choice.mz
    if not wanted:
        clear = [(-structure(section, channel), channel) for channel in range(len(section.low))]
        return [channel for _, channel in sorted(clear)[: choice.ions]]
    known = {channel: value for channel, value in enumerate(mz) if value is not None}
    if not known:
        raise DataError("the ion images of this section carry no m/z; leave --mz out")
    found = [min(known, key=lambda c: (abs(known[c] - value), c)) for value in wanted]
    for value, channel in zip(wanted, found, strict=True):
        if abs(known[channel] - value) > FARTHEST_DA:
            there = few_of(f"{one:.4f}" for one in sorted(known.values()))
            raise UnknownNameError(f"m/z {value:g} is not on this board: expected one of {there}")
    return found
