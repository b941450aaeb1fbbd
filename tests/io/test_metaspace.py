"""What METASPACE says of a data set's files, from answers as its client gives them."""

import sys
from types import SimpleNamespace

import pytest

from msibench.errors import ConfigurationError, MissingDataError
from msibench.io.metaspace import RemoteFile, dataset_files, is_metaspace_id

ID = "2016-09-22_11h16m17s"


@pytest.mark.parametrize(
    ("name", "good"),
    [
        (ID, True), (f"metaspace:{ID}", True), (f"{ID}1", True), (f"{ID}123456", True),
        (f"{ID}1234567", False), (f"{ID}x", False), (f"x{ID}", False), ("", False),
        (f"other:{ID}", False), ("2016-9-22_11h16m17s", False),
    ],
)  # fmt: skip
def test_an_id_is_the_time_of_its_upload(name, good):
    assert is_metaspace_id(name) is good


def client(answer):
    def dataset(**asked):
        assert asked == {"id": ID}
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(download_links=lambda: answer)

    return SimpleNamespace(dataset=dataset)


FILES = [{"filename": "a.imzML", "link": "https://x/1"}, {"filename": "../up\\b.ibd", "link": "https://x/2"}]  # fmt: skip


@pytest.mark.parametrize("name", [ID, f"metaspace:{ID}"])
def test_files_licence_and_contributors_are_told(name):
    answer = {
        "files": FILES,
        "license": {"name": "CC BY 4.0", "code": "CC-BY-4.0"},
        "contributors": [{"name": "A"}, {"name": ""}, {}, {"name": "B"}],
    }
    found = dataset_files(name, client(answer))
    assert found.files == (RemoteFile("a.imzML", "https://x/1"), RemoteFile("b.ibd", "https://x/2"))
    assert found.licence == "CC BY 4.0"
    assert found.contributors == ("A", "B")


@pytest.mark.parametrize(
    ("licence", "said"), [({"code": "CC0"}, "CC0"), ({}, "not stated"), (None, "not stated")]
)
def test_a_licence_is_named_as_far_as_it_is_known(licence, said):
    found = dataset_files(ID, client({"files": FILES, "license": licence}))
    assert (found.licence, found.contributors) == (said, ())


@pytest.mark.parametrize("answer", [None, {}, {"files": []}, {"license": {}}])
def test_a_data_set_that_is_not_released_is_said(answer):
    with pytest.raises(MissingDataError, match="has not released"):
        dataset_files(ID, client(answer))


def test_what_metaspace_does_not_know_and_a_client_that_is_not_installed_are_said(monkeypatch):
    with pytest.raises(MissingDataError, match=f"gives no data set '{ID}': KeyError: 'gone'"):
        dataset_files(ID, client(KeyError("gone")))
    monkeypatch.setitem(sys.modules, "metaspace", None)
    with pytest.raises(ConfigurationError, match=r"msibench\[metaspace\]"):
        dataset_files(ID)
    module = SimpleNamespace(SMInstance=lambda: client({"files": FILES}))
    monkeypatch.setitem(sys.modules, "metaspace", module)
    assert len(dataset_files(ID).files) == 2
