"""The Ornstein-Uhlenbeck flow of ``benchmarks/grid.py`` with py-pde (see grid_peer.py)."""

import time

import numpy as np
import pde
from grid_peer import initial, problem, serve
from pde.solvers import EulerSolver

#: Of the longest stable explicit step, dx^2/(4 sigma).
COURANT = 0.9


def main() -> None:
    began, p = time.perf_counter(), problem()
    grid = pde.CartesianGrid([[-p.half, p.half]] * 2, [p.cells] * 2)
    x, y = np.meshgrid(*grid.axes_coords, indexing="ij")
    rho0 = pde.ScalarField(grid, initial(x, y, p))
    equation = pde.PDE({"c": f"{p.sigma} * laplace(c) + x * d_dx(c) + y * d_dy(c) + 2 * c"}, bc={"derivative": 0})
    # Euler is its fastest: errors of the grid are larger than those of Euler's longest stable steps
    stepper = EulerSolver(equation, backend="numba").make_stepper(rho0.copy(), COURANT * p.dx**2 / (4 * p.sigma))

    def solve() -> np.ndarray:
        rho = rho0.copy()
        stepper(rho, 0.0, p.tau)
        return rho.data

    serve(solve, began)


if __name__ == "__main__":
    main()
