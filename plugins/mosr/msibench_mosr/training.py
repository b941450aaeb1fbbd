"""How ``msibench finetune`` gets a trainable RRDBNet, from a checkpoint or from scratch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from msibench.training.networks import start_at_zero
from msibench.weights import read_state_dict
from msibench_mosr.network import RRDBConfig, RRDBNet, build_network


def network_for_training(
    config: Mapping[str, Any], *, factor: int, weights: Mapping[str, Path] | None
) -> nn.Module:
    """Return an RRDBNet.

    Parameters
    ----------
    config
        From scratch: ``num_feat`` (default 64), ``num_block`` (23), ``num_grow_ch`` (32), ``in_chans``
        (1). With ``skip = "bicubic"`` the last convolution starts at zero, so that training starts at
        the interpolated image.
    factor
        Fine pixels per coarse pixel: 4, 2 or 1.
    weights
        The file to start from; None: from scratch.
    """
    if weights:
        return build_network(read_state_dict(next(iter(weights.values())))).train()
    channels = int(config.get("in_chans", 1))
    network = RRDBNet(
        RRDBConfig(
            num_in_ch=channels,
            num_out_ch=channels,
            scale=factor,
            num_feat=int(config.get("num_feat", 64)),
            num_block=int(config.get("num_block", 23)),
            num_grow_ch=int(config.get("num_grow_ch", 32)),
        )
    )
    if config.get("skip", "none") != "none":
        start_at_zero(network.conv_last)
    return network
