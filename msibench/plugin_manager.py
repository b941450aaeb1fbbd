"""Find plugins one at a time, and keep a broken one from taking the others down."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import lru_cache, partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import pluggy

from msibench.contracts import hookspecs
from msibench.contracts.board import ProtocolSpec, SchemeSpec, TrackSpec
from msibench.contracts.command import CommandSpec, ExecutorSpec
from msibench.contracts.dataset import DatasetSpec
from msibench.contracts.method import CONSISTENT, MethodSpec, Task, consistent_twin
from msibench.contracts.metric import MetricSpec
from msibench.contracts.plain_text import visible
from msibench.errors import DuplicateNameError, PluginError, UnknownNameError

GROUP = "msibench"

Spec = TypeVar("Spec", MethodSpec, DatasetSpec, MetricSpec, ExecutorSpec, CommandSpec)


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """One entry point and how it fared."""

    name: str
    module: str
    distribution: str
    version: str
    broken: str = ""
    """Why it could not be used; empty for a sound plugin."""


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
        """Return the method called `name`, or say what is installed instead.

        Every method has a twin of the harness, ``NAME+consistent`` (`consistent_twin`).
        """
        if name.endswith(CONSISTENT) and name not in self.methods:
            return consistent_twin(self.method(name.removesuffix(CONSISTENT)))
        return self._look_up("method", name, self.methods)

    def dataset(self, name: str) -> DatasetSpec:
        """Return the data set called `name`, or say what is installed instead."""
        return self._look_up("data set", name, self.datasets)

    def metric(self, name: str) -> MetricSpec:
        """Return the metric called `name`, or say what is installed instead."""
        return self._look_up("metric", name, self.metrics)

    def _look_up(self, kind: str, name: str, known: Mapping[str, Spec]) -> Spec:
        if name in known:
            return known[name]
        near = get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        listed = ", ".join(sorted(known)) or "none"
        broken = "".join(
            f"\nPlugin {plugin!r} is installed but cannot be used: {reason}"
            for plugin, reason in self.broken.items()
            if plugin in name or name in plugin
        )
        raise UnknownNameError(f"No {kind} named {name!r}.{hint} Installed: {listed}.{broken}")


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
    for candidate in sorted(found, key=lambda point: (point.name, point.value)):
        info = _describe(candidate)
        if candidate.name in catalogue.plugins:
            other = catalogue.plugins[candidate.name]
            raise DuplicateNameError(
                f"Two distributions install a plugin named {candidate.name!r}: "
                f"{other.distribution} {other.version} ({other.module}) and {info.distribution} "
                f"{info.version} ({info.module}). Uninstall one of them."
            )
        try:
            with strangers_code():
                specs = _specs_of(candidate.load(), candidate.name)
        except Exception as error:
            reason = (
                str(error)
                if isinstance(error, _EndedPythonError)
                else visible(f"{type(error).__name__}: {error}")
            )
            if strict:
                raise PluginError(
                    f"Plugin {candidate.name!r} ({info.distribution} {info.version}) "
                    f"cannot be used: {reason}"
                ) from error
            catalogue.plugins[candidate.name] = replace(info, broken=reason)
            continue
        catalogue.plugins[candidate.name] = info
        _add(catalogue, specs, info)
    return catalogue


@lru_cache(maxsize=1)
def installed() -> Catalogue:
    """Return what plugins offer, asked once a process.

    For parts of the core that nobody hands a catalogue, where a name is none of the core's own.
    """
    return discover()


def resolve_method(reference: str, catalogue: Catalogue) -> MethodSpec:
    """Return the method that a name stands for; every command takes the same names.

    Parameters
    ----------
    reference
        A method of an installed plugin (``"bicubic"``); a class in a file
        (``"path/to/file.py:Class"``); a folder that ``msibench finetune`` has written; or a plugin and a
        checkpoint (``"spandrel:path/to/file.safetensors"``). An installed name comes first. Each may end in
        ``+consistent`` (`consistent_twin`).
    catalogue
        What is installed.

    Raises
    ------
    UnknownNameError
        If it names nothing; the message lists what is installed.
    PluginError, DataError, IntegrityError
        If the file, the checkpoint or the training cannot be used.
    """
    if reference in catalogue.methods:
        return catalogue.method(reference)
    if reference.endswith(CONSISTENT):
        return consistent_twin(resolve_method(reference.removesuffix(CONSISTENT), catalogue))
    if ".py:" in reference:
        return method_from_file(reference)
    if Path(reference).is_dir():
        from msibench.training.variants import method_from_training

        folder = Path(reference)
        return method_from_training(folder, _WithCheckpoints(catalogue, folder))
    if ":" in reference:
        return method_from_plugin(reference, catalogue)
    return catalogue.method(reference)


@dataclass(frozen=True, slots=True)
class _WithCheckpoints:
    """A catalogue that also knows what a training started from where that was a checkpoint."""

    catalogue: Catalogue
    folder: Path
    """Of the training: what the plugin reads off the old checkpoint, it reads off the new one."""

    def method(self, name: str) -> MethodSpec:
        plugin, colon, _ = name.partition(":")
        if not colon or name in self.catalogue.methods:
            return self.catalogue.method(name)
        weights = self.folder / "weights.safetensors"
        return replace(method_from_plugin(f"{plugin}:{weights}", self.catalogue), name=name)


def method_from_file(reference: str) -> MethodSpec:
    """Make a spec for one method in one file: ``"path/to/file.py:Class"``.

    The class may carry ``config`` (else the defaults of its arguments), ``task`` and ``factors``;
    everything else is taken as unknown and said so in the record.

    Raises
    ------
    PluginError
        If there is no such file or class.
    """
    path_text, _, class_name = reference.rpartition(":")
    path = Path(path_text).resolve()
    if not path.is_file():
        raise PluginError(f"--method expects FILE.py:Class; file not found: {path_text!r}")
    module = load_file_module(path)
    kind = getattr(module, class_name, None)
    if not callable(kind):
        offered = [n for n, v in vars(module).items() if isinstance(v, type)]
        raise PluginError(
            f"{path.name} has no class {class_name!r}; it defines {', '.join(offered) or 'none'}"
        )
    return MethodSpec(
        name=str(getattr(kind, "name", class_name.lower())),
        target=f"{path}:{class_name}",
        task=Task(getattr(kind, "task", Task.SINGLE_IMAGE)),
        config=dict(getattr(kind, "config", _defaults(kind))),
        factors=getattr(kind, "factors", None),
        trainable=callable(getattr(kind, "fit", None)),
        citation="not stated",
        licence="not stated",
        title="single file",
    )


def _defaults(kind: Callable[..., Any]) -> dict[str, object]:
    """Return the defaults of a class's own arguments."""
    try:
        parameters = inspect.signature(kind).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def method_from_plugin(
    reference: str, catalogue: Catalogue, candidates: Iterable[EntryPoint] | None = None
) -> MethodSpec:
    """Let a plugin make a spec for one checkpoint: ``"spandrel:path/to/file.safetensors"``.

    The plugin's module holds ``spec_from_checkpoint(path) -> MethodSpec``.

    Raises
    ------
    UnknownNameError
        If there is no such plugin.
    PluginError
        If it makes no methods from files.
    """
    name, _, path = reference.partition(":")
    if name not in catalogue.plugins or catalogue.plugins[name].broken:
        known = ", ".join(sorted(catalogue.plugins))
        why = catalogue.broken.get(name, "it is not installed")
        raise UnknownNameError(f"No usable plugin named {name!r} ({why}). Installed: {known}.")
    points = entry_points(group=GROUP, name=name) if candidates is None else candidates
    with strangers_code():
        module = next(iter(points)).load()
        make = getattr(module, "spec_from_checkpoint", None)
        if make is None:
            raise PluginError(
                f"plugin {name!r} makes no methods from files (no spec_from_checkpoint)"
            )
        spec: MethodSpec = make(Path(path))
    return spec


class _EndedPythonError(PluginError):
    """A plugin asked for the end of the whole program."""


@contextmanager
def strangers_code() -> Iterator[None]:
    """Run code of a plugin: what it prints goes to stderr, and it cannot end the program.

    Standard output belongs to the command that runs, which may be writing JSON there.

    Raises
    ------
    PluginError
        In place of ``SystemExit`` and whatever else is no `Exception`; Ctrl-C stays Ctrl-C.
    """
    try:
        with redirect_stdout(sys.stderr):
            yield
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise _EndedPythonError(
            visible(f"it raised {type(error).__name__} ({error}) where it should raise an error")
        ) from error


def load_file_module(path: Path) -> ModuleType:
    """Import one Python file under a name of its own."""
    name = f"msibench_file_{path.stem}"
    module_spec = importlib.util.spec_from_file_location(name, path)
    if module_spec is None or module_spec.loader is None:
        raise PluginError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module
    with strangers_code():
        module_spec.loader.exec_module(module)
    return module


def resolve_target(target: str) -> Callable[..., Any]:
    """Import ``"package.module:Name"`` or ``"path/to/file.py:Name"``.

    A target that ends in ``+consistent`` makes what stands before it, and its twin.

    Raises
    ------
    PluginError
        If the module or the name in it does not exist.
    """
    if target.endswith(CONSISTENT):
        from msibench.training.consistent_twin import make_twin

        return partial(make_twin, resolve_target(target.removesuffix(CONSISTENT)))
    module_name, _, attribute = target.rpartition(":")
    if module_name.endswith(".py"):
        module = load_file_module(Path(module_name))
    else:
        try:
            with strangers_code():
                module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            raise PluginError(f"{target!r} cannot be imported: {error}") from error
    try:
        found: Callable[..., Any] = getattr(module, attribute)
    except AttributeError as error:
        raise PluginError(f"module {module_name!r} has no {attribute!r}") from error
    return found


def _describe(candidate: EntryPoint) -> PluginInfo:
    distribution = candidate.dist
    return PluginInfo(
        name=candidate.name,
        module=candidate.value,
        distribution=distribution.name if distribution else "not installed",
        version=distribution.version if distribution else "",
    )


def _specs_of(plugin: object, name: str) -> dict[str, list[object]]:
    """Call each hook of one plugin, in a manager of its own so that nothing else can suffer."""
    spoken = getattr(plugin, "msibench_api", hookspecs.API_VERSION)
    if spoken != hookspecs.API_VERSION:
        raise PluginError(
            f"it uses plugin API {spoken}, this msibench speaks {hookspecs.API_VERSION}; "
            "install a matching release of one of the two"
        )
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
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
