"""Slow, plain versions of two metrics, loaded from beside the tests."""

import importlib.util
from pathlib import Path

import pytest


def _load(name):
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def direct_nqm():
    return _load("direct_nqm")


@pytest.fixture(scope="session")
def direct_vif():
    return _load("direct_vif")
