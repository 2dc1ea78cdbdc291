"""What the peers of ``benchmarks/grid.py`` share: the problem, the lines they answer, the times they print.

A peer is started as ``PROGRAM '{"cells": 64, ...}'``, prints ``ready SECONDS`` with the time it took to compile or to
assemble, and answers every line ``run`` with the seconds of one solve, ``save PATH`` with ``saved`` after writing the
density, and ``quit`` by ending.
"""

import json
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace

import answers
import numpy as np


def problem() -> SimpleNamespace:
    """cells, half (of the box), sigma, mean, variance, tau; and the number of the cell width dx."""
    given = SimpleNamespace(**json.loads(sys.argv[1]))
    given.dx = 2 * given.half / given.cells
    return given


def initial(x: np.ndarray, y: np.ndarray, p: SimpleNamespace) -> np.ndarray:
    """The initial density."""
    square = (x - p.mean[0]) ** 2 + (y - p.mean[1]) ** 2
    return np.exp(-square / (2 * p.variance)) / (2 * np.pi * p.variance)


def serve(solve: Callable[[], np.ndarray], began: float) -> None:
    """Solve once, so that all is compiled, and answer."""
    answers.serve(solve, np.save, lambda: f"ready {time.perf_counter() - began}")
