r"""
Structure: the energy identity to round-off
===========================================

Along the exact flow :math:`Q(0) - Q(\tau) = \int_0^\tau |v|^2`. Explicit schemes keep this identity to their order. The
discrete gradient of Gonzalez keeps it to round-off in every step, whatever the step, at the price of an implicit
equation: what is then left of :math:`Q` was dissipated by the motion, and nothing else.

.. code-block:: sh

   python solvers/structure_preserving.py -o structure.h5

writes the trajectory of the discrete gradient and the figure ``structure.pdf``: the defect of the identity over
training time, at the same fixed step. With ``--tau-end 1`` it takes seconds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import wflow
from wflow import figures, initial
from wflow.figures.style import DASHES, PALETTE, style


def arguments() -> argparse.Namespace:
    """What can be changed from the command line."""
    parser = argparse.ArgumentParser(description="Structure: the energy identity to round-off.")
    parser.add_argument("-o", "--output", type=Path, default=Path("structure.h5"), help="the trajectory to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the trajectory if it exists")
    parser.add_argument("--tau-end", type=float, default=10.0, help="training time")
    parser.add_argument("--dtau", type=float, default=0.25, help="the step")
    return parser.parse_args()


def main() -> int:
    """State the problem, solve it by four schemes, draw the defects."""
    options = arguments()
    data_rng, particle_rng = np.random.default_rng(0).spawn(2)
    data = wflow.datasets.in_context_regression(64, dimension=1, context=6, rng=data_rng)
    objective = wflow.TransformerObjective(
        data, wflow.SoftmaxAttention(), wflow.FeedForward("tanh"), weight_decay=1e-2, layers=3
    )
    rho0 = initial.gaussian(0.7).sample(objective, 16, particle_rng)

    runs = {}
    for scheme in ("euler", "heun", "rk4", "discrete-gradient"):
        kept = {"path": options.output, "overwrite": options.overwrite} if scheme == "discrete-gradient" else {}
        run = runs[scheme] = wflow.solve(
            objective, rho0, (0, options.tau_end), scheme=scheme, dtau=options.dtau, **kept
        )
        print(f"{scheme:18} largest defect {np.abs(run.series['defect']).max():.1e}, {run}")

    with style():
        figure = Figure(figsize=(3.4, 2.4), layout="constrained")
        axes = figure.subplots()
        for (scheme, run), colour, dash in zip(runs.items(), PALETTE, DASHES):
            axes.semilogy(run.tau[1:], np.abs(run.series["defect"][1:]) + 1e-18, dash, color=colour, label=scheme)
        axes.set(xlabel=r"$\tau$", ylabel=r"$|Q(0) - Q(\tau) - \int_0^\tau |v|^2|$", ylim=(1e-18, 1))
        axes.legend(loc="center right")
    figures.save(figure, options.output.with_suffix(".pdf"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
