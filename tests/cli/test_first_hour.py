"""A newcomer's first hour: the README from top to bottom, own sections in every format, common mistakes.

Commands are run as they stand in the README, in one folder, each in a process of its own (mistakes in this one);
only their budget is cut (fewer methods; among the everyday tests the second and later runs are planned alone). The processes are forks of one that has the command line imported, but for the first
command, which a shell starts. What takes a network or minutes is not run: `SKIPPED` says why.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msibench.cli.main import main
from msibench.image import MSImage
from msibench.io import write_image
from tests.cli.conftest import CommandServer
from tests.io.imzml.imzml_files import write_odd_imzml

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MZ = np.array([741.53, 798.54])
SKIPPED = {
    "pip install": "needs the network",
    "--executor slurm": "needs SLURM; tests/runner/executors does",
    "--sbatch": "needs a machine.toml; tests/cli/test_plan.py does",
}
QUICK = ("--methods", "bicubic,nearest", "--metrics", "skill,psnr")
LINE = re.compile(r"^ *(msibench [^#\n]*)", re.MULTILINE)


def printed(text):
    """Return the commands in the blocks of a page."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [found.strip() for block in blocks for found in LINE.findall(block)]


def tissue(shape=(48, 40), seed=0):
    """Two ion images: a gland that is bright in one, its surroundings in the other."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    gland = np.exp(-(((y - 20) / 9) ** 2 + ((x - 17) / 7) ** 2)) + 0.3 * (np.sin(x / 3) > 0.4)
    means = np.stack([4 + 60 * gland, 30 - 25 * gland.clip(0, 1)])
    values = np.random.default_rng(seed).poisson(means).astype(np.float32)
    return MSImage(values, MZ, pixel_size_um=20.0)


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with what the README's commands name."""
    folder = tmp_path_factory.mktemp("desk")
    names = ("section", "mouse1", "mouse2", "mouse3", "m1_left", "m1_right", "m2")
    for number, name in enumerate(names):
        write_image(folder / f"{name}.imzML", tissue(seed=number))
    stain = tissue(seed=9).values.mean(axis=0)
    rgb = np.stack([255 - 2 * stain, 200 - stain, 220 - stain], axis=-1).clip(0, 255)
    Image.fromarray(rgb.astype(np.uint8)).save(folder / "HE.png")
    Image.open(folder / "HE.png").resize((120, 144)).save(folder / "HE.png")
    return folder


@pytest.fixture(scope="module")
def shell(desk):
    """Return a function that runs one command line in the folder: (exit code, output, errors)."""
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONWARNINGS": "default",
        "MSIBENCH_CACHE": str(desk / "cache"),
    }
    environment.pop("MSIBENCH_MIRROR", None)

    started = subprocess.run(
        ["msibench", "list", "tracks"], env=environment, capture_output=True, check=False
    )
    assert (started.returncode, started.stderr) == (0, b"")
    server = CommandServer({**environment, "PWD": str(desk)})
    assert server.read(desk / "section.imzML") == 2
    files = {"out": str(desk / "out.txt"), "err": str(desk / "err.txt")}

    def run(line, code=0):
        program, *words = shlex.split(line)
        assert program == "msibench"
        for path in files.values():
            Path(path).unlink(missing_ok=True)
        ended = server.wait(server.start(words, desk, **files))
        out, err = (Path(path).read_text(encoding="utf-8") for path in files.values())
        assert ended == code, f"{line}\n{out}\n{err}"
        assert "Traceback" not in err
        assert "internal error" not in err
        return out, err

    yield run
    server.close()


def cheaper(command):
    """Return a command of the README with a smaller budget."""
    return f"{command} {shlex.join(QUICK)}" if command.startswith("msibench run") else command


def cheapest(command, ran):
    """Return it with the least: one run is carried out, the others are planned; one method is tried."""
    if command.startswith("msibench run") and any(one.startswith("msibench run") for one in ran):
        return cheaper(command).replace("msibench run", "msibench plan", 1)
    if command.startswith("msibench advise"):
        return f"{command} --methods bicubic"
    return cheaper(command).replace("upscale mosr-msi-tiny", "upscale bicubic")


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_readme_from_top_to_bottom(shell, desk, whole):
    """Every command of the README that needs neither a network nor SLURM ends well where it stands."""
    for made in ("fine.ome.tif", "fine.png", "HE.json", "sharpen"):
        shutil.rmtree(desk / made) if (desk / made).is_dir() else (desk / made).unlink(
            missing_ok=True
        )
    shell("msibench register HE.png section.imzML --mz 798.54 -o HE.json --accept-registration")
    ran = []
    for command in printed(README):
        if any(mark in command for mark in SKIPPED):
            continue
        for part in command.split(" && "):
            if part.startswith("msibench"):
                shell(cheaper(part) if whole else cheapest(part, ran))
                ran.append(part)
    assert len([part for part in ran if part.startswith("msibench run --data")]) >= 3
    assert any(part.startswith("msibench upscale") for part in ran)
    assert (desk / "fine.ome.tif").is_file()
    assert (desk / "fine.png").is_file()


@pytest.mark.slow  # the short version: tests/cli/test_own_boards.py, in this process
def test_what_a_board_prints_works_where_it_was_printed(shell, desk):
    out, _ = shell(
        f"msibench run --data section.imzML --peaks 2 --factor 2 {shlex.join(QUICK)} --name mine"
    )
    assert "bicubic" in out
    commands = [line for line in printed(out) if "…" not in line]
    assert commands
    for command in commands:
        shell(cheaper(command))
    for command in ("status", "report", "leaderboard"):
        shell(f"msibench {command} mine")


@pytest.mark.parametrize(
    "suffix",
    [
        ".png",
        *(
            pytest.param(s, marks=pytest.mark.slow)
            for s in (".imzML", ".h5", ".npz", ".tif", ".ome.tif")
        ),
    ],
)
def test_a_section_in_every_format(shell, desk, suffix):
    name = f"as{suffix}"
    if suffix == ".png":
        grey = (tissue().values[0] * 3).clip(0, 255).astype(np.uint8)
        Image.fromarray(grey).save(desk / name)
        mz = ""
    elif suffix == ".tif":
        import tifffile

        tifffile.imwrite(desk / name, tissue().values)
        mz = ""
    else:
        write_image(desk / name, tissue())
        mz = "--mz '741.53 798.54'"
    out, err = shell(
        f"msibench run --data {name} {mz} --factor 2 {shlex.join(QUICK)} --name as{suffix.strip('.')}"
    )
    assert "bicubic" in out
    assert ("--pixel-size" in err) == (suffix in {".png", ".tif"})
    out, err = shell(f"msibench upscale bicubic {name} {mz} --factor 2 -o fine.npz")
    assert "is not reproduced" in out
    assert "WARNING" not in err
    shell(f"msibench convert {name} again.h5 {mz}")


MISTAKES = {
    "no such file": ("run --data gone.imzML --mz 798.54", "gone.imzML"),
    "a folder without sections": ("run --data cache --mz 798.54", "no section"),
    "no m/z for imzML": ("run --data own-axes.imzML", "--peaks"),
    "a decimal comma": ("run --data section.imzML --mz 798,54", "write --mz 798.54"),
    "an m/z that is not there": ("run --data section.imzML --mz 798.45", "the nearest peak"),
    "too narrow a window": ("upscale bicubic section.imzML --mz 798.541 --ppm 0.1 -o a.npz", "the nearest peak"),
    "an m/z that a stack lacks": ("run --data as.npz --mz 500", "the nearest is m/z"),
    "a misspelt method": ("run --methods bicubc", "Did you mean 'bicubic'"),
    "a misspelt track": ("run quickstat", "Did you mean 'quickstart'"),
    "a misspelt command": ("leaderbord quickstart", "Did you mean 'leaderboard'"),
    "a factor that a network does not do": (
        "upscale swinir-msi-tiny section.imzML --mz 798.54 --factor 3 -o a.npz", "Ready here for --factor 3"),
    "a format that is not written": ("upscale bicubic section.imzML --mz 798.54 -o a.xyz", ".ome.tif"),
    "the guide as the section": ("run --data HE.png", "--guide"),
    "the section as the method": ("upscale section.imzML bicubic --mz 798.54 -o a.npz", "METHOD SECTION"),
    "a file without its class": ("check scratch.py", "scratch.py:Class"),
    "the section as the guide": ("register section.imzML HE.png -o a.json", "`msibench register` it comes first"),
    "a guide without a section": ("run --guide HE.png", "--data"),
    "a guide of another field of view": (
        "run --data section.imzML --mz 798.54 --guide wide.png --methods ridge", "msibench register"),
    "both ways to choose ions": ("run --data section.imzML --mz 798.54 --peaks 3", "give one"),
    "an amount without a meaning": ("run --memory plenty", "2GB"),
    "a time without a meaning": ("run --timeout soon", "10m"),
    "an option that a method has not": ("run --set bicubic.colour=red", "colour"),
    "results that are not there": ("leaderboard quickstart --results nowhere", "nowhere"),
    "too few pixels": ("run --data small.npz --factor 8", "take a larger section"),
    "half a file": ("run --data half.npz", "half.npz"),
    "a table as a section": ("run --data peaks.csv", "unknown format"),
}  # fmt: skip


@pytest.fixture(scope="module")
def mistaken(desk):
    """Files that the mistakes name."""
    write_image(desk / "as.npz", tissue())
    np.savez(desk / "small.npz", cube=np.ones((1, 8, 8), np.float32), mz=[400.0])
    (desk / "half.npz").write_bytes((desk / "as.npz").read_bytes()[:900])
    (desk / "peaks.csv").write_text("mz\n741.53\n798.54\n")
    Image.new("RGB", (200, 60), "pink").save(desk / "wide.png")
    (desk / "cache").mkdir(exist_ok=True)
    (desk / "scratch.py").write_text("class Mine:\n    pass\n")
    write_odd_imzml(desk / "own-axes.imzML")


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_told_what_to_do(desk, mistaken, monkeypatch, capsys, what):
    monkeypatch.chdir(desk)
    monkeypatch.setenv("MSIBENCH_CACHE", str(desk / "cache"))
    monkeypatch.delenv("MSIBENCH_MIRROR", raising=False)
    arguments, remedy = MISTAKES[what]
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(arguments))
    out, err = capsys.readouterr()
    assert ended.value.code == 2, out + err
    assert remedy in err
    assert "Traceback" not in err
    assert "internal error" not in err
    assert not out.startswith("|")


def test_a_peak_list_from_elsewhere(shell, mistaken):
    out, _ = shell(
        f"msibench plan --data section.imzML --mz peaks.csv --factor 2 {shlex.join(QUICK)} --name listed"
    )
    assert "bicubic" in out


@pytest.mark.slow  # the short version: tests/runner/test_run.py
def test_the_same_command_again_runs_nothing(shell):
    command = cheaper("msibench run")
    first, _ = shell(command)
    again, err = shell(command)
    assert "0 run now, 2 stored already" in err
    assert again == first
