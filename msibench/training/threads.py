"""The same bytes with one thread or two.

A convolution's weight gradient is a sum over pixels, and PyTorch splits that sum over its threads:
the last bits of a fit then depend on how many there are. Here every PyTorch operation runs on one
thread, and whole pieces of work - whose results are combined in a fixed order - share the cores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from msibench.training.freed_memory import keep_freed_memory

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def one_thread_each() -> Iterator[int]:
    """Let every PyTorch operation inside run on one thread; yield how many threads there were.

    cuDNN is held to its deterministic algorithms for the same time. Both settings are put back. Freed memory is kept
    from here on (`msibench.training.freed_memory`).
    """
    keep_freed_memory()
    threads = torch.get_num_threads()
    deterministic, search = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch.set_num_threads(1)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)
        torch.backends.cudnn.deterministic = deterministic
        torch.backends.cudnn.benchmark = search


@contextmanager
def ordered_map(
    threads: int,
) -> Iterator[Callable[[Callable[[Item], Result], Sequence[Item]], list[Result]]]:
    """Yield ``map(function, items)`` that runs on `threads` threads and keeps the order of `items`.

    Parameters
    ----------
    threads
        At most this many items at a time; with 1 no thread is started.
    """
    if threads <= 1:
        yield lambda function, items: [function(item) for item in items]
        return
    # A new thread starts with OpenMP's own default, whatever the main thread has set.
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield lambda function, items: list(pool.map(function, items))
