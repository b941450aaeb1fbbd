"""Leaderboards from Python: run a track, or open a published board."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from msibench.contracts.metric import turned
from msibench.errors import ConfigurationError, MissingDataError, UnknownNameError
from msibench.image import MSImage

if TYPE_CHECKING:
    import pandas as pd

    from msibench.leaderboard.images import SectionImages
    from msibench.results.schema import CellRecord
    from msibench.results.store import Store
    from msibench.runner.events import Event
    from msibench.tracks import Track

FilePath = str | os.PathLike[str]


class Leaderboard:
    """One board: its rows, the table made of them, and its images where a store is at hand.

    Parameters
    ----------
    track
        What was compared.
    rows
        Columns `msibench.leaderboard.rows.COLUMNS`.
    store, records
        Where predictions and truths lie, and the cells of the board; None and empty for rows alone.
    """

    def __init__(
        self,
        track: Track,
        rows: pd.DataFrame,
        *,
        store: Store | None = None,
        records: Iterable[CellRecord] = (),
    ) -> None:
        self.track = track
        self.store = store
        self.records = tuple(records)
        self._rows = rows

    def rows(self) -> pd.DataFrame:
        """Return one row per method, ion image, metric and region, wrong-guide controls included."""
        return self._rows.copy()

    def table(self) -> pd.DataFrame:
        """Return one row per protocol and method, best first: what ``leaderboard.csv`` holds."""
        return self._table.copy()

    @cached_property
    def _table(self) -> pd.DataFrame:
        from msibench.leaderboard.table import leaderboard_table

        return leaderboard_table(self._rows, self.track)

    @property
    def methods(self) -> list[str]:
        """Names of the methods, best first."""
        return [str(name) for name in dict.fromkeys(self._table["method"])]

    @property
    def ions(self) -> list[str]:
        """Names of the ion images, in the order of m/z: what `images` takes."""
        found = self._rows.loc[self._rows["channel"] >= 0, ["channel", "mz"]].drop_duplicates()
        ordered = found.sort_values(["mz", "channel"])
        return list(dict.fromkeys(_name(c, m) for c, m in ordered.to_numpy(dtype=np.float64)))

    def compare(self, test: str, base: str, *, protocol: str = "") -> pd.DataFrame:
        """Compare one method with another on the ion images that both have.

        Parameters
        ----------
        test, base
            Names of two methods of the board.
        protocol
            Where the board has several.

        Returns
        -------
        One row per metric and region: means of both, mean of ``test - base`` over the common images
        with its 95 % interval ``low`` to ``high``, ``images``, ``sections``, ``specimens``, the share
        of images on which `test` is better, and ``scope``: what the interval holds for.

        Raises
        ------
        UnknownNameError
            The board has no such method or protocol.
        """
        import pandas as pd

        from msibench.leaderboard.rows import measured
        from msibench.scoring.cube import cubes
        from msibench.scoring.paired import paired_difference, win_rate

        _known((test, base), self.methods, "method")
        lines = []
        for cube in cubes(self._one_protocol(measured(self._rows), protocol)):
            for place, (metric, region) in enumerate(cube.measures):
                first, second = (cube.values[:, cube.method(name), place] for name in (test, base))
                both = np.isfinite(first) & np.isfinite(second)
                if not both.any():
                    continue
                found = paired_difference(first, second, cube.sections, specimens=cube.specimens)
                better = win_rate(*(turned(one, cube.directions[place]) for one in (first, second)))
                lines.append(
                    {
                        "metric": metric,
                        "region": region,
                        test: float(first[both].mean()),
                        base: float(second[both].mean()),
                        "difference": float(found.mean.item()),
                        "low": float(found.low.item()),
                        "high": float(found.high.item()),
                        "better": better,
                        "images": int(found.images.item()),
                        "sections": int(found.sections.item()),
                        "specimens": int(found.specimens.item()),
                        "scope": str(found.scope.item()),
                    }
                )
        return pd.DataFrame(lines)

    def images(
        self, ion: str | float, *, section: str = "", protocol: str = ""
    ) -> dict[str, MSImage]:
        """Return one ion's images: the coarse one, the truth, and every method's.

        Parameters
        ----------
        ion
            ``"m/z 798.5411"`` as in `ions`, or an m/z, of which the nearest ion is taken.
        section, protocol
            Where the board has several; empty: the first.

        Returns
        -------
        ``"low"``, ``"truth"`` (where it was measured) and one entry a method, each an image of one
        channel on the protocol's scale of [0, 1].

        Raises
        ------
        MissingDataError
            The board was opened from its rows alone: predictions are not beside them.
        UnknownNameError
            There is no such ion, section or protocol.
        """
        shown = self._section(section, protocol)
        low = shown.staged.low
        place = _place(ion, low)
        mz = low.mz[place : place + 1]

        def image(values: Any, pixel_um: float) -> MSImage:
            one = np.asarray(values[place : place + 1], dtype=np.float32)
            return MSImage(one, mz, pixel_size_um=pixel_um, unit="scaled")

        found = {"low": image(shown.low, low.pixel_size_um)}
        if shown.truth is not None:
            found["truth"] = image(shown.truth, shown.pixel_size_um)
        for method in shown.records:
            values = shown.prediction(method)
            if values is not None:
                found[method] = image(values, shown.pixel_size_um)
        return found

    def _section(self, section: str, protocol: str) -> SectionImages:
        from msibench.leaderboard.page_images import stored_sections

        if self.store is None or not self.records:
            raise MissingDataError(
                f"the board {self.track.name!r} was opened from its rows alone, and images are not "
                f"among them; run it (msibench run {self.track.name}) or import a bundle, then open "
                "it with the results folder that holds it"
            )
        there = {}
        for shown in stored_sections(self.store, self.records):
            cell = next(iter(shown.records.values()))
            there[f"{cell.dataset}/{cell.section} under {cell.protocol}"] = (cell, shown)
        for cell, shown in there.values():
            named = not section or section in {cell.section, f"{cell.dataset}/{cell.section}"}
            if named and (not protocol or protocol == cell.protocol):
                return shown
        raise UnknownNameError(
            f"no images of section {section or 'any'!r} under {protocol or 'any protocol'}; there "
            f"are: {', '.join(there) or 'none'}"
        )

    def _one_protocol(self, rows: pd.DataFrame, protocol: str) -> pd.DataFrame:
        there = sorted(rows["protocol"].unique())
        if not protocol:
            if len(there) > 1:
                raise ConfigurationError(
                    f"the board has several protocols, whose scores are never put together: name one "
                    f"of {', '.join(there)}"
                )
            return rows
        _known((protocol,), there, "protocol")
        return rows[rows["protocol"] == protocol]

    def __repr__(self) -> str:
        return (
            f"<Leaderboard {self.track.name}: {len(self.methods)} methods, {len(self.ions)} ions>"
        )

    def _repr_html_(self) -> str:
        from msibench.library.show import board_html

        return board_html(self)


def run(
    track: str = "quickstart",
    *,
    methods: Sequence[str] | None = None,
    results: FilePath | None = None,
    device: str = "cpu",
    jobs: int = 1,
    intervals: str = "",
    listen: Callable[[Event], None] | None = None,
) -> Leaderboard:
    """Run a track, as ``msibench run`` does, and return its board.

    Parameters
    ----------
    track
        Name of a track or of a board of one's own in the results folder, or path of a ``track.toml``.
    methods
        Methods of the track, or patterns, to run; None: all. The control method always runs.
    results
        Results folder. None: ``MSIBENCH_RESULTS``, else ``./results``. What it holds is not run again.
    device
        ``"cpu"`` or ``"cuda"``. A track that states another kind of device gets a board of its own, as
        ``NAME-cuda``: `Leaderboard.track` has its name.
    jobs
        Cells side by side.
    intervals
        ``"one-scale-up"`` or ``"training"``: calibrate an interval for every pixel of every method, on the section
        itself made coarser once more or on the training sections of its data set, and measure whether it
        holds. Empty: where the track says so.
    listen
        Told of every cell, as it starts and ends. None: a bar in a notebook, nothing elsewhere.

    Raises
    ------
    UnknownNameError
        The track or a method is not installed.
    ConfigurationError
        Nothing is left to run.
    StoreError
        The results folder cannot be written.
    """
    from msibench.contracts.metric import INTERVALS
    from msibench.leaderboard.board import read_board
    from msibench.library.installed import catalogue
    from msibench.run_track import run_track
    from msibench.runner.board_names import on_its_board
    from msibench.runner.options import RunOptions
    from msibench.runner.plan import Filters, make_plan, with_control
    from msibench.tracks import load_track, with_intervals

    store = results_folder(results, create=True)
    chosen = load_track(str(track), results=store.root)
    if intervals and intervals not in INTERVALS:
        raise ConfigurationError(f"intervals must be {' or '.join(INTERVALS)}, got {intervals!r}")
    chosen = with_intervals(chosen, intervals or chosen.intervals)
    found = catalogue()
    wanted = with_control(tuple(methods or ()), chosen)
    plan = make_plan(chosen, found, filters=Filters(methods=wanted), device=device)
    if not plan.cells:
        raise ConfigurationError(f"nothing to run: the methods leave no cell of {chosen.name!r}")
    plan = on_its_board(plan, None if chosen.own else chosen, found, store)
    with _listener(listen) as told:
        run_track(plan.track, found, store, RunOptions(jobs=jobs), plan=plan, listen=told)
    board = read_board(store, plan.track)
    return Leaderboard(board.track, board.rows, store=store, records=board.collected.records)


@contextmanager
def _listener(
    listen: Callable[[Event], None] | None,
) -> Iterator[Callable[[Event], None] | None]:
    from msibench.library.notebook import NotebookBar, in_notebook

    if listen is not None or not in_notebook():
        yield listen
        return
    with NotebookBar("run") as bar:
        yield bar


def load_board(folder: FilePath, *, results: FilePath | None = None) -> Leaderboard:
    """Open a board from its committed files: ``rows.parquet`` and ``track.toml``.

    Parameters
    ----------
    folder
        Folder of the board, such as ``leaderboards/bladder-x4``.
    results
        Results folder with the predictions of these rows, for `Leaderboard.images`. None: the board's
        rows alone.

    Raises
    ------
    MissingDataError
        The folder holds no board.
    IntegrityError
        Its rows are damaged, or are not those of a board.
    """
    from msibench.gate.sources import read_rows
    from msibench.tracks import load_track

    place = Path(folder)
    file = place / "rows.parquet"
    if not file.is_file():
        raise MissingDataError(
            f"no board found in {place}: expected a folder with rows.parquet, such as "
            "leaderboards/bladder-x4, or results/leaderboards/NAME after msibench run NAME"
        )
    rows = read_rows(file.read_bytes(), str(file))
    described = place / "track.toml"
    track = load_track(str(described) if described.is_file() else place.name)
    if results is None:
        return Leaderboard(track, rows)
    store = results_folder(results, create=False)
    keys = [key for key in dict.fromkeys(rows["cell"].astype(str)) if store.has(key)]
    return Leaderboard(track, rows, store=store, records=[store.record(key) for key in keys])


def results_folder(results: FilePath | None, *, create: bool) -> Store:
    """Open the results folder that was named, else ``MSIBENCH_RESULTS``, else ``./results``."""
    from msibench.results.store import Store

    named = results if results is not None else os.environ.get("MSIBENCH_RESULTS") or "results"
    return Store.open(Path(named), create=create)


def _name(channel: float, mz: float) -> str:
    return f"channel {int(channel)}" if np.isnan(mz) else f"m/z {mz:.4f}"


def _place(ion: str | float, images: MSImage) -> int:
    names = images.channel_names()
    if isinstance(ion, str):
        _known((ion,), names, "ion")
        return names.index(ion)
    if np.isnan(images.mz).all():
        raise UnknownNameError(
            f"no channel of this board has an m/z; there are: {', '.join(names)}"
        )
    return int(np.nanargmin(abs(images.mz - ion)))


def _known(asked: Iterable[str], known: Sequence[str], what: str) -> None:
    from msibench.leaderboard.figure_source import require_known

    require_known(tuple(asked), list(known), what)
