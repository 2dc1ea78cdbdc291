"""The loop: orders of the energy identity, monotone Q, saving, statuses, statistics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import random_data

import wflow
from wflow.controllers import Adaptive, Fixed
from wflow.energies.energy import Energy, Evaluation
from wflow.measures import Blocks
from wflow.schemes import SCHEMES, RungeKutta

Problem = tuple[wflow.TransformerObjective, wflow.Particles]


class Quadratic(Energy):
    """``Q = stiffness/2 int |x|^2 d rho``: v = -stiffness x."""

    def __init__(self, stiffness: float = 1.0) -> None:
        self.stiffness = stiffness

    def evaluate(self, rho: wflow.Particles) -> Evaluation:
        value = 0.5 * self.stiffness * float(np.sum(rho.mass("x")[..., None] * rho.x**2))
        return Evaluation(value, Blocks(x=-self.stiffness * rho.x))


def line(*points: float) -> wflow.Particles:
    return wflow.Particles(x=np.array(points)[None, :, None])


@pytest.mark.parametrize(("name", "steps"), [("euler", 40), ("heun", 60), ("bs3", 30), ("rk4", 40), ("dopri5", 12)])
def test_defect_of_the_energy_identity_has_the_order_of_the_scheme(name: str, steps: int, small: Problem) -> None:
    """``Q(0) - Q(tau) - int |v|^2`` by the tableau falls with the order of the scheme."""
    defects = [
        abs(wflow.solve(*small, (0, 0.4), scheme=name, dtau=0.4 / count, tol=0).series["defect"][-1])
        for count in (steps, 2 * steps)
    ]
    order = np.log2(defects[0] / defects[1])
    assert order > SCHEMES[name].order - 0.15
    # The leading term of dopri5's is so small here that the next one shows.
    assert order < SCHEMES[name].order + (1.7 if name == "dopri5" else 0.15)


def test_defect_is_below_1e_7_at_rtol_1e_9(small: Problem) -> None:
    answer = wflow.solve(*small, (0, 2), rtol=1e-9, atol=1e-12)
    assert np.abs(answer.series["defect"]).max() < 1e-7 * answer.energy[0]


@pytest.mark.parametrize("name", [name for name, scheme in SCHEMES.items() if isinstance(scheme, RungeKutta)])
def test_energy_never_rises_and_series_are_complete(name: str, small: Problem) -> None:
    objective, rho = small
    answer = wflow.solve(objective, rho, (0, 3), scheme=name, rtol=1e-3, atol=1e-6, save=wflow.SaveAt(steps=1))
    assert answer.status is wflow.Status.FINISHED and answer.tau[-1] == 3
    assert (np.diff(answer.energy) <= 0).all()
    assert answer.n_frames == len(answer.tau) == answer.stats["steps"] + 1
    np.testing.assert_allclose(np.cumsum(answer.series["dtau"]), answer.tau, rtol=1e-12)
    for i in (0, 1, -1):
        rho_i = answer.measure(i)
        assert objective.value(rho_i) == pytest.approx(answer.energy[i], rel=1e-12)
        assert objective.risk(rho_i) == pytest.approx(answer.risk[i], rel=1e-12)
        assert objective.dissipation(rho_i) == pytest.approx(answer.dissipation[i], rel=1e-12)
        norm = max(np.linalg.norm(x, axis=2).max() for x in rho_i.blocks.values())
        assert answer.series["max_norm"][i] == pytest.approx(norm, rel=1e-12)


def test_adaptive_error_follows_the_tolerance() -> None:
    exact = np.exp(-2.0) * np.array([1.0, -3.0])
    errors = []
    for rtol in (1e-4, 1e-6, 1e-8):
        answer = wflow.solve(Quadratic(), line(1.0, -3.0), (0, 2), rtol=rtol, atol=rtol)
        errors.append(np.abs(answer.measure(-1).x[0, :, 0] - exact).max())
        assert errors[-1] < 30 * rtol
    assert errors[0] > 10 * errors[1] > 100 * errors[2]


def test_stability_bounds_the_step_not_the_error() -> None:
    """Near rest, steps stay at the scheme's stability limit instead of growing until they are rejected."""
    answer = wflow.solve(Quadratic(100.0), line(1.0), (0, 20), rtol=1e-2, atol=1e-2, tol=0)
    assert answer.stats["rejected"] <= 0.1 * answer.stats["steps"]
    assert answer.series["dtau"].max() <= 1.05 * 3.3 / 100


@pytest.mark.parametrize(
    ("save", "expected"),
    [
        (wflow.SaveAt(every=0.25), [0, 0.25, 0.5, 0.75, 1.0]),
        (wflow.SaveAt(tau=[0.1, 0.7]), [0, 0.1, 0.7, 1.0]),
        (wflow.SaveAt(every=0.3), [0, 0.3, 0.6, 0.9, 1.0]),
        (None, [0, 1.0]),
    ],
)
def test_frames_sit_exactly_where_asked(save: Any, expected: list[float]) -> None:
    answer = wflow.solve(Quadratic(), line(1.0), (0, 1), save=save)
    np.testing.assert_allclose(answer.frame_tau, expected, rtol=1e-15)
    for i, tau in enumerate(expected):
        assert answer.measure(i).x[0, 0, 0] == pytest.approx(np.exp(-tau), rel=1e-6)


def test_a_shortened_step_leaves_the_controller_alone() -> None:
    """With fixed steps of 0.4 and a stop at 0.5, the step after the stop is 0.4 again."""
    answer = wflow.solve(Quadratic(), line(1.0), (0, 1.7), dtau=0.4, save=wflow.SaveAt(tau=[0.5]))
    np.testing.assert_allclose(answer.series["dtau"], [0, 0.4, 0.1, 0.4, 0.4, 0.4], atol=1e-15)


def test_fixed_steps_reach_the_end_without_a_sliver() -> None:
    answer = wflow.solve(Quadratic(), line(1.0), (0, 1), scheme="euler", dtau=0.1)
    assert answer.stats["steps"] == 10 and answer.tau[-1] == 1.0


def test_steady_state_ends_the_run() -> None:
    answer = wflow.solve(Quadratic(), line(1.0), (0, 1000), tol=1e-6)
    assert answer.status is wflow.Status.STEADY
    assert answer.dissipation[-1] <= 1e-12 and answer.tau[-1] < 20
    assert answer.frame_tau[-1] == answer.tau[-1]


def test_rising_energy_is_an_error_that_names_the_remedy() -> None:
    with pytest.raises(wflow.SolveError, match=r"euler step 1 at tau=0 with dtau=0.5 raised Q from .* smaller dtau"):
        wflow.solve(Quadratic(10.0), line(1.0), (0, 5), scheme="euler", dtau=0.5)


def test_blow_up_is_an_error() -> None:
    with (
        np.errstate(over="ignore", invalid="ignore"),
        pytest.raises(wflow.SolveError, match=r"is not finite \(Q is inf\)"),
    ):
        wflow.solve(Quadratic(1e3), line(1.0), (0, 1000), scheme="euler", controller=Fixed(1.0, monotone=False))


def test_a_velocity_that_is_no_gradient_ends_the_run() -> None:
    class Rising(Quadratic):
        """A velocity that is no gradient of this energy: every step raises Q."""

        def evaluate(self, rho: wflow.Particles) -> Evaluation:
            value = super().evaluate(rho)
            return Evaluation(value.value, Blocks(x=rho.x.copy()))

    with pytest.raises(wflow.SolveError, match="The step collapsed"):
        wflow.solve(Rising(), line(1.0), (0, 1))


def test_observed_quantities_are_recorded_at_every_step(small: Problem) -> None:
    objective, rho = small
    held_out = random_data(np.random.default_rng(9), 4, 3, 4)
    observe = {"held_out": wflow.observers.Risk(objective, held_out), "first": lambda rho: rho.theta[0, 0, 0]}
    answer = wflow.solve(objective, rho, (0, 0.5), observe=observe)
    assert set(answer.observed) == {"held_out", "first"}
    assert answer.observed["first"][0] == rho.theta[0, 0, 0]
    assert answer.observed["held_out"][-1] == pytest.approx(objective.risk(answer.measure(-1), held_out), rel=1e-12)
    assert len(answer.observed["first"]) == len(answer.tau)


def test_single_precision_runs_in_single_precision(small: Problem) -> None:
    objective, rho = small
    narrow = wflow.Particles(theta=rho.theta.astype(np.float32), w=rho.w.astype(np.float32))
    answer = wflow.solve(objective, narrow, (0, 2), rtol=1e-4)
    assert answer.measure(-1).dtype == np.float32
    assert (np.diff(answer.energy) <= 1e-5 * answer.energy[0]).all()
    wide = wflow.solve(objective, rho, (0, 2), rtol=1e-4)
    assert answer.energy[-1] == pytest.approx(wide.energy[-1], rel=1e-4)


def test_statistics_are_split(small: Problem) -> None:
    stats = wflow.solve(*small, (0, 1)).stats
    assert stats["evaluations"] == 6 * (stats["steps"] + stats["rejected"]) + 1
    assert min(stats[f"seconds_{part}"] for part in ("compile", "solve", "save")) >= 0


def test_entropy_needs_another_scheme(small: Problem) -> None:
    objective, rho = small
    noisy = wflow.TransformerObjective(
        objective.dataset, wflow.SoftmaxAttention(), wflow.FeedForward("tanh"), entropy=0.1, layers=3
    )
    with pytest.raises(wflow.InputError, match="entropy"):
        wflow.solve(noisy, rho)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dtau": -1.0}, "dtau must be a positive finite number, got -1.0"),
        ({"dtau": float("nan")}, "dtau must be a positive finite number, got nan"),
        ({"tau_range": (1, 0)}, "must end after it starts"),
        ({"tau_range": 3}, "must be a pair"),
        ({"rtol": -1e-3}, "rtol must be a non-negative"),
        ({"rtol": 0, "atol": 0}, "must not both be 0"),
        ({"scheme": "rk45"}, "scheme must be one of euler"),
        ({"save": 0.1}, "save must be a wflow.SaveAt"),
        ({"observe": {"tau": len}}, "observe must map a name"),
        ({"path": "/nowhere/run.h5"}, "the folder /nowhere does not exist"),
        ({"dtau": 0.1, "controller": Adaptive()}, "not both"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(wflow.InputError, match=message):
        wflow.solve(Quadratic(), line(1.0), **arguments)


def test_depth_is_not_training_time() -> None:
    with pytest.raises(TypeError, match="t is depth, training time is tau_range="):
        wflow.solve(Quadratic(), line(1.0), t_range=(0, 1))


def test_an_energy_is_needed() -> None:
    with pytest.raises(wflow.InputError, match="energy must be a wflow energy"):
        wflow.solve(lambda rho: 0.0, line(1.0))  # type: ignore[arg-type]
