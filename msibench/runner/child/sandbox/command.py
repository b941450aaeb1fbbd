"""Run a method's child without network, with nothing to write but its own folder.

Two ways, and the record says which was taken: `bubblewrap <https://github.com/containers/bubblewrap>`_
where ``bwrap`` is installed, else Linux namespaces that Python makes by itself
(`msibench.runner.child.sandbox.namespaces`). Where the system allows neither, `choose_sandbox` says what to change;
nothing is ever run outside by mistake. Scores are the same with and without: the sandbox is no part of
a key.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from msibench.downloads import cache_root
from msibench.errors import MSIBenchError
from msibench.mirror import mirror_roots
from msibench.runner.child.sandbox.namespaces import PROC_READ_ONLY
from msibench.runner.child.sandbox.sandbox_mounts import (
    PLAIN_DEVICES,
    TMP_BYTES,
    Mount,
    gpu_devices,
    mounts,
)

NONE, BUBBLEWRAP, NAMESPACES = "none", "bubblewrap", "namespaces"
KINDS = (BUBBLEWRAP, NAMESPACES)
PROBE_S = 60.0


class SandboxError(MSIBenchError):
    """A sandbox was asked for that this system does not allow."""


def choose_sandbox(wanted: str = "auto") -> str:
    """Return the kind of sandbox that works here, after trying it.

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
    for kind in KINDS if wanted == "auto" else (wanted,):
        reason = why_not(kind)
        if not reason:
            return kind
        reasons.append(f"{kind}: {reason}")
    raise SandboxError(
        "--sandbox was asked for and this system allows none, so nothing was run. "
        + "; ".join(reasons)
        + ". Install bubblewrap (apt install bubblewrap, dnf install bubblewrap), and let users make "
        "namespaces: sysctl user.max_user_namespaces above 0, kernel.unprivileged_userns_clone=1 on "
        "older Debian, kernel.apparmor_restrict_unprivileged_userns=0 or an AppArmor profile for bwrap "
        "on Ubuntu 24.04; inside Docker --security-opt seccomp=unconfined "
        "--security-opt systempaths=unconfined. Or run without --sandbox, and then only methods that "
        "you trust."
    )


def why_not(kind: str) -> str:
    """Return why a kind of sandbox does not work here; empty when it does."""
    if kind not in KINDS:
        return f"there is no such sandbox; expected {' or '.join(KINDS)}"
    if not sys.platform.startswith("linux"):
        return f"needs Linux, this is {sys.platform}"
    if kind == BUBBLEWRAP and shutil.which("bwrap") is None:
        return "bwrap is not installed"
    with tempfile.TemporaryDirectory(prefix="msibench-sandbox-") as name:
        folder = Path(name).resolve()
        script = "import sys, msibench; open('made', 'w').close()"
        command = enclosed([sys.executable, "-c", script], folder, kind)
        try:
            done = subprocess.run(
                command,
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
) -> list[str]:
    """Return the command that runs `command` inside a sandbox.

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
        return _bubblewrap(command, folder, places)
    if kind == NAMESPACES:
        return _namespaces(command, folder, places)
    raise SandboxError(f"there is no sandbox {kind!r}; expected {' or '.join(KINDS)}")


def inner_environment(scratch: Path) -> dict[str, str]:
    """Return the variables that a process inside needs: a home of its own, and where weights lie."""
    torch_home = os.environ.get("TORCH_HOME") or str(
        Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "torch"
    )
    own = str(scratch.resolve())
    return {
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


def _bubblewrap(command: list[str], folder: Path, places: Iterable[Mount]) -> list[str]:
    options = {"read": "--ro-bind", "write": "--bind", "link": "--symlink", "device": "--dev-bind"}
    line = [
        shutil.which("bwrap") or "bwrap",
        "--unshare-all",
        "--unshare-user",
        "--cap-drop",
        "ALL",
    ]
    line += ["--die-with-parent", "--proc", "/proc", "--dev", "/dev"]
    for (
        name
    ) in PROC_READ_ONLY:  # where root runs, its files there could be written without a capability
        line += ["--ro-bind-try", f"/proc/{name}", f"/proc/{name}"]
    for mount in gpu_devices():
        line += [options["device"], mount.source, mount.target]
    line += ["--size", str(TMP_BYTES), "--tmpfs", "/tmp"]
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


def _namespaces(command: list[str], folder: Path, places: Iterable[Mount]) -> list[str]:
    devices = [Mount("device", f"/dev/{name}", f"/dev/{name}") for name in PLAIN_DEVICES]
    facts: Mapping[str, object] = {
        "mounts": [[mount.kind, mount.target, mount.source] for mount in places],
        "devices": [[m.target, m.source] for m in (*devices, *gpu_devices())],
        "folder": str(folder.resolve()),
        "tmp_bytes": TMP_BYTES,
    }
    script = Path(__file__).with_name("namespaces.py")
    return [sys.executable, "-I", "-S", str(script), json.dumps(facts), *command]
