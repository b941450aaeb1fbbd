"""ResShift's two networks and its sampler, from configurations or state dicts.

Paper: Yue, Wang, Loy, *ResShift: efficient diffusion model for image super-resolution by residual
shifting*, NeurIPS 2023 (arXiv 2307.12348). Published code and weights: S-Lab License 1.0, not for
commercial use. This implementation is written from the paper, its permissively licensed ancestors
(guided-diffusion MIT, latent-diffusion MIT, Swin Transformer MIT) and the list of parameter names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from msibench_resshift.autoencoder import Autoencoder, AutoencoderConfig
from msibench_resshift.schedule import Schedule, ScheduleError, as_schedule
from msibench_resshift.unet import UNet, UNetConfig

__all__ = ["Schedule", "as_schedule", "build_autoencoder", "build_unet", "enlarge", "pad", "sample"]

Source = Mapping[str, Any]
Network = TypeVar("Network", UNet, Autoencoder)

# Derived from the sizes alone; a checkpoint may or may not carry them.
_DERIVED = ("attn_mask", "relative_position_index")


def build_unet(
    source: Source | UNetConfig | None = None,
    state_dict: Mapping[str, Tensor] | None = None,
    **config: Any,
) -> UNet:
    """Make the U-Net.

    Parameters
    ----------
    source
        A state dict (hyper-parameters are read off its shapes), a mapping of published constructor
        arguments, or a `UNetConfig`; None: the published x4 network.
    state_dict
        Weights to load into the network that `source` describes.
    config
        Constructor arguments by name.

    Returns
    -------
    The network in evaluation mode.

    Raises
    ------
    ValueError
        If parameters are missing from the state dict, or their shapes do not fit; extra ones are
        ignored.
    """
    source, state_dict = _sort_out(source, state_dict, config)
    if isinstance(source, UNetConfig):
        network = UNet(source)
    elif state_dict is not None and not source:
        if "input_blocks.0.0.weight" not in state_dict:
            raise ValueError(_not_ours("ResShift U-Net", "input_blocks.0.0.weight", state_dict))
        network = UNet(UNetConfig.from_state_dict(state_dict))
    else:
        network = UNet(UNetConfig.from_mapping(source or {}))
    return _loaded(network, state_dict)


def build_autoencoder(
    source: Source | AutoencoderConfig | None = None,
    state_dict: Mapping[str, Tensor] | None = None,
    **config: Any,
) -> Autoencoder:
    """Make the VQ autoencoder; parameters as of `build_unet`.

    Raises
    ------
    ValueError
        If parameters are missing from the state dict, or their shapes do not fit.
    """
    source, state_dict = _sort_out(source, state_dict, config)
    if isinstance(source, AutoencoderConfig):
        network = Autoencoder(source)
    elif state_dict is not None and not source:
        if "encoder.conv_in.weight" not in state_dict:
            raise ValueError(_not_ours("VQ autoencoder", "encoder.conv_in.weight", state_dict))
        network = Autoencoder(AutoencoderConfig.from_state_dict(state_dict))
    else:
        network = Autoencoder(AutoencoderConfig.from_mapping(source or {}))
    return _loaded(network, state_dict)


def enlarge(low: Tensor, factor: int) -> Tensor:
    """Return the bicubic image (Keys a = -0.75, no antialiasing) that the diffusion starts around."""
    return F.interpolate(low, scale_factor=factor, mode="bicubic", align_corners=False)


def pad(low: Tensor, multiple: int) -> Tensor:
    """Pad at the bottom and the right to multiples: by reflection where it can be, else by replication.

    Reflection needs less padding than there are pixels; images with a side of at most half the
    multiple are padded by repeating their last row and column instead.
    """
    rows, columns = low.shape[-2:]
    down, right = -rows % multiple, -columns % multiple
    if not (down or right):
        return low
    mode = "reflect" if down < rows and right < columns else "replicate"
    return F.pad(low, (0, right, 0, down), mode=mode)


def sample(
    unet: nn.Module,
    autoencoder: nn.Module,
    low: Tensor | NDArray[Any],
    schedule: Schedule | str | Mapping[str, Any],
    noise: Tensor | NDArray[Any],
    *,
    trajectory: list[Tensor] | None = None,
) -> Tensor:
    """Super-resolve images with given noise.

    Parameters
    ----------
    unet, autoencoder
        As `build_unet` and `build_autoencoder` make them.
    low
        ``(image, 3, row, column)`` in [-1, 1]; padded to the U-Net's multiple (64) and cropped back.
    schedule
        A `Schedule`, a release's name or its published settings.
    noise
        ``(steps + 1, image, 3, row, column)`` standard normal, of the padded latent's size:
        ``noise[0]`` makes the first state, then one for each of t = steps - 1 … 0 (that of t = 0 is
        not used and may be left out).
    trajectory
        A list that the states after each step are appended to.

    Returns
    -------
    ``(image, 3, 4 * row, 4 * column)`` as decoded, not clipped.

    Raises
    ------
    ValueError
        If the noise does not fit.
    """
    plan = as_schedule(schedule)
    first = next(unet.parameters())
    low = torch.as_tensor(low, dtype=first.dtype, device=first.device)
    noise = torch.as_tensor(noise, dtype=first.dtype, device=first.device)
    rows, columns = low.shape[-2:]
    multiple = unet.config.multiple if isinstance(unet, UNet) else 64
    whole = pad(low, multiple)
    expected = (low.shape[0], 3, *whole.shape[-2:])
    if noise.shape[0] < plan.steps or tuple(noise.shape[1:]) != expected:
        raise ValueError(
            f"schedule {plan.name!r} needs noise of shape {(plan.steps + 1, *expected)}, "
            f"got {tuple(noise.shape)}"
        )
    with torch.no_grad():
        z_low = autoencoder.encode(enlarge(whole, plan.scale))  # type: ignore[operator]
        if z_low.shape[-2:] != whole.shape[-2:]:
            raise ScheduleError(
                f"the autoencoder must undo the enlargement: expected a latent of "
                f"{tuple(whole.shape[-2:])}, got {tuple(z_low.shape[-2:])}"
            )
        state = z_low + plan.kappa * float(plan.sqrt_eta[-1]) * noise[0]
        for index, t in enumerate(reversed(range(plan.steps))):
            time = torch.full((low.shape[0],), t, device=low.device, dtype=torch.long)
            clean = unet(state / float(plan.input_scale[t]), time, lq=whole)
            state = float(plan.keep[t]) * state + float(plan.pull[t]) * clean
            if t:
                state = state + float(np.sqrt(plan.posterior_variance[t])) * noise[index + 1]
            if trajectory is not None:
                trajectory.append(state)
        image: Tensor = autoencoder.decode(state)  # type: ignore[operator]
    return image[..., : rows * plan.scale, : columns * plan.scale]


def _sort_out(
    source: Any, state_dict: Mapping[str, Tensor] | None, config: Mapping[str, Any]
) -> tuple[Any, dict[str, Tensor] | None]:
    """Tell configurations from state dicts, and bare the latter of what training wrapped them in."""
    if isinstance(source, Mapping):
        opened = source
        for level in ("state_dict", "params_ema", "params"):
            if isinstance(opened.get(level), Mapping):
                opened = opened[level]
        if opened and all(isinstance(value, Tensor) for value in opened.values()):
            source, state_dict = None, opened if state_dict is None else state_dict
        else:
            source = source.get("config", source)
    if config:
        source = {**(source or {}), **config}
    return source, None if state_dict is None else _bare(state_dict)


def _bare(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Strip ``module.`` and ``_orig_mod.``, in any order, as DDP and torch.compile leave them."""
    bare: dict[str, Tensor] = {}
    for key, value in state.items():
        name = key
        while name.startswith(("module.", "_orig_mod.")):
            name = name.partition(".")[2]
        bare[name] = value
    return bare


def _loaded(network: Network, state: Mapping[str, Tensor] | None) -> Network:
    if state is not None:
        ours = network.state_dict()
        wanted = {key: value for key, value in ours.items() if not key.endswith(_DERIVED)}
        missing = [key for key in wanted if key not in state]
        wrong = [k for k, v in wanted.items() if k in state and state[k].shape != v.shape]
        if missing or wrong:
            key = (missing or wrong)[0]
            found = "nothing" if missing else f"{tuple(state[key].shape)}"
            raise ValueError(
                f"the state dict does not fit: {len(missing)} parameters missing and {len(wrong)} of "
                f"another shape; first: {key}, expected {tuple(ours[key].shape)}, got {found}"
            )
        network.load_state_dict({key: state[key] for key in wanted}, strict=False)
    return network.eval()


def _not_ours(what: str, key: str, state: Mapping[str, Any]) -> str:
    some = ", ".join(list(state)[:3])
    return f"expected the state dict of a {what} (with {key!r}), got keys such as {some}"
