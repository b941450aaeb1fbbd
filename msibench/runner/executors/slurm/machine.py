"""``machine.toml``: a description of a cluster, written once per site; tracks and keys do not depend on it.

::

    schema_version = 1

    [slurm]
    partition = "gpu"
    setup = ["module load cuda/12.4"]
    array_parallelism = 64

    [[method]]
    match = "swinir*"
    memory_gb = 12
    minutes = 45

What a cell asks of a node comes from its method (`MethodSpec.resources`), then from every
``[[method]]`` table whose pattern fits its label, the last one winning; ``--memory``, ``--threads``
and ``--timeout`` of the command line stand above all of them.
"""

from __future__ import annotations

import math
import string
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from msibench.contracts.plain_text import written
from msibench.contracts.tables import check_keys
from msibench.errors import ConfigurationError
from msibench.runner.child.job import Job

SCHEMA_VERSION = 1
WHERE = frozenset({"partition", "account", "qos", "constraint", "reservation", "exclude"})
"""Keys of ``[slurm]`` that a ``[[method]]`` table may set anew; each is sbatch's option of that name."""
PLACEHOLDERS = frozenset({"gpus", "vram_gb"})


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodRule:
    """One ``[[method]]`` table: what replaces a method's own declaration of its needs."""

    match: str
    """Shell pattern for the label in the leaderboard."""
    cpus: int | None = None
    memory_gb: float | None = None
    vram_gb: float | None = None
    gpus: int | None = None
    minutes: float | None = None
    gres: str | None = None
    where: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A cluster."""

    where: Mapping[str, str] = field(default_factory=dict)
    """Partition, account, qos, constraint, reservation, exclude."""
    gres: str = "gpu:{gpus}"
    """What a cell on a GPU asks for; ``{gpus}`` and ``{vram_gb}`` (whole GiB, rounded up) are filled in."""
    extra: Mapping[str, str | int | bool] = field(default_factory=dict)
    """Further options of sbatch, ``nice = 100`` for ``--nice=100``; true for one without a value."""
    setup: tuple[str, ...] = ()
    """Shell lines that run on the node before anything else."""
    python: str = ""
    """The interpreter on the nodes, a shell command; empty: the one that runs the supervisor."""
    array_parallelism: int = 100
    """Tasks of one array that run at a time."""
    array_size: int = 500
    """Tasks in one array at most (below the site's MaxArraySize)."""
    max_queued: int = 1000
    """Cells handed to SLURM at a time."""
    bundle_minutes: float = 0.0
    """Cells that declare less are put together in one task up to this time; 0: one cell a task."""
    bundle_cells: int = 50
    """Cells in one task at most."""
    retries: int = 3
    """How often a cell is run again after a preemption, a lost node or a vanished job."""
    poll_s: float = 15.0
    """Seconds between two queries of the queue; one query is one squeue for all cells."""
    outcome_wait_s: float = 90.0
    """Seconds to go on looking for the result of a job that has ended: shared disks show files late."""
    signal_s: int = 30
    """Seconds before its time limit at which SLURM tells a job so."""
    overhead_gb: float = 0.5
    """Memory asked for on top of a cell's own, for the process that watches it."""
    methods: tuple[MethodRule, ...] = ()

    def request(self, job: Job, *, whole_time: bool = False) -> Request:
        """Return what a cell asks of SLURM.

        Parameters
        ----------
        job
            The cell, with its method's own needs.
        whole_time
            Ask for the cell's full wall limit, though its method declares less.
        """
        needs, gpus, where, gres = job.resources, 1, dict(self.where), self.gres
        for rule in self.methods:
            if fnmatchcase(job.method, rule.match):
                given = {
                    name: value
                    for name in ("cpus", "memory_gb", "vram_gb", "minutes")
                    if (value := getattr(rule, name)) is not None
                }
                needs = replace(needs, **given)
                gpus = gpus if rule.gpus is None else rule.gpus
                gres = gres if rule.gres is None else rule.gres
                where.update(rule.where)
        on_gpu = job.vram_gb > 0 and gpus > 0
        vram = math.ceil(max(needs.vram_gb, 1.0))
        memory = needs.memory_gb if job.memory_bytes is None else job.memory_bytes / 2**30
        limit = job.timeout_s + job.grace_s
        return Request(
            cpus=job.threads or needs.cpus,
            memory_mb=math.ceil((memory + self.overhead_gb) * 1024),
            cell_memory_bytes=int(memory * 2**30),
            gres=gres.format(gpus=gpus, vram_gb=vram) if on_gpu else "",
            seconds=limit if whole_time else min(limit, needs.minutes * 60),
            shortened=not whole_time and needs.minutes * 60 < limit,
            minutes=needs.minutes,
            where=tuple(sorted(where.items())),
        )

    def bundle(self, request: Request) -> int:
        """Return how many cells of a kind share one task."""
        if not self.bundle_minutes or request.minutes <= 0:
            return 1
        return max(1, min(self.bundle_cells, int(self.bundle_minutes / request.minutes)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What one cell asks of SLURM; cells that ask for the same go into one array."""

    cpus: int
    memory_mb: int
    cell_memory_bytes: int
    """What the cell itself may use of it."""
    gres: str
    seconds: float
    """Wall time of the cell."""
    shortened: bool
    """The method declares less time than its cell's wall limit."""
    minutes: float
    """Declared, for bundles."""
    where: tuple[tuple[str, str], ...]

    def time_minutes(self, cells: int, signal_s: int) -> int:
        """Return the time limit of a task with `cells` cells: theirs, a start and an end."""
        return math.ceil((self.seconds * cells + 60 + signal_s) / 60)


def load_machine(path: Path | None) -> Machine:
    """Read a ``machine.toml``; without one, SLURM's own defaults hold.

    Raises
    ------
    ConfigurationError
        If the file cannot be read, or holds a value that is not valid.
    """
    if path is None:
        return Machine()
    try:
        table = tomllib.loads(written(path.read_bytes()))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--machine {path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from error
    return machine_from_table(table, str(path))


def machine_from_table(table: Mapping[str, Any], where: str = "machine.toml") -> Machine:
    """Make a machine from the table of its file, refusing every key that does not exist."""
    check_keys(table, {"schema_version", "slurm", "method"}, where)
    if table.get("schema_version", SCHEMA_VERSION) != SCHEMA_VERSION:
        raise ConfigurationError(
            f"{where}: schema_version is {table['schema_version']!r}; this msibench reads "
            f"{SCHEMA_VERSION}"
        )
    slurm = _table(table.get("slurm", {}), f"{where} [slurm]")
    known = ({f.name for f in fields(Machine)} - {"where", "methods"}) | WHERE
    check_keys(slurm, known, f"{where} [slurm]")
    rules = table.get("method", [])
    if not isinstance(rules, list):
        raise ConfigurationError(
            f"{where}: write [[method]], in double brackets, once for each pattern"
        )
    values = {key: _slurm_value(key, value, where) for key, value in slurm.items()}
    place = {key: values.pop(key) for key in WHERE & values.keys()}
    return Machine(
        **values,
        where=place,
        methods=tuple(_rule(rule, f"{where} [[method]] {n + 1}") for n, rule in enumerate(rules)),
    )


def _rule(rule: Any, where: str) -> MethodRule:
    table = _table(rule, where)
    known = ({f.name for f in fields(MethodRule)} - {"where"}) | WHERE
    check_keys(table, known, where)
    if "match" not in table:
        raise ConfigurationError(f'{where}: match is missing, e.g. match = "swinir*"')
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key in {"cpus", "gpus"}:
            values[key] = int(_number(key, value, where, whole=True, least=int(key == "cpus")))
        elif key in {"memory_gb", "vram_gb", "minutes"}:
            values[key] = float(_number(key, value, where))
        elif key == "gres":
            values[key] = _gres(value, where)
        else:
            values[key] = _text(key, value, where)
    place = {key: values.pop(key) for key in WHERE & values.keys()}
    return MethodRule(**values, where=place)


def _slurm_value(key: str, value: Any, where: str) -> Any:
    where = f"{where} [slurm]"
    if key == "setup":
        if not isinstance(value, list) or not all(isinstance(line, str) for line in value):
            raise ConfigurationError(f"{where}: setup is a list of shell lines, got {value!r}")
        return tuple(value)
    if key == "extra":
        return _extra(value, where)
    if key == "gres":
        return _gres(value, where)
    if key in {"array_parallelism", "array_size", "max_queued", "bundle_cells"}:
        return int(_number(key, value, where, whole=True, least=1))
    if key in {"retries", "signal_s"}:
        return int(_number(key, value, where, whole=True, least=0))
    if key in {"bundle_minutes", "overhead_gb", "outcome_wait_s"}:
        return float(_number(key, value, where, least=0))
    if key == "poll_s":
        return float(_number(key, value, where))
    return _text(key, value, where)


def _extra(value: Any, where: str) -> dict[str, str | int | bool]:
    own = {"array", "output", "error", "job-name", "time", "mem", "cpus-per-task", "gres", "signal"}
    extra = {}
    for name, setting in _table(value, f"{where} extra").items():
        option = name.replace("_", "-")
        if not option.replace("-", "").isalnum() or not isinstance(setting, str | int):
            raise ConfigurationError(
                f"{where}: extra names options of sbatch, as in extra = {{ nice = 100 }}; "
                f"got {name!r} = {setting!r}"
            )
        if option in own | WHERE:
            raise ConfigurationError(
                f"{where}: extra may not hold {name!r}; msibench sets --{option} itself"
            )
        extra[option] = _text(name, setting, where) if isinstance(setting, str) else setting
    return extra


def _gres(value: Any, where: str) -> str:
    text = _text("gres", value, where)
    try:
        named = {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
    except ValueError as error:
        raise ConfigurationError(f"{where}: gres = {text!r}: {error}") from error
    if named - PLACEHOLDERS:
        raise ConfigurationError(
            f"{where}: gres may hold {{gpus}} and {{vram_gb}}, as in "
            f'gres = "gpu:a100:{{gpus}}"; got {text!r}'
        )
    return text


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{where}: expected a table, got {value!r}")
    return value


def _text(key: str, value: Any, where: str) -> str:
    if not isinstance(value, str) or not value or any(ord(letter) < 32 for letter in value):
        raise ConfigurationError(f"{where}: {key} is one line of text, got {value!r}")
    return value


def _number(key: str, value: Any, where: str, *, whole: bool = False, least: float = 0.01) -> float:
    good = isinstance(value, int) if whole else isinstance(value, int | float)
    if not good or isinstance(value, bool) or not math.isfinite(value) or value < least:
        kind = "a whole number" if whole else "a number"
        raise ConfigurationError(f"{where}: {key} is {kind}, {least:g} or more; got {value!r}")
    return float(value)
