"""imzML pairs from strangers: entities, counts, offsets and positions that lie."""

from __future__ import annotations

import uuid
import zlib
from itertools import product

import numpy as np
import pytest

from msibench.errors import DataError

IMAGES = "bounded:ion_images"
READERS = ("xml", "scan", "pyimzml", "auto")


def params(*pairs):
    return "".join(f'<cvParam cvRef="x" accession="{a}" name="n" value="{v}"/>' for a, v in pairs)


def spectrum(x, y, mz, intensity):
    arrays = "".join(
        f'<binaryDataArray encodedLength="0"><referenceableParamGroupRef ref="{kind}"/>'
        + params(("IMS:1000103", length), ("IMS:1000102", offset), ("IMS:1000104", stored))
        + "<binary/></binaryDataArray>"
        for kind, (offset, length, stored) in (("mz", mz), ("int", intensity))
    )
    scan = f"<scanList><scan>{params(('IMS:1000050', x), ('IMS:1000051', y))}</scan></scanList>"
    return f'<spectrum id="s" index="0">{scan}<binaryDataArrayList>{arrays}</binaryDataArrayList></spectrum>'


def document(spectra, *, doctype="", zlib_arrays=False, count=None, extra_params="", head="UTF-8"):
    packing = params(("MS:1000574" if zlib_arrays else "MS:1000576", ""))
    groups = "".join(
        f'<referenceableParamGroup id="{name}">'
        + params((code, ""))
        + f'<cvParam cvRef="x" accession="{dtype}" name="{words}" value=""/>{packing}{extra_params}'
        + "</referenceableParamGroup>"
        for name, code, dtype, words in (
            ("mz", "MS:1000514", "MS:1000523", "64-bit float"),
            ("int", "MS:1000515", "MS:1000521", "32-bit float"),
        )
    )
    mark = uuid.UUID(int=7)
    return (
        f'<?xml version="1.0" encoding="{head}"?>{doctype}<mzML xmlns="http://psi.hupo.org/ms/mzml">'
        "<fileDescription><fileContent>"
        + params(("IMS:1000080", mark), ("IMS:1000031", ""))
        + f"</fileContent></fileDescription><referenceableParamGroupList>{groups}"
        "</referenceableParamGroupList><scanSettingsList><scanSettings id='a'></scanSettings>"
        "</scanSettingsList><instrumentConfigurationList><instrumentConfiguration id='i'/>"
        "</instrumentConfigurationList><run><spectrumList "
        f'count="{len(spectra) if count is None else count}">{"".join(spectra)}'
        "</spectrumList></run></mzML>"
    )


def pair(folder, text, body, encoding="utf-8"):
    path = folder / "s.imzML"
    path.write_bytes(text.encode(encoding))
    path.with_suffix(".ibd").write_bytes(uuid.UUID(int=7).bytes + body)
    return path


def sound(x=1, y=1):
    """One spectrum of two peaks at byte 16 (m/z) and 32 (intensities)."""
    return spectrum(x, y, (16, 2, 16), (32, 2, 8))


BODY = np.array([500.0, 600.0], "<f8").tobytes() + np.array([1.0, 2.0], "<f4").tobytes()


@pytest.fixture(autouse=True, scope="module")
def warm(server, tmp_path_factory):
    """Compile the kernels once, so that no refusal is charged for it."""
    path = pair(tmp_path_factory.mktemp("warm"), document([sound()]), BODY)
    for reader in READERS:
        server.call(IMAGES, path, reader=reader, memory_mib=None, seconds=0)


@pytest.mark.parametrize("reader", READERS)
def test_the_hand_made_pair_is_read(bounded, tmp_path, reader):
    ended = bounded(IMAGES, pair(tmp_path, document([sound()]), BODY), reader=reader)
    assert ended.value == "(1, 1, 1)", ended


INSIDE = (
    '<!DOCTYPE mzML [<!ENTITY a "ha">'
    + "".join(
        f'<!ENTITY {n} "{f"&{p};" * 10}">' for p, n in zip("abcdefghi", "bcdefghij", strict=True)
    )
    + "]>"
)
DECLARATIONS = {
    "billion laughs": INSIDE,
    "a file of this machine": '<!DOCTYPE mzML [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
    "an address": '<!DOCTYPE mzML [<!ENTITY a SYSTEM "http://127.0.0.1:9/x">]>',
    "a parameter entity": '<!DOCTYPE mzML [<!ENTITY % a SYSTEM "http://127.0.0.1:9/x"> %a;]>',
    "one long entity": f'<!DOCTYPE mzML [<!ENTITY a "{"x" * 100_000}">]>',
}


ENTITIES = [
    pytest.param(*case, marks=() if number % 4 == number // 8 % 4 else pytest.mark.slow)
    for number, case in enumerate(product(DECLARATIONS, ("utf-8", "utf-16"), READERS))
]
"""Every declaration in both encodings with every reader; always, each declaration and encoding with one."""


@pytest.mark.sweep
@pytest.mark.parametrize(("what", "encoding", "reader"), ENTITIES)
def test_entities_are_refused_by_every_reader_in_every_encoding(
    refused, tmp_path, reader, what, encoding
):
    text = document([sound()], doctype=DECLARATIONS[what], head=encoding.upper())
    text = text.replace('value="2"', 'value="&a;"', 1) if "laughs" in what else text
    path = pair(tmp_path, text, BODY, encoding)
    refused(IMAGES, path, reader=reader, names="entity", memory_mib=96)


@pytest.mark.parametrize("reader", READERS)
def test_a_document_type_without_entities_fetches_nothing(bounded, tmp_path, reader):
    text = document([sound()], doctype='<!DOCTYPE mzML SYSTEM "http://127.0.0.1:9/mzML.dtd">')
    ended = bounded(IMAGES, pair(tmp_path, text, BODY), reader=reader, memory_mib=96, seconds=30)
    assert not ended.error or ended.on_purpose, ended


BIG = (1 << 62) + 1
LIES = {
    "offset outside": (spectrum(1, 1, (1 << 40, 2, 16), (32, 2, 8)), "bytes"),
    "offset far outside": (spectrum(1, 1, (BIG, 2, 16), (32, 2, 8)), ""),
    "negative offset": (spectrum(1, 1, (-500, 2, 16), (32, 2, 8)), ""),
    "reaches outside": (spectrum(1, 1, (16, 2, 16), (36, 2, 8)), "has 40 bytes"),
    "negative length": (spectrum(1, 1, (16, -2, 16), (32, -2, 8)), "negative"),
    "absurd length": (spectrum(1, 1, (16, 1 << 40, 16), (32, 1 << 40, 8)), "more than"),
    "lengths differ": (spectrum(1, 1, (16, 2, 16), (32, 1, 4)), "m/z values but"),
    "no number": (spectrum(1, 1, (16, "2e400", 16), (32, 2, 8)), "whole number"),
    "long number": (spectrum(1, 1, (16, "9" * 50_000, 16), (32, 2, 8)), "whole number"),
    "huge exponent": (spectrum(1, 1, ("1e999999999", 2, 16), (32, 2, 8)), "whole number"),
}


@pytest.mark.sweep
@pytest.mark.parametrize("reader", ["xml", "scan"])
@pytest.mark.parametrize("what", LIES)
def test_arrays_outside_the_file_are_refused(refused, tmp_path, reader, what):
    lie, named = LIES[what]
    path = pair(tmp_path, document([sound(), lie]), BODY)
    refused(IMAGES, path, reader=reader, names=named, memory_mib=96)


@pytest.mark.sweep
@pytest.mark.parametrize("reader", ["xml", "scan"])
@pytest.mark.parametrize(
    "place",
    [(1 << 20, 1 << 20), (1 << 40, 1), (1 << 61, 1 << 61), (-(1 << 61), 1 << 61), (5000, 5000)],
)
def test_positions_that_would_need_a_giant_image_are_refused(refused, tmp_path, reader, place):
    path = pair(tmp_path, document([sound(), sound(*place)]), BODY)
    mz = tuple(np.linspace(400, 700, 45))
    refused(IMAGES, path, mz, reader=reader, names="pixels", memory_mib=96)


def test_the_largest_believable_image_of_a_tiny_file_stays_bounded(bounded, tmp_path):
    path = pair(tmp_path, document([sound(), sound(2000, 2000)]), BODY)
    ended = bounded(IMAGES, path, memory_mib=512)
    assert ended.value == "(1, 2000, 2000)", ended


@pytest.mark.parametrize("reader", ["xml", "scan", "auto"])
def test_counts_that_lie_allocate_nothing(bounded, tmp_path, reader):
    for count in (1 << 40, -1, "9" * 40, "9" * 5000, "x", 0):
        path = pair(tmp_path, document([sound()], count=count), BODY)
        ended = bounded(IMAGES, path, reader=reader, memory_mib=96)
        assert not ended.error or ended.on_purpose, (count, ended)


def test_compressed_arrays_that_explode_are_refused(refused, tmp_path):
    bomb = zlib.compress(b"\0" * (64 << 20), 1)
    for length, named in ((1 << 27, "claims"), (1 << 33, ""), (4, "holds more"), (1 << 22, "")):
        one = spectrum(1, 1, (16, length, len(bomb)), (16, length, len(bomb)))
        path = pair(tmp_path, document([one], zlib_arrays=True), bomb)
        refused(IMAGES, path, names=named, memory_mib=96)


def test_arrays_that_share_their_bytes_over_and_over_are_refused(refused, tmp_path):
    """Each of 30,000 spectra reads the same 4 MB: 120 GB of work in a file of 12 MB."""
    length = 1 << 20
    body = np.linspace(1, 2, length).tobytes() + bytes(4 * length)
    one = spectrum("{x}", 1, (16, length, 8 * length), (16 + 8 * length, length, 4 * length))
    text = document([one.replace("{x}", str(x)) for x in range(1, 2000)])
    refused(IMAGES, pair(tmp_path, text, body), names="share the same bytes", memory_mib=256)


def test_parameters_that_are_repeated_over_and_over_are_refused(refused, tmp_path):
    extra = params(*[("MS:1", str(n)) for n in range(2000)])
    text = document([sound(x) for x in range(1, 50)], extra_params=extra)
    refused(IMAGES, pair(tmp_path, text, BODY), reader="xml", names="parameters", memory_mib=96)


def test_elements_nested_without_end_are_refused(refused, tmp_path):
    path = pair(tmp_path, "<mzML>" + "<a>" * 500_000, BODY)
    refused(IMAGES, path, names="nested", memory_mib=96)


def test_what_declares_entities_is_told_without_reading_on(tmp_path):
    from msibench.io.imzml.xml import refuse_entities

    for name, declaration in DECLARATIONS.items():
        path = tmp_path / f"{name}.imzML"
        path.write_text(declaration + "<mzML><broken")
        with pytest.raises(DataError, match="entity"):
            refuse_entities(path)
    path.write_text("<mzML><broken")
    refuse_entities(path)
