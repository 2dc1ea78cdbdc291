"""Regularised internal energies on particles: derivatives, and the flows of the scheme."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import slope
from scipy.special import ndtri
from scipy.stats import qmc

import wflow
from wflow.energies import BlobEnergy
from wflow.schemes import scheme_of
from wflow.schemes.blob import bandwidth

ENTROPY, POROUS = wflow.Entropy(0.7), wflow.PorousMedium(3.0)
OU = wflow.PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x) + wflow.Entropy(0.5)
INTERNALS = pytest.mark.parametrize("internal", [ENTROPY, POROUS], ids=["entropy", "porous medium"])
QUADRATURES = pytest.mark.parametrize("cells", [None, {"x": 40, "w": (12, 9)}], ids=["particles", "cells"])


def measure() -> wflow.Particles:
    """Two blocks, p = 1 and 2, two slices, random weights."""
    rng = np.random.default_rng(0)
    weights = {name: rng.random((2, M)) + 0.1 for name, M in (("x", 6), ("w", 5))}
    return wflow.Particles(
        x=rng.standard_normal((2, 6, 1)),
        w=rng.standard_normal((2, 5, 2)),
        weights={name: a / a.sum(axis=1, keepdims=True) for name, a in weights.items()},
        t=[0.2, 0.7],
        depth_weights=[0.3, 0.7],
    )


def blob(internal: wflow.Entropy | wflow.PorousMedium, cells: Any) -> BlobEnergy:
    box = None if cells is None else {"x": ((-4, 4),), "w": ((-3, 3), (-3, 4))}
    return BlobEnergy(internal, {"x": 0.4, "w": 0.8}, box, cells)


@INTERNALS
@QUADRATURES
def test_velocity_is_minus_the_gradient(internal: Any, cells: Any) -> None:
    energy, rho = blob(internal, cells), measure()
    assert energy.internal is None
    rng = np.random.default_rng(1)
    for name in rho.blocks:
        direction = rng.standard_normal(rho.blocks[name].shape)

        def along(s: float, name: str = name, direction: np.ndarray = direction) -> float:
            return energy.value(rho.replace(**{**rho.blocks, name: rho.blocks[name] + s * direction}))

        expected = -np.sum(rho.mass(name)[..., None] * energy.velocity(rho)[name] * direction)
        assert slope(along, 0.02) == pytest.approx(expected, rel=1e-8)


@INTERNALS
@QUADRATURES
def test_first_variation_is_the_derivative_in_the_weights(internal: Any, cells: Any) -> None:
    energy, rho = blob(internal, cells), measure()
    phi = energy.first_variation(rho)
    rng = np.random.default_rng(2)
    for name in rho.blocks:
        change = rng.standard_normal(rho.weights(name).shape)
        change -= change.mean(axis=1, keepdims=True)

        def along(s: float, name: str = name, change: np.ndarray = change) -> float:
            weights = {b: rho.weights(b) + (s * change if b == name else 0) for b in rho.blocks}
            return energy.value(
                wflow.Particles(**rho.blocks, weights=weights, t=rho.t, depth_weights=rho.depth_weights)
            )

        expected = np.sum(rho.depth_weights[:, None] * change * phi[name])
        assert slope(along, 0.005) == pytest.approx(expected, rel=1e-8)


@INTERNALS
@QUADRATURES
def test_velocity_is_minus_the_gradient_of_the_first_variation(internal: Any, cells: Any) -> None:
    energy, rho = blob(internal, cells), measure()
    v = energy.velocity(rho)
    for name, x in rho.blocks.items():
        for axis in np.eye(x.shape[2]):
            gradient = slope(lambda s, n=name, e=axis: energy.first_variation(rho, {n: rho.blocks[n] + s * e})[n], 0.02)
            np.testing.assert_allclose(gradient, -v[name] @ axis, rtol=1e-8, atol=1e-8)


def test_both_quadratures_tend_to_the_internal_energy() -> None:
    """A fine cloud of a normal law: that of the smoothed law, N(0, 1 + epsilon^2)."""
    rho = wflow.Particles(x=ndtri((np.arange(2000) + 0.5) / 2000)[:, None])
    exact = -0.5 * np.log(2 * np.pi * np.e * 1.01)
    cells = BlobEnergy(wflow.Entropy(1.0), 0.1, {"x": ((-6, 6),)}, {"x": 600}).value(rho)
    assert cells == pytest.approx(exact, abs=2e-3)
    # E log rho_eps under rho itself, not under rho_eps.
    own = -0.5 * np.log(2 * np.pi * 1.01) - 0.5 / 1.01
    assert BlobEnergy(wflow.Entropy(1.0), 0.1).value(rho) == pytest.approx(own, abs=2e-3)


def test_the_scheme_solves_ornstein_uhlenbeck() -> None:
    """Mean to the tolerance, variance to the error of smoothing, which falls with the number of particles."""
    errors = []
    for M in (50, 200):
        rho = wflow.Particles(x=1 + 0.3 * ndtri((np.arange(M) + 0.5) / M)[:, None])
        answer = wflow.solve(OU, rho, (0, 1), scheme="blob", rtol=1e-4)
        assert (np.diff(answer.energy) <= 0).all()
        x = answer.measure(-1).x
        assert x.mean() == pytest.approx(np.exp(-1), rel=1e-4)
        errors.append(abs(x.var() - 0.5 - (0.09 - 0.5) * np.exp(-2)))
    assert errors[0] < 0.012 and errors[1] < 0.3 * errors[0] + 1e-3


@pytest.mark.parametrize("p", [1, 2, 3])
def test_the_bandwidth_is_silvermans(p: int) -> None:
    """``s (4/((p + 2) M))^{1/(p + 4)}``: s over the slices' own means, and M of as many equal weights."""
    rng, om = np.random.default_rng(p), np.array([0.3, 0.7])
    x = rng.standard_normal((2, 12, p)) * [[[0.5]], [[2.0]]] + [[[3.0]], [[-1.0]]]
    s = np.sqrt(om @ x.var(axis=1).mean(axis=1))
    found = {k: bandwidth(wflow.Particles(x=np.tile(x, (1, k, 1)), depth_weights=om))["x"] for k in (1, 5)}
    assert found[1] == pytest.approx(s * (4 / ((p + 2) * 12)) ** (1 / (p + 4)), rel=1e-12)
    assert found[5] / found[1] == pytest.approx({1: 5**-0.2, 2: 5 ** (-1 / 6), 3: 5 ** (-1 / 7)}[p], rel=1e-12)
    # The mass in the second half of the particles: M is halved in that slice, s is that of this half.
    a = np.array([[1 / 12] * 12, [0] * 6 + [1 / 6] * 6])
    s = np.sqrt(om @ [x[0].var(axis=0).mean(), x[1, 6:].var(axis=0).mean()])
    M = 1 / (0.3 / 12 + 0.7 / 6)
    half = bandwidth(wflow.Particles(x=x, weights={"x": a}, depth_weights=om))["x"]
    assert half == pytest.approx(s * (4 / ((p + 2) * M)) ** (1 / (p + 4)), rel=1e-12)
    assert bandwidth(wflow.Particles(x=10 * x, depth_weights=om))["x"] == pytest.approx(10 * found[1], rel=1e-12)


def test_two_parameters() -> None:
    """The same in the plane, from a Sobol' net."""
    energy = wflow.PotentialEnergy(lambda x: (x**2).sum(axis=1) / 2, lambda x: x) + wflow.Entropy(0.5)
    errors = []
    for M in (128, 512):
        rho = wflow.Particles(x=np.array([1, -0.5]) + 0.45 * ndtri(qmc.Sobol(2, seed=0).random(M)))
        x = wflow.solve(energy, rho, (0, 1), scheme="blob", rtol=1e-3).measure(-1).x[0]
        np.testing.assert_allclose(x.mean(axis=0), rho.x[0].mean(axis=0) * np.exp(-1), atol=1e-3)
        errors.append(np.abs(x.var(axis=0) - 0.5 - (rho.x[0].var(axis=0) - 0.5) * np.exp(-2)).max())
    assert errors[0] < 0.04 and errors[1] < 0.5 * errors[0]


def test_order_two_in_dtau() -> None:
    rho = wflow.Particles(x=np.random.default_rng(0).standard_normal((1, 20, 2)))
    energy = wflow.PotentialEnergy(lambda x: (x**2).sum(axis=1) / 2, lambda x: x) + wflow.PorousMedium(2.0)
    ends = [wflow.solve(energy, rho, (0, 1), scheme="blob", dtau=h).measure(-1).x for h in (0.1, 0.05, 0.025)]
    order = np.log2(np.abs(ends[0] - ends[1]).max() / np.abs(ends[1] - ends[2]).max())
    assert order == pytest.approx(2, abs=0.15)


def test_resume_keeps_the_bandwidth(tmp_path: Path) -> None:
    """It belongs to the initial cloud, not to that of the checkpoint."""
    rho = wflow.Particles(x=np.random.default_rng(0).standard_normal((30, 1)))
    for k, scheme in enumerate(("blob", scheme_of("blob", epsilon=0.3))):
        path = tmp_path / f"{k}.h5"
        wflow.solve(OU, rho, (0, 0.5), scheme=scheme, rtol=1e-3, path=path)
        extended = wflow.resume(path, 1.0, energy=OU)
        whole = wflow.solve(OU, rho, (0, 1), scheme=scheme, rtol=1e-3, save=wflow.SaveAt(tau=[0.5]))
        assert (extended.measure(-1).x == whole.measure(-1).x).all()


def test_what_is_refused() -> None:
    three = wflow.Particles(x=np.random.default_rng(0).standard_normal((5, 3)))
    smooth = wflow.PotentialEnergy(lambda x: (x**2).sum(axis=1) / 2, lambda x: x)
    point = wflow.Particles(x=np.zeros((3, 1)))
    box = {"x": ((0, 1),)}
    cases: list[tuple[Any, str]] = [
        (lambda: wflow.solve(smooth + ENTROPY, three, scheme="blob"), "p = 3.*scheme 'langevin'"),
        (lambda: wflow.solve(smooth, point, scheme="blob"), "needs an internal energy"),
        (lambda: wflow.solve(smooth + ENTROPY, point, scheme="blob"), "coincide: pass epsilon"),
        (lambda: scheme_of("blob", epsilon=0.0), "epsilon must be"),
        (lambda: BlobEnergy(smooth, 0.1), "regularises wflow.Entropy"),  # type: ignore[arg-type]
        (lambda: BlobEnergy(ENTROPY, 0.1, box), "box and cells"),
        (lambda: BlobEnergy(ENTROPY, 0.1, box, {"x": 2}), "cells of x"),
        (lambda: BlobEnergy(ENTROPY, 0.1, {"x": ((0, 1), (0, 1))}, {"x": 4}).prepare(point), "must have 1 intervals"),
        (lambda: BlobEnergy(ENTROPY, {"y": 0.1}).prepare(point), "must name the blocks"),
    ]
    for call, message in cases:
        with pytest.raises(wflow.InputError, match=message):
            call()
