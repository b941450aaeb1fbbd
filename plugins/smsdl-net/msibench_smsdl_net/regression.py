"""Learn the ion images from the features through the footprint of the MSI pixels."""

from __future__ import annotations

import logging

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msibench.training.ions import ScaledIons
from msibench_smsdl_net.config import SmsdlConfig
from msibench_smsdl_net.dense_features import DenseFeatures
from msibench_smsdl_net.network import Regression

log = logging.getLogger(__name__)

PIXELS_AT_A_TIME = 1 << 17


def footprint(pixels: Tensor, columns: int, factor: int) -> tuple[Tensor, Tensor]:
    """Return rows and columns of the fine pixels under coarse ones, ``(pixel, factor**2)`` each."""
    offsets = torch.arange(factor, device=pixels.device)
    rows = (pixels // columns)[:, None] * factor + offsets
    across = (pixels % columns)[:, None] * factor + offsets
    shape = (len(pixels), factor, factor)
    return (
        rows[:, :, None].expand(shape).flatten(1),
        across[:, None, :].expand(shape).flatten(1),
    )


def footprint_loss(
    model: Regression,
    features: DenseFeatures,
    values: Tensor,
    known: Tensor,
    pixels: Tensor,
    columns: int,
    factor: int,
) -> Tensor:
    """Mean square difference between measured intensities and means over their footprints.

    Parameters
    ----------
    model, features
        The regression and what it reads.
    values, known
        ``(coarse pixel, ion)``: intensities in [0, 1], and 1 where they were measured.
    pixels
        Indices of the coarse pixels to compare, row by row.
    columns
        Of the coarse grid.
    factor
        Fine pixels per coarse one.
    """
    rows, across = footprint(pixels, columns, factor)
    predicted = model(features.at(rows.flatten(), across.flatten()))
    mean = predicted.reshape(len(pixels), factor * factor, -1).mean(1)
    weight = known[pixels]
    error: Tensor = ((mean - values[pixels]).square() * weight).sum() / weight.sum().clamp(min=1)
    return error


def fit_regression(
    features: DenseFeatures,
    ions: ScaledIons,
    factor: int,
    config: SmsdlConfig,
    generator: torch.Generator,
) -> tuple[Regression, list[float]]:
    """Train one regression for all ions that hold any signal."""
    device = features.colours.device
    which = list(ions.with_signal)
    columns = ions.values.shape[2]
    values = torch.from_numpy(ions.values[which].reshape(len(which), -1).T.copy()).to(device)
    known = torch.from_numpy(ions.known[which].reshape(len(which), -1).T.astype(np.float32)).to(
        device
    )
    model = Regression(features.count, config.hidden, len(which)).to(device)
    last = model.layers[-1]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():  # start at each ion's mean: softplus(x) = mean
        mean = (values * known).sum(0) / known.sum(0).clamp(min=1)
        last.bias.copy_(mean.clamp(min=1e-3).expm1().log())
    optimiser = torch.optim.Adam(model.parameters(), lr=config.regression_learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimiser, max(config.regression_steps, 1)
    )
    # A footprint of many fine pixels is read fewer at a time.
    batch = max(1, min(config.regression_batch, PIXELS_AT_A_TIME // factor**2, len(values)))
    usable = torch.nonzero(known.sum(1))[:, 0]
    curve: list[float] = []
    order = torch.empty(0, dtype=torch.int64)
    for step in range(config.regression_steps):
        if len(order) < min(batch, len(usable)):
            order = torch.randperm(len(usable), generator=generator)
        pixels, order = usable[order[:batch].to(device)], order[batch:]
        loss = footprint_loss(model, features, values, known, pixels, columns, factor)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        curve.append(loss.item())
        if step % 100 == 0:
            log.info("regression: %d steps left", config.regression_steps - step)
    return model.eval(), curve


def predict(model: Regression, features: DenseFeatures) -> NDArray[np.float32]:
    """Return ``(ion, row, column)`` on the fine grid, some rows at a time."""
    height, width = features.colours.shape[-2:]
    band = max(1, PIXELS_AT_A_TIME // width)
    bands = []
    for first in range(0, height, band):
        rows = torch.arange(first, min(first + band, height), device=features.colours.device)
        columns = torch.arange(width, device=rows.device)
        with torch.inference_mode():
            y, x = torch.meshgrid(rows, columns, indexing="ij")
            values = model(features.at(y.flatten(), x.flatten()))
        bands.append(values.T.reshape(-1, len(rows), width).float().cpu().numpy())
    joined: NDArray[np.float32] = np.concatenate(bands, axis=1)
    return joined
