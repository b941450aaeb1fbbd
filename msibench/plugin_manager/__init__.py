"""What plugins offer, and the code behind a name.

Names are imported when they are first used: a cell loads the code behind a name, and looks for no plugins.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from msibench.plugin_manager.catalogue import Catalogue, PluginInfo
    from msibench.plugin_manager.discovery import GROUP, HOOKS, discover, installed
    from msibench.plugin_manager.loading import load_file_module, plugin_code, resolve_target
    from msibench.plugin_manager.method_names import (
        method_from_file,
        method_from_plugin,
        resolve_method,
    )

__all__ = [
    "GROUP",
    "HOOKS",
    "Catalogue",
    "PluginInfo",
    "discover",
    "installed",
    "load_file_module",
    "method_from_file",
    "method_from_plugin",
    "plugin_code",
    "resolve_method",
    "resolve_target",
]

_HOME = {
    "GROUP": "discovery",
    "HOOKS": "discovery",
    "Catalogue": "catalogue",
    "PluginInfo": "catalogue",
    "discover": "discovery",
    "installed": "discovery",
    "load_file_module": "loading",
    "method_from_file": "method_names",
    "method_from_plugin": "method_names",
    "plugin_code": "loading",
    "resolve_method": "method_names",
    "resolve_target": "loading",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
