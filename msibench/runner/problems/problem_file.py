"""What a method sees, as a file: ``problem.h5``. And the training pairs, ``training.h5``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msibench.image import GuideImage, MSImage, Pair, Problem
from msibench.results.arrays import read_arrays, write_arrays

Arrays = dict[str, NDArray[Any]]


def pack_image(name: str, image: MSImage | None, arrays: Arrays, facts: dict[str, Any]) -> None:
    """Put an MSImage into arrays and facts under `name`."""
    if image is None:
        return
    arrays[f"{name}"] = image.values
    arrays[f"{name}_mz"] = image.mz
    if image.mask is not None:
        arrays[f"{name}_mask"] = image.mask.astype(np.uint8)
    facts[name] = {
        "pixel_size_um": repr(float(image.pixel_size_um)),
        "ppm": image.ppm,
        "unit": image.unit,
    }


def unpack_image(name: str, arrays: Arrays, facts: Mapping[str, Any]) -> MSImage | None:
    """Take an MSImage out again; None when there is none under `name`."""
    if name not in arrays:
        return None
    mask = arrays.get(f"{name}_mask")
    return MSImage(
        arrays[name],
        arrays[f"{name}_mz"],
        pixel_size_um=float(facts[name]["pixel_size_um"]),
        mask=None if mask is None else mask.astype(np.bool_),
        ppm=facts[name]["ppm"],
        unit=facts[name]["unit"],
    )


def pack_guide(guide: GuideImage | None, arrays: Arrays, facts: dict[str, Any]) -> None:
    """Put a guide into arrays and facts."""
    if guide is None:
        return
    arrays["guide"] = guide.values
    if guide.mask is not None:
        arrays["guide_mask"] = guide.mask.astype(np.uint8)
    facts["guide"] = {
        "pixel_size_um": repr(float(guide.pixel_size_um)),
        "channel_names": list(guide.channel_names),
        "kind": guide.kind,
    }


def unpack_guide(arrays: Arrays, facts: Mapping[str, Any]) -> GuideImage | None:
    """Take a guide out again; None when there is none."""
    if "guide" not in arrays:
        return None
    mask = arrays.get("guide_mask")
    return GuideImage(
        arrays["guide"],
        pixel_size_um=float(facts["guide"]["pixel_size_um"]),
        channel_names=tuple(facts["guide"]["channel_names"]),
        mask=None if mask is None else mask.astype(np.bool_),
        kind=facts["guide"]["kind"],
    )


def write_problem(path: Path, problem: Problem) -> None:
    """Write the parts of a problem that do not depend on who solves it."""
    arrays: Arrays = {}
    facts: dict[str, Any] = {"factor": problem.factor, "protocol": problem.protocol}
    for name in ("low", "second", "middle"):
        pack_image(name, getattr(problem, name), arrays, facts)
    pack_guide(problem.guide, arrays, facts)
    write_arrays(path, arrays, {"facts": json.dumps(facts, sort_keys=True)})


def read_problem(path: Path, cell: Mapping[str, Any], *, scratch: Path | None = None) -> Problem:
    """Read a problem; `cell` adds device, precision and seed."""
    arrays, attributes = read_arrays(path)
    facts = json.loads(attributes["facts"])
    low = unpack_image("low", arrays, facts)
    assert low is not None
    if scratch is not None:
        scratch.mkdir(exist_ok=True)
    return Problem(
        low=low,
        factor=int(facts["factor"]),
        guide=unpack_guide(arrays, facts),
        second=unpack_image("second", arrays, facts),
        middle=unpack_image("middle", arrays, facts),
        device=cell.get("device", "cpu"),
        precision=cell.get("precision", "float32"),
        seed=int(cell.get("seed", 0)),
        protocol=facts["protocol"],
        scratch=scratch,
    )


def write_pairs(path: Path, pairs: Iterable[Pair]) -> None:
    """Write training pairs into one file."""
    arrays: Arrays = {}
    facts: dict[str, Any] = {"pairs": []}
    for index, pair in enumerate(pairs):
        own: dict[str, Any] = {"section": pair.section, "factor": pair.factor}
        part: Arrays = {}
        pack_image("low", pair.low, part, own)
        pack_image("high", pair.high, part, own)
        pack_guide(pair.guide, part, own)
        arrays.update({f"{index}_{name}": values for name, values in part.items()})
        facts["pairs"].append(own)
    write_arrays(path, arrays, {"facts": json.dumps(facts, sort_keys=True)})


def read_pairs(path: Path) -> list[Pair]:
    """Read training pairs again."""
    arrays, attributes = read_arrays(path)
    pairs = []
    for index, facts in enumerate(json.loads(attributes["facts"])["pairs"]):
        start = f"{index}_"
        part = {
            name.removeprefix(start): values
            for name, values in arrays.items()
            if name.startswith(start)
        }
        low, high = unpack_image("low", part, facts), unpack_image("high", part, facts)
        assert low is not None
        assert high is not None
        pairs.append(
            Pair(
                low=low,
                high=high,
                factor=int(facts["factor"]),
                guide=unpack_guide(part, facts),
                section=facts["section"],
            )
        )
    return pairs
