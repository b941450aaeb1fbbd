"""DeepFERE as msibench runs it: fitted to the section, embedding or ion images."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict
from threading import Lock
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor

from msibench import MSImage, Problem, Skip, tell_progress
from msibench.decomposition import embed
from msibench.training.fitting import ion_seed
from msibench.training.ions import (
    ScaledIons,
    ion_identities,
    network_guide,
    reason_to_skip,
    scale_ions,
)
from msibench.training.kept_curves import kept_points, six_digits
from msibench.training.threads import one_thread_each, ordered_map
from msibench_deepfere.config import DeepfereConfig
from msibench_deepfere.fitting import Curves, Fit, Views
from msibench_deepfere.network import FusionNetwork, RegistrationMapping, smallest_side

log = logging.getLogger(__name__)

EMBEDDING_IDENTITY = 1
"""Takes the place of an ion's identity where the seed of the embedding's networks is drawn."""


class DeepFERE:
    """Register the stain, map it to the chemistry, fuse it with the magnified MSI.

    Two modes: an *embedding* (three channels without an m/z) is magnified as one image of all its
    channels; *ion* images are magnified one by one. A grey guide is repeated to three channels, of
    RGBA the opacity is left out. Images below the smallest size that the networks can take (the
    registration needs 86 fine pixels along each edge) are continued by their border and cut back.

    Parameters
    ----------
    config
        Fields of `DeepfereConfig`.
    """

    def __init__(self, **config: Any) -> None:
        self.config = DeepfereConfig(**config)
        self._report: dict[str, object] = {}
        self._building = Lock()

    def upscale(self, problem: Problem) -> NDArray[np.float32] | Skip:
        """Return ``(channel, row*factor, column*factor)`` in the unit of ``problem.low``."""
        if (reason := reason_to_skip(problem)) is not None:
            return reason
        ions = scale_ions(problem.low)
        stain = self._stain(problem)
        mode = self._mode(problem.low)
        with one_thread_each() as threads:
            if mode == "embedding":
                fine, curves = self._fit_embedding(ions, stain, problem)
            else:
                fine, curves = self._fit_ions(ions, stain, problem, threads)
        self._report = {
            "mode": mode,
            "padded_to": list(stain.shape[-2:]),
            "curves": [_kept(curve) for curve in curves],
        }
        return ions.restore(fine)

    def report(self) -> Mapping[str, object]:
        """Return mode, padding and loss curves of the last call of `upscale`."""
        return self._report

    def _mode(self, low: MSImage) -> str:
        if self.config.mode != "auto":
            return self.config.mode
        return "embedding" if low.channels == 3 and np.isnan(low.mz).all() else "ion"

    def _stain(self, problem: Problem) -> Tensor:
        """Return the guide as the networks take it, continued to their smallest size."""
        assert problem.guide is not None
        guide = network_guide(problem.guide)
        if self.config.as_published:
            guide = guide[::-1].copy()  # OpenCV reads blue first
        down, right = _padding(problem, self.config.scales)
        rows, columns = down * problem.factor, right * problem.factor
        padded = np.pad(guide, ((0, 0), (0, rows), (0, columns)), mode="edge")
        return torch.from_numpy(padded)[None].to(problem.device)

    def _views(self, image: ScaledIons, which: list[int], stain: Tensor, problem: Problem) -> Views:
        down, right = _padding(problem, self.config.scales)
        pad = ((0, 0), (0, down), (0, right))
        values = np.pad(image.values[which], pad, mode="edge")
        known = np.pad(image.known[which], pad, mode="edge").astype(np.float32)
        low = torch.from_numpy(values)[None].to(problem.device)
        size = (stain.shape[-2], stain.shape[-1])
        magnified = F.interpolate(low, size=size, mode="bicubic", align_corners=False)
        complete = bool(known.all())
        weights = None if complete else torch.from_numpy(known)[None].to(problem.device)
        return Views(stain, low, magnified, problem.factor, weights)

    def _networks(
        self, channels: int, seed: int, device: str
    ) -> tuple[RegistrationMapping, FusionNetwork]:
        c = self.config
        with self._building, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            registration = RegistrationMapping(3, channels, c.mapping_width, registers=c.register)
            fusion = FusionNetwork(channels, c.width, c.skip_width, c.scales)
        return registration.to(device), fusion.to(device)

    def _fit(self, channels: int, seed: int, rate: float, problem: Problem, mode: str) -> Fit:
        c = self.config
        registration, fusion = self._networks(channels, seed, problem.device)
        return Fit(
            registration,
            fusion,
            learning_rate=rate,
            betas=(c.beta1, c.beta2),
            windows=c.windows,
            chunk=c.chunk,
            rng=np.random.RandomState(seed),
            refer_to_mapped=c.as_published and mode == "ion",
            gradients_add_up=c.as_published,
            precision=problem.precision,
        )

    def _fit_embedding(
        self, ions: ScaledIons, stain: Tensor, problem: Problem
    ) -> tuple[NDArray[np.float32], list[Curves]]:
        c = self.config
        channels = ions.values.shape[0]
        fit = self._fit(
            channels, ion_seed(problem.seed, 0), c.embedding_learning_rate, problem, "embedding"
        )
        views = self._views(ions, list(range(channels)), stain, problem)
        for iteration in range(c.embedding_iterations):
            (fit.warm_up if iteration < c.embedding_warm_up else fit.joint)(views)
            tell_progress(iteration + 1, c.embedding_iterations, "steps of the embedding")
            if iteration % 100 == 0:
                log.info("embedding: %d iterations left", c.embedding_iterations - iteration)
        return _cut(fit.revised(views), problem), [fit.curves]

    def _fit_ions(
        self, ions: ScaledIons, stain: Tensor, problem: Problem, threads: int
    ) -> tuple[NDArray[np.float32], list[Curves]]:
        c = self.config
        fine = np.zeros((problem.low.channels, *problem.fine_shape), np.float32)
        identities = ion_identities(problem.low)
        curves: list[Curves] = []
        finished: list[int] = []
        start: Mapping[str, Tensor] = {}
        # As published, the warm-up belongs to networks that are thrown away: nothing to run.
        warm_up = 0 if c.as_published else c.ion_warm_up
        if warm_up and c.warm_up_on == "embedding" and ions.with_signal:
            warm = self._warm_up(ions, stain, problem)
            curves.append(warm.curves)
            warm_up = 0
            kept = warm.registration.state_dict()
            start = {name: value for name, value in kept.items() if not name.startswith("tail")}

        def one(ion: int) -> Curves:
            seed = ion_seed(problem.seed, identities[ion])
            fit = self._fit(1, seed, c.ion_learning_rate, problem, "ion")
            if start:
                fit.registration.load_state_dict(start, strict=False)
            views = self._views(ions, [ion], stain, problem)
            for _ in range(warm_up):
                fit.warm_up(views)
            for _ in range(c.ion_iterations):
                fit.joint(views)
            fine[ion] = _cut(fit.revised(views), problem)[0]
            log.info("ion %d of %d done", ion + 1, problem.low.channels)
            finished.append(ion)
            tell_progress(len(finished), len(ions.with_signal), "ions")
            return fit.curves

        with ordered_map(threads if problem.device == "cpu" else 1) as spread:
            curves += spread(one, ions.with_signal)
        return fine, curves

    def _warm_up(self, ions: ScaledIons, stain: Tensor, problem: Problem) -> Fit:
        """Fit registration and mapping to an embedding of the section."""
        c = self.config
        section = MSImage(ions.values, problem.low.mz)
        with threadpool_limits(1):
            embedding = scale_ions(embed(section, method=c.embedding, seed=problem.seed))
        known = np.broadcast_to(ions.known.all(0), embedding.values.shape)
        summary = ScaledIons(embedding.values, known, embedding.scale)
        fit = self._fit(
            3, ion_seed(problem.seed, EMBEDDING_IDENTITY), c.ion_learning_rate, problem, "embedding"
        )
        views = self._views(summary, [0, 1, 2], stain, problem)
        for iteration in range(c.ion_warm_up):
            fit.warm_up(views)
            if iteration % 100 == 0:
                log.info("warm-up: %d iterations left", c.ion_warm_up - iteration)
        return fit


def _padding(problem: Problem, scales: int) -> tuple[int, int]:
    """Return how many coarse rows and columns are missing to the networks' smallest size."""
    needed = math.ceil(smallest_side(scales) / problem.factor)
    rows, columns = problem.low.shape
    return max(0, needed - rows), max(0, needed - columns)


def _cut(image: Tensor, problem: Problem) -> NDArray[np.float32]:
    rows, columns = problem.fine_shape
    cut: NDArray[np.float32] = image[:, :rows, :columns].cpu().numpy()
    return cut


def _kept(curves: Curves) -> dict[str, object]:
    """Return the curves as the record keeps them."""
    kept: dict[str, object] = {}
    for name, values in asdict(curves).items():
        points = kept_points(len(values))
        kept[name] = {"iteration": points, "loss": six_digits(values[point] for point in points)}
    return kept
