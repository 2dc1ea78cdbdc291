r"""
Noise: mean-field Langevin training
===================================

With the entropy :math:`\sigma\int\rho\log\rho` added to :math:`Q`, heads and neurons follow the gradient with noise,
:math:`d\beta = -\nabla\Phi_0\,d\tau + \sqrt{2\sigma}\,dB`. No grid reaches their dimension, and there the entropy of
particles cannot be observed. But at the stationary law :math:`E\langle\beta,\nabla\Phi_0\rangle=\sigma p`: this is
what tells when training has come to rest.

.. code-block:: sh

   python solvers/langevin.py -o langevin.h5

writes the trajectory with noise and the figure ``langevin.pdf``: the risk with and without noise, and the virial. With
``--tau-end 2 --width 32`` it takes seconds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import wflow
from wflow import figures, initial, observers
from wflow.figures.style import PALETTE, style


def arguments() -> argparse.Namespace:
    """What can be changed from the command line."""
    parser = argparse.ArgumentParser(description="Noise: mean-field Langevin training.")
    parser.add_argument("-o", "--output", type=Path, default=Path("langevin.h5"), help="the trajectory to write")
    parser.add_argument("--overwrite", action="store_true", help="replace the trajectory if it exists")
    parser.add_argument("--tau-end", type=float, default=40.0, help="training time")
    parser.add_argument("--width", type=int, default=256, help="M")
    parser.add_argument("--sigma", type=float, default=1e-2, help="the strength of the noise")
    return parser.parse_args()


def main() -> int:
    """State the problem, solve it with and without noise, draw it."""
    options = arguments()
    data_rng, particle_rng = np.random.default_rng(0).spawn(2)
    data = wflow.datasets.in_context_regression(64, dimension=1, context=6, rng=data_rng)
    encoders = wflow.SoftmaxAttention(), wflow.FeedForward("tanh")
    quiet = wflow.TransformerObjective(data, *encoders, weight_decay=0.05, layers=2)
    noisy = wflow.TransformerObjective(data, *encoders, weight_decay=0.05, entropy=options.sigma, layers=2)
    rho0 = initial.gaussian(0.5).sample(quiet, options.width, particle_rng)

    without = wflow.solve(quiet, rho0, (0, options.tau_end), rtol=1e-4)
    solution = wflow.solve(
        noisy,
        rho0,
        (0, options.tau_end),
        scheme="langevin",
        dtau=0.1,
        rng=1,
        observe={"virial": observers.Virial(noisy)},
        path=options.output,
        overwrite=options.overwrite,
    )
    print(solution)
    print(f"virial: {solution.observed['virial'][0]:.3g} -> {solution.observed['virial'][-1]:.3g} (1 at rest)")

    with style():
        figure = Figure(figsize=(3.4, 3.4), layout="constrained")
        above, below = figure.subplots(2, sharex=True)
        above.plot(without.tau, without.risk, "--", color=PALETTE[1], label="without noise")
        above.plot(solution.tau, solution.risk, color=PALETTE[0], label=rf"$\sigma={options.sigma:g}$")
        above.set(ylabel="risk $R$", yscale="log")
        above.legend()
        below.plot(solution.tau, solution.observed["virial"], color=PALETTE[0])
        below.axhline(1.0, color="black", linewidth=0.6, linestyle=":")
        below.set(xlabel=r"$\tau$", ylabel=r"virial $E\langle\beta,\nabla\Phi_0\rangle/\sigma p$")
    figures.save(figure, options.output.with_suffix(".pdf"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
