"""Methods that reach for what is not theirs; each returns a sound prediction only if it succeeds."""

import ctypes
import importlib
import os
import re
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path


def fine(problem):
    return problem.low.values.repeat(problem.factor, 1).repeat(problem.factor, 2)


class Sound:
    def upscale(self, problem):
        from msibench_interpolation.method import Interpolation  # noqa: F401  - code of plugins is in reach

        Path("scratch/note").write_text("kept to itself")
        Path("/tmp/note").write_text("kept to itself")
        return fine(problem)


class CallsOut:
    def __init__(self, *, host="127.0.0.1", port=1):
        self.address = (host, port)

    def upscale(self, problem):
        socket.create_connection(self.address, timeout=5).close()
        return fine(problem)


class WritesOutside:
    def __init__(self, *, path=""):
        self.path = path

    def upscale(self, problem):
        Path(self.path).write_text("was here")
        return fine(problem)


class Reads:
    def __init__(self, *, path=""):
        self.path = path

    def upscale(self, problem):
        print(len(Path(self.path).read_bytes()))
        return fine(problem)


class LooksForTruths:
    def __init__(self, *, path=""):
        self.path = path

    def upscale(self, problem):
        found = [str(p) for p in Path(self.path).rglob("section.h5")]
        print("found", found, flush=True)
        if not found:
            raise LookupError("no truth in reach")
        return fine(problem)


class SignalsItsSupervisor:
    def upscale(self, problem):
        for name in (path.name for path in Path("/proc").iterdir()):
            if name.isdigit() and name not in {str(os.getpid()), "1"}:
                others = Path(f"/proc/{name}/cmdline").read_bytes()
                print(name, others, flush=True)
                if b"pytest" in others:
                    return fine(problem)
        raise LookupError("no other process in reach")


class UndoesTheSandbox:
    """Becomes root of a namespace of its own and tries to unmount, remount and write."""

    def __init__(self, *, path=""):
        self.path = path

    def upscale(self, problem):
        tries = (
            f"umount -l {self.path}; cat {self.path}/store.json",
            "mount -o remount,rw /; echo x > /made",
            "mount -o remount,bind,rw /usr; echo x > /usr/made",
            "value=$(cat /proc/sys/kernel/core_pattern); echo $value > /proc/sys/kernel/core_pattern",
        )
        for attempt in tries:
            for prefix in ([], ["unshare", "-Urm"], ["unshare", "-Urmpf", "--mount-proc"]):
                done = subprocess.run([*prefix, "sh", "-c", attempt], capture_output=True)
                print(prefix, attempt, done.returncode, done.stderr[-200:], flush=True)
                if done.returncode == 0:
                    return fine(problem)
        raise PermissionError("nothing could be undone")


class PlantsLinks:
    """Leaves links and pipes under the names that its supervisor writes next."""

    def __init__(self, *, path=""):
        self.path = path

    def upscale(self, problem):
        for name in ("log.txt", "metrics.parquet", "record.json"):
            Path(name).symlink_to(self.path)
        os.mkfifo("result.json")
        print("words for a file outside", flush=True)
        os._exit(0)


class DigsDeep:
    def upscale(self, problem):
        here = os.open("scratch", os.O_RDONLY)
        for _ in range(3000):
            os.mkdir("d", dir_fd=here)
            below = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.close(here)
        return fine(problem)


class Hangs:
    def upscale(self, problem):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        subprocess.run([sys.executable, "-c", "import time; time.sleep(600)"], check=False)
        return fine(problem)


class DiesInside:
    def upscale(self, problem):
        os.kill(os.getpid(), 9)


class EatsMemory:
    def upscale(self, problem):
        import time

        hoard = []
        while True:
            hoard.append(bytearray(32 << 20))
            time.sleep(0.01)


class LooksAround:
    """Reports, for each name it is given, what it could get: nothing, where all is well."""

    def __init__(self, *, paths="", modules="", variables="", files=""):
        self.paths, self.modules = paths.split("|"), modules.split("|")
        self.variables, self.files = variables.split("|"), files.split("|")

    def upscale(self, problem):
        got = [path for path in self.paths if path and Path(path).exists()]
        got += [name for name in self.variables if name and name in os.environ]
        for name in filter(None, self.modules):
            try:
                importlib.import_module(name)
                got.append(name)
            except (ImportError, OSError) as error:
                print(name, error, flush=True)
        for path in filter(None, self.files):
            if len(Path(path).read_bytes()):
                got.append(path)
        if not got:
            raise LookupError("nothing was found")
        raise PermissionError("found " + ", ".join(got))


class HoardsMemory:
    """Keeps memory where no resident set shows it."""

    def __init__(self, *, where="memfd", mib=600):
        self.where, self.mib = where, mib

    def upscale(self, problem):
        block = b"x" * (1 << 20)
        if self.where == "memfd":
            descriptor = os.memfd_create("hoard")
        elif self.where == "own tmpfs":
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.unshare(0x10000000 | 0x20000):
                raise PermissionError(f"no namespace: {os.strerror(ctypes.get_errno())}")
            descriptor = os.open("/", os.O_RDONLY)
        elif self.where == "segment":
            self.fill_segments()
            return fine(problem)
        else:
            descriptor = os.open(f"{self.where}/hoard", os.O_RDWR | os.O_CREAT)
            Path(f"{self.where}/hoard").unlink()
        for _ in range(self.mib):
            os.write(descriptor, block)
        time.sleep(30)
        return fine(problem)

    def fill_segments(self):
        """Fill segments of shared memory, and detach them, so that no process has them in sight."""
        libc = ctypes.CDLL(None, use_errno=True)
        libc.shmat.restype, libc.shmdt.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
        for _ in range(self.mib // 50):
            number = libc.shmget(0, ctypes.c_size_t(50 << 20), 0o1600)
            if number < 0:
                raise PermissionError(f"no segment: {os.strerror(ctypes.get_errno())}")
            place = libc.shmat(number, None, 0)
            ctypes.memset(place, 1, 50 << 20)
            libc.shmdt(place)
        time.sleep(30)


def memory_of(process):
    """Return what can be read of a process's memory: its heap and stack."""
    found = bytearray()
    with suppress(OSError):
        areas = (process / "maps").read_text().splitlines()
        with (process / "mem").open("rb") as memory:
            for line in areas:
                first, last = (int(end, 16) for end in line.split()[0].split("-"))
                if " rw" in line and last - first < 64 << 20:
                    with suppress(OSError):
                        memory.seek(first)
                        found += memory.read(last - first)
    return found


def not_its_own(folder):
    """Yield open descriptors of files that are not of the cell."""
    for path in folder.iterdir():
        with suppress(OSError):
            target = str(path.readlink())
            own = ("pipe:", "/dev/null", "/proc", "anon_inode:", str(Path.cwd()))
            if not target.startswith(own):
                yield f"{path}: {target}"


class TriesDoors:
    """Looks for a way out by processes, descriptors, memory and sockets that others have.

    `secret` holds patterns that do not match themselves, as they are in this process's own memory. Each is
    looked for by itself: a plain text is found at the speed of memory, one of several is not.
    """

    def __init__(self, *, secret="", socket_name="", folder=""):
        self.secrets = [re.compile(text.encode()) for text in secret.split("|")]
        self.socket_name, self.folder = socket_name, folder

    def is_told(self, content):
        return any(secret.search(content) for secret in self.secrets)

    def upscale(self, problem):
        got = [*self.of_processes(), *self.descriptors(), *self.shared_memory(), *self.sockets()]
        for line in got:
            print(line, flush=True)
        if not got:
            raise LookupError("every door is shut")
        raise PermissionError("found " + ", ".join(got)[:800])

    def of_processes(self):
        """Files, memory and environment of every process in sight."""
        libc = ctypes.CDLL(None, use_errno=True)
        others = [path for path in Path("/proc").iterdir() if path.name.isdigit()]
        for process in others:
            for place in ("root", "root/..", "cwd", "cwd/.."):
                with suppress(OSError):
                    if Path(f"{process}/{place}{self.folder}/store.json").exists():
                        yield f"{process}/{place}"
            with suppress(OSError):
                if self.is_told((process / "environ").read_bytes()):
                    yield f"{process}/environ"
            if self.is_told(memory_of(process)):
                yield f"memory of {process}"
            if process.name == str(os.getpid()):
                continue
            if libc.ptrace(16, int(process.name), 0, 0) == 0:
                libc.ptrace(17, int(process.name), 0, 0)
                yield f"ptrace of {process}"
            with suppress(OSError):
                yield from not_its_own(process / "fd")

    def descriptors(self):
        """What was left open when this process began."""
        yield from not_its_own(Path("/proc/self/fd"))

    def shared_memory(self):
        """Segments and files of memory of other processes."""
        yield from map(str, Path("/dev/shm").iterdir())
        table = Path("/proc/sysvipc/shm")
        yield from table.read_text().splitlines()[1:] if table.exists() else []

    def sockets(self):
        """A socket without a file that a process outside listens on."""
        with socket.socket(socket.AF_UNIX) as door:
            try:
                door.connect(f"\0{self.socket_name}")
                yield f"socket {self.socket_name}"
            except OSError:
                pass
