"""Particles with noise: the steps themselves, their invariant measure, laws in time, and resuming."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import wflow
from wflow.observers import Virial
from wflow.schemes import SCHEMES, scheme_of

SIGMA = 0.5
OU = wflow.PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x) + wflow.Entropy(SIGMA)
BOTH = pytest.mark.parametrize("name", ["langevin", "euler-maruyama"])


def V(x: np.ndarray) -> np.ndarray:
    """A potential without symmetry whose second derivative is between -1 and 3."""
    return x**2 / 2 + np.sin(2 * x) / 2


def v(x: np.ndarray) -> np.ndarray:
    return -x - np.cos(2 * x)


def dv(x: np.ndarray) -> np.ndarray:
    return -1 + 2 * np.sin(2 * x)


def gaussian(x: np.ndarray, variance: float) -> np.ndarray:
    return np.exp(-(x**2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)


def stationary(kernel: np.ndarray, dx: float) -> np.ndarray:
    """The density p with p(y') = int p(y) kernel(y, y') dy."""
    n = len(kernel)
    system = np.vstack([dx * kernel.T - np.eye(n), np.full(n, dx)])
    return np.linalg.lstsq(system, np.append(np.zeros(n), 1.0))[0]


def invariant_density(name: str, x: np.ndarray, h: float) -> np.ndarray:
    """The density of the chain in its stationary state, from its transition kernel on a fine grid.

    Langevin's ``Y = X - sqrt(sigma h/2) xi`` is a Markov chain, ``Y' = 2 X - Y + h v(X)`` with X normal around Y.
    """
    dx = x[1] - x[0]
    if name == "euler-maruyama":
        return stationary(gaussian(x - (x + h * v(x))[:, None], 2 * SIGMA * h), dx)
    y, total = x[:, None], x[:, None] + x
    middle = 0.5 * total
    for _ in range(50):  # 2 X + h v(X) = Y + Y'
        middle = middle - (2 * middle + h * v(middle) - total) / (2 + h * dv(middle))
    law = stationary(gaussian(middle - y, SIGMA * h / 2) / (2 + h * dv(middle)), dx)
    return dx * gaussian(x - y, SIGMA * h / 2).T @ law


@pytest.mark.parametrize(("name", "order"), [("langevin", 2), ("euler-maruyama", 1)])
def test_order_of_the_invariant_measure(name: str, order: int) -> None:
    x = np.linspace(-5.5, 5, 500)
    gibbs = np.exp(-V(x) / SIGMA)
    gibbs /= gibbs.sum() * (x[1] - x[0])
    distance, second_moment = [], []
    for h in (0.1, 0.05, 0.025):
        error = (invariant_density(name, x, h) - gibbs) * (x[1] - x[0])
        distance.append(np.abs(error).sum())
        second_moment.append(abs(x**2 @ error))
    for errors in (distance, second_moment):
        np.testing.assert_allclose(np.log2(np.divide(errors[:-1], errors[1:])), order, atol=0.15)


@BOTH
def test_steps_are_these_chains(name: str) -> None:
    """Bit for bit, given the normals: the chain whose invariant measure was computed, in every block and slice."""
    h, cloud = 0.05, np.random.default_rng(0).standard_normal((2, 5, 1))
    energy = wflow.PotentialEnergy(lambda x: V(x[:, 0]), lambda x: -v(x)) + wflow.Entropy(SIGMA)
    scheme = scheme_of(name)
    flow = scheme.flow(energy, wflow.Particles(x=cloud), 7)
    point = flow.evaluate(cloud.ravel())
    xi = [flow.normal(n) for n in range(5)]
    for n in range(3):
        if name == "langevin":
            noise = (0.5 if n else np.sqrt(0.75)) * xi[n] + 0.5 * xi[n + 1]
        else:
            noise = xi[n]
        expected = point.x + h * v(point.x) + np.sqrt(2 * SIGMA * h) * noise
        point = scheme.step(flow, point, h).point
        assert (point.x == expected).all()
    if name == "langevin":
        again = scheme.step(flow, point, h / 2).point.x - point.x - h / 2 * v(point.x)
        fresh = np.sqrt(0.75) * flow.normal(4) + 0.5 * flow.normal(5)
        np.testing.assert_allclose(again, np.sqrt(SIGMA * h) * fresh, atol=1e-15)  # another h: new numbers


@BOTH
def test_pure_diffusion_has_the_exact_variance(name: str) -> None:
    """Also where steps are cut short to save; and it is never stationary, though its drift vanishes."""
    rho = wflow.Particles(x=np.zeros((40_000, 1)))
    save = wflow.SaveAt(tau=[0.25, 0.6])
    answer = wflow.solve(wflow.Entropy(SIGMA), rho, (0, 1), scheme=name, dtau=0.1, rng=3, save=save)
    assert answer.status is wflow.Status.FINISHED
    for i, tau in enumerate(answer.frame_tau[1:], 1):
        assert answer.measure(i).x.var() == pytest.approx(2 * SIGMA * tau, rel=4 * np.sqrt(2 / 40_000))


@BOTH
def test_ornstein_uhlenbeck(name: str) -> None:
    """Mean and variance within four standard errors, and the step's own error of order h."""
    count, h, tau = 40_000, 0.01, 1.0
    cloud = 1 + 0.3 * np.random.default_rng(1).standard_normal((count, 1))
    answer = wflow.solve(OU, wflow.Particles(x=cloud), (0, tau), scheme=name, dtau=h, rng=2)
    x = answer.measure(-1).x
    mean, variance = np.exp(-tau), SIGMA + (0.09 - SIGMA) * np.exp(-2 * tau)
    assert x.mean() == pytest.approx(mean, abs=4 * np.sqrt(variance / count) + h * mean)
    assert x.var() == pytest.approx(variance, abs=variance * (4 * np.sqrt(2 / count) + h))
    assert np.isnan(answer.dissipation).all() and np.isnan(answer.series["defect"][1:]).all()


def test_virial() -> None:
    """1 in the stationary state, more while the cloud is too wide; two blocks share it."""
    data = wflow.Dataset(np.zeros((1, 1, 1)), [0.0])
    objective = wflow.TransformerObjective(
        data, wflow.SoftmaxAttention(), wflow.FeedForward("tanh"), weight_decay=0.5, entropy=0.2, layers=2
    )
    rng = np.random.default_rng(0)
    wide = wflow.Particles(theta=rng.standard_normal((2, 8000, 2)), w=rng.standard_normal((2, 8000, 2)))
    watch = Virial(objective)
    assert watch(wide) == pytest.approx(0.5 / 0.2, rel=0.05)
    answer = wflow.solve(objective, wide, (0, 6), scheme="langevin", dtau=0.2, rng=1, observe={"virial": watch})
    assert answer.observed["virial"][-1] == pytest.approx(1, abs=0.03)
    with pytest.raises(wflow.InputError, match="with entropy"):
        Virial(wflow.PotentialEnergy(V, v))


def run(path: Path, tau: float = 1.0, **options: Any) -> wflow.Solution:
    data = wflow.Dataset(np.random.default_rng(0).standard_normal((4, 2, 3)), [1.0, -1.0, 0.5, 0.0], readout=(0, 2))
    objective = wflow.TransformerObjective(data, wflow.SoftmaxAttention(), weight_decay=0.1, entropy=0.01, layers=2)
    rho = wflow.Particles(theta=np.random.default_rng(1).standard_normal((2, 4, 8)))
    observe = {"virial": Virial(objective)} | options.pop("observe", {})
    return wflow.solve(objective, rho, (0, tau), dtau=0.05, path=path, observe=observe, **{"rng": 5} | options)


@BOTH
def test_resumed_noise_is_the_uninterrupted_noise(name: str, tmp_path: Path) -> None:
    whole = run(tmp_path / "whole.h5", scheme=name, save=wflow.SaveAt(tau=[0.5]))
    run(tmp_path / "short.h5", 0.5, scheme=name)
    extended = wflow.resume(tmp_path / "short.h5", 1.0)

    def stop(rho: wflow.Particles) -> float:
        stop.calls += 1  # type: ignore[attr-defined]
        if stop.calls == 8:  # type: ignore[attr-defined]
            signal.raise_signal(signal.SIGINT)
        return 0.0

    stop.calls = 0  # type: ignore[attr-defined]
    with pytest.raises(wflow.Interrupted):
        run(tmp_path / "cut.h5", scheme=name, save=wflow.SaveAt(tau=[0.5]), observe={"stop": stop})
    cut = wflow.resume(tmp_path / "cut.h5", observe={"stop": stop})
    for other in (extended, cut):
        assert (other.tau == whole.tau).all() and other.energy.tobytes() == whole.energy.tobytes()
        assert other.observed["virial"].tobytes() == whole.observed["virial"].tobytes()
        assert other.measure(-1).theta.tobytes() == whole.measure(-1).theta.tobytes()
    different = run(tmp_path / "other.h5", scheme=name, rng=6)
    assert (different.measure(-1).theta != whole.measure(-1).theta).all()


def test_the_cap_halves_h_before_noise_is_drawn() -> None:
    far = wflow.Particles(x=[[[10.0]]])
    answer = wflow.solve(OU, far, (0, 4), scheme="euler-maruyama", dtau=0.25, rng=0)
    dtau = answer.series["dtau"][1:]
    assert answer.stats["rejected"] > 0 and dtau[0] == 0.25 / 4 and dtau.max() == 0.25
    flow = SCHEMES["euler-maruyama"].flow(OU, far, 0)
    first = SCHEMES["euler-maruyama"].step(flow, flow.evaluate(np.array([10.0])), 0.0625).point
    assert first.x == 10 - 0.625 + np.sqrt(2 * SIGMA * 0.0625) * flow.normal(0)  # the first normal is still unused
    with pytest.raises(wflow.SolveError, match="more than the cap"):
        wflow.solve(OU, far, (0, 1), scheme=scheme_of("langevin", cap=1e-4), dtau=0.25, rng=0)


@BOTH
def test_what_is_refused(name: str) -> None:
    rho = wflow.Particles(x=np.zeros((3, 1)))
    smooth = wflow.PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x)
    for energy, options, message in [
        (OU, {"dtau": 0.1}, "pass rng=seed"),
        (smooth, {"dtau": 0.1, "rng": 0}, "needs an internal energy"),
        (smooth + wflow.PorousMedium(2.0), {"dtau": 0.1, "rng": 0}, "does not treat"),
        (OU, {"rng": 0}, "no error estimate: pass dtau"),
    ]:
        with pytest.raises(wflow.InputError, match=message):
            wflow.solve(energy, rho, scheme=name, **options)
    with pytest.raises(wflow.InputError, match="cap must be"):
        scheme_of(name, cap=-1.0)
    with pytest.raises(wflow.InputError, match="p = 4"):
        wflow.Entropy(1.0).estimate(wflow.Particles(x=np.zeros((5, 4))))


def test_the_file_says_what_its_energy_is(tmp_path: Path) -> None:
    """The smooth part under noise, and all of Q where the particles have a density; also after the end."""
    Q = wflow.PotentialEnergy(lambda x: 0.5 * x[:, 0] ** 2, lambda x: x) + wflow.Entropy(0.5)
    rho0 = wflow.Particles(x=np.linspace(-1, 1, 8)[:, None])
    labels = {}
    for scheme in ("langevin", "quantile-jko", "blob"):
        wflow.solve(Q, rho0, (0, 0.2), scheme=scheme, dtau=0.1, rng=0, path=tmp_path / f"{scheme}.h5")
        with h5py.File(tmp_path / f"{scheme}.h5") as file:
            labels[scheme] = str(file["series/energy"].attrs["long_name"])
    assert labels["langevin"].startswith("smooth part of Q: without Entropy(sigma=0.5)")
    assert labels["blob"] == labels["quantile-jko"] == "regularised risk Q"
