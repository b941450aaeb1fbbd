"""What a super-resolution or fusion method is, seen from the harness."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:  # specs are made without NumPy, so that commands start quickly
    import numpy as np
    from numpy.typing import NDArray

    from msibench.image import Budget, Interval, Pair, Problem, Skip

CONSISTENT = "+consistent"
"""Ends the name, and the target, of a method that is followed by `msibench.training.consistent_twin`."""


class Task(StrEnum):
    """What a method is given beside the coarse ion images."""

    SINGLE_IMAGE = "single-image"
    """Nothing."""
    GUIDED = "guided"
    """A co-registered optical image on the fine grid."""
    CROSS_MODALITY = "cross-modality"
    """A second, finer MSI modality."""


class Method(Protocol):
    """A method that puts ion images on a finer grid.

    The runner makes it with ``target(**config)``; a method whose spec lists weights also gets
    ``weights``, a mapping from each file's name to its verified path.
    """

    def upscale(self, problem: Problem) -> NDArray[np.float32] | Skip:
        """Return ``(channel, row*factor, column*factor)`` in the intensity unit of ``problem.low``."""
        ...


@runtime_checkable
class Trainable(Protocol):
    """A method that learns from pairs of other sections before it is scored."""

    def fit(self, pairs: Iterable[Pair], *, seed: int, budget: Budget) -> None:
        """Learn from pairs of the training split; never called with a section that is scored.

        `budget` names what the spec says (``"paper"`` or ``"quick"``) and may limit steps or seconds.
        """
        ...


@runtime_checkable
class Restorable(Protocol):
    """A `Trainable` whose fit the harness keeps: made once per training set, not once per test section."""

    def learned(self) -> Mapping[str, NDArray[Any]]:
        """Return what `fit` found, as named arrays of numbers: 256 MiB at most."""
        ...

    def restore(self, learned: Mapping[str, NDArray[Any]]) -> None:
        """Take what `learned` returned in another process; `upscale` then gives the same bytes."""
        ...


@runtime_checkable
class Reporting(Protocol):
    """A method that reports on its last run: loss curves, tiles, a fall-back."""

    def report(self) -> Mapping[str, object]:
        """Return JSON-able values that describe the last call of `upscale`; kept in ``record.json``."""
        ...


@runtime_checkable
class Uncertain(Protocol):
    """A method that estimates its own uncertainty; the harness calibrates it.

    `msibench.confidence` takes the width of its interval as one measure of local difficulty, so that what
    it claims is scaled to what is found where the truth is known.
    """

    def interval(self, problem: Problem, *, level: float) -> Interval | Skip:
        """Return the prediction and a range that should hold a share `level` of the true pixels.

        Never of zero width where the ion is present; ``Interval.from_deviation`` makes one of a standard
        deviation.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFile:
    """One pretrained file that a method or metric needs."""

    name: str
    """File name in the cache, e.g. ``"001_classicalSR_DF2K_s64w8_SwinIR-M_x4.pth"``."""
    url: str = ""
    """Public address; empty when the file has to be asked for (then `how` says where)."""
    sha256: str = ""
    """Hex digest; empty when not known beforehand: recorded at the first use, checked from then on."""
    size: int | None = None
    """Bytes, where known."""
    licence: str = ""
    non_commercial: bool = False
    """The licence forbids commercial use: the user is asked before a download."""
    trained_on: str = ""
    """What the network has seen."""
    how: str = ""
    """How to get the file when there is no address."""
    path: str = ""
    """``"package:relative/path"`` of a file that ships with a plugin; empty otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What one run of a method asks of a machine."""

    cpus: int = 1
    memory_gb: float = 4.0
    vram_gb: float = 0.0
    """Device memory; 0: the method does not use one."""
    minutes: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodSpec:
    """What a plugin says about one method; cheap to make, imports no torch."""

    name: str
    """Name on the command line and in the leaderboard, e.g. ``"swinir-light"``."""
    target: str
    """``"msibench_swinir.method:SwinIR"``: imported only in the child process."""
    task: Task
    config: Mapping[str, object] = field(default_factory=dict)
    """Every hyper-parameter with its default; a run may override them, and the result is part of the key."""
    factors: frozenset[int] | None = None
    """Factors that the method can do; None: any."""
    weights: tuple[WeightFile, ...] = ()
    """Files that it needs; empty for methods that need none."""
    training_data: tuple[str, ...] = ()
    """Data sets (``"lbae-mouse-brain"``) or sections (``"lbae-mouse-brain/slice_1"``) that its weights
    have seen: a cell whose test section is among them is refused."""
    citation: str
    """DOI or URL of the work that introduced the method."""
    code: str = ""
    """Address of its authors' code, where there is one."""
    licence: str
    """Licence of this implementation and of its weights."""
    title: str = ""
    """What the leaderboard adds to the name, e.g. ``"reimplementation from the abstract"``."""
    never_negative: bool = True
    """A negative value in the output is an error of the method."""
    each_ion_alone: bool = False
    """What it makes of an ion image does not depend on the other ion images (a guide may be looked at):
    the harness may then hand it a section too large for memory a few ion images at a time, with one
    `upscale` each, and writes each group before the next. Interpolation and networks for single images
    say so; what factorises or regresses all ion images together must not. Nothing changes for sections
    that fit."""
    trainable: bool = False
    """It has a `fit` that wants pairs of training sections before it is scored."""
    control: bool = False
    """A control (``guide-only``), ranked apart and not meant for use."""
    resources: Resources = field(default_factory=Resources)
    sources: Mapping[str, str] = field(default_factory=dict)
    """Where each hyper-parameter comes from: a paper's page, or "not stated, our choice: why"."""
    budget: str = ""
    """``"paper"``, ``"quick"`` or a budget between them by its size (``"150 iterations"``) for methods that fit
    themselves to the section; empty otherwise. Only quick ones run where a track asks for all that are ready."""


def consistent_twin(spec: MethodSpec) -> MethodSpec:
    """Return the spec of a method whose result is brought back to its input by the harness.

    To the method's result the magnified residual of its own low image is added
    (`msibench.degradation.back_projection`): ``guided-filter+consistent``.
    """
    return replace(
        spec,
        name=spec.name + CONSISTENT,
        target=spec.target + CONSISTENT,
        title=f"{spec.title or spec.name}; its residual magnified and added",
        never_negative=True,
    )
