"""A Transformer of scalar tokens, and its laws by the quantile functions of their parameters."""

from __future__ import annotations

__all__ = ["quantile_functions", "transformer"]

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

import wflow

Array = NDArray[np.float64]


def transformer(sigma: float) -> wflow.TransformerObjective:
    """Eight prompts of three numbers, labelled by a Transformer with one head and one neuron."""
    tokens = np.random.default_rng(0).standard_normal((8, 1, 3))
    encoders = wflow.SoftmaxAttention(), wflow.FeedForward("tanh")
    teacher = wflow.TransformerObjective(wflow.Dataset(tokens, np.zeros(8)), *encoders, layers=1)
    data = wflow.Dataset(tokens, teacher.predict(wflow.Particles(theta=[[2.0, 1.0]], w=[[1.5, -2.0]])))
    return wflow.TransformerObjective(data, *encoders, weight_decay=0.2, entropy=sigma, layers=2)


def quantile_functions(rho: Any) -> Array:
    """Of all parameters in all layers, at 40 levels: between cells, densities are linear in their masses."""
    levels, out = (np.arange(40) + 0.5) / 40, []
    for block in ("theta", "w"):
        for l, axis in itertools.product(range(rho.n_slices), range(2)):
            if isinstance(rho, wflow.Grid):
                (lo, hi), dx = rho.box[block][axis], rho.spacing(block)[axis]
                mass = np.append(0.0, np.cumsum(rho.marginal(block, axis)[l]) * dx)
                rising = np.append(True, np.diff(mass) > 1e-15)
                out.append(np.interp(levels, mass[rising], np.linspace(lo, hi, len(mass))[rising]))
            else:
                x = np.sort(rho.points(block)[l, :, axis])
                out.append(np.interp(levels, (np.arange(len(x)) + 0.5) / len(x), x))
    return np.array(out)
