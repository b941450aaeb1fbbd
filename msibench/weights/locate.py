"""Find a pretrained file, or say with one command how to get it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msibench.contracts.method import WeightFile
from msibench.errors import (
    ConfigurationError,
    IntegrityError,
    MissingWeightsError,
    UnknownNameError,
)
from msibench.weights import digests
from msibench.weights.digests import sha256_of
from msibench.weights.registry import lookup, short_name
from msibench.weights.search_paths import cached_path, packaged_path, shared_paths

if TYPE_CHECKING:
    from msibench.downloads.transfer import Progress

__all__ = ["add", "fetch", "find", "is_here", "require", "resolve", "sha256_of", "verify"]


def find(file: str | WeightFile, *, given: Iterable[Path] = ()) -> Path | None:
    """Return a verified copy of a pretrained file on this machine, or None; never downloads.

    Places, best first: `given`, the package that ships it, the cache (``MSIBENCH_CACHE``), torch's
    hub cache, ``MSIBENCH_MIRROR``. A copy whose digest is wrong is passed over for a good one
    further down.

    Parameters
    ----------
    file
        A registered name (``"vgg16"``), a file name, or what a plugin declares.
    given
        Files or folders that the user named (``--weights``).

    Raises
    ------
    UnknownNameError
        If a name is registered nowhere.
    IntegrityError
        If there are copies, but none has the published digest, or the one first seen.
    """
    file = lookup(file)
    base = Path(file.name).name
    for place in given:
        for path in (place / file.name, place / base) if place.is_dir() else (place,):
            if path.is_file() and path.name == base:
                digests.check(path, file, record=False)
                return path
    if file.path:
        packaged = packaged_path(file)
        if packaged is not None:
            digests.check(packaged, file, record=False)
            return packaged
    wrong: IntegrityError | None = None
    for path in shared_paths(file):
        try:
            digests.check(path, file, record=True)
        except IntegrityError as error:
            wrong = wrong or error
        else:
            return path
    if wrong is not None:
        raise wrong
    return None


def is_here(file: str | WeightFile) -> bool:
    """Whether a copy lies on this machine, whatever its digest; False for a name that is registered nowhere."""
    try:
        file = lookup(file)
    except UnknownNameError:
        return False
    return packaged_path(file) is not None or next(shared_paths(file), None) is not None


def require(file: str | WeightFile, *, given: Iterable[Path] = ()) -> Path:
    """Return a verified copy of a pretrained file, or explain how to get one.

    Raises
    ------
    MissingWeightsError
        If it is not on this machine; the message holds the one command that helps.
    """
    file = lookup(file)
    path = find(file, given=given)
    if path is None:
        raise MissingWeightsError(missing_message(file))
    return path


def missing_message(file: WeightFile) -> str:
    """Return the message for a user without `file`."""
    name = short_name(file)
    if file.url:
        size = f" ({file.size / 1e6:.0f} MB)" if file.size else ""
        remedy = f"Get it{size} with: msibench weights fetch {name}"
    else:
        how = f" {file.how}" if file.how else ""
        remedy = f"It has no public address.{how} Then: msibench weights add PATH --as {name}"
    return f"The pretrained file {file.name} is not on this machine. {remedy}"


def resolve(
    files: Sequence[WeightFile], given: Sequence[Path] = ()
) -> tuple[dict[str, Path], tuple[WeightFile, ...]]:
    """Return what a method is handed as ``weights``, and the files that are missing.

    A single file given for a method that declares a single one is taken whatever its name, unless
    its digest contradicts the published one.

    Parameters
    ----------
    files
        ``MethodSpec.weights``.
    given
        Files or folders that the user named (``--weights``).
    """
    if len(files) == 1 and len(given) == 1 and given[0].is_file():
        digests.check(given[0], files[0], record=False)
        return {files[0].name: given[0]}, ()
    found: dict[str, Path] = {}
    missing: list[WeightFile] = []
    for file in files:
        path = find(file, given=given)
        if path is None:
            missing.append(file)
        else:
            found[file.name] = path
    return found, tuple(missing)


def fetch(
    file: str | WeightFile,
    *,
    accept_licence: bool = False,
    ask: Callable[[str], bool] | None = None,
    progress: Progress | None = None,
    allow_local: bool = False,
) -> Path:
    """Download a pretrained file into the cache, unless a good copy is there already.

    Parameters
    ----------
    file
        What to fetch.
    accept_licence
        Agree beforehand to a licence that forbids commercial use.
    ask
        Called with the licence text when it does; True agrees.
    progress
        Called with (bytes so far, bytes in all or None).
    allow_local
        Follow redirects to private addresses.

    Raises
    ------
    MissingWeightsError
        If there is no public address.
    ConfigurationError
        If the licence was not agreed to.
    DownloadError
        If the address gives no such file.
    IntegrityError
        If what came is not what was published; nothing is kept.
    """
    file = lookup(file)
    try:
        path = find(file)
    except IntegrityError:
        path = None  # a fresh copy is what the user asks for
    if path is not None:
        return path
    if not file.url:
        raise MissingWeightsError(missing_message(file))
    if file.non_commercial and not accept_licence:
        terms = f"{file.name} is under {file.licence}: NON-COMMERCIAL use only."
        if ask is None or not ask(terms):
            raise ConfigurationError(f"{terms} Agree with --accept-licence to download it.")
    target = cached_path(file)
    from msibench.downloads import download

    download(
        file.url,
        target,
        sha256=digests.published_prefix(file),
        size=None if file.sha256 else file.size,
        progress=progress,
        allow_local=allow_local,
    )
    digests.check(target, file, record=True)
    return target


def add(path: Path, file: str | WeightFile, *, replace: bool = False) -> Path:
    """Copy a file that the user has into the cache under its registered name.

    Raises
    ------
    MissingWeightsError
        If `path` is not a file.
    IntegrityError
        If it is not the published file, or differs from the one first seen and `replace` is False.
    """
    file = lookup(file)
    if not path.is_file():
        raise MissingWeightsError(f"File not found: {path} to add as {file.name}.")
    if replace:
        digests.forget(file)
    digests.check(path, file, record=True)
    target = cached_path(file)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and target.samefile(path):
        return target
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as draft:
        draft_path = Path(draft.name)
    try:
        shutil.copyfile(path, draft_path)
        os.replace(draft_path, target)  # noqa: PTH105
    finally:
        draft_path.unlink(missing_ok=True)
    return target


def verify(files: Iterable[WeightFile]) -> Mapping[str, str]:
    """Return for each file ``"ok"``, ``"missing"`` or what is wrong with it, reading every byte."""
    report: dict[str, str] = {}
    for file in files:
        try:
            report[file.name] = "missing" if find(file) is None else "ok"
        except IntegrityError as error:
            report[file.name] = str(error)
    return report
