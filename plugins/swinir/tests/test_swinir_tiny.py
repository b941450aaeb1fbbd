from msibench.testing.method_contract import MethodContract
from msibench_swinir.tiny import TINY


class TestTiny(MethodContract):
    """The checkpoint that ships with the plugin keeps every promise of a method."""

    spec = TINY
