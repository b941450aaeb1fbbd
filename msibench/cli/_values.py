"""What values on the command line mean: m/z, sizes of memory, durations."""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import click

from msibench.cli._together import Needs
from msibench.contracts.plain_text import few_of
from msibench.errors import ConfigurationError

Function = TypeVar("Function", bound=Callable[..., Any])
WINDOW = Needs("--ppm", ("--mz", "--peaks"), "it is the window of an m/z")
MZ_HELP = (
    "m/z values separated by commas or blanks, a file of them (CSV, TSV, text), or all "
    "for the channels that the data have."
)
PEAKS_HELP = "In place of --mz: the N most intense peaks of the mean spectrum."
SMALLEST_MZ = 100.0
"""Whole numbers below this, after a comma, are taken for decimals: hardly any m/z is that small."""
CELL_GIB = 4
"""Memory assumed for a cell where the number of parallel cells is not given."""
GIB_OF = {
    "": 1.0, "k": 2.0**-20, "m": 2.0**-10, "g": 1.0, "t": 2.0**10,
    "kib": 2.0**-20, "mib": 2.0**-10, "gib": 1.0, "tib": 2.0**10,
    "kb": 1e3 / 2**30, "mb": 1e6 / 2**30, "gb": 1e9 / 2**30, "tb": 1e12 / 2**30,
}  # fmt: skip
SECONDS_OF = {"s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def mz_option(function: Function) -> Function:
    """Add ``--mz``."""
    return click.option("--mz", "mz_text", help=MZ_HELP)(function)


def peaks_option(function: Function) -> Function:
    """Add ``--peaks N``."""
    return click.option("--peaks", type=click.IntRange(1), help=PEAKS_HELP)(function)


def ppm_option(function: Function) -> Function:
    """Add ``--ppm``: refused where no window can be meant, doubted where it looks like Da."""
    return click.option(
        "--ppm",
        type=float,
        default=5.0,
        show_default=True,
        callback=_plausible_ppm,
        help="Half-width of the m/z window, in parts per million of m/z.",
    )(function)


def pixel_size_option(text: str) -> Callable[[Function], Function]:
    """Add ``--pixel-size``, with its help: refused where no pixel can be meant."""
    return click.option("--pixel-size", type=float, callback=_plausible_pixel_size, help=text)


def _plausible_ppm(context: click.Context, parameter: click.Parameter, ppm: float) -> float:
    from msibench.io.mz_windows import check_ppm

    return _told(lambda: check_ppm(ppm), ppm, parameter)


def _plausible_pixel_size(
    context: click.Context, parameter: click.Parameter, size_um: float | None
) -> float | None:
    from msibench.io.pixel_size import check_pixel_size

    return (
        size_um if size_um is None else _told(lambda: check_pixel_size(size_um), size_um, parameter)
    )


def _told(check: Callable[[], str], value: float, parameter: click.Parameter) -> float:
    """Return a value after its check: an error of the option's, or a warning where it gives a doubt."""
    try:
        doubt = check()
    except ConfigurationError as error:
        raise click.BadParameter(str(error), param=parameter) from None
    if doubt:
        click.echo(f"warning: {parameter.opts[0]}: {doubt}", err=True)
    return value


def mz_list(text: str | None) -> tuple[float, ...]:
    """Read ``--mz``: numbers, a file, or ``all``; empty for None and ``all``.

    Raises
    ------
    click.BadParameter
        For anything else, and for decimal commas.
    MissingDataError, DataError, ConfigurationError
        If the file cannot be read as a list of m/z.
    """
    from msibench.io.peak_list import SUFFIXES, read_peak_list

    asked = (text or "").strip()
    if not asked or asked.lower() == "all":
        return ()
    if Path(asked).suffix.lower() in SUFFIXES or Path(asked).is_file():
        return read_peak_list(Path(asked))
    _refuse_decimal_commas(asked)
    parts = [part for part in re.split(r"[\s,;]+", asked) if part]
    try:
        return tuple(float(part) for part in parts)
    except ValueError as error:
        raise click.BadParameter(
            f"expected numbers separated by commas or blanks, as in --mz 798.54,741.53, a file of "
            f"them, or all; got {asked!r}"
        ) from error


def chosen_mz(
    text: str | None, peaks: int | None, ppm: float, section: Path | None
) -> tuple[float, ...]:
    """Return the m/z that ``--mz`` and ``--peaks`` choose; empty: all that the data have.

    Parameters
    ----------
    section
        The file whose mean spectrum `peaks` refers to; None where there is none.

    Raises
    ------
    click.UsageError
        If both are given, or `peaks` without a file.
    """
    if peaks is None:
        return mz_list(text)
    if text is not None:
        raise click.UsageError("--mz and --peaks both choose the ion images: give one")
    if section is None:
        raise click.UsageError("--peaks N looks for peaks in a file: it goes with --data FILE")
    from msibench.io.read import most_intense

    found = most_intense(section, peaks, ppm)
    mz = tuple(found.mz.tolist())
    some = few_of((f"{value:.4f}" for value in mz), shown=5)
    click.echo(f"--peaks {peaks}: {len(mz)} of {found.offered} peaks, m/z {some}", err=True)
    return mz


def _refuse_decimal_commas(text: str) -> None:
    """Raise if commas are inside numbers, as in ``798,54 741,53`` or ``798,54``."""
    words = re.split(r"[\s;]+", text)
    wrong = [word for word in words if re.fullmatch(r"[0-9]+,[0-9]+", word)]
    if len(words) == 1:
        numbers = [] if "." in text else text.split(",")
        wrong = [
            f"{whole},{rest}"
            for whole, rest in zip(numbers[::2], numbers[1::2], strict=False)
            if whole.isdecimal() and rest.isdecimal()
            if float(whole) >= SMALLEST_MZ and (rest[0] == "0" or float(rest) < SMALLEST_MZ)
        ]
    if wrong:
        one, two = wrong[0].replace(",", "."), wrong[0].replace(",", ".0,") + ".0"
        raise click.BadParameter(
            f"{wrong[0]!r} looks like a number with a decimal comma, and commas separate m/z values: write --mz {one}, or --mz {two} if you mean two"
        )


def settings(changes: Iterable[str], option: str = "--set") -> dict[str, Any]:
    """Read ``key=value`` of every command: the value is TOML or JSON, anything else is text.

    Raises
    ------
    click.BadParameter
        If there is no ``=``, or no key before it.
    """
    found: dict[str, Any] = {}
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals or not key.strip():
            raise click.BadParameter(f"{option} takes key=value, got {change!r}")
        found[key.strip()] = _value(value)
    return found


def _value(text: str) -> Any:
    with suppress(ValueError, RecursionError):
        parsed = tomllib.loads(f"value = {text}")
        if len(parsed) == 1:  # a line break would begin another key
            return parsed["value"]
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    return text


def method_settings(changes: Iterable[str]) -> dict[str, dict[str, object]]:
    """Read ``--set method.option=value``, as `settings` does: method → option → value."""
    found: dict[str, dict[str, object]] = {}
    for change in changes:
        ((key, value),) = settings([change]).items()
        method, dot, option = key.rpartition(".")
        if not (dot and method and option):
            raise click.BadParameter(f"--set takes method.option=value, got {change!r}")
        found.setdefault(method, {})[option] = value
    return found


def cells_side_by_side(device: str) -> int:
    """Return how many cells run in parallel by default: what cores, memory and GPUs allow."""
    from msibench.runner.executors.gpus import visible_gpus
    from msibench.runner.executors.local import fair_share, usable_cores

    by_memory = fair_share(1) // (CELL_GIB << 30)
    gpus = len(visible_gpus()) if device.startswith("cuda") else usable_cores()
    return int(max(1, min(usable_cores(), by_memory, gpus or 1)))


def size_in_gib(text: str) -> float:
    """Read memory or disk, ``2GB``, ``512MiB``, ``4``: GiB, as a plain number is."""
    found = re.fullmatch(r"([0-9.eE+-]+?)([a-z]*)", text.replace(" ", "").lower())
    gib = _positive(found[1]) * GIB_OF.get(found[2], math.nan) if found else math.nan
    if math.isnan(gib):
        raise click.BadParameter(f"expected a size such as 2GB, 512MiB or 4 (GiB), got {text!r}")
    return gib


def time_in_s(text: str) -> float:
    """Read a time, ``10m``, ``1h30m``, ``90``: seconds, as a plain number is."""
    plain = text.replace(" ", "").lower()
    seconds = _positive(plain)
    parts = re.findall(r"([0-9.]+)([a-z]+)", plain)
    if parts and "".join(map("".join, parts)) == plain:
        seconds = sum(_positive(number) * SECONDS_OF.get(unit, math.nan) for number, unit in parts)
    if math.isnan(seconds):
        raise click.BadParameter(
            f"expected a time such as 10m, 90s, 1h30m or 600 (seconds), got {text!r}"
        )
    return seconds


def _positive(text: str) -> float:
    """Return a positive, finite number; NaN for any other text."""
    try:
        number = float(text)
    except ValueError:
        return math.nan
    return number if 0 < number < math.inf else math.nan
