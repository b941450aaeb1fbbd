import shutil
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from msibench.cli.figure import command as figure_command
from msibench.cli.report import command as report_command
from msibench.errors import ConfigurationError, UnknownNameError
from msibench.leaderboard.board import read_board
from msibench.leaderboard.figures import Choice, kinds, write_figure

PICTURES = sorted(set(kinds()) - {"table"})


@pytest.fixture(scope="module")
def board(toy):
    """The toy's board, read once: what is drawn is the point of most tests here."""
    return read_board(toy.store, toy.track)


@pytest.fixture(scope="module")
def drawn(toy, tmp_path_factory):
    """Return a function that draws a whole figure, once for all tests that look at it."""
    folder = tmp_path_factory.mktemp("drawn")

    def draw(kind, ending):
        path = folder / f"{kind}.{ending}"
        if not path.exists():
            write_figure(kind, toy.store, toy.track, path)
        return path

    return draw


@pytest.mark.parametrize(
    ("kind", "ending"),
    [
        ("box", "svg"),
        ("images", "png"),
        pytest.param("paired", "pdf", marks=pytest.mark.slow),
        *(pytest.param(kind, "svg", marks=pytest.mark.slow) for kind in PICTURES if kind != "box"),
    ],
)
def test_the_same_store_gives_the_same_picture(toy, drawn, tmp_path, kind, ending):
    first = drawn(kind, ending)
    second = write_figure(kind, toy.store, toy.track, tmp_path / f"b.{ending}")
    raw = first.read_bytes()
    assert raw == second.read_bytes()
    assert raw.startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending])
    assert b"/CreationDate" not in raw
    assert b"<dc:date>" not in raw


def test_a_picture_shows_something(drawn):
    assert np.asarray(Image.open(drawn("images", "png")).convert("L")).std() > 5


def test_boxes_of_the_six_metrics_name_every_method_and_the_metrics_that_are_there(
    toy, board, tmp_path
):
    text = write_figure("metrics", toy.store, toy.track, tmp_path / "m.svg", board=board).read_text(
        "utf-8"
    )
    for word in ("PSNR (dB)", "SSIM", "better", "bicubic"):
        assert word in text
    assert "RMSE" not in text, "not one of the six"
    assert "DISTS" not in text, "not measured"
    chosen = Choice(methods=("better",))
    assert "bicubic" not in write_figure(
        "metrics", toy.store, toy.track, tmp_path / "n.svg", chosen, board=board
    ).read_text("utf-8")


def test_what_was_not_measured_is_hatched_and_said(toy, gap_toy, tmp_path):
    one = Choice(mz=(500.5,), methods=("better",))
    text, whole = (
        write_figure("images", each.store, each.track, tmp_path / "a.svg", one).read_text()
        for each in (gap_toy, toy)
    )
    assert "not measured" in text
    assert "not measured" not in whole
    assert "<pattern" in text  # SVG's hatching
    assert "<pattern" not in whole


def test_names_in_a_picture_are_text_not_markup(drawn):
    text = drawn("box", "svg").read_text("utf-8")
    assert "<script" not in text
    assert "evil&lt;/script&gt;" in text


def test_the_best_value_of_a_table_is_bold(toy, board, tmp_path):
    text = write_figure("table", toy.store, toy.track, tmp_path / "t.md", board=board).read_text(
        "utf-8"
    )
    line = next(line for line in text.splitlines() if "better" in line)
    assert line.count("**") == 6  # PSNR, SSIM and RMSE
    assert "<script" not in text


def test_a_ceiling_that_several_reach_is_not_bold(toy, board, tmp_path):
    from msibench.leaderboard import figures

    same = board.rows.assign(value=board.rows["value"].mask(board.rows["metric"] == "ssim", 1.0))
    level = figures.Board(replace(board.collected, rows=same), toy.track, board.index)
    text = write_figure("table", None, toy.track, tmp_path / "t.md", board=level).read_text()
    assert "**1.000" not in text
    assert "**" in text  # PSNR still has a best


@pytest.mark.slow
def test_images_go_on_in_the_next_line(toy, tmp_path, monkeypatch):
    wide = write_figure("images", toy.store, toy.track, tmp_path / "wide.png")
    monkeypatch.setattr("msibench.leaderboard.figure_images.MOST_ACROSS", 2)
    folded = write_figure("images", toy.store, toy.track, tmp_path / "folded.png")
    with Image.open(wide) as before, Image.open(folded) as after:
        (wide_x, wide_y), (x, y) = before.size, after.size
    assert x < 0.7 * wide_x
    assert y > 1.5 * wide_y


def test_a_title_wider_than_its_panel_takes_several_lines(toy, board, tmp_path, monkeypatch):
    monkeypatch.setattr("msibench.leaderboard.figure_images.TITLE_WIDTH", 4)
    one = Choice(mz=(500.5,), methods=("better",))
    text = write_figure(
        "images", toy.store, toy.track, tmp_path / "a.svg", one, board=board
    ).read_text()
    assert ">truth<" not in text
    assert ">trut<" in text


def test_names_of_points_do_not_lie_on_one_another():
    from matplotlib.text import Text

    from msibench.leaderboard.figure_charts import _meet, _name_points
    from msibench.leaderboard.figure_style import fixed_style, new_axes

    points = [(1.0 + 0.01 * k, 10.0 + 0.005 * k, f"method-number-{k}") for k in range(8)]
    with fixed_style():
        figure, axes = new_axes(6.5, 4.2)
        axes.plot([0.1, 10.0], [9.0, 11.0], "o")
        _name_points(figure, axes, points)
        figure.draw_without_rendering()
        renderer = figure.canvas.get_renderer()
        boxes = [Text.get_window_extent(text, renderer).extents for text in axes.texts]
    assert len(boxes) == 8
    hits = [(a, b) for n, a in enumerate(boxes) for b in boxes[:n] if _meet(tuple(a), tuple(b))]
    assert not hits


def test_latex_is_escaped(toy, tmp_path):
    from dataclasses import replace

    track = replace(toy.track, title="50 % of a_b & c\nd")
    text = write_figure("table", toy.store, track, tmp_path / "t.tex").read_text("utf-8")
    assert "\\textbf{" in text
    assert "$\\pm$" in text
    assert text.splitlines()[0].startswith("% 50 % of a_b & c d")
    assert "evil\\textless{}/script\\textgreater{}" in text


def test_methods_metric_and_mz_can_be_chosen(toy, board, tmp_path):
    chosen = Choice(methods=("better", "bicubic"), metric="rmse", reference="bicubic")
    for kind in ("box", "paired", "pareto"):
        text = write_figure(
            kind, toy.store, toy.track, tmp_path / "x.svg", chosen, board=board
        ).read_text()
        assert "evil" not in text
    one = write_figure("images", toy.store, toy.track, tmp_path / "a.svg", Choice(mz=(500.6,)))
    assert "m/z 500.5000 ± 5 ppm" in one.read_text("utf-8")


@pytest.mark.parametrize(
    ("kind", "choice", "message"),
    [
        ("box", Choice(metric="pnsr"), "psnr"),
        (
            "images",
            Choice(mz=(999.0,)),
            "m/z 999 is not on this board: expected one of 400.2500, 500.5000",
        ),
        ("box", Choice(methods=("beter",)), "better"),
        ("paired", Choice(reference="bicubik"), "bicubic"),
        ("images", Choice(section="s9"), "s1"),
        ("box", Choice(protocol="area-x2@1"), "area-x4@1"),
        ("voilin", Choice(), "violin"),
    ],
)
def test_a_wrong_name_is_answered_with_the_right_ones(toy, board, tmp_path, kind, choice, message):
    with pytest.raises(UnknownNameError, match=message):
        write_figure(kind, toy.store, toy.track, tmp_path / "x.png", choice, board=board)


def test_an_ending_that_does_not_fit_is_told(toy, tmp_path):
    with pytest.raises(ConfigurationError, match=r"\.png, \.svg, \.pdf"):
        write_figure("box", toy.store, toy.track, tmp_path / "x.md")
    with pytest.raises(ConfigurationError, match=r"\.md, \.tex"):
        write_figure("table", toy.store, toy.track, tmp_path / "x.png")


def test_the_commands_write_what_they_name(toy, tmp_path, monkeypatch):
    folder = tmp_path / "leaderboards" / "toy"
    folder.mkdir(parents=True)
    (folder / "track.toml").write_text(
        'schema_version = 1\nname = "toy"\nmetrics = ["psnr", "ssim"]\n'
        '[[problems]]\ndataset = "toy"\nprotocols = ["area-x4@1"]\n'
    )
    monkeypatch.chdir(tmp_path)
    results = ["--results", str(toy.store.root)]
    done = CliRunner().invoke(report_command, ["toy", *results, "--max-images", "1", "--publish"])
    assert done.exit_code == 0, done.output
    assert (folder / "index.html").is_file()
    done = CliRunner().invoke(figure_command, ["pareto", "toy", *results, "-o", "p.svg"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "p.svg").is_file()
    shutil.rmtree(folder)
