"""Consoles that are not Unicode: signs may be lost, results and exit codes are not."""

import io
import json
import sys

import numpy as np
import pytest

from msibench.cli.main import main

ENCODINGS = ("ascii", "latin-1", "cp1252", "cp437", "cp850", "cp932", "cp936", "cp949", "utf-8")


@pytest.fixture
def section(tmp_path):
    values = np.random.default_rng(0).random((2, 32, 36), dtype=np.float32)
    path = tmp_path / "s-µ-↓-Ж.npz"
    np.savez(path, cube=values, mz=[500.1, 700.2], pixel_size_um=10.0)
    return path


@pytest.fixture
def console(monkeypatch, tmp_path):
    monkeypatch.setenv("MSIBENCH_RESULTS", str(tmp_path / "results"))

    def call(encoding, *arguments):
        streams = {}
        with monkeypatch.context() as patch:
            for name in ("stdout", "stderr"):
                streams[name] = io.TextIOWrapper(io.BytesIO(), encoding, errors="strict")
                patch.setattr(sys, name, streams[name])
            with pytest.raises(SystemExit) as ended:
                main(list(map(str, arguments)))
        for stream in streams.values():
            stream.flush()
        out, err = (streams[name].buffer.getvalue().decode(encoding, "replace") for name in streams)
        return ended.value.code, out, err

    return call


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "arguments", [("run", "--help"), ("convert", "--check"), ("list", "metrics")]
)
def test_no_console_makes_a_command_fail(console, section, encoding, arguments):
    given = (*arguments, section) if arguments[0] == "convert" else arguments
    status, out, err = console(encoding, *given)
    assert (status, err) == (0, "")
    assert out.strip()


@pytest.mark.parametrize(
    "encoding",
    ["cp437", *(pytest.param(name, marks=pytest.mark.slow) for name in ("cp1252", "utf-8"))],
)
def test_a_run_keeps_its_result(console, section, encoding):
    status, out, _ = console(
        encoding, "run", "--data", section, "--methods", "nearest", "--metrics", "psnr,consistency"
    )
    assert status == 0
    assert "nearest" in out


def test_signs_become_plainer_ones(console, section):
    status, out, _ = console("iso8859-5", "convert", section, "--check")
    assert status == 0
    assert "10 um" in out
    assert "s-u-v-Ж.npz" in out


def test_json_is_whole_on_every_console(console, section):
    expected = json.loads(console("utf-8", "list", "datasets", "--json")[1])
    assert any(not json.dumps(row, ensure_ascii=False).isascii() for row in expected)
    assert json.loads(console("cp437", "list", "datasets", "--json")[1]) == expected


def test_an_error_is_told_in_plainer_signs(console, tmp_path):
    status, _, err = console("cp437", "convert", tmp_path / "Ж.npz", "--check")
    assert status == 2
    assert "?.npz does not exist" in err
