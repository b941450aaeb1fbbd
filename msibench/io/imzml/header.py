"""What the XML half of an imzML file says before its list of spectra, and how to interpret it."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from msibench.io.pixel_size import MICROMETRES_OF_ACCESSION, micrometres_of

ArrayKind = Literal["mz", "intensity", "other"]

DTYPE_OF_ACCESSION = {
    "MS:1000519": "<i4",
    "MS:1000520": "<f2",
    "MS:1000521": "<f4",
    "MS:1000522": "<i8",
    "MS:1000523": "<f8",
    "IMS:1000141": "<i4",
    "IMS:1000142": "<i8",
    "IMS:1100000": "<i1",
    "IMS:1100001": "<i2",
}
DTYPE_OF_NAME = {
    "8-bit integer": "<i1",
    "16-bit integer": "<i2",
    "16-bit float": "<f2",
    "32-bit integer": "<i4",
    "32-bit float": "<f4",
    "64-bit integer": "<i8",
    "64-bit float": "<f8",
}
ACCESSION_OF_NAME = {
    "centroid spectrum": "MS:1000127",
    "profile spectrum": "MS:1000128",
    "negative scan": "MS:1000129",
    "positive scan": "MS:1000130",
}
"""Terms in which exporters are known to mistake the accession: the name holds."""

ACCESSION_BY_TERM = {
    "continuous": "IMS:1000030",
    "processed": "IMS:1000031",
    "max count of pixels x": "IMS:1000042",
    "max count of pixels y": "IMS:1000043",
    "pixel size": "IMS:1000046",
    "pixel size x": "IMS:1000046",
    "pixel size (x)": "IMS:1000046",
    "pixel size y": "IMS:1000047",
    "pixel size (y)": "IMS:1000047",
    "universally unique identifier": "IMS:1000080",
    "ibd md5": "IMS:1000090",
    "ibd sha-1": "IMS:1000091",
    "ibd sha-256": "IMS:1000092",
}
"""Terms that are known by their names where they have no accession of this list."""

KNOWN_ACCESSIONS = frozenset(ACCESSION_BY_TERM.values())
CHECKSUMS = {"IMS:1000090": "md5", "IMS:1000091": "sha1", "IMS:1000092": "sha256"}


class CvParam(NamedTuple):
    """One ``cvParam`` (or ``userParam``, whose accession is empty)."""

    accession: str
    name: str
    value: str
    unit_accession: str = ""
    unit_name: str = ""


class ArrayEncoding(NamedTuple):
    """How one kind of binary array is stored in the .ibd file."""

    kind: ArrayKind
    dtype: str
    """Little-endian numpy type, ``"<f4"``; empty when the file names none."""
    compression: Literal["none", "zlib"] | str
    contradicted: str = ""
    """The type that the accession stands for, where the term's name says another."""


@dataclass(slots=True)
class Header:
    """Parameters of the parts of an imzML file that precede its spectra.

    A part's own parameters come first, then those of the groups that it refers to.
    """

    groups: dict[str, list[CvParam]] = field(default_factory=dict)
    """``referenceableParamGroup``, by id."""
    file_content: list[CvParam] = field(default_factory=list)
    scan_settings: list[CvParam] = field(default_factory=list)
    declared_spectra: int | None = None
    """``spectrumList@count``; None when absent or no number."""
    encoding_fallback: bool = False
    """The bytes were not in the encoding that the file declares and were read as ISO-8859-1."""

    def value(self, accession: str) -> str | None:
        """Return the value of a term of the file description or scan settings, or None."""
        for param in (*self.file_content, *self.scan_settings):
            if meaning(param) == accession:
                return param.value
        return None

    def has(self, accession: str) -> bool:
        """Whether the file description or a parameter group has this term."""
        everywhere: Iterable[list[CvParam]] = (self.file_content, *self.groups.values())
        return any(meaning(param) == accession for params in everywhere for param in params)

    @property
    def uuid(self) -> uuid.UUID | None:
        """The universally unique identifier; None when absent or malformed."""
        text = self.value("IMS:1000080")
        try:
            return None if text is None else uuid.UUID(text.strip().strip("{}"))
        except ValueError:
            return None

    @property
    def checksum(self) -> tuple[str, str] | None:
        """``(algorithm, hexadecimal digest)`` of the .ibd file, strongest first, or None."""
        for accession in ("IMS:1000092", "IMS:1000091", "IMS:1000090"):
            digest = self.value(accession)
            if digest and digest.strip():
                return CHECKSUMS[accession], digest.strip().lower()
        return None

    @property
    def declared_mode(self) -> Literal["continuous", "processed"] | None:
        """What the file calls itself; its arrays may say otherwise."""
        continuous, processed = self.has("IMS:1000030"), self.has("IMS:1000031")
        if continuous == processed:
            return None
        return "continuous" if continuous else "processed"

    @property
    def declared_shape(self) -> tuple[int, int] | None:
        """``(row, column)`` from the maximum pixel counts, or None when they are absent or odd."""
        counts = [self.value("IMS:1000043"), self.value("IMS:1000042")]
        try:
            rows, columns = (int(float(_with_point(count or ""))) for count in counts)
        except (ValueError, OverflowError):
            return None
        return (rows, columns) if rows > 0 and columns > 0 else None

    @property
    def complete_grid(self) -> bool:
        """Whether msibench wrote the file and its pixel counts are the whole grid."""
        return any(
            param.name == "msibench:grid" and param.value == "declared"
            for param in self.scan_settings
        )

    def pixel_size_um(self) -> tuple[float, float]:
        """``(x, y)`` edge lengths in µm; NaN where absent, infinite, zero or in no known unit.

        A value without a unit is in micrometres, as the imzML specification says.
        """
        return self._length_um("IMS:1000046"), self._length_um("IMS:1000047")

    def _length_um(self, accession: str) -> float:
        length = self._stated_um(accession)
        return length if 0 < length < math.inf else math.nan

    def _stated_um(self, accession: str) -> float:
        for param in self._lengths(accession):
            try:
                return float(_with_point(param.value)) * micrometres(param)
            except ValueError:
                return math.nan
        return math.nan

    def _lengths(self, accession: str) -> list[CvParam]:
        return [
            param
            for param in self.scan_settings
            if meaning(param) == accession and param.value.strip()
        ]

    def pixel_size_notes(self) -> tuple[str, ...]:
        """Return what the file says about its pixel size that is not used, in words."""
        notes = []
        for axis, accession in (("x", "IMS:1000046"), ("y", "IMS:1000047")):
            for param in self._lengths(accession)[:1]:
                if not 0 < self._stated_um(accession) < math.inf:
                    unit = param.unit_name or param.unit_accession
                    stated = f"{param.value.strip()[:40]} {unit[:40]}".strip()
                    notes.append(f"a pixel size {axis} of {stated!r} is not valid; left unknown")
        x, y = self.pixel_size_um()
        if math.isfinite(x) and math.isfinite(y) and abs(x - y) > 1e-6 * max(x, y):
            notes.append(
                f"pixels of {x:g} x {y:g} µm are not square; pixel_size_um is left unknown"
            )
        return tuple(notes)


def _with_point(number: str) -> str:
    """Return a number with a decimal point in place of a comma."""
    text = number.strip()
    return text.replace(",", ".") if text.count(",") == 1 and "." not in text else text


def micrometres(param: CvParam) -> float:
    """Return how many µm the unit of a length is; NaN for a unit that is not a length."""
    if param.unit_accession in MICROMETRES_OF_ACCESSION:
        return MICROMETRES_OF_ACCESSION[param.unit_accession]
    if param.unit_name.strip():
        return micrometres_of(param.unit_name)
    return math.nan if param.unit_accession else 1.0


def encoding_of(params: Iterable[CvParam]) -> ArrayEncoding:
    """Interpret the terms of a binary array.

    Where the accession and the name of the number type contradict each other, the name is taken:
    exporters are known to write the right name with a wrong accession (pyimzML pull request 21).
    The encoded length in the file decides afterwards, where it can.
    """
    kind: ArrayKind = "other"
    dtype = contradicted = ""
    compression = "none"
    for accession, name, *_ in params:
        by_accession = DTYPE_OF_ACCESSION.get(accession, "")
        by_name = DTYPE_OF_NAME.get(name.strip().lower(), "")
        if by_accession or (by_name and accession.startswith(("MS:", "IMS:"))):
            dtype = by_name or by_accession
            if by_name and by_accession and by_name != by_accession:
                contradicted = by_accession
        elif accession == "MS:1000514":
            kind = "mz"
        elif accession == "MS:1000515":
            kind = "intensity"
        elif accession == "MS:1000574":
            compression = "zlib"
        elif "compression" in name.lower() and accession != "MS:1000576":
            compression = name.strip() or accession
    return ArrayEncoding(kind, dtype, compression, contradicted)


def polarity_of(accessions: Iterable[str]) -> Literal["positive", "negative", "mixed"] | None:
    """Return the polarity that a set of terms stands for."""
    found = set(accessions)
    positive, negative = "MS:1000130" in found, "MS:1000129" in found
    if positive and negative:
        return "mixed"
    return "positive" if positive else "negative" if negative else None


def spectrum_mode_of(accessions: Iterable[str]) -> Literal["centroid", "profile"] | None:
    """Return whether a set of terms says centroid or profile; None for neither or both."""
    found = set(accessions)
    centroid, profile = "MS:1000127" in found, "MS:1000128" in found
    if centroid == profile:
        return None
    return "centroid" if centroid else "profile"


def meaning(param: CvParam) -> str:
    """Return the accession of a term, by its name where exporters mistake the accession or leave it out."""
    name = param.name.strip().lower()
    if name in ACCESSION_OF_NAME:
        return ACCESSION_OF_NAME[name]
    if param.accession in KNOWN_ACCESSIONS:
        return param.accession
    return ACCESSION_BY_TERM.get(name, param.accession)


def meanings(groups: Mapping[str, list[CvParam]], references: Iterable[str]) -> set[str]:
    """Return the accessions in the parameter groups that are referred to."""
    return {meaning(param) for name in references for param in groups.get(name, [])}
