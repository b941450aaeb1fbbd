"""The skill that a method would have at the wanted scale, expected from the coarse image alone.

With ``a`` what a method adds to the pixels repeated and ``u`` the detail of the fine image that would be
measured, the skill (`msibench.metrics.skill`) is ``(2⟨a,u⟩ - |a|²) / |u|²``. Per pixel:

- ``|a|²`` is known: the method has been run on the coarse image.
- ``|u|²`` is that of the signal plus that of the noise. Pixels whose edge is `factor` times shorter count
  `factor`² times fewer ions, so that the variance of their noise is `factor`² times that of the coarse
  image (`msibench.uncertainty.noise.counting_variance`). The signal's detail is taken to be as large in every octave as in the one
  above, as where power falls with the square of the frequency [1]_, or smaller where it has fallen
  from the second octave of the coarse image to the first.
- ``⟨a,u⟩``: the noise of the fine image is independent of what the method saw, so that only the signal
  counts. Of ``|a|²`` the part is taken off that is the coarse image's own noise passed on (measured by adding
  as much noise again); of the rest the share that is right is the one that is found one scale up, where
  the coarse image made coarser once more is the input and the coarse image itself the truth.

References
----------
.. [1] Field, J. Opt. Soc. Am. A 4 (1987) 2379-2394.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msibench.uncertainty.octaves import fall_of, over, signal_in

Floats = NDArray[np.float64]

OWN_WEIGHT = 0.3
"""Weight of an ion's own share of right detail; the rest is that of all ions together."""
LEAST_SIGNAL = 0.05
"""Share of what a method adds that is taken as signal, at least."""
MOST_RIGHT = 1.5
"""Largest share of right detail: a method may be too timid, but only so far."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Detail:
    """Energy per fine pixel of the detail of each ion image at the wanted scale, ``(channel,)``."""

    signal: Floats
    noise: Floats
    variance: Floats
    """Of the noise in a pixel of the coarse image."""
    seen: Floats
    """Detail that the coarse image itself has in its finest octave, noise included."""

    @property
    def whole(self) -> Floats:
        """Signal and noise together: ``|u|²``."""
        return self.signal + self.noise

    @property
    def ceiling(self) -> Floats:
        """Skill that no method can exceed: the signal's share; NaN where there is no detail."""
        return over(self.signal, self.whole)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Added:
    """What a method adds, energies per pixel of each ion image, ``(channel,)``."""

    energy: Floats
    """``|a|²`` at the wanted scale."""
    energy_up: Floats
    """``|a|²`` one scale up."""
    shared_up: Floats
    """``⟨a,u⟩`` one scale up."""
    detail_up: Floats
    """``|u|²`` one scale up."""
    passed: Floats
    """Energy that it makes of noise of variance 1 in its input."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Expected:
    """What is expected of one method at the wanted scale, ``(channel,)``."""

    skill: Floats
    """NaN where the ion image has no detail."""
    signal_gain: Floats
    """Share of the signal's detail that it would have right: the skill without the truth's noise."""
    one_scale_up: Floats
    """The skill that is found one scale up, unchanged."""


def expected_detail(octaves: Floats, variance: Floats, factor: int) -> Detail:
    """Predict the detail of the fine image.

    Parameters
    ----------
    octaves
        Energy per pixel of the coarse image's two finest octaves, ``(2, channel)``: of its difference to
        the means of its blocks of 2 x 2, and of theirs to those of 4 x 4.
    variance
        Variance of the noise in a pixel of the coarse image, ``(channel,)``.
    factor
        Fine pixels along the edge of a coarse one.

    Notes
    -----
    Three quarters of white noise are unseen in blocks of 2 x 2, ``1 - 1 / factor²`` in those of `factor`.
    """
    held = np.minimum(variance, octaves[0] * 4 / 3)
    first, second = signal_in(octaves, held)
    fall = fall_of(np.stack([first, second]))
    steps = float(np.log2(factor))
    series = fall[None] ** np.arange(1, int(np.ceil(steps)) + 1)[:, None]
    share = np.minimum(1.0, steps - np.arange(len(series)))  # a factor of 3 is an octave and a half
    signal = first * (series * share[:, None]).sum(axis=0)
    noise = (factor**2 - 1) * held
    return Detail(signal=signal, noise=noise, variance=held, seen=octaves[0])


def expected_skill(added: Added, detail: Detail, factor: int) -> Expected:
    """Predict what a method would reach at the wanted scale (see the module).

    Ions count alike in the share of right detail that they have in common, whatever their intensity.
    """
    own = added.passed * detail.variance
    signal = np.maximum(added.energy - own, LEAST_SIGNAL * added.energy)
    signal_up = np.maximum(added.energy_up - own / factor**2, LEAST_SIGNAL * added.energy_up)
    weight = over(np.ones_like(signal), detail.seen)
    told = np.isfinite(weight) & np.isfinite(added.shared_up) & (signal_up > 0)
    total = float((signal_up * weight)[told].sum())
    common = float((added.shared_up * weight)[told].sum()) / total if total > 0 else 0.0
    alone = np.where(told, over(added.shared_up, signal_up), common)
    right = (1 - OWN_WEIGHT) * common + OWN_WEIGHT * np.clip(alone, -MOST_RIGHT, MOST_RIGHT)
    shared = np.minimum(right, MOST_RIGHT) * signal
    found = 2 * shared - added.energy
    return Expected(
        skill=over(found, detail.whole),
        signal_gain=over(found, detail.signal),
        one_scale_up=over(2 * added.shared_up - added.energy_up, added.detail_up),
    )
