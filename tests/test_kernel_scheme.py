"""The kernel step: orders, exact solutions, invariants, and what it says when a grid does not do."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from densities import SIGMA, error, gaussian_grid, ornstein_uhlenbeck, scalar_transformer
from hypothesis import given
from hypothesis import strategies as st

import wflow
from wflow.schemes import Kernel
from wflow.schemes.kernel import convolve, gaussian_row


@pytest.mark.parametrize(("levels", "steps", "tolerance"), [(1, 40, 0.15), (2, 10, 0.15), (3, 6, 0.4), (4, 4, 0.4)])
def test_orders(levels: int, steps: int, tolerance: float) -> None:
    errors = [
        error(
            wflow.solve(
                ornstein_uhlenbeck(), gaussian_grid(120), (0, 1), scheme=Kernel(levels), dtau=1 / (steps * 2**k)
            ).measure(-1),
            1.0,
        )
        for k in range(3)
    ]
    for coarse, fine in itertools.pairwise(errors):
        assert abs(np.log2(coarse / fine) - levels) < tolerance, errors


@pytest.mark.parametrize("p", [1, 2, 3])
def test_adaptive_steps_keep_the_tolerance(p: int) -> None:
    n = {1: 80, 2: 64, 3: 40}[p]
    Q = ornstein_uhlenbeck()
    rho0 = gaussian_grid(n, p, mean=0.5, half=5.0)
    answer = wflow.solve(Q, rho0, (0, 0.5), scheme="kernel", rtol=1e-5)
    rho = answer.measure(-1)
    assert rho.moment(1).x == pytest.approx(0.5 * np.exp(-0.5), abs=2e-5)
    exact = SIGMA + (0.2 - SIGMA) * np.exp(-1.0)
    assert rho.moment(2).x - rho.moment(1).x ** 2 == pytest.approx(exact, abs=2e-5)
    drop = answer.energy[0] - answer.energy[-1]
    assert abs(answer.series["defect"][-1]) < 0.1 * rho.spacing("x")[0] ** 2 / 0.2 * p * drop  # of order dx^2


@given(st.integers(20, 60), st.floats(0.01, 0.5), st.floats(0.05, 1.0), st.integers(1, 4))
def test_mass_is_exact_and_densities_positive(n: int, h: float, variance: float, levels: int) -> None:
    rho0 = gaussian_grid(n, mean=0.0, variance=variance + 0.15)
    answer = wflow.solve(ornstein_uhlenbeck(), rho0, (0, 4 * h), scheme=Kernel(levels, outer_mass=1e-3), dtau=h)
    for i in range(answer.n_frames):
        rho = answer.measure(i)
        assert rho.weights("x").sum() == pytest.approx(1, abs=1e-13)
        assert rho.x.min() >= -1e-8 * rho.x.max()


@pytest.mark.parametrize("variance", [0.05, 0.4, 0.999, 1.0, 3.0])
def test_a_step_convolves_with_a_gaussian(variance: float) -> None:
    """The image of a Gaussian is the wider Gaussian, for narrow kernels too."""
    x, dx = (np.arange(200) - 100) * 0.25, 0.25
    smooth = np.exp(-0.5 * x**2)
    total = 1 + variance * dx**2
    image = convolve(smooth[None], [gaussian_row(200, dx, variance * dx**2)])[0]
    assert np.abs(image - np.exp(-0.5 * x**2 / total) / np.sqrt(total)).max() < 2e-7


def test_defect_has_the_order_of_the_levels() -> None:
    """Its limit is the error of the grid: halving dx divides it by four."""
    defects = [
        abs(
            wflow.solve(ornstein_uhlenbeck(), gaussian_grid(n), (0, 1), scheme="kernel", dtau=0.02).series["defect"][-1]
        )
        for n in (60, 120, 240)
    ]
    for coarse, fine in itertools.pairwise(defects):
        assert np.log2(coarse / fine) == pytest.approx(2, abs=0.15)


def test_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    Q, rho0 = ornstein_uhlenbeck(), gaussian_grid(60)
    whole = wflow.solve(
        Q, rho0, (0, 1), scheme=Kernel(3), rtol=1e-4, path=tmp_path / "a.h5", save=wflow.SaveAt(tau=[0.5])
    )
    wflow.solve(Q, rho0, (0, 0.5), scheme=Kernel(3), rtol=1e-4, path=tmp_path / "b.h5")
    resumed = wflow.resume(tmp_path / "b.h5", 1.0, energy=Q)
    for name, series in whole.series.items():
        assert np.array_equal(series, resumed.series[name], equal_nan=True), name
    assert isinstance(resumed.measure(-1), wflow.Grid)
    assert np.array_equal(whole.measure(-1).x, resumed.measure(-1).x)
    assert np.array_equal(rho0.x, resumed.measure(0).x)
    assert resumed.attributes["config"].count('"levels": 3')


def test_a_box_that_is_too_small(tmp_path: Path) -> None:
    with pytest.raises(wflow.InputError, match=r"mass .* in the outer cells .*: enlarge the box"):
        wflow.solve(ornstein_uhlenbeck(), gaussian_grid(60, half=2.0), scheme="kernel")
    spreading = wflow.PotentialEnergy(lambda x: 0 * x[:, 0], lambda x: 0 * x) + wflow.Entropy(1.0)
    with pytest.raises(wflow.SolveError, match=r"outer cells of the box .* enlarge the box") as caught:
        wflow.solve(spreading, gaussian_grid(60, mean=0.0), (0, 10), scheme="kernel", path=tmp_path / "run.h5")
    assert "Everything accepted before" in str(caught.value)
    kept = wflow.load(tmp_path / "run.h5")
    assert kept.status is wflow.Status.BOX_TOO_SMALL
    assert kept.measure(-1).outer_mass("x") <= 1e-10


def test_a_coarse_grid_stays_positive() -> None:
    """Where the potential jumps from cell to cell, the stencil gets narrower, and mass and positivity stay."""
    steep = wflow.PotentialEnergy(lambda x: 40 * x[:, 0] ** 2, lambda x: 80 * x) + wflow.Entropy(0.1)
    answer = wflow.solve(steep, gaussian_grid(20), (0, 0.1), scheme=Kernel(1, outer_mass=1.0), dtau=0.01)
    rho = answer.measure(-1)
    assert rho.x.min() >= 0 and rho.weights("x").sum() == pytest.approx(1, abs=1e-13)


def test_problems_it_does_not_take() -> None:
    Q = wflow.PotentialEnergy(lambda x: 0.5 * x[:, 0] ** 2, lambda x: x)
    with pytest.raises(wflow.InputError, match="needs an internal energy"):
        wflow.solve(Q, gaussian_grid(40), scheme="kernel")
    with pytest.raises(wflow.InputError, match="does not treat"):
        wflow.solve(Q + wflow.PorousMedium(2.0), gaussian_grid(40), scheme="kernel")
    with pytest.raises(wflow.InputError, match=r"wflow\.Grid, got Particles"):
        wflow.solve(Q + wflow.Entropy(0.5), wflow.Particles(x=[[0.0]]), scheme="kernel")
    with pytest.raises(wflow.InputError, match=r"wflow\.Particles, got Grid"):
        wflow.solve(Q, gaussian_grid(40), scheme="dopri5")
    with pytest.raises(wflow.InputError, match="levels must be"):
        Kernel(levels=5)


def test_a_transformer_on_a_grid() -> None:
    """Scalar tokens, both marginals: the objective by quadrature, and the same answer on a finer grid."""
    Q = scalar_transformer()
    box = {"theta": ((-6, 6), (-6, 6)), "w": ((-6, 6), (-6, 6))}
    predictions = []
    for cells in (30, 40):
        rho0 = wflow.initial.gaussian(0.7).on_grid(Q, box, cells)
        answer = wflow.solve(Q, rho0, (0, 1), scheme=Kernel(outer_mass=1e-8), rtol=1e-5)
        predictions.append(Q.predict(answer.measure(-1)))
        assert answer.energy[-1] < answer.energy[0]
    assert np.abs(predictions[0] - predictions[1]).max() < 1e-5
