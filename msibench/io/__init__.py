"""Read measured sections and write images: imzML, HDF5, npz, TIFF and OME-TIFF, PNG.

Names are imported when they are first used, so that ``import msibench.io`` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from msibench.io.data_warning import DataWarning
    from msibench.io.export import write_image
    from msibench.io.hdf5 import read_hdf5, validate_hdf5, write_hdf5
    from msibench.io.imzml.image_writer import write_imzml
    from msibench.io.imzml.open import ImzMLOptions, open_imzml
    from msibench.io.imzml.section import ImzMLSection
    from msibench.io.ome_tiff import write_ome_tiff
    from msibench.io.read import read_section
    from msibench.io.stacks import read_npz, read_tiff

__all__ = [
    "DataWarning",
    "ImzMLOptions",
    "ImzMLSection",
    "open_imzml",
    "read_hdf5",
    "read_npz",
    "read_section",
    "read_tiff",
    "validate_hdf5",
    "write_hdf5",
    "write_image",
    "write_imzml",
    "write_ome_tiff",
]

_HOME = {
    "DataWarning": "data_warning",
    "ImzMLOptions": "imzml.open",
    "ImzMLSection": "imzml.section",
    "open_imzml": "imzml.open",
    "read_hdf5": "hdf5",
    "read_npz": "stacks",
    "read_section": "read",
    "read_tiff": "stacks",
    "validate_hdf5": "hdf5",
    "write_hdf5": "hdf5",
    "write_image": "export",
    "write_imzml": "imzml.image_writer",
    "write_ome_tiff": "ome_tiff",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
