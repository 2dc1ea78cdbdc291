"""The conditional Wasserstein distance against closed forms and brute force."""

from __future__ import annotations

import itertools

import numpy as np
import ot
import ot.gaussian
import pytest
from scipy.stats import norm

from wflow import Grid, InputError, Particles
from wflow.distances import conditional_w2, gaussian_w2


def cloud(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape)


def test_brute_force_over_permutations() -> None:
    rng = np.random.default_rng(0)
    x, y = cloud(rng, 2, 4, 3), cloud(rng, 2, 4, 3)
    best = [
        min(np.mean(np.sum((u - v[list(p)]) ** 2, axis=1)) for p in itertools.permutations(range(4)))
        for u, v in zip(x, y)
    ]
    expected = np.sqrt(0.3 * best[0] + 0.7 * best[1])
    depth = {"t": [0.1, 0.6], "depth_weights": [0.3, 0.7]}
    assert conditional_w2(Particles(x=x, **depth), Particles(x=y, **depth)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("p", [1, 3])
def test_translation_permutation_and_blocks(p: int) -> None:
    """A shift by c costs |c|; labels do not matter; squares add over blocks."""
    rng = np.random.default_rng(1)
    x, w = cloud(rng, 3, 6, p), cloud(rng, 3, 5, 2)
    shift = 0.01 * np.arange(1.0, p + 1)
    moved = (x + shift)[:, rng.permutation(6)]
    a, b = Particles(theta=x, w=w), Particles(theta=moved, w=w + np.array([0.3, 0.4]))
    assert conditional_w2(a, b) ** 2 == pytest.approx(shift @ shift + 0.25, rel=1e-10)
    assert conditional_w2(b, a) == pytest.approx(conditional_w2(a, b), rel=1e-12)


@pytest.mark.parametrize("p", [1, 2])
def test_weights_are_multiplicities(p: int) -> None:
    rng = np.random.default_rng(2)
    x, y = cloud(rng, 1, 2, p), cloud(rng, 1, 4, p)
    weighted = Particles(x=x, weights={"x": [[0.75, 0.25]]})
    copies = Particles(x=x[:, [0, 0, 0, 1]])
    assert conditional_w2(weighted, Particles(x=y)) == pytest.approx(conditional_w2(copies, Particles(x=y)), rel=1e-9)


def test_measures_must_match() -> None:
    a = Particles(x=np.zeros((2, 1, 1)))
    for b, message in [
        (Particles(y=np.zeros((2, 1, 1))), "same blocks"),
        (Particles(x=np.zeros((3, 1, 1))), "same depth nodes"),
        (Particles(x=np.zeros((2, 1, 2))), "same number of parameters"),
    ]:
        with pytest.raises(InputError, match=message):
            conditional_w2(a, b)


def line(rng: np.random.Generator, M: int) -> Particles:
    a = rng.random((2, M)) * (rng.random((2, M)) > 0.2) + 1e-3
    return Particles(x=cloud(rng, 2, M, 1), weights={"x": a / a.sum(axis=1, keepdims=True)})


def test_weights_on_the_line_against_linear_programming() -> None:
    rng = np.random.default_rng(3)
    a, b = line(rng, 40), line(rng, 57)
    squares = [
        ot.emd2_1d(a.x[l, :, 0], b.x[l, :, 0], a.weights("x")[l], b.weights("x")[l], metric="sqeuclidean")
        for l in range(2)
    ]
    programme = ot.emd2(a.weights("x")[0], b.weights("x")[0], (a.x[0] - b.x[0].T) ** 2)
    assert squares[0] == pytest.approx(programme, rel=1e-12)
    assert conditional_w2(a, b) == pytest.approx(np.sqrt(np.mean(squares)), rel=1e-12)
    without_mass = Particles(x=[[0.0], [5.0], [1.0]], weights={"x": [[0.5, 0.0, 0.5]]})
    assert conditional_w2(without_mass, Particles(x=[[1.0], [0.0]])) == 0


def test_grids_on_the_line() -> None:
    """Closed forms of uniform and normal laws; particles against a grid; a grid with gaps against one refined."""
    uniform = Grid(x=np.ones(8), box={"x": ((0, 1),)})
    wide = Grid(x=np.ones(5), box={"x": ((1, 4),)})
    assert conditional_w2(uniform, wide) ** 2 == pytest.approx(np.mean([1, 9]) * 2 / 3 + 3 / 3, rel=1e-12)
    points = Particles(x=[[0.25], [0.75]])
    assert conditional_w2(points, uniform) ** 2 == pytest.approx(1 / 48, rel=1e-12)
    assert conditional_w2(uniform, points) == pytest.approx(conditional_w2(points, uniform), rel=1e-12)
    rough = np.random.default_rng(4).random((2, 7)) * np.array([1, 1, 0, 1, 1, 0, 1])
    coarse = Grid(x=rough, box={"x": ((-1, 2),)})
    assert conditional_w2(coarse, Grid(x=np.repeat(rough, 3, axis=1), box={"x": ((-1, 2),)})) < 1e-7
    grids = [
        Grid(x=norm.pdf(np.arange(-7.995, 8, 0.01), m, s), box={"x": ((-8, 8),)}) for m, s in ((0.5, 1.0), (-0.25, 0.5))
    ]
    assert conditional_w2(*grids) == pytest.approx(np.hypot(0.75, 0.5), rel=1e-4)
    quantiles = Particles(x=norm.ppf((np.arange(4000) + 0.5) / 4000, -0.25, 0.5)[:, None])
    assert conditional_w2(grids[0], quantiles) == pytest.approx(np.hypot(0.75, 0.5), rel=1e-3)
    square = Grid(x=np.ones((3, 3)), box={"x": ((0, 1), (0, 1))})
    with pytest.raises(InputError, match=r"2 parameters.*one parameter.*marginals"):
        conditional_w2(square, Particles(x=np.zeros((1, 1, 2))))


def test_normal_laws() -> None:
    rng = np.random.default_rng(5)
    (m, n), roots = cloud(rng, 2, 3), cloud(rng, 2, 3, 3)
    A, B = (root @ root.T for root in roots)
    assert gaussian_w2(m, A, n, B) == pytest.approx(ot.gaussian.bures_wasserstein_distance(m, n, A, B), rel=1e-9)
    assert gaussian_w2(n, B, m, A) == pytest.approx(gaussian_w2(m, A, n, B), rel=1e-12)
    assert gaussian_w2(m, A, m, A) < 1e-14  # where the formula with traces keeps half of the digits
    assert gaussian_w2(m, 0 * A, n, B) ** 2 == pytest.approx(np.sum((m - n) ** 2) + np.trace(B), rel=1e-12)
    S = np.diag([1.0, 4.0])
    assert gaussian_w2([0, 0], S, [3, 0], S / 4) == pytest.approx(np.sqrt(9 + 0.25 + 1), rel=1e-12)
    for cov, message in (
        ([[1.0, 2.0], [2.0, 1.0]], "without negative"),
        ([[1.0]], "shape"),
        ([[1, 1], [0, 1]], "symm"),
    ):
        with pytest.raises(InputError, match=message):
            gaussian_w2([0, 0], S, [0, 0], cov)


def test_densities_with_hardly_any_mass_at_the_ends() -> None:
    """Masses down to the smallest numbers neither overflow nor count."""
    x = (np.arange(4000) + 0.5) * 12 / 4000 - 6
    fine = Grid(x=np.exp(-0.5 * x**2 / 0.0042), box={"x": ((-6, 6),)})
    shifted = Grid(x=np.exp(-0.5 * (x - 0.3) ** 2 / 0.0042), box={"x": ((-6, 6),)})
    assert conditional_w2(fine, shifted) == pytest.approx(0.3, rel=1e-6)
