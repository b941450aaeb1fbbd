"""Methods that break their promises, one way each."""

import ctypes
import os
import signal
import subprocess
import sys
import time

import numpy as np

from msibench import Skip


def fine(problem):
    """Return a sound prediction."""
    return problem.low.values.repeat(problem.factor, 1).repeat(problem.factor, 2)


class Sound:
    def upscale(self, problem):
        print("all is well")
        return fine(problem)


class Raises:
    def upscale(self, problem):
        raise RuntimeError("the matrix is singular")


class FailsToBuild:
    def __init__(self):
        raise ValueError("no such activation")

    def upscale(self, problem): ...


class Hangs:
    def upscale(self, problem):
        time.sleep(600)


class IgnoresSigterm:
    def upscale(self, problem):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(0.1)


class ExitsQuietly:
    def upscale(self, problem):
        print("leaving", flush=True)
        os._exit(0)


class Segfaults:
    def upscale(self, problem):
        ctypes.string_at(0)


class KilledFromOutside:
    def upscale(self, problem):
        os.kill(os.getpid(), signal.SIGKILL)


class EatsMemory:
    def upscale(self, problem):
        hoard = []
        while True:
            hoard.append(np.ones(4_000_000))
            time.sleep(0.01)


class RunsOutOfMemory:
    def upscale(self, problem):
        raise MemoryError("cannot allocate")


class WritesNaN:
    def upscale(self, problem):
        out = fine(problem)
        out[0, 0, 0] = np.nan
        return out


class WrongShape:
    def upscale(self, problem):
        return fine(problem)[:, 1:]


class WrongType:
    def upscale(self, problem):
        return fine(problem).astype(np.float64)


class Negative:
    def upscale(self, problem):
        return fine(problem) - 1


class ReturnsNothing:
    def upscale(self, problem):
        return None


class Declines:
    def upscale(self, problem):
        return Skip("needs a larger section")


class FloodsTheLog:
    def upscale(self, problem):
        line = "x" * 1023 + "\n"
        for _ in range(20_000):
            sys.stdout.write(line)
        print("the last line")
        return fine(problem)


class LeavesAProcessBehind:
    def upscale(self, problem):
        subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
        )
        return fine(problem)


class DeadlocksAtExit:
    def upscale(self, problem):
        import threading

        threading.Thread(target=time.sleep, args=(600,)).start()
        return fine(problem)


class LooksForTheTruth:
    def upscale(self, problem):
        files = sorted(name for _, _, names in os.walk(".") for name in names)
        print("files:", files, flush=True)
        assert "section.h5" not in files
        return fine(problem)


class SaysItsThreads:
    def upscale(self, problem):
        print("threads", os.environ["OMP_NUM_THREADS"], "key", os.environ["MSIBENCH_CELL"][:4])
        return fine(problem)
