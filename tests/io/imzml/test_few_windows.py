"""A few windows, summed in NumPy, give the images that the kernels give, to the byte, and need no compiler."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest

from msibench.io import open_imzml
from msibench.io.imzml import sums
from msibench.io.imzml.few_windows import PEAKS, WINDOWS
from msibench.io.mz_windows import mz_windows
from tests.io.imzml.imzml_files import write_odd_imzml

SHAPE = 4, 5
COORDINATES = [(column + 1, row + 1) for row, column in np.ndindex(SHAPE)]
MZ = np.array([300.0, 500.0, 700.0])
WINDOWS_OF_50 = mz_windows(MZ, 50.0)
EDGES = [
    edge
    for bound in (WINDOWS_OF_50.low, WINDOWS_OF_50.high)
    for edge in (bound, np.nextafter(bound, 0), np.nextafter(bound, 1_000))
]
"""The outermost m/z of windows, and the numbers beside them."""


def peaks(count, rng):
    """Return ascending m/z, the first of them right at the edges of windows, and intensities, some of them not finite."""
    mz = np.sort(np.concatenate([rng.uniform(290, 710, count), *EDGES, MZ])[::-1][:count])
    intensity = 100 * rng.random(count)
    intensity[rng.random(count) < 0.05] = np.nan
    return mz, intensity


def write(folder, spectra=None, **changes):
    rng = np.random.default_rng(0)
    if spectra is None:
        counts = [0, 1, 7, 200, 1_000] * 4
        spectra = [peaks(count, rng) for count in counts]
    fields = {"coordinates": COORDINATES, "max_counts": SHAPE[::-1], **changes}
    return write_odd_imzml(folder / "few.imzML", spectra=spectra, **fields)


def images(path, mz, ppm, **options):
    """Return the bytes of ion images, and what was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        stack = open_imzml(path, **options).ion_images(mz, ppm=ppm)
    return stack.values.tobytes(), sorted(str(warning.message) for warning in caught)


@pytest.fixture
def by_kernels(monkeypatch):
    def read(*given, **options):
        with monkeypatch.context() as patch:
            patch.setattr(sums, "WINDOWS", 0)
            return images(*given, **options)

    return read


@pytest.mark.parametrize("ppm", [50.0, 5_000.0, 300_000.0])  # the widest hold more than `PEAKS`
@pytest.mark.parametrize(
    "recipe",
    [
        {},
        {"mz_type": "f4", "intensity_type": "f8"},
        {"compression": "zlib"},
        {"coordinates": [COORDINATES[place // 2] for place in range(20)]},  # two on each pixel
    ],
    ids=["f8", "f4", "zlib", "repeated"],
)
def test_a_few_windows_are_to_the_byte_what_the_kernels_give(tmp_path, recipe, ppm, by_kernels):
    path = write(tmp_path, **recipe)

    for mz in (MZ[:1], MZ[::-1]):
        assert images(path, mz, ppm) == by_kernels(path, mz, ppm)


@pytest.mark.parametrize("duplicates", ["first", "last"])
def test_one_of_several_spectra_on_a_pixel(tmp_path, duplicates, by_kernels):
    path = write(tmp_path, coordinates=[COORDINATES[place // 2] for place in range(20)])

    found = images(path, MZ, 5_000.0, duplicates=duplicates)

    assert found == by_kernels(path, MZ, 5_000.0, duplicates=duplicates)


@pytest.mark.parametrize("ppm", [50.0, 5_000.0])
def test_a_shared_axis(tmp_path, ppm, by_kernels):
    rng = np.random.default_rng(3)
    axis = np.sort(np.concatenate([rng.uniform(290, 710, 300), MZ]))
    spectra = [(axis, rng.random(axis.size)) for _ in COORDINATES]
    path = write(tmp_path, spectra, shared_axis=True)

    assert images(path, MZ, ppm) == by_kernels(path, MZ, ppm)


def test_one_unsorted_spectrum_leaves_all_to_the_kernels(tmp_path, by_kernels):
    rng = np.random.default_rng(4)
    spectra = [peaks(100, rng) for _ in COORDINATES]
    spectra[7] = spectra[7][0][::-1], spectra[7][1]
    path = write(tmp_path, spectra)

    assert images(path, MZ, 5_000.0) == by_kernels(path, MZ, 5_000.0)


@pytest.mark.parametrize("count", [PEAKS, PEAKS + 1])
def test_a_window_with_many_peaks(tmp_path, count, by_kernels):
    rng = np.random.default_rng(5)
    spectra = [(np.full(count, 500.0), rng.random(count)) for _ in COORDINATES]
    spectra[3] = np.full(2 * count, 500.0), rng.random(2 * count)
    path = write(tmp_path, spectra)

    found = images(path, MZ, 5.0)

    assert found == by_kernels(path, MZ, 5.0)
    stored = np.asarray(spectra[0][1], dtype="f4").astype(np.float64)
    assert np.frombuffer(found[0], "f4")[20] == np.float32(sum(stored.tolist()))


@pytest.mark.parametrize(("kind", "largest"), [("f4", 3e38), ("f8", 1.7e308)])
def test_sums_beyond_float32_become_infinite_and_are_told(tmp_path, kind, largest, by_kernels):
    spectra = [(np.array([500.0, 500.0]), np.array([largest, largest])) for _ in COORDINATES]
    path = write(tmp_path, spectra, intensity_type=kind)

    found = images(path, MZ, 5.0)

    assert found == by_kernels(path, MZ, 5.0)
    assert np.isinf(np.frombuffer(found[0], "f4")).any()
    assert any("infinite" in message for message in found[1])


@pytest.mark.parametrize(("windows", "needed"), [(1, False), (WINDOWS, False), (WINDOWS + 1, True)])
def test_the_compiler_is_loaded_for_many_windows_alone(tmp_path, windows, needed):
    axis = np.linspace(300, 700, 50)
    spectra = [(axis, axis) for _ in COORDINATES]
    path = write(tmp_path, spectra, shared_axis=True)
    script = (
        "import sys\nfrom msibench.io import open_imzml\n"
        "open_imzml(sys.argv[1]).ion_images([300.0 + i for i in range(int(sys.argv[2]))])\n"
        "print('numba' in sys.modules)"
    )

    ran = subprocess.run(
        [sys.executable, "-c", script, path, str(windows)],
        capture_output=True,
        text=True,
        check=True,
    )

    assert ran.stdout.strip() == str(needed)
