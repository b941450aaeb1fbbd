"""Image quality metrics: one a file, pure functions of arrays, one value per image.

Importing this package imports numpy only; torch and scipy wait until a metric needs them.
"""

from msibench.metrics.mse import mse
from msibench.metrics.nqm import nqm
from msibench.metrics.psnr import psnr
from msibench.metrics.r2 import r2
from msibench.metrics.rmse import rmse
from msibench.metrics.sd_ratio import sd_ratio
from msibench.metrics.ssim import ssim
from msibench.metrics.vif import vif
from msibench.metrics.vifp import vifp

__all__ = [
    "mse",
    "nqm",
    "psnr",
    "r2",
    "rmse",
    "sd_ratio",
    "ssim",
    "vif",
    "vifp",
]
