"""``METHOD+consistent``: any method, and after it the residual of its own low image, magnified and added."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msibench.contracts.method import Method, Reporting, Trainable
from msibench.degradation import protocol
from msibench.degradation.back_projection import Degrade, back_project
from msibench.degradation.binning import area_mean
from msibench.image import Budget, Pair, Problem, Skip


class ConsistentTwin:
    """Run a method, then bring its result back to its input (`back_project`).

    The low image is made as the problem's protocol makes it, without noise; by area mean for a section
    that has no protocol.
    """

    def __init__(self, method: Method) -> None:
        self.method = method
        self._missed: dict[str, float] = {}

    def upscale(self, problem: Problem) -> NDArray[np.float32] | Skip:
        """Return ``(channel, row*factor, column*factor)`` in the unit of ``problem.low``."""
        fine = self.method.upscale(problem)
        if isinstance(fine, Skip):
            return fine
        low, degrade = problem.low.values, _degrade(problem)
        corrected = back_project(fine, low, degrade)
        self._missed = {
            "misses_of_its_input_before": _missed(degrade(np.asarray(fine)), low),
            "misses_of_its_input": _missed(degrade(corrected), low),
        }
        return corrected

    def report(self) -> Mapping[str, object]:
        """Return the method's own report and how far it contradicted its input, before and after."""
        own = self.method.report() if isinstance(self.method, Reporting) else {}
        return {**own, **self._missed}

    def warm_up(self, problem: Problem) -> None:
        """Let the method warm up, if it can."""
        warm_up = getattr(self.method, "warm_up", None)
        if callable(warm_up):
            warm_up(problem)


class TrainableTwin(ConsistentTwin):
    """A twin of a method that learns from pairs."""

    def fit(self, pairs: Iterable[Pair], *, seed: int, budget: Budget) -> None:
        """Let the method learn."""
        assert isinstance(self.method, Trainable)
        self.method.fit(pairs, seed=seed, budget=budget)


def make_twin(make: Callable[..., Method], **options: Any) -> ConsistentTwin:
    """Make a method with its options, and its twin."""
    method = make(**options)
    return (TrainableTwin if isinstance(method, Trainable) else ConsistentTwin)(method)


def _degrade(problem: Problem) -> Degrade:
    if problem.protocol:
        return protocol(problem.protocol).degrade
    return lambda fine: area_mean(fine, problem.factor)


def _missed(again: NDArray[np.floating], low: NDArray[np.floating]) -> float:
    """Return the share of the input, in norm, that an image does not give back."""
    known = np.isfinite(low) & np.isfinite(again)
    size = float(np.linalg.norm(low[known].astype(np.float64)))
    return round(float(np.linalg.norm((again - low)[known])) / size, 6) if size else 0.0
