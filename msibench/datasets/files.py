"""The files of a data set: where they are, and whether they are the ones that its card names."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path
from typing import TextIO

from msibench.datasets.card import Card, CardFile
from msibench.downloads import cache_root
from msibench.errors import IntegrityError, MissingDataError
from msibench.mirror import find_in_mirror


def find_file(card: Card, file: CardFile, *, verify: bool = True) -> Path:
    """Return the path of a file of a data set, its sha256 verified.

    Looked for beside the card, in ``MSIBENCH_MIRROR``, then among the downloaded files, and after that as
    ``<name>.gz`` in the same places: of a gzipped copy the sha256 of its contents counts. `open_unpacked`
    reads either.

    Raises
    ------
    MissingDataError
        If it is nowhere; the message says how to get it.
    IntegrityError
        If its sha256 is not the card's.
    """
    path = card.local_files.get(file.name)
    if path is None or not path.is_file():
        path = _place_of(card, file.name) or _place_of(card, f"{file.name}.gz")
    if path is None:
        how = file.how or f"fetch it with: msibench fetch {card.name}"
        raise MissingDataError(
            f"Data set {card.name!r} needs {file.name!r}, which is neither beside its card, nor in "
            f"MSIBENCH_MIRROR (<mirror>/{card.name}/{file.name}), nor downloaded; {how}"
        )
    if verify and file.sha256:
        packed = path.suffix == ".gz" and not file.name.endswith(".gz")
        found_digest = _digest_inside(path, file) if packed else file_digest(path)
        if found_digest != file.sha256:
            raise IntegrityError(
                f"{path} has sha256 {found_digest}, the card of {card.name!r} says {file.sha256}: "
                "the file is damaged or of another version. Delete it and fetch it again."
            )
    return path


def open_unpacked(path: Path) -> TextIO:
    """Open a text file (UTF-8), gzipped if its name ends in ``.gz``; line endings are not changed."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def _place_of(card: Card, name: str) -> Path | None:
    """Return the path of a file of this name; no link is followed out of the card's own folder."""
    beside = card.folder / name
    candidates = (
        beside if beside.resolve().is_relative_to(card.folder.resolve()) else None,
        find_in_mirror(Path(card.name) / name),
        download_folder(card) / name,
    )
    return next((found for found in candidates if found is not None and found.is_file()), None)


def _digest_inside(path: Path, file: CardFile) -> str:
    """Return the sha256 of what a gzipped copy holds, read no further than the card's size."""
    digest, length = hashlib.sha256(), 0
    try:
        with gzip.open(path) as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
                length += len(block)
                if file.size is not None and length > file.size:
                    break
    except (OSError, EOFError, zlib.error) as error:
        raise IntegrityError(
            f"{path} is a damaged gzip file ({error}): delete it and fetch it again"
        ) from error
    return digest.hexdigest()


def download_folder(card: Card) -> Path:
    """Return the folder that ``msibench fetch`` fills for this data set."""
    return cache_root() / "datasets" / card.name


def file_digest(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
