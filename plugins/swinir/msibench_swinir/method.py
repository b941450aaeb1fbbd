"""SwinIR's variants as methods."""

from __future__ import annotations

from pathlib import Path

from msibench import Problem
from msibench.training.pretrained import Loaded, PretrainedMethod
from msibench.training.tile_plan import InputNeeds
from msibench.weights import bare_state_dict, read_state_dict
from msibench_swinir.config import FILES
from msibench_swinir.network import build_network, infer_config


class SwinIR(PretrainedMethod):
    """Super-resolution with a SwinIR; see `msibench_swinir.network`."""

    files = FILES
    own_keys = frozenset({"embed_dim", "depths", "num_heads", "in_chans"})

    def load(self, path: Path, problem: Problem) -> Loaded:
        """Read an official checkpoint, or one of our own training."""
        tensors = bare_state_dict(read_state_dict(path))
        config = infer_config(tensors)
        needs = InputNeeds(
            factor=config.upscale,
            channels=1 if config.in_chans == 1 else 3,
            multiple_of=config.window_size,
            minimum=config.window_size,
        )
        about = {
            "architecture": "SwinIR",
            "embed_dim": config.embed_dim,
            "depths": list(config.depths),
            "upsampler": config.upsampler,
        }
        return Loaded(build_network(tensors), needs, about)
