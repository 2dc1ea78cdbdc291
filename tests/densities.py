"""Flows of densities with known answers, for the tests of several schemes."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np

import wflow

SIGMA = 0.5


def ornstein_uhlenbeck() -> wflow.energies.SumEnergy:
    return wflow.PotentialEnergy(lambda x: 0.5 * np.sum(x**2, axis=1), lambda x: x) + wflow.Entropy(SIGMA)


def normal(grid: tuple[np.ndarray, ...], mean: Any, variance: float) -> np.ndarray:
    mesh = np.stack(np.meshgrid(*grid, indexing="ij"), axis=-1)
    return np.asarray(np.exp(-0.5 * np.sum((mesh - mean) ** 2, axis=-1) / variance))


def gaussian_grid(n: int, p: int = 1, mean: float = 1.0, variance: float = 0.2, half: float = 6.0) -> wflow.Grid:
    axis = (np.arange(n) + 0.5) * 2 * half / n - half
    return wflow.Grid(x=normal((axis,) * p, mean, variance), box={"x": ((-half, half),) * p})


def error(rho: wflow.Grid, tau: float) -> float:
    """The L1 distance from the exact law of the Ornstein-Uhlenbeck flow that starts at N(1, 0.2)."""
    exact = wflow.Grid(x=normal(rho.axes("x"), np.exp(-tau), SIGMA + (0.2 - SIGMA) * np.exp(-2 * tau)), box=rho.box)
    return float(np.abs(rho.x - exact.x).sum() * rho.cell_volume("x"))


def scalar_transformer() -> wflow.TransformerObjective:
    """Scalar tokens, so that both marginals have two parameters."""
    tokens = np.random.default_rng(0).standard_normal((6, 1, 3))
    data = wflow.Dataset(tokens, np.sin(tokens[:, 0, -1]))
    return wflow.TransformerObjective(
        data, wflow.SoftmaxAttention(), wflow.FeedForward("tanh"), weight_decay=0.2, entropy=0.1, layers=2
    )


def observed_orders(
    energy: wflow.energies.Energy, rho0: wflow.Grid, scheme: Any, steps: list[float], end: float = 1.0
) -> list[float]:
    """The order in tau from the differences in L1 between the answers for steps that are halved."""
    answers = [wflow.solve(energy, rho0, (0, end), scheme=scheme, dtau=h).measure(-1).x for h in steps]
    differences = [np.abs(b - a).sum() for a, b in itertools.pairwise(answers)]
    return [float(np.log2(a / b)) for a, b in itertools.pairwise(differences)]


def resumed_and_whole(
    energy: wflow.energies.Energy, rho0: wflow.Grid, scheme: Any, folder: Path, again: Any = None, **options: Any
) -> tuple[wflow.Solution, wflow.Solution]:
    """A run that was resumed halfway, with the scheme passed again if wanted, and the same run without a break."""
    whole = wflow.solve(energy, rho0, (0, 1), scheme=scheme, save=wflow.SaveAt(tau=[0.5]), **options)
    wflow.solve(energy, rho0, (0, 0.5), scheme=scheme, path=folder / "run.h5", **options)
    return wflow.resume(folder / "run.h5", 1.0, energy=energy, scheme=again), whole


def assert_equal_runs(a: wflow.Solution, b: wflow.Solution) -> None:
    """Bit for bit."""
    for name, series in a.series.items():
        assert np.array_equal(series, b.series[name], equal_nan=True), name
    assert np.array_equal(a.measure(-1).x, b.measure(-1).x)
