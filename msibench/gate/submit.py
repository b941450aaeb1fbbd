"""A submission: the bundle of one's own methods, checked against a board, and the text of its pull request."""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from msibench.contracts.plain_text import in_markdown
from msibench.errors import ConfigurationError, IntegrityError
from msibench.gate.bundle import write_bundle
from msibench.gate.grow import Grown, grown_board
from msibench.gate.receive import receive
from msibench.gate.verify import verify_cell
from msibench.leaderboard.rows import machine_of
from msibench.leaderboard.table import scheme_of
from msibench.plugin_manager import Catalogue
from msibench.results.files import explained, write_atomically
from msibench.results.index import read_index
from msibench.results.schema import CellRecord
from msibench.results.store import Store
from msibench.tracks import Track

BUNDLE, TEXT = "bundle.zip", "submission.md"


@dataclass(frozen=True, slots=True, eq=False)
class Submission:
    """What was written, and how the board would change."""

    bundle: Path
    text: Path
    methods: tuple[str, ...]


def write_submission(
    store: Store,
    track: Track,
    catalogue: Catalogue,
    base: Path,
    folder: Path | None = None,
    *,
    methods: Collection[str] = (),
) -> Submission:
    """Write ``bundle.zip`` and ``submission.md``: the files of a pull request.

    Before anything is written the cells are verified, the board is grown by them, and the bundle is
    received as a maintainer would: what would be rejected there is rejected here.

    Parameters
    ----------
    base
        Folder of the committed board.
    folder
        Where the files go; None: ``submissions/<track>/<method>``.
    methods
        What is submitted; empty: every method of the store that the board lacks.

    Raises
    ------
    ConfigurationError
        Nothing is new, or it does not fit the board; the message says how.
    IntegrityError
        A cell does not follow from its prediction.
    """
    grown = grown_board(base, track, catalogue, store)
    unknown = sorted(set(methods) - set(grown.added))
    chosen = tuple(methods) or grown.added
    if unknown or not chosen:
        raise ConfigurationError(
            f"nothing to submit to {track.name!r}: "
            + (f"{', '.join(unknown)} is not new to it; " if unknown else "")
            + f"{store.root} holds beside its methods: {', '.join(grown.added) or 'none'} (run one "
            f"with msibench run {track.name} --methods NAME)"
        )
    records = _records(store, track, {*chosen, track.control_method})
    faults = []
    for record in records:
        if record.method in chosen:
            found = verify_cell(
                store,
                record.key,
                catalogue.metrics,
                wanted=track.metrics,
                methods=catalogue.methods,
            )
            faults += found.faults
    if faults:
        raise IntegrityError(f"not submitted, {len(faults)} faults: {'; '.join(faults[:3])}")
    folder = folder or Path("submissions") / track.name / sorted(chosen)[0]
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    bundle = folder / BUNDLE
    write_bundle(
        store, track.name, bundle, predictions=True, methods={*chosen, track.control_method}
    )
    with tempfile.TemporaryDirectory(prefix="msibench-submit-") as scratch:
        receive(Store.open(Path(scratch) / "results"), bundle, catalogue.metrics)
    text = folder / TEXT
    write_atomically(text, submission_text(grown, track, chosen, records).encode())
    return Submission(bundle, text, chosen)


def _records(store: Store, track: Track, methods: Collection[str]) -> list[CellRecord]:
    keys = sorted(set(read_index(store, track.name).cells.values()))
    found = [store.record(key) for key in keys if store.has(key)]
    return [record for record in found if record.method in methods]


def submission_text(
    grown: Grown, track: Track, methods: Collection[str], records: list[CellRecord]
) -> str:
    """Return what the pull request says, all of it from the records: nothing is typed in twice."""
    parts = [f"# {', '.join(sorted(methods))} on {track.name}", *change_lines(grown)]
    for method in sorted(methods):
        own = [record for record in records if record.method == method]
        described = own[0].method_facts if own else {}
        machines = sorted({machine_of(record) or "not named" for record in own})
        trained = described.get("training_data") or []
        said = {
            "What it is": described.get("title") or method,
            "Paper": described.get("citation") or "none named",
            "Licence": described.get("licence") or "none named",
            "Trained on": ", ".join(map(str, trained)) or "nothing named",
            "Hardware": "; ".join(machines),
            "Cells": str(len(own)),
        }
        lines = [f"- {name}: {in_markdown(str(value))}" for name, value in said.items()]
        parts.append("\n".join([f"## {in_markdown(method)}", "", *lines]))
    parts.append(
        "Scores are self-reported until a maintainer has run the method again (`msibench verify --rerun`)."
    )
    return "\n\n".join(parts) + "\n"


def change_lines(grown: Grown) -> list[str]:
    """Return the ranks of the added methods, what is suspicious about them, and what else on the board moved."""
    if not grown.added:
        return ["Nothing was added: the committed rows alone."]
    table, track = grown.board.table, grown.board.track
    scheme = scheme_of(track, grown.board.rows["metric"].unique())
    scale, digits, unit = (100.0, 1, " %") if scheme.percent else (1.0, 3, "")
    lines = []
    for protocol, part in table.groupby("protocol", sort=True):
        order = part["method"].tolist()
        for row in part[part["method"].isin(grown.added)].to_dict("records"):
            score = row.get("composite")
            shown = (
                "no score"
                if score is None or score != score
                else f"{scale * score:.{digits}f}{unit} "
                f"[{scale * row['composite.low']:.{digits}f}, {scale * row['composite.high']:.{digits}f}]"
            )
            flag = row.get("flag")
            lines.append(
                f"{in_markdown(str(row['method']))} ({protocol}): {shown}, line "
                f"{order.index(row['method']) + 1} of {len(order)}, {row['origin']}"
                + (f"; FLAGGED: {flag}" if isinstance(flag, str) and flag else "")
            )
    lines += [*grown.notes, "No score of the board's own scheme changed."]
    lines += [
        f"{name} scales across methods and was computed anew: scores moved by up to {change:.3f}."
        for name, change in grown.moved.items()
    ]
    return lines
