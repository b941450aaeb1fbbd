"""Hooks that a plugin may implement; each yields facts and imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

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
def msibench_executors() -> Iterable[ExecutorSpec]:  # type: ignore[empty-body]
    """Yield one spec for each place where this plugin can run cells."""


@hookspec
def msibench_commands() -> Iterable[CommandSpec]:  # type: ignore[empty-body]
    """Yield one spec for each subcommand that this plugin adds to ``msibench``."""
