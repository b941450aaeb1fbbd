"""Random patches of training sections, degraded on the fly, drawn ahead of the network.

Element `e` of batch `i` is a pure function of ``(seed, i, e)``. So a resumed run sees the batches
that it would have seen, and several processes that share a batch draw what one process would.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from msibench.degradation.scaling import Scaling
from msibench.errors import ConfigurationError
from msibench.image import MSImage

Image = NDArray[np.float32]
Degrade = Callable[[Image, np.random.Generator], Image]
"""Fine ``(channel, row, column)`` in [0, 1] to coarse, as the protocol makes it."""
Augment = Callable[[Image, np.random.Generator], Image]
"""Fine ``(row, column)`` in [0, 1] to another image that could have been measured, same shape."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What one optimiser step learns from."""

    iteration: int
    low: Image
    """``(image, 1, row, column)`` in [0, 1]."""
    high: Image
    """``(image, 1, row * factor, column * factor)`` in [0, 1]."""


def block_mean(factor: int) -> Degrade:
    """Return the noise-free area degradation: every coarse pixel is the mean of its fine ones."""

    def degrade(fine: Image, rng: np.random.Generator) -> Image:
        channels, rows, columns = fine.shape
        blocks = fine.reshape(channels, rows // factor, factor, columns // factor, factor)
        coarse: Image = blocks.mean(axis=(2, 4), dtype=np.float64).astype(np.float32)
        return coarse

    return degrade


CONTENT = 0.05
"""A window is drawn again (at most 8 times) while less than this share of its pixels is non-zero."""


class Patches:
    """Endless, seeded batches of ``(low, high)`` patches.

    Parameters
    ----------
    sections
        Fine-grid training sections on [0, 1] (`to_unit_scale`). A section is drawn first and one of its
        ion images then, so that a section counts the same however many it has; blank ones are left out.
    factor
        Fine pixels per coarse pixel along each edge.
    patch
        Edge of a patch in coarse pixels.
    batch
        Images per batch, over all processes together.
    seed
        Seed of every draw.
    degrade
        The protocol's degradation; None: the block mean.
    augment
        Change of intensities (gamma, counting noise …) before the degradation; None: none.
    margin
        Coarse pixels that are degraded around every patch and then cut off, for degradations that
        reach over pixel borders.

    Raises
    ------
    ConfigurationError
        If there is no ion image to learn from, intensities lie outside [0, 1], or a size makes no
        sense.
    """

    def __init__(
        self,
        sections: Sequence[MSImage],
        *,
        factor: int,
        patch: int = 24,
        batch: int = 8,
        seed: int = 0,
        degrade: Degrade | None = None,
        augment: Augment | None = None,
        margin: int = 0,
    ) -> None:
        if min(factor, patch, batch) < 1 or margin < 0:
            raise ConfigurationError(
                "factor, patch and batch must be at least 1 and margin at least 0, got "
                f"factor={factor}, patch={patch}, batch={batch}, margin={margin}"
            )
        for section in sections:
            lowest, highest = np.nanmin(section.values), np.nanmax(section.values)
            if lowest < 0 or highest > 1:
                raise ConfigurationError(
                    "training images must be on [0, 1], got intensities from "
                    f"{lowest:g} to {highest:g}; bring them there with to_unit_scale"
                )
        self.factor, self.patch, self.batch_size, self.seed = factor, patch, batch, seed
        self.margin = margin
        self._degrade = degrade or block_mean(factor)
        self._augment = augment
        edge = (patch + 2 * margin) * factor
        usable = (
            [_at_least(image, edge) for image in np.nan_to_num(section.values) if image.max() > 0]
            for section in sections
        )
        self._sections = [images for images in usable if images]
        if not self._sections:
            raise ConfigurationError(
                f"there is nothing to learn from: {len(sections)} training sections hold no ion "
                "image with a positive intensity; name other sections with --sections"
            )

    def batch(self, iteration: int, *, rank: int = 0, world: int = 1) -> Batch:
        """Draw this process's share of batch `iteration`.

        Raises
        ------
        ConfigurationError
            If the batch cannot be shared out evenly.
        """
        if self.batch_size % world:
            raise ConfigurationError(
                f"a batch of {self.batch_size} cannot be shared by {world} processes; "
                f"choose a multiple of {world}"
            )
        share = self.batch_size // world
        drawn = [
            self._element(np.random.default_rng([self.seed, iteration, element]))
            for element in range(rank * share, (rank + 1) * share)
        ]
        low = np.stack([pair[0] for pair in drawn])
        high = np.stack([pair[1] for pair in drawn])
        return Batch(iteration, low[:, None], high[:, None])

    def _element(self, rng: np.random.Generator) -> tuple[Image, Image]:
        images = self._sections[int(rng.integers(len(self._sections)))]
        image = images[int(rng.integers(len(images)))]
        edge = (self.patch + 2 * self.margin) * self.factor
        window = image[:edge, :edge]
        for _ in range(8):
            top = int(rng.integers(image.shape[0] - edge + 1))
            left = int(rng.integers(image.shape[1] - edge + 1))
            window = image[top : top + edge, left : left + edge]
            if np.count_nonzero(window) >= CONTENT * window.size:
                break
        turn = int(rng.integers(8))
        high = np.rot90(window, turn % 4)
        high = np.ascontiguousarray(high[::-1] if turn >= 4 else high)
        if self._augment is not None:
            high = self._augment(high, rng)
        low = self._degrade(high[None], rng)[0]
        cut, fine_cut = self.margin, self.margin * self.factor
        low = low[cut : cut + self.patch, cut : cut + self.patch]
        fine = self.patch * self.factor
        return low, high[fine_cut : fine_cut + fine, fine_cut : fine_cut + fine]


def to_unit_scale(image: MSImage, declared_range: float | None = None) -> MSImage:
    """Return a section on [0, 1] as the protocols scale it, pixels that were not measured as 0.

    Parameters
    ----------
    image
        As measured.
    declared_range
        Largest intensity that the data set can hold (255 for 8 bits); None: a quantile of each ion
        image's tissue pixels becomes 1, and what lies above is clipped.
    """
    values = np.nan_to_num(image.values, nan=0.0)
    scale = Scaling().scale(values, image.mask, declared_range)
    unit = np.clip(values / scale[:, None, None], 0.0, 1.0).astype(np.float32)
    return replace(image, values=unit, unit="scaled")


def prefetched(
    draw: Callable[[int], Batch], start: int, stop: int, *, ahead: int = 4, workers: int = 1
) -> Iterator[Batch]:
    """Yield ``draw(start) … draw(stop - 1)`` in order, drawing up to `ahead` batches in the background.

    An exception in `draw` is raised where its batch would have been yielded.
    """
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="patches")
    waiting: deque[Future[Batch]] = deque()
    try:
        for iteration in range(start, stop):
            while len(waiting) < ahead and iteration + len(waiting) < stop:
                waiting.append(pool.submit(draw, iteration + len(waiting)))
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _at_least(image: Image, edge: int) -> Image:
    """Mirror an image that is smaller than a patch until it is as large as one."""
    missing = [max(0, edge - size) for size in image.shape]
    if any(missing):
        image = np.pad(image, [(0, gap) for gap in missing], mode="symmetric")
    return np.ascontiguousarray(image, dtype=np.float32)
