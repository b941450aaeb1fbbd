"""The score of a predictor that sees the eight true neighbours of each pixel but not the pixel."""

from __future__ import annotations

import numpy as np

from msibench.contracts.metric import Evaluation, Scored
from msibench.metrics.arrays import NOT_FINITE, Floats, finite_images, first_reason, to_host
from msibench.metrics.pairs import ImagesT
from msibench.metrics.psnr import psnr

SIGMA = 1.5
"""Standard deviation in pixels of the weights of the eight neighbours."""
FLAT = "every pixel equals its neighbours: the ratio is infinite"


def neighbour(reference: ImagesT, *, sigma: float = SIGMA) -> ImagesT:
    """Predict every pixel from its eight true neighbours, without any fit.

    Neighbours are weighed by a Gaussian of their distance (1 or √2 pixels), without the centre;
    beyond the edge the image is reflected. It knows far more than any method that sees a low image,
    but not the pixel's own counting noise: where it does not beat interpolation by much, the truth is
    noise at the scale of a pixel and there is little for a method to gain.

    Parameters
    ----------
    reference
        Measured images ``(..., row, column)``, sides of at least 2 pixels.
    sigma
        Width of the weights in pixels; infinity for the plain mean of the eight.

    Returns
    -------
    Predictions, the shape of `reference`.
    """
    images, back = to_host(reference, "reference")
    rows, columns = images.shape[-2:]
    if min(rows, columns) < 2:
        raise ValueError(f"a pixel needs neighbours on both axes, got images of {rows} x {columns}")
    edges = [(0, 0)] * (images.ndim - 2) + [(1, 1), (1, 1)]
    padded = np.pad(images, edges, mode="reflect")
    total, weight = np.zeros_like(images), 0.0
    for row in (-1, 0, 1):
        for column in (-1, 0, 1):
            if row == column == 0:
                continue
            share = float(np.exp(-(row**2 + column**2) / (2 * sigma**2)))
            total += (
                share * padded[..., 1 + row : 1 + row + rows, 1 + column : 1 + column + columns]
            )
            weight += share
    return back(total / weight)


def evaluate(evaluation: Evaluation) -> Scored:
    """PSNR of the neighbour predictor on one section; the same for every method."""
    assert evaluation.truth is not None
    truth = evaluation.truth.values.astype(np.float64)
    values: Floats = psnr(neighbour(truth), truth)
    reasons = first_reason(
        len(truth), (~finite_images(truth), NOT_FINITE), (np.isnan(values), FLAT)
    )
    return Scored(values, reasons)
