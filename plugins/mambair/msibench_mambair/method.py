"""MambaIR's variants as methods."""

from __future__ import annotations

from pathlib import Path

from msibench import Problem
from msibench.training.pretrained import Loaded, PretrainedMethod
from msibench.training.tile_plan import InputNeeds
from msibench.weights import read_state_dict
from msibench_mambair.config import FILES
from msibench_mambair.kernels import scan_name
from msibench_mambair.network import build_network


class MambaIR(PretrainedMethod):
    """Super-resolution with a MambaIR; see `msibench_mambair.network`.

    Its scans run over the whole image, so a tile gives another result than the whole. Images are
    therefore not tiled unless ``tile`` asks for it; the record then says so.
    """

    files = FILES
    own_keys = frozenset({"embed_dim", "depths", "d_state", "expand", "in_chans"})

    def load(self, path: Path, problem: Problem) -> Loaded:
        """Read an official checkpoint of any generation, or one of our own training."""
        network = build_network(read_state_dict(path))
        config = network.config
        needs = InputNeeds(
            factor=config.upscale,
            channels=1 if config.in_chans == 1 else 3,
            local=False,
        )
        about = {
            "architecture": "MambaIR",
            "generation": config.generation,
            "embed_dim": config.embed_dim,
            "depths": list(config.depths),
            "scan": scan_name(problem.device),
        }
        return Loaded(network, needs, about)
