"""Low-resolution problems from fine sections: physical operators, and protocols made of them."""

from msibench.degradation.back_projection import back_project
from msibench.degradation.bicubic import bicubic_reduce
from msibench.degradation.binning import area_mean
from msibench.degradation.counting_noise import count_ions
from msibench.degradation.dropout import drop_lines
from msibench.degradation.families import Family
from msibench.degradation.named import protocol, protocol_families
from msibench.degradation.prepared import Prepared
from msibench.degradation.protocol import DegradationProtocol
from msibench.degradation.psf import gaussian_beam, round_spot
from msibench.degradation.quantise import quantise8
from msibench.degradation.scaling import Scaling
from msibench.degradation.step import NoiseSource, Step

__all__ = [
    "DegradationProtocol",
    "Family",
    "NoiseSource",
    "Prepared",
    "Scaling",
    "Step",
    "area_mean",
    "back_project",
    "bicubic_reduce",
    "count_ions",
    "drop_lines",
    "gaussian_beam",
    "protocol",
    "protocol_families",
    "quantise8",
    "round_spot",
]
