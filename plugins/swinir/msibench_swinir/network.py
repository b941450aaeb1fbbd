"""SwinIR: image restoration with shifted-window attention.

Liang et al., "SwinIR: Image Restoration Using Swin Transformer", ICCVW 2021 (arXiv 2108.10257).
Official code: github.com/JingyunLiang/SwinIR at 6545850f (Apache-2.0). The modules are spandrel's copy
(MIT), so their parameters carry the official names. What is ours: hyper-parameters are read off the
parameters alone (spandrel also wants the buffers), loading is strict about parameters and indifferent
to buffers that follow from the image size, and attention runs as one fused call whose bias and mask
are made once per image size (`attention`).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from spandrel.architectures.SwinIR import SwinIR
from torch import Tensor, nn

from msibench.errors import ConfigurationError
from msibench.weights import bare_state_dict, blocks_per_group
from msibench_swinir.attention import fuse_attention

Upsampler = Literal["pixelshuffle", "pixelshuffledirect", "nearest+conv", ""]

_BUFFERS = (".attn_mask", ".relative_position_index")
"""Follow from image size and window: about 1 MB each in a checkpoint, and never needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwinIRConfig:
    """Everything that fixes the shapes of one SwinIR; names as in the official constructor."""

    upscale: int = 4
    in_chans: int = 3
    img_size: int = 64
    """Side of the training patches; fixes the shape of the ``attn_mask`` buffers, nothing else."""
    window_size: int = 8
    img_range: float = 1.0
    depths: tuple[int, ...] = (6, 6, 6, 6)
    embed_dim: int = 60
    num_heads: tuple[int, ...] = (6, 6, 6, 6)
    mlp_ratio: float = 2.0
    upsampler: Upsampler = "pixelshuffledirect"
    resi_connection: Literal["1conv", "3conv"] = "1conv"


def make_network(config: SwinIRConfig) -> nn.Module:
    """Make a SwinIR with random weights, e.g. to train it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.meshgrid")  # spandrel's, harmless
        network: nn.Module = SwinIR(**asdict(config))
    fuse_attention(network)
    return network


def build_network(state_dict: Mapping[str, Any]) -> nn.Module:
    """Make the SwinIR that a checkpoint belongs to, and load it strictly.

    Parameters
    ----------
    state_dict
        Official key names; may be wrapped in ``params`` or ``params_ema`` and prefixed ``module.``.

    Returns
    -------
    A network from ``(batch, in_chans, row, column)`` in [0, 1], sides of at least 8, to the same
    ``upscale`` times finer, in evaluation mode.

    Raises
    ------
    ConfigurationError
        If it is not a SwinIR checkpoint, or parameters are missing, surplus or misshapen.
    """
    tensors = bare_state_dict(state_dict)
    config = infer_config(tensors)
    network = make_network(config)
    parameters = {name: value for name, value in tensors.items() if not name.endswith(_BUFFERS)}
    try:
        fit = network.load_state_dict(parameters, strict=False)
    except RuntimeError as error:
        raise ConfigurationError(f"this SwinIR checkpoint does not fit: {error}") from error
    missing = [name for name in fit.missing_keys if not name.endswith(_BUFFERS)]
    if missing or fit.unexpected_keys:
        raise ConfigurationError(
            f"this SwinIR checkpoint does not fit: {len(missing)} parameters are missing "
            f"{missing[:3]}, {len(fit.unexpected_keys)} are unknown {fit.unexpected_keys[:3]}"
        )
    return network.eval()


def infer_config(tensors: Mapping[str, Tensor]) -> SwinIRConfig:
    """Read every hyper-parameter off the names and shapes of a state dict.

    Raises
    ------
    ConfigurationError
        If a name that every SwinIR has is missing.
    """
    block = "layers.0.residual_group.blocks"
    try:
        embed_dim, in_chans = tensors["conv_first.weight"].shape[:2]
        table = tensors[f"{block}.0.attn.relative_position_bias_table"]
        window = (math.isqrt(table.shape[0]) + 1) // 2  # (2w - 1)^2 relative positions
        depths = blocks_per_group(tensors)
        heads = tuple(
            tensors[f"layers.{i}.residual_group.blocks.0.attn.relative_position_bias_table"].shape[
                1
            ]
            for i in range(len(depths))
        )
        upsampler, upscale = infer_upsampler(tensors, in_chans)
        mask = tensors.get(f"{block}.1.attn_mask")
        return SwinIRConfig(
            upscale=upscale,
            in_chans=in_chans,
            img_size=64 if mask is None else math.isqrt(mask.shape[0]) * window,
            window_size=window,
            # Only the published networks against JPEG artefacts have windows of 7, and this range.
            img_range=255.0 if window == 7 else 1.0,
            depths=depths,
            embed_dim=embed_dim,
            num_heads=heads,
            mlp_ratio=ratio_for(tensors[f"{block}.0.mlp.fc1.weight"].shape[0], embed_dim),
            upsampler=upsampler,
            resi_connection="1conv" if "conv_after_body.weight" in tensors else "3conv",
        )
    except KeyError as error:
        raise ConfigurationError(
            f"this is not a SwinIR checkpoint: it has no {error.args[0]!r}. "
            f"Its keys begin with {', '.join(list(tensors)[:3]) or 'nothing'}."
        ) from error


def ratio_for(hidden: int, dim: int) -> float:
    """Return a ratio with ``int(dim * ratio) == hidden``, whatever floating point makes of it."""
    ratio = hidden / dim
    return ratio if int(dim * ratio) == hidden else (hidden + 0.5) / dim


def infer_upsampler(tensors: Mapping[str, Tensor], channels: int) -> tuple[Upsampler, int]:
    """Return the kind of upsampler and its factor."""
    if "conv_before_upsample.0.weight" in tensors:
        if "conv_up1.weight" in tensors:
            stages = sum(f"conv_up{stage}.weight" in tensors for stage in (1, 2, 3))
            return "nearest+conv", 2**stages
        factor, stage = 1, 0
        while f"upsample.{stage}.weight" in tensors:
            weight = tensors[f"upsample.{stage}.weight"]
            factor *= math.isqrt(weight.shape[0] // weight.shape[1])
            stage += 2
        return "pixelshuffle", factor
    if "upsample.0.weight" in tensors:
        factor = math.isqrt(tensors["upsample.0.weight"].shape[0] // channels)
        return "pixelshuffledirect", factor
    return "", 1
