"""Where the arrays of spectra may lie, at the limits, from a table of numbers alone."""

import re
from pathlib import Path

import numpy as np
import pytest

from msibench.errors import DataError
from msibench.io.imzml import layout
from msibench.io.imzml.header import ArrayEncoding
from msibench.io.imzml.layout import ZLIB_RATIO, check_layout, unwrap_32_bit
from msibench.io.imzml.spectra import ABSENT, COLUMNS, SpectrumTable

MZ = ArrayEncoding("mz", "<f8", "none")
INTENSITY = ArrayEncoding("intensity", "<f4", "none")
PACKED = (ArrayEncoding("mz", "<f8", "zlib"), ArrayEncoding("intensity", "<f4", "zlib"))
"""Three spectra of 2 peaks, one after the other behind the UUID."""
PLAIN = {
    "mz_offset": (16, 40, 64), "mz_length": 2, "mz_encoded": 16,
    "intensity_offset": (32, 56, 80), "intensity_length": 2, "intensity_encoded": 8,
    "mz_encoding": 0, "intensity_encoding": 1,
}  # fmt: skip
SIZE = 88


def table(encodings=(MZ, INTENSITY), scientific=False, spectra=3, **numbers):
    held = np.zeros((spectra, len(COLUMNS)), dtype=np.int64)
    for name, value in (PLAIN | numbers).items():
        held[:, COLUMNS.index(name)] = value
    return SpectrumTable(held, tuple(encodings), scientific)


def checked(size=SIZE, **numbers):
    return check_layout(Path("a.imzML"), table(**numbers), Path("a.ibd"), size)


def test_a_plain_file_is_laid_out_as_it_says():
    found = checked()
    np.testing.assert_array_equal(found.length, [2, 2, 2])
    np.testing.assert_array_equal(found.mz.offset, [16, 40, 64])
    np.testing.assert_array_equal(found.mz.stored, [16, 16, 16])
    np.testing.assert_array_equal(found.intensity.offset, [32, 56, 80])
    np.testing.assert_array_equal(found.intensity.stored, [8, 8, 8])
    assert (found.warnings, found.notes) == ((), ())
    assert not found.shared_axis()
    assert [(a.kind, b.kind, rows) for a, b, rows in found.groups()] == [("mz", "intensity", None)]
    part = found.take(np.array([2, 0]))
    np.testing.assert_array_equal(part.mz.offset, [64, 16])
    np.testing.assert_array_equal(part.intensity.offset, [80, 32])


def test_spectra_of_two_encodings_are_two_groups():
    wide = ArrayEncoding("intensity", "<f8", "none")
    found = checked(
        encodings=(MZ, INTENSITY, wide), intensity_encoding=(1, 2, 1),
        intensity_encoded=(8, 16, 8), mz_offset=(16, 40, 72), intensity_offset=(32, 56, 88), size=96,
    )  # fmt: skip
    groups = [(a.dtype, b.dtype, rows.tolist()) for a, b, rows in found.groups()]
    assert groups == [("<f8", "<f4", [0, 2]), ("<f8", "<f8", [1])]
    assert found.warnings == ()
    narrow = ArrayEncoding("mz", "<f4", "none")
    found = checked(
        encodings=(MZ, INTENSITY, narrow), mz_encoding=(0, 2, 0), mz_encoded=(16, 8, 16),
        mz_offset=(16, 40, 56), intensity_offset=(32, 48, 72), size=80,
    )  # fmt: skip
    groups = [(a.dtype, b.dtype, rows.tolist()) for a, b, rows in found.groups()]
    assert groups == [("<f8", "<f4", [0, 2]), ("<f4", "<f4", [1])]


@pytest.mark.parametrize(
    ("change", "shared"),
    [
        ({}, True),
        ({"mz_offset": (16, 16, 40)}, False),
        ({"mz_length": (2, 2, 0), "intensity_length": (2, 2, 0)}, True),
        ({"mz_length": (2, 2, 1), "intensity_length": (2, 2, 1), "mz_encoded": (16, 16, 8),
          "intensity_encoded": (8, 8, 4)}, False),
        ({"mz_length": 0, "intensity_length": 0}, False),
    ],
)  # fmt: skip
def test_one_axis_is_shared_by_all_that_have_peaks(change, shared):
    assert checked(**({"mz_offset": 16} | change)).shared_axis() is shared


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mz_encoding": (0, ABSENT, 0)}, "spectrum 1: has no mz array;"),
        ({"intensity_encoding": ABSENT}, r"spectrum 0: has no intensity array \(and 2 more"),
        ({"intensity_length": (2, 2, 1)}, "spectrum 2: has 2 m/z values but 1 intensities"),
        ({"mz_length": (2, -1, 2)}, r"spectrum 1: the mz array's length is negative \(-1\)"),
        ({"mz_length": ABSENT, "mz_encoded": 15}, "length is missing"),
        ({"mz_length": ABSENT, "mz_encoded": ABSENT}, "length is missing"),
        ({"mz_length": (2, 12, 2)}, "spectrum 1: claims 12 mz values, more than the 88 bytes"),
        ({"intensity_encoded": (8, 9, 8)}, "encoded length of 9 bytes instead of 8"),
        ({"mz_offset": (16, ABSENT, 64)}, "spectrum 1: the mz array has no offset"),
        ({"intensity_offset": (32, 56, 81)}, "should lie in bytes 81 to 89, but a.ibd has 88"),
        ({"encodings": (MZ, ArrayEncoding("intensity", "", "none"))}, "number type of the intensity"),
        ({"encodings": (MZ, ArrayEncoding("intensity", "<f4", "numpress"))}, "stored with 'numpress'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_and_the_first_spectrum_named(change, said):
    with pytest.raises(DataError, match=said):
        checked(**change)


def test_a_length_that_is_absent_is_that_of_the_bytes():
    found = checked(mz_length=ABSENT, intensity_length=(2, ABSENT, 2))
    np.testing.assert_array_equal(found.length, [2, 2, 2])


def test_a_spectrum_has_as_many_peaks_as_may_be(monkeypatch):
    assert layout.MOST_PEAKS == 1 << 26
    monkeypatch.setattr(layout, "MOST_PEAKS", 2)
    checked()
    monkeypatch.setattr(layout, "MOST_PEAKS", 1)
    with pytest.raises(DataError, match="claims 2 peaks; a spectrum has at most 1"):
        checked()


def test_encoded_lengths_may_count_values_or_be_left_out():
    for encoded in ({"mz_encoded": 2, "intensity_encoded": 2}, {"mz_encoded": (2, 0, ABSENT)}):
        found = checked(**encoded)
        np.testing.assert_array_equal(found.mz.stored, [16, 16, 16])
        assert any("count values, not bytes" in note for note in found.notes)
    assert checked(mz_encoded=0, intensity_encoded=ABSENT).notes == ()
    bytes_wide = (MZ, ArrayEncoding("intensity", "|i1", "none"))
    assert checked(encodings=bytes_wide, intensity_encoded=2).notes == ()


def test_an_empty_spectrum_has_no_place():
    found = checked(
        mz_length=(2, 0, 2), intensity_length=(2, 0, 2), mz_offset=(16, ABSENT, 64),
        intensity_offset=(32, 10_000, 80), mz_encoded=(16, 5, 16), intensity_encoded=(8, 0, 8),
    )  # fmt: skip
    np.testing.assert_array_equal(found.mz.stored, [16, 0, 16])
    np.testing.assert_array_equal(found.intensity.offset, [32, 0, 80])


def test_compressed_arrays_stand_for_what_zlib_can_pack():
    packed = {"encodings": PACKED, "mz_encoded": 16, "intensity_encoded": 8}
    most = 8 * ZLIB_RATIO // 4
    for count, good in ((2, True), (most, True), (most + 1, False)):
        numbers = packed | {"mz_length": count, "intensity_length": count}
        if good:
            found = checked(**numbers)
            np.testing.assert_array_equal(found.mz.stored, [16, 16, 16])
            assert found.notes == ()
        else:
            with pytest.raises(DataError, match=f"claims {count} mz values in 16 compressed"):
                checked(**numbers)
    for none in (0, ABSENT):
        with pytest.raises(
            DataError, match="zlib-compressed intensity array has no encoded length"
        ):
            checked(**packed | {"intensity_encoded": none})
    with pytest.raises(DataError, match="length is missing"):
        checked(**packed | {"mz_length": ABSENT})


def test_intensities_share_their_bytes_sixteen_times(monkeypatch):
    monkeypatch.setattr(layout, "CHUNK", 1)
    numbers = {"mz_offset": 16, "intensity_offset": 16, "mz_length": 4, "intensity_length": 4,
               "mz_encoded": 32, "intensity_encoded": 16}  # fmt: skip
    checked(spectra=48, size=48, **numbers)
    with pytest.raises(DataError, match=r"take 784 bytes \(784 once they are inflated\) of the 48"):
        checked(spectra=49, size=48, **numbers)
    packed = numbers | {"encodings": PACKED, "mz_encoded": 32, "intensity_encoded": 1,
                        "mz_length": ZLIB_RATIO // 4, "intensity_length": ZLIB_RATIO // 4}  # fmt: skip
    checked(spectra=16 * 48, size=48, **packed)
    with pytest.raises(DataError, match="over and over"):
        checked(spectra=16 * 48 + 1, size=48, **packed)


@pytest.mark.parametrize("chunk", [1, 2, 1 << 16])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"mz_offset": 16}, ""),
        ({"intensity_offset": (80, 56, 32)}, ""),
        ({"mz_offset": 16, "intensity_offset": (80, 56, 32)}, ""),
        ({"mz_offset": (16, 40, 64), "intensity_offset": (32, 56, 79)}, "spectra 2 and 2 share"),
        ({"mz_offset": (16, 39, 64)}, r"spectra 0 and 1 share bytes of the .ibd file \(1 such"),
        ({"mz_offset": (16, 41, 64)}, "spectra 1 and 1 share"),
        ({"mz_offset": 17}, "spectra 0 and 0 share"),
        ({"mz_offset": (16, 16, 64), "intensity_offset": (32, 56, 80)}, ""),
        ({"mz_offset": (16, 17, 64), "intensity_offset": (32, 56, 80)}, r"\(2 such places"),
        ({"intensity_offset": 32}, r"spectra 0 and 1 share bytes .* \(2 such places\)"),
        ({"mz_offset": (15, 40, 64)}, "spectrum 0 begins inside the 16 bytes of the UUID"),
        ({"mz_offset": 15}, "begins inside the 16 bytes of the UUID"),
        ({"intensity_offset": (32, 56, 8)}, "spectrum 2 begins inside the 16 bytes"),
    ],
)  # fmt: skip
def test_arrays_that_share_bytes_are_said(monkeypatch, chunk, change, said):
    monkeypatch.setattr(layout, "CHUNK", chunk)
    found = " ".join(checked(**change).warnings)
    if said:
        assert re.search(said, found), found
    else:
        assert found == ""


def test_axes_of_two_lengths_at_one_place_are_wrong():
    found = checked(
        mz_offset=16, mz_length=(2, 2, 1), intensity_length=(2, 2, 1), mz_encoded=(16, 16, 8),
        intensity_encoded=(8, 8, 4), intensity_offset=(32, 56, 28),
    )  # fmt: skip
    assert "share bytes" in found.warnings[0]


def test_offsets_in_scientific_notation_are_said():
    assert "1.156e+09" in checked(scientific=True).warnings[0]


@pytest.mark.parametrize(
    ("encoded", "read"), [(8, "f4"), (16, "f8"), (12, "f4"), (0, "f4"), (ABSENT, "f4")]
)
def test_a_contradicted_number_type_is_settled_by_the_bytes(encoded, read):
    odd = ArrayEncoding("intensity", "<f4", "none", "<f8")
    try:
        found = checked(
            encodings=(MZ, odd),
            intensity_encoded=encoded,
            intensity_offset=(112, 136, 160),
            size=200,
        )
    except DataError:
        assert encoded == 12
        return
    assert found.intensity.encodings[1].dtype == f"<{read}"
    assert f"read as {read}" in found.warnings[0]


def test_wrapped_offsets_are_unwrapped():
    around = 2**32
    np.testing.assert_array_equal(
        unwrap_32_bit(np.array([5, -around + 7, -1, 3]), around), [5, 7, around - 1, 3]
    )
    wraps = np.array([16, 2**31 - 1, -(2**31), -1, 0, 5, -4, 9])
    true = [16, 2**31 - 1, 2**31, around - 1, around, around + 5, 2 * around - 4, 2 * around + 9]
    found = unwrap_32_bit(wraps, around + 1)
    np.testing.assert_array_equal(found[:4], true[:4])
    np.testing.assert_array_equal(found, true)
    np.testing.assert_array_equal(
        unwrap_32_bit(np.array([-1, -2]), around + 1), [around - 1, around - 2]
    )
    np.testing.assert_array_equal(
        unwrap_32_bit(np.array([-5, 3]), around + 1), [around - 5, around + 3]
    )
    np.testing.assert_array_equal(unwrap_32_bit(np.array([3, -5]), around + 1), [3, around - 5])
