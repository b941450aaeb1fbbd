"""Who made a work folder: a process of one boot, one process namespace and one start."""

import os
import subprocess
import sys
import time

import pytest

from msibench import owners
from msibench.owners import is_forgotten, is_orphaned, owned_name
from msibench.results.store import Store


@pytest.fixture
def elsewhere(monkeypatch):
    """Return a function that gives a name as a process of another container would, with our number."""

    def name(stem):
        owners._place_tag.cache_clear()
        with monkeypatch.context() as patch:
            patch.setattr(owners, "place", lambda: "the same host name, another process namespace")
            found = owned_name(stem)
        owners._place_tag.cache_clear()
        return found

    return name


def test_a_name_of_this_process_is_no_orphan_and_one_of_a_dead_one_is():
    assert not is_orphaned(owned_name("cell"))
    made = subprocess.run(
        [sys.executable, "-c", "from msibench.owners import owned_name; print(owned_name('cell'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert is_orphaned(made.stdout.strip())


def test_a_number_that_is_used_again_is_another_process():
    number = f"-{os.getpid()}-"
    head, _, tail = owned_name("cell").partition(number)
    start, _, rest = tail.partition("-")
    assert not is_orphaned(f"{head}{number}{start}-{rest}")
    assert is_orphaned(f"{head}{number}{int(start) - 1}-{rest}")


def test_two_containers_with_one_host_name_do_not_sweep_each_other(tmp_path, elsewhere):
    store = Store.open(tmp_path / "results")
    name = elsewhere("0123456789abcdef")
    theirs = store.make_folder(store.root / "work" / name)
    (theirs / "prediction.h5").write_text("half")
    dead = name.replace(f"-{os.getpid()}-", "-4194303-")
    store.make_folder(store.root / "work" / dead)
    store.sweep()
    assert theirs.exists()
    assert (store.root / "work" / dead).exists(), "nobody here can tell"


def test_what_another_place_left_alone_for_a_day_is_swept_unless_its_lease_lives(
    tmp_path, elsewhere
):
    store = Store.open(tmp_path / "results")
    key = "ab" * 32
    names = [elsewhere(key[:16]), elsewhere("cd" * 8)]
    long_ago = time.time() - 2 * owners.FORGOTTEN_S
    for name in names:
        folder = store.make_folder(store.root / "work" / name)
        os.utime(folder, (long_ago, long_ago))
        assert is_forgotten(folder)
    lease = store.lease(key)
    store.sweep()
    assert [path.name for path in (store.root / "work").iterdir()] == names[:1]
    lease.release()
    store.sweep()
    assert not list((store.root / "work").iterdir())


def test_a_run_in_another_process_namespace_is_left_alone(tmp_path):
    """Two real namespaces, one results folder, one host name."""
    folder = tmp_path / "results"
    Store.open(folder)
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from msibench.results.store import Store\n"
        f"store = Store.open(Path({str(folder)!r}))\n"
        "store.new_work('0' * 64)\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
    )
    unshare = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    process = subprocess.Popen(
        [*unshare, sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        if process.stdout.readline() != "ready\n":
            pytest.skip(f"no process namespaces here: {process.communicate()[1][-200:]}")
        Store.open(folder).sweep()
        assert len(list((folder / "work").iterdir())) == 1
    finally:
        process.kill()
        process.communicate()
