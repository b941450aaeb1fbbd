"""What a metric is, seen from the harness."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from msibench.errors import ConfigurationError

if TYPE_CHECKING:  # specs are made without NumPy, so that commands start quickly
    import numpy as np
    from numpy.typing import NDArray

    from msibench.image import GuideImage, MSImage

Direction = Literal["higher", "lower", "one", "nine-tenths"]
"""Which way is better; ``"one"``: the nearer to 1; ``"nine-tenths"``: to 0.9, as the coverage of an interval of
90 %."""
TARGETS: Mapping[str, float] = {"one": 1.0, "nine-tenths": 0.9}
"""The right value, of directions that have one."""


def turned(values: NDArray[np.float64], direction: str) -> NDArray[np.float64]:
    """Return values of any shape turned so that higher is better."""
    if direction in TARGETS:
        return -abs(values - TARGETS[direction])
    return -values if direction == "lower" else values


Question = Literal["quality", "trust", "cost", "ceiling"]
"""What a metric is asked: is the image near the truth (``"quality"``); is its detail real
(``"trust"``); what does it take (``"cost"``); what is the most that any method can reach on
this truth (``"ceiling"``)."""


SHOWN_FIELDS = (
    "version", "direction", "unit", "title", "citation", "label", "digits", "question", "explanation",
)  # fmt: skip
"""Fields of a `MetricSpec` that a run keeps for its board, which is made without asking plugins."""


ANYTHING, SHARE = (-math.inf, math.inf), (0.0, 1.0)
NOT_NEGATIVE, UP_TO_ONE = (0.0, math.inf), (-math.inf, 1.0)
"""Bounds that many metrics have."""
ONE_SCALE_UP, TRAINING = "one-scale-up", "training"
INTERVALS = (ONE_SCALE_UP, TRAINING)
"""What the harness can calibrate intervals on: the section itself made coarser once more, or the training
sections of its data set."""

Shared = TypeVar("Shared")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ToldInterval:
    """The range in which a method believes the fine pixels to lie (`msibench.Uncertain`)."""

    lower: NDArray[np.float32]
    """``(channel, row, column)``; NaN where no interval is given."""
    upper: NDArray[np.float32]
    level: float
    """Share of the true pixels that it should hold."""

    def some_ions(self, channels: slice) -> ToldInterval:
        """Return the interval of some ion images, read where a large stack stays in its file."""
        import numpy as np

        lower, upper = (np.asarray(stack[channels]) for stack in (self.lower, self.upper))
        return ToldInterval(lower=lower, upper=upper, level=self.level)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class CalibratedInterval:
    """The interval that the harness calibrated for a prediction, at every level (docs/confidence.md)."""

    reach: NDArray[np.float32]
    """How hard each pixel is, ``(channel, row, column)``; NaN where no interval is defined."""
    signal: NDArray[np.float32]
    """The same of the signal alone, without the counting noise of the fine pixel's own measurement."""
    quantiles: NDArray[np.float64]
    """What the reach is multiplied with, ``(channel, level)``; NaN where no interval is defined."""
    levels: NDArray[np.float64]
    """Shares of the pixels as they would be measured, ascending, ``(level,)``."""
    up: NDArray[np.float64]
    """How much further the interval reaches up than down, ``(channel,)``."""
    floor: float
    """Below which no intensity lies: 0, or minus infinity."""
    calibrated: str
    """On what; a sentence."""

    def ends(
        self, prediction: NDArray[np.float32], level: float, *, signal: bool = False
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return lower and upper ends of one of `levels`, ``(channel, row, column)``."""
        import numpy as np

        place = int(np.argmin(np.abs(self.levels - level)))
        if abs(self.levels[place] - level) > 1e-6:
            raise ConfigurationError(
                f"the interval of {level} is not among those calibrated: {self.levels.tolist()}"
            )
        width = self.quantiles[:, place, None, None] * (self.signal if signal else self.reach)
        fine = np.asarray(prediction, dtype=np.float64)
        lower = np.minimum(np.maximum(fine - width, self.floor), fine)
        return lower, fine + self.up[:, None, None] * width

    def some_ions(self, channels: slice) -> CalibratedInterval:
        """Return what is calibrated of some ion images, read where a large stack stays in its file."""
        import numpy as np

        return replace(
            self,
            reach=np.asarray(self.reach[channels]),
            signal=np.asarray(self.signal[channels]),
            quantiles=self.quantiles[channels],
            up=self.up[channels],
        )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Intervals:
    """What is known of the uncertainty of a prediction: by the method, and by the harness."""

    told: ToldInterval | None = None
    calibrated: CalibratedInterval | None = None
    not_calibrated: str = ""
    """Why the harness could calibrate none, where it was asked to."""

    def some_ions(self, channels: slice) -> Intervals:
        """Return the intervals of some ion images."""
        told, calibrated = self.told, self.calibrated
        return Intervals(
            told=None if told is None else told.some_ions(channels),
            calibrated=None if calibrated is None else calibrated.some_ions(channels),
            not_calibrated=self.not_calibrated,
        )


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
    """The method's own interval; None where it gives none."""
    calibrated: CalibratedInterval | None = None
    """What the harness calibrated; None where the track asks for no such intervals, or it could not."""
    not_calibrated: str = ""
    """Why it could not; empty where nobody asked."""
    seed: int = 0
    shared: dict[str, Any] = field(default_factory=dict, repr=False)
    """Results of one metric that another can use; see `once`."""

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
    """One per channel; empty where the value is defined."""
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
    empty where the value is defined. ``contextual``: ``f(evaluation, **params) -> Scored``."""
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
    bounds: tuple[float, float] = ANYTHING
    """Lowest and highest value that it can have. Intervals of its mean are cut there on boards, for metrics of
    the core: a board is made without asking plugins."""
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
    """Which table of a board it belongs in: only metrics of quality are next to the
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
