"""NMF of a matrix that no memory holds: processor time of an iteration and peak memory, streamed from HDF5.

``python bench/measure_large_nmf.py FOLDER [ROWS]`` writes a matrix of 2,000,000 x 10,000 with 500 values a row to FOLDER
(8 GB) in a process of its own, factorises it with rank 40 on one thread, and removes it. Printed is the difference of a run
of three iterations and one of one, which leaves out the pass that looks at the matrix first.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import scipy.sparse as sparse

from msibench.decomposition import HDF5Rows, nmf, write_rows

COLUMNS, PER_ROW, BLOCK, RANK = 10_000, 500, 16_384, 40
ITERATIONS = (1, 3)


def blocks(rows):
    """Yield spectra of 500 of the columns each, one in every twenty."""
    rng = np.random.default_rng(0)
    step = COLUMNS // PER_ROW
    first = np.arange(PER_ROW, dtype=np.int32) * step
    for start in range(0, rows, BLOCK):
        count = min(BLOCK, rows - start)
        columns = first + rng.integers(0, step, (count, PER_ROW), dtype=np.int32)
        values = rng.random((count, PER_ROW), dtype=np.float32)
        ends = np.arange(count + 1, dtype=np.int64) * PER_ROW
        yield sparse.csr_matrix((values.ravel(), columns.ravel(), ends), (count, COLUMNS))


def processor_s():
    return sum(resource.getrusage(resource.RUSAGE_SELF)[:2])


def main():
    path = Path(sys.argv[1]) / "large.h5"
    rows = int(sys.argv[2]) if len(sys.argv) > 2 else 2_000_000
    if "--write" in sys.argv:
        write_rows(path, lambda: blocks(rows))
        return
    subprocess.run([sys.executable, *sys.argv[:2], str(rows), "--write"], check=True)
    try:
        nmf(next(blocks(200)), 2, iterations=1)  # compile
        took = []
        for count in ITERATIONS:
            before, wall = processor_s(), time.perf_counter()
            found = nmf(HDF5Rows(path, block_rows=8_192), RANK, iterations=count, tol=0, seed=0)
            took.append((processor_s() - before, time.perf_counter() - wall))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        each = [(b - a) / (ITERATIONS[1] - ITERATIONS[0]) for a, b in zip(*took, strict=True)]
        print(
            f"{rows:,} x {COLUMNS:,}, {PER_ROW} values a row, {path.stat().st_size / 1e9:.1f} GB: an iteration "
            f"{each[0]:.1f} s of processor ({each[1]:.1f} s on the clock), peak {peak:.2f} GiB, relative error "
            f"{found.relative_error:.4f}, load {os.getloadavg()[0]:.0f}"
        )
    finally:
        path.unlink()


if __name__ == "__main__":
    main()
