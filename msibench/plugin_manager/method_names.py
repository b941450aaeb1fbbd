"""One way to name a method: installed, a class in a file, a checkpoint, a training."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from msibench.contracts.method import CONSISTENT, MethodSpec, Task, consistent_twin
from msibench.contracts.plain_text import few_of
from msibench.errors import PluginError, UnknownNameError
from msibench.plugin_manager.catalogue import Catalogue
from msibench.plugin_manager.discovery import GROUP
from msibench.plugin_manager.loading import load_file_module, plugin_code


def resolve_method(reference: str, catalogue: Catalogue) -> MethodSpec:
    """Return the method of this name; every command takes the same names.

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
    if Path(reference).is_file():
        wanted = (
            f"name its class: {reference}:Class"
            if reference.endswith(".py")
            else "here the name of a method is expected, e.g. bicubic (`msibench upscale METHOD SECTION`)"
        )
        raise UnknownNameError(
            f"{reference} is a file; {wanted}. `msibench list methods` shows all"
        )
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
    everything else is recorded as unknown.

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
        known = few_of(sorted(catalogue.plugins), command="msibench list plugins")
        why = catalogue.broken.get(name, "it is not installed")
        raise UnknownNameError(f"No usable plugin named {name!r} ({why}). Installed: {known}.")
    points = entry_points(group=GROUP, name=name) if candidates is None else candidates
    with plugin_code():
        module = next(iter(points)).load()
        make = getattr(module, "spec_from_checkpoint", None)
        if make is None:
            raise PluginError(
                f"plugin {name!r} makes no methods from files (no spec_from_checkpoint)"
            )
        spec: MethodSpec = make(Path(path))
    return spec
