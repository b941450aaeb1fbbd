"""Reading imzML: opening, 45 ion images, one ion image, against pyimzML, imzy and the bare file.

``pytest bench/test_bench_imzml.py --benchmark-only -s`` prints the ratios at the end. The file has
40,000 spectra of 500 centroids (``MSIBENCH_BENCH_SPECTRA`` changes the number), like the one in
the data cards. No time is asserted.
"""

import importlib.util
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from pyimzml.ImzMLParser import ImzMLParser, getionimage

from msibench.io import open_imzml
from msibench.io.imzml.writer import ImzMLWriter
from msibench.mirror import find_in_mirror

SPECTRA = int(os.environ.get("MSIBENCH_BENCH_SPECTRA", "40000"))
PEAKS = 500
MZ = np.linspace(101, 990, 45)


def write_section(path, spectra, peaks, seed=1):
    side = max(1, int(spectra**0.5))
    rng = np.random.default_rng(seed)
    with ImzMLWriter(path, shape=(-(-spectra // side), side), pixel_size_um=50.0) as writer:
        for pixel in range(spectra):
            mz = np.sort(rng.uniform(100, 1000, peaks))
            writer.add(pixel // side, pixel % side, mz, rng.random(peaks, dtype=np.float32))
    return path


@pytest.fixture(scope="module", params=["generated", "bladder"])
def path(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("imzml")
    os.environ["MSIBENCH_CACHE"] = str(folder / "cache")
    if request.param == "generated":
        return write_section(folder / "section.imzML", SPECTRA, PEAKS)
    stack = find_in_mirror("bladder/bladder.npz")
    if stack is None:
        pytest.skip("bladder/bladder.npz is not in MSIBENCH_MIRROR (nor in ../shared)")
    with np.load(stack) as held:
        cube, mz = held["cube"], held["mz"]
    with ImzMLWriter(folder / "bladder.imzML", shape=cube.shape[1:], pixel_size_um=10.0) as writer:
        for row, column in np.ndindex(cube.shape[1:]):
            present = np.flatnonzero(cube[:, row, column])
            if present.size:
                writer.add(row, column, mz[present], cube[present, row, column])
    return folder / "bladder.imzML"


def pyimzml_images(path, masses):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with ImzMLParser(str(path)) as parser:
            return [getionimage(parser, mz, tol=mz * 5e-6) for mz in masses]


def test_open(benchmark, path):
    open_imzml(path, cache=False, reader="scan")
    benchmark.pedantic(lambda: open_imzml(path, cache=False, reader="scan"), rounds=9)


def test_open_with_the_real_parser(benchmark, path):
    benchmark.pedantic(lambda: open_imzml(path, cache=False, reader="xml"), rounds=1)


def test_reopen_from_the_cache(benchmark, path):
    open_imzml(path)
    benchmark.pedantic(lambda: open_imzml(path), rounds=15)


def test_open_with_pyimzml(benchmark, path):
    benchmark.pedantic(lambda: ImzMLParser(str(path)).m.close(), rounds=2)


def test_read_the_ibd_once(benchmark, path):
    buffer = bytearray(1 << 24)

    def read():
        with path.with_suffix(".ibd").open("rb") as file:
            while file.readinto(buffer):
                pass

    benchmark.pedantic(read, rounds=9)


def test_45_ions(benchmark, path):
    section = open_imzml(path)
    section.ion_images(MZ)
    benchmark.pedantic(lambda: section.ion_images(MZ), rounds=15)


def test_45_ions_from_a_section_just_opened(benchmark, path):
    open_imzml(path, cache=False).ion_images(MZ)

    def opened():
        return (open_imzml(path, cache=False),), {}

    benchmark.pedantic(lambda section: section.ion_images(MZ), setup=opened, rounds=5)


def test_one_ion(benchmark, path):
    section = open_imzml(path)
    section.ion_images(500.0)
    benchmark.pedantic(lambda: section.ion_images(500.0), rounds=25)


def test_tic(benchmark, path):
    section = open_imzml(path)
    section.tic()
    benchmark.pedantic(section.tic, rounds=9)


def test_45_ions_with_pyimzml(benchmark, path):
    benchmark.pedantic(lambda: pyimzml_images(path, MZ), rounds=1)


def test_45_ions_with_imzy(benchmark, path):
    if importlib.util.find_spec("imzy") is None:
        pytest.skip("imzy is not installed (it is not a dependency)")
    from imzy import get_reader

    reader = get_reader(path)
    reader.get_ion_images(MZ, ppm=5)
    benchmark.pedantic(lambda: reader.get_ion_images(MZ, ppm=5), rounds=3)


def test_first_images_in_a_fresh_process_with_compiled_kernels_cached(benchmark, path):
    code = (
        "import sys, time; start = time.perf_counter()\n"
        "from msibench.io import open_imzml\n"
        "open_imzml(sys.argv[1], cache=False).ion_images([500.0])\n"
        "print(time.perf_counter() - start)"
    )

    def fresh():
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)], check=True, capture_output=True
        )
        return float(done.stdout)

    fresh()
    benchmark.pedantic(fresh, rounds=5)


SLOPE = """
import resource, sys, time, numpy as np
from msibench.io import open_imzml
start = time.perf_counter()
section = open_imzml(sys.argv[1], cache=False)
opened = time.perf_counter()
images = section.ion_images(np.linspace(101, 990, 45))
done = time.perf_counter()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(opened - start, done - opened, peak - images.values.nbytes / 2**20)
"""


@pytest.mark.skipif("MSIBENCH_BENCH_SLOPE" not in os.environ, reason="MSIBENCH_BENCH_SLOPE=n,n,n")
def test_time_and_memory_against_size(benchmark, tmp_path):
    def measure():
        for spectra in map(int, os.environ["MSIBENCH_BENCH_SLOPE"].split(",")):
            path = write_section(tmp_path / "slope.imzML", spectra, PEAKS)
            size = path.with_suffix(".ibd").stat().st_size / 1e9
            done = subprocess.run(
                [sys.executable, "-c", SLOPE, str(path)], check=True, capture_output=True
            )
            opened, images, peak = map(float, done.stdout.split())
            print(
                f"\n{spectra:,} spectra, {size:.2f} GB: open {opened:.2f} s, 45 ions {images:.2f} s, "
                f"peak RSS less the result {peak:.0f} MB"
            )

    benchmark.pedantic(measure, rounds=1)
