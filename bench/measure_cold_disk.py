"""Reading an imzML section that is not in memory, beside the disk's own rate: ``python bench/measure_cold_disk.py FOLDER [SPECTRA]``.

Writes a section of 50,000 spectra of 500 peaks (6 kB a spectrum) to FOLDER and removes it. By turns ``dd`` reads its .ibd file, and
45 ion images and all intensities are read from it, each time after the kernel was told to forget the file. Seconds on the clock,
medians of seven turns.
"""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from msibench.io import open_imzml
from msibench.io.imzml.writer import ImzMLWriter

PEAKS, TURNS = 500, 7
MZ = np.linspace(101, 990, 45)


def write_section(path, spectra):
    side = int(spectra**0.5)
    rng = np.random.default_rng(1)
    with ImzMLWriter(path, shape=(-(-spectra // side), side), pixel_size_um=10.0) as writer:
        for spectrum in range(spectra):
            mz = np.sort(rng.uniform(100, 1000, PEAKS))
            writer.add(spectrum // side, spectrum % side, mz, rng.random(PEAKS, dtype=np.float32))


def forget(path):
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def clock(path, work, *given):
    forget(path)
    begun = time.perf_counter()
    work(*given)
    return time.perf_counter() - begun


def by_dd(path):
    subprocess.run(
        ["dd", f"if={path}", "of=/dev/null", "bs=1M"], check=True, stderr=subprocess.DEVNULL
    )


def main():
    folder = Path(sys.argv[1])
    spectra = int(sys.argv[2]) if len(sys.argv) > 2 else 50_000
    path, ibd = folder / "cold.imzML", folder / "cold.ibd"
    try:
        write_section(path, spectra)
        open_imzml(path).ion_images(MZ)  # compiles, and keeps the layout
        seconds = {"dd": [], "45 ion images": [], "all intensities": []}
        for _ in range(TURNS):
            seconds["dd"].append(clock(ibd, by_dd, ibd))
            for what, read in (
                ("45 ion images", lambda section: section.ion_images(MZ)),
                ("all intensities", lambda section: section.tic()),
            ):
                with open_imzml(path) as section:
                    seconds[what].append(clock(ibd, read, section))
        size, middle = ibd.stat().st_size, {w: statistics.median(s) for w, s in seconds.items()}
        print(f"{size / 1e6:.0f} MB, load {os.getloadavg()[0]:.1f}")
        for what, time_s in middle.items():
            print(
                f"{what:16} {time_s:.2f} s, {size / time_s / 1e6:.0f} MB/s, {time_s / middle['dd']:.2f} times dd"
            )
    finally:
        for file in (path, ibd):
            file.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
