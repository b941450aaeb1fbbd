"""Figures and tables for papers, from the store alone; the same store gives the same bytes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tabulate import tabulate

from msibench.errors import ConfigurationError, DataError, StoreError, UnknownNameError
from msibench.leaderboard.images import structure
from msibench.leaderboard.page import stored_sections
from msibench.leaderboard.page_data import cell_data, label_of
from msibench.leaderboard.render import PRINTED, plus_minus, significant, whole
from msibench.leaderboard.rows import collect, measured
from msibench.leaderboard.table import leaderboard_table, scheme_of
from msibench.results.files import write_atomically
from msibench.results.index import read_index
from msibench.results.store import Store
from msibench.scoring import comparisons, composite
from msibench.scoring.cube import cubes
from msibench.tracks import Track

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PICTURES = (".png", ".svg", ".pdf")
TABLES = (".md", ".tex")
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#7d848d"
"""Colour-blind safe (Okabe and Ito)."""
INCH_PER_METHOD = 0.3
DRAWS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a figure shows; empty: everything, or the first."""

    metric: str = ""
    """For ``box``, ``pareto`` and ``paired``; empty: the composite score where there is one."""
    methods: tuple[str, ...] = ()
    reference: str = ""
    """For ``paired``; empty: the track's control method."""
    protocol: str = ""
    section: str = ""
    mz: tuple[float, ...] = ()
    """For ``images``; the nearest ion of each. Empty: the one with the clearest structure."""
    colours: str = "viridis"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Source:
    store: Store
    track: Track
    choice: Choice
    rows: pd.DataFrame
    protocol: str
    table: pd.DataFrame
    """The leaderboard of the protocol, best first, of the chosen methods."""

    def values(self) -> tuple[str, str, dict[str, NDArray[np.float64]]]:
        """Return the measure's name, its direction, and every method's values, best method first."""
        scored = measured(self.rows)
        scored = scored[scored["protocol"] == self.protocol]
        order = self.table["method"].tolist()
        if not self.choice.metric:
            scheme, control = scheme_of(self.track), self.track.control_method
            found = composite(scored, scheme, control_method=control)
            parts = {m: found.loc[found["method"] == m, "composite"].to_numpy() for m in order}
            return "score", "higher", {m: v for m, v in parts.items() if np.isfinite(v).any()}
        cube = next(iter(cubes(scored)))
        names = sorted({name for name, _ in cube.measures})
        _known((self.choice.metric,), names, "metric")
        place = next(i for i, (name, _) in enumerate(cube.measures) if name == self.choice.metric)
        if (at := cube.measure(self.choice.metric, "image")) is not None:
            place = at
        values = {m: cube.values[:, cube.method(m), place] for m in order if m in cube.methods}
        return self.choice.metric, cube.directions[place], values


def write_figure(
    kind: str, store: Store, track: Track, path: Path, choice: Choice | None = None
) -> Path:
    """Write one figure or table of a track.

    Parameters
    ----------
    kind
        One of `kinds`: ``images``, ``box``, ``pareto`` and ``paired`` write PNG, SVG or PDF,
        ``table`` writes Markdown (``.md``) or LaTeX (``.tex``); the ending of `path` decides.
    store, track, choice
        Where the cells lie, and which of them are shown.

    Raises
    ------
    UnknownNameError
        If there is no such kind, protocol, method, metric or section.
    ConfigurationError
        If the ending does not fit the kind.
    StoreError
        If the track was never run into this store.
    """
    choice = choice or Choice()
    _known((kind,), kinds(), "figure")
    endings = TABLES if kind == "table" else PICTURES
    if path.suffix.lower() not in endings:
        raise ConfigurationError(
            f"figure {kind!r} is written as {', '.join(endings)}; got {path.name!r}"
        )
    index = read_index(store, track.name)
    rows = collect(store, index).rows
    protocols = sorted(set(rows["protocol"]))
    if not protocols:
        raise StoreError(
            f"nothing of track {track.name!r} is in {store.root}; "
            f"run it first: msibench run {track.name}"
        )
    if choice.protocol:
        _known((choice.protocol,), protocols, "protocol")
    protocol = choice.protocol or protocols[0]
    source = _Source(
        store=store,
        track=track,
        choice=choice,
        rows=rows,
        protocol=protocol,
        table=_board(rows, track, protocol, choice.methods),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "table":
        text = _table(source, latex=path.suffix.lower() == ".tex")
        write_atomically(path, text)
        return path
    with _style():
        write_atomically(path, _saved(_DRAWN[kind](source), path.suffix.lower()))
    return path


def _board(
    rows: pd.DataFrame, track: Track, protocol: str, methods: tuple[str, ...]
) -> pd.DataFrame:
    found = leaderboard_table(rows[rows["protocol"] == protocol], track)
    _known(methods, found["method"].tolist(), "method")
    if methods:
        found = found[found["method"].isin(methods)]
    return found.reset_index(drop=True)


def kinds() -> list[str]:
    """Return what can be drawn."""
    return [*sorted(_DRAWN), "table"]


@contextmanager
def _style() -> Iterator[None]:
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


def _saved(figure: Figure, ending: str) -> bytes:
    """Return a figure's bytes, without date or version."""
    formats: dict[str, dict[str, Any]] = {
        ".png": {"Software": None},
        ".svg": {"Date": None, "Creator": "msibench"},
        ".pdf": {"CreationDate": None, "ModDate": None, "Creator": "msibench", "Producer": None},
    }
    buffer = io.BytesIO()
    figure.savefig(buffer, format=ending[1:], metadata=formats[ending], bbox_inches="tight")
    return buffer.getvalue()


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _box(source: _Source) -> Figure:
    """Draw one box per method, with every ion image as a dot."""
    name, direction, values = source.values()
    _some(values, name)
    figure, axes = _axes(6.5, 1.0 + INCH_PER_METHOD * len(values))
    shown = [each[np.isfinite(each)] for each in values.values()]
    places = np.arange(len(shown), 0, -1)
    axes.boxplot(
        shown, positions=places, orientation="horizontal", widths=0.6, showfliers=False,
        medianprops={"color": "black"}, boxprops={"color": GREY}, whiskerprops={"color": GREY},
        capprops={"color": GREY},
    )  # fmt: skip
    for place, each in zip(places, shown, strict=True):
        jitter = (np.arange(len(each)) * 0.618 % 1 - 0.5) * 0.5
        axes.plot(each, place + jitter, ".", color=BLUE, alpha=0.5, markersize=3)
    axes.set_yticks(places, list(values))
    axes.set_xlabel(_axis(name, direction))
    axes.grid(axis="x", color="0.9")
    return figure


def _paired(source: _Source) -> Figure:
    """Draw every method's paired difference to the reference, with its interval."""
    reference = source.choice.reference or source.track.control_method
    scored = measured(source.rows)
    scored = scored[scored["protocol"] == source.protocol]
    order = source.table["method"].tolist()
    _known((reference,), sorted(set(scored["method"])), "method")
    found = comparisons(
        scored,
        scheme_of(source.track),
        reference,
        control_method=source.track.control_method,
        draws=DRAWS,
    )
    metric = source.choice.metric or "composite"
    _known((metric,), sorted(set(found["metric"])), "metric")
    found = found[found["metric"] == metric]
    if "image" in set(found["region"]):
        found = found[found["region"] == "image"]
    found = found[found["method"].isin(order)].set_index("method")
    order = [method for method in order if method in found.index]
    _some(order, metric)
    figure, axes = _axes(6.5, 1.0 + INCH_PER_METHOD * len(order))
    places = np.arange(len(order), 0, -1)
    part = found.loc[order]
    mean = part["difference"].to_numpy(np.float64)
    low, high = (part[side].to_numpy(np.float64) for side in ("low", "high"))
    reach = np.nan_to_num(np.abs(np.vstack([mean - low, high - mean])))
    axes.errorbar(mean, places, xerr=reach, fmt="o", color=BLUE, capsize=3)
    axes.set_ylim(0.4, len(order) + 0.6)
    axes.axvline(0, color=ORANGE, linestyle="--", linewidth=1)
    axes.set_yticks(places, order)
    direction = str(part["direction"].iloc[0])
    shown = f"-|1 - {metric}|" if direction == "one" else metric.replace("composite", "score")
    better = "left" if direction == "lower" else "right"
    axes.set_xlabel(f"difference to {reference} in {shown} (better: {better})")
    axes.grid(axis="x", color="0.9")
    return figure


def _pareto(source: _Source) -> Figure:
    """Draw mean quality against time; the line joins methods that nobody beats in both."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    name, direction, values = source.values()
    seconds = dict(zip(source.table["method"], source.table["seconds_per_image"], strict=True))
    points = [
        (float(seconds[m]), float(np.mean(v[np.isfinite(v)])), m)
        for m, v in values.items()
        if np.isfinite(v).any() and np.isfinite(seconds[m]) and seconds[m] > 0
    ]
    _some(points, name)
    points.sort(key=lambda p: (p[0], p[2]))
    figure, axes = _axes(6.5, 4.2)
    front, best = [], -np.inf
    for x, y, _ in points:
        good = {"higher": y, "lower": -y}.get(direction, -abs(y - 1))
        if good > best:
            front.append((x, y))
            best = good
    axes.plot(*zip(*front, strict=True), ":", color=BLUE, zorder=1)
    axes.plot([p[0] for p in points], [p[1] for p in points], "o", color=BLUE)
    for x, y, method in points:
        axes.annotate(method, (x, y), xytext=(4, 4), textcoords="offset points", fontsize=7)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("seconds per ion image")
    axes.set_ylabel(_axis(name, direction))
    axes.grid(color="0.92")
    return figure


def _images(source: _Source) -> Figure:
    """Draw low, truth and every method: one row an ion, one scale and colour bar a row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    _known((source.choice.colours,), ["viridis", "inferno", "gray", "grey"], "colour table")
    index = read_index(source.store, source.track.name)
    _, records = cell_data(source.store, index)
    sections = [(next(iter(s.records.values())), s) for s in stored_sections(source.store, records)]
    here = {r.section: (r, s) for r, s in reversed(sections) if r.protocol == source.protocol}
    if not here:
        raise DataError(f"the store holds no images of protocol {source.protocol!r}")
    if source.choice.section:
        _known((source.choice.section,), sorted(here), "section")
    record, section = here[source.choice.section or min(here)]
    order = [m for m in source.table["method"] if m in section.records]
    channels = _channels(section, record.mz, source.choice.mz)
    truth, low = section.truth, section.low
    panels: list[tuple[str, NDArray[Any]]] = [("low", low)]
    panels += [] if truth is None else [("truth", truth)]
    for method in order:
        prediction = section.prediction(method)
        if prediction is not None:
            panels.append((method, prediction))
    rows, columns = panels[-1][1].shape[1:]
    size = (1.5 * len(panels) + 0.6, (1.5 * rows / columns + 0.3) * len(channels) + 0.2)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(channels), len(panels), squeeze=False)
    ppm = section.facts["low"].get("ppm")
    pixel = float((section.facts.get("truth") or {}).get("pixel_size_um", "nan"))
    for place, (line, channel) in enumerate(zip(grid, channels, strict=True)):
        scale = section.scale(channel)
        for (name, stack), axes in zip(panels, line, strict=True):
            drawn = axes.imshow(
                stack[channel] * (scale.intensity / scale.top),
                cmap="gray" if source.choice.colours == "grey" else source.choice.colours,
                vmin=0,
                vmax=scale.intensity,
                interpolation="nearest",
                extent=(0, columns, rows, 0),
            )
            axes.set_axis_off()
            if place == 0:
                axes.set_title(name, fontsize=7)
        mz = record.mz[channel] if channel < len(record.mz) else None
        title = label_of(mz, f"channel {channel}", None if ppm is None else float(ppm))
        line[0].text(
            -0.06, 0.5, title, rotation=90, fontsize=6, va="center", ha="right",
            transform=line[0].transAxes,
        )  # fmt: skip
        if np.isfinite(pixel):
            _scale_bar(line[-1], columns, rows, pixel)
        bar = figure.colorbar(drawn, ax=list(line), fraction=0.03, pad=0.01, extend="max")
        bar.ax.tick_params(labelsize=6)
    return figure


def _scale_bar(axes: Axes, columns: int, rows: int, pixel_um: float) -> None:
    from matplotlib.patheffects import withStroke

    third = columns * pixel_um / 3
    power = 10.0 ** np.floor(np.log10(third))
    length = max(k * power for k in (1, 2, 5) if k * power <= third)
    end, y = 0.95 * columns, 0.93 * rows
    outline = [withStroke(linewidth=3, foreground="black")]
    axes.plot([end - length / pixel_um, end], [y, y], color="white", lw=1.5, path_effects=outline)
    axes.text(
        end, y - 0.04 * rows, f"{length:g} µm", color="white", fontsize=6, ha="right",
        path_effects=outline,
    )  # fmt: skip


def _channels(section: Any, mz: Sequence[float | None], wanted: tuple[float, ...]) -> list[int]:
    """Return the ions to draw: the nearest to each wanted m/z, or the clearest one."""
    if not wanted:
        clear = [(-structure(section, channel), channel) for channel in range(len(section.low))]
        return [min(clear)[1]]
    known = {channel: value for channel, value in enumerate(mz) if value is not None}
    if not known:
        raise DataError("the ion images of this section carry no m/z; leave --mz out")
    return [min(known, key=lambda c: (abs(known[c] - value), c)) for value in wanted]


def _table(source: _Source, *, latex: bool) -> str:
    """Return the leaderboard as Markdown or LaTeX, the best value of each column in bold."""
    table = source.table
    names = [name for name in source.track.metrics if f"{name}.image.mean" in table]
    headers = ["rank", "method", *(PRINTED.get(name, (name, 3))[0] for name in names)]
    headers += ["score", "s / image"]
    directions = {
        str(name): str(direction)
        for name, direction in measured(source.rows).groupby("metric")["direction"].first().items()
    }
    best = {}
    for name in names:
        means = table[f"{name}.image.mean"].astype("float64")
        direction = directions.get(name, "higher")
        good = {"higher": means, "lower": -means}.get(direction, -(means - 1).abs())
        if good.notna().any():
            best[name] = good == good.max()
    bold: Callable[[str], str] = (lambda t: f"\\textbf{{{t}}}") if latex else (lambda t: f"**{t}**")
    escape = _latex if latex else _markdown
    lines = []
    for at, row in enumerate(table.to_dict("records")):
        line = [whole(row.get("rank")), escape(str(row["method"]))]
        for name in names:
            text = plus_minus(row, f"{name}.image", PRINTED.get(name, (name, 3))[1])
            text = text.replace("±", "$\\pm$") if latex else text
            line.append(bold(text) if name in best and bool(best[name].iloc[at]) else text)
        score = row.get("composite")
        line.append("–" if score is None or pd.isna(score) else f"{score:.3f}")
        line.append(significant(row["seconds_per_image"]))
        lines.append(line)
    form = "latex_raw" if latex else "pipe"
    shown = [_latex(h) for h in headers] if latex else headers
    text = tabulate(lines, headers=shown, tablefmt=form, disable_numparse=True)
    note = f"{source.track.title or source.track.name}; {source.protocol}; mean ± s.e.m."
    return f"% {_one_line(note)}\n{text}\n" if latex else f"{text}\n\n{_markdown(note)}\n"


def _latex(text: str) -> str:
    special = {
        "\\": "\\textbackslash{}", "{": "\\{", "}": "\\}", "&": "\\&", "%": "\\%", "#": "\\#",
        "_": "\\_", "$": "\\$", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "²": "$^2$",
        "<": "\\textless{}", ">": "\\textgreater{}", "\n": " ", "\r": " ",
    }  # fmt: skip
    return "".join(special.get(letter, letter) for letter in text)


def _markdown(text: str) -> str:
    special = {"|": "\\|", "<": "&lt;", ">": "&gt;", "`": "'", "*": "\\*"}
    return "".join(special.get(letter, letter) for letter in _one_line(text))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _axis(name: str, direction: str) -> str:
    words = {"higher": "higher is better", "lower": "lower is better"}
    return f"{PRINTED.get(name, (name, 3))[0]} ({words.get(direction, 'nearer to 1 is better')})"


def _some(found: Any, name: str) -> None:
    if not len(found):
        raise DataError(f"no method has a value of {name!r}; choose another with --metric")


def _known(asked: Sequence[str], known: Sequence[str], what: str) -> None:
    from difflib import get_close_matches

    for name in asked:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise UnknownNameError(
                f"No {what} named {name!r}.{hint} There are: {', '.join(known)}."
            )


_DRAWN: dict[str, Callable[[_Source], Figure]] = {
    "images": _images,
    "box": _box,
    "pareto": _pareto,
    "paired": _paired,
}
