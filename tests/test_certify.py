"""Certificates where the answer is known: exact states at rest, saddles, traps, runs that were stopped early."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wflow
from wflow import problems
from wflow.certify import _placed, _Search, certificate, minimise
from wflow.cli import main
from wflow.plain import build, describe
from wflow.schemes import Flow

RNG = np.random.default_rng(3)
AT_REST = {
    "E2": (problems.constant_encoders(weight_decay=0.2), 150.0),
    "E2 without decay": (problems.constant_encoders(weight_decay=0.0), 60.0),
    "E3": (problems.single_token(layers=4, weight_decay=0.2, depth="split-euler", limit=False), 100.0),
    "E4": (problems.two_layer(weight_decay=0.2), 150.0),
    "E5": (problems.sine_circle(), 200.0),
}


@pytest.mark.parametrize("name", AT_REST)
def test_no_descent_from_exact_states_at_rest(name: str) -> None:
    problem, tau = AT_REST[name]
    found = certificate(problem.energy, problem.measure(tau), starts=8)
    assert found.verdict == "no descent found by 8 starts" and found.is_stationary and not found.is_saddle
    assert found.descent is None and str(found).splitlines()[0] == found.verdict
    assert certificate(problem.energy, problem.measure(0.1), starts=8).verdict == "not stationary"


def test_the_hessian_has_the_rates_of_the_flow() -> None:
    """E2 decays at lambda and ``1/2 + lambda``; E4 at lambda and the eigenvalues of ``K/4 + lambda``; M times that."""
    found = certificate(AT_REST["E2"][0].energy, AT_REST["E2"][0].measure(150.0), starts=1)
    np.testing.assert_allclose(found.hessian, (0.2, 0.7), rtol=1e-9)
    assert found.noise < 1e-9
    problem = AT_REST["E4"][0]
    Q = build(describe(problem.energy) | {"mobility": {"theta": 3.0}})
    psi = problem.energy.dataset.tokens[:, :-1, -1]
    largest = float(np.linalg.eigvalsh(psi.T @ psi / 6)[-1])
    found = certificate(Q, problem.measure(150.0), starts=1)  # 96 parameters
    np.testing.assert_allclose(found.hessian, (0.6, 3 * (largest / 4 + 0.2)), rtol=1e-6)


def test_frozen_parameters_are_not_in_the_hessian() -> None:
    problem = problems.constant_encoders(weight_decay=0.2, width=3, layers=2)
    Q = build(describe(problem.energy) | {"mobility": {"theta": 0.0, "w": 2.0}})
    end = wflow.solve(Q, problem.rho0, (0, 80), rtol=1e-8).measure(-1)
    found = certificate(Q, end, starts=4)
    np.testing.assert_allclose(found.hessian, (0.4, 2 * (0.25 + 0.2)), rtol=1e-9)
    assert found.verdict == "no descent found by 4 starts"


def data(B: int = 5) -> wflow.Dataset:
    return wflow.Dataset(RNG.standard_normal((B, 3, 3)), RNG.standard_normal(B))


def objective(**options: Any) -> wflow.TransformerObjective:
    arguments: dict[str, Any] = {
        "attention": wflow.SoftmaxAttention(),
        "feedforward": wflow.FeedForward("tanh", bias=True),
    }
    return wflow.TransformerObjective(data(), **(arguments | {"weight_decay": 0.1, "layers": 2} | options))


@pytest.mark.parametrize("mobility", [None, {"W": 0.0, "W_1": 3.0}])
@pytest.mark.parametrize("block", ["theta", "w"])
def test_the_first_variation_and_its_gradient(mobility: Any, block: str) -> None:
    Q = objective(mobility=mobility, loss="huber")
    rho = Q.prepare(wflow.initial.gaussian(1.0).sample(Q, 4, 0))
    search = _Search(Q, rho, block, 10.0, 1.0)
    points = RNG.standard_normal((2, 3, rho.points(block).shape[2]))
    phi, gradient = search.variation(points)
    np.testing.assert_allclose(phi, Q.first_variation(rho, {block: points})[block], rtol=1e-12)
    way = RNG.standard_normal(points.shape)
    up, down = (search.variation(points + s * way)[0] for s in (1e-5, -1e-5))
    np.testing.assert_allclose((up - down) / 2e-5, np.sum(gradient * way, axis=2), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("decay", [0.5, 0.0])
def test_the_last_matrix_is_eliminated(decay: float) -> None:
    Q = objective(weight_decay=decay)
    rho = Q.prepare(wflow.initial.gaussian(1.0).sample(Q, 4, 0))
    for block, V in (("theta", slice(0, 9)), ("w", slice(4, 7))):
        search = _Search(Q, rho, block, 5.0, 1.0)
        phi, gradient, points = search.look(search.project(RNG.standard_normal((2, 6, rho.points(block).shape[2]))))
        lengths = np.linalg.norm(points[..., V], axis=2)
        if decay:  # where it is not cut off, the gradient by V vanishes
            np.testing.assert_allclose(search.variation(points)[1][lengths < 3.5][..., V], 0, atol=1e-14)
        else:
            np.testing.assert_allclose(lengths, 5 / np.sqrt(2))
        assert not gradient[..., V].any() and np.linalg.norm(points, axis=2).max() <= 5 * (1 + 1e-12)
        for _ in range(20):  # no other V in the ball is better
            other = points.copy()
            other[..., V] = RNG.standard_normal(other[..., V].shape)
            other[..., V] *= np.minimum(1, 5 / np.sqrt(2) / np.linalg.norm(other[..., V], axis=2))[..., None]
            assert (search.variation(other)[0] >= phi).all()


def test_all_starts_are_minimised_at_once() -> None:
    """Rosenbrock's valley in the ball around 0 of radius 2, from many starts, against its minimum at (1, 1)."""

    def look(x: Any) -> Any:
        a, b = x[..., 0], x[..., 1]
        slope = np.stack([-2 * (1 - a) - 40 * a * (b - a**2), 20 * (b - a**2)], axis=2)
        return (1 - a) ** 2 + 10 * (b - a**2) ** 2, slope, x

    def project(x: Any) -> Any:
        return x / np.maximum(1, np.linalg.norm(x, axis=2, keepdims=True) / 2)

    values, x = minimise(look, 2 * RNG.standard_normal((2, 8, 2)), project)
    assert values.max() < 1e-10
    np.testing.assert_allclose(x, 1, atol=1e-4)


# Traps and saddles

KEYS, VALUES = np.array([-1.0, 0.0, 1.0]), np.array([1.0, -0.5, 0.2])


def trap(layers: int = 1, **options: Any) -> wflow.TransformerObjective:
    """One head, one prompt, one number w that moves: it predicts ``F(w) = sum_j v_j e^{w k_j}/sum_j e^{w k_j}``.

    Rows of tokens: key, value, query (1), and the read row (0), of the middle token, whose key is 0.
    """
    tokens = np.stack([KEYS, VALUES, np.ones(3), np.zeros(3)])[None]
    heads = wflow.SoftmaxAttention(factored=True, rank=1)
    Q = wflow.TransformerObjective(
        wflow.Dataset(tokens, [0.9], (3, 1)), heads, layers=layers, mobility={"theta": 0.0, "W_Q": 1.0}, **options
    )
    assert layers > 1 or Q.predict(head(0.7)) == pytest.approx(F(0.7), rel=1e-14)
    return Q


def head(*w: float, value: tuple[float, ...] = ()) -> wflow.Particles:
    theta = np.zeros((1, len(w), 16))
    theta[..., 1], theta[..., 7], theta[..., 8], theta[0, :, 14] = value or 1.0, 2.0, 1.0, w
    return wflow.Particles(theta=theta)


def F(w: Any) -> Any:
    weights = np.exp(np.multiply.outer(w, KEYS))
    return weights @ VALUES / weights.sum(axis=-1)


def test_the_trap_of_softmax_attention() -> None:
    """From w > ln 3 the flow goes to infinity and R to 0.245; mass at w -> -infinity, where F = 1, leads out of it."""
    Q, start = trap(), head(2.0)
    stuck = wflow.solve(Q, start, (0, 2000)).measure(-1)
    assert stuck.theta[0, 0, 14] > 6 and Q.risk(stuck) == pytest.approx(0.245, abs=1e-3)
    early = certificate(Q, stuck)
    assert early.verdict == "not stationary" and early.descent is None and early.speed == np.sqrt(Q.dissipation(stuck))
    found = certificate(Q, head(20.0))
    assert found.verdict == "stationary, but a particle at beta* would lower Q" and not found.is_saddle
    d: Any = found.descent
    assert d.block == "theta" and (d.slice, d.t) == (0, 0.0) and F(d.beta[12:] @ [0, -0.5, 1, 0]) == pytest.approx(1)
    np.testing.assert_array_equal(d.beta[:12], head(20.0).theta[0, 0, :12])  # the frozen ones are those of the particle
    assert d.mean == pytest.approx(0.2 * -0.7) and d.value == pytest.approx(-0.7)
    assert d.slope == pytest.approx(-0.56)
    before, placed, after = d.energies
    assert before == pytest.approx(0.245) and after <= placed == pytest.approx(
        0.5 * (0.9 - (1 - d.mass) * 0.2 - d.mass) ** 2
    )
    assert after < 0.05 and d.tau == 10.0
    words = str(found)
    assert "beta*     block theta, slice 0 at t = 0" in words and "dQ/dm = -0.56" in words and "Q 0.245, with" in words


def test_mass_is_compared_with_the_particles_that_share_its_frozen_parameters() -> None:
    """Two heads share their values and one has others: mass of a kind stays of this kind."""
    Q = trap()
    rho = head(20.0, 30.0, 25.0, value=(1.0, 1.0, 0.5))
    r = (0.2 + 0.2 + 0.1) / 3 - 0.9
    d: Any = certificate(Q, rho).descent
    assert d.mean == pytest.approx(0.2 * r) and d.value == pytest.approx(r)
    members = np.array([True, True, False])
    search = _Search(Q, Q.prepare(rho), "theta", 300.0, Q.value(rho))
    best, found = search.best(16, np.random.default_rng(0))  # type: ignore[misc]
    np.testing.assert_array_equal(found, members)
    small = _placed(Q.prepare(rho), best, members, 1e-6)
    np.testing.assert_allclose(small.weights("theta"), [[(1 - 1e-6) / 3, (1 - 1e-6) / 3, 1 / 3, 2e-6 / 3]])
    assert (Q.value(small) - Q.value(rho)) / (2e-6 / 3) == pytest.approx(best.slope, rel=1e-5)


def test_slopes_are_those_of_q_in_depth() -> None:
    Q = objective(layers=3, depth="rk4-nodes")
    rho = Q.prepare(wflow.initial.gaussian(0.3).sample(Q, 3, 1))
    for block in ("theta", "w"):
        best, members = _Search(Q, rho, block, 5.0, 1.0).best(4, np.random.default_rng(0))  # type: ignore[misc]
        change = (Q.value(_placed(rho, best, members, 1e-6)) - Q.value(rho)) / 1e-6
        assert members.all() and change == pytest.approx(best.slope, rel=1e-3) and best.t == Q.rule.nodes[best.slice]


def test_zero_is_a_saddle_by_symmetry() -> None:
    """``Q = 1/2 (1 + mean w_1 w_2/2 - y)^2 + ...``: the Hessian at 0 has the eigenvalues ``lambda +- (y - 1)/2``."""
    data = wflow.Dataset(np.ones((1, 1, 1)), [2.0])
    Q = wflow.TransformerObjective(data, feedforward=wflow.FeedForward("identity"), weight_decay=0.1, layers=1)
    found = certificate(Q, wflow.Particles(w=np.zeros((1, 4, 2), np.float32)))
    np.testing.assert_allclose(found.hessian, (-0.4, 0.6), rtol=1e-8)
    assert found.is_saddle and "negative: Q falls along its eigenvector" in str(found)
    assert found.verdict == "stationary, but a particle at beta* would lower Q"
    d: Any = found.descent
    assert d.energies[2] == pytest.approx(0.18, abs=1e-3) and d.energies[0] == 0.5  # 0.18 is the minimum
    end = wflow.solve(Q, wflow.initial.gaussian(0.5).sample(Q, 4, 0), (0, 300), rtol=1e-8)
    assert end.energy[-1] == pytest.approx(0.18, rel=1e-9)
    assert certificate(Q, end.measure(-1)).verdict == "no descent found by 32 starts"


def test_a_saddle_of_its_particles_alone_says_so() -> None:
    """Where no mass may jump but the Hessian is negative, the report does not hide it."""
    found = certificate(*zero())
    assert found.is_saddle
    hidden = type(found)(**(vars(found) | {"descent": None}))
    assert hidden.verdict == "no descent found by 32 starts, but Q falls along an eigenvector of its Hessian"


def zero() -> tuple[Any, Any]:
    Q = wflow.TransformerObjective(
        wflow.Dataset(np.ones((1, 1, 1)), [2.0]), feedforward=wflow.FeedForward("identity"), layers=1
    )
    return Q, wflow.Particles(w=np.zeros((1, 2, 2)))


def test_the_same_seed_gives_the_same_report() -> None:
    Q, rho = zero()
    assert str(certificate(Q, rho, rng=1)) == str(certificate(Q, rho, rng=np.random.default_rng(1)))


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda Q, rho: certificate(Q + Q, rho), "got SumEnergy; of a sum pass the term"),
        (lambda Q, rho: certificate(3, rho), "objective must be a wflow.TransformerObjective, got int"),
        (lambda Q, rho: certificate(Q, 3), "rho must be wflow.Particles, got int"),
        (lambda Q, rho: certificate(Q, rho, starts=0), "starts must be a positive integer, got 0"),
        (lambda Q, rho: certificate(Q, rho, tol=-1), "tol must be a non-negative finite number, got -1"),
        (lambda Q, rho: certificate(Q, rho, tau=0), "tau must be a positive finite number, got 0"),
        (
            lambda Q, rho: certificate(objective(entropy=0.1), rho),
            "is for flows without noise, but this objective has E",
        ),
    ],
)
def test_what_is_refused(attempt: Any, message: str) -> None:
    with pytest.raises(wflow.InputError, match=message):
        attempt(*zero())


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problem, _ = AT_REST["E4"]
    for tau, verdict in ((0.1, "not stationary"), (200, "no descent found by 4 starts")):
        path = tmp_path / f"{tau}.h5"
        wflow.solve(problem.energy, problem.rho0, (0, tau), path=path)
        assert main(["certificate", str(path), "--starts", "4"]) == 0
        out = capsys.readouterr().out
        assert out.startswith(verdict) and "Hessian" in out and "kernel" in out and "|v|" in out
    Q = wflow.PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x)
    wflow.solve(Q, wflow.Particles(x=[[1.0]]), (0, 1), path=tmp_path / "own.h5")
    assert main(["certificate", str(tmp_path / "own.h5")]) == 2
    assert "holds no Transformer objective, or not all of it: it has no certificate" in capsys.readouterr().err


def test_norms_are_those_of_the_flow() -> None:
    problem = AT_REST["E2"][0]
    Q = build(describe(problem.energy) | {"mobility": {"theta": 0.0, "w": 4.0}})
    rho = problem.measure(0.5)
    found, flow = certificate(Q, rho, starts=1), Flow(Q, rho)
    assert found.speed == pytest.approx(np.sqrt(Q.dissipation(rho)), rel=1e-12)
    assert found.limit == pytest.approx(1e-6 * (1 + flow.norm(flow.flat(rho.blocks))), rel=1e-12)
