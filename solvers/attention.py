r"""
Attention: softmax against Gaussian
===================================

One layer of attention heads is the model of Song et al. (NeurIPS 2024, arXiv 2411.07538), who compare the softmax of
:math:`s\,k_j\cdot q_i` with the Gaussian kernel :math:`e^{-s|k_j-q_i|^2/2}`, :math:`s=1/\sqrt d`. Here both are trained
on in-context regression. Then two exact facts, for one layer whose :math:`W_Q` is trained alone. Where all tokens have
the same value softmax cannot react, since its weights sum to one; the Gaussian can. And one head on one prompt, keys
-1, 0, 1 with values 1, -1/2, 1/5, has a trap: softmax fits the label 9/10 from :math:`w<\ln 3`, beyond it runs away.
The Gaussian cannot fit it at all.

.. code-block:: sh

   python solvers/attention.py -o attention.h5

writes the trajectories ``attention.h5`` (softmax) and ``attention-gaussian.h5``, each with the risk on the plane of its
principal directions (``-landscape.pdf``), and the figure ``attention.pdf``. With ``--tau-end 2 --width 4`` it takes
seconds. docs/song.md says what follows and what does not.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import wflow
from wflow import figures, initial
from wflow.figures.style import DASHES, DOUBLE, PALETTE, style

KERNELS = ("softmax", "gaussian")


def arguments() -> argparse.Namespace:
    """What can be changed from the command line."""
    parser = argparse.ArgumentParser(description="Attention: softmax against Gaussian.")
    parser.add_argument("-o", "--output", type=Path, default=Path("attention.h5"), help="the trajectory of softmax")
    parser.add_argument("--overwrite", action="store_true", help="replace trajectories that exist")
    parser.add_argument("--tau-end", type=float, default=200.0, help="training time")
    parser.add_argument("--width", type=int, default=32, help="heads M")
    return parser.parse_args()


def alone(data: wflow.Dataset, kernel: str, mask: Any = None) -> wflow.TransformerObjective:
    """One layer of heads with keys of one number, whose W_Q is trained alone."""
    frozen = {"W_V": 0.0, "W_O": 0.0, "W_K": 0.0}
    return wflow.TransformerObjective(data, wflow.Attention(kernel, mask, True, 1), layers=1, mobility=frozen)


def separation(kernel: str) -> float:
    """The speed of W_Q where all tokens have the same value, 1, in row 0: rows are value, key, key, prediction."""
    rng = np.random.default_rng(0)
    tokens = np.concatenate([np.ones((8, 1, 5)), rng.standard_normal((8, 2, 5)), np.zeros((8, 1, 5))], axis=1)
    Q = alone(wflow.Dataset(tokens, rng.standard_normal(8), (3, 4)), kernel)
    W_V, W_O, W_K, W_Q = [1, 0, 0, 0], [0, 0, 0, 1], [0, 1, -1, 0], [0, 0.5, 1, 0]
    return float(np.abs(Q.velocity(wflow.Particles(theta=[[W_V + W_O + W_K + W_Q]]))["theta"]).max())


def trap(kernel: str) -> wflow.TransformerObjective:
    """Rows are key, value, query, prediction. The fourth token asks, and no query sees it."""
    tokens, mask = np.zeros((1, 4, 4)), np.ones((4, 4))
    tokens[0, 0, :3], tokens[0, 1, :3], tokens[0, 2, 3] = (-1, 0, 1), (1, -0.5, 0.2), 1
    mask[3] = 0
    return alone(wflow.Dataset(tokens, [0.9], (3, 3), name="trap"), kernel, mask)


def head(w: float) -> wflow.Particles:
    """Scores of w times the key, or -|key - w|^2/2; W_O = 2 undoes the half step."""
    W_V, W_O, W_K, W_Q = [0, 1, 0, 0], [0, 0, 0, 2], [1, 0, 0, 0], [0, 0, w, 0]
    return wflow.Particles(theta=[[W_V + W_O + W_K + W_Q]])


def main() -> int:
    """Train both kernels, look at the separation and at the trap, draw it."""
    options = arguments()
    data = wflow.datasets.in_context_regression(48, dimension=2, context=8, rng=0, positions=False)
    runs = {}
    for kernel in KERNELS:
        attention = wflow.Attention(kernel, factored=True, scale=data.dimension**-0.5)
        Q = wflow.TransformerObjective(data, attention, weight_decay=1e-4, layers=1)
        path = options.output if kernel == "softmax" else options.output.with_stem(f"{options.output.stem}-{kernel}")
        rho0 = initial.gaussian(0.5).sample(Q, options.width, rng=0)
        save = wflow.SaveAt(tau=np.geomspace(1e-3, 1, 20)[:-1] * options.tau_end)
        kept: dict[str, Any] = {"save": save, "path": path, "overwrite": options.overwrite}
        runs[kernel] = wflow.solve(Q, rho0, (0, options.tau_end), rtol=1e-4, **kept)
        plane = figures.landscape(runs[kernel], quantity="risk")
        figures.save(plane, path.with_name(f"{path.stem}-landscape.pdf"))
        print(f"{kernel}: risk {runs[kernel].risk[0]:.3g} -> {runs[kernel].risk[-1]:.3g}")
        print(f"{kernel}: speed of W_Q where all values are the same: {separation(kernel):.1e}")

    with style():
        figure = Figure(figsize=(DOUBLE, 2.6), layout="constrained")
        curves, shape, flow = figure.subplots(1, 3)
        w = np.linspace(-6, 6, 241)
        for k, kernel in enumerate(KERNELS):
            line: dict[str, Any] = {"color": PALETTE[k], "linestyle": DASHES[k]}
            curves.loglog(runs[kernel].tau[1:], runs[kernel].risk[1:], label=kernel, **line)
            Q = trap(kernel)
            shape.plot(w, [Q.predict(head(x)).item() for x in w], **line)
            for start in (0.5, 2.0):
                answer = wflow.solve(Q, head(start), (0, 1e4), rtol=1e-6, tol=0)
                flow.semilogx(answer.tau[1:], answer.risk[1:], **line)
                print(f"{kernel}: the trap from w = {start:g}: risk {answer.risk[-1]:.3g}")
        shape.axhline(0.9, color="black", linewidth=0.6, linestyle=":")
        curves.set(xlabel=r"$\tau$", ylabel="risk $R$", title="in context")
        shape.set(xlabel="$w$", ylabel="prediction", title="one head, one prompt")
        flow.set(xlabel=r"$\tau$", ylabel="risk $R$", title="from $w=0.5$ and $2$")
        curves.legend()
    figures.save(figure, options.output.with_suffix(".pdf"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
