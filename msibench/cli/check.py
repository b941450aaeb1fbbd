"""``msibench check``: hold a method against the contract."""

from __future__ import annotations

import json

import click

from msibench.cli._shared import catalogue
from msibench.cli._values import settings
from msibench.contracts.plain_text import few_of


@click.command(
    epilog="Example: msibench check bicubic\n\nExample: msibench check my_method.py:MyMethod"
)
@click.argument("name")
@click.option("--set", "changes", multiple=True, help="Configuration, e.g. --set iterations=5.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
def command(name: str, changes: tuple[str, ...], as_json: bool) -> int:
    """Try every promise of a method on tiny problems.

    NAME is an installed method, path/to/file.py:Class, a folder of `finetune`, or plugin:checkpoint.
    """
    from msibench.plugin_manager import resolve_method
    from msibench.runner.competitors import resolve_config
    from msibench.testing import METHOD_CHECKS, NotCheckableError, Subject

    spec = resolve_method(name, catalogue(with_metrics=False))
    given = settings(changes)
    resolve_config(spec, given)
    subject = Subject(spec=spec, config=given)
    rows: list[dict[str, str]] = []
    told = {""}
    for check in METHOD_CHECKS:
        title = (check.__doc__ or "").splitlines()[0]
        try:
            check(subject)
            state, reason = "ok", ""
        except NotCheckableError as error:
            state, reason = "skipped", str(error)
        except Exception as error:
            lines = str(error).strip().splitlines()
            state, reason = "FAILED", f"{type(error).__name__}: {lines[0] if lines else ''}"
        rows.append({"check": check.__name__, "state": state, "reason": reason, "promise": title})
        if not as_json:
            tail = "" if reason in told else f"\n{'':9}{reason}"
            told.add(reason)
            click.echo(f"{state:<8} {title} ({check.__name__}){tail}")
    if as_json:
        click.echo(json.dumps(rows, indent=1))
    else:
        _tell_repeated(rows)
    if all(row["state"] == "skipped" for row in rows):
        click.echo(
            f"nothing could be checked: {rows[0]['reason']}. A method on which nothing was tried has not "
            "passed",
            err=True,
        )
        return 3
    return 3 if any(row["state"] == "FAILED" for row in rows) else 0


def _tell_repeated(rows: list[dict[str, str]]) -> None:
    """Say once of a fault that stopped several checks how many and which those are."""
    stopped: dict[str, list[str]] = {}
    for row in rows:
        if row["state"] == "FAILED":
            stopped.setdefault(row["reason"], []).append(row["check"])
    for reason, checks in stopped.items():
        if len(checks) > 1:
            click.echo(
                f"{len(checks)} of {len(rows)} checks stopped at {reason}: {few_of(checks, 4)}"
            )
