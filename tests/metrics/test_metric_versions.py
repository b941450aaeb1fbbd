import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from msibench.metrics.specs import REFERENCE_METRICS

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("metric_versions", HERE / "metric_versions.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_no_metric_changed_without_a_new_version(tool):
    recorded = json.loads((HERE / "versions.json").read_text(encoding="utf-8"))
    assert tool.complaints(recorded, tool.current()) == []


def test_changed_code_under_an_old_version_is_told_to_raise_it(tool):
    now = {"psnr": {"version": 1, "digest": "b"}}
    assert "raise the version" in tool.complaints({"psnr": {"version": 1, "digest": "a"}}, now)[0]
    raised = {"psnr": {"version": 2, "digest": "b"}}
    assert "record it" in tool.complaints({"psnr": {"version": 1, "digest": "a"}}, raised)[0]


def test_the_digest_sees_what_a_metric_reaches_in_other_files(tool):
    reached = tool._reach("msibench.metrics.vif", "vif")
    assert ("msibench.metrics.sp5_filters", "_BAND") in reached
    assert ("msibench.metrics.vif", "_box") in reached
    assert ("msibench.metrics.pairs", "pair_images") in reached
    assert ("msibench.metrics.vif", "why_undefined") not in reached
    assert ("msibench.metrics.backbones", "as_rgb") in tool._reach(
        "msibench.metrics.dists", "dists"
    )


def test_the_digest_sees_parameters(tool):
    lpips = next(spec for spec in REFERENCE_METRICS if spec.name == "lpips")
    assert tool.digest_of(lpips) != tool.digest_of(replace(lpips, params={"net": "vgg"}))


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("def f(x): return 2 * x", "def f(x: int) -> int:\n  'Doc.'\n  return 2*x  # why", True),
        ("def f(x): return 2 * x", "def f(x): return 3 * x", False),
        ("A = 1\ndef f(x): return A", "A = 2\ndef f(x): return A", False),
        ("A = 1\ndef f(x): return x", "A = 2\ndef f(x): return x", True),
        ("def f(x): raise ValueError('a')", "def f(x): raise ValueError('b')", True),
    ],
)
def test_only_what_changes_numbers_changes_the_digest(
    tool, before, after, same, tmp_path, monkeypatch
):
    digests = []
    psnr = next(spec for spec in REFERENCE_METRICS if spec.name == "psnr")
    for number, source in enumerate((before, after)):
        # A digest names its module, so both versions live under one name in two folders.
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "digested_metric.py").write_text(source, encoding="utf-8")
        with monkeypatch.context() as patch:
            patch.syspath_prepend(folder)
            for cached in (tool._tree, tool._definitions, tool._imports):
                cached.cache_clear()
            digests.append(tool.digest_of(replace(psnr, target="digested_metric:f")))
    assert (digests[0] == digests[1]) is same
