"""Image quality metrics: one a file, pure functions of arrays, one value per image.

Importing this package imports numpy only; torch and scipy wait until a metric needs them.
"""

from msibench.metrics.dists import dists
from msibench.metrics.edge_perceptual_loss import edge_perceptual_loss
from msibench.metrics.lpips import lpips
from msibench.metrics.mse import mse
from msibench.metrics.nqm import nqm
from msibench.metrics.perceptual_loss import perceptual_loss
from msibench.metrics.psnr import psnr
from msibench.metrics.r2 import r2
from msibench.metrics.rmse import rmse
from msibench.metrics.sd_ratio import sd_ratio
from msibench.metrics.ssim import ssim
from msibench.metrics.vif import vif
from msibench.metrics.vifp import vifp

__all__ = [
    "dists",
    "edge_perceptual_loss",
    "lpips",
    "mse",
    "nqm",
    "perceptual_loss",
    "psnr",
    "r2",
    "rmse",
    "sd_ratio",
    "ssim",
    "vif",
    "vifp",
]
