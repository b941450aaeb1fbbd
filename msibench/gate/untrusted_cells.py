"""Is an imported cell what it claims to be? Its record, its rows, its prediction."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from msibench.contracts.metric import MetricSpec
from msibench.contracts.plain_text import HARMFUL
from msibench.degradation import protocol
from msibench.errors import DataError, IntegrityError, MSIBenchError
from msibench.gate.labels import contradictions
from msibench.io.stored_stack import groups
from msibench.results.arrays import read_arrays, shape_of
from msibench.results.keys import plain
from msibench.results.metric_rows import ROW_COLUMNS
from msibench.results.schema import CellRecord, record_from_json
from msibench.results.store import METRICS, PREDICTION, RECORD

MOST_CHANNELS = 100_000
LARGEST_ROWS = 256 << 20
"""Bytes of metric rows, packed and unpacked."""
LONGEST_TEXT = 20_000
NAMES = ("method", "dataset", "section", "protocol", "mz_set", "device", "precision")


def check_record(folder: Path, key: str) -> CellRecord:
    """Read and check the record of an unpacked cell.

    Raises
    ------
    IntegrityError
        If its digest, key or description do not belong together.
    DataError
        If a value is not valid, or its protocol is not the one this msibench knows by that name.
    """
    where = f"cells/{key}/{RECORD}"
    try:
        record = record_from_json((folder / RECORD).read_text(encoding="utf-8"), where)
    except (UnicodeDecodeError, FileNotFoundError, RecursionError) as error:
        raise IntegrityError(f"{where} cannot be read: {error}") from error
    _check_types(record, where)
    _check_key(record, key, where)
    _check_protocol(record, where)
    return record


def check_rows_of(
    folder: Path, record: CellRecord, metrics: Mapping[str, MetricSpec]
) -> pd.DataFrame:
    """Read and check the metric rows of an unpacked cell; to be written anew, never copied."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    where = f"cells/{record.key}/{METRICS}"
    try:
        with (folder / METRICS).open("rb") as stream:
            file: Any = pq.ParquetFile(stream)
            if set(file.schema_arrow.names) != set(ROW_COLUMNS):
                raise DataError(
                    f"{where} must have the columns {', '.join(ROW_COLUMNS)}; it has "
                    f"{', '.join(file.schema_arrow.names)}"[:500]
                )
            _check_table(file.metadata, record, metrics, stream, where)
            file = pq.ParquetFile(stream, read_dictionary=TEXT_COLUMNS)
            table = file.read()
            _check_words(table, where)
            found: pd.DataFrame = table.to_pandas()
        rows = found[list(ROW_COLUMNS)].astype(ROW_COLUMNS)
    except (
        pa.ArrowException,
        OSError,
        ValueError,
        TypeError,
        LookupError,
        ArithmeticError,
        MemoryError,
    ) as error:
        if isinstance(error, MSIBenchError):
            raise
        raise DataError(f"{where} is not a table of metric rows: {error}") from error
    _check_metrics(rows, metrics, where)
    _check_channels(rows, record, where)
    return rows


TEXT_COLUMNS = ["metric", "region", "direction", "reason"]


def _check_table(
    metadata: Any, record: CellRecord, metrics: Mapping[str, MetricSpec], stream: Any, where: str
) -> None:
    """Reject a table by its footer, before a row is read."""
    most = (len(record.mz) + 1) * max(1, sum(len(spec.regions) for spec in metrics.values()))
    if metadata.num_rows > most:
        raise IntegrityError(
            f"{where} has {metadata.num_rows} rows, a cell at most {most}; refused"
        )
    if metadata.num_row_groups > 1000 or metadata.num_columns != len(ROW_COLUMNS):
        raise DataError(
            f"{where} must have the columns {', '.join(ROW_COLUMNS)}; it has {metadata.num_columns} in "
            f"{metadata.num_row_groups} groups of rows"
        )
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    claimed = sum(group.total_byte_size for group in groups)
    size = stream.seek(0, 2)
    stream.seek(0)
    if max(claimed, size) > LARGEST_ROWS or min([claimed, *(g.num_rows for g in groups)]) < 0:
        raise IntegrityError(f"{where} claims {claimed} bytes of rows; refused")


def _check_words(table: Any, where: str) -> None:
    """Reject texts that are too long while each is stored once: as entries of a dictionary."""
    import pyarrow as pa

    for name in TEXT_COLUMNS:
        column = table.column(name)
        if not pa.types.is_dictionary(column.type):
            raise DataError(f"{where}: {name} is {column.type}, not text")
        for piece in column.chunks:
            if piece.dictionary.nbytes > LARGEST_ROWS // 16:
                raise DataError(f"{where}: {name} holds text that is too long")
            if not all(
                sound_text(text) for text in piece.dictionary.to_pylist() if text is not None
            ):
                raise DataError(
                    f"{where}: {name} holds control characters, or text that is too long"
                )


SMALL_PREDICTION = 64 << 20
PREDICTION_RATIO = 100
"""A prediction of images that are not here may unpack to `SMALL_PREDICTION` bytes, or to this many times
its file: ion images with noise pack two- to tenfold, sparse ones thirtyfold."""


def check_prediction_of(
    folder: Path, record: CellRecord, expected: tuple[int, int, int] | None = None
) -> None:
    """Check that an unpacked prediction is a finite stack of the right size; read in groups.

    Parameters
    ----------
    expected
        (channel, row, column) of its problem, where that is staged here; None: not known, and the size
        is bounded by that of the file.
    """
    where = f"cells/{record.key}/{PREDICTION}"
    path = folder / PREDICTION
    most = max(SMALL_PREDICTION, PREDICTION_RATIO * path.stat().st_size)
    if expected is not None:
        most = 4 * math.prod(expected)
    try:
        shape = shape_of(path, "prediction")
        if expected is not None and shape != expected:
            raise DataError(
                f"{where} must hold (channel, row, column) = {expected}, as its problem here; it holds "
                f"{shape}"
            )
        arrays, _ = read_arrays(path, ("prediction",), max_bytes=most, lazily=("prediction",))
    except IntegrityError as error:
        raise IntegrityError(str(error).replace(str(path), where)) from error
    values = arrays["prediction"]
    if values.dtype != np.float32 or values.ndim != 3 or values.shape[0] != len(record.mz):
        raise DataError(
            f"{where} must hold (channel, row, column) float32 of {len(record.mz)} channels; it "
            f"holds {values.shape} {values.dtype}"
        )
    if not all(np.isfinite(values[group]).all() for group in groups(values.shape)):
        raise DataError(f"{where} holds values that are not numbers")


def sound_text(text: object, most: int = LONGEST_TEXT) -> bool:
    """Whether something is text without control characters, and not too long."""
    return isinstance(text, str) and len(text) <= most and not HARMFUL.search(text)


def _sound_document(part: Mapping[str, Any]) -> bool:
    """Whether every text in a nested document may be stored and shown; nothing is nested too deep."""
    waiting: list[tuple[Any, int]] = [(part, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > 32:
            return False
        if isinstance(value, dict):
            waiting += [(item, depth + 1) for pair in value.items() for item in pair]
        elif isinstance(value, list | tuple):
            waiting += [(item, depth + 1) for item in value]
        elif isinstance(value, str) and not sound_text(value, 1 << 20):
            return False
    return True


def _check_types(record: CellRecord, where: str) -> None:
    """Reject values of other types than a record has: nothing checked them on reading."""
    names = all(sound_text(getattr(record, name), 300) and getattr(record, name) for name in NAMES)
    seconds = _numbers(record.timings) and _numbers(record.peaks)
    mz = all(value is None or (_number(value) and value > 0) for value in record.mz)
    texts = (record.reason, record.control, record.origin, record.truth_digest)
    maps = (record.method_facts, record.report, record.provenance, record.key_document)
    sound = {
        "its names": names,
        "its texts": all(sound_text(text) for text in texts),
        "seed": type(record.seed) is int and abs(record.seed) < 2**63,
        "m/z": mz,
        "pixel size": record.pixel_size_um is None
        or (_number(record.pixel_size_um) and record.pixel_size_um > 0),
        "channel names": all(sound_text(name, 300) for name in record.channel_names),
        "notes": all(sound_text(note) for note in record.notes),
        "times and peaks": seconds,
        "files": isinstance(record.files, dict)
        and all(_digest(value) for value in record.files.values()),
        "scores": isinstance(record.scores, dict)
        and all(sound_text(name, 300) and _digest(v) for name, v in record.scores.items()),
        "digest of its rows": isinstance(record.rows_digest, str) and len(record.rows_digest) < 100,
        "truth digest": record.truth_digest == "" or _digest(record.truth_digest),
        "documents": all(isinstance(part, dict) and _sound_document(part) for part in maps),
        "size": len(record.mz) <= MOST_CHANNELS and len(record.notes) <= 1000,
        "method facts": isinstance(record.method_facts, dict)
        and sound_text(record.method_facts.get("task", ""), 100)
        and type(record.method_facts.get("control", False)) is bool,
    }
    wrong = [name for name, fine in sound.items() if not fine]
    if wrong:
        raise DataError(f"{where}: not valid: {', '.join(wrong)}")


def _check_key(record: CellRecord, key: str, where: str) -> None:
    """Check that the key follows from the description, and that this is the record's own."""
    found = contradictions(record, protocols=False)
    if record.key != key:
        found.insert(0, "it is another cell's")
    if found:
        said = "; ".join(found)[:500]
        raise IntegrityError(
            f"{where}: its key does not follow from what it describes: {said}; refused"
        )


def _check_protocol(record: CellRecord, where: str) -> None:
    try:
        known = plain(protocol(record.protocol).definition())
    except MSIBenchError as error:
        raise DataError(f"{where}: {error}") from error
    if record.key_document["problem"].get("protocol") != known:
        raise DataError(
            f"{where}: protocol {record.protocol!r} is defined differently there, so its scores cannot be compared with ours; was it packed by another version of msibench?"
        )


def _check_metrics(rows: pd.DataFrame, metrics: Mapping[str, MetricSpec], where: str) -> None:
    """Metrics must be known, in the version and direction that are computed here."""
    measured = rows[["metric", "metric_version", "direction", "region"]].drop_duplicates()
    for name, version, direction, region in measured.itertuples(index=False):
        spec = metrics.get(str(name))
        if spec is None:
            raise DataError(
                f"{where}: metric {str(name)[:100]!r} is not installed here; install the plugin "
                "that provides it first"
            )
        if (spec.version, spec.direction) != (version, direction):
            raise DataError(
                f"{where}: {name} was computed as version {version} ({direction}), here it is "
                f"version {spec.version} ({spec.direction}); they must not be mixed"
            )
        if region not in spec.regions:
            raise DataError(f"{where}: {name} has no region {str(region)[:100]!r}")
    if not all(sound_text(reason) for reason in rows["reason"].unique()):
        raise DataError(f"{where}: a reason holds control characters, or is too long")


def _check_channels(rows: pd.DataFrame, record: CellRecord, where: str) -> None:
    if not rows["channel"].between(-1, len(record.mz) - 1).all():
        raise DataError(f"{where}: a channel lies outside the record's {len(record.mz)}")
    if rows.duplicated(["metric", "region", "channel"]).any():
        raise DataError(f"{where}: a value occurs more than once")
    masses = np.array([math.nan if mz is None else mz for mz in record.mz] + [math.nan])
    expected = masses[rows["channel"].to_numpy()]
    if not np.array_equal(expected, rows["mz"].to_numpy(np.float64), equal_nan=True):
        raise DataError(f"{where}: its m/z are not those of the record")
    if np.isinf(rows["value"].to_numpy(np.float64)).any():
        raise DataError(f"{where}: a value is infinite")


def _digest(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def _number(value: object) -> bool:
    """Whether it is a number that a float can hold; a whole number of JSON may be longer."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) <= sys.float_info.max
    )


def _numbers(table: object) -> bool:
    return isinstance(table, dict) and all(
        sound_text(name, 100) and _number(value) and value >= 0 for name, value in table.items()
    )
