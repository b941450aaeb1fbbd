"""Read the list of spectra of an imzML file by scanning its bytes: about 25 times an XML parser.

The scan is a small tokeniser that understands tags and quoted attributes in any order, and nothing
more. Whatever else it meets (a comment, an entity, a prefix, an array type written in place, a value
that is no plain whole number) makes it give up, and the caller reads the file with the real parser.
It also gives up when the number of spectra differs from ``spectrumList@count``.
"""

from __future__ import annotations

import mmap
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msibench.io.compiled import compiled
from msibench.io.imzml.header import ArrayEncoding, Header, encoding_of, meanings
from msibench.io.imzml.spectra import COLUMNS, TERM_BITS, SpectrumTable
from msibench.io.imzml.xml import NUMBERS_OF_SPECTRA, parse_imzml

ROWS = 1 << 16
"""Spectra in one step of the scan."""
TAIL = 1 << 20
"""Bytes after the list of spectra that are read with the real parser."""
SHORTEST = 64
"""Bytes that the shortest ``<spectrum>`` takes; more of them cannot be in the file."""
MORE, COMPLETE, SURPRISE = 0, 1, 2


def scan_imzml(path: Path) -> tuple[Header, SpectrumTable] | None:
    """Read an imzML file by scanning, or return None where the real parser is needed.

    Raises
    ------
    DataError
        The part before or after the spectra is no well-formed XML.
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
        state, stop, found = _scan(
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


@compiled
def _is(xml: NDArray[np.uint8], start: int, stop: int, word: bytes) -> bool:
    if stop - start != len(word):
        return False
    for index in range(len(word)):  # noqa: SIM110 - numba compiles the loop, not all()
        if xml[start + index] != word[index]:
            return False
    return True


@compiled
def _is_folded(xml: NDArray[np.uint8], start: int, stop: int, word: bytes) -> bool:
    """Whether text is `word` but for capitals and white space around it."""
    while start < stop and xml[start] <= 32:
        start += 1
    while stop > start and xml[stop - 1] <= 32:
        stop -= 1
    if stop - start != len(word):
        return False
    for index in range(len(word)):
        byte = xml[start + index]
        if 65 <= byte <= 90:
            byte += 32
        if byte != word[index]:
            return False
    return True


@compiled
def _term_of_name(xml: NDArray[np.uint8], start: int, stop: int) -> int:
    """Return the number of the MS term that a name stands for; 0 for any other name."""
    if stop - start < 13:
        return 0
    if _is_folded(xml, start, stop, b"centroid spectrum"):
        return 1000127
    if _is_folded(xml, start, stop, b"profile spectrum"):
        return 1000128
    if _is_folded(xml, start, stop, b"negative scan"):
        return 1000129
    if _is_folded(xml, start, stop, b"positive scan"):
        return 1000130
    return 0


@compiled
def _digits(xml: NDArray[np.uint8], start: int, stop: int) -> tuple[bool, int]:
    """Read a plain whole number of at most 18 digits."""
    sign = 1
    if start < stop and xml[start] == 45:  # -
        sign = -1
        start += 1
    if stop - start < 1 or stop - start > 18:
        return False, 0
    number = 0
    for index in range(start, stop):
        digit = int(xml[index]) - 48
        if digit < 0 or digit > 9:
            return False, 0
        number = number * 10 + digit
    return True, sign * number


@compiled
def _scan(
    xml: NDArray[np.uint8],
    position: int,
    end: int,
    names: NDArray[np.uint8],
    ends: NDArray[np.int64],
    kinds: NDArray[np.int64],
    terms: NDArray[np.int64],
    numbers: NDArray[np.int64],
) -> tuple[int, int, int]:
    """Fill `numbers` with whole spectra from `position`; return (state, position, rows)."""
    absent = -9223372036854775808
    rows = 0
    in_spectrum = in_array = False
    group = -1
    spectrum_start = position
    array = np.empty(3, dtype=np.int64)
    while True:
        while position < end and xml[position] != 60:  # <
            if not in_spectrum and xml[position] > 32:
                return 2, position, rows
            position += 1
        if position >= end:
            return (2 if in_spectrum else 1), position, rows
        tag = position
        position += 1
        closing = xml[position] == 47  # /
        if closing:
            position += 1
        name = position
        while position < end and (97 <= (xml[position] | 32) <= 122):
            position += 1
        name_end = position
        if name_end == name:
            return 2, tag, rows
        is_param = not closing and _is(xml, name, name_end, b"cvParam")
        is_reference = not closing and _is(xml, name, name_end, b"referenceableParamGroupRef")
        # attributes, in any order, to the end of the tag
        accession = accession_end = value = value_end = reference = reference_end = 0
        title = title_end = 0
        empty = False
        while True:
            gap = position
            while position < end and xml[position] <= 32:
                position += 1
            if position >= end:
                return 2, tag, rows
            if xml[position] == 62:  # >
                position += 1
                break
            if xml[position] == 47:  # /
                if position + 1 >= end or xml[position + 1] != 62 or closing:
                    return 2, tag, rows
                position += 2
                empty = True
                break
            if closing or gap == position:
                return 2, tag, rows
            attribute = position
            while position < end and xml[position] != 61:  # =
                byte = xml[position]
                if byte <= 32 or byte == 60 or byte == 62 or byte == 34 or byte == 39:
                    return 2, tag, rows
                position += 1
            attribute_end = position
            position += 1
            if position >= end:
                return 2, tag, rows
            quote = xml[position]
            if quote != 34 and quote != 39:
                return 2, tag, rows
            position += 1
            text = position
            while position < end and xml[position] != quote:
                if xml[position] == 60 or xml[position] > 127:
                    return 2, tag, rows
                position += 1
            if position >= end:
                return 2, tag, rows
            if is_param:
                if _is(xml, attribute, attribute_end, b"accession"):
                    accession, accession_end = text, position
                elif _is(xml, attribute, attribute_end, b"value"):
                    value, value_end = text, position
                elif _is(xml, attribute, attribute_end, b"name"):
                    title, title_end = text, position
            elif is_reference and _is(xml, attribute, attribute_end, b"ref"):
                reference, reference_end = text, position
            position += 1
        # what the tag means
        if _is(xml, name, name_end, b"spectrum"):
            if closing:
                if not in_spectrum or in_array:
                    return 2, tag, rows
                in_spectrum = False
                rows += 1
                if rows == numbers.shape[0]:
                    return 0, position, rows
            else:
                if in_spectrum or empty:
                    return 2, tag, rows
                in_spectrum = True
                spectrum_start = tag
                numbers[rows, :] = absent
                numbers[rows, 11] = 0
        elif not in_spectrum:
            return 2, spectrum_start, rows
        elif _is(xml, name, name_end, b"binaryDataArray"):
            if closing:
                if not in_array or group < 0:
                    return 2, tag, rows
                in_array = False
                kind = kinds[group]
                if kind >= 0:
                    if numbers[rows, 9 + kind] != absent:
                        return 2, tag, rows
                    numbers[rows, 9 + kind] = group
                    for index in range(3):
                        numbers[rows, 3 + 3 * kind + index] = array[index]
            else:
                if in_array or empty:
                    return 2, tag, rows
                in_array = True
                group = -1
                array[:] = absent
        elif is_reference:
            if not empty:
                return 2, tag, rows
            found = -1
            for index in range(ends.size - 1):
                length = ends[index + 1] - ends[index]
                if length != reference_end - reference:
                    continue
                same = True
                for offset in range(length):
                    if names[ends[index] + offset] != xml[reference + offset]:
                        same = False
                        break
                if same:
                    found = index
                    break
            if found < 0:
                return 2, tag, rows
            if in_array:
                if group >= 0:
                    return 2, tag, rows
                group = found
            else:
                numbers[rows, 11] |= terms[found]
        elif is_param:
            if accession_end - accession == 11 and _is(xml, accession, accession + 4, b"IMS:"):
                plain, code = _digits(xml, accession + 4, accession_end)
                if not plain:
                    return 2, tag, rows
                if 1000050 <= code <= 1000052 and not in_array:
                    plain, number = _digits(xml, value, value_end)
                    if not plain or numbers[rows, code - 1000050] != absent:
                        return 2, tag, rows
                    numbers[rows, code - 1000050] = number
                elif 1000102 <= code <= 1000104 and in_array:
                    plain, number = _digits(xml, value, value_end)
                    if not plain or array[code - 1000102] != absent:
                        return 2, tag, rows
                    array[code - 1000102] = number
                elif in_array and code != 1000101:
                    return 2, tag, rows
            elif in_array:
                return 2, tag, rows
            elif accession_end - accession == 10 and _is(xml, accession, accession + 3, b"MS:"):
                plain, code = _digits(xml, accession + 3, accession_end)
                if not plain:
                    return 2, tag, rows
                # a name that contradicts its accession counts as the parser says
                named = _term_of_name(xml, title, title_end)
                if named != (code if 1000127 <= code <= 1000130 else 0):
                    return 2, tag, rows
                if named:
                    numbers[rows, 11] |= 1 << (code - 1000127)
            else:
                return 2, tag, rows
