"""Methods for the tests on a cluster: cheap ones whose output tells seeds apart, and slow ones."""

import ctypes
import os
import time
from pathlib import Path

import numpy as np


def fine(problem):
    noise = np.random.default_rng(problem.seed).random(problem.low.values.shape, dtype=np.float32)
    values = problem.low.values * (1 + noise / 10)
    return values.repeat(problem.factor, 1).repeat(problem.factor, 2)


class Seeded:
    def upscale(self, problem):
        print("seed", problem.seed)
        return fine(problem)


class Slow:
    def upscale(self, problem):
        time.sleep(3)
        return fine(problem)


class SlowOnce:
    """Slow at the first attempt, which a file remembers: one line for each attempt."""

    def upscale(self, problem):
        mark = Path(os.environ["MSIBENCH_TEST_MARK"])
        ion = round(float(problem.low.values.sum()) * 1000)  # tells sections apart
        marked = mark.with_name(f"{mark.name}-{ion}-{problem.seed}")
        with marked.open("a") as stream:
            stream.write("begun\n")
        if len(marked.read_text().splitlines()) == 1:
            time.sleep(12)
        return fine(problem)


class Hangs:
    def upscale(self, problem):
        time.sleep(600)


class EatsMemory:
    def upscale(self, problem):
        hoard = []
        while True:
            hoard.append(np.ones(4_000_000))
            time.sleep(0.01)


class Raises:
    def upscale(self, problem):
        raise RuntimeError("the matrix is singular")


class Segfaults:
    def upscale(self, problem):
        ctypes.string_at(0)
