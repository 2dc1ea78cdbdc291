"""Error bars: do those of ``wflow check`` cover the true errors, wherever these are known?

Every problem with an exact solution is solved with L = 1, 2 and 4 layers by every scheme in fixed steps: as many as fit,
cut by saved times, cut by the end, and one single step; in adaptive steps; stopped early by a loose tolerance of the
velocity; and from rest. wflow.check.check_problem estimates the errors of Q, R, the predictions, the risk and the error
rate on other labels and the second moment of all parameters; each is held against the exact value for L to infinity.
Densities on grids and classic flows of particles follow, with moments. Deterministic bars must cover all true errors.

Bars of random sources are 95 % intervals. How often they cover is counted over independent samples: of particles in a
Transformer, without noise and with it, whose limit of many particles is known.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import wflow
from validation.drawing import panels
from validation.flows import DENSITIES, FLOWS, SIGMA
from validation.statistics import rms
from validation.study import Answers, Claim, Job, Outcome, Table, at_least
from wflow import problems
from wflow.check import Report, check_problem
from wflow.observers import ErrorRate, Risk
from wflow.schemes import SCHEMES, FiniteVolume, Kernel, Muscl

Array = np.ndarray[Any, Any]
Make = Callable[[int, Any, Any], tuple[Any, ...]]

TAU = 1.5
PARTICLES = ("euler", "heun", "bs3", "rk4", "dopri5", "jko", "bdf2", "midpoint", "discrete-gradient", "avf")
LAYERS = (1, 2, 4)

#: How the steps are made: arguments of wflow.solve.
STEPS: dict[str, dict[str, Any]] = {
    "even steps": {"dtau": 0.125},
    "cut by saved times": {"dtau": 0.125, "save": wflow.SaveAt(every=0.1)},
    "unevenly cut by saved times": {"dtau": 0.1, "save": wflow.SaveAt(every=0.27)},
    "cut by the end": {"dtau": 0.4},
    "one step": {"dtau": 2.0},
    "adaptive": {"rtol": 1e-3, "atol": 1e-6},
    "adaptive, saved": {"rtol": 1e-3, "atol": 1e-6, "save": wflow.SaveAt(tau=[0.1, 0.11, 1.0])},
    "stopped early": {"dtau": 0.125, "tol": 0.2},
    "at rest": {"dtau": 0.125},
}


def clouds(slices: int, **sizes: int) -> wflow.Particles:
    """The same three particles in all slices."""
    rng = np.random.default_rng(4)
    blocks = {name: 0.3 + 0.5 * rng.standard_normal((3, p)) for name, p in sizes.items()}
    return wflow.Particles(**{name: np.broadcast_to(x, (slices, *x.shape)) for name, x in blocks.items()})


def _single_token(layers: int, depth: str) -> problems.Problem:
    slices = 2 * layers + 1 if depth == "rk4-nodes" else layers
    return problems.single_token(clouds(slices, theta=2, w=1), layers=layers, depth=depth)


#: The problem with L layers, by name; its solution is that for L to infinity.
PROBLEMS: dict[str, Callable[[int], problems.Problem]] = {
    "pure-decay": lambda L: problems.pure_decay(clouds(L, theta=8, w=4), layers=L),
    "constant-encoders": lambda L: problems.constant_encoders(clouds(L, theta=1, w=1), layers=L),
    "single-token": lambda L: _single_token(L, "split-euler"),
    "single-token, midpoint": lambda L: _single_token(L, "midpoint"),
    "single-token, rk4-nodes": lambda L: _single_token(L, "rk4-nodes"),
    "two-layer": lambda L: problems.two_layer(clouds(L, theta=3), layers=L),
    "sine-circle": lambda L: problems.sine_circle(layers=L),
}


def other_labels(problem: problems.Problem) -> wflow.Dataset:
    """The prompts with labels +-1."""
    data = problem.energy.dataset
    return wflow.Dataset(data.tokens, np.where(np.arange(data.n_prompts) % 3 == 0, 1.0, -1.0), data.readout)


def squares(rho: Any) -> float:
    """The mean square of all parameters."""
    moments = [om * m.sum() for x in rho.moment(2).values() for om, m in zip(rho.depth_weights, x)]
    return float(sum(moments))


def bars_and_truth(name: str, layers: int, scheme: str, steps: str) -> tuple[Report, dict[str, Any]]:
    """The report of a problem, and the exact values of its quantities."""
    shift = 500.0 if steps == "at rest" else 0.0  # of training time

    def make(layers: int, M: Any, rng: Any) -> tuple[Any, ...]:
        problem = PROBLEMS[name](layers)
        Q, other = problem.energy, other_labels(problem)
        watched = {"other risk": Risk(Q, other), "error rate": ErrorRate(Q, other), "squares": squares}
        return Q, problem.measure(shift) if shift else problem.rho0, watched

    settings = {"tau_range": (0, TAU), "scheme": scheme} | STEPS[steps]
    if scheme in ("euler", "rk4") and "dtau" not in settings:  # without an error estimate
        settings["dtau"] = settings.pop("rtol") * 50
    report = check_problem(make, layers=layers, **settings)
    exact, tau = PROBLEMS[name](layers), TAU + shift
    predictions, other = exact.predictions(tau), other_labels(exact)
    truth: dict[str, Any] = {"Q": exact.value(tau), "R": exact.risk(tau), "predictions": predictions}
    truth |= {"other risk": other.risk(predictions), "error rate": other.error_rate(predictions)}
    return report, truth | {"squares": squares(exact.measure(tau))}


def shares(report: Report, truth: Mapping[str, Any]) -> dict[str, float]:
    """The true errors as shares of their bars; what is below rounding counts as that."""
    shares = {}
    for quantity, value in truth.items():
        error, rounding = rms(report.values[quantity] - value), 1e-12 * max(1.0, rms(value))
        shares[quantity] = error / (report.error(quantity) + rounding)
    return shares
