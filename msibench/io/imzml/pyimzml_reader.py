"""The reader of last resort: pyimzML understands the XML, msibench checks and reads the arrays."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from msibench.errors import DataError
from msibench.io.imzml.header import ArrayEncoding, CvParam, Header, encoding_of, meaning
from msibench.io.imzml.spectra import ABSENT, COLUMNS, TERM_BITS, SpectrumTable
from msibench.io.imzml.xml import refuse_entities

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from pyimzml.ImzMLParser import ImzMLParser


def read_with_pyimzml(path: Path) -> tuple[Header, SpectrumTable]:
    """Parse the XML half with pyimzML.

    Encoded lengths are ignored, as pyimzML does; the places of the arrays are checked all the same.

    Raises
    ------
    DataError
        pyimzML cannot read the file either.
    """
    from pyimzml.ImzMLParser import ImzMLParser

    refuse_entities(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parser = ImzMLParser(str(path), ibd_file=None)
    except Exception as error:
        raise DataError(
            f"{path.name}: pyimzML cannot read it ({type(error).__name__}: {error}); "
            "open it with reader='xml', which says what is wrong."
        ) from error
    header = _header(parser)
    groups = header.groups
    encodings = []
    for kind, group, code in (
        ("mz", parser.mzGroupId, parser.mzPrecision),
        ("intensity", parser.intGroupId, parser.intensityPrecision),
    ):
        encoding = encoding_of(groups.get(group, []))
        dtype = {"f": "<f4", "d": "<f8", "i": "<i4", "l": "<i8"}.get(code, "")
        encodings.append(ArrayEncoding(kind, dtype, encoding.compression))  # type: ignore[arg-type]
    numbers = np.full((len(parser.coordinates), len(COLUMNS)), ABSENT, dtype=np.int64)
    columns: dict[str, Any] = {
        "mz_offset": parser.mzOffsets,
        "mz_length": parser.mzLengths,
        "intensity_offset": parser.intensityOffsets,
        "intensity_length": parser.intensityLengths,
        "mz_encoding": 0,
        "intensity_encoding": 1,
        "terms": sum(
            bit
            for term, bit in TERM_BITS.items()
            if any(term == meaning(param) for params in groups.values() for param in params)
        ),
    }
    if len(parser.coordinates):
        columns.update(zip("xyz", np.asarray(parser.coordinates).T, strict=True))
        for name, values in columns.items():
            numbers[:, COLUMNS.index(name)] = values
    return header, SpectrumTable(numbers, tuple(encodings))


def _header(parser: ImzMLParser) -> Header:
    header = Header()
    referred = []
    for element in parser.root.iter():
        name = element.tag.rpartition("}")[2]
        if name == "referenceableParamGroup":
            header.groups[element.get("id", "")] = list(_params(element))
        elif name == "fileContent":
            header.file_content.extend(_params(element))
        elif name == "scanSettings":
            header.scan_settings.extend(_params(element))
        if name in ("fileContent", "scanSettings"):
            part = header.file_content if name == "fileContent" else header.scan_settings
            referred += [
                (part, child.get("ref", ""))
                for child in element
                if child.tag.rpartition("}")[2] == "referenceableParamGroupRef"
            ]
    for part, group in referred:  # a group may come after what refers to it
        part.extend(header.groups.get(group, ()))
    return header


def _params(element: Iterable[Element]) -> Iterable[CvParam]:
    for child in element:
        if child.tag.rpartition("}")[2] in ("cvParam", "userParam"):
            names = ("accession", "name", "value", "unitAccession", "unitName")
            yield CvParam(*(child.get(name, "") for name in names))
