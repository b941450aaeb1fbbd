"""Learn the ion images from the features through the footprint of the MSI pixels."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msibench import tell_progress
from msibench.training.adam import Adam
from msibench_smsdl_net.config import SmsdlConfig
from msibench_smsdl_net.dense_features import DenseFeatures
from msibench_smsdl_net.network import Regression

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
    pixels: Tensor,
    columns: int,
    factor: int,
) -> Tensor:
    """Mean square difference between measured intensities and means over their footprints.

    Parameters
    ----------
    model, features
        The regression and what it reads.
    values
        Intensities of the coarse pixels in [0, 1], row by row.
    pixels
        Indices of those to compare.
    columns
        Of the coarse grid.
    factor
        Fine pixels per coarse one.
    """
    rows, across = footprint(pixels, columns, factor)
    predicted = model(features.at(rows.flatten(), across.flatten()))
    mean = predicted.reshape(len(pixels), factor * factor).mean(1)
    error: Tensor = (mean - values[pixels]).square().mean()
    return error


def fit_regression(
    features: DenseFeatures,
    image: NDArray[np.float32],
    known: NDArray[np.bool_],
    factor: int,
    config: SmsdlConfig,
    model: Regression,
    generator: torch.Generator,
) -> list[float]:
    """Train the regression of one ion in place; return its loss curve.

    Parameters
    ----------
    features
        Of the whole section.
    image, known
        Intensities in [0, 1] on the coarse grid, and where they were measured (somewhere).
    factor
        Fine pixels per coarse one.
    config
        Steps, batch, learning rate.
    model
        With its first weights.
    generator
        Draws the batches.
    """
    device = features.colours.device
    values = torch.from_numpy(image.flatten()).to(device)
    usable = torch.from_numpy(np.flatnonzero(known)).to(device)
    last = model.layers[-1]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():  # start at the ion's mean: softplus(x) = mean
        last.bias.fill_(values[usable].mean().clamp(min=1e-3).expm1().log())
    optimiser = Adam(model.parameters(), learning_rate=config.regression_learning_rate)
    # A footprint of many fine pixels is read fewer at a time.
    batch = max(1, min(config.regression_batch, PIXELS_AT_A_TIME // factor**2, len(usable)))
    curve: list[float] = []
    order = torch.empty(0, dtype=torch.int64)
    for step in range(config.regression_steps):
        tell_progress(step, config.regression_steps, "steps of the regression")
        if len(order) < batch:
            order = torch.randperm(len(usable), generator=generator)
        pixels, order = usable[order[:batch].to(device)], order[batch:]
        optimiser.learning_rate = config.regression_learning_rate * _cosine(
            step / config.regression_steps
        )
        loss = footprint_loss(model, features, values, pixels, image.shape[1], factor)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        curve.append(loss.item())
    return curve


def _cosine(progress: float) -> float:
    """Fall from 1 to 0 (Loshchilov and Hutter 2017, without restarts)."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def predict(model: Regression, features: DenseFeatures) -> NDArray[np.float32]:
    """Return one ion on the fine grid, ``(row, column)``, some rows at a time."""
    height, width = features.colours.shape[-2:]
    band = max(1, PIXELS_AT_A_TIME // width)
    bands = []
    for first in range(0, height, band):
        rows = torch.arange(first, min(first + band, height), device=features.colours.device)
        columns = torch.arange(width, device=rows.device)
        with torch.inference_mode():
            y, x = torch.meshgrid(rows, columns, indexing="ij")
            values = model(features.at(y.flatten(), x.flatten()))
        bands.append(values.reshape(len(rows), width).float().cpu().numpy())
    joined: NDArray[np.float32] = np.concatenate(bands)
    return joined
