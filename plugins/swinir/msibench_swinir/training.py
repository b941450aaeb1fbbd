"""The SwinIR that ``msibench finetune`` trains: from a checkpoint, or new in a size of one's choice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from msibench.training.networks import start_at_zero
from msibench_swinir.network import SwinIRConfig, build_network, make_network


def network_for_training(
    config: Mapping[str, Any], *, factor: int, weights: Mapping[str, Path] | None
) -> nn.Module:
    """Return a SwinIR with ``pixelshuffledirect`` as of the light model.

    Parameters
    ----------
    config
        From scratch: ``embed_dim`` (default 60), ``depths`` (6, 6, 6, 6), ``num_heads`` (6 for each
        group), ``in_chans`` (1). With ``skip = "bicubic"`` the last convolution starts at zero, so that
        training starts at the interpolated image.
    factor
        Fine pixels per coarse pixel.
    weights
        The file to start from; None: from scratch.
    """
    if weights:
        from msibench.weights import read_state_dict

        return build_network(read_state_dict(next(iter(weights.values()))))
    depths = tuple(int(depth) for depth in config.get("depths", (6, 6, 6, 6)))
    network = make_network(
        SwinIRConfig(
            upscale=factor,
            in_chans=int(config.get("in_chans", 1)),
            img_size=24,
            depths=depths,
            embed_dim=int(config.get("embed_dim", 60)),
            num_heads=tuple(int(n) for n in config.get("num_heads", [6] * len(depths))),
        )
    )
    if config.get("skip", "none") != "none":
        start_at_zero(network.get_submodule("upsample"))
    return network
