"""Work that is shared between threads: the kernels release the interpreter's lock while they compute."""

from __future__ import annotations

__all__ = ["in_threads"]

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numba


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(numba.config.NUMBA_NUM_THREADS, thread_name_prefix="wflow")


if hasattr(os, "register_at_fork"):  # threads do not survive a fork
    os.register_at_fork(after_in_child=_pool.cache_clear)


def in_threads(work: Callable[[int], None], count: int, alone: bool = False) -> None:
    """``work(i)`` for i = 0, ..., count - 1, by as many threads as numba has (``NUMBA_NUM_THREADS``), or by one alone.

    Whichever is free takes the next i: what is done must not depend on by whom. The first error is raised when all
    threads have stopped.

    Examples
    --------
    >>> squares = [0] * 4
    >>> def work(i):
    ...     squares[i] = i * i
    >>> in_threads(work, 4)
    >>> squares
    [0, 1, 4, 9]
    """
    left = itertools.count()

    def worker() -> None:
        while (i := next(left)) < count:
            try:
                work(i)
            except BaseException:
                for _ in range(count):  # nothing is left for the others
                    next(left)
                raise

    threads = 1 if alone else min(count, numba.config.NUMBA_NUM_THREADS)
    helpers = [_pool().submit(worker) for _ in range(threads - 1)]
    try:
        worker()
    finally:
        for helper in helpers:
            helper.result()
