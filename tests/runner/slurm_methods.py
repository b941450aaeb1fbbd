"""Methods for the tests on a cluster: cheap ones whose output tells seeds apart, and slow ones."""

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
    """Hangs, until a file says that it was begun before: only a second attempt ends."""

    def upscale(self, problem):
        mark = Path(os.environ["MSIBENCH_TEST_MARK"])
        ion = round(float(problem.low.values.sum()) * 1000)  # tells sections apart
        marked = mark.with_name(f"{mark.name}-{ion}-{problem.seed}")
        if not marked.exists():
            marked.touch()
            time.sleep(600)
        return fine(problem)
