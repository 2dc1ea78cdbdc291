"""The proximal schemes: the minimisation, large steps, and JKO as JKO."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import wflow
from wflow import problems
from wflow.distances import conditional_w2
from wflow.energies.energy import Energy, Evaluation
from wflow.schemes import JKO, DiscreteGradient, Flow
from wflow.schemes.minimise import NoMinimum, prox

Problem = tuple[wflow.TransformerObjective, wflow.Particles]
Array = np.ndarray[Any, Any]

PROXIMAL = ("jko", "bdf2", "midpoint")
EVERY = wflow.SaveAt(steps=1)
QUADRATIC = wflow.PotentialEnergy(lambda x: np.sum(x**2 / 2, axis=1), lambda x: x)
DOUBLE_WELL = wflow.PotentialEnergy(lambda x: np.sum(x**4 / 4 - x**2 / 2, axis=1), lambda x: x**3 - x)
START = np.array([[-1.8], [-0.3], [0.2], [0.6], [2.0]])


# The minimisation


@pytest.mark.parametrize(("dtype", "digits"), [(np.float64, 1e-9), (np.float32, 3e-6)])
def test_prox_of_a_quadratic_potential(dtype: type, digits: float) -> None:
    """``prox(b, h) = (1 + h A)^{-1} b``, whatever the weights and however stiff A is."""
    stiffness = np.array([0.1, 3.0, 100.0])
    energy = wflow.PotentialEnergy(
        lambda x: (x**2 @ stiffness / 2).astype(x.dtype), lambda x: (x * stiffness).astype(x.dtype)
    )
    x = np.random.default_rng(1).standard_normal((4, 3)).astype(dtype)
    flow = Flow(energy, wflow.Particles(x=x, weights={"x": [[0.1, 0.2, 0.3, 0.4]]}))
    start = flow.evaluate(x.ravel())
    for h in (0.01, 1.0, 100.0):
        point = prox(flow, start, start.x, h, lambda point: 1e-9)
        assert point.x.dtype == dtype
        expected = x / (1 + h * stiffness)
        np.testing.assert_allclose(point.x.reshape(x.shape), expected, rtol=0, atol=digits * np.abs(x).max())
        assert point.value + flow.norm2(point.x - start.x) / (2 * h) < start.value


def test_steps_on_a_quadratic_potential() -> None:
    x, h = np.array([[3.0], [-6.0]]), 0.7
    implicit, middle = 1 / (1 + h), (1 - h / 2) / (1 + h / 2)
    second = (4 * middle - 1) / 3 / (1 + 2 * h / 3)
    for scheme, factors in (("jko", (implicit, implicit**2)), ("midpoint", (middle, middle**2))):
        answer = wflow.solve(QUADRATIC, wflow.Particles(x=x), (0, 2 * h), scheme=scheme, dtau=h, save=EVERY)
        for i, factor in enumerate(factors):
            np.testing.assert_allclose(answer.measure(i + 1).x[0], factor * x, rtol=1e-9)
    answer = wflow.solve(QUADRATIC, wflow.Particles(x=x), (0, 2 * h), scheme="bdf2", dtau=h, save=EVERY)
    np.testing.assert_allclose(answer.measure(2).x[0], second * x, rtol=1e-9)


def test_prox_that_does_not_converge() -> None:
    flow = Flow(DOUBLE_WELL, wflow.Particles(x=START))
    start = flow.evaluate(START.ravel())
    with pytest.raises(NoMinimum, match="did not converge in 2 iterations"):
        prox(flow, start, start.x, 1.0, lambda point: 1e-9, max_iter=2)


@pytest.mark.parametrize("h", [0.05, 1.0])
@pytest.mark.parametrize("scheme", PROXIMAL)
def test_minima_at_kinks(scheme: str, h: float, small: Problem) -> None:
    """With relu, particles come to rest at kinks of Q, where no gradient vanishes."""
    objective, rho = small
    kinked = wflow.TransformerObjective(
        objective.dataset, wflow.SoftmaxAttention(), wflow.FeedForward("relu"), weight_decay=0.01, layers=3
    )
    answer = wflow.solve(kinked, rho, (0, 4 * h), scheme=scheme, dtau=h)
    assert (np.diff(answer.energy) < 0).all() and answer.stats["rejected"] <= 1
    if h < 1:
        reference = wflow.solve(kinked, rho, (0, 4 * h), scheme="bs3", rtol=1e-4)
        assert answer.energy[-1] == pytest.approx(reference.energy[-1], rel=2e-4 if scheme != "jko" else 2e-3)


# Large steps


def blow_up(objective: wflow.TransformerObjective, rho: wflow.Particles) -> float:
    """The first of the steps 1/4, 1/2, 1, ... at which explicit Euler raises Q within ten steps."""
    for h in 2.0 ** np.arange(-2, 10):
        try:
            wflow.solve(objective, rho, (0, 10 * h), scheme="euler", dtau=h)
        except wflow.SolveError:
            return float(h)
    raise AssertionError("explicit Euler is stable")


@pytest.mark.parametrize("factor", [1, 4, 16])
@pytest.mark.parametrize("scheme", PROXIMAL)
def test_energy_falls_at_steps_where_explicit_euler_blows_up(scheme: str, factor: int, small: Problem) -> None:
    objective, rho = small
    h = factor * blow_up(objective, rho)
    assert h == 4.0 * factor
    answer = wflow.solve(objective, rho, (0, 5 * h), scheme=scheme, dtau=h)
    assert (np.diff(answer.energy) < 0).all()
    assert answer.stats["rejected"] == 0 and (answer.series["dtau"][1:] == h).all()
    assert (answer.stats.get("fallbacks", 0) > 0) == (scheme != "jko" and factor == 16)
    if scheme == "jko":
        descent = answer.energy[1:] + answer.series["step_length"][1:] ** 2 / (2 * h)
        assert (descent <= answer.energy[:-1]).all()


class Frozen(Energy):
    """The linear functional ``int V d rho``, V the first variation of another energy at one fixed measure."""

    def __init__(self, energy: wflow.TransformerObjective, rho: wflow.Particles) -> None:
        self.energy, self.rho = energy, rho

    def evaluate(self, rho: wflow.Particles) -> Evaluation:
        """Particles without mass beside those of the fixed measure see tokens and costates of that measure."""
        V = self.energy.first_variation(self.rho, rho.blocks)
        points = {name: np.concatenate([self.rho.points(name), x], axis=1) for name, x in rho.blocks.items()}
        weights = {name: np.concatenate([self.rho.weights(name), 0 * rho.weights(name)], axis=1) for name in points}
        v = self.energy.velocity(wflow.Particles(**points, weights=weights, t=rho.t, depth_weights=rho.depth_weights))
        value = sum(float(np.sum(rho.mass(name) * V[name])) for name in V)
        return Evaluation(value, wflow.measures.Blocks(**{n: v[n][:, x.shape[1] :] for n, x in rho.blocks.items()}))


@pytest.mark.parametrize("factor", [1, 4, 16])
def test_a_prox_with_frozen_tokens_is_no_jko(factor: int, small: Problem) -> None:
    """It takes the potential of the last measure for that of the next, and blows up where JKO falls."""
    objective, rho = small
    rho = objective.prepare(rho)
    h, values = factor * blow_up(objective, rho), [objective.value(rho)]
    np.testing.assert_allclose(Frozen(objective, rho).velocity(rho).theta, objective.velocity(rho).theta, atol=1e-14)
    while len(values) <= 5 and values[-1] < 5 * values[0]:
        flow = Flow(Frozen(objective, rho), rho)
        start = flow.evaluate(flow.flat(rho.blocks))
        rho = flow.measure(prox(flow, start, start.x, h, lambda point: 1e-3).x)
        values.append(objective.value(rho))
    assert max(np.diff(values)) > 0
    assert factor == 1 or values[-1] > 5 * values[0]


@pytest.mark.parametrize("scheme", [JKO(max_iter=8), DiscreteGradient()])
def test_halved_steps_are_reported(scheme: Any, small: Problem) -> None:
    """What does not converge is tried with half the step; ``dtau`` has the steps that were made."""
    answer = wflow.solve(*small, (0, 4.0), scheme=scheme, dtau=4.0)
    dtau = answer.series["dtau"][1:]
    assert answer.stats["rejected"] > 0 and dtau[0] in 4.0 / 2.0 ** np.arange(1, 8)
    np.testing.assert_allclose(np.cumsum(dtau), answer.tau[1:])
    assert (np.diff(answer.energy) < 0).all()


def test_steps_that_are_never_solved_end_the_run(small: Problem) -> None:
    with pytest.raises(
        wflow.SolveError, match=r"jko step 1 at tau=0 .* did not converge in 1 iterations. A step was n"
    ):
        wflow.solve(*small, (0, 8.0), scheme=JKO(max_iter=1), dtau=4.0)


# JKO as JKO


def test_steps_are_those_of_jko(small: Problem) -> None:
    """The labels are the optimal assignment between successive measures."""
    answer = wflow.solve(*small, (0, 24), scheme="jko", dtau=2.0, save=EVERY)
    assert answer.stats["jko_checked"] == 2 and "not_jko" not in answer.stats and "restricted_jko" not in answer.stats
    for i, length in enumerate(answer.series["step_length"][1:]):
        assert conditional_w2(answer.measure(i), answer.measure(i + 1)) == pytest.approx(length, rel=1e-10)


@pytest.mark.parametrize(("every", "checks"), [(1, 12), (5, 3), (0, 0)])
def test_the_assignment_is_tested_as_often_as_asked(every: int, checks: int) -> None:
    answer = wflow.solve(QUADRATIC, wflow.Particles(x=START), (0, 1.2), scheme=JKO(check_every=every), dtau=0.1)
    assert answer.stats.get("jko_checked", 0) == checks


def test_steps_that_are_not_jko_are_counted() -> None:
    """Two particles that changed places."""
    flow = Flow(QUADRATIC, wflow.Particles(x=[[0.0], [1.0]]))
    point, new = flow.evaluate(np.array([0.0, 1.0])), flow.evaluate(np.array([1.1, -0.1]))
    assert JKO()._check(flow, point, new) == {"jko_checked": 1, "not_jko": 1}
    assert JKO()._check(flow, point, point) == {"jko_checked": 1}


def test_unequal_weights_restrict_jko() -> None:
    rho = wflow.Particles(x=START, weights={"x": [[0.1, 0.2, 0.3, 0.2, 0.2]]})
    answer = wflow.solve(QUADRATIC, rho, (0, 1), scheme="jko", dtau=0.25)
    assert answer.stats["restricted_jko"] == 4 and "jko_checked" not in answer.stats


@pytest.mark.parametrize("block", ["theta", "w"])
def test_unequal_weights_of_one_block_restrict_jko(block: str) -> None:
    rho = problems.constant_encoders(width=3).rho0
    weighted = wflow.Particles(**rho.blocks, weights={block: np.tile([0.2, 0.5, 0.3], (rho.n_slices, 1))})
    answer = wflow.solve(problems.constant_encoders(weighted).energy, weighted, (0, 1), scheme="jko", dtau=0.5)
    assert answer.stats["restricted_jko"] == 2 and "jko_checked" not in answer.stats
