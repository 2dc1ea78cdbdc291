"""The kernel step: orders, exact solutions, invariants, and what it says when a grid does not do."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from densities import SIGMA, error, gaussian_grid, ornstein_uhlenbeck, scalar_transformer
from hypothesis import given
from hypothesis import strategies as st

import wflow
from wflow.schemes import Kernel
from wflow.schemes.kernel import convolve, gaussian_row, resolved


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
    assert abs(answer.series["defect"][-1]) < 2e-5 * drop


@given(st.integers(40, 80), st.floats(0.01, 0.5), st.floats(0.05, 1.0), st.integers(1, 4))
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


@pytest.mark.parametrize("shape", [(1, 3), (2, 7), (1, 64), (3, 5, 11), (1, 33, 140), (2, 4, 6, 9)])
@pytest.mark.parametrize("variance", [0.3, 2.0, 50.0])
def test_convolutions_are_products_with_matrices(shape: tuple[int, ...], variance: float) -> None:
    u = np.random.default_rng(0).random(shape)
    rows = [gaussian_row(n, 0.1, variance * 0.01) for n in shape[1:]]
    expected = u
    for axis, row in enumerate(rows, start=1):
        matrix = row[np.abs(np.subtract.outer(np.arange(len(row)), np.arange(len(row))))]
        expected = np.moveaxis(np.tensordot(matrix, expected, (1, axis)), 0, axis)
    assert np.abs(convolve(u, rows) - expected).max() <= 1e-14 * np.abs(expected).max()


@given(st.integers(0, 2**32 - 1), st.integers(1, 2), st.floats(0.1, 3.0))
def test_resolved_exponents_are_the_largest_below(seed: int, p: int, steepest: float) -> None:
    """``min_k (e_k + steepest |j - k|_1)``, less a constant."""
    rng = np.random.default_rng(seed)
    cells = (9,) if p == 1 else (5, 6)
    e, r = 10 * rng.random((2, *cells)), rng.random((2, *cells))
    index = np.stack(np.unravel_index(np.arange(np.prod(cells)), cells), axis=-1)
    far = np.abs(index[:, None] - index).sum(axis=2)
    least = np.array([(flat + steepest * far).min(axis=1) for flat in e.reshape(2, -1)]).reshape(e.shape)
    difference = (least - resolved(e, r, steepest)).reshape(2, -1)
    assert np.ptp(difference, axis=1) == pytest.approx(0, abs=1e-12)
    assert (r * resolved(e, r, steepest)).reshape(2, -1).sum(axis=1) == pytest.approx(0, abs=1e-12)


POTENTIALS = {
    "quadratic": wflow.PotentialEnergy(lambda x: 0.5 * np.sum(x**2, axis=1), lambda x: x),
    "quartic": wflow.PotentialEnergy(lambda x: np.sum(x**4 / 4 - x**2 / 2, axis=1), lambda x: x**3 - x),
    "ripples": wflow.PotentialEnergy(
        lambda x: np.sum(x**2 / 2 + 0.3 * np.cos(6 * x), axis=1), lambda x: x - 1.8 * np.sin(6 * x)
    ),
}


@pytest.mark.parametrize(
    ("potential", "sigma", "n", "p", "variance", "half"),
    [
        ("quadratic", 0.01, 200, 1, 0.05, 5.0),
        ("quadratic", 0.03, 60, 1, 0.05, 3.0),
        ("quadratic", 0.05, 40, 2, 0.05, 3.0),
        ("quartic", 0.02, 60, 1, 0.04, 3.0),
        ("ripples", 0.1, 50, 1, 0.05, 3.0),
    ],
)
def test_a_grid_too_coarse_for_the_drift_is_refused(
    potential: str, sigma: float, n: int, p: int, variance: float, half: float
) -> None:
    """Before any work; and with the number of cells that the message names, twice where they show more, it is right."""
    Q, tried = POTENTIALS[potential] + wflow.Entropy(sigma), [n]
    while len(tried) < 4:
        try:
            Kernel().flow(Q, gaussian_grid(tried[-1], p, variance=variance, half=half))
            break
        except wflow.InputError as error:
            words = r"too coarse for the drift of x: at .* would be missed; take at least \((\d+)"
            numbers = re.search(words, str(error))
            assert numbers, error
            tried.append(int(numbers[1]))
    assert len(tried) in (2, 3), tried
    law = []
    for count, axes in ((tried[-1], p), (1000, 1)):
        rho0 = gaussian_grid(count, axes, variance=variance, half=half)
        rho = wflow.solve(Q, rho0, (0, 0.5), scheme="kernel", rtol=1e-4).measure(-1)
        mean = rho.moment(1).x[0, 0]
        law.append((mean, np.sqrt(rho.moment(2).x[0, 0] - mean**2)))
    assert law[0] == pytest.approx(law[1], abs=1e-2 * law[1][1])


@pytest.mark.parametrize("options", [{"rtol": 1e-3}, {"dtau": 0.05}])
def test_mass_that_gets_where_the_grid_is_too_coarse_ends_the_run(options: dict[str, float]) -> None:
    """A well as narrow as a cell, far from the initial density."""
    well = wflow.PotentialEnergy(
        lambda x: x[:, 0] ** 2 / 2 - 8 * np.exp(-((x[:, 0] / 0.05) ** 2)),
        lambda x: x + 6400 * x * np.exp(-((x / 0.05) ** 2)),
    )
    rho0 = gaussian_grid(121, mean=3.0, variance=0.1)
    with pytest.raises(wflow.SolveError, match=r"step \d+ at tau=.* leads where the grid is too coarse"):
        wflow.solve(well + wflow.Entropy(0.5), rho0, (0, 3), scheme="kernel", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("sigma", [0.06, 0.08, 0.15])
def test_walls_that_are_steep_where_no_mass_is_do_not_matter(sigma: float) -> None:
    """Exponents ``V/(2 sigma)`` of 570 to 1425 in the corners: the same moments on all grids, and no mass there."""
    steep = wflow.PotentialEnergy(lambda x: np.sum(x**2 / 2 + x**4, axis=1), lambda x: x + 4 * x**3)
    moments = []
    for n in (150, 180, 230):
        rho0 = gaussian_grid(n, 2, mean=0.3, variance=0.03, half=3.0)
        rho = wflow.solve(steep + wflow.Entropy(sigma), rho0, (0, 0.1), scheme="kernel", dtau=0.05).measure(-1)
        moments.append([rho.moment(k).x[0, 0] for k in (1, 2)])
    assert moments[0] == pytest.approx(moments[2], rel=2e-4)
    assert moments[1] == pytest.approx(moments[2], rel=1e-4)


@pytest.mark.parametrize("exponent", [650.0, 1000.0])
def test_exponents_count_from_where_the_mass_is(exponent: float) -> None:
    """Far above the minimum of V, the mass still drifts as V says."""
    sigma = 4**2 / (4 * exponent)
    rho0 = gaussian_grid(int(7.5 * exponent), mean=4.0, variance=1e-3)
    answer = wflow.solve(POTENTIALS["quadratic"] + wflow.Entropy(sigma), rho0, (0, 0.02), scheme="kernel", rtol=1e-4)
    assert answer.measure(-1).moment(1).x[0, 0] == pytest.approx(4 * np.exp(-0.02), rel=1e-5)


@pytest.mark.parametrize("dtau", [1e-4, 1e-2, 0.3])
@pytest.mark.parametrize("p", [1, 2])
def test_a_density_of_one_cell_stays_positive(p: int, dtau: float) -> None:
    density = np.zeros((41,) * p)
    density[(20,) * p] = 1.0
    rho0 = wflow.Grid(x=density, box={"x": ((-6, 6),) * p})
    answer = wflow.solve(
        ornstein_uhlenbeck(), rho0, (0, 3 * dtau), scheme=Kernel(outer_mass=1.0), dtau=dtau, save=wflow.SaveAt(steps=1)
    )
    for i in range(answer.n_frames):
        rho = answer.measure(i)
        assert rho.weights("x").sum() == pytest.approx(1, abs=1e-13)
        assert rho.x.min() >= -1e-8 * rho.x.max()


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
