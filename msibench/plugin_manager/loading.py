"""Running code of plugins: imported by name or file, and kept from ending the program."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from msibench.contracts.method import CONSISTENT
from msibench.contracts.plain_text import visible
from msibench.errors import PluginError


class EndedPythonError(PluginError):
    """A plugin tried to end the whole program."""


@contextmanager
def plugin_code() -> Iterator[None]:
    """Run code of a plugin: what it prints goes to stderr, and it cannot end the program.

    Standard output belongs to the command that runs, which may be writing JSON there.

    Raises
    ------
    PluginError
        In place of ``SystemExit`` and whatever else is not an `Exception`; Ctrl-C is passed on.
    """
    try:
        with redirect_stdout(sys.stderr):
            yield
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise EndedPythonError(
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
    with plugin_code():
        module_spec.loader.exec_module(module)
    return module


def resolve_target(target: str) -> Callable[..., Any]:
    """Import ``"package.module:Name"`` or ``"path/to/file.py:Name"``.

    A target that ends in ``+consistent`` makes the method before the suffix, and its twin.

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
            with plugin_code():
                module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            raise PluginError(f"{target!r} cannot be imported: {error}") from error
    try:
        found: Callable[..., Any] = getattr(module, attribute)
    except AttributeError as error:
        raise PluginError(f"module {module_name!r} has no {attribute!r}") from error
    return found
