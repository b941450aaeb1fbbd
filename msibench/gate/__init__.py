"""Gates: did quality, speed or memory get worse, are the numbers what they claim to be, and whose are they."""

from msibench.gate.margins import Margins, load_margins
from msibench.gate.report import Finding, GateReport, compare

__all__ = ["Finding", "GateReport", "Margins", "compare", "load_margins"]
