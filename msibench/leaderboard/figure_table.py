"""The leaderboard as a table for a paper: Markdown or LaTeX."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from tabulate import tabulate

from msibench.contracts.metric import turned
from msibench.leaderboard.figure_source import Source
from msibench.leaderboard.render import plus_minus, significant, whole
from msibench.leaderboard.rows import marks, measured
from msibench.leaderboard.table import has_ranks, what_numbers_mean


def table_text(source: Source, *, latex: bool) -> str:
    """Return the leaderboard as Markdown or LaTeX, the best value of each column in bold."""
    table = source.table
    names = [
        name
        for name in source.track.metrics
        if f"{name}.image.mean" in table and source.metrics[name].question == "quality"
    ]
    ranked = has_ranks(table)
    headers = [
        *(["rank"] if ranked else []),
        "method",
        *(source.metrics[name].label for name in names),
    ]
    headers += [source.score_name, "s / image"]
    directions = {
        str(name): str(direction)
        for name, direction in measured(source.rows).groupby("metric")["direction"].first().items()
    }
    best = {}
    for name in names:
        means = table[f"{name}.image.mean"].astype("float64")
        direction = directions.get(name, "higher")
        good = pd.Series(turned(np.asarray(means, np.float64), direction), means.index)
        if good.notna().any():
            first = good == good.max()
            texts = means.map(f"{{:.{source.metrics[name].digits}f}}".format)
            if (texts == texts[first].iloc[0]).sum() == 1:
                best[name] = first  # a ceiling that several reach tells nobody apart
    bold: Callable[[str], str] = (lambda t: f"\\textbf{{{t}}}") if latex else (lambda t: f"**{t}**")
    escape = _latex if latex else _markdown
    marked = marks(source.rows)
    lines = []
    for at, row in enumerate(table.to_dict("records")):
        line = [
            *([whole(row.get("rank"))] if ranked else []),
            escape(f"{row['method']}{marked.get(str(row['method']), '')}"),
        ]
        for name in names:
            text = plus_minus(row, f"{name}.image", source.metrics[name].digits)
            text = text.replace("±", "$\\pm$") if latex else text
            line.append(bold(text) if name in best and bool(best[name].iloc[at]) else text)
        score = row.get("composite")
        scale, digits = (100.0, 1) if "%" in source.score_name else (1.0, 3)
        line.append("–" if score is None or pd.isna(score) else f"{scale * score:.{digits}f}")
        line.append(significant(row["seconds_per_image"]))
        lines.append(line)
    form = "latex_raw" if latex else "pipe"
    shown = [_latex(h) for h in headers] if latex else headers
    text = tabulate(lines, headers=shown, tablefmt=form, disable_numparse=True)
    title = source.track.title or source.track.name
    note = f"{title}; {source.protocol}. {what_numbers_mean(table)}"
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
