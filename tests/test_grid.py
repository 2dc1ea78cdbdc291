"""Densities on grids as measures."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import wflow
from wflow import initial


def objective(D: int = 1, **arguments: Any) -> wflow.TransformerObjective:
    rng = np.random.default_rng(0)
    data = wflow.Dataset(rng.standard_normal((3, D, 2)), rng.standard_normal(3))
    return wflow.TransformerObjective(data, feedforward=wflow.FeedForward("tanh", **arguments), layers=3)


@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 2**31))
def test_points_and_weights_are_the_cells(p: int, S: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    cells = tuple(int(n) for n in rng.integers(3, 6, p))
    box = tuple((float(lo), float(lo + width)) for lo, width in zip(rng.normal(size=p), rng.random(p) + 0.1))
    rho = wflow.Grid(x=rng.random((S, *cells)) + 0.01, box={"x": box})
    assert rho.points("x").shape == (S, np.prod(cells), p) and rho.weights("x").shape == (S, np.prod(cells))
    assert rho.weights("x").sum(axis=1) == pytest.approx(1)
    index = tuple(int(rng.integers(n)) for n in cells)
    flat = int(np.ravel_multi_index(index, cells))
    assert rho.weights("x")[0, flat] == pytest.approx(rho.x[(0, *index)] * rho.cell_volume("x"))
    assert rho.points("x")[0, flat] == pytest.approx([axis[i] for axis, i in zip(rho.axes("x"), index)])
    assert rho.moment(1).x == pytest.approx(np.einsum("sm,smp->sp", rho.weights("x"), rho.points("x")))
    for axis in range(p):
        assert rho.marginal("x", axis).sum(axis=1) * rho.spacing("x")[axis] == pytest.approx(1)
        mean = rho.marginal("x", axis) @ rho.axes("x")[axis] * rho.spacing("x")[axis]
        assert mean == pytest.approx(rho.moment(1).x[:, axis])


def test_outer_mass() -> None:
    density = np.zeros((2, 4, 5))
    density[:, 1:-1, 1:-1] = 1.0
    density[1, 0, 2] = 6.0
    rho = wflow.Grid(x=density, box={"x": ((0, 1), (0, 1))})
    assert rho.outer_mass("x") == pytest.approx(0.5)


@given(st.integers(1, 3), st.integers(0, 2**31))
def test_particles_are_spread_with_their_mass_and_mean(p: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mass = rng.random((2, 7)) + 0.1
    apart = np.linspace(-0.7, 0.7, 7)[:, None]  # a cloud narrower than a cell is refused
    x = rng.permuted(np.broadcast_to(apart, (2, 7, p)), axis=1) + rng.uniform(-0.3, 0.3, (2, 7, p))
    rho = wflow.Particles(x=x, weights={"x": mass / mass.sum(1, keepdims=True)})
    grid = wflow.Grid.from_particles(rho, {"x": ((-2, 2),) * p}, {"x": 16})
    assert grid.moment(0).x == pytest.approx(1.0)
    assert grid.moment(1).x == pytest.approx(rho.moment(1).x, abs=1e-12)


def test_laws_on_grids() -> None:
    """Moments of the densities are those of the laws; depth and groups are respected."""
    Q = objective(bias=True)
    law = initial.product(W_1=initial.gaussian(0.5, mean=lambda t: [t, 0.0]), W_2=initial.ball(1.0))
    rho = law.on_grid(Q, {"w": ((-4, 4), (-4, 4), (-2, 2))}, {"w": (40, 40, 16)})
    assert rho.w.shape == (3, 40, 40, 16) and rho.t == pytest.approx(Q.rule.nodes)
    assert rho.moment(1).w[:, 0] == pytest.approx(Q.rule.nodes, abs=1e-6)
    assert rho.moment(2).w[:, 1] == pytest.approx(0.25, abs=1e-6)
    assert rho.moment(2).w[:, 2] == pytest.approx(1 / 3, abs=0.01)


NARROW = {
    "std": (initial.gaussian(0.07), ((-6, 6), (-4, 4)), 60, "std is 0.07 and cells are 0.2 wide, more than 1.33 times"),
    "std at the end": (initial.gaussian(lambda t: 0.5 - 0.6 * t), ((-4, 4),) * 2, 40, "0 at t=0.667 its std is 0.1"),
    "one axis": (initial.gaussian(0.2), ((-2, 2), (-9, 9)), 50, "along axis 1 .* take at least 68 cells"),
    "group": (initial.product(W_1=initial.gaussian(0.5), W_2=initial.gaussian(0.05)), ((-3, 3),) * 2, 30, "axis 1 "),
    "ball": (initial.ball(0.3), ((-2, 2),) * 2, 20, "radius is 0.3 and cells are 0.2 wide, more than 0.5 times"),
}  # fmt: skip


@pytest.mark.parametrize("kind", NARROW)
def test_laws_narrower_than_cells_are_refused(kind: str) -> None:
    """And the number of cells that the message names is enough."""
    law, box, cells, words = NARROW[kind]
    with pytest.raises(wflow.InputError, match=f"the law of w is too narrow for the grid: .*{words}") as caught:
        law.on_grid(objective(), {"w": box}, cells)
    numbers = re.search(r"at least (\d+) cells", str(caught.value))
    assert numbers
    rho = law.on_grid(objective(), {"w": box}, 2 * int(numbers[1]))
    many = law.sample(objective(), 2**14, 0, kind="net")
    assert rho.moment(2).w == pytest.approx(many.moment(2).w, rel=2e-2)


@given(st.floats(0.75, 3.0), st.floats(-0.5, 0.5))
def test_normal_laws_on_cells_have_their_variance(ratio: float, offset: float) -> None:
    law = initial.gaussian(0.1, mean=[offset, 0.0])
    dx = 0.1 / ratio
    rho = law.on_grid(objective(), {"w": ((offset - 12 * dx, offset + 13 * dx), (-12 * dx, 12 * dx))}, (25, 24))
    variance = rho.moment(2).w - rho.moment(1).w ** 2
    assert variance == pytest.approx(0.01, rel=1e-3 if ratio < 2 else 1e-2)  # the box cuts at 4 deviations


@given(st.floats(2.0, 12.0), st.floats(0, 1), st.floats(0, 1))
def test_balls_on_cells_have_their_second_moments(ratio: float, a: float, b: float) -> None:
    """Wherever the grid lies; the mean is off by little of the radius."""
    dx = 1 / ratio
    box = ((-14 * dx + a * dx, 14 * dx + a * dx), (-14 * dx + b * dx, 14 * dx + b * dx))
    rho = initial.ball(1.0).on_grid(objective(), {"w": box}, 28)
    assert rho.moment(2).w == pytest.approx(0.25, rel=1e-6)
    assert rho.moment(1).w == pytest.approx(0.0, abs=0.05 / ratio)


class Triangle(initial.Law):
    """A law of the user's own: the density (1 - |x|/h)/h in every coordinate."""

    def __init__(self, half: float) -> None:
        self.half = half

    def density(self, points: np.ndarray, t: float, group: Any) -> np.ndarray:
        return np.asarray(np.prod(np.maximum(1 - np.abs(points) / self.half, 0) / self.half, axis=1))


@pytest.mark.parametrize(
    ("law", "cells"),
    [(Triangle(0.05), 48), (Triangle(0.05), 49), (initial.gaussian(1.0, mean=9.0), 48), (initial.ball(40.0), 48)],
)
def test_laws_whose_mass_is_not_on_the_cells_are_refused(law: initial.Law, cells: int) -> None:
    with pytest.raises(wflow.InputError, match=r"carry .* times the mass of the law .* enlarge the box, or take more"):
        law.on_grid(objective(), {"w": ((-6, 6), (-6, 6))}, cells)


@pytest.mark.parametrize(
    ("x", "weights"),
    [([[0.3], [0.32]], None), ([[0.1]], None), ([[0.0], [0.13]], [0.99, 0.01]), ([[-0.02], [0.02], [0.01]], None)],
)
def test_clouds_narrower_than_cells_are_refused(x: list[list[float]], weights: Any) -> None:
    rho = wflow.Particles(x=np.array([x]), weights=None if weights is None else {"x": [weights]})
    with pytest.raises(wflow.InputError, match="narrower than a cell: along axis 0 of slice 0") as caught:
        wflow.Grid.from_particles(rho, {"x": ((-2, 2),)}, {"x": 8})
    numbers = re.search(r"at least (\d+) cells", str(caught.value))
    assert bool(numbers) == (len(x) > 1), caught.value
    if numbers:
        grid = wflow.Grid.from_particles(rho, {"x": ((-2, 2),)}, {"x": int(numbers[1])})
        variances = [float((m.moment(2).x - m.moment(1).x ** 2).item()) for m in (rho, grid)]
        assert variances[0] < variances[1] < 2.01 * variances[0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: wflow.Grid(x=np.ones(4), box={"y": ((0, 1),)}), "box must name the blocks"),
        (lambda: wflow.Grid(x=np.ones(4), box={"x": ((1, 0),)}), "must be finite and increase"),
        (lambda: wflow.Grid(x=np.ones(4), box={"x": 3}), "list of intervals"),
        (lambda: wflow.Grid(x=np.ones((3,) * 4), box={"x": ((0, 1),) * 4}), "use particles beyond 3"),
        (lambda: wflow.Grid(x=np.ones((2, 2, 4)), box={"x": ((0, 1),)}), r"must have shape"),
        (lambda: wflow.Grid(x=-np.ones(4), box={"x": ((0, 1),)}), "must not be negative"),
        (lambda: wflow.Grid(x=np.zeros(4), box={"x": ((0, 1),)}), "no mass in slice 0"),
        (lambda: wflow.Grid(x=np.ones(2), box={"x": ((0, 1),)}), "at least 3 cells"),
        (lambda: wflow.Grid(box={}), "at least one block"),
        (lambda: initial.atoms([[0.0, 1.0]]).on_grid(objective(), {"w": ((-1, 1),) * 2}, 8), "has no density"),
        (lambda: initial.gaussian().on_grid(objective(2), {"w": ((-1, 1),) * 3}, 8), "must have 4 intervals"),
        (lambda: initial.gaussian().on_grid(objective(2), {"w": ((-1, 1),) * 4}, 8), "use particles beyond 3"),
        (lambda: initial.gaussian().on_grid(objective(), {"w": ((-1, 1),) * 2}, {"theta": 8}), "cells must be"),
        (
            lambda: wflow.Grid.from_particles(wflow.Particles(x=[[3.0]]), {"x": ((0, 1),)}, {"x": 4}),
            "outside the cell centres",
        ),
    ],
)
def test_bad_grids(make: Any, message: str) -> None:
    with pytest.raises(wflow.InputError, match=message):
        make()
