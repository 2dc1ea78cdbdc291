"""The entropic JKO step: Gaussians, POT, debiasing, constraints, invariants, and what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from densities import (
    SIGMA,
    assert_equal_runs,
    error,
    gaussian_grid,
    observed_orders,
    ornstein_uhlenbeck,
    resumed_and_whole,
    scalar_transformer,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import wflow
from wflow.schemes import EntropicJKO, Kernel, entropic_jko

ATTRACTION = wflow.InteractionEnergy(lambda z: 2 * z[:, 0] ** 2, lambda z: 4 * z)


def variance(rho: wflow.Grid) -> float:
    return float((rho.moment(2).x - rho.moment(1).x ** 2)[0, 0])


def exact_step(h: float, mean: float, variance: float) -> tuple[float, float]:
    """Mean and variance after one JKO step of the Ornstein-Uhlenbeck flow from a Gaussian."""
    s = np.sqrt(variance)
    return mean / (1 + h), ((s + np.sqrt(s**2 + 4 * h * SIGMA * (1 + h))) / (2 * (1 + h))) ** 2


@pytest.mark.parametrize(("richardson", "bias"), [(1, 2.2e-3), (2, 5e-6), (3, 1e-8)])
def test_one_step_of_a_gaussian(richardson: int, bias: float) -> None:
    """The bias of the variance, by powers of gamma^2."""
    h, rho0 = 0.1, gaussian_grid(240, half=5.0)
    mean, exact = exact_step(h, 1.0, 0.2)
    rho = wflow.solve(ornstein_uhlenbeck(), rho0, (0, h), scheme=EntropicJKO(richardson=richardson), dtau=h).measure(-1)
    assert rho.moment(1).x[0, 0] == pytest.approx(mean, abs=1e-11)
    assert bias / 3 < abs(variance(rho) - exact) < bias


def test_the_bias_falls_as_gamma_squared() -> None:
    h, exact = 0.1, exact_step(0.1, 1.0, 0.2)[1]
    biases = [
        variance(
            wflow.solve(
                ornstein_uhlenbeck(), gaussian_grid(200, half=5.0), (0, h), scheme=EntropicJKO(gamma), dtau=h
            ).measure(-1)
        )
        - exact
        for gamma in (0.4, 0.2, 0.1)
    ]
    assert np.log2(np.divide(biases[:-1], biases[1:])) == pytest.approx(2, abs=0.05)


def test_without_debiasing_it_diffuses_by_half_of_gamma() -> None:
    """At tau = 4 the variance is near its limit: sigma, or sigma + gamma/2."""
    biased, debiased = (
        variance(
            wflow.solve(
                ornstein_uhlenbeck(), gaussian_grid(100, half=8.0), (0, 4), scheme=EntropicJKO(0.3, debias), dtau=0.1
            ).measure(-1)
        )
        for debias in (False, True)
    )
    assert debiased == pytest.approx(SIGMA, abs=0.005)
    assert biased == pytest.approx(SIGMA + 0.15, abs=0.015)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("gamma", [0.25, 0.5])
def test_the_same_as_unbalanced_sinkhorn_of_pot(gamma: float) -> None:
    import ot

    h, rho0 = 0.2, gaussian_grid(60, half=4.0, mean=0.5)
    x, q, sigma_m = rho0.axes("x")[0], rho0.weights("x")[0], SIGMA - gamma / 2
    rho = wflow.solve(ornstein_uhlenbeck(), rho0, (0, h), scheme=EntropicJKO(gamma), dtau=h).measure(-1)
    plan = ot.unbalanced.sinkhorn_unbalanced(
        np.exp(-(x**2) / 2 / sigma_m),
        q,
        (x[:, None] - x) ** 2 / (2 * h),
        gamma,
        (sigma_m, np.inf),
        reg_type="entropy",
        numItermax=10_000,
        stopThr=1e-14,
    )
    assert np.abs(plan.sum(axis=1) - rho.weights("x")[0]).max() < 1e-10


@pytest.mark.parametrize("gamma", [0.5, 1.0])
def test_order_in_tau(gamma: float) -> None:
    for order in observed_orders(ornstein_uhlenbeck(), gaussian_grid(120), EntropicJKO(gamma), [0.1, 0.05, 0.025]):
        assert order == pytest.approx(1, abs=0.15)
    rho = wflow.solve(ornstein_uhlenbeck(), gaussian_grid(80), (0, 1), scheme=EntropicJKO(gamma), dtau=0.05).measure(-1)
    assert error(rho, 1.0) < 0.03


def test_two_dimensions() -> None:
    h = 0.1
    mean, exact = exact_step(h, 0.5, 0.2)
    rho0 = gaussian_grid(64, 2, 0.5, half=4.0)
    scheme = EntropicJKO(richardson=2, outer_mass=1e-6)
    rho = wflow.solve(ornstein_uhlenbeck(), rho0, (0, h), scheme=scheme, dtau=h).measure(-1)
    assert rho.moment(1).x[0] == pytest.approx([mean] * 2, abs=1e-6)
    assert (rho.moment(2).x - rho.moment(1).x ** 2)[0] == pytest.approx([exact] * 2, abs=1e-5)


def test_the_potential_is_that_of_the_end() -> None:
    """Quadratic attraction 2 |x - y|^2 pulls to the mean as V = 2 (x - mean)^2 does; a step that lagged could not."""
    h, v = 0.5, 0.3
    rho0 = gaussian_grid(120, mean=0.7, variance=v, half=5.0)
    well = wflow.PotentialEnergy(lambda x: 2 * (x[:, 0] - 0.7) ** 2, lambda x: 4 * (x - 0.7))
    interacting, in_well = (
        wflow.solve(Q + wflow.Entropy(SIGMA), rho0, (0, h), scheme="entropic-jko", dtau=h) for Q in (ATTRACTION, well)
    )
    assert np.abs(interacting.measure(-1).x - in_well.measure(-1).x).max() < 1e-7
    assert interacting.stats["evaluations"] < 25
    two_wells = wflow.PotentialEnergy(lambda x: -2 * np.cos(3 * x[:, 0]), lambda x: 6 * np.sin(3 * x))
    kernel = wflow.InteractionEnergy(lambda z: -np.exp(-2 * z[:, 0] ** 2), lambda z: 4 * z * np.exp(-2 * z**2))
    Q = kernel + two_wells + ornstein_uhlenbeck()
    energies = wflow.solve(Q, rho0, (0, 2), scheme="entropic-jko", dtau=0.2).energy
    assert (np.diff(energies) < 0).all()


def test_a_potential_that_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entropic_jko, "EVALUATIONS", 2)
    rho0 = gaussian_grid(200, half=5.0)
    with pytest.raises(wflow.SolveError, match=r"did not converge in 2 evaluations of dQ/drho") as caught:
        strong = wflow.InteractionEnergy(lambda z: -50 * np.exp(-(z[:, 0] ** 2)), lambda z: 100 * z * np.exp(-(z**2)))
        wflow.solve(strong + wflow.Entropy(200.0), rho0, (0, 1), scheme=EntropicJKO(300.0, outer_mass=1), dtau=0.5)
    assert "dtau" in str(caught.value)
    monkeypatch.setattr(entropic_jko, "SCALINGS", 3)
    with pytest.raises(wflow.SolveError, match=r"did not converge in 3 scaling iterations for gamma = 0\.3|too coarse"):
        wflow.solve(ornstein_uhlenbeck(), rho0, (0, 1), scheme=EntropicJKO(0.3), dtau=0.5)


def congested(s: np.ndarray, potential: np.ndarray, weight: float, eps: float) -> np.ndarray:
    return np.minimum(entropic_jko.entropy_prox(s, potential, weight, eps), 0.6)


def test_congestion(tmp_path: Path) -> None:
    """In the steady state the crowd is Gibbs' density cut off at kappa, with a multiplier for the mass."""
    Q, rho0 = ornstein_uhlenbeck(), gaussian_grid(120, variance=0.5, half=7.0)
    Q += wflow.PotentialEnergy(lambda x: 1.5 * x[:, 0] ** 2, lambda x: 3 * x)  # V = 2 x^2
    scheme = EntropicJKO(prox=congested)
    crowd = wflow.solve(Q, rho0, (0, 4), scheme=scheme, dtau=0.1)
    for i in range(crowd.n_frames):
        assert crowd.measure(i).weights("x").sum() == pytest.approx(1, abs=1e-13)
    rho = crowd.measure(-1)
    assert rho.x.max() < 0.6 * (1 + 1e-8)
    x, dx = rho.axes("x")[0], rho.spacing("x")[0]
    low, high = 1e-3, 1e3
    for _ in range(100):
        c = np.sqrt(low * high)
        cut = np.minimum(c * np.exp(-2 * x**2 / SIGMA), 0.6)
        low, high = (low, c) if cut.sum() * dx > 1 else (c, high)
    assert np.abs(rho.x[0] - cut).sum() * dx < 0.05  # the bias of the steady state
    wflow.solve(Q, rho0, (0, 0.5), scheme=scheme, dtau=0.1, path=tmp_path / "crowd.h5")
    with pytest.raises(wflow.InputError, match="congested is of your own: pass scheme="):
        wflow.resume(tmp_path / "crowd.h5", 1.0, energy=Q)


@pytest.mark.parametrize("scheme", [EntropicJKO(), EntropicJKO(prox=congested)])
def test_resumed_equals_uninterrupted(scheme: EntropicJKO, tmp_path: Path) -> None:
    rho0, again = gaussian_grid(80, variance=0.5), scheme if scheme.prox else None
    Q = ATTRACTION + ornstein_uhlenbeck()
    assert_equal_runs(*resumed_and_whole(Q, rho0, scheme, tmp_path, again, dtau=0.1))


@pytest.mark.parametrize("gamma", [0.2, 1.0])
def test_far_from_the_mass(gamma: float) -> None:
    """Cells that no mass can reach in floating-point numbers, in a box of 90 standard deviations of K."""
    x = (np.arange(200) + 0.5) / 5 - 20
    rho0 = wflow.Grid(x=1.0 * (np.abs(x - 5) < 0.5), box={"x": ((-20, 20),)})
    rho = wflow.solve(ornstein_uhlenbeck(), rho0, (0, 0.6), scheme=EntropicJKO(gamma), dtau=0.2).measure(-1)
    assert rho.weights("x").sum() == pytest.approx(1, abs=1e-13)
    assert rho.moment(1).x[0, 0] == pytest.approx(5 / 1.2**3, abs=1e-6)


@pytest.mark.parametrize(("mean", "sigma"), [(3.0, 0.009), (2.0, 0.004)])
def test_mass_out_of_the_range_of_the_scalings(mean: float, sigma: float) -> None:
    """Potentials of more than 300 (sigma_m + gamma) would not drive it."""
    Q = wflow.PotentialEnergy(lambda x: 0.5 * np.sum(x**2, axis=1), lambda x: x) + wflow.Entropy(sigma)
    with pytest.raises(wflow.SolveError, match=r"% of the mass is where dQ/drho is more than .* take a larger gamma"):
        wflow.solve(Q, gaussian_grid(600, mean=mean, variance=0.05), (0, 1), scheme="entropic-jko", dtau=0.2)


@given(st.floats(0.2, 2.0), st.floats(0.1, 1.0), st.floats(0.2, 1.0), st.integers(1, 2))
@settings(deadline=None, max_examples=30)
def test_mass_positivity_and_decay(h: float, gamma: float, spread: float, richardson: int) -> None:
    Q = wflow.PotentialEnergy(lambda x: x[:, 0] ** 4 / 4 - x[:, 0] ** 2 / 2, lambda x: x**3 - x) + wflow.Entropy(SIGMA)
    rho0 = gaussian_grid(80, mean=1.5, variance=0.5 * spread, half=4.0)
    scheme = EntropicJKO(gamma, richardson=richardson, outer_mass=1.0)
    answer = wflow.solve(Q, rho0, (0, h), scheme=scheme, dtau=h)
    rho = answer.measure(-1)
    assert rho.weights("x").sum() == pytest.approx(1, abs=1e-13)
    assert rho.x.min() >= (0 if richardson == 1 else -1e-8 * rho.x.max())
    assert answer.energy[-1] < answer.energy[0]


def test_what_it_does_not_take() -> None:
    Q, rho0 = ornstein_uhlenbeck(), gaussian_grid(60)
    with pytest.raises(
        wflow.SolveError, match=r"cell width 0\.2; take dtau of at least 0\.08, a gamma above 0\.5, more"
    ):
        wflow.solve(Q, rho0, scheme="entropic-jko", dtau=0.05)
    with pytest.raises(wflow.InputError, match=r"gamma must be at most 2 sigma = 1 to be debiased, got 1\.1"):
        wflow.solve(Q, rho0, scheme=EntropicJKO(gamma=1.1), dtau=0.1)
    with pytest.raises(wflow.InputError, match="gamma must be"):
        EntropicJKO(gamma=-1.0)
    with pytest.raises(wflow.InputError, match="richardson must be 1, 2 or 3, got 4"):
        EntropicJKO(richardson=4)
    with pytest.raises(wflow.InputError, match="leave debias=True"):
        EntropicJKO(debias=False, richardson=2)
    with pytest.raises(wflow.InputError, match="no error estimate: pass dtau"):
        wflow.solve(Q, rho0, scheme="entropic-jko")
    with pytest.raises(wflow.InputError, match="at most 2 parameters, but x has 3"):
        wflow.solve(Q, gaussian_grid(30, 3), scheme="entropic-jko", dtau=0.1)
    with pytest.raises(wflow.InputError, match="needs an internal energy"):
        wflow.solve(ATTRACTION, rho0, scheme="entropic-jko", dtau=0.1)
    with pytest.raises(wflow.InputError, match=r"outer cells .*: enlarge the box"):
        wflow.solve(Q, gaussian_grid(60, half=2.0), scheme="entropic-jko", dtau=0.1)


def test_a_transformer_on_a_grid() -> None:
    """Steps of order 1 that halve their distance from the kernel scheme, with a handful of evaluations each."""
    Q = scalar_transformer()
    rho0 = wflow.initial.gaussian(0.7).on_grid(Q, {"theta": ((-5, 5), (-5, 5)), "w": ((-5, 5), (-5, 5))}, 40)
    kernel = wflow.solve(Q, rho0, (0, 2), scheme=Kernel(levels=3, outer_mass=1e-6), dtau=0.25).measure(-1)
    differences = []
    for dtau in (1.0, 0.5):
        answer = wflow.solve(Q, rho0, (0, 2), scheme=EntropicJKO(0.2, outer_mass=1e-6), dtau=dtau)
        differences.append(np.abs(Q.predict(answer.measure(-1)) - Q.predict(kernel)).max())
        assert answer.stats["evaluations"] <= 6 * answer.stats["steps"]
        assert (np.diff(answer.energy) < 0).all()
    assert differences[1] < 0.004
    assert differences[0] / differences[1] == pytest.approx(2, abs=0.4)
