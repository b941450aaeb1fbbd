"""A method under test, and the tiny problems it is tried on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from msibench.contracts.method import MethodSpec, Task
from msibench.image import Budget, GuideImage, MSImage, Pair, Problem, Skip
from msibench.plugin_manager import resolve_target
from msibench.weights import find as find_weight

Content = Literal["blobs", "constant", "zero", "sparse"]


class NotCheckableError(Exception):
    """A check cannot be made here, with the reason (weights missing, no such input)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One method with the configuration that its checks use."""

    spec: MethodSpec
    config: Mapping[str, Any] = field(default_factory=dict)
    """What differs from the defaults, to keep checks of fitting methods short."""
    low_shape: tuple[int, int] = (12, 10)
    """Coarse pixels of an ordinary problem; a method with a least size names a larger one."""

    @property
    def factor(self) -> int:
        """A factor that the method can do: 2 where it can."""
        factors = self.spec.factors
        return 2 if factors is None or 2 in factors else min(factors)

    def build(self) -> Any:
        """Make the method.

        Raises
        ------
        NotCheckableError
            If a weight file is missing.
        """
        weights = {}
        for file in self.spec.weights:
            path = find_weight(file)
            if path is None:
                raise NotCheckableError(f"weights missing: {file.name}")
            weights[file.name] = path
        extra = {"weights": weights} if weights else {}
        return resolve_target(self.spec.target)(**{**self.spec.config, **self.config}, **extra)

    def ready(self) -> Any:
        """Make the method; one that learns has then been fitted to two tiny sections."""
        method = self.build()
        if self.spec.trainable:
            method.fit(self.pairs(), seed=0, budget=Budget(name=self.spec.budget or "quick"))
        return method

    def pairs(self) -> list[Pair]:
        """Make two tiny training sections."""
        made: list[Pair] = []
        for shape in (self.low_shape, (self.low_shape[1] + 3, self.low_shape[0])):
            low = self.problem(shape=shape)
            fine = tiny_ion_images(low.low.channels, *low.fine_shape)
            high = replace(
                low.low, values=fine, mask=None, pixel_size_um=low.low.pixel_size_um / low.factor
            )
            name = f"section-{len(made)}"
            made.append(
                Pair(low=low.low, high=high, factor=low.factor, guide=low.guide, section=name)
            )
        return made

    def problem(
        self,
        *,
        channels: int = 3,
        shape: tuple[int, int] | None = None,
        content: Content = "blobs",
        seed: int = 0,
        scratch: Path | None = None,
        not_measured: bool = False,
    ) -> Problem:
        """Make a tiny problem on a grid that is not square, so that swapped axes show."""
        rows, columns = shape or self.low_shape
        values = tiny_ion_images(channels, rows, columns, content)
        mask = np.ones((rows, columns), dtype=bool)
        if not_measured:
            values[:, : rows // 4, : columns // 4] = np.nan
            mask[: rows // 4, : columns // 4] = False
        factor = self.factor
        fine = tiny_ion_images(3, rows * factor, columns * factor, "blobs")
        guide = fine / fine.max(axis=(1, 2), keepdims=True)
        return Problem(
            low=MSImage(
                values,
                mz=np.linspace(400.0, 500.0, channels),
                pixel_size_um=10.0 * factor,
                mask=mask,
                unit="counts",
            ),
            factor=factor,
            guide=GuideImage(guide, pixel_size_um=10.0, channel_names=("red", "green", "blue"))
            if self.spec.task is Task.GUIDED
            else None,
            second=MSImage(
                fine * 50, mz=np.array([200.0, 300.0, 350.0]), pixel_size_um=10.0, unit="counts"
            )
            if self.spec.task is Task.CROSS_MODALITY
            else None,
            seed=seed,
            scratch=scratch,
        )

    def upscale(self, problem: Problem) -> NDArray[np.float32]:
        """Build the method, fit it where it learns, and run it once.

        Raises
        ------
        NotCheckableError
            If the method says with a reason that it cannot do the problem.
        """
        result = self.ready().upscale(problem)
        if isinstance(result, Skip):
            assert result.reason.strip(), "a Skip must carry its reason"
            raise NotCheckableError(f"skipped by the method: {result.reason}")
        return np.asarray(result)


def tiny_ion_images(
    channels: int, rows: int, columns: int, content: Content = "blobs"
) -> NDArray[np.float32]:
    """Return ion images of a few blobs, a constant, nothing, or a few lone pixels."""
    if content == "zero":
        return np.zeros((channels, rows, columns), dtype=np.float32)
    if content == "constant":
        return np.full((channels, rows, columns), 7.5, dtype=np.float32)
    row, column = np.indices((rows, columns), dtype=float)
    row, column = (row + 0.5) / rows, (column + 0.5) / columns
    images = np.empty((channels, rows, columns), dtype=np.float32)
    for channel in range(channels):
        rng = np.random.default_rng([7, channel])
        image = 2 + 30 * column * rng.uniform(0.2, 1)
        for _ in range(3):
            y, x, size = rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.8), rng.uniform(0.08, 0.25)
            image += 60 * np.exp(-((row - y) ** 2 + (column - x) ** 2) / (2 * size**2))
        if content == "sparse":
            image *= np.random.default_rng([8, channel]).random((rows, columns)) > 0.9
        images[channel] = image
    return images
