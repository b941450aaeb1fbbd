"""What the XML half says, element by element, from texts that are written out here."""

from pathlib import Path

import pytest

from msibench.errors import DataError
from msibench.io.imzml import xml
from msibench.io.imzml.scan import scan_imzml
from msibench.io.imzml.spectra import ABSENT, COLUMNS, NEGATIVE, POSITIVE, PROFILE
from msibench.io.imzml.xml import parse_imzml, refuse_entities

PATH = Path("a.imzML")


def cv(accession, name="", value=""):
    return f'<cvParam accession="{accession}" name="{name}" value="{value}"/>'


def numbers(offset, length, encoded):
    return cv("IMS:1000102", "", offset) + cv("IMS:1000103", "", length) + cv("IMS:1000104", "", encoded)  # fmt: skip


MZ = cv("MS:1000514") + cv("MS:1000523")
INTENSITY = cv("MS:1000515") + cv("MS:1000521")


def array(text):
    return f"<binaryDataArray>{text}</binaryDataArray>"


FIRST, SECOND = MZ + numbers(16, 2, 16), INTENSITY + numbers(32, 2, 8)


def spectrum(where="", mz=FIRST, intensity=SECOND):
    where = where or cv("IMS:1000050", "", 1) + cv("IMS:1000051", "", 2)
    return f"<spectrum>{where}{array(mz)}{array(intensity)}</spectrum>"


def parsed(*spectra, head="", count="1"):
    text = f'<mzML>{head}<spectrumList count="{count}">{"".join(spectra)}</spectrumList></mzML>'
    return parse_imzml(PATH, [text.encode()])


def row(table, at=0):
    return {name: int(table.column(name)[at]) for name in COLUMNS}


def test_every_number_of_a_spectrum_has_its_column():
    _, table = parsed(spectrum(), spectrum(cv("IMS:1000050", "", 3) + cv("IMS:1000052", "", 7)))
    assert row(table) == {
        "x": 1, "y": 2, "z": ABSENT, "mz_offset": 16, "mz_length": 2, "mz_encoded": 16,
        "intensity_offset": 32, "intensity_length": 2, "intensity_encoded": 8, "mz_encoding": 0,
        "intensity_encoding": 1, "terms": 0,
    }  # fmt: skip
    assert [row(table, 1)[name] for name in "xyz"] == [3, ABSENT, 7]
    assert [(one.kind, one.dtype, one.compression) for one in table.encodings] == [
        ("mz", "<f8", "none"), ("intensity", "<f4", "none"),
    ]  # fmt: skip
    assert (len(table), table.scientific, table.terms) == (2, False, set())
    assert len(parsed()[1]) == 0


def test_other_arrays_and_parameters_outside_of_spectra_are_passed_over():
    other = array(cv("MS:1000786") + numbers(1, 2, 3))
    beyond = array(MZ + numbers(9, 9, 9)) + cv("IMS:1000050", "", 8)
    _, table = parsed(spectrum().replace("</spectrum>", other + "</spectrum>"), beyond)
    assert len(table) == 1
    assert row(table)["mz_offset"] == 16


@pytest.mark.parametrize(
    ("count", "declared"),
    [("1", 1), ("0", 0), ("9" * 18, 10**18 - 1), ("1" + "0" * 18, None), ("", None), ("-1", None),
     ("1.0", None), ("٣", None)],
)  # fmt: skip
def test_the_number_of_spectra_is_what_is_declared(count, declared):
    assert parsed(spectrum(), count=count)[0].declared_spectra == declared


@pytest.mark.parametrize(
    ("text", "number", "scientific"),
    [
        ("16", 16, False), (" 16 ", 16, False), ("-5", -5, False), ("16.0", 16, False), ("1.6e1", 16, True),
        ("1.6E+1", 16, True), ("9" * 18, 10**18 - 1, False), (str(2**62), 2**62, False),
        (f"0{2**62}", 2**62, False), (f"-{2**62}", -(2**62), False), ("1e18", 10**18, True),
    ],
)  # fmt: skip
def test_whole_numbers_are_read_however_they_are_written(text, number, scientific):
    _, table = parsed(spectrum(mz=MZ + numbers(text, 2, 16)))
    assert row(table)["mz_offset"] == number
    assert table.scientific is scientific


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "should be a whole number, got ''"), ("1.5", "should be a whole number"), ("x", "should be"),
        ("nan", "should be"), ("inf", "should be"), ("1e19", "should be a whole number"), ("1e999999999", "should be"),
        ("9" * 19, "should be below 2.63"), (str(2**63 - 1), ""), ("-" + "9" * 18, ""),
        ("9" * 41, "should be a whole number, got '" + "9" * 40 + "'"),
    ],
)  # fmt: skip
def test_what_is_not_a_whole_number_is_refused_in_forty_signs(text, said):
    if not said:
        assert row(parsed(spectrum(mz=MZ + numbers(text, 2, 16)))[1])["mz_offset"] == int(text)
        return
    with pytest.raises(DataError, match=f"spectrum 1: offset {said}"):
        parsed(spectrum(), spectrum(mz=MZ + numbers(text, 2, 16)))


def test_two_values_for_one_thing_must_be_the_same():
    again = cv("IMS:1000050", "", 1) * 2
    assert row(parsed(spectrum(again))[1])["x"] == 1
    with pytest.raises(DataError, match="spectrum 0: two values for x, 1 and 2"):
        parsed(spectrum(cv("IMS:1000050", "", 1) + cv("IMS:1000050", "", 2)))
    with pytest.raises(DataError, match="spectrum 0: has two mz arrays"):
        parsed(spectrum(intensity=MZ + numbers(1, 2, 3)))


def group(name, *params):
    return f'<referenceableParamGroup id="{name}">{"".join(params)}</referenceableParamGroup>'


def ref(name):
    return f'<referenceableParamGroupRef ref="{name}"/>'


def test_groups_stand_for_their_parameters_wherever_they_are_referred_to():
    head = group("m", MZ, cv("IMS:1000103", "", 2)) + group("i", INTENSITY) + group(
        "s", cv("MS:1000130"), cv("MS:1000128"), cv("IMS:1000051", "", 5)
    ) + f"<fileContent>{ref('f')}{cv('IMS:1000080', '', 'u')}</fileContent>" + (
        f"<scanSettings>{ref('g')}</scanSettings>"
    ) + group("f", cv("IMS:1000031")) + group("g", cv("IMS:1000042", "", 3))  # fmt: skip
    where = ref("s") + cv("IMS:1000050", "", 1)
    one = spectrum(where, ref("m") + cv("IMS:1000102", "", 16), ref("i") + numbers(32, 2, 8))
    header, table = parsed(one, one.replace(ref("s"), cv("MS:1000129")), head=head)
    found = row(table)
    assert (found["x"], found["y"], found["mz_length"], found["mz_offset"]) == (1, 5, 2, 16)
    assert found["terms"] == POSITIVE | PROFILE
    assert row(table, 1)["terms"] == NEGATIVE
    assert table.terms == {"MS:1000130", "MS:1000128", "MS:1000129"}
    assert [param.accession for param in header.file_content] == ["IMS:1000080", "IMS:1000031"]
    assert [param.value for param in header.scan_settings] == ["3"]
    assert header.declared_mode == "processed"
    assert len(table.encodings) == 2
    assert row(parsed(spectrum(mz=ref("none") + MZ + numbers(1, 2, 3)))[1])["mz_offset"] == 1


def test_an_array_or_a_group_has_as_many_parameters_as_may_be(monkeypatch):
    monkeypatch.setattr(xml, "MOST_PARAMS", 4)
    more = cv("MS:1000576")
    parsed(spectrum(mz=MZ + more * 2 + numbers(1, 2, 3)))
    with pytest.raises(DataError, match="an array has more than 4 parameters"):
        parsed(spectrum(mz=MZ + more * 3 + numbers(1, 2, 3)))
    parsed(head=group("a", more * 4))
    with pytest.raises(DataError, match="a parameter group has more than 4"):
        parsed(head=group("a", more * 5))
    head = group("a", more * 2)
    parsed(spectrum(mz=MZ + ref("a") + numbers(1, 2, 3)), head=head)
    with pytest.raises(DataError, match="an array has more than 4"):
        parsed(spectrum(mz=MZ + ref("a") * 2 + numbers(1, 2, 3)), head=head)
    held, _ = parsed(head=head + f"<fileContent>{ref('a') * 9}</fileContent>")
    assert len(held.file_content) == 4 * 2


def test_elements_are_nested_as_deep_as_may_be():
    assert xml.DEEPEST == 64
    parsed(head="<a>" * 63 + "</a>" * 63)
    with pytest.raises(DataError, match="nested more than 64 deep"):
        parsed(head="<a>" * 64 + "</a>" * 64)
    parsed(head="<a></a>" * 100)


def test_a_wrong_byte_is_read_as_latin_and_the_rest_as_it_was_meant():
    text = '<mzML><fileContent><cvParam name="µm" value="ä"/><userParam name="x" value="'
    raw = text.encode() + b'\xb5"/></fileContent></mzML>'
    header, _ = parse_imzml(PATH, [raw])
    assert header.encoding_fallback
    assert [(param.name, param.value) for param in header.file_content] == [("µm", "ä"), ("x", "µ")]
    assert not parse_imzml(PATH, [text.encode() + b'"/></fileContent></mzML>'])[0].encoding_fallback
    for declared in ("none-such", "utf-7"):
        odd = f'<?xml version="1.0" encoding="{declared}"?><mzML></mzML>'.encode()
        assert parse_imzml(PATH, [odd])[0].encoding_fallback


def test_what_breaks_off_is_named_with_its_place():
    for raw, place in ((b"<mzML>\n<a", "line 2, column 0"), (b"", "line 1"), (b"<a></b>", "line 1, column 5")):  # fmt: skip
        with pytest.raises(DataError, match=f"damaged at {place}"):
            parse_imzml(PATH, [raw])
    with pytest.raises(DataError, match="damaged at line 1"):
        parse_imzml(PATH, [b"<mzML a='\xb5'><b></mzML>"])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1"])
def test_entities_are_refused_and_other_documents_are_not(tmp_path, encoding):
    path = tmp_path / "a.imzML"
    start = f'<?xml version="1.0" encoding="{encoding}"?>'
    for text, refused in (
        (start + '<!DOCTYPE a [<!ENTITY b "c">]><a/>', True),
        (start + "<!DOCTYPE a><a/>", False),
        (start + "<a><b></a>", False),  # what follows is for its reader
    ):
        path.write_bytes(text.encode(encoding))
        if refused:
            with pytest.raises(DataError, match="declares the XML entity 'b'"):
                refuse_entities(path)
            with pytest.raises(DataError, match="declares the XML entity 'b'"):
                parse_imzml(path)
        else:
            refuse_entities(path)
    path.write_bytes(b"no xml")
    with pytest.raises(DataError, match="damaged at line 1"):
        refuse_entities(path)


@pytest.mark.parametrize(
    "text",
    [
        "<mzML></mzML>", '<mzML><spectrumList count="0"/></mzML>', "<mzML><spectrumList",
        f'<mzML><spectrumList count="0"/><run><spectrumList count="1">{spectrum()}</spectrumList></run></mzML>',
        f"<!DOCTYPE mzML><mzML><spectrumList>{spectrum()}</spectrumList></mzML>",
        f"<mzML><spectrumList>{spectrum()}</spectrumList><spectrumList></spectrumList></mzML>",
    ],
)  # fmt: skip
def test_what_the_scan_cannot_know_is_left_to_the_parser(tmp_path, text):
    (tmp_path / "a.imzML").write_text(text)
    assert scan_imzml(tmp_path / "a.imzML") is None
