r"""
Particles: a Transformer learns to tell two digits apart
========================================================

The law :math:`\rho(\beta, t)` of attention heads :math:`\theta` and feed-forward neurons :math:`w` at depth
:math:`t` follows the Wasserstein gradient flow of the regularised risk :math:`Q`,

.. math:: \partial_\tau \rho = \mathrm{div}_\beta (\rho \, \nabla_\beta \, \delta Q / \delta \rho),

in training time :math:`\tau`. Particles carry the law along: with M of them in each of L layers this is the gradient
flow of a Transformer of M heads and M neurons in L layers.

The problem is that of ``digits.toml``, which ``wflow run`` solves, stated here in Python: images of handwritten digits,
4 or 9, cut into four patches. A fifth of them is held out. It takes a minute or two:

.. code-block:: sh

   python solvers/particles.py -o digits.h5

It writes the trajectory ``digits.h5`` and figures of it: ``digits-energy.pdf``, ``digits-clouds.pdf`` and
``digits-heldout.pdf``, the predictions for the held-out images. With ``--tau-end 0.5 --width 4`` it takes seconds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

import wflow
from wflow import figures, initial, observers


def arguments() -> argparse.Namespace:
    """What can be changed from the command line."""
    parser = argparse.ArgumentParser(description="Particles: a Transformer learns to tell two digits apart.")
    parser.add_argument("-o", "--output", type=Path, default=Path("digits.h5"), help="the trajectory to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the trajectory if it exists")
    parser.add_argument("--tau-end", type=float, default=20.0, help="training time")
    parser.add_argument("--layers", type=int, default=6, help="L")
    parser.add_argument("--width", type=int, default=32, help="M")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> int:
    """State the problem, solve it, draw it."""
    options = arguments()

    # The data, and the objective Q. One seed, two streams of random numbers: for what is held out, for the particles.
    split_rng, particle_rng = np.random.default_rng(options.seed).spawn(2)
    train, held_out = wflow.datasets.digits((4, 9), patch=(4, 4), heldout=0.2, rng=split_rng)
    objective = wflow.TransformerObjective(
        train,
        attention=wflow.SoftmaxAttention(),
        feedforward=wflow.FeedForward("tanh"),
        weight_decay=1e-3,
        layers=options.layers,
    )

    # The initial measure: independent particles with independent coordinates of variance about 1/D, D = 21.
    rho0 = initial.gaussian(std=0.218).sample(objective, options.width, particle_rng)

    try:
        solution = wflow.solve(
            objective,
            rho0,
            (0.0, options.tau_end),
            rtol=1e-5,
            atol=1e-8,
            save=wflow.SaveAt(every=min(2.0, options.tau_end)),
            observe={
                "training error rate": observers.ErrorRate(objective),
                "held-out error rate": observers.ErrorRate(objective, held_out),
                "held-out risk": observers.Risk(objective, held_out),
            },
            path=options.output,
            overwrite=options.overwrite,
            rng=options.seed,
        )
    except wflow.Interrupted as interrupt:
        print(interrupt, file=sys.stderr)
        return interrupt.exit_code
    print(solution)
    for name, values in solution.observed.items():
        print(f"{name}: {values[0]:.3g} -> {values[-1]:.3g}")

    stem = options.output.with_suffix("")
    figures.save(figures.energy(solution), f"{stem}-energy.pdf")
    figures.save(figures.clouds(solution), f"{stem}-clouds.pdf")
    figures.save(figures.predictions(solution, dataset=held_out), f"{stem}-heldout.pdf")
    return 0


if __name__ == "__main__":
    sys.exit(main())
