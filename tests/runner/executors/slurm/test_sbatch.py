"""Scripts for sbatch: what stands in them, and that no name gets out of its quotes."""

import shlex
import subprocess
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msibench.errors import ConfigurationError
from msibench.runner.executors.slurm.machine import Machine, MethodRule
from msibench.runner.executors.slurm.sbatch import directive, scripts
from msibench.runner.jobs import Asked, one_of, with_keys
from msibench.tracks import Limits

HOSTILE = [
    "$(touch harm)",
    "`touch harm`",
    "a b",
    "it's",
    'say "x"',
    "; touch harm #",
    "../..",
    "*",
    "ß·",
]


@pytest.fixture(scope="module")
def cells(catalogue, small_card):
    from msibench.runner.plan import make_plan
    from msibench.tracks import Entry, ProblemSet, Track

    track = Track(
        name="t",
        entries=tuple(Entry(method=name) for name in ("bicubic", "nearest", "lanczos3")),
        problems=(ProblemSet(dataset="small", protocols=("area-x4@1",)),),
        seeds=(0, 1),
    )
    return make_plan(track, catalogue, cards={"small": small_card}).cells


def made(cells, machine=None, **facts):
    told = {
        "command": ["run", "t", "--results", "/r"],
        "finish": [["leaderboard", "t"], ["report", "t"]],
        "track": "t",
        "limits": Limits(),
        "asked": Asked(),
        "machine": machine or Machine(),
        "python": "python3",
        **facts,
    }
    return {script.name: script.text for script in scripts(cells, **told)}


def accepted(text):
    """Let a shell read a script without running it."""
    done = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
    return done.returncode == 0


def tasks_of(text):
    lines = text.partition("tasks=(\n")[2].partition("\n)")[0].splitlines()
    return [line.partition("#")[0].strip().split(",") for line in lines]


def test_every_cell_is_in_exactly_one_task(cells):
    rule = MethodRule(match="lanczos3", minutes=5.0, cpus=2)
    machine = Machine(array_size=3, bundle_minutes=60, methods=(rule,))
    found = made(cells, machine)
    keys = [key for text in found.values() for task in tasks_of(text) for key in task if key]
    assert sorted(keys) == sorted(cell.key[: len(keys[0])] for cell in cells)
    assert [len(task) for task in tasks_of(found["cells-001.sbatch"])] == [2, 2, 2]
    kinds = [text for name, text in found.items() if name.startswith("cells-")]
    assert sum("--cpus-per-task=2" in text for text in kinds) == 1


def test_the_scripts_ask_for_what_the_machine_says(cells):
    machine = Machine(
        where={"partition": "long q", "qos": "x"},
        extra={"nice": 5, "exclusive": True, "hold": False},
        setup=("module load cuda", "export A=1"),
        array_parallelism=2,
    )
    text = made(cells[:4], machine, asked=Asked(memory_gb=3.0, threads=2, timeout_s=90.0))[
        "cells-001.sbatch"
    ]
    for line in (
        "#SBATCH --partition='long q'", "#SBATCH --qos=x", "#SBATCH --nice=5", "#SBATCH --exclusive",
        "#SBATCH --array=0-3%2", "#SBATCH --mem=3584M", "#SBATCH --cpus-per-task=2",
        "#SBATCH --requeue", "module load cuda",
    ):  # fmt: skip
        assert line in text.splitlines()
    assert "#SBATCH --hold" not in text
    assert "--threads 2 --memory 3 --timeout 90" in text


def test_all_scripts_are_accepted_by_a_shell(cells):
    assert all(accepted(text) for text in made(cells).values())


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_gets_out_of_its_quotes(cells, name, tmp_path):
    """Run with an echo for Python: the words arrive as they are, and nothing else happens."""
    hostile = [
        replace(cell, competitor=replace(cell.competitor, label=f"m {name}")) for cell in cells[:2]
    ]
    command = ["run", name, "--results", f"/r/{name}"]
    machine = Machine(where={"partition": name, "account": name})
    found = made(hostile, machine, command=command, track=name, python="printf '%s\\n'")
    text = found["cells-001.sbatch"]
    assert accepted(text)
    run = subprocess.run(
        ["bash", "-c", text.replace("exec printf", "printf")], cwd=tmp_path, text=True,
        capture_output=True, check=True, env={"SLURM_ARRAY_TASK_ID": "1", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    words = run.stdout.splitlines()
    assert words[2:6] == command
    assert words[-2:] == ["--cells", hostile[1].key[:20]]
    assert not list(tmp_path.rglob("harm"))
    for line in text.splitlines():
        if line.startswith("#SBATCH"):
            assert len(shlex.split(line)) in {2}


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1))
def test_a_directive_is_one_option_whatever_its_value(value):
    assert shlex.split(directive("account", value)) == ["#SBATCH", f"--account={value}"]


def test_parts_share_out_the_cells_between_them(cells):
    for parts in (1, 2, 5, 12, 20):
        found = [cell for part in range(parts) for cell in one_of(cells, f"{part + 1}/{parts}")]
        assert found == list(cells)


@pytest.mark.parametrize("shard", ["0/2", "3/2", "2", "a/b", "1/0", "-1/2", "1/2/3", ""])
def test_a_part_that_does_not_exist_is_refused(cells, shard):
    with pytest.raises(ConfigurationError, match="--shard"):
        one_of(cells, shard)


def test_cells_are_named_by_how_their_keys_begin(cells):
    key = cells[3].key
    assert with_keys(cells, [key[:20], cells[0].key]) == [cells[3], cells[0]]
    with pytest.raises(ConfigurationError, match="plan again"):
        with_keys(cells, ["f" * 20])
    with pytest.raises(ConfigurationError, match="12 cells"):
        with_keys(cells, [""])
