"""Write the site: pages from templates, tables at stable addresses, the docs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from msibench import __version__
from msibench.errors import ConfigurationError
from msibench.leaderboard.all_boards import TRUST
from msibench.leaderboard.board import Board
from msibench.leaderboard.page import page_name, write_page
from msibench.leaderboard.render import leaderboard_files
from msibench.leaderboard.safe_csv import table_csv
from msibench.plugin_manager import Catalogue
from msibench.results.files import explained, write_atomically
from msibench.results.store import Store
from msibench.site.content import (
    TASKS,
    Content,
    DatasetPage,
    MethodPage,
    SiteBoard,
    gather,
)
from msibench.site.docs import write_docs
from msibench.site.picture import Picture, picture_of
from msibench.site.templates import asset, instrument_of, licence_of
from msibench.site.templates import template as page_template

if TYPE_CHECKING:
    pass

MARK = ".msibench-site"
"""A file that marks a folder as a site, which may be overwritten."""
KINDS = ("boards", "methods", "datasets")


@dataclass(slots=True)
class Written:
    """What was written, and what was left out and why."""

    index: Path
    pages: int = 0
    notes: list[str] = field(default_factory=list)


def write_site(
    folder: Path,
    boards: Path,
    catalogue: Catalogue,
    *,
    store: Store | None = None,
    docs: Path | None = None,
    source: str = "",
    pictures: bool = True,
    told: Callable[[str], None] = lambda text: None,
) -> Written:
    """Write the site of a folder of boards.

    ::

        index.html                          every method on every board
        boards/NAME/index.html              and leaderboard.csv, leaderboard.json, rows.parquet, README.md
        methods/NAME/index.html
        datasets/NAME/index.html            and picture.png where one may be made
        data/scores.csv, boards.json, methods.json, datasets.json
        docs/                               the documentation

    Every page works from a disk and loads nothing from elsewhere; the same boards give the same bytes.

    Parameters
    ----------
    folder
        Made when it is not there. One that holds other things than a site is refused.
    boards
        Folder with boards, such as ``leaderboards``.
    store
        Where the boards' cells lie, as after ``msibench import``: their images are shown.
    docs
        ``mkdocs.yml`` of the documentation; None: no docs.
    source
        Where the repository's files can be read (``https://github.com/OWNER/NAME/blob/main``): method
        pages link to their code there.
    pictures
        Draw the data sets whose files are at hand.
    told
        Hears of every board, as it takes seconds.

    Raises
    ------
    ConfigurationError
        There is no board, `folder` holds something else, or the docs cannot be built.
    IntegrityError
        The rows of a board are damaged.
    """
    _refuse_strange(folder)
    content = gather(boards, catalogue, store)
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        written = Written(folder / "index.html")
        _write(folder / MARK, "A site made by msibench; it may be written over.\n")
        _write(folder / ".nojekyll", "")
        docs_written = write_docs(folder, docs, written.notes)
        site = _Site(folder, content, source.rstrip("/"), docs_written, written)
        site.assets()
        for board in content.boards:
            told(f"board {board.name}: {board.state}")
            site.board(board, store)
        for method in content.methods:
            site.method(method)
        for dataset in content.datasets:
            site.dataset(dataset, picture_of(dataset.card) if pictures else Picture())
        site.overviews()
        site.data()
    return written


def _refuse_strange(folder: Path) -> None:
    """Raise where a folder holds something that is not a site: it would be mixed up with one."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARK).is_file():
        raise ConfigurationError(
            f"{folder} is not empty and does not hold a site; name an empty or a new folder"
        )


@dataclass(slots=True)
class _Site:
    """Writes one kind of page after the other."""

    folder: Path
    content: Content
    source: str
    docs: bool
    written: Written

    def page(self, template: str, place: str, **said: Any) -> None:
        """Fill a template into ``place/index.html``."""
        root = "../" * (place.count("/") + 1) if place else ""
        text = page_template(template).render(
            root=root, docs=self.docs, version=__version__, tasks=TASKS, trust=TRUST, **said
        )
        _write(self.folder / place / "index.html", text)
        self.written.pages += 1

    def assets(self) -> None:
        """Write style, scripts and the search index."""
        css = f"{asset('leaderboard', 'page.css')}\n{asset('site', 'site.css')}"
        _write(self.folder / "assets" / "site.css", css)
        for name in ("theme.js", "site.js"):
            _write(self.folder / "assets" / name, asset("site", name))
        entries = json.dumps(list(self._searched()), ensure_ascii=True, separators=(",", ":"))
        _write(self.folder / "assets" / "search.js", f"window.msibenchSearch = {entries};\n")

    def _searched(self) -> Iterable[dict[str, str]]:
        for board in self.content.boards:
            text = f"{board.track.title} {' '.join(board.datasets)} {board.state}"
            yield _entry("board", board.name, f"boards/{page_name(board.name)}/", text)
        for method in self.content.methods:
            text = f"{method.title} {method.citation} {method.licence} {method.task_text}"
            yield _entry("method", method.name, f"methods/{method.place}/", text)
        for page in self.content.datasets:
            card = page.card
            text = f"{card.title} {card.tissue} {card.instrument} {card.citation} {card.licence}"
            yield _entry("data set", card.name, f"datasets/{page.place}/", text)
        index = self.folder / "docs" / "search" / "search_index.json"
        if self.docs and index.is_file():
            for each in json.loads(index.read_text(encoding="utf-8"))["docs"]:
                text = re.sub(r"<[^>]+>|\s+", " ", each["text"])[:200]
                title = re.sub(r"<[^>]+>", "", each["title"])
                yield {"k": "docs", "t": title, "u": f"docs/{each['location']}", "x": text}

    def board(self, board: SiteBoard, store: Store | None) -> None:
        """Write a board's page and its files; a prepared one lists what it will hold."""
        place = f"boards/{page_name(board.name)}"
        if board.board is None:
            self.page("prepared.html.j2", place, board=board)
            return
        folder = self.folder / place
        write_page(store, board.track, folder, board=board.board, site="../../")
        self.written.pages += 1
        for name, content in _files_of(board.board).items():
            _write(folder / name, content)
        lines = {"board": board.name, "lines": _plain(board.board.table.to_dict("records"))}
        _write(folder / "leaderboard.json", _json(lines))

    def method(self, method: MethodPage) -> None:
        """Write one method's page."""
        source = f"{self.source}/{method.source}" if self.source and method.source else ""
        known = {page.card.name: page.place for page in self.content.datasets}
        self.page(
            "method.html.j2", f"methods/{method.place}", method=method, source=source, known=known
        )

    def dataset(self, page: DatasetPage, picture: Picture) -> None:
        """Write one data set's page, and its picture."""
        place = f"datasets/{page.place}"
        if picture.content:
            _write(self.folder / place / "picture.png", picture.content)
        self.page("dataset.html.j2", place, page=page, card=page.card, picture=picture)

    def overviews(self) -> None:
        """Write the overview, and the lists of boards, methods and data sets."""
        cards = {page.card.name: page.card for page in self.content.datasets}
        scores = {(score.column, score.method): score for score in self.content.scores}
        measured = [method for method in self.content.methods if method.scores]
        measured.sort(key=_place)
        self.page(
            "index.html.j2", "", content=self.content, cards=cards, scores=scores, methods=measured,
            filters=_filters(self.content, measured, cards),
        )  # fmt: skip
        for kind in KINDS:
            self.page(f"{kind}.html.j2", kind, content=self.content, cards=cards)

    def data(self) -> None:
        """Write files for programs: scores as CSV, all else as JSON."""
        lines = []
        for score in self.content.scores:
            line = asdict(score)
            line["flags"] = "; ".join(score.flags)
            line |= {metric: share for (metric, *_), share in zip(TRUST, score.trust, strict=True)}
            for name in ("trust", "text", "interval", "column"):
                del line[name]
            lines.append(line)
        place = self.folder / "data"
        _write(place / "scores.csv", table_csv(pd.DataFrame(lines)))
        _write(place / "boards.json", _json([_board_facts(b) for b in self.content.boards]))
        methods = [
            {**asdict(method), "page": f"methods/{method.place}/index.html"}
            for method in self.content.methods
        ]
        _write(place / "methods.json", _json(methods))
        _write(place / "datasets.json", _json([_card_facts(p) for p in self.content.datasets]))


def _files_of(board: Board) -> dict[str, bytes]:
    """Return the files of a board as they are committed, or, where one is not there, made of its rows."""
    made = leaderboard_files(board)
    place = board.track.folder
    there = {} if place is None else {name: place / name for name in made}
    return {
        name: there[name].read_bytes() if name in there and there[name].is_file() else content
        for name, content in made.items()
    }


def _place(method: MethodPage) -> tuple[bool, int, float, str]:
    """Order methods: competitors first, those on many boards before others, then by name."""
    apart = all(score.apart for score in method.scores)
    return (apart, -len(method.scores), 0.0, method.name)


def _filters(
    content: Content, methods: Iterable[MethodPage], cards: Mapping[str, Any]
) -> dict[str, list[tuple[str, str]]]:
    """Return the filters: filter → value and text of each choice."""
    columns = {board.name: board for board, _ in content.columns}.values()
    factors = sorted({factor for board in columns for factor in board.factors})
    instruments = sorted({instrument_of(board, cards) for board in columns} - {""})
    licences = sorted({licence_of(method) for method in methods} - {""})
    return {
        "factor": [(str(factor), f"x{factor}") for factor in factors],
        "instrument": [(name, name) for name in instruments],
        "guide": [("yes", "boards with a guide"), ("no", "boards without")],
        "task": [(task, text) for task, text in TASKS.items()],
        "licence": [(name, name) for name in licences],
    }


def _entry(kind: str, title: str, place: str, text: str) -> dict[str, str]:
    return {"k": kind, "t": title, "u": f"{place}index.html", "x": " ".join(text.split())}


def _board_facts(board: SiteBoard) -> dict[str, Any]:
    place = f"boards/{page_name(board.name)}"
    found: dict[str, Any] = {
        "name": board.name,
        "title": board.track.title,
        "description": board.track.description,
        "state": board.state,
        "datasets": board.datasets,
        "factors": board.factors,
        "tasks": board.tasks,
        "protocols": sorted({p for each in board.track.problems for p in each.protocols}),
        "control_method": board.track.control_method,
        "page": f"{place}/index.html",
    }
    if board.board is not None:
        for name in ("leaderboard.csv", "leaderboard.json", "rows.parquet"):
            found[name] = f"{place}/{name}"
    return found


def _card_facts(page: DatasetPage) -> dict[str, Any]:
    card = page.card
    names = (
        "name", "title", "description", "tissue", "polarity", "instrument", "pixel_size_um", "synthetic",
        "ground_truth", "licence", "citation", "bibtex", "tasks", "protocols", "train", "test",
    )  # fmt: skip
    return {
        **{name: getattr(card, name) for name in names},
        "files": [asdict(file) for file in card.files],
        "boards": [board.name for board in page.boards],
        "page": f"datasets/{page.place}/index.html",
    }


def _plain(value: Any) -> Any:
    """Return what JSON can hold: NaN is null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.item() if hasattr(value, "item") else value


def _json(value: Any) -> str:
    return json.dumps(_plain(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = content.encode("utf-8") if isinstance(content, str) else content
    if not path.is_file() or path.read_bytes() != encoded:
        write_atomically(path, encoded)
