"""What ``run`` and ``plan`` share: the options that choose the cells, and the plan of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from msibench.cli._shared import comma_list, named_track
from msibench.cli._together import Excludes, Needs, check_rules
from msibench.cli._values import (
    WINDOW,
    chosen_mz,
    method_settings,
    mz_list,
    mz_option,
    peaks_option,
    pixel_size_option,
    ppm_option,
)
from msibench.contracts.metric import INTERVALS
from msibench.contracts.plain_text import few_of
from msibench.errors import ConfigurationError

if TYPE_CHECKING:
    from msibench.datasets import Card
    from msibench.leaderboard.rebuild import AskedRun
    from msibench.plugin_manager import Catalogue
    from msibench.results.store import Store
    from msibench.runner.plan import Plan
    from msibench.tracks import Track

Function = TypeVar("Function", bound=Callable[..., Any])

OF_OWN_SECTIONS = {
    **dict.fromkeys(
        ("--guide", "--transform", "--level", "--dataset", "--specimen", "--pixel-size", "--peaks"),
        "",
    ),
    "--factor": "a track says it by its protocols (--protocol area-x2@1)",
    "--ppm": "a track has the window of its data set",
}
"""Options that say something of one's own sections alone, and what a track has instead."""
LEVEL_HELP = (
    "With --guide: level of a pyramid, 0 the finest (default: the finest; of more than 100 megapixels, "
    "the coarsest that is as fine as the grid)."
)

OPTIONS = (
    click.argument("track", nargs=-1, metavar="[TRACK]"),
    click.option(
        "--data",
        multiple=True,
        type=click.Path(path_type=Path),
        help="Your own section: imzML, HDF5, npz, TIFF; several, or a folder, of one experiment.",
    ),
    click.option(
        "--name",
        help="What the board of your own sections is called (default: as the file, or as the folder of several).",
    ),
    click.option(
        "--dataset", help="With --data: the card whose m/z set and published scores apply."
    ),
    click.option(
        "--specimen",
        "specimens",
        multiple=True,
        help="With --data: which sections were cut from one animal, biopsy or preparation and so are no "
        "independent replicates: NAME=SECTION,SECTION or NAME=PATTERN; repeatable.",
    ),
    click.option(
        "--guide",
        multiple=True,
        type=click.Path(path_type=Path),
        help="With --data: an optical image, one for each section.",
    ),
    click.option(
        "--transform",
        multiple=True,
        type=click.Path(path_type=Path),
        help="With --guide: what `register` wrote, one for each section.",
    ),
    click.option(
        "--controls",
        help="Wrong guides to run besides the true one, or none (own guide: guide-shuffled).",
    ),
    click.option("--level", type=click.IntRange(0), help=LEVEL_HELP),
    click.option(
        "--factor", type=click.IntRange(1, 32), default=4, show_default=True, help="With --data."
    ),
    click.option("--protocol", "protocols", help="Protocols to run, e.g. area-x4@1,bicubic-x4@1."),
    pixel_size_option("With --data: µm, in place of what the file says."),
    mz_option,
    peaks_option,
    ppm_option,
    click.option("--methods", help="Methods or patterns, separated by commas."),
    click.option(
        "--method",
        "single",
        multiple=True,
        help="path/to/file.py:Class, a folder of `finetune`, or plugin:checkpoint.",
    ),
    click.option(
        "--set",
        "changes",
        multiple=True,
        help="Another configuration of a method, as a row of its own: --set ridge.alpha=3.",
    ),
    click.option(
        "--weights",
        multiple=True,
        type=click.Path(exists=True, path_type=Path),
        help="A pretrained file, or a folder of them.",
    ),
    click.option("--datasets", help="Data sets of the track to run."),
    click.option("--sections", help="Sections to run."),
    click.option("--metrics", help="Metrics in place of the track's."),
    click.option(
        "--intervals",
        type=click.Choice(INTERVALS),
        help="Calibrate an interval for every pixel of every method, on the section itself made coarser once "
        "more or on the training sections of its data set, and measure whether it holds.",
    ),
    click.option("--device", default="cpu", show_default=True, help="cpu or cuda."),
    click.option("--seed", "seeds", type=int, multiple=True, help="Seeds in place of the track's."),
)


def planning_options(function: Function) -> Function:
    """Add TRACK and every option that says which cells a run has."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function


def sort_words(options: dict[str, Any]) -> None:
    """Tell the track from further sections: ``run TRACK``, ``run --data a.imzML b.imzML``.

    Raises
    ------
    UsageError
        If several tracks are named.
    """
    words = options["track"]
    if options["data"]:
        from msibench.runner.own_section import files_of_sections

        options["data"] = files_of_sections([*options["data"], *map(Path, words)])
        options["track"] = None
    elif len(words) > 1:
        raise click.UsageError(
            f"run one track at a time, or sections of your own with --data; got {', '.join(words)}"
        )
    else:
        options["track"] = words[0] if words else None


def planned(
    options: dict[str, Any],
    found: Catalogue,
    store: Store | None = None,
    *,
    tell: Callable[[str], None] | None = None,
) -> Plan:
    """Return the plan that the options describe, its track named as the board that it belongs to.

    Parameters
    ----------
    options
        After `sort_words`.
    store
        Where boards are looked up; None: nothing is stored yet.
    tell
        Told where the board has another name than expected; None: it is printed at once.

    Raises
    ------
    UsageError
        If no cell is left.
    ConfigurationError
        If the board that was named holds another experiment.
    """
    from msibench.plugin_manager import resolve_method
    from msibench.runner.board_names import on_its_board
    from msibench.runner.plan import Additions, Filters, make_plan, with_control
    from msibench.tracks import Entry

    track, cards, given = _what_to_run(options, found)
    extra = [resolve_method(reference, found) for reference in options["single"]]
    plan = make_plan(
        track,
        found,
        cards=cards,
        filters=Filters(
            methods=with_control(comma_list(options["methods"]), track),
            datasets=comma_list(options["datasets"]),
            sections=comma_list(options["sections"]),
        ),
        seeds=options["seeds"] or None,
        device=options["device"],
        additions=Additions(methods=tuple(extra), settings=method_settings(options["changes"])),
        given_weights=options["weights"],
    )
    if not plan.cells:
        raise click.UsageError(
            "nothing to run: the filters leave no cell; see msibench list tracks"
        )
    _refuse_unread(options, plan)
    entries = tuple(
        Entry(method=_in_full(reference), label=spec.name)
        for reference, spec in zip(options["single"], extra, strict=True)
    )
    plan = on_its_board(
        plan, given, found, store, name=options["name"] or "", entries=entries, tell=tell or _tell
    )
    kept = () if options["specimens"] or track.own is None else _stated_before(plan, store)
    if not kept:
        return plan
    (tell or _tell)(
        f"specimens as board {plan.track.name} states them: {'; '.join(kept)} (--specimen states others)"
    )
    return planned({**options, "specimens": kept}, found, store, tell=lambda text: None)


def _stated_before(plan: Plan, store: Store | None) -> tuple[str, ...]:
    """Return what ``--specimen`` said when the board of a plan was last made, of sections that are here."""
    from msibench.runner.own_section import specimens_of
    from msibench.tracks import board_file, load_track

    if store is None or not board_file(store.root, plan.track.name).is_file():
        return ()
    own = load_track(plan.track.name, results=store.root).own
    sections = {cell.identity.section for cell in plan.cells}
    kept = []
    for text in () if own is None else own.specimens:
        with suppress(ConfigurationError):  # of sections that are left out now
            specimens_of((text,), sorted(sections))
            kept.append(text)
    return tuple(kept)


def _refuse_unread(options: dict[str, Any], plan: Plan) -> None:
    """Raise if a filter, a wrong guide or a pretrained file was named that no cell takes up."""
    for option, field in (("datasets", "dataset"), ("sections", "section")):
        there = sorted({str(getattr(cell.identity, field)) for cell in plan.cells})
        for pattern in comma_list(options[option]):
            if not any(fnmatchcase(name, pattern) for name in there):
                raise click.UsageError(
                    f"--{option}: nothing is called {pattern!r}; there are {few_of(there)}"
                )
    wrong = () if options["controls"] in (None, "none") else comma_list(options["controls"])
    if wrong and not any(cell.identity.control for cell in plan.cells):
        raise click.UsageError(
            f"--controls {','.join(wrong)}: no cell of this run uses a guide; leave it out, or name a "
            "method that uses one"
        )
    needed = {Path(weight.name).name for cell in plan.cells for weight in cell.spec.weights}
    for path in options["weights"]:
        if path.is_file() and path.name not in needed:
            raise click.UsageError(
                f"--weights {path.name}: no method of this run needs a file of that name; they need "
                f"{few_of(sorted(needed))}"
            )


def _tell(text: str) -> None:
    click.echo(text, err=True)


def statuses(text: str | None) -> frozenset[str]:
    """Read ``--retry``: statuses, separated by commas."""
    from msibench.results.schema import Status

    wanted = comma_list(text)
    for name in wanted:
        if name not in set(Status):
            raise click.BadParameter(f"--retry takes statuses, {', '.join(Status)}; got {name!r}")
    return frozenset(wanted)


def as_arguments(options: Mapping[str, Any]) -> list[str]:
    """Return the planning options as arguments again, every path in full."""
    arguments = [] if options["track"] is None else [_track(options["track"])]
    return arguments + [word for given in _given(options) for word in given]


def _given(options: Mapping[str, Any], left_out: Collection[str] = ()) -> Iterator[tuple[str, str]]:
    """Yield the planning options that were given, with their values, every path in full."""
    for option in OPTIONS[1:]:
        parameter = _parameter(option)
        name = str(parameter.name)
        values = options[name] if parameter.multiple else (options[name],)
        for each in values if name not in left_out else ():
            if each is None or each == parameter.default:
                continue
            text = _in_full(each) if name in {"single", "mz_text", *PATHS} else str(each)
            yield parameter.opts[0], text


def asked_run(options: Mapping[str, Any], track: Track) -> AskedRun:
    """Return how a run was asked for, for its board: what makes it again by the name of the board.

    Parameters
    ----------
    track
        The planned track. Where the results folder keeps its definition, that says data, ions,
        protocols and metrics already.
    """
    from msibench.leaderboard.rebuild import AskedRun
    from msibench.run_track import keeps_definition

    if keeps_definition(track):
        return AskedRun(track=track.name, arguments=tuple(_given(options, IN_DEFINITION)))
    named = _track(options["track"] or track.name)
    return AskedRun(track=named, arguments=tuple(_given(options)))


IN_DEFINITION = frozenset(
    {
        "data", "name", "dataset", "specimens", "guide", "transform", "controls", "level", "factor", "protocols",
        "pixel_size", "mz_text", "peaks", "ppm", "metrics", "intervals",
    }
)  # fmt: skip
PATHS = frozenset({"data", "guide", "transform", "weights"})


def _parameter(option: Callable[..., Any]) -> click.Option:
    """Return what an option's decorator makes."""

    def bare() -> None: ...

    option(bare)
    found: click.Option = bare.__click_params__[0]  # type: ignore[attr-defined]
    return found


def _track(name: str) -> str:
    return str(Path(name).resolve()) if Path(name).exists() and not name.isidentifier() else name


def _in_full(reference: object) -> str:
    """Return a path, or that in ``file.py:Class`` and ``plugin:checkpoint``, from the root."""
    text = str(reference)
    if ".py:" in text:
        path, _, name = text.rpartition(":")
        return f"{Path(path).resolve()}:{name}"
    plugin, colon, path = text.partition(":")
    if colon and Path(path).exists():  # plugin:checkpoint
        return f"{plugin}:{Path(path).resolve()}"
    return str(Path(text).resolve()) if Path(text).exists() else text


def _what_to_run(
    options: dict[str, Any], found: Catalogue
) -> tuple[Track, dict[str, Card], Track | None]:
    """Return the track to run, the cards of one's own sections, and the track as it was found."""
    from msibench.tracks import DEFAULT_TRACK, with_intervals

    protocols = comma_list(options["protocols"])
    metrics = comma_list(options["metrics"])
    controls = None
    if options["controls"] is not None:
        controls = () if options["controls"] == "none" else comma_list(options["controls"])
    cards: dict[str, Card] = {}
    given: Track | None = None
    if options["data"]:
        track, card = _own_track(options, found, protocols, controls)
        cards[card.name] = card
    else:
        check_rules(*(Needs(option, ("--data",), why) for option, why in OF_OWN_SECTIONS.items()))
        if (options["mz_text"] or "").strip().lower() == "all":
            raise click.UsageError(
                "--mz all takes every channel of your own section: it goes with --data FILE; a track has "
                "its own m/z where --mz is left out"
            )
        track = named_track(options["track"] or DEFAULT_TRACK, options["results"])
        given = None if track.own is not None else track
        if protocols:
            problems = tuple(replace(p, protocols=protocols) for p in track.problems)
            track = replace(track, problems=problems)
        if mz := mz_list(options["mz_text"]):
            track = replace(track, problems=tuple(replace(p, mz=mz) for p in track.problems))
        if controls is not None:
            track = replace(track, guide_controls=controls)
    track = replace(track, metrics=metrics) if metrics else track
    return with_intervals(track, options["intervals"] or track.intervals), cards, given


def _own_track(
    options: dict[str, Any],
    found: Catalogue,
    protocols: tuple[str, ...],
    controls: tuple[str, ...] | None,
) -> tuple[Track, Card]:
    from msibench.runner.own_section import own_card
    from msibench.runner.own_track import own_track
    from msibench.tracks import Own

    check_rules(
        WINDOW,
        *(Needs(option, ("--guide",)) for option in ("--transform", "--level")),
        Excludes("--protocol", ("--factor",), "a protocol has its own factor"),
    )
    data = options["data"]
    own = Own(
        data=tuple(str(path.resolve()) for path in data),
        guide=tuple(str(path.resolve()) for path in options["guide"]),
        transform=tuple(str(path.resolve()) for path in options["transform"]),
        level=options["level"],
        mz=chosen_mz(options["mz_text"], options["peaks"], options["ppm"], data[0]),
        ppm=options["ppm"],
        pixel_size_um=options["pixel_size"],
        dataset=options["dataset"] or "",
        specimens=options["specimens"],
    )
    card = own_card(own, found)
    return own_track(
        own, card, protocols or (f"area-x{options['factor']}@1",), controls=controls
    ), card
