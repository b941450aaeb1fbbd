"""The VQ autoencoder (f4) that ResShift works in.

Papers: Rombach et al., *Latent diffusion*, CVPR 2022 (CompVis latent-diffusion, MIT); Esser, Rombach,
Ommer, *Taming transformers*, CVPR 2021 (MIT). Written from these and the list of parameter names.
Quantisation happens on decoding only: `encode` returns the latent before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoencoderConfig:
    """Hyper-parameters under their published names; defaults are those of ``autoencoder_vq_f4``."""

    embed_dim: int = 3
    n_embed: int = 8192
    z_channels: int = 3
    in_channels: int = 3
    out_ch: int = 3
    ch: int = 128
    ch_mult: tuple[int, ...] = (1, 2, 4)
    num_res_blocks: int = 2
    attn_levels: tuple[int, ...] = ()
    """Levels (0 is the finest) with attention after each residual block; none in the releases."""
    padding_mode: PaddingMode = "zeros"

    @property
    def factor(self) -> int:
        """Pixels per latent pixel along each edge."""
        return int(2 ** (len(self.ch_mult) - 1))

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any]) -> AutoencoderConfig:
        """Read published settings: ``embed_dim``, ``n_embed`` and ``ddconfig``."""
        inner = {**settings.get("ddconfig", {}), **settings}
        if inner.get("double_z", False):
            raise ValueError("a vector-quantised autoencoder has double_z = False, got True")
        resolution = inner.get("resolution", 256)
        levels = len(inner.get("ch_mult", (1, 2, 4)))
        attended = set(inner.get("attn_resolutions", ()))
        known = {name: inner[name] for name in cls.__dataclass_fields__ if name in inner}
        known["attn_levels"] = tuple(i for i in range(levels) if resolution >> i in attended)
        given: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in known.items()
        }
        return cls(**given)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> AutoencoderConfig:
        """Read the hyper-parameters off the shapes of a checkpoint."""
        levels = 1 + max(int(k.split(".")[2]) for k in state if k.startswith("encoder.down."))
        blocks = 1 + max(
            int(k.split(".")[4]) for k in state if k.startswith("encoder.down.0.block.")
        )
        first = state["encoder.conv_in.weight"]
        widths = [
            int(state[f"encoder.down.{i}.block.0.conv2.weight"].shape[0]) for i in range(levels)
        ]
        codes = state["quantize.embedding.weight"]
        ch = int(first.shape[0])
        return cls(
            embed_dim=int(codes.shape[1]),
            n_embed=int(codes.shape[0]),
            z_channels=int(state["encoder.conv_out.weight"].shape[0]),
            in_channels=int(first.shape[1]),
            out_ch=int(state["decoder.conv_out.weight"].shape[0]),
            ch=ch,
            ch_mult=tuple(width // ch for width in widths),
            num_res_blocks=blocks,
            attn_levels=tuple(
                i for i in range(levels) if f"encoder.down.{i}.attn.0.q.weight" in state
            ),
        )


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels, eps=1e-6)


def _conv(channels: int, out_channels: int, mode: PaddingMode) -> nn.Conv2d:
    return nn.Conv2d(channels, out_channels, 3, padding=1, padding_mode=mode)


class ResnetBlock(nn.Module):
    """Norm, SiLU, convolution, twice, beside a skip connection."""

    def __init__(self, channels: int, out_channels: int, mode: PaddingMode) -> None:
        super().__init__()
        self.norm1 = _norm(channels)
        self.conv1 = _conv(channels, out_channels, mode)
        self.norm2 = _norm(out_channels)
        self.conv2 = _conv(out_channels, out_channels, mode)
        self.nin_shortcut = (
            nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(image, out_channels, row, column)``."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        out: Tensor = self.nin_shortcut(x) + h
        return out


class AttnBlock(nn.Module):
    """One-head attention over all pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """Return the same shape; the attention matrix is never held as a whole."""
        h = self.norm(x)
        q, k, v = (
            rearrange(layer(h), "n c y x -> n 1 (y x) c") for layer in (self.q, self.k, self.v)
        )
        mixed = F.scaled_dot_product_attention(q, k, v)
        mixed = rearrange(mixed, "n 1 (y x) c -> n c y x", y=x.shape[-2])
        out: Tensor = x + self.proj_out(mixed)
        return out


class _Middle(nn.Module):
    def __init__(self, channels: int, mode: PaddingMode) -> None:
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels, mode)
        self.attn_1 = AttnBlock(channels)
        self.block_2 = ResnetBlock(channels, channels, mode)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block_2(self.attn_1(self.block_1(x)))
        return out


class _Level(nn.Module):
    """Residual blocks of one resolution, with attention where there is any, then the resampling."""

    def __init__(self, blocks: list[ResnetBlock], attended: list[AttnBlock]) -> None:
        super().__init__()
        self.block = nn.ModuleList(blocks)
        self.attn = nn.ModuleList(attended)
        self.downsample: nn.Module | None = None
        self.upsample: nn.Module | None = None

    def forward(self, x: Tensor) -> Tensor:
        for index, block in enumerate(self.block):
            x = block(x)
            if len(self.attn):
                x = self.attn[index](x)
        for resample in (self.downsample, self.upsample):
            x = x if resample is None else resample(x)
        return x


class _Resample(nn.Module):
    def __init__(self, channels: int, mode: PaddingMode, *, stride: int) -> None:
        super().__init__()
        padding = 0 if stride == 2 else 1
        self.conv = nn.Conv2d(
            channels, channels, 3, stride=stride, padding=padding, padding_mode=mode
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.conv.stride[0] == 2:
            x = F.pad(x, (0, 1, 0, 1))  # zeros at the right and the bottom only
        else:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
        out: Tensor = self.conv(x)
        return out


def _levels(config: AutoencoderConfig, widths: list[tuple[int, int]], blocks: int) -> list[_Level]:
    levels = []
    for index, (channels, width) in enumerate(widths):
        made = [
            ResnetBlock(channels if block == 0 else width, width, config.padding_mode)
            for block in range(blocks)
        ]
        attended = [AttnBlock(width) for _ in made] if index in config.attn_levels else []
        levels.append(_Level(made, attended))
    return levels


class Encoder(nn.Module):
    """Image to latent."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        c = config
        widths = [c.ch * mult for mult in c.ch_mult]
        self.conv_in = _conv(c.in_channels, c.ch, c.padding_mode)
        fed = list(zip([c.ch, *widths], widths, strict=False))
        levels = _levels(c, fed, c.num_res_blocks)
        for level, width in list(zip(levels, widths, strict=True))[:-1]:
            level.downsample = _Resample(width, c.padding_mode, stride=2)
        self.down = nn.ModuleList(levels)
        self.mid = _Middle(widths[-1], c.padding_mode)
        self.norm_out = _norm(widths[-1])
        self.conv_out = _conv(widths[-1], c.z_channels, c.padding_mode)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(image, z_channels, row / factor, column / factor)``."""
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
        out: Tensor = self.conv_out(F.silu(self.norm_out(self.mid(x))))
        return out


class Decoder(nn.Module):
    """Latent to image."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        c = config
        widths = [c.ch * mult for mult in c.ch_mult]
        self.conv_in = _conv(c.z_channels, widths[-1], c.padding_mode)
        self.mid = _Middle(widths[-1], c.padding_mode)
        # Level 0 is the finest; it is reached last and fed by level 1.
        fed = list(zip([*widths[1:], widths[-1]], widths, strict=True))
        levels = _levels(c, fed, c.num_res_blocks + 1)
        for level, width in list(zip(levels, widths, strict=True))[1:]:
            level.upsample = _Resample(width, c.padding_mode, stride=1)
        self.up = nn.ModuleList(levels)
        self.norm_out = _norm(widths[0])
        self.conv_out = _conv(widths[0], c.out_ch, c.padding_mode)

    def forward(self, z: Tensor) -> Tensor:
        """Return ``(image, out_ch, row * factor, column * factor)``."""
        x = self.mid(self.conv_in(z))
        for level in reversed(list(self.up)):
            x = level(x)
        out: Tensor = self.conv_out(F.silu(self.norm_out(x)))
        return out


class VectorQuantizer(nn.Module):
    """Snap every latent pixel to the nearest code."""

    def __init__(self, codes: int, dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(codes, dim)

    def indices(self, z: Tensor) -> Tensor:
        """Return the number of the nearest code, ``(image * row * column,)``, row by row."""
        flat = rearrange(z, "n c y x -> (n y x) c").float()
        codes = self.embedding.weight.float()
        norm = (codes**2).sum(1)
        # In parts: 8192 codes times every pixel of a large tile would not fit.
        return torch.cat(
            [
                ((part**2).sum(1, keepdim=True) + norm - 2 * part @ codes.T).argmin(1)
                for part in torch.split(flat, 1 << 14)
            ]
        )

    def forward(self, z: Tensor) -> Tensor:
        """Return the codes in place of the latent pixels, gradient passed straight through."""
        n, _, rows, _ = z.shape
        codes = rearrange(self.embedding(self.indices(z)), "(n y x) c -> n c y x", n=n, y=rows).to(
            z.dtype
        )
        snapped: Tensor = z + (codes - z).detach()
        return snapped


class Autoencoder(nn.Module):
    """VQ autoencoder, images in [-1, 1]."""

    def __init__(self, config: AutoencoderConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or AutoencoderConfig()
        self.encoder = Encoder(c)
        self.decoder = Decoder(c)
        self.quantize = VectorQuantizer(c.n_embed, c.embed_dim)
        self.quant_conv = nn.Conv2d(c.z_channels, c.embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(c.embed_dim, c.z_channels, 1)

    def encode(self, image: Tensor) -> Tensor:
        """Return the latent before quantisation, ``(image, embed_dim, row / 4, column / 4)``.

        Raises
        ------
        ValueError
            If a side is not a multiple of the factor.
        """
        if any(side % self.config.factor for side in image.shape[-2:]):
            raise ValueError(
                f"sides must be multiples of {self.config.factor}, got {tuple(image.shape[-2:])}"
            )
        latent: Tensor = self.quant_conv(self.encoder(image))
        return latent

    def decode(self, latent: Tensor, *, force_not_quantize: bool = False) -> Tensor:
        """Return the image of a latent, snapped to the codes unless `force_not_quantize` is set."""
        latent = latent if force_not_quantize else self.quantize(latent)
        image: Tensor = self.decoder(self.post_quant_conv(latent))
        return image

    def forward(self, image: Tensor) -> Tensor:
        """Return the reconstruction."""
        return self.decode(self.encode(image))
