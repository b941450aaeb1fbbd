"""``machine.toml``: what a site says, and what a cell then asks for."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msibench.contracts.method import Resources
from msibench.errors import ConfigurationError
from msibench.runner.child.job import Job
from msibench.runner.executors.slurm.machine import Machine, load_machine, machine_from_table

DOCS = Path(__file__).parents[4] / "docs" / "slurm.md"


def job(**facts):
    base = {"key": "k", "folder": Path(), "timeout_s": 1800.0, "method": "swinir-light"}
    needs = {"cpus": 2, "memory_gb": 6.0, "vram_gb": 5.5, "minutes": 30.0}
    return Job(**{**base, "resources": Resources(**needs), **facts})


def read(text):
    return machine_from_table(tomllib.loads(text))


def test_a_method_asks_for_what_it_declares():
    asked = Machine(overhead_gb=0.5).request(job())
    assert (asked.cpus, asked.memory_mb, asked.cell_memory_bytes) == (2, 6656, 6 << 30)
    assert asked.gres == ""  # on the CPU
    assert asked.seconds == 1800
    assert asked.time_minutes(1, 30) == 32


def test_the_last_table_that_fits_a_method_wins_and_the_command_line_stands_above():
    machine = read(
        '[slurm]\npartition = "cpu"\naccount = "lab"\n'
        '[[method]]\nmatch = "swinir*"\nmemory_gb = 10\ncpus = 4\npartition = "fat"\n'
        '[[method]]\nmatch = "*-light"\nmemory_gb = 12\nminutes = 5\n'
        '[[method]]\nmatch = "mosr"\nmemory_gb = 99\n'
    )
    asked = machine.request(job())
    assert (asked.cpus, asked.cell_memory_bytes >> 30, asked.seconds) == (4, 12, 300)
    assert dict(asked.where) == {"partition": "fat", "account": "lab"}
    told = machine.request(job(memory_bytes=3 << 30, threads=1))
    assert (told.cpus, told.cell_memory_bytes >> 30) == (1, 3)


def test_less_time_than_the_limit_is_marked_and_the_whole_limit_can_be_had():
    brief = Machine().request(job(timeout_s=7200.0))
    assert (brief.seconds, brief.shortened) == (1800, True)
    whole = Machine().request(job(timeout_s=7200.0), whole_time=True)
    assert (whole.seconds, whole.shortened) == (7205, False)


@pytest.mark.parametrize(
    ("gres", "vram", "expected"),
    [
        ("gpu:{gpus}", 5.0, "gpu:1"),
        ("gpu:a100:{gpus}", 5.0, "gpu:a100:1"),
        ("shard:{vram_gb}", 5.0, "shard:6"),
        ("gpu:{gpus}", 0.0, ""),
    ],
)
def test_a_cell_on_a_gpu_asks_for_it_as_the_site_writes_it(gres, vram, expected):
    assert read(f'[slurm]\ngres = "{gres}"').request(job(vram_gb=vram)).gres == expected


def test_cells_are_bundled_up_to_the_minutes_and_the_number():
    machine = read("[slurm]\nbundle_minutes = 65\nbundle_cells = 3")
    assert machine.bundle(machine.request(job())) == 2
    short = job(resources=Resources(minutes=1))
    assert machine.bundle(machine.request(short)) == 3
    assert Machine().bundle(machine.request(short)) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[slurm]\npartion = "gpu"', "Did you mean 'partition'"),
        ('[[method]]\nmatch = "*"\nmemory = 3', "Did you mean 'memory_gb'"),
        ('[[methods]]\nmatch = "*"', "Did you mean 'method'"),
        ("[[method]]\ncpus = 3", "match is missing"),
        ("[method]\ncpus = 3", "double brackets"),
        ('[[method]]\nmatch = "*"\ncpus = 0', "a whole number, 1 or more; got 0"),
        ('[[method]]\nmatch = "*"\ncpus = true', "got True"),
        ('[[method]]\nmatch = "*"\nminutes = nan', "a number"),
        ('[[method]]\nmatch = "*"\nmemory_gb = -1', "0.01 or more"),
        ("[slurm]\npoll_s = 0", "poll_s"),
        ("[slurm]\narray_parallelism = 2.5", "a whole number"),
        ('[slurm]\nsetup = "module load x"', "a list of shell lines"),
        ('[slurm]\npartition = "a\\nb"', "one line of text"),
        ("[slurm]\nqos = 3", "one line of text"),
        ('[slurm]\ngres = "gpu:{kind}"', "gpu:a100"),
        ('[slurm]\ngres = "gpu:{"', "gres"),
        ('[slurm.extra]\ntime = "1:00"', "msibench sets --time itself"),
        ('[slurm.extra]\n"nice 3\\n#" = 1', "extra names options of sbatch"),
        ("[slurm.extra]\nnice = 1.5", "extra names options of sbatch"),
        ("schema_version = 2", "this msibench reads 1"),
        ("slurm = 3", "expected a table"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_was_expected(text, said):
    with pytest.raises(ConfigurationError) as refused:
        read(text)
    assert said in str(refused.value)


def test_a_file_that_is_none_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_machine(tmp_path / "gone.toml")
    (tmp_path / "bad.toml").write_text("[slurm")
    with pytest.raises(ConfigurationError, match="is not TOML"):
        load_machine(tmp_path / "bad.toml")
    (tmp_path / "bad.toml").write_bytes(b"\x81\x8d\x00")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_machine(tmp_path / "bad.toml")


def test_the_example_in_the_documentation_is_read():
    text = DOCS.read_text(encoding="utf-8")
    example = text.partition("```toml\n")[2].partition("```")[0]
    machine = machine_from_table(tomllib.loads(example))
    assert machine.methods
    assert machine.where["partition"]


@given(
    memory=st.floats(0.1, 500), minutes=st.floats(0.01, 5000), limit=st.floats(1, 1e6),
    cells=st.integers(1, 50),
)  # fmt: skip
def test_slurm_is_always_asked_for_more_than_the_cells_may_use(memory, minutes, limit, cells):
    needs = Resources(memory_gb=memory, minutes=minutes)
    asked = Machine().request(job(resources=needs, timeout_s=limit))
    assert asked.memory_mb * 2**20 >= asked.cell_memory_bytes
    assert asked.seconds <= limit + 5
    assert asked.time_minutes(cells, 30) * 60 >= asked.seconds * cells + 90
