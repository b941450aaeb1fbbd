"""Fine-tuning ResShift: the U-Net learns, the autoencoder stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from msibench.errors import ConfigurationError
from msibench.weights import bare_state_dict, read_state_dict
from msibench_resshift.autoencoder import Autoencoder
from msibench_resshift.network import build_autoencoder, build_unet, enlarge
from msibench_resshift.schedule import Schedule, schedule_for


def network_for_training(
    config: Mapping[str, Any], *, factor: int, weights: Mapping[str, Path] | None
) -> nn.Module:
    """Return the U-Net: from its file, or new with the constructor arguments in ``config["unet"]``.

    Raises
    ------
    ConfigurationError
        If the factor is not 4.
    """
    if factor != 4:
        raise ConfigurationError(f"ResShift is a x4 network, got factor {factor}")
    if weights:
        return build_unet(bare_state_dict(read_state_dict(next(iter(weights.values())))))
    return build_unet(dict(config.get("unet", {})))


def objective_for_training(
    config: Mapping[str, Any], *, factor: int, weights: Mapping[str, Path] | None
) -> LatentObjective:
    """Return the loss in the latent space of the autoencoder, the second of the method's files.

    Raises
    ------
    ConfigurationError
        If there is no autoencoder, which cannot be trained here.
    """
    files = list((weights or {}).items())
    if len(files) < 2:
        raise ConfigurationError(
            "ResShift learns in the latent space of its autoencoder: give autoencoder_vq_f4.pth, the "
            "second of its files, also when the U-Net starts from scratch"
        )
    state = bare_state_dict(read_state_dict(files[1][1]))
    return LatentObjective(
        build_autoencoder(state), schedule_for(files[0][0], str(config.get("schedule", "")))
    )


class LatentObjective:
    """Mean squared error of the clean latent, equation 8 of the paper with weights of one.

    Steps and noise come from the loop's generator. The perceptual term that some releases add on
    decoded images (LPIPS) is left out: it needs weights of its own.
    """

    def __init__(self, autoencoder: Autoencoder, schedule: Schedule) -> None:
        self.autoencoder = autoencoder.requires_grad_(False)
        self.schedule = schedule

    def __call__(
        self, network: nn.Module, low: Tensor, high: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return the loss for ``(image, 1, row, column)`` in [0, 1] and its fine truth."""
        plan = self.schedule
        self.autoencoder.to(low.device)
        low, high = (image.expand(-1, 3, -1, -1) * 2 - 1 for image in (low, high))
        with torch.no_grad():
            clean = self.autoencoder.encode(high)
            start = self.autoencoder.encode(enlarge(low, plan.scale))
        step = torch.randint(plan.steps, (len(low),), generator=generator)
        noise = torch.randn(clean.shape, generator=generator).to(clean.device)
        eta, spread = (_at(values, step, clean) for values in (plan.eta, plan.input_scale))
        state = clean + eta * (start - clean) + plan.kappa * eta.sqrt() * noise
        estimate = network(state / spread, step.to(low.device), lq=low)
        return F.mse_loss(estimate.float(), clean)


def _at(values: np.ndarray[Any, Any], step: Tensor, like: Tensor) -> Tensor:
    chosen = torch.from_numpy(values)[step]
    return chosen.to(like)[:, None, None, None]
