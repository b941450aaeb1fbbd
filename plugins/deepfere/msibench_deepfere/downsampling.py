"""What the spectrometer does to the fine image, as DeepFERE has it: Lanczos2 and one in n."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor


def lanczos2_kernel(factor: int) -> NDArray[np.float64]:
    """Return the separable Lanczos kernel of two lobes, ``(4*factor, 4*factor)``, sum 1.

    The centre lies between two samples (phase 0.5), so that output pixel i covers the inputs
    ``factor*i .. factor*i + factor - 1`` symmetrically.
    """
    distance = (np.arange(4 * factor) + 0.5 - 2 * factor) / factor
    line = np.sinc(distance) * np.sinc(distance / 2)
    kernel = np.outer(line, line)
    return np.asarray(kernel / kernel.sum())


def downsample(image: Tensor, factor: int) -> Tensor:
    """``(B, channel, row, column)`` -> every axis shorter by `factor`; replicated borders.

    A factor of 1 changes nothing.
    """
    if factor == 1:
        return image
    distance = (np.arange(4 * factor) + 0.5 - 2 * factor) / factor
    line = np.sinc(distance) * np.sinc(distance / 2)
    weights = torch.from_numpy((line / line.sum()).astype(np.float32)).to(image.device)
    margin = (4 * factor - factor) // 2
    extra = (4 * factor - factor) - margin
    batch, channels, rows, columns = image.shape
    planes = image.reshape(batch * channels, 1, rows, columns)
    # Rows and columns one after the other: 8n instead of 16n^2 products a pixel.
    planes = F.pad(planes, (margin, extra, margin, extra), mode="replicate")
    planes = F.conv2d(planes, weights.reshape(1, 1, -1, 1), stride=(factor, 1))
    planes = F.conv2d(planes, weights.reshape(1, 1, 1, -1), stride=(1, factor))
    return planes.reshape(batch, channels, *planes.shape[-2:])
