"""What plugins offer, and the code behind a name."""

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
