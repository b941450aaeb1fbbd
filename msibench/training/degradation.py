"""The protocols' degradations, applied to training patches on the fly."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from msibench.degradation import protocol, quantise8
from msibench.degradation.step import NoiseSource
from msibench.errors import ConfigurationError
from msibench.training.patches import Degrade


def degrade_by(protocols: Mapping[str, float], *, factor: int) -> Degrade:
    """Return a degradation that draws one of several protocols for each patch.

    Parameters
    ----------
    protocols
        Name → share, e.g. ``{"area-x4@1": 0.8, "bicubic-x4@1": 0.2}``; shares are brought to a sum of 1.
    factor
        That all of them must have.

    Raises
    ------
    ConfigurationError
        If there is none, a share is not positive, or a protocol has another factor.
    UnknownNameError
        If there is no such protocol.
    """
    if not protocols or min(protocols.values()) <= 0:
        raise ConfigurationError(f"expected protocols with positive shares, got {dict(protocols)}")
    chains = [protocol(name) for name in protocols]
    for chain in chains:
        if chain.factor != factor:
            raise ConfigurationError(
                f"the training is for factor {factor}, protocol {chain.name!r} has {chain.factor}"
            )
    shares = np.array(list(protocols.values()), dtype=np.float64)
    shares = shares / shares.sum()

    def degrade(fine: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        chain = chains[int(rng.choice(len(chains), p=shares))]
        noise = NoiseSource(int(rng.integers(1 << 62)), chain.name, np.full(fine.shape[0], np.nan))
        values = fine.astype(np.float64)
        for step in chain.steps:
            values = step.apply(values, noise)
        return (quantise8(values) if chain.quantise8 else values).astype(np.float32)

    return degrade
