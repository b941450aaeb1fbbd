"""Methods that break their promises, one way each."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from msibench import Skip


def fine(problem):
    """Return a sound prediction."""
    return problem.low.values.repeat(problem.factor, 1).repeat(problem.factor, 2)


class Sound:
    def upscale(self, problem):
        print("all is well")
        return fine(problem)


class TakesAMoment(Sound):
    def upscale(self, problem):
        time.sleep(0.3)
        return super().upscale(problem)


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


# -- processes that escape, hang or are ended ---------------------------------------------------


class ForksWithoutEnd:
    """Bounded here: 300 sleepers."""

    def upscale(self, problem):
        for _ in range(300):
            subprocess.Popen(["sleep", "4711.1"])
        time.sleep(600)


class Daemonises:
    """Leaves its session, its group, its parent and its environment behind."""

    seconds = "4711.2"

    def upscale(self, problem):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.execve("/bin/sleep", ["sleep", self.seconds], {})
            os._exit(0)
        time.sleep(0.3)
        return fine(problem)


class HangsWithDaemons(Daemonises):
    seconds = "4711.3"

    def upscale(self, problem):
        super().upscale(problem)
        time.sleep(600)


class Respawns:
    """A process that starts another whenever one is ended."""

    def upscale(self, problem):
        script = "trap '' TERM; while :; do sleep 4711.4 & wait; done"
        subprocess.Popen(["/bin/sh", "-c", script], start_new_session=True, env={})
        time.sleep(0.3)
        return fine(problem)


class KillsItsParent:
    def upscale(self, problem):
        subprocess.Popen(["sleep", "4711.5"], start_new_session=True)
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(600)


class StopsItself:
    def upscale(self, problem):
        os.kill(os.getpid(), signal.SIGSTOP)


class StopsItsGroup:
    def upscale(self, problem):
        os.kill(0, signal.SIGSTOP)


class Aborts:
    def upscale(self, problem):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        os.abort()


class DeadlocksInPython:
    def upscale(self, problem):
        import threading

        left, right = threading.Lock(), threading.Lock()
        both = threading.Barrier(2)

        def take(first, second):
            with first:
                both.wait()
                with second:
                    pass

        threads = [
            threading.Thread(target=take, args=pair) for pair in [(left, right), (right, left)]
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


class DeadlocksInC:
    """Holds the interpreter's lock for good, as a faulty extension does."""

    def upscale(self, problem):
        ctypes.PyDLL(None).sleep(600)


class HasNoMemoryOnTheGpu:
    def upscale(self, problem):
        class OutOfMemoryError(RuntimeError):
            """As torch's."""

        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


class DiesOfBadAlloc:
    def upscale(self, problem):
        print("terminate called after throwing an instance of 'std::bad_alloc'", flush=True)
        os.kill(os.getpid(), signal.SIGABRT)


# -- output, disk, and what is left in the folder ----------------------------------------------


class PrintsMuch:
    def __init__(self, *, megabytes=200):
        self.megabytes = megabytes

    def upscale(self, problem):
        block = b"no line ends here " * 58254
        for _ in range(self.megabytes):
            os.write(1, block)
        os.write(2, b"\nthe end\n")
        return fine(problem)


class ClosesItsOutput:
    def upscale(self, problem):
        sys.stdout.close()
        os.close(1)
        os.close(2)
        return fine(problem)


class FillsItsScratch:
    def upscale(self, problem):
        with (problem.scratch / "large").open("wb") as stream:
            for _ in range(200):
                stream.write(bytes(1 << 20))
        time.sleep(600)


class RewritesItsCell:
    def upscale(self, problem):
        Path("cell.json").write_text('{"target": "os:abort", "code": {}}')
        return fine(problem)


class RemovesItsFolder:
    def upscale(self, problem):
        import shutil

        shutil.rmtree(Path.cwd())
        return fine(problem)


class PutsALinkInItsPlace:
    def __init__(self, *, elsewhere=""):
        self.elsewhere = elsewhere

    def upscale(self, problem):
        here = Path.cwd()
        here.rename(f"{here}.moved")
        here.symlink_to(self.elsewhere)
        os._exit(0)


class Lies:
    """Writes its own result and leaves before the truth is written."""

    def __init__(self, *, result="{}", prediction="none"):
        self.result, self.prediction = result, prediction

    def upscale(self, problem):
        prediction = Path("prediction.h5")
        Path("result.json").write_text(self.result, errors="surrogatepass")
        if self.prediction == "link":
            prediction.symlink_to("problem.h5")
        elif self.prediction == "pipe":
            os.mkfifo(prediction)
        elif self.prediction == "folder":
            (prediction / "deep" / "er").mkdir(parents=True)
        elif self.prediction == "second name":
            os.link("problem.h5", prediction)
        elif self.prediction == "words":
            prediction.write_text("trust me")
        elif self.prediction == "holes":
            import h5py

            with h5py.File(prediction, "w") as file:
                file["prediction"] = fine(problem)
            os.truncate(prediction, 1 << 40)
        os._exit(0)


class FindsTheDiskFull:
    def upscale(self, problem):
        import errno

        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise RuntimeError("cannot write the tiles") from error
