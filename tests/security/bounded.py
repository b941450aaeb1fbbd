"""Call a reader in a process of its own, under a limit of memory and of time.

Run as a script it is a server: every request is answered by a fork of a process that has the libraries
loaded and nothing else, so that a reader's own memory can be told and limited.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import pickle
import resource
import select
import signal
import struct
import subprocess
import sys
import time
import traceback
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

LAZY = {
    "msibench.weights": ("torch", "safetensors.torch"),
    "msibench_spandrel.method": ("spandrel", "safetensors.torch"),
    "msibench.io.read": (
        "msibench.io.stacks",
        "msibench.io.hdf5",
        "msibench.io.channel_choice",
        "h5py",
        "tifffile",
        "imagecodecs",
        "PIL.Image",
        "numpy.lib.format",
    ),
    "msibench.io.guide.open": ("tifffile", "imagecodecs", "PIL.Image"),
    "msibench.io.tissue": ("PIL.Image", "imagecodecs"),
    "msibench.results.arrays": ("h5py",),
    "msibench.gate.sources": ("pyarrow.parquet", "pyarrow.compute", "pandas"),
    "msibench.gate.receive": ("pyarrow.parquet", "pandas", "h5py", "msibench.degradation"),
    "msibench.registration": ("msibench.registration.landmarks", "scipy.interpolate"),
    "bounded": (
        "msibench.io",
        "msibench.io.imzml.kernels",
        "msibench.io.imzml.scan",
        "msibench.registration",
    ),
}
"""What readers import when they are first called: loaded beforehand, so as not to count as theirs."""
WITH_TORCH = (
    "msibench.weights", "msibench_spandrel", "bounded:names_of", "bounded:command_line",
)  # fmt: skip
"""Calls that get a server with torch: a fork of it takes five times as long as of one without."""


@dataclass(frozen=True)
class Ended:
    """How a call ended."""

    error: str
    """Type of the exception; empty when it returned, ``"hang"`` or ``"died"`` when it did not."""
    message: str
    on_purpose: bool
    """Whether the error is an MSIBenchError."""
    value: str
    """What it returned, as text."""
    peak_mib: float
    """Memory that it took beyond what the process had before."""
    seconds: float


class Server:
    """Starts a process, with torch or without, at the first call that needs it."""

    def __init__(self):
        self.processes = {}

    def call(self, target, *args, memory_mib, seconds, **options):
        loaded = ("torch",) if target.startswith(WITH_TORCH) else ()
        if loaded not in self.processes:
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
            self.processes[loaded] = subprocess.Popen(
                [sys.executable, __file__, *loaded],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
            )
        process = self.processes[loaded]
        send(process.stdin, (target, args, options, memory_mib, seconds))
        return Ended(**receive(process.stdout))

    def close(self):
        for process in self.processes.values():
            process.stdin.close()
            process.wait(10)
            process.stdout.close()


def send(stream, message):
    raw = pickle.dumps(message)
    stream.write(struct.pack("<Q", len(raw)) + raw)
    stream.flush()


def receive(stream):
    head = stream.read(8)
    if len(head) < 8:
        raise EOFError
    return pickle.loads(stream.read(struct.unpack("<Q", head)[0]))


def command_line(*arguments):
    """Run the real main; return exit status and what it wrote on standard error."""
    from msibench.cli.main import main

    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            main(list(arguments))
    except SystemExit as error:
        return error.code, errors.getvalue()
    return 0, errors.getvalue()


def names_of(path):
    """Read a checkpoint and return only its names: its content may be endless as text."""
    from msibench.weights import read_state_dict

    return sorted(read_state_dict(path))


def ion_images(path, mz=(500.0,), **options):
    """Open an imzML pair and read ion images: what an image of a section needs."""
    from msibench.io import open_imzml

    section = open_imzml(path, cache=False, **options)
    section.threads = 1
    return section.ion_images(list(mz)).values.shape


def read_transform(path):
    """Read a transform and use it once."""
    import numpy as np

    from msibench.registration.transform import Transform

    return Transform.from_file(path)(np.zeros((2, 2))).shape


def usable_landmarks(path):
    """Read landmarks and count those that may be used."""
    from msibench.registration import read_bigwarp

    return len(read_bigwarp(path).usable())


def _memory(field):
    with Path("/proc/self/status").open() as status:
        for line in status:
            if line.startswith(field):
                return int(line.split()[1]) / 1024
    return 0.0


def _serve():
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what readers print is no answer
    loaded = set()
    while True:
        try:
            target, args, options, memory_mib, seconds = receive(requests)
        except EOFError:
            return
        module, _, name = target.rpartition(":")
        if module not in loaded:
            for needed in (module, *LAZY.get(module, ())):
                with contextlib.suppress(ImportError):
                    importlib.import_module(needed)
            loaded.add(module)
        call = getattr(sys.modules[module], name)
        if memory_mib is None:  # a warm-up, in this very process: what is compiled stays
            with contextlib.suppress(Exception), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                call(*args, **options)
            send(answers, asdict(Ended("", "", False, "", 0.0, 0.0)))
            continue
        read_end, write_end = os.pipe()
        start = time.monotonic()
        child = os.fork()
        if child == 0:
            os.close(read_end)
            _answer(write_end, call, args, options, memory_mib)
        os.close(write_end)
        raw = b""
        deadline = start + seconds
        while True:
            ready, _, _ = select.select([read_end], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                os.kill(child, signal.SIGKILL)
                raw = pickle.dumps(asdict(Ended("hang", f"> {seconds} s", False, "", 0.0, 0.0)))
                break
            block = os.read(read_end, 1 << 16)
            if not block:
                break
            raw += block
        os.close(read_end)
        _, status = os.waitpid(child, 0)
        if not raw:
            raw = pickle.dumps(asdict(Ended("died", f"status {status}", False, "", 0.0, 0.0)))
        ended = pickle.loads(raw)
        send(answers, ended)


def _answer(pipe, call, args, options, memory_mib):
    from msibench.errors import MSIBenchError

    with contextlib.suppress(OSError), Path("/proc/self/clear_refs").open("w") as refs:
        refs.write("5")
    before = _memory("VmRSS")
    limit = int((_memory("VmSize") + memory_mib) * 2**20)
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    error = message = value = ""
    on_purpose = False
    start = time.monotonic()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = repr(call(*args, **options))[:2000]
    except BaseException as found:
        error, message = type(found).__name__, str(found)
        on_purpose = isinstance(found, MSIBenchError)
        if not on_purpose:
            message += "\n" + traceback.format_exc(limit=-6)
    seconds = time.monotonic() - start
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    peak = max(0.0, _memory("VmHWM") - before)
    with os.fdopen(pipe, "wb") as stream:
        pickle.dump(asdict(Ended(error, message, on_purpose, value, peak, seconds)), stream)
    os._exit(0)


if __name__ == "__main__":
    sys.modules["bounded"] = sys.modules["__main__"]
    for name in sys.argv[1:]:
        importlib.import_module(name)
    _serve()
