"""``msibench upscale``: what it writes, and what it says."""

import warnings

import numpy as np
import pytest
from PIL import Image

from msibench.cli.main import main
from msibench.io import DataWarning, read_section
from tests.io.imzml.imzml_files import write_odd_imzml

MZ = [400.0, 500.0, 600.0]
METHODS = '''
import numpy as np
SEEN = []

class Nearest:
    """Keeps the input to the last bit."""
    def upscale(self, problem):
        assert (problem.low.values > 0).any(axis=(1, 2)).all(), "an empty ion was handed over"
        return problem.low.values.repeat(problem.factor, 1).repeat(problem.factor, 2).clip(0)

class Mirrors(Nearest):
    def upscale(self, problem):
        return np.nan_to_num(super().upscale(problem))[:, ::-1, ::-1].copy()

class Short(Nearest):
    def upscale(self, problem):
        return super().upscale(problem)[:, 1:]

class Fails(Nearest):
    def upscale(self, problem):
        raise RuntimeError("no such luck")

class Fills(Nearest):
    def upscale(self, problem):
        return np.nan_to_num(super().upscale(problem))
'''


@pytest.fixture
def upscale(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(METHODS)

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["upscale", *map(str, arguments)])
        out = capsys.readouterr()
        return ended.value.code, out.out, out.err

    return call


def section(name="own.npz", *, channels=3, shape=(12, 10), **changes):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: shape[0], : shape[1]]
    cube = rng.poisson(50 + 200 * np.exp(-((y - 2) ** 2 + (x - 2) ** 2) / 6), (channels, *shape))
    cube = cube.astype(np.float32)
    for place, value in changes.pop("put", ()):
        cube[place] = value
    facts = {"mz": 400.0 + 100 * np.arange(channels), "pixel_size_um": 40.0, **changes}
    np.savez(name, cube=cube, **facts)
    return cube


def test_an_ion_that_was_not_measured_at_all_says_nothing_of_the_pixels_of_others(upscale):
    section(put=[((1,), np.nan)])
    status, _, err = upscale("bicubic", "own.npz", "--factor", 2, "-o", "a.npz")
    assert status == 0, err
    assert "pixels hold NaN" not in err
    assert "which are 0 (NaN where nothing was measured) in the result" in err
    assert np.isnan(read_section("a.npz").values[1]).all()


def test_not_measured_stays_not_measured_and_the_mask_stays(upscale):
    mask = np.ones((12, 10), bool)
    mask[-1] = False
    cube = section(put=[((slice(None), slice(3)), np.nan), ((1, 5, 5), np.nan)], mask=mask)
    status, _, err = upscale(
        "mine.py:Fills", "own.npz", "--factor", 2, "-o", "a.h5", "-o", "a.npz", "-o", "a.ome.tif"
    )
    assert status == 0, err
    assert "31 of 120 pixels hold NaN: not measured, and NaN in the result" in err
    for name in ("a.h5", "a.npz", "a.ome.tif"):
        fine = read_section(name)
        np.testing.assert_array_equal(fine.values, cube.repeat(2, 1).repeat(2, 2))
        expected = mask & (np.arange(12) >= 3)[:, None]
        np.testing.assert_array_equal(fine.mask, expected.repeat(2, 0).repeat(2, 1))
        assert fine.pixel_size_um == 20.0


def test_pixels_without_a_measurement_have_no_spectrum_and_are_grey(upscale):
    section(put=[((slice(None), slice(3)), np.nan)], channels=1)
    status, _, err = upscale("bicubic", "own.npz", "--factor", 2, "-o", "a.imzML", "-o", "a.png")
    assert status == 0, err
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        assert read_section("a.imzML").mask.sum() == 9 * 10 * 4
    colours = np.asarray(Image.open("a.png").convert("RGB")).reshape(-1, 3)
    grey = (colours == 0xB8).all(axis=1).sum()
    assert grey > 0.1 * len(colours)


def test_negative_intensities_are_set_to_0_as_in_a_run(upscale):
    section(put=[((0, 0, 0), -5.0)])
    status, _, err = upscale("mine.py:Nearest", "own.npz", "--factor", 2, "-o", "a.npz")
    assert status == 0
    assert "1 of 360 intensities are negative: set to 0, as in every run" in err
    assert read_section("a.npz").values.min() == 0


def test_an_ion_that_is_not_there_is_named_and_not_handed_over(upscale):
    section(put=[(1, 0.0)])
    status, out, err = upscale("mine.py:Nearest", "own.npz", "--factor", 2, "-o", "a.npz")
    assert status == 0, err
    assert "nothing present in 1 of 3 ion images" in err
    assert "m/z 500.0000" in err
    assert "500.0000" not in out
    assert read_section("a.npz").mz.tolist() == MZ
    section(put=[(slice(None), 0.0)])
    status, _, err = upscale("mine.py:Nearest", "own.npz", "--factor", 2, "-o", "b.npz")
    assert status == 2
    assert "no signal in any of the 3 ion images" in err


@pytest.mark.parametrize("window", [("--mz", 123.45), ("--mz", "150.0,123.45"), ("--ppm", 0.01)])
def test_an_mz_without_any_peak_is_an_error_that_names_the_nearest(upscale, tmp_path, window):
    write_odd_imzml(tmp_path / "a.imzML")
    arguments = window if "--mz" in window else ("--mz", 300.0, *window)
    status, _, err = upscale("bicubic", "a.imzML", *arguments, "--factor", 2, "-o", "a.npz")
    assert status == 2
    assert "the nearest peak of all spectra is m/z" in err
    assert not (tmp_path / "a.npz").exists()


def test_the_size_of_a_pixel_is_asked_for_once_where_the_file_does_not_say(upscale):
    section(pixel_size_um=np.nan)
    status, _, err = upscale("bicubic", "own.npz", "--factor", 2, "-o", "a.npz")
    assert status == 0
    assert err.count("--pixel-size") == 1
    status, _, err = upscale("bicubic", "own.npz", "--pixel-size", 8, "--factor", 2, "-o", "a.npz")
    assert "--pixel-size" not in err
    assert read_section("a.npz").pixel_size_um == 4.0


@pytest.mark.parametrize(
    "method", ["bicubic", "bilinear", "nearest", "lanczos3", "mine.py:Nearest"]
)
def test_interpolation_is_no_contradiction(upscale, method):
    section(channels=20)
    status, out, err = upscale(method, "own.npz", "--factor", 3, "-o", "a.npz")
    assert status == 0
    assert "WARNING" not in err
    assert "consistency of all 20 ions: median" in out
    assert out.count("bicubic-075, which adds nothing:") == 5


def test_a_contradiction_says_what_to_do_in_words_that_work(upscale, tmp_path):
    import shlex

    section()
    status, out, err = upscale("mine.py:Mirrors", "own.npz", "--factor", 2, "-o", "a.npz")
    assert status == 0
    assert out.count("is not reproduced") == 3
    assert "WARNING: 3 of 3 ions contradict the input" in err
    printed = shlex.split(err.rpartition("msibench run ")[2])
    with pytest.raises(SystemExit) as ended:
        main(["plan", *printed])
    assert ended.value.code == 0


def test_a_result_of_another_shape_breaks_the_contract(upscale, tmp_path):
    section()
    status, _, err = upscale("mine.py:Short", "own.npz", "--factor", 2, "-o", "a.npz")
    assert status == 3
    assert "msibench check mine.py:Short" in err
    assert not (tmp_path / "a.npz").exists()


def test_a_factor_that_does_not_fit_names_what_does_and_is_ready(upscale):
    section()
    status, _, err = upscale("swinir-msi-tiny", "own.npz", "--factor", 3, "-o", "a.npz")
    assert status == 2
    assert "does factor 4, not 3" in err
    ready = err.partition("Ready here for --factor 3: ")[2].partition(".")[0].split(", ")
    assert {"bicubic", "lanczos3"} <= set(ready)
    assert not {"swinir-classical-x3", "guide-only", "ridge"} & set(ready)


def test_all_the_strongest_ions_in_one_word(upscale, tmp_path):
    write_odd_imzml(tmp_path / "a.imzML")
    status, _, err = upscale(
        "bicubic", "a.imzML", "--peaks", 2, "--ppm", 10, "--factor", 2, "-o", "a.npz"
    )
    assert status == 0, err
    np.testing.assert_allclose(read_section("a.npz").mz, [798.541, 300.25], rtol=1e-5)


def test_many_ions_give_the_bytes_that_few_at_a_time_give(upscale, monkeypatch):
    section(channels=20)
    upscale("lanczos3", "own.npz", "--factor", 2, "-o", "a.npz")
    monkeypatch.setattr("msibench.library.upscaling.AT_A_TIME", 3)
    upscale("lanczos3", "own.npz", "--factor", 2, "-o", "b.npz")
    monkeypatch.setenv("MSIBENCH_LARGE_MIB", "0.01")
    section(name="holes.npz", channels=20, put=[(4, 0.0), ((2, 1), np.nan)])
    upscale("lanczos3", "holes.npz", "--factor", 2, "-o", "c.npz")
    monkeypatch.delenv("MSIBENCH_LARGE_MIB")
    upscale("lanczos3", "holes.npz", "--factor", 2, "-o", "d.npz")
    for one, other in (("a.npz", "b.npz"), ("c.npz", "d.npz")):
        np.testing.assert_array_equal(read_section(one).values, read_section(other).values)


def test_confidence_writes_both_ends_beside_each_file_and_veils_the_picture(upscale):
    section(shape=(40, 36), put=[((1,), 0)])
    code, out, err = upscale(
        "bicubic", "own.npz", "--factor", 2, "--confidence", 0.9,
        "-o", "f.ome.tif", "-o", "f.npz", "-o", "f.png",
    )  # fmt: skip
    assert code == 0, err
    fine, lower, upper = (
        read_section(f"f{end}.npz", mz=None).values for end in ("", "_lower", "_upper")
    )
    assert (lower[[0, 2]] <= fine[[0, 2]]).all()
    assert (upper[[0, 2]] > lower[[0, 2]]).all()
    assert np.isnan(lower[1]).all()
    assert "interval undefined: nothing is present" in out
    assert "intervals of 90 %, calibrated on this section itself" in out
    told = str(np.load("f_lower.npz")["provenance"])
    assert "isolation" in told
    assert '"confidence": 0.9' in told
    assert "lower end" in told
    assert read_section("f_upper.ome.tif", mz=None).shape == (80, 72)
    upscale("bicubic", "own.npz", "--factor", 2, "-o", "bare.png")
    veiled, bare = (
        np.asarray(Image.open(f"{name}_mz400.0000.png").convert("RGB")) for name in ("f", "bare")
    )
    assert veiled.shape != bare.shape or (veiled != bare).any()


def test_an_interval_that_cannot_be_told_is_refused_before_anything_is_written(upscale, tmp_path):
    section(shape=(12, 10))
    code, _, err = upscale("bicubic", "own.npz", "--factor", 2, "--confidence", 0.9, "-o", "f.npz")
    assert code == 2
    assert "120 tissue pixels" in err
    assert not (tmp_path / "f.npz").exists()
    code, _, err = upscale("bicubic", "own.npz", "--confidence", 90, "-o", "f.npz")
    assert code == 2
    assert "0<x<1" in err


def test_what_a_method_raises_is_the_fault_of_the_method(upscale):
    section(shape=(20, 20))
    for more in ((), ("--confidence", 0.9)):
        status, _, err = upscale("mine.py:Fails", "own.npz", "--factor", 2, *more, "-o", "a.npz")
        assert status != 0
        assert "mine.py:Fails failed: RuntimeError: no such luck" in err
        assert "fault of msibench" not in err
