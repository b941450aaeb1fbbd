"""Scoring schemes: which metrics count, how much, and on what common scale.

A scheme is a small TOML file; shipped are ``skill`` (the default), ``anchored``,
``cao2025`` and ``cao2025-pooled``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any, Literal, cast, get_args

from msibench.contracts.metric import TARGETS, Direction
from msibench.contracts.plain_text import few_of
from msibench.contracts.tables import parse_table, read_text
from msibench.errors import ConfigurationError, UnknownNameError
from msibench.plugin_manager.discovery import installed

Scale = Literal["linear", "decibel"]
Normalisation = Literal["anchored", "bounded", "minmax-per-image", "minmax-pooled", "none"]
UndefinedPolicy = Literal["exclude-and-count", "refuse"]
MissingPolicy = Literal["refuse", "mark"]

DEFAULT_SCHEME, OLDER_SCHEME = "skill", "anchored"
"""The default, and what replaces it where rows are older than `skill`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedMetric:
    """One metric of a scheme."""

    name: str
    weight: float
    """Share before the weights are divided by their sum; above 0."""
    direction: Direction
    """Which way is better; ``"one"``: the nearer to 1."""
    scale: Scale = "linear"
    """``"decibel"``: the error behind the value is ``10 ** (-value / 10)`` (PSNR, NQM)."""
    perfect: float = 1.0
    """What the truth itself gets; infinite for decibels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """How the metrics of one image become one score."""

    name: str
    metrics: tuple[WeightedMetric, ...]
    normalisation: Normalisation
    undefined: UndefinedPolicy = "exclude-and-count"
    """What an image with an undefined metric does: it leaves the mean and is counted, or it refuses
    its method a composite."""
    missing: MissingPolicy = "refuse"
    """What a metric without any value for a method does: it refuses the method a composite, or the
    composite is made of the others and marked with the missing name."""
    region: str = "image"
    """Which region's values the composite takes: ``"image"`` or ``"tissue"``."""
    title: str = ""
    description: str = ""
    percent: bool = False
    """Whether scores are printed as percentages; tables hold shares of 1."""

    @property
    def weights(self) -> dict[str, float]:
        """Weight of every metric; they sum to 1."""
        total = math.fsum(metric.weight for metric in self.metrics)
        return {metric.name: metric.weight / total for metric in self.metrics}

    @property
    def directions(self) -> dict[str, Direction]:
        """Better-way of every metric."""
        return {metric.name: metric.direction for metric in self.metrics}


def shipped_schemes() -> tuple[str, ...]:
    """Return the names of the schemes that come with msibench."""
    folder = resources.files("msibench.scoring") / "shipped"
    return tuple(
        sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".toml"))
    )


def load_scheme(name_or_path: str | Path = DEFAULT_SCHEME) -> Scheme:
    """Read a shipped scheme, or one of a plugin, by its name, or any scheme from its TOML file.

    Raises
    ------
    UnknownNameError
        If the name is neither shipped nor a file; the nearest name is given.
    ConfigurationError
        If the file is not TOML, a key is unknown (the nearest one is given) or a value is not valid.
    """
    name = str(name_or_path)
    if name in shipped_schemes():
        text = (resources.files("msibench.scoring") / "shipped" / f"{name}.toml").read_text("utf-8")
        source = f"scheme {name!r}"
    elif Path(name).is_file():
        text, source = read_text(Path(name)), name
    elif name in (offered := installed().schemes):
        text, source = read_text(offered[name].path), f"scheme {name!r}"
    else:
        near = get_close_matches(name, [*shipped_schemes(), *offered], n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UnknownNameError(
            f"No scoring scheme named {name!r}, and no file of that name.{hint} "
            f"There are: {few_of([*shipped_schemes(), *offered], command='msibench list schemes')}."
        )
    return scheme_from_mapping(parse_table(text, source, fault="is not valid TOML"), source=source)


def scheme_from_mapping(table: Mapping[str, Any], *, source: str = "scheme") -> Scheme:
    """Check a scheme that was read from TOML, for example out of a track file.

    Parameters
    ----------
    table
        Keys ``name normalisation metrics`` and, at will, ``title description undefined missing
        region percent``; ``metrics`` maps a metric's name to ``weight direction`` and, at will,
        ``scale perfect``.
    source
        What messages call it.
    """
    known = {"name", "title", "description", "normalisation", "undefined", "missing", "region"}
    known |= {"percent"}
    _refuse_unknown(table, known | {"metrics"}, source)
    entries = table.get("metrics")
    if not isinstance(entries, Mapping) or not entries:
        raise ConfigurationError(
            f"{source}: expected a table [metrics.<name>] per metric, got none; "
            'add for example [metrics.psnr] with weight = 1 and direction = "higher"'
        )
    return Scheme(
        name=_text(table, "name", source),
        title=str(table.get("title", "")),
        description=str(table.get("description", "")).strip(),
        normalisation=_one_of(Normalisation, _text(table, "normalisation", source), source),
        undefined=_one_of(UndefinedPolicy, table.get("undefined", "exclude-and-count"), source),
        missing=_one_of(MissingPolicy, table.get("missing", "refuse"), source),
        region=str(table.get("region", "image")),
        percent=table.get("percent", False) is True,
        metrics=tuple(_metric(str(name), entry, source) for name, entry in entries.items()),
    )


def _metric(name: str, entry: Any, source: str) -> WeightedMetric:
    where = f"{source}, metric {name!r}"
    if not isinstance(entry, Mapping):
        raise ConfigurationError(f"{where}: expected a table, got {entry!r}")
    _refuse_unknown(entry, ["weight", "direction", "scale", "perfect"], where)
    direction: Direction = _one_of(Direction, _text(entry, "direction", where), where)
    scale: Scale = _one_of(Scale, entry.get("scale", "linear"), where)
    if scale == "decibel":
        perfect = math.inf
        if direction != "higher" or entry.get("perfect", math.inf) != math.inf:
            raise ConfigurationError(
                f'{where}: a decibel scale has direction = "higher" and perfect = inf'
            )
    else:
        perfect = float(entry.get("perfect", 0.0 if direction == "lower" else 1.0))
        if not math.isfinite(perfect) or perfect != TARGETS.get(direction, perfect):
            raise ConfigurationError(
                f"{where}: expected a finite value that the truth gets (1 where the direction is "
                f'"one"), got perfect = {perfect}; an unbounded metric needs scale = "decibel"'
            )
    return WeightedMetric(
        name=name,
        weight=_weight(entry.get("weight", 1.0), where),
        direction=direction,
        scale=scale,
        perfect=perfect,
    )


def _weight(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigurationError(
            f"{where}: expected a weight above 0, got {value!r}; leave a metric out by removing it"
        )
    return float(value)


def _text(table: Mapping[str, Any], key: str, source: str) -> str:
    if not isinstance(table.get(key), str):
        raise ConfigurationError(f"{source}: expected text under {key!r}, got {table.get(key)!r}")
    return str(table[key])


def _one_of(choices: Any, value: Any, source: str) -> Any:
    allowed = cast("tuple[str, ...]", get_args(choices))
    if value not in allowed:
        raise ConfigurationError(f"{source}: expected one of {', '.join(allowed)}, got {value!r}")
    return value


def _refuse_unknown(table: Mapping[str, Any], known: Iterable[str], source: str) -> None:
    names = sorted(known)
    for key in table:
        if key not in names:
            near = get_close_matches(key, names, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ConfigurationError(
                f"{source}: no key {key!r}.{hint} Known here: {', '.join(names)}."
            )
