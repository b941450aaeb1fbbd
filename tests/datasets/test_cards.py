import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from msibench.datasets import (
    card_from_table,
    dataset_digest,
    find_file,
    load_card,
    read_section,
)
from msibench.errors import (
    ConfigurationError,
    IntegrityError,
    MissingDataError,
    UnknownNameError,
)
from msibench.plugin_manager.discovery import discover
from msibench.testing import mirrored

CARDS = {name: load_card(spec) for name, spec in discover().datasets.items()}
LBAE_TEST = ("slice_5", "slice_12", "slice_17", "slice_22", "slice_27", "slice_30")


def table(**changes):
    return {
        "schema_version": 1,
        "name": "toy",
        "title": "toy",
        "sections": {"test": ["a"]},
        "files": [{"name": "a.npz", "role": "section", "section": "a", "sha256": "0" * 64}],
        **changes,
    }


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A data set of one npz file in a mirror of its own."""
    folder = tmp_path / "toy"
    folder.mkdir()
    cube = np.arange(2 * 6 * 5, dtype=np.float32).reshape(2, 6, 5)
    np.savez(folder / "a.npz", cube=cube, mz=np.array([400.0, 500.0]))
    digest = hashlib.sha256((folder / "a.npz").read_bytes()).hexdigest()
    monkeypatch.setenv("MSIBENCH_MIRROR", str(tmp_path))
    files = [{"name": "a.npz", "role": "section", "section": "a", "sha256": digest}]
    return card_from_table(table(files=files, pixel_size_um=7.0), folder=tmp_path)


@pytest.mark.parametrize("name", CARDS)
def test_every_card_states_what_a_reader_must_know(name):
    card = CARDS[name]
    assert card.name == card.folder.name
    assert card.licence
    assert card.citation
    assert card.bibtex
    assert card.description
    assert set(card.tasks) <= {"single-image", "guided", "cross-modality"}
    for file in card.files:
        assert file.url or file.how
        assert file.sha256 or card.bring_your_own


def test_the_published_mz_sets_are_those_of_the_paper():
    assert len(CARDS["mouse-brain-horizontal"].mz_set("table-s2").mz) == 45
    assert len(CARDS["mouse-kidney"].mz_set("table-s3").mz) == 32
    rows = CARDS["mouse-kidney"].published.read_text(encoding="utf-8").splitlines()
    assert rows[0] == "id,mz,tissue,fine_tuned,pre_trained,ratio"
    assert len(rows) == 33


def test_lbae_is_split_by_section():
    card = CARDS["lbae-mouse-brain"]
    assert card.test == LBAE_TEST
    assert len(card.train) == 20
    assert not set(card.train) & set(card.test)


def test_a_section_of_the_users_own_is_asked_for():
    card = CARDS["mouse-kidney"]
    with pytest.raises(MissingDataError, match="--data FILE"):
        read_section(card, "mouse-kidney")


def test_a_stack_is_read_with_the_cards_facts(toy):
    section = read_section(toy, "a")
    assert section.image.values.shape == (2, 6, 5)
    assert section.image.pixel_size_um == 7.0


def test_a_changed_file_is_found(toy, tmp_path):
    path = tmp_path / "toy" / "a.npz"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(IntegrityError, match="the file is damaged or of another version"):
        read_section(toy, "a")


def test_a_missing_file_says_how_to_get_it(toy, tmp_path):
    (tmp_path / "toy" / "a.npz").unlink()
    with pytest.raises(MissingDataError, match="msibench fetch toy"):
        find_file(toy, toy.files[0])


def test_unknown_sections_and_mz_sets_are_named(toy):
    with pytest.raises(UnknownNameError, match="Did you mean 'slice_12'"):
        read_section(CARDS["lbae-mouse-brain"], "slice12")
    with pytest.raises(UnknownNameError, match="has no m/z set 'lipids'"):
        read_section(toy, "a", "lipids")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"titel": "x"}, "Did you mean 'title'"),
        ({"schema_version": 2}, "schema_version must be 1"),
        ({"files": [{"name": "../x", "role": "section"}]}, "leaves the data set's folder"),
        ({"files": [{"name": "/etc/passwd", "role": "section"}]}, "leaves the data set's folder"),
        ({"files": [{"name": "x"}]}, "missing role"),
        ({"sections": {"tests": []}}, "Did you mean 'test'"),
        ({"published": "../secret.csv"}, "must be a file beside it"),
        ({"mz_sets": {"all": {"pmp": 3}}}, "Did you mean 'ppm'"),
    ],
)
def test_a_card_with_a_fault_is_refused_with_the_fault(change, message, tmp_path):
    with pytest.raises(ConfigurationError) as error:
        card_from_table(table(**change), folder=tmp_path)
    assert message in str(error.value)


def test_the_digest_follows_files_and_facts_and_not_places(tmp_path):
    first = card_from_table(table(), folder=tmp_path)
    elsewhere = card_from_table(table(), folder=tmp_path / "other")
    assert dataset_digest(first, "a") == dataset_digest(elsewhere, "a")
    other_file = card_from_table(
        table(files=[{"name": "a.npz", "role": "section", "sha256": "1" * 64}]), folder=tmp_path
    )
    other_range = card_from_table(table(declared_range=255.0), folder=tmp_path)
    digests = {dataset_digest(card, "a") for card in (first, other_file, other_range)}
    assert len(digests) == 3


def test_bladder_comes_with_mask_and_guide_on_its_grid():
    mirrored("bladder/bladder.npz")
    section = read_section(CARDS["bladder"], "bladder")
    assert section.image.values.shape == (79, 134, 260)
    assert 0.5 < section.image.mask.mean() < 0.8
    assert section.guide.shape == (134, 260)
    tissue = section.guide.values[:, section.image.mask].mean()
    outside = section.guide.values[:, ~section.image.mask].mean()
    assert tissue < outside - 0.2, "stained tissue is darker than the slide around it"


def test_the_fetal_brain_says_that_it_has_no_truth():
    mirrored("deepfere-fetal-brain/HE.png")
    card = CARDS["deepfere-fetal-brain"]
    section = read_section(card, "fetal-brain")
    assert not card.ground_truth
    assert section.image.values.shape == (1, 40, 36)
    assert section.guide.shape == (640, 576)
    assert read_section(card, "fetal-brain", "umap").image.channels == 3


def test_choosing_mz_keeps_their_order(toy):
    from dataclasses import replace

    from msibench.datasets import MZSet

    card = replace(toy, mz_sets={"two": MZSet(name="two", mz=(500.0, 400.0))})
    image = read_section(card, "a", "two").image
    np.testing.assert_array_equal(image.mz, [500.0, 400.0])
    assert image.values[0, 0, 0] == 30


def test_several_mirrors_are_searched_in_their_order(toy, tmp_path, monkeypatch):
    first, second = tmp_path / "first", tmp_path / "second"
    for mirror in (first, second):
        (mirror / "data" / "toy").mkdir(parents=True)
    (tmp_path / "toy" / "a.npz").rename(second / "data" / "toy" / "a.npz")
    monkeypatch.setenv("MSIBENCH_MIRROR", os.pathsep.join([str(first), str(second)]))
    assert find_file(toy, toy.files[0]) == second / "data" / "toy" / "a.npz"
    (first / "toy").mkdir()
    (first / "toy" / "a.npz").write_bytes((second / "data" / "toy" / "a.npz").read_bytes())
    assert find_file(toy, toy.files[0]) == first / "toy" / "a.npz"


def test_a_file_beside_its_card_is_found_before_any_mirror(toy, tmp_path, monkeypatch):
    (tmp_path / "a.npz").write_bytes((tmp_path / "toy" / "a.npz").read_bytes())
    assert find_file(toy, toy.files[0]) == tmp_path / "a.npz"
    monkeypatch.setenv("MSIBENCH_MIRROR", "")
    assert read_section(toy, "a").image.channels == 2


def test_a_link_beside_a_card_leads_nowhere_else(toy, tmp_path):
    card = card_from_table(
        table(files=[{"name": "a.npz", "role": "section", "section": "a"}]),
        folder=tmp_path / "cards",
    )
    (tmp_path / "cards").mkdir()
    (tmp_path / "secret.npz").write_bytes(b"of another")
    (tmp_path / "cards" / "a.npz").symlink_to(tmp_path / "secret.npz")
    assert find_file(card, card.files[0]) == tmp_path / "toy" / "a.npz"


def test_a_card_says_which_sections_are_of_one_specimen():
    card = card_from_table(
        table(sections={"test": ["a", "b", "c"]}, specimens={"mouse-1": ["a", "c"]}), folder=Path()
    )
    assert [card.specimen_of(name) for name in card.sections] == ["mouse-1", "b", "mouse-1"]
    assert CARDS["laicpms-prostate"].specimen_of("C3SB1") == "C3"
    assert {CARDS["lbae-mouse-brain"].specimen_of(name) for name in LBAE_TEST} == {"brain-1"}


@pytest.mark.parametrize(
    ("specimens", "said"),
    [
        ({"mouse": ["a", "z"]}, "mouse has 'z', which \\[sections\\] lacks"),
        ({"mouse": ["a"], "rat": ["a"]}, "'a' is of mouse and of rat"),
        ({"mouse": "a"}, "must be a list of sections, got 'a'"),
        ({"mouse": []}, "must be a list of sections"),
        ({"b": ["a"]}, "b is also the name of a section"),
        ({"../x": ["a"]}, "specimen"),
        (["a"], "specimens"),
    ],
)
def test_specimens_that_make_no_sense_are_refused(specimens, said):
    with pytest.raises(ConfigurationError, match=said):
        card_from_table(table(sections={"test": ["a", "b"]}, specimens=specimens), folder=Path())


def test_specimens_change_no_key():
    plain, stated = (
        card_from_table(table(**extra), folder=Path())
        for extra in ({}, {"specimens": {"x": ["a"]}})
    )
    assert dataset_digest(plain, "a") == dataset_digest(stated, "a")
