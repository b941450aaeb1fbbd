"""A page of a very large board: section means in the page, every ion image in files beside it.

450,000 ion images make 60 MB of numbers, which a browser opens slowly. Above a limit the page holds
one number per section, and ``data/<protocol>-<section>.js`` the numbers of the section's ion images,
which the page loads as a script when they are asked for: that works from a disk, where pages may not
read other files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from msibench.leaderboard.page_data import arrays_of, images_of, paired_intervals
from msibench.leaderboard.page_json import embedded_json, numbers
from msibench.leaderboard.rows import measured
from msibench.results.files import write_atomically
from msibench.scoring.cube import Cube, cubes
from msibench.tracks import Track

MOST_VALUES = 1_000_000
"""Metric values above which they go into files beside the page."""
MOST_SECTIONS = 40
"""Sections, evenly spread, of which such a page shows images."""
MOST_LOSSES = 200
"""Loss curves that such a page holds."""
FOLDER = "data"
CELLS = "cells"


def is_large_board(rows: pd.DataFrame) -> bool:
    """Whether a page cannot hold every value itself."""
    return len(rows) > MOST_VALUES


def split_protocols(
    rows: pd.DataFrame, track: Track
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Return `protocol_data` with one mean per section, and the parts beside the page.

    Returns
    -------
    Protocols whose ``images`` are sections: each names its ``part`` and says how many ion images are
    behind the mean. And the parts by name: ``images values scores composite`` of one section.
    """
    protocols, parts = [], {}
    for place, cube in enumerate(cubes(measured(rows))):
        summary, own = _one(cube.ion_images(), track, place)
        protocols.append(summary)
        parts.update(own)
    return protocols, parts


def _one(cube: Cube, track: Track, place: int) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    header, stacks, directions = arrays_of(cube, track)
    keys = ["dataset", "section", "mz_set"]
    section = cube.images.groupby(keys, sort=False).ngroup().to_numpy().astype(np.intp)
    count = int(section.max(initial=-1)) + 1
    first = [int(np.flatnonzero(section == index)[0]) for index in range(count)]
    images = images_of(cube)
    parts = {}
    for index in range(count):
        mine = section == index
        parts[f"{place}-{index}"] = {
            "images": [images[i] for i in np.flatnonzero(mine)],
            **{name: _listed(stack, mine) for name, stack in stacks.items()},
        }
    means = {name: _means(stack, section, count) for name, stack in stacks.items()}
    everything = np.ones(count, dtype=np.bool_)
    summary = {
        **header,
        "parts": True,
        "specimens": len(np.unique(cube.specimens)),
        "images": [
            {
                **{key: images[at][key] for key in keys},
                "channel": -1,
                "mz": None,
                "part": f"{place}-{index}",
                "of": int((section == index).sum()),
            }
            for index, at in enumerate(first)
        ],
        **{name: _listed(stack, everything) for name, stack in means.items()},
        "pairs": paired_intervals(
            [means["composite"], *means["values"]],
            directions,
            np.arange(count),
            cube.specimens[first],
        ),
    }
    return summary, parts


def _means(stack: Any, section: NDArray[np.intp], count: int) -> Any:
    """Return the mean over each section's images that have a value, first axis for first axis."""
    if isinstance(stack, dict):
        return {name: _means(part, section, count) for name, part in stack.items()}
    if isinstance(stack, list):
        return [_means(part, section, count) for part in stack]
    known = np.isfinite(stack)
    total = np.zeros((count, *stack.shape[1:]))
    behind = np.zeros(total.shape)
    np.add.at(total, section, np.where(known, stack, 0.0))
    np.add.at(behind, section, known)
    return np.divide(total, behind, out=np.full_like(total, np.nan), where=behind > 0)


def _listed(stack: Any, chosen: NDArray[np.bool_]) -> Any:
    """Return arrays ``(image, method)`` as lists, method by method, of the chosen images."""
    if isinstance(stack, dict):
        return {name: _listed(part, chosen) for name, part in stack.items()}
    if isinstance(stack, list):
        return [_listed(part, chosen) for part in stack]
    return numbers(stack[chosen].T)


def write_parts(folder: Path, parts: Mapping[str, Any], cells: list[dict[str, Any]]) -> None:
    """Write the files beside a page, and remove those of an earlier one."""
    folder.mkdir(exist_ok=True)
    contents: dict[str, Any] = {**parts, CELLS: cells} if parts else {}
    for old in folder.glob("*.js"):
        if re.fullmatch(rf"\d+-\d+|{CELLS}", old.stem) and old.stem not in contents:
            old.unlink()
    for name, content in contents.items():
        text = f'msibenchPart("{name}",{embedded_json(content)});\n'
        path = folder / f"{name}.js"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_atomically(path, text)


def ranking_data(
    protocols: list[dict[str, Any]], parts: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return one protocol entry per part, for choosing the ion images to show."""
    return [
        {"name": protocol["name"], **parts[image["part"]]}
        for protocol in protocols
        for image in protocol["images"]
    ]
