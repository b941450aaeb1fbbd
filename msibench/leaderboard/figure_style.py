"""How every figure looks, and its bytes: the same drawing gives the same file."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

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


def saved(figure: Figure, ending: str) -> bytes:
    """Return a figure's bytes, without date or version."""
    formats: dict[str, dict[str, Any]] = {
        ".png": {"Software": None},
        ".svg": {"Date": None, "Creator": "msibench"},
        ".pdf": {"CreationDate": None, "ModDate": None, "Creator": "msibench", "Producer": None},
    }
    buffer = io.BytesIO()
    figure.savefig(buffer, format=ending[1:], metadata=formats[ending], bbox_inches="tight")
    return buffer.getvalue()


def new_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure of so many inches, and its axes; no window and no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def axis_label(label: str, direction: str) -> str:
    """Return a metric's label and which way is better."""
    return f"{label} ({BETTER.get(direction, BETTER['one'])})"
