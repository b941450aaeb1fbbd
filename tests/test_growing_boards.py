"""A board that is brought up to date holds the bytes of one that is made from scratch, whatever happened."""

import json
import random
import shutil
from dataclasses import replace

import pytest

from msibench.leaderboard import board as boards
from msibench.leaderboard.twins import twin_key
from msibench.metrics.specs import builtin_metrics
from msibench.plugin_manager.discovery import discover
from msibench.results import seen_cells
from msibench.results.seen_cells import SeenCells
from msibench.results.store import LOG, METRICS, PREDICTION, RECORD, Store
from msibench.results.verification import VERIFIED, keep_verification
from msibench.run_track import run_track
from msibench.runner.options import RunOptions
from msibench.runner.plan import make_plan
from msibench.runner.scores.rescore import rescore
from msibench.tracks import Entry, ProblemSet, Track
from tests.specks import speck_card

TRACK = Track(
    name="growing",
    entries=(Entry(method="nearest"), Entry(method="bicubic")),
    problems=(ProblemSet(dataset="speck", protocols=("area-x4@1",)),),
    metrics=("psnr", "rmse"),
    scheme="cao2025",
    control_method="nearest",
)


class Growing:
    """One results folder, its track as it is now, and what may happen to them."""

    def __init__(self, root, catalogue, card, rng):
        self.catalogue, self.card, self.rng = catalogue, card, rng
        self.store, self.track = Store.open(root), TRACK
        self.folder = root / "leaderboards" / TRACK.name

    def plan(self):
        return make_plan(self.track, self.catalogue, cards={"speck": self.card})

    def run(self):
        """Bring the board up to date, and return its files and what the run said."""
        options = RunOptions(threads=1, jobs=2)
        summary = run_track(self.track, self.catalogue, self.store, options, plan=self.plan())
        files = {
            path.relative_to(self.folder).as_posix(): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }
        return files, (summary.counts, summary.damaged, summary.exit_code), summary.rows

    def from_scratch(self):
        """Do as `run` where neither a board nor anything that was seen lies in the folder."""
        kept = self.store.root.parent / "seen-before"
        shutil.copytree(self.store.root / "seen", kept)
        shutil.rmtree(self.store.root / "seen")
        shutil.rmtree(self.folder)
        made = self.run()
        shutil.rmtree(self.store.root / "seen")
        kept.rename(self.store.root / "seen")
        return made

    def a_cell(self):
        """Return the key of a scored cell of the track that ran here."""
        whole = [r for r in self.store.records() if r.device == "cpu" and METRICS in r.files]
        return self.rng.choice([record.key for record in whole])

    # -- what happens --------------------------------------------------------------------------

    def nothing(self):
        pass

    def a_method_is_added(self):
        self.track = replace(self.track, entries=(*self.track.entries, Entry(method="lanczos3")))

    def a_seed_is_added(self):
        self.track = replace(self.track, seeds=(*self.track.seeds, 1))

    def a_metric_is_added(self):
        self.track = replace(self.track, metrics=(*self.track.metrics, "sd_ratio"))

    def another_scheme(self):
        other = "skill" if self.track.scheme == "cao2025" else "cao2025"
        self.track = replace(self.track, scheme=other)

    def another_control(self):
        self.track = replace(self.track, control_method="bicubic", title="Grown <b>up</b>")

    def all_is_scored_again(self):
        metrics = [self.catalogue.metric(name) for name in self.track.metrics]
        rescore(self.store, [self.a_cell()], metrics, force=True)

    def a_cell_is_removed(self):
        shutil.rmtree(self.store.cell_folder(self.a_cell()))

    def a_file_of_a_cell_is_damaged(self):
        folder = self.store.cell_folder(self.a_cell())
        flip(folder / self.rng.choice([RECORD, METRICS, PREDICTION]), self.rng)

    def a_log_grows(self):
        with (self.store.cell_folder(self.a_cell()) / LOG).open("a") as stream:
            stream.write("more\n")

    def a_cell_is_verified(self):
        keep_verification(self.store, self.a_cell(), VERIFIED)

    def a_twin_appears(self):
        """The same cell on a graphics card lies in the folder, with other numbers."""
        record = self.store.record(self.a_cell())
        document = {**record.key_document, "device": "cuda"}
        other = replace(record, key=twin_key(record), key_document=document, device="cuda")
        work = self.store.new_work(other.key)
        for name in (METRICS, PREDICTION, LOG):
            shutil.copyfile(self.store.cell_folder(record.key) / name, work / name)
        self.store.commit(work, other)

    def the_board_is_edited(self):
        flip(self.rng.choice([p for p in self.folder.rglob("*") if p.is_file()]), self.rng)

    def the_board_loses_a_file(self):
        (self.folder / self.rng.choice(["README.md", "rows.parquet", "index.html"])).unlink()

    def what_was_seen_is_damaged(self):
        flip(self.store.root / "seen" / f"{TRACK.name}.json", self.rng)

    def a_stranger_says_that_all_is_as_it_was(self):
        """The board was edited, and what was seen made to fit, by somebody without this user's seal."""
        readme = self.folder / "README.md"
        readme.write_text(readme.read_text() + "\nand the winner is nearest\n")
        place = self.store.root / "seen" / f"{TRACK.name}.json"
        seal, _, text = place.read_bytes().partition(b"\n")
        content = json.loads(text)
        content["board"]["files"]["README.md"] = seen_cells.sha256_of(readme)
        forged = json.dumps(content, sort_keys=True, ensure_ascii=False).encode()
        place.write_bytes(seal + b"\n" + forged)


HAPPENINGS = [
    name for name in vars(Growing) if name not in {"plan", "run", "from_scratch", "a_cell"}
]
HAPPENINGS = [name for name in HAPPENINGS if not name.startswith("_")]


def flip(path, rng):
    raw = bytearray(path.read_bytes())
    raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    path.write_bytes(raw)


@pytest.fixture(scope="module")
def catalogue():
    return discover(builtin_metrics=builtin_metrics())


@pytest.fixture(scope="module")
def card():
    return speck_card()


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MSIBENCH_CACHE", str(tmp_path / "cache"))


def same(first, second):
    files, said, rows = first
    assert files.keys() == second[0].keys()
    assert [name for name in files if files[name] != second[0][name]] == []
    assert said == second[1]
    assert rows.equals(second[2])
    assert (rows.dtypes == second[2].dtypes).all()


FEW = (
    "a_twin_appears", "a_method_is_added", "the_board_is_edited", "a_file_of_a_cell_is_damaged",
    "another_scheme", "all_is_scored_again", "a_cell_is_verified", "a_stranger_says_that_all_is_as_it_was",
)  # fmt: skip


@pytest.mark.parametrize(
    ("seed", "at_a_time"),
    [(0, 4), *(pytest.param(seed, 2, marks=pytest.mark.slow) for seed in range(9))],
)
def test_a_board_brought_up_to_date_is_the_board_made_from_scratch(
    seed, at_a_time, tmp_path, catalogue, card
):
    rng = random.Random(seed)
    growing = Growing(tmp_path / "results", catalogue, card, rng)
    growing.run()
    happenings = FEW if at_a_time == 4 else rng.sample(HAPPENINGS, len(HAPPENINGS))
    for some in [happenings[at : at + at_a_time] for at in range(0, len(happenings), at_a_time)]:
        for happening in some:
            getattr(growing, happening)()
        same(growing.run(), growing.from_scratch())


def counted(monkeypatch, place, name, times):
    function = getattr(place, name)

    def call(*arguments, **options):
        times.append(name)
        return function(*arguments, **options)

    monkeypatch.setattr(place, name, call)


def test_only_what_changed_is_read_and_made(tmp_path, catalogue, card, monkeypatch):
    growing = Growing(tmp_path / "results", catalogue, card, random.Random(0))
    before = growing.run()
    times = []
    counted(monkeypatch, boards, "collect", times)
    counted(monkeypatch, boards, "leaderboard_table", times)
    counted(monkeypatch, Store, "metric_table", times)
    counted(monkeypatch, Store, "record", times)
    same(growing.run(), before)
    assert times == []
    growing.a_method_is_added()
    growing.run()
    assert [times.count(n) for n in ("collect", "leaderboard_table", "metric_table")] == [1, 1, 1]


def test_what_was_seen_counts_for_this_user_and_this_msibench_alone(
    tmp_path, catalogue, card, monkeypatch
):
    growing = Growing(tmp_path / "results", catalogue, card, random.Random(0))
    growing.run()
    assert len(SeenCells.read(growing.store, TRACK.name).cells) == 2
    with monkeypatch.context() as other:
        other.setattr(seen_cells, "code_in_use", lambda: "of another day")
        assert not SeenCells.read(growing.store, TRACK.name).cells
    (tmp_path / "cache" / seen_cells.SEAL_KEY).write_bytes(bytes(32))
    assert not SeenCells.read(growing.store, TRACK.name).cells
    (tmp_path / "cache" / seen_cells.SEAL_KEY).unlink()
    assert not SeenCells.read(growing.store, TRACK.name).cells


def test_a_folder_for_caches_that_cannot_be_made_costs_the_shortcut_alone(
    tmp_path, catalogue, card, monkeypatch
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MSIBENCH_CACHE", str(tmp_path / "file" / "cache"))
    growing = Growing(tmp_path / "results", catalogue, card, random.Random(0))
    first = growing.run()
    assert not (growing.store.root / "seen").exists()
    same(growing.run(), first)
