import pytest

from msibench.registration import transform


@pytest.fixture(autouse=True)
def _kinds_of_transforms(monkeypatch):
    """A kind of transform that a test defines is not read by the tests after it."""
    monkeypatch.setattr(transform, "_KINDS", dict(transform._KINDS))
