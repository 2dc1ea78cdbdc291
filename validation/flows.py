"""Flows whose solution is known, of particles and of densities, and random Transformers."""

from __future__ import annotations

__all__ = [
    "DENSITIES",
    "FLOWS",
    "LINE",
    "SIGMA",
    "Case",
    "normal_grid",
    "oblong_grid",
    "ornstein_uhlenbeck",
    "quantiles_of",
    "random_data",
    "random_measure",
    "relaxation",
]

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike
from scipy.special import ndtri
from scipy.stats import norm

import wflow
from wflow.problems import Problem, constant_encoders, pure_decay, sine_circle, single_token, two_layer

Array = np.ndarray[Any, Any]

SIGMA = 0.5


# Flows of particles: energy, initial measure, exact measure, training time, and a rate at which the flow may expand.


class Case(NamedTuple):
    """A flow of particles and its solution."""

    energy: Any
    rho0: wflow.Particles
    exact: wflow.Particles
    tau: float
    expansion: float = 0.0


def _case(problem: Problem, tau: float, expansion: float = 0.0) -> Case:
    return Case(problem.energy, problem.rho0, problem.measure(tau), tau, expansion)


def _uneven(factory: Callable[..., Problem], **options: Any) -> Problem:
    """The problem from other particles: 3 heads and 5 neurons of unequal weights, different in every slice."""
    energy, rng = factory(**options).energy, np.random.default_rng(8)
    return factory(random_measure(energy, {"theta": 3, "w": 5}, rng), **options)


def random_measure(
    energy: wflow.TransformerObjective,
    widths: Mapping[str, int],
    rng: np.random.Generator,
    dtype: DTypeLike = np.float64,
) -> wflow.Particles:
    """Normal particles of unequal weights, different in every slice."""
    blocks, weights = {}, {}
    for block, p in energy.n_parameters.items():
        blocks[block] = rng.standard_normal((energy.rule.n_slices, widths[block], p)).astype(dtype)
        mass = rng.random(blocks[block].shape[:2]) + 0.1
        weights[block] = mass / mass.sum(axis=1, keepdims=True)
    return energy.prepare(wflow.Particles(weights=weights, **blocks))


def quantiles_of(M: int, mean: float = 0.0, deviation: float = 1.0) -> Array:
    """M quantiles of a normal law, as particles (M, 1)."""
    return np.asarray(mean + deviation * ndtri((np.arange(M) + 0.5) / M))[:, None]


def _quadratic() -> Case:
    x, energy = quantiles_of(6, 0.5), wflow.PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x)
    return Case(energy, wflow.Particles(x=x), wflow.Particles(x=x * np.exp(-1.0)), 1.0)


def _double_well() -> Case:
    x = np.array([[-1.4], [-0.3], [0.2], [0.6], [1.3]])
    energy = wflow.PotentialEnergy(lambda x: x[:, 0] ** 4 / 4 - x[:, 0] ** 2 / 2, lambda x: x**3 - x)
    end = x * np.e / np.sqrt(1 + x**2 * (np.e**2 - 1))
    return Case(energy, wflow.Particles(x=x), wflow.Particles(x=end), 1.0, 1.0)


def _interaction() -> Case:
    """W = x^2/2 - |x|: values go to equal distances from one another."""
    M, energy = 8, wflow.InteractionEnergy(lambda z: z[:, 0] ** 2 / 2 - np.abs(z[:, 0]), lambda z: z - np.sign(z))
    x = quantiles_of(M, 0.5, 2.0)
    rest = x.mean() + (2 * np.arange(M)[:, None] + 1) / M - 1
    return Case(energy, wflow.Particles(x=x), wflow.Particles(x=rest + (x - rest) * np.exp(-1.0)), 1.0)


FLOWS: dict[str, Callable[[], Case]] = {
    "pure-decay": lambda: _case(pure_decay(layers=1, width=2, activation="tanh"), 3.0),
    "constant-encoders": lambda: _case(_uneven(constant_encoders, layers=2, depth="rk4-nodes"), 3.0),
    "single-token": lambda: _case(single_token(layers=2, width=2, depth="split-euler", limit=False), 2.0),
    "single-token, midpoint": lambda: _case(single_token(layers=2, width=2, depth="midpoint", limit=False), 2.0),
    "two-layer": lambda: _case(_uneven(two_layer, layers=2), 3.0),
    "sine-circle": lambda: _case(sine_circle(offset=1.0, width=32), 2.0, 0.5),
    "quadratic": _quadratic,
    "double well": _double_well,
    "interaction": _interaction,
}
#: Those of one parameter a block and equal weights, for the scheme that steps in quantiles.
LINE = {"sine-circle", "quadratic", "double well", "interaction"}


# Flows of densities


def normal_grid(cells: int, mean: float, variance: float, half: float, p: int = 1, name: str = "x") -> wflow.Grid:
    """A Gaussian at the centres of cells of a box (-half, half) along every axis."""
    x = _centres(half, cells)
    mesh = np.stack(np.meshgrid(*[x] * p, indexing="ij"), axis=-1)
    density = np.exp(-np.sum((mesh - mean) ** 2, axis=-1) / (2 * variance))
    return wflow.Grid(**{name: density}, box={name: ((-half, half),) * p})


def oblong_grid(cells: int, mean: Sequence[float], variance: Sequence[float]) -> wflow.Grid:
    """A Gaussian in the plane whose axes differ in everything: box, cells, their width, mean and variance."""
    halves, centres = (6.0, 5.0), (_centres(6.0, cells), _centres(5.0, 5 * cells // 8))
    x, y = (np.exp(-((c - m) ** 2) / (2 * v)) for c, m, v in zip(centres, mean, variance))
    return wflow.Grid(x=np.outer(x, y), box={"x": tuple((-half, half) for half in halves)})


def _centres(half: float, cells: int) -> Array:
    """The centres of equal cells of (-half, half)."""
    return np.asarray((np.arange(cells) + 0.5) * 2 * half / cells - half)


def relaxation(rate: float, variance: float, sigma: float, tau: float) -> float:
    """The variance under a linear drift and noise."""
    rest = sigma / rate
    return rest + (variance - rest) * float(np.exp(-2 * rate * tau))


def ornstein_uhlenbeck() -> Any:
    """V = |x|^2/2 with entropy."""
    return wflow.PotentialEnergy(lambda x: 0.5 * np.sum(x**2, axis=1), lambda x: x) + wflow.Entropy(SIGMA)


def _ou(cells: int, p: int = 1) -> tuple[Any, wflow.Grid, wflow.Grid, float]:
    Q = ornstein_uhlenbeck()
    end = normal_grid(cells, np.exp(-1.0), relaxation(1.0, 0.2, SIGMA, 1.0), 6.0, p)
    return Q, normal_grid(cells, 1.0, 0.2, 6.0, p), end, 1.0


def _oblong(cells: int, sigma: float = SIGMA) -> tuple[Any, wflow.Grid, wflow.Grid, float]:
    """The plane with a potential that is stiffer along the second axis, with noise or without."""
    rates, means, variances, tau = np.array([1.0, 1.5]), (1.0, -0.8), (0.3, 0.6), 0.5
    Q: Any = wflow.PotentialEnergy(lambda x: 0.5 * np.sum(rates * x**2, axis=1), lambda x: rates * x)
    end = [relaxation(r, v, sigma, tau) for r, v in zip(rates, variances)]
    grids = oblong_grid(cells, means, variances), oblong_grid(cells, means * np.exp(-rates * tau), end)
    return Q + wflow.Entropy(sigma) if sigma else Q, *grids, tau


def _heat(cells: int) -> tuple[Any, wflow.Grid, wflow.Grid, float]:
    Q = wflow.PotentialEnergy(lambda x: 0 * x[:, 0], lambda x: 0 * x) + wflow.Entropy(SIGMA)
    return Q, normal_grid(cells, 0.3, 0.2, 8.0), normal_grid(cells, 0.3, 0.2 + 2 * SIGMA, 8.0), 1.0


def _constant(cells: int, sigma: float = 0.25) -> tuple[Any, wflow.Grid, wflow.Grid, float]:
    """Constant encoders from N(1, 0.2): their mean is that of particles, noise changes the variance alone."""
    decay, tau, variance = 0.3, 1.0, 0.2
    start = wflow.Particles(theta=np.ones((2, 1, 1)))
    problem = constant_encoders(start, layers=2, weight_decay=decay, blocks=("theta",))
    data, encoder = problem.energy.dataset, problem.energy.encoders["theta"]
    Q = wflow.TransformerObjective(data, encoder, None, decay, sigma, layers=2)
    mean, end = float(problem.measure(tau).theta[0, 0, 0]), relaxation(decay, variance, sigma, tau)
    grids = (normal_grid(cells, m, v, 6.0, name="theta") for m, v in ((1.0, variance), (mean, end)))
    rho0, exact = (Q.prepare(wflow.Grid(theta=np.tile(g.theta, (2, 1)), box=g.box)) for g in grids)
    return Q, rho0, exact, tau


def _well(cells: int) -> tuple[Any, wflow.Grid, wflow.Grid, float]:
    """The masses of N(0.2, 0.09) in the double well: characteristics traced back from the faces of the cells."""
    Q = wflow.PotentialEnergy(lambda x: x[:, 0] ** 4 / 4 - x[:, 0] ** 2 / 2, lambda x: x**3 - x)
    x, grids = np.linspace(-2.2, 2.2, cells + 1), []
    for tau in (0.0, 1.0):
        back = x * np.exp(-tau) / np.sqrt(np.maximum(1 - x**2 * (1 - np.exp(-2 * tau)), 1e-12))
        grids.append(wflow.Grid(x=np.diff(norm.cdf(back, 0.2, 0.3)), box={"x": ((-2.2, 2.2),)}))
    start, end = grids
    return Q, start, end, 1.0


def _barenblatt(cells: int) -> tuple[Any, wflow.Grid, wflow.Grid, float]:
    """Porous medium, m = 2, from tau = 1 to 2: (C - x^2/(12 tau^(2/3)))_+ tau^(-1/3) of mass one, by its masses."""
    edge, x, grids = 9 ** (1 / 3), np.linspace(-4, 4, cells + 1), []
    for tau in (1.0, 2.0):
        u = np.clip(x / (edge * tau ** (1 / 3)), -1, 1)
        grids.append(wflow.Grid(x=np.diff(u - u**3 / 3), box={"x": ((-4, 4),)}))
    start, end = grids
    return wflow.PorousMedium(2.0), start, end, 1.0


DENSITIES: dict[str, Callable[..., tuple[Any, wflow.Grid, wflow.Grid, float]]] = {
    "Ornstein-Uhlenbeck": _ou,
    "Ornstein-Uhlenbeck, 2-D": lambda cells: _ou(cells, 2),
    "oblong plane, noise": _oblong,
    "oblong plane": lambda cells: _oblong(cells, 0.0),
    "heat kernel": _heat,
    "constant encoders, noise": _constant,
    "constant encoders": lambda cells: _constant(cells, 0.0),
    "double well": _well,
    "Barenblatt": _barenblatt,
}


def random_data(rng: Any, B: int, D: int, n: int, K: int = 0) -> wflow.Dataset:
    """Normal prompts with K labels (0: one label, flat)."""
    labels = rng.standard_normal((B, K) if K else B)
    readout = [(k % D, n - 1) for k in range(max(K, 1))]
    return wflow.Dataset(rng.standard_normal((B, D, n)), labels, readout)
