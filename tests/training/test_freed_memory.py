import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import numpy as np
from msibench.training.freed_memory import keep_freed_memory

if {kept}:
    keep_freed_memory()
def pages():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def iteration():
    large = [np.ones(300_000, np.float32) for _ in range(6)]  # 293 pages each
    return large[0][0]
for _ in range(3):
    iteration()
before = pages()
for _ in range(20):
    iteration()
print(pages() - before)
"""


def pages_faulted_in_again(kept):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(kept=kept)],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc learns from it")
def test_an_iteration_finds_the_memory_of_the_one_before():
    assert pages_faulted_in_again(kept=False) > 20 * 293  # what there is to gain
    assert pages_faulted_in_again(kept=True) < 293
