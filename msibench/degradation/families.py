"""The families of protocols that have a name, each for every factor.

To change what a name means, add a line with the next version and leave the old one: stored scores
refer to it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from msibench.degradation.bicubic import Bicubic
from msibench.degradation.binning import AreaMean
from msibench.degradation.counting_noise import CountingNoise
from msibench.degradation.dropout import LineDropout
from msibench.degradation.psf import GaussianBeam, RoundSpot
from msibench.degradation.step import Step
from msibench.errors import PluginError


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What the protocols of one name share over all factors."""

    description: str
    """One line."""
    steps: Callable[[int], tuple[Step, ...]]
    """The chain for a factor."""
    quantise8: bool = False
    """Whether truth and low image are rounded to 8 bits."""
    border_coarse_pixels: int = 0
    """Coarse pixels left out at each edge when scoring."""
    normalisation: str = "none"
    """Normalisation before scaling."""
    thinned: bool = False
    """Whether truth and low image come from independent halves of the counts."""
    repeated: bool = False
    """Whether the low image comes from a second measurement of the same ion."""


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "area@1": Family(
            description="mean of N x N pixels: what a larger MSI pixel measures",
            steps=lambda factor: (AreaMean(factor),),
        ),
        "area8@1": Family(
            description="area mean, truth and low image rounded to 8 bits",
            steps=lambda factor: (AreaMean(factor),),
            quantise8=True,
        ),
        "area-poisson@1": Family(
            description="area mean, then ion counting: 100 ions in a coarse pixel of intensity 1",
            steps=lambda factor: (AreaMean(factor), CountingNoise(100.0)),
        ),
        "area-poisson10@1": Family(
            description="area mean, then ion counting: 10 ions in a coarse pixel of intensity 1",
            steps=lambda factor: (AreaMean(factor), CountingNoise(10.0)),
        ),
        "area-poisson1000@1": Family(
            description="area mean, then ion counting: 1000 ions in a coarse pixel of intensity 1",
            steps=lambda factor: (AreaMean(factor), CountingNoise(1000.0)),
        ),
        "area-dropout@1": Family(
            description="area mean, then 5 % of the coarse lines lost",
            steps=lambda factor: (AreaMean(factor), LineDropout(0.05)),
        ),
        "area-tic@1": Family(
            description="total-ion-count normalisation, then area mean",
            steps=lambda factor: (AreaMean(factor),),
            normalisation="tic",
        ),
        "thinned-area@1": Family(
            description="area mean of one half of the counts; the other half, independent, is the truth",
            steps=lambda factor: (AreaMean(factor),),
            thinned=True,
        ),
        "repeat-area@1": Family(
            description="area mean of a second measurement of the same ion (an isotope, a replicate); "
            "the first is the truth",
            steps=lambda factor: (AreaMean(factor),),
            repeated=True,
        ),
        "bicubic@1": Family(
            description="antialiased bicubic (Keys a = -0.5) with PIL's edges",
            steps=lambda factor: (Bicubic(factor),),
        ),
        "bicubic8@1": Family(
            description="antialiased bicubic with PIL's edges, rounded to 8 bits as the papers do",
            steps=lambda factor: (Bicubic(factor),),
            quantise8=True,
        ),
        "matlab@1": Family(
            description="antialiased bicubic with the edges of MATLAB's imresize",
            steps=lambda factor: (Bicubic(factor, edges="symmetric"),),
        ),
        "matlab8@1": Family(
            description="MATLAB's imresize on 8-bit images: the training data of most SR networks",
            steps=lambda factor: (Bicubic(factor, edges="symmetric"),),
            quantise8=True,
        ),
        "gaussian@1": Family(
            description="Gaussian beam one coarse pixel wide at half maximum, then sampling",
            steps=lambda factor: (GaussianBeam(factor),),
            border_coarse_pixels=1,
        ),
        "spot@1": Family(
            description="round laser spot one coarse pixel across, then sampling",
            steps=lambda factor: (RoundSpot(factor),),
        ),
    }
)


def find_family(name: str) -> Family | None:
    """Return a family by name and version (``"area@1"``): of the core, or of an installed plugin.

    Raises
    ------
    PluginError
        If a plugin's target is not a `Family`.
    """
    if name in FAMILIES:
        return FAMILIES[name]
    plugins: Any = importlib.import_module("msibench.plugin_manager")  # stands above this package
    spec = plugins.installed().protocols.get(name)
    if spec is None:
        return None
    found = plugins.resolve_target(spec.target)
    if not isinstance(found, Family):
        raise PluginError(
            f"protocol {name!r}: {spec.target!r} must be a msibench.degradation.Family, "
            f"got {type(found).__name__}"
        )
    return found
