"""Open imzML pairs; everything else in this folder is reached through `open_imzml`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from msibench.errors import ConfigurationError, DataError
from msibench.io.data_warning import warn_about_data
from msibench.io.imzml.cache import IndexCache
from msibench.io.imzml.file import MappedFile, find_ibd, find_xml, uuid_problem, verify_checksum
from msibench.io.imzml.grid import Duplicates, GridPolicy, make_grid
from msibench.io.imzml.header import Header
from msibench.io.imzml.layout import check_layout
from msibench.io.imzml.section import ImzMLSection
from msibench.io.imzml.spectra import SpectrumTable
from msibench.io.imzml.sums import SpectrumSums

ReaderName = Literal["auto", "scan", "xml", "pyimzml"]
SCAN_FROM = 4 << 20
"""Size of an XML half from which the byte scan pays for the time it takes to load."""
KEEP_FROM = 256 << 10
"""Size of an XML half from which its table is kept; parsing one of this size takes tens of milliseconds."""


def open_imzml(
    path: str | os.PathLike[str],
    *,
    ibd: str | os.PathLike[str] | None = None,
    reader: ReaderName = "auto",
    z: int | None = None,
    duplicates: Duplicates | None = None,
    grid: GridPolicy = "auto",
    verify: bool = False,
    cache: bool = True,
) -> ImzMLSection:
    """Open an imzML pair for reading.

    Everything that the XML half claims is checked against the .ibd file before anything is read.

    Parameters
    ----------
    path
        The .imzML file (or its .ibd half).
    ibd
        The binary half, where it does not lie beside `path` under the same name.
    reader
        ``"scan"`` reads the XML by its bytes, ``"xml"`` with a real parser, ``"auto"`` scans large
        files and falls back to the parser where the scan meets anything unusual. ``"pyimzml"``
        leaves the XML to pyimzML, the reader of last resort.
    z
        Which slice of a file with several; as the file counts.
    duplicates
        What holds where several spectra have one position: their ``"sum"`` (as in METASPACE), the
        ``"first"`` or the ``"last"`` of them (as in pyimzML), or ``"error"``. None: the sum, with a
        DataWarning.
    grid
        ``"tight"``: the smallest rectangle around all coordinates; ``"declared"``: the maximum
        pixel counts of the header, counted from 1; ``"auto"``: tight, but as declared in files
        that msibench wrote.
    verify
        Compare the .ibd file with the checksum in the header: reads it once.
    cache
        Keep the table of spectra in the user's cache folder (``MSIBENCH_CACHE``).

    Raises
    ------
    MissingDataError
        One of the two files is not there.
    DataError
        The file cannot be read right; the message names file, spectrum and remedy.
    IntegrityError
        `verify`, and the checksum differs.

    Warns
    -----
    DataWarning
        The two halves have different UUIDs, or something else may make an image wrong.
    """
    if reader not in ("auto", "scan", "xml", "pyimzml"):
        raise ConfigurationError(f"reader must be auto, scan, xml or pyimzml, got {reader!r}")
    xml = find_xml(Path(path))
    binary = find_ibd(xml) if ibd is None else Path(ibd)
    mapped = MappedFile.open(binary)
    index = IndexCache(xml, binary, reader) if cache and xml.stat().st_size >= KEEP_FROM else None
    header, table = _read_or_recall(xml, reader, index)
    if len(table) == 0:
        raise DataError(
            f"{xml.name}: contains no spectra (<spectrum> elements); it is not an imzML file, or its "
            "export was interrupted. Export it again."
        )
    pixels = make_grid(xml, header, table, z=z, duplicates=duplicates or "sum", policy=grid)
    layout = check_layout(xml, table, binary, mapped.size)
    notes = [*layout.notes, *pixels.notes, *header.pixel_size_notes()]
    if verify:
        notes.append(f"{verify_checksum(header, binary)} of the .ibd file verified")
    if header.encoding_fallback:
        notes.append("text is not in the declared encoding and was read as ISO-8859-1")
    warnings = [
        *layout.warnings,
        *_doubts(header, table, binary, pixels.repeated if duplicates is None else 0),
    ]
    whole = index if pixels.kept is None else None  # a survey is of all spectra
    sums = SpectrumSums(
        mapped,
        layout if pixels.kept is None else layout.take(pixels.kept),
        pixels,
        duplicates=duplicates if duplicates == "first" or duplicates == "last" else "sum",
        survey=whole.load_survey(len(table)) if whole is not None else None,
        remember=whole.save_survey if whole is not None else None,
    )
    section = ImzMLSection(xml, header, sums, terms=table.terms | _file_terms(header))
    if header.declared_mode not in (None, section.mode):
        notes.append(f"the header says {header.declared_mode}, the arrays are {section.mode}")
    section.notes = tuple(notes)
    for message in warnings:
        warn_about_data(f"{xml.name}: {message}.")
    return section


@dataclass(frozen=True, slots=True, kw_only=True)
class ImzMLOptions:
    """How `msibench.io.read_section` opens an imzML pair; the fields are those of `open_imzml`."""

    reader: ReaderName = "auto"
    z: int | None = None
    duplicates: Duplicates | None = None
    verify: bool = False
    cache: bool = True
    """Keep the ion images of a large file, too, in the user's cache folder."""

    def open(self, path: Path) -> ImzMLSection:
        """Open a pair with these options."""
        return open_imzml(
            path,
            reader=self.reader,
            z=self.z,
            duplicates=self.duplicates,
            verify=self.verify,
            cache=self.cache,
        )


def _read_or_recall(
    xml: Path, reader: ReaderName, index: IndexCache | None
) -> tuple[Header, SpectrumTable]:
    """Read the XML half, or its cached table if it was read before."""
    stored = index.load() if index is not None else None
    if stored is not None:
        return stored
    header, table = _read(xml, reader)
    if index is not None:
        index.save(header, table)
    return header, table


def _doubts(header: Header, table: SpectrumTable, binary: Path, summed: int) -> list[str]:
    """Warn of what may make an image wrong, including `summed` spectra that repeat a pixel."""
    found = []
    problem = uuid_problem(header, binary)
    if problem:
        found.append(problem)
    if summed:
        found.append(
            f"{summed} spectra repeat a pixel; they are summed. Choose duplicates='sum', "
            "'first', 'last' or 'error'"
        )
    if header.declared_spectra not in (None, len(table)):
        found.append(
            f"spectrumList declares {header.declared_spectra} spectra, the file has {len(table)}"
        )
    return found


def _read(xml: Path, reader: ReaderName) -> tuple[Header, SpectrumTable]:
    if reader == "pyimzml":
        from msibench.io.imzml.pyimzml_reader import read_with_pyimzml

        return read_with_pyimzml(xml)
    from msibench.io.imzml.xml import parse_imzml

    if reader == "scan" or (reader == "auto" and xml.stat().st_size >= SCAN_FROM):
        from msibench.io.imzml.scan import scan_imzml

        found = scan_imzml(xml)
        if found is not None:
            return found
    return parse_imzml(xml)


def _file_terms(header: Header) -> set[str]:
    from msibench.io.imzml.header import meaning

    return {meaning(param) for param in header.file_content}
