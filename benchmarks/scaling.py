"""How costs scale: of a velocity evaluation, of the objective on a grid, of the conditional distance.

    python benchmarks/scaling.py [--dtype float32] [--quick]

Tokens of dimension 6, prompts of 11, softmax attention and tanh neurons. Each of B, L and M is varied around B = 256,
L = 16, M = 256, each point in a process of its own that takes turns with one thread and two and, in the same turns,
with multiply-adds in registers (``limits.py``): other users of the machine slow both. Medians of five turns. Linear
scaling shows as constant nanoseconds per B L M, or rather as a constant multiple of what multiply-adds in the same turn
take, since the machine changes from minute to minute; ``GB`` is the peak of the resident memory.

The quadrature of the objective of a scalar-token Transformer over K x K cells of both marginals costs a prompt, a layer
and a cell the same at all K. The distance of clouds of M points sorts in one dimension, M log M, and solves an
assignment problem in more, between M^2 and M^3.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

CENTRE = {"B": 256, "L": 16, "M": 256}
RANGES = {"B": (64, 256, 1024, 2048), "L": (4, 16, 64), "M": (64, 256, 1024)}
QUICK = {"B": (64, 128), "L": (2, 4), "M": (16, 32)}


def measure(B: int, L: int, M: int, dtype: str, D: int = 6, n: int = 11, turns: int = 5) -> dict[str, float]:
    """Medians over turns: seconds of an evaluation on one thread and two, speed-ups, multiply-adds in that time; and
    the peak of the memory."""
    import limits
    import numba
    import numpy as np

    import wflow

    rng = np.random.default_rng(0)
    data = wflow.Dataset(rng.standard_normal((B, D, n)), rng.standard_normal(B), readout=(D - 1, n - 1))
    Q = wflow.TransformerObjective(data, wflow.SoftmaxAttention(), wflow.FeedForward("tanh"), layers=L)
    theta, w = (0.4 * rng.standard_normal((L, M, p)).astype(dtype) for p in (2 * D * D, 2 * D))
    rho = wflow.Particles(theta=theta, w=w)
    rows = []
    for _ in range(turns + 1):  # the first compiles, or loads what was compiled
        seconds, rates = {}, {}
        for threads in (1, 2):
            numba.config.NUMBA_NUM_THREADS = threads
            rates[threads] = limits.rate("FMA", dtype, threads, 9)
            began = time.perf_counter()
            Q.evaluate(rho)
            seconds[threads] = time.perf_counter() - began
        row = {"speed_up": seconds[1] / seconds[2], "limit": rates[2] / rates[1]}
        for threads in (1, 2):
            row |= {f"seconds_{threads}": seconds[threads], f"work_{threads}": seconds[threads] * rates[threads]}
        rows.append(row)
    medians = {key: statistics.median(row[key] for row in rows[1:]) for key in rows[0]}
    return medians | {"gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


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


def elsewhere(dtype: str, **size: int) -> dict[str, float]:
    """:func:`measure` in a process of its own."""
    command = [sys.executable, __file__, "--one", json.dumps(size), "--dtype", dtype]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
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
    costs: dict[str, list[float]] = {}
    print("| B | L | M | ns per B L M, 1 thread | 2 threads | speed-up | that of multiply-adds | GB |")
    print("|" + " --- |" * 8)
    for name, values in (QUICK if options.quick else RANGES).items():
        for value in values:
            size = centre | {name: value}
            work = size["B"] * size["L"] * size["M"]
            point = elsewhere(options.dtype, **size)
            for key in ("seconds_1", "seconds_2", "work_1", "work_2"):
                costs.setdefault(key, []).append(point[key] / work)
            cells = [*map(str, size.values()), *(f"{1e9 * point[f'seconds_{t}'] / work:.0f}" for t in (1, 2))]
            cells += [f"{point[key]:.2f}" for key in ("speed_up", "limit", "gigabytes")]
            print("| " + " | ".join(cells) + " |", flush=True)
    for threads in (1, 2):
        spreads = [max(costs[key]) / min(costs[key]) for key in (f"seconds_{threads}", f"work_{threads}")]
        print(
            f"{threads} thread{'s' * (threads > 1)}: the largest cost is {spreads[0]:.2f} times the smallest in time,"
            f" {spreads[1]:.2f} times in multiply-adds of the same turn"
        )
    if not options.quick:
        large = {"D": 11, "n": 21, "B": 512, "L": 32, "M": 512}
        point = elsewhere(options.dtype, **large, turns=1)
        print(f"{large}: {point['seconds_2']:.3g} s and {point['gigabytes']:.2f} GB on two threads")
    grids((8, 16) if options.quick else (16, 32, 64, 128))
    distances(
        (100, 1000) if options.quick else (10**3, 10**4, 10**5, 10**6),
        (32, 64) if options.quick else (128, 256, 512, 1024),
    )


if __name__ == "__main__":
    main()
