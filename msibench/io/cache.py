"""Ion images of large imzML files, kept as prepared sections in the user's cache folder.

One pass over a file makes all its ion images; asked for the same m/z again, they are read from
``<cache>/stacks/<key>.h5`` (``MSIBENCH_CACHE`` names the cache). The key holds the size and time of
change of the .ibd file, the UUID, the m/z, the window and how pixels were laid out.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from msibench.downloads import cache_root
from msibench.errors import MSIBenchError
from msibench.image import MSImage
from msibench.io.hdf5 import read_hdf5, write_hdf5
from msibench.io.imzml.section import ImzMLSection

VERSION = 1
WORTH_IT = 64 << 20
"""Bytes of an .ibd file from which reading it again costs more than keeping the images."""


def stack_path(section: ImzMLSection, mz: ArrayLike, ppm: float) -> Path:
    """Return where the ion images are cached, whether or not they exist."""
    size, modified = section.file_identity
    inputs = {
        "version": VERSION,
        "path": str(section.ibd.resolve()),
        "size": size,
        "modified": modified,
        "uuid": section.uuid,
        "layout": section.layout_digest(),
        "mz": [value.hex() for value in np.atleast_1d(np.asarray(mz, dtype=np.float64)).tolist()],
        "ppm": float(ppm).hex(),
    }
    key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
    return cache_root() / "stacks" / f"{key[:40]}.h5"


def cached_ion_images(section: ImzMLSection, mz: ArrayLike, ppm: float) -> MSImage:
    """Return ``section.ion_images(mz, ppm)``, from the cache where a large file has been read before.

    Images that come with a DataWarning are not kept, so that the warning is given every time.
    """
    if section.file_identity[0] < WORTH_IT:
        return section.ion_images(mz, ppm)
    path = stack_path(section, mz, ppm)
    if path.exists():
        try:
            return read_hdf5(path)
        except MSIBenchError:
            path.unlink(missing_ok=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        image = section.ion_images(mz, ppm)
    for message in caught:
        warnings.warn(message.message, stacklevel=2)
    if not caught:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_hdf5(path, image, provenance={"source": section.ibd.name, "uuid": section.uuid})
        except OSError:  # StoreError, too: a cache that cannot be written is the same as none
            pass
    return image
