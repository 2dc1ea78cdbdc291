"""Orders and error estimates of every scheme: what controllers and ``wflow check`` believe of a step is true."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.integrate import RK23, RK45, solve_ivp

import wflow
from wflow import problems
from wflow.network.rules import DEPTH_RULES
from wflow.schemes import SCHEMES, FiniteVolume, GridScheme, Kernel

Array = np.ndarray[Any, Any]

#: A convex potential whose flow is not linear.
V = wflow.PotentialEnergy(lambda x: x[:, 0] ** 2 / 2 - np.cos(2 * x[:, 0]) / 4, lambda x: x + np.sin(2 * x) / 2)
X = np.array([[[-1.1], [0.4], [0.9]], [[-0.7], [0.2], [1.3]]])
PARTICLES = [name for name, scheme in SCHEMES.items() if not isinstance(scheme, GridScheme)]


class Case:
    """A scheme at the start of a step, on the exact solution, with the exact solution around it."""

    def __init__(self, name: str) -> None:
        self.scheme, energy = SCHEMES[name], V + wflow.Entropy(0.3) if name == "blob" else V
        weights = None if name == "quantile-jko" else {"x": [[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]]}
        rho = wflow.Particles(x=X, weights=weights, depth_weights=[0.25, 0.75])
        self.flow: Any = self.scheme.flow(energy, rho)
        self.x = self.flow.flat(self.flow.template.blocks)
        self.mass = np.ravel(self.flow.template.mass("x"))

    def velocity(self, x: Array) -> Array:
        return np.asarray(self.flow.evaluate(x).velocity)

    def exact(self, h: float) -> Array:
        run = solve_ivp(lambda tau, x: self.velocity(x), (0, h), self.x, method="DOP853", rtol=1e-13, atol=1e-14)
        return np.asarray(run.y[:, -1])

    def norm(self, e: Array) -> float:
        return float(np.sqrt(np.sum(self.mass * e**2)))

    def trial(self, h: float, before: float | None = None) -> Any:
        """The step of size h, the first or after an exact one of size ``before``."""
        point = self.flow.evaluate(self.x)
        if before is not None:
            past = self.flow.evaluate(self.exact(-before))
            point = replace(point, carry=self.scheme.propose(self.flow, past, before).point.carry)
        return self.scheme.propose(self.flow, point, h)


ESTIMATED = [name for name in PARTICLES if SCHEMES[name].error_order is not None]
#: Those that estimate their own error; the others estimate that of a companion of lower order.
OWN = ("euler", "discrete-gradient", "avf", "jko", "midpoint", "quantile-jko")


@pytest.mark.parametrize("ratio", [None, 1.0, 0.6, 1.7])
@pytest.mark.parametrize("name", OWN)
def test_the_estimate_is_the_error_of_the_step(name: str, ratio: float | None) -> None:
    """To leading order: whether it is the first step, as long as the last, shorter or longer."""
    case, h = Case(name), 0.01
    trial = case.trial(h, None if ratio is None else h / ratio)
    assert trial.error == pytest.approx(case.norm(trial.point.x - case.exact(h)), rel=0.06)


def companion(case: Case, h: float) -> Array:
    """What the companions of the other schemes yield, written out or taken from SciPy."""
    name, x, v = case.scheme.name, case.x, case.velocity
    if name in ("heun", "blob"):  # Euler's method
        return np.asarray(x + h * v(x))
    if name == "bdf2":
        return np.asarray(SCHEMES["jko"].propose(case.flow, case.flow.evaluate(x), h).point.x)
    if name == "rk4":
        k_1 = v(x)
        k_2 = v(x + h / 2 * k_1)
        k_3 = v(x + h / 2 * k_2)
        last = v(x + h / 6 * (k_1 + 2 * k_2 + 2 * k_3 + v(x + h * k_3)))
        return np.asarray(x + h / 6 * (k_1 + 2 * k_2 + 2 * k_3 + last))
    pair = {"bs3": RK23, "dopri5": RK45}[name]
    k = [v(x)]
    for row in pair.A[1:]:
        k.append(v(x + h * sum(a * stage for a, stage in zip(row, k))))
    new = x + h * sum(b * stage for b, stage in zip(pair.B, k))
    return np.asarray(new + h * sum(e * stage for e, stage in zip(pair.E, [*k, v(new)])))


@pytest.mark.parametrize("name", [name for name in ESTIMATED if name not in OWN])
def test_the_estimate_is_the_distance_to_the_companion(name: str) -> None:
    case, h = Case(name), 0.3
    trial = case.trial(h)
    accuracy = 1e-3 if name == "bdf2" else 1e-12  # of minimisations
    assert trial.error == pytest.approx(case.norm(trial.point.x - companion(case, h)), rel=accuracy)
    # The companion is the worse one.
    assert case.norm(trial.point.x - case.exact(h)) < case.norm(companion(case, h) - case.exact(h))


@pytest.mark.parametrize("name", ESTIMATED)
def test_the_order_of_the_estimate(name: str) -> None:
    case, h = Case(name), 0.08 if name == "dopri5" else 0.02
    for ratio in (None, 1.0, 0.8):
        errors = [case.trial(s, None if ratio is None else s / ratio).error for s in (h, h / 2)]
        assert np.log2(errors[0] / errors[1]) == pytest.approx(case.scheme.error_order, abs=0.2), ratio


@pytest.mark.parametrize("name", PARTICLES)
def test_the_order_of_the_scheme(name: str) -> None:
    """Of the error at a fixed time. Without noise to speak of, schemes with noise have their order in the mean."""
    scheme, energy, tau = SCHEMES[name], V, 0.8
    if scheme.noisy or name == "blob":
        energy = V + wflow.Entropy(0.3 if name == "blob" else 1e-20)
    rho, ends = wflow.Particles(x=X), []
    h = 0.2 if scheme.order > 2 else 0.05
    for n in (1, 2, 4):
        ends.append(wflow.solve(energy, rho, (0, tau), scheme=scheme, dtau=h / n, tol=0, rng=0).measure(-1).x)
    order = np.log2(np.abs(ends[0] - ends[1]).max() / np.abs(ends[1] - ends[2]).max())
    assert order == pytest.approx(scheme.order, abs=0.25)


@pytest.mark.parametrize("ratio", [0.5, 1.0, 2.4, 2.43, 5.0])
def test_bdf2_takes_the_midpoint_rule_where_steps_grow_too_fast(ratio: float) -> None:
    """By more than 1 + sqrt(2) = 2.414, where BDF2 is not stable; for ``x' = -x`` both are known."""
    linear = wflow.PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x)
    flow, h = SCHEMES["bdf2"].flow(linear, wflow.Particles(x=[[1.0], [-2.0]])), 0.2
    first = SCHEMES["bdf2"].propose(flow, flow.evaluate(np.array([1.0, -2.0])), h / ratio).point
    x_, x = np.array([1.0, -2.0]), first.x
    bdf2 = ((1 + ratio) ** 2 * x - ratio**2 * x_) / (1 + 2 * ratio) / (1 + h * (1 + ratio) / (1 + 2 * ratio))
    expected = bdf2 if ratio < 2.414 else x * (1 - h / 2) / (1 + h / 2)
    np.testing.assert_allclose(SCHEMES["bdf2"].propose(flow, first, h).point.x, expected, rtol=1e-4)


# Densities


def density_case(scheme: Any) -> tuple[Any, Any]:
    """The flow of a density in a double well, and its point."""
    well = wflow.PotentialEnergy(lambda x: x[:, 0] ** 4 / 4 - x[:, 0] ** 2 / 2, lambda x: x**3 - x)
    x = np.linspace(-2.95, 2.95, 60)
    rho = wflow.Grid(x=np.exp(-4 * (x - 0.4) ** 2), box={"x": ((-3, 3),)})
    flow = scheme.flow(well if scheme.name == "muscl" else well + wflow.Entropy(0.4), rho)
    return flow, flow.evaluate(flow.flat(flow.template.blocks))


#: Steps of densities, of which halves and quarters tell the order.
STEPS = {"kernel": 0.2, "finite-volume": 0.02, "muscl": 0.012, "entropic-jko": 0.4}


@pytest.mark.parametrize("name", STEPS)
def test_the_order_of_a_scheme_for_densities(name: str) -> None:
    assert set(PARTICLES) | set(STEPS) == set(SCHEMES)
    energy: Any = wflow.PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x)
    x = np.linspace(-5.9, 5.9, 60)
    rho = wflow.Grid(x=np.exp(-((x - 0.8) ** 2)), box={"x": ((-6, 6),)})
    energy = energy if name == "muscl" else energy + wflow.Entropy(0.5)
    end, h = 2 * STEPS[name], STEPS[name]
    ends = [wflow.solve(energy, rho, (0, end), scheme=name, dtau=h / n).measure(-1).x for n in (1, 2, 4)]
    order = np.log2(np.abs(ends[0] - ends[1]).sum() / np.abs(ends[1] - ends[2]).sum())
    assert order == pytest.approx(SCHEMES[name].order, abs=0.35)


def many_steps(scheme: Any, flow: Any, point: Any, h: float, n: int) -> Array:
    for _ in range(n):
        point = scheme.propose(flow, point, h / n).point
    return np.asarray(point.x)


SPLIT = [SCHEMES["muscl"], FiniteVolume(), *(Kernel(k) for k in (2, 3, 4))]


@pytest.mark.parametrize("scheme", SPLIT, ids=lambda scheme: f"{scheme.name} {scheme.order}")
def test_estimates_of_densities(scheme: Any) -> None:
    """Their order, and that they bound the error of the step."""
    flow, point = density_case(scheme)
    h = 0.001 if scheme.name == "muscl" else 0.004
    errors = []
    for s in (h, h / 2):
        trial = scheme.propose(flow, point, s)
        errors.append(trial.error)
        assert flow.norm(trial.point.x - many_steps(scheme, flow, point, s, 8)) < trial.error
    assert np.log2(errors[0] / errors[1]) == pytest.approx(scheme.error_order, abs=0.3)


@pytest.mark.parametrize(
    ("scheme", "plain"), [(FiniteVolume(), FiniteVolume(False)), (Kernel(2), Kernel(1))], ids=lambda s: s.name
)
def test_the_distance_of_two_half_steps_is_half_the_error_of_the_whole_step(scheme: Any, plain: Any) -> None:
    flow, point = density_case(scheme)
    exact, whole = many_steps(scheme, flow, point, 0.002, 16), plain.propose(flow, point, 0.002).point.x
    assert scheme.propose(flow, point, 0.002).error == pytest.approx(0.5 * flow.norm(whole - exact), rel=0.05)


def test_the_estimate_of_muscl_is_the_error_of_eulers_method() -> None:
    """``h^2/2 |d^2 rho/d tau^2|`` in L1."""
    (flow, point), h = density_case(SCHEMES["muscl"]), 0.0005
    one, two = (many_steps(SCHEMES["muscl"], flow, point, n * h, 2 * n) for n in (1, 2))
    error = SCHEMES["muscl"].propose(flow, point, h).error
    assert error == pytest.approx(0.5 * flow.norm(two - 2 * one + point.x), rel=0.05)


# Depth


@pytest.mark.parametrize("depth", DEPTH_RULES)
def test_the_order_of_the_depth_rule(depth: str) -> None:
    """Of predictions, and of the motion over training time."""
    errors = []
    for layers in (8, 16):
        problem = problems.single_token(layers=layers, depth=depth)
        run = wflow.solve(problem.energy, problem.rho0, (0, 0.5), rtol=1e-9, atol=1e-12)
        predictions = [
            problem.energy.predict(run.measure(i)) - problem.predictions(tau) for i, tau in ((0, 0), (-1, 0.5))
        ]
        errors.append(np.abs(predictions).max(axis=1))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(problem.energy.rule.order, abs=0.15)
