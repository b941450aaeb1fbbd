"""The compiled tokeniser of `msibench.io.imzml.scan`.

It is one file, because numba's cache on disk knows only the file of the outermost function.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from msibench.io.compiled import compiled, inlined
from msibench.io.imzml.spectra import ABSENT, COLUMNS

MORE, COMPLETE, SURPRISE = 0, 1, 2
"""How a step ended: its rows are full, the list is at its end, or the real parser is needed."""

SPACE, QUOTE, APOSTROPHE, SLASH, LESS, EQUALS, GREATER = b" \"'/<=>"
OTHER, SPECTRUM, ARRAY, PARAM, REFERENCE = 0, 1, 2, 3, 4
"""Elements that are read: ``spectrum``, ``binaryDataArray``, ``cvParam`` and the reference to a
group of those; all others are passed over."""
ACCESSION, VALUE, NAME, REF = 0, 1, 2, 3
"""Attributes that are read; rows of what `_read_attributes` fills."""
ROW, IN_SPECTRUM, IN_ARRAY, GROUP = 0, 1, 2, 3
"""Where the scan is: spectra so far, inside which elements, and the array's parameter group."""
MZ_OFFSET, MZ_ENCODING, TERMS = (
    COLUMNS.index("mz_offset"), COLUMNS.index("mz_encoding"), COLUMNS.index("terms"),
)  # fmt: skip


@inlined
def _byte(xml: NDArray[np.uint8], position: int) -> int:
    """Return one byte; an unsigned place spares the test for negative ones (a tenth of the time)."""
    byte: int = xml[np.uintp(position)]
    return byte


@inlined
def _is(xml: NDArray[np.uint8], start: int, stop: int, word: bytes) -> bool:
    same = stop - start == len(word)
    index = 0  # a single way out is compiled to less than an early return
    while same and index < len(word):
        same = _byte(xml, start + index) == word[index]
        index += 1
    return same


@compiled
def _is_folded(xml: NDArray[np.uint8], start: int, stop: int, word: bytes) -> bool:
    """Whether text is `word`, ignoring case and surrounding white space."""
    while start < stop and _byte(xml, start) <= 32:
        start += 1
    while stop > start and _byte(xml, stop - 1) <= 32:
        stop -= 1
    if stop - start != len(word):
        return False
    for index in range(len(word)):
        byte = _byte(xml, start + index)
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


@inlined
def _digits(xml: NDArray[np.uint8], start: int, stop: int) -> tuple[bool, int]:
    """Read a plain whole number of at most 18 digits."""
    sign = 1
    if start < stop and _byte(xml, start) == 45:  # -
        sign = -1
        start += 1
    if stop - start < 1 or stop - start > 18:
        return False, 0
    number = 0
    for index in range(start, stop):
        digit = int(_byte(xml, index)) - 48
        if digit < 0 or digit > 9:
            return False, 0
        number = number * 10 + digit
    return True, sign * number


@inlined
def _next_tag(xml: NDArray[np.uint8], position: int, end: int, in_spectrum: int) -> int:
    """Return where the next ``<`` is, or `end`; -1 for text between two spectra."""
    while position < end and _byte(xml, position) != LESS:
        if not in_spectrum and _byte(xml, position) > SPACE:
            return -1
        position += 1
    return position


@inlined
def _element(xml: NDArray[np.uint8], start: int, stop: int) -> int:
    if _is(xml, start, stop, b"cvParam"):
        return PARAM
    if _is(xml, start, stop, b"spectrum"):
        return SPECTRUM
    if _is(xml, start, stop, b"binaryDataArray"):
        return ARRAY
    if _is(xml, start, stop, b"referenceableParamGroupRef"):
        return REFERENCE
    return OTHER


@inlined
def _attribute_name(xml: NDArray[np.uint8], position: int, end: int) -> int:
    """Return where the name of an attribute ends, at its ``=``; -1 if it is not one."""
    while position < end and _byte(xml, position) != EQUALS:
        byte = _byte(xml, position)
        if byte <= SPACE or byte in (LESS, GREATER, QUOTE, APOSTROPHE):
            return -1
        position += 1
    return position if position + 1 < end else -1


@inlined
def _quoted(xml: NDArray[np.uint8], position: int, end: int) -> int:
    """Return where the text that begins with a quote at `position` ends; -1 where it is not plain."""
    quote = _byte(xml, position)
    if quote != QUOTE and quote != APOSTROPHE:
        return -1
    position += 1
    while position < end and _byte(xml, position) != quote:
        if _byte(xml, position) == LESS or _byte(xml, position) > 127:
            return -1
        position += 1
    return position if position < end else -1


@inlined
def _keep(
    xml: NDArray[np.uint8],
    element: int,
    name: int,
    name_end: int,
    value_end: int,
    spans: NDArray[np.int64],
) -> None:
    """Note where the value of an attribute lies, if it is one that is read."""
    which = -1
    if element == PARAM:
        if _is(xml, name, name_end, b"accession"):
            which = ACCESSION
        elif _is(xml, name, name_end, b"value"):
            which = VALUE
        elif _is(xml, name, name_end, b"name"):
            which = NAME
    elif element == REFERENCE and _is(xml, name, name_end, b"ref"):
        which = REF
    if which >= 0:
        spans[which, 0] = name_end + 2
        spans[which, 1] = value_end


@compiled
def _read_attributes(
    xml: NDArray[np.uint8],
    position: int,
    end: int,
    element: int,
    closing: bool,
    spans: NDArray[np.int64],
) -> tuple[int, bool]:
    """Read to the end of a tag, attributes in any order.

    Returns the place after it, or -1 where the real parser is needed, and whether it is empty (``/>``).
    """
    spans[:] = 0
    while True:
        gap = position
        while position < end and _byte(xml, position) <= SPACE:
            position += 1
        if position >= end:
            return -1, False
        if _byte(xml, position) == GREATER:
            return position + 1, False
        if closing:
            return -1, False
        if _byte(xml, position) == SLASH:
            whole = position + 1 < end and _byte(xml, position + 1) == GREATER
            return (position + 2 if whole else -1), True
        name_end = _attribute_name(xml, position, end)
        if name_end < 0 or gap == position:
            return -1, False
        value_end = _quoted(xml, name_end + 1, end)
        if value_end < 0:
            return -1, False
        _keep(xml, element, position, name_end, value_end, spans)
        position = value_end + 1


@inlined
def _take_spectrum(
    at: NDArray[np.int64], closing: bool, empty: bool, numbers: NDArray[np.int64]
) -> bool:
    """Begin or end a spectrum; False where that is not its place."""
    if closing:
        if not at[IN_SPECTRUM] or at[IN_ARRAY]:
            return False
        at[IN_SPECTRUM] = 0
        at[ROW] += 1
        return True
    if at[IN_SPECTRUM] or empty:
        return False
    at[IN_SPECTRUM] = 1
    numbers[at[ROW], :] = ABSENT
    numbers[at[ROW], TERMS] = 0
    return True


@inlined
def _take_array(
    at: NDArray[np.int64],
    closing: bool,
    empty: bool,
    kinds: NDArray[np.int64],
    array: NDArray[np.int64],
    numbers: NDArray[np.int64],
) -> bool:
    """Begin an array, or end it and keep its offset and lengths if it holds m/z or intensities."""
    if not closing:
        if at[IN_ARRAY] or empty:
            return False
        at[IN_ARRAY], at[GROUP] = 1, -1
        array[:] = ABSENT
        return True
    if not at[IN_ARRAY] or at[GROUP] < 0:
        return False
    at[IN_ARRAY] = 0
    row, kind = at[ROW], kinds[at[GROUP]]
    if kind >= 0:
        if numbers[row, MZ_ENCODING + kind] != ABSENT:
            return False
        numbers[row, MZ_ENCODING + kind] = at[GROUP]
        for index in range(3):
            numbers[row, MZ_OFFSET + 3 * kind + index] = array[0, index]
    return True


@inlined
def _group_of(
    xml: NDArray[np.uint8], start: int, stop: int, names: NDArray[np.uint8], ends: NDArray[np.int64]
) -> int:
    """Return the number of the parameter group that a reference names; -1 if there is none."""
    for group in range(ends.size - 1):
        first = ends[group]
        length = ends[group + 1] - first
        if length != stop - start:
            continue
        offset = 0
        while offset < length and names[first + offset] == _byte(xml, start + offset):
            offset += 1
        if offset == length:
            return group
    return -1


@inlined
def _take_reference(
    at: NDArray[np.int64], group: int, terms: NDArray[np.int64], numbers: NDArray[np.int64]
) -> bool:
    """Give an array its parameter group, or a spectrum the terms of one."""
    if group < 0:
        return False
    if at[IN_ARRAY]:
        if at[GROUP] >= 0:
            return False
        at[GROUP] = group
    else:
        numbers[at[ROW], TERMS] |= terms[group]
    return True


@inlined
def _take_number(
    xml: NDArray[np.uint8],
    spans: NDArray[np.int64],
    numbers: NDArray[np.int64],
    row: int,
    column: int,
) -> bool:
    """Put the value of a term into a place that holds nothing yet."""
    plain, number = _digits(xml, spans[VALUE, 0], spans[VALUE, 1])
    if not plain or numbers[row, column] != ABSENT:
        return False
    numbers[row, column] = number
    return True


@inlined
def _take_array_param(
    xml: NDArray[np.uint8], spans: NDArray[np.int64], array: NDArray[np.int64]
) -> bool:
    """Take offset, length or encoded length of an array; any other term stops the scan."""
    start, stop = spans[ACCESSION, 0], spans[ACCESSION, 1]
    if stop - start != 11 or not _is(xml, start, start + 4, b"IMS:"):
        return False
    plain, code = _digits(xml, start + 4, stop)
    if plain and 1000102 <= code <= 1000104:
        return _take_number(xml, spans, array, 0, code - 1000102)
    return plain and code == 1000101  # external data


@inlined
def _take_spectrum_param(
    xml: NDArray[np.uint8], spans: NDArray[np.int64], row: int, numbers: NDArray[np.int64]
) -> bool:
    """Take a position x, y, z, or one of the terms of `TERM_BITS`; other plain terms are ignored."""
    start, stop = spans[ACCESSION, 0], spans[ACCESSION, 1]
    if stop - start == 11 and _is(xml, start, start + 4, b"IMS:"):
        plain, code = _digits(xml, start + 4, stop)
        if plain and 1000050 <= code <= 1000052:
            return _take_number(xml, spans, numbers, row, code - 1000050)
        return plain
    if stop - start != 10 or not _is(xml, start, start + 3, b"MS:"):
        return False
    plain, code = _digits(xml, start + 3, stop)
    # a name that contradicts its accession counts as the parser says
    named = _term_of_name(xml, spans[NAME, 0], spans[NAME, 1])
    if not plain or named != (code if 1000127 <= code <= 1000130 else 0):
        return False
    if named:
        numbers[row, TERMS] |= 1 << (code - 1000127)
    return True


@compiled
def scan_spectra(
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
    at = np.zeros(4, dtype=np.int64)
    array = np.empty((1, 3), dtype=np.int64)
    spans = np.zeros((4, 2), dtype=np.int64)
    while at[ROW] < numbers.shape[0]:
        tag = _next_tag(xml, position, end, at[IN_SPECTRUM])
        if tag < 0 or tag >= end:
            surprise = tag < 0 or at[IN_SPECTRUM]
            return (SURPRISE if surprise else COMPLETE), position, at[ROW]
        closing = _byte(xml, tag + 1) == SLASH
        name = tag + 2 if closing else tag + 1
        name_end = name
        while name_end < end and 97 <= (_byte(xml, name_end) | 32) <= 122:  # a to z
            name_end += 1
        element = _element(xml, name, name_end)
        position, empty = _read_attributes(xml, name_end, end, element, closing, spans)
        if position < 0 or name_end == name:
            return SURPRISE, tag, at[ROW]
        if element == SPECTRUM:
            taken = _take_spectrum(at, closing, empty, numbers)
        elif not at[IN_SPECTRUM]:
            taken = False
        elif element == ARRAY:
            taken = _take_array(at, closing, empty, kinds, array, numbers)
        elif closing or element == OTHER:
            taken = True
        elif element == REFERENCE:
            group = _group_of(xml, spans[REF, 0], spans[REF, 1], names, ends)
            taken = empty and _take_reference(at, group, terms, numbers)
        elif at[IN_ARRAY]:
            taken = _take_array_param(xml, spans, array)
        else:
            taken = _take_spectrum_param(xml, spans, at[ROW], numbers)
        if not taken:
            return SURPRISE, tag, at[ROW]
    return MORE, position, at[ROW]
