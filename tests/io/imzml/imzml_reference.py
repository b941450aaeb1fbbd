"""A second, plain reading of imzML pairs, to compare readers with: slow, strict, and unchecked."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

TYPES = {
    "32-bit float": "<f4",
    "64-bit float": "<f8",
    "32-bit integer": "<i4",
    "64-bit integer": "<i8",
}


def reference_images(path: Path, mz: list[float], ppm: float) -> NDArray[np.float32]:
    """Return ion images ``(channel, row, column)`` of an uncompressed pair, spectrum by spectrum.

    The grid is the rectangle around all coordinates; spectra of one pixel are summed, peaks that
    are not finite left out.

    Raises
    ------
    Exception
        Of any kind, where the file is not as the format says.
    """
    root = ElementTree.parse(path).getroot()
    for node in root.iter():
        node.tag = node.tag.rpartition("}")[2]
    groups = {
        group.get("id"): group.findall("cvParam") for group in root.iter("referenceableParamGroup")
    }
    raw = path.with_suffix(".ibd").read_bytes()
    spectra = []
    for spectrum in root.iter("spectrum"):
        scan = {node.get("accession"): node.get("value", "") for node in spectrum.iter("cvParam")}
        place = int(scan["IMS:1000051"]), int(scan["IMS:1000050"])
        arrays = {}
        for array in spectrum.iter("binaryDataArray"):
            params = list(array.findall("cvParam"))
            for reference in array.findall("referenceableParamGroupRef"):
                params += groups[reference.get("ref")]
            facts = {node.get("accession"): node.get("value", "") for node in params}
            names = [node.get("name", "") for node in params]
            dtype = next(TYPES[name] for name in names if name in TYPES)
            kind = "mz" if "MS:1000514" in facts else "intensity" if "MS:1000515" in facts else ""
            count, offset = int(facts["IMS:1000103"]), int(facts["IMS:1000102"])
            values = np.frombuffer(raw, dtype, count, offset) if count else np.empty(0)
            with np.errstate(all="ignore"):
                arrays[kind] = values.astype("f8")
        spectra.append((place, arrays["mz"], arrays["intensity"]))
    places = np.array([place for place, _, _ in spectra])
    first = places.min(axis=0)
    images = np.zeros((len(mz), *(places.max(axis=0) - first + 1)))
    with np.errstate(all="ignore"):
        for (row, column), masses, values in spectra:
            for channel, centre in enumerate(mz):
                inside = (np.abs(masses - centre) <= ppm * 1e-6 * centre) & np.isfinite(values)
                images[channel, row - first[0], column - first[1]] += values[inside].sum()
        return images.astype(np.float32)
