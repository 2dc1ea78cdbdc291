"""What a run writes down: the defect with its sign, lengths, when frames are kept, and the step after a cut one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import wflow
from wflow.controllers import Attempt, Controller, Start, Verdict

#: ``x' = -x``; of two slices of unequal weights.
Q = wflow.PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x)
RHO = wflow.Particles(x=[[[1.0], [2.0]], [[-3.0], [0.5]]], depth_weights=[0.2, 0.8])
SECOND_MOMENT = 0.2 * (1 + 4) / 2 + 0.8 * (9 + 0.25) / 2


@pytest.mark.parametrize(
    ("scheme", "factor", "lost"),
    [
        # x+ = factor x, and the dissipated energy over |x|^2
        ("euler", lambda h: 1 - h, lambda h: h),
        ("heun", lambda h: 1 - h + h**2 / 2, lambda h: h / 2 * (1 + (1 - h) ** 2)),
        ("jko", lambda h: 1 / (1 + h), lambda h: h / (1 + h) ** 2),
        ("midpoint", lambda h: (1 - h / 2) / (1 + h / 2), lambda h: h / (1 + h / 2) ** 2),
    ],
)
def test_the_defect_by_hand(scheme: str, factor: Any, lost: Any) -> None:
    """``Q(0) - Q(tau) - int |v|^2``: below zero for explicit Euler, above it for JKO, zero for the midpoint rule."""
    h, n = 0.25, np.arange(5)
    run = wflow.solve(Q, RHO, (2, 3), scheme=scheme, dtau=h)
    squares = SECOND_MOMENT * factor(h) ** (2 * n)
    defect = 0.5 * (squares[0] - squares) - lost(h) * np.concatenate([[0.0], np.cumsum(squares[:-1])])
    exact = {"rtol": 1e-5 if scheme in ("jko", "midpoint") else 1e-12, "atol": 1e-5 if scheme == "midpoint" else 1e-13}
    np.testing.assert_allclose(run.series["defect"], defect, **exact)
    length = np.sqrt(squares[:-1]) * (1 - factor(h))
    np.testing.assert_allclose(run.series["step_length"], [0.0, *length], rtol=1e-6)
    np.testing.assert_allclose(run.dissipation, squares, rtol=1e-6)
    np.testing.assert_allclose(run.series["max_norm"], 3 * factor(h) ** n, rtol=1e-6)


@pytest.mark.parametrize(
    ("tau_range", "save", "expected"),
    [
        ((1.5, 3.0), wflow.SaveAt(every=0.4), [1.5, 1.9, 2.3, 2.7, 3.0]),
        ((-1.0, 0.25), wflow.SaveAt(every=0.5), [-1.0, -0.5, 0.0, 0.25]),
        ((0.3, 1.0), wflow.SaveAt(every=0.35), [0.3, 0.65, 1.0]),
        ((10.0, 11.0), wflow.SaveAt(tau=[10.25, 10.5]), [10.0, 10.25, 10.5, 11.0]),
        ((10.0, 11.0), wflow.SaveAt(steps=3), [10.0, 10.3, 10.6, 10.9, 11.0]),
    ],
)
def test_frames_count_from_the_start_of_the_range(
    tau_range: tuple[float, float], save: wflow.SaveAt, expected: list[float]
) -> None:
    run = wflow.solve(Q, RHO, tau_range, dtau=0.1, save=save)
    np.testing.assert_allclose(run.frame_tau, expected, rtol=1e-14, atol=1e-15)
    for i, tau in enumerate(expected):
        np.testing.assert_allclose(run.measure(i).x, RHO.x * np.exp(tau_range[0] - tau), rtol=1e-6)


class Doubling(Controller):
    """Every step twice as long as the last; its memory counts."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, float]] = []

    def start(self, start: Start) -> tuple[float, float]:
        return 0.0625, 1.0

    def judge(self, attempt: Attempt, memory: float) -> Verdict:
        self.seen.append((attempt.h, memory))
        return Verdict(True, "", 2 * attempt.h, memory + 1)


def test_a_controller_goes_on_after_a_cut_step_as_if_it_had_not_been_cut() -> None:
    """A save at 0.125 cuts the second step, of 0.125, in half, and one at 0.3 a step of 0.25."""
    doubling = Doubling()
    run = wflow.solve(Q, RHO, (0, 2), controller=doubling, save=wflow.SaveAt(tau=[0.125, 0.3]))
    np.testing.assert_allclose(
        doubling.seen,
        [(0.0625, 1), (0.0625, 2), (0.125, 2), (0.05, 3), (0.25, 3), (0.5, 4), (0.95, 5)],
        rtol=1e-12,
    )
    np.testing.assert_allclose(run.series["dtau"][1:], [h for h, _ in doubling.seen], rtol=1e-12)


def test_adaptive_steps_are_as_long_after_a_save_as_without_it() -> None:
    free = wflow.solve(Q, RHO, (0, 4), rtol=1e-4)
    middle = float(free.tau[3] + 0.02 * free.series["dtau"][4])
    saved = wflow.solve(Q, RHO, (0, 4), rtol=1e-4, save=wflow.SaveAt(tau=[middle]))
    k = int(np.searchsorted(saved.tau, middle))
    assert saved.tau[k] == middle and saved.series["dtau"][k] < 0.03 * free.series["dtau"][4]
    assert saved.series["dtau"][k + 1] == pytest.approx(free.series["dtau"][4], rel=1e-12)


def test_tol_is_the_speed_at_which_a_run_ends() -> None:
    run = wflow.solve(Q, RHO, (0, 100), dtau=0.125, tol=0.01)
    assert run.status is wflow.Status.STEADY
    assert np.sqrt(run.dissipation[-1]) <= 0.01 < np.sqrt(run.dissipation[-2])
    assert run.frame_tau.tolist() == [0, run.tau[-1]]
