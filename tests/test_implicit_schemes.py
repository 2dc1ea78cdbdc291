"""Discrete gradients and proximal schemes: orders, tolerances, the energy identity, resuming, precision."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_problems import FLOWS, distance, order
from test_trajectory import assert_same

import wflow
from wflow.controllers import Adaptive
from wflow.distances import conditional_w2
from wflow.energies.energy import Energy
from wflow.schemes import AVF, BDF2, JKO, Flow, Midpoint, scheme_of

Problem = tuple[wflow.TransformerObjective, wflow.Particles]
Array = np.ndarray[Any, Any]

ORDERS = {"jko": 1, "bdf2": 2, "midpoint": 2, "discrete-gradient": 2, "avf": 2}
PROXIMAL = ("jko", "bdf2", "midpoint")
QUADRATIC = wflow.PotentialEnergy(lambda x: np.sum(x**2 / 2, axis=1), lambda x: x)
DOUBLE_WELL = wflow.PotentialEnergy(lambda x: np.sum(x**4 / 4 - x**2 / 2, axis=1), lambda x: x**3 - x)
START = np.array([[-1.8], [-0.3], [0.2], [0.6], [2.0]])

#: Energy, initial measure and exact solution.
EXACT: dict[str, Callable[[], tuple[Energy, wflow.Particles, Callable[[float], wflow.Particles]]]] = {
    **{
        name: lambda name=name: (lambda p: (p.energy, p.rho0, p.measure))(FLOWS[name]())
        for name in ("constant-encoders", "single-token", "two-layer", "sine-circle")
    },
    "Ornstein-Uhlenbeck": lambda: (
        QUADRATIC,
        wflow.Particles(x=START),
        lambda tau: wflow.Particles(x=np.exp(-tau) * START),
    ),
    "double well": lambda: (
        DOUBLE_WELL,
        wflow.Particles(x=START),
        lambda tau: wflow.Particles(x=START / np.sqrt(START**2 + (1 - START**2) * np.exp(-2 * tau))),
    ),
}


@pytest.mark.parametrize("scheme", ORDERS)
@pytest.mark.parametrize("name", EXACT)
def test_order(name: str, scheme: str) -> None:
    """In fixed steps, at default tolerances."""
    energy, rho0, exact = EXACT[name]()
    errors = []
    smooth = name not in ("Ornstein-Uhlenbeck", "double well") and scheme != "bdf2"
    for h in (1 / 8, 1 / 16) if smooth else (1 / 16, 1 / 32):
        answer = wflow.solve(energy, rho0, (0, 1.0), scheme=scheme, dtau=h, tol=0)
        errors.append(distance(answer.measure(-1), exact(1.0)))
        assert answer.stats["rejected"] == 0 and "fallbacks" not in answer.stats
    assert order(*errors) == pytest.approx(ORDERS[scheme], abs=0.15)


@pytest.mark.parametrize("scheme", ORDERS)
def test_defect_of_the_energy_identity_has_the_order_of_the_scheme(scheme: str, small: Problem) -> None:
    """With the dissipation |x+ - x|^2/h of every step. Discrete gradients have no defect but round-off."""
    defects = [
        abs(wflow.solve(*small, (0, 0.4), scheme=scheme, dtau=0.4 / steps, tol=0).series["defect"][-1])
        for steps in ((20, 40) if scheme == "bdf2" else (5, 10))
    ]
    if scheme in PROXIMAL:
        assert order(*defects) == pytest.approx(ORDERS[scheme], abs=0.15)
    else:
        assert max(defects) < 1e-13


@pytest.mark.parametrize("scheme", ORDERS)
@pytest.mark.parametrize("name", ["single-token", "two-layer", "sine-circle"])
def test_adaptive_steps_reach_the_tolerance(name: str, scheme: str) -> None:
    """The flow contracts, so the error is at most the sum of the tolerated errors of the steps."""
    energy, rho0, exact = EXACT[name]()
    rtol = 1e-4
    answer = wflow.solve(energy, rho0, (0, 3), scheme=scheme, rtol=rtol, atol=rtol)
    size = Flow(energy, rho0).norm(Flow.flat(exact(3.0).blocks))
    assert conditional_w2(answer.measure(-1), exact(3.0)) < answer.stats["steps"] * rtol * (1 + max(size, 1.0))
    assert answer.stats["steps"] < 110 and answer.stats["rejected"] <= 3


@pytest.mark.parametrize("scheme", ORDERS)
def test_particles_without_mass_follow_the_flow(scheme: str) -> None:
    """They do not enter Q, and move as those with mass do."""
    weights = {"x": [[0.5, 0.0, 0.5, 0.0, 0.0]]}
    errors = []
    for h in (1 / 16, 1 / 32):
        answer = wflow.solve(
            DOUBLE_WELL, wflow.Particles(x=START, weights=weights), (0, 1.5), scheme=scheme, dtau=h, tol=0
        )
        errors.append(distance(answer.measure(-1), EXACT["double well"]()[2](1.5)))
    assert order(*errors) == pytest.approx(ORDERS[scheme], abs=0.15)


# The discrete gradient


@pytest.mark.parametrize("steps", [{"dtau": 0.25}, {"dtau": 2.0}, {"rtol": 1e-3}])
def test_energy_identity_at_every_step(steps: dict[str, float], small: Problem) -> None:
    answer = wflow.solve(*small, (0, 6), scheme="discrete-gradient", **steps)
    residual = np.diff(answer.energy) + answer.series["step_length"][1:] ** 2 / answer.series["dtau"][1:]
    assert (np.abs(residual) <= 1e-14 * np.maximum(1, answer.energy[:-1])).all()
    assert np.abs(answer.series["defect"]).max() < 1e-14 * len(answer.tau)


def test_energy_identity_near_rest() -> None:
    """Where the correction is round-off, it is left out."""
    answer = wflow.solve(DOUBLE_WELL, wflow.Particles(x=START), (0, 100), scheme="discrete-gradient", dtau=0.25)
    residual = np.diff(answer.energy) + answer.series["step_length"][1:] ** 2 / answer.series["dtau"][1:]
    assert answer.status is wflow.Status.STEADY and np.abs(residual).max() <= 1e-14


# Files, precision, errors


@pytest.mark.parametrize("scheme", ORDERS)
def test_an_extension_equals_the_whole_run(scheme: str, tmp_path: Path, small: Problem) -> None:
    short, long = tmp_path / "short.h5", tmp_path / "long.h5"
    options: dict[str, Any] = {"scheme": scheme, "rtol": 1e-3, "atol": 1e-3}
    wflow.solve(*small, (0, 0.4), path=short, **options)
    extended = wflow.resume(short, 0.8)
    whole = wflow.solve(*small, (0, 0.8), path=long, save=wflow.SaveAt(tau=[0.4]), **options)
    assert_same(short, long)
    assert extended.stats["evaluations"] == whole.stats["evaluations"]


@pytest.mark.parametrize("scheme", ORDERS)
def test_an_interrupted_run_goes_on(scheme: str, tmp_path: Path, small: Problem) -> None:
    broken, whole = tmp_path / "broken.h5", tmp_path / "whole.h5"
    armed = [True]

    def observe(rho: wflow.Particles) -> float:
        if armed and rho.theta[0, 0, 0] != small[1].theta[0, 0, 0]:
            armed.pop()
            os.kill(os.getpid(), signal.SIGINT)
        return 1.0

    options: dict[str, Any] = {"scheme": scheme, "dtau": 0.2, "observe": {"one": observe}}
    with pytest.raises(wflow.Interrupted):
        wflow.solve(*small, (0, 1), path=broken, **options)
    assert 1 < len(wflow.load(broken).tau) < 6
    resumed = wflow.resume(broken, observe={"one": observe})
    complete = wflow.solve(*small, (0, 1), path=whole, **options)
    assert_same(broken, whole)
    assert resumed.stats.get("jko_checked") == complete.stats.get("jko_checked")


@pytest.mark.parametrize("steps", [{"dtau": 0.1}, {"dtau": 1.0}, {"rtol": 1e-3}])
@pytest.mark.parametrize("scheme", ORDERS)
def test_single_precision(scheme: str, steps: dict[str, float], small: Problem) -> None:
    objective, rho = small
    narrow = wflow.Particles(theta=rho.theta.astype(np.float32), w=rho.w.astype(np.float32))
    answer, wide = (
        wflow.solve(objective, start, (0, steps.get("dtau", 0.2)), scheme=scheme, **steps) for start in (narrow, rho)
    )
    assert answer.measure(-1).dtype == np.float32
    assert answer.energy[-1] == pytest.approx(wide.energy[-1], rel=1e-4)


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda: JKO(check_every=-1), "check_every must be a non-negative integer, got -1"),
        (lambda: BDF2(max_iter=0), "max_iter must be a positive integer, got 0"),
        (lambda: Midpoint(memory=2.5), "memory must be a positive integer, got 2.5"),  # type: ignore[arg-type]
        (lambda: AVF(max_iter=True), "max_iter must be a positive integer, got True"),
        (lambda: scheme_of("jko", order=2), "scheme 'jko' has no option 'order'; its options are max_iter, memory, ch"),
    ],
)
def test_bad_options(attempt: Callable[[], Any], message: str) -> None:
    with pytest.raises(wflow.InputError, match=message):
        attempt()


@pytest.mark.parametrize("scheme", ORDERS)
def test_entropy_is_refused(scheme: str) -> None:
    with pytest.raises(wflow.InputError, match=f"scheme '{scheme}' does not treat internal energies"):
        wflow.solve(QUADRATIC + wflow.Entropy(0.1), wflow.Particles(x=START), scheme=scheme)


@pytest.mark.parametrize("scheme", ["jko", "discrete-gradient"])
def test_fixed_steps_go_on_adaptively(scheme: str, tmp_path: Path, small: Problem) -> None:
    """Error estimates start without a past."""
    wflow.solve(*small, (0, 0.4), path=tmp_path / "run.h5", scheme=scheme, dtau=0.2)
    answer = wflow.resume(tmp_path / "run.h5", 0.8, controller=Adaptive(1e-3, 1e-3))
    assert answer.status is wflow.Status.FINISHED
