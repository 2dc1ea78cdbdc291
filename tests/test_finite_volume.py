"""Finite volumes: orders, the discrete Gibbs state, invariants, and what they say."""

from __future__ import annotations

import itertools
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
from wflow.kernels.jumps import implicit_jumps, jump_rates
from wflow.schemes import FiniteVolume, Kernel

#: Not a sum over axes, so that the directions do not commute; and a part that depends on the density.
COUPLED = (
    wflow.PotentialEnergy(
        lambda x: 0.5 * np.sum(x**2, axis=1) + 0.6 * np.prod(x, axis=1),
        lambda x: x + 0.6 * x[:, ::-1],
    )
    + wflow.InteractionEnergy(
        lambda z: -0.5 * np.exp(-np.sum(z**2, axis=1)), lambda z: z * np.exp(-np.sum(z**2, 1, keepdims=True))
    )
    + wflow.Entropy(SIGMA)
)


def test_order_in_tau() -> None:
    Q = ornstein_uhlenbeck()
    for order in observed_orders(Q, gaussian_grid(128), FiniteVolume(), [0.02, 0.01, 0.005, 0.0025]):
        assert order == pytest.approx(2, abs=0.15)
    for order in observed_orders(Q, gaussian_grid(128), FiniteVolume(extrapolate=False), [0.02, 0.01, 0.005]):
        assert order == pytest.approx(1, abs=0.15)


def test_order_in_tau_where_directions_do_not_commute() -> None:
    scheme = FiniteVolume(outer_mass=1e-4)
    for order in observed_orders(COUPLED, gaussian_grid(18, 2, 0.5, half=4.0), scheme, [0.02, 0.01, 0.005], end=0.2):
        assert order == pytest.approx(2, abs=0.15)


def test_order_in_space() -> None:
    errors = [
        error(
            wflow.solve(ornstein_uhlenbeck(), gaussian_grid(n), (0, 1), scheme="finite-volume", dtau=0.005).measure(-1),
            1,
        )
        for n in (60, 120, 240)
    ]
    for coarse, fine in itertools.pairwise(errors):
        assert np.log2(coarse / fine) == pytest.approx(2, abs=0.15)


@pytest.mark.parametrize(("p", "extrapolate", "h"), [(1, True, 0.1), (1, False, 1e6), (2, True, 1.0), (3, False, 10.0)])
def test_the_discrete_gibbs_state_stays(p: int, extrapolate: bool, h: float) -> None:
    Q = wflow.PotentialEnergy(lambda x: np.sum(x**4 / 4 - x**2 + x / 3, axis=1), lambda x: x**3 - 2 * x + 1 / 3)
    axis = (np.arange(30) + 0.5) / 5 - 3
    V = sum(np.meshgrid(*[axis**4 / 4 - axis**2 + axis / 3] * p, indexing="ij"))
    rho0 = wflow.Grid(x=np.exp(-V / 0.3), box={"x": ((-3, 3),) * p})
    scheme = FiniteVolume(extrapolate, outer_mass=1.0)
    answer = wflow.solve(Q + wflow.Entropy(0.3), rho0, (0, 3 * h), scheme=scheme, dtau=h, tol=0)
    assert np.abs(answer.measure(-1).x / rho0.x - 1).max() < 1e-12


@given(st.integers(20, 60), st.floats(1e-3, 10), st.floats(0.05, 1.0), st.booleans(), st.sampled_from([0.0, 0.05, 0.5]))
@settings(deadline=None)
def test_mass_positivity_and_decay(n: int, h: float, variance: float, extrapolate: bool, sigma: float) -> None:
    Q = wflow.PotentialEnergy(lambda x: x[:, 0] ** 4 / 4 - x[:, 0] ** 2 / 2, lambda x: x**3 - x)
    scheme = FiniteVolume(extrapolate, outer_mass=1.0)
    rho0 = gaussian_grid(n, mean=0.3, variance=variance, half=3.0)
    answer = wflow.solve(Q + wflow.Entropy(sigma) if sigma else Q, rho0, (0, 4 * h), scheme=scheme, dtau=h)
    for i in range(answer.n_frames):
        rho = answer.measure(i)
        assert rho.weights("x").sum() == pytest.approx(1, abs=1e-13)
        assert rho.x.min() >= (-1e-8 * rho.x.max() if extrapolate else 0)
    assert (np.diff(answer.energy) <= 1e-12).all()


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3]), st.floats(1e-6, 1e12))
@settings(deadline=None, max_examples=30)
def test_the_implicit_step_solves_its_equations(seed: int, sigma: float, h: float) -> None:
    rng = np.random.default_rng(seed)
    phi, r = 20 * rng.standard_normal((2, 9, 3)), rng.random((2, 9, 3))
    up, down = jump_rates(phi, sigma)
    x = implicit_jumps(r, up, down, h)
    flux = h * (up * x[:, :-1] - down * x[:, 1:])
    flux = np.concatenate([0 * flux[:, :1], flux, 0 * flux[:, :1]], axis=1)
    scale = h * (up.max() + down.max()) + 1
    assert np.abs(x + np.diff(flux, axis=1) - r).max() <= 1e-14 * scale * x.max()
    assert x.min() >= 0
    assert x.sum(axis=1) == pytest.approx(r.sum(axis=1), rel=1e-14)


def test_adaptive_steps_keep_the_tolerance() -> None:
    """Measured against the same grid with tiny steps."""
    Q, rho0 = ornstein_uhlenbeck(), gaussian_grid(60)
    exact = wflow.solve(Q, rho0, (0, 1), scheme="finite-volume", dtau=2e-3).measure(-1)
    answer = wflow.solve(Q, rho0, (0, 1), scheme="finite-volume", rtol=1e-4)
    assert np.abs(answer.measure(-1).x - exact.x).sum() * exact.cell_volume("x") < 1e-3
    assert answer.stats["steps"] < 200
    assert abs(answer.series["defect"][-1]) < 1e-3


def test_it_is_upwind_without_entropy() -> None:
    """The limit of small sigma, and first order in space."""
    Q = wflow.PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x)
    errors = []
    for n in (200, 400, 800):
        rho = wflow.solve(Q, gaussian_grid(n, half=5.0), (0, 0.5), scheme="finite-volume", rtol=1e-5).measure(-1)
        exact = gaussian_grid(n, mean=np.exp(-0.5), variance=0.2 * np.exp(-1), half=5.0)
        errors.append(np.abs(rho.x - exact.x).sum() * rho.cell_volume("x"))
    for coarse, fine in itertools.pairwise(errors):
        assert np.log2(coarse / fine) == pytest.approx(1, abs=0.15)
    rho0 = gaussian_grid(100)
    small = wflow.solve(Q + wflow.Entropy(1e-9), rho0, (0, 0.5), scheme="finite-volume", dtau=0.1).measure(-1)
    none = wflow.solve(Q, rho0, (0, 0.5), scheme="finite-volume", dtau=0.1).measure(-1)
    assert np.abs(small.x - none.x).max() < 1e-6


@pytest.mark.parametrize("options", [{"rtol": 1e-3}, {"dtau": 0.1}])
def test_resumed_equals_uninterrupted(options: dict[str, float], tmp_path: Path) -> None:
    assert_equal_runs(*resumed_and_whole(ornstein_uhlenbeck(), gaussian_grid(60), FiniteVolume(), tmp_path, **options))


def test_what_it_does_not_take() -> None:
    Q = ornstein_uhlenbeck()
    with pytest.raises(wflow.InputError, match=r"mass .* in the outer cells .*: enlarge the box"):
        wflow.solve(Q, gaussian_grid(60, half=2.0), scheme="finite-volume")
    with pytest.raises(wflow.InputError, match="no error estimate: pass dtau"):
        wflow.solve(Q, gaussian_grid(60), scheme=FiniteVolume(extrapolate=False))
    with pytest.raises(wflow.InputError, match="does not treat"):
        wflow.solve(wflow.PorousMedium(2.0), gaussian_grid(60), scheme="finite-volume")


def test_a_transformer_on_a_grid() -> None:
    """It agrees with the kernel step, up to errors of the grid: halving dx divides the difference by four."""
    Q, differences = scalar_transformer(), []
    for cells in (20, 40):
        box = {"theta": ((-5, 5), (-5, 5)), "w": ((-5, 5), (-5, 5))}
        rho0 = wflow.initial.gaussian(0.7).on_grid(Q, box, cells)
        kernel = wflow.solve(Q, rho0, (0, 0.5), scheme=Kernel(levels=3, outer_mass=1e-6), dtau=0.1)
        volumes = wflow.solve(Q, rho0, (0, 0.5), scheme=FiniteVolume(outer_mass=1e-6), dtau=0.05)
        differences.append(np.abs(Q.predict(kernel.measure(-1)) - Q.predict(volumes.measure(-1))).max())
        assert (np.diff(volumes.energy) < 0).all()
    assert differences[1] < 1e-3
    assert differences[0] / differences[1] == pytest.approx(4, abs=1)
