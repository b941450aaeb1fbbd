"""Opening and reading imzML of up to millions of spectra: processor time, peak memory, and how both grow.

``python bench/measure_large_imzml.py FOLDER [SPECTRA ...]`` writes sections of 250,000, 1,000,000 and 2,000,000 spectra of
50 peaks to FOLDER (1.6 kB a spectrum), opens each in a fresh process, reads 45 ions, and removes it.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import subprocess
import sys
from pathlib import Path

import numpy as np

from msibench.io.imzml.writer import ImzMLWriter

PEAKS = 50
READ = """
import resource, sys, time
import numpy as np
from msibench.io import open_imzml
start = time.process_time()
section = open_imzml(sys.argv[1], cache=False)
opened = time.process_time()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
images = section.ion_images(np.linspace(101, 990, 45))
done = time.process_time()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(opened - start, done - opened, before / 1024, peak / 1024, images.values.nbytes / 2**20)
"""


def write_section(path, spectra):
    side = int(spectra**0.5)
    rng = np.random.default_rng(1)
    with ImzMLWriter(path, shape=(-(-spectra // side), side), pixel_size_um=10.0) as writer:
        for first in range(0, spectra, 10_000):
            count = min(10_000, spectra - first)
            mz = np.sort(rng.uniform(100, 1000, (count, PEAKS)), axis=1)
            values = rng.random((count, PEAKS), dtype=np.float32)
            for offset in range(count):
                place = first + offset
                writer.add(place // side, place % side, mz[offset], values[offset])


def main():
    folder = Path(sys.argv[1])
    path = folder / "large.imzML"
    for spectra in [int(word) for word in sys.argv[2:]] or [250_000, 1_000_000, 2_000_000]:
        try:
            write_section(path, spectra)
            size = sum(p.stat().st_size for p in (path, path.with_suffix(".ibd"))) / 1e9
            done = subprocess.run(
                [sys.executable, "-c", READ, str(path)], check=True, capture_output=True, text=True
            )
            opened, images, before, peak, result = map(float, done.stdout.split())
            print(
                f"{spectra:,} spectra of {PEAKS} peaks, {size:.2f} GB: open {opened:.2f} s ({1e6 * opened / spectra:.2f} "
                f"µs a spectrum), 45 ions {images:.2f} s ({1e6 * images / spectra:.2f} µs) of processor; peak {before:.0f} "
                f"MiB open, {peak:.0f} MiB with {result:.0f} MiB of images; load {os.getloadavg()[0]:.0f}",
                flush=True,
            )
        finally:
            path.unlink(missing_ok=True)
            path.with_suffix(".ibd").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
