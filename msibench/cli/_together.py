"""Options that say something only beside another one, or only without it: none is ignored in silence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

import click
from click.core import ParameterSource

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Needs:
    """An option that is read only where one of `others` is given, too."""

    option: str
    others: tuple[str, ...]
    why: str = ""
    """Added to the message, after a colon."""


@dataclass(frozen=True, slots=True)
class Excludes:
    """An option beside which none of `others` is read."""

    option: str
    others: tuple[str, ...]
    why: str


def option_rules(*rules: Needs | Excludes) -> Callable[[Function], Function]:
    """Hold what was typed to `rules` before the command begins; stands below all options.

    Raises
    ------
    click.UsageError
        At the first rule that is broken: it names the option and what to add or leave out.
    """

    def checked(function: Function) -> Function:
        @wraps(function)
        def command(*arguments: Any, **options: Any) -> Any:
            check_rules(*rules)
            return function(*arguments, **options)

        return command  # type: ignore[return-value]

    return checked


def check_rules(*rules: Needs | Excludes) -> None:
    """Hold what was typed to `rules`, as `option_rules`."""
    given = typed()
    for rule in rules:
        if rule.option not in given:
            continue
        beside = [name for name in rule.others if name in given]
        if isinstance(rule, Excludes) and beside:
            raise click.UsageError(
                f"{rule.option} and {beside[0]} do not go together: {rule.why}; leave {beside[0]} out"
            )
        if isinstance(rule, Needs) and not beside:
            why = rule.why and f": {rule.why}"
            raise click.UsageError(f"{rule.option} goes with {' or '.join(rule.others)}{why}")


def typed() -> frozenset[str]:
    """Return the options and arguments of the running command that were typed, by their first name.

    An argument goes by its name in capitals.
    """
    context = click.get_current_context(silent=True)
    if context is None:
        return frozenset()
    found = set()
    for parameter in context.command.params:
        if context.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE:
            found.add(name_of(parameter))
    return frozenset(found)


def name_of(parameter: click.Parameter) -> str:
    """Return the long name of an option, ``--output``; of an argument its name in capitals."""
    if isinstance(parameter, click.Argument):
        return str(parameter.name).upper()
    return max(parameter.opts, key=len)
