import json
import sys
import textwrap
from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msibench.errors import PluginError
from msibench.results import keys
from msibench.results.keys import (
    canonical_json,
    changed_code,
    code_digests,
    difference,
    digest_of,
    digest_of_parsed,
    package_digests,
    package_folders,
)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=4), documents, max_size=5), st.randoms())
def test_order_never_enters_a_key(document, random):
    items = list(document.items())
    random.shuffle(items)
    assert digest_of(dict(items)) == digest_of(document)


@given(documents)
def test_numpy_and_python_numbers_are_the_same_number(value):
    assert canonical_json([np.float64(1.5), np.int64(3), value]) == canonical_json([1.5, 3, value])


@given(st.dictionaries(st.text(min_size=1, max_size=4), st.integers(), min_size=1), st.integers())
def test_any_other_value_is_another_key(document, number):
    name = sorted(document)[0]
    changed = {**document, name: document[name] + 1 + abs(number)}
    assert digest_of(changed) != digest_of(document)


def test_numbers_that_json_lacks_are_words():
    assert canonical_json([float("nan"), float("inf")]) == '["nan","inf"]'


def test_what_has_no_order_has_no_place():
    with pytest.raises(TypeError, match="sort it"):
        canonical_json({"factors": {2, 4}})
    with pytest.raises(TypeError, match="no place in a key"):
        canonical_json(object())


def test_the_lines_that_differ_are_shown():
    lines = difference({"code": {"a.py": "1"}, "seed": 0}, {"code": {"a.py": "2"}, "seed": 0})
    assert lines == ['-  "a.py": "1"', '+  "a.py": "2"']


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A plugin package with a helper, importing a part of the core."""
    package = tmp_path / "msibench_toy"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "helper.py").write_text("SCALE = 2\n")
    (package / "method.py").write_text(
        textwrap.dedent(
            """
            from msibench import Problem
            from msibench.degradation.binning import area_mean
            from msibench_toy.helper import SCALE
            class Toy: ...
            """
        )
    )
    tests = package / "tests"
    tests.mkdir()
    (tests / "test_toy.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    yield package
    sys.modules.pop("msibench_toy", None)


def fresh(target):
    package_digests.cache_clear()
    from msibench.results import keys

    keys._core_imports.cache_clear()
    return code_digests(target)


def test_a_helper_module_and_used_parts_of_the_core_are_in_the_code(plugin):
    found = fresh("msibench_toy.method:Toy")
    assert {"msibench_toy/method.py", "msibench_toy/helper.py"} <= set(found)
    assert "msibench/degradation/binning.py" in found
    assert not any("tests" in name for name in found)
    assert not any(name.startswith("msibench/runner") for name in found)


def test_editing_a_helper_changes_the_code_and_a_test_does_not(plugin):
    before = fresh("msibench_toy.method:Toy")
    (plugin / "tests" / "test_toy.py").write_text("def test(): ...\n")
    assert fresh("msibench_toy.method:Toy") == before
    (plugin / "helper.py").write_text("SCALE = 3\n")
    after = fresh("msibench_toy.method:Toy")
    assert {name for name in before if before[name] != after[name]} == {"msibench_toy/helper.py"}


def test_the_code_of_a_single_file_is_that_file(tmp_path):
    source = tmp_path / "mine.py"
    source.write_text("class Mine: ...\n")
    assert set(fresh(f"{source}:Mine")) == {"mine.py"}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_the_digest_of_what_json_gave_is_the_digest(value):
    parsed = json.loads(json.dumps(value))
    digests = []
    for digest in (digest_of, digest_of_parsed):
        try:
            digests.append(digest(parsed))
        except UnicodeEncodeError:  # half of a surrogate pair
            digests.append("refused")
    assert digests[0] == digests[1]


def test_a_single_file_that_is_edited_between_two_runs_of_a_notebook_is_other_code(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("import numpy\n")
    first = code_digests(f"{path}:Mine")
    path.write_text("import numpy\nfrom msibench.degradation import protocol\n")
    second = code_digests(f"{path}:Mine")
    assert first["mine.py"] != second["mine.py"]
    assert any(name.startswith("msibench/degradation/") for name in second.keys() - first.keys())


def test_code_that_changed_or_is_gone_is_named(plugin, tmp_path):
    target = "msibench_toy.method:Toy"
    digests = fresh(target)
    assert changed_code(target, digests) == []
    (plugin / "helper.py").write_text("SCALE = 3\n")
    assert changed_code(target, digests) == ["msibench_toy/helper.py"]
    (plugin / "method.py").unlink()
    assert changed_code(target, digests) == ["msibench_toy/helper.py", "msibench_toy/method.py"]
    core = dict.fromkeys(["msibench/degradation/binning.py", "msibench/no_such_module.py"], "0")
    assert changed_code(target, core) == list(core)
    single = tmp_path / "mine.py"
    single.write_text("class Mine: ...\n")
    own = fresh(f"{single}:Mine")
    assert changed_code(f"{single}:Mine", own) == []
    single.write_text("class Mine: pass\n")
    assert changed_code(f"{single}:Mine", own) == ["mine.py"]


def test_the_folder_of_a_package_is_found_and_a_single_file_has_none(plugin):
    assert package_folders("msibench_toy.method:Toy") == [plugin]
    assert package_folders("somewhere/mine.py:Mine") == []
    assert package_folders("no_such_package:Mine") == []
    with pytest.raises(PluginError, match="'no_such_package' is not installed"):
        fresh("no_such_package:Mine")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_of_others_holds_have_their_digest(number):
    for text in (number, f"[{number}]", f'{{"a": {number}}}'):
        parsed = json.loads(text)
        assert digest_of_parsed(parsed) == digest_of(parsed)


def test_types_of_numpy_and_of_python_are_one():
    array = np.array([[1, 2], [3, 4]])
    assert canonical_json(array) == "[[1,2],[3,4]]"
    assert canonical_json({1: (np.float32(0.5), True, None), "b": iter("x")}) == (
        '{"1":[0.5,true,null],"b":["x"]}'
    )
    assert canonical_json([-np.inf, np.float64("nan")]) == '["-inf","nan"]'
    assert canonical_json("µ") == '"µ"'


def test_what_describes_a_method_and_computes_nothing_is_not_in_its_code(tmp_path):
    source = tmp_path / "mine.py"
    source.write_text(
        "import msibench.errors\nimport msibench.cli.main, msibench.datasets.cards\n"
        "from msibench import Problem\nfrom msibench.contracts.metric import Intervals\n"
        "from msibench.contracts import metric\nclass Mine: ...\n"
    )
    assert set(fresh(f"{source}:Mine")) == {"mine.py"}
    source.write_text("from msibench.degradation import binning\nclass Mine: ...\n")
    assert "msibench/degradation/binning.py" in fresh(f"{source}:Mine")


def test_a_file_that_is_named_like_a_package_is_a_file():
    for name in ("json.py", "numpy.py"):
        assert package_folders(f"{name}:Mine") == []


def test_versions_are_those_installed_without_what_a_build_adds(monkeypatch):
    monkeypatch.setattr(keys, "ARITHMETIC", ("gone", "numpy", "torch"))
    told = {"numpy": "2.1.0", "torch": "2.5.1+cu124"}

    def version(name):
        if name not in told:
            raise PackageNotFoundError(name)
        return told[name]

    monkeypatch.setattr(keys, "installed_version", version)
    assert keys.versions() == {"numpy": "2.1.0", "torch": "2.5.1"}
