"""What one operator of a degradation chain is, and where its random numbers come from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class NoiseSource:
    """Random numbers of one section under one protocol and seed.

    Every channel has a stream of its own that is named by its m/z, so the noise of an ion image
    does not depend on which other ions were asked for, nor on their order.
    """

    seed: int
    """Seed of the cell."""
    protocol: str
    """Name of the protocol; two protocols never share noise."""
    mz: NDArray[np.float64]
    """m/z of each channel, ``(channel,)``; a NaN channel is named by its place instead."""
    first: int = 0
    """Place of the first of these channels in the section."""

    def section(self, label: str) -> np.random.Generator:
        """Return the stream that all channels share, for one operator."""
        return self._stream(f"{label}|section")

    def channel(self, label: str, channel: int) -> np.random.Generator:
        """Return the stream of one channel, for one operator."""
        mz = float(self.mz[channel])
        name = f"channel {self.first + channel}" if np.isnan(mz) else f"mz {mz.hex()}"
        return self._stream(f"{label}|{name}")

    def _stream(self, label: str) -> np.random.Generator:
        digest = hashlib.sha256(f"{self.seed}|{self.protocol}|{label}".encode()).digest()
        return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))


class Step(Protocol):
    """One physical operator of a degradation chain: a frozen dataclass with its parameters."""

    @property
    def linear(self) -> bool:
        """Whether the operator is linear and not random, so that `degrade` includes it."""
        ...

    def definition(self) -> dict[str, object]:
        """Return the operator's name and every parameter, ready for JSON."""
        ...

    def apply(self, values: NDArray[np.float64], noise: NoiseSource) -> NDArray[np.float64]:
        """Return ``(channel, row, column)`` after the operator."""
        ...


@runtime_checkable
class LinearStep(Step, Protocol):
    """A linear operator A that knows what it fixes of an image."""

    def seen(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``A⁺A`` of finite ``(channel, row, column)``: what the operator's result fixes."""
        ...

    def least_norm(self, low: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return ``A⁺`` of ``(channel, row, column)``: the image of least norm with these results."""
        ...
