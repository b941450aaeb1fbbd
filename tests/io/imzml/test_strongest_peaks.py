"""Peaks of the mean spectrum, and the peaks nearest to an m/z: against sums that are written out plainly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msibench.errors import ConfigurationError
from msibench.io import open_imzml
from tests.io.imzml.imzml_files import write_odd_imzml

PEAKS = {150.0: 5.0, 300.25: 40.0, 300.30: 20.0, 798.541: 90.0, 1500.0: 1.0}
"""m/z to mean intensity; 300.25 and 300.30 lie 166 ppm apart."""


def centroids(seed=0, count=12, jitter_ppm=1.0):
    rng = np.random.default_rng(seed)
    spectra = []
    for _ in range(count):
        mz = np.array(list(PEAKS)) * (1 + rng.uniform(-jitter_ppm, jitter_ppm, len(PEAKS)) * 1e-6)
        spectra.append((mz, np.array(list(PEAKS.values())) * rng.uniform(0.5, 1.5, len(PEAKS))))
    return spectra


def profiles(step=0.01, width=0.012, count=12, seed=0):
    rng = np.random.default_rng(seed)
    axis = np.arange(140.0, 1600.0, step)
    spectra = []
    for _ in range(count):
        values = rng.gamma(1.0, 0.002, axis.size)
        for centre, height in PEAKS.items():
            values += height * np.exp(-0.5 * ((axis - centre) / width) ** 2)
        spectra.append((axis, values))
    return spectra


def test_peaks_come_by_the_intensity_of_their_ion_images(tmp_path):
    section = open_imzml(write_odd_imzml(tmp_path / "a.imzML", spectra=centroids()))
    found = section.strongest_peaks(10, ppm=5)
    assert found.offered == len(PEAKS)
    expected = sorted(PEAKS, key=PEAKS.get, reverse=True)
    np.testing.assert_allclose(found.mz, expected, rtol=1.5e-6)
    images = section.ion_images(found.mz, ppm=5).values
    np.testing.assert_allclose(images.sum((1, 2)) / len(section), found.intensity, rtol=1e-6)
    assert section.strongest_peaks(2, ppm=5).mz.tolist() == found.mz[:2].tolist()


@pytest.mark.sweep
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("ppm", [1.0, 5.0, 20.0])
@pytest.mark.parametrize("said", ["profile", None])
def test_a_profile_peak_counts_once_however_it_is_sampled(tmp_path, shared, ppm, said):
    mode = "continuous" if shared else "processed"
    path = write_odd_imzml(
        tmp_path / "a.imzML", spectra=profiles(), shared_axis=shared, declared_mode=mode,
        spectrum_mode=said,
    )  # fmt: skip
    section = open_imzml(path)
    found = section.strongest_peaks(5, ppm=ppm)
    for mz in PEAKS:
        assert np.count_nonzero(np.abs(found.mz / mz - 1) < 70e-6) == 1, (mz, found.mz)
    assert section.ion_images(found.mz, ppm=ppm).values.any(axis=(1, 2)).all()


def test_peaks_that_jitter_by_more_than_the_window_count_once(tmp_path):
    spectra = centroids(count=200, jitter_ppm=8.0)
    coordinates = [(index % 20 + 1, index // 20 + 1) for index in range(200)]
    path = write_odd_imzml(
        tmp_path / "a.imzML", spectra=spectra, coordinates=coordinates, max_counts=None
    )
    found = open_imzml(path).strongest_peaks(5, ppm=5).mz
    assert sorted(round(float(mz)) for mz in found) == [150, 300, 300, 799, 1500]


@settings(deadline=None)  # the first example compiles
@given(
    st.lists(st.floats(60, 3000), min_size=1, max_size=12),
    st.floats(0.5, 100),
    st.randoms(use_true_random=False),
)
def test_every_window_of_a_peak_that_was_found_holds_signal(tmp_path_factory, masses, ppm, random):
    folder = tmp_path_factory.mktemp("peaks")
    spectra = [
        (np.sort(random.sample(masses, len(masses))), np.array([random.random() + 0.01] * len(masses)))
        for _ in range(3)
    ]  # fmt: skip
    path = write_odd_imzml(folder / "a.imzML", spectra=spectra, max_counts=None)
    section = open_imzml(path)
    found = section.strongest_peaks(100, ppm=ppm)
    assert found.mz.size == found.offered >= 1
    assert section.ion_images(found.mz, ppm=ppm).values.any(axis=(1, 2)).all()


def test_the_same_peaks_on_one_thread_and_on_two(tmp_path):
    path = write_odd_imzml(tmp_path / "a.imzML", spectra=centroids(3))
    section = open_imzml(path)
    found = []
    for section.threads in (1, 2):
        found.append(section.strongest_peaks(5))
    one, two = found
    assert one.mz.tobytes() == two.mz.tobytes()
    assert one.intensity.tobytes() == two.intensity.tobytes()


def test_a_file_without_signal_offers_no_peak_and_odd_wishes_are_refused(tmp_path):
    nothing = [(np.array([100.0, 200.0]), np.zeros(2))] * 4
    section = open_imzml(write_odd_imzml(tmp_path / "a.imzML", spectra=nothing))
    assert section.strongest_peaks(5).offered == 0
    for count, ppm in ((0, 5.0), (5, 0.0), (5, float("nan"))):
        with pytest.raises(ConfigurationError, match="at least one peak"):
            section.strongest_peaks(count, ppm)


def test_the_nearest_peak_is_that_of_all_spectra(tmp_path):
    rng = np.random.default_rng(5)
    spectra = [
        (np.sort(rng.uniform(100, 1000, 30)), rng.integers(0, 3, 30).astype(float))
        for _ in range(12)
    ]
    section = open_imzml(write_odd_imzml(tmp_path / "a.imzML", spectra=spectra))
    wanted = rng.uniform(50, 1100, 40)
    stored = np.concatenate([mz for mz, _ in spectra])
    present = np.concatenate([mz[values > 0] for mz, values in spectra])
    nearest, there = section.nearest_peaks(wanted)
    for found, among in ((nearest, stored), (there, present)):
        expected = among[np.argmin(np.abs(among[None] - wanted[:, None]), axis=1)]
        np.testing.assert_array_equal(found, expected)
