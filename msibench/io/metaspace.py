"""The files of a METASPACE data set, by its id; needs the extra ``[metaspace]``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from msibench.errors import ConfigurationError, MissingDataError

ID = re.compile(r"\d{4}-\d{2}-\d{2}_\d{2}h\d{2}m\d{2}s(\d{1,6})?")
"""``2016-09-22_11h16m17s``, as in the address of a METASPACE page."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file and the address from which it can be fetched for a while."""

    name: str
    url: str


@dataclass(frozen=True, slots=True)
class RemoteDataset:
    """What METASPACE says about a data set's download."""

    files: tuple[RemoteFile, ...]
    licence: str
    contributors: tuple[str, ...]


def is_metaspace_id(name: str) -> bool:
    """Whether a name is the id of a METASPACE data set."""
    return ID.fullmatch(name.removeprefix("metaspace:")) is not None


def dataset_files(name: str, client: Any = None) -> RemoteDataset:
    """Ask METASPACE where the input files of a data set are.

    Parameters
    ----------
    name
        The id, with or without ``metaspace:`` before it.
    client
        An ``SMInstance`` of the package ``metaspace2020``; None: a new one, without login.

    Raises
    ------
    ConfigurationError
        If the package is not installed.
    MissingDataError
        If the data set does not exist, or its owner does not allow downloads.
    """
    dataset_id = name.removeprefix("metaspace:")
    if client is None:
        try:
            from metaspace import SMInstance
        except ImportError as error:
            raise ConfigurationError(
                "METASPACE data sets need the package metaspace2020: pip install "
                "'msibench[metaspace]'"
            ) from error
        client = SMInstance()
    try:
        found = client.dataset(id=dataset_id).download_links()
    except Exception as error:
        raise MissingDataError(
            f"METASPACE gives no data set {dataset_id!r}: {type(error).__name__}: {error}"
        ) from error
    if not found or not found.get("files"):
        raise MissingDataError(
            f"METASPACE data set {dataset_id!r} cannot be downloaded: its owner has not released "
            "the input files"
        )
    licence = found.get("license") or {}
    people = (entry.get("name", "") for entry in found.get("contributors", ()))
    return RemoteDataset(
        files=tuple(
            # a file name from elsewhere: its last part only, so that nothing leaves the folder
            RemoteFile(PurePosixPath(entry["filename"].replace("\\", "/")).name, entry["link"])
            for entry in found["files"]
        ),
        licence=str(licence.get("name") or licence.get("code") or "not stated"),
        contributors=tuple(person for person in people if person),
    )
