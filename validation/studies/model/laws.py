"""Do measures that are drawn from initial laws, or put on grids, have the moments of these laws?

    lecun, he    E x^2 = 1/columns, 2/columns        for every matrix of a head or of a neuron
    ball         E r^2 = p/(p + 2), E r^4 = p/(p + 4)    for the radius, in units of that of the ball
    atoms        P(x = x_k) = m_k

Where matrices are among the parameters, and how many columns they have, is known from numpy. Measured: spreads and
frequencies in standard errors for large clouds, with a law for every matrix as well; and means and variances of
normal laws on grids, different for every parameter, block and depth.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import wflow
from validation.flows import random_data
from validation.study import Answer, Claim, Runs, at_most
from validation.transformer import FiniteTransformer

COST = 0.5
CAPTION = ""


def cases(full: bool) -> list[dict[str, Any]]:
    return [{"on": "clouds", "M": 4000, "seed": 3}, {"on": "grids"}]


def measure(on: str, **case: Any) -> Answer:
    """The largest error of clouds in standard errors, or of moments on grids."""
    return {"worst": _on_clouds(**case) if on == "clouds" else _on_grids()}


def claims(runs: Runs) -> list[Claim]:
    clouds = "initial laws: spreads of matrices and balls, frequencies of atoms, largest error in standard errors"
    grids = "normal laws on grids: means and variances of all parameters, largest error"
    return [at_most(clouds, runs.one(on="clouds")["worst"], 4.0), at_most(grids, runs.one(on="grids")["worst"], 1e-6)]


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> None:
    return None


def _on_clouds(M: int, seed: int) -> float:
    rng, D, errors = np.random.default_rng(seed), 6, []
    data = random_data(rng, 2, D, 3)
    model = FiniteTransformer("factored", "tanh", hidden=3, bias=True, rank=2)
    Q = wflow.TransformerObjective(data, wflow.SoftmaxAttention(True, 2), wflow.FeedForward("tanh", 3, True), layers=2)

    def matrices(law: wflow.initial.Law) -> tuple[Any, ...]:
        rho = law.sample(Q, M, rng)
        return (*model.attention_matrices(rho.theta, D), *model.feedforward_matrices(rho.w, D))

    for name, gain in (("lecun", 1.0), ("he", 2.0)):
        for x in matrices(wflow.initial.gaussian(name)):
            spread = float(np.mean(x**2)) * x.shape[-1] / gain
            errors.append(abs(spread - 1) * np.sqrt(x.size / 2))
    groups = {"W_V": 0.1, "W_O": 0.2, "W_K": 0.3, "W_Q": 0.4, "W_1": 0.5, "W_2": 0.6}
    law = wflow.initial.product(**{name: wflow.initial.gaussian(s) for name, s in groups.items()})
    for x, s in zip(matrices(law), groups.values()):
        errors.append(abs(float(np.mean(x**2)) / s**2 - 1) * np.sqrt(x.size / 2))
    one = wflow.TransformerObjective(data, None, wflow.FeedForward("tanh"), layers=2)
    p, mass = one.n_parameters["w"], np.array([0.5, 0.3, 0.2])
    radii = np.sum(wflow.initial.ball(2.0).sample(one, M, rng).w ** 2, axis=2) / 4
    spread = np.sqrt(p / (p + 4) - (p / (p + 2)) ** 2)
    errors.append(abs(radii.mean() - p / (p + 2)) / spread * np.sqrt(radii.size))
    points = np.arange(3)[:, None] * np.ones(p)
    drawn = wflow.initial.atoms(points, mass).sample(one, M, rng).w[..., 0]
    counts = np.array([np.mean(drawn == k) for k in range(3)])
    return float(max(*errors, np.max(np.abs(counts - mass) / np.sqrt(mass * (1 - mass) / drawn.size))))


def _on_grids() -> float:
    encoders = wflow.SoftmaxAttention(), wflow.FeedForward("tanh")
    Q = wflow.TransformerObjective(random_data(np.random.default_rng(0), 2, 1, 3), *encoders, layers=2)
    means, spreads = {"V": 0.5, "W": -0.4, "W_1": 0.2, "W_2": -0.7}, {"V": 0.3, "W": 0.5, "W_1": 0.4, "W_2": 0.6}

    def normal(name: str) -> wflow.initial.Law:
        return wflow.initial.gaussian(spreads[name], mean=lambda t: means[name] * (1 + t))

    law = wflow.initial.product(**{name: normal(name) for name in means})
    box = {"theta": ((-3, 4), (-5, 4)), "w": ((-4, 4), (-6, 4))}
    rho, worst = law.on_grid(Q, box, {"theta": (64, 72), "w": (60, 56)}), 0.0
    for block, names in (("theta", ("V", "W")), ("w", ("W_1", "W_2"))):
        first, second = getattr(rho.moment(1), block), getattr(rho.moment(2), block)  # (depth, parameter)
        for k, name in enumerate(names):
            mean = means[name] * (1 + rho.t)
            gaps = np.abs(first[:, k] - mean), np.abs(second[:, k] - mean**2 - spreads[name] ** 2)
            worst = max(worst, float(np.max(gaps)))
    return worst
