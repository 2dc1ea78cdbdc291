"""The conditional Wasserstein distance against closed forms and brute force."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import ot
import ot.gaussian
import pytest
from scipy.stats import norm

from wflow import Grid, InputError, Particles, SolveError, distances
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


def pair(kind: str, scale: float, shift: float, dtype: type = np.float64) -> tuple[Particles, Particles]:
    """Two clouds of one kind, scaled and shifted."""
    rng = np.random.default_rng(6)
    p, widths, weighted = {
        "line": (1, (9, 9), False),
        "weights on the line": (1, (9, 7), True),
        "assignment": (2, (9, 9), False),
        "widths": (3, (9, 7), False),
        "weights": (2, (9, 9), True),
    }[kind]
    clouds = []
    for M in widths:
        x = (scale * (cloud(rng, 2, M, p) + shift)).astype(dtype)
        weights = {"x": rng.dirichlet(np.ones(M), 2)} if weighted else None
        clouds.append(Particles(x=x, weights=weights, t=[0.2, 0.7], depth_weights=[0.4, 0.6]))
    return clouds[0], clouds[1]


KINDS = ["line", "weights on the line", "assignment", "widths", "weights"]


@pytest.mark.parametrize("kind", KINDS)
def test_distances_scale_and_move_with_the_data(kind: str) -> None:
    unit = conditional_w2(*pair(kind, 1.0, 0.0))
    for scale in (1e-150, 1e-40, 1e-11, 3e-8, 1e-4, 1e7, 1e60, 1e150):
        a, b = pair(kind, scale, 0.0)
        assert conditional_w2(a, b) / scale == pytest.approx(unit, rel=1e-9)
        assert conditional_w2(b, a) == pytest.approx(conditional_w2(a, b), rel=1e-9)
        order = np.random.default_rng(7).permutation(a.x.shape[1])
        depth = {"t": a.t, "depth_weights": a.depth_weights}
        same = Particles(x=a.x[:, order], weights={"x": a.weights("x")[:, order]}, **depth)
        assert conditional_w2(a, same) < 1e-14 * scale
    for scale, shift in ((1e-3, 1e5), (1e9, -1e4), (1e-20, 300.0)):
        assert conditional_w2(*pair(kind, scale, shift)) / scale == pytest.approx(unit, rel=1e-8)
    for scale in (1e-30, 1e-9, 1e30):
        assert conditional_w2(*pair(kind, scale, 0.0, np.float32)) / scale == pytest.approx(unit, rel=1e-6)


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("weighted", [True, False])
def test_what_both_have_far_away_costs_nothing(p: int, weighted: bool) -> None:
    """A cluster of the same mass on both sides, however many particles make it, does not spoil what is near."""
    rng = np.random.default_rng(8)
    x, y, z = cloud(rng, 3, p), cloud(rng, 3 + weighted, p), cloud(rng, 2, p)
    # Unequal masses, in near and in far, that agree in sum up to their rounding.
    a = np.array([0.2, 0.3, 0.2, 0.1, 0.2]) if weighted else np.full(5, 0.2)
    b = np.array([0.1, 0.4, 0.1, 0.1, 0.3]) if weighted else a
    found = []
    for far in (0.0, 1e4, 1e7, 3e8, -1e10):
        common = far + (np.repeat(z[:1], 2, axis=0) if weighted else z)
        second = Particles(x=np.vstack([y, common[weighted:]]), weights={"x": [b]})
        found.append(conditional_w2(Particles(x=np.vstack([x, common]), weights={"x": [a]}), second))
    assert found[1:] == pytest.approx([found[1]] * 4, rel=1e-8)


def exact(x: np.ndarray, y: np.ndarray, copies: tuple[list[int], list[int]]) -> float:
    """W_2^2 of particles that are so many copies each, by rational arithmetic over all permutations."""
    first, second = (
        [[Fraction(float(number)) for number in row] for row, k in zip(z, ks) for _ in range(k)]
        for z, ks in zip((x, y), copies)
    )
    cost = [[sum((s - t) ** 2 for s, t in zip(p, q)) for q in second] for p in first]
    n = len(cost)
    return float(min(sum(cost[i][s[i]] for i in range(n)) for s in itertools.permutations(range(n))) / n)


@pytest.mark.parametrize("seed", range(12))
def test_clouds_of_several_scales_against_rational_arithmetic(seed: int) -> None:
    """Sizes from 1e-8 to 1e8 in one cloud: a relative error of the answer, not of its largest number."""
    rng = np.random.default_rng(seed)
    x = cloud(rng, 4, 2) * 10.0 ** rng.integers(-8, 9, (4, 1))
    y = x[:3] + cloud(rng, 3, 2) * 10.0 ** rng.integers(-8, 2, (3, 1))
    copies = [1, 2, 1, 2], [2, 1, 3]
    weights = [np.array(k)[None] / 6 for k in copies]
    a, b = Particles(x=x, weights={"x": weights[0]}), Particles(x=y, weights={"x": weights[1]})
    assert conditional_w2(a, b) ** 2 == pytest.approx(exact(x, y, copies), rel=1e-9)
    y = x + 10.0 ** rng.integers(-12, 0) * cloud(rng, 4, 2)
    assert conditional_w2(Particles(x=x), Particles(x=y)) ** 2 == pytest.approx(exact(x, y, ([1] * 4,) * 2), rel=1e-9)


def test_hardly_any_mass() -> None:
    """Masses far below the rounding of their sum count where they are far away."""
    a = Particles(x=[[0.0, 0.0], [1.0, 0.0]], weights={"x": [[1.0, 1e-20]]})
    b = Particles(x=[[0.0, 0.0], [1e12, 0.0]], weights={"x": [[1.0, 1e-20]]})
    assert conditional_w2(a, b) == pytest.approx(100.0, rel=1e-9)


def test_a_transport_that_is_not_solved_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x, y, far = cloud(rng, 3, 2), cloud(rng, 3, 2), [[1e9, 1e9]]
    a = Particles(x=np.vstack([x, far]), weights={"x": [[0.3, 0.3, 0.3, 0.1]]})
    b = Particles(x=np.vstack([y, far]), weights={"x": [[0.4, 0.3, 0.2, 0.1]]})
    monkeypatch.setattr(distances, "ROUNDS", 1)
    with pytest.raises(SolveError, match=r"of W_2\^2 only: leave out"):
        conditional_w2(a, b)


@pytest.mark.parametrize("scale", [1e-140, 1e-9, 1.0, 1e8, 1e140])
def test_normal_laws_of_any_size(scale: float) -> None:
    rng = np.random.default_rng(9)
    (m, n), roots = cloud(rng, 2, 3), cloud(rng, 2, 3, 3)
    A, B = (root @ root.T for root in roots)
    unit = gaussian_w2(m, A, n, B)
    assert gaussian_w2(scale * m, scale**2 * A, scale * n, scale**2 * B) / scale == pytest.approx(unit, rel=1e-10)
    for cov, message in (
        ([[1.0, 3.0], [3.0, 2.0]], "without negative"),
        ([[1.0, 0.0], [0.0, -1e-7]], "without negative"),
        ([[2.0, 1.0], [1.001, 2.0]], "symmetric"),
    ):
        with pytest.raises(InputError, match=message):
            gaussian_w2([0, 0], scale**2 * np.array(cov), [0, 0], scale**2 * np.eye(2))


def test_a_measure_sits_where_the_other_one_was_placed() -> None:
    rng = np.random.default_rng(10)
    x, y = cloud(rng, 2, 3, 2), cloud(rng, 2, 4, 2)
    placed = Particles(x=x, t=[0.0, 1.0], depth_weights=[0.2, 0.8])
    there = Particles(x=y, t=[0.0, 1.0], depth_weights=[0.2, 0.8])
    assert conditional_w2(placed, Particles(x=y)) == conditional_w2(Particles(x=y), placed)
    assert conditional_w2(placed, Particles(x=y)) == conditional_w2(placed, there)
    elsewhere = Particles(x=y, t=[0.0, 1.0], depth_weights=[0.3, 0.7])
    with pytest.raises(InputError, match="same depth nodes"):
        conditional_w2(placed, elsewhere)
