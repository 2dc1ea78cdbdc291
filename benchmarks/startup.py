"""Seconds from the start of a process to the first accepted step of a run file: cold, and with compiled kernels.

    python benchmarks/startup.py [solvers/digits.toml] [--repeats 3]

Processes share a cache of compiled kernels that is empty at first, so the first of them compiles; all of that is done
a few times, with medians and ranges. A second line says how long the kernels alone take: a process that imports wflow
and evaluates a Transformer with one prompt.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
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


#: The kernels of softmax attention and feed-forward neurons, without work for them.
KERNELS = """
import numpy as np
import wflow
data = wflow.Dataset(np.ones((1, 1, 1)), [1.0])
Q = wflow.TransformerObjective(data, wflow.SoftmaxAttention(), wflow.FeedForward("tanh"), layers=1)
Q.evaluate(wflow.Particles(theta=np.ones((1, 1, 2)), w=np.ones((1, 1, 2))))
"""


def starts(program: list[str], repeats: int) -> str:
    """First processes and later ones, in words."""
    first, later = list[float](), list[float]()
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as cache:
            environment = os.environ | {"NUMBA_CACHE_DIR": cache}
            for seconds in (first, later, later):
                began = time.perf_counter()
                subprocess.run([sys.executable, "-c", *program], check=True, env=environment)
                seconds.append(time.perf_counter() - began)
    return ", ".join(
        f"{name} {statistics.median(seconds):.{digits}f} s ({min(seconds):.{digits}f} to {max(seconds):.{digits}f})"
        for name, seconds, digits in (("first process", first, 1), ("later ones", later, 2))
    )


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runfile", nargs="?", default=Path(__file__).parent.parent / "solvers" / "digits.toml")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    print(f"to the first step of {arguments.runfile}: {starts([PROGRAM, str(arguments.runfile)], arguments.repeats)}")
    print(f"kernels alone: {starts([KERNELS], arguments.repeats)}")


if __name__ == "__main__":
    main()
