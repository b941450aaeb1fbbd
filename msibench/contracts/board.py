"""What a plugin says about a protocol, a scoring scheme or a track; cheap to make, reads nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolSpec:
    """A family of degradation protocols, one for every factor."""

    name: str
    """Family and version, ``"double-shot@1"``; the protocol of factor 4 is ``"double-shot-x4@1"``. A
    name of the core cannot be taken."""
    target: str
    """``"my_plugin.double_shot:FAMILY"``: a `msibench.degradation.Family`, whose steps may be operators
    of the plugin's own (`msibench.degradation.Step`). Imported when the protocol is first used."""
    description: str = ""
    """One line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemeSpec:
    """A scoring scheme: how a board's metrics become one score."""

    name: str
    path: Path
    """Its TOML file (docs/scores.md)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackSpec:
    """A track: what a board compares. Its board is written into the results folder."""

    name: str
    path: Path
    """``track.toml``."""
