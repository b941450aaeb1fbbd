"""The page of a track: one HTML file that needs nothing else, made from the store alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from msibench.errors import ConfigurationError, IntegrityError, StoreError
from msibench.leaderboard.images import (
    SectionImages,
    data_url,
    guide_png,
    png,
    spread_order,
    structure,
)
from msibench.leaderboard.page_data import (
    cell_data,
    citations,
    embedded_json,
    label_of,
    loss_curves,
    number,
    numbers,
    protocol_data,
    rows_csv,
    table_csv,
    trust_data,
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
from msibench.leaderboard.rows import Collected, collect
from msibench.leaderboard.table import leaderboard_table, scheme_of
from msibench.results.files import explained, write_atomically
from msibench.results.index import TrackIndex, read_index
from msibench.results.schema import CellRecord, Status
from msibench.results.store import Store
from msibench.tracks import Track

if TYPE_CHECKING:
    from jinja2 import Template

IMAGE_BUDGET = 9_000_000
"""Bytes of embedded images when nobody says how many; keeps the page below 15 MB."""
MOST_ROWS = 40_000
"""Values above which the page leaves its CSV of all rows to ``rows.parquet`` beside it."""
SCRIPTS = ("core.js", "look.js", "slider.js", "charts.js", "read.js", "weights.js", "check.js")
IMAGES = "images"
RING_IONS = 12
"""Ion images of a section, evenly spread, that its ring correlation is the mean of."""


@dataclass(frozen=True, slots=True)
class _Chosen:
    """One ion image that the page can show."""

    problem: int
    channel: int

    @property
    def name(self) -> str:
        return f"{self.problem}-{self.channel}"


def write_page(
    store: Store,
    track: Track,
    folder: Path,
    *,
    max_images: int | None = None,
    split: bool = False,
) -> Path:
    """Write ``index.html`` of a track; the same store gives the same bytes.

    Parameters
    ----------
    store, track
        Where the cells lie, and which of them are meant.
    folder
        Where the page goes; made when it is not there.
    max_images
        Ion images (one ion of one section, with all its methods) that can be looked at. None: as
        many as fit into about 9 MB, the worst, best and middle ones first; all of them with `split`.
    split
        Write images into ``images/*.js`` beside the page, which loads them when they are asked for.

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
    index = read_index(store, track.name)
    if not index.cells:
        raise StoreError(
            f"nothing of track {track.name!r} is in {store.root}; "
            f"run it first: msibench run {track.name}"
        )
    collected = collect(store, index)
    cells, records = cell_data(store, index)
    large = is_large_board(collected.rows)
    sections = stored_sections(store, records, most=MOST_SECTIONS if large else None)
    page, parts, pictures = make_page(
        collected, track, index, cells, records, sections, max_images=max_images, split=split,
        root=str(store.root),
    )  # fmt: skip
    path = folder / "index.html"
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if split:
            _write_split(folder / IMAGES, pictures)
        if parts or (folder / FOLDER).is_dir():
            write_parts(folder / FOLDER, parts, cells)
        encoded = page.encode("utf-8")
        if not path.is_file() or path.read_bytes() != encoded:
            write_atomically(path, encoded)
    return path


def make_page(
    collected: Collected,
    track: Track,
    index: TrackIndex,
    cells: list[dict[str, Any]],
    records: list[CellRecord],
    sections: list[SectionImages],
    *,
    max_images: int | None = None,
    split: bool = False,
    root: str = "",
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Return the page's text, the parts of a large board that go beside it, and the pictures.

    Parameters
    ----------
    collected, track, index
        The board.
    cells, records
        What `msibench.leaderboard.page_data.cell_data` gave.
    sections
        Staged problems whose images are shown.
    max_images, split
        As in `write_page`.
    root
        Path of the store, which no message may show.
    """
    table = leaderboard_table(collected.rows, track)
    parts: dict[str, Any] = {}
    if is_large_board(collected.rows):
        protocols, parts = split_protocols(collected.rows, track)
    else:
        protocols = protocol_data(collected.rows, track)
    problems = [_problem(number_, section) for number_, section in enumerate(sections)]
    ranking = ranking_data(protocols, parts) if parts else protocols
    chosen = _choose(sections, problems, ranking, max_images, split=split)
    pictures, curves = _encode(sections, chosen)
    for problem, section in zip(problems, sections, strict=True):
        problem["damaged"] = dict(sorted(section.damaged.items()))
    scheme = scheme_of(track)
    content: dict[str, Any] = {
        "track": {"name": track.name, "title": track.title or track.name},
        "scheme": {"name": scheme.name, "title": scheme.title, "control": track.control_method},
        "metrics": _metrics(index, collected.rows, scheme.directions),
        "protocols": protocols,
        "problems": problems,
        "cost": _cost(table),
        "trust": trust_data(collected.rows, track),
        "frc": curves,
        "losses": loss_curves(records)[: MOST_LOSSES if parts else None],
        "citations": citations(index),
        "split": split,
        "csv": table_csv(table),
        "rows": rows_csv(collected) if len(collected.rows) <= MOST_ROWS else None,
        "cells": [] if parts else cells,
        "cell_count": len(cells),
        "beside": bool(parts),
        "definitions": index.facts.get("protocols", {}),
        "methods": index.facts.get("methods", {}),
    }
    damaged = {
        key: why.replace(root, "the store") if root else why
        for key, why in sorted(collected.damaged.items())
    }
    page = _render(content, {} if split else pictures, table, track, index, damaged)
    return page, parts, pictures


def stored_sections(
    store: Store, records: list[CellRecord], *, most: int | None = None
) -> list[SectionImages]:
    """Return the staged problems of real cells, in the order of protocol, data set and section.

    Where there are more than `most`, that many, evenly spread.
    """
    found: dict[str, dict[str, CellRecord]] = {}
    for record in sorted(records, key=lambda r: (_place(r), r.method, r.seed, r.device)):
        if record.control or not record.problem_key:
            continue
        methods = found.setdefault(record.problem_key, {})
        if record.status is Status.OK:
            methods.setdefault(record.method, record)
    if most is not None and len(found) > most:
        kept = np.linspace(0, len(found) - 1, most).round().astype(int).tolist()
        found = {key: found[key] for key in [list(found)[place] for place in kept]}
    sections = []
    for key, methods in found.items():
        section = SectionImages(store=store, problem_key=key, records=methods)
        if methods and _readable(section):
            sections.append(section)
    return sections


def _place(record: CellRecord) -> tuple[str, str, str, str]:
    return (record.protocol, record.dataset, record.section, record.mz_set)


def _readable(section: SectionImages) -> bool:
    try:
        return section.low.ndim == 3
    except IntegrityError:
        return False


def _problem(place: int, section: SectionImages) -> dict[str, Any]:
    """Return what the page says of one section under one protocol."""
    record = next(iter(section.records.values()))
    facts = section.facts
    fine = facts.get("truth") or {}
    ppm = facts["low"].get("ppm")
    ppm = None if ppm is None else float(ppm)
    guide = section.guide
    factor = (
        section.truth.shape[1] / section.low.shape[1]
        if section.truth is not None
        else number(record.key_document.get("problem", {}).get("protocol", {}).get("factor", 1))
    )
    channels = []
    for channel in range(len(section.low)):
        scale = section.scale(channel)
        mz = record.mz[channel] if channel < len(record.mz) else None
        name = record.channel_names[channel] if channel < len(record.channel_names) else ""
        channels.append(
            {
                "label": label_of(mz, name, ppm),
                "top": number(scale.top),
                "intensity": number(scale.intensity),
                "clipped": number(scale.clipped),
            }
        )
    return {
        "place": place,
        "protocol": record.protocol,
        "dataset": record.dataset,
        "section": record.section,
        "mz_set": record.mz_set,
        "key": section.problem_key,
        "factor": factor,
        "pixel_um": number(fine.get("pixel_size_um")),
        "low_pixel_um": number(facts["low"].get("pixel_size_um")),
        "shape": list((section.low if section.truth is None else section.truth).shape[1:]),
        "low_shape": list(section.low.shape[1:]),
        "truth": section.truth is not None,
        "notes": list(facts.get("notes", [])),
        "guide": None if guide is None else data_url(guide_png(guide)),
        "guide_kind": str(facts.get("guide", {}).get("kind", "")),
        "channels": channels,
        "methods": sorted(section.records),
        "seeds": sorted({record.seed for record in section.records.values()}),
        "shown": [],
        "first": 0,
    }


def _choose(
    sections: list[SectionImages],
    problems: list[dict[str, Any]],
    protocols: list[dict[str, Any]],
    max_images: int | None,
    *,
    split: bool,
) -> list[_Chosen]:
    """Choose the ion images to show: of every section in turn the worst, the best, the middle."""
    orders = [
        spread_order(_ranked(problem, len(section.low), protocols))
        for problem, section in zip(problems, sections, strict=True)
    ]
    longest = max(map(len, orders), default=0)
    every = [
        _Chosen(place, order[turn])
        for turn in range(longest)
        for place, order in enumerate(orders)
        if turn < len(order)
    ]
    if max_images is not None:
        kept = every[:max_images]
    elif split:
        kept = every
    else:
        kept, used = [], 0
        for chosen in every:
            section = sections[chosen.problem]
            base = section.low if section.truth is None else section.truth
            levels = section.scale(chosen.channel).levels(base[chosen.channel])
            used += len(png(levels)) * 4 // 3 * (1 + len(section.records))
            if used > IMAGE_BUDGET and kept:
                break
            kept.append(chosen)
    kept.sort(key=lambda c: (c.problem, c.channel))
    for chosen in kept:
        problems[chosen.problem]["shown"].append(chosen.channel)
    for problem, section in zip(problems, sections, strict=True):
        if problem["shown"]:  # the page opens on the ion with the clearest structure
            clear = [(-structure(section, channel), channel) for channel in problem["shown"]]
            problem["first"] = min(clear)[1]
    return kept


def _ranked(
    problem: Mapping[str, Any], count: int, protocols: list[dict[str, Any]]
) -> list[int]:  # fmt: skip
    """Order the channels of a section by the mean of the first metric over the methods."""
    mean = np.full(count, np.nan)
    for data in protocols:
        if data["name"] != problem["protocol"] or not data["values"]:
            continue
        values = np.array(data["values"][0], dtype=np.float64)
        for position, image in enumerate(data["images"]):
            same = all(image[key] == problem[key] for key in ("dataset", "section", "mz_set"))
            if same and image["channel"] < count and np.isfinite(values[:, position]).any():
                mean[image["channel"]] = np.nanmean(values[:, position])
    return [int(c) for c in np.lexsort((np.arange(count), np.nan_to_num(mean, nan=np.inf)))]


def _encode(
    sections: list[SectionImages], chosen: list[_Chosen]
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Return the images of every chosen ion, and the ring correlations of every section."""
    pictures: dict[str, dict[str, Any]] = {}
    curves = []
    for place, section in enumerate(sections):
        channels = [c.channel for c in chosen if c.problem == place]
        if not channels:
            continue
        names = {channel: _Chosen(place, channel).name for channel in channels}
        for channel in channels:
            level = section.scale(channel).levels
            truth = section.truth
            pictures[names[channel]] = {
                "low": data_url(png(level(section.low[channel]))),
                "truth": None if truth is None else data_url(png(level(truth[channel]))),
                "methods": {},
            }
        for method in sorted(section.records):
            prediction = section.prediction(method)
            if prediction is None:
                continue
            for channel in channels:
                levels = section.scale(channel).levels(prediction[channel])
                pictures[names[channel]]["methods"][method] = data_url(png(levels))
            curves += _ring_curve(place, section, method, prediction, channels)
    return pictures, curves


def _ring_curve(
    place: int, section: SectionImages, method: str, prediction: Any, channels: list[int]
) -> list[dict[str, Any]]:
    """Return the mean ring correlation with the truth over the ions shown, and the resolution."""
    from msibench.metrics.frc import frc, ring_correlation

    truth = section.truth
    if truth is None or prediction.shape != truth.shape or min(truth.shape[1:]) < 4:
        return []
    channels = channels[:: -(-len(channels) // RING_IONS)]
    test = prediction[channels].astype(np.float64)
    reference = truth[channels].astype(np.float64)
    defined = np.isfinite(test).all((1, 2)) & (np.ptp(reference, axis=(1, 2)) > 0)
    if not defined.any():
        return []
    correlation, frequency = ring_correlation(test[defined], reference[defined])
    size = float(section.facts["truth"].get("pixel_size_um", "nan"))
    resolution = np.nan
    if size > 0:
        resolution = np.median(frc(test[defined], reference[defined], pixel_size_um=size))
    return [
        {
            "problem": place,
            "method": method,
            "frequency": numbers(frequency / (size if size > 0 else 1.0)),
            "correlation": numbers(correlation.mean(axis=0)),
            "resolution_um": number(resolution),
            "ions": int(defined.sum()),
        }
    ]


def _metrics(
    index: TrackIndex, rows: pd.DataFrame, directions: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """Return title, unit and direction of every metric that has rows."""
    facts = index.facts.get("metrics", {})
    found = {}
    for name, part in rows[rows["metric"] != ""].groupby("metric", sort=True):
        known = facts.get(name, {})
        found[str(name)] = {
            "title": str(known.get("title") or name),
            "unit": str(known.get("unit") or ""),
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
        for row in table.to_dict("records")
    ]


def _render(
    content: Mapping[str, Any],
    pictures: Mapping[str, Any],
    table: pd.DataFrame,
    track: Track,
    index: TrackIndex,
    damaged: Mapping[str, str],
) -> str:
    """Fill the template; every text is escaped by it."""
    shown = sum(len(problem["shown"]) for problem in content["problems"])
    every = sum(len(problem["channels"]) for problem in content["problems"])
    return _template().render(
        track=track,
        content=content,
        css=_asset("page.css"),
        script="\n".join(_asset(name) for name in SCRIPTS),
        data=embedded_json(content),
        pictures=embedded_json(pictures),
        views=table_view(table, track, index),
        facts=index.facts,
        damaged=damaged,
        shown=shown,
        every=every,
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
    return environment.get_template("page.html.j2")


def _asset(name: str) -> str:
    return (files("msibench.leaderboard") / "assets" / name).read_text("utf-8")


def _write_split(folder: Path, pictures: Mapping[str, Any]) -> None:
    """Write one script per ion image, and remove those of ions that are no longer shown."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.js"):
        if re.fullmatch(r"\d+-\d+", old.stem) and old.stem not in pictures:
            old.unlink()
    for name, content in pictures.items():
        text = f'msibenchImages("{name}",{embedded_json(content)});\n'
        write_atomically(folder / f"{name}.js", text)
