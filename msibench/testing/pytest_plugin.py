"""Pytest plugin for method authors: ``pytest --msibench-method NAME``.

Adds tests that no file has to hold: one for each promise of a method, a small quality suite on the
synthetic phantom against a control method, and, with ``--msibench-gate BASE NEW``, the comparison of
two results. Without these options it does nothing.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from msibench.contracts.method import MethodSpec

Check = Callable[[], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options; each has a twin in the ini file."""
    group = parser.getgroup("msibench", "msibench: a method against its contract and a control")
    group.addoption(
        "--msibench-method",
        action="append",
        default=[],
        metavar="NAME",
        help="test this method (an installed name, path/to/file.py:Class, a folder of finetune, or "
        "plugin:checkpoint); may be repeated",
    )
    group.addoption(
        "--msibench-gate",
        nargs=2,
        default=None,
        metavar=("BASE", "NEW"),
        help="compare two results with `msibench compare`",
    )
    group.addoption(
        "--msibench-margins", default=None, metavar="FILE", help="margins of the gate, in TOML"
    )
    parser.addini("msibench_methods", "methods to test", type="linelist", default=[])
    parser.addini(
        "msibench_control", "method that the quality suite compares with", default="bicubic"
    )
    parser.addini(
        "msibench_margin_db", "PSNR that may be lost against the control, in dB", default="0.1"
    )
    parser.addini(
        "msibench_expected_failures",
        "checks that are known to fail, one a line, as `check_name: reason`",
        type="linelist",
        default=[],
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add the tests after those of the files, before ``-k`` and ``-m`` choose."""
    names = [*config.getoption("--msibench-method"), *config.getini("msibench_methods")]
    for name in dict.fromkeys(names):
        for title, check in _tests_of(name, config):
            items.append(_item(session, config, f"msibench[{name}]::{title}", title, check))
    if sides := config.getoption("--msibench-gate"):
        margins = config.getoption("--msibench-margins")
        items.append(_item(session, config, "msibench::gate", "gate", _gate(sides, margins)))


class MethodItem(pytest.Item):
    """One check as a test."""

    check: Check

    def runtest(self) -> None:
        """Run the check; what cannot be checked here is skipped with its reason."""
        from msibench.testing.subject import NotCheckableError

        try:
            self.check()
        except NotCheckableError as reason:
            pytest.skip(str(reason))

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Return what failed; there is no source line to show."""
        return self.path, None, self.name


def _item(
    session: pytest.Session, config: pytest.Config, name: str, title: str, check: Check
) -> pytest.Item:
    made: MethodItem = MethodItem.from_parent(session, name=name)
    made.check = check
    for line in config.getini("msibench_expected_failures"):
        known, _, reason = line.partition(":")
        if known.strip() == title:
            made.add_marker(pytest.mark.xfail(reason=reason.strip(), strict=True))
    return made


def _tests_of(name: str, config: pytest.Config) -> Iterator[tuple[str, Check]]:
    """Yield the contract checks and the quality suite of a method."""
    from msibench.errors import MSIBenchError
    from msibench.testing.method_checks import METHOD_CHECKS
    from msibench.testing.subject import Subject

    try:
        spec = find_method(name)
        control = find_method(config.getini("msibench_control"))
        margin = float(config.getini("msibench_margin_db"))
    except (MSIBenchError, ValueError) as error:
        raise pytest.UsageError(f"--msibench-method {name}: {error}") from error
    subject = Subject(spec=spec)
    for check in METHOD_CHECKS:
        yield check.__name__, lambda check=check: check(subject)  # type: ignore[misc]
    from msibench.testing.quality import QUALITY_CHECKS, Trial

    trial = Trial(spec=spec, control=control, margin_db=margin)
    for judge in QUALITY_CHECKS:
        yield judge.__name__, lambda judge=judge: judge(trial)  # type: ignore[misc]


def find_method(name: str) -> MethodSpec:
    """Return the method of a name, as `msibench.plugin_manager.resolve_method` does."""
    from msibench.plugin_manager import resolve_method
    from msibench.plugin_manager.discovery import discover

    return resolve_method(name, discover())


def _gate(sides: list[str], margins: str | None) -> Check:
    """Return a test that runs ``msibench compare``, a layer above this one, as its own process."""

    def compare() -> None:
        command: list[Any] = [sys.executable, "-m", "msibench.cli.main", "compare", *sides]
        command += ["--margins", margins] if margins else []
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.fail(
                f"msibench compare ended with {done.returncode}\n{done.stdout}{done.stderr}",
                pytrace=False,
            )

    return compare
