"""Mobilities: rescaled and frozen groups against exact solutions, in every scheme."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm

import wflow
from wflow import problems
from wflow.cli import main
from wflow.encoders import Group
from wflow.energies import SumEnergy
from wflow.measures import Blocks
from wflow.observers import Virial
from wflow.plain import build, describe
from wflow.schemes import SCHEMES, Flow, GridScheme
from wflow.schemes.jko import _cheapest

RNG = np.random.default_rng(7)
DATA = wflow.Dataset(RNG.standard_normal((5, 3, 4)), RNG.standard_normal(5), name="some")
FACTORED = wflow.SoftmaxAttention(factored=True, rank=2)
PARTICLES = [name for name, scheme in SCHEMES.items() if not isinstance(scheme, GridScheme)]
GRIDS = [name for name, scheme in SCHEMES.items() if isinstance(scheme, GridScheme)]


def transformer(mobility: Any, **options: Any) -> wflow.TransformerObjective:
    arguments: dict[str, Any] = {"attention": FACTORED, "feedforward": wflow.FeedForward("tanh"), "weight_decay": 0.1}
    return wflow.TransformerObjective(DATA, **(arguments | {"layers": 2} | options), mobility=mobility)


def mobile(energy: wflow.TransformerObjective, mobility: Any, **options: Any) -> Any:
    """The same objective with mobilities."""
    return build(describe(energy) | {"mobility": mobility} | options)


class Bowl(wflow.PotentialEnergy):
    """``V = |x|^2/2`` with mobilities M (p,): an energy of one's own."""

    def __init__(self, *M: float) -> None:
        super().__init__(lambda x: 0.5 * np.sum(x**2, axis=1), lambda x: x)
        self.mobilities = {"x": np.array(M)}

    def evaluate(self, rho: wflow.measures.Measure) -> wflow.energies.Evaluation:
        plain = super().evaluate(rho)
        return replace(plain, velocity=Blocks(x=plain.velocity["x"] * self.mobilities["x"]))


BOWL = wflow.PotentialEnergy(lambda x: 0.5 * np.sum(x**2, axis=1), lambda x: x)


# Names


def test_a_group_wins_over_its_block_and_ones_are_left_out() -> None:
    Q = transformer({"W_K": 0.0, "theta": 3.0, "theta.W_Q": 2, "w": 1.0})
    assert list(Q.mobilities) == ["theta"] and Q.mobility == {"W_K": 0.0, "theta": 3.0, "theta.W_Q": 2, "w": 1.0}
    np.testing.assert_array_equal(Q.mobilities["theta"], np.repeat([3.0, 3, 0, 2], 6))
    assert transformer({}).mobilities == transformer(None).mobilities == transformer({"w": 1}).mobilities == {}


@pytest.mark.parametrize(
    ("mobility", "message"),
    [
        ({"theta.W_k": 0.0}, "mobility names 'theta.W_k', but the names are theta, w, W_V, .*; did you mean 'theta.W_"),
        ({3: 0.0}, "mobility names 3, but the names are"),
        ({"W_K": -1.0}, "mobility of W_K must be a non-negative finite number, got -1.0"),
        ({"W_K": "fast"}, "mobility of W_K must be a non-negative finite number, got 'fast'"),
        ({"W_K": True}, "mobility of W_K must be a non-negative finite number, got True"),
        ({"W_K": 1e-31}, "mobility of W_K must be 0 or between 1e-30 and 1e"),
        ({"W_K": 1.0, "theta.W_K": 2.0}, "mobility names one group twice, as 'W_K' and 'theta.W_K'"),
        ({"theta": 0.0, "w": 0}, "mobility must leave something that moves, but all of it is 0"),
        (0.5, "mobility must be a dictionary of numbers by group or block, such as"),
        (["W_K"], "mobility must be a dictionary of numbers by group or block, such as"),
    ],
)
def test_what_is_refused(mobility: Any, message: str) -> None:
    with pytest.raises(wflow.InputError, match=message):
        transformer(mobility)


def test_a_name_of_both_blocks_needs_its_block() -> None:
    with pytest.raises(wflow.InputError, match=r"'W_1' is ambiguous.*name 'theta.W_1' or 'w.W_1'"):
        transformer({"W_1": 0.0}, attention=wflow.FeedForward("relu"))
    Q = transformer({"theta.W_1": 0.0}, attention=wflow.FeedForward("relu"))
    assert list(Q.mobilities) == ["theta"]


def test_sums_take_the_mobility_of_one_term() -> None:
    Q, P = transformer({"W_K": 0.0, "w": 3.0}), transformer(None)
    rho = wflow.initial.gaussian(1.0).sample(Q, 3, 0)
    v, u, both = Q.velocity(rho), P.velocity(rho), (P + Q).velocity(rho)
    for name in u:
        np.testing.assert_allclose(both[name], 2 * v[name], rtol=1e-14, atol=1e-16)
    assert (P + Q).dissipation(rho) == pytest.approx(4 * Q.dissipation(rho), rel=1e-13)
    assert (Q + Q).mobilities is Q.mobilities
    with pytest.raises(wflow.InputError, match="energies of a sum must have the same mobility"):
        Q + transformer({"w": 2.0})


@pytest.mark.parametrize(
    ("mobilities", "message"),
    [
        ({"x": np.ones(3)}, "the mobilities of x must be 2 numbers >= 0, one a parameter, got array"),
        ({"x": np.array([1.0, -1.0])}, "the mobilities of x must be 2 numbers >= 0"),
        ({"x": [1.0, 1.0]}, "the mobilities of x must be 2 numbers >= 0"),
        ({"x": np.array([1.0, np.nan])}, "the mobilities of x must be finite"),
        ({"y": np.ones(2)}, "mobilities must name the blocks x, got mobilities for y"),
        ({"x": np.zeros(2)}, "mobilities must leave something that moves, but all of them are 0"),
        (3, "mobilities must be a dictionary that names the blocks x, got 3"),
    ],
)
def test_mobilities_of_energies_of_ones_own_are_checked(mobilities: Any, message: str) -> None:
    Q = Bowl(1.0, 1.0)
    Q.mobilities = mobilities
    for scheme, rho in (("euler", wflow.Particles(x=np.ones((2, 2)))), ("finite-volume", gauss(20, 0.0, 0.0))):
        with pytest.raises(wflow.InputError, match=message):
            wflow.solve(Q, rho, scheme=scheme, dtau=0.1)


# The metric


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_q_falls_at_the_rate_of_the_metric(seed: int, dtype: Any) -> None:
    Q, P = transformer({"W_K": 0.0, "W_Q": 20.0, "W_1": 0.3}, depth="rk4-nodes"), transformer(None, depth="rk4-nodes")
    rho = wflow.initial.gaussian(1.0).sample(Q, {"theta": 4, "w": 7}, seed, dtype=dtype)
    v, u = Q.velocity(rho), P.velocity(rho)
    falls = sum(float(np.einsum("sm,smp,smp->", rho.mass(b), v[b].astype(float), u[b].astype(float))) for b in v)
    eps = 1e-14 if dtype is np.float64 else 1e-6
    assert falls == pytest.approx(Q.dissipation(rho), rel=eps)  # u is minus the gradient of Q
    flow = Flow(Q, rho)
    point = flow.evaluate(flow.flat(flow.template.blocks))
    assert flow.dissipation(point) == pytest.approx(falls, rel=eps) and point.velocity.dtype == dtype
    if dtype is np.float64:
        h = 1e-5
        up, down = (Q.value(flow.measure(point.x + s * point.velocity)) for s in (h, -h))
        assert (up - down) / (2 * h) == pytest.approx(-falls, rel=1e-6)
    assert Q.value(rho) == P.value(rho)
    for name, phi in Q.first_variation(rho).items():
        np.testing.assert_array_equal(phi, P.first_variation(rho)[name])


def test_series_are_in_the_metric_but_lengths_are_not() -> None:
    Q = transformer({"W_V": 0.0, "w": 9.0})
    rho = wflow.initial.gaussian(0.7).sample(Q, 3, 1)
    run = wflow.solve(Q, rho, (0, 0.1), scheme="euler", dtau=0.1)
    assert run.dissipation[0] == pytest.approx(Q.dissipation(rho), rel=1e-14)
    moved = {name: run.measure(-1).blocks[name] - x for name, x in Q.prepare(rho).blocks.items()}
    plain = sum(float(np.sum(Q.prepare(rho).mass(name)[..., None] * x**2)) for name, x in moved.items())
    assert run.series["step_length"][1] == pytest.approx(np.sqrt(plain), rel=1e-13)
    at_rest = wflow.solve(Q, rho, (0, 0.1), scheme="euler", dtau=0.1, tol=float(np.sqrt(run.dissipation[0])))
    assert at_rest.status.name == "STEADY" and len(at_rest.tau) == 1


# Exact solutions with rescaled groups


def both_means(problem: Any, M: dict[str, float]) -> tuple[Any, Any, Any]:
    """``y' = A y + g`` for the means of theta and w of E2."""
    lam, data = problem.energy.weight_decay, problem.energy.dataset
    c, speeds = float(np.mean(data.read(data.tokens) - data.labels)), np.array([M["theta"], M["w"]])
    A = -speeds[:, None] * (0.25 * np.ones((2, 2)) + lam * np.eye(2))
    rho = problem.rho0
    start = [float(np.einsum("sm,smp->", rho.mass(name), rho.blocks[name])) for name in ("theta", "w")]
    return A, -0.5 * c * speeds, np.array(start)


def affine(A: Any, g: Any, tau: float) -> Any:
    """The map from y(0), 1 to y(tau), 1."""
    n = len(g)
    return expm(tau * np.block([[A, g[:, None]], [np.zeros((1, n + 1))]]))


@pytest.mark.parametrize("M", [{"theta": 3.0, "w": 0.25}, {"theta": 0.0, "w": 2.0}, {"theta": 40.0, "w": 1.0}])
def test_e2_constant_encoders(M: dict[str, float]) -> None:
    problem = problems.constant_encoders(layers=3, width=4, weight_decay=0.3)
    A, g, start = both_means(problem, M)
    run = wflow.solve(mobile(problem.energy, M), problem.rho0, (0, 1.5), rtol=1e-11, atol=1e-13)
    means = (affine(A, g, 1.5) @ [*start, 1.0])[:2]
    for k, name in enumerate(("theta", "w")):
        decay = np.exp(-0.3 * M[name] * 1.5)
        exact = means[k] + decay * (problem.rho0.blocks[name] - start[k])
        np.testing.assert_allclose(run.measure(-1).blocks[name], exact, rtol=0, atol=1e-9)


def test_e2_of_one_block_has_the_rate_times_m() -> None:
    problem = problems.constant_encoders(blocks=("theta",), weight_decay=0.2)
    run = wflow.solve(mobile(problem.energy, {"theta": 5.0}), problem.rho0, (0, 0.4), rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(run.measure(-1).theta, problem.measure(2.0).theta, atol=1e-9)


def test_e1_decays_group_by_group() -> None:
    problem = problems.pure_decay(weight_decay=0.5)
    Q = mobile(problem.energy, {"V": 3.0, "W": 0.0, "W_2": 0.5})
    end = wflow.solve(Q, problem.rho0, (0, 2), rtol=1e-11, atol=1e-13).measure(-1)
    np.testing.assert_allclose(end.theta[..., :4], np.exp(-3.0) * problem.rho0.theta[..., :4], rtol=1e-9)
    np.testing.assert_array_equal(end.theta[..., 4:], problem.rho0.theta[..., 4:])
    np.testing.assert_allclose(end.w[..., :2], np.exp(-1.0) * problem.rho0.w[..., :2], rtol=1e-9)
    np.testing.assert_allclose(end.w[..., 2:], np.exp(-0.5) * problem.rho0.w[..., 2:], rtol=1e-9)


def test_e3_single_token() -> None:
    """``P = ((1 + V/2L)(1 + u/2L))^L`` with the means V, u; ``V' = -M_V ((a P^2 - b P)/(2 + V/L) + lam V)``."""
    lam, L, M = 0.2, 4, {"V": 2.5, "W": 0.5, "w": 0.3}
    problem = problems.single_token(layers=L, weight_decay=lam, depth="split-euler", limit=False)
    H, y = problem.energy.dataset.tokens[:, 0, 0], problem.energy.dataset.labels
    a, b = np.mean(H**2), np.mean(H * y)

    def slope(tau: float, means: Any) -> Any:
        P = np.prod(1 + means / (2 * L)) ** L
        pull = (a * P**2 - b * P) / (2 * (1 + means / (2 * L)))
        return -np.array([M["V"], M["w"]]) * (pull + lam * means)

    means = solve_ivp(slope, (0, 1.2), [0.4, 0.4], method="DOP853", rtol=1e-13, atol=1e-14).y[:, -1]
    end = wflow.solve(mobile(problem.energy, M), problem.rho0, (0, 1.2), rtol=1e-11, atol=1e-13).measure(-1)
    start = problem.rho0
    for got, before, mean, speed in (
        (end.theta[..., 0], start.theta[..., 0], means[0], M["V"]),
        (end.w[..., 0], start.w[..., 0], means[1], M["w"]),
    ):
        np.testing.assert_allclose(got, mean + np.exp(-lam * speed * 1.2) * (before - 0.4), atol=1e-9)
    np.testing.assert_allclose(end.theta[..., 1], np.exp(-lam * 0.6) * start.theta[..., 1], rtol=1e-9)


class Rows(problems.FrozenRowEncoder):
    """The encoder of E4 with its first parameter as a group of its own."""

    def groups(self, dimension: int) -> dict[str, Group]:
        return {"first": Group(slice(0, 1), dimension), "others": Group(slice(1, dimension - 1), dimension)}


@pytest.mark.parametrize("first", [0.0, 4.0])
def test_e4_two_layer(first: float) -> None:
    lam = 0.15
    problem = problems.two_layer(weight_decay=lam, layers=2)
    data, start = problem.energy.dataset, problem.rho0
    Q = wflow.TransformerObjective(data, Rows(), None, lam, layers=2, mobility={"first": first, "others": 0.5})
    psi = data.tokens[:, :-1, -1]
    D = np.array([first, 0.5, 0.5])
    K, k = psi.T @ psi / 6, psi.T @ (data.labels - data.read(data.tokens)) / 6
    m_0 = np.einsum("sm,smp->p", start.mass("theta"), start.theta)
    m = (affine(-D[:, None] * (K / 4 + lam * np.eye(3)), D * k / 2, 2.0) @ [*m_0, 1.0])[:3]
    end = wflow.solve(Q, start, (0, 2.0), rtol=1e-11, atol=1e-13).measure(-1)
    np.testing.assert_allclose(end.theta, m + np.exp(-lam * D * 2.0) * (start.theta - m_0), atol=1e-9)


def test_e5_sine_circle() -> None:
    problem = problems.sine_circle(offset=0.3)
    end = wflow.solve(mobile(problem.energy, {"theta": 0.25}), problem.rho0, (0, 8), rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(end.measure(-1).theta, problem.measure(2.0).theta, atol=1e-9)


def test_fast_values_follow_slow_attention() -> None:
    """V enters linearly: with mobility 1/eps it follows ``V*(W)``, and W the flow of ``Q(V*(W), W)``, up to O(eps)."""
    data = wflow.Dataset(RNG.standard_normal((6, 2, 3)), RNG.standard_normal(6))
    Q = wflow.TransformerObjective(data, wflow.SoftmaxAttention(), weight_decay=0.2, layers=1)
    rho = wflow.initial.gaussian(1.0).sample(Q, 2, 3)

    def at(V: Any, W: Any) -> Any:
        return rho.replace(theta=np.concatenate([V.reshape(1, 2, 4), W.reshape(1, 2, 4)], axis=2))

    def best(W: Any) -> Any:
        """The V where the gradient by V, which is affine in it, vanishes."""
        gradient = [-Q.velocity(at(V, W)).theta[..., :4].ravel() for V in np.vstack([np.zeros(8), np.eye(8)])]
        return np.linalg.solve(np.array(gradient[1:]).T - gradient[0][:, None], -gradient[0])

    def slope(tau: float, W: Any) -> Any:
        return Q.velocity(at(best(W), W)).theta[..., 4:].ravel()

    W_0 = rho.theta[..., 4:].ravel()
    slow = solve_ivp(slope, (0, 1), W_0, method="DOP853", rtol=1e-9, atol=1e-11).y[:, -1]
    start, off = at(best(W_0), W_0), []
    for ratio in (1e2, 1e3):
        run = wflow.solve(mobile(Q, {"V": ratio}), start, (0, 1), rtol=1e-7, atol=1e-10)
        off.append(np.abs(run.measure(-1).theta[..., 4:].ravel() - slow).max())
    assert off[1] < 1e-3 * np.abs(slow - W_0).max() and 8 < off[0] / off[1] < 12


# Every scheme for particles


@pytest.mark.parametrize("name", PARTICLES)
def test_frozen_parameters_do_not_move_by_a_bit(name: str) -> None:
    if name in ("blob", "quantile-jko"):  # for few parameters
        options = {"entropy": 0.1} if name == "blob" else {}
        problem = problems.constant_encoders(layers=2, width=6)
        Q, rho = mobile(problem.energy, {"w": 0.0, "theta": 2.0}, **options), problem.rho0
        rho = rho.replace(**{block: np.sort(x, axis=1) for block, x in rho.blocks.items()})
        parts = {"w": slice(0, 1)}
    else:
        noise = {"entropy": 0.1} if SCHEMES[name].noisy else {}
        Q = transformer({"W_K": 0.0, "W_Q": 0.5, "W_2": 0.0}, **noise)
        rho, parts = wflow.initial.gaussian(1.0).sample(Q, 4, 2), {"theta": slice(12, 18), "w": slice(3, 6)}
    adaptive = SCHEMES[name].error_order is not None and not SCHEMES[name].noisy
    steps: dict[str, Any] = {"rtol": 1e-4} if adaptive else {"dtau": 0.07}
    run = wflow.solve(Q, rho, (0, 0.3), scheme=name, rng=1, save=wflow.SaveAt(tau=[0.1, 0.2]), **steps)
    start, end = run.measure(0), run.measure(-1)
    for i in range(run.n_frames):
        for block, place in parts.items():
            moved, before = run.measure(i).blocks[block], start.blocks[block]
            np.testing.assert_array_equal(moved[..., place], before[..., place])
    assert all((end.blocks[block] != x).any() for block, x in start.blocks.items() if x.shape[2] > 1)
    assert (end.theta != start.theta).any()


EXACT = {
    "euler": lambda A: np.eye(3) + A,
    "heun": lambda A: np.eye(3) + A + A @ A / 2,
    "rk4": lambda A: np.eye(3) + A + A @ A / 2 + A @ A @ A / 6 + A @ A @ A @ A / 24,
    "jko": lambda A: np.linalg.inv(np.eye(3) - A),
    "midpoint": lambda A: np.linalg.solve(np.eye(3) - A / 2, np.eye(3) + A / 2),
    "bdf2": lambda A: np.linalg.solve(np.eye(3) - A / 2, np.eye(3) + A / 2),  # its first step
    "discrete-gradient": lambda A: np.linalg.solve(np.eye(3) - A / 2, np.eye(3) + A / 2),
    "avf": lambda A: np.linalg.solve(np.eye(3) - A / 2, np.eye(3) + A / 2),
    "quantile-jko": lambda A: np.linalg.inv(np.eye(3) - A),
}


@pytest.mark.parametrize("name", EXACT)
def test_one_step_of_every_scheme_is_its_own_function_of_the_matrix(name: str) -> None:
    """E2 is linear: a step maps the means by the scheme's rational function of ``h A``."""
    M, h = {"theta": 6.0, "w": 0.5}, 0.2
    problem = problems.constant_encoders(layers=2, width=5, weight_decay=0.3)
    A, g, start = both_means(problem, M)
    full = np.block([[A, g[:, None]], [np.zeros((1, 3))]])
    means = (EXACT[name](h * full) @ [*start, 1.0])[:2]
    end = wflow.solve(mobile(problem.energy, M), problem.rho0, (0, h), scheme=name, dtau=h).measure(-1)
    got = [float(np.einsum("sm,smp->", end.mass(block), end.blocks[block])) for block in ("theta", "w")]
    # Minimisers are accurate to 1e-3 of a step, or less.
    inexact = 1e-3 if name in ("jko", "midpoint", "bdf2") else 1e-9
    assert np.abs(got - means).max() < inexact * np.abs(means - start).max()


@pytest.mark.parametrize("name", SCHEMES)
def test_one_mobility_for_all_is_another_clock(name: str) -> None:
    """A step of h with M = 4 is a step of 4 h without, in every scheme, with the same noise."""
    scheme = SCHEMES[name]
    internal = [] if type(None) in scheme.internals else [scheme.internals[0](0.4)]
    if isinstance(scheme, GridScheme):
        x = np.linspace(-5.95, 5.95, 120)
        rho: Any = wflow.Grid(x=np.exp(-((x - 1) ** 2)), box={"x": ((-6, 6),)})
        h = 0.001 if name == "muscl" else 0.02
    else:
        rho, h = wflow.Particles(x=np.linspace(-1, 2, 8)[:, None]), 0.02
    runs = [
        wflow.solve(SumEnergy(bowl, *internal), rho, (0, 5 * dtau), scheme=name, dtau=dtau, rng=3)
        for bowl, dtau in ((Bowl(4.0), h), (BOWL, 4 * h))
    ]
    a, b = (run.measure(-1).x for run in runs)
    assert np.abs(a - b).max() < 1e-7 * np.abs(b).max() and np.abs(b - runs[1].measure(0).x).max() > 1e-3
    for series in ("energy", "defect", "step_length"):
        np.testing.assert_allclose(runs[0].series[series], runs[1].series[series], rtol=1e-6, atol=1e-8)
    if not scheme.noisy:
        np.testing.assert_allclose(runs[0].dissipation, 4 * runs[1].dissipation, rtol=1e-6)


def test_the_identity_of_the_discrete_gradient_holds_to_round_off() -> None:
    Q = transformer({"W_K": 0.0, "W_Q": 30.0, "w": 0.2})
    rho = wflow.initial.gaussian(1.0).sample(Q, 4, 5)
    run = wflow.solve(Q, rho, (0, 1), scheme="discrete-gradient", dtau=0.02)
    assert np.abs(run.series["defect"]).max() < 1e-13 and run.energy[0] - run.energy[-1] > 0.1


@pytest.mark.parametrize("name", ["langevin", "euler-maruyama"])
def test_noise_has_the_exact_variance_and_an_equilibrium_without_mobilities(name: str) -> None:
    """``var' = -2 lam M (var - sigma/lam)``; a step of Euler and Maruyama has ``(1 - lam M h)^2 var + 2 sigma M h``."""
    problem, sigma, lam, h, width = problems.pure_decay(weight_decay=0.5), 0.3, 0.5, 0.02, 1500
    Q = mobile(problem.energy, {"V": 4.0, "W": 0.0, "W_1": 0.5, "W_2": 2.0}, entropy=sigma)
    rho = wflow.Particles(theta=np.zeros((4, width, 8)), w=np.zeros((4, width, 4)))
    run = wflow.solve(Q, rho, (0, 1), scheme=name, dtau=h, rng=1, save=wflow.SaveAt(tau=[0.3]))
    for i, tau in ((1, 0.3), (2, 1.0)):
        end = run.measure(i)
        assert not end.theta[..., 4:].any()
        for x, M in ((end.theta[..., :4], 4.0), (end.w[..., :2], 0.5), (end.w[..., 2:], 2.0)):
            exact = sigma / lam * (1 - np.exp(-2 * lam * M * tau))
            share = 1.0 if name == "langevin" else 1 / (1 - lam * M * h / 2)  # of the scheme's own equilibrium
            assert np.mean(x**2) == pytest.approx(share * exact, rel=5 * np.sqrt(2 / x.size) + 0.5 * lam * M * h)
    assert Virial(Q)(end) == pytest.approx(
        sum(p * (1 - np.exp(-M)) for p, M in ((4, 4.0), (2, 0.5), (2, 2.0))) / 8, rel=0.03
    )


def test_transport_between_particles_of_several_kinds_is_not_free() -> None:
    """JKO's assignment costs ``|dx|^2/M``, and frozen coordinates stay with their particle."""
    x = np.array([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
    y = x[:, [1, 0, 2]] * [1.0, 0.0] + x * [0.0, 1.0]  # the first two change places in the first coordinate
    rho = wflow.Particles(x=x)
    for M, cheapest in (((4.0, 0.0), 0.0), ((4.0, 1.0), 0.0), ((0.0, 4.0), 0.0)):
        flow = Flow(Bowl(*M), rho)
        assert _cheapest(flow, x.ravel(), y.ravel()) == pytest.approx(cheapest, abs=1e-15)
    z = y + np.array([0.5, 0.0])
    assert _cheapest(Flow(Bowl(4.0, 0.0), rho), x.ravel(), z.ravel()) == pytest.approx(0.25 / 4)
    apart = wflow.Particles(x=x + [0.0, 0.5] * np.arange(3)[:, None])  # frozen coordinates all differ
    moved = apart.x + (y - x)
    assert _cheapest(Flow(Bowl(4.0, 0.0), apart), apart.x.ravel(), moved.ravel()) == pytest.approx(2 / 3 / 4)
    assert _cheapest(Flow(Bowl(4.0, 1e-3), apart), apart.x.ravel(), moved.ravel()) == pytest.approx(2 / 3 / 4)


# Densities


def gauss(cells: int, *centres: float) -> wflow.Grid:
    x = (np.arange(cells) + 0.5) * 14 / cells - 7
    bells = [np.exp(-((x - c) ** 2)) for c in centres]
    density = bells[0] if len(bells) == 1 else bells[0][:, None] * bells[1]
    return wflow.Grid(x=density, box={"x": ((-7, 7),) * len(bells)})


@pytest.mark.parametrize("name", GRIDS)
def test_axes_have_mobilities_of_their_own(name: str) -> None:
    """In a product of bowls every marginal is that of a flow with another clock; a frozen axis keeps its marginal."""
    h = {"muscl": 0.0005, "entropic-jko": 0.16}.get(name, 0.05)
    internal = [] if name == "muscl" else [wflow.Entropy(0.4)]
    energy = SumEnergy(BOWL, *internal)
    for M in ((2.0, 0.5), (2.0, 0.0)):
        run = wflow.solve(SumEnergy(Bowl(*M), *internal), gauss(84, 0.5, -1.0), (0, 3 * h), scheme=name, dtau=h)
        total, falls, defect = 0.0, 0.0, 0.0
        for axis, (speed, centre) in enumerate(zip(M, (0.5, -1.0))):
            end = start = gauss(84, centre)
            if speed:
                alone = wflow.solve(energy, start, (0, 3 * h * speed), scheme=name, dtau=h * speed)
                end, falls = alone.measure(-1), falls + speed * alone.dissipation[-1]
                defect += alone.series["defect"][-1]
            total += energy.value(end)
            got = run.measure(-1).marginal("x", axis).ravel()
            np.testing.assert_allclose(got, end.x.ravel(), atol=2e-7 * start.x.max())
        assert run.energy[-1] == pytest.approx(total, rel=1e-6) and run.dissipation[-1] == pytest.approx(
            falls, rel=1e-6
        )
        assert run.series["defect"][-1] == pytest.approx(defect, abs=1e-6 * abs(total))


@pytest.mark.parametrize("name", GRIDS)
def test_a_frozen_block_keeps_its_density(name: str) -> None:
    problem = problems.constant_encoders(layers=1, weight_decay=0.2)
    noise = {} if name == "muscl" else {"entropy": 0.3}
    Q = mobile(problem.energy, {"theta": 2.0, "w": 0.0}, **noise)
    rho = wflow.initial.gaussian(0.7).on_grid(Q, {"theta": [[-6, 6]], "w": [[-6, 6]]}, {"theta": 90, "w": 60})
    run = wflow.solve(Q, rho, (0, 0.1), scheme=name, dtau=0.002 if name == "muscl" else 0.1)
    np.testing.assert_allclose(run.measure(-1).w, rho.w, rtol=0, atol=1e-14 * rho.w.max())
    assert np.abs(run.measure(-1).theta - rho.theta).max() > 1e-3


# Files


RUN = """
[data]
kind = "in-context"
n_prompts = 6
dimension = 1
context = 3

[attention]
factored = true

[objective]
layers = 2
weight_decay = 0.01
mobility = {{ {mobility} }}

[initial]
M = 4
law = "gaussian"
std = 0.5

[solve]
tau_end = 0.2
dtau = 0.1
"""


def test_run_files_name_mobilities(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "run.toml", tmp_path / "run.h5"
    path.write_text(RUN.format(mobility="W_K = 0, 'theta.W_Q' = 2.0"))
    assert main(["run", str(path), "-o", str(out), "-q"]) == 0
    run = wflow.load(out)
    Q: Any = run.objective
    assert Q.mobility == {"W_K": 0, "theta.W_Q": 2.0} and Q.n_parameters == {"theta": 64}
    np.testing.assert_array_equal(run.measure(-1).theta[..., 32:48], run.measure(0).theta[..., 32:48])
    assert main(["info", str(out)]) == 0
    assert "2 layers, mobility {'W_K': 0" in capsys.readouterr().out
    refusals = {
        "theta.W_K = 0": "mobility must be numbers >= 0 by group or block",
        "W_K = -1": "mobility must be numbers >= 0 by group or block",
        "W = 0": "mobility names 'W', but the names are theta, W_V",
    }
    for mobility, message in refusals.items():
        path.write_text(RUN.format(mobility=mobility))
        assert main(["run", str(path), "-o", str(tmp_path / "no.h5")]) == 2
        assert message in capsys.readouterr().err
