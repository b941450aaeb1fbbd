"""``msibench``: finds its commands by their files, so that ``--help`` stays quick."""

from __future__ import annotations

import codecs
import errno
import importlib
import io
import os
import sys
import traceback
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TextIO

import click

from msibench.cli._stop import STOPPED, orderly
from msibench.contracts.plain_text import visible
from msibench.errors import MSIBenchError

HELP = {
    "run": "Run a track, or your own section, and write its leaderboard.",
    "list": "List methods, data sets, metrics, plugins, tracks or protocols.",
    "fetch": "Download the public files of a data set.",
    "weights": "List, fetch, add or verify pretrained files.",
    "status": "Show the state of a track's cells, and why one is stale.",
    "score": "Compute new or corrected metrics from stored predictions.",
    "leaderboard": "Rebuild a leaderboard from the store alone.",
    "site": "Build the site of all boards.",
    "report": "Write the page of a track.",
    "figure": "Write one figure or table for a paper.",
    "compare": "Compare two results and fail when one got worse.",
    "verify": "Recompute digests and scores, and find what was changed.",
    "check": "Hold a method against the contract.",
    "new": "Start a plugin from a template.",
    "finetune": "Adapt a method to ion images.",
    "upscale": "Put the ion images of one section on a finer grid.",
    "advise": "Say which ions may be sharpened, with what, or whether to measure finer.",
    "convert": "Convert between imzML, HDF5, npz and OME-TIFF.",
    "register": "Bring an optical image onto a section.",
    "plan": "Print what a run would do.",
    "bundle": "Pack results to share them.",
    "submit": "Write the pull request that adds your methods to a board.",
    "import": "Add somebody else's bundle.",
}
"""One line a command, in the order in which ``--help`` shows them."""

PLACE = {
    errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT,
    errno.EISDIR, errno.ENOTDIR, errno.ELOOP,
}  # fmt: skip
"""Errors of the system that concern a path that was given, not msibench."""


PLAINER = {
    "µ": "u", "μ": "u", "±": "+-", "×": "x", "–": "-", "—": "-", "…": "...", "↓": "v", "↑": "^",
    "→": "->", "≤": "<=", "≥": ">=", "²": "2", "σ": "s", "“": '"', "”": '"', "’": "'",
}  # fmt: skip
"""Replacements where a console lacks a character; a question mark for any other."""


class Commands(click.Group):
    """Commands by file name; plugins may add others."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands that are there, in the order of `HELP`."""
        here = {
            path.stem.rstrip("_")
            for path in Path(__file__).parent.glob("*.py")
            if path.stem not in {"__init__", "main", "start"} and not path.stem.startswith("_")
        }
        return [name for name in HELP if name in here]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name in self.list_commands(ctx):
            name = f"{cmd_name}_" if cmd_name in {"import"} else cmd_name
            module = importlib.import_module(f"msibench.cli.{name}")
            found: click.Command = module.command
            return found
        return self._from_plugins(cmd_name)

    def _from_plugins(self, name: str) -> click.Command | None:
        from msibench.plugin_manager import resolve_target
        from msibench.plugin_manager.discovery import discover

        spec = discover().commands.get(name)
        if spec is None:
            return None
        found: Any = resolve_target(spec.target)
        return found if isinstance(found, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing any, and those that plugins add."""
        from msibench.plugin_manager.discovery import discover

        rows = [(name, HELP[name]) for name in self.list_commands(ctx)]
        rows += [(name, spec.help) for name, spec in sorted(discover().commands.items())]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest the nearest command for one that does not exist."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            near = get_close_matches(args[0], self.list_commands(ctx), n=1) if args else []
            if near and near[0] not in error.message:
                raise click.UsageError(f"{error.message} Did you mean {near[0]!r}?", ctx) from error
            raise


WHEN_STOPPED = {
    **dict.fromkeys(
        ("run", "score", "import"),
        "stopped; finished cells are kept: the same command continues from there",
    ),
    **dict.fromkeys(
        ("fetch", "weights"),
        "stopped; what was downloaded is kept: the same command continues from there",
    ),
    "finetune": "stopped; the last saved state is kept: continue with --resume (a grid needs no word)",
}
"""What a stopped command leaves that the next one takes up; of others nothing is worth a word."""


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="To start without data of your own: `msibench run` runs the quickstart track. "
    "Exit codes: 0 ok, 1 internal error, 2 usage, 3 some cells failed, 4 quality regression, "
    "5 speed or memory regression, 6 nothing measured, 7 integrity.",
)
@click.version_option(package_name="msibench")
@click.option("--traceback", "show", is_flag=True, help="Show where an error came from.")
@click.pass_context
def cli(ctx: click.Context, show: bool) -> None:
    """Find the method that puts ion images on a finer grid best, and whether its detail is real."""
    ctx.obj = {"traceback": show}


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show a warning about data as a plain line, any other as Python does."""
    from msibench.io.data_warning import DataWarning

    if issubclass(category, DataWarning):
        click.echo(visible(f"warning: {message}"), err=True)
    else:
        text = warnings.formatwarning(message, category, filename, lineno, line)
        (file or sys.stderr).write(text)


def _refuse_unwritable(arguments: list[str]) -> None:
    """Reject arguments that no file system and no file can hold."""
    for word in arguments:
        try:
            raw = os.fsencode(word)
        except UnicodeEncodeError:
            raise click.UsageError(f"{word!r} holds half a character; write it in UTF-8") from None
        if b"\0" in raw:
            raise click.UsageError(f"{word!r} holds a NUL character")


def plainer(error: UnicodeError) -> tuple[str, int]:
    """Replace characters that a console's encoding lacks by plainer ones; an error handler of codecs."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    unknown = error.object[error.start : error.end]
    return "".join(PLAINER.get(sign, "?") for sign in unknown), error.end


def _never_fail_to_print() -> None:
    """Let output lose characters rather than fail where the console is not Unicode."""
    codecs.register_error("msibench.plainer", plainer)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="msibench.plainer")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; errors made on purpose become one message and their exit code."""
    _never_fail_to_print()
    show = "--traceback" in (arguments if arguments is not None else sys.argv)
    if arguments is None:  # a process of its own
        warnings.showwarning = _show_warning
    given = sys.argv[1:] if arguments is None else arguments
    try:
        _refuse_unwritable(given)
        with orderly():
            status = cli.main(args=arguments, prog_name="msibench", standalone_mode=False)
            sys.stdout.flush()
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        command = next((word for word in given if not word.startswith("-")), "")
        click.echo(WHEN_STOPPED.get(command, "stopped"), err=True)
        if arguments is None:
            _leave_what_computes()
        sys.exit(STOPPED)
    except click.ClickException as error:
        said = io.StringIO()
        error.show(said)
        click.echo(visible(said.getvalue()), err=True, nl=False)
        sys.exit(2)
    except MSIBenchError as error:
        if show:
            click.echo(visible(traceback.format_exc()), err=True)
        click.echo(visible(f"msibench: {error}"), err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        _system_error(error, show)
    except MemoryError as error:
        if show:
            click.echo(visible(traceback.format_exc()), err=True)
        words = visible(str(error)) or "no more could be had"
        click.echo(
            f"msibench: there is not enough memory: {words}. Take fewer ion images (--mz), a smaller "
            "section, or a machine with more",
            err=True,
        )
        sys.exit(2)
    except Exception as error:
        _internal(error, show)
    sys.exit(status if isinstance(status, int) else 0)


def _leave_what_computes() -> NoReturn:
    """End a stopped process without Python's own end: a library may wait there for a thread that computes."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(STOPPED)


def _system_error(error: OSError, show: bool) -> NoReturn:
    """Exit with the system's message about a file, or about the output."""
    if error.filename is None and error.errno in {errno.EPIPE, errno.ENOSPC, errno.EIO}:
        _output_is_gone(error)
    if error.errno not in PLACE or error.filename is None:
        _internal(error, show)
    click.echo(
        visible(f"msibench: {str(error.filename)[:300]}: {error.strerror}; choose another path"),
        err=True,
    )
    sys.exit(2)


def _output_is_gone(error: OSError) -> NoReturn:
    """Exit where the output is closed, or its disk is full."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left in the buffer has no place to go
    if error.errno == errno.EPIPE:
        sys.exit(1)  # quietly, as click does
    click.echo(f"msibench: what is printed cannot be written: {error.strerror}", err=True)
    sys.exit(2)


def _internal(error: Exception, show: bool) -> NoReturn:
    """Report an error of msibench itself, and exit."""
    if show:
        click.echo(visible(traceback.format_exc()), err=True)
    click.echo(
        f"msibench: internal error: {type(error).__name__}: {visible(str(error))}\n"
        "This is a fault of msibench. Run again with `msibench --traceback …` and report it.",
        err=True,
    )
    sys.exit(1)


if __name__ == "__main__":
    main()
