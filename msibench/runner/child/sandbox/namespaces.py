"""A sandbox of plain Linux namespaces. Nothing has to be installed for it.

`enter` makes user, mount, network, process, IPC and host-name namespaces, builds a file system of the
listed places on an empty one, gives up every capability, and does some work there. The process with number 1
inside waits for it; when it ends, or when the supervisor dies, the kernel ends everything that is left
inside.

Only the standard library is imported, and little of it: a cell's guard (`msibench.runner.child.guard`)
imports this file by its path, before anything else is in reach.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

SETUP_FAILED = 125
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_SLAVE = 2, 4, 8, 4096, 16384, 1 << 19
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 1, 24, 38, 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
CAPABILITY_VERSION = 0x20080522
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID = 1, 2
SYS_MOUNT_SETATTR = 442
"""The same number on every architecture; Linux 5.12 and newer."""
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "ppc64le": 203, "s390x": 217}
SYS_CAPSET = {"x86_64": 126, "aarch64": 91, "riscv64": 91, "ppc64le": 184, "s390x": 185}
PROC_READ_ONLY = ("sys", "sysrq-trigger", "irq", "bus", "acpi", "scsi")

libc = ctypes.CDLL(None, use_errno=True)


class SetUpError(Exception):
    """A step of making the sandbox was not allowed."""


def must(step: str, result: int) -> None:
    """Raise with the system's reason when a call has failed."""
    if result < 0:
        raise SetUpError(f"{step}: {os.strerror(ctypes.get_errno())}")


def mount(
    source: str | None, target: str, kind: str | None, flags: int, data: str | None = None
) -> None:
    """Mount one place."""
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    packed = None if data is None else data.encode()
    result = libc.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), packed)
    must(f"mounting {target}", result)


def read_only(target: str, *, recursive: bool = True) -> None:
    """Make a mount, and those below it, read-only for good."""
    attributes = (ctypes.c_uint64 * 4)(MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID, 0, 0, 0)
    result = libc.syscall(
        ctypes.c_long(SYS_MOUNT_SETATTR),
        ctypes.c_int(AT_FDCWD),
        os.fsencode(target),
        ctypes.c_uint(AT_RECURSIVE if recursive else 0),
        ctypes.byref(attributes),
        ctypes.c_size_t(ctypes.sizeof(attributes)),
    )
    must(f"making {target} read-only (Linux 5.12 or newer is needed)", result)


def enter_namespaces() -> None:
    """Leave this machine's namespaces; the user stays the same."""
    user, group = os.getuid(), os.getgid()
    flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWPID
    must("making namespaces", libc.unshare(flags))
    with suppress(FileNotFoundError):
        Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1\n")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1\n")


def raise_loopback() -> None:
    """Let processes inside talk to one another by 127.0.0.1; there is no other interface."""
    get_flags, set_flags, up, internet, datagrams = 0x8913, 0x8914, 1, 2, 2
    channel = libc.socket(internet, datagrams, 0)  # the module `socket` takes longer to import than
    must("opening a socket", channel)  # all of this takes to run
    try:
        answer = fcntl.ioctl(channel, get_flags, struct.pack("16sH22x", b"lo", 0))
        flags = struct.unpack("16sH22x", answer)[1]
        fcntl.ioctl(channel, set_flags, struct.pack("16sH22x", b"lo", flags | up))
    finally:
        os.close(channel)


def build_root(layout: dict[str, Any]) -> None:
    """Put the listed places on an empty file system and make it the root."""
    mount("none", "/", None, MS_REC | MS_SLAVE)
    base = "/tmp" if Path("/tmp").is_dir() else "/mnt"
    mount("tmpfs", base, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")
    for name in ("old", "new"):
        Path(f"{base}/{name}").mkdir()
    pivot(base, f"{base}/old")
    os.chdir("/")
    mount("tmpfs", "/new", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")
    size = layout["tmp_bytes"]
    _temporary(size)
    for target, source in layout["devices"]:
        if Path(f"/old{source}").exists():
            _bind(source, target)
    Path("/new/dev/shm").mkdir(mode=0o1777)
    mount("tmpfs", "/new/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, f"mode=1777,size={size}")
    covers = []
    for kind, target, source in layout["mounts"]:
        if kind == "cover":
            Path(f"/new{target}").mkdir(parents=True, exist_ok=True)
            mount("tmpfs", f"/new{target}", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")
            covers.append(f"/new{target}")
        elif kind == "hide":
            _bind("/dev/null", target)
        elif kind == "link":
            place = Path(f"/new{target}")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(source)
        else:
            _bind(source, target)
            if kind == "read":
                read_only(f"/new{target}")
    for target in covers:
        read_only(target, recursive=False)
    Path("/new/proc").mkdir(exist_ok=True)


def _temporary(size: int) -> None:
    """Make ``/tmp``, and the folder of devices."""
    Path("/new/tmp").mkdir()
    mount("tmpfs", "/new/tmp", "tmpfs", MS_NOSUID | MS_NODEV, f"mode=1777,size={size}")
    Path("/new/dev").mkdir()
    for name, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        Path(f"/new/dev/{name}").symlink_to(f"/proc/self/{target}")


def _bind(source: str, target: str) -> None:
    """Show a place of the old root in the new one."""
    old, new = Path(f"/old{source}"), Path(f"/new{target}")
    if old.is_dir():
        new.mkdir(parents=True, exist_ok=True)
    elif not new.exists():
        new.parent.mkdir(parents=True, exist_ok=True)
        new.touch()
    mount(str(old), str(new), None, MS_BIND | MS_REC)


def pivot(new: str, old: str) -> None:
    """Make `new` the root and put the old root at `old`."""
    number = SYS_PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise SetUpError(f"changing the root directory is not supported on {os.uname().machine}")
    result = libc.syscall(ctypes.c_long(number), os.fsencode(new), os.fsencode(old))
    must("changing the root", result)


def seal_root() -> None:
    """Mount ``/proc`` for the processes inside, let go of the old root, and forbid writing."""
    mount("proc", "/new/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    with suppress(OSError):  # in a namespace of its own it could mount more memory than it may use
        Path("/new/proc/sys/user/max_user_namespaces").write_text("0")
    for name in PROC_READ_ONLY:
        place = f"/new/proc/{name}"
        if Path(place).exists():
            mount(place, place, None, MS_BIND | MS_REC)
            read_only(place)
    os.chdir("/new")
    pivot(".", ".")
    must("detaching the old root", libc.umount2(b".", MNT_DETACH))
    os.chdir("/")
    read_only("/", recursive=False)


def give_up_capabilities() -> None:
    """Drop every capability, so that nothing of the above can be undone."""
    must("giving up privileges", libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    for capability in range(64):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            break
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    nothing = (ctypes.c_uint32 * 6)()
    number = SYS_CAPSET.get(os.uname().machine)
    if number is None:
        raise SetUpError(f"dropping capabilities is not supported on {os.uname().machine}")
    result = libc.syscall(ctypes.c_long(number), ctypes.byref(header), ctypes.byref(nothing))
    must("giving up capabilities", result)


def die_with_parent() -> None:
    """Ask the kernel to end this process when its parent is gone."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def wait_for(child: int) -> int:
    """Wait for one child, and for whatever else ends meanwhile; return its status as a shell does."""
    while True:
        done, status = os.wait()
        if done == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def in_child(work: Callable[[], int]) -> int:
    """Fork, do `work` in the child, wait for it in the parent and return its status."""
    child = os.fork()
    if child == 0:
        code = SETUP_FAILED
        try:
            die_with_parent()
            code = work()
        except (SetUpError, OSError) as error:
            sys.stderr.write(f"the sandbox cannot be made: {error}\n")
            sys.stderr.flush()
        finally:
            os._exit(code)
    return wait_for(child)


def enter(text: str, work: Callable[[], int]) -> int:
    """Do some work inside and return its exit status, `SETUP_FAILED` where that is not allowed.

    Parameters
    ----------
    text
        JSON: ``mounts``, ``devices``, ``folder``, ``tmp_bytes``.
    work
        Called in a process of its own, which may replace itself by another program.
    """
    try:
        return _enter(json.loads(text), work)
    except (SetUpError, OSError) as error:
        sys.stderr.write(f"the sandbox cannot be made: {error}\n")
        sys.stderr.flush()
        return SETUP_FAILED


def _enter(layout: dict[str, Any], work: Callable[[], int]) -> int:
    die_with_parent()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # meant for the work, which gets them as well
    enter_namespaces()
    raise_loopback()
    build_root(layout)

    def run() -> int:
        give_up_capabilities()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        os.chdir(layout["folder"])
        return work()

    def init() -> int:
        seal_root()
        return in_child(run)

    return in_child(init)
