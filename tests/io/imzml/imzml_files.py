"""Make small imzML pairs with one oddity each, as the field's software writes them.

The maker shares no code with the reader and the writer of msibench: it is written out plainly, so
that tests compare two independent readings of the format.
"""

from __future__ import annotations

import hashlib
import struct
import uuid
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

TERMS = {
    "f4": ("MS:1000521", "32-bit float"),
    "f8": ("MS:1000523", "64-bit float"),
    "i4": ("IMS:1000141", "32-bit integer"),
    "i8": ("IMS:1000142", "64-bit integer"),
}
Spectra = Sequence[tuple[NDArray[np.generic], NDArray[np.generic]]]
DEFAULT_UUID = uuid.UUID("5f3a2b10-5066-49de-b9a3-243075247448")


@dataclass(kw_only=True)
class ImzMLRecipe:
    """What to write; every field is an oddity that can be switched on.

    Attributes
    ----------
    spectra
        m/z and intensities of each spectrum; None: a small seeded set on a 4 x 3 grid.
    coordinates
        ``(x, y)`` or ``(x, y, z)`` as text or number, one per spectrum.
    """

    spectra: Spectra | None = None
    coordinates: Sequence[tuple[object, ...]] | None = None
    seed: int = 0
    mz_type: Literal["f4", "f8", "i4", "i8"] = "f8"
    intensity_type: Literal["f4", "f8", "i4", "i8"] = "f4"
    mz_name: str | None = None
    """Name of the m/z type, where it contradicts the accession."""
    intensity_name: str | None = None
    shared_axis: bool = False
    """Store the m/z of the first spectrum once, for all."""
    declared_mode: Literal["continuous", "processed"] | None = "processed"
    compression: Literal["none", "zlib", "numpress"] = "none"
    spectrum_mode: Literal["centroid", "profile"] | None = "centroid"
    spectrum_mode_in: Literal["file", "group", "spectrum"] = "group"
    polarity: Literal["positive", "negative"] | None = "positive"
    namespace: bool = True
    prefix: str = ""
    """Namespace prefix on every tag, ``"mz"``."""
    encoding: str = "UTF-8"
    header_text: bytes = b"sample"
    """Raw bytes of a name in the header."""
    doctype: str = ""
    declared_count: object = None
    """``spectrumList@count``; None: the true number."""
    max_counts: tuple[object, object] | None = (4, 3)
    pixel_size: tuple[object, object] | None = (50, 50)
    pixel_unit: tuple[str, str] | None = ("UO:0000017", "micrometer")
    identifier: uuid.UUID | str | None = DEFAULT_UUID
    ibd_identifier: bytes | None = None
    """First 16 bytes of the .ibd file; None: those of `identifier`."""
    sha1: str | None = "right"
    """``"right"``, another digest, or None."""
    encoded_lengths: bool = True
    array_lengths: bool = True
    types_in_array: bool = False
    """Number types beside offset and length instead of in a parameter group."""
    mobility: bool = False
    """A third binary array in every spectrum."""
    quote: str = '"'
    value_first: bool = False
    """Attributes in another order."""
    padding: int = 0
    """Bytes of nothing before every array, so that arrays are not aligned."""
    offset_text: Callable[[int], str] = field(default=str)
    """How an offset is written, e.g. ``lambda n: f"{n:.6e}"``."""
    ibd_suffix: str = ".ibd"
    cut_ibd: int = 0
    """Bytes missing at the end of the .ibd file."""
    change_xml: Callable[[bytes], bytes] = field(default=bytes)
    """A last change of the XML bytes."""


def example_spectra(
    seed: int = 0, count: int = 12
) -> list[tuple[NDArray[np.generic], NDArray[np.generic]]]:
    """Return small processed spectra, ascending, with shared and private peaks, one of them empty."""
    rng = np.random.default_rng(seed)
    common = np.array([150.0, 300.25, 798.541])
    spectra: list[tuple[NDArray[np.generic], NDArray[np.generic]]] = []
    for number in range(count):
        own = rng.uniform(100, 1000, number % 5)
        shift = 1 + rng.normal(0, 3e-6, common.size)
        mz = np.sort(np.concatenate([common * shift, own])) if number != 5 else np.empty(0)
        spectra.append((mz, np.round(rng.gamma(2.0, 50.0, mz.size))))
    return spectra


def write_odd_imzml(path: Path, recipe: ImzMLRecipe | None = None, **changes: object) -> Path:
    """Write an imzML pair and return the .imzML file.

    Parameters
    ----------
    path
        The .imzML file.
    recipe
        All choices; None: the ordinary file.
    changes
        Fields of `ImzMLRecipe` that differ from it.
    """
    made = ImzMLRecipe(**changes) if recipe is None else recipe  # type: ignore[arg-type]
    spectra = made.spectra if made.spectra is not None else example_spectra(made.seed)
    coordinates = made.coordinates
    if coordinates is None:
        coordinates = [(index % 4 + 1, index // 4 + 1) for index in range(len(spectra))]
    identifier = made.identifier if isinstance(made.identifier, uuid.UUID) else DEFAULT_UUID
    ibd = bytearray(made.ibd_identifier if made.ibd_identifier is not None else identifier.bytes)
    rows = [
        _spectrum(made, ibd, index, spectra, coordinate)
        for index, coordinate in enumerate(coordinates)
    ]
    count = len(rows) if made.declared_count is None else made.declared_count
    text = _head(made, hashlib.sha1(bytes(ibd), usedforsecurity=False).hexdigest(), count)
    text += "".join(rows) + "</spectrumList></run></mzML>\n"
    if made.prefix:
        text = text.replace("</", f"</{made.prefix}:").replace("<", f"<{made.prefix}:")
        text = text.replace(f"<{made.prefix}:?", "<?").replace(
            f"<{made.prefix}:/{made.prefix}", f"</{made.prefix}"
        )
        text = text.replace(f"<{made.prefix}:!", "<!")
    if made.quote == "'":
        text = text.replace('"', "'")
    raw = text.encode("ascii", "strict").replace(b"@TEXT@", made.header_text)
    path.write_bytes(made.change_xml(raw))
    body = bytes(ibd)
    path.with_suffix(made.ibd_suffix).write_bytes(body[: len(body) - made.cut_ibd])
    return path


def _cv(made: ImzMLRecipe, accession: str, name: str, value: object = "", unit: str = "") -> str:
    parts = [
        f'cvRef="{accession.split(":")[0]}"',
        f'accession="{accession}"',
        f'name="{name}"',
        f'value="{value}"',
    ]
    if made.value_first:
        parts.reverse()
    return f"<cvParam {' '.join(parts)}{unit}/>"


def _type_params(made: ImzMLRecipe, kind: str) -> str:
    code = made.mz_type if kind == "mz" else made.intensity_type
    name = made.mz_name if kind == "mz" else made.intensity_name
    accession, proper = TERMS[code]
    packed = {
        "none": ("MS:1000576", "no compression"),
        "zlib": ("MS:1000574", "zlib compression"),
        "numpress": ("MS:1002312", "MS-Numpress linear prediction compression"),
    }[made.compression]
    array = ("MS:1000514", "m/z array") if kind == "mz" else ("MS:1000515", "intensity array")
    return (
        _cv(made, *packed)
        + _cv(made, *array)
        + _cv(made, "IMS:1000101", "external data", "true")
        + _cv(made, accession, name or proper)
    )


def _spectrum(
    made: ImzMLRecipe,
    ibd: bytearray,
    index: int,
    spectra: Spectra,
    coordinate: tuple[object, ...],
) -> str:
    arrays = []
    kinds = ["mz", "intensity"] + (["mobility"] if made.mobility else [])
    for kind in kinds:
        source = 0 if made.shared_axis and kind == "mz" else index
        values = spectra[source][0 if kind == "mz" else 1]
        code = {"mz": made.mz_type, "intensity": made.intensity_type}.get(kind, "f8")
        raw = np.asarray(values).astype(f"<{code}").tobytes()
        if made.compression == "zlib" and kind != "mobility":
            raw = zlib.compress(raw)
        if made.shared_axis and kind == "mz" and index:
            offset = 16 + made.padding
        else:
            ibd.extend(b"\xee" * made.padding)
            offset = len(ibd)
            ibd.extend(raw)
        params = _cv(made, "IMS:1000102", "external offset", made.offset_text(offset))
        if made.array_lengths:
            params += _cv(made, "IMS:1000103", "external array length", len(values))
        if made.encoded_lengths:
            params += _cv(made, "IMS:1000104", "external encoded length", len(raw))
        if kind == "mobility":
            own = _cv(made, "MS:1002816", "mean ion mobility array") + _cv(made, *TERMS["f8"])
        elif made.types_in_array:
            own = _type_params(made, kind)
        else:
            own = f'<referenceableParamGroupRef ref="{kind}Array"/>'
        arrays.append(
            f'<binaryDataArray encodedLength="0">{own}{params}<binary/></binaryDataArray>\n'
        )
    positions = "".join(
        _cv(made, f"IMS:100005{axis}", f"position {'xyz'[axis]}", value)
        for axis, value in enumerate(coordinate)
        if value is not None
    )
    mode = _mode(made) if made.spectrum_mode_in == "spectrum" else ""
    return (
        f'<spectrum id="Scan={index + 1}" defaultArrayLength="0" index="{index}">'
        f'<referenceableParamGroupRef ref="spectrum1"/>{mode}\n<scanList count="1"><scan>{positions}'
        f'</scan></scanList>\n<binaryDataArrayList count="{len(kinds)}">{"".join(arrays)}'
        "</binaryDataArrayList></spectrum>\n"
    )


def _mode(made: ImzMLRecipe) -> str:
    if made.spectrum_mode is None:
        return ""
    accession = "MS:1000127" if made.spectrum_mode == "centroid" else "MS:1000128"
    return _cv(made, accession, f"{made.spectrum_mode} spectrum")


def _head(made: ImzMLRecipe, digest: str, count: object) -> str:
    content = _mode(made) if made.spectrum_mode_in == "file" else ""
    if made.identifier is not None:
        content += _cv(
            made, "IMS:1000080", "universally unique identifier", f"{{{made.identifier}}}"
        )
    if made.sha1 is not None:
        content += _cv(
            made, "IMS:1000091", "ibd SHA-1", digest if made.sha1 == "right" else made.sha1
        )
    if made.declared_mode is not None:
        accession = "IMS:1000030" if made.declared_mode == "continuous" else "IMS:1000031"
        content += _cv(made, accession, made.declared_mode)
    spectrum = _mode(made) if made.spectrum_mode_in == "group" else ""
    if made.polarity is not None:
        accession = "MS:1000130" if made.polarity == "positive" else "MS:1000129"
        spectrum += _cv(made, accession, f"{made.polarity} scan")
    settings = ""
    if made.max_counts is not None:
        for code, value in zip(("42", "43"), made.max_counts, strict=True):
            settings += _cv(made, f"IMS:10000{code}", "max count of pixels", value)
    if made.pixel_size is not None:
        unit = ""
        if made.pixel_unit is not None:
            unit = f' unitCvRef="UO" unitAccession="{made.pixel_unit[0]}" unitName="{made.pixel_unit[1]}"'
        for code, value in zip(("46", "47"), made.pixel_size, strict=True):
            settings += _cv(made, f"IMS:10000{code}", "pixel size", value, unit)
    declaration = f':{made.prefix}="' if made.prefix else '="'
    namespace = f' xmlns{declaration}http://psi.hupo.org/ms/mzml"' if made.namespace else ""
    return (
        f'<?xml version="1.0" encoding="{made.encoding}"?>\n{made.doctype}'
        f'<mzML{namespace} version="1.1">\n<fileDescription><fileContent>{content}</fileContent>'
        '</fileDescription>\n<sampleList count="1"><sample id="s" name="@TEXT@"/></sampleList>\n'
        '<referenceableParamGroupList count="3">'
        f'<referenceableParamGroup id="mzArray">{_type_params(made, "mz")}</referenceableParamGroup>\n'
        f'<referenceableParamGroup id="intensityArray">{_type_params(made, "intensity")}'
        "</referenceableParamGroup>\n"
        f'<referenceableParamGroup id="spectrum1">{spectrum}</referenceableParamGroup>'
        "</referenceableParamGroupList>\n"
        f'<scanSettingsList count="1"><scanSettings id="s1">{settings}</scanSettings>'
        f'</scanSettingsList>\n<instrumentConfigurationList count="1"><instrumentConfiguration id="i"/>'
        f'</instrumentConfigurationList>\n<run id="run"><spectrumList count="{count}">\n'
    )


def wrapped_32_bit(offset: int) -> str:
    """Write an offset as the signed 32-bit number that it overflows to."""
    return str(struct.unpack("<i", struct.pack("<I", offset % 2**32))[0])
