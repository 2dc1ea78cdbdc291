"""The Ornstein-Uhlenbeck flow of ``benchmarks/grid.py`` with fplanck (see grid_peer.py)."""

import time

import numpy as np
from grid_peer import initial, problem, serve
from scipy.constants import k as BOLTZMANN

vars(np)["product"] = np.prod  # numpy 2 has dropped the name that fplanck uses

from fplanck import boundary, fokker_planck  # noqa: E402


def main() -> None:
    began, p = time.perf_counter(), problem()
    solver = fokker_planck(
        temperature=p.sigma / BOLTZMANN,
        drag=1.0,
        extent=[2 * p.half] * 2,
        resolution=p.dx * (1 + 1e-12),  # it rounds the number of cells up
        boundary=boundary.reflecting,
        potential=lambda x, y: 0.5 * (x**2 + y**2),
    )

    def solve() -> np.ndarray:
        return np.asarray(solver.propagate(lambda x, y: initial(x, y, p), p.tau, normalize=False))

    serve(solve, began)


if __name__ == "__main__":
    main()
