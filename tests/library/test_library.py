"""msibench from Python: the documented lines, and that the command line gives the same."""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import msibench as mb
from msibench.cli.main import main
from msibench.io import DataWarning

ROOT = Path(__file__).parents[2]


def cube(channels=3, shape=(24, 20), seed=0):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    mean = 20 + 200 * np.exp(-((y - 9) ** 2 + (x - 8) ** 2) / 30)
    return rng.poisson(mean, (channels, *shape)).astype(np.float32)


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("section.npz", cube=cube(), mz=[400.0, 500.0, 600.0], pixel_size_um=10.0)
    return tmp_path / "section.npz"


def test_importing_msibench_loads_neither_torch_nor_pandas():
    script = "import sys, msibench; print('torch' in sys.modules, 'pandas' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "False"]


def test_every_public_name_is_there():
    for name in mb.__all__:
        assert getattr(mb, name) is not None
    assert set(mb.__all__) <= set(dir(mb))
    with pytest.raises(AttributeError, match="sharpen"):
        mb.sharpen  # noqa: B018


def test_from_a_file_to_scores(file):
    section = mb.read(file, mz=[400.0, 600.0])
    assert (section.channels, section.shape, section.pixel_size_um) == (2, (24, 20), 10.0)
    problem = mb.degrade(section, "area-x4@1")
    assert problem.low.shape == (6, 5)
    assert problem.low.pixel_size_um == 40.0
    fine = mb.upscale(problem, "nearest")
    table = mb.evaluate(fine, section, problem, metrics=["psnr", "ssim", "consistency"])
    assert set(table.columns) == {"mz", "channel", "metric", "region", "value", "reason", "unit"}
    psnr = table[(table["metric"] == "psnr") & (table["region"] == "image")]
    assert psnr["mz"].tolist() == [400.0, 600.0]
    scale = np.quantile(section.values.reshape(2, -1), 0.999, axis=1)
    truth = np.clip(section.values / scale[:, None, None], 0, 1)
    coarse = truth.reshape(2, 6, 4, 5, 4).mean((2, 4)).repeat(4, 1).repeat(4, 2)
    expected = -10 * np.log10(((coarse - truth) ** 2).mean((1, 2)))
    np.testing.assert_allclose(psnr["value"], expected, atol=1e-4)
    assert table.loc[table["metric"] == "consistency", "value"].max() < 1e-6


def test_what_a_method_made_in_this_process_says_that_it_was_not_isolated(file):
    section = mb.read(file)
    problem = mb.degrade(section, "area-x4@1")
    fine = mb.upscale(problem, "bicubic")
    assert section.isolation == problem.low.isolation == ""
    assert fine.isolation == fine.select([0]).isolation == "not isolated"
    assert "not isolated" in repr(fine)
    table = mb.evaluate(fine, section, problem, metrics=["psnr"])
    assert table.attrs["isolation"] == "not isolated"
    table = mb.evaluate(fine.values, section, problem, metrics=["psnr"])
    assert table.attrs["isolation"] == "not known"


def test_a_guide_on_the_grid_or_in_a_file(file, tmp_path):
    from PIL import Image

    section = mb.read(file)
    rng = np.random.default_rng(1)
    stain = rng.random((24, 20, 3))
    Image.fromarray((stain * 255).astype(np.uint8)).save("HE.png")
    held = mb.GuideImage(np.moveaxis(stain, 2, 0).astype(np.float32), pixel_size_um=10.0)
    one = mb.degrade(section, "area-x2@1", guide=held)
    two = mb.degrade(section, "area-x2@1", guide="HE.png")
    assert one.guide.shape == two.guide.shape == (24, 20)
    np.testing.assert_allclose(one.guide.values, two.guide.values, atol=1 / 255)
    fine = mb.upscale(two, "guided-filter")
    assert fine.shape == (24, 20)
    with pytest.raises(mb.MSIBenchError, match="grid"):
        mb.degrade(section, "area-x2@1", guide=mb.GuideImage(np.zeros((1, 5, 5), np.float32)))


def test_upscaling_is_what_the_command_line_writes(file, capsys):
    fine = mb.upscale(mb.read(file), "bicubic", factor=2)
    with pytest.raises(SystemExit) as ended:
        main(["upscale", "bicubic", str(file), "--factor", "2", "-o", "fine.npz"])
    assert ended.value.code == 0
    written = mb.read("fine.npz")
    np.testing.assert_array_equal(written.values, fine.values)
    assert written.pixel_size_um == fine.pixel_size_um == 5.0


def test_what_was_not_measured_stays_so_and_changes_are_told():
    values = cube()
    values[:, :3] = np.nan
    values[0, 10, 10] = -4
    section = mb.MSImage(values, np.array([400.0, 500.0, 600.0]), pixel_size_um=10.0)
    with pytest.warns(DataWarning) as told:
        fine = mb.upscale(section, "nearest", factor=2)
    assert np.isnan(fine.values[:, :6]).all()
    assert np.isfinite(fine.values[:, 6:]).all()
    assert fine.values[0, 20, 20] == 0
    assert not fine.mask[:6].any()
    assert len(told) == 2


def test_a_method_that_cannot_do_it_says_why(file):
    section = mb.read(file)
    with pytest.raises(mb.MSIBenchError, match="guide"):
        mb.upscale(section, "guided-filter", factor=2)
    with pytest.raises(mb.MSIBenchError, match="does factor"):
        mb.upscale(section, "swinir-msi-tiny", factor=3)
    with pytest.raises(mb.MSIBenchError, match="Did you mean 'bicubic'"):
        mb.upscale(section, "bicubik")
    with pytest.raises(mb.MSIBenchError, match="expected"):
        mb.evaluate(np.zeros((3, 4, 4)), section, mb.degrade(section))


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("board")
    (folder / "track.toml").write_text(
        'schema_version = 1\nname = "small"\nmethods = ["nearest", "bilinear", "bicubic"]\n'
        'metrics = ["psnr", "ssim"]\n[[problems]]\ndataset = "phantom"\n'
        'protocols = ["area-x4@1"]\nsections = ["synthetic-1"]\n'
        "mz = [417.2402, 616.1773, 703.5748, 734.5694, 798.5410]\n"
    )
    results = folder / "results"
    board = mb.run(str(folder / "track.toml"), methods=["nearest", "bilinear"], results=results)
    return board, folder, results


class TestBoards:
    def test_a_run_gives_a_board(self, ran):
        board, _, _ = ran
        assert set(board.methods) == {"nearest", "bilinear", "bicubic"}, "the control runs too"
        assert set(board.rows()["metric"]) == {"psnr", "ssim"}
        assert len(board.table()) == 3

    def test_a_board_is_called_as_the_command_line_calls_it(self, ran, tmp_path, capsys):
        """Run on another kind of device than it states, a track has a board of its own."""
        from msibench.cli.main import main

        _, folder, results = ran
        text = (folder / "track.toml").read_text()
        (tmp_path / "track.toml").write_text(text.replace("[[", 'device = "cuda"\n[[', 1))
        board = mb.run(str(tmp_path / "track.toml"), methods=["nearest"], results=results)
        assert board.track.name == "small-cpu"
        assert set(board.methods) == {"nearest", "bicubic"}
        with pytest.raises(SystemExit):
            main(["plan", str(tmp_path / "track.toml"), "--json", "--results", str(results)])
        assert json.loads(capsys.readouterr().out)["track"] == board.track.name
        again = mb.run("small-cpu", results=results)  # it is known by its name
        assert again.track.name == "small-cpu"
        assert set(again.methods) == {"nearest", "bilinear", "bicubic"}

    def test_images_of_an_ion(self, ran):
        board, _, _ = ran
        images = board.images(board.ions[0])
        assert set(images) == {"low", "truth", "nearest", "bilinear", "bicubic"}
        assert images["truth"].shape == images["nearest"].shape
        assert images["low"].pixel_size_um == pytest.approx(4 * images["truth"].pixel_size_um)
        by_mz = board.images(float(images["low"].mz[0]) + 0.001)
        np.testing.assert_array_equal(by_mz["truth"].values, images["truth"].values)

    def test_two_methods_are_compared_on_common_images(self, ran):
        board, _, _ = ran
        table = board.compare("bilinear", "nearest").set_index(["metric", "region"])
        rows = board.rows()
        rows = rows[(rows["metric"] == "psnr") & (rows["region"] == "image")]
        means = rows.groupby("method")["value"].mean()
        line = table.loc["psnr", "image"]
        assert line["difference"] == pytest.approx(means["bilinear"] - means["nearest"])
        assert line["low"] <= line["difference"] <= line["high"]
        assert line["scope"] == "images", "one section: nothing is said of others"

    def test_the_same_from_the_files_alone(self, ran):
        board, folder, results = ran
        place = folder if (folder / "rows.parquet").is_file() else results / "leaderboards/small"
        opened = mb.load_board(place)
        pd.testing.assert_frame_equal(opened.table(), board.table())
        with pytest.raises(mb.MSIBenchError, match="rows alone"):
            opened.images(board.ions[0])
        again = mb.load_board(place, results=results).images(board.ions[0])
        np.testing.assert_array_equal(
            again["bicubic"].values, board.images(board.ions[0])["bicubic"].values
        )

    def test_wrong_names_are_told(self, ran):
        board, _, _ = ran
        with pytest.raises(mb.MSIBenchError, match="Did you mean 'bicubic'"):
            board.compare("bicubik", "nearest")
        with pytest.raises(mb.MSIBenchError, match="No ion named"):
            board.images("m/z 1.0000")

    def test_it_shows_itself(self, ran):
        board, _, _ = ran
        text = board._repr_html_()
        assert "<table" in text
        assert "bilinear" in text


def test_a_committed_board_opens_without_a_store():
    board = mb.load_board(ROOT / "leaderboards" / "bladder-x4")
    assert "bicubic" in board.methods
    assert "m/z 798.5411" in board.ions
    assert len(board.compare("swinir-msi-tiny", "bicubic")) > 5


def test_a_folder_without_a_board(tmp_path):
    with pytest.raises(mb.MSIBenchError, match=r"rows\.parquet"):
        mb.load_board(tmp_path)


def test_images_and_problems_show_themselves(file):
    section = mb.read(file)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".* deprecated - use .*")  # of matplotlib's own parser
        text = section._repr_html_()
        assert "m/z 400.0000" in text
        assert text.count("<img") == 1
        assert "10 µm" in text
        problem = mb.degrade(section, "area-x2@1")
        assert "2 times finer" in problem._repr_html_()
        figure = section.plot(channels=[0, 2])
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == [
        "m/z 400.0000",
        "m/z 600.0000",
    ]
