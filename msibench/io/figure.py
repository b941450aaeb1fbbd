"""A figure of one ion image as PNG: colour bar, scale bar, m/z, and what was clipped."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from msibench.errors import ConfigurationError, StoreError
from msibench.image import MSImage

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLIP = 0.99
NICE = (1, 2, 5)
NOT_MEASURED = "#b8b8b8"
"""Colour of pixels that are NaN; no colour map that is offered but gray has it."""


def hotspot_limit(image: NDArray[np.float32], quantile: float = CLIP) -> float:
    """Return the intensity above which a view is clipped, as METASPACE does.

    The quantile over the pixels above 1/256 of the maximum, so that the zeros of a sparse ion do
    not decide (METASPACE pull request 310). 0 for an empty image.
    """
    finite = image[np.isfinite(image)]
    top = float(finite.max(initial=0.0))
    if top <= 0:
        return 0.0
    return float(np.quantile(finite[finite > top / 256], quantile))


def scale_bar_um(width_um: float) -> float:
    """Return a round length (1, 2 or 5 times a power of ten) of at most a quarter of the width."""
    limit = width_um / 4
    power = 10.0 ** math.floor(math.log10(limit))
    return max(step * power for step in NICE if step * power <= limit * (1 + 1e-9))


def write_png(
    path: str | os.PathLike[str],
    image: MSImage,
    *,
    clip: float = CLIP,
    colour_map: Literal["viridis", "inferno", "magma", "cividis", "gray"] = "viridis",
    provenance: Mapping[str, object] | None = None,
    veil: NDArray[np.bool_] | None = None,
    veiled: str = "",
    predicted: str = "",
) -> list[Path]:
    """Draw every channel: with one channel to `path`, with several to ``<stem>_mz298.0700.png``.

    Drawn without interpolation, at least two dots a pixel for small images. The clip is for the
    picture only and is written on it, as are m/z, window and scale; without a pixel size it says
    that the scale is unknown. Pixels that are NaN are grey, and the picture says that they were not
    measured. `provenance` is stored as JSON in the PNG's text. Where `veil` is True, ``(channel, row,
    column)``, the image loses its colour, keeps its lightness and is hatched, which is told apart without
    colours and in print; `veiled` says what that means. `predicted` is the method whose images these are; empty: measured.

    Returns
    -------
    The files written.

    Raises
    ------
    ConfigurationError
        `clip` does not lie in (0, 1].
    StoreError
        A file cannot be written.
    """
    if not 0 < clip <= 1:
        raise ConfigurationError(f"clip is a quantile in (0, 1], got {clip}")
    target = Path(path)
    written: list[Path] = []
    text = {"Software": "msibench"}
    if provenance:
        text["msibench:provenance"] = json.dumps(dict(provenance), sort_keys=True, default=str)
    for channel, name in enumerate(image.channel_names()):
        out = target
        if image.channels > 1:
            label = name.replace("m/z ", "mz").replace(" ", "")
            out = target.with_name(f"{target.stem}_{label}{target.suffix or '.png'}")
            if out in written:
                out = out.with_name(f"{out.stem}_{channel}{out.suffix}")
        try:
            covered = None if veil is None else veil[channel]
            window = "" if image.ppm is None else f" ± {image.ppm:g} ppm"
            title = f"{name}{window}{f', by {predicted}' if predicted else ''}"
            figure = _drawn(image, channel, title, clip, colour_map, covered, veiled)
            figure.savefig(out, format="png", metadata=text)
        except OSError as error:
            raise StoreError(f"{out} cannot be written: {error}") from error
        written.append(out)
    return written


def _drawn(
    image: MSImage,
    channel: int,
    title: str,
    clip: float,
    colour_map: str,
    veil: NDArray[np.bool_] | None,
    veiled: str,
) -> Figure:
    """Return the figure of one ion image, with scale bar and colour bar."""
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    values = image.values[channel]
    rows, columns = image.shape
    limit = hotspot_limit(values, clip) if clip < 1 else float(np.nanmax(values, initial=0.0))
    shown = np.where(np.isfinite(values), values, np.nan)
    zoom = max(1.0, 480 / max(rows, columns))
    dpi = 100
    width, height = columns * zoom / dpi, rows * zoom / dpi
    figure = Figure(figsize=(max(width, 3.2) + 1.6, height + 1.0), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    missing = bool(np.isnan(shown).any())
    drawn = axes.imshow(
        shown,
        cmap=colormaps[colour_map].with_extremes(bad=NOT_MEASURED),
        vmin=min(0.0, float(np.nanmin(shown, initial=0.0))),
        vmax=limit if limit > 0 else 1.0,
        interpolation="nearest",
    )
    if veil is not None:
        cover_with_veil(axes, drawn.to_rgba(shown), veil)
        _explain_veil(axes, veiled)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, fontsize=11)
    clipped = f"clipped at the {clip:.0%} quantile" if clip < 1 else "not clipped"
    bar = figure.colorbar(drawn, ax=axes, extend="max" if clip < 1 and limit > 0 else "neither")
    bar.set_label(f"intensity ({image.unit})", fontsize=9)
    if math.isfinite(image.pixel_size_um):
        add_scale_bar(axes, image.pixel_size_um, rows, columns)
        scale = f"{image.pixel_size_um:g} µm a pixel"
    else:
        scale = "pixel size unknown: no scale bar"
    grey = "; grey: not measured" if missing else ""
    axes.set_xlabel(f"{clipped} ({limit:.4g}); {scale}{grey}", fontsize=8)
    return figure


def cover_with_veil(axes: Axes, colours: NDArray[np.float64], veil: NDArray[np.bool_]) -> None:
    """Take the colour of the veiled pixels, keep their lightness, and hatch them."""
    light = colours[..., :3] @ (0.2126, 0.7152, 0.0722)
    cover = np.ones((*veil.shape, 4))
    cover[..., :3] = (0.25 + 0.6 * light)[..., None]
    cover[..., 3] = veil
    axes.imshow(cover, interpolation="nearest")
    if veil.any():
        # Whole pixels are hatched: the contour follows their edges.
        fine = np.kron(veil, np.ones((4, 4)))
        rows, columns = ((np.arange(side) + 0.5) / 4 - 0.5 for side in fine.shape)
        hatched = axes.contourf(
            columns, rows, fine, levels=[0.5, 1.5], colors="none", hatches=["//////"]
        )
        hatched.set_edgecolor("white")
        hatched.set_linewidth(0)


def _explain_veil(axes: Axes, label: str) -> None:
    """Write above an image what the veil means."""
    from matplotlib.patches import Patch

    patch = Patch(facecolor="0.5", edgecolor="white", hatch="//////", label=label, linewidth=0)
    axes.legend(handles=[patch], loc="lower center", bbox_to_anchor=(0.5, 1.08), fontsize=8)


def add_scale_bar(axes: object, pixel_size_um: float, rows: int, columns: int) -> None:
    """Draw a bar of a round length in µm at the lower left of an image of `rows` x `columns` pixels."""
    from matplotlib.axes import Axes
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    assert isinstance(axes, Axes)
    length = scale_bar_um(columns * pixel_size_um)
    dots = length / pixel_size_um
    thick = max(rows / 80, 0.15)
    left, bottom = columns * 0.04 - 0.5, rows * 0.95 - 0.5
    axes.add_patch(
        Rectangle((left, bottom - thick), dots, thick, facecolor="white", edgecolor="black", lw=0.5)
    )
    label = f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} µm"
    axes.text(
        left + dots / 2,
        bottom - 2 * thick,
        label,
        color="white",
        ha="center",
        va="bottom",
        fontsize=9,
        path_effects=[withStroke(linewidth=2, foreground="black")],
        bbox={"facecolor": "black", "alpha": 0.6, "edgecolor": "none", "pad": 1.5},
    )
