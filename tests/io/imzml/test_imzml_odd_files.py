"""Files as the field's software writes them: read right, or refused with a message that helps."""

import uuid
import warnings

import numpy as np
import pytest

from msibench.errors import ConfigurationError, DataError, IntegrityError, MissingDataError
from msibench.io import DataWarning, open_imzml
from tests.io.imzml.imzml_files import (
    ImzMLRecipe,
    example_spectra,
    wrapped_32_bit,
    write_odd_imzml,
)

MZ = [798.541, 150.0, 300.25, 50.0, 2000.0]


def brute_force(spectra, pixels, shape, mz=MZ, ppm=5.0):
    images = np.zeros((len(mz), *shape))
    for (masses, values), (row, column) in zip(spectra, pixels, strict=True):
        for channel, centre in enumerate(mz):
            inside = np.abs(masses.astype(np.float64) - centre) <= ppm * 1e-6 * centre
            images[channel, row, column] += values.astype(np.float64)[inside].sum()
    return images.astype(np.float32)


def raster(count, columns=4):
    return [(index // columns, index % columns) for index in range(count)]


def stored(spectra, mz_type="f8", intensity_type="f4"):
    return [(m.astype(mz_type), v.astype(intensity_type)) for m, v in spectra]


@pytest.fixture(params=["xml", "scan", "auto"])
def reader(request):
    return request.param


READ_RIGHT = {
    "ordinary": {},
    "no namespace": {"namespace": False},
    "prefixed tags": {"prefix": "mz"},
    "single quotes": {"quote": "'"},
    "attributes in another order": {"value_first": True},
    "IBD in capitals": {"ibd_suffix": ".IBD"},
    "no mode": {"declared_mode": None},
    "continuous that is processed": {"declared_mode": "continuous"},
    "no centroid or profile term": {"spectrum_mode": None},
    "Windows-1252 text in UTF-8": {"header_text": b"Schubertstra\xdfe, 5 \xb5m"},
    "an encoding that nobody knows": {"encoding": "x-of-our-own"},
    "no encoded lengths": {"encoded_lengths": False},
    "no array lengths": {"array_lengths": False},
    "types beside the offsets": {"types_in_array": True},
    "third array": {"mobility": True},
    "arrays at odd bytes": {"padding": 3},
    "zlib": {"compression": "zlib"},
    "no pixel counts": {"max_counts": None},
    "pixel counts too small": {"max_counts": (2, 1)},
    "pixel counts that are no numbers": {"max_counts": ("NA", "inf")},
    "no polarity": {"polarity": None},
    "no UUID": {"identifier": None},
    "a count that is not a number": {"declared_count": "many"},
}


@pytest.mark.parametrize("oddity", READ_RIGHT)
def test_odd_but_readable_files_give_the_images_of_their_spectra(tmp_path, reader, oddity):
    path = write_odd_imzml(tmp_path / "a.imzML", **READ_RIGHT[oddity])
    spectra = stored(example_spectra())
    section = open_imzml(path, reader=reader)
    assert len(section) == 12
    assert section.shape == (3, 4)
    assert section.mask.all()
    images = section.ion_images(MZ, ppm=5)
    np.testing.assert_array_equal(images.values, brute_force(spectra, raster(12), (3, 4)))
    assert images.values.any()
    for index, (masses, values) in enumerate(spectra):
        mz, intensity = section.spectrum(index)
        np.testing.assert_array_equal(mz, masses)
        np.testing.assert_array_equal(intensity, values)
    expected = [values.astype(np.float64).sum() for _, values in spectra]
    np.testing.assert_allclose(section.tic().ravel(), expected)


@pytest.mark.sweep
@pytest.mark.parametrize("compression", ["none", "zlib"])
@pytest.mark.parametrize("mz_type", ["f4", "f8", "i4", "i8"])
@pytest.mark.parametrize("intensity_type", ["f4", "f8", "i4", "i8"])
def test_every_number_type_is_read_as_it_is_stored(tmp_path, mz_type, intensity_type, compression):
    path = write_odd_imzml(
        tmp_path / "a.imzML",
        mz_type=mz_type,
        intensity_type=intensity_type,
        compression=compression,
    )
    spectra = stored(example_spectra(), mz_type, intensity_type)
    section = open_imzml(path)
    mz, intensity = section.spectrum(3)
    assert (mz.dtype, intensity.dtype) == (np.dtype(mz_type), np.dtype(intensity_type))
    centres = [798.541, 798.0, 150.0]
    np.testing.assert_array_equal(
        section.ion_images(centres, ppm=20).values,
        brute_force(spectra, raster(12), (3, 4), centres, 20),
    )


@pytest.mark.parametrize("mz_type", ["f4", "f8"])
@pytest.mark.parametrize("compression", ["none", "zlib"])
def test_a_shared_axis_gives_the_same_images_in_any_order_of_its_values(
    tmp_path, mz_type, compression
):
    rng = np.random.default_rng(3)
    axis = rng.permutation(np.r_[rng.uniform(100, 900, 40), 300.25, 300.2501, np.nan])
    spectra = [(axis.astype(mz_type), rng.poisson(3, axis.size).astype("f4")) for _ in range(12)]
    path = write_odd_imzml(
        tmp_path / "a.imzML",
        spectra=spectra,
        shared_axis=True,
        mz_type=mz_type,
        compression=compression,
        declared_mode="processed",
    )
    section = open_imzml(path)
    assert section.mode == "continuous"
    centres = [*axis[:5][np.isfinite(axis[:5])], 300.25]
    np.testing.assert_array_equal(
        section.ion_images(centres).values, brute_force(spectra, raster(12), (3, 4), centres)
    )
    assert section.mz_range == (np.nanmin(spectra[0][0]), np.nanmax(spectra[0][0]))
    np.testing.assert_array_equal(
        section.channel_images().values.reshape(axis.size, -1).T, [v for _, v in spectra]
    )


def test_equal_lengths_do_not_make_a_processed_file_continuous(tmp_path):
    rng = np.random.default_rng(0)
    spectra = [(np.sort(rng.uniform(100, 900, 6)), rng.random(6)) for _ in range(12)]
    section = open_imzml(
        write_odd_imzml(tmp_path / "a.imzML", spectra=spectra, declared_mode="continuous")
    )
    assert section.mode == "processed"
    assert any("continuous" in note for note in section.notes)


def test_unsorted_and_nan_masses_and_empty_spectra_are_read_right(tmp_path, reader):
    rng = np.random.default_rng(1)
    spectra = []
    for number in range(12):
        mz = rng.permutation(
            np.r_[rng.uniform(100, 900, number), 300.25, 798.541, 300.25, np.nan, np.inf]
        )
        mz = mz if number else np.empty(0)
        spectra.append((mz, rng.random(mz.size).astype("f4")))
    section = open_imzml(write_odd_imzml(tmp_path / "a.imzML", spectra=spectra), reader=reader)
    np.testing.assert_array_equal(
        section.ion_images(MZ).values, brute_force(spectra, raster(12), (3, 4))
    )
    low, high = section.mz_range
    assert 100 <= low < high <= 900


def test_peaks_that_are_not_finite_are_left_out_with_a_warning(tmp_path):
    spectra = [(np.array([300.25, 300.2501]), np.array([np.nan, 2.0])) for _ in range(12)]
    section = open_imzml(write_odd_imzml(tmp_path / "a.imzML", spectra=spectra))
    with pytest.warns(DataWarning, match="12 peaks .* left out"):
        images = section.ion_images(300.25)
    np.testing.assert_array_equal(images.values, np.full((1, 3, 4), 2.0))
    with pytest.warns(DataWarning, match="12 peaks"):
        assert section.tic().sum() == 24


@pytest.mark.parametrize("start", [0, 1, 60, -3])
def test_images_are_the_rectangle_around_the_coordinates_whatever_they_count_from(
    tmp_path, reader, start
):
    places = [(2, 0), (0, 1), (4, 2), (1, 2)]
    coordinates = [(x + start, y + start) for x, y in places]
    spectra = example_spectra(count=4)
    path = write_odd_imzml(tmp_path / "a.imzML", spectra=spectra, coordinates=coordinates)
    section = open_imzml(path, reader=reader)
    assert section.shape == (3, 5)
    assert section.origin == (start, start)
    assert section.mask.sum() == 4
    np.testing.assert_array_equal(section.coordinates, coordinates)
    pixels = [(y, x) for x, y in places]
    np.testing.assert_array_equal(
        section.ion_images(MZ).values, brute_force(stored(spectra), pixels, (3, 5))
    )
    assert not section.ion_images(MZ).values[:, ~section.mask].any()


def test_the_declared_grid_is_used_on_request(tmp_path):
    path = write_odd_imzml(
        tmp_path / "a.imzML",
        spectra=example_spectra(count=2),
        coordinates=[(2, 2), (3, 2)],
        max_counts=(5, 4),
    )
    assert open_imzml(path).shape == (1, 2)
    assert open_imzml(path, grid="declared").shape == (4, 5)
    assert open_imzml(path, grid="declared").mask[1].tolist() == [False, True, True, False, False]


@pytest.mark.parametrize("z", [None, 0, 1, 7])
def test_one_slice_is_an_image_whatever_its_z(tmp_path, reader, z):
    coordinates = [(i % 4 + 1, i // 4 + 1, z) for i in range(12)]
    assert (
        open_imzml(write_odd_imzml(tmp_path / "a.imzML", coordinates=coordinates), reader=reader).z
        == z
    )


def test_several_slices_are_refused_until_one_is_chosen(tmp_path, reader):
    coordinates = [(i % 2 + 1, i // 2 % 2 + 1, i // 4 + 1) for i in range(12)]
    path = write_odd_imzml(tmp_path / "a.imzML", coordinates=coordinates)
    with pytest.raises(DataError, match=r"3 slices \(z = 1, 2, 3\).*z=1"):
        open_imzml(path, reader=reader)
    section = open_imzml(path, reader=reader, z=2)
    assert len(section) == 4
    spectra = stored(example_spectra())[4:8]
    np.testing.assert_array_equal(section.spectrum(2)[0], spectra[2][0])
    np.testing.assert_array_equal(
        section.ion_images(MZ).values, brute_force(spectra, raster(4, 2), (2, 2))
    )
    with pytest.raises(DataError, match="no slice z = 9"):
        open_imzml(path, z=9)


class TestRepeatedPixels:
    coordinates = ((1, 1), (2, 1), (1, 1), (2, 2), (1, 1))

    def open(self, tmp_path, **options):
        path = write_odd_imzml(
            tmp_path / "a.imzML", spectra=example_spectra(count=5), coordinates=self.coordinates
        )
        return open_imzml(path, **options)

    def expected(self, kept):
        spectra = stored(example_spectra(count=5))
        pixels = [(y - 1, x - 1) for x, y in self.coordinates]
        return brute_force([spectra[i] for i in kept], [pixels[i] for i in kept], (2, 2))

    def test_are_summed_with_a_warning_unless_told_otherwise(self, tmp_path, reader):
        with pytest.warns(DataWarning, match="2 spectra repeat a pixel; they are summed"):
            section = self.open(tmp_path, reader=reader)
        np.testing.assert_array_equal(section.ion_images(MZ).values, self.expected(range(5)))

    @pytest.mark.parametrize(
        ("policy", "kept"), [("sum", range(5)), ("first", (0, 1, 3)), ("last", (1, 3, 4))]
    )
    def test_follow_the_policy(self, tmp_path, policy, kept):
        section = self.open(tmp_path, duplicates=policy)
        np.testing.assert_array_equal(section.ion_images(MZ).values, self.expected(kept))
        assert len(section) == 5
        spectra = stored(example_spectra(count=5))
        total = sum(spectra[i][1].astype(float).sum() for i in kept)
        np.testing.assert_allclose(section.tic().sum(), total)

    def test_can_be_an_error_that_names_them(self, tmp_path):
        with pytest.raises(DataError, match=r"spectrum 2: lies on the same pixel .* as spectrum 0"):
            self.open(tmp_path, duplicates="error")

    def test_policy_must_be_known(self, tmp_path):
        with pytest.raises(ConfigurationError, match="sum, first, last or error"):
            self.open(tmp_path, duplicates="mean")


PIXEL_SIZES = {
    "micrometre": ((50, 50), ("UO:0000017", "micrometer"), 50.0),
    "nanometre": ((4406.25, 4406.25), ("UO:0000018", "nanometer"), 4.40625),
    "millimetre": ((0.02, 0.02), ("UO:0000016", "millimeter"), 20.0),
    "no unit": ((35, 35), None, 35.0),
    "unit by its name only": ((500, 500), ("", "nanometer"), 0.5),
    "unit that is not a length": ((35, 35), ("UO:0000010", "second"), np.nan),
    "infinite": (("inf", "inf"), None, np.nan),
    "one infinite": ((1, "inf"), None, 1.0),
    "zero": ((0, 0), None, np.nan),
    "no number": (("NA", "NA"), None, np.nan),
    "absent": (None, None, np.nan),
    "not square": ((10, 20), None, np.nan),
}


@pytest.mark.parametrize("case", PIXEL_SIZES)
def test_pixel_size_is_in_micrometres_or_unknown(tmp_path, reader, case):
    size, unit, expected = PIXEL_SIZES[case]
    path = write_odd_imzml(tmp_path / "a.imzML", pixel_size=size, pixel_unit=unit)
    section = open_imzml(path, reader=reader)
    assert section.pixel_size_um == pytest.approx(expected, nan_ok=True)
    assert section.ion_images(MZ).pixel_size_um == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("where", ["file", "group", "spectrum"])
@pytest.mark.parametrize("mode", ["centroid", "profile", None])
def test_the_kind_of_spectrum_is_found_wherever_it_stands(tmp_path, reader, mode, where):
    path = write_odd_imzml(tmp_path / "a.imzML", spectrum_mode=mode, spectrum_mode_in=where)
    assert open_imzml(path, reader=reader).spectrum_mode == mode


@pytest.mark.parametrize("polarity", ["positive", "negative", None])
def test_polarity_is_read(tmp_path, reader, polarity):
    path = write_odd_imzml(tmp_path / "a.imzML", polarity=polarity)
    assert open_imzml(path, reader=reader).polarity == polarity


class TestContradictoryNumberType:
    @pytest.mark.parametrize("lengths", [True, False])
    def test_by_name_when_nothing_else_tells(self, tmp_path, lengths):
        def wrong_accession(xml):
            return xml.replace(
                b'accession="MS:1000523" name="64-bit float"',
                b'accession="MS:1000521" name="64-bit float"',
            )

        path = write_odd_imzml(
            tmp_path / "a.imzML", change_xml=wrong_accession, encoded_lengths=lengths
        )
        with pytest.warns(DataWarning, match=r"number type is contradictory.*read as f8"):
            section = open_imzml(path)
        np.testing.assert_array_equal(
            section.ion_images(MZ).values,
            brute_force(stored(example_spectra()), raster(12), (3, 4)),
        )

    def test_by_accession_when_the_encoded_length_says_so(self, tmp_path):
        path = write_odd_imzml(tmp_path / "a.imzML", mz_name="32-bit float")
        with pytest.warns(DataWarning, match=r"name says f4, its accession f8; read as f8"):
            section = open_imzml(path)
        np.testing.assert_array_equal(section.spectrum(0)[0], example_spectra()[0][0])


def test_offsets_in_scientific_notation_are_exact_and_warned_about(tmp_path):
    path = write_odd_imzml(tmp_path / "a.imzML", offset_text=lambda n: f"{n:.8e}")
    with pytest.warns(DataWarning, match="1.156e"):
        section = open_imzml(path)
    np.testing.assert_array_equal(
        section.ion_images(MZ).values, brute_force(stored(example_spectra()), raster(12), (3, 4))
    )


def test_an_offset_that_lost_its_digits_is_warned_about(tmp_path):
    path = write_odd_imzml(
        tmp_path / "a.imzML", offset_text=lambda n: f"{n:.0e}" if n > 300 else str(n)
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        open_imzml(path)
    assert any("share bytes" in str(warning.message) for warning in caught)


def test_wrapped_offsets_in_a_file_beyond_two_gigabytes_are_unwrapped(tmp_path, reader):
    gap = 2**31 + 12
    path = write_odd_imzml(tmp_path / "a.imzML", offset_text=lambda n: wrapped_32_bit(n + gap))
    raw = path.with_suffix(".ibd").read_bytes()
    with path.with_suffix(".ibd").open("wb") as file:  # sparse: takes no room on the disk
        file.write(raw[:16])
        file.seek(gap + 16)
        file.write(raw[16:])
    section = open_imzml(path, reader=reader)
    assert any("unwrapped" in note for note in section.notes)
    np.testing.assert_array_equal(
        section.ion_images(MZ).values, brute_force(stored(example_spectra()), raster(12), (3, 4))
    )


@pytest.mark.parametrize("beyond", [2**32, 2**32 + 2**31])
def test_offsets_beyond_four_gigabytes_are_read(tmp_path, reader, beyond):
    path = write_odd_imzml(tmp_path / "a.imzML", offset_text=lambda n: str(n + beyond))
    raw = path.with_suffix(".ibd").read_bytes()
    with path.with_suffix(".ibd").open("wb") as file:
        file.write(raw[:16])
        file.seek(beyond + 16)
        file.write(raw[16:])
    np.testing.assert_array_equal(
        open_imzml(path, reader=reader).ion_images(MZ).values,
        brute_force(stored(example_spectra()), raster(12), (3, 4)),
    )


def test_a_uuid_that_differs_warns_and_is_read(tmp_path, reader):
    path = write_odd_imzml(tmp_path / "a.imzML", ibd_identifier=bytes(16))
    with pytest.warns(DataWarning, match="UUID .* differs"):
        section = open_imzml(path, reader=reader)
    assert section.ion_images(MZ).values.any()


def test_a_uuid_in_the_byte_order_of_windows_is_the_same_uuid(tmp_path):
    identifier = uuid.UUID("5f3a2b10-5066-49de-b9a3-243075247448")
    path = write_odd_imzml(
        tmp_path / "a.imzML", identifier=identifier, ibd_identifier=identifier.bytes_le
    )
    assert open_imzml(path).uuid == str(identifier)


class TestChecksum:
    def test_is_verified_on_request(self, tmp_path):
        path = write_odd_imzml(tmp_path / "a.imzML")
        assert any("sha1" in note for note in open_imzml(path, verify=True).notes)
        raw = bytearray(path.with_suffix(".ibd").read_bytes())
        raw[100] ^= 1
        path.with_suffix(".ibd").write_bytes(raw)
        open_imzml(path)
        with pytest.raises(IntegrityError, match="SHA1 is"):
            open_imzml(path, verify=True)

    def test_must_be_there_to_be_verified(self, tmp_path):
        with pytest.raises(IntegrityError, match="no MD5, SHA-1 or SHA-256"):
            open_imzml(write_odd_imzml(tmp_path / "a.imzML", sha1=None), verify=True)


def replace_in(old, new, count=1):
    return lambda xml: xml.replace(old, new, count)


REFUSED = {
    "cut .ibd": ({"cut_ibd": 9}, r"spectrum 11: .* should lie in bytes .*copy it again"),
    "numpress": ({"compression": "numpress"}, r"spectrum 0: .*Numpress.*[Ee]xport"),
    "an absurd length": (
        {
            "change_xml": replace_in(
                b'array length" value="3"', b'array length" value="999999999999"'
            )
        },
        r"spectrum 0: claims 999999999999 mz values, more than .* can hold",
    ),
    "an absurd offset": (
        {"change_xml": replace_in(b'offset" value="16"', b'offset" value="888888888888888888"')},
        r"spectrum 0: the mz array should lie in bytes 888888888888888888",
    ),
    "a number that no file can hold": (
        {"change_xml": replace_in(b'offset" value="16"', b'offset" value="' + b"9" * 30 + b'"')},
        r"spectrum 0: offset should be a whole number",
    ),
    "an offset that is not a number": (
        {"change_xml": replace_in(b'offset" value="16"', b'offset" value="NA"')},
        r"spectrum 0: offset should be a whole number, got 'NA'",
    ),
    "m/z and intensities that differ in length": (
        {
            "encoded_lengths": False,
            "change_xml": replace_in(b'array length" value="4"', b'array length" value="3"'),
        },
        r"spectrum 1: has 3 m/z values but 4 intensities",
    ),
    "an encoded length that contradicts": (
        {"change_xml": replace_in(b'encoded length" value="24"', b'encoded length" value="23"')},
        r"spectrum 0: the mz array has 3 values of 8 bytes but an encoded length of 23 .*pyimzml",
    ),
    "no position": (
        {"change_xml": replace_in(b"IMS:1000050", b"IMS:1999950")},
        r"spectrum 0: has no position x \(1 of 12",
    ),
    "a position far away": (
        {"change_xml": replace_in(b'position y" value="3"', b'position y" value="3000000000"')},
        r"spectrum 8: lies at x 1, y 3000000000",
    ),
    "no number type": (
        {"change_xml": replace_in(b"MS:1000523", b"MS:1999523").__call__},
        r"number type|contradictory",
    ),
    "no spectra": ({"spectra": [], "coordinates": []}, r"contains no spectra"),
    "XML cut in the middle": (
        {"change_xml": lambda xml: xml[: len(xml) // 2]},
        r"breaks off.*again",
    ),
    "XML cut at the end": ({"change_xml": lambda xml: xml[:-10]}, r"breaks off"),
    "no XML": ({"change_xml": lambda _: b"hello"}, r"breaks off or is damaged at line 1"),
    "nothing": ({"change_xml": lambda _: b""}, r"the file is empty"),
    "an entity": (
        {"doctype": '<!DOCTYPE mzML [<!ENTITY lol "lol">]>\n'},
        r"declares the XML entity 'lol'",
    ),
    "an external entity": (
        {"doctype": '<!DOCTYPE mzML [<!ENTITY passwd SYSTEM "file:///etc/passwd">]>\n'},
        r"declares the XML entity 'passwd'",
    ),
    "elements nested without end": (
        {"change_xml": replace_in(b"<fileContent>", b"<fileContent>" + b"<a>" * 5000)},
        r"nested more than 64 deep",
    ),
    "zlib that is damaged": ({"compression": "zlib", "spectra": None}, None),
}


@pytest.mark.parametrize("oddity", [name for name, (_, message) in REFUSED.items() if message])
def test_unreadable_files_are_refused_with_a_message(tmp_path, reader, oddity):
    changes, message = REFUSED[oddity]
    path = write_odd_imzml(tmp_path / "a.imzML", **changes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        if oddity == "no number type":  # the name still says it: read right
            assert len(open_imzml(path, reader=reader)) == 12
            return
        with pytest.raises(DataError, match=message) as caught:
            open_imzml(path, reader=reader)
    assert "a.imzML" in str(caught.value)


def test_billion_laughs_are_refused_at_once(tmp_path):
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    doctype = f'<!DOCTYPE mzML [<!ENTITY l0 "lol">{levels}]>\n'
    path = write_odd_imzml(tmp_path / "a.imzML", doctype=doctype, header_text=b"&l11;")
    for reader in ("auto", "scan", "xml", "pyimzml"):
        with pytest.raises(DataError, match="entity"):
            open_imzml(path, reader=reader)


def test_damaged_zlib_names_the_spectrum(tmp_path):
    path = write_odd_imzml(tmp_path / "a.imzML", compression="zlib")
    raw = bytearray(path.with_suffix(".ibd").read_bytes())
    raw[20:24] = b"\xff\xff\xff\xff"
    path.with_suffix(".ibd").write_bytes(raw)
    section = open_imzml(path)
    with pytest.raises(
        DataError, match=r"a.ibd, spectrum 0: the zlib-compressed mz array is damaged"
    ):
        section.ion_images(MZ)
    with pytest.raises(DataError, match="spectrum 0"):
        section.spectrum(0)
    section.spectrum(1)


def test_zlib_cannot_claim_more_than_it_can_pack(tmp_path):
    path = write_odd_imzml(
        tmp_path / "a.imzML",
        compression="zlib",
        change_xml=lambda xml: xml.replace(
            b'array length" value="3"', b'array length" value="90000"', 2
        ),
    )
    with pytest.raises(
        DataError, match=r"spectrum 0: claims 90000 mz values in \d+ compressed bytes"
    ):
        open_imzml(path)


def test_fewer_spectra_than_declared_are_warned_about(tmp_path, reader):
    path = write_odd_imzml(tmp_path / "a.imzML", declared_count=13)
    with pytest.warns(DataWarning, match="declares 13 spectra, the file has 12"):
        assert len(open_imzml(path, reader=reader)) == 12


class TestPairOnDisk:
    def test_a_missing_half_is_named(self, tmp_path):
        path = write_odd_imzml(tmp_path / "a.imzML")
        path.with_suffix(".ibd").unlink()
        with pytest.raises(MissingDataError, match=r"no a.ibd beside it.*pair"):
            open_imzml(path)
        with pytest.raises(MissingDataError, match="does not exist"):
            open_imzml(tmp_path / "b.imzML")
        with pytest.raises(DataError, match="is a folder"):
            open_imzml(tmp_path)

    def test_either_half_opens_the_pair(self, tmp_path):
        path = write_odd_imzml(tmp_path / "a.imzML")
        assert open_imzml(path.with_suffix(".ibd")).path == path
        other = path.with_suffix(".ibd").rename(tmp_path / "elsewhere.bin")
        assert len(open_imzml(path, ibd=other)) == 12
        (tmp_path / "b.ibd").write_bytes(b"")
        with pytest.raises(MissingDataError, match=r"binary half .* no b.imzML"):
            open_imzml(tmp_path / "b.ibd")

    @pytest.mark.parametrize("half", [".imzML", ".ibd"])
    def test_a_git_lfs_pointer_is_recognised(self, tmp_path, half):
        path = write_odd_imzml(tmp_path / "a.imzML")
        path.with_suffix(half).write_bytes(
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
        )
        with pytest.raises(DataError, match="git lfs pull"):
            open_imzml(path)

    def test_a_file_that_shrinks_while_open_is_noticed(self, tmp_path):
        path = write_odd_imzml(tmp_path / "a.imzML")
        section = open_imzml(path)
        path.with_suffix(".ibd").write_bytes(b"short")
        with pytest.raises(DataError, match="shrank"):
            section.ion_images(MZ)


def test_pyimzml_is_the_reader_of_last_resort(tmp_path):
    path = write_odd_imzml(
        tmp_path / "a.imzML",
        change_xml=replace_in(b'encoded length" value="24"', b'encoded length" value="23"'),
    )
    section = open_imzml(path, reader="pyimzml")
    np.testing.assert_array_equal(
        section.ion_images(MZ).values, brute_force(stored(example_spectra()), raster(12), (3, 4))
    )
    assert section.pixel_size_um == 50
    assert section.polarity == "positive"
    assert section.spectrum_mode == "centroid"


def test_an_unknown_reader_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="auto, scan, xml or pyimzml"):
        open_imzml(write_odd_imzml(tmp_path / "a.imzML"), reader="magic")


def test_the_recipe_takes_every_field_of_its_own():
    assert ImzMLRecipe(padding=3).padding == 3
