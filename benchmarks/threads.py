"""The kernel scheme on a grid with the threads of the BLAS and without, in turn, on a free and on a busy machine.

    python benchmarks/threads.py [--cells 160]

The problem is that of ``benchmarks/grid.py``. Two processes take turns, one with OPENBLAS_NUM_THREADS=1; then again
while as many processes as there are cores do nothing but add. The seconds of one solve are medians, and the ratio is
the median of the ratios of the turns.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

import numpy as np

BUSY = "x = 0\nwhile True:\n    x += 1"


class Solver:
    """A process that solves once for every line, with some threads of the BLAS."""

    def __init__(self, cells: int, threads: str) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
        environment |= {"OPENBLAS_NUM_THREADS": threads} if threads else {}
        command = [sys.executable, __file__, "--cells", str(cells), "--serve"]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def seconds(self) -> float:
        """One solve."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("run\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


def serve(cells: int) -> None:
    """Solve once for every line of the standard input, and print the seconds."""
    from grid import KERNEL, Ours

    ours = Ours(*KERNEL, cells)
    for _ in sys.stdin:
        print(ours.seconds(), flush=True)


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cells", type=int, default=160)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--serve", action="store_true", help="be one of the two processes")
    arguments = parser.parse_args()
    if arguments.serve:
        return serve(arguments.cells)
    solvers = [Solver(arguments.cells, threads) for threads in ("", "1")]
    print("| machine | threads as they come, s | one thread, s | ratio |\n|---|---|---|---|")
    for machine, number in (("free", 0), ("busy", os.cpu_count() or 1)):
        others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(number)]
        times = np.array([[solver.seconds() for solver in solvers] for _ in range(arguments.repeats)])
        many, one = np.median(times, axis=0)
        print(f"| {machine} | {many:.3g} | {one:.3g} | {np.median(times[:, 0] / times[:, 1]):.2f} |", flush=True)
        for other in others:
            other.kill()
            other.wait()
    for solver in solvers:
        solver.close()
    return None


if __name__ == "__main__":
    main()
