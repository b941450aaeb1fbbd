"""How long a function may be, and how much it may be given."""

import ast
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]
MOST_LINES = 60
"""Of a function, its docstring not counted."""
MOST_PARAMETERS = 8
"""What goes together beyond that is one frozen value."""
WIDER = {
    "msibench/decomposition/nmf.py: nmf": "the keywords of scikit-learn's, each with a default",
    "msibench/scoring/noninferiority.py: noninferiority": "values, their groups, and terms with defaults",
    "plugins/baselines/msibench_baselines/image_network.py: __init__": "a method's configuration",
    "plugins/deepfere/msibench_deepfere/fitting.py: __init__": "the published choices of a fit",
    "plugins/mambair/msibench_mambair/triton_scan.py: _walk": "a kernel takes pointers and sizes",
}
"""Functions that may be given more, and why."""


@cache
def functions():
    return list(found_functions())


def found_functions():
    for folder in ("msibench", "plugins", "datasets"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "tests" not in path.parts:
                for node in functions_in(ast.parse(path.read_text(encoding="utf-8"))):
                    yield f"{path.relative_to(ROOT).as_posix()}: {node.name}", node


def functions_in(node):
    """Yield every function among the statements below a node; expressions, which hold none, are passed over."""
    for place in ("body", "orelse", "finalbody", "handlers", "cases"):
        for child in getattr(node, place, ()):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield child
            yield from functions_in(child)


def lines_of(node):
    first = node.body[0]
    is_docstring = (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )
    docstring = first.end_lineno - first.lineno + 1 if is_docstring else 0
    return node.end_lineno - node.lineno + 1 - docstring


def parameters_of(node):
    given = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
    return len([one for one in given if one.arg not in {"self", "cls"}])


def test_no_function_is_longer_than_a_screen():
    assert {name: lines_of(node) for name, node in functions() if lines_of(node) > MOST_LINES} == {}


def test_what_goes_together_is_one_value():
    wide = {name for name, node in functions() if parameters_of(node) > MOST_PARAMETERS}
    assert wide <= set(WIDER)


@pytest.mark.parametrize(
    ("text", "lines", "parameters"),
    [
        ("def f(a, /, b, *more, c=1, **rest):\n    'One.'\n    return a\n", 2, 3),
        ("class A:\n    def f(self, a):\n        '''One.\n\n        Two.\n        '''\n", 1, 1),
    ],
)
def test_docstrings_and_self_do_not_count(text, lines, parameters):
    (node,) = (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef))
    assert (lines_of(node), parameters_of(node)) == (lines, parameters)


def test_faults_are_planted_in_files_that_exist_each_night():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "mutants"
    ]
    for name, part in settings["parts"].items():
        for file in part["files"]:
            assert list((ROOT / "msibench" / part["package"]).glob(f"{file}.py")), (name, file)
        for argument in part["tests"]:
            path = argument.removeprefix("--ignore=").removeprefix("--deselect=").partition("::")[0]
            assert (ROOT / path).exists(), (name, argument)
    for path, equivalent in settings["equivalent"].items():
        text = " ".join((ROOT / path).read_text(encoding="utf-8").split())
        for before, _, why in equivalent:
            assert " ".join(before.split()) in text, (path, before)
            assert why
    nightly = (ROOT / ".github/workflows/nightly.yml").read_text(encoding="utf-8")
    matrix = re.search(r"part: \[([^]]*)\]", nightly)
    assert matrix is not None
    assert matrix[1].split(", ") == list(settings["parts"])


def test_a_share_of_a_sweep_has_every_value_of_every_parameter(request):
    ours = request.config.pluginmanager.get_plugin(str(ROOT / "conftest.py"))
    tests = [
        Swept(cls, SimpleNamespace(params={"a": a, "b": b}))
        for cls in ("X", "Y") for a in range(4) for b in "abcdef"
    ]  # fmt: skip
    share = ours.each_value_once(tests)
    assert 6 <= len(share) <= 8
    assert {each.cls for each in share} == {each.cls for each in tests}
    for name in "ab":
        assert {each.callspec.params[name] for each in share} == {
            each.callspec.params[name] for each in tests
        }


@dataclass(frozen=True, eq=False)
class Swept:
    """What a share looks at of a test."""

    cls: str
    callspec: SimpleNamespace


def test_files_that_are_begun_first_or_kept_together_are_there(request):
    ours = request.config.pluginmanager.get_plugin(str(ROOT / "conftest.py"))
    assert all((ROOT / path).exists() for path in ours.FIRST)
    assert all((ROOT / path).is_dir() for path in ours.TOGETHER)
