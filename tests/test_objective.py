"""The Transformer objective: velocities, first variation and dissipation against differences of its value."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import slope
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from wflow import Dataset, FeedForward, Particles, SoftmaxAttention, TransformerObjective
from wflow.encoders import ACTIVATIONS, Encoder, pairing
from wflow.network import DEPTH_RULES
from wflow.problems import ConstantEncoder, FrozenRowEncoder, ScalingEncoder, SineEncoder

Array = NDArray[Any]

B, D, N_TOKENS, LAYERS = 3, 2, 3, 2
USER_ENCODERS = (ConstantEncoder(), ScalingEncoder(), FrozenRowEncoder(), SineEncoder())

#: Every encoder in either block, alone and in company; the numbers of particles differ.
ENCODERS: dict[str, tuple[Any, Any]] = {
    "full": (SoftmaxAttention(), None),
    "factored": (SoftmaxAttention(factored=True), None),
    "rank 1 + bias": (SoftmaxAttention(factored=True, rank=1), FeedForward("tanh", bias=True)),
    **{f"full + {name}": (SoftmaxAttention(), FeedForward(name, hidden=2)) for name in ACTIVATIONS},
    "feed-forward only": (None, FeedForward("gelu")),
    "constant + scaling": (ConstantEncoder(), ScalingEncoder()),
    "frozen + scaling": (FrozenRowEncoder(), ScalingEncoder()),
    "scaling + sine": (ScalingEncoder(), SineEncoder()),
    "scaling + gelu": (ScalingEncoder(), FeedForward("gelu")),
}

everywhere = pytest.mark.parametrize(("name", "depth"), list(itertools.product(ENCODERS, DEPTH_RULES)))


def make_case(name: str, depth: str, seed: int = 12) -> tuple[TransformerObjective, Particles]:
    """An objective with two labels a prompt, and particles of unequal weights; seeds whose states avoid the kinks."""
    rng = np.random.default_rng(seed)
    data = Dataset(rng.standard_normal((B, D, N_TOKENS)), rng.standard_normal((B, 2)), [(-1, -1), (0, 1)])
    energy = TransformerObjective(data, *ENCODERS[name], weight_decay=0.3, depth=depth, layers=LAYERS)
    return energy, make_measure(energy, rng)


def make_measure(energy: TransformerObjective, rng: np.random.Generator) -> Particles:
    S, width = energy.rule.n_slices, {"theta": 2, "w": 3}
    blocks = {name: 0.8 * rng.standard_normal((S, width[name], p)) for name, p in energy.n_parameters.items()}
    masses = {name: rng.uniform(0.5, 1.5, (S, width[name])) for name in blocks}
    weights = {name: a / a.sum(axis=1, keepdims=True) for name, a in masses.items()}
    return energy.prepare(Particles(weights=weights, **blocks))


@everywhere
def test_velocity_is_minus_the_gradient_by_mass(name: str, depth: str) -> None:
    """Every particle by itself, in a random direction of its parameters."""
    energy, rho = make_case(name, depth)
    rng = np.random.default_rng(7)
    for block, v in energy.velocity(rho).items():
        directions, expected = rng.standard_normal(v.shape), np.empty(v.shape[:2])
        for lj in np.ndindex(expected.shape):

            def value(s: float, lj: tuple[int, ...] = lj, block: str = block, e: Array = directions) -> float:
                points = dict(rho.blocks)
                points[block] = points[block].copy()
                points[block][lj] += s * e[lj]
                return energy.value(rho.replace(**points))

            expected[lj] = -slope(value, h=2e-4) / rho.mass(block)[lj]
        assert_allclose(np.sum(v * directions, axis=2), expected, rtol=0, atol=1e-8)


@everywhere
def test_first_variation_is_the_derivative_by_mass(name: str, depth: str) -> None:
    """Mass moves from each particle to the next of its slice: dQ/ds = om_l (phi_{l,k} - phi_{l,j})."""
    energy, rho = make_case(name, depth)
    for block, phi in energy.first_variation(rho).items():
        S, width = phi.shape
        for l, j in itertools.product(range(S), range(width)):
            k = (j + 1) % width

            def value(s: float, l: int = l, j: int = j, k: int = k, block: str = block) -> float:
                weights = {b: rho.weights(b).copy() for b in rho.blocks}
                weights[block][l, [j, k]] += [-s, s]
                return energy.value(Particles(weights=weights, **rho.blocks))

            expected = rho.depth_weights[l] * (phi[l, k] - phi[l, j])
            assert_allclose(slope(value, h=2e-4), expected, rtol=0, atol=1e-9)


@everywhere
def test_velocity_is_minus_the_slope_of_the_first_variation(name: str, depth: str) -> None:
    """Also for a particle without mass, and for any points: the objective is differentiable in all of them."""
    energy, rho = make_case(name, depth)
    weights = {b: rho.weights(b).copy() for b in rho.blocks}
    for a in weights.values():
        a[:, 1] += a[:, 0]
        a[:, 0] = 0
    rho = Particles(weights=weights, **rho.blocks)
    for block, v in energy.velocity(rho).items():
        directions = np.random.default_rng(7).standard_normal(v.shape)

        def phi(s: float, block: str = block, e: Array = directions) -> Array:
            return energy.first_variation(rho, {block: rho.points(block) + s * e})[block]

        assert_allclose(np.sum(v * directions, axis=2), -slope(phi, h=2e-4), rtol=0, atol=1e-8)


@pytest.mark.parametrize("depth", DEPTH_RULES)
def test_first_variation_has_no_free_constant(depth: str) -> None:
    """Attention is linear in V: E<g, p> = <V, grad_V E<g, p>>."""
    energy, rho = make_case("full + tanh", depth)
    v, phi = energy.velocity(rho).theta, energy.first_variation(rho)["theta"]
    decay = energy.weight_decay
    V = slice(0, D * D)
    expected = -np.sum(rho.theta[..., V] * (v + decay * rho.theta)[..., V], axis=2)
    assert_allclose(phi, expected + decay / 2 * np.sum(rho.theta**2, axis=2), rtol=0, atol=1e-13)


@everywhere
@pytest.mark.parametrize("seed", [2, 3, 4])
def test_energy_identity(name: str, depth: str, seed: int) -> None:
    """<dQ, v> = -|v|^2, and the dissipation is the sum of the squares weighted by mass."""
    energy, rho = make_case(name, depth, seed)
    v = energy.velocity(rho)
    squares = 0.0
    for block in v:
        for l, j in np.ndindex(v[block].shape[:2]):
            squares += energy.rule.weights[l] * rho.weights(block)[l, j] * float(v[block][l, j] @ v[block][l, j])
    assert_allclose(energy.dissipation(rho), squares, rtol=1e-13)
    h = 2e-4 / np.sqrt(max(squares, 1.0))
    direction = slope(lambda s: energy.value(rho.replace(**{b: x + s * v[b] for b, x in rho.blocks.items()})), h)
    assert_allclose(direction, -squares, rtol=1e-8)


@pytest.mark.parametrize("name", ["full + tanh", "factored", "frozen + scaling"])
def test_evaluation_holds_value_risk_and_velocity(name: str) -> None:
    energy, rho = make_case(name, "rk4-nodes")
    evaluation = energy.evaluate(rho)
    squares = sum(float(np.sum(rho.mass(b)[..., None] * x**2)) for b, x in rho.blocks.items())
    risk = 0.5 * np.mean(np.sum((energy.predict(rho) - energy.dataset.labels) ** 2, axis=1))
    assert_allclose(evaluation.parts["risk"], risk, rtol=1e-14)
    assert_allclose(evaluation.value, risk + 0.15 * squares, rtol=1e-14)
    assert_allclose(energy.value(rho), evaluation.value, rtol=1e-14)
    for block, v in energy.velocity(rho).items():
        assert_allclose(evaluation.velocity[block], v)


@pytest.mark.parametrize("name", ENCODERS)
def test_split_euler_is_the_recursion_of_the_transformer(name: str) -> None:
    """T^{l+1/2} = T^l + mean f/(2 L), T^{l+1} = T^{l+1/2} + mean h/(2 L)."""
    energy, rho = make_case(name, "split-euler")
    T = energy.dataset.tokens
    for l in range(LAYERS):
        for block, encoder in zip(("theta", "w"), ENCODERS[name]):
            if encoder is not None:
                T = T + encoder.mean(T, rho.points(block)[l], rho.weights(block)[l]) / (2 * LAYERS)
    assert_allclose(energy.predict(rho), energy.dataset.read(T), rtol=0, atol=1e-14)


@pytest.mark.parametrize("encoder", USER_ENCODERS, ids=lambda encoder: type(encoder).__name__)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_user_encoders_keep_the_protocol(encoder: Any, dtype: type) -> None:
    rng = np.random.default_rng(5)
    assert isinstance(encoder, Encoder)
    p = encoder.n_parameters(3)
    tokens, cotangent = (rng.standard_normal((B, 3, 2)).astype(dtype) for _ in range(2))
    beta, a = rng.standard_normal((4, p)).astype(dtype), np.array([0.0, 0.5, 0.3, 0.2])
    mean, (tokens_bar, beta_bar) = encoder.mean(tokens, beta, a), encoder.vjp(tokens, beta, a, cotangent)
    own = encoder.pairing(tokens, beta, cotangent)
    assert mean.dtype == tokens_bar.dtype == beta_bar.dtype == own.dtype == dtype
    if dtype == np.float32:
        return

    def along(x: Array, dx: Array, f: Callable[[Array], Any]) -> float:
        return float(slope(lambda s: f(x + s * dx), h=1e-2))

    class Bare:
        """The same encoder without a pairing of its own."""

        n_parameters, mean, vjp = map(staticmethod, (encoder.n_parameters, encoder.mean, encoder.vjp))

    alone: Any = Bare()
    assert_allclose(own, pairing(alone, tokens, beta, cotangent), rtol=0, atol=1e-14)
    assert_allclose(np.sum(mean * cotangent), a @ own, rtol=0, atol=1e-14)
    d_tokens, d_beta = rng.standard_normal(tokens.shape), rng.standard_normal(beta.shape)
    change = along(tokens, d_tokens, lambda x: np.sum(encoder.mean(x, beta, a) * cotangent))
    assert_allclose(np.sum(tokens_bar * d_tokens), change, rtol=0, atol=1e-11)
    for j in range(4):
        one = np.zeros_like(d_beta)
        one[j] = d_beta[j]
        change = along(beta, one, lambda x, j=j: encoder.pairing(tokens, x, cotangent)[j])
        assert_allclose(np.sum(beta_bar * one), change, rtol=0, atol=1e-11)


def test_a_subclass_of_a_built_in_encoder_does_what_it_says() -> None:
    """Not what its parent would do, whose packed form it inherits."""

    class Doubled(FeedForward):
        def mean(self, tokens: Any, parameters: Any, weights: Any) -> Any:
            return 2 * super().mean(tokens, parameters, weights)

        def vjp(self, tokens: Any, parameters: Any, weights: Any, cotangent: Any) -> Any:
            return super().vjp(tokens, parameters, weights, 2 * cotangent)

    rng = np.random.default_rng(4)
    data = Dataset(rng.standard_normal((5, 2, 3)), rng.standard_normal(5))
    w = rng.standard_normal((2, 4, 4))
    doubled = w * np.repeat([1.0, 2.0], 2)  # h is linear in W_2
    own = TransformerObjective(data, feedforward=Doubled("tanh"), layers=2).evaluate(Particles(w=w))
    plain = TransformerObjective(data, feedforward=FeedForward("tanh"), layers=2).evaluate(Particles(w=doubled))
    assert own.value == pytest.approx(plain.value, rel=1e-14)
    assert_allclose(own.velocity.w, plain.velocity.w * np.repeat([1.0, 2.0], 2), rtol=1e-12, atol=1e-14)
