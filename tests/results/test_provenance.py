"""Which distribution a method came with."""

import os
import platform
import socket
import sys
from importlib.metadata import (
    PackageNotFoundError,
    distribution,
    packages_distributions,
    version,
)
from pathlib import Path

import numpy as np
import pytest

from msibench.results import provenance
from msibench.results.provenance import (
    environment,
    installed_version,
    plugin_version,
    processor_name,
)


def test_the_distribution_of_every_installed_package_is_named():
    """Of one in sixty, and of those that several distributions share: each is a file to be parsed."""
    known = packages_distributions()
    shared = [package for package, names in known.items() if len(set(names)) > 1]
    expected = {
        package: ", ".join(
            f"{name} {distribution(name).version}" for name in sorted(set(known[package]))
        )
        for package in {*sorted(known)[::60], *shared, "msibench", "numpy"}
        if package.isidentifier()
    }
    assert {package: plugin_version(f"{package}.module:name") for package in expected} == expected


def test_what_no_distribution_provides_has_no_version():
    assert plugin_version("no_such_package:name") == ""
    assert plugin_version("/somewhere/method.py:Mine") == ""


def test_a_version_is_what_the_distribution_says(tmp_path, monkeypatch):
    for name in ("msibench", "numpy", "torch", "pytest"):
        assert installed_version(name) == version(name)
    told = {"dist-info/METADATA": "Name: mine\nVersion: 2.0\n\nVersion: 3.0\n",
            "egg-info/PKG-INFO": "Name: mine\nVersion: 1.0\n"}  # fmt: skip
    for place, text in told.items():
        path = tmp_path / place[:3] / f"mine.{place}"
        path.parent.mkdir(parents=True)
        path.write_text(text)
        monkeypatch.syspath_prepend(path.parents[1])
        assert installed_version("mine") == version("mine") == text.split()[3]
    (tmp_path / "half.dist-info").mkdir()  # an installer is at work
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("half", "no-such-distribution"):
        with pytest.raises(PackageNotFoundError):
            installed_version(name)


def test_the_environment_is_that_of_this_machine():
    found = environment()
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["libraries"]["numpy"] == np.__version__
    assert found["host"] == socket.gethostname()
    assert found["cores"] == os.cpu_count()
    assert found["system"] == f"{os.uname().sysname} {os.uname().machine}"
    assert found["processor"] == processor_name()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor\t: 0\nmodel name\t: One: fast\nmodel name\t: Two\n", "One: fast"),
        ("processor\t: 0\n", "as Python says"),
        (None, "as Python says"),
    ],
)
def test_a_processor_is_named_as_the_system_does(monkeypatch, text, name):
    def told(*_, **__):
        if text is None:
            raise FileNotFoundError
        return text

    monkeypatch.setattr(Path, "read_text", told)
    monkeypatch.setattr(platform, "processor", lambda: "as Python says")
    assert processor_name() == name


def test_a_library_that_is_not_installed_is_left_out(monkeypatch):
    monkeypatch.setattr(provenance, "LIBRARIES", ("no-such-library", "numpy"))
    assert environment()["libraries"] == {"numpy": np.__version__}


def test_a_machine_that_does_not_tell_its_cores_has_one(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert environment()["cores"] == 1
