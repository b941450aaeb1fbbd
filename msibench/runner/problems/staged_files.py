"""The folder of a staged problem: put in place whole, checked for damage, set aside.

``digests.json`` beside the two files holds their sha256. A staged problem that is damaged is made anew
from the data, which give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from msibench.datasets import dataset_digest
from msibench.errors import IntegrityError
from msibench.io.whole_files import sync_file, sync_folder
from msibench.owners import owned_name
from msibench.results.arrays import read_arrays
from msibench.results.files import explained, sha256_of, write_atomically
from msibench.results.problems import PROBLEM, SECTION
from msibench.results.removal import remove
from msibench.results.store import Store
from msibench.runner.own_section import companion_digest
from msibench.runner.problem_plan import ProblemPlan

DIGESTS = "digests.json"
REMEDY = "msibench run sets it aside and stages it anew"


def is_staged(folder: Path) -> bool:
    """Whether both files of a problem are there."""
    return (folder / SECTION).is_file() and (folder / PROBLEM).is_file()


def put_in_place(work: Path, folder: Path, store: Store) -> None:
    """Move a problem that was made in `work` to where it belongs, all of it or nothing."""
    with explained(folder):
        digests = {name: sha256_of(work / name) for name in (PROBLEM, SECTION)}
        write_atomically(work / DIGESTS, json.dumps(digests, sort_keys=True) + "\n")
        for name in (PROBLEM, SECTION):
            sync_file(work / name)
        store.make_folder(folder.parent)
        try:
            work.rename(folder)
        except OSError:
            if not is_staged(folder):
                raise
            remove(work)  # another run was faster with the same bytes
        sync_folder(folder.parent)


def staged_fault(folder: Path) -> str:
    """Return what is wrong with a staged problem, naming the file; empty when it is intact or absent."""
    if not folder.is_dir():
        return ""
    expected: Mapping[str, str] = {}
    with suppress(FileNotFoundError):  # problems staged before there were digests have none
        try:
            expected = dict(json.loads((folder / DIGESTS).read_text(encoding="utf-8")))
        except (ValueError, TypeError, RecursionError) as error:
            return f"{folder / DIGESTS} is damaged ({error})"
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                raise
            return f"{folder / DIGESTS} cannot be read ({error})"
    for name in (PROBLEM, SECTION):
        path = folder / name
        if not path.is_file():
            return f"{path} is missing"
        if expected and sha256_of(path) != expected.get(name):
            return f"{path} was changed after it was written (digest differs)"
        try:
            read_arrays(path, ())
        except IntegrityError as error:
            return str(error)
    return ""


def set_problem_aside(store: Store, key: str) -> Path:
    """Move a damaged staged problem out of the way, and return its new path."""
    aside = store.make_folder(store.root / "set-aside") / owned_name(f"problem-{key[:16]}")
    with explained(aside), suppress(FileNotFoundError):  # another run may be faster
        store.problem_folder(key).rename(aside)
    return aside


def check_data(plan: ProblemPlan) -> None:
    """Raise if the data of a section are not those that it was planned with.

    Raises
    ------
    IntegrityError
        Their results would be stored under the wrong key.
    """
    card = plan.card
    now = dataset_digest(card, plan.section)
    changed = [] if now == plan.document["data"] else ["the card or its reader"]
    for file in card.files:
        path = card.local_files.get(file.name)
        if file.role == "ibd" and path is not None and companion_digest(path) != file.sha256:
            changed.append(str(path))
    if changed:
        raise IntegrityError(
            f"the data of {card.name}/{plan.section} changed since the run was planned "
            f"({', '.join(changed)}): nothing is recorded; run again"
        )
