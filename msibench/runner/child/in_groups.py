"""A large section through a method, a few ion images at a time, written as they come."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from msibench.contracts.method import Method, Reporting
from msibench.contracts.progress import tell_progress
from msibench.errors import DataError
from msibench.image import Problem, Skip
from msibench.io.stored_stack import groups, is_large


class WrongResultError(DataError):
    """A method gave ion images of another shape or type than it must, or some that are not finite."""


class Writable(Protocol):
    """Where predicted ion images go: a data set of an open file."""

    def __setitem__(self, channels: slice, values: NDArray[np.float32]) -> None: ...


@dataclass(frozen=True, slots=True)
class AmongAll:
    """Takes the predicted ion images of some channels and puts each in its place among all."""

    out: Writable
    channels: Sequence[int]

    def __setitem__(self, group: slice, values: NDArray[np.float32]) -> None:
        for channel, image in zip(self.channels[group], values, strict=True):
            self.out[slice(channel, channel + 1)] = image[None]


@dataclass(slots=True)
class InParts:
    """What is known after the last group of ion images."""

    seconds: float = 0.0
    """Time in the method alone."""
    report: dict[str, Any] = field(default_factory=dict)
    skip: Skip | None = None


def goes_in_parts(each_ion_alone: bool, problem: Problem) -> bool:
    """Whether a method gets a section in groups of ion images: it may be cut, and it is large."""
    return each_ion_alone and is_large((problem.low.channels, *problem.fine_shape))


def parts_of(
    problem: Problem, cuts: Sequence[slice] | None = None
) -> Iterator[tuple[slice, Problem]]:
    """Yield groups of ion images, each as a problem of its own; by default those that fit into memory."""
    for group in cuts or groups((problem.low.channels, *problem.fine_shape)):
        yield group, replace(problem, low=problem.low.select(group))


def upscale_in_parts(
    method: Method, problem: Problem, out: Writable, cuts: Sequence[slice] | None = None
) -> InParts:
    """Bring a section onto the finer grid group by group, and write each group at once.

    More than one group is only for methods whose spec says ``each_ion_alone``.

    Parameters
    ----------
    method, problem
        What brings what onto the finer grid.
    out
        Takes each group.
    cuts
        The groups, in order; None: as many ion images at a time as fit into memory.

    Raises
    ------
    WrongResultError
        If a group comes back with another shape or type than it must have.
    """
    done = InParts()
    count = 0
    for group, part in parts_of(problem, cuts):
        start = time.perf_counter()
        fine = method.upscale(part)
        done.seconds += time.perf_counter() - start
        if isinstance(fine, Skip):
            done.skip = fine
            return done
        values = np.asarray(fine)
        expected = (part.low.channels, *problem.fine_shape)
        if values.shape != expected or values.dtype != np.float32:
            raise WrongResultError(
                f"channels {group.start} to {group.stop - 1}: expected float32 (channel, row, column) "
                f"= {expected}, got {values.dtype} {values.shape}"
            )
        out[group] = values
        count += 1
        tell_progress(group.stop, problem.low.channels, "ions")
    report: Mapping[str, Any] = method.report() if isinstance(method, Reporting) else {}
    done.report = {**report, "groups_of_ion_images": count}
    return done
