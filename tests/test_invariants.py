"""What the flow conserves, whatever the data: checked along runs of the solver."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from conftest import random_data, random_measure, slope

import wflow
from wflow.distances import conditional_w2

LAMBDA = 0.3


def run(objective: wflow.TransformerObjective, tau_end: float, **options: object) -> wflow.Solution:
    rho = random_measure(objective, {"theta": 4, "w": 5}, np.random.default_rng(4), weighted=True)
    return wflow.solve(objective, rho, (0, tau_end), rtol=1e-9, atol=1e-11, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("weight_decay", [0.0, LAMBDA])
def test_factored_attention_keeps_its_balance(weight_decay: float) -> None:
    """``W_O^T W_O - W_V W_V^T`` and ``W_K W_K^T - W_Q W_Q^T`` of every head decay as ``e^{-2 lambda tau}``."""
    D, r = 3, 2
    attention = wflow.SoftmaxAttention(factored=True, rank=r)
    objective = wflow.TransformerObjective(
        random_data(np.random.default_rng(0), 6, D, 4), attention, weight_decay=weight_decay, layers=2
    )
    solution = run(objective, 2.0)

    def balances(rho: wflow.Particles) -> np.ndarray:
        V, O, K, Q = np.split(rho.theta, 4, axis=2)
        V, K, Q = (x.reshape(*x.shape[:2], r, D) for x in (V, K, Q))
        O = O.reshape(*O.shape[:2], D, r)
        t = (0, 1, 3, 2)
        return np.stack([O.transpose(t) @ O - V @ V.transpose(t), K @ K.transpose(t) - Q @ Q.transpose(t)])

    first, last = balances(solution.measure(0)), balances(solution.measure(-1))
    assert np.abs(solution.measure(-1).theta - solution.measure(0).theta).max() > 0.1
    np.testing.assert_allclose(last, np.exp(-4 * weight_decay) * first, atol=1e-7)


@pytest.mark.parametrize(("activation", "conserved"), [("relu", True), ("identity", True), ("huberized-relu", False)])
def test_hidden_units_keep_their_balance(activation: str, conserved: bool) -> None:
    """``|W_2[:, k]|^2 - |W_1[k, :]|^2`` decays as ``e^{-2 lambda tau}`` for homogeneous activations, and only those."""
    D, m = 3, 2
    neurons = wflow.FeedForward(activation, hidden=m)
    data = random_data(np.random.default_rng(1), 6, D, 2)
    objective = wflow.TransformerObjective(data, feedforward=neurons, weight_decay=LAMBDA, layers=2)
    rho = random_measure(objective, {"w": 5}, np.random.default_rng(4))
    # The velocity of relu jumps where a token crosses a kink: small steps of a low order.
    solution = wflow.solve(objective, rho, (0, 1.0), scheme="bs3", dtau=2e-3)

    def balances(rho: wflow.Particles) -> np.ndarray:
        W_1 = rho.w[..., : m * D].reshape(*rho.w.shape[:2], m, D)
        W_2 = rho.w[..., m * D :].reshape(*rho.w.shape[:2], D, m)
        return np.sum(W_2**2, axis=2) - np.sum(W_1**2, axis=3)

    gap = np.abs(balances(solution.measure(-1)) - np.exp(-2 * LAMBDA) * balances(solution.measure(0))).max()
    assert gap < 1e-4 if conserved else gap > 1e-2


def test_bounds_on_distances_and_moments() -> None:
    """``d(rho^r, rho^s)^2 <= (s - r)(Q(r) - Q(s))`` and ``int |beta|^2 d rho <= 2 Q(0) / lambda``."""
    data = random_data(np.random.default_rng(2), 6, 3, 4)
    objective = wflow.TransformerObjective(
        data, wflow.SoftmaxAttention(), wflow.FeedForward("gelu"), weight_decay=LAMBDA, layers=3
    )
    solution = run(objective, 3.0, save=wflow.SaveAt(every=0.5))
    measures = [solution.measure(i) for i in range(solution.n_frames)]
    energies = [objective.value(rho) for rho in measures]
    for i, j in itertools.combinations(range(len(measures)), 2):
        span = solution.frame_tau[j] - solution.frame_tau[i]
        assert conditional_w2(measures[i], measures[j]) ** 2 <= span * (energies[i] - energies[j])
    for rho in measures:
        second = sum(float(np.sum(rho.mass(b)[..., None] * x**2)) for b, x in rho.blocks.items())
        assert second <= 2 * energies[0] / LAMBDA
        for block in rho.blocks:
            np.testing.assert_allclose(rho.weights(block).sum(axis=1), 1, rtol=1e-14)


@pytest.mark.parametrize("depth", ["split-euler", "midpoint", "rk4-nodes"])
def test_residuals_follow_the_tangent_kernel(depth: str) -> None:
    """At lambda = 0 the residuals obey ``dr/dtau = -K r / B`` with the Gram matrix K of the predictions' gradients."""
    rng = np.random.default_rng(3)
    data = random_data(rng, 5, 3, 4)
    encoders = (wflow.SoftmaxAttention(), wflow.FeedForward("tanh"))
    objective = wflow.TransformerObjective(data, *encoders, depth=depth, layers=2)
    rho = objective.prepare(random_measure(objective, {"theta": 4, "w": 5}, rng, weighted=True))
    predictions = objective.predict(rho)
    gradients = []
    for k, prediction in enumerate(predictions):  # one prompt with residual one: the velocity is minus the gradient
        single = wflow.Dataset(data.tokens[[k]], [prediction - 1], data.readout)
        gradients.append(wflow.TransformerObjective(single, *encoders, depth=depth, layers=2).velocity(rho))
    K = np.array(
        [[sum(np.sum(rho.mass(b)[..., None] * f[b] * g[b]) for b in rho.blocks) for g in gradients] for f in gradients]
    )
    v = objective.velocity(rho)
    measured = slope(lambda s: objective.predict(rho.replace(**{b: x + s * v[b] for b, x in rho.blocks.items()})), 0.01)
    np.testing.assert_allclose(measured, -K @ (predictions - data.labels) / data.n_prompts, rtol=0, atol=1e-8)
