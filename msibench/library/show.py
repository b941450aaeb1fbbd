"""How images, problems and boards are shown in a notebook."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from msibench.image import GuideImage, MSImage, Problem

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from msibench.library.advice_values import Advice
    from msibench.library.intervals import Confidence
    from msibench.library.leaderboards import Leaderboard

MOST_SHOWN = 8
"""Ion images that a notebook shows unasked."""


def plot(
    image: MSImage,
    *,
    channels: Iterable[int] | None = None,
    colours: str = "viridis",
    veil: NDArray[np.bool_] | None = None,
) -> Figure:
    """Draw ion images side by side, each with its m/z, colour bar and scale bar.

    Parameters
    ----------
    image
        ``(channel, row, column)``.
    channels
        Which to draw; None: the first eight.
    colours
        Name of a matplotlib colour map.
    veil
        Where to take the colour and hatch, ``(channel, row, column)``: `msibench.Confidence.veil`.

    Returns
    -------
    A matplotlib figure. Colours end at the 99 % quantile that files of ``msibench upscale`` use; a
    pixel that was not measured is hatched grey.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    class NotebookFigure(Figure):
        """A figure that shows itself without a backend of pyplot."""

        def _repr_png_(self) -> bytes:
            return _png(self)

    chosen = list(range(min(image.channels, MOST_SHOWN)) if channels is None else channels)
    across = min(4, max(1, len(chosen)))
    down = math.ceil(max(1, len(chosen)) / across)
    rows, columns = image.shape
    tall = min(2.0, max(0.5, rows / columns))
    figure = NotebookFigure(figsize=(3.2 * across, (2.6 * tall + 0.6) * down), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for axes in panels[len(chosen) :]:
        axes.set_axis_off()
    for axes, channel in zip(panels, chosen, strict=False):
        _draw(figure, axes, image, channel, colours, None if veil is None else veil[channel])
    return figure


def _draw(
    figure: Figure,
    axes: Axes,
    image: MSImage,
    channel: int,
    colours: str,
    veil: NDArray[np.bool_] | None,
) -> None:
    import numpy as np

    from msibench.io.figure import add_scale_bar, cover_with_veil, hotspot_limit

    values = np.asarray(image.values[channel])
    limit = hotspot_limit(values)
    axes.set_facecolor("0.85")
    axes.patch.set_hatch("////")
    shown = np.where(np.isfinite(values), values, np.nan)
    drawn = axes.imshow(
        shown, cmap=colours, vmin=0, vmax=limit if limit > 0 else 1.0, interpolation="nearest"
    )
    if veil is not None:
        cover_with_veil(axes, drawn.to_rgba(shown), veil)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(image.channel_names()[channel], fontsize=10)
    figure.colorbar(drawn, ax=axes, extend="max" if limit > 0 else "neither").set_label(
        f"intensity ({image.unit})", fontsize=8
    )
    if math.isfinite(image.pixel_size_um):
        add_scale_bar(axes, image.pixel_size_um, *image.shape)
    else:
        axes.set_xlabel("pixel size unknown", fontsize=8)


def image_html(image: MSImage) -> str:
    """Return a stack of ion images as HTML: one line about it, and the first images."""
    rows, columns = image.shape
    size = f"{image.pixel_size_um:g} µm" if math.isfinite(image.pixel_size_um) else "unknown size"
    caption = f"{_ion_images(image)} of {rows} x {columns} pixels of {size}; unit {image.unit}"
    if image.channels > MOST_SHOWN:
        caption += f"; the first {MOST_SHOWN} are shown"
    alt = ", ".join(image.channel_names()[:MOST_SHOWN])
    return f"<p>{html.escape(caption)}</p>{_picture(plot(image), alt)}"


def problem_html(problem: Problem) -> str:
    """Return a problem as HTML: what the method sees."""
    protocol = problem.protocol or "no protocol: a section of your own"
    guide = _guide_words(problem.guide)
    caption = f"bring {_ion_images(problem.low)} onto a grid {problem.factor} times finer"
    return f"<p>{html.escape(f'{caption}; {protocol}; {guide}')}</p>{image_html(problem.low)}"


def _ion_images(image: MSImage) -> str:
    return f"{image.channels} ion image{'' if image.channels == 1 else 's'}"


def _guide_words(guide: GuideImage | None) -> str:
    if guide is None:
        return "without a guide"
    return (
        f"{guide.kind} guide, {len(guide.values)} channels on {guide.shape[0]} x {guide.shape[1]}"
    )


def confidence_html(done: Confidence) -> str:
    """Return a prediction with its intervals as HTML: the images, veiled where detail is not supported."""
    caption = (
        f"{done.method}, {done.factor} times finer, with intervals of {done.level:.0%}, calibrated "
        f"{done.calibrated}. Grey and hatched: detail that the interval does not support."
    )
    names = done.prediction.channel_names()
    missing = "".join(
        f"<li>{html.escape(f'{names[channel]}: no interval: {why}')}</li>"
        for channel, why in done.undefined.items()
    )
    alt = ", ".join(names[:MOST_SHOWN])
    picture = _picture(done.plot(), f"{alt}, veiled where detail is not supported")
    return f"<p>{html.escape(caption)}</p>{f'<ul>{missing}</ul>' if missing else ''}{picture}"


def advice_html(advice: Advice) -> str:
    """Return advice as HTML: its sentence, the ions by what they gain, and measuring finer instead."""
    import pandas as pd

    ions = pd.DataFrame(
        {
            "ion": ion.name,
            "method": ion.method,
            "expected skill": f"{ion.skill:+z.0%}",
            "90 % interval": f"{ion.low:+z.0%} to {ion.high:+z.0%}",
            "at most": f"{ion.ceiling:.0%}",
            "why not": ion.reason,
        }
        for ion in advice.ions
    )
    finer = pd.DataFrame(
        {
            "pixel (µm)": one.pixel_size_um,
            "time": f"{one.time} x",
            "counts a pixel": one.counts,
            "detail that is right": f"{one.gain:z.0%}",
            "of the best method": f"{one.gain_of_method:z.0%}",
        }
        for one in advice.finer
    )
    shown = (
        table.to_html(index=False, escape=True, float_format="{:.3g}".format)
        for table in (ions, finer)
    )
    first, second = shown
    return f"<p><b>{html.escape(advice.sentence())}</b></p>{first}<p>Measure finer instead?</p>{second}"


def board_html(board: Leaderboard) -> str:
    """Return a board as HTML: its title and the main columns of its table."""
    table = board.table()
    front = ["protocol", "rank", "method", "composite", "images", "sections", "seconds_per_image"]
    names = [str(name) for name in table.columns]
    shown = [name for name in front if name in names and table[name].notna().any()]
    shown += [name for name in names if name.endswith(".image.mean")][:6]
    body = table[shown].rename(columns=lambda name: str(name).removesuffix(".image.mean"))
    title = html.escape(board.track.title or board.track.name)
    return f"<p><b>{title}</b></p>{body.to_html(index=False, escape=True, float_format='{:.4g}'.format)}"


def _picture(figure: Figure, alt: str) -> str:
    content = base64.b64encode(_png(figure)).decode("ascii")
    return f'<img alt="{html.escape(alt, quote=True)}" src="data:image/png;base64,{content}">'


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=72)
    return buffer.getvalue()
