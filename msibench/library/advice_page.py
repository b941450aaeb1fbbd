"""The page of ``msibench advise``: one self-contained HTML file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from importlib.resources import files

from msibench.library.advice_text import counts_in_words, counts_of, effective, pixels_of
from msibench.library.advice_values import KEEP, Advice
from msibench.library.similar_boards import in_words

STYLE = """
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .15rem .7rem; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child, td.words, th.words { text-align: left; }
.keep td { color: var(--quiet); }
.wide { overflow-x: auto; }
@media (max-width: 720px) { .ions { box-shadow: inset -14px 0 12px -12px var(--frame); }
  .ions::before { content: "more columns to the right →"; color: var(--strong); position: sticky; left: 0; } }
.ions th, .ions td { white-space: nowrap; }
.ions td:last-child { white-space: normal; min-width: 16rem; }
ul.bars { list-style: none; padding: 0; max-width: 40rem; }
.bars span { display: block; height: 1rem; min-width: 1px; margin-bottom: .5rem; background: var(--accent); }
.bars li:first-child span { background: var(--strong); }
"""


def advice_page(section: str, advice: Sequence[Advice]) -> str:
    """Return the advice for one section at one or several factors as HTML."""
    css = files("msibench.leaderboard").joinpath("assets/page.css").read_text(encoding="utf-8")
    parts = "".join(_part(one) for one in advice)
    assumed = "".join(f"<li>{escape(each)}</li>" for each in advice[0].assumptions)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(section)}: sharpen, keep, or measure finer?</title>"
        f"<style>{css}{STYLE}</style></head><body><main>"
        f'<div class="top"><p class="kicker">msibench advise</p><h1>{escape(section)}: sharpen, keep, or '
        "measure finer?</h1></div>"
        f"{parts}<section><h2>What is assumed</h2><ul>{assumed}</ul>"
        "<p>Skill: 0% for repeated pixels, 100% for the image that a finer measurement would give. Everything is "
        "told from the section itself; how often such advice was right where the finer image is known: "
        "docs/confidence.md.</p></section></main></body></html>\n"
    )


def _part(advice: Advice) -> str:
    ions = "".join(
        f'<tr{_kept(ion.method)}><td>{escape(ion.name)}</td><td class="words">{escape(ion.method)}</td>'
        f"<td>{_percent(ion.skill)}</td><td>{_percent(ion.low)} to {_percent(ion.high)}</td>"
        f"<td>{_percent(ion.ceiling)}</td><td>{_counts(ion.counts)}</td>"
        f'<td class="words">{escape(ion.reason)}</td></tr>'
        for ion in advice.ions
    )
    methods = "".join(
        f"<tr><td>{escape(name)}{' (random: mean of its seeds)' if name in advice.averaged else ''}</td>"
        f"<td>{_percent(skill)}</td></tr>"
        for name, skill in advice.methods.items()
    )
    methods += "".join(
        f'<tr class="keep"><td>{escape(name)}</td><td class="words">{escape(why)}</td></tr>'
        for name, why in advice.left_out.items()
    )
    guide = "".join(
        f"<li>{escape(one.method)}: <b>{escape(one.verdict)}</b> (one scale up {_percent(one.right)}, with "
        f"the guide mirrored {_percent(one.wrong)})</li>"
        for one in advice.guide
    )
    boards = "".join(f"<li>{escape(line)}</li>" for line in in_words(advice.boards, advice.methods))
    return (
        f'<section><h2>{advice.factor} times finer</h2><p class="lead">{escape(advice.sentence())}</p>'
        f"{f'<h3>The guide</h3><ul>{guide}</ul>' if guide else ''}"
        f"<h3>Measure finer instead?</h3>{_chart(advice)}"
        '<h3>Ions, by what they gain</h3><div class="wide ions"><table><thead><tr><th>ion</th>'
        '<th class="words">method</th><th>expected skill</th><th>90 % interval</th><th>at most</th>'
        f'<th>counts a pixel</th><th class="words">why not</th></tr></thead><tbody>{ions}</tbody></table></div>'
        '<h3>Methods, mean over ions</h3><div class="wide"><table><tbody>'
        f"{methods}</tbody></table></div>"
        '<h3>Boards of the most similar sections</h3><p class="quiet">Measured elsewhere, and known to the advice '
        f"above as all boards are.</p><ul>{boards}</ul></section>"
    )


def _chart(advice: Advice) -> str:
    """Draw the share of the finer detail that is right: sharpened, and measured."""
    gain = advice.finer[0].gain_of_method
    name = f"sharpened x{advice.factor}, {advice.recommended}" if gain else "kept as measured"
    bars = [(name, gain, effective(advice.effective_um))]
    for one in advice.finer:
        told = (
            f"; {one.time} x the time, {counts_in_words(one.counts)}{effective(one.effective_um)}"
        )
        share = 0.0 if math.isnan(one.gain) else one.gain
        bars.append((f"measured, {pixels_of(one)}", share, told))
    rows = "".join(
        f"<li>{escape(name)}: {share:z.0%}{escape(told)}"
        f'<span style="width: {100 * max(share, 0.0):.1f}%"></span></li>'
        for name, share, told in bars
    )
    return (
        f'<ul class="bars">{rows}</ul>'
        '<p class="quiet">Share of the finer detail of the signal that is right, median over the ions that may be '
        "sharpened (over all where none may), at equal dwell time a "
        "pixel; the noise of the finer measurement filtered as well as can be.</p>"
    )


def _kept(method: str) -> str:
    return ' class="keep"' if method == KEEP else ""


def _percent(share: float) -> str:
    return "none" if math.isnan(share) else f"{share:+z.1%}"


def _counts(counts: float) -> str:
    return "no noise seen" if math.isinf(counts) else counts_of(counts)
