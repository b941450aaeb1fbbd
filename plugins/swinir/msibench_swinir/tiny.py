"""A small checkpoint of our own, so that the family competes before anything is downloaded."""

from __future__ import annotations

from msibench.training.pretrained_specs import ShippedFile, shipped_method

TINY = shipped_method(
    "swinir-msi-tiny",
    "msibench_swinir.method:SwinIR",
    ShippedFile(
        package="msibench_swinir",
        name="swinir-msi-tiny-x4.safetensors",
        sha256="9c31be108caae875d2b19f9da6796f329dd28502e967fc51796e65ca3837586e",
        size=1299776,
    ),
    citation="https://doi.org/10.1109/ICCVW54120.2021.00210",
    size="108 k parameters",
    architecture="SwinIR, 2 groups of 4 blocks, 32 features",
)
