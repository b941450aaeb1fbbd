"""How many cases: a few always, ten thousand where MSIBENCH_SLOW_TESTS=1."""

import os

from hypothesis import HealthCheck, settings

CASES = int(os.environ.get("MSIBENCH_FUZZ_CASES", "10000"))
MANY = os.environ.get("MSIBENCH_SLOW_TESTS") == "1"

settings.register_profile(
    "msibench-fuzz",
    max_examples=CASES if MANY else 25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
