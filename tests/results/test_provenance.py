"""Which distribution a method came with."""

from importlib.metadata import distribution, packages_distributions

from msibench.results.provenance import plugin_version


def test_the_distribution_of_every_installed_package_is_named():
    known = packages_distributions()
    expected = {
        package: ", ".join(f"{name} {distribution(name).version}" for name in sorted(set(names)))
        for package, names in known.items()
        if package.isidentifier()
    }
    assert {package: plugin_version(f"{package}.module:name") for package in expected} == expected


def test_what_no_distribution_provides_has_no_version():
    assert plugin_version("no_such_package:name") == ""
    assert plugin_version("/somewhere/method.py:Mine") == ""
