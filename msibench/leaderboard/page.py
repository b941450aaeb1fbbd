"""The page of a track: one self-contained HTML file, made from the store alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from msibench.errors import ConfigurationError
from msibench.leaderboard.board import BUNDLE, Board, board_for
from msibench.leaderboard.images import SectionImages
from msibench.leaderboard.metrics import BoardMetrics, board_metrics
from msibench.leaderboard.page_data import protocol_data, trust_data
from msibench.leaderboard.page_images import (
    choose_images,
    encode_images,
    problem_data,
    stored_sections,
    write_beside,
)
from msibench.leaderboard.page_json import embedded_json, number
from msibench.leaderboard.page_origins import (
    cell_data,
    citations,
    loss_curves,
    rows_csv,
    without_path,
)
from msibench.leaderboard.page_parts import (
    FOLDER,
    MOST_LOSSES,
    MOST_SECTIONS,
    is_large_board,
    ranking_data,
    split_protocols,
    write_parts,
)
from msibench.leaderboard.page_table import table_view
from msibench.leaderboard.rebuild import flag_of, page_commands
from msibench.leaderboard.rows import marks, records_of
from msibench.leaderboard.table import scheme_of
from msibench.results.files import explained, write_atomically
from msibench.results.store import Store
from msibench.tracks import Track

if TYPE_CHECKING:
    from jinja2 import Template

MOST_ROWS = 40_000
"""Values above which the page leaves its CSV of all rows to ``rows.parquet`` beside it."""
SCRIPTS = (
    "core.js",
    "look.js",
    "slider.js",
    "veil.js",
    "charts.js",
    "read.js",
    "weights.js",
    "check.js",
)
IMAGES = "images"


def write_page(
    store: Store | None,
    track: Track,
    folder: Path,
    *,
    max_images: int | None = None,
    split: bool = False,
    board: Board | None = None,
    site: str = "",
) -> Path:
    """Write ``index.html`` of a track; the same store gives the same bytes.

    Parameters
    ----------
    store, track
        Where the cells are, and which of them to show. No store: `board` is of committed rows, and
        the page says that their images are not here.
    folder
        Where the page goes; made when it is not there.
    max_images
        Ion images (one ion of one section, with all its methods) that can be looked at. None: as
        many as fit into about 9 MB, the worst, best and middle ones first, and 27 MB of others in
        ``images/*.js``; all of them with `split`.
    split
        Write images into ``images/*.js`` beside the page, which loads them when they are asked for.
    board
        What `read_board` gave, where it was read already.
    site
        Where the site of all boards lies, seen from the page (``"../../"``): methods and data sets
        are linked to their pages there. Empty: the page stands alone.

    A board of more than a million values has one number per section in the page, those of ion images in
    ``data/*.js`` beside it, loaded when they are asked for (`msibench.leaderboard.page_parts`).

    Returns
    -------
    The path of ``index.html``.

    Raises
    ------
    StoreError
        If the track was never run into this store.
    ConfigurationError
        If `max_images` is negative.
    """
    if max_images is not None and max_images < 0:
        raise ConfigurationError(f"max_images must be 0 or more, got {max_images}")
    if board is None:
        assert store is not None
        board = board_for(store, track, folder)
    root = "" if store is None else str(store.root)
    cells = cell_data(board.collected, board.index, root)
    large = is_large_board(board.rows)
    most = MOST_SECTIONS if large else None
    sections = [] if store is None else stored_sections(store, board.collected.records, most=most)
    page, parts, pictures = make_page(
        board, cells, sections, max_images=max_images, split=split, root=root, site=site
    )
    path = folder / "index.html"
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if pictures or (folder / IMAGES).is_dir():
            write_beside(folder / IMAGES, pictures)
        if parts or (folder / FOLDER).is_dir():
            write_parts(folder / FOLDER, parts, cells)
        encoded = page.encode("utf-8")
        if not path.is_file() or path.read_bytes() != encoded:
            write_atomically(path, encoded)
    return path


def renew_page(store: Store, track: Track, folder: Path, *, board: Board | None = None) -> None:
    """Write the page again where there is one, so that it shows the numbers of the tables beside it.

    `board`: what `board_for` gave, where it was read already.
    """
    if (folder / "index.html").is_file():
        everything_beside = b'id="pictures">{}</script>' in (folder / "index.html").read_bytes()
        split = everything_beside and (folder / IMAGES).is_dir()
        write_page(store, track, folder, split=split, board=board)


def make_page(
    board: Board,
    cells: list[dict[str, Any]],
    sections: list[SectionImages],
    *,
    max_images: int | None = None,
    split: bool = False,
    root: str = "",
    site: str = "",
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Return the page's text, the parts of a large board and the pictures that go beside it.

    Parameters
    ----------
    board
        Rows, table and index of the track.
    cells
        What `msibench.leaderboard.page_origins.cell_data` gave.
    sections
        Staged problems whose images are shown.
    max_images, split
        As in `write_page`.
    root
        Path of the store, which no message may show.
    site
        As in `write_page`.
    """
    collected, track, index, table = board.collected, board.track, board.index, board.table
    parts: dict[str, Any] = {}
    if is_large_board(collected.rows):
        protocols, parts = split_protocols(collected.rows, track)
    else:
        protocols = protocol_data(collected.rows, track)
    problems = [problem_data(number_, section) for number_, section in enumerate(sections)]
    ranking = ranking_data(protocols, parts) if parts else protocols
    chosen = choose_images(sections, problems, ranking, max_images, split=split)
    beside = {each.name for each in chosen if each.beside}
    pictures, curves = encode_images(sections, chosen)
    for problem, section in zip(problems, sections, strict=True):
        problem["damaged"] = dict(sorted(section.damaged.items()))
    scheme, metrics = scheme_of(track, collected.rows["metric"].unique()), board_metrics(index)
    content: dict[str, Any] = {
        "track": {"name": track.name, "title": track.title or track.name},
        "scheme": {
            "name": scheme.name,
            "title": scheme.title,
            "control": track.control_method,
            "percent": scheme.percent,
        },
        "metrics": _metrics(metrics, collected.rows, scheme.directions),
        "protocols": protocols,
        "problems": problems,
        "cost": _cost(table),
        "trust": trust_data(collected.rows, track, metrics),
        "frc": curves,
        "losses": loss_curves(collected.records)[: MOST_LOSSES if parts else None],
        "citations": citations(index),
        "split": bool(beside),
        "site": bool(site),
        "marks": marks(collected.rows),
        "csv": board.csv,
        "rows": rows_csv(collected) if len(collected.rows) <= MOST_ROWS else None,
        "cells": [] if parts else cells,
        "cell_count": len(cells),
        "beside": bool(parts),
        "definitions": index.track_facts.get("protocols", {}),
        "methods": index.track_facts.get("methods", {}),
    }
    damaged = {key: without_path(why, root) for key, why in sorted(collected.damaged.items())}
    away = {name: images for name, images in pictures.items() if name in beside}
    inside = {name: images for name, images in pictures.items() if name not in beside}
    page = _render(content, inside, len(beside), board, damaged, site)
    return page, parts, away


def _metrics(
    known: BoardMetrics, rows: pd.DataFrame, directions: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """Return title, unit and direction of every metric that has rows."""
    found = {}
    for name, part in rows[rows["metric"] != ""].groupby("metric", sort=True):
        spec = known[str(name)]
        found[str(name)] = {
            "title": spec.title or str(name),
            "unit": spec.unit,
            "direction": str(part["direction"].iloc[0]),
            "version": str(part["metric_version"].iloc[0]),
        }
    for name, direction in directions.items():
        found.setdefault(
            name, {"title": name, "unit": "", "direction": str(direction), "version": ""}
        )
    return found


def _cost(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return time and memory per protocol and method, for the quality-time picture."""
    return [
        {
            "protocol": str(row["protocol"]),
            "method": str(row["method"]),
            "seconds": number(row["seconds_per_image"]),
            "rss_mib": number(row["rss_mib"]),
            "rank": number(row.get("rank")) if pd.notna(row.get("rank")) else None,
        }
        for row in records_of(table)
    ]


def _render(
    content: Mapping[str, Any],
    pictures: Mapping[str, Any],
    beside: int,
    board: Board,
    damaged: Mapping[str, str],
    site: str,
) -> str:
    """Fill the template; every text is escaped by it."""
    track, index = board.track, board.index
    shown = sum(len(problem["shown"]) for problem in content["problems"])
    every = sum(len(problem["channels"]) for problem in content["problems"])
    return _template().render(
        track=track,
        content=content,
        css=_asset("page.css"),
        script="\n".join(_asset(name) for name in SCRIPTS),
        data=embedded_json(content),
        pictures=embedded_json(pictures),
        views=table_view(board),
        flag=flag_of(board),
        rebuild=page_commands(board),
        track_facts=index.track_facts,
        damaged=damaged,
        shown=shown,
        beside=beside,
        every=every,
        site=site,
        bundle=track.folder is not None and (track.folder / BUNDLE).is_file(),
    )


@cache
def _template() -> Template:
    from jinja2 import Environment, FunctionLoader

    environment = Environment(
        loader=FunctionLoader(_asset),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["slug"] = page_name
    return environment.get_template("page.html.j2")


def page_name(name: str) -> str:
    """Return the name of the folder that a method's or data set's page has on a site."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or "unnamed"


def _asset(name: str) -> str:
    return (files("msibench.leaderboard") / "assets" / name).read_text("utf-8")
