"""What ``run`` and ``plan`` share: the options that say which cells there are, and the plan of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from msibench.cli._shared import comma_list
from msibench.cli._values import chosen_mz, method_settings, mz_list, mz_option, peaks_option

if TYPE_CHECKING:
    from msibench.datasets import Card
    from msibench.plugin_manager import Catalogue
    from msibench.runner.plan import Plan
    from msibench.tracks import Track

Function = TypeVar("Function", bound=Callable[..., Any])

OPTIONS = (
    click.argument("track", required=False),
    click.option(
        "--data", type=click.Path(path_type=Path), help="Your own section: imzML, HDF5, npz, TIFF."
    ),
    click.option(
        "--dataset", help="With --data: the card whose m/z set and published scores apply."
    ),
    click.option("--guide", type=click.Path(path_type=Path), help="With --data: an optical image."),
    click.option(
        "--transform", type=click.Path(path_type=Path), help="With --guide: what `register` wrote."
    ),
    click.option(
        "--factor", type=click.IntRange(1, 32), default=4, show_default=True, help="With --data."
    ),
    click.option("--protocol", "protocols", help="Protocols to run, e.g. area-x4@1,bicubic-x4@1."),
    click.option("--pixel-size", type=float, help="With --data: µm, where the file does not say."),
    mz_option,
    peaks_option,
    click.option(
        "--ppm", type=float, default=5.0, show_default=True, help="Half-width of the m/z window."
    ),
    click.option("--methods", help="Methods or patterns, with commas between."),
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
        type=click.Path(path_type=Path),
        help="A pretrained file, or a folder of them.",
    ),
    click.option("--datasets", help="Data sets of the track to run."),
    click.option("--sections", help="Sections to run."),
    click.option("--metrics", help="Metrics in place of the track's."),
    click.option("--device", default="cpu", show_default=True, help="cpu or cuda."),
    click.option("--seed", "seeds", type=int, multiple=True, help="Seeds in place of the track's."),
)


def planning_options(function: Function) -> Function:
    """Add TRACK and every option that says which cells a run has."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function


def planned(options: dict[str, Any], found: Catalogue) -> Plan:
    """Return the plan that the options describe.

    Raises
    ------
    UsageError
        If they leave nothing.
    """
    from msibench.plugin_manager import resolve_method
    from msibench.runner.plan import Filters, make_plan, with_control

    track, cards = _what_to_run(options, found)
    plan = make_plan(
        track,
        found,
        cards=cards,
        filters=Filters(
            methods=with_control(comma_list(options["methods"]), track),
            datasets=comma_list(options["datasets"]),
            sections=comma_list(options["sections"]),
            mz=() if options["data"] else mz_list(options["mz_text"]),
        ),
        seeds=options["seeds"] or None,
        device=options["device"],
        extra_methods=[resolve_method(reference, found) for reference in options["single"]],
        given_weights=options["weights"],
        settings=method_settings(options["changes"]),
    )
    if not plan.cells:
        raise click.UsageError(
            "nothing to run: the filters leave no cell; see msibench list tracks"
        )
    return plan


def statuses(text: str | None) -> frozenset[str]:
    """Read ``--retry``: statuses, with commas between."""
    from msibench.results.schema import Status

    wanted = comma_list(text)
    for name in wanted:
        if name not in set(Status):
            raise click.BadParameter(f"--retry takes statuses, {', '.join(Status)}; got {name!r}")
    return frozenset(wanted)


def as_arguments(options: Mapping[str, Any]) -> list[str]:
    """Return the planning options as arguments again, every path in full."""
    arguments = [] if options["track"] is None else [_track(options["track"])]
    for option in OPTIONS[1:]:
        parameter = _parameter(option)
        value = options[str(parameter.name)]
        given = value if parameter.multiple else (value,)
        for each in given:
            if each is None or each == parameter.default:
                continue
            text = _in_full(each) if parameter.name in {"single", *PATHS} else str(each)
            arguments += [parameter.opts[0], text]
    return arguments


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
    """Return a path, or the path in ``file.py:Class``, from the root."""
    text = str(reference)
    if ".py:" in text:
        path, _, name = text.rpartition(":")
        return f"{Path(path).resolve()}:{name}"
    return str(Path(text).resolve()) if Path(text).exists() else text


def _what_to_run(options: dict[str, Any], found: Catalogue) -> tuple[Track, dict[str, Card]]:
    from msibench.datasets import load_card
    from msibench.runner.own_section import card_for_file
    from msibench.tracks import DEFAULT_TRACK, ProblemSet, Track, load_track

    protocols = comma_list(options["protocols"])
    metrics = comma_list(options["metrics"])
    cards: dict[str, Card] = {}
    if options["data"] is not None:
        base = load_card(found.dataset(options["dataset"])) if options["dataset"] else None
        card = card_for_file(
            options["data"],
            guide=options["guide"],
            transform=options["transform"],
            mz=chosen_mz(options["mz_text"], options["peaks"], options["ppm"], options["data"]),
            ppm=options["ppm"],
            pixel_size_um=options["pixel_size"],
            base=base,
        )
        cards[card.name] = card
        chosen = protocols or (f"area-x{options['factor']}@1",)
        track = Track(
            name=_safe_name(card.name),
            title=card.title,
            description="Coarse ion images are made from your own section; the section is the truth.",
            problems=(ProblemSet(dataset=card.name, protocols=chosen),),
        )
    else:
        for name in ("guide", "transform", "dataset", "pixel_size", "peaks"):
            if options[name] is not None:
                raise click.UsageError(f"--{name.replace('_', '-')} goes with --data FILE")
        track = load_track(options["track"] or DEFAULT_TRACK)
        if protocols:
            problems = tuple(replace(p, protocols=protocols) for p in track.problems)
            track = replace(track, problems=problems)
    return (replace(track, metrics=metrics) if metrics else track), cards


def _safe_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)
