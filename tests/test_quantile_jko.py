"""The JKO scheme on the line against exact steps and exact flows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtri

import wflow
from wflow.problems import constant_encoders, sine_circle
from wflow.schemes import scheme_of

OU = wflow.PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x)
WELL = wflow.PotentialEnergy(lambda x: x[:, 0] ** 4 / 4 - x[:, 0] ** 2 / 2, lambda x: x**3 - x)
FLOCK = wflow.InteractionEnergy(lambda z: z[:, 0] ** 2 / 2 - np.abs(z[:, 0]), lambda z: z - np.sign(z))


def levels(N: int) -> np.ndarray:
    return (np.arange(N) + 0.5) / N


def normal(N: int, mean: float, deviation: float) -> wflow.Particles:
    return wflow.Particles(x=(mean + deviation * ndtri(levels(N)))[:, None])


def solve(energy: Any, rho: wflow.Particles, tau: float, h: float, **options: Any) -> wflow.Solution:
    answer = wflow.solve(energy, rho, (0, tau), scheme="quantile-jko", dtau=h, **options)
    assert answer.stats["rejected"] == 0 and (np.diff(answer.energy) <= 0).all()
    return answer


@pytest.mark.parametrize("h", [0.01, 0.1, 1.0, 10.0])
def test_exact_step_of_a_normal_law(h: float) -> None:
    """The mean to round-off, the variance to O(1/N), at any h."""
    sigma, error = 0.5, []
    for N in (50, 200):
        rho = normal(N, 1.0, 0.3)
        x = solve(OU + wflow.Entropy(sigma), rho, h, h).measure(-1).x
        assert x.mean() == pytest.approx(rho.x.mean() / (1 + h), abs=1e-14)
        s = rho.x.std()
        exact = (s + np.sqrt(s**2 + 4 * h * sigma * (1 + h))) / (2 * (1 + h))
        error.append(abs(x.var() - exact**2))
    assert error[0] < 0.002 / 50 and error[1] < 0.3 * error[0]


def test_order_one_and_the_stationary_law() -> None:
    """On the way to N(0, sigma), whose variance the discrete entropy keeps exactly."""
    sigma, tau, rho = 0.5, 1.0, normal(800, 1.0, 0.3)
    answers = [solve(OU + wflow.Entropy(sigma), rho, tau, tau / n) for n in (10, 20, 40)]
    x = [answer.measure(-1).x for answer in answers]
    mean, variance = np.exp(-tau), sigma + (rho.x.var() - sigma) * np.exp(-2 * tau)
    single = wflow.Particles(x=rho.x.astype(np.float32))
    assert solve(OU + wflow.Entropy(sigma), single, tau, tau / 10).measure(-1).x.var() == pytest.approx(
        x[0].var(), rel=1e-6
    )
    for errors in ([y.mean() - mean for y in x], [y.var() - variance for y in x]):
        np.testing.assert_allclose(np.log2(np.divide(errors[:-1], errors[1:])), 1, atol=0.15)
    defects = [answer.series["defect"][-1] for answer in answers]
    np.testing.assert_allclose(np.log2(np.divide(defects[:-1], defects[1:])), 1, atol=0.15)
    late = solve(OU + wflow.Entropy(sigma), rho, 200.0, 10.0).measure(-1).x
    assert late.var() == pytest.approx(sigma, rel=1e-9)


def test_interaction_flow() -> None:
    """Every step divides the distance from equilibrium by 1 + h; order 1 to the exact flow."""
    N, errors = 40, []
    rho = normal(N, 0.5, 2.0)
    x0, mean, s = rho.x[0, :, 0], rho.x.mean(), 2 * levels(N) - 1
    for n in (10, 20, 40):
        x = solve(FLOCK, rho, 1.0, 1 / n).measure(-1).x[0, :, 0]
        np.testing.assert_allclose(x, mean + s + (x0 - mean - s) * (1 + 1 / n) ** -n, atol=1e-12)
        errors.append(np.abs(x - mean - s - (x0 - mean - s) * np.exp(-1)).max())
    np.testing.assert_allclose(np.log2(np.divide(errors[:-1], errors[1:])), 1, atol=0.15)


def test_double_well() -> None:
    rho, errors = normal(100, 0.1, 1.0), []
    x0 = rho.x[0, :, 0]
    exact = x0 * np.e / np.sqrt(1 + x0**2 * (np.e**2 - 1))
    for n in (20, 40, 80):
        x = solve(WELL, rho, 1.0, 1 / n).measure(-1).x[0, :, 0]
        errors.append(np.sqrt(np.mean((x - exact) ** 2)))
    np.testing.assert_allclose(np.log2(np.divide(errors[:-1], errors[1:])), 1, atol=0.15)


def test_barenblatt() -> None:
    """The porous medium from its self-similar solution at tau = 1 to 2: error O(h) + O(1/N), at most."""

    def exact(N: int, tau: float) -> np.ndarray:
        """Quantiles of (R^2 - y^2)/12, y = x tau^{-1/3}, R^3 = 9: u = y/R solves u^3 - 3 u + 4 s - 2 = 0."""
        angle = (np.arccos(1 - 2 * levels(N)) + 4 * np.pi) / 3
        return 9 ** (1 / 3) * 2 * np.cos(angle) * tau ** (1 / 3)

    errors = []
    for N, n in ((50, 20), (100, 40), (200, 80)):
        start = wflow.Particles(x=exact(N, 1.0)[:, None])
        x = solve(wflow.PorousMedium(2.0), start, 1.0, 1 / n).measure(-1).x[0, :, 0]
        errors.append(np.sqrt(np.mean((x - exact(N, 2.0)) ** 2)))
    assert errors[0] < 8e-3 and (np.log2(np.divide(errors[:-1], errors[1:])) > 0.8).all()


@pytest.mark.parametrize("h", [0.1, 1.0, 10.0])
def test_nothing_is_frozen(h: float) -> None:
    """With constant encoders the implicit step divides the prediction's gap by 1 + (1/2 + lambda) h; with frozen
    tokens it would not. Several slices and blocks at once."""
    problem = constant_encoders(weight_decay=0.1, rng=3)
    answer = solve(problem.energy, problem.rho0, 3 * h, h, save=wflow.SaveAt(steps=1), tol=0)
    limit = problem.predictions(1e3)[0]
    gaps = [problem.energy.predict(answer.measure(i))[0] - limit for i in range(4)]
    expected = np.asarray(gaps[0]) * (1 + 0.6 * h) ** -np.arange(4.0)
    np.testing.assert_allclose(np.ravel(gaps), np.ravel(expected), atol=1e-9 * abs(float(np.ravel(gaps[0])[0])))


@pytest.mark.parametrize("h", [0.1, 100.0])
@pytest.mark.parametrize(
    "energy",
    [WELL, WELL + wflow.Entropy(0.1), FLOCK + WELL + wflow.Entropy(0.5), WELL + wflow.PorousMedium(3.0)],
    ids=["well", "entropy", "interaction", "porous medium"],
)
def test_energy_falls_from_rough_clouds_at_any_h(energy: Any, h: float) -> None:
    """Neighbours as close as chance brings them; the recorded energy is the whole one."""
    rho = wflow.Particles(x=np.random.default_rng(0).standard_normal((2, 200, 1)))
    answer = wflow.solve(energy, rho, (0, 5 * h), scheme="quantile-jko", dtau=h, tol=0)
    assert (np.diff(answer.energy) <= 0).all()
    x = answer.measure(-1).x
    assert (np.diff(x, axis=1) >= 0).all()
    smooth = energy.value(answer.measure(-1))
    internal = 0.0
    if energy.internal is not None:
        density = 1 / (200 * np.diff(x[..., 0], axis=1))
        share = np.ones(199)
        share[[0, -1]] = 1.5
        internal = float(np.mean(np.sum(share * energy.internal.density(density) / density, axis=1))) / 200
    assert answer.energy[-1] == pytest.approx(smooth + internal, rel=1e-12)


def test_adaptive_steps_and_resuming(tmp_path: Path) -> None:
    rho = normal(100, 1.0, 0.3)
    coarse, fine = (
        wflow.solve(OU + wflow.Entropy(0.5), rho, (0, 1), scheme="quantile-jko", rtol=rtol).measure(-1).x
        for rtol in (1e-3, 1e-4)
    )
    exact = 0.5 + (rho.x.var() - 0.5) * np.exp(-2)
    assert abs(fine.var() - exact) < 0.5 * abs(coarse.var() - exact) < 0.02
    problem, path = sine_circle(width=16), tmp_path / "run.h5"
    options: dict[str, Any] = {"scheme": scheme_of("quantile-jko", max_inner=40), "rtol": 1e-3}
    wflow.solve(problem.energy, problem.rho0, (0, 1), path=path, **options)
    extended = wflow.resume(path, 2.0, energy=problem.energy)
    whole = wflow.solve(problem.energy, problem.rho0, (0, 2), save=wflow.SaveAt(tau=[1.0]), **options)
    assert (extended.measure(-1).theta == whole.measure(-1).theta).all()


def test_a_step_that_does_not_converge_is_tried_with_half_the_size() -> None:
    scheme = scheme_of("quantile-jko", max_inner=4)
    answer = wflow.solve(WELL, normal(50, 0.0, 2.0), (0, 4), scheme=scheme, dtau=2.0)
    assert answer.stats["rejected"] > 0 and answer.tau[-1] == 4
    with pytest.raises(wflow.SolveError, match="did not converge in 1 inner iterations"):
        wflow.solve(WELL, normal(50, 0.0, 2.0), (0, 4), scheme=scheme_of("quantile-jko", max_inner=1), dtau=2.0)


def test_what_is_refused() -> None:
    cases: list[tuple[Any, wflow.Particles, str]] = [
        (OU, wflow.Particles(x=np.zeros((3, 2))), "one parameter a block"),
        (OU, wflow.Particles(x=np.zeros((2, 1)), weights={"x": [[0.4, 0.6]]}), "equal weights"),
        (OU + wflow.Entropy(1.0), wflow.Particles(x=np.zeros((2, 1))), "coincide"),
        (OU + wflow.Entropy(1.0), wflow.Particles(x=np.zeros((1, 1))), "two values"),
    ]
    for energy, rho, message in cases:
        with pytest.raises(wflow.InputError, match=message):
            wflow.solve(energy, rho, scheme="quantile-jko", dtau=0.1)
    with pytest.raises(wflow.InputError, match="max_inner"):
        scheme_of("quantile-jko", max_inner=0)
