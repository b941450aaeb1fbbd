"""The templates of the site, and what they show of texts and numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from msibench.leaderboard.all_boards import TRUST
from msibench.leaderboard.listed import range_text
from msibench.leaderboard.page import page_name
from msibench.site.content import (
    MethodPage,
    Score,
    SiteBoard,
)

if TYPE_CHECKING:
    from jinja2 import Environment, Template


LINKED = re.compile(
    r"(https?://[^\s<>\"')\]]*[^\s<>\"')\].,;:]|\b10\.\d{4,9}/[^\s<>\"';,)]*[^\s<>\"';,).])"
)
"""Addresses and DOIs in a citation."""


def instrument_of(board: SiteBoard, cards: Mapping[str, Any]) -> str:
    """Return how a board's sections were measured."""
    found = [cards[name].instrument or "not stated" for name in board.datasets if name in cards]
    return ", ".join(dict.fromkeys(found))


def licence_of(method: MethodPage) -> str:
    """Return the licence of a method, short enough to choose it: that of its code."""
    return re.split(r"[;(]", method.licence)[0].replace("code ", "").strip() or "not stated"


def without_markup(text: str) -> Any:
    """Return a sentence of a Markdown board as HTML: names in backticks as code, no other markup."""
    from markupsafe import Markup, escape

    parts = text.replace("**", "").split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if at % 2 else escape(part)
        for at, part in enumerate(parts)
    )


def trust_texts(scores: Iterable[Score]) -> list[str]:
    """Return, for each measure of trust, the lowest and the highest of several boards' values."""
    columns = zip(*(score.trust for score in scores), strict=True)
    return [
        range_text(list(values), scale, unit)
        for values, (_, _, scale, unit) in zip(columns, TRUST, strict=True)
    ]


def linked(text: str) -> Any:
    """Return text as HTML in which addresses and DOIs are links; everything else is escaped."""
    from markupsafe import Markup, escape

    parts = []
    for at, part in enumerate(LINKED.split(str(text))):
        if at % 2:
            address = part if part.startswith("http") else f"https://doi.org/{part}"
            parts.append(Markup('<a href="{}" rel="noopener">{}</a>').format(address, part))
        else:
            parts.append(escape(part))
    return Markup("").join(parts)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(lambda name: asset("site", name)),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {
        "slug": page_name,
        "linked": linked,
        "licence": licence_of,
        "trust_texts": trust_texts,
        "plain": without_markup,
    }
    environment.globals |= {"instrument_of": instrument_of}
    return environment


def template(name: str) -> Template:
    """Return a template of the site."""
    return _environment().get_template(name)


def asset(package: str, name: str) -> str:
    """Return a template, style or script of `msibench.site` or `msibench.leaderboard`."""
    return (files(f"msibench.{package}") / "assets" / name).read_text("utf-8")
