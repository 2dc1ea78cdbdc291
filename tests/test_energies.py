"""Classic energies, their sums and internal energies, on particles and on grids."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import slope
from hypothesis import given
from hypothesis import strategies as st

import wflow
from wflow.energies import Energy

V = wflow.PotentialEnergy(lambda x: np.sum(x**4 / 4 - x**2 / 2, axis=1), lambda x: x**3 - x)
W = wflow.InteractionEnergy(lambda z: np.sum(np.cosh(z), axis=1), np.sinh)
ENERGIES: dict[str, Energy] = {"potential": V, "interaction": W, "sum": V + W}


def cloud(rng: np.random.Generator, S: int = 2, M: int = 4, p: int = 2) -> wflow.Particles:
    mass = rng.random((S, M)) + 0.1
    return wflow.Particles(
        x=rng.standard_normal((S, M, p)), weights={"x": mass / mass.sum(1, keepdims=True)}, depth_weights=[0.3, 0.7]
    )


@pytest.mark.parametrize("name", ENERGIES)
def test_velocities_are_gradients(name: str) -> None:
    rng, Q = np.random.default_rng(0), ENERGIES[name]
    rho = cloud(rng)
    direction = rng.standard_normal(rho.x.shape)
    expected = -np.sum(rho.mass("x")[..., None] * Q.velocity(rho).x * direction)
    assert slope(lambda h: Q.value(rho.replace(x=rho.x + h * direction)), 1e-2) == pytest.approx(expected, rel=1e-8)
    assert Q.dissipation(rho) == pytest.approx(np.sum(rho.mass("x")[..., None] * Q.velocity(rho).x ** 2), rel=1e-12)


@pytest.mark.parametrize("name", ENERGIES)
def test_first_variations_are_derivatives_in_the_masses(name: str) -> None:
    rng, Q = np.random.default_rng(1), ENERGIES[name]
    rho = cloud(rng)
    phi = Q.first_variation(rho)["x"]
    change = rng.standard_normal(phi.shape)
    change -= change.mean(axis=1, keepdims=True)

    def value(h: float) -> float:
        weights = {"x": rho.weights("x") + h * change}
        return Q.value(wflow.Particles(x=rho.x, weights=weights, depth_weights=rho.depth_weights))

    assert slope(value, 1e-2) == pytest.approx(np.sum(rho.depth_weights[:, None] * phi * change), rel=1e-8)
    step = 1e-4 * rng.standard_normal(rho.x.shape)  # and the velocity is minus its gradient
    rise = Q.first_variation(rho, {"x": rho.x + step})["x"] - Q.first_variation(rho, {"x": rho.x - step})["x"]
    assert rise == pytest.approx(-2 * np.sum(Q.velocity(rho).x * step, axis=2), rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("name", ENERGIES)
def test_grids_are_quadrature(name: str) -> None:
    """A grid is the particles at its cell centres."""
    rng, Q = np.random.default_rng(2), ENERGIES[name]
    grid = wflow.Grid(x=rng.random((2, 5, 4)), box={"x": ((-1, 1), (0, 2))})
    rho = wflow.Particles(x=grid.points("x"), weights={"x": grid.weights("x")})
    assert Q.value(grid) == pytest.approx(Q.value(rho), rel=1e-13)
    assert np.allclose(Q.velocity(grid).x, Q.velocity(rho).x, rtol=1e-12)
    assert np.allclose(Q.first_variation(grid)["x"], Q.first_variation(rho)["x"], rtol=1e-12)
    linear = Q.linearise(grid)
    assert linear.value == pytest.approx(Q.value(grid)) and np.allclose(
        linear.first_variation["x"], Q.first_variation(grid)["x"]
    )


def test_the_transformer_on_a_grid_is_quadrature() -> None:
    rng = np.random.default_rng(3)
    data = wflow.Dataset(rng.standard_normal((5, 1, 3)), rng.standard_normal(5))
    Q = wflow.TransformerObjective(
        data, wflow.SoftmaxAttention(), wflow.FeedForward("tanh"), weight_decay=0.1, entropy=0.3, layers=2
    )
    box = {"theta": ((-2, 2), (-3, 3)), "w": ((-2, 2), (-2, 2))}
    grid = Q.prepare(wflow.Grid(theta=rng.random((2, 6, 5)), w=rng.random((2, 4, 4)), box=box))
    names = ("theta", "w")
    rho = wflow.Particles(weights={n: grid.weights(n) for n in names}, **{n: grid.points(n) for n in names})
    assert Q.risk(grid) == pytest.approx(Q.risk(rho), rel=1e-13)
    assert Q.value(grid) == pytest.approx(Q.value(rho) + wflow.Entropy(0.3).value(grid), rel=1e-13)
    result = Q.linearise(grid)
    assert result.value == pytest.approx(Q.value(grid), rel=1e-13)
    for n in names:
        assert np.allclose(result.first_variation[n], Q.first_variation(rho)[n], rtol=1e-11)
        assert np.allclose(Q.velocity(grid)[n], Q.velocity(rho)[n], rtol=1e-11)


@given(st.floats(0.1, 2.0), st.floats(0.3, 1.5))
def test_internal_energies_of_gaussians(sigma: float, std: float) -> None:
    x = (np.arange(400) + 0.5) * 30 / 400 - 15
    rho = wflow.Grid(x=np.exp(-0.5 * (x / std) ** 2), box={"x": ((-15, 15),)})
    exact = -0.5 * np.log(2 * np.pi * np.e * std**2)
    assert wflow.Entropy(sigma).value(rho) == pytest.approx(sigma * exact, abs=1e-10)
    assert wflow.PorousMedium(2.0).value(rho) == pytest.approx(1 / (2 * np.sqrt(np.pi) * std), rel=1e-10)


@pytest.mark.parametrize("depth_weights", [[0.2, 0.5, 0.3], [0.7, 0.1, 0.2]])
def test_internal_energies_are_integrals_over_depth(depth_weights: list[float]) -> None:
    """Normal laws of three widths in three slices of unequal weights, in two blocks."""
    x, stds = (np.arange(300) + 0.5) * 20 / 300 - 10, np.array([0.4, 0.8, 1.5])
    r = np.exp(-0.5 * (x / stds[:, None]) ** 2)
    box, om = {"x": ((-10, 10),), "y": ((-10, 10),)}, np.array(depth_weights)
    rho = wflow.Grid(x=r, y=r[::-1], box=box, depth_weights=om)
    entropies, squares = -0.5 * np.log(2 * np.pi * np.e * stds**2), 1 / (2 * np.sqrt(np.pi) * stds)
    both = om + om[::-1]
    assert wflow.Entropy(0.7).value(rho) == pytest.approx(0.7 * both @ entropies, rel=1e-9)
    assert wflow.PorousMedium(2.0).value(rho) == pytest.approx(both @ squares, rel=1e-9)
    assert (V + wflow.Entropy(0.7)).internal.of(rho) == wflow.Entropy(0.7).linearise(rho).value  # type: ignore[union-attr]
    cloud = stds[:, None, None] * np.random.default_rng(0).standard_normal((3, 2000, 1))
    estimate = wflow.Entropy(0.7).estimate(wflow.Particles(x=cloud, depth_weights=om))
    assert estimate == pytest.approx(0.7 * om @ entropies, abs=0.03)


@pytest.mark.parametrize("internal", [wflow.Entropy(0.3), wflow.PorousMedium(2.5)])
def test_slopes_of_internal_energies(internal: Any) -> None:
    r = np.linspace(0.1, 3, 7)
    assert slope(lambda h: internal.density(r + h), 1e-2) == pytest.approx(internal.slope(r), rel=1e-8)


def test_internal_energies_add_up_or_say_so() -> None:
    assert (V + wflow.Entropy(0.5) + wflow.Entropy(0.25)).internal == wflow.Entropy(0.75)
    assert (wflow.Entropy(1.0) + V).internal == wflow.Entropy(1.0)
    assert (V + W).internal is None
    with pytest.raises(wflow.InputError, match="do not add up"):
        wflow.Entropy(1.0) + wflow.PorousMedium(2.0)
    with pytest.raises(wflow.InputError, match="m must be greater than 1"):
        wflow.PorousMedium(1.0)
    rho = wflow.Particles(x=[[1.0], [2.0]])
    assert wflow.Entropy(1.0).value(rho) == 0 and (wflow.Entropy(1.0).velocity(rho).x == 0).all()


@pytest.mark.parametrize("p", [1, 2, 3])
def test_the_entropy_estimated_from_particles(p: int) -> None:
    rho = wflow.Particles(x=np.random.default_rng(p).standard_normal((3000, p)))
    assert wflow.Entropy(1.0).estimate(rho) == pytest.approx(-0.5 * p * np.log(2 * np.pi * np.e), abs=0.1)


def test_what_no_estimate_offers() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(wflow.InputError, match=r"cannot be observed from particles: it has p = 4"):
        wflow.Entropy(1.0).estimate(wflow.Particles(x=rng.standard_normal((10, 4))))
    with pytest.raises(wflow.InputError, match="equal weights"):
        wflow.Entropy(1.0).estimate(cloud(rng))
    with pytest.raises(wflow.InputError, match="coincide"):
        wflow.Entropy(1.0).estimate(wflow.Particles(x=np.zeros((10, 1))))


def test_energies_of_one_block_say_what_they_take() -> None:
    two = wflow.Particles(a=[[1.0]], b=[[1.0]])
    with pytest.raises(wflow.InputError, match=r"one block, got \['a', 'b'\]"):
        wflow.solve(V, two)
    with pytest.raises(wflow.InputError, match="gradient of PotentialEnergy must turn points"):
        wflow.solve(wflow.PotentialEnergy(lambda x: x[:, 0], lambda x: x[:, 0]), wflow.Particles(x=[[1.0], [2.0]]))
    with pytest.raises(wflow.InputError, match="takes a function and its gradient"):
        wflow.PotentialEnergy(1.0, 2.0)  # type: ignore[arg-type]


def _placed_or_not() -> dict[str, tuple[Energy, wflow.Measure]]:
    """Energies with the depth nodes of a rule whose weights are unequal, and measures as a user makes them."""
    rng = np.random.default_rng(4)
    data = wflow.Dataset(rng.standard_normal((4, 1, 3)), rng.standard_normal(4))
    tanh = wflow.FeedForward("tanh")
    Q = wflow.TransformerObjective(data, None, tanh, weight_decay=0.2, entropy=0.3, depth="rk4-nodes", layers=2)
    smooth = wflow.TransformerObjective(data, None, tanh, weight_decay=0.2, depth="rk4-nodes", layers=2)
    cloud = wflow.Particles(w=rng.standard_normal((5, 6, 2)))
    grid = wflow.Grid(w=rng.random((5, 4, 5)), box={"w": ((-2, 2), (-3, 3))})
    blob = wflow.BlobEnergy(wflow.Entropy(0.2), 0.5)
    return {
        "transformer": (Q, cloud),
        "with a potential": (W + V + Q, cloud),
        "with a blob": (blob + smooth, cloud),
        "with a porous medium": (wflow.PorousMedium(2.0) + smooth, grid),
        "densities": (Q, grid),
        "densities and entropy": (smooth + wflow.Entropy(0.5), grid),
    }


@pytest.mark.parametrize("name", _placed_or_not())
def test_a_measure_as_the_user_made_it_and_as_it_was_placed(name: str) -> None:
    """Everything public gives the same for both."""
    Q, rho = _placed_or_not()[name]
    placed = Q.prepare(rho)
    assert Q.prepare(placed) is placed
    assert np.ptp(placed.depth_weights) > 0.1
    assert Q.value(rho) == Q.value(placed) and Q.dissipation(rho) == Q.dissipation(placed) > 0
    assert np.array_equal(Q.velocity(rho).w, Q.velocity(placed).w)
    assert np.array_equal(Q.first_variation(rho)["w"], Q.first_variation(placed)["w"])
    assert Q.evaluate(rho).value == Q.evaluate(placed).value and Q.linearise(rho).value == Q.linearise(placed).value
    if isinstance(Q.internal, wflow.Entropy):
        virial = wflow.observers.Virial(Q)
        assert virial(rho) == virial(placed) != 0
    if isinstance(Q, wflow.TransformerObjective):
        assert wflow.observers.Risk(Q)(rho) == wflow.observers.Risk(Q)(placed)
        assert np.array_equal(Q.predict(rho), Q.predict(placed))
    v, mass = Q.velocity(placed).w, placed.mass("w")
    assert Q.dissipation(rho) == pytest.approx(np.einsum("sm,smp,smp->", mass, v, v), rel=1e-12)


def test_the_bandwidth_of_blobs_is_that_of_the_placed_measure() -> None:
    Q, rho = _placed_or_not()["transformer"]
    ends = [wflow.solve(Q, start, (0, 0.1), scheme="blob", dtau=0.05) for start in (rho, Q.prepare(rho))]
    assert np.array_equal(ends[0].energy, ends[1].energy)


@pytest.mark.parametrize("name", ["potential", "interaction", "sum", "entropy", "blob"])
def test_every_method_says_what_it_takes(name: str) -> None:
    more = {"entropy": wflow.Entropy(1.0), "blob": wflow.BlobEnergy(wflow.Entropy(1.0), 0.1)}
    Q = (ENERGIES | more)[name]
    for method in (Q.value, Q.velocity, Q.dissipation, Q.evaluate, Q.linearise, Q.first_variation):
        with pytest.raises(wflow.InputError, match=r"expected a measure such as wflow\.Particles, got ndarray"):
            method(np.zeros((1, 2, 1)))  # type: ignore[arg-type]
    if name in ENERGIES:
        with pytest.raises(wflow.InputError, match="measures of one block"):
            Q.value(wflow.Particles(x=np.zeros((1, 2, 1)), y=np.zeros((1, 2, 1))))


def test_functions_are_looked_at_once() -> None:
    """The look at what they return costs nothing in a run."""
    calls: list[int] = []

    def half_square(x: Any) -> Any:
        calls.append(len(x))
        return np.sum(x**2, axis=1) / 2

    Q = wflow.PotentialEnergy(half_square, lambda x: x) + wflow.Entropy(0.1)
    rho = wflow.Particles(x=np.ones((1, 5, 3)))
    for _ in range(3):
        Q.evaluate(rho)
    assert calls == [2, 5, 5, 5]
    wide = wflow.PotentialEnergy(lambda x: x, lambda x: x)
    with pytest.raises(wflow.InputError, match="the function of PotentialEnergy must turn points"):
        wide.value(rho)


def test_weights_are_equal_relative_to_their_size() -> None:
    M = 2000
    weights = np.full((1, M), 1 / M)
    x = np.random.default_rng(5).standard_normal((1, M, 1))
    rounded = wflow.Particles(x=x, weights={"x": weights * (1 + 1e-16 * np.arange(M))})
    assert wflow.Entropy(1.0).estimate(rounded) == pytest.approx(wflow.Entropy(1.0).estimate(wflow.Particles(x=x)))
    weights[0, 0] *= 1 + 1e-9
    uneven = wflow.Particles(x=x, weights={"x": weights})
    with pytest.raises(wflow.InputError, match="equal weights only"):
        wflow.Entropy(1.0).estimate(uneven)
    with pytest.raises(wflow.InputError, match="particles of equal weights"):
        wflow.solve(V + wflow.Entropy(1.0), uneven, scheme="quantile-jko")


INTERACTIONS = {
    "attraction": (lambda z: 0.5 * np.sum(z**2, axis=1), lambda z: z),
    "gaussian": (
        lambda z: -np.exp(-np.sum(z**2, axis=1)),
        lambda z: 2 * z * np.exp(-np.sum(z**2, axis=1, keepdims=True)),
    ),
    "distance": (
        lambda z: np.sqrt(np.sum(z**2, axis=1)),
        lambda z: z / np.maximum(np.sqrt(np.sum(z**2, axis=1, keepdims=True)), 1e-300),
    ),
    "lopsided": (lambda z: np.sum(z**4, axis=1) + z[:, -1], lambda z: 4 * z**3 + 1),
    "exponential": (lambda z: np.exp(30 * np.abs(z).sum(axis=1)), lambda z: z * np.exp(30 * np.abs(z))),
}


@pytest.mark.parametrize("kind", INTERACTIONS)
@pytest.mark.parametrize(
    ("cells", "box"),
    [((50,), ((-1, 1),)), ((13, 20), ((-1, 0.5), (0, 1))), ((3, 3), ((0, 1), (0, 0.5))), ((5, 7, 6), ((-1, 1),) * 3)],
)
def test_interactions_on_cells_are_those_of_pairs(kind: str, cells: tuple[int, ...], box: Any) -> None:
    """The transform gives what summing over pairs gives, at the cells asked for as points; also where it cannot."""
    Q = wflow.InteractionEnergy(*INTERACTIONS[kind])
    density = np.random.default_rng(1).random((2, *cells)) ** 8
    density[1, ..., : cells[-1] // 2] = 0
    rho = wflow.Grid(x=density, box={"x": box})
    particles = wflow.Particles(x=np.array(rho.points("x")), weights={"x": rho.weights("x")})
    pairs, direct = Q.first_variation(rho, {"x": np.array(rho.points("x"))})["x"], Q.evaluate(particles)
    on_cells, fast = Q.first_variation(rho)["x"], Q.evaluate(rho)
    assert np.abs(on_cells - pairs).max() <= 1e-12 * np.abs(pairs).max()
    assert fast.value == pytest.approx(direct.value, rel=1e-12)
    assert Q.linearise(rho).value == pytest.approx(direct.value, rel=1e-12)
    assert np.abs(fast.velocity.x - direct.velocity.x).max() <= 1e-12 * np.abs(direct.velocity.x).max()


def test_an_interaction_that_is_infinite_at_zero() -> None:
    Q = wflow.InteractionEnergy(lambda z: np.where(z[:, 0] == 0, np.inf, 1.0), lambda z: z)
    assert np.isposinf(Q.first_variation(wflow.Grid(x=np.ones(5), box={"x": ((0, 1),)}))["x"]).all()


@given(st.integers(0, 2**32 - 1))
def test_no_mass_interacts_around_the_box(seed: int) -> None:
    """A bump of short range at one end is not felt at the other."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(8, 40))
    density = np.zeros(n)
    density[0] = 1.0
    Q = wflow.InteractionEnergy(lambda z: np.maximum(1 - np.abs(z[:, 0]) * n / 2.5, 0), lambda z: 0 * z)
    phi = Q.first_variation(wflow.Grid(x=density, box={"x": ((0, 1),)}))["x"][0]
    assert phi[:3] == pytest.approx([1, 0.6, 0.2], abs=1e-12) and np.abs(phi[3:]).max() < 1e-15


def test_the_size_of_terms_adds_up_what_cancels_in_the_value() -> None:
    """``int |U|`` over depth and cells for densities on both sides of 1, and of sums whose terms cancel."""
    r = np.array([[0.2, 1.8, 1.0], [1.5, 0.5, 1.0], [0.3, 0.3, 2.4]])
    rho = wflow.Grid(x=r, box={"x": ((0.0, 3.0),)}, t=[0.1, 0.4, 0.8], depth_weights=[0.2, 0.5, 0.3])
    U = 0.7 * rho.x * np.log(rho.x)  # in cells of width 1
    linear = wflow.Entropy(0.7).linearise(rho)
    assert linear.value == pytest.approx(rho.depth_weights @ U.sum(axis=1), rel=1e-14)
    assert linear.terms == pytest.approx(rho.depth_weights @ np.abs(U).sum(axis=1), rel=1e-14)
    up = wflow.PotentialEnergy(lambda x: x[:, 0] ** 2, lambda x: 2 * x)
    down = wflow.PotentialEnergy(lambda x: -(x[:, 0] ** 2), lambda x: -2 * x)
    both = (up + down).evaluate(wflow.Particles(x=[[3.0], [1.0]]))
    assert (both.value, both.terms) == (0.0, 10.0)


def test_the_size_of_the_terms_of_an_objective() -> None:
    """The risk, half the mean square of the labels, the decay and the entropy."""
    data = wflow.Dataset(np.ones((2, 1, 1)), [3.0, 1.0])
    rho = wflow.Particles(w=[[[2.0, 1.0]], [[0.0, 0.0]]])
    Q = wflow.TransformerObjective(data, feedforward=wflow.FeedForward("identity"), weight_decay=0.4, layers=2)
    answer = Q.evaluate(rho)
    assert answer.terms == pytest.approx(Q.risk(rho) + 2.5 + 0.2 * 0.5 * 5, rel=1e-14)
