"""What the writer writes, read back element by element with the standard library."""

import hashlib
import json
import uuid
import zlib
from xml.etree import ElementTree

import numpy as np
import pytest

from msibench.errors import ConfigurationError
from msibench.io.imzml.writer import ArrayFormat, ImzMLWriter, Origin

UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")
SPECTRA = [
    (0, 2, [100.5, 200.25], [1.0, 2.0]),
    (1, 0, [], []),
    (1, 1, [300.0], [7.5]),
]


def written(path, spectra=SPECTRA, **options):
    with ImzMLWriter(path, shape=(2, 3), identifier=UUID, **options) as writer:
        for spectrum in spectra:
            writer.add(*spectrum)
    tree = ElementTree.parse(path).getroot()
    for element in tree.iter():
        element.tag = element.tag.partition("}")[2]
    return tree, path.with_suffix(".ibd").read_bytes()


def terms(element):
    return {term.get("name"): term.get("value") for term in element.iter("cvParam")}


def names(tree, group):
    return set(terms(tree.find(f".//referenceableParamGroup[@id='{group}']")))


def test_each_spectrum_is_where_the_file_says(tmp_path):
    tree, binary = written(tmp_path / "a.imzML")
    assert binary[:16] == UUID.bytes
    listed = tree.find(".//spectrumList")
    assert listed.get("count") == "3"
    for number, (spectrum, (row, column, mz, values)) in enumerate(
        zip(listed, SPECTRA, strict=True)
    ):
        assert (spectrum.get("id"), spectrum.get("index")) == (f"Scan={number + 1}", str(number))
        place = terms(spectrum.find("scanList"))
        assert (place["position x"], place["position y"]) == (str(column + 1), str(row + 1))
        for array, kind, wanted in zip(
            spectrum.iter("binaryDataArray"), ("<f8", "<f4"), (mz, values), strict=True
        ):
            said = {name: int(value) for name, value in terms(array).items()}
            assert said["external array length"] == len(wanted)
            assert said["external encoded length"] == len(wanted) * int(kind[-1])
            found = np.frombuffer(binary, kind, len(wanted), said["external offset"])
            assert found.tolist() == wanted
    assert len(binary) == 16 + 3 * (8 + 4)


def test_the_head_says_what_the_file_is(tmp_path):
    origin = Origin(predicted="a & b", provenance={"b": 1, "a": "µ"})
    tree, binary = written(
        tmp_path / "a.imzML", pixel_size_um=2.6, polarity="negative", origin=origin
    )
    content = terms(tree.find(".//fileContent"))
    assert content["universally unique identifier"] == f"{{{UUID}}}"
    assert content["ibd SHA-1"] == hashlib.sha1(binary, usedforsecurity=False).hexdigest()
    assert "processed" in content
    assert "negative scan" in names(tree, "spectrum1")
    assert {"64-bit float", "no compression"} <= names(tree, "mzArray")
    assert {"32-bit float", "no compression"} <= names(tree, "intensityArray")
    grid = terms(tree.find(".//scanSettings"))
    assert (grid["max count of pixels x"], grid["max count of pixels y"]) == ("3", "2")
    assert (grid["pixel size (x)"], grid["pixel size y"]) == ("2.6", "2.6")
    assert (grid["max dimension x"], grid["max dimension y"]) == ("8", "5")  # 7.8 and 5.2 µm
    said = {one.get("name"): one.get("value") for one in tree.iter("userParam")}
    assert said["predicted intensities"] == "a & b"
    assert said["msibench:provenance"] == json.dumps(origin.provenance, sort_keys=True)
    plain, _ = written(tmp_path / "b.imzML")
    assert "pixel size (x)" not in terms(plain.find(".//scanSettings"))
    assert not {"negative scan", "positive scan"} & names(plain, "spectrum1")
    assert {one.get("name") for one in plain.iter("userParam")} == {"msibench:grid"}


def test_arrays_are_packed_where_that_is_asked_for_and_empty_ones_are_not(tmp_path):
    arrays = ArrayFormat(mz=np.float32, intensity=np.int32, compress=True)
    tree, binary = written(tmp_path / "a.imzML", arrays=arrays)
    assert {"32-bit float", "zlib compression"} <= names(tree, "mzArray")
    assert {"32-bit integer", "zlib compression"} <= names(tree, "intensityArray")
    for spectrum, (*_, mz, values) in zip(tree.find(".//spectrumList"), SPECTRA, strict=True):
        for array, kind, wanted in zip(
            spectrum.iter("binaryDataArray"), ("<f4", "<i4"), (mz, values), strict=True
        ):
            said = {name: int(value) for name, value in terms(array).items()}
            start, stored = said["external offset"], said["external encoded length"]
            packed = binary[start : start + stored]
            assert bool(packed) is bool(wanted)
            found = np.frombuffer(zlib.decompress(packed) if packed else b"", kind)
            np.testing.assert_array_equal(found, np.array(wanted, kind))


def test_one_axis_of_a_continuous_file_is_stored_once(tmp_path):
    axis = np.array([100.0, 200.0])
    spectra = [(0, 0, axis, [1.0, 2.0]), (0, 1, axis, [3.0, 4.0]), (1, 2, axis.copy(), [5.0, 6.0])]
    tree, binary = written(tmp_path / "a.imzML", spectra, mode="continuous")
    assert "continuous" in terms(tree.find(".//fileContent"))
    assert len(binary) == 16 + 2 * 8 + 3 * 2 * 4
    places = [
        [terms(array)["external offset"] for array in spectrum.iter("binaryDataArray")]
        for spectrum in tree.find(".//spectrumList")
    ]
    assert places == [["16", "32"], ["16", "40"], ["16", "48"]]
    with pytest.raises(ConfigurationError, match="has one m/z axis"):
        written(tmp_path / "b.imzML", [*spectra, (1, 1, [100.0, 201.0], [1, 2])], mode="continuous")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.ibd", "a.imzML"]


@pytest.mark.parametrize(
    ("spectrum", "said"),
    [
        ((-1, 0, [], []), r"\(-1, 0\) lies outside"),
        ((0, -1, [], []), r"\(0, -1\) lies outside"),
        ((2, 0, [], []), r"\(2, 0\) lies outside"),
        ((0, 3, [], []), r"\(0, 3\) lies outside"),
        ((0, 0, [1.0], []), "as many m/z as intensities"),
        ((0, 0, [[1.0]], [[1.0]]), "as many m/z as intensities"),
    ],
)
def test_a_spectrum_that_cannot_be_is_refused(tmp_path, spectrum, said):
    with pytest.raises(ConfigurationError, match=said):
        written(tmp_path / "a.imzML", [(1, 2, [], []), spectrum])
    assert list(tmp_path.iterdir()) == []


def test_another_mode_or_polarity_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="continuous or processed, got 'both'"):
        written(tmp_path / "a.imzML", mode="both")
    with pytest.raises(ConfigurationError, match="positive, negative or None, got 'mixed'"):
        written(tmp_path / "a.imzML", polarity="mixed")
    assert list(tmp_path.iterdir()) == []
