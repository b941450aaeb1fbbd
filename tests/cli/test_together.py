"""No option is ignored in silence, and none is believed that cannot be meant."""

from pathlib import Path

import numpy as np
import pytest

import msibench as mb
from msibench.cli._together import name_of
from msibench.cli.main import HELP, Commands, main
from msibench.errors import ConfigurationError, DataError
from msibench.io.data_warning import DataWarning
from msibench.io.mz_windows import check_ppm


@pytest.fixture
def said(tmp_path, capsys, monkeypatch):
    """The command line in a folder with two sections; returns its status and what it printed as errors."""
    monkeypatch.chdir(tmp_path)
    cube = np.random.default_rng(0).poisson(9.0, (2, 24, 20)).astype(np.float32)
    for name in ("a", "b"):
        np.savez(f"{name}.npz", cube=cube, mz=np.array([400.0, 500.0]), pixel_size_um=20.0)
    Path("leaderboards").mkdir()
    Path("my.pth").write_bytes(b"weights")

    def call(words):
        with pytest.raises(SystemExit) as ended:
            main(words.split())
        return ended.value.code, capsys.readouterr().err

    return call


REFUSED = {
    "run --mz all": "--mz all takes every channel of your own section: it goes with --data FILE",
    "run --factor 2": "--factor goes with --data: a track says it by its protocols",
    "run --mz 301.141 --ppm 20": "--ppm goes with --data",
    "run --pixel-size 20": "--pixel-size goes with --data",
    "run --data a.npz --ppm 20": "--ppm goes with --mz or --peaks",
    "run --data a.npz --level 0": "--level goes with --guide",
    "run --data a.npz --transform t.json": "--transform goes with --guide",
    "run --data a.npz --controls guide-shuffled": "wrong guides replace a true one; give it with --guide",
    "run --data a.npz --protocol area-x2@1 --factor 2": "a protocol has its own factor; leave --factor out",
    "run --data a.npz --methods bicubic --sections a,c": "nothing is called 'c'; there are a",
    "run --data a.npz --methods bicubic --datasets z": "nothing to run",
    "run --methods bicubic --weights none.pth": "does not exist",
    "run --methods bicubic --weights my.pth": "no method of this run needs a file of that name",
    "run --methods bicubic --controls guide-shuffled": "no cell of this run uses a guide",
    "run --json --events": "leave --events out",
    "run --publish --shard 1/2": "a part of a run writes no leaderboard",
    "run --machine m.toml": "--machine goes with --executor slurm",
    "plan --timeout 10m": "--timeout goes with --sbatch",
    "plan --out scripts": "--out goes with --sbatch",
    "plan --sbatch --json": "leave --json out",
    "advise a.npz --level 1": "--level goes with --guide",
    "advise a.npz --ppm 20": "--ppm goes with --mz or --peaks",
    "upscale bicubic a.npz -o f.npz --transform t.json": "--transform goes with --guide",
    "upscale bicubic a.npz -o f.npz --guide h.png": "bicubic looks at ion images alone",
    "upscale bicubic a.npz -o f.npz --ppm 20": "--ppm goes with --mz or --peaks",
    "convert a.npz --check --clip 0.9": "it writes nothing; leave --clip out",
    "convert a.npz --check --verify": "--verify says how imzML is read, and this is npz",
    "convert a.npz b.h5 --z 1": "--z says how imzML is read, and this is npz",
    "convert a.npz b.h5 --mode processed": "--mode says how imzML is written, and this is hdf5",
    "convert a.npz b.h5 --clip 0.9": "--clip is for PNG, and this is hdf5",
    "fetch phantom -o here": "-o is for data sets of METASPACE",
    "fetch lbae-mouse-brain --section none": "has no section 'none'",
    "fetch 2016-09-22_11h16m17s --section a": "--section is for data sets with a card",
    "figure table -o t.md --mz 400": "--mz says something of images, not of table",
    "figure box -o t.png --reference bicubic": "--reference says something of paired, not of box",
    "figure images -o t.png --metric psnr": "--metric says something of box and violin and pareto and paired",
    "finetune mosr --out o --jobs 2": "--jobs goes with --grid or --evaluate-only",
    "finetune mosr --out o --evaluate-only --iterations 5": "leave --iterations out",
    "finetune mosr --out o --evaluate-only --no-augment": "leave --augment out",
    "finetune mosr --out o --evaluate-only --sections a": "leave --sections out",
    "finetune mosr --out o --from-scratch --weights my.pth": "leave --weights out",
    "import my.pth --allow-local": "--allow-local is for the folder of a board",
    "leaderboard --scheme skill": "--scheme goes with --pair",
    "leaderboard --pair a b -o out": "leave --output out",
    "leaderboard bladder-x4 --index leaderboards": "leave TRACK out",
    "register h.png a.npz -o t.json --landmark-pixel-size 2 2": "goes with --landmarks or --held-out",
    "register h.png a.npz -o t.json --landmark-pixel-size 0 2": "not in the range",
    "site out --docs mkdocs.yml --no-docs": "leave --docs out",
    "verify --fresh-salt": "--fresh-salt goes with --rerun: the methods of K cells are judged",
    "verify --seed 3": "--seed goes with --rerun",
    "verify --method m.py:M": "--method goes with --rerun",
    "compare a b --rounds 3": "--rounds goes with --speed",
    "compare a b --speed --track t": "leave --track out",
    "run --data a.npz --mz 400 --ppm 1e5": "ppm must be at least 0 and below 100,000",
    "run --data a.npz --mz 400 --ppm nan": "ppm must be at least 0",
    "run --data a.npz --mz 400 --ppm -1": "ppm must be at least 0",
    "upscale bicubic a.npz -o f.npz --pixel-size 1e6": "between 0.001 and 100,000 µm, got 1e+06 µm",
    "advise a.npz --pixel-size 0.00001": "got 1e-05 µm",
    "convert a.npz b.h5 --pixel-size -3": "got -3 µm",
}  # fmt: skip


def test_an_option_that_would_be_ignored_is_refused_and_what_it_goes_with_is_named(said):
    for words, message in REFUSED.items():
        status, err = said(words)
        told = " ".join(err.split())
        assert status == 2, (words, told)
        assert message in told, (words, told)
    assert not list(Path().glob("results/*"))


def test_an_unlikely_window_or_pixel_is_doubted_and_taken(said):
    status, err = said("convert a.npz b.h5 --mz 400 --ppm 5000 --pixel-size 0.01")
    assert status == 0, err
    assert "warning: --ppm: 5000 ppm is a window of m/z 800 ± 4; instruments need" in err
    assert "warning: --pixel-size: pixels of 0.01 µm are unusual (0.02 to 2000 µm)" in err
    status, err = said("convert a.npz c.h5 --mz 400 --ppm 0.02")
    assert (status, err.count("warning")) == (0, 1)
    status, err = said("convert a.npz d.h5 --mz 400 --ppm 20 --pixel-size 5")
    assert (status, err) == (0, "")


def test_the_same_holds_from_python_and_for_what_files_state(tmp_path):
    np.savez(tmp_path / "a.npz", cube=np.ones((1, 3, 4)), mz=np.array([400.0]))
    with pytest.warns(DataWarning, match="5000 ppm"):
        mb.read(tmp_path / "a.npz", mz=[400.0], ppm=5000)
    with pytest.raises(ConfigurationError, match="below 100,000"):
        mb.read(tmp_path / "a.npz", mz=[400.0], ppm=2e5)
    np.savez(tmp_path / "b.npz", cube=np.ones((1, 3, 4)), pixel_size_um=0.01)
    with pytest.warns(DataWarning, match=r"b\.npz: pixels of 0\.01 µm are unusual"):
        mb.read(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", cube=np.ones((1, 3, 4)), pixel_size_um=1e-5)
    with pytest.raises(DataError, match="which no pixel has"):
        mb.read(tmp_path / "c.npz")
    assert mb.read(tmp_path / "c.npz", pixel_size_um=20).pixel_size_um == 20


@pytest.mark.parametrize("ppm", [0.1, 5.0, 1000.0])
def test_windows_that_instruments_need_are_not_doubted(ppm):
    assert check_ppm(ppm) == ""
    assert check_ppm(np.nextafter(ppm, 5)) == ""


def test_windows_beyond_what_instruments_need_are_doubted():
    assert all(check_ppm(ppm) for ppm in (0.0, 0.099, 1000.1, 99_999.0))


def test_every_option_that_a_rule_names_is_one_of_the_command():
    named = set()
    for name in HELP:
        command = Commands().get_command(None, name)
        function, options = command.callback, {name_of(p) for p in command.params}
        rules = [
            cell.cell_contents
            for cell in getattr(function, "__closure__", None) or ()
            if isinstance(cell.cell_contents, tuple)
        ]
        for rule in (rule for found in rules for rule in found):
            named.add((name, rule.option))
            assert {rule.option, *rule.others} <= options, (name, rule)
    assert len(named) > 20
