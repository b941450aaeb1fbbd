"""How every figure looks, and its bytes: the same drawing gives the same file."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from msibench.leaderboard.metrics import BETTER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#7d848d"
"""Colour-blind safe (Okabe and Ito)."""
INCH_PER_METHOD = 0.3


@contextmanager
def fixed_style() -> Iterator[None]:
    """Fix everything that another machine's settings would change."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(
            {
                "svg.hashsalt": "msibench",
                "svg.fonttype": "none",
                "pdf.fonttype": 42,
                "font.size": 9,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.axisbelow": True,
                "savefig.dpi": 200,
                "text.parse_math": False,
            }
        )
        yield


def saved(figure: Figure, ending: str, *, background: str = "auto") -> bytes:
    """Return a figure's bytes, without date or version."""
    formats: dict[str, dict[str, Any]] = {
        ".png": {"Software": None},
        ".svg": {"Date": None, "Creator": "msibench"},
        ".pdf": {"CreationDate": None, "ModDate": None, "Creator": "msibench", "Producer": None},
    }
    buffer = io.BytesIO()
    figure.savefig(
        buffer,
        format=ending[1:],
        metadata=formats[ending],
        bbox_inches="tight",
        facecolor=background,
    )
    return buffer.getvalue()


def new_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure of this size in inches, and its axes; no window and no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def axis_label(label: str, direction: str) -> str:
    """Return a metric's label and which way is better."""
    return f"{label} ({BETTER[direction]})"


def scale_bar(axes: Axes, columns: int, rows: int, pixel_um: float, *, size: float) -> None:
    """Draw a bar of a round length into the lower right corner, its text clear above it.

    Parameters
    ----------
    columns, rows
        Pixels that the axes span, rows downwards.
    pixel_um
        Edge length of one of them.
    size
        Of the text, in points.
    """
    from matplotlib.patheffects import withStroke

    third = columns * pixel_um / 3
    power = 10.0 ** np.floor(np.log10(third))
    length = max(k * power for k in (1, 2, 5) if k * power <= third)
    end, y = 0.96 * columns, 0.94 * rows
    outline = [withStroke(linewidth=2.5, foreground="black")]
    axes.plot(
        [end - length / pixel_um, end], [y, y], color="white", lw=2, solid_capstyle="butt",
        path_effects=[withStroke(linewidth=3.5, foreground="black")],
    )  # fmt: skip
    axes.annotate(
        f"{length:g} µm", (end, y), xytext=(0, 3.5), textcoords="offset points", color="white",
        fontsize=size, ha="right", va="bottom", path_effects=outline,
    )  # fmt: skip
