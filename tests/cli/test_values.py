"""What values on the command line mean."""

import click
import numpy as np
import pytest

from msibench.cli._values import chosen_mz, mz_list, settings, size_in_gib, time_in_s
from msibench.errors import ConfigurationError
from msibench.io import read_section
from tests.io.imzml.imzml_files import write_odd_imzml


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("798.54,741.53", (798.54, 741.53)),
        ("798.54, 741.53", (798.54, 741.53)),
        ("798.54 741.53", (798.54, 741.53)),
        ("798.54;741.53", (798.54, 741.53)),
        ("500,400", (500.0, 400.0)),
        ("798", (798.0,)),
        ("all", ()),
        (None, ()),
    ],
)
def test_mz_with_commas_or_blanks(text, expected):
    assert mz_list(text) == expected


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("798,54", "write --mz 798.54, or --mz 798.0,54.0 if"),
        ("798,54 741,53", "write --mz 798.54"),
        ("798,54;741,53", "write --mz 798.54"),
        ("798,54,741,53", "write --mz 798.54"),
        ("798,054", "write --mz 798.054"),
        ("798,5412 741.53", "write --mz 798.5412"),
        ("a,b", "a file of them"),
        ("798.54,x", "a file of them"),
    ],
)
def test_decimal_commas_and_words_are_refused_with_a_remedy(text, remedy):
    with pytest.raises(click.BadParameter, match=remedy):
        mz_list(text)


def test_a_list_in_a_file(tmp_path):
    (tmp_path / "peaks.csv").write_text("# SCiLS\nm/z;Name\n798.54;a\n741.53;b\n")
    assert mz_list(str(tmp_path / "peaks.csv")) == (798.54, 741.53)


@pytest.mark.parametrize(
    ("text", "gib"),
    [("4", 4.0), ("2GB", 2e9 / 2**30), ("2GiB", 2.0), ("2g", 2.0), ("512 MiB", 0.5), ("1.5tb", 1.5e12 / 2**30)],
)  # fmt: skip
def test_sizes(text, gib):
    assert size_in_gib(text) == pytest.approx(gib)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90.0), ("0.5", 0.5), ("10m", 600.0), ("10 min", 600.0), ("1h30m", 5400.0), ("2d", 172800.0)],
)  # fmt: skip
def test_times(text, seconds):
    assert time_in_s(text) == seconds


@pytest.mark.parametrize("read", [size_in_gib, time_in_s])
@pytest.mark.parametrize("text", ["", "-1", "0", "nan", "inf", "many", "2 X", "1h30", "1e400"])
def test_what_is_no_amount_is_refused_with_examples(read, text):
    with pytest.raises(click.BadParameter, match="such as"):
        read(text)


def test_peaks_of_an_imzml_file_and_channels_of_a_stack(tmp_path, capsys):
    path = write_odd_imzml(tmp_path / "a.imzML")
    found = chosen_mz(None, 2, 10.0, path)
    assert [round(mz, 1) for mz in found] == [798.5, 300.2]
    assert "2 of 24 peaks, m/z 798.54" in capsys.readouterr().err
    assert read_section(path, mz=found, ppm=10).values.any(axis=(1, 2)).all()
    cube = np.ones((3, 4, 5), np.float32) * np.array([1, 3, 0])[:, None, None]
    np.savez(tmp_path / "a.npz", cube=cube, mz=[500.0, 400.0, 300.0])
    assert chosen_mz(None, 5, 5.0, tmp_path / "a.npz") == (400.0, 500.0)
    np.savez(tmp_path / "b.npz", cube=cube)
    with pytest.raises(ConfigurationError, match="no m/z by which to choose"):
        chosen_mz(None, 5, 5.0, tmp_path / "b.npz")
    with pytest.raises(click.UsageError, match="give one"):
        chosen_mz("500", 5, 5.0, path)
    with pytest.raises(click.UsageError, match="goes with --data"):
        chosen_mz(None, 5, 5.0, None)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("n=5", 5), ("n=1e-3", 1e-3), ("n=[2, 4]", [2, 4]), ("n=true", True), ('n="7"', "7"),
        ("n=bicubic", "bicubic"), ("n=a=b", "a=b"), ("n=", ""), ('n={"a": 1}', {"a": 1}),
        ("n={a = 1}", {"a": 1}), ("n=null", None), ("n=1\nm = 2", "1\nm = 2"),
    ],
)  # fmt: skip
def test_a_setting_is_toml_or_json_or_else_text(text, value):
    assert settings([text]) == {"n": value}


@pytest.mark.parametrize("text", ["n", "=5", " =5"])
def test_a_setting_without_a_key_is_refused(text):
    with pytest.raises(click.BadParameter, match="key=value"):
        settings([text])


def test_a_peak_list_is_named_in_full_where_a_command_is_to_run_elsewhere(tmp_path, monkeypatch):
    from msibench.cli._planning import OPTIONS, _parameter, as_arguments

    monkeypatch.chdir(tmp_path)
    (tmp_path / "peaks.csv").write_text("798.54\n")
    nothing = {}
    for option in OPTIONS[1:]:
        parameter = _parameter(option)
        nothing[parameter.name] = () if parameter.multiple else parameter.default
    nothing["track"] = None
    for text, expected in (("peaks.csv", str(tmp_path / "peaks.csv")), ("798.54", "798.54")):
        found = as_arguments({**nothing, "mz_text": text, "changes": ("ridge.alpha=3",)})
        assert found[found.index("--mz") + 1] == expected
        assert found[found.index("--set") + 1] == "ridge.alpha=3"
