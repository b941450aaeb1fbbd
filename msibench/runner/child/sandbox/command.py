"""Run a method's child without network, with nothing to write but its own folder.

Two ways, and the record says which was taken: Linux namespaces that Python makes by itself
(`msibench.runner.child.sandbox.namespaces`), which a process that is running already can enter and which
need nothing installed; else `bubblewrap <https://github.com/containers/bubblewrap>`_, which some systems
allow where they forbid the former to everybody else (Ubuntu's AppArmor profile for ``bwrap``, a ``bwrap``
installed setuid) and which works on Linux before 5.12. Where the system allows neither, `choose_sandbox`
says what to change. Scores are the same with and without: the sandbox is not a part of a key.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from pathlib import Path

from msibench.downloads import cache_root
from msibench.errors import MSIBenchError
from msibench.mirror import mirror_roots
from msibench.runner.child.guard import guarded
from msibench.runner.child.sandbox.forbidden_calls import INSIDE
from msibench.runner.child.sandbox.namespaces import PROC_READ_ONLY
from msibench.runner.child.sandbox.sandbox_mounts import (
    PLAIN_DEVICES,
    TMP_BYTES,
    Mount,
    gpu_devices,
    mounts,
)

NONE, AUTO, BUBBLEWRAP, NAMESPACES = "none", "auto", "bubblewrap", "namespaces"
KINDS = (NAMESPACES, BUBBLEWRAP)
"""The better one first."""
PROBE_S = 60.0
PASSED = (
    "PATH", "LANG", "LANGUAGE", "LC_*", "TZ", "TERM", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME",
    "PYTHONUTF8", "PYTHONIOENCODING", "VIRTUAL_ENV", "CONDA_PREFIX", "*_NUM_THREADS", "OMP_*", "KMP_*",
    "GOMP_*", "MKL_*", "CUDA_*", "CUBLAS_*", "NVIDIA_*", "NCCL_*", "ROCR_*", "HIP_*", "HSA_*", "XLA_*",
    "JAX_*", "TF_*", "TORCH_*", "PYTORCH_*", "NUMBA_*", "MALLOC_*", "COVERAGE_*", "SSL_CERT_*",
    "MSIBENCH_LARGE_MIB",
)  # fmt: skip
"""Variables that a process inside gets from outside; tokens, addresses and places of data are none of
them."""
_PASSED = re.compile("|".join(translate(pattern) for pattern in PASSED))


class SandboxError(MSIBenchError):
    """A sandbox was asked for that this system does not allow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enclosed:
    """What to start for a command inside a sandbox."""

    command: list[str]
    inside: str = ""
    """What the cell's guard makes namespaces of; empty where the command itself makes the sandbox."""


def settled(wanted: str) -> tuple[str, str]:
    """Return the kind of sandbox that a cell gets here, and why it gets none.

    Parameters
    ----------
    wanted
        ``"auto"``: the best that works, else ``"none"``. One of `KINDS`, or ``"none"``: that one.

    Raises
    ------
    SandboxError
        If one was named that does not work here.
    """
    if wanted == NONE:
        return NONE, ""
    if wanted != AUTO:
        return choose_sandbox(wanted), ""
    try:
        return choose_sandbox(), ""
    except SandboxError as error:
        return NONE, str(error)


@lru_cache(maxsize=8)
def choose_sandbox(wanted: str = AUTO) -> str:
    """Return the kind of sandbox that works here, after trying it; it is tried once a process.

    Parameters
    ----------
    wanted
        ``"auto"``, ``"bubblewrap"`` or ``"namespaces"``.

    Raises
    ------
    SandboxError
        If none works; the message says why and what to install or allow.
    """
    reasons = []
    for kind in KINDS if wanted == AUTO else (wanted,):
        reason = why_not(kind)
        if not reason:
            return kind
        reasons.append(f"{kind}: {reason}")
    raise SandboxError(
        "this system allows no sandbox: "
        + "; ".join(reasons)
        + ". Install bubblewrap (apt install bubblewrap, dnf install bubblewrap), and let users make "
        "namespaces: sysctl user.max_user_namespaces above 0, kernel.unprivileged_userns_clone=1 on "
        "older Debian, kernel.apparmor_restrict_unprivileged_userns=0 or an AppArmor profile for bwrap "
        "on Ubuntu 24.04; inside Docker --security-opt seccomp=unconfined "
        "--security-opt systempaths=unconfined. Or run with --no-sandbox, and then only methods that "
        "you trust."
    )


def why_not(kind: str) -> str:
    """Return why a kind of sandbox does not work here; empty when it does."""
    if kind not in KINDS:
        return f"unknown sandbox; expected {' or '.join(KINDS)}"
    if not sys.platform.startswith("linux"):
        return f"needs Linux, this is {sys.platform}"
    if kind == BUBBLEWRAP and shutil.which("bwrap") is None:
        return "bwrap is not installed"
    with tempfile.TemporaryDirectory(prefix="msibench-sandbox-") as name:
        folder = Path(name).resolve()
        script = "open('made', 'w').close()"
        what = enclosed([sys.executable, "-I", "-S", "-c", script], folder, kind)
        try:
            done = subprocess.run(
                guarded(what.command, what.inside),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=PROBE_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        if done.returncode == 0 and (folder / "made").is_file():
            return ""
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"ended with status {done.returncode}"


def enclosed(
    command: list[str],
    folder: Path,
    kind: str,
    *,
    readable: Iterable[str] = (),
    hidden: Iterable[str] = (),
) -> Enclosed:
    """Return what runs `command` inside a sandbox.

    Parameters
    ----------
    command
        What to run.
    folder
        The working directory, and the one place that can be written.
    kind
        ``"bubblewrap"`` or ``"namespaces"``.
    readable, hidden
        As in `msibench.runner.child.sandbox.sandbox_mounts.mounts`.
    """
    places = mounts(folder, [*readable, *_weight_folders()], [*hidden, *_data_folders()])
    if kind == BUBBLEWRAP:
        return Enclosed(command=_bubblewrap(command, folder, places))
    if kind == NAMESPACES:
        return Enclosed(command=command, inside=_namespaces(folder, places))
    raise SandboxError(f"unknown sandbox {kind!r}; expected {' or '.join(KINDS)}")


def passed_environment() -> dict[str, str]:
    """Return the variables of this process that one inside a sandbox gets: those of `PASSED`."""
    return {name: value for name, value in os.environ.items() if _PASSED.match(name)}


def inner_environment(scratch: Path) -> dict[str, str]:
    """Return the variables that a process inside needs: a home of its own, and where weights lie."""
    torch_home = os.environ.get("TORCH_HOME") or str(
        Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "torch"
    )
    own = str(scratch.resolve())
    return {
        INSIDE: "1",
        "HOME": own,
        "XDG_CACHE_HOME": f"{own}/cache",
        "XDG_CONFIG_HOME": f"{own}/config",
        "XDG_DATA_HOME": f"{own}/data",
        "MSIBENCH_CACHE": str(cache_root().resolve()),
        "TORCH_HOME": torch_home,
    }


def exit_status(code: int) -> int:
    """Return a child's exit status as Popen gives it: a signal that ended it inside is negative."""
    return 128 - code if 128 < code < 128 + 65 else code


def _weight_folders() -> list[str]:
    hub = inner_environment(Path())["TORCH_HOME"]
    return [str(cache_root() / "weights"), f"{hub}/hub/checkpoints"]


def _data_folders() -> list[str]:
    """Return the places of public data: a method finds its truths there otherwise."""
    return [str(cache_root()), *map(str, mirror_roots())]


@lru_cache(maxsize=1)
def _knows_disable_userns() -> bool:
    """Whether this bubblewrap (0.8 and newer) can forbid further namespaces inside."""
    try:
        said = subprocess.run(["bwrap", "--help"], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return b"--disable-userns" in said.stdout


def _bubblewrap(command: list[str], folder: Path, places: Iterable[Mount]) -> list[str]:
    options = {"read": "--ro-bind", "write": "--bind", "link": "--symlink", "device": "--dev-bind"}
    line = [
        shutil.which("bwrap") or "bwrap",
        "--unshare-all",
        "--unshare-user",
        "--cap-drop",
        "ALL",
    ]
    line += ["--disable-userns"] if _knows_disable_userns() else []
    line += ["--die-with-parent", "--proc", "/proc", "--dev", "/dev"]
    for (
        name
    ) in PROC_READ_ONLY:  # where root runs, its files there could be written without a capability
        line += ["--ro-bind-try", f"/proc/{name}", f"/proc/{name}"]
    for mount in gpu_devices():
        line += [options["device"], mount.source, mount.target]
    for place in ("/tmp", "/dev/shm"):
        line += ["--size", str(TMP_BYTES), "--tmpfs", place]
    covers = []
    for mount in places:
        if mount.kind == "cover":
            line += ["--tmpfs", mount.target]
            covers.append(mount.target)
        elif mount.kind == "hide":
            line += ["--dev-bind", "/dev/null", mount.target]
        else:
            line += [options[mount.kind], mount.source, mount.target]
    for target in (*covers, "/"):
        line += ["--remount-ro", target]
    return [*line, "--chdir", str(folder.resolve()), "--", *command]


def _namespaces(folder: Path, places: Iterable[Mount]) -> str:
    devices = [Mount("device", f"/dev/{name}", f"/dev/{name}") for name in PLAIN_DEVICES]
    layout: Mapping[str, object] = {
        "mounts": [[mount.kind, mount.target, mount.source] for mount in places],
        "devices": [[m.target, m.source] for m in (*devices, *gpu_devices())],
        "folder": str(folder.resolve()),
        "tmp_bytes": TMP_BYTES,
    }
    return json.dumps(layout)
