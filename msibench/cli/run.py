"""``msibench run``: a track, or a section of the user's own, to its leaderboard."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from msibench.cli._progress import listener
from msibench.cli._shared import (
    catalogue,
    comma_list,
    number_list,
    open_store,
    output_folder,
    results_option,
)

if TYPE_CHECKING:
    from msibench.contracts.method import MethodSpec
    from msibench.datasets import Card
    from msibench.plugin_manager import Catalogue
    from msibench.results.store import Store
    from msibench.runner.plan import Plan
    from msibench.runner.run import RunSummary
    from msibench.tracks import Track

DATA_EPILOG = """
Example: msibench run                       (the quickstart track on a synthetic section)

Example: msibench run bladder-x4 --jobs 2

Example: msibench run --data section.imzML --factor 4 --mz 798.54,741.53 --ppm 5
"""


@click.command(epilog=DATA_EPILOG)
@click.argument("track", required=False)
@click.option(
    "--data", type=click.Path(path_type=Path), help="Your own section: imzML, HDF5, npz, TIFF."
)
@click.option("--dataset", help="With --data: the card whose m/z set and published scores apply.")
@click.option("--guide", type=click.Path(path_type=Path), help="With --data: an optical image.")
@click.option(
    "--transform", type=click.Path(path_type=Path), help="With --guide: what `register` wrote."
)
@click.option(
    "--factor", type=click.IntRange(1, 32), default=4, show_default=True, help="With --data."
)
@click.option("--protocol", "protocols", help="Protocols to run, e.g. area-x4@1,bicubic-x4@1.")
@click.option("--pixel-size", type=float, help="With --data: µm, where the file does not say.")
@click.option("--mz", "mz_text", help="m/z values, with commas between.")
@click.option(
    "--ppm", type=float, default=5.0, show_default=True, help="Half-width of the m/z window."
)
@click.option("--methods", help="Methods or patterns, with commas between.")
@click.option(
    "--method",
    "single",
    multiple=True,
    help="path/to/file.py:Class, a folder of `finetune`, or plugin:checkpoint.",
)
@click.option(
    "--weights",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A pretrained file, or a folder of them.",
)
@click.option("--datasets", help="Data sets of the track to run.")
@click.option("--sections", help="Sections to run.")
@click.option("--metrics", help="Metrics in place of the track's.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option(
    "--jobs", type=click.IntRange(1), default=1, show_default=True, help="Cells side by side."
)
@click.option(
    "--threads", type=click.IntRange(1), help="Threads of each cell (default: its share)."
)
@click.option("--timeout", type=float, help="Seconds that one cell may take.")
@click.option("--memory", type=float, help="GiB that one cell may use.")
@click.option("--seed", "seeds", type=int, multiple=True, help="Seeds in place of the track's.")
@click.option("--retry", help="Statuses to run again, e.g. failed,timeout.")
@click.option(
    "--executor", default="local", show_default=True, help="Where cells run: local, slurm."
)
@click.option(
    "--machine", type=click.Path(path_type=Path), help="With --executor slurm: machine.toml."
)
@click.option(
    "--sandbox",
    is_flag=True,
    help="Run methods without network, with nothing to write but their own folder.",
)
@click.option("--strict-plugins", is_flag=True, help="Fail when a plugin is broken.")
@click.option("--events", is_flag=True, help="Print one JSON event a line.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@results_option
def command(**options: Any) -> int:
    """Run TRACK (default: quickstart), or your own section, and write its leaderboard."""
    from msibench.leaderboard.page import write_page
    from msibench.leaderboard.render import write_leaderboard
    from msibench.results.files import write_atomically
    from msibench.results.index import update_index
    from msibench.runner.facts import index_cells, track_facts
    from msibench.runner.plan import Filters, make_plan
    from msibench.runner.run import RunOptions, Supervisor
    from msibench.runner.sandbox import NONE, choose_sandbox
    from msibench.tracks import track_as_text

    sandbox = choose_sandbox() if options["sandbox"] else NONE
    found = catalogue(strict=options["strict_plugins"])
    track, cards = _what_to_run(options, found)
    extra = [_single(reference, found) for reference in options["single"]]
    plan = make_plan(
        track,
        found,
        cards=cards,
        filters=Filters(
            methods=_with_control(comma_list(options["methods"]), track),
            datasets=comma_list(options["datasets"]),
            sections=comma_list(options["sections"]),
            mz=() if options["data"] else number_list(options["mz_text"], "--mz"),
        ),
        seeds=options["seeds"] or None,
        device=options["device"],
        extra_methods=extra,
        given_weights=options["weights"],
    )
    if not plan.cells:
        raise click.UsageError(
            "nothing to run: the filters leave no cell; see msibench list tracks"
        )
    store = open_store(options["results"], create=True)
    quiet = options["as_json"]
    with listener(events=options["events"], quiet=quiet) as listen:
        for note in (f"plugin {n!r} is broken: {why}" for n, why in found.broken.items()):
            click.echo(note, err=True)
        supervisor = Supervisor(
            store,
            found,
            RunOptions(
                jobs=options["jobs"],
                timeout_s=options["timeout"],
                memory_gb=options["memory"],
                retry=_statuses(options["retry"]),
                executor=options["executor"],
                executor_options={
                    "cuda": options["device"].startswith("cuda"),
                    "machine": options["machine"],
                },
                threads=options["threads"],
                given_weights=options["weights"],
                sandbox=sandbox,
            ),
            listen,
        )
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: supervisor.stop())
        update_index(store, track.name, index_cells(plan.cells), track_facts(plan, found))
        summary = supervisor.run(plan)
    _score_what_was_cached(store, plan, found)
    folder = output_folder(track, store)
    if options["data"] is not None:  # a section of one's own has no track file: leave one
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "track.toml", track_as_text(track))
    write_leaderboard(store, track, folder)
    page = write_page(store, track, folder)
    _tell(summary, folder, page, as_json=quiet, events=options["events"])
    return _exit_code(summary)


def _with_control(methods: tuple[str, ...], track: Track) -> tuple[str, ...]:
    """Add the method that the scores are anchored at, without which there would be none."""
    if not methods or track.scheme != "anchored" or track.control_method in methods:
        return methods
    return (*methods, track.control_method)


def _score_what_was_cached(store: Store, plan: Plan, found: Catalogue) -> None:
    """Bring the scores of cells from earlier runs up to the track's metrics."""
    from msibench.runner.rescore import rescore

    metrics = [found.metric(name) for name in plan.track.metrics]
    rescore(store, [cell.key for cell in plan.cells], metrics)


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
            mz=number_list(options["mz_text"], "--mz"),
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
        for name in ("guide", "transform", "dataset", "pixel_size"):
            if options[name] is not None:
                raise click.UsageError(f"--{name.replace('_', '-')} goes with --data FILE")
        track = load_track(options["track"] or DEFAULT_TRACK)
        if protocols:
            problems = tuple(replace(p, protocols=protocols) for p in track.problems)
            track = replace(track, problems=problems)
    return (replace(track, metrics=metrics) if metrics else track), cards


def _single(reference: str, found: Catalogue) -> MethodSpec:
    """Make a method from a file (``file.py:Class``), a training's folder, or ``plugin:checkpoint``."""
    from msibench.plugin_manager import method_from_file, method_from_plugin

    if ".py:" in reference:
        return method_from_file(reference)
    if Path(reference).is_dir():
        from msibench.training.variants import method_from_training

        return method_from_training(Path(reference), found)
    if ":" in reference:
        return method_from_plugin(reference, found)
    return found.method(reference)


def _statuses(text: str | None) -> frozenset[str]:
    from msibench.results.schema import Status

    wanted = comma_list(text)
    for name in wanted:
        if name not in set(Status):
            raise click.BadParameter(f"--retry takes statuses, {', '.join(Status)}; got {name!r}")
    return frozenset(wanted)


def _safe_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)


def _tell(summary: RunSummary, folder: Path, page: Path, *, as_json: bool, events: bool) -> None:
    import json

    facts = {
        "ran": summary.ran,
        "cached": summary.cached,
        "busy": summary.busy,
        "statuses": summary.counts,
        "leaderboard": str(folder / "README.md"),
        "page": str(page),
    }
    if as_json:
        click.echo(json.dumps(facts, indent=1, sort_keys=True))
    elif events:
        click.echo(json.dumps({"kind": "summary", **facts}, sort_keys=True))
    else:
        counts = ", ".join(f"{count} {status}" for status, count in sorted(summary.counts.items()))
        click.echo(
            f"{counts}; {summary.ran} run now, {summary.cached} were stored already", err=True
        )
        click.echo((folder / "README.md").read_text(encoding="utf-8"))
        click.echo(f"leaderboard: {folder / 'README.md'}\npage: {page}")


def _exit_code(summary: RunSummary) -> int:
    from msibench.results.schema import FAILURES

    if any(summary.counts.get(str(status), 0) for status in FAILURES):
        return 3
    if not summary.counts.get("ok", 0):
        return 6
    return 130 if summary.counts.get("cancelled", 0) else 0
