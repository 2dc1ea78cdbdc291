"""Compile all kernels ahead: what a first run would wait for."""

from __future__ import annotations

__all__ = ["warmup"]

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import wflow


def warmup(say: Callable[[str], None]) -> Path | None:
    """Compile what is not on disk yet; ``say`` hears what comes next. Returns the folder, None where there is none."""
    from wflow.kernels import disk

    for precision in (np.float64, np.float32):
        say(f"Transformers in {np.dtype(precision).name}")
        _transformer(precision)
    say("densities on grids")
    _densities()
    return disk.folders(Path(disk.__file__).parent)[1]


def _transformer(precision: type) -> None:
    """One build serves all encoders, depth rules and sizes, but each precision has its own."""
    data = wflow.Dataset(np.ones((2, 2, 2)), [0.0, 1.0])
    objective = wflow.TransformerObjective(data, wflow.Attention(), wflow.FeedForward(), layers=2)
    rho = wflow.initial.gaussian(1.0).sample(objective, 2, 0, dtype=precision)
    objective.evaluate(rho)
    wflow.kernel_spectrum(objective, rho)


def _densities() -> None:
    from wflow.kernels.convolution import convolve_pairs

    rho = wflow.Grid(x=np.exp(-(np.linspace(-6, 6, 48) ** 2)), box={"x": ((-6, 6),)})
    energy: Any = wflow.PotentialEnergy(lambda x: np.sum(x**2, axis=1) / 2, lambda x: x) + wflow.Entropy(0.5)
    for scheme in ("kernel", "finite-volume"):
        wflow.solve(energy, rho, (0, 0.02), scheme=scheme, dtau=0.01, progress=False)
    convolve_pairs(np.ones((1, 1, 2)), np.ones((1, 1, 3)))
