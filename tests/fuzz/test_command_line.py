"""The command line: any words end in a message and a documented status, never in an internal error."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msibench.cli.main import HELP, Commands, cli, main
from tests.fuzz.texts import TEXT, fuzz

STATUSES = {0, 2, 3, 4, 5, 6, 7}
SAFE = [name for name in HELP if name not in {"run", "finetune", "new", "check"}]
"""Commands that only read, or write where they are told; what the others do with sound words takes long."""


def options_of(name):
    command = Commands().get_command(None, name)
    found = [flag for option in command.params for flag in getattr(option, "opts", ())]
    return [flag for flag in found if flag.startswith("-")]


def words(place):
    return st.one_of(
        TEXT,
        st.sampled_from(
            ["bicubic", "phantom", "quickstart", "psnr", "area-x4@1", "0", "-1", "1e9", "nan", ",", "a,b",
             "table", "methods", "tracks", str(place), str(place / "none"), str(place / "odd.h5"),
             str(place / "odd.npz"), str(place / "odd.zip"), str(place / "odd.toml"), "--help", "--"]
        ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    for name in ("odd.h5", "odd.npz", "odd.zip", "odd.toml"):
        (folder / name).write_bytes(b"\x89HDF\r\n\x1a\nPK\x03\x04" * 5)
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


def call(arguments):
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            main(arguments)
        except SystemExit as error:
            return error.code, out.getvalue() + errors.getvalue()
    return 0, out.getvalue() + errors.getvalue()


@fuzz
@given(data=st.data())
def test_any_words_end_in_a_documented_status(place, data):
    name = data.draw(st.sampled_from([*SAFE, "no-such-command"]))
    flags = options_of(name) if name in HELP else ["--x"]
    word = words(place)
    rest = data.draw(st.lists(st.one_of(word, st.sampled_from(flags or ["--help"])), max_size=5))
    code, said = call([name, *rest])
    assert code in STATUSES, (code, [name, *rest], said[-2000:])
    assert "Traceback" not in said
    assert "internal error" not in said
    assert "\x1b" not in said
    if code == 2:
        assert said.strip()


@fuzz
@given(data=st.data())
def test_any_words_for_a_run_that_cannot_begin_are_refused(place, data):
    """A run over a track that is not there, whatever its options say."""
    word = words(place)
    rest = data.draw(st.lists(st.one_of(word, st.sampled_from(options_of("run"))), max_size=4))
    rest = [text for text in rest if text not in {"quickstart", "--data", "--sandbox"}]
    code, said = call(["run", "no-such-track", *rest, "--results", str(place / "results")])
    assert code in STATUSES, (code, rest, said[-2000:])
    assert "internal error" not in said


def test_every_command_explains_itself():
    for name in HELP:
        assert call([name, "--help"])[0] == 0
    assert isinstance(cli, Commands)
