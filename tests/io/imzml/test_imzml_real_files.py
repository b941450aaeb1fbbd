"""Real files, with pyimzML and a brute-force mask as oracle; and what holds for every file."""

import pickle
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyimzml.ImzMLParser import ImzMLParser

from msibench.errors import ConfigurationError, DataError
from msibench.io import open_imzml
from msibench.io.imzml.writer import ImzMLWriter
from msibench.io.mz_windows import mz_windows
from msibench.testing.mirror import mirrored
from tests.io.imzml.imzml_files import write_odd_imzml

REAL = (
    "Example_Continuous",
    "Example_Processed",
    "MsBackend_test_image",
    "galaxy_Combat_40pixel",
    "galaxy_out3",
    "galaxy_picked",
    "galaxy_spatial_DGMM_input",
    "metaspace_untreated_tiny",
    "thyra_unit_nanometre",
)


def pyimzml_spectra(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with ImzMLParser(str(path)) as parser:
            spectra = [parser.getspectrum(i) for i in range(len(parser.coordinates))]
            return spectra, np.asarray(parser.coordinates)[:, :2]


@pytest.mark.parametrize("reader", ["xml", "scan", "pyimzml"])
@pytest.mark.parametrize("name", REAL)
def test_ion_images_equal_a_brute_force_mask_on_every_real_file(name, reader):
    path = mirrored(f"imzml/{name}.imzML")
    mirrored(f"imzml/{name}.ibd")
    spectra, coordinates = pyimzml_spectra(path)
    section = open_imzml(path, reader=reader)
    assert len(section) == len(spectra)
    masses = np.unique(np.concatenate([mz for mz, _ in spectra])).astype(np.float64)
    rng = np.random.default_rng(0)
    centres = [*rng.choice(masses, 5), masses[0], masses[-1], 50.0, 1e5]
    places = coordinates - coordinates.min(axis=0)
    assert section.shape == (places[:, 1].max() + 1, places[:, 0].max() + 1)
    for ppm in (0.0, 5.0, 700.0):
        expected = np.zeros((len(centres), *section.shape))
        for (mz, intensity), (column, row) in zip(spectra, places, strict=True):
            for channel, centre in enumerate(centres):
                inside = np.abs(mz.astype(np.float64) - centre) <= ppm * 1e-6 * centre
                expected[channel, row, column] += intensity.astype(np.float64)[inside].sum()
        images = section.ion_images(centres, ppm)
        np.testing.assert_array_equal(images.values, expected.astype(np.float32))
        np.testing.assert_array_equal(images.mz, centres)
        assert images.ppm == ppm
    assert section.mz_range == (masses[0], masses[-1])
    assert section.mask.sum() == len({tuple(place) for place in places})
    for index, (mz, intensity) in enumerate(spectra):
        np.testing.assert_array_equal(section.spectrum(index)[0], mz)
        np.testing.assert_array_equal(section.spectrum(index)[1], intensity)


FACTS = {
    "Example_Continuous": ("continuous", "negative", "profile", 100.0, (3, 3)),
    "MsBackend_test_image": ("processed", None, None, 30.0, (1, 6)),
    "galaxy_out3": ("continuous", None, "profile", 1.0, (1, 3)),
    "galaxy_picked": ("processed", None, "centroid", 100.0, (3, 17)),
    "thyra_unit_nanometre": ("processed", "positive", "centroid", 4.40625, (2, 2)),
}


@pytest.mark.parametrize("name", FACTS)
def test_facts_of_real_files_are_read(name):
    section = open_imzml(mirrored(f"imzml/{name}.imzML"))
    found = (section.mode, section.polarity, section.spectrum_mode, section.pixel_size_um)
    assert (*found, section.shape) == FACTS[name]


def test_the_checksum_of_a_real_file_is_right():
    assert open_imzml(mirrored("imzml/metaspace_untreated_tiny.imzML"), verify=True).notes


def test_a_git_lfs_pointer_among_the_real_files_is_named():
    with pytest.raises(DataError, match="git lfs pull"):
        open_imzml(mirrored("imzml/broken_lfspointer_MouseBrainCerebellum.imzML"))


@pytest.mark.parametrize("jitter", [0.0, 2.0])
def test_the_bladder_written_as_imzml_gives_its_ion_images(tmp_path, jitter):
    stack = np.load(mirrored("bladder/bladder.npz"))
    cube, mz = stack["cube"][:, :24, 40:62], stack["mz"]
    rng = np.random.default_rng(1)
    expected = np.zeros(cube.shape)
    with ImzMLWriter(tmp_path / "bladder.imzML", shape=cube.shape[1:]) as writer:
        for row in range(cube.shape[1]):
            for column in range(cube.shape[2]):
                present = np.flatnonzero(cube[:, row, column])
                moved = mz[present] * (1 + rng.normal(0, jitter * 1e-6, present.size))
                order = np.argsort(moved)
                values = cube[present, row, column]
                writer.add(row, column, moved[order], values[order])
                for channel, centre in enumerate(mz):
                    inside = np.abs(moved - centre) <= 3 * 1e-6 * centre
                    expected[channel, row, column] = values[inside].astype(np.float64).sum()
    for reader in ("scan", "xml"):
        section = open_imzml(tmp_path / "bladder.imzML", reader=reader, verify=True)
        images = section.ion_images(mz, ppm=3)
        np.testing.assert_array_equal(images.values, expected.astype(np.float32))
    if jitter == 0:
        np.testing.assert_array_equal(images.values, cube)


@given(
    st.floats(1e-3, 1e5),
    st.floats(0, 1e4),
    st.lists(st.integers(-40, 40), min_size=1, max_size=8),
    st.sampled_from([-1, 1]),
)
def test_windows_hold_exactly_the_masses_of_the_closed_inequality(centre, ppm, steps, side):
    window = mz_windows(centre, ppm)
    tolerance = ppm * 1e-6 * centre
    edge = centre + side * tolerance
    for step in steps:
        mass = edge
        for _ in range(abs(step)):
            mass = np.nextafter(mass, np.inf if step > 0 else -np.inf)
        inside = abs(mass - centre) <= tolerance
        assert bool(window.low[0] <= mass <= window.high[0]) == bool(inside)


@settings(max_examples=30)
@given(st.lists(st.floats(100, 101), min_size=1, max_size=30), st.integers(0, 2**32 - 1))
def test_images_come_in_the_order_asked_for_and_windows_may_overlap(masses, seed):
    import tempfile
    from pathlib import Path

    rng = np.random.default_rng(seed)
    spectra = [
        (
            rng.permutation(masses) if i % 2 else np.sort(masses),
            rng.random(len(masses)).astype("f4"),
        )
        for i in range(6)
    ]
    centres = rng.choice(masses, 4)
    with tempfile.TemporaryDirectory() as folder:
        section = open_imzml(write_odd_imzml(Path(folder) / "a.imzML", spectra=spectra))
        together = section.ion_images(centres, ppm=2000).values
        for channel, centre in enumerate(centres):
            alone = section.ion_images(centre, ppm=2000).values[0]
            np.testing.assert_array_equal(together[channel], alone)
            expected = [
                values[np.abs(mz - centre) <= 2000 * 1e-6 * centre].astype(np.float64).sum()
                for mz, values in spectra
            ]
            np.testing.assert_allclose(alone.ravel()[:6], expected, rtol=1e-6)


@pytest.mark.parametrize("mz", [[], [np.nan], [-5.0], [0.0], [np.inf], [[1.0, 2.0]]])
def test_masses_that_cannot_be_meant_are_refused(tmp_path, mz):
    section = open_imzml(write_odd_imzml(tmp_path / "a.imzML"))
    with pytest.raises(ConfigurationError, match=r"m/z|mz"):
        section.ion_images(mz)


@pytest.mark.parametrize("ppm", [-1, np.nan, np.inf, 1e6])
def test_windows_that_cannot_be_meant_are_refused(tmp_path, ppm):
    section = open_imzml(write_odd_imzml(tmp_path / "a.imzML"))
    with pytest.raises(ConfigurationError, match="ppm"):
        section.ion_images([300.0], ppm=ppm)


def test_a_section_can_be_closed_and_used_again(tmp_path):
    with open_imzml(write_odd_imzml(tmp_path / "a.imzML")) as section:
        expected = section.spectrum(3)[0]
    np.testing.assert_array_equal(section.spectrum(3)[0], expected)


def test_spectra_outside_the_file_are_an_index_error(tmp_path):
    section = open_imzml(write_odd_imzml(tmp_path / "a.imzML"))
    with pytest.raises(IndexError, match="12 spectra, 0 to 11"):
        section.spectrum(12)
    np.testing.assert_array_equal(section.spectrum(-1)[0], section.spectrum(11)[0])


@pytest.fixture(scope="module")
def larger(tmp_path_factory):
    """A file large enough that passes are cut into blocks and parts; to be read only."""
    path = tmp_path_factory.mktemp("larger") / "larger.imzML"
    rng = np.random.default_rng(5)
    with ImzMLWriter(path, shape=(9, 13)) as writer:
        for pixel in rng.permutation(9 * 13):
            mz = np.sort(rng.uniform(100, 1000, rng.integers(0, 9000)))
            writer.add(pixel // 13, pixel % 13, mz, rng.random(mz.size))
    return path


def on_threads(count, path, **options):
    section = open_imzml(path, **options)
    section.threads = count
    return section


def test_eight_threads_sharing_a_section_get_identical_bytes(larger):
    section = open_imzml(larger)
    mz = np.linspace(120, 980, 30)
    expected = on_threads(1, larger).ion_images(mz, ppm=300).values.tobytes()
    first = on_threads(1, larger).spectrum(7)[0].tobytes()
    results = []

    def read():
        results.extend(
            section.ion_images(mz, ppm=300).values.tobytes() == expected for _ in range(3)
        )
        results.extend(section.spectrum(7)[0].tobytes() == first for _ in range(50))

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8 * 53
    assert all(results)


@pytest.mark.sweep
@pytest.mark.parametrize("block", [1, 500_000, 64 << 20])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_blocks_and_threads_do_not_change_a_bit(larger, monkeypatch, block, threads):
    mz = np.linspace(120, 980, 12)
    expected = on_threads(1, larger).ion_images(mz, ppm=500).values
    monkeypatch.setattr("msibench.io.imzml.arrays.BLOCK", block)
    monkeypatch.setattr("msibench.io.imzml.passes.ALONE", 0)
    monkeypatch.setattr("msibench.io.imzml.file.KEEP_MAPPED", 0)
    section = on_threads(threads, larger)
    np.testing.assert_array_equal(section.ion_images(mz, ppm=500).values, expected)
    np.testing.assert_allclose(section.tic().sum(), open_imzml(larger).tic().sum())


@pytest.mark.parametrize(("block", "threads"), [(1, 1), (1, 3), (1 << 20, 3)])
def test_spectra_of_one_pixel_are_summed_before_they_are_rounded(
    tmp_path, monkeypatch, block, threads
):
    """Wherever a block ends, and within it the part of a thread."""
    values = np.random.default_rng(0).random((9, 7))  # 7 spectra on each of 9 pixels
    path = write_odd_imzml(
        tmp_path / "a.imzML",
        spectra=[(np.array([500.0]), turn[pixel : pixel + 1]) for turn in values.T for pixel in range(9)],
        coordinates=[(pixel + 1, 1) for _ in range(7) for pixel in range(9)],
        max_counts=(9, 1),
        intensity_type="f8",
    )  # fmt: skip
    monkeypatch.setattr("msibench.io.imzml.arrays.BLOCK", block)
    monkeypatch.setattr("msibench.io.imzml.passes.ALONE", 0)
    section = on_threads(threads, path, duplicates="sum")
    expected = np.array([sum(pixel) for pixel in values.tolist()], np.float32)
    assert (expected != values.astype(np.float32).cumsum(axis=1)[:, -1]).any()
    np.testing.assert_array_equal(section.ion_images([500.0]).values.ravel(), expected)


def test_a_section_can_be_pickled_into_another_process(larger):
    section = open_imzml(larger)
    expected = section.ion_images([500.0], ppm=900).values
    copy = pickle.loads(pickle.dumps(section))
    np.testing.assert_array_equal(copy.ion_images([500.0], ppm=900).values, expected)
    code = (
        "import pickle, sys; s = pickle.load(sys.stdin.buffer); "
        "print(repr(float(s.ion_images([500.0], ppm=900).values.sum(dtype='f8'))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(section), capture_output=True, check=True
    )
    assert float(done.stdout) == expected.sum(dtype="f8")
    larger.with_suffix(".ibd").write_bytes(larger.with_suffix(".ibd").read_bytes() + b"x")
    with pytest.raises(DataError, match="changed since"):
        pickle.loads(pickle.dumps(section)).spectrum(0)


class TestIndexCache:
    @pytest.fixture(autouse=True)
    def small_files_count(self, tmp_path, monkeypatch):
        monkeypatch.setenv("MSIBENCH_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("msibench.io.imzml.open.KEEP_FROM", 0)

    def entries(self, tmp_path):
        return sorted((tmp_path / "cache").rglob("*.npz"))

    def test_gives_the_same_section_again(self, tmp_path, monkeypatch):
        path = write_odd_imzml(tmp_path / "a.imzML")
        first = open_imzml(path)
        expected = first.ion_images([300.25]).values
        assert len(self.entries(tmp_path)) == 2
        monkeypatch.setattr("msibench.io.imzml.open._read", None)  # the XML is not read again
        again = open_imzml(path)
        np.testing.assert_array_equal(again.ion_images([300.25]).values, expected)
        facts = ("uuid", "polarity", "spectrum_mode", "mode", "pixel_size_um", "shape", "mz_range")
        assert all(getattr(again, fact) == getattr(first, fact) for fact in facts)

    def test_is_not_used_for_a_file_that_changed(self, tmp_path):
        open_imzml(write_odd_imzml(tmp_path / "a.imzML"))
        path = write_odd_imzml(tmp_path / "a.imzML", polarity="negative")
        assert open_imzml(path).polarity == "negative"

    def test_is_ignored_when_it_is_damaged(self, tmp_path):
        path = write_odd_imzml(tmp_path / "a.imzML")
        open_imzml(path).ion_images([300.25])
        for entry in self.entries(tmp_path):
            entry.write_bytes(entry.read_bytes()[:100])
        assert open_imzml(path).ion_images([300.25]).values.any()

    def test_is_not_needed(self, tmp_path, monkeypatch):
        (tmp_path / "file").write_bytes(b"")
        monkeypatch.setenv("MSIBENCH_CACHE", str(tmp_path / "file" / "below"))
        assert open_imzml(write_odd_imzml(tmp_path / "a.imzML")).ion_images([300.25]).values.any()


def test_importing_the_readers_imports_no_torch():
    code = "import sys, msibench.io.imzml.open, msibench.io.read, msibench.io.export; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "False"


def test_kernels_compile_where_no_cache_can_be_written(tmp_path):
    code = (
        "import numba.core.caching as c\n"
        "def refuse(*a, **k): raise RuntimeError('no locator available')\n"
        "c.FunctionCache.__init__ = refuse\n"
        "from msibench.io.compiled import compiled\n"
        "print(compiled(lambda x: x + 1)(41))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "42"


def test_memory_stays_bounded_on_a_file_larger_than_the_bound(tmp_path):
    code = """
import resource, sys, numpy as np
from msibench.io import open_imzml
open_imzml(sys.argv[1]).ion_images([300.25])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
images = open_imzml(sys.argv[2]).ion_images(np.linspace(150, 950, 45))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    rng = np.random.default_rng(0)
    mz = np.sort(rng.uniform(100, 1000, 400_000))
    with ImzMLWriter(tmp_path / "big.imzML", shape=(10, 9)) as writer:  # 430 MB
        for pixel in range(90):
            writer.add(pixel // 9, pixel % 9, mz, mz)
    small = write_odd_imzml(tmp_path / "small.imzML")
    done = subprocess.run(
        [sys.executable, "-c", code, str(small), str(tmp_path / "big.imzML")],
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    assert float(done.stdout) < 250
