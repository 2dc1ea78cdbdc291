"""The split-Euler flow against the independent finite Transformer: value, velocity and whole training runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import random_data, random_measure
from hypothesis import example, given, settings
from hypothesis import strategies as st

import wflow
from validation.agreement import MASKS, differences
from validation.heads import KERNELS
from validation.losses import LOSSES
from validation.transformer import FiniteTransformer
from wflow.controllers import Fixed

TOLERANCE = {np.float64: 1e-12, np.float32: 1e-5}


def twins(
    form: str | None, activation: str | None, hidden: int = 1, bias: bool = False, rank: int | None = None
) -> Any:
    """The same architecture in both implementations: (encoders of wflow, constructor of the numpy Transformer)."""
    attention = None if form is None else wflow.SoftmaxAttention(form == "factored", rank)
    feedforward = None if activation is None else wflow.FeedForward(activation, hidden, bias)

    def reference(weight_decay: float) -> FiniteTransformer:
        return FiniteTransformer(form, activation, hidden, bias, rank, weight_decay)

    return attention, feedforward, reference


def wide(x: Any) -> Any:
    return None if x is None else x.astype(np.float64)


def compare(objective: wflow.TransformerObjective, rho: wflow.Particles, reference: FiniteTransformer) -> None:
    tolerance = TOLERANCE[rho.dtype.type]
    blocks = [wide(rho.blocks[b]) if b in rho.blocks else None for b in ("theta", "w")]
    weights = [rho.weights(b) if b in rho.blocks else None for b in ("theta", "w")]
    Q, R, *G = reference.value_and_gradient(*blocks, objective.dataset, *weights)
    ours = objective.evaluate(rho)
    assert ours.value == pytest.approx(Q, rel=tolerance)
    assert ours.parts["risk"] == pytest.approx(R, rel=tolerance)
    assert objective.value(rho) == pytest.approx(Q, rel=tolerance)
    squares = [
        np.einsum("lm,lmp->", objective.prepare(rho).mass(b), g**2) for b, g in zip(("theta", "w"), G) if g is not None
    ]
    assert objective.dissipation(rho) == pytest.approx(sum(squares), rel=2 * tolerance)  # -dQ/dtau
    for block, gradient in zip(("theta", "w"), G):
        if gradient is not None:
            assert ours.velocity[block].dtype == rho.dtype
            assert np.abs(ours.velocity[block] + gradient).max() <= tolerance * np.abs(gradient).max()


ARCHITECTURES = [
    ("full", None, 1, False, None),
    (None, "relu", 1, True, None),
    ("full", "relu", 1, False, None),
    ("full", "huberized-relu", 3, False, None),
    ("factored", "tanh", 2, True, None),
    ("factored", "gelu", 1, True, 2),
    *((None, name, 2, False, None) for name in wflow.encoders.ACTIVATIONS),
]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
def test_value_and_velocity(architecture: Any, dtype: Any) -> None:
    rng = np.random.default_rng(1)
    attention, feedforward, reference = twins(*architecture)
    data = random_data(rng, 19, 4, 6, K=2)
    objective = wflow.TransformerObjective(data, attention, feedforward, weight_decay=0.05, layers=3)
    rho = random_measure(objective, {"theta": 11, "w": 21}, rng, dtype, weighted=True)
    compare(objective, rho, reference(0.05))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    D=st.integers(1, 9),
    n=st.integers(1, 13),
    B=st.integers(1, 20),
    L=st.integers(1, 3),
    M=st.integers(1, 18),
    units=st.integers(1, 18),
    seed=st.integers(0, 2**32 - 1),
    single=st.booleans(),
)
@example(D=3, n=41, B=2, L=2, M=9, units=5, seed=0, single=False)  # pairs of tokens in several parts
@example(D=23, n=5, B=3, L=2, M=17, units=19, seed=0, single=True)
@example(D=4, n=5, B=70, L=2, M=40, units=64, seed=0, single=False)  # groups of prompts on threads
def test_every_size(D: int, n: int, B: int, L: int, M: int, units: int, seed: int, single: bool) -> None:
    """Remainders of every tile: tokens, rows, heads, prompts."""
    rng = np.random.default_rng(seed)
    attention, feedforward, reference = twins("full", "tanh")
    objective = wflow.TransformerObjective(random_data(rng, B, D, n), attention, feedforward, 0.1, layers=L)
    dtype = np.float32 if single else np.float64
    compare(objective, random_measure(objective, {"theta": M, "w": units}, rng, dtype, True), reference(0.1))


@pytest.mark.parametrize(("dtype", "scheme"), [(np.float64, "euler"), (np.float64, "rk4"), (np.float32, "euler")])
def test_whole_training_run(dtype: Any, scheme: str) -> None:
    """Gradient descent and RK4 step by step: the same parameters and series after 40 steps."""
    rng = np.random.default_rng(3)
    attention, feedforward, reference = twins("full", "tanh", 2, True)
    objective = wflow.TransformerObjective(random_data(rng, 10, 3, 4), attention, feedforward, 0.02, layers=4)
    rho = random_measure(objective, {"theta": 6, "w": 9}, rng, dtype)
    answer = wflow.solve(objective, rho, (0, 2.0), scheme=scheme, controller=Fixed(0.05, monotone=False), tol=0)
    method = "gd" if scheme == "euler" else scheme
    history = reference(0.02).train(wide(rho.theta), wide(rho.w), objective.dataset, 0.05, 40, method)
    tolerance = TOLERANCE[dtype]
    assert len(answer.tau) == 41
    assert np.abs(answer.energy - history.energy).max() <= tolerance * history.energy.max()
    assert np.abs(answer.dissipation - history.dissipation).max() <= tolerance * history.dissipation.max()
    final = answer.measure(-1)
    for block, theirs in (("theta", history.theta), ("w", history.w)):
        assert np.abs(final.blocks[block] - theirs).max() <= tolerance * np.abs(theirs).max()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_every_kernel_mask_and_loss(kernel: str, mask: str, dtype: Any) -> None:
    """Velocities; and runs of 50 steps and of adaptive ones, of factored heads with uneven mobilities for odd seeds."""
    seed = list(MASKS).index(mask)
    for i, loss in enumerate(LOSSES):
        gaps = differences(kernel, mask, loss, seed, np.dtype(dtype).name, runs=i == (seed + KERNELS.index(kernel)) % 4)
        assert max(gaps.values()) <= TOLERANCE[dtype], gaps


def test_zero_weight_particles_feel_the_flow() -> None:
    """A particle without mass moves with the velocity of the field it does not influence."""
    rng = np.random.default_rng(7)
    attention, feedforward, _ = twins("full", "relu")
    objective = wflow.TransformerObjective(random_data(rng, 8, 3, 5), attention, feedforward, 0.1, layers=2)
    rho = random_measure(objective, {"theta": 3, "w": 3}, rng)
    ghosts = {b: np.concatenate([x, x[:, :1]], axis=1) for b, x in rho.blocks.items()}
    masses = {b: np.pad(rho.weights(b), ((0, 0), (0, 1))) for b in ghosts}
    v, with_ghosts = objective.velocity(rho), objective.velocity(wflow.Particles(**ghosts, weights=masses))
    for block in ghosts:
        np.testing.assert_allclose(with_ghosts[block][:, :3], v[block], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(with_ghosts[block][:, 3], v[block][:, 0], rtol=1e-12, atol=1e-14)
