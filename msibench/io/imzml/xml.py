"""Read the XML half of an imzML file with a real parser (expat), in one pass and without a tree.

Entities are never expanded and nothing outside the file is fetched: a document that declares an
entity is refused. Namespaces play no role, so that files without the mzML namespace are read too.
Bytes that are not in the declared encoding (a Windows-1252 "µ" in "UTF-8") make the parser start
again with ISO-8859-1, in which every byte is a character; only free text can be affected.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from xml.parsers import expat

import numpy as np

from msibench.errors import DataError
from msibench.io.imzml.header import ArrayEncoding, CvParam, Header, encoding_of, meaning, meanings
from msibench.io.imzml.spectra import ABSENT, COLUMNS, TERM_BITS, SpectrumTable

CHUNK = 1 << 20
DEEPEST = 64
MOST_PARAMS = 512
"""Parameters of one group or array; files have about ten."""
LIMIT = 2**62
_WRONG_ENCODING = {
    expat.errors.codes[expat.errors.XML_ERROR_INVALID_TOKEN],
    expat.errors.codes[expat.errors.XML_ERROR_UNKNOWN_ENCODING],
    expat.errors.codes[expat.errors.XML_ERROR_INCORRECT_ENCODING],
    expat.errors.codes[expat.errors.XML_ERROR_PARTIAL_CHAR],
}


def parse_imzml(path: Path, pieces: Iterable[bytes] | None = None) -> tuple[Header, SpectrumTable]:
    """Parse a whole imzML file.

    Parameters
    ----------
    path
        The XML half.
    pieces
        Parse these bytes in its place (the file without its spectra); `path` names them in messages.

    Raises
    ------
    DataError
        The file is not well-formed XML, declares an entity, or a spectrum in it cannot be understood.
    """
    kept = None if pieces is None else list(pieces)
    try:
        return _parse(path, kept, None)
    except DataError:
        raise
    except expat.ExpatError as error:
        if error.code not in _WRONG_ENCODING:
            raise _malformed(path, error) from error
    except (LookupError, ValueError):  # an encoding that Python does not know or expat cannot take
        pass
    try:
        header, table = _parse(path, kept, "iso-8859-1")
    except expat.ExpatError as error:
        raise _malformed(path, error) from error
    header.encoding_fallback = True
    return header, table


class _BegunError(Exception):
    """The first element was reached: nothing can be declared any more."""


def refuse_entities(path: Path) -> None:
    """Raise if an XML file declares an entity, in whatever encoding; nothing else is read.

    For readers whose own parser would expand entities, or fetch them.

    Raises
    ------
    DataError
        It declares one, or is not XML.
    """
    document = _Document(path)

    def begin(*_: object) -> None:
        raise _BegunError

    for encoding in (None, "iso-8859-1"):
        parser = expat.ParserCreate(encoding)
        parser.StartElementHandler = begin
        parser.EntityDeclHandler = document.refuse_entity
        try:
            with path.open("rb") as file:
                parser.ParseFile(file)
        except _BegunError:
            return
        except expat.ExpatError as error:
            if encoding is not None or error.code not in _WRONG_ENCODING:
                raise _malformed(path, error) from error
        except (LookupError, ValueError) as error:
            if isinstance(error, DataError):
                raise


def _parse(
    path: Path, pieces: list[bytes] | None, encoding: str | None
) -> tuple[Header, SpectrumTable]:
    document = _Document(path, mend=encoding is not None)
    parser = expat.ParserCreate(encoding)
    parser.buffer_text = True
    parser.StartElementHandler = document.start
    parser.EndElementHandler = document.end
    parser.EntityDeclHandler = document.refuse_entity
    if pieces is None:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                parser.Parse(chunk, False)
    else:
        for piece in pieces:
            parser.Parse(piece, False)
    parser.Parse(b"", True)
    document.follow_references()
    return document.header, document.table()


def _malformed(path: Path, error: expat.ExpatError) -> DataError:
    return DataError(
        f"{path.name}: the XML breaks off or is damaged at line {error.lineno}, column "
        f"{error.offset} ({expat.ErrorString(error.code)}). Copy or export the file again; "
        "a complete imzML file ends with </mzML>."
    )


class _Document:
    """Collects the header and the numbers of every spectrum while the parser walks the file."""

    def __init__(self, path: Path, mend: bool = False) -> None:
        self.path = path
        self.header = Header()
        self.depth = 0
        self.group: list[CvParam] | None = None
        self.section = ""
        self.numbers = array("q")
        self.count = 0
        self.encodings: dict[ArrayEncoding, int] = {}
        self.known: dict[tuple[CvParam, ...], ArrayEncoding] = {}
        self.group_terms: dict[str, int] = {}
        self.spectrum: dict[str, int] | None = None
        self.array: dict[str, int] | None = None
        self.array_params: list[CvParam] = []
        self.scientific = False
        self.referred: list[tuple[list[CvParam], str]] = []
        self.mend = mend

    def refuse_entity(self, name: str, *_: object) -> None:
        raise DataError(
            f"{self.path.name}: declares the XML entity {name!r}, which imzML does not need and can make a small file fill the memory; it is refused. Export the file again."
        )

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        if self.depth > DEEPEST:
            raise DataError(
                f"{self.path.name}: XML elements are nested more than {DEEPEST} deep, too deep for imzML; the file is damaged or is not imzML."
            )
        name = tag.rpartition(":")[2]
        if self.mend:
            attributes = {key: _mended(text) for key, text in attributes.items()}
        if name in ("cvParam", "userParam"):
            self.param(attributes)
        elif name == "referenceableParamGroupRef":
            self.reference(attributes.get("ref", ""))
        elif name == "referenceableParamGroup":
            self.group = self.header.groups.setdefault(attributes.get("id", ""), [])
        elif name in ("fileContent", "scanSettings"):
            self.section = name
        elif name == "spectrumList":
            count = attributes.get("count", "")
            self.header.declared_spectra = (
                int(count) if count.isascii() and count.isdigit() and len(count) < 19 else None
            )
        elif name == "spectrum":
            self.spectrum = {"terms": 0}
        elif name == "binaryDataArray" and self.spectrum is not None:
            self.array, self.array_params = {}, []

    def end(self, tag: str) -> None:
        self.depth -= 1
        name = tag.rpartition(":")[2]
        if name == "binaryDataArray" and self.spectrum is not None:
            self.finish_array()
        elif name == "spectrum" and self.spectrum is not None:
            row = self.spectrum
            self.numbers.extend(row.get(column, ABSENT) for column in COLUMNS)
            self.count += 1
            self.spectrum = None
        elif name == "referenceableParamGroup":
            self.group = None
        elif name in ("fileContent", "scanSettings"):
            self.section = ""

    def param(self, attributes: dict[str, str]) -> None:
        accession = attributes.get("accession", "")
        if self.array is not None:
            column = _ARRAY_COLUMNS.get(accession)
            if column is not None:
                self.once(self.array, column, attributes.get("value", ""))
                return
        elif self.spectrum is not None:
            column = _POSITION_COLUMNS.get(accession)
            if column is not None:
                self.once(self.spectrum, column, attributes.get("value", ""))
                return
        param = CvParam(
            accession,
            attributes.get("name", ""),
            attributes.get("value", ""),
            attributes.get("unitAccession", ""),
            attributes.get("unitName", ""),
        )
        if self.array is not None:
            self.array_params.append(param)
            self.few(self.array_params, "an array")
        elif self.spectrum is not None:
            self.spectrum["terms"] |= TERM_BITS.get(meaning(param), 0)
        elif self.group is not None:
            self.group.append(param)
            self.few(self.group, "a parameter group")
        elif self.section == "fileContent":
            self.header.file_content.append(param)
        elif self.section == "scanSettings":
            self.header.scan_settings.append(param)

    def few(self, params: list[CvParam], what: str) -> None:
        if len(params) > MOST_PARAMS:
            raise DataError(
                f"{self.path.name}: {what} has more than {MOST_PARAMS} parameters, more than imzML needs; it is damaged or malicious. Export it again."
            )

    def reference(self, name: str) -> None:
        if self.array is not None:
            self.array_params.extend(self.header.groups.get(name, ()))
            self.few(self.array_params, "an array")
            self.numbers_of_group(name, self.array, _ARRAY_COLUMNS)
        elif self.spectrum is not None:
            if name not in self.group_terms:
                bits = 0
                for accession in meanings(self.header.groups, (name,)):
                    bits |= TERM_BITS.get(accession, 0)
                self.group_terms[name] = bits
            self.spectrum["terms"] |= self.group_terms[name]
            self.numbers_of_group(name, self.spectrum, _POSITION_COLUMNS)
        elif self.section in ("fileContent", "scanSettings"):  # its group may come later
            part = (
                self.header.file_content
                if self.section == "fileContent"
                else self.header.scan_settings
            )
            self.referred.append((part, name))

    def numbers_of_group(self, name: str, numbers: dict[str, int], columns: dict[str, str]) -> None:
        """Take the numbers that a group gives for every spectrum or array that refers to it."""
        for param in self.header.groups.get(name, ()):
            if param.accession in columns:
                self.once(numbers, columns[param.accession], param.value)

    def follow_references(self) -> None:
        """Add the terms of their groups to file description and scan settings."""
        for part, name in self.referred[:MOST_PARAMS]:
            part.extend(self.header.groups.get(name, ()))

    def once(self, numbers: dict[str, int], column: str, text: str) -> None:
        """Note a number; a second, different number for the same thing is an error."""
        number = self.whole_number(column, text)
        if numbers.setdefault(column, number) != number:
            raise DataError(
                f"{self.path.name}, spectrum {self.count}: two values for {column}, "
                f"{numbers[column]} and {number}; the file must say which holds. Export it again."
            )

    def whole_number(self, column: str, text: str) -> int:
        number = self.any_whole_number(column, text)
        if abs(number) >= 2**63:
            raise DataError(
                f"{self.path.name}, spectrum {self.count}: {column} should be below 2^63, got "
                f"{number}. No file is that long: correct it or export it again."
            )
        return number

    def any_whole_number(self, column: str, text: str) -> int:
        text = text.strip()
        try:
            return int(text) if len(text) < 20 else _beyond(text)
        except ValueError:
            pass
        try:
            exact = Decimal(text)
            if exact.is_finite() and exact.adjusted() < 19 and exact == exact.to_integral_value():
                self.scientific = self.scientific or "e" in text.lower()
                return int(exact)
        except InvalidOperation:
            pass
        raise DataError(
            f"{self.path.name}, spectrum {self.count}: {column} should be a whole number, "
            f"got {text[:40]!r}. Correct the file or export it again."
        )

    def finish_array(self) -> None:
        assert self.spectrum is not None
        assert self.array is not None
        key = tuple(self.array_params)
        encoding = self.known.get(key)
        if encoding is None:
            encoding = self.known[key] = encoding_of(key)
        if encoding.kind != "other":
            if f"{encoding.kind}_encoding" in self.spectrum:
                raise DataError(
                    f"{self.path.name}, spectrum {self.count}: has two {encoding.kind} arrays; "
                    "it is unclear which one to use. Export the file again."
                )
            for column, number in self.array.items():
                self.spectrum[f"{encoding.kind}_{column}"] = number
            number = self.encodings.setdefault(encoding, len(self.encodings))
            self.spectrum[f"{encoding.kind}_encoding"] = number
        self.array = None

    def table(self) -> SpectrumTable:
        numbers = (
            np.frombuffer(self.numbers, dtype=np.int64) if self.count else np.empty(0, np.int64)
        )
        numbers = numbers.reshape(self.count, len(COLUMNS))
        return SpectrumTable(numbers, tuple(self.encodings), self.scientific)


_ARRAY_COLUMNS = {"IMS:1000102": "offset", "IMS:1000103": "length", "IMS:1000104": "encoded"}
_POSITION_COLUMNS = {"IMS:1000050": "x", "IMS:1000051": "y", "IMS:1000052": "z"}
NUMBERS_OF_SPECTRA = frozenset({*_ARRAY_COLUMNS, *_POSITION_COLUMNS})
"""Terms whose values are numbers of one spectrum or array."""


def _mended(text: str) -> str:
    """Return UTF-8 that was taken for ISO-8859-1, because of a wrong byte elsewhere, as it was meant."""
    if text.isascii():
        return text
    try:
        return text.encode("iso-8859-1").decode("utf-8")
    except UnicodeError:
        return text


def _beyond(text: str) -> int:
    """Return a long whole number when it fits; larger ones are not numbers that a file can hold."""
    number = int(text) if len(text) < 40 else LIMIT + 1
    if abs(number) > LIMIT:
        raise ValueError(text)
    return number
