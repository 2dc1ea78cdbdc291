"""MUSCL: orders against characteristics and Barenblatt, invariants, and what it says of steps that are too long."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from densities import assert_equal_runs, gaussian_grid, observed_orders, resumed_and_whole, scalar_transformer
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

import wflow
from wflow.schemes import Muscl

DOUBLE_WELL = wflow.PotentialEnergy(lambda x: x[:, 0] ** 4 / 4 - x[:, 0] ** 2 / 2, lambda x: x**3 - x)


def double_well_masses(n: int, tau: float, half: float = 2.2) -> np.ndarray:
    """The exact masses of the cells for N(0.2, 0.09): characteristics traced back from the faces."""
    x = np.linspace(-half, half, n + 1)
    under_root = 1 - x**2 * (1 - np.exp(-2 * tau))
    x0 = x * np.exp(-tau) / np.sqrt(np.maximum(under_root, 1e-12))  # none come from beyond
    return np.diff(norm.cdf(x0, 0.2, 0.3))


def double_well_error(n: int, scheme: Any, **options: Any) -> float:
    rho0 = wflow.Grid(x=double_well_masses(n, 0.0), box={"x": ((-2.2, 2.2),)})
    rho = wflow.solve(DOUBLE_WELL, rho0, (0, 1), scheme=scheme, **options).measure(-1)
    return float(np.abs(rho.weights("x")[0] - double_well_masses(n, 1.0)).sum())


def test_order_in_space_on_the_double_well() -> None:
    errors = [double_well_error(n, "muscl", rtol=1e-3) for n in (128, 256, 512)]
    for coarse, fine in itertools.pairwise(errors):
        assert np.log2(coarse / fine) == pytest.approx(1.9, abs=0.15)  # the limiter flattens the two peaks
    assert errors[-1] < 2e-4
    assert double_well_error(512, "finite-volume", rtol=1e-4) > 50 * errors[-1]


def test_order_in_tau() -> None:
    """Of smooth fluxes: a limiter that switches costs some of it."""
    Q = wflow.PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x)
    for order in observed_orders(Q, gaussian_grid(60), Muscl(), [1 / 100, 1 / 200, 1 / 400, 1 / 800]):
        assert order == pytest.approx(2, abs=0.15)


def barenblatt(x: np.ndarray, tau: float, m: float) -> np.ndarray:
    al = 1 / (m + 1)
    k = (m - 1) * al / (2 * m)
    return np.asarray(tau**-al * np.maximum(1 - k * x**2 * tau ** (-2 * al), 0) ** (1 / (m - 1)))


@pytest.mark.parametrize(("m", "tolerance"), [(2.0, 3e-3), (3.0, 9e-3)])
def test_porous_medium(m: float, tolerance: float) -> None:
    """The published relative errors of 60 cells are 3e-3 for m = 2 (Hu, Van Fleet, Wan, arXiv:2407.00533)."""
    x = (np.arange(60) + 0.5) * 16 / 60 - 8
    u = barenblatt(x, 2.0, m)
    mass = u.sum() * 16 / 60
    rho0 = wflow.Grid(x=u, box={"x": ((-8, 8),)})  # of mass one, which changes the unit of tau
    answer = wflow.solve(wflow.PorousMedium(m), rho0, (0, mass ** (m - 1)), scheme="muscl", rtol=1e-5)
    exact = barenblatt(x, 3.0, m)
    assert np.abs(mass * answer.measure(-1).x[0] - exact).sum() / exact.sum() < tolerance
    assert answer.measure(-1).x.min() >= 0
    assert abs(answer.series["defect"][-1]) < 1e-4 * answer.energy[0]


def test_two_dimensions() -> None:
    Q = wflow.PotentialEnergy(lambda x: x[:, 0] ** 2 + x[:, 1] ** 2 / 2, lambda x: x * [2, 1])
    rho = wflow.solve(Q, gaussian_grid(100, 2, half=4.5), (0, 0.3), scheme="muscl", rtol=1e-3).measure(-1)
    assert rho.moment(1).x[0] == pytest.approx([np.exp(-0.6), np.exp(-0.3)], abs=3e-3)
    variance = (rho.moment(2).x - rho.moment(1).x ** 2)[0]
    assert variance == pytest.approx([0.2 * np.exp(-1.2), 0.2 * np.exp(-0.6)], abs=2e-3)


@given(st.integers(20, 60), st.floats(1e-4, 0.02), st.sampled_from([None, 1.5, 2.0, 4.0]), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_mass_positivity_and_decay(n: int, end: float, m: float | None, seed: int) -> None:
    rough = np.random.default_rng(seed).random(n) ** 8 * (np.abs(np.arange(n) - n / 2) < n / 3)
    rho0 = wflow.Grid(x=rough + 1e-12, box={"x": ((-1.5, 1.5),)})
    Q = DOUBLE_WELL if m is None else DOUBLE_WELL + wflow.PorousMedium(m)
    answer = wflow.solve(Q, rho0, (0, end), scheme=Muscl(outer_mass=1.0), rtol=1e-2)
    for i in range(answer.n_frames):
        rho = answer.measure(i)
        assert rho.weights("x").sum() == pytest.approx(1, abs=1e-13)
        assert rho.x.min() >= 0
    assert (np.diff(answer.energy) <= 1e-14 * abs(answer.energy[0])).all()


def test_the_defect_is_round_off_where_q_is_linear() -> None:
    answer = wflow.solve(DOUBLE_WELL, gaussian_grid(60, variance=0.05, half=3.0), (0, 0.5), scheme="muscl", rtol=1e-2)
    assert np.abs(answer.series["defect"]).max() < 1e-12


def test_steps_that_are_too_long() -> None:
    rho0 = gaussian_grid(60, half=4.0)
    with pytest.raises(
        wflow.SolveError, match=r"crosses 40\.5 cells a step, more than 0\.4: pass dtau of at most 0\.000988"
    ):
        wflow.solve(DOUBLE_WELL, rho0, scheme="muscl", dtau=0.1)
    answer = wflow.solve(
        DOUBLE_WELL, rho0, (0, 0.1), scheme="muscl", controller=wflow.controllers.Adaptive(rtol=1.0, dtau=100)
    )
    assert answer.stats["rejected"] == 3  # from 0.1 to below 0.000988 by fifths
    assert answer.series["dtau"].max() < 0.000989


def test_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    assert_equal_runs(
        *resumed_and_whole(DOUBLE_WELL, gaussian_grid(60, variance=0.05, half=3.0), Muscl(), tmp_path, rtol=1e-2)
    )


def test_what_it_does_not_take() -> None:
    with pytest.raises(wflow.InputError, match="does not treat"):
        wflow.solve(DOUBLE_WELL + wflow.Entropy(0.1), gaussian_grid(60), scheme="muscl")
    with pytest.raises(wflow.InputError, match=r"mass .* in the outer cells .*: enlarge the box"):
        wflow.solve(DOUBLE_WELL, gaussian_grid(60, half=2.0), scheme="muscl")


def test_a_transformer_on_a_grid() -> None:
    """It agrees with particles at the centres of the cells that carry their masses: with characteristics."""
    data = scalar_transformer().dataset
    Q = wflow.TransformerObjective(
        data, wflow.SoftmaxAttention(), wflow.FeedForward("tanh"), weight_decay=0.2, layers=2
    )
    differences = []
    for cells in (24, 48):
        rho0 = wflow.initial.gaussian(0.7).on_grid(Q, {"theta": ((-5, 5), (-5, 5)), "w": ((-5, 5), (-5, 5))}, cells)
        blocks = {name: rho0.points(name) for name in rho0.blocks}
        particles = wflow.Particles(**blocks, weights={name: rho0.weights(name) for name in blocks})
        grid = wflow.solve(Q, rho0, (0, 0.3), scheme=Muscl(outer_mass=1e-6), rtol=1e-3).measure(-1)
        exact = wflow.solve(Q, particles, (0, 0.3), rtol=1e-5).measure(-1)
        differences.append(np.abs(Q.predict(grid) - Q.predict(exact)).max())
    assert differences[0] < 1e-3
    assert differences[1] < differences[0] / 4
