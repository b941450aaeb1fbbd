"""Bring optical images onto sections: landmarks, transforms, resampling, and how good it is.

`torch_affine` holds the differentiable registration of Ul Haque et al.; it is imported by its full
name, because it loads PyTorch.
"""

from msibench.registration.affine import Affine, fit_linear, read_affine
from msibench.registration.deformable import BSpline
from msibench.registration.intensity import Acceptance, Registration, register
from msibench.registration.landmarks import Landmarks, ThinPlate, read_bigwarp, thin_plate
from msibench.registration.quality import (
    QualityReport,
    assess,
    folding,
    leave_one_out,
    mutual_information,
    target_errors,
)
from msibench.registration.resample import resample
from msibench.registration.transform import Composite, Transform

__all__ = [
    "Acceptance",
    "Affine",
    "BSpline",
    "Composite",
    "Landmarks",
    "QualityReport",
    "Registration",
    "ThinPlate",
    "Transform",
    "assess",
    "fit_linear",
    "folding",
    "leave_one_out",
    "mutual_information",
    "read_affine",
    "read_bigwarp",
    "register",
    "resample",
    "target_errors",
    "thin_plate",
]
