"""Everything that the installed plugins offer, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TypeVar

from msibench.contracts.board import ProtocolSpec, SchemeSpec, TrackSpec
from msibench.contracts.command import CommandSpec, ExecutorSpec
from msibench.contracts.dataset import DatasetSpec
from msibench.contracts.method import CONSISTENT, MethodSpec, consistent_twin
from msibench.contracts.metric import MetricSpec
from msibench.contracts.plain_text import few_of
from msibench.errors import UnknownNameError

Spec = TypeVar("Spec", MethodSpec, DatasetSpec, MetricSpec, ExecutorSpec, CommandSpec)


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """One entry point and whether it loaded."""

    name: str
    module: str
    distribution: str
    version: str
    broken: str = ""
    """Why it could not be used; empty for a working plugin."""


@dataclass
class Catalogue:
    """Everything that the installed plugins offer."""

    methods: dict[str, MethodSpec] = field(default_factory=dict)
    datasets: dict[str, DatasetSpec] = field(default_factory=dict)
    metrics: dict[str, MetricSpec] = field(default_factory=dict)
    protocols: dict[str, ProtocolSpec] = field(default_factory=dict)
    schemes: dict[str, SchemeSpec] = field(default_factory=dict)
    tracks: dict[str, TrackSpec] = field(default_factory=dict)
    executors: dict[str, ExecutorSpec] = field(default_factory=dict)
    commands: dict[str, CommandSpec] = field(default_factory=dict)
    plugins: dict[str, PluginInfo] = field(default_factory=dict)
    owner: dict[tuple[str, str], str] = field(default_factory=dict)
    """``(kind, name)`` → the plugin that offers it."""

    @property
    def broken(self) -> dict[str, str]:
        """Entry points that could not be used, with the reason."""
        return {name: info.broken for name, info in self.plugins.items() if info.broken}

    def method(self, name: str) -> MethodSpec:
        """Return the method called `name`, or raise and list what is installed.

        Every method has a twin of the harness, ``NAME+consistent`` (`consistent_twin`).
        """
        if name.endswith(CONSISTENT) and name not in self.methods:
            return consistent_twin(self.method(name.removesuffix(CONSISTENT)))
        return self._look_up("method", name, self.methods)

    def dataset(self, name: str) -> DatasetSpec:
        """Return the data set called `name`, or raise and list what is installed."""
        return self._look_up("data set", name, self.datasets)

    def metric(self, name: str) -> MetricSpec:
        """Return the metric called `name`, or raise and list what is installed."""
        return self._look_up("metric", name, self.metrics)

    def _look_up(self, kind: str, name: str, known: Mapping[str, Spec]) -> Spec:
        if name in known:
            return known[name]
        near = get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        listed = few_of(sorted(known), command=f"msibench list {kind.replace(' ', '')}s")
        broken = "".join(
            f"\nPlugin {plugin!r} is installed but cannot be used: {reason}"
            for plugin, reason in self.broken.items()
            if plugin in name or name in plugin
        )
        raise UnknownNameError(f"No {kind} named {name!r}.{hint} Installed: {listed}.{broken}")
