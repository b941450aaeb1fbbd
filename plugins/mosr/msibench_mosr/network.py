"""RRDBNet: residual-in-residual dense blocks, the network of ESRGAN and of MOSR.

Wang et al., "ESRGAN", ECCVW 2018 (arXiv 1809.00219); MOSR is its x4 form trained on ion images (Liao
et al., Nature Machine Intelligence 5 (2023) 656; github.com/USTC-xlab/MOSR at a2818ed7, Apache-2.0,
which takes the network from BasicSR 1.4.2). Written anew from the papers, with BasicSR's names of
parameters so that published checkpoints load strictly: spandrel's RRDBNet renames them and knows only
32 growth channels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msibench.errors import ConfigurationError
from msibench.weights import bare_state_dict

_SCALE = 0.2
"""Weight of each residual, at both levels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RRDBConfig:
    """Everything that fixes the shapes of one RRDBNet; names as in BasicSR's constructor."""

    num_in_ch: int = 3
    num_out_ch: int = 3
    scale: int = 4
    num_feat: int = 64
    num_block: int = 23
    num_grow_ch: int = 32


class ResidualDenseBlock(nn.Module):
    """Five convolutions, each of which sees the features of all before it."""

    def __init__(self, num_feat: int, num_grow_ch: int) -> None:
        super().__init__()
        feat, grow = num_feat, num_grow_ch
        self.conv1 = nn.Conv2d(feat, grow, 3, padding=1)
        self.conv2 = nn.Conv2d(feat + grow, grow, 3, padding=1)
        self.conv3 = nn.Conv2d(feat + 2 * grow, grow, 3, padding=1)
        self.conv4 = nn.Conv2d(feat + 3 * grow, grow, 3, padding=1)
        self.conv5 = nn.Conv2d(feat + 4 * grow, feat, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, num_feat, row, column)`` to the same shape."""
        features = x
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            grown = F.leaky_relu(conv(features), 0.2)
            features = torch.cat((features, grown), dim=1)
        return torch.add(x, self.conv5(features), alpha=_SCALE)


class RRDB(nn.Module):
    """Three dense blocks with a skip around them."""

    def __init__(self, num_feat: int, num_grow_ch: int) -> None:
        super().__init__()
        self.rdb1 = ResidualDenseBlock(num_feat, num_grow_ch)
        self.rdb2 = ResidualDenseBlock(num_feat, num_grow_ch)
        self.rdb3 = ResidualDenseBlock(num_feat, num_grow_ch)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, num_feat, row, column)`` to the same shape."""
        return torch.add(x, self.rdb3(self.rdb2(self.rdb1(x))), alpha=_SCALE)


class RRDBNet(nn.Module):
    """Super-resolution x4; x2 and x1 by unshuffling pixels first."""

    def __init__(self, config: RRDBConfig) -> None:
        super().__init__()
        self.config = config
        feat = config.num_feat
        self.unshuffle = 4 // config.scale
        channels = config.num_in_ch * self.unshuffle**2
        self.conv_first = nn.Conv2d(channels, feat, 3, padding=1)
        self.body = nn.Sequential(
            *(RRDB(feat, config.num_grow_ch) for _ in range(config.num_block))
        )
        self.conv_body = nn.Conv2d(feat, feat, 3, padding=1)
        self.conv_up1 = nn.Conv2d(feat, feat, 3, padding=1)
        self.conv_up2 = nn.Conv2d(feat, feat, 3, padding=1)
        self.conv_hr = nn.Conv2d(feat, feat, 3, padding=1)
        self.conv_last = nn.Conv2d(feat, config.num_out_ch, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, num_in_ch, row, column)`` in [0, 1] to the same ``scale`` times finer.

        Sides that the unshuffling does not divide are mirrored at their end, and the result cropped.
        """
        rows, columns = x.shape[-2:]
        if self.unshuffle > 1:
            grow = (0, -columns % self.unshuffle, 0, -rows % self.unshuffle)
            x = F.pixel_unshuffle(F.pad(x, grow, mode="reflect"), self.unshuffle)
        x = self.conv_first(x)
        x = x + self.conv_body(self.body(x))
        x = F.leaky_relu(self.conv_up1(F.interpolate(x, scale_factor=2.0)), 0.2)
        x = F.leaky_relu(self.conv_up2(F.interpolate(x, scale_factor=2.0)), 0.2)
        x = self.conv_last(F.leaky_relu(self.conv_hr(x), 0.2))
        return x[..., : rows * self.config.scale, : columns * self.config.scale]


def build_network(state_dict: Mapping[str, Any]) -> RRDBNet:
    """Make the RRDBNet that a checkpoint belongs to, and load it strictly.

    Parameters
    ----------
    state_dict
        BasicSR's key names; may be wrapped in ``params`` or ``params_ema`` and prefixed ``module.``.

    Raises
    ------
    ConfigurationError
        If it is not an RRDBNet checkpoint, or keys are missing, surplus or misshapen.
    """
    tensors = bare_state_dict(state_dict)
    network = RRDBNet(infer_config(tensors))
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise ConfigurationError(f"this RRDBNet checkpoint does not fit: {error}") from error
    return network.eval()


def infer_config(tensors: Mapping[str, Tensor]) -> RRDBConfig:
    """Read every hyper-parameter off the names and shapes of a state dict.

    Raises
    ------
    ConfigurationError
        If a name that every RRDBNet has is missing, or the input channels fit no scale.
    """
    try:
        num_feat, channels = tensors["conv_first.weight"].shape[:2]
        out = tensors["conv_last.weight"].shape[0]
        grow = tensors["body.0.rdb1.conv1.weight"].shape[0]
    except KeyError as error:
        raise ConfigurationError(
            f"this is not an RRDBNet checkpoint: it has no {error.args[0]!r}. Its keys begin with "
            f"{', '.join(list(tensors)[:3]) or 'nothing'}. Other layouts of ESRGAN's network run "
            "through --method spandrel:PATH."
        ) from error
    unshuffle = math.isqrt(channels // out)
    if channels != out * unshuffle**2 or unshuffle not in (1, 2, 4):
        raise ConfigurationError(
            f"an RRDBNet of {out} output channels reads {out}, {4 * out} or {16 * out} (x4, x2, x1), "
            f"this one reads {channels}"
        )
    blocks = {int(name.split(".")[1]) for name in tensors if name.startswith("body.")}
    return RRDBConfig(
        num_in_ch=out,
        num_out_ch=out,
        scale=4 // unshuffle,
        num_feat=num_feat,
        num_block=len(blocks),
        num_grow_ch=grow,
    )
