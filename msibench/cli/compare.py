"""``msibench compare``: what got better or worse or is undecided, and an exit code for CI."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from msibench.cli._shared import comma_list
from msibench.cli._together import Excludes, Needs, option_rules

if TYPE_CHECKING:
    from msibench.gate import GateReport
    from msibench.gate.margins import Margins

FILE = click.Path(dir_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was typed."""

    base: str
    new: str
    track: str
    margins: Path | None
    methods: str | None
    fail_undecided: bool
    strict_speed: bool | None
    speed: bool
    rounds: int
    timeout: float
    json_file: Path | None
    junit_file: Path | None
    markdown_file: Path | None
    bmf_file: Path | None


@click.command(
    epilog="Example: msibench compare HEAD~1:leaderboards/bladder-x4 leaderboards/bladder-x4\n\n"
    "Example: msibench compare old-results new-results --track quickstart --markdown summary.md\n\n"
    "Example: msibench compare base.json new.json       (pytest --benchmark-json)\n\n"
    "Example: msibench compare --speed 'python old.py' 'python new.py' --rounds 10\n\n"
    "Exit codes: 0 nothing worse, 4 quality, 5 speed or memory, 6 nothing measured or lower "
    "coverage, 7 integrity."
)
@click.argument("base")
@click.argument("new")
@click.option("--track", default="", help="The track, for results folders and git revisions.")
@click.option("--margins", type=FILE, help="Margins in TOML (default: those that ship).")
@click.option("--methods", help="Compare these methods or patterns only, separated by commas.")
@click.option("--fail-undecided", is_flag=True, help="Fail unless a loss can be ruled out.")
@click.option("--strict-speed/--warn-speed", default=None, help="Fail on slower times, or warn.")
@click.option("--speed", is_flag=True, help="BASE and NEW are commands: time them in turn.")
@click.option("--rounds", type=click.IntRange(1), default=10, show_default=True)
@click.option("--timeout", type=float, default=600.0, show_default=True, help="Of one round, s.")
@click.option("--json", "json_file", type=FILE, help="Write everything as JSON.")
@click.option("--junit", "junit_file", type=FILE, help="Write JUnit XML.")
@click.option("--markdown", "markdown_file", type=FILE, help="Write a summary for a pull request.")
@click.option("--bmf", "bmf_file", type=FILE, help="Write speed in Bencher Metric Format.")
@option_rules(
    Needs("--rounds", ("--speed",), "it is how often both commands are run"),
    Needs("--timeout", ("--speed",), "it is of a round of both commands"),
    Excludes("--speed", ("--track", "--methods", "--fail-undecided"), "commands are timed"),
)
def command(**given: Any) -> int:
    """Compare NEW with BASE: stores, leaderboards, REV:leaderboards/x, or benchmark JSON.

    Fails when quality, speed or memory got worse beyond the margins, and when nothing or less was
    measured. On shared CI runners slower times only warn, unless --strict-speed.
    """
    from msibench.gate import compare, load_margins
    from msibench.gate.render import as_json, as_junit, as_markdown, bencher_metrics
    from msibench.gate.sources import load_side
    from msibench.gate.speed import on_shared_runner

    options = Options(**given)
    rules = load_margins(options.margins)
    warn = on_shared_runner() if options.strict_speed is None else not options.strict_speed
    if options.speed:
        report = _timed(
            options.base, options.new, rules, options.rounds, options.timeout, warn=warn
        )
    else:
        report = compare(
            load_side(options.base, track=options.track),
            load_side(options.new, track=options.track),
            rules,
            required_coverage=_required(options.new, options.track),
            warn_speed=warn,
            fail_undecided=options.fail_undecided,
            methods=comma_list(options.methods),
        )
    _write(options.json_file, lambda: as_json(report))
    _write(options.junit_file, lambda: as_junit(report))
    _write(options.markdown_file, lambda: as_markdown(report))
    if options.bmf_file is not None:
        import json

        _write(options.bmf_file, lambda: json.dumps(bencher_metrics(report), indent=1) + "\n")
    click.echo(as_markdown(report))
    return report.exit_code


def _timed(
    base: str, new: str, rules: Margins, rounds: int, timeout: float, *, warn: bool
) -> GateReport:
    """Time two commands; one that fails leaves nothing measured."""
    from msibench.errors import DataError
    from msibench.gate.interleave import interleaved
    from msibench.gate.report import Finding, GateReport, compare_sessions, judge_nothing

    try:
        first, second = interleaved(base, new, rounds=rounds, timeout_s=timeout)
    except DataError as error:
        failed = Finding(kind="coverage", text=str(error))
        return GateReport(base=base, new=new, quality=judge_nothing(), findings=(failed,))
    return compare_sessions(base, new, first, second, rules, warn_speed=warn)


def _required(new: str, track: str) -> float:
    """Return the coverage that the track asks for, where its definition is at hand."""
    from msibench.tracks import available_tracks, load_track

    if (Path(new) / "track.toml").is_file():
        return load_track(new).required_coverage
    name = track or Path(new.partition(":")[2] or new).name
    return load_track(name).required_coverage if name in available_tracks() else 0.0


def _write(path: Path | None, make: Callable[[], str]) -> None:
    if path is None:
        return
    from msibench.results.files import write_atomically

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, make())
