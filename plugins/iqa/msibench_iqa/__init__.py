"""Full-reference metrics of piq and pyiqa as msibench metrics."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from msibench import hookimpl
from msibench.contracts.metric import MetricSpec
from msibench_iqa.catalogue import PIQ, PYIQA

PACKAGES = {"piq": PIQ, "pyiqa": PYIQA}


@hookimpl
def msibench_metrics() -> Iterator[MetricSpec]:
    """Offer ``piq:<name>`` and ``pyiqa:<name>`` for the packages that are installed."""
    for package, metrics in PACKAGES.items():
        if find_spec(package) is None:
            continue
        for name, direction in metrics.items():
            yield MetricSpec(
                name=f"{package}:{name}",
                version=1,
                target="msibench_iqa.measure:measure",
                direction=direction,
                params={"package": package, "metric": name},
                title=f"{name} of {package}",
                citation=f"the package {package}",
            )
