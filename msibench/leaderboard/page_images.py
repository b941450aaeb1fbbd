"""The ion images of a page: which sections and ions are shown, and their encoded pictures."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msibench.contracts.metric import Intervals
from msibench.degradation import protocol
from msibench.errors import IntegrityError
from msibench.leaderboard.images import (
    SectionImages,
    data_url,
    guide_name,
    guide_png,
    png,
    spread_order,
    structure,
)
from msibench.leaderboard.page_json import embedded_json, label_of, number, numbers
from msibench.leaderboard.veil import NEVER, calibrated_levels, supported_levels
from msibench.metrics import hallucination_map
from msibench.metrics.frc import chance_floor, ring_correlation
from msibench.results.files import write_atomically
from msibench.results.schema import CellRecord, Status
from msibench.results.store import Store

IMAGE_BUDGET = 9_000_000
"""Bytes of embedded images by default; keeps the page below 15 MB."""
BESIDE_BUDGET = 27_000_000
"""Bytes of images beyond those that go into files beside the page, so that every ion can be looked at."""
MAP_STEP = 80
"""Grey levels between nothing, improved, omitted and invented in a map's picture."""
LevelsOf = Callable[[Any, Any, int, float], NDArray[np.uint8]]
"""From the coarse and the fine image of an ion, its channel and the end of the colours to levels."""
RING_IONS = 12
"""Ion images of a section, evenly spread, that its ring correlation is the mean of."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """One ion image that the page can show."""

    problem: int
    channel: int
    beside: bool = False
    """Its images are in a file beside the page, which loads it on request."""

    @property
    def name(self) -> str:
        """Its name in the page's data: section and ion by number."""
        return f"{self.problem}-{self.channel}"


def stored_sections(
    store: Store, records: Iterable[CellRecord], *, most: int | None = None
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


def problem_data(place: int, section: SectionImages) -> dict[str, Any]:
    """Return the page's entry for one section under one protocol."""
    record = next(iter(section.records.values()))
    staged = section.staged
    ppm, guide = staged.low.ppm, staged.guide
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
        "unit": "" if staged.low.unit in {"scaled", "arbitrary"} else staged.low.unit,
        "pixel_um": number(section.pixel_size_um),
        "low_pixel_um": number(staged.low.pixel_size_um),
        "shape": list((section.low if section.truth is None else section.truth).shape[1:]),
        "low_shape": list(section.low.shape[1:]),
        "truth": section.truth is not None,
        "absent": bool(section.low_absent.any() or section.absent.any()),
        "notes": list(staged.notes),
        "guide": None if guide is None else data_url(guide_png(guide.values)),
        "guide_kind": "" if guide is None else guide_name(guide),
        "channels": channels,
        "methods": sorted(section.records),
        "seeds": sorted({record.seed for record in section.records.values()}),
        "shown": [],
        "first": 0,
    }


def choose_images(
    sections: list[SectionImages],
    problems: list[dict[str, Any]],
    protocols: list[dict[str, Any]],
    max_images: int | None,
    *,
    split: bool,
) -> list[Chosen]:
    """Choose the ion images to show: of every section in turn the worst, the best, the middle.

    What does not fit into the page goes beside it, up to `BESIDE_BUDGET`.
    """
    orders = [
        spread_order(_ranked(problem, len(section.low), protocols))
        for problem, section in zip(problems, sections, strict=True)
    ]
    longest = max(map(len, orders), default=0)
    every = [
        Chosen(place, order[turn])
        for turn in range(longest)
        for place, order in enumerate(orders)
        if turn < len(order)
    ]
    if max_images is not None:
        kept = [replace(chosen, beside=split) for chosen in every[:max_images]]
    elif split:
        kept = [replace(chosen, beside=True) for chosen in every]
    else:
        kept, used = [], 0
        for chosen in every:
            section = sections[chosen.problem]
            base = section.low if section.truth is None else section.truth
            levels = section.scale(chosen.channel).levels(base[chosen.channel])
            used += len(png(levels)) * 4 // 3 * (1 + len(section.records))
            beside = used > IMAGE_BUDGET and bool(kept)
            if used > IMAGE_BUDGET + BESIDE_BUDGET and kept:
                break
            kept.append(replace(chosen, beside=beside))
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


def encode_images(
    sections: list[SectionImages], chosen: list[Chosen]
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Return the images of every chosen ion, and the ring correlations of every section."""
    pictures: dict[str, dict[str, Any]] = {}
    curves = []
    for place, section in enumerate(sections):
        channels = [c.channel for c in chosen if c.problem == place]
        if not channels:
            continue
        names = {channel: Chosen(place, channel).name for channel in channels}
        for channel in channels:
            level = section.scale(channel).levels
            truth = section.truth
            pictures[names[channel]] = {
                "low": _encoded(section, level(section.low[channel])),
                "truth": None if truth is None else _encoded(section, level(truth[channel])),
                "methods": {},
                "maps": {},
            }
        for method in sorted(section.records):
            prediction = section.prediction(method)
            if prediction is None:
                continue
            levels_of, whose = _veil_of(section.intervals(method), prediction.shape)
            for channel in channels:
                levels = section.scale(channel).levels(prediction[channel])
                pictures[names[channel]]["methods"][method] = _encoded(section, levels)
                if (found := _detail_map(section, method, prediction, channel)) is not None:
                    pictures[names[channel]]["maps"][method] = _encoded(section, found)
                if levels_of is not None:
                    top = section.scale(channel).top
                    sure = levels_of(section.low[channel], prediction[channel], channel, top)
                    if (mask := section.staged.mask) is not None and mask.shape == sure.shape:
                        sure = np.where(mask, sure, NEVER).astype(np.uint8)
                    pictures[names[channel]].setdefault("sure", {})[method] = data_url(png(sure))
                    if whose:
                        pictures[names[channel]].setdefault("whose", {})[method] = whose
            curves += _ring_curve(place, section, method, prediction, channels)
    return pictures, curves


def _veil_of(found: Intervals, shape: tuple[int, ...]) -> tuple[LevelsOf | None, str]:
    """Return the interval that shows how far detail is supported, and whose it is; empty: the method's own.

    Where the harness calibrated intervals, its own go before those of methods, so that methods compare.
    """
    told, calibrated = found.told, found.calibrated
    if calibrated is not None and calibrated.signal.shape == shape:
        sure = calibrated

        def of_the_harness(low: Any, fine: Any, channel: int, top: float) -> NDArray[np.uint8]:
            return calibrated_levels(low, fine, sure, channel, top)

        return of_the_harness, sure.calibrated
    if told is not None and told.lower.shape == told.upper.shape == shape:
        says = told

        def of_the_method(low: Any, fine: Any, channel: int, top: float) -> NDArray[np.uint8]:
            return supported_levels(low, fine, says, channel, top)

        return of_the_method, ""
    return None, ""


def _encoded(section: SectionImages, levels: NDArray[np.uint8]) -> str:
    """Return grey levels as an address, transparent where nothing was measured."""
    absent = section.absent_on(levels.shape)
    if absent is None:
        return data_url(png(levels))
    opacity = np.where(absent, 0, 255).astype(np.uint8)
    return data_url(png(np.stack([levels, opacity], axis=-1)))


def _detail_map(
    section: SectionImages, method: str, prediction: Any, channel: int
) -> NDArray[np.uint8] | None:
    """Return where detail was improved, omitted or invented as levels; the page gives them colours."""
    truth = section.truth
    if truth is None or prediction.shape != truth.shape:
        return None
    chain = protocol(section.records[method].protocol)
    found = hallucination_map(prediction[channel], truth[channel], protocol=chain)
    return (found * MAP_STEP).astype(np.uint8)


def _ring_curve(
    place: int, section: SectionImages, method: str, prediction: Any, channels: list[int]
) -> list[dict[str, Any]]:
    """Return the mean ring correlation with the truth over the ions shown."""
    truth = section.truth
    if truth is None or prediction.shape != truth.shape or min(truth.shape[1:]) < 4:
        return []
    channels = channels[:: -(-len(channels) // RING_IONS)]
    test = prediction[channels].astype(np.float64)
    reference = truth[channels].astype(np.float64)
    defined = np.isfinite(test).all((1, 2)) & (np.ptp(reference, axis=(1, 2)) > 0)
    if not defined.any():
        return []
    chain = protocol(section.records[method].protocol)
    unseen = [chain.split(images[defined])[1] for images in (test, reference)]
    correlation, frequency = ring_correlation(*unseen)
    size = section.pixel_size_um
    return [
        {
            "problem": place,
            "method": method,
            "frequency": numbers(frequency / (size if size > 0 else 1.0)),
            "correlation": numbers(correlation.mean(axis=0)),
            "floor": numbers(chance_floor(truth.shape[1:])),
            "ions": int(defined.sum()),
        }
    ]


def write_beside(folder: Path, pictures: Mapping[str, Any]) -> None:
    """Write one script per ion image, and remove those of ions that are no longer shown."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.js"):
        if re.fullmatch(r"\d+-\d+", old.stem) and old.stem not in pictures:
            old.unlink()
    for name, content in pictures.items():
        text = f'msibenchImages("{name}",{embedded_json(content)});\n'
        write_atomically(folder / f"{name}.js", text)
