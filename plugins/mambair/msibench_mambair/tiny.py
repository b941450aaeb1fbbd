"""A small checkpoint of our own, so that the family competes before anything is downloaded."""

from __future__ import annotations

from msibench.training.pretrained_specs import ShippedFile, shipped_method

TINY = shipped_method(
    "mambair-msi-tiny",
    "msibench_mambair.method:MambaIR",
    ShippedFile(
        package="msibench_mambair",
        name="mambair-msi-tiny-x4.safetensors",
        sha256="dcb40e3a8a2919b049d6637ff3bdb3e8181d7a268de82accab35f75bc4697e6f",
        size=216128,
    ),
    citation="https://doi.org/10.48550/arXiv.2402.15648",
    size="52 k parameters",
    architecture="MambaIR (light, third generation), 2 groups of 1 block, 32 features",
    tile=0,  # its scans run over the whole image
)
