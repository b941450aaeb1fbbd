"""What was shown of a cell holds for the very bytes of its record."""

import json
from dataclasses import replace

import pytest

from msibench.results.store import Store
from msibench.results.verification import (
    FILE,
    REPRODUCED,
    VERIFIED,
    drop_verification,
    keep_verification,
    read_verifications,
    shown_origin,
)
from tests.results.test_store import KEY, put


@pytest.fixture
def store(tmp_path):
    return Store.open(tmp_path / "results")


def test_the_stronger_level_stays_while_the_record_is_the_same(store):
    record = put(store)
    assert shown_origin(store, record) == "measured"
    levels = []
    for level in (VERIFIED, REPRODUCED, VERIFIED):
        keep_verification(store, KEY, level)
        levels.append(shown_origin(store, store.record(KEY)))
    assert levels == ["verified", "reproduced", "reproduced"]
    again = put(store, value=2.0)
    assert shown_origin(store, again) == "measured"
    keep_verification(store, KEY, VERIFIED)
    assert shown_origin(store, again) == "verified"
    drop_verification(store, KEY)
    drop_verification(store, KEY)
    assert shown_origin(store, replace(again, origin="self-reported")) == "self-reported"


@pytest.mark.parametrize("text", ["", "[]", "3", '{"k": 1}', '{"k": {"level": "certain"}}'])
def test_a_file_that_cannot_be_read_proves_nothing(store, text):
    (store.root / FILE).write_text(text)
    assert read_verifications(store) == {}


def test_entries_of_other_levels_or_without_a_record_do_not_count(store):
    good = {"level": "verified", "record": "d"}
    odd = {"level": "sworn", "record": "d"}, {"level": "verified"}
    (store.root / FILE).write_text(json.dumps({"a": good, "b": odd[0], "c": odd[1]}))
    assert read_verifications(store) == {"a": good}


def test_the_file_has_one_text_whatever_the_order_of_its_making(store):
    other = "cd" + "0" * 62
    for key in (other, KEY):
        put(store, key=key)
        keep_verification(store, key, VERIFIED)

    def told():
        text = (store.root / FILE).read_text()
        assert text == json.dumps(json.loads(text), indent=1, sort_keys=True) + "\n"
        return list(json.loads(text))

    assert told() == [KEY, other]
    drop_verification(store, KEY)
    assert told() == [other]
