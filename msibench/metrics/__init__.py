"""Image quality metrics: one a file, pure functions of arrays, one value per image.

Importing this package imports numpy only; torch and scipy wait until a metric needs them.
"""

from msibench.metrics.band_power import band_power
from msibench.metrics.colocalisation import colocalisation
from msibench.metrics.conservation import conservation
from msibench.metrics.consistency import consistency
from msibench.metrics.detail import (
    bounded,
    detail_gain,
    detail_match,
    detail_precision,
    detail_recall,
    input_error,
    pooled,
    skill,
    split_error,
)
from msibench.metrics.dists import dists
from msibench.metrics.edge_perceptual_loss import edge_perceptual_loss
from msibench.metrics.frc import frc
from msibench.metrics.guide_leakage import guide_leakage
from msibench.metrics.hallucination import hallucination_map
from msibench.metrics.lpips import lpips
from msibench.metrics.mse import mse
from msibench.metrics.neighbour import neighbour
from msibench.metrics.noise_ceiling import noise_ceiling
from msibench.metrics.nqm import nqm
from msibench.metrics.off_tissue import off_tissue
from msibench.metrics.perceptual_loss import perceptual_loss
from msibench.metrics.psnr import psnr
from msibench.metrics.r2 import r2
from msibench.metrics.rmse import rmse
from msibench.metrics.sd_ratio import sd_ratio
from msibench.metrics.shift import shift
from msibench.metrics.spectral_angle import spectral_angle
from msibench.metrics.ssim import ssim
from msibench.metrics.vif import vif
from msibench.metrics.vifp import vifp

__all__ = [
    "band_power",
    "bounded",
    "colocalisation",
    "conservation",
    "consistency",
    "detail_gain",
    "detail_match",
    "detail_precision",
    "detail_recall",
    "dists",
    "edge_perceptual_loss",
    "frc",
    "guide_leakage",
    "hallucination_map",
    "input_error",
    "lpips",
    "mse",
    "neighbour",
    "noise_ceiling",
    "nqm",
    "off_tissue",
    "perceptual_loss",
    "pooled",
    "psnr",
    "r2",
    "rmse",
    "sd_ratio",
    "shift",
    "skill",
    "spectral_angle",
    "split_error",
    "ssim",
    "vif",
    "vifp",
]
