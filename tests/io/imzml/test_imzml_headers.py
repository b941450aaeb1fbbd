"""Two readers of one header agree, wherever and however its facts are written."""

import contextlib
import math
import uuid
import warnings
from types import SimpleNamespace
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msibench import MSImage
from msibench.errors import DataError
from msibench.io import DataWarning, open_imzml, read_section, write_imzml
from msibench.io.imzml.header import Header
from msibench.io.imzml.pyimzml_reader import read_with_pyimzml
from msibench.io.imzml.scan import _Groups, scan_imzml
from msibench.io.imzml.xml import parse_imzml

UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")
MASSES = np.array([100.0, 200.0, 300.0])
FLOAT32 = ("MS:1000521", "32-bit float", "<f4")


def term(accession, name, value="", unit="", unit_name="", tag="cvParam"):
    more = f" unitAccession={quoteattr(unit)}" if unit else ""
    more += f" unitName={quoteattr(unit_name)}" if unit_name else ""
    known = f' cvRef="X" accession="{accession}"' if tag == "cvParam" else ""
    return f"<{tag}{known} name={quoteattr(name)} value={quoteattr(value)}{more}/>"


def refer(name):
    return f'<referenceableParamGroupRef ref="{name}"/>'


def write(path, *, content="", scan_settings="", groups="", spectrum="", scan="", array="", kind=FLOAT32,
          lengths=True, encoding="utf-8", declared=None, tail=b"", newline="\n"):  # fmt: skip
    """Write a pair of 2 x 3 pixels; the texts are put into its parts as they are."""
    binary = bytearray(UUID.bytes)
    spectra = []
    for number in range(6):
        arrays = ""
        for group, values in (("mz", MASSES), ("int", np.array([1, 10, 100]).astype(kind[2]))):
            places = term("IMS:1000102", "external offset", str(len(binary)))
            if lengths:
                places += term("IMS:1000103", "external array length", "3")
            places += term("IMS:1000104", "external encoded length", str(values.nbytes))
            arrays += f"<binaryDataArray>{refer(group)}{array}{places}<binary/></binaryDataArray>"
            binary += values.tobytes()
        position = term("IMS:1000050", "position x", str(number % 3 + 1))
        position += term("IMS:1000051", "position y", str(number // 3 + 1))
        spectra.append(
            f'<spectrum id="s{number}" index="{number}">{refer("sp")}{spectrum}<scanList><scan>{scan}'
            f"{position}</scan></scanList><binaryDataArrayList>{arrays}</binaryDataArrayList></spectrum>"
        )
    xml = newline.join(
        [
            f'<?xml version="1.0" encoding="{declared or encoding}"?>',
            '<mzML xmlns="http://psi.hupo.org/ms/mzml"><fileDescription><fileContent>',
            content,
            "</fileContent></fileDescription><referenceableParamGroupList>",
            f'<referenceableParamGroup id="mz">{term("MS:1000514", "m/z array")}'
            f"{term('MS:1000523', '64-bit float')}</referenceableParamGroup>",
            f'<referenceableParamGroup id="int">{term("MS:1000515", "intensity array")}'
            f"{term(kind[0], kind[1])}</referenceableParamGroup>",
            '<referenceableParamGroup id="sp"/>',
            groups,
            '</referenceableParamGroupList><scanSettingsList><scanSettings id="a">',
            scan_settings,
            '</scanSettings></scanSettingsList><instrumentConfigurationList/><run><spectrumList count="6">',
            "".join(spectra),
            "</spectrumList></run></mzML>",
        ]
    )
    path.write_bytes(xml.encode(encoding) + tail)
    path.with_suffix(".ibd").write_bytes(bytes(binary))
    return path


def sizes(
    value, unit="UO:0000017", unit_name="micrometer", names=("pixel size (x)", "pixel size y")
):
    return "".join(
        term(f"IMS:100004{6 + axis}", name, value, unit, unit_name)
        for axis, name in enumerate(names)
    )


def group(text):
    return f'<referenceableParamGroup id="facts">{text}</referenceableParamGroup>'


def facts(header):
    return (header.uuid, header.checksum, header.declared_mode, header.declared_shape,
            repr(header.pixel_size_um()), header.pixel_size_notes())  # fmt: skip


SIZES = {
    "with a comma": (sizes("50,5"), 50.5),
    "in micrometers": (sizes("50", "", "micrometers"), 50),
    "in MICRONS": (sizes("50", "", "MICRONS"), 50),
    "in µm with the other mu": (sizes("50", "", "μm"), 50),
    "in millimetres": (sizes("0.05", "", "millimetres"), 50),
    "in nm": (sizes("50000", "", "nm"), 50),
    "without a unit": (sizes("50", "", ""), 50),
    "with spaces": (sizes(" 50 "), 50),
    "like 5.0e1": (sizes("5.0e1"), 50),
    "by name": (sizes("50").replace("IMS:100004", "IMS:999900"), 50),
    "by name only": (
        term("", "pixel size x", "50", tag="userParam") + term("", "pixel size y", "50", tag="userParam"),
        50,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SIZES)
@pytest.mark.parametrize("where", ["settings", "group"])
@pytest.mark.parametrize("reader", ["xml", "scan", "pyimzml"])
def test_pixel_sizes_are_found(tmp_path, case, where, reader):
    text, expected = SIZES[case]
    inside = {"scan_settings": text} if where == "settings" else {
        "scan_settings": refer("facts"), "groups": group(text)}  # fmt: skip
    path = write(tmp_path / "a.imzML", **inside)
    section = open_imzml(path, reader=reader)
    assert section.pixel_size_um == pytest.approx(expected)
    assert section.notes == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (sizes("fifty"), "'fifty micrometer' is not valid"),
        (sizes("0"), "is not valid"),
        (sizes("-50"), "is not valid"),
        (sizes("50", "UO:0000010", "second"), "'50 second' is not valid"),
        (sizes("1.000,5"), "is not valid"),
        (sizes("50") + sizes("50").replace("50", "60"), ""),
        (term("IMS:1000046", "pixel size (x)", "10") + term("IMS:1000047", "pixel size y", "20"),
         "10 x 20 µm are not square"),
    ],
)  # fmt: skip
def test_a_pixel_size_that_is_not_taken_is_noted(tmp_path, text, words):
    section = open_imzml(write(tmp_path / "a.imzML", scan_settings=text))
    assert any(words in note for note in section.notes) if words else not section.notes


@pytest.mark.parametrize("reader", ["xml", "scan", "pyimzml"])
def test_facts_of_the_file_may_stand_in_a_group(tmp_path, reader):
    text = term("IMS:1000080", "universally unique identifier", str(UUID))
    text += term("IMS:1000091", "ibd SHA-1", "A" * 40) + term("MS:1000129", "negative scan")
    path = write(tmp_path / "a.imzML", content=refer("facts"), groups=group(text))
    section = open_imzml(path, reader=reader)
    assert section.uuid == str(UUID)
    assert section.header.checksum == ("sha1", "a" * 40)
    assert section.polarity == "negative"


@pytest.mark.parametrize("reader", ["xml", "scan"])
def test_a_length_that_all_arrays_share_may_stand_in_a_group(tmp_path, reader):
    path = write(tmp_path / "a.imzML", lengths=False, array=refer("facts"),
                 groups=group(term("IMS:1000103", "external array length", "3")))  # fmt: skip
    masses, _ = open_imzml(path, reader=reader).spectrum(4)
    np.testing.assert_array_equal(masses, MASSES)


@pytest.mark.parametrize(
    "kind",
    [
        ("IMS:1100000", "8-bit integer", "<i1"),
        ("IMS:1100001", "16-bit integer", "<i2"),
        ("IMS:1000141", "32-bit integer", "<i4"),
        ("IMS:1000142", "64-bit integer", "<i8"),
        ("MS:1000520", "16-bit float", "<f2"),
        ("", "16-bit float", "<f2"),
        FLOAT32,
    ],
)
@pytest.mark.sweep
@pytest.mark.parametrize("reader", ["xml", "scan"])
def test_every_number_type_is_read(tmp_path, kind, reader):
    named = (kind[0] or "IMS:0", *kind[1:])
    section = open_imzml(write(tmp_path / "a.imzML", kind=named), reader=reader)
    images = section.ion_images(MASSES, 5).values
    np.testing.assert_array_equal(images[:, 1, 2], [1, 10, 100])
    assert section.tic()[0, 0] == 111


ENCODINGS = [("utf-8", None), ("utf-8-sig", "utf-8"), ("utf-16", None), ("iso-8859-1", None),
             ("cp1252", "windows-1252"), ("cp1252", "utf-8"), ("koi8-r", None)]  # fmt: skip


@pytest.mark.parametrize(("encoding", "declared"), ENCODINGS)
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("reader", ["xml", "scan"])
def test_files_of_every_encoding(tmp_path, encoding, declared, newline, reader):
    unit = "um" if encoding == "koi8-r" else "µm"
    path = write(tmp_path / "a.imzML", scan_settings=sizes("50", "", unit), encoding=encoding,
                 declared=declared, newline=newline)  # fmt: skip
    section = open_imzml(path, reader=reader)
    assert section.pixel_size_um == 50
    assert section.shape == (2, 3)


def test_a_wrong_byte_in_one_spectrum_spoils_no_text_of_the_header(tmp_path):
    path = write(tmp_path / "a.imzML", scan_settings=sizes("50", "", "µm"), spectrum="<!-- @ -->")
    path.write_bytes(path.read_bytes().replace(b"@", b"\xb5"))
    for reader in ("xml", "scan"):
        assert open_imzml(path, reader=reader).pixel_size_um == 50


NAMES = st.sampled_from(
    [("MS:1000129", "negative scan"), ("MS:1000130", "positive scan"), ("MS:1000130", "negative scan"),
     ("MS:1000130", " Negative Scan"), ("MS:1000127", "centroid spectrum"), ("MS:1000128", "profile"),
     ("MS:1000294", "mass spectrum"), ("MS:1000511", "ms level"), ("MS:1000999", "positive scan")]
)  # fmt: skip
FACTS = st.sampled_from(
    [sizes("50"), sizes("50,5"), sizes("20", "", "µm"), sizes("x"), sizes("1e-3", "UO:0000016", ""),
     term("IMS:1000080", "universally unique identifier", f"{{{UUID}}}"),
     term("IMS:1000091", "ibd SHA-1", "B" * 40), term("IMS:1000090", "ibd MD5", "C" * 32),
     term("IMS:1000031", "processed"), term("IMS:1000030", "continuous"),
     term("IMS:1000042", "max count of pixels x", "3"), term("IMS:1000043", "max count of pixels y", "2,0"),
     term("X:1", "max count of pixels y", "7"), term("MS:1000129", "negative scan"),
     '<userParam name="operator" value="Жанна &amp; Co"/>', "<!-- a comment -->", refer("facts"),
     refer("nowhere")]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    content=st.lists(FACTS, max_size=4),
    scan_settings=st.lists(FACTS, max_size=4),
    grouped=st.lists(FACTS.filter(lambda text: "Ref" not in text), max_size=3),
    terms=st.lists(NAMES, max_size=3),
    in_scan=st.booleans(),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    newline=st.sampled_from(["\n", "\r\n"]),
)
def test_the_scan_and_the_parser_give_one_header(
    tmp_path_factory, content, scan_settings, grouped, terms, in_scan, encoding, newline
):
    path = write(
        tmp_path_factory.mktemp("header") / "a.imzML",
        content="".join(content),
        scan_settings="".join(scan_settings),
        groups=group("".join(grouped)),
        encoding=encoding,
        declared="utf-8" if encoding == "utf-8-sig" else None,
        newline=newline,
        **{"scan" if in_scan else "spectrum": "".join(term(*one) for one in terms)},
    )
    header, table = parse_imzml(path)
    others = [scan_imzml(path)]
    if encoding == "utf-8":
        with warnings.catch_warnings(), contextlib.suppress(DataError):  # of numbers it cannot read
            warnings.simplefilter("ignore")
            others.append((read_with_pyimzml(path)[0], None))
    for other in others:
        if other is None:
            continue
        assert facts(other[0]) == facts(header)
        if other[1] is not None:
            assert other[0] == header
            assert other[1].terms == table.terms
            for name in ("x", "y", "mz_offset", "mz_length", "intensity_encoded"):
                np.testing.assert_array_equal(other[1].column(name), table.column(name))


def test_not_measured_outside_the_mask_is_written_and_read_back(tmp_path):
    rng = np.random.default_rng(0)
    mask = np.zeros((12, 13), bool)
    mask[2:9, 3:12] = True
    values = np.where(mask, rng.random((2, 12, 13)), np.nan).astype(np.float32)
    for given_mask in (mask, None):
        image = MSImage(values, np.array([500.1, 700.2]), pixel_size_um=10.0, mask=given_mask)
        for mode in ("continuous", "processed"):
            write_imzml(tmp_path / "a.imzML", image, mode=mode)
            again = read_section(tmp_path / "a.imzML", mz=image.mz)
            np.testing.assert_array_equal(again.mask, mask)
            np.testing.assert_array_equal(again.values, np.nan_to_num(values))
            assert again.pixel_size_um == 10


def test_not_measured_beside_measured_is_said(tmp_path):
    values = np.ones((2, 4, 5), np.float32)
    values[0, 1, 2] = math.nan
    with pytest.warns(DataWarning, match="1 intensities are not measured"):
        write_imzml(tmp_path / "a.imzML", MSImage(values, np.array([1.0, 2.0])))


def test_largest_sizes_are_whole_numbers_as_the_vocabulary_asks(tmp_path):
    image = MSImage(np.ones((1, 3, 7), np.float32), np.array([500.0]), pixel_size_um=12.3)
    text = write_imzml(tmp_path / "a.imzML", image).read_text(encoding="utf-8")
    assert 'name="max dimension x" value="86"' in text
    assert 'name="max dimension y" value="37"' in text


def test_a_plain_file_is_scanned_and_one_with_comments_is_left_to_the_parser(tmp_path):
    path = write(tmp_path / "a.imzML")
    header, table = scan_imzml(path)
    assert header == parse_imzml(path)[0]
    assert len(table.column("x")) == 6
    text = path.read_text()
    path.write_text(text.replace("<fileDescription>", "<!-- of a laboratory --><fileDescription>"))
    assert scan_imzml(path) is None
    assert parse_imzml(path)[0] == header


@pytest.mark.parametrize(
    ("names", "usable"),
    [
        ([], True),
        (["mz", "int"], True),
        (["mz", "a&amp;b"], False),
        (["mz", "a<b"], False),
        (["mz", 'a"b'], False),
        (["mz", "a'b"], False),
        (["mz", "größe"], False),
        ([f"g{number}" for number in range(63)], True),
        ([f"g{number}" for number in range(64)], False),
    ],
)
def test_groups_are_usable_by_the_scan_if_their_names_are_plain_and_few(names, usable):
    assert _Groups(SimpleNamespace(groups={name: [] for name in names})).usable is usable


def notes_of(x=(), y=(), size=(math.nan, math.nan)):
    """What is noted of lengths that a header holds for both axes, and of the size that it gives."""
    held = {"IMS:1000046": x, "IMS:1000047": y}
    return Header.pixel_size_notes(
        SimpleNamespace(
            _lengths=lambda accession: [param for param, _ in held[accession]],
            _stated_um=lambda accession: held[accession][0][1],
            pixel_size_um=lambda: size,
        )
    )


def test_of_a_size_that_is_not_valid_forty_signs_are_told_and_of_each_axis_one():
    def param(value, unit_name="", unit_accession=""):
        return SimpleNamespace(value=value, unit_name=unit_name, unit_accession=unit_accession)

    long = (param("v" * 41, "u" * 41), math.nan)
    shown = "a pixel size {} of {!r} is not valid; left unknown"
    assert notes_of(x=[long, long]) == (shown.format("x", "v" * 40 + " " + "u" * 40),)
    odd = (param(" 3 ", "", "UO:0"), 0.0)
    assert notes_of(x=[odd], y=[(param("inf"), math.inf)]) == (
        shown.format("x", "3 UO:0"), shown.format("y", "inf"),
    )  # fmt: skip
    assert notes_of(x=[(param("0.5"), 0.5)], size=(0.5, 0.5)) == ()


def test_pixels_are_square_that_differ_by_a_millionth():
    assert notes_of(size=(50.0, 50.00004)) == notes_of(size=(50.00004, 50.0)) == ()
    for size in ((50.0, 50.00006), (50.00006, 50.0)):
        (note,) = notes_of(size=size)
        assert note.endswith("are not square; pixel_size_um is left unknown")
    for size in ((math.nan, 50.0), (50.0, math.nan), (math.inf, 50.0), (50.0, math.inf)):
        assert notes_of(size=size) == ()
