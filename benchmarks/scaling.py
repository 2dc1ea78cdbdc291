"""How costs scale: of a velocity evaluation, of the objective on a grid, of the conditional distance.

    python benchmarks/scaling.py [--dtype float32] [--quick]

Tokens of dimension 6, prompts of 11, softmax attention and tanh neurons. Each of B, L and M is varied around B = 256,
L = 16, M = 256. A point has a process of its own, in which it takes turns with the centre of the ranges, with one
thread and with two, and with multiply-adds in registers (``limits.py``): the machine, which others use too, changes
from minute to minute, and what it takes off the point it takes off the centre. Medians of turns. Linear scaling shows
as constant nanoseconds per B L M, or rather as a constant ratio to those of the centre in the same turn; ``GB`` is the
peak of the resident memory.

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


def problem(B: int, L: int, M: int, dtype: str, D: int = 6, n: int = 11) -> Callable[[], object]:
    """An evaluation."""
    import numpy as np

    import wflow

    rng = np.random.default_rng(0)
    data = wflow.Dataset(rng.standard_normal((B, D, n)), rng.standard_normal(B), readout=(D - 1, n - 1))
    Q = wflow.TransformerObjective(data, wflow.SoftmaxAttention(), wflow.FeedForward("tanh"), layers=L)
    theta, w = (0.4 * rng.standard_normal((L, M, p)).astype(dtype) for p in (2 * D * D, 2 * D))
    rho = wflow.Particles(theta=theta, w=w)
    return lambda: Q.evaluate(rho)


def measure(size: dict[str, int], centre: dict[str, int], dtype: str, turns: int) -> dict[str, float]:
    """Medians over turns: nanoseconds per B L M on one thread and two, their ratios to those of the centre, and the
    speed-ups of the point and of multiply-adds; and the peak of the memory, the centre's included."""
    import limits
    import numba

    sizes = (size, centre)
    work = [B * L * M for B, L, M in ((x["B"], x["L"], x["M"]) for x in sizes)]
    repeats = [max(1, round(max(work) / w)) for w in work]  # both take about as long
    evaluations = [problem(**x, dtype=dtype) for x in sizes]
    rows = []
    for _ in range(turns + 1):  # the first compiles, or loads what was compiled
        row, rates = {}, {}
        for threads in (1, 2):
            numba.config.NUMBA_NUM_THREADS = threads
            rates[threads] = limits.rate("FMA", dtype, threads, 9)
            seconds = [_seconds(evaluate, count) for evaluate, count in zip(evaluations, repeats)]
            cost, of_centre = (1e9 * s / w for s, w in zip(seconds, work))
            row |= {f"cost_{threads}": cost, f"ratio_{threads}": cost / of_centre}
        row |= {"speed_up": row["cost_1"] / row["cost_2"], "limit": rates[2] / rates[1]}
        rows.append(row)
    medians = {key: statistics.median(row[key] for row in rows[1:]) for key in rows[0]}
    return medians | {"gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


def _seconds(function: Callable[[], object], count: int) -> float:
    """What one of so many calls takes."""
    began = time.perf_counter()
    for _ in range(count):
        function()
    return (time.perf_counter() - began) / count


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


def elsewhere(*given: object) -> dict[str, float]:
    """:func:`measure` in a process of its own."""
    command = [sys.executable, __file__, "--one", json.dumps(given)]
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
        print(json.dumps(measure(*json.loads(options.one))))
        return
    centre = {"B": 64, "L": 4, "M": 32} if options.quick else CENTRE
    figures: dict[str, list[float]] = {"ratio_1": [], "ratio_2": [], "speed_up": []}
    columns = ("1 thread", "to the centre", "2 threads", "to the centre", "speed-up", "that of multiply-adds", "GB")
    print("| B | L | M | ns per B L M, " + " | ".join(columns) + " |\n|" + " --- |" * 10)
    for name, values in (QUICK if options.quick else RANGES).items():
        for value in values:
            size = centre | {name: value}
            point = elsewhere(size, centre, options.dtype, 5)
            for key, seen in figures.items():
                seen.append(point[key])
            cells = [*map(str, size.values())]
            for threads in (1, 2):
                cells += [f"{point[f'cost_{threads}']:.0f}", f"{point[f'ratio_{threads}']:.2f}"]
            cells += [f"{point[key]:.2f}" for key in ("speed_up", "limit", "gigabytes")]
            print("| " + " | ".join(cells) + " |", flush=True)
    names = ("to the centre, 1 thread", "to the centre, 2 threads", "speed-up")
    for name, seen in zip(names, figures.values()):
        print(f"{name}: from {min(seen):.2f} to {max(seen):.2f}, median {statistics.median(seen):.2f}")
    if not options.quick:
        large = {"D": 11, "n": 21, "B": 512, "L": 32, "M": 512}
        point = elsewhere(large, centre, options.dtype, 1)
        seconds = 1e-9 * point["cost_2"] * large["B"] * large["L"] * large["M"]
        print(f"{large}: {seconds:.3g} s and {point['gigabytes']:.2f} GB on two threads")
    grids((8, 16) if options.quick else (16, 32, 64, 128))
    distances(
        (100, 1000) if options.quick else (10**3, 10**4, 10**5, 10**6),
        (32, 64) if options.quick else (128, 256, 512, 1024),
    )


if __name__ == "__main__":
    main()
