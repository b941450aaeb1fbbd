"""On a real SLURM of the test's own: the same store as from one machine, whatever happens to a job."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from msibench.results.queue import queue_folder, tickets
from msibench.results.schema import Status
from msibench.results.store import METRICS, PREDICTION, Store
from msibench.runner.executors.slurm.machine import Machine, MethodRule
from msibench.runner.options import RunOptions
from msibench.runner.plan import make_plan
from msibench.runner.supervisor import Supervisor
from msibench.tracks import Entry, Limits, ProblemSet, Track

pytest.importorskip("submitit", reason="submitit is not installed")

HERE = Path(__file__).parent
METHODS = HERE / "slurm_methods.py"


def beside(name):
    """Import a file of this folder (tests are no package)."""
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


slurm_site = beside("slurm_site")
WITHOUT = slurm_site.missing()
pytestmark = pytest.mark.skipif(bool(WITHOUT), reason=f"no SLURM here: {WITHOUT}")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    made = slurm_site.Site(tmp_path_factory.mktemp("slurm"))
    try:
        made.start()
        before = {name: os.environ.get(name) for name in made.environment}
        os.environ.update(made.environment)
        yield made
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    finally:
        made.stop()


@pytest.fixture(autouse=True)
def clean_queue(request):
    yield
    if not WITHOUT and "site" in request.fixturenames:
        site = request.getfixturevalue("site")
        site.run("scancel", "--user=root")
        site.wait_for(lambda: site.idle() == 2, "idle nodes")


def machine(**facts):
    rules = facts.pop("methods", (MethodRule(match="*", memory_gb=1.0),))
    quick = {"poll_s": 0.3, "outcome_wait_s": 3.0, "array_parallelism": 8, "overhead_gb": 0.25}
    return Machine(**{**quick, **facts}, methods=rules)


class Lab:
    """A track of cheap cells, run here and on the cluster."""

    def __init__(self, folder, catalogue, card):
        self.folder, self.catalogue, self.card = folder, catalogue, card

    def plan(self, methods, seeds=(0,), sections=("synthetic-1",), **limits):
        track = Track(
            name="cluster",
            entries=tuple(methods),
            problems=(ProblemSet(dataset="small", protocols=("area-x4@1",), sections=sections),),
            metrics=("psnr", "rmse"),
            seeds=tuple(seeds),
            limits=Limits(**{"timeout_s": 60.0, "grace_s": 0.5, "memory_gb": 0.75, **limits}),
        )
        return make_plan(track, self.catalogue, cards={"small": self.card})

    def store(self, name):
        return Store.open(self.folder / name)

    def local(self, plan, name="local"):
        store = self.store(name)
        summary = Supervisor(store, self.catalogue, RunOptions(jobs=2, threads=1)).run(plan)
        assert summary.changed == []
        return store

    def cluster(self, plan, site_machine, name="cluster", events=None):
        options = RunOptions(
            executor="slurm", executor_options={"machine": site_machine}, threads=1
        )
        store = self.store(name)
        supervisor = Supervisor(store, self.catalogue, options, events)
        return store, supervisor, supervisor.run(plan)


@pytest.fixture
def lab(tmp_path, catalogue, small_card):
    return Lab(tmp_path, catalogue, small_card)


def method(name):
    return Entry(method=f"{METHODS}:{name}", label=name)


def comparable(store):
    """Return what must be equal of every cell: all but times, memory, and where it ran."""
    found = {}
    for record in store.records():
        facts = json.loads(record.to_json())
        for name in ("timings", "peaks", "provenance", "record_digest"):
            del facts[name]
        facts["files"].pop("log.txt", None)
        if record.status is not Status.OK:
            facts["reason"] = re.sub(r"[\d.]+", "#", record.reason)
        folder = store.cell_folder(record.key)
        bytes_of = {
            name: (folder / name).read_bytes()
            for name in (PREDICTION, METRICS)
            if (folder / name).exists()
        }
        found[record.key] = (facts, bytes_of)
    return found


def assert_same_store(one, other):
    mine, theirs = comparable(one), comparable(other)
    assert mine.keys() == theirs.keys()
    for key, (facts, files) in mine.items():
        assert facts == theirs[key][0]
        assert files == theirs[key][1]


def nothing_left(store):
    queue = store.root / "queue"
    return not list((queue / "cells").iterdir()) and not list(
        (store.root / "leases").glob("*.json")
    )


@pytest.mark.parametrize(
    "more", [{}, pytest.param({"EatsMemory": "oom", "Hangs": "timeout"}, marks=pytest.mark.slow)]
)
def test_the_store_is_that_of_a_local_run_whatever_the_cells_do(lab, site, more):
    plan = lab.plan(
        [
            Entry(method="bicubic"),
            method("Seeded"),
            method("Raises"),
            *map(method, more),
            method("Segfaults"),
        ],
        timeout_s=15.0,
    )
    rules = (
        MethodRule(match="*", memory_gb=0.75, minutes=5.0),
        MethodRule(match="bicubic", minutes=1.0),
        MethodRule(match="Seeded", minutes=1.0),
    )
    store, _, summary = lab.cluster(plan, machine(methods=rules, bundle_minutes=3))
    assert summary.counts == {"ok": 2, "failed": 1, "killed": 1, **dict.fromkeys(more.values(), 1)}
    assert_same_store(store, lab.local(plan))
    assert nothing_left(store)
    assert {record.provenance["executor"] for record in store.records()} == {"slurm"}
    assert {record.provenance["node"] for record in store.records()} <= {"n1", "n2"}


def start_run(lab, results, machine_file, *arguments):
    command = [
        sys.executable, "-m", "msibench.cli.main", "--traceback", "run", "quickstart",
        "--sections", "synthetic-1", "--metrics", "psnr",
        "--executor", "slurm", "--machine", str(machine_file), "--results", str(results), "--json",
        "--threads", "1", *arguments,
    ]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def machine_file(tmp_path):
    path = tmp_path / "machine.toml"
    path.write_text(
        "[slurm]\npoll_s = 0.3\noutcome_wait_s = 3\noverhead_gb = 0.25\n"
        '[[method]]\nmatch = "*"\nmemory_gb = 1.0\n'
    )
    return path


def alive(run, done):
    """Return `done`, made to fail at once when the run has ended."""

    def check():
        if run.poll() is not None:
            raise AssertionError(f"the run ended with {run.returncode}: {run.communicate()}")
        return done()

    return check


def jobs_of(store):
    return {ticket["key"]: ticket["task"] for ticket in tickets(store) if ticket["task"]}


def newest_job(site):
    return max((int(job.partition("_")[0]) for job in site.queue()), default=0)


@pytest.mark.slow  # the short version: test_executor.py, with a cluster that is a folder
def test_a_killed_supervisor_leaves_its_jobs_and_the_next_one_takes_them_over(
    lab, site, machine_file, tmp_path
):
    results = tmp_path / "results"
    slow = ["--method", f"{METHODS}:Slow", "--seed", "0", "--seed", "1"]
    slow += ["--methods", "slow,bicubic"]
    first = start_run(lab, results, machine_file, *slow)
    store = Store(results)
    site.wait_for(alive(first, lambda: len(jobs_of(store)) >= 2), "jobs in the queue")
    submitted = newest_job(site)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    again = start_run(lab, results, machine_file, *slow)
    out, err = again.communicate(timeout=120)
    assert json.loads(out)["statuses"] == {"ok": 4}, err
    assert newest_job(site) == submitted, "something was submitted twice"
    assert nothing_left(store)


@pytest.mark.slow
def test_a_stopped_run_cancels_its_jobs(lab, site, machine_file, tmp_path):
    results = tmp_path / "results"
    hangs = ["--method", f"{METHODS}:Hangs", "--methods", "hangs,bicubic"]
    run = start_run(lab, results, machine_file, *hangs)
    store = Store(results)
    site.wait_for(
        alive(run, lambda: len(list(store.keys())) == 1 and "RUNNING" in site.queue().values()),
        "one cell stored and one running",
    )
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert json.loads(out)["statuses"] == {"ok": 1, "cancelled": 1}, err
    assert run.returncode == 130
    site.wait_for(lambda: not {"RUNNING", "PENDING"} & set(site.queue().values()), "an empty queue")
    assert nothing_left(store)


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """Where `SlowOnce` leaves that it was begun."""
    monkeypatch.setenv("MSIBENCH_TEST_MARK", str(tmp_path / "mark"))
    return tmp_path / "mark"


def attempts(mark):
    """Return how often each `SlowOnce` was begun."""
    return [len(path.read_text().splitlines()) for path in mark.parent.glob(f"{mark.name}-*")]


@pytest.mark.slow
def test_a_preempted_job_is_run_again(lab, site, mark):
    """An urgent job takes both nodes while the cell runs; SLURM requeues it."""
    plan = lab.plan([method("SlowOnce"), Entry(method="nearest")])

    def preempt():
        site.wait_for(lambda: list(mark.parent.glob("mark-*")), "the first attempt")
        site.run(
            "sbatch", "-p", "urgent", "-N2", "--exclusive", "--output=/dev/null", "--wrap", "true"
        )

    thread = threading.Thread(target=preempt)
    thread.start()
    store, _, summary = lab.cluster(plan, machine())
    thread.join()
    assert summary.counts == {"ok": 2}
    assert attempts(mark) == [2]
    assert_same_store(store, lab.local(plan))


@pytest.mark.slow
def test_scripts_for_sbatch_give_the_same_store(lab, site, tmp_path):
    """Run for real, from a results folder whose name would harm a careless shell."""
    results = tmp_path / "re'sul $(touch harm) ts"
    scripts = tmp_path / "scr'ipts here"
    (tmp_path / "machine.toml").write_text(
        "[slurm]\nbundle_minutes = 40\noverhead_gb = 0.25\n"
        '[[method]]\nmatch = "*"\nmemory_gb = 1.0\nminutes = 10.0\n'
    )
    seeded = f"{METHODS}:Seeded"
    chosen = [
        "quickstart", "--methods", "seeded,bicubic", "--method", seeded, "--sections", "synthetic-1",
        "--metrics", "psnr", "--seed", "0", "--seed", "1",
    ]  # fmt: skip
    msibench = [sys.executable, "-m", "msibench.cli.main"]
    subprocess.run(
        [*msibench, "plan", *chosen, "--sbatch", "--machine", str(tmp_path / "machine.toml"),
         "--out", str(scripts), "--results", str(results)], check=True,
    )  # fmt: skip
    assert site.run(str(scripts / "submit.sh"), check=True).count("job") >= 2
    ended = {"COMPLETED", "FAILED", "CANCELLED"}
    site.wait_for(lambda: set(site.queue().values()) <= ended, "the scripts' jobs", 120)
    store = Store.open(results, create=False)
    other = tmp_path / "local"
    subprocess.run(
        [*msibench, "run", *chosen, "--results", str(other), "--threads", "1", "--memory", "1",
         "--json"], check=True, capture_output=True,
    )  # fmt: skip
    assert_same_store(store, Store.open(other))
    assert (results / "leaderboards" / "quickstart" / "README.md").exists()
    assert not list(tmp_path.rglob("harm"))


@pytest.mark.slow
def test_sixty_cells_through_every_trouble_at_once(lab, site, mark):
    """A node dies, jobs are preempted, cells run out of memory and time; nothing is lost."""
    plan = lab.plan(
        [
            method("Seeded"),
            method("SlowOnce"),
            Entry(method="bicubic"),
            method("EatsMemory"),
            method("Hangs"),
        ],
        seeds=range(6),
        sections=("synthetic-1", "synthetic-2"),
        timeout_s=30.0,
    )
    assert len(plan.cells) == 60
    trouble = threading.Thread(target=make_trouble, args=(site, mark))
    trouble.start()
    notes = []
    store, _, summary = lab.cluster(plan, machine(retries=6), events=notes.append)
    trouble.join()
    assert summary.counts == {"ok": 36, "oom": 12, "timeout": 12}
    again = [record.provenance["slurm_restarts"] for record in store.records()]
    assert sum(number > 0 for number in again) >= 2
    assert_same_store(store, lab.local(plan))
    assert nothing_left(store)


def make_trouble(site, mark):
    site.wait_for(lambda: len(list(mark.parent.glob("mark-*"))) >= 1, "a first attempt", 300)
    site.kill_node("n2")
    site.wait_for(lambda: "down" in site.run("sinfo", "-h", "-N", "-p", "work"), "a lost node", 90)
    time.sleep(5)
    site.start_node("n2")
    site.wait_for(lambda: "down" not in site.run("sinfo", "-h", "-N", "-p", "work"), "it back", 60)
    time.sleep(5)
    site.run(
        "sbatch", "-p", "urgent", "-N2", "--exclusive", "--output=/dev/null", "--wrap", "sleep 2"
    )
    time.sleep(20)
    running = [job for job, state in site.queue().items() if state == "RUNNING"]
    for job in running[:2]:
        site.run("scontrol", "requeue", job)


@pytest.mark.slow
def test_slurms_own_time_limit_is_a_timeout(lab, site):
    """The method declares a minute; the cell is given its whole limit once, and ends at that."""
    plan = lab.plan([method("Hangs")], timeout_s=150.0)
    rules = (MethodRule(match="*", memory_gb=1.0, minutes=0.5),)
    store, _, summary = lab.cluster(plan, machine(methods=rules, signal_s=10))
    assert summary.counts == {"timeout": 1}
    (record,) = store.records()
    assert "longer than 150 s" in record.reason
    assert not queue_folder(store, record.key).exists()
