from msibench.testing.method_contract import MethodContract
from msibench_spandrel.msi import MSI


class TestDCTLSAMSI(MethodContract):
    """The checkpoint that ships with the plugin keeps every promise of a method."""

    spec = MSI
