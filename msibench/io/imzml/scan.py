"""Read the list of spectra of an imzML file by scanning its bytes: about 25 times an XML parser.

The scan is a small tokeniser that understands tags and quoted attributes in any order, and nothing
more. Whatever else it meets (a comment, an entity, a prefix, an array type written in place, a value
that is not a plain whole number) makes it give up, and the caller reads the file with the real parser.
It also gives up when the number of spectra differs from ``spectrumList@count``.
"""

from __future__ import annotations

import mmap
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msibench.io.imzml.header import ArrayEncoding, Header, encoding_of, meanings
from msibench.io.imzml.scan_kernels import MORE, SURPRISE, scan_spectra
from msibench.io.imzml.spectra import COLUMNS, TERM_BITS, SpectrumTable
from msibench.io.imzml.xml import NUMBERS_OF_SPECTRA, parse_imzml

ROWS = 1 << 16
"""Spectra in one step of the scan."""
TAIL = 1 << 20
"""Bytes after the list of spectra that are read with the real parser."""
SHORTEST = 64
"""Bytes that the shortest ``<spectrum>`` takes; more of them cannot be in the file."""


def scan_imzml(path: Path) -> tuple[Header, SpectrumTable] | None:
    """Read an imzML file by scanning, or return None where the real parser is needed.

    Raises
    ------
    DataError
        The part before or after the spectra is not well-formed XML.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as xml:
        opening = xml.find(b"<spectrumList")
        if opening < 0:
            return None
        start = xml.find(b">", opening) + 1
        if start <= 0 or b"<!" in xml[:start] or xml[start - 2 : start - 1] == b"/":
            return None
        end = xml.rfind(b"</spectrumList>")
        if end < start or len(xml) - end > TAIL:
            return None
        header, _ = parse_imzml(path, (xml[:start], xml[end:]))
        if len(re.findall(rb"<spectrumList[\s>]", xml[opening:start] + xml[end:])) != 1:
            return None
        groups = _Groups(header)
        if not groups.usable:
            return None
        count = header.declared_spectra
        if count is None or count > (end - start) // SHORTEST:
            return None
        view = np.frombuffer(xml, dtype=np.uint8)
        try:
            numbers = _fill(xml, view, start, end, groups, count)
        finally:
            del view
    return None if numbers is None else (header, SpectrumTable(numbers, groups.encodings))


class _Groups:
    """Parameter groups in the form that the compiled scan takes."""

    def __init__(self, header: Header) -> None:
        names = list(header.groups)
        encodings: list[ArrayEncoding] = [encoding_of(header.groups[name]) for name in names]
        self.encodings = tuple(encodings)
        encoded = [name.encode("utf-8", "surrogateescape") for name in names]
        self.usable = len(names) < 64 and all(
            not re.search(rb"[&<\"']", name) and name.isascii() for name in encoded
        )
        if any(
            param.accession in NUMBERS_OF_SPECTRA
            for group in header.groups.values()
            for param in group
        ):
            self.usable = False
        self.names = np.frombuffer(b"".join(encoded) or b"\0", dtype=np.uint8)
        self.ends = np.cumsum([0, *map(len, encoded)]).astype(np.int64)
        kinds = {"mz": 0, "intensity": 1, "other": -1}
        self.kinds = np.array([kinds[encoding.kind] for encoding in encodings], dtype=np.int64)
        bits = []
        for name in names:
            found = meanings(header.groups, (name,))
            bits.append(sum(bit for accession, bit in TERM_BITS.items() if accession in found))
        self.terms = np.array(bits, dtype=np.int64)


def _fill(
    xml: mmap.mmap, view: NDArray[np.uint8], start: int, end: int, groups: _Groups, count: int
) -> NDArray[np.int64] | None:
    """Return the numbers of `count` spectra, or None when the scan met something else."""
    numbers = np.empty((count, len(COLUMNS)), dtype=np.int64)
    nothing = np.empty((1, len(COLUMNS)), dtype=np.int64)
    position, state, rows = start, MORE, 0
    while state == MORE:
        part = numbers[rows : rows + ROWS] if rows < count else nothing
        state, stop, found = scan_spectra(
            view, position, end, groups.names, groups.ends, groups.kinds, groups.terms, part
        )
        if state == SURPRISE or (rows == count and found):
            return None
        rows += found
        if hasattr(mmap, "MADV_DONTNEED"):  # give the pages back: the XML may be gigabytes
            first = position // mmap.PAGESIZE * mmap.PAGESIZE
            size = (stop - first) // mmap.PAGESIZE * mmap.PAGESIZE
            if size:
                xml.madvise(mmap.MADV_DONTNEED, first, size)
        position = stop
    return numbers if rows == count else None
