"""The strongest channels of a section, its total ion count, and what kind of file it is."""

import numpy as np
import pytest

from msibench.errors import ConfigurationError, DataError, MissingDataError
from msibench.image import MSImage
from msibench.io import write_image, write_imzml
from msibench.io.imzml.writer import ImzMLWriter
from msibench.io.read import SIGNATURES, SUFFIXES, kind_of, most_intense, read_section, read_tic

MEANS = (3.0, 0.0, 7.0, 3.0, 1.0)
MZ = (500.0, 200.0, 300.0, 400.0, 100.0)


@pytest.fixture
def stack(tmp_path):
    values = np.array(MEANS, np.float32)[:, None, None] * np.ones((2, 3), np.float32)
    values[0, 0, 0] = np.nan
    values[1] = 0
    write_image(tmp_path / "a.h5", MSImage(values, np.array(MZ)))
    return tmp_path / "a.h5"


@pytest.mark.parametrize(
    ("count", "mz"), [(1, [300]), (2, [300, 400]), (3, [300, 400, 500]), (9, [300, 400, 500, 100])]
)
def test_the_strongest_channels_come_by_their_mean_and_then_their_mz(stack, count, mz):
    found = most_intense(stack, count)
    assert found.mz.tolist() == mz
    assert found.offered == 4
    by_mz = dict(zip(MZ, MEANS, strict=True))
    assert found.intensity.tolist() == [by_mz[one] for one in mz]


def test_channels_without_mz_cannot_be_chosen(tmp_path):
    write_image(
        tmp_path / "a.h5", MSImage(np.ones((2, 3, 4), np.float32), np.array([500.0, np.nan]))
    )
    with pytest.raises(ConfigurationError, match="have no m/z by which to choose"):
        most_intense(tmp_path / "a.h5", 1)


def test_peaks_and_the_total_ion_count_of_spectra(tmp_path, stack):
    with ImzMLWriter(tmp_path / "a.imzML", shape=(1, 2)) as writer:
        writer.add(0, 0, np.array([100.0, 200.0]), np.array([1.0, 2.0]))
        writer.add(0, 1, np.array([200.0]), np.array([5.0]))
    np.testing.assert_allclose(read_tic(tmp_path / "a.imzML"), [[3.0, 5.0]])
    assert read_tic(stack) is None
    found = most_intense(tmp_path / "a.imzML", 1)
    np.testing.assert_allclose(found.mz, [200.0], rtol=1e-6)
    write_imzml(tmp_path / "b.imzML", MSImage(np.zeros((1, 2, 3), np.float32), np.array([500.0])))
    with pytest.raises(ConfigurationError, match="no peak with an intensity above 0"):
        most_intense(tmp_path / "b.imzML", 1)


@pytest.mark.parametrize("size", [0, -1, float("inf"), float("nan")])
def test_a_pixel_size_is_a_length(stack, size):
    with pytest.raises(ConfigurationError, match="must be a positive length"):
        read_section(stack, pixel_size_um=size)
    assert read_section(stack, pixel_size_um=1e-3).pixel_size_um == 1e-3


def test_a_kind_is_told_by_suffix_and_then_by_the_first_bytes(tmp_path):
    for suffix, kind in SUFFIXES.items():
        for name in (f"a{suffix}", f"a{suffix.upper()}"):
            (tmp_path / name).write_bytes(b"\0")
            assert kind_of(tmp_path / name) == kind
    path = tmp_path / "a.unknown"
    for head, kind in SIGNATURES.items():
        path.write_bytes(head)
        assert kind_of(path) == kind
    for head in (b"<mzML", b"x" * 507 + b"<mzML", b'<?xml version="1.0"?><indexedmzML'):
        path.write_bytes(head)
        assert kind_of(path) == "imzml"
    for head in (b"x" * 508 + b"<mzML", b"x\x89PNG\r\n\x1a\n"):
        path.write_bytes(head)
        with pytest.raises(DataError, match="unknown format"):
            kind_of(path)
    with pytest.raises(DataError, match="is a folder"):
        kind_of(tmp_path)
    with pytest.raises(MissingDataError, match="does not exist"):
        kind_of(tmp_path / "none.h5")
