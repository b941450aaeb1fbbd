"""A section through a method: a small one at once, a large one a few ion images at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from msibench.contracts.method import Method, Reporting
from msibench.contracts.progress import tell_progress
from msibench.errors import DataError
from msibench.image import Problem, Skip
from msibench.io.stored_stack import groups


class WrongResultError(DataError):
    """A method returned ion images of a wrong shape or type, or some that are not finite.

    Parameters
    ----------
    message
        What is wrong.
    values, seconds
        What it gave, and how long it took.
    """

    def __init__(
        self, message: str, values: NDArray[Any] | None = None, seconds: float = 0.0
    ) -> None:
        super().__init__(message)
        self.values, self.seconds = values, seconds


class Writable(Protocol):
    """Where predicted ion images go: a data set of an open file."""

    def __setitem__(self, channels: slice, values: NDArray[np.float32]) -> None: ...


@dataclass(slots=True)
class Upscaled:
    """Result after the last group of ion images."""

    seconds: float = 0.0
    """Time in the method alone."""
    report: dict[str, Any] = field(default_factory=dict)
    skip: Skip | None = None


def cuts_of(each_ion_alone: bool, problem: Problem) -> list[slice]:
    """Return the groups of ion images that a method gets, in order.

    A section is one group, unless it is large and the method may get its ion images apart
    (`MethodSpec.each_ion_alone`).
    """
    if not each_ion_alone:
        return [slice(0, problem.low.channels)]
    return groups((problem.low.channels, *problem.fine_shape))


def groups_of(problem: Problem, cuts: Sequence[slice]) -> Iterator[tuple[slice, Problem]]:
    """Yield groups of ion images, each as a problem of its own; one group is the problem itself."""
    if len(cuts) == 1:
        yield cuts[0], problem
        return
    for group in cuts:
        yield group, replace(problem, low=problem.low.select(group))


def upscale_in_groups(
    method: Method, problem: Problem, out: Writable, cuts: Sequence[slice]
) -> Upscaled:
    """Bring a section onto the finer grid group by group, and write each group at once.

    Parameters
    ----------
    method, problem
        The method, and the problem that it solves.
    out
        Takes each group.
    cuts
        The groups, in order (`cuts_of`).

    Raises
    ------
    WrongResultError
        If a group comes back with another shape or type than it must have.
    """
    done = Upscaled()
    for group, part in groups_of(problem, cuts):
        start = time.perf_counter()
        fine = method.upscale(part)
        _synchronise(problem.device)
        done.seconds += time.perf_counter() - start
        if isinstance(fine, Skip):
            done.skip = fine
            break
        values = np.asarray(fine)
        expected = (part.low.channels, *problem.fine_shape)
        if values.shape != expected or values.dtype != np.float32:
            raise WrongResultError(
                f"channels {group.start} to {group.stop - 1}: expected float32 (channel, row, column) "
                f"= {expected}, got {values.dtype} {values.shape}",
                values,
                done.seconds,
            )
        out[group] = values
        if len(cuts) > 1:
            tell_progress(group.stop, problem.low.channels, "ions")
    if isinstance(method, Reporting):
        done.report.update(method.report())
    if len(cuts) > 1:
        done.report["groups_of_ion_images"] = len(cuts)
    return done


def _synchronise(device: str) -> None:
    """Wait for the GPU to finish, so that its time counts."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize()
