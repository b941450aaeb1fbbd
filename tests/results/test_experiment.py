"""What a board holds, and when a run is of another experiment."""

from msibench.results.experiment import (
    Experiment,
    board_name,
    differences,
    experiment_of,
    held_by,
    place,
    stored_experiment,
    what_differs,
)
from msibench.results.index import TrackIndex, update_index
from msibench.results.store import Store
from tests.results.test_store import record

TRUE = place(("phantom", "s", "area-x4@1", "all", ""))
OTHER = place(("phantom", "t", "area-x4@1", "all", ""))
WRONG = place(("phantom", "s", "area-x4@1", "all", "guide-shuffled"))


def cell(key, problem="p", **changes):
    return record(key * 64, **{"section": "s", "problem_key": problem} | changes)


def test_an_experiment_continues_with_more_sections_and_other_wrong_guides():
    first = Experiment({TRUE: "p", WRONG: "w"}, "cpu")
    more = Experiment({TRUE: "p", OTHER: "q"}, "cpu")
    assert first.true_problems == {TRUE: "p"}
    assert more.continues(first)
    assert not first.continues(more)
    assert not Experiment({TRUE: "p"}, "cuda").continues(first)
    assert not Experiment({TRUE: "changed"}, "cpu").continues(first)
    both = more.with_controls_of(first)
    assert both == Experiment({TRUE: "p", OTHER: "q", WRONG: "w"}, "cpu")
    changed = Experiment({TRUE: "new"}, "cuda").with_controls_of(first)
    assert changed == Experiment({TRUE: "new", WRONG: "w"}, "cuda")  # one's own come first


def test_a_cell_of_another_problem_or_device_is_named():
    board = Experiment({TRUE: "p"}, "cuda")
    assert board.excludes(cell("a", device="cuda:1")) == ""
    assert board.excludes(cell("a", device="cpu")) == "run on cpu; this board is of cuda"
    for odd in (cell("a", "q", device="cuda"), cell("a", section="t", device="cuda")):
        assert "of other data" in board.excludes(odd)


def test_an_index_keeps_its_experiment():
    board = Experiment({TRUE: "p"}, "cpu")
    assert stored_experiment(TrackIndex({}, board.as_index_entry())) == board
    assert stored_experiment(TrackIndex({}, {})) is None
    assert stored_experiment(TrackIndex({}, {"experiment": {"problems": 3}})) == Experiment()
    assert experiment_of(TrackIndex({}, board.as_index_entry()), [cell("a", "q")]) == board


def test_of_an_older_index_the_problem_of_most_cells_is_taken():
    cells = [cell("a", "q"), cell("b", "p"), cell("c", "p"), cell("d", "z", section="t")]
    assert experiment_of(TrackIndex(), cells) == Experiment({TRUE: "p", OTHER: "z"}, "cpu")
    tie = [cell("a", "q"), cell("b", "p")]
    assert experiment_of(TrackIndex(), tie) == experiment_of(TrackIndex(), tie[::-1])
    assert experiment_of(TrackIndex(), tie).problems == {TRUE: "p"}
    devices = [*cells, *(cell(k, "x", device="cuda:0") for k in "efghi")]
    assert experiment_of(TrackIndex(), devices) == Experiment({TRUE: "x"}, "cuda")
    assert experiment_of(TrackIndex(), []) == Experiment()


def test_two_sets_of_mz_are_two_problems_unless_the_section_is_ones_own():
    two = [cell("a", "p"), cell("b", "q", mz_set="top"), cell("c", "q", mz_set="top")]
    top = place(("phantom", "s", "area-x4@1", "top", ""))
    assert experiment_of(TrackIndex(), two).problems == {TRUE: "p", top: "q"}
    own = TrackIndex({}, {"datasets": {"phantom": {"own": True}, "x": {}}})
    assert experiment_of(own, two).problems == {top: "q"}
    wrong = [cell("a", "p"), cell("b", "w", control="guide-shuffled")]
    assert experiment_of(own, wrong).problems == {TRUE: "p", WRONG: "w"}


def filled(folder, *records):
    store = Store.open(folder)
    for one in records:
        store.commit(store.new_work(one.key), one)
    return store


def test_a_board_takes_the_first_name_that_is_free_or_its_own(tmp_path):
    board = Experiment({TRUE: "p"}, "cpu")
    assert board_name(None, "mine", board) == "mine"
    assert board_name(None, "mine", board, ["mine", "mine-2"]) == "mine-3"
    one = cell("a")
    store = filled(tmp_path / "results", one)
    assert board_name(store, "mine", board) == "mine"
    update_index(store, "mine", {str(one.identity): one.key}, {})
    assert held_by(store, TrackIndex({str(one.identity): one.key}, {})) == board
    assert board_name(store, "mine", board) == "mine"
    other = Experiment({TRUE: "q"}, "cpu")
    assert board_name(store, "mine", other) == "mine-2"
    assert board_name(store, "mine", other, ["mine-2"]) == "mine-3"


def test_what_a_board_differs_in_is_said_in_a_users_words(tmp_path):
    document = {"data": 1, "section": "s", "mz": [1], "ppm": 5, "mz_set": "all", "control": ""}
    one = cell("a", key_document={"problem": document})
    gone = cell("b", section="t")
    store = filled(tmp_path / "results", one)
    update_index(store, "mine", {str(one.identity): one.key, str(gone.identity): gone.key}, {})
    here = Experiment({TRUE: "q"}, "cpu")
    for changes, said in (
        ({"data": 2}, "data, guide or transform"),
        ({"mz": [2], "mz_set": "top"}, "m/z values"),
        ({"ppm": 9, "seed": 3}, "m/z window and seed of the degradation"),
        ({}, "problems"),
    ):
        assert differences(store, "mine", here, {TRUE: document | changes}) == said
    there = Experiment({TRUE: "q"}, "cuda")
    assert differences(store, "mine", there, {TRUE: document}) == "device (cpu)"
    assert differences(store, "mine", here, {OTHER: document | {"section": "t"}}) == "sections"


def test_documents_are_told_apart_field_by_field():
    assert what_differs({"protocol": 1}, {"protocol": 2}) == ["protocol or factor"]
    assert what_differs({"dataset": "a", "section": "x"}, {}) == ["sections", "data"]
    assert what_differs({"control": "a"}, {"control": ""}) == []


def test_a_cell_that_is_damaged_hides_no_other(tmp_path):
    cells = [cell("a"), cell("b", "q", section="t")]
    store = filled(tmp_path / "results", *cells)
    (store.cell_folder(cells[0].key) / "record.json").write_text("damaged")
    index = TrackIndex({str(one.identity): one.key for one in cells}, {})
    assert held_by(store, index).problems == {OTHER: "q"}


def test_a_difference_is_told_by_a_true_cell_of_the_boards_own_problem(tmp_path):
    document = {"data": 1, "section": "s", "mz": [1], "ppm": 5, "mz_set": "all", "control": ""}
    odd = {"problem": document | {"data": 7, "control": "guide-shuffled"}}
    cells = [
        cell("a", "w", method="a", control="guide-shuffled", key_document=odd),
        cell("b", "old", method="b", key_document={"problem": document | {"mz": [9]}}),
        cell("c", "p", method="c", key_document={"problem": document}),
        cell("d", "p", method="d", key_document={"problem": document}),
    ]
    store = filled(tmp_path / "results", *cells)
    update_index(store, "mine", {str(one.identity): one.key for one in cells}, {})
    here = Experiment({TRUE: "q"}, "cpu")
    assert differences(store, "mine", here, {TRUE: document | {"ppm": 9}}) == "m/z window"
    asked = {WRONG: document | {"data": 3, "control": "x"}, OTHER: document | {"ppm": 9}}
    assert differences(store, "mine", here, asked) == "m/z window"
