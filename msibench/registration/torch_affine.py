"""Differentiable rigid and affine registration in PyTorch, for the pipeline of Ul Haque et al.

The published pipeline registers binary masks or component images with a rigid transform whose
parameters are trained through ``affine_grid`` and ``grid_sample``. Its loss, optimiser and schedule are
not stated; here they are normalised cross-correlation (or the squared error), Adam, and a
coarse-to-fine blur. On a CPU the same input gives the same bytes.

References
----------
.. [1] Ul Haque et al., bioRxiv 2025.02.19.639070, section 2.4.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.nn import functional as F

from msibench.errors import ConfigurationError, RegistrationError
from msibench.registration.affine import Affine
from msibench.registration.projection import smooth_to

Loss = Literal["ncc", "mse"]
BLURS = (8.0, 4.0, 2.0, 0.0)
"""Standard deviations in fixed pixels of the passes, coarse to fine."""


def register_torch(
    moving: ArrayLike,
    fixed: ArrayLike,
    *,
    model: Literal["rigid", "affine"] = "rigid",
    start: Affine | None = None,
    loss: Loss = "ncc",
    steps: int = 150,
    learning_rate: float = 0.01,
    device: str = "cpu",
) -> Affine:
    """Train the map from `fixed` to `moving` by gradient descent.

    Parameters
    ----------
    moving, fixed
        Pictures ``(row, column)`` of like contrast, such as tissue masks or matching components.
    model
        ``"rigid"``: a turn and a shift after `start`; ``"affine"``: any 2 x 2 matrix.
    start
        First guess; None: `fixed` stretched over the whole of `moving`.
    loss
        ``"ncc"``: one minus the normalised cross-correlation; ``"mse"``: mean squared error.
    steps
        Of Adam, in each of the four passes.
    learning_rate
        In units of half the picture's side (shift) and radians (turn).
    device
        Where to compute.

    Returns
    -------
    The map from fixed to moving pixels.

    Raises
    ------
    ConfigurationError
        If the model or loss is unknown.
    RegistrationError
        If a picture is constant, not finite, or not two-dimensional.
    """
    if model not in ("rigid", "affine") or loss not in ("ncc", "mse"):
        raise ConfigurationError(
            f"expected model rigid or affine and loss ncc or mse, got {model!r} and {loss!r}"
        )
    if steps < 1 or not learning_rate > 0:
        raise ConfigurationError("steps and learning_rate must be positive")
    target, source = _picture(fixed, "fixed"), _picture(moving, "moving")
    if start is None:
        scale = np.array(source.shape) / np.array(target.shape)
        start = Affine(np.diag(scale), (scale - 1) / 2)
    ratio = float(np.sqrt(abs(np.linalg.det(start.matrix))))
    source = smooth_to(source, ratio)
    parameters = torch.zeros(
        3 if model == "rigid" else 6, dtype=torch.float64, device=device, requires_grad=True
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in a fixed order: the same bytes on every CPU
    try:
        for blur in BLURS:
            if blur and 4 * blur > min(target.shape):
                continue
            _train(
                parameters,
                _tensor(source, blur * ratio, device),
                _tensor(target, blur, device),
                start,
                loss,
                steps,
                learning_rate * (1.0 if blur else 0.3),
            )
    finally:
        torch.set_num_threads(threads)
    with torch.no_grad():
        matrix, shift = _change(parameters, target.shape)
    return start @ Affine(matrix.cpu().numpy(), shift.cpu().numpy())


def _train(
    parameters: torch.Tensor,
    source: torch.Tensor,
    target: torch.Tensor,
    start: Affine,
    loss: Loss,
    steps: int,
    learning_rate: float,
) -> None:
    """Move `parameters` downhill in place."""
    adam = torch.optim.Adam([parameters], lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps, eta_min=learning_rate / 50)
    shape = (target.shape[-2], target.shape[-1])
    for _ in range(steps):
        adam.zero_grad()
        theta = _normalised_theta(parameters, start, (source.shape[-2], source.shape[-1]), shape)
        grid = F.affine_grid(theta[None], [1, 1, *shape], align_corners=True)
        warped = F.grid_sample(source, grid, padding_mode="border", align_corners=True)
        value = _distance(warped, target, loss)
        torch.autograd.backward(value, inputs=[parameters])
        adam.step()
        schedule.step()


def _change(parameters: torch.Tensor, shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Matrix and offset, in fixed pixels, of the change that the parameters stand for."""
    half = torch.tensor([(side - 1) / 2 for side in shape]).to(parameters)
    if len(parameters) == 3:
        turn = parameters[0]
        matrix = torch.stack([turn.cos(), -turn.sin(), turn.sin(), turn.cos()]).reshape(2, 2)
        shift = parameters[1:] * half.max()
    else:
        matrix = torch.eye(2).to(parameters) + parameters[:4].reshape(2, 2)
        shift = parameters[4:] * half.max()
    return matrix, half - matrix @ half + shift


def _normalised_theta(
    parameters: torch.Tensor, start: Affine, moving: tuple[int, int], fixed: tuple[int, int]
) -> torch.Tensor:
    """Return the ``(2, 3)`` map in (x, y) from -1 to 1 between the outermost pixel centres."""
    matrix, offset = _change(parameters, fixed)
    first = torch.from_numpy(start.matrix).to(parameters)
    whole = first @ matrix
    moved = first @ offset + torch.from_numpy(start.offset).to(parameters)
    fixed_half = torch.tensor([(side - 1) / 2 for side in fixed]).to(parameters)
    moving_half = torch.tensor([max(side - 1, 1) / 2 for side in moving]).to(parameters)
    linear = whole * fixed_half[None, :] / moving_half[:, None]
    constant = (whole @ fixed_half + moved) / moving_half - 1.0
    return torch.cat([linear.flip(0, 1), constant.flip(0)[:, None]], dim=1)


def _distance(warped: torch.Tensor, target: torch.Tensor, loss: Loss) -> torch.Tensor:
    if loss == "mse":
        return ((warped - target) ** 2).mean()
    a, b = warped - warped.mean(), target - target.mean()
    return 1.0 - (a * b).sum() / ((a * a).sum() * (b * b).sum()).clamp_min(1e-24).sqrt()


def _tensor(picture: NDArray[np.float64], blur: float, device: str) -> torch.Tensor:
    from scipy import ndimage

    soft = ndimage.gaussian_filter(picture, blur)
    return torch.from_numpy(np.ascontiguousarray(soft))[None, None].to(device)


def _picture(values: ArrayLike, name: str) -> NDArray[np.float64]:
    picture = np.asarray(values, dtype=np.float64)
    if picture.ndim != 2 or not np.isfinite(picture).all() or np.ptp(picture) == 0:
        raise RegistrationError(
            f"{name} must be a finite picture (row, column) with some contrast, got shape "
            f"{picture.shape}"
        )
    return np.asarray((picture - picture.mean()) / picture.std())
