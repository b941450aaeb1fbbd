"""What large tensors leave behind stays with the process for the next ones.

The C library gives freed memory of a few MB back to the system at once; an iteration that frees and asks for the same
tensors again then has thousands of pages cleared and faulted in, up to a third of its time.
"""

from __future__ import annotations

import numpy as np

_LARGEST = 2**25 - 2**13
"""Just below the largest block from which glibc learns (32 MiB)."""


def keep_freed_memory() -> None:
    """Have up to 64 MiB of freed memory kept from now on.

    glibc raises both of its thresholds (blocks with a mapping of their own; what is trimmed) when such a block of
    a large size is freed. Here that block is never written to, so it costs no memory; other C libraries learn nothing.
    """
    np.empty(_LARGEST, np.uint8)
