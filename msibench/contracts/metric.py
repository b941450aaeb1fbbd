"""What a metric is, seen from the harness."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from msibench.image import GuideImage, MSImage

Direction = Literal["higher", "lower", "one"]
"""Which way is better; ``"one"``: the nearer to 1."""

Question = Literal["quality", "trust", "cost", "ceiling"]
"""What a metric is asked: is the image near the truth (``"quality"``); is its detail real
(``"trust"``); what does it take (``"cost"``); how much can anybody reach on this truth, whatever the
method (``"ceiling"``)."""


SHOWN_FIELDS = (
    "version", "direction", "unit", "title", "citation", "label", "digits", "question", "explanation",
)  # fmt: skip
"""Fields of a `MetricSpec` that a run keeps for its board, which is made without asking plugins."""


Shared = TypeVar("Shared")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ToldInterval:
    """The range in which a method believes the fine pixels to lie (`msibench.Uncertain`)."""

    lower: NDArray[np.float32]
    """``(channel, row, column)``; NaN where nothing is told."""
    upper: NDArray[np.float32]
    level: float
    """Share of the true pixels that it should hold."""

    def some_ions(self, channels: slice) -> ToldInterval:
        """Return the interval of some ion images, read where a large stack stays in its file."""
        lower, upper = (np.asarray(stack[channels]) for stack in (self.lower, self.upper))
        return ToldInterval(lower=lower, upper=upper, level=self.level)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Evaluation:
    """Everything that is known about one cell when it is scored, on the protocol's scale."""

    prediction: NDArray[np.float32]
    """``(channel, row, column)`` on the fine grid."""
    truth: MSImage | None
    """What was measured on the fine grid; None for sections without one."""
    low: MSImage
    """What the method saw."""
    factor: int
    degrade: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    """The protocol's noise-free degradation, ``(channel, row, column)`` fine to coarse."""
    split: Callable[[NDArray[Any]], tuple[NDArray[np.float64], NDArray[np.float64]]] | None = None
    """The protocol's `split`: images ``(..., row, column)`` into what the low image fixes and what it
    cannot see."""
    guide: GuideImage | None = None
    counts_per_unit: NDArray[np.float64] | None = None
    """Ion counts per intensity unit on the protocol's scale, ``(channel,)``, where they are known."""
    noise_free: NDArray[np.float32] | None = None
    """The signal without counting noise, known only for synthetic sections."""
    uncharted: NDArray[np.float32] | None = None
    """Structures of the guide that have no chemical counterpart, ``(row, column)`` in [0, 1]; known
    only for synthetic sections."""
    repeat: NDArray[np.float32] | None = None
    """A second measurement of each ion image with noise of its own, on the protocol's scale of that
    measurement, ``(channel, row, column)``; NaN where there is none."""
    repeat_shares: tuple[str, ...] = ()
    """Which noise the second measurement shares with the first, one per channel; empty: none."""
    interval: ToldInterval | None = None
    """What the method says of its own uncertainty; None where it says nothing."""
    seed: int = 0
    shared: dict[str, Any] = field(default_factory=dict, repr=False)
    """What one metric has worked out and another can use; see `once`."""

    def once(self, name: str, make: Callable[[], Shared]) -> Shared:
        """Return what `make` gives, worked out once for all metrics that ask for `name`."""
        if name not in self.shared:
            self.shared[name] = make()
        found: Shared = self.shared[name]
        return found


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SectionParts:
    """A large section, for metrics that look at all its ion images: read a part at a time."""

    channels: int
    shape: tuple[int, int]
    """``(row, column)`` of the fine grid."""
    mask: NDArray[np.bool_] | None
    """Tissue; None when nothing is known."""
    groups: tuple[slice, ...]
    """Ion images that may be held at once, in order."""
    bands: tuple[slice, ...]
    """Rows that may be held at once, all ion images of them, from the top."""
    ions: Callable[[slice], Evaluation]
    """Read the whole images of some channels."""
    seed: int = 0
    """Of the cell."""
    rows: Callable[[slice], tuple[NDArray[np.float32], NDArray[np.float32]]]
    """Read prediction and truth of some rows, ``(channel, row, column)`` each; needs a truth."""


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """One value per ion image, and why a value is NaN."""

    values: NDArray[np.float64]
    """``(channel,)``; NaN where the metric is undefined."""
    reasons: tuple[str, ...]
    """One per channel; empty where the value stands."""
    curves: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    """What a page may draw beside the number (a Fourier ring curve), one array per name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSpec:
    """What a plugin or the core says about one metric; cheap to make, imports no torch."""

    name: str
    """Column name, e.g. ``"psnr"``."""
    version: int
    """Raised whenever the metric's numbers may change."""
    target: str
    """``"msibench.metrics.psnr:psnr"``."""
    direction: Direction
    kind: Literal["full-reference", "contextual"] = "full-reference"
    """``full-reference``: ``f(test, reference, *, data_range=1.0, mask=None, **params)`` on arrays
    ``(..., row, column)``, one value per image, and beside it in the same module
    ``why_undefined(test, reference, *, mask=None, **params) -> list[str]``, one reason per image,
    empty where the value stands. ``contextual``: ``f(evaluation, **params) -> Scored``."""
    each_ion_alone: bool = False
    """A contextual metric whose value for an ion image does not depend on the others (as that of a
    full-reference metric never does): a large section is then scored a few ion images at a time, with
    the same values. Any other contextual metric may offer, in the same module,
    ``evaluate_in_parts(parts: SectionParts, **params) -> Scored``; without it, a section that would
    take too much memory has NaN, with that reason."""
    largest_image: int | None = None
    """Pixels of the largest image that it can look at within a few GB; beyond, its value is NaN with
    that reason. None: as many as there are."""
    params: Mapping[str, Any] = field(default_factory=dict)
    regions: tuple[str, ...] = ("image", "tissue")
    """Where it is computed: the whole image, inside the tissue mask."""
    unit: str = ""
    needs: frozenset[str] = frozenset({"truth"})
    """Which of ``truth low guide counts noise_free uncharted`` must be there; else not applicable."""
    weights: tuple[str, ...] = ()
    """Names of pretrained files (``"vgg16"``) without which the column says ``weights-missing``."""
    title: str = ""
    citation: str = ""
    label: str = ""
    """Head of its column, with the unit where it has one: ``"PSNR (dB)"``. Empty: the name."""
    digits: int = 3
    """Decimals that tables print."""
    question: Question = "quality"
    """Which table of a board it belongs into: every metric but one of quality stands apart from the
    scores."""
    explanation: str = ""
    """One sentence for readers of a page: what it asks, and how its value is read."""
    undefined: tuple[str, ...] = ()
    """Reasons for which a value may be undefined (NaN), as the metric words them; that a pixel is not
    finite, or that there is no pixel to look at, goes without saying."""
    bytes_per_value: int = 40
    """Memory that it takes per value of the prediction where it needs all ion images at once: both
    stacks in double precision, and as much again and a half for its own work."""
    distribution: str = ""
    """Who provides it; filled in by the plugin manager."""
