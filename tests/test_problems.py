"""The problems with exact solutions, and the orders of the schemes in tau and of the depth rules in 1/L."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import random_measure, slope
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from wflow import Dataset, FeedForward, InputError, Particles, SoftmaxAttention, TransformerObjective, solve
from wflow.encoders import ACTIVATIONS
from wflow.network import DEPTH_RULES, depth_rule
from wflow.problems import (
    PROBLEMS,
    Problem,
    ScalingEncoder,
    constant_encoders,
    pure_decay,
    sine_circle,
    single_token,
    two_layer,
)

Array = NDArray[Any]

DEPTH_ORDERS = {"split-euler": 1, "midpoint": 2, "rk4-nodes": 4}


def uneven(factory: Callable[..., Problem], **options: Any) -> Problem:
    """A problem that starts from particles of unequal weights, 3 heads and 5 neurons, different in every slice."""
    energy = factory(**options).energy
    return factory(random_measure(energy, {"theta": 3, "w": 5}, np.random.default_rng(8), weighted=True), **options)


def distance(a: Particles, b: Particles) -> float:
    """The largest difference between the parameters of two measures."""
    return max(float(np.abs(a.blocks[name] - b.blocks[name]).max()) for name in a.blocks)


def order(coarse: float, fine: float) -> float:
    """The order p of an error that falls from coarse to fine as a step is halved."""
    return float(np.log2(coarse / fine))


# The formulas

#: The activations that are zero at zero.
VANISHING = [name for name in ACTIVATIONS if name not in ("sigmoid", "softplus")]

#: Every problem whose solution has no depth error.
CASES: dict[str, Callable[[], Problem]] = {
    **{f"decay {name}": lambda name=name: pure_decay(activation=name, layers=2) for name in VANISHING},
    **{f"decay {rule}": lambda rule=rule: uneven(pure_decay, depth=rule, layers=2) for rule in DEPTH_RULES},
    **{f"constant {rule}": lambda rule=rule: uneven(constant_encoders, depth=rule) for rule in DEPTH_RULES},
    "constant theta": lambda: uneven(constant_encoders, blocks=("theta",), depth="rk4-nodes"),
    "constant w": lambda: uneven(constant_encoders, blocks=("w",)),
    "constant, no decay": lambda: constant_encoders(weight_decay=0.0),
    "constant, one particle": lambda: constant_encoders(layers=1, width=1),
    **{
        f"token {rule} {'+'.join(blocks)}": lambda rule=rule, blocks=blocks: single_token(
            layers=2, depth=rule, limit=False, blocks=blocks
        )
        for rule in ("split-euler", "midpoint")
        for blocks in (("theta", "w"), ("theta",), ("w",))
    },
    "token, no decay": lambda: single_token(layers=3, depth="split-euler", limit=False, weight_decay=0.0),
    **{f"two-layer {rule}": lambda rule=rule: uneven(two_layer, depth=rule) for rule in DEPTH_RULES},
    "two-layer, no decay": lambda: two_layer(weight_decay=0.0),
    **{f"circle {rule}": lambda rule=rule: sine_circle(depth=rule) for rule in DEPTH_RULES},
    "circle, never at rest": lambda: sine_circle(offset=-0.8),
}


@pytest.mark.parametrize("name", CASES)
def test_exact_solution_obeys_the_flow(name: str) -> None:
    """d beta/d tau of the formula is the velocity of the energy, and Q, R and the predictions are the energy's."""
    problem = CASES[name]()
    energy = problem.energy
    assert distance(problem.measure(0.0), problem.rho0) < 1e-15
    for tau in (0.0, 0.7, 3.0):
        rho = problem.measure(tau)
        for block, v in energy.velocity(rho).items():
            change = slope(lambda s, tau=tau, block=block: problem.measure(tau + s).points(block), h=0.05)
            assert_allclose(change, v, rtol=0, atol=1e-10)
        assert_allclose(problem.predictions(tau), energy.predict(rho), rtol=0, atol=1e-13)
        assert_allclose(problem.risk(tau), energy.risk(rho), rtol=0, atol=1e-13)
        assert_allclose(problem.value(tau), energy.value(rho), rtol=0, atol=1e-13)
        assert_allclose(slope(lambda s, tau=tau: problem.value(tau + s), h=0.05), -energy.dissipation(rho), atol=1e-10)


def test_where_the_flows_end() -> None:
    energy = constant_encoders(weight_decay=0.1).energy
    c = float(np.mean(energy.dataset.tokens[:, -1, -1] - energy.dataset.labels))
    for blocks, rest in ((("theta", "w"), -c / 1.2), (("theta",), -c / 1.4)):
        problem = constant_encoders(weight_decay=0.1, blocks=blocks)
        assert_allclose(problem.predictions(1e3) - problem.energy.dataset.tokens[:, -1, -1], rest, atol=1e-13)
    regression = two_layer(weight_decay=0.0)
    psi, data = regression.energy.dataset.tokens[:, :-1, -1], regression.energy.dataset
    fit = np.linalg.lstsq(psi, data.labels - data.tokens[:, -1, -1], rcond=None)[0]
    assert_allclose(regression.predictions(1e4), data.tokens[:, -1, -1] + psi @ fit, atol=1e-12)


def test_circle_is_a_wrapped_cauchy_density() -> None:
    """E e^{i k psi} = tanh(s/4)^k, and the mean of sin(theta) = -cos(psi) is that of the predictions."""
    problem = sine_circle(offset=0.3)
    psi = problem.measure(2.0).theta[0, :, 0] + np.pi / 2
    center = -2 * problem.predictions(2.0)[0]
    for k in (1, 2, 5):
        assert_allclose(np.mean(np.exp(1j * k * psi)), center**k, rtol=0, atol=1e-13)


def test_problems_by_name() -> None:
    for name, factory in PROBLEMS.items():
        assert factory().name == name


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (lambda: pure_decay(activation="softplus"), "must vanish at zero"),
        (lambda: single_token(limit=False), "limit=False is known for"),
        (lambda: uneven(single_token, layers=2, depth="midpoint", limit=False), "one mean in all slices"),
        (lambda: constant_encoders(blocks=()), "blocks must be"),
        (lambda: constant_encoders(blocks="theta"), "blocks must be"),
        (lambda: single_token(blocks=("theta", "v")), "blocks must be"),
        (lambda: two_layer(pure_decay().rho0), "the measure must have the blocks"),
    ],
)
def test_bad_arguments(factory: Callable[[], Problem], message: str) -> None:
    with pytest.raises(InputError, match=message):
        factory()


# Orders in tau

SCHEMES = {"euler": 1, "heun": 2, "bs3": 3, "rk4": 4, "dopri5": 5}

#: Problems in which the error in tau is the only one.
FLOWS: dict[str, Callable[[], Problem]] = {
    "pure-decay": lambda: pure_decay(layers=1, width=2),
    "constant-encoders": lambda: uneven(constant_encoders, layers=2, depth="rk4-nodes"),
    "single-token": lambda: single_token(layers=2, width=2, depth="split-euler", limit=False),
    "single-token midpoint": lambda: single_token(layers=2, width=2, depth="midpoint", limit=False),
    "two-layer": lambda: uneven(two_layer, layers=2),
    "sine-circle": lambda: sine_circle(offset=1.0),
}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", FLOWS)
def test_order_in_tau(name: str, scheme: str) -> None:
    problem, tau = FLOWS[name](), 3.0
    exact = problem.measure(tau)
    coarse, fine = (
        distance(solve(problem.energy, problem.rho0, (0, tau), scheme=scheme, dtau=h).measure(-1), exact)
        for h in (1 / 8, 1 / 16)
    )
    assert fine > 1e-13
    assert order(coarse, fine) == pytest.approx(SCHEMES[scheme], abs=0.15)


@pytest.mark.parametrize("name", FLOWS)
def test_adaptive_steps_reproduce_the_exact_solution(name: str) -> None:
    problem = FLOWS[name]()
    solution = solve(problem.energy, problem.rho0, (0, 3.0), scheme="dopri5", rtol=1e-9)
    assert distance(solution.measure(-1), problem.measure(3.0)) < 1e-8
    assert_allclose(solution.energy, [problem.value(tau) for tau in solution.tau], rtol=0, atol=1e-8)
    assert_allclose(solution.risk, [problem.risk(tau) for tau in solution.tau], rtol=0, atol=1e-8)


# Orders in depth


@pytest.mark.parametrize("depth", DEPTH_RULES)
def test_trained_token_converges_to_the_limit(depth: str) -> None:
    """After training, too, predictions and Q have the order of the rule; for rk4-nodes, particles have order 3."""
    errors = []
    for layers in (8, 16):
        problem = single_token(layers=layers, depth=depth, width=1)
        solution = solve(problem.energy, problem.rho0, (0, 1.0), rtol=1e-9)
        rho = solution.measure(-1)
        prediction = np.abs(problem.energy.predict(rho) - problem.predictions(1.0)).max()
        errors.append((prediction, abs(solution.energy[-1] - problem.value(1.0)), distance(rho, problem.measure(1.0))))
    orders = [order(*pair) for pair in zip(*errors)]
    p = DEPTH_ORDERS[depth]
    assert orders == pytest.approx([p, p, min(p, 3)], abs=0.15)
    if depth == "rk4-nodes":
        assert errors[1][1] < 1e-7


@pytest.mark.parametrize("layers", [1, 2, 5])
@pytest.mark.parametrize("depth", DEPTH_RULES)
def test_growth_of_one_token_at_constant_means(depth: str, layers: int) -> None:
    """Each rule multiplies the token by its stability polynomial, layer by layer."""
    problem = single_token(layers=layers, depth=depth)
    x = 0.4 / layers
    growth = {
        "split-euler": (1 + x / 2) ** 2,
        "midpoint": 1 + x + x**2 / 2,
        "rk4-nodes": 1 + x + x**2 / 2 + x**3 / 6 + x**4 / 24,
    }[depth]
    H = problem.energy.dataset.tokens[:, 0, 0]
    assert_allclose(problem.energy.predict(problem.rho0), H * growth**layers, rtol=1e-13)
    assert_allclose(problem.predictions(0.0), H * np.exp(0.4), rtol=1e-14)
    if depth == "split-euler":
        bias = layers * (np.log(growth**layers) - 0.4)
        assert bias == pytest.approx(-(0.4**2) / 4, rel=0.3 / layers)


def curve(t: Array, start: Array, end: Array) -> Array:
    """Smooth functions of depth that no rule integrates exactly: shapes (S,) and (M, p) to (S, M, p)."""
    return start * np.cos(2 * t)[:, None, None] + end * np.exp(t)[:, None, None]


def placed(energy: TransformerObjective, curves: dict[str, Callable[[Array], Array]]) -> Particles:
    """The measure of these curves at the nodes of the depth rule."""
    return energy.prepare(Particles(**{name: f(energy.rule.nodes) for name, f in curves.items()}))


@pytest.mark.parametrize("depth", DEPTH_RULES)
def test_order_in_depth_where_means_vary_along_it(depth: str) -> None:
    """T(1) = H exp(1/2 int (vbar + ubar) dt) with vbar = 1 - cos 2t, ubar = e^t / 2."""
    data = Dataset([[[1.0]], [[-0.5]]], [1.0, 2.0])
    curves: dict[str, Callable[[Array], Array]] = {
        "theta": lambda t: np.stack([np.stack([1 + d - np.cos(2 * t), np.sin(t)], 1) for d in (-0.3, 0.3)], 1),
        "w": lambda t: curve(t, np.zeros((2, 1)), np.array([[0.2], [0.8]])),
    }
    exact = data.tokens[:, 0, 0] * np.exp(0.5 * (1 - np.sin(2) / 2 + (np.e - 1) / 2))
    errors = []
    for layers in (16, 32):
        energy = TransformerObjective(data, SoftmaxAttention(), ScalingEncoder(), depth=depth, layers=layers)
        errors.append(np.abs(energy.predict(placed(energy, curves)) - exact).max())
    assert order(*errors) == pytest.approx(DEPTH_ORDERS[depth], abs=0.1)


@pytest.mark.parametrize("depth", DEPTH_RULES)
def test_order_in_depth_of_velocities(depth: str) -> None:
    """In the limit every V and u has the same velocity; rk4-nodes yields it to order 3, its Q to order 4."""
    errors = []
    for layers in (8, 16):
        problem = single_token(layers=layers, depth=depth, width=2, weight_decay=0.0)
        data = problem.energy.dataset
        P, H = np.exp(0.4), data.tokens[:, 0, 0]
        exact = -0.5 * float(np.mean((P * H - data.labels) * P * H))
        v = problem.energy.velocity(problem.rho0)
        errors.append(max(np.abs(v[block][..., 0] - exact).max() for block in v))
    assert order(*errors) == pytest.approx(min(DEPTH_ORDERS[depth], 3), abs=0.15)


# A Transformer with nothing special about it


def softmax_attention(Z: Array, theta: Array) -> Array:
    """``mean_j V_j Z softmax_col(Z^T W_j Z)`` for one prompt."""
    V, W = theta.reshape(-1, 2, 3, 3).swapaxes(0, 1)
    scores = np.exp(Z.T @ W @ Z)
    return np.asarray((V @ Z @ (scores / scores.sum(axis=1, keepdims=True))).mean(axis=0))


def tanh_network(Z: Array, w: Array) -> Array:
    """``mean_j W_2 tanh(W_1 Z)`` for one prompt."""
    W_1, W_2 = w[:, :6].reshape(-1, 2, 3), w[:, 6:].reshape(-1, 3, 2)
    return np.asarray((W_2 @ np.tanh(W_1 @ Z)).mean(axis=0))


@pytest.fixture(scope="module")
def transformer() -> tuple[Dataset, dict[str, Callable[[Array], Array]], Array]:
    """Prompts, particles that vary along the depth, and the predictions of the limit by SciPy's DOP853."""
    rng = np.random.default_rng(3)
    data = Dataset(rng.standard_normal((2, 3, 4)), [0.0, 0.0], (2, 3))
    ends = {name: 0.6 * rng.standard_normal((2, M, p)) for name, M, p in (("theta", 2, 18), ("w", 3, 12))}
    curves: dict[str, Callable[[Array], Array]] = {
        name: lambda t, pair=pair: curve(t, *pair) for name, pair in ends.items()
    }

    def g(t: float, T: Array) -> Array:
        theta, w = (curves[name](np.array([t]))[0] for name in ("theta", "w"))
        Z = T.reshape(3, 4)
        return np.ravel((softmax_attention(Z, theta) + tanh_network(Z, w)) / 2)

    exact = [solve_ivp(g, (0, 1), H.ravel(), method="DOP853", rtol=1e-13, atol=1e-13).y[11, -1] for H in data.tokens]
    return data, curves, np.array(exact)


@pytest.mark.parametrize("depth", DEPTH_RULES)
def test_order_in_depth_of_a_transformer(depth: str, transformer: Any) -> None:
    """Nonlinear blocks that do not commute, with particles that vary along the depth."""
    data, curves, exact = transformer
    errors = []
    for layers in (32, 64):
        energy = TransformerObjective(
            data, SoftmaxAttention(), FeedForward("tanh", hidden=2), depth=depth, layers=layers
        )
        errors.append(np.abs(energy.predict(placed(energy, curves)) - exact).max())
    assert order(*errors) == pytest.approx(DEPTH_ORDERS[depth], abs=0.1)


@pytest.mark.parametrize("depth", DEPTH_RULES)
def test_depth_weights_integrate(depth: str) -> None:
    """The order of the quadrature of int_0^1 e^t dt: 1, 2 and 4."""
    errors = [abs(float(r.weights @ np.exp(r.nodes)) - (np.e - 1)) for r in (depth_rule(depth, L) for L in (8, 16))]
    assert order(*errors) == pytest.approx(DEPTH_ORDERS[depth], abs=0.1)


@pytest.mark.parametrize("offset", [1e-3, 1e-9, -1e-14])
def test_a_small_solution_is_known_to_as_many_digits(offset: float) -> None:
    """Where tanh is its argument, s = 8 c (1 - e^{-tau/8})."""
    predictions = sine_circle(offset=offset).predictions(5.0)
    assert_allclose(predictions, offset * np.expm1(-5 / 8), rtol=1e-12 + offset**2)


@pytest.mark.parametrize("size", [1e-12, 1.0, 1e12])
def test_one_mean_in_all_slices_is_one_up_to_rounding(size: float) -> None:
    x = size * np.array([0.1, 0.7, -0.2, 0.4, 1.3])
    heads = np.stack([x, x[::-1], np.roll(x, 2)])[..., None]
    neurons = np.stack([heads[..., 0], np.zeros((3, 5))], axis=-1)
    options: dict[str, Any] = {"layers": 3, "depth": "midpoint", "limit": False, "blocks": ("theta",)}
    assert single_token(Particles(theta=neurons), **options).measure(0.0).theta.shape == (3, 5, 2)
    neurons[1, 0, 0] *= 1 + 1e-9
    with pytest.raises(InputError, match="one mean in all slices"):
        single_token(Particles(theta=neurons), **options)
