"""Seconds from the start of a process to the first accepted step of a run file, with compiled kernels in the cache.

    python benchmarks/startup.py [solvers/digits.toml] [--repeats 5]

The first of the processes may have to compile and is not counted.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

#: What the process does: read the run file, solve, and end at the second state that is observed.
PROGRAM = """
import sys
import wflow
run, seen = wflow.runfile.read(sys.argv[1]), []
def first_step(rho):
    seen.append(rho)
    if len(seen) == 2:
        sys.exit()
    return 0.0
wflow.solve(run.objective, run.rho0, observe={"first step": first_step}, progress=False, **run.solve_arguments)
"""


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runfile", nargs="?", default=Path(__file__).parent.parent / "solvers" / "digits.toml")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    seconds = []
    for _ in range(arguments.repeats + 1):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", PROGRAM, str(arguments.runfile)], check=True)
        seconds.append(time.perf_counter() - began)
    rest = sorted(seconds[1:])
    print(
        f"first process {seconds[0]:.2f} s; then median {rest[len(rest) // 2]:.2f} s ({rest[0]:.2f} to {rest[-1]:.2f})"
    )


if __name__ == "__main__":
    main()
