"""MambaIR: image restoration with state-space scans in four directions.

Guo et al., "MambaIR: A Simple Baseline for Image Restoration with State-Space Model", ECCV 2024
(arXiv 2402.15648). Official code: github.com/csguoh/MambaIR at 33d7b346 (Apache-2.0). Written anew
from the paper and held against stored outputs of the official classes; names of parameters are the
official ones, so that published checkpoints load strictly. What differs: the scan (`scan`), and that
all hyper-parameters come from the state dict, which also tells the three generations of the light
model apart:

========== ============= =====================================================
generation since         channel-attention block of the light model
========== ============= =====================================================
1          February 2024 depthwise 3x3
2          March 2024    3x3 to C/6, GELU, 3x3 back (as the classical model's)
3          October 2024  1x1 to C/2, depthwise, GELU, 1x1 back, dilated depthwise
========== ============= =====================================================
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msibench.errors import ConfigurationError
from msibench.weights import bare_state_dict, blocks_per_group
from msibench_mambair.kernels import fastest_scan

Mixer = Literal["depthwise", "bottleneck", "dilated"]
Upsampler = Literal["pixelshuffle", "pixelshuffledirect", "nearest+conv"]

_RGB_MEAN = (0.4488, 0.4371, 0.4040)
"""Mean colour of DIV2K, taken off before the network and put back after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MambaIRConfig:
    """Everything that fixes the shapes of one MambaIR."""

    upscale: int = 4
    in_chans: int = 3
    embed_dim: int = 180
    depths: tuple[int, ...] = (6, 6, 6, 6, 6, 6)
    d_state: int = 16
    d_inner: int = 360
    """Channels inside the scan: ``int(mlp_ratio * embed_dim)`` in the official code."""
    dt_rank: int = 12
    """Rank of the step size's projection: ``ceil(embed_dim / 16)``."""
    mixer: Mixer = "bottleneck"
    mixer_dim: int = 60
    """Hidden channels of the block before the channel attention."""
    squeeze_dim: int = 6
    """Hidden channels of the channel attention."""
    upsampler: Upsampler = "pixelshuffle"
    num_feat: int = 64
    """Channels after `conv_before_upsample`; unused by ``pixelshuffledirect``."""
    residual_convs: Literal[1, 3] = 1

    @property
    def generation(self) -> str:
        """Name of the architecture, for the record."""
        if self.mixer == "bottleneck" and self.upsampler != "pixelshuffledirect":
            return "classical"
        return {"depthwise": "light-1", "bottleneck": "light-2", "dilated": "light-3"}[self.mixer]


# --- layers, small to large ---------------------------------------------------------------------


class ChannelAttention(nn.Module):
    """Weigh channels by what the whole image holds."""

    def __init__(self, dim: int, squeeze_dim: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(dim, squeeze_dim, 1),
            nn.ReLU(),
            nn.Conv2d(squeeze_dim, dim, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, channel, row, column)`` to the same shape."""
        weight: Tensor = self.attention(x)
        return x * weight


class CAB(nn.Module):
    """Local mixing followed by channel attention; the one part that differs between generations."""

    def __init__(self, dim: int, mixer: Mixer, hidden: int, squeeze_dim: int) -> None:
        super().__init__()
        layers: list[nn.Module]
        if mixer == "depthwise":
            layers = [nn.Conv2d(dim, dim, 3, padding=1, groups=dim)]
        elif mixer == "bottleneck":
            layers = [
                nn.Conv2d(dim, hidden, 3, padding=1),
                nn.GELU(),
                nn.Conv2d(hidden, dim, 3, padding=1),
            ]
        else:
            layers = [
                nn.Conv2d(dim, hidden, 1),
                nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden),
                nn.GELU(),
                nn.Conv2d(hidden, dim, 1),
                nn.Conv2d(dim, dim, 3, padding=2, dilation=2, groups=dim),
            ]
        self.cab = nn.Sequential(*layers, ChannelAttention(dim, squeeze_dim))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, channel, row, column)`` to the same shape."""
        mixed: Tensor = self.cab(x)
        return mixed


class SS2D(nn.Module):
    """Selective scan along rows and columns, forwards and backwards."""

    def __init__(self, dim: int, d_inner: int, d_state: int, dt_rank: int) -> None:
        super().__init__()
        self.d_state, self.dt_rank = d_state, dt_rank
        self.in_proj = nn.Linear(dim, 2 * d_inner, bias=False)
        self.conv2d = nn.Conv2d(d_inner, d_inner, 3, padding=1, groups=d_inner)
        self.x_proj_weight = nn.Parameter(torch.empty(4, dt_rank + 2 * d_state, d_inner))
        self.dt_projs_weight = nn.Parameter(torch.empty(4, d_inner, dt_rank))
        self.dt_projs_bias = nn.Parameter(torch.empty(4, d_inner))
        self.A_logs = nn.Parameter(torch.empty(4 * d_inner, d_state))
        self.Ds = nn.Parameter(torch.ones(4 * d_inner))
        self.out_norm = nn.LayerNorm(d_inner)
        self.out_proj = nn.Linear(d_inner, dim, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start as Mamba does: A = -(1..N), step sizes log-uniform in [0.001, 0.1]."""
        bound = self.x_proj_weight.shape[-1] ** -0.5
        nn.init.uniform_(self.x_proj_weight, -bound, bound)
        bound = self.dt_rank**-0.5
        nn.init.uniform_(self.dt_projs_weight, -bound, bound)
        with torch.no_grad():
            low, high = math.log(1e-3), math.log(1e-1)
            step = torch.exp(torch.rand_like(self.dt_projs_bias) * (high - low) + low).clamp(1e-4)
            self.dt_projs_bias.copy_(step + torch.log(-torch.expm1(-step)))  # softplus^-1
            self.A_logs.copy_(torch.arange(1.0, self.d_state + 1).log().expand_as(self.A_logs))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, row, column, channel)`` to the same shape."""
        x, gate = self.in_proj(x).chunk(2, dim=-1)
        x = F.silu(self.conv2d(x.permute(0, 3, 1, 2)))  # (B, D, H, W)
        y = self.scan_in_four_directions(x)
        gated: Tensor = self.out_proj(self.out_norm(y) * F.silu(gate))
        return gated

    def scan_in_four_directions(self, x: Tensor) -> Tensor:
        """Map ``(batch, dim, row, column)`` to the sum of the four scans, ``(batch, row, column, dim)``."""
        B, D, H, W = x.shape
        rows = x.permute(2, 3, 0, 1).reshape(H * W, B, D)  # row after row
        columns = x.permute(3, 2, 0, 1).reshape(H * W, B, D)  # column after column
        u = torch.stack((rows, columns, rows.flip(0), columns.flip(0)), dim=2)  # (L, B, 4, D)

        projected = torch.einsum("lbkd,kpd->lbkp", u, self.x_proj_weight)
        step, b, c = torch.split(projected, [self.dt_rank, self.d_state, self.d_state], dim=-1)
        step = torch.einsum("lbkr,kdr->lbkd", step, self.dt_projs_weight)
        with torch.autocast(x.device.type, enabled=False):  # the recurrence needs full precision
            delta = F.softplus(step.float() + self.dt_projs_bias.float())
            a = -torch.exp(self.A_logs.float()).view(4, D, self.d_state).transpose(1, 2)
            scan = fastest_scan(u)
            y = scan(u.float(), delta, a, b.float(), c.float(), self.Ds.float().view(4, D))

        by_rows = y[:, :, 0] + y[:, :, 2].flip(0)
        by_columns = y[:, :, 1] + y[:, :, 3].flip(0)
        total = by_rows.view(H, W, B, D) + by_columns.view(W, H, B, D).transpose(0, 1)
        return total.permute(2, 0, 1, 3)


class VSSBlock(nn.Module):
    """Scan, then channel attention, each with a learned weight on the skip."""

    def __init__(self, config: MambaIRConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        self.ln_1 = nn.LayerNorm(dim)
        self.self_attention = SS2D(dim, config.d_inner, config.d_state, config.dt_rank)
        self.skip_scale = nn.Parameter(torch.ones(dim))
        self.conv_blk = CAB(dim, config.mixer, config.mixer_dim, config.squeeze_dim)
        self.ln_2 = nn.LayerNorm(dim)
        self.skip_scale2 = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, row, column, channel)`` to the same shape."""
        x = x * self.skip_scale + self.self_attention(self.ln_1(x))
        local: Tensor = self.conv_blk(self.ln_2(x).permute(0, 3, 1, 2))
        return x * self.skip_scale2 + local.permute(0, 2, 3, 1)


class BasicLayer(nn.Module):
    """A row of blocks."""

    def __init__(self, config: MambaIRConfig, depth: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(VSSBlock(config) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, row, column, channel)`` to the same shape."""
        for block in self.blocks:
            x = block(x)
        return x


class ResidualGroup(nn.Module):
    """Blocks, a convolution, and a skip around both."""

    def __init__(self, config: MambaIRConfig, depth: int) -> None:
        super().__init__()
        self.residual_group = BasicLayer(config, depth)
        self.conv = residual_conv(config)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, row, column, channel)`` to the same shape."""
        body: Tensor = self.conv(self.residual_group(x).permute(0, 3, 1, 2))
        return body.permute(0, 2, 3, 1) + x


class PatchEmbed(nn.Module):
    """The norm in front of the first group (patches are single pixels)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, row, column, channel)`` to the same shape."""
        normed: Tensor = self.norm(x)
        return normed


def residual_conv(config: MambaIRConfig) -> nn.Module:
    """Return the convolution at the end of a group: one 3x3, or three with a bottleneck."""
    dim = config.embed_dim
    if config.residual_convs == 1:
        return nn.Conv2d(dim, dim, 3, padding=1)
    return nn.Sequential(
        nn.Conv2d(dim, dim // 4, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(dim // 4, dim // 4, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(dim // 4, dim, 3, padding=1),
    )


def pixel_shuffle_stages(upscale: int, channels: int) -> nn.Sequential:
    """Return convolution and pixel shuffle for each factor of two, or once for three."""
    steps = [3] if upscale == 3 else [2] * int(math.log2(upscale))
    layers: list[nn.Module] = []
    for step in steps:
        layers += [nn.Conv2d(channels, step**2 * channels, 3, padding=1), nn.PixelShuffle(step)]
    return nn.Sequential(*layers)


class MambaIR(nn.Module):
    """Super-resolution network; any size of image, no window and no padding."""

    def __init__(self, config: MambaIRConfig) -> None:
        super().__init__()
        self.config = config
        channels, dim, feat = config.in_chans, config.embed_dim, config.num_feat
        mean = _RGB_MEAN if channels == 3 else (0.0,)
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.conv_first = nn.Conv2d(channels, dim, 3, padding=1)
        self.patch_embed = PatchEmbed(dim)
        self.layers = nn.ModuleList(ResidualGroup(config, depth) for depth in config.depths)
        self.norm = nn.LayerNorm(dim)
        self.conv_after_body = residual_conv(config)
        if config.upsampler == "pixelshuffledirect":
            self.upsample = nn.Sequential(
                nn.Conv2d(dim, config.upscale**2 * channels, 3, padding=1),
                nn.PixelShuffle(config.upscale),
            )
            return
        self.conv_before_upsample = nn.Sequential(
            nn.Conv2d(dim, feat, 3, padding=1), nn.LeakyReLU(0.01)
        )
        if config.upsampler == "pixelshuffle":
            self.upsample = pixel_shuffle_stages(config.upscale, feat)
        else:
            self.conv_up1 = nn.Conv2d(feat, feat, 3, padding=1)
            if config.upscale == 4:
                self.conv_up2 = nn.Conv2d(feat, feat, 3, padding=1)
            self.conv_hr = nn.Conv2d(feat, feat, 3, padding=1)
        self.conv_last = nn.Conv2d(feat, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(batch, in_chans, row, column)`` in [0, 1] to ``(…, row*upscale, column*upscale)``."""
        mean = self.get_buffer("mean").to(x)
        shallow = self.conv_first(x - mean)
        deep = self.conv_after_body(self.deep_features(shallow)) + shallow
        reconstructed: Tensor = self.reconstruct(deep)
        return reconstructed + mean

    def deep_features(self, x: Tensor) -> Tensor:
        """Map ``(batch, channel, row, column)`` through all groups to the same shape."""
        x = self.patch_embed(x.permute(0, 2, 3, 1))
        for layer in self.layers:
            x = layer(x)
        normed: Tensor = self.norm(x).permute(0, 3, 1, 2)
        return normed

    def reconstruct(self, x: Tensor) -> Tensor:
        """Map features to pixels of the fine grid."""
        upsampler = self.config.upsampler
        if upsampler == "pixelshuffledirect":
            direct: Tensor = self.upsample(x)
            return direct
        x = self.conv_before_upsample(x)
        if upsampler == "pixelshuffle":
            x = self.upsample(x)
        else:
            x = F.leaky_relu(self.conv_up1(F.interpolate(x, scale_factor=2.0)), 0.2)
            if self.config.upscale == 4:
                x = F.leaky_relu(self.conv_up2(F.interpolate(x, scale_factor=2.0)), 0.2)
            x = F.leaky_relu(self.conv_hr(x), 0.2)
        last: Tensor = self.conv_last(x)
        return last


# --- from a checkpoint --------------------------------------------------------------------------


def build_network(state_dict: Mapping[str, Any]) -> MambaIR:
    """Make the MambaIR that a checkpoint belongs to, and load it strictly.

    Parameters
    ----------
    state_dict
        Official key names; may be wrapped in ``params`` or ``params_ema`` and prefixed ``module.``.

    Raises
    ------
    ConfigurationError
        If it is not a MambaIR super-resolution checkpoint, or keys are missing, surplus or misshapen.
    """
    tensors = bare_state_dict(state_dict)
    network = MambaIR(infer_config(tensors))
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise ConfigurationError(f"this MambaIR checkpoint does not fit: {error}") from error
    return network.eval()


def infer_config(tensors: Mapping[str, Tensor]) -> MambaIRConfig:
    """Read every hyper-parameter off the names and shapes of a state dict.

    Raises
    ------
    ConfigurationError
        If a name that every MambaIR has is missing.
    """
    block = "layers.0.residual_group.blocks.0"
    scan, cab = f"{block}.self_attention", f"{block}.conv_blk.cab"
    try:
        embed_dim, in_chans = tensors["conv_first.weight"].shape[:2]
        mixer: Mixer = "bottleneck"
        if f"{cab}.5.attention.1.weight" in tensors:
            mixer = "dilated"
        elif f"{cab}.1.attention.1.weight" in tensors:
            mixer = "depthwise"
        attention = {"depthwise": 1, "bottleneck": 3, "dilated": 5}[mixer]
        upsampler, upscale, num_feat = infer_upsampler(tensors, in_chans)
        return MambaIRConfig(
            upscale=upscale,
            in_chans=in_chans,
            embed_dim=embed_dim,
            depths=blocks_per_group(tensors),
            d_state=tensors[f"{scan}.A_logs"].shape[1],
            d_inner=tensors[f"{scan}.in_proj.weight"].shape[0] // 2,
            dt_rank=tensors[f"{scan}.dt_projs_weight"].shape[2],
            mixer=mixer,
            mixer_dim=tensors[f"{cab}.0.weight"].shape[0],
            squeeze_dim=tensors[f"{cab}.{attention}.attention.1.weight"].shape[0],
            upsampler=upsampler,
            num_feat=num_feat,
            residual_convs=1 if "conv_after_body.weight" in tensors else 3,
        )
    except KeyError as error:
        raise ConfigurationError(
            f"this is not a MambaIR super-resolution checkpoint: it has no {error.args[0]!r}. "
            f"Its keys begin with {', '.join(list(tensors)[:3]) or 'nothing'}."
        ) from error


def infer_upsampler(tensors: Mapping[str, Tensor], channels: int) -> tuple[Upsampler, int, int]:
    """Return the kind of upsampler, its factor and its channels."""
    if "conv_before_upsample.0.weight" not in tensors:
        factor = math.isqrt(tensors["upsample.0.weight"].shape[0] // channels)
        return "pixelshuffledirect", factor, 64
    num_feat = tensors["conv_before_upsample.0.weight"].shape[0]
    if "conv_up1.weight" in tensors:
        return "nearest+conv", 4 if "conv_up2.weight" in tensors else 2, num_feat
    factor, stage = 1, 0
    while f"upsample.{stage}.weight" in tensors:
        factor *= math.isqrt(tensors[f"upsample.{stage}.weight"].shape[0] // num_feat)
        stage += 2
    return "pixelshuffle", factor, num_feat
