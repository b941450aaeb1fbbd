"""ResShift's noise predictor: a U-Net with Swin blocks.

Papers: Yue, Wang, Loy, *ResShift*, NeurIPS 2023; Dhariwal, Nichol, *Diffusion models beat GANs*,
NeurIPS 2021 (the U-Net, MIT code); Liu et al., *Swin Transformer*, ICCV 2021 (MIT code). Written from
these papers and from the list of parameter names, so that published checkpoints load; ResShift's own
code (S-Lab License 1.0, non-commercial) was not used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class UNetConfig:
    """Hyper-parameters under their published names; defaults are the published x4 networks'."""

    image_size: int = 64
    """Latent size that the Swin masks were made for; decides which levels have shifted windows."""
    in_channels: int = 3
    model_channels: int = 160
    out_channels: int = 3
    attention_resolutions: tuple[int, ...] = (64, 32, 16, 8)
    """Latent sizes (at `image_size`) whose level gets Swin blocks."""
    channel_mult: tuple[int, ...] = (1, 2, 2, 4)
    num_res_blocks: tuple[int, ...] = (2, 2, 2, 2)
    num_head_channels: int = 32
    swin_depth: int = 2
    swin_embed_dim: int = 192
    window_size: int = 8
    mlp_ratio: float = 4
    cond_lq: bool = True
    """The low-resolution image is concatenated to the state."""
    lq_channels: int = 3

    @property
    def multiple(self) -> int:
        """Both sides of a latent must be multiples of this."""
        return int(self.window_size * 2 ** (len(self.channel_mult) - 1))

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any]) -> UNetConfig:
        """Read published settings; fixed choices (``dims``, ``conv_resample`` …) are checked."""
        fixed: dict[str, tuple[Any, ...]] = {
            "dims": (2,),
            "conv_resample": (True,),
            "use_scale_shift_norm": (True,),
            "resblock_updown": (False,),
        }
        for key, allowed in fixed.items():
            if settings.get(key, allowed[0]) not in allowed:
                raise ValueError(f"ResShift's U-Net has {key} = {allowed[0]}, got {settings[key]}")
        lq = settings.get("lq_size", settings.get("image_size", 64))
        if settings.get("cond_lq", True) and lq != settings.get("image_size", 64):
            raise ValueError(
                f"expected lq_size equal to image_size, got {lq} and {settings.get('image_size')}"
            )
        names = {name for name in cls.__dataclass_fields__ if name in settings}
        values = {name: settings[name] for name in names}
        levels = len(values.get("channel_mult", (1, 2, 2, 4)))
        if isinstance(values.get("num_res_blocks"), int):
            values["num_res_blocks"] = (values["num_res_blocks"],) * levels
        given: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        return cls(**given)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> UNetConfig:
        """Read the hyper-parameters off the shapes of a checkpoint."""
        first = state["input_blocks.0.0.weight"]
        table = state["middle_block.1.blocks.0.attn.relative_position_bias_table"]
        window = (math.isqrt(table.shape[0]) + 1) // 2
        embed = state["middle_block.1.patch_embed.proj.weight"].shape[0]
        out_channels = state["out.2.weight"].shape[0]
        widths: list[list[int]] = [[]]
        swin: list[bool] = [False]
        masks: list[tuple[int, int]] = []  # (level, edge of the latent that the mask was made for)
        index = 1
        while any(key.startswith(f"input_blocks.{index}.") for key in state):
            if f"input_blocks.{index}.0.op.weight" in state:
                widths.append([])
                swin.append(False)
            else:
                block = f"input_blocks.{index}"
                widths[-1].append(int(state[f"{block}.0.out_layers.3.weight"].shape[0]))
                swin[-1] |= f"{block}.1.patch_embed.proj.weight" in state
                mask = state.get(f"{block}.1.blocks.1.attn_mask")
                if mask is not None:
                    masks.append((len(widths) - 1, math.isqrt(mask.shape[0]) * window))
            index += 1
        levels = len(widths)
        size = masks[0][1] * 2 ** masks[0][0] if masks else window * 2 ** (levels - 1)
        depth = len({k.split(".")[3] for k in state if k.startswith("middle_block.1.blocks.")})
        hidden = state["middle_block.1.blocks.0.mlp.fc1.weight"].shape[0]
        channels = int(first.shape[0])
        return cls(
            image_size=size,
            in_channels=out_channels,
            model_channels=channels,
            out_channels=out_channels,
            attention_resolutions=tuple(size >> i for i, has in enumerate(swin) if has),
            channel_mult=tuple(w[0] // channels for w in widths),
            num_res_blocks=tuple(len(w) for w in widths),
            num_head_channels=embed // table.shape[1],
            swin_depth=depth,
            swin_embed_dim=int(embed),
            window_size=window,
            mlp_ratio=hidden / embed,
            cond_lq=first.shape[1] > out_channels,
            lq_channels=int(first.shape[1]) - out_channels,
        )


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels)


def sinusoid(time: Tensor, channels: int) -> Tensor:
    """Embed step numbers ``(image,)`` as cosines and sines ``(image, channels)``."""
    half = channels // 2
    rate = torch.exp(-math.log(10000) * torch.arange(half, device=time.device) / half)
    angle = time[:, None].float() * rate[None]
    embedded = torch.cat([angle.cos(), angle.sin()], dim=-1)
    return F.pad(embedded, (0, channels % 2))


class ResBlock(nn.Module):
    """Two convolutions; the step number scales and shifts the second norm."""

    def __init__(self, channels: int, out_channels: int, emb_channels: int) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(
            _norm(channels), nn.SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb_channels, 2 * out_channels))
        self.out_layers = nn.Sequential(
            _norm(out_channels),
            nn.SiLU(),
            nn.Identity(),  # drop-out of the published list of layers; every release has rate 0
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
        )
        self.skip_connection = (
            nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)
        )

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """Return ``(image, out_channels, row, column)``."""
        h = self.in_layers(x)
        scale, shift = self.emb_layers(emb)[:, :, None, None].chunk(2, dim=1)
        h = self.out_layers[0](h) * (1 + scale) + shift
        for layer in list(self.out_layers)[1:]:
            h = layer(h)
        out: Tensor = self.skip_connection(x) + h
        return out


class WindowAttention(nn.Module):
    """Multi-head attention inside windows, with a learned bias for each relative position."""

    relative_position_index: Tensor

    def __init__(self, dim: int, window: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        place = torch.stack(
            torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
        ).flatten(1)
        apart = place[:, :, None] - place[:, None, :] + window - 1  # (2, token, token)
        self.register_buffer("relative_position_index", apart[0] * (2 * window - 1) + apart[1])
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Attend within ``(window, token, dim)``; `mask` is ``(window of an image, token, token)``."""
        q, k, v = rearrange(self.qkv(x), "w t (three h d) -> three w h t d", three=3, h=self.heads)
        bias = self.relative_position_bias_table[self.relative_position_index]
        bias = rearrange(bias, "t s h -> 1 h t s")
        if mask is not None:
            bias = bias + mask.repeat(x.shape[0] // mask.shape[0], 1, 1)[:, None]
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        projected: Tensor = self.proj(rearrange(out, "w h t d -> w t (h d)"))
        return projected


def shift_mask(rows: int, columns: int, window: int, shift: int) -> Tensor:
    """Return the mask that the published networks were trained with, ``(window, token, token)``.

    -100 keeps two tokens apart. A Swin block masks what its cyclic shift brought together at both
    borders. The stored masks of ResShift do something else: only in the last row of windows, they
    keep the last `shift` columns of every window apart from its other columns. The weights have
    learned with that, so it is kept.
    """
    late = (torch.arange(window * window) % window) >= window - shift
    apart = torch.where(late[:, None] != late, -100.0, 0.0)
    mask = torch.zeros((rows // window) * (columns // window), *apart.shape)
    mask[-(columns // window) :] = apart
    return mask


class MLP(nn.Module):
    """Two 1x1 convolutions."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(dim, hidden, 1)
        self.fc2 = nn.Conv2d(hidden, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the same shape."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Projection(nn.Module):
    """A 1x1 convolution under the name that the published parameters have."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(image, out_channels, row, column)``."""
        out: Tensor = self.proj(x)
        return out


class SwinBlock(nn.Module):
    """Windowed attention and a 1x1-convolution MLP on ``(image, channel, row, column)``."""

    def __init__(
        self, dim: int, resolution: int, window: int, heads: int, mlp_ratio: float, *, shifted: bool
    ) -> None:
        super().__init__()
        # A level no larger than one window has nothing to shift.
        whole = resolution <= window
        self.window = min(window, resolution)
        self.shift = window // 2 if shifted and not whole else 0
        self.norm1 = _norm(dim)
        self.attn = WindowAttention(dim, self.window, heads)
        self.norm2 = _norm(dim)
        self.mlp = MLP(dim, int(dim * mlp_ratio))
        mask = shift_mask(resolution, resolution, self.window, self.shift) if self.shift else None
        self.register_buffer("attn_mask", mask)

    def forward(self, x: Tensor) -> Tensor:
        """Return the same shape."""
        rows, columns = x.shape[-2:]
        if rows % self.window or columns % self.window:
            raise ValueError(
                f"sides must be multiples of the window {self.window} at this level, "
                f"got {rows} x {columns}; pad the latent first"
            )
        h = self.norm1(x)
        mask = None
        if self.shift:
            h = h.roll((-self.shift, -self.shift), dims=(-2, -1))
            mask = shift_mask(rows, columns, self.window, self.shift).to(x.device)
        windows = rearrange(h, "n d (r a) (c b) -> (n r c) (a b) d", a=self.window, b=self.window)
        windows = self.attn(windows, mask)
        h = rearrange(
            windows,
            "(n r c) (a b) d -> n d (r a) (c b)",
            r=rows // self.window,
            c=columns // self.window,
            a=self.window,
        )
        if self.shift:
            h = h.roll((self.shift, self.shift), dims=(-2, -1))
        x = x + h
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class SwinLayer(nn.Module):
    """Swin blocks on an embedding of the feature map."""

    def __init__(self, config: UNetConfig, channels: int, resolution: int) -> None:
        super().__init__()
        dim = config.swin_embed_dim
        self.patch_embed = Projection(channels, dim)
        self.blocks = nn.ModuleList(
            SwinBlock(
                dim,
                resolution,
                config.window_size,
                dim // config.num_head_channels,
                config.mlp_ratio,
                shifted=bool(index % 2),
            )
            for index in range(config.swin_depth)
        )
        self.patch_unembed = Projection(dim, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the same shape."""
        h = self.patch_embed(x)
        for block in self.blocks:
            h = block(h)
        out: Tensor = self.patch_unembed(h)
        return out


class Downsample(nn.Module):
    """Convolution of stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return half the rows and columns."""
        out: Tensor = self.op(x)
        return out


class Upsample(nn.Module):
    """Nearest neighbour, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return twice the rows and columns."""
        out: Tensor = self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))
        return out


class UNet(nn.Module):
    """Estimate the clean latent from a noisy one, its step number and the low-resolution image."""

    def __init__(self, config: UNetConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or UNetConfig()
        emb = 4 * c.model_channels
        self.time_embed = nn.Sequential(
            nn.Linear(c.model_channels, emb), nn.SiLU(), nn.Linear(emb, emb)
        )
        width = c.model_channels * c.channel_mult[0]
        seen = c.in_channels + (c.lq_channels if c.cond_lq else 0)
        first = nn.Conv2d(seen, width, 3, padding=1)
        self.input_blocks = nn.ModuleList([nn.ModuleList([first])])
        kept, resolution = [width], c.image_size
        for level, mult in enumerate(c.channel_mult):
            for block in range(c.num_res_blocks[level]):
                layers: list[nn.Module] = [ResBlock(width, mult * c.model_channels, emb)]
                width = mult * c.model_channels
                if block == 0 and resolution in c.attention_resolutions:
                    layers.append(SwinLayer(c, width, resolution))
                self.input_blocks.append(nn.ModuleList(layers))
                kept.append(width)
            if level < len(c.channel_mult) - 1:
                self.input_blocks.append(nn.ModuleList([Downsample(width)]))
                kept.append(width)
                resolution //= 2
        self.middle_block = nn.ModuleList(
            [
                ResBlock(width, width, emb),
                SwinLayer(c, width, resolution),
                ResBlock(width, width, emb),
            ]
        )
        self.output_blocks = nn.ModuleList()
        for level, mult in reversed(list(enumerate(c.channel_mult))):
            for block in range(c.num_res_blocks[level] + 1):
                layers = [ResBlock(width + kept.pop(), mult * c.model_channels, emb)]
                width = mult * c.model_channels
                if block == 0 and resolution in c.attention_resolutions:
                    layers.append(SwinLayer(c, width, resolution))
                if level and block == c.num_res_blocks[level]:
                    layers.append(Upsample(width))
                    resolution *= 2
                self.output_blocks.append(nn.ModuleList(layers))
        self.out = nn.Sequential(
            _norm(width), nn.SiLU(), nn.Conv2d(width, c.out_channels, 3, padding=1)
        )

    def forward(self, x: Tensor, timesteps: Tensor, lq: Tensor | None = None) -> Tensor:
        """Estimate the clean latent.

        Parameters
        ----------
        x
            Noisy latent, already divided by its standard deviation, ``(image, channel, row, column)``.
        timesteps
            Step number of each image, ``(image,)``.
        lq
            Low-resolution image in [-1, 1], of the latent's size.
        """
        c = self.config
        if any(side % c.multiple for side in x.shape[-2:]):
            raise ValueError(
                f"latent sides must be multiples of {c.multiple}, got {tuple(x.shape[-2:])}; "
                "msibench_resshift.network.sample pads for you"
            )
        emb = self.time_embed(sinusoid(timesteps, c.model_channels))
        if c.cond_lq:
            if lq is None or lq.shape[-2:] != x.shape[-2:]:
                raise ValueError(
                    f"expected lq of the latent's size {tuple(x.shape[-2:])}, "
                    f"got {None if lq is None else tuple(lq.shape[-2:])}"
                )
            x = torch.cat([x, lq], dim=1)
        kept: list[Tensor] = []
        for layers in self.input_blocks:
            x = _through(layers, x, emb)
            kept.append(x)
        x = _through(self.middle_block, x, emb)
        for layers in self.output_blocks:
            x = _through(layers, torch.cat([x, kept.pop()], dim=1), emb)
        out: Tensor = self.out(x)
        return out


def _through(layers: nn.Module, x: Tensor, emb: Tensor) -> Tensor:
    for layer in layers.children():
        x = layer(x, emb) if isinstance(layer, ResBlock) else layer(x)
    return x
