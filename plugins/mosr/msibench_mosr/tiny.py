"""A small checkpoint of our own, so that the family competes before anything is downloaded."""

from __future__ import annotations

from msibench.training.pretrained_specs import ShippedFile, shipped_method

TINY = shipped_method(
    "mosr-msi-tiny",
    "msibench_mosr.method:MOSR",
    ShippedFile(
        package="msibench_mosr",
        name="mosr-msi-tiny-x4.safetensors",
        sha256="f31078b2827e3aee66c54cef94bd9cf016148a193bd57f6454b400ec16a56663",
        size=1213404,
    ),
    citation="https://doi.org/10.1038/s42256-023-00677-7",
    size="302 k parameters",
    architecture="RRDBNet, 2 blocks of 24 features",
)
