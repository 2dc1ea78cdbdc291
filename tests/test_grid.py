"""Densities on grids as measures."""

from __future__ import annotations

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
    rho = wflow.Particles(x=rng.uniform(-1, 1, (2, 7, p)), weights={"x": mass / mass.sum(1, keepdims=True)})
    grid = wflow.Grid.from_particles(rho, {"x": ((-2, 2),) * p}, {"x": 8})
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
