r"""
JKO: steps as large as one likes
================================

The scheme of Jordan, Kinderlehrer and Otto takes the step

.. math:: \rho^{+} = \arg\min_\rho \; Q(\rho) + d^2(\rho, \rho_n) / 2h ,

which cannot raise :math:`Q`, however large h. Explicit Euler, gradient descent, loses that at a step that depends on
the problem. The program finds this step, takes steps of up to 16 times its size by JKO and by BDF2-JKO (of order 2),
and compares with an accurate solution: "16 times" in the figure are those of Euler's limit. It learns in-context
regression with attention and feed-forward.

.. code-block:: sh

   python solvers/jko.py -o jko.h5

writes the trajectory of the largest JKO steps and the figure ``jko.pdf``. With ``--width 4`` it takes seconds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import wflow
from wflow import figures, initial
from wflow.controllers import Fixed
from wflow.figures.style import PALETTE, style


def arguments() -> argparse.Namespace:
    """What can be changed from the command line."""
    parser = argparse.ArgumentParser(description="JKO: steps as large as one likes.")
    parser.add_argument("-o", "--output", type=Path, default=Path("jko.h5"), help="the trajectory to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the trajectory if it exists")
    parser.add_argument("--steps", type=int, default=8, help="how many of the largest steps")
    parser.add_argument("--width", type=int, default=16, help="M")
    return parser.parse_args()


def limit_of_euler(objective: wflow.TransformerObjective, rho0: wflow.Particles) -> float:
    """The first dtau = 2^k with which Q rises in twenty steps of gradient descent."""
    dtau = 2.0**-4
    while True:
        try:
            wflow.solve(objective, rho0, (0, 20 * dtau), scheme="euler", dtau=dtau)
        except wflow.SolveError:
            return dtau
        dtau *= 2


def main() -> int:
    """State the problem, solve it with larger and larger steps, draw it."""
    options = arguments()
    data_rng, particle_rng = np.random.default_rng(0).spawn(2)
    data = wflow.datasets.in_context_regression(64, dimension=1, context=6, rng=data_rng)
    objective = wflow.TransformerObjective(
        data, wflow.SoftmaxAttention(), wflow.FeedForward("tanh"), weight_decay=1e-2, layers=3
    )
    rho0 = initial.gaussian(0.7).sample(objective, options.width, particle_rng)

    dtau = limit_of_euler(objective, rho0)
    tau_end = 16 * dtau * options.steps
    print(f"Q rises with Euler steps of dtau = {dtau:g}; JKO takes them up to {16 * dtau:g}")
    exact = wflow.solve(objective, rho0, (0, tau_end), rtol=1e-7)
    rising = Fixed(4 * dtau, monotone=False)  # else the run would end where Q rises
    runs = {("euler", 4): wflow.solve(objective, rho0, (0, tau_end), scheme="euler", controller=rising)}
    for scheme in ("jko", "bdf2"):
        for factor in (4, 16):
            last = {"path": options.output, "overwrite": options.overwrite} if (scheme, factor) == ("jko", 16) else {}
            runs[scheme, factor] = run = wflow.solve(
                objective, rho0, (0, tau_end), scheme=scheme, dtau=factor * dtau, **last
            )
            counts = {name: n for name, n in run.stats.items() if name in ("jko_checked", "not_jko", "fallbacks")}
            print(f"{scheme:5} {factor:3} times: {run}, {run.stats['rejected']} halvings", counts)

    with style():
        figure = Figure(figsize=(3.4, 3.0), layout="constrained")
        axes = figure.subplots()
        axes.plot(exact.tau, exact.energy, "k-", label="exact")
        for ((scheme, factor), run), colour in zip(runs.items(), PALETTE):
            dash = {"euler": "-", "jko": "--", "bdf2": ":"}[scheme]
            axes.plot(run.tau, run.energy, dash, color=colour, marker="o", label=f"{scheme}, {factor} times")
        axes.set(xlabel=r"$\tau$", ylabel="$Q$", xscale="symlog", yscale="log", xlim=(0, None))
        figure.legend(loc="outside upper center", ncols=2)
    figures.save(figure, options.output.with_suffix(".pdf"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
