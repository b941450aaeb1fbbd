"""The bundle of a committed board, with its predictions: named by address and digest beside the rows.

Rows alone hold no images. A board's folder may hold ``bundle.toml``, which says where the bundle is;
nothing is fetched until it is requested.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from pathlib import Path

from msibench.contracts.tables import check_keys, check_types, read_table
from msibench.downloads import cache_root, download
from msibench.errors import ConfigurationError, MissingDataError
from msibench.leaderboard.board import BUNDLE
from msibench.results.files import sha256_of, write_atomically


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedBundle:
    """Where the bundle of a board is."""

    url: str
    """``https`` address of one file."""
    sha256: str
    size: int
    """Bytes."""


def published_bundle(folder: Path) -> PublishedBundle:
    """Return what a board's folder says about its bundle.

    Raises
    ------
    MissingDataError
        It names none.
    ConfigurationError
        ``bundle.toml`` is not what it should be.
    """
    path = folder / BUNDLE
    if not path.is_file():
        raise MissingDataError(
            f"no bundle is published for {folder.name}: {path} is not there. Run the board "
            f"(msibench run {folder.name}) to have its images"
        )
    table = read_table(path)
    known = {each.name for each in fields(PublishedBundle)}
    check_keys(table, known, str(path))
    if lacking := sorted(known - table.keys()):
        raise ConfigurationError(f"{path} lacks {', '.join(lacking)}")
    found = PublishedBundle(**check_types(table, PublishedBundle, str(path)))
    if not re.fullmatch(r"[0-9a-f]{64}", found.sha256) or found.size <= 0:
        raise ConfigurationError(
            f"{path}: expected a sha256 of 64 hex digits and a size above 0, got {found.sha256!r} "
            f"and {found.size}"
        )
    if not found.url.startswith("https://") or any(letter in found.url for letter in '"\\\n'):
        raise ConfigurationError(f"{path}: expected an https address, got {found.url!r}")
    return found


def publish_bundle(folder: Path, bundle: Path, url: str) -> Path:
    """Write ``bundle.toml`` of a board: where this very file will be found.

    Returns
    -------
    Its path.
    """
    path = folder / BUNDLE
    text = f'url = "{url}"\nsha256 = "{sha256_of(bundle)}"\nsize = {bundle.stat().st_size}\n'
    before = path.read_bytes() if path.is_file() else None
    write_atomically(path, text.encode())
    try:
        published_bundle(folder)
    except ConfigurationError:
        if before is None:
            path.unlink()
        else:
            write_atomically(path, before)
        raise
    return path


def fetch_bundle(folder: Path, *, allow_local: bool = False) -> Path:
    """Download the bundle of a board into the cache, unless it is there already.

    Parameters
    ----------
    folder
        Of the committed board.
    allow_local
        Let the address be one of this machine or its network.

    Raises
    ------
    MissingDataError
        No bundle is published.
    DownloadError, IntegrityError
        It cannot be fetched, or is another file than the board names.
    """
    found = published_bundle(folder)
    target = cache_root() / "bundles" / f"{found.sha256}.zip"
    if target.is_file() and sha256_of(target) == found.sha256:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    download(
        found.url,
        target,
        sha256=found.sha256,
        size=found.size,
        public=True,
        allow_local=allow_local,
    )
    return target
