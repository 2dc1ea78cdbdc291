r"""
Densities: a Transformer as two densities in the plane
======================================================

When tokens are numbers, a head has two parameters and a neuron has two, and the law of each can be computed as a
density on a grid, without any sampling. The kernel scheme does it with noise :math:`\sigma > 0`:

.. math:: \partial_\tau \rho = \mathrm{div}(\rho\,\nabla\Phi_0) + \sigma \Delta \rho , \quad
          \Phi_0 = E\langle g(T(t), \beta), p(t) \rangle + \tfrac{\lambda}{2} |\beta|^2 .

Mass is exact, the density stays positive, and steps are adaptive to the tolerance in :math:`L^1`.

.. code-block:: sh

   python solvers/grid.py -o grid.h5

writes the trajectory ``grid.h5``, the figure ``grid.pdf`` with the densities of heads and neurons over training time,
and the animation ``grid.gif`` of the heads. With ``--cells 32 --tau-end 1`` it takes seconds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

import wflow
from wflow import figures, initial


def arguments() -> argparse.Namespace:
    """What can be changed from the command line."""
    parser = argparse.ArgumentParser(description="Densities: a Transformer as two densities in the plane.")
    parser.add_argument("-o", "--output", type=Path, default=Path("grid.h5"), help="the trajectory to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the trajectory if it exists")
    parser.add_argument("--tau-end", type=float, default=20.0, help="training time")
    parser.add_argument("--cells", type=int, default=48, help="cells along an axis")
    parser.add_argument("--rtol", type=float, default=1e-5, help="tolerance of a step in L1")
    return parser.parse_args()


def main() -> int:
    """State the problem, solve it, draw it."""
    options = arguments()

    # Prompts of three numbers, labelled by a Transformer with a single head and a single neuron.
    tokens = np.random.default_rng(0).standard_normal((8, 1, 3))
    encoders = wflow.SoftmaxAttention(), wflow.FeedForward("tanh")
    teacher = wflow.TransformerObjective(wflow.Dataset(tokens, np.zeros(8)), *encoders, layers=1)
    labels = teacher.predict(wflow.Particles(theta=[[2.0, 1.0]], w=[[1.5, -2.0]]))
    data = wflow.Dataset(tokens, labels, name="scalar tokens")
    objective = wflow.TransformerObjective(data, *encoders, weight_decay=0.02, entropy=0.02, layers=2)

    box = dict.fromkeys(("theta", "w"), ((-6.0, 6.0), (-6.0, 6.0)))
    rho0 = initial.gaussian(std=0.6).on_grid(objective, box, options.cells)
    solution = wflow.solve(
        objective,
        rho0,
        (0.0, options.tau_end),
        scheme="kernel",
        rtol=options.rtol,
        save=wflow.SaveAt(every=options.tau_end / 20),
        path=options.output,
        overwrite=options.overwrite,
    )
    print(solution)
    print(f"risk {solution.risk[0]:.4g} -> {solution.risk[-1]:.4g}")
    figures.save(figures.density(solution, frames=4, slices=[0]), options.output.with_suffix(".pdf"))
    figures.animate(solution, options.output.with_suffix(".gif"), block="theta", slices=[0])
    return 0


if __name__ == "__main__":
    sys.exit(main())
