"""Planes through measures: slopes, exact functions, projections."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from conftest import random_data, random_measure, slope
from numpy.testing import assert_allclose

import wflow
from wflow.landscapes import direction_to, landscape, principal_directions, random_directions
from wflow.problems import constant_encoders


def inner(rho: Any, x: Any, y: Any) -> float:
    return float(sum(np.einsum("sm,smp,smp->", rho.mass(block), x[block], y[block]) for block in rho.blocks))


def weighted(seed: int, dtype: type = np.float64) -> tuple[wflow.TransformerObjective, wflow.Particles]:
    rng = np.random.default_rng(seed)
    encoders = wflow.SoftmaxAttention(), wflow.FeedForward("tanh")
    Q = wflow.TransformerObjective(random_data(rng, 6, 3, 4), *encoders, weight_decay=0.01, depth="midpoint", layers=3)
    return Q, Q.prepare(random_measure(Q, {"theta": 5, "w": 7}, rng, dtype, weighted=True))


def test_along_the_velocity_the_slope_is_its_norm() -> None:
    """And there is none along the second direction, which is orthogonal."""
    Q, rho = weighted(0)
    v, (d2, _) = Q.velocity(rho), random_directions(rho, 1)

    def values(h: float) -> Any:
        made = landscape(Q, rho, v, d2, [0.0, h], [0.0, h])
        return np.array([made.energy[1, 0], made.energy[0, 1], made.risk[1, 0]])

    along, across, risk = slope(values, 1e-3)
    assert along == pytest.approx(-np.sqrt(Q.dissipation(rho)), rel=1e-9)
    assert across == pytest.approx(0.0, abs=1e-9)
    assert abs(risk - along) > 1e-4  # the decay is not in it
    made = landscape(Q, rho, v, d2, [0.0], [0.0])
    d1, d2 = made.directions
    assert_allclose([inner(rho, d1, d1), inner(rho, d2, d2), inner(rho, d1, d2)], [1, 1, 0], atol=1e-14)
    assert made.energy[0, 0] == Q.value(rho) and made.risk[0, 0] == pytest.approx(Q.risk(rho), rel=1e-14)


def test_mobilities_are_in_the_slope() -> None:
    Q, rho = weighted(7)
    mobility = {"V": 0.0, "W": 3.0, "w": 0.25}
    slow = wflow.TransformerObjective(
        Q.dataset, Q.attention, Q.feedforward, depth="midpoint", layers=3, mobility=mobility
    )
    v, (d2, _) = slow.velocity(rho), random_directions(rho, 1)
    along = slope(lambda h: landscape(slow, rho, v, d2, [h], [0.0]).energy[0, 0], 1e-3)
    assert along == pytest.approx(-np.sqrt(slow.dissipation(rho)), rel=1e-9)


def test_frozen_parameters_stay() -> None:
    """The metric is that of the mobility: slope ``-|v|_*``, and coordinates with mobility 0 do not move."""

    class Slow(wflow.PotentialEnergy):
        mobilities = MappingProxyType({"x": np.array([4.0, 0.0, 1.0])})

    Q = Slow(lambda x: x[:, 0] * x[:, 2] + x[:, 1], lambda x: np.stack([x[:, 2], np.ones(len(x)), x[:, 0]], axis=1))
    rho = wflow.Particles(x=[[[1.0, 2.0, 3.0]]])
    velocity = {"x": np.array([[[-12.0, 0.0, -1.0]]])}  # -M grad
    made = landscape(Q, rho, velocity, {"x": np.ones((1, 1, 3))}, [-1e-4, 1e-4], [0.0])
    assert np.diff(made.energy[:, 0])[0] / 2e-4 == pytest.approx(-np.sqrt(3 * 4 * 3 + 1), rel=1e-7)
    assert [d.x[0, 0, 1] for d in made.directions] == [0.0, 0.0]
    away = rho.replace(x=rho.x + 0.3 * made.directions[0].x - 0.7 * made.directions[1].x + [[[0.0, 5.0, 0.0]]])
    assert made.project(away) == pytest.approx((0.3, -0.7), abs=1e-14)
    with pytest.raises(wflow.InputError, match="d1 must move some particles"):
        landscape(Q, rho, {"x": [[[0.0, 1.0, 0.0]]]}, velocity, [0.0], [0.0])


def test_a_quadratic_energy_is_quadratic_on_every_plane() -> None:
    problem = constant_encoders(layers=2, width=3, weight_decay=0.3)
    Q, rho = problem.energy, problem.rho0
    grid = np.linspace(-3, 4, 8)
    made = landscape(Q, rho, *random_directions(rho, 5), grid, grid)
    for axis in (0, 1):
        assert_allclose(np.diff(made.energy, n=3, axis=axis), 0, atol=1e-12 * made.energy.max())
    mixed = np.diff(np.diff(made.energy, axis=0), axis=1)
    assert_allclose(mixed, mixed[0, 0], atol=1e-12 * made.energy.max())
    assert np.diff(made.energy, n=2, axis=0).min() > 0.3  # the decay and what the data add


def test_the_trap_of_one_head() -> None:
    """Keys -1, 0, 1 with the values 1, -1/2, 1/5: ``u = s sum v e^{wk}/sum e^{wk}`` has a trap beyond w = ln 3."""
    keys, values = np.array([-1.0, 0.0, 1.0]), np.array([1.0, -0.5, 0.2])
    data = wflow.Dataset(np.stack([keys, values, np.zeros(3)])[None], [0.9], readout=(2, 2))
    Q = wflow.TransformerObjective(data, wflow.SoftmaxAttention(), layers=1)
    V, W = np.zeros((3, 3)), np.zeros((3, 3))
    V[2, 1], W[0, 0] = 2.0, 1.0
    rho, flat = wflow.Particles(theta=np.zeros((1, 1, 18))), np.zeros(9)
    along_w = {"theta": np.concatenate([flat, W.ravel()])[None, None]}
    along_s = {"theta": np.concatenate([V.ravel(), flat])[None, None]}
    w, s = np.array([-2.672997281584, 0.0, np.log(3), 20.0]), np.array([0.0, 0.5, 1.0])
    made = landscape(Q, rho, along_w, along_s, w, 2 * s)  # |V| = 2
    u = np.exp(np.outer(w, keys)) @ values / np.exp(np.outer(w, keys)).sum(axis=1)
    assert_allclose(made.risk, 0.5 * (np.outer(u, s) - 0.9) ** 2, atol=1e-14)
    assert_allclose(made.risk[:, 2], [0, 2 / 9, 0.32, 0.245], atol=1e-8)


def test_principal_directions_of_a_plane_are_the_plane() -> None:
    Q, rho = weighted(2)
    made = landscape(Q, rho, *random_directions(rho, 3), [0.0], [0.0])
    e1, e2 = made.directions
    places = [(5.0, 1.0), (4.0, -1.0), (2.0, 0.5), (0.0, 0.0)]
    path = [
        rho.replace(**{block: x + p * e1[block] + q * e2[block] for block, x in rho.blocks.items()}) for p, q in places
    ]
    d1, d2, shares = principal_directions(Q, path)
    assert sum(shares) == pytest.approx(1, abs=1e-12) and shares[0] > 0.9
    again = landscape(Q, rho, d1, d2, [0.0], [0.0])
    for block in rho.blocks:  # orthonormal already
        assert_allclose(again.directions[0][block], d1[block], atol=1e-12)
        assert_allclose(again.directions[1][block], d2[block], atol=1e-12)
    seen = np.array([again.project(measure) for measure in path])
    assert_allclose((seen**2).sum(axis=1), (np.array(places) ** 2).sum(axis=1), atol=1e-12)
    cross = np.linalg.svd(np.array(places))[1] ** 2
    assert_allclose(shares, cross / cross.sum(), atol=1e-12)
    for p, measure in zip(places, path):
        assert made.project(measure) == pytest.approx(p, abs=1e-12)


def test_single_precision_stays() -> None:
    Q, rho = weighted(4, np.float32)
    wide = rho.replace(**{block: x.astype(float) for block, x in rho.blocks.items()})
    d = random_directions(rho, 0)
    made, exact = (landscape(Q, measure, *d, [0.0, 1.0], [0.0, 1.0]) for measure in (rho, wide))
    assert made.energy.dtype == np.float64
    assert 0 < np.abs(made.energy - exact.energy).max() < 1e-5


def test_what_is_refused() -> None:
    Q, rho = weighted(6)
    d1, d2 = random_directions(rho, 0)
    twice = {block: -2 * x for block, x in d1.items()}
    with pytest.raises(wflow.InputError, match="d2 must not be parallel to d1"):
        landscape(Q, rho, d1, twice, [0.0], [0.0])
    with pytest.raises(wflow.InputError, match="d2 must move some particles"):
        landscape(Q, rho, d1, {block: 0 * x for block, x in d1.items()}, [0.0], [0.0])
    with pytest.raises(wflow.InputError, match=r"d2 of w must have shape \(3, 7, 6\), got \(3, 6, 6\)"):
        landscape(Q, rho, d1, {**d2, "w": d2.w[:, :6]}, [0.0], [0.0])
    with pytest.raises(wflow.InputError, match="d1 must name the blocks theta, w, got theta"):
        landscape(Q, rho, {"theta": d1.theta}, d2, [0.0], [0.0])
    with pytest.raises(wflow.InputError, match=r"a must have shape \(n,\)"):
        landscape(Q, rho, d1, d2, 1.0, [0.0])
    with pytest.raises(wflow.InputError, match="a and b must not be empty, got 1 and 0"):
        landscape(Q, rho, d1, d2, [0.0], [])
    with pytest.raises(wflow.InputError, match="need three measures or more, got 2: save more frames"):
        principal_directions(Q, [rho, rho])
    with pytest.raises(wflow.InputError, match="lie on a line"):
        principal_directions(Q, [rho, rho, rho])
    with pytest.raises(wflow.InputError, match=r"other of theta must have shape"):
        direction_to(rho, wflow.Particles(theta=np.zeros((3, 2, 18)), w=rho.w))
    cells = wflow.Grid(x=np.ones(8), box={"x": ((-1, 1),)})
    V = wflow.PotentialEnergy(lambda x: x[:, 0], np.ones_like)
    with pytest.raises(wflow.InputError, match="a landscape moves particles"):
        landscape(V, cells, {"x": np.ones((1, 8, 1))}, {"x": np.ones((1, 8, 1))}, [0.0], [0.0])  # type: ignore[arg-type]
