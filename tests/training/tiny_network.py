"""A network of a few hundred weights, sections to train it on, and a process that can be killed."""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from msibench.image import as_stack
from msibench.training.config import TrainingConfig
from msibench.training.ddp import world_from_environment
from msibench.training.loop import TrainingStates, train
from msibench.training.patches import Patches
from msibench.training.validation import held_out


def network(factor=2, seed=3):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1),
            nn.GELU(),
            nn.Dropout(0.1),
            nn.Conv2d(6, factor**2, 3, padding=1),
            nn.PixelShuffle(factor),
        )


def section(seed=0, shape=(34, 50), channels=2):
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    waves = [
        np.sin(rows / rng.uniform(2, 6)) * np.cos(columns / rng.uniform(2, 6))
        for _ in range(channels)
    ]
    return as_stack(np.clip(0.5 + 0.5 * np.array(waves), 0, 1))


def patches(batch=4, seed=0, **options):
    return Patches([section(1), section(2)], factor=2, patch=8, batch=batch, seed=seed, **options)


def validation():
    return held_out([("held-out", section(9))], factor=2)


def settings(iterations=40, **changes):
    return TrainingConfig(
        **{
            "iterations": iterations,
            "lr": 5e-3,
            "validate_every": 10,
            "checkpoint_every": 10,
            "ema": 0.9,
            **changes,
        }
    )


def no_dropout(net):
    net[2].p = 0.0
    return net


def run(folder, iterations, plain=""):
    """Train with states in `folder`, alone or among those of torchrun; save curve and weights."""
    from safetensors.torch import save_file

    with world_from_environment() as world:
        result = train(
            no_dropout(network()) if plain else network(),
            patches(),
            settings(int(iterations)),
            validation=validation(),
            states=TrainingStates(folder=Path(folder), resume=True),
            world=world,
        )
        if world.leads:
            curve = torch.tensor(result.loss, dtype=torch.float64)
            save_file({"curve": curve, **result.weights}, Path(folder) / "done.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(*sys.argv[1:])
