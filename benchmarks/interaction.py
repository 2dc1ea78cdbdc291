"""Interaction energies on grids: the transform that the package uses against the sum over pairs of cells, interleaved.

    python benchmarks/interaction.py [--cells 32 64]

A density in the box [-4, 4]^2 and ``W(z) = -exp(-|z|^2)``. Both give the first variation at the cells, the
sum over pairs by asking for the first variation at points. The seconds are medians; the difference is the largest,
relative to the largest value.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import wflow


def seconds(run: Callable[[], Any]) -> float:
    """One call."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cells", nargs="+", type=int, default=[32, 48, 64])
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    Q = wflow.InteractionEnergy(
        lambda z: -np.exp(-np.sum(z**2, axis=1)), lambda z: 2 * z * np.exp(-np.sum(z**2, axis=1, keepdims=True))
    )
    print("| cells | transform s | pairs s | pairs over transform | difference |\n|---|---|---|---|---|")
    for n in arguments.cells:
        rho = wflow.Grid(x=np.random.default_rng(0).random((n, n)), box={"x": ((-4, 4), (-4, 4))})
        points = {"x": np.array(rho.points("x"))}
        by_transform, by_pairs = Q.first_variation(rho)["x"], Q.first_variation(rho, points)["x"]
        difference = np.abs(by_transform - by_pairs).max() / np.abs(by_pairs).max()
        runs = (lambda rho=rho: Q.first_variation(rho), lambda rho=rho, at=points: Q.first_variation(rho, at))
        fast, slow = np.array([[seconds(run) for run in runs] for _ in range(arguments.repeats)]).T
        medians = f"{np.median(fast):.2g} | {np.median(slow):.3g} | {np.median(slow / fast):.0f}"
        print(f"| {n}^2 | {medians} | {difference:.1e} |", flush=True)


if __name__ == "__main__":
    main()
