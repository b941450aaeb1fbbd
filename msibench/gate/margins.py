"""What counts as worse: margins per metric, and the rules of the speed and memory gates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any

from msibench.contracts.tables import check_keys, parse_table
from msibench.errors import ConfigurationError
from msibench.scoring import Noise

MARGINS_SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Margins:
    """All thresholds of a comparison."""

    metrics: Mapping[str, float]
    """Loss that does not matter, in the metric's unit; other metrics are not tested."""
    level: float = 0.95
    family: str = "holm"
    """``holm``: `level` holds for all comparisons together that are not identical; ``none``: for
    each, so that of 40 unchanged but noisy ones about one is called worse."""
    noise_image: float = 2.5
    """Standard deviation of a rerun's difference on one ion image, in margins."""
    noise_section: float = 0.5
    """The same of what all images of a section share."""
    noise_rerun: float = 1.0
    """The same of what all images of a run share, where seeds do not show it."""
    removed: tuple[str, ...] = ()
    """Metrics declared as removed: their absence is not a fault."""
    speed_factor: float = 1.1
    speed_p: float = 0.002
    memory_factor: float = 1.1
    memory_least_mib: float = 32.0
    required_coverage: float = 0.0

    def __post_init__(self) -> None:
        """Check every value."""
        for name, margin in self.metrics.items():
            _number(f"[metrics] {name}", margin, 0.0, math.inf)
        _number("[statistics] level", self.level, 0.5, 0.9999)
        if self.family not in {"holm", "none"}:
            raise ConfigurationError(
                f"[statistics] family must be 'holm' or 'none', got {self.family!r}"
            )
        for name in ("image", "section", "rerun"):
            _number(f"[noise] {name}", getattr(self, f"noise_{name}"), 0.0, math.inf)
        if not all(isinstance(name, str) for name in self.removed):
            raise ConfigurationError(
                f"[declared] removed must be a list of metrics, got {list(self.removed)!r}"
            )
        _number("[speed] factor", self.speed_factor, 1.0, math.inf)
        _number("[speed] p", self.speed_p, 1e-12, 0.5)
        _number("[memory] factor", self.memory_factor, 1.0, math.inf)
        _number("[memory] least_mib", self.memory_least_mib, 0.0, math.inf)
        _number("[coverage] required", self.required_coverage, 0.0, 1.0)


def noise_of(margins: Margins) -> Noise:
    """Return by how much a rerun differs, in margins."""
    return Noise(
        image=margins.noise_image, section=margins.noise_section, rerun=margins.noise_rerun
    )


def load_margins(path: Path | None = None) -> Margins:
    """Read margins; what a file leaves out keeps its shipped value, ``[metrics]`` as a whole.

    Parameters
    ----------
    path
        A TOML file; None: the margins that ship with msibench.

    Raises
    ------
    ConfigurationError
        If a key does not exist or a value is not valid.
    """
    shipped = (files("msibench") / "gate" / "margins.toml").read_text("utf-8")
    values = _values(shipped, "margins.toml of msibench")
    if path is not None:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"margins {path} cannot be read: {error}") from error
        values |= _values(text, str(path))
    return Margins(**values)


def _values(text: str, where: str) -> dict[str, Any]:
    """Return the fields of `Margins` that a file sets."""
    table = parse_table(text, where)
    if table.pop("schema_version", None) != MARGINS_SCHEMA:
        raise ConfigurationError(f"{where}: schema_version must be {MARGINS_SCHEMA}")
    parts = {"metrics", "statistics", "noise", "speed", "memory", "coverage", "declared"}
    check_keys(table, parts, where)
    for name, part in table.items():
        if not isinstance(part, dict):
            raise ConfigurationError(f"{where}: {name} must be a table, [{name}], got {part!r}")
    known = {field.name for field in fields(Margins)}
    values: dict[str, Any] = {}
    for name, prefix in (
        ("statistics", ""),
        ("noise", "noise_"),
        ("speed", "speed_"),
        ("memory", "memory_"),
    ):
        part = table.get(name, {})
        ours = {field.removeprefix(prefix) for field in known if field.startswith(prefix)}
        allowed = ours if prefix else {"level", "family"}
        check_keys(part, allowed, f"{where}, [{name}]")
        values |= {prefix + key: value for key, value in part.items()}
    coverage = table.get("coverage", {})
    check_keys(coverage, {"required"}, f"{where}, [coverage]")
    if "required" in coverage:
        values["required_coverage"] = coverage["required"]
    declared = table.get("declared", {})
    check_keys(declared, {"removed"}, f"{where}, [declared]")
    if "removed" in declared:
        if not isinstance(declared["removed"], list):
            raise ConfigurationError(
                f"{where}: removed must be a list of metrics, got {declared['removed']!r}"
            )
        values["removed"] = tuple(declared["removed"])
    if "metrics" in table:
        values["metrics"] = table["metrics"]
    return values


def _number(what: str, value: object, least: float, most: float) -> None:
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or not least <= float(value) <= most
        or math.isinf(float(value))
    ):
        upper = "" if math.isinf(most) else f" and at most {most:g}"
        raise ConfigurationError(
            f"{what} must be a number of at least {least:g}{upper}, got {value!r}"
        )
