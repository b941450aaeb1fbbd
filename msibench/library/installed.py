"""The installed methods, data sets and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from msibench.plugin_manager import Catalogue


def catalogue(*, strict: bool = False, with_metrics: bool = True) -> Catalogue:
    """Discover every plugin; broken ones are kept with their reason.

    Parameters
    ----------
    strict
        Raise where a plugin is broken.
    with_metrics
        Include the metrics of the core; without them discovery is quicker.
    """
    from msibench.plugin_manager.discovery import discover

    if not with_metrics:
        return discover(strict=strict)
    from msibench.metrics.specs import builtin_metrics

    return discover(strict=strict, builtin_metrics=builtin_metrics())
