"""How well the network does on whole sections that it does not learn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from msibench.image import MSImage
from msibench.training.losses import ssim_loss
from msibench.training.patches import Degrade, block_mean


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """One ion image of a held-out section, coarse and fine, both on [0, 1]."""

    section: str
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    unseen: float | None = None
    """Mean square of what the coarse image does not show; None where it is not known."""


def held_out(
    sections: Sequence[tuple[str, MSImage]],
    *,
    factor: int,
    degrade: Degrade | None = None,
    unseen: Callable[[NDArray[np.float32]], NDArray[np.floating]] | None = None,
    seed: int = 0,
    most: int = 32,
) -> list[HeldOut]:
    """Degrade held-out sections once; at most `most` ion images, evenly spread over all.

    Rows and columns beyond a multiple of `factor` are cut off at the bottom and the right. `unseen` gives
    the part of ``(channel, row, column)`` that the degradation does not pass.
    """
    lower = degrade or block_mean(factor)
    pairs: list[HeldOut] = []
    images = [
        (name, image)
        for name, section in sections
        for image in np.nan_to_num(section.values)
        if image.max() > 0
    ]
    chosen = np.unique(np.linspace(0, len(images) - 1, min(most, len(images))).round().astype(int))
    for index in chosen if images else ():
        name, image = images[index]
        rows, columns = (size // factor * factor for size in image.shape)
        high = np.ascontiguousarray(image[:rows, :columns] / image.max(), dtype=np.float32)
        rng = np.random.default_rng([seed, int(index)])
        detail = None if unseen is None else float(np.square(unseen(high[None])).mean())
        pairs.append(HeldOut(name, lower(high[None], rng)[0], high, detail))
    return pairs


@torch.no_grad()
def validate(
    network: nn.Module, pairs: Sequence[HeldOut], *, device: str = "cpu"
) -> dict[str, float]:
    """Return the means of PSNR in dB, SSIM and skill over held-out ion images, outputs clipped to [0, 1].

    PSNR takes a data range of 1 and is counted as 100 dB where the images agree exactly. Skill is left out
    where the images' unseen part is not known or nothing.
    """
    training = network.training
    network.eval()
    psnr: list[float] = []
    ssim: list[float] = []
    skill: list[float] = []
    for pair in pairs:
        low = torch.from_numpy(pair.low)[None, None].to(device)
        truth = torch.from_numpy(pair.high)[None, None].to(device)
        fine = network(low).float().clamp(0, 1)
        error = float(((fine - truth) ** 2).mean())
        psnr.append(100.0 if error == 0 else min(100.0, -10 * float(np.log10(error))))
        ssim.append(1 - float(ssim_loss(fine, truth)))
        if pair.unseen:
            skill.append(1 - error / pair.unseen)
    network.train(training)
    means = {"psnr": float(np.mean(psnr)), "ssim": float(np.mean(ssim))}
    return {**means, "skill": float(np.mean(skill))} if skill else means
