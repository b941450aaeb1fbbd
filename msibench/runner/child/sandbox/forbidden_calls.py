"""System calls that are denied to a method inside a sandbox: a filter of the kernel (seccomp).

They reach into other processes (`ptrace`), or keep memory that belongs to no process and that therefore
cannot be counted: segments of shared memory and queues of messages of System V, keys. What computes needs
none of them: shared memory of POSIX, files of memory, pipes and sockets stay as they are.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import NamedTuple

INSIDE = "MSIBENCH_INSIDE"
"""A variable that only a process inside a sandbox has."""
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
NUMBER_AT, MACHINE_AT = 0, 4
"""Offsets in the kernel's description of a call."""
CALLS_OF_32_BITS = 0x40000000
"""Bit of a call's number by which x86-64 takes it from the x32 table, with other numbers."""


class Machine(NamedTuple):
    """A processor's own mark, and its numbers of the calls."""

    mark: int
    calls: tuple[int, ...]
    """ptrace, shmget, msgget, mq_open, add_key, request_key, keyctl."""


MACHINES = {
    "x86_64": Machine(0xC000003E, (101, 29, 68, 240, 248, 249, 250)),
    "aarch64": Machine(0xC00000B7, (117, 194, 186, 180, 217, 218, 219)),
}


def forbid_calls() -> bool:
    """Have the kernel refuse these calls to this process, and to all that it starts, for good.

    Returns
    -------
    Whether it does: not on other processors, and not where the system has no such filters.
    """
    machine = MACHINES.get(os.uname().machine)
    if machine is None:
        return False
    text = filter_of(machine)
    held = ctypes.create_string_buffer(text, len(text))
    program = struct.pack("HxxxxxxP", len(text) // 8, ctypes.addressof(held))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return False
    given = ctypes.create_string_buffer(program, len(program))
    return bool(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, given, 0, 0) == 0)


def filter_of(machine: Machine) -> bytes:
    """Return the filter as the kernel reads it: 8 bytes a step, jumps counted from the next one."""
    asked = [(EQUAL, number) for number in machine.calls]
    if machine is MACHINES["x86_64"]:
        asked.insert(0, (AT_LEAST, CALLS_OF_32_BITS))
    steps = [
        (LOAD, 0, 0, MACHINE_AT),
        (EQUAL, 0, len(asked) + 2, machine.mark),
        (LOAD, 0, 0, NUMBER_AT),
    ]
    for place, (test, number) in enumerate(asked):
        steps.append((test, len(asked) - place, 0, number))
    steps += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE)]
    return b"".join(struct.pack("HBBI", *step) for step in steps)
