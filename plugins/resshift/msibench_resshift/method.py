"""ResShift as a method: ion images in, ion images out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from msibench import MSImage, Problem, Skip
from msibench.training.tile_plan import InputNeeds, options_from, plan_tiles
from msibench.training.tiles import upscale_ions
from msibench.weights import bare_state_dict, read_state_dict
from msibench_resshift.network import build_autoencoder, build_unet, pad, sample
from msibench_resshift.schedule import Schedule, check_file, schedule_for
from msibench_resshift.unet import UNet


class ResShift:
    """Sample a fine image by residual-shifting diffusion.

    The noise of a tile follows from the seed, the ion's m/z (its position where there is none) and the
    tile's number, so that neither batch size nor the order of ions changes a result. Tiles are sampled apart from one another: tiling changes
    results, and the report says so.

    Parameters
    ----------
    schedule
        Name of the diffusion schedule; one that contradicts the checkpoint is refused.
    weights
        The network's file first, then the autoencoder's.
    tiling
        ``tile``, ``overlap``, ``batch``, ``scaling``, ``quantise8`` of `msibench.training.tiles`.

    Raises
    ------
    ScheduleError
        If schedule and checkpoint do not belong together.
    """

    def __init__(self, *, schedule: str, weights: Mapping[str, Path], **tiling: Any) -> None:
        (name, path), (_, autoencoder) = list(weights.items())[:2]
        self.schedule: Schedule = schedule_for(name, schedule)
        check_file(path, self.schedule)
        self.options = options_from(tiling)
        self.unet = build_unet(bare_state_dict(read_state_dict(path)))
        self.autoencoder = build_autoencoder(bare_state_dict(read_state_dict(autoencoder)))
        self._report: dict[str, object] = {}

    def upscale(self, problem: Problem) -> NDArray[np.float32] | Skip:
        """Return the fine ion images; a factor other than 4 is not applicable."""
        factor = self.schedule.scale
        if problem.factor != factor:
            return Skip(f"ResShift is a x{factor} network; the problem asks for x{problem.factor}")
        for network in (self.unet, self.autoencoder):
            cast(nn.Module, network).to(problem.device)
        needs = InputNeeds(factor=factor, channels=3, local=False)
        tiles = len(plan_tiles(*problem.low.shape, needs, self.options))
        noise = _Noise(problem.seed, self.schedule.steps + 1, problem.low, tiles)

        def enlarge(grey: Tensor) -> Tensor:
            low = grey * 2 - 1
            drawn = noise.draw(pad(low, self._multiple())).to(grey.device)
            fine = sample(self.unet, self.autoencoder, low, self.schedule, drawn)
            noise.done(len(low))  # not reached where memory ran out: the same tiles come again
            return (fine.clamp(-1, 1) + 1) / 2

        fine, report = upscale_ions(
            enlarge,
            problem.low.values,
            needs,
            self.options,
            device=problem.device,
            precision=problem.precision,
        )
        self._report = {
            **report,
            "schedule": self.schedule.name,
            "steps": self.schedule.steps,
            "noise_seed": problem.seed,
            "noise_sha256": noise.digest(),
        }
        return fine

    def report(self) -> Mapping[str, object]:
        """Return tiles, schedule and noise of the last run."""
        return self._report

    def _multiple(self) -> int:
        return self.unet.config.multiple if isinstance(self.unet, UNet) else 64


class _Noise:
    """Standard normal numbers for each tile, and a digest of all that were drawn.

    Tiles come ion after ion, in the order of `msibench.training.tiles.upscale_ions`.
    """

    def __init__(self, seed: int, count: int, low: MSImage, tiles: int) -> None:
        self.seed, self.count, self.tiles = seed, count, tiles
        self.ions = [
            f"channel {place}" if np.isnan(mz) else f"mz {float(mz).hex()}"
            for place, mz in enumerate(low.mz)
        ]
        self.next = 0
        self._drawn: dict[str, str] = {}

    def draw(self, padded: Tensor) -> Tensor:
        """Return ``(count, tile, 3, row, column)`` for the next ``(tile, 3, row, column)``."""
        shape = (self.count, *padded.shape[1:])
        numbers = range(self.next, self.next + len(padded))
        return torch.stack([self._of(number, shape) for number in numbers], dim=1)

    def done(self, tiles: int) -> None:
        """Go on to the tiles after these."""
        self.next += tiles

    def digest(self) -> str:
        """Return one sha256 over the noise of every tile, whatever the order of ions."""
        text = "".join(self._drawn[key] for key in sorted(self._drawn))
        return hashlib.sha256(text.encode()).hexdigest()

    def _of(self, number: int, shape: tuple[int, ...]) -> Tensor:
        ion, tile = divmod(number, self.tiles)
        name = f"{self.seed}|{self.ions[ion]}|tile {tile}"
        seed = np.frombuffer(hashlib.sha256(name.encode()).digest(), dtype=np.uint32)
        noise = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
        self._drawn[name] = hashlib.sha256(noise.tobytes()).hexdigest()
        return torch.from_numpy(noise)
