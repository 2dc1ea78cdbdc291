"""A flow until it rests, and what several experiments read of it."""

from __future__ import annotations

__all__ = ["by_lambda", "cost", "excess", "flows", "smallest_decade", "to_rest"]

from collections.abc import Mapping
from typing import Any

import numpy as np

import wflow
from validation.kernel import State, flatten, prediction_gradients, residual_at_rest, state_of
from validation.studies.weight_decay._problems import END, TRANSFORMERS, training
from validation.study import Answer, Runs
from validation.trajectory import finite_transformer
from wflow.schemes import BDF2


def flows(full: bool) -> list[dict[str, Any]]:
    """Transformers over lambda, without weight decay too, and neurons alone."""
    problems = [*TRANSFORMERS][: 2 if full else 1]
    lambdas = [*([1e-4, 3e-4] if full else []), 1e-3, 2e-3, 5e-3, 1e-2, 3e-2, 1e-1]
    cases = [(problem, x) for problem in problems for x in [0.0, *lambdas]]
    cases += [("neurons alone", x) for x in lambdas]
    return [{"problem": problem, "weight_decay": x} for problem, x in cases]


def cost(problem: str, weight_decay: float) -> float:
    """About the seconds of a flow."""
    return 12.0 if problem in TRANSFORMERS else 10.0


def to_rest(problem: str, weight_decay: float) -> Answer:
    """The flow to lambda tau = END, for lambda = 0 to tau = 4000: series, collapse, residuals against those predicted.

    ``V - V*(W) = G_V/lambda`` with the gradient G of the numpy Transformer; W_2 likewise.
    """
    objective, rho0, prompts, floor = training(problem, weight_decay)
    end = END / weight_decay if weight_decay else 4000.0
    save = wflow.SaveAt(tau=np.geomspace(5e-4 * end, end, 41)[:-1].tolist())
    accuracy: dict[str, Any] = {"scheme": BDF2(memory=40, max_iter=400), "rtol": 1e-2, "atol": 1e-3}
    watch = {"radius": lambda rho: rho.radius}
    tol = 1e-10 if weight_decay else 1e-6  # without decay the risk goes to zero: R is about 1e-10 then
    answer = wflow.solve(objective, rho0, (0, end), **accuracy, save=save, observe=watch, tol=tol)
    model, data = finite_transformer(objective), objective.dataset
    states = [state_of(answer.measure(i).blocks) for i in range(answer.n_frames)]
    Q, R = model.value(*states[-1], data)
    out: dict[str, Any] = {} if floor is None else {"floor": floor}
    out |= {"tau": answer.tau, "Q": answer.energy, "R": answer.risk, "radius": answer.observed["radius"]}
    out |= {"frame_tau": answer.frame_tau, "second_moment": np.array([flatten(x) @ flatten(x) for x in states])}
    out |= {"numpy_Q": Q, "numpy_R": R}
    if weight_decay:
        gradients = [model.gradient(*x, data) for x in states]
        out["gap_V"] = np.array([_gap(x, g, 0) / weight_decay for x, g in zip(states, gradients)])
        out["gap_W2"] = np.array([_gap(x, g, 1) / weight_decay for x, g in zip(states, gradients)])
        speed, size = (float(np.linalg.norm(flatten(x[-1]))) for x in (gradients, states))
        out["relative velocity"] = speed / (weight_decay * size)
        out["r"] = model.predict(*states[-1], prompts).ravel() - prompts.labels
        J = prediction_gradients(model, states[-1], prompts)
        out["expected_r"] = residual_at_rest(J, states[-1], weight_decay)
    return out


def _gap(state: State, gradient: State, block: int) -> float:
    """rms of the gradient in V (block 0) or W_2 (block 1), the second half of a neuron, over rms of these."""
    x, G = state[block], gradient[block]
    if x is None or G is None:
        return np.nan
    half = x.shape[2] // 2
    part = slice(None, half) if block == 0 else slice(half, None)
    return float(np.sqrt(np.mean(np.sum(G[..., part] ** 2, axis=-1)) / np.mean(np.sum(x[..., part] ** 2, axis=-1))))


def by_lambda(runs: Runs, **some: Any) -> dict[float, Answer]:
    """The answers of some cases, lambda rising."""
    return dict(sorted(((case["weight_decay"], answer) for case, answer in runs.of(**some)), key=lambda pair: pair[0]))


def excess(run: Answer, letter: str) -> float:
    """Q or R at the end above the floor."""
    return float(np.ravel(run[letter])[-1] - run.get("floor", 0.0))


def smallest_decade(decays: Mapping[float, Any]) -> list[float]:
    """The smallest decade of lambda > 0, over which exponents are fitted."""
    positive = [x for x in decays if x > 0]
    return [x for x in positive if x < 10.1 * positive[0]]
