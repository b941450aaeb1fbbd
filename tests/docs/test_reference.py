"""The reference pages say what the code says."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def generator():
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "make_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MADE = generator()


@pytest.mark.parametrize("name", sorted(MADE.pages()))
def test_a_page_is_what_the_code_says(name):
    page = ROOT / "docs" / "reference" / name
    assert page.read_text(encoding="utf-8") == MADE.pages()[name], (
        "the reference is stale: python docs/make_reference.py"
    )


def test_every_variable_of_ours_is_told():
    assert MADE.named_in_code() - MADE.INTERNAL == set(MADE.VARIABLES)


def test_errors_exit_as_the_page_says():
    from msibench import errors

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert {kind.exit_code for kind in kinds if hasattr(kind, "exit_code")} <= set(MADE.EXIT_CODES)
