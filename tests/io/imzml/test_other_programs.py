"""imzML that we write is opened by the programs of others, without a warning.

Those that are no dependency are skipped where they are not installed; `.github/workflows/nightly.yml`
installs them.
"""

import shutil
import warnings

import numpy as np
import pytest

from msibench import MSImage
from msibench.io import write_imzml

MASSES = np.array([500.1, 600.2, 700.3, 800.4])
UM = 12.5


@pytest.fixture(params=["continuous", "processed"])
def pair(request, tmp_path, monkeypatch):
    """The file, the images in it, and where they were measured."""
    monkeypatch.chdir(tmp_path)  # m2aia leaves its preferences where it runs
    mask = np.ones((9, 13), bool)
    mask[:2, :3] = False
    values = np.random.default_rng(0).random((4, 9, 13), dtype=np.float32) + 0.5
    image = MSImage(values, MASSES, pixel_size_um=UM, mask=mask)
    path = write_imzml(tmp_path / "a.imzML", image, mode=request.param, polarity="positive")
    return path, values, mask


@pytest.fixture
def loud():
    """Make a warning an error, but for files that a program leaves open."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ResourceWarning)
        yield


@pytest.mark.usefixtures("loud")
def test_pyimzml_opens_it(pair):
    from pyimzml.ImzMLParser import ImzMLParser, getionimage

    path, values, mask = pair
    parser = ImzMLParser(str(path))
    with parser.m:
        assert parser.imzmldict["pixel size x"] == UM
        assert parser.imzmldict["pixel size y"] == UM
        assert parser.imzmldict["max count of pixels x"] == 13
        assert len(parser.coordinates) == mask.sum()
        found = getionimage(parser, 600.2, tol=0.01)
    np.testing.assert_allclose(found, np.where(mask, values[1], 0), rtol=1e-6)


@pytest.mark.usefixtures("loud")
def test_imzy_opens_it(pair):
    imzy = pytest.importorskip("imzy", minversion="0.3", reason="imzy 0.3 is not installed")
    path, values, mask = pair
    reader = imzy.get_reader(path)
    assert reader.n_pixels == mask.sum()
    assert reader.pixel_size == UM
    found = np.nan_to_num(reader.get_ion_image(600.2, ppm=5))
    np.testing.assert_allclose(found, np.where(mask, values[1], 0), rtol=1e-6)


def test_m2aia_opens_it(pair):
    m2aia = pytest.importorskip("m2aia", reason="m2aia is not installed")
    path, _, mask = pair
    reader = m2aia.ImzMLReader(str(path))
    assert list(reader.GetShape())[:2] == [13, 9]
    assert reader.GetNumberOfSpectra() == mask.sum()


def test_m2aia_reads_images_and_pixel_size_where_a_term_has_the_name_that_it_wants(pair, tmp_path):
    # The vocabulary calls IMS:1000046 "pixel size (x)", and so do the official example and we.
    m2aia = pytest.importorskip("m2aia", reason="m2aia is not installed")
    path, values, mask = pair
    text = path.read_text(encoding="utf-8").replace('"pixel size (x)"', '"pixel size x"')
    other = tmp_path / "b.imzML"
    other.write_text(text, encoding="utf-8")
    shutil.copy(path.with_suffix(".ibd"), other.with_suffix(".ibd"))
    reader = m2aia.ImzMLReader(str(other))
    np.testing.assert_allclose(reader.GetSpacing()[:2], UM / 1000)
    found = reader.GetArray(600.2, 0.01)[0]
    np.testing.assert_allclose(found, np.where(mask, values[1], 0), rtol=1e-6)
    masses, intensities = reader.GetSpectrum(0)
    np.testing.assert_allclose(masses, MASSES, rtol=1e-6)
    np.testing.assert_allclose(intensities, values[:, mask][:, 0], rtol=1e-6)


@pytest.mark.usefixtures("loud")
def test_thyra_opens_it(pair):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the many packages that it imports
        readers = pytest.importorskip("thyra.readers.imzml", reason="thyra is not installed")
    path, values, mask = pair
    reader = readers.ImzMLReader(path)
    facts = reader.get_essential_metadata()
    assert facts.dimensions == (13, 9, 1)
    assert facts.pixel_size == (UM, UM)
    assert facts.n_spectra == mask.sum()
    np.testing.assert_array_equal(reader.get_common_mass_axis(), MASSES)
    found = np.zeros_like(values)
    for (column, row, _), masses, intensities in reader.iter_spectra():
        found[np.searchsorted(MASSES, masses), row, column] = intensities
    reader.close()
    np.testing.assert_array_equal(found, np.where(mask, values, 0))
