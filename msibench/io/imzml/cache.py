"""Keep the table of spectra of a large imzML file, so that it opens in milliseconds the next time.

An entry is keyed by the files' paths, sizes and times of change and by the first bytes of both,
which hold the UUID. It is only a copy of what the XML says: every check is made again when it is
read. A cache that cannot be read or written is ignored.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from msibench.downloads import cache_root
from msibench.errors import StoreError
from msibench.io.imzml.header import ArrayEncoding, CvParam, Header
from msibench.io.imzml.spectra import COLUMNS, SpectrumTable
from msibench.io.partial import beside

if TYPE_CHECKING:
    from msibench.io.imzml.passes import Survey

VERSION = 2
HEAD = 1 << 16


class IndexCache:
    """The cache entry of one imzML pair."""

    def __init__(self, xml: Path, ibd: Path, reader: str) -> None:
        digest = hashlib.sha256(f"{VERSION} {reader} {COLUMNS}".encode())
        for path, head in ((xml, HEAD), (ibd, 16)):
            stat = path.stat()
            digest.update(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode())
            with path.open("rb") as file:
                digest.update(file.read(head))
        self.stem = cache_root() / "imzml" / digest.hexdigest()[:40]

    @property
    def table_file(self) -> Path:
        """Header and table of spectra."""
        return self.stem.with_suffix(".npz")

    @property
    def survey_file(self) -> Path:
        """What the first pass over all m/z found."""
        return self.stem.with_suffix(".survey.npz")

    def load(self) -> tuple[Header, SpectrumTable] | None:
        """Return the stored header and table, or None."""
        try:
            with self.table_file.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                header_table = json.loads(bytes(stored["facts"]))
                numbers = stored["numbers"]
            if numbers.ndim != 2 or numbers.shape[1] != len(COLUMNS) or numbers.dtype != np.int64:
                return None
            header = Header(
                {key: _params(rows) for key, rows in header_table["header"]["groups"].items()},
                _params(header_table["header"]["file_content"]),
                _params(header_table["header"]["scan_settings"]),
                header_table["header"]["declared_spectra"],
                header_table["header"]["encoding_fallback"],
            )
            encodings = tuple(ArrayEncoding(*row) for row in header_table["encodings"])
            return header, SpectrumTable(numbers, encodings, header_table["scientific"])
        except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
            return None

    def save(self, header: Header, table: SpectrumTable) -> None:
        """Store header and table; silently does nothing where the folder cannot be written."""
        header_table = {
            "header": asdict(header),
            "encodings": table.encodings,
            "scientific": table.scientific,
        }
        text = np.frombuffer(json.dumps(header_table).encode(), dtype=np.uint8)
        _write(self.table_file, facts=text, numbers=table.numbers)

    def load_survey(self, spectra: int) -> Survey | None:
        """Return what the first pass over the m/z found, or None."""
        from msibench.io.imzml.passes import Survey

        try:
            with self.survey_file.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                found = Survey(stored["ascending"], stored["lowest"], stored["highest"])
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
            return None
        sizes = {array.shape for array in (found.ascending, found.lowest, found.highest)}
        return found if sizes == {(spectra,)} and found.ascending.dtype == np.bool_ else None

    def save_survey(self, survey: Survey) -> None:
        """Store what the first pass over the m/z found."""
        _write(
            self.survey_file,
            ascending=survey.ascending,
            lowest=survey.lowest,
            highest=survey.highest,
        )


def _params(rows: list[list[str]]) -> list[CvParam]:
    return [CvParam(*row) for row in rows]


def _write(path: Path, **arrays: np.ndarray) -> None:
    """Write beside and rename, so that no reader ever sees half a file."""
    with contextlib.suppress(OSError, StoreError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside(path) as partial, partial.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
