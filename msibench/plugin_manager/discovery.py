"""Find plugins one at a time, so that a broken one does not stop the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import cache, lru_cache
from importlib.metadata import Distribution, EntryPoint, entry_points
from typing import Any

import pluggy

from msibench.contracts import hookspecs
from msibench.contracts.board import ProtocolSpec, SchemeSpec, TrackSpec
from msibench.contracts.command import CommandSpec, ExecutorSpec
from msibench.contracts.dataset import DatasetSpec
from msibench.contracts.method import MethodSpec
from msibench.contracts.metric import MetricSpec
from msibench.contracts.plain_text import visible
from msibench.errors import DuplicateNameError, PluginError
from msibench.plugin_manager.catalogue import Catalogue, PluginInfo
from msibench.plugin_manager.loading import EndedPythonError, plugin_code

GROUP = "msibench"


HOOKS: Mapping[str, tuple[str, str]] = {
    "msibench_methods": ("method", "methods"),
    "msibench_datasets": ("data set", "datasets"),
    "msibench_metrics": ("metric", "metrics"),
    "msibench_protocols": ("protocol", "protocols"),
    "msibench_schemes": ("scheme", "schemes"),
    "msibench_tracks": ("track", "tracks"),
    "msibench_executors": ("executor", "executors"),
    "msibench_commands": ("command", "commands"),
}


_TYPES: Mapping[str, type] = {
    "msibench_methods": MethodSpec,
    "msibench_datasets": DatasetSpec,
    "msibench_metrics": MetricSpec,
    "msibench_protocols": ProtocolSpec,
    "msibench_schemes": SchemeSpec,
    "msibench_tracks": TrackSpec,
    "msibench_executors": ExecutorSpec,
    "msibench_commands": CommandSpec,
}


def discover(
    candidates: Iterable[EntryPoint] | None = None,
    *,
    strict: bool = False,
    builtin_metrics: Iterable[MetricSpec] = (),
) -> Catalogue:
    """Load every plugin in the ``msibench`` entry-point group, one at a time.

    Parameters
    ----------
    candidates
        Entry points to load instead of the installed ones.
    strict
        Make the first broken plugin fatal.
    builtin_metrics
        Metrics of the core, listed before any plugin's.

    Raises
    ------
    DuplicateNameError
        If two plugins offer one name; the message names both distributions.
    PluginError
        With `strict`, if a plugin cannot be used.
    """
    catalogue = Catalogue()
    for metric in builtin_metrics:
        catalogue.metrics[metric.name] = replace(metric, distribution="msibench")
        catalogue.owner["metric", metric.name] = "msibench (built in)"
    found = entry_points(group=GROUP) if candidates is None else candidates
    about = cache(_about)  # one distribution offers several plugins
    manager = _manager()
    for candidate in sorted(found, key=lambda point: (point.name, point.value)):
        info = PluginInfo(candidate.name, candidate.value, *about(candidate.dist))
        if candidate.name in catalogue.plugins:
            other = catalogue.plugins[candidate.name]
            raise DuplicateNameError(
                f"Two distributions install a plugin named {candidate.name!r}: "
                f"{other.distribution} {other.version} ({other.module}) and {info.distribution} "
                f"{info.version} ({info.module}). Uninstall one of them."
            )
        try:
            with plugin_code():
                specs = _specs_of(candidate.load(), candidate.name, manager)
        except Exception as error:
            reason = (
                str(error)
                if isinstance(error, EndedPythonError)
                else visible(f"{type(error).__name__}: {error}")
            )
            if strict:
                raise PluginError(
                    f"Plugin {candidate.name!r} ({info.distribution} {info.version}) "
                    f"cannot be used: {reason}"
                ) from error
            catalogue.plugins[candidate.name] = replace(info, broken=reason)
            manager = _manager()  # nothing of a broken plugin stays for the next one
            continue
        catalogue.plugins[candidate.name] = info
        _add(catalogue, specs, info)
    return catalogue


@lru_cache(maxsize=1)
def installed() -> Catalogue:
    """Return what plugins offer, asked once a process.

    For parts of the core that are given no catalogue, where a name is not one of the core's.
    """
    return discover()


def _about(distribution: Distribution | None) -> tuple[str, str]:
    """Return name and version of a distribution."""
    if distribution is None:
        return "not installed", ""
    metadata = distribution.metadata  # parsed anew whenever it is asked for
    return metadata["Name"], metadata["Version"]


def _manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    return manager


def _specs_of(plugin: object, name: str, manager: pluggy.PluginManager) -> dict[str, list[object]]:
    """Call each hook of one plugin, alone in the manager, so that its errors stay its own."""
    spoken = getattr(plugin, "msibench_api", hookspecs.API_VERSION)
    if spoken != hookspecs.API_VERSION:
        raise PluginError(
            f"it uses plugin API {spoken}, this msibench uses {hookspecs.API_VERSION}; "
            "install a matching release of one of the two"
        )
    manager.register(plugin, name=name)
    for attribute in dir(plugin):
        if attribute.startswith("msibench_") and attribute not in {*HOOKS, "msibench_api"}:
            value = getattr(plugin, attribute)
            if callable(value) and getattr(value, "msibench_impl", None) is not None:
                near = get_close_matches(attribute, HOOKS, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise PluginError(
                    f"it implements {attribute!r}, which is not a hook.{hint} "
                    f"Hooks: {', '.join(HOOKS)}."
                )
    manager.check_pending()
    specs: dict[str, list[object]] = {}
    for hook, kind in _TYPES.items():
        for offered in getattr(manager.hook, hook)():
            for spec in offered:
                if not isinstance(spec, kind):
                    raise PluginError(
                        f"{hook} must yield {kind.__name__}, got {type(spec).__name__}"
                    )
                specs.setdefault(hook, []).append(spec)
    manager.unregister(plugin)
    return specs


def _add(catalogue: Catalogue, specs: Mapping[str, list[Any]], info: PluginInfo) -> None:
    for hook, offered in specs.items():
        kind, attribute = HOOKS[hook]
        known: dict[str, Any] = getattr(catalogue, attribute)
        for spec in offered:
            here = f"{info.distribution} {info.version} (plugin {info.name!r})"
            if spec.name in known:
                raise DuplicateNameError(
                    f"Two plugins provide a {kind} named {spec.name!r}: "
                    f"{catalogue.owner[kind, spec.name]} and {here}. Uninstall or rename one."
                )
            if isinstance(spec, MetricSpec):
                spec = replace(spec, distribution=info.distribution)
            known[spec.name] = spec
            catalogue.owner[kind, spec.name] = here
