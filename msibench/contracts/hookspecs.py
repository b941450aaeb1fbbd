"""Hooks that a plugin may implement; each yields plain values and imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from msibench.contracts.board import ProtocolSpec, SchemeSpec, TrackSpec
    from msibench.contracts.command import CommandSpec, ExecutorSpec
    from msibench.contracts.dataset import DatasetSpec
    from msibench.contracts.method import MethodSpec
    from msibench.contracts.metric import MetricSpec

API_VERSION = 1
"""A plugin may set ``msibench_api = 1``; another number is an error that says which is spoken here."""

hookspec = pluggy.HookspecMarker("msibench")
hookimpl = pluggy.HookimplMarker("msibench")


@hookspec
def msibench_methods() -> Iterable[MethodSpec]:  # type: ignore[empty-body]
    """Yield one spec for each method that this plugin offers.

    >>> @hookimpl
    ... def msibench_methods():
    ...     yield MethodSpec(name="nearest", target="my_plugin.method:Nearest",
    ...                      task=Task.SINGLE_IMAGE, citation="https://…", licence="MIT")
    """


@hookspec
def msibench_datasets() -> Iterable[DatasetSpec]:  # type: ignore[empty-body]
    """Yield one spec for each data set that this plugin offers."""


@hookspec
def msibench_metrics() -> Iterable[MetricSpec]:  # type: ignore[empty-body]
    """Yield one spec for each metric that this plugin offers."""


@hookspec
def msibench_protocols() -> Iterable[ProtocolSpec]:  # type: ignore[empty-body]
    """Yield one spec for each family of degradation protocols that this plugin offers.

    >>> @hookimpl
    ... def msibench_protocols():
    ...     yield ProtocolSpec(name="double-shot@1", target="my_plugin.double_shot:FAMILY",
    ...                        description="two shots a coarse pixel, their mean")
    """


@hookspec
def msibench_schemes() -> Iterable[SchemeSpec]:  # type: ignore[empty-body]
    """Yield one spec for each scoring scheme that this plugin offers."""


@hookspec
def msibench_tracks() -> Iterable[TrackSpec]:  # type: ignore[empty-body]
    """Yield one spec for each track that this plugin offers."""


@hookspec
def msibench_executors() -> Iterable[ExecutorSpec]:  # type: ignore[empty-body]
    """Yield one spec for each place where this plugin can run cells."""


@hookspec
def msibench_commands() -> Iterable[CommandSpec]:  # type: ignore[empty-body]
    """Yield one spec for each subcommand that this plugin adds to ``msibench``."""
