"""The record of one cell, as it stands in ``record.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

from msibench.errors import IntegrityError, NewerSchemaError, SchemaError
from msibench.results.identity import IDENTITY_FIELDS, CellIdentity
from msibench.results.keys import digest_of, digest_of_parsed, plain

SCHEMA_VERSION = 1
REMEDY = "msibench run sets the cell aside and makes it again"


class Status(StrEnum):
    """How a cell ended."""

    OK = "ok"
    FAILED = "failed"
    TIMEOUT = "timeout"
    OOM = "oom"
    KILLED = "killed"
    INVALID_OUTPUT = "invalid-output"
    NOT_APPLICABLE = "not-applicable"
    WEIGHTS_MISSING = "weights-missing"
    CANCELLED = "cancelled"


FAILURES = frozenset(
    {Status.FAILED, Status.TIMEOUT, Status.OOM, Status.KILLED, Status.INVALID_OUTPUT}
)
"""Statuses that make a run exit with 3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CellRecord:
    """Everything that is kept of one cell beside its arrays."""

    key: str
    key_document: Mapping[str, Any]
    """What the key is the digest of."""
    status: Status
    reason: str = ""
    method: str
    dataset: str
    section: str
    protocol: str
    mz_set: str
    seed: int
    control: str = ""
    """Name of the wrong-guide control; empty for a real cell."""
    device: str = "cpu"
    precision: str = "float32"
    mz: tuple[float | None, ...] = ()
    channel_names: tuple[str, ...] = ()
    pixel_size_um: float | None = None
    problem_key: str = ""
    timings: Mapping[str, float] = field(default_factory=dict)
    """Seconds: ``import``, ``build``, ``fit``, ``warm_up``, ``upscale``, ``wall``."""
    peaks: Mapping[str, float] = field(default_factory=dict)
    """MiB: ``rss``, ``vram``."""
    files: Mapping[str, str] = field(default_factory=dict)
    """sha256 of the files beside the record."""
    rows_digest: str = ""
    """Digest of the metric rows as values (`msibench.results.rows_digest`); empty in records that were
    written before there was one."""
    scores: Mapping[str, str] = field(default_factory=dict)
    """``metric@region`` → score key."""
    truth_digest: str = ""
    report: Mapping[str, Any] = field(default_factory=dict)
    """What the method tells of its run."""
    method_facts: Mapping[str, Any] = field(default_factory=dict)
    """Task, citation, licence, title, training data."""
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    origin: str = "measured"
    """``measured`` here, or ``self-reported`` when it came in a bundle."""
    schema_version: int = SCHEMA_VERSION

    @property
    def identity(self) -> CellIdentity:
        """The place of a board that it is for."""
        return CellIdentity(**{name: getattr(self, name) for name in IDENTITY_FIELDS})

    def to_json(self) -> str:
        """Return the record as text, with the digest that shows later changes."""
        document = plain(asdict(self))
        assert isinstance(document, dict)
        document["record_digest"] = digest_of(document)
        return json.dumps(document, sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def record_from_json(text: str, where: str) -> CellRecord:
    """Read a record, refusing one that was changed or that a newer version wrote.

    Raises
    ------
    NewerSchemaError, SchemaError
        If it was written under another schema; what a newer msibench wrote is never set aside.
    IntegrityError
        If it is not a record, or its digest does not match.
    """
    try:
        document = json.loads(text)
        schema = document.get("schema_version")
        digest = str(document.pop("record_digest", ""))
        found = digest_of_parsed(document)
    except (ValueError, AttributeError, RecursionError) as error:
        raise IntegrityError(f"{where} is damaged: {_brief(error)}; {REMEDY}") from error
    newer = isinstance(schema, int) and schema > SCHEMA_VERSION
    if newer and digest in {"", found}:  # it vouches for itself, or does so in another way
        raise NewerSchemaError(
            f"{where} has schema {_brief(schema)}, this msibench reads {SCHEMA_VERSION}; "
            "install a newer msibench, or choose another folder with --results"
        )
    if schema != SCHEMA_VERSION and digest in {"", found}:
        raise SchemaError(
            f"{where} has schema {_brief(schema)}, this msibench reads {SCHEMA_VERSION}; {REMEDY}"
        )
    if digest != found:
        raise IntegrityError(f"{where} was changed after it was written (digest differs); {REMEDY}")
    known = {f.name for f in fields(CellRecord)}
    try:
        values = {key: value for key, value in document.items() if key in known}
        values["status"] = Status(values["status"])
        for name in ("mz", "channel_names", "notes"):
            values[name] = tuple(values[name])
        return CellRecord(**values)
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"{where} is not a record of a cell: {_brief(error)}") from error


def _brief(value: object) -> str:
    """Return what is said of a value that came from outside, in one short line."""
    text = str(value) if isinstance(value, Exception) else repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
