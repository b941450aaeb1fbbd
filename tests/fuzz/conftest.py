"""How many cases: a few always, the same ones; ten thousand others where MSIBENCH_SLOW_TESTS=1.

``--hypothesis-seed=N`` repeats a long run; the seed of one that fails is printed.
"""

import os

from hypothesis import HealthCheck, settings

CASES = int(os.environ.get("MSIBENCH_FUZZ_CASES", "10000"))
MANY = os.environ.get("MSIBENCH_SLOW_TESTS") == "1"

settings.register_profile(
    "msibench-fuzz",
    max_examples=CASES if MANY else 20,
    deadline=None,
    derandomize=not MANY,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
