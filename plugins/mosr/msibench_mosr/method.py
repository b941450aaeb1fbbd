"""MOSR and other RRDBNets as methods."""

from __future__ import annotations

from pathlib import Path

import torch

from msibench import Problem
from msibench.training.pretrained import Loaded, PretrainedMethod
from msibench.training.tile_plan import InputNeeds
from msibench.weights import read_state_dict
from msibench_mosr.config import FILES
from msibench_mosr.network import build_network


class MOSR(PretrainedMethod):
    """Super-resolution with an RRDBNet; see `msibench_mosr.network`."""

    files = FILES
    own_keys = frozenset({"num_feat", "num_block", "num_grow_ch", "in_chans"})

    def load(self, path: Path, problem: Problem) -> Loaded:
        """Read a BasicSR checkpoint."""
        network = build_network(read_state_dict(path))
        config = network.config
        needs = InputNeeds(
            factor=config.scale,
            channels=1 if config.num_in_ch == 1 else 3,
            multiple_of=network.unshuffle,
        )
        # Pixels of one place side by side: a quarter faster on processors, more on tensor cores.
        network = network.to(memory_format=torch.channels_last)
        about = {"architecture": "RRDBNet", "blocks": config.num_block, "features": config.num_feat}
        return Loaded(network, needs, about)
