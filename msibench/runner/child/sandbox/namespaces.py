"""A sandbox of plain Linux namespaces. Nothing has to be installed for it.

`fork_inside` makes user, mount, network, process, IPC and host-name namespaces around a fork, the process with
number 1 inside. `enter` builds a file system of the listed places there, on an empty one, and does some work in a
fork without any capability, for which process 1 waits; when that ends, or when the supervisor dies, the kernel
ends everything that is left inside.

Only the standard library is imported, and little of it: a cell's guard (`msibench.runner.child.guard`)
imports this file by its path, before anything else is in reach.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import signal
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
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
SYS_MOUNT_SETATTR, SYS_CLONE3 = 442, 435
"""The same numbers on every architecture; Linux 5.12 and newer."""
SYS_CLONE = {"x86_64": 56, "aarch64": 220, "riscv64": 220, "ppc64le": 120}
"""The older call, whose flags come first; filters of system calls can read them, and so let it pass."""
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "ppc64le": 203, "s390x": 217}
SYS_CAPSET = {"x86_64": 126, "aarch64": 91, "riscv64": 91, "ppc64le": 184, "s390x": 185}
PROC_READ_ONLY = ("sys", "sysrq-trigger", "irq", "bus", "acpi", "scsi")

libc = ctypes.CDLL(None, use_errno=True)


class SetUpError(OSError):
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


def fork_inside() -> int:
    """Fork as `os.fork` does, the child into namespaces of its own, as process 1.

    A kernel's fork and not the C library's: the child may wait and fork, and nothing more of threads. The calling
    process has to have one thread.
    """
    flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWPID
    asked = (ctypes.c_uint64 * 8)(flags, 0, 0, 0, signal.SIGCHLD)
    size = ctypes.c_size_t(ctypes.sizeof(asked))
    # without letting go of Python's lock, which the child could not take again
    call = ctypes.PyDLL(None, use_errno=True).syscall
    pid = int(call(ctypes.c_long(SYS_CLONE3), ctypes.byref(asked), size))
    older = SYS_CLONE.get(os.uname().machine)
    if pid < 0 and ctypes.get_errno() == errno.ENOSYS and older is not None:
        nothing = (ctypes.c_ulong(0),) * 4
        pid = int(call(ctypes.c_long(older), ctypes.c_ulong(flags | signal.SIGCHLD), *nothing))
    must("making namespaces", pid)
    return pid


def stay_the_user(user: int, group: int) -> None:
    """Be the same user inside."""
    with suppress(FileNotFoundError):
        _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{user} {user} 1\n")
    _write("/proc/self/gid_map", f"{group} {group} 1\n")


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


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
    base = "/tmp" if os.path.isdir("/tmp") else "/mnt"
    mount("tmpfs", base, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")
    for name in ("old", "new"):
        os.mkdir(f"{base}/{name}")
    pivot(base, f"{base}/old")
    os.chdir("/")
    mount("tmpfs", "/new", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")
    size = layout["tmp_bytes"]
    _temporary(size)
    for target, source in layout["devices"]:
        if os.path.exists(f"/old{source}"):
            _bind(source, target)
    os.mkdir("/new/dev/shm", mode=0o1777)
    mount("tmpfs", "/new/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, f"mode=1777,size={size}")
    covers = []
    for kind, target, source in layout["mounts"]:
        if kind == "cover":
            os.makedirs(f"/new{target}", exist_ok=True)
            mount("tmpfs", f"/new{target}", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755")
            covers.append(f"/new{target}")
        elif kind == "hide":
            _bind("/dev/null", target)
        elif kind == "link":
            os.makedirs(os.path.dirname(f"/new{target}"), exist_ok=True)
            os.symlink(source, f"/new{target}")
        else:
            _bind(source, target)
            if kind == "read":
                read_only(f"/new{target}")
    for target in covers:
        read_only(target, recursive=False)
    os.makedirs("/new/proc", exist_ok=True)


def _temporary(size: int) -> None:
    """Make ``/tmp``, and the folder of devices."""
    os.mkdir("/new/tmp")
    mount("tmpfs", "/new/tmp", "tmpfs", MS_NOSUID | MS_NODEV, f"mode=1777,size={size}")
    os.mkdir("/new/dev")
    for name, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        os.symlink(f"/proc/self/{target}", f"/new/dev/{name}")


def _bind(source: str, target: str) -> None:
    """Show a place of the old root in the new one."""
    old, new = f"/old{source}", f"/new{target}"
    if os.path.isdir(old):
        os.makedirs(new, exist_ok=True)
    elif not os.path.exists(new):
        os.makedirs(os.path.dirname(new), exist_ok=True)
        os.mknod(new)
    mount(old, new, None, MS_BIND | MS_REC)


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
        _write("/new/proc/sys/user/max_user_namespaces", "0")
    for name in PROC_READ_ONLY:
        place = f"/new/proc/{name}"
        if os.path.exists(place):
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


def enter(text: str, work: Callable[[], int], user: tuple[int, int]) -> int:
    """Make the sandbox around this process, which `fork_inside` began, do some work in it and return its exit status.

    Told to end (`signal.SIGHUP`) it ends at once, and with it whatever is inside.

    Parameters
    ----------
    text
        JSON: ``mounts``, ``devices``, ``folder``, ``tmp_bytes``.
    work
        Called in a process of its own, which may replace itself by another program.
    user
        Numbers of the user and the group outside.

    Returns
    -------
    `SETUP_FAILED` where the sandbox cannot be made.
    """
    try:
        layout = json.loads(text)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)  # meant for the work, which gets them as well
        signal.signal(signal.SIGHUP, lambda *_: os._exit(128 + signal.SIGKILL))
        stay_the_user(*user)
        raise_loopback()
        build_root(layout)
        seal_root()
        child = os.fork()
    except OSError as error:
        return refused(error)
    return wait_for(child) if child else _work_inside(layout["folder"], work)


def refused(error: OSError) -> int:
    """Say why the sandbox cannot be made, and return the exit status that stands for it."""
    sys.stderr.write(f"the sandbox cannot be made: {error}\n")
    sys.stderr.flush()
    return SETUP_FAILED


def _work_inside(folder: str, work: Callable[[], int]) -> int:
    """Do the work, without any privilege."""
    code = SETUP_FAILED
    try:
        die_with_parent()
        give_up_capabilities()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        os.chdir(folder)
        code = work()
    except OSError as error:
        code = refused(error)
    finally:
        os._exit(code)
