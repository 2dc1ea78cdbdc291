"""The tangent kernel against velocity evaluations: how many of them it takes.

    python benchmarks/tangent_kernel.py [--repeats 11] [--threads 2] [RUN.toml ...]

Kernel, spectrum and velocity of a run file (``solvers/digits.toml``) are evaluated in turn, and the medians of the
seconds and of the ratios in the same turn are printed, with the shares of the derivatives prompt by prompt and of their
products. A ratio counts as good up to 50.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import limits  # noqa: F401  # before numpy: it gives BLAS one thread
import numba
import numpy as np

import wflow
from wflow import tangent

#: Velocities that a kernel may take.
MOST = 50


def seconds(work: Callable[[], Any]) -> float:
    """How long something takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(path: str, repeats: int) -> bool:
    """Print the table of one run file; whether the kernel is quick enough."""
    run = wflow.runfile.read(path)
    Q: Any = run.objective
    rho = Q.prepare(run.rho0)
    names = tangent._names(Q, False)

    def derivatives() -> None:
        for _ in tangent._panels(Q, rho, Q.dataset, names):
            pass

    work: dict[str, Callable[[], Any]] = {
        "velocity": lambda: Q.evaluate(rho),
        "tangent_kernel": lambda: wflow.tangent_kernel(Q, rho),
        "  derivatives": derivatives,
        "by group": lambda: wflow.tangent_kernel(Q, rho, by="group"),
        "kernel_spectrum": lambda: wflow.kernel_spectrum(Q, rho),
    }
    for do in work.values():
        do()  # compiles
    turns = np.array([[seconds(do) for do in work.values()] for _ in range(repeats)])
    ratios = np.median(turns / turns[:, :1], axis=0)
    print(f"{path}: B = {Q.dataset.n_prompts}, {rho}, {numba.config.NUMBA_NUM_THREADS} threads\n")
    print("| what | seconds | velocities |\n|---|---|---|")
    for name, time_, ratio in zip(work, np.median(turns, axis=0), ratios):
        print(f"| {name} | {time_:.3g} | {ratio:.1f} |")
    good = bool(ratios[1] <= MOST)
    print(f"\ntangent_kernel takes {ratios[1]:.1f} velocities: {'as' if good else 'NOT as'} promised, at most {MOST}\n")
    return good


def main() -> int:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runfiles", nargs="*", default=["solvers/digits.toml"], metavar="RUN.toml")
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--threads", type=int, default=numba.config.NUMBA_NUM_THREADS)
    options = parser.parse_args()
    numba.config.NUMBA_NUM_THREADS = options.threads
    good = [measure(path, options.repeats) for path in options.runfiles]
    return int(not all(good))


if __name__ == "__main__":
    raise SystemExit(main())
