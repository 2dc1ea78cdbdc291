"""The finite Transformers of ``validation``: definition, gradients, invariants, exact solutions."""

from __future__ import annotations

import doctest
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray

import validation.transformer
from validation.heads import softmax_columns
from validation.transformer import ACTIVATIONS, FiniteTransformer

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Data:
    """The three arrays that a data set consists of."""

    tokens: Array
    labels: Array
    readout: Array


@dataclass(frozen=True)
class Case:
    """A network with its particles, their weights and data."""

    model: FiniteTransformer
    theta: Any  # arrays, or None for an absent encoder
    w: Any
    data: Data
    a: Any  # arrays, or None for equal weights
    b: Any

    @property
    def arguments(self) -> tuple[Any, ...]:
        return self.theta, self.w, self.data, self.a, self.b


def make_case(
    attention: Any = "full",
    feedforward: Any = None,
    *,
    seed: int = 1,
    K: int = 1,
    weighted: bool = False,
    decay: float = 0.3,
    scale: float = 0.8,
    **options: Any,
) -> Case:
    B, D, n, L, M, M_w = 5, 3, 4, 2, 2, 3
    rng = np.random.default_rng(seed)
    model = FiniteTransformer(attention, feedforward, weight_decay=decay, **options)
    p, q = model.n_parameters(D)
    theta = scale * rng.normal(size=(L, M, p)) if attention else None
    w = scale * rng.normal(size=(L, M_w, q)) if feedforward else None
    tokens = rng.normal(size=(B, D, n))
    if K == 1:
        readout = np.zeros((1, D, n))
        readout[0, 1, n - 1] = 1.0
        data = Data(tokens, rng.normal(size=B), readout)
    else:
        data = Data(tokens, rng.normal(size=(B, K)), rng.normal(size=(K, D, n)))
    a = rng.dirichlet(np.ones(M), size=L) if weighted and attention else None
    b = rng.dirichlet(np.ones(M_w), size=L) if weighted and feedforward else None
    return Case(model, theta, w, data, a, b)


CASES: dict[str, Callable[[], Case]] = {
    "full": lambda: make_case("full"),
    "factored": lambda: make_case("factored"),
    "factored, rank 2": lambda: make_case("factored", rank=2, weighted=True),
    "relu": lambda: make_case(None, "relu"),
    "huberized-relu": lambda: make_case(None, "huberized-relu"),
    "tanh, bias": lambda: make_case(None, "tanh", bias=True),
    "gelu, two hidden units": lambda: make_case(None, "gelu", hidden=2),
    "identity, two labels": lambda: make_case(None, "identity", K=2),
    "sigmoid, bias": lambda: make_case(None, "sigmoid", bias=True),
    "silu": lambda: make_case(None, "silu"),
    "elu, weights": lambda: make_case(None, "elu", weighted=True),
    "softplus, two hidden units": lambda: make_case(None, "softplus", hidden=2),
    "full + relu, bias, two hidden units": lambda: make_case("full", "relu", hidden=2, bias=True),
    "full + gelu, weights, two labels": lambda: make_case("full", "gelu", weighted=True, K=2),
    "factored + huberized-relu, everything": lambda: make_case(
        "factored", "huberized-relu", weighted=True, K=2, hidden=2, bias=True, rank=2
    ),
}


# The definition, written once more with numbers in place of matrices.

SCALAR_ACTIVATIONS: dict[str, Callable[[float], float]] = {
    "relu": lambda x: x if x > 0 else 0.0,
    "huberized-relu": lambda x: 0.0 if x <= 0 else x * x / 2 if x <= 1 else x - 0.5,
    "tanh": math.tanh,
    "gelu": lambda x: x * math.erfc(-x / math.sqrt(2)) / 2,
    "sigmoid": lambda x: (1 + math.tanh(x / 2)) / 2,
    "silu": lambda x: x / (1 + math.exp(-x)),
    "elu": lambda x: x if x > 0 else math.exp(x) - 1,
    "softplus": lambda x: math.log(1 + math.exp(x)),
    "identity": lambda x: x,
}


def matrix(flat: Array, start: int, rows: int, columns: int) -> list[list[float]]:
    return [[float(flat[start + i * columns + k]) for k in range(columns)] for i in range(rows)]


def head(case: Case, Z: Array, theta: Array) -> Array:
    """``out_i = sum_j V z_j exp(s(z_j, z_i)) / sum_k exp(s(z_k, z_i))``: the query comes second in s."""
    D, n = Z.shape
    if case.model.attention == "full":
        V, W = (np.array(matrix(theta, i * D * D, D, D)) for i in range(2))
    else:
        r = case.model.rank or D
        W_V, W_K, W_Q = (np.array(matrix(theta, i * r * D, r, D)) for i in (0, 2, 3))
        W_O = np.array(matrix(theta, r * D, D, r))
        V, W = W_O @ W_V, W_K.T @ W_Q
    out = np.zeros_like(Z)
    for i in range(n):
        e = [math.exp(sum(Z[k, j] * W[k, m] * Z[m, i] for k in range(D) for m in range(D))) for j in range(n)]
        for j in range(n):
            out[:, i] += e[j] / sum(e) * (V @ Z[:, j])
    return out


def neuron(case: Case, Z: Array, w: Array) -> Array:
    D, n = Z.shape
    m, columns = case.model.hidden, D + case.model.bias
    act = SCALAR_ACTIVATIONS[case.model.feedforward or ""]
    W_1, W_2 = matrix(w, 0, m, columns), matrix(w, m * columns, D, m)
    out = np.zeros_like(Z)
    for i, k in itertools.product(range(n), range(m)):
        u = sum(W_1[k][d] * Z[d, i] for d in range(D)) + (W_1[k][D] if case.model.bias else 0.0)
        for d in range(D):
            out[d, i] += W_2[d][k] * act(u)
    return out


def definition(case: Case) -> tuple[float, float, list[Array]]:
    """Q, R and the states of the first prompt, from the definition."""
    L = len(case.theta if case.theta is not None else case.w)
    parts = [(case.theta, case.a, head), (case.w, case.b, neuron)]
    labels = case.data.labels.reshape(len(case.data.labels), -1)
    risk, regulariser, trajectory = 0.0, 0.0, []
    for prompt, y in zip(case.data.tokens, labels):
        states = [prompt]
        for l in range(L):
            for particles, weights, encoder in parts:
                T = states[-1].copy()
                if particles is not None:
                    for j, particle in enumerate(particles[l]):
                        weight = 1 / len(particles[l]) if weights is None else weights[l, j]
                        T += 1 / (2 * L) * weight * encoder(case, states[-1], particle)
                states.append(T)
        residuals = [(E * states[-1]).sum() - y_k for E, y_k in zip(case.data.readout, y)]
        risk += sum(r * r for r in residuals) / 2 / len(labels)
        trajectory = trajectory or states
    for particles, weights, _ in parts:
        if particles is not None:
            for l, j in itertools.product(range(L), range(particles.shape[1])):
                weight = 1 / particles.shape[1] if weights is None else weights[l, j]
                regulariser += case.model.weight_decay / (2 * L) * weight * (particles[l, j] @ particles[l, j])
    return risk + regulariser, risk, trajectory


@pytest.mark.parametrize("name", CASES)
def test_forward_and_loss_are_the_definition(name: str) -> None:
    case = CASES[name]()
    Q, R, states = definition(case)
    computed = case.model.forward(case.theta, case.w, case.data.tokens, case.a, case.b)
    assert len(computed) == 5
    for T, expected in zip(computed, states):
        assert_allclose(T[0], expected, rtol=1e-12, atol=1e-13)
    assert_allclose(case.model.value(*case.arguments), (Q, R), rtol=1e-12)


def difference_quotient(function: Callable[[float], float], h: float = 5e-4) -> float:
    """Central differences at h, h/2, h/4, extrapolated twice: O(h^6), if no unit crosses a kink within h."""
    d = [(function(s) - function(-s)) / (2 * s) for s in (h, h / 2, h / 4)]
    d = [(4 * d[1] - d[0]) / 3, (4 * d[2] - d[1]) / 3]
    return (16 * d[1] - d[0]) / 15


@pytest.mark.parametrize("name", CASES)
def test_gradient_is_the_derivative_of_the_loss(name: str) -> None:
    """Every entry, ``G = dQ/d(particle) / (a_j / L)``, to 1e-8 of the largest one."""
    case = CASES[name]()
    gradients = case.model.gradient(*case.arguments)
    for block, (particles, G) in enumerate(zip((case.theta, case.w), gradients)):
        if particles is None:
            assert G is None
            continue
        assert G is not None
        L, M, _ = particles.shape
        weights = (case.a, case.b)[block]
        weights = np.full((L, M), 1 / M) if weights is None else weights
        expected = np.empty_like(particles)
        for index in np.ndindex(particles.shape):

            def energy(
                s: float, index: tuple[int, ...] = index, particles: Array = particles, block: int = block
            ) -> float:
                moved = particles.copy()
                moved[index] += s
                both = (moved, case.w) if block == 0 else (case.theta, moved)
                return case.model.value(*both, case.data, case.a, case.b)[0]

            expected[index] = difference_quotient(energy) / (weights[index[:2]] / L)
        assert_allclose(G, expected, rtol=0, atol=1e-8 * np.abs(expected).max())


def test_derivative_of_relu_at_zero_is_zero() -> None:
    data = Data(np.ones((1, 1, 1)), np.zeros(1), np.ones((1, 1, 1)))
    G = FiniteTransformer(None, "relu").gradient(None, np.array([[[0.0, 3.0]]]), data)[1]
    assert_allclose(G, 0.0)


# Weights and order of the particles

EVERYTHING = "factored + huberized-relu, everything"


def test_order_of_particles_does_not_matter() -> None:
    case = CASES[EVERYTHING]()
    rng = np.random.default_rng(5)
    i = rng.permuted(np.tile(np.arange(2), (2, 1)), axis=1)
    k = rng.permuted(np.tile(np.arange(3), (2, 1)), axis=1)
    layer = np.arange(2)[:, None]
    assert (i != np.arange(2)).any() and (k != np.arange(3)).any()
    permuted = case.theta[layer, i], case.w[layer, k], case.data, case.a[layer, i], case.b[layer, k]
    assert_allclose(case.model.value(*permuted), case.model.value(*case.arguments), rtol=1e-13)
    G_theta, G_w = case.model.gradient(*case.arguments)
    H_theta, H_w = case.model.gradient(*permuted)
    assert_allclose(H_theta, G_theta[layer, i], rtol=1e-10, atol=1e-14)
    assert_allclose(H_w, G_w[layer, k], rtol=1e-10, atol=1e-14)


def test_a_particle_of_double_weight_is_two_particles() -> None:
    """Loss, gradient and dissipation see the measure only, and an atom of mass zero only watches."""
    case = make_case("full", "gelu")
    twice, watched = np.array([0, 0, 1]), np.array([0, 1, 0])
    split = np.array([0.3, 0.2, 0.5]), np.array([1 / 3, 1 / 3, 1 / 3])
    merged = case.theta[:, [0, 1, 0]], case.w, case.data, np.array([0.5, 0.5, 0.0]), None
    doubled = case.theta[:, twice], case.w, case.data, *split
    runs = [case.model.train(*x[:3], 0.1, 0, "gd", *x[3:]) for x in (case.arguments, merged, doubled)]
    for run in runs[1:]:
        assert_allclose(
            [run.energy, run.risk, run.dissipation],
            [runs[0].energy, runs[0].risk, runs[0].dissipation],
            rtol=1e-13,
        )
    G = case.model.gradient(*case.arguments)
    for x, index in ((merged, watched), (doubled, twice)):
        H = case.model.gradient(*x)
        assert_allclose(H[0], G[0][:, index], rtol=1e-10, atol=1e-14)
        assert_allclose(H[1], G[1], rtol=1e-10, atol=1e-14)


# The flow


@pytest.mark.parametrize("name", ["full + relu, bias, two hidden units", EVERYTHING])
def test_energy_identity(name: str) -> None:
    """``(Q(tau + dtau) - Q(tau)) / dtau = -dissipation`` for gradient descent as dtau -> 0."""
    case = CASES[name]()
    theta, w, *rest = case.arguments

    def slope(dtau: float) -> float:
        run = case.model.train(theta, w, rest[0], dtau, 1, "gd", *rest[1:])
        return (run.energy[1] - run.energy[0]) / dtau

    run = case.model.train(theta, w, rest[0], 1e-3, 0, "gd", *rest[1:])
    h = 1e-4
    extrapolated = (8 * slope(h / 4) - 6 * slope(h / 2) + slope(h)) / 3
    assert_allclose(extrapolated, -run.dissipation[0], rtol=1e-8)


def test_energy_lost_is_the_integral_of_the_dissipation() -> None:
    case = make_case("full", "tanh", weighted=True)
    run = case.model.train(case.theta, case.w, case.data, 0.05, 20, "rk4", case.a, case.b)
    simpson = 0.05 / 3 * (run.dissipation[:-1:2] + 4 * run.dissipation[1::2] + run.dissipation[2::2]).sum()
    assert_allclose(run.tau, np.linspace(0, 1, 21))
    assert run.energy[0] - run.energy[-1] > 0.1
    assert_allclose(run.energy[0] - run.energy[-1], simpson, rtol=1e-6)


@pytest.mark.parametrize(("method", "order"), [("gd", 1), ("heun", 2), ("rk4", 4), ("dopri5", 5)])
def test_order_of_the_training_loops(method: Any, order: int) -> None:
    case = make_case("full", "tanh", scale=0.5)
    finals = [case.model.train(*case.arguments[:3], 1 / k, k, method).theta for k in (16, 32, 64)]
    coarse, fine = (np.abs(x - y).max() for x, y in itertools.pairwise(finals))
    assert abs(math.log2(coarse / fine) - order) < 0.3


def test_gradient_descent_step() -> None:
    case = CASES[EVERYTHING]()
    theta, w, data, a, b = case.arguments
    G_theta, G_w = case.model.gradient(theta, w, data, a, b)
    run = case.model.train(theta, w, data, 0.1, 1, "gd", a, b)
    assert_allclose(run.theta, theta - 0.1 * G_theta, rtol=1e-14)
    assert_allclose(run.w, w - 0.1 * G_w, rtol=1e-14)
    assert_allclose(case.model.value(run.theta, run.w, data, a, b), (run.energy[1], run.risk[1]), rtol=1e-14)


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_invariants_of_factored_attention(decay: float) -> None:
    """``W_O^T W_O - W_V W_V^T`` and ``W_K W_K^T - W_Q W_Q^T`` of a head decay like ``e^{-2 lambda tau}``."""
    case = make_case("factored", "tanh", rank=2, decay=decay, weighted=True, scale=1.0)

    def invariants(theta: Array) -> Array:
        W_V, W_O, W_K, W_Q = case.model.attention_matrices(theta, D=3)
        left, right = np.swapaxes(W_O, -1, -2) @ W_O, W_V @ np.swapaxes(W_V, -1, -2)
        return np.array([left - right, W_K @ np.swapaxes(W_K, -1, -2) - W_Q @ np.swapaxes(W_Q, -1, -2)])

    run = case.model.train(case.theta, case.w, case.data, 0.02, 50, "rk4", case.a, case.b)
    assert np.abs(run.theta - math.exp(-decay) * case.theta).max() > 0.1  # more than the decay happened
    assert_allclose(invariants(run.theta), math.exp(-2 * decay) * invariants(case.theta), rtol=0, atol=1e-8)


@pytest.mark.parametrize("activation", ["relu", "identity"])
@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_invariant_of_homogeneous_feed_forward(activation: str, decay: float) -> None:
    """``|W_2[:, k]|^2 - |W_1[k, :]|^2`` decays like ``e^{-2 lambda tau}`` for each hidden unit k.

    The kinks of the ReLU cost the integrator its order but leave the identity of the velocity exact:
    ``<W_2[:, k], G> - <W_1[k, :], G> = lambda (|W_2[:, k]|^2 - |W_1[k, :]|^2)``.
    """
    case = make_case("full", activation, hidden=2, decay=decay, weighted=True)

    def difference(u: Array, v: Array) -> Array:
        (U_1, U_2), (V_1, V_2) = (case.model.feedforward_matrices(x, D=3) for x in (u, v))
        return np.asarray((U_2 * V_2).sum(axis=-2) - (U_1 * V_1).sum(axis=-1))

    G = case.model.gradient(*case.arguments)[1]
    assert_allclose(difference(case.w, G), decay * difference(case.w, case.w), rtol=0, atol=1e-12)

    run = case.model.train(case.theta, case.w, case.data, 0.01, 100, "rk4", case.a, case.b)
    assert np.abs(run.w - math.exp(-decay) * case.w).max() > 0.1
    tolerance = 1e-3 if activation == "relu" else 1e-9
    expected = math.exp(-2 * decay) * difference(case.w, case.w)
    assert_allclose(difference(run.w, run.w), expected, rtol=0, atol=tolerance)


# Exact solutions


@pytest.mark.parametrize("feedforward", [name for name in ACTIVATIONS if ACTIVATIONS[name][0](np.zeros(1)) == 0])
def test_zero_prompts_leave_the_pure_decay(feedforward: str) -> None:
    """H = 0: ``beta(tau) = e^{-lambda tau} beta_0`` although the residuals do not vanish."""
    case = make_case("factored", feedforward, decay=0.7, weighted=True)
    data = Data(np.zeros_like(case.data.tokens), case.data.labels, case.data.readout)
    run = case.model.train(case.theta, case.w, data, 0.05, 20, "rk4", case.a, case.b)
    assert_allclose(run.theta, math.exp(-0.7) * case.theta, rtol=1e-7)
    assert_allclose(run.w, math.exp(-0.7) * case.w, rtol=1e-7)
    assert_allclose(run.risk, 0.5 * (data.labels**2).mean(), rtol=1e-14)
    second_moment = (run.energy - run.risk) / (0.5 * 0.7)
    assert_allclose(second_moment[-1], math.exp(-1.4) * second_moment[0], rtol=1e-7)


def test_one_token_of_dimension_one() -> None:
    """One token, D = 1: ``f = V T``, all layers and heads alike, so that training is one scalar equation.

    ``T^L = H P`` with ``P = (1 + v/2L)^L`` gives ``v' = -1/2 (E H^2 P - E H y) P / (1 + v/2L) - lambda v``,
    and ``W' = -lambda W`` because the softmax of one score is one.
    """
    L, decay = 3, 0.2
    H, y = np.array([1.0, -0.5, 2.0]), np.array([2.0, 1.0, 2.5])
    data = Data(H[:, None, None], y, np.ones((1, 1, 1)))
    theta = np.broadcast_to([2.0, 1.5], (L, 2, 2))
    run = FiniteTransformer("full", weight_decay=decay).train(theta, None, data, 0.02, 100, "rk4")

    def rate(v: float) -> float:
        growth = 1 + v / (2 * L)
        P = growth**L
        return -0.5 * ((H * H).mean() * P - (H * y).mean()) * P / growth - decay * v

    v, h = 2.0, 0.01
    for _ in range(200):
        k1 = rate(v)
        k2 = rate(v + h / 2 * k1)
        k3 = rate(v + h / 2 * k2)
        k4 = rate(v + h * k3)
        v += h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    assert v < 1
    assert_allclose(run.theta[..., 0], v, rtol=1e-8)
    assert_allclose(run.theta[..., 1], 1.5 * math.exp(-decay * 2), rtol=1e-8)
    assert_allclose(run.risk[-1], 0.5 * ((H * (1 + v / (2 * L)) ** L - y) ** 2).mean(), rtol=1e-8)


def test_depth_bias_of_linear_encoders() -> None:
    """``ln T^L = v - v^2/(4L) + O(1/L^2)`` for ``f = h = v T``: every half step is ``1 + v/2L``."""
    v, data = 0.8, Data(np.ones((1, 1, 1)), np.zeros(1), np.ones((1, 1, 1)))
    model = FiniteTransformer("full", "identity")
    for L in (16, 64):
        particles = np.broadcast_to([v, 1.0], (L, 1, 2)), np.broadcast_to([1.0, v], (L, 1, 2))
        logarithm = math.log(model.predict(*particles, data).item())
        assert abs(logarithm - (v - v**2 / (4 * L))) < v**3 / (4 * L) ** 2 * 2


# The rest


@pytest.mark.parametrize("attention", ["full", "factored"])
def test_large_scores_do_not_overflow(attention: Any) -> None:
    case = make_case(attention, scale=300.0)
    G = case.model.gradient(*case.arguments)[0]
    assert G is not None and np.isfinite(G).all()
    assert_allclose(softmax_columns([[1e4, -1e4], [-1e4, 1e4]]), np.eye(2))


def test_single_precision_stays_single() -> None:
    case = make_case("factored", "gelu", weighted=True, bias=True)
    single = case.theta.astype(np.float32), case.w.astype(np.float32)
    for state in case.model.forward(*single, case.data.tokens, case.a, case.b):
        assert state.dtype == np.float32
    run = case.model.train(*single, case.data, 0.1, 3, "rk4", case.a, case.b)
    assert run.theta.dtype == run.w.dtype == np.float32
    expected = case.model.train(case.theta, case.w, case.data, 0.1, 3, "rk4", case.a, case.b)
    assert_allclose(run.theta, expected.theta, rtol=0, atol=1e-5)
    assert_allclose(run.w, expected.w, rtol=0, atol=1e-5)


def test_an_absent_encoder_leaves_its_half_step_out() -> None:
    attention, feedforward = make_case("full"), make_case(None, "gelu")
    states = attention.model.forward(attention.theta, None, attention.data.tokens)
    assert_allclose(states[2], states[1], rtol=0, atol=0)
    assert np.abs(states[1] - states[0]).max() > 0.01
    states = feedforward.model.forward(None, feedforward.w, feedforward.data.tokens)
    assert_allclose(states[1], states[0], rtol=0, atol=0)
    assert np.abs(states[2] - states[1]).max() > 0.01


def test_the_arrays_passed_in_are_left_alone() -> None:
    case = CASES[EVERYTHING]()
    before = [x.copy() for x in (case.theta, case.w, case.data.tokens)]
    case.model.train(case.theta, case.w, case.data, 0.1, 2, "heun", case.a, case.b)
    for x, y in zip((case.theta, case.w, case.data.tokens), before):
        assert_allclose(x, y, rtol=0, atol=0)


def test_wrong_shapes_are_refused() -> None:
    case = make_case("full", "relu")
    with pytest.raises(ValueError, match=r"theta must have shape \(L, M, 18\)"):
        case.model.value(case.theta[..., 1:], case.w, case.data)
    with pytest.raises(ValueError, match="w must be an array"):
        case.model.value(case.theta, None, case.data)
    with pytest.raises(ValueError, match="same number of layers"):
        case.model.value(case.theta[:1], case.w, case.data)
    with pytest.raises(ValueError, match="the encoder it belongs to is absent"):
        FiniteTransformer("full").value(case.theta, case.w, case.data)
    with pytest.raises(ValueError, match="dtau must be a positive finite number"):
        case.model.train(case.theta, case.w, case.data, -1.0, 1)


def test_the_examples_in_the_documentation() -> None:
    assert doctest.testmod(validation.transformer).failed == 0
