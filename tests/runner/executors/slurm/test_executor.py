"""What the SLURM executor decides, with a queue and an sbatch of the test's own."""

import json
import shutil
import signal
import subprocess
import threading
from dataclasses import replace
from itertools import count

import pytest

from msibench.contracts.method import Resources
from msibench.errors import ConfigurationError
from msibench.results.queue import (
    TICKET,
    batch_folder,
    queue_folder,
    read_ticket,
    sweep_queue,
    tickets,
)
from msibench.results.schema import Status
from msibench.results.store import Store
from msibench.runner.child.job import Job, Outcome
from msibench.runner.executors.slurm import executor as slurm
from msibench.runner.executors.slurm import task as slurm_task
from msibench.runner.executors.slurm.executor import SlurmExecutor
from msibench.runner.executors.slurm.machine import Machine, MethodRule
from msibench.runner.executors.slurm.queue import Seen, SlurmQueue, parse_squeue
from msibench.runner.executors.slurm.submit import SubmissionError, job_name, parameters
from msibench.runner.executors.slurm.task import (
    OUT_OF_TIME,
    OUTCOME,
    ArrayTask,
    publish,
    read_outcome,
    take_over,
)


class FakeQueue:
    """States of jobs, as the test sets them."""

    def __init__(self):
        self.states, self.names, self.cancelled = {}, {}, []
        self.answers = True

    def look(self, jobs):
        return (
            {job: self.states[job] for job in jobs if job in self.states} if self.answers else None
        )

    def named(self, name):
        return {job: self.states[job] for job in self.names.get(name, ())}

    def remembered(self, jobs):
        return {}

    def cancel(self, jobs):
        self.cancelled += sorted(jobs)


class Cluster:
    """A cluster that does at once what `on_task` does with each cell of a task."""

    def __init__(self, store, on_task=None, machine=None):
        self.store, self.queue, self.arrays = store, FakeQueue(), []
        self.on_task = on_task or self.finish
        quick = {"poll_s": 0.01, "outcome_wait_s": 0.0, "retries": 2}
        self.machine = machine or Machine(**quick)
        self._numbers = count(1)

    def executor(self, stop=None):
        options = {"store": self.store, "machine": self.machine, "note": self.notes.append}
        return SlurmExecutor(
            stop=stop or threading.Event(), options=options, queue=self.queue, submit=self.submit
        )

    @property
    def notes(self):
        return self.__dict__.setdefault("_notes", [])

    def submit(self, folder, tasks, request, machine, minutes):
        number = next(self._numbers)
        self.arrays.append((tasks, request, minutes))
        ids = []
        for place, task in enumerate(tasks):
            name = f"{number}_{place}"
            ids.append(name)
            for job in task.jobs:
                self.queue.states[name] = self.on_task(job, len(self.arrays)) or Seen("COMPLETED")
        return ids

    def finish(self, job, array):
        attempt = job.folder / "try-1"
        attempt.mkdir()
        (attempt / "prediction.h5").write_bytes(job.key.encode())
        publish(job, Outcome(status=Status.OK, timings={"wall": 1.0}), "try-1")


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "results")


def job(store, key, **facts):
    folder = store.new_work(key)
    (folder / "cell.json").write_text("{}")
    return Job(key=key, folder=folder, timeout_s=facts.pop("timeout_s", 60.0), method="m", **facts)


def run(executor, *jobs):
    return {job.key: (job, outcome) for job, outcome in executor.run(iter(jobs))}


def test_cells_come_back_with_their_outcome_and_their_files(store):
    cluster = Cluster(store)
    ended = run(cluster.executor(), *(job(store, key) for key in "abc"))
    assert {key: outcome.status for key, (_, outcome) in ended.items()} == dict.fromkeys(
        "abc", "ok"
    )
    for key, (done, outcome) in ended.items():
        assert (done.folder / "prediction.h5").read_text() == key
        assert not list(done.folder.glob("try-*"))
        assert outcome.provenance["host"]
    assert len(cluster.arrays) == 1


def test_cells_that_ask_for_the_same_share_an_array_and_short_ones_a_task(store):
    machine = Machine(
        poll_s=0.01,
        outcome_wait_s=0.0,
        bundle_minutes=10,
        methods=(MethodRule(match="short", minutes=2.0),),
    )
    cluster = Cluster(store, machine=machine)
    jobs = [replace(job(store, f"s{i}"), method="short") for i in range(7)]
    jobs += [replace(job(store, f"l{i}"), method="long") for i in range(3)]
    run(cluster.executor(), *jobs)
    sizes = sorted([len(task.jobs) for task in tasks] for tasks, *_ in cluster.arrays)
    assert sizes == [[1, 1, 1], [5, 2]]


def test_more_cells_than_the_queue_may_hold_wait_outside(store):
    cluster = Cluster(store, machine=Machine(poll_s=0.01, outcome_wait_s=0.0, max_queued=2))
    ended = run(cluster.executor(), *(job(store, f"k{i}") for i in range(5)))
    assert len(ended) == 5
    assert max(len(tasks) for tasks, *_ in cluster.arrays) <= 2


@pytest.mark.parametrize(
    ("state", "begun", "status", "said"),
    [
        ("OUT_OF_MEMORY", True, Status.OOM, "raise memory_gb"),
        ("TIMEOUT", True, Status.TIMEOUT, "raise minutes"),
        ("NODE_FAIL", True, Status.KILLED, "ended 3 times without a result, last: NODE_FAIL on n7"),
        ("PREEMPTED", True, Status.KILLED, "PREEMPTED"),
        ("FAILED", False, Status.KILLED, "last: FAILED"),
        ("CANCELLED", True, Status.CANCELLED, "cancelled, not by this run"),
    ],
)
def test_a_job_that_ended_without_a_result_is_classified(store, state, begun, status, said):
    def lose(job, array):
        if begun:
            (job.folder / f"try-{array}").mkdir()
        return Seen(state, node="n7")

    cluster = Cluster(store, lose)
    ended = run(cluster.executor(), job(store, "a"))
    assert ended["a"][1].status is status
    assert said in ended["a"][1].reason
    tries = {Status.KILLED: 3}.get(status, 1)
    assert len(cluster.arrays) == tries


def test_a_cell_in_a_bundle_that_another_brought_down_is_run_again(store):
    """The one that had begun is to blame, the ones behind it never had their turn."""

    def fall(job, array):
        if array > 1:
            return self.finish(job, array)
        if job.key == "a":
            (job.folder / "try-1").mkdir()
        return Seen("OUT_OF_MEMORY")

    machine = Machine(poll_s=0.01, outcome_wait_s=0.0, bundle_minutes=100)
    self = Cluster(store, fall, machine)
    ended = run(self.executor(), *(job(store, key) for key in "abc"))
    assert {key: outcome.status for key, (_, outcome) in ended.items()} == {
        "a": Status.OOM, "b": Status.OK, "c": Status.OK,
    }  # fmt: skip


def test_a_cell_that_needs_more_than_its_method_declares_gets_its_whole_limit(store):
    def end(job, array):
        if array > 1:
            return cluster.finish(job, array)
        publish(job, Outcome(status=Status.TIMEOUT, reason=OUT_OF_TIME), "")
        return None

    cluster = Cluster(store, end)
    brief = job(store, "a", timeout_s=7200.0, resources=Resources(minutes=10))
    assert run(cluster.executor(), brief)["a"][1].status is Status.OK
    assert [minutes for *_, minutes in cluster.arrays] == [12, 122]


def test_a_result_that_a_shared_disk_shows_late_is_waited_for(store):
    late = []

    def end(job, array):
        threading.Timer(0.3, lambda: late.append(cluster.finish(job, array))).start()

    cluster = Cluster(store, end, Machine(poll_s=0.02, outcome_wait_s=20.0))
    assert run(cluster.executor(), job(store, "a"))["a"][1].status is Status.OK
    assert late
    assert len(cluster.arrays) == 1


def test_nothing_is_judged_while_the_queue_does_not_answer(store):
    def end(job, array):
        cluster.queue.answers = False
        threading.Timer(0.2, lambda: cluster.finish(job, array)).start()

    cluster = Cluster(store, end)
    assert run(cluster.executor(), job(store, "a"))["a"][1].status is Status.OK
    assert len(cluster.arrays) == 1


def test_a_restarted_supervisor_takes_over_what_runs_and_what_has_ended(store):
    """Abandoned as by kill -9: its cells stay in the queue folder, and are not submitted again."""

    def begin(job, array):
        return cluster.finish(job, array) if job.key == "quick" else Seen("RUNNING")

    cluster = Cluster(store, begin)
    first = cluster.executor().run(iter([job(store, key) for key in ("quick", "a", "b")]))
    assert next(first)[0].key == "quick"
    first.close()
    assert cluster.queue.cancelled == []
    assert read_ticket(queue_folder(store, "b"))["task"] == "1_2"

    def end(key):
        cluster.finish(Job(key=key, folder=queue_folder(store, key), timeout_s=1), 1)

    end("a")
    threading.Timer(0.2, end, "b").start()
    again = [job(store, "a"), job(store, "b")]
    ended = run(cluster.executor(), *again)
    assert {key: outcome.status for key, (_, outcome) in ended.items()} == {"a": "ok", "b": "ok"}
    assert len(cluster.arrays) == 1
    assert not any(each.folder.exists() for each in again)  # the new work folders were not needed


def test_a_job_that_vanished_while_nobody_looked_is_submitted_again(store):
    cluster = Cluster(store, lambda job, array: Seen("RUNNING"))
    first = cluster.executor()
    first._take(job(store, "a"))
    first._hand_over()
    cluster.queue.states.clear()
    cluster.on_task = cluster.finish
    assert run(cluster.executor(), job(store, "a"))["a"][1].status is Status.OK
    assert len(cluster.arrays) == 2


def test_a_job_whose_number_was_never_written_down_is_found_by_its_name(store):
    cluster = Cluster(store)
    folder = queue_folder(store, "a")
    folder.mkdir(parents=True)
    ticket = {"key": "a", "batch": "beef", "task": "", "place": 3, "tries": 0, "shortened": False}
    (folder / TICKET).write_text(json.dumps(ticket))
    cluster.queue.states["77_3"] = cluster.queue.states["77_4"] = Seen("RUNNING")
    cluster.queue.names[job_name("beef")] = ["77_4", "77_3"]
    executor = cluster.executor()
    threading.Timer(
        0.1, lambda: cluster.finish(Job(key="a", folder=folder, timeout_s=1), 1)
    ).start()
    assert run(executor, job(store, "a"))["a"][1].status is Status.OK
    assert cluster.arrays == []


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"batch": 1}', b"\xff\xfe"])
def test_a_damaged_ticket_means_that_the_cell_is_submitted_anew(store, damage):
    cluster = Cluster(store)
    folder = queue_folder(store, "a")
    folder.mkdir(parents=True)
    (folder / TICKET).write_bytes(damage)
    assert list(tickets(store)) == []
    assert run(cluster.executor(), job(store, "a"))["a"][1].status is Status.OK
    assert len(cluster.arrays) == 1


def test_a_stopped_run_cancels_its_jobs_and_keeps_what_has_ended(store):
    stop = threading.Event()

    def begin(job, array):
        if job.key == "a":
            return cluster.finish(job, array)
        return Seen("RUNNING")

    cluster = Cluster(store, begin)
    ended = {}
    for done, outcome in cluster.executor(stop).run(iter([job(store, k) for k in "abc"])):
        ended[done.key] = outcome.status
        stop.set()
    assert ended == {"a": "ok", "b": "cancelled", "c": "cancelled"}
    assert cluster.queue.cancelled == ["1_1", "1_2"]


def refusing(submit, *refusals):
    """Return an sbatch that accepts one array, then refuses with some words, then accepts all."""
    words = iter([None, *refusals])

    def send(*arguments):
        said = next(words, None)
        if said is not None:
            raise SubmissionError(f"sbatch refused the jobs: {said}")
        return submit(*arguments)

    return send


@pytest.mark.parametrize(
    "words",
    [
        "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
        "QOSMaxSubmitJobPerUserLimit",
        "Unable to contact slurm controller (connect failure)",
    ],
)
def test_a_full_queue_is_waited_for(store, monkeypatch, words):
    monkeypatch.setattr(slurm, "BACK_OFF_S", 0.05)
    cluster = Cluster(store)
    cluster.submit = refusing(cluster.submit, words)
    jobs = [job(store, "a", threads=1), job(store, "b", threads=2)]  # two arrays
    assert {outcome.status for _, outcome in run(cluster.executor(), *jobs).values()} == {"ok"}
    assert sum(words in note for note in cluster.notes) == 1


@pytest.mark.parametrize(
    "words",
    [
        "invalid partition specified: gpuu",
        "Requested time limit is invalid (missing or exceeds some limit)",
        "Requested node configuration is not available",
    ],
)
def test_what_time_does_not_mend_is_an_error_at_once(store, words):
    cluster = Cluster(store)
    cluster.submit = refusing(cluster.submit, words)
    with pytest.raises(ConfigurationError, match="sbatch refused"):
        run(cluster.executor(), job(store, "a", threads=1), job(store, "b", threads=2))


def test_a_job_that_waits_for_an_administrator_is_taken_back(store):
    def hold(job, array):
        if array > 1:
            return cluster.finish(job, array)
        return Seen("PENDING", "launch failed requeued held")

    cluster = Cluster(store, hold)
    assert run(cluster.executor(), job(store, "a"))["a"][1].status is Status.OK
    assert cluster.queue.cancelled == ["1_0"]


def test_what_submitit_is_told(store):
    machine = Machine(
        where={"partition": "gpu", "account": "lab"},
        gres="gpu:a100:{gpus}",
        extra={"nice": 100, "exclusive": True, "oversubscribe": False},
        setup=("module load cuda",),
        methods=(MethodRule(match="m", gpus=2, where={"partition": "big"}),),
    )
    request = machine.request(
        job(store, "a", vram_gb=8.0, resources=Resources(cpus=3, memory_gb=7.5, vram_gb=8.0))
    )
    told = parameters(request, machine, 42, "cafe", 1000)
    assert told["additional_parameters"] == {
        "requeue": True, "mem": "8192M", "partition": "big", "account": "lab",
        "gres": "gpu:a100:2", "nice": 100, "exclusive": True,
    }  # fmt: skip
    assert (told["time"], told["cpus_per_task"], told["job_name"]) == (42, 3, "msibench-cafe")
    assert told["array_parallelism"] == 100
    assert told["setup"] == ["module load cuda"]


def test_a_missing_submitit_says_how_to_get_it(store, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ConfigurationError, match=r"msibench\[slurm\].*plan TRACK --sbatch"):
        SlurmExecutor(options={"store": store})


# -- outcome files -----------------------------------------------------------------------------


def test_the_first_attempt_to_finish_wins(store):
    cell = job(store, "a")
    assert publish(cell, Outcome(status=Status.OK, reason="first"), "try-1")
    assert not publish(cell, Outcome(status=Status.OK, reason="second"), "try-2")
    outcome, attempt = read_outcome(cell.folder, "a")
    assert (outcome.reason, attempt) == ("first", "try-1")
    assert sorted(path.name for path in cell.folder.iterdir()) == ["cell.json", OUTCOME]


def test_only_the_winners_files_are_taken_over(store):
    cell = job(store, "a")
    for name in ("try-1", "try-2"):
        (cell.folder / name).mkdir()
        (cell.folder / name / "prediction.h5").write_text(name)
        (cell.folder / name / "log.txt").write_text(name)
    take_over(cell.folder, "try-2")
    assert (cell.folder / "prediction.h5").read_text() == "try-2"
    assert sorted(path.name for path in cell.folder.iterdir()) == [
        "cell.json", "log.txt", "prediction.h5",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"attempt": "../../elsewhere"},
        {"attempt": 3},
        {"status": "splendid"},
        {"key": "another"},
        {"status": None},
        {"timings": [1]},
    ],
)
def test_an_outcome_that_cannot_be_meant_is_none(store, change):
    cell = job(store, "a")
    publish(cell, Outcome(status=Status.OK), "try-1")
    facts = json.loads((cell.folder / OUTCOME).read_text())
    (cell.folder / OUTCOME).write_text(json.dumps({**facts, **change}))
    assert read_outcome(cell.folder, "a") is None


@pytest.mark.parametrize("damage", [b"", b"{", b"null", b"[" * 100_000, b"\xff"])
def test_a_damaged_outcome_is_none(store, damage):
    cell = job(store, "a")
    (cell.folder / OUTCOME).write_bytes(damage)
    assert read_outcome(cell.folder, "a") is None


def test_an_outcome_may_not_be_a_link(store, tmp_path):
    cell, other = job(store, "a"), job(store, "b")
    publish(replace(other, key="a"), Outcome(status=Status.OK), "try-1")
    (cell.folder / OUTCOME).symlink_to(other.folder / OUTCOME)
    assert read_outcome(cell.folder, "a") is None


# -- on the node -------------------------------------------------------------------------------


@pytest.fixture
def quiet_signals():
    kept = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR2)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def task(*jobs, **facts):
    return ArrayTask(
        jobs=jobs, retries=facts.pop("retries", 2), seconds=600.0, signal_s=30, **facts
    )


def test_a_task_that_was_begun_again_goes_on_where_it_stood(store, monkeypatch, quiet_signals):
    done, open_ = job(store, "a"), job(store, "b")
    publish(done, Outcome(status=Status.OK, reason="earlier"), "try-0")
    seen = []

    def child(job, stop):
        seen.append((job.key, job.attempt == job.folder.name))
        return Outcome(status=Status.OK)

    monkeypatch.setattr(slurm_task, "run_child", child)
    assert task(done, open_)() == 2
    assert seen == [("b", True)]
    assert read_outcome(done.folder, "a")[0].reason == "earlier"


def test_a_task_begun_again_after_its_cells_were_taken_over_does_nothing(
    store, monkeypatch, quiet_signals
):
    """SLURM may requeue a job between its last result and its end; that work is not done twice."""
    cell = job(store, "a")
    shutil.rmtree(cell.folder)
    monkeypatch.setattr(slurm_task, "run_child", lambda job, stop: pytest.fail("it was run"))
    assert task(cell)() == 0
    assert not cell.folder.exists()


def test_a_task_that_slurm_started_too_often_gives_up(store, monkeypatch, quiet_signals):
    monkeypatch.setenv("SLURM_RESTART_COUNT", "3")
    cell = job(store, "a")
    assert task(cell)() == 1
    outcome, _ = read_outcome(cell.folder, "a")
    assert outcome.status is Status.KILLED
    assert "3 times" in outcome.reason


@pytest.mark.parametrize("as_seen", [Status.CANCELLED, Status.KILLED, Status.FAILED])
def test_what_slurm_interrupts_leaves_no_outcome(store, monkeypatch, quiet_signals, as_seen):
    def child(job, stop):
        signal.raise_signal(signal.SIGTERM)
        return Outcome(status=as_seen, reason="ended by SIGTERM")

    monkeypatch.setattr(slurm_task, "run_child", child)
    first, second = job(store, "a"), job(store, "b")
    with pytest.raises(SystemExit, match="SIGTERM"):
        task(first, second)()
    assert read_outcome(first.folder, "a") is None
    assert list(first.folder.glob("try-*"))
    assert not list(second.folder.glob("try-*"))


def test_the_nodes_memory_killer_is_told_from_another_end(store, monkeypatch, quiet_signals):
    kills = iter([4, 5, 5, 5])
    monkeypatch.setattr(slurm_task, "oom_kills", lambda: next(kills))
    monkeypatch.setattr(slurm_task, "SETTLE_S", 0.0)
    killed = Outcome(status=Status.KILLED, reason="ended by SIGKILL")
    monkeypatch.setattr(slurm_task, "run_child", lambda job, stop: killed)
    first, second = job(store, "a"), job(store, "b")
    task(first, second)()
    assert read_outcome(first.folder, "a")[0].status is Status.OOM
    assert read_outcome(second.folder, "b")[0].status is Status.KILLED


# -- the queue ---------------------------------------------------------------------------------


def test_lines_of_squeue_are_understood():
    found = parse_squeue(
        "12_0|RUNNING|None|n1|1:02\n12_[1-9]|PENDING|Resources||0:00\nrubbish\n"
        "13|PENDING|launch failed requeued held||0:00\n12_3|COMPLETED|None|n2|0:01\n"
    )
    assert set(found) == {"12_0", "13", "12_3"}
    assert found["12_0"] == Seen("RUNNING", "", "n1", "1:02")
    assert not found["13"].alive
    assert not found["12_3"].alive


def test_one_call_asks_for_all_jobs_and_a_silent_controller_is_not_an_empty_queue():
    asked = []

    def answer(code, out="", err=""):
        def run(command):
            asked.append(command)
            return subprocess.CompletedProcess(command, code, out, err)

        return SlurmQueue(run)

    jobs = [f"{array}_{place}" for array in range(30) for place in range(100)]
    assert answer(0, "1_2|RUNNING|None|n1|0:01\n").look(jobs) == {
        "1_2": Seen("RUNNING", "", "n1", "0:01")
    }
    assert len(asked) == 1
    assert answer(1, err="slurm_load_jobs error: Invalid job id specified").look(["7"]) == {}
    assert answer(1, err="Unable to contact slurm controller").look(["7"]) is None
    assert answer(1, err="Slurm accounting storage is disabled").remembered(["7"]) == {}
    told = answer(0, "7_1|CANCELLED by 0|n3\n").remembered(["7_1"])
    assert told == {"7_1": Seen("CANCELLED", "", "n3")}


# -- the folder --------------------------------------------------------------------------------


def test_sweeping_takes_recorded_cells_and_leaves_those_that_a_run_has(store):
    for key in ("recorded", "leased", "waiting"):
        folder = queue_folder(store, key)
        folder.mkdir(parents=True)
        facts = {"key": key, "batch": f"b-{key}", "task": "1_0", "place": 0, "tries": 0}
        (folder / TICKET).write_text(json.dumps(facts))
        batch_folder(store, f"b-{key}").mkdir(parents=True)
    for key in ("recorded", "leased"):
        store.cell_folder(key).mkdir(parents=True)
        (store.cell_folder(key) / "record.json").write_text("{}")
    lease = store.lease("leased")
    store.sweep()
    sweep_queue(store)
    assert not queue_folder(store, "recorded").exists()
    assert queue_folder(store, "leased").exists()
    assert queue_folder(store, "waiting").exists()
    assert batch_folder(store, "b-recorded").exists()  # its logs are a day's
    lease.release()
    shutil.rmtree(queue_folder(store, "waiting"))
