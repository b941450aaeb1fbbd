"""The published ResShift releases: files, licences, schedules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from msibench import WeightFile

LICENCE = "S-Lab License 1.0 (non-commercial)"
_RELEASE = "https://github.com/zsyOAOA/ResShift/releases/download/v2.0/"

AUTOENCODER = WeightFile(
    name="autoencoder_vq_f4.pth",
    url=_RELEASE + "autoencoder_vq_f4.pth",
    sha256="e967eaa2",  # the leading digits that are known
    size=221364711,
    licence=LICENCE,
    non_commercial=True,
    trained_on="latent-diffusion's VQ f4 data (OpenImages)",
)


@dataclass(frozen=True, slots=True)
class Release:
    """One published network."""

    schedule: str
    file: WeightFile
    title: str


def _file(name: str, trained_on: str, *, sha256: str = "", size: int | None = None) -> WeightFile:
    return WeightFile(
        name=name,
        url=_RELEASE + name,
        sha256=sha256,
        size=size,
        licence=LICENCE,
        non_commercial=True,
        trained_on=trained_on,
    )


_DEGRADED = "ImageNet and FFHQ crops, Real-ESRGAN second-order degradation"

RELEASES: Mapping[str, Release] = {
    "resshift-b": Release(
        "bicsr",
        _file("resshift_bicsrx4_s4.pth", "ImageNet and FFHQ crops, MATLAB bicubic"),
        "bicubic x4, 4 steps",
    ),
    "resshift-r-v1": Release(
        "realsr-v1", _file("resshift_realsrx4_s15_v1.pth", _DEGRADED), "real-world x4, 15 steps"
    ),
    "resshift-r-v2": Release(
        "realsr-v2", _file("resshift_realsrx4_s15_v2.pth", _DEGRADED), "real-world x4, 15 steps"
    ),
    "resshift-r-v3": Release(
        "realsr-v3",
        _file("resshift_realsrx4_s4_v3.pth", _DEGRADED, sha256="878da888", size=477917058),
        "real-world x4, 4 steps",
    ),
    "resshift-msi": Release(
        "msi_sr",
        WeightFile(
            name="msi_sr.pth",
            url="https://github.com/bioinfo-ibms-pumc/MSI_SR/releases/download/v1.0.0/msi_sr.pth",
            licence=f"Apache-2.0 as stated, but derived from weights under {LICENCE}",
            non_commercial=True,
            trained_on="resshift-b's data, then mouse-brain sagittal ion images (Cao et al.)",
        ),
        "fine-tuned on ion images, x4, 4 steps",
    ),
}
"""Method name → release."""

DEFAULTS: Mapping[str, object] = {
    "tile": 256,
    "overlap": 32,
    "batch": 4,
    "scaling": "minmax",
    "quantise8": False,
}
"""Tile, overlap and batch are counted in coarse pixels and tiles."""

SOURCES: Mapping[str, str] = {
    "schedule": "the release's own settings; a contradiction with the file is an error",
    "tile": "official choice of 256 with stride 224; the official default is 512 with 448",
    "overlap": "official: 256 - 224; overlaps are blended linearly instead of averaged evenly",
    "batch": "not stated, our choice: fits 8 GB",
    "scaling": "not stated for ion images, our choice: minimum and maximum of each ion image",
    "quantise8": "published pipelines work on 8-bit images; off keeps the dynamic range",
}
