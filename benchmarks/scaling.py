"""How costs scale: of a velocity evaluation, of the objective on a grid, of the conditional distance.

    python benchmarks/scaling.py [--dtype float32] [--quick]

Tokens of dimension 6, prompts of 11, softmax attention and tanh neurons. Each of B, L and M is varied around B = 256,
L = 16, M = 256, on one thread and on two; every point is the median of three evaluations in a process of its own, and
``GB`` the peak of its resident memory. Linear scaling shows as a constant column; the lines below say by how much it
varies, and how much two threads are faster than one.

The quadrature of the objective of a scalar-token Transformer over K x K cells of both marginals costs a prompt, a layer
and a cell the same at all K. The distance of clouds of M points sorts in one dimension, M log M, and solves an
assignment problem in more, between M^2 and M^3.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

CENTRE = {"B": 256, "L": 16, "M": 256}
RANGES = {"B": (64, 256, 1024, 2048), "L": (4, 16, 64), "M": (64, 256, 1024)}
QUICK = {"B": (64, 128), "L": (2, 4), "M": (16, 32)}


def measure(B: int, L: int, M: int, dtype: str, D: int = 6, n: int = 11) -> dict[str, float]:
    """Seconds of an evaluation, and the peak of the memory, in this process."""
    import numpy as np

    import wflow

    rng = np.random.default_rng(0)
    data = wflow.Dataset(rng.standard_normal((B, D, n)), rng.standard_normal(B), readout=(D - 1, n - 1))
    Q = wflow.TransformerObjective(data, wflow.SoftmaxAttention(), wflow.FeedForward("tanh"), layers=L)
    theta, w = (0.4 * rng.standard_normal((L, M, p)).astype(dtype) for p in (2 * D * D, 2 * D))
    rho = wflow.Particles(theta=theta, w=w)
    Q.evaluate(rho)  # compiles, or loads what was compiled
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        Q.evaluate(rho)
        seconds.append(time.perf_counter() - began)
    return {
        "seconds": statistics.median(seconds),
        "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def median_seconds(function: Callable[[], object], repeats: int = 3) -> float:
    """The median of a few calls after one."""
    function()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def grids(cells: tuple[int, ...], B: int = 32, L: int = 4, n: int = 4) -> None:
    """Q and its first variation on grids, scalar tokens."""
    import numpy as np

    import wflow

    rng = np.random.default_rng(0)
    data = wflow.Dataset(rng.standard_normal((B, 1, n)), rng.standard_normal(B))
    Q = wflow.TransformerObjective(
        data, wflow.SoftmaxAttention(), wflow.FeedForward("tanh"), 1e-2, entropy=1e-2, layers=L
    )
    box = dict.fromkeys(("theta", "w"), ((-3.0, 3.0), (-3.0, 3.0)))
    print("\n| cells of each marginal | Q and first variation, s | ns per B L cell |\n| --- | --- | --- |")
    for K in cells:
        rho = wflow.initial.gaussian(0.5).on_grid(Q, box, K)
        seconds = median_seconds(lambda rho=rho: Q.linearise(rho))
        print(f"| {K} x {K} | {seconds:.3g} | {1e9 * seconds / (B * L * 2 * K * K):.0f} |", flush=True)


def distances(lines: tuple[int, ...], clouds: tuple[int, ...]) -> None:
    """The conditional distance of clouds in one dimension and in eight."""
    import numpy as np

    import wflow

    rng = np.random.default_rng(0)
    print("\n| p | M | conditional distance, s | growth with M |\n| --- | --- | --- | --- |")
    for p, sizes in ((1, lines), (8, clouds)):
        last = None
        for M in sizes:
            first, second = (wflow.Particles(x=rng.standard_normal((1, M, p))) for _ in range(2))
            seconds = median_seconds(lambda a=first, b=second: wflow.distances.conditional_w2(a, b))
            order = "" if last is None else f"M^{np.log(seconds / last[1]) / np.log(M / last[0]):.2f}"
            print(f"| {p} | {M} | {seconds:.3g} | {order} |", flush=True)
            last = M, seconds


def elsewhere(threads: int, dtype: str, **size: int) -> dict[str, float]:
    """:func:`measure` in a process of its own, with so many threads."""
    command = [sys.executable, __file__, "--one", json.dumps(size), "--dtype", dtype]
    environment = os.environ | {"NUMBA_NUM_THREADS": str(threads)}
    answer = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return dict(json.loads(answer.stdout))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=["float64", "float32"], default="float64")
    parser.add_argument("--quick", action="store_true", help="a few small sizes")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(**json.loads(options.one), dtype=options.dtype)))
        return
    centre = {"B": 64, "L": 4, "M": 32} if options.quick else CENTRE
    costs: dict[int, list[float]] = {1: [], 2: []}
    speedups = []
    print("| B | L | M | ns per B L M, 1 thread | 2 threads | speed-up | GB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, values in (QUICK if options.quick else RANGES).items():
        for value in values:
            size = centre | {name: value}
            work = size["B"] * size["L"] * size["M"]
            points = {threads: elsewhere(threads, options.dtype, **size) for threads in (1, 2)}
            for threads, point in points.items():
                costs[threads].append(1e9 * point["seconds"] / work)
            speedups.append(points[1]["seconds"] / points[2]["seconds"])
            cells = [*size.values(), f"{costs[1][-1]:.0f}", f"{costs[2][-1]:.0f}", f"{speedups[-1]:.2f}"]
            print("| " + " | ".join(map(str, [*cells, f"{points[2]['gigabytes']:.2f}"])) + " |", flush=True)
    for threads, cost in costs.items():
        spread = max(cost) / min(cost)
        print(f"{threads} thread{'s' * (threads > 1)}: the largest cost is {spread:.2f} times the smallest")
    print(f"speed-up by a second thread: {min(speedups):.2f} to {max(speedups):.2f}")
    if not options.quick:
        large = {"D": 11, "n": 21, "B": 512, "L": 32, "M": 512}
        point = elsewhere(2, options.dtype, **large)
        print(f"{large}: {point['seconds']:.3g} s and {point['gigabytes']:.2f} GB on two threads")
    grids((8, 16) if options.quick else (16, 32, 64, 128))
    distances(
        (100, 1000) if options.quick else (10**3, 10**4, 10**5, 10**6),
        (32, 64) if options.quick else (128, 256, 512, 1024),
    )


if __name__ == "__main__":
    main()
