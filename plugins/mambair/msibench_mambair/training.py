"""The MambaIR that ``msibench finetune`` trains: from a checkpoint, or new in a size of one's choice."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from msibench.training.networks import start_at_zero
from msibench_mambair.network import MambaIR, MambaIRConfig, build_network


def network_for_training(
    config: Mapping[str, Any], *, factor: int, weights: Mapping[str, Path] | None
) -> nn.Module:
    """Return a MambaIR of the light model's third generation.

    Parameters
    ----------
    config
        From scratch: ``embed_dim`` (default 60), ``depths`` (6, 6, 6, 6), ``d_state`` (10),
        ``expand`` (1.2), ``in_chans`` (1). With ``skip = "bicubic"`` the last convolution starts at
        zero, so that training starts at the interpolated image.
    factor
        Fine pixels per coarse pixel.
    weights
        The file to start from; None: from scratch.
    """
    if weights:
        from msibench.weights import read_state_dict

        return build_network(read_state_dict(next(iter(weights.values()))))
    dim = int(config.get("embed_dim", 60))
    network = MambaIR(
        MambaIRConfig(
            upscale=factor,
            in_chans=int(config.get("in_chans", 1)),
            embed_dim=dim,
            depths=tuple(int(depth) for depth in config.get("depths", (6, 6, 6, 6))),
            d_state=int(config.get("d_state", 10)),
            d_inner=int(float(config.get("expand", 1.2)) * dim),
            dt_rank=math.ceil(dim / 16),
            mixer="dilated",
            mixer_dim=dim // 2,
            squeeze_dim=max(1, dim // 30),
            upsampler="pixelshuffledirect",
        )
    )
    if config.get("skip", "none") != "none":
        start_at_zero(network.get_submodule("upsample"))
    return network
