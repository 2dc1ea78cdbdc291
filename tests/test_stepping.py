"""The loop: stops, least steps, failures that resume, the slack of the energy test, frames inside noisy steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wflow
from wflow.controllers import Adaptive, Controller, Fixed, Replay
from wflow.schemes import SCHEMES

BOWL = wflow.PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x)
SLOW = wflow.PotentialEnergy(lambda x: 1e-9 * x[:, 0] ** 2 / 2, lambda x: 1e-9 * x)
TWO = wflow.Particles(x=[[1.0], [2.0]])
OU = BOWL + wflow.Entropy(0.5)
NOISY = pytest.mark.parametrize("scheme", ["langevin", "euler-maruyama"])


@pytest.mark.parametrize("scheme", ["dopri5", "rk4", "jko", "discrete-gradient"])
@pytest.mark.parametrize(
    ("start", "every", "count"),
    [(0, 0.7, 3), (0, 0.1, 49), (1000, 0.001, 100), (-7.3, 0.0123, 77), (1e6, 1e-5, 30), (-1e4, 0.3, 11)],
)
def test_every_so_much_is_counted(scheme: str, start: float, every: float, count: int) -> None:
    """Frames are at start + k every, whatever rounds, and none is a sliver away from the end or from another."""
    end = start + count * every
    dtau = None if scheme == "dopri5" else every / 2
    answer = wflow.solve(SLOW, TWO, (start, end), scheme=scheme, dtau=dtau, save=wflow.SaveAt(every=every))
    assert answer.n_frames == count + 1 and answer.frame_tau[-1] == end
    assert (answer.frame_tau[:-1] == start + np.arange(count) * every).all()
    assert answer.series["dtau"][1:].min() > 0.4 * every if dtau else answer.series["dtau"][1:].min() > 1e-6 * every


def test_all_two_digit_pairs_end_in_a_frame_without_a_sliver() -> None:
    save = [(wflow.SaveAt(every=k / 10), 0.0, n * (k / 10)) for k in range(1, 40) for n in range(1, 40)]
    save.append((wflow.SaveAt(tau=np.linspace(0, 1, 100_001)), 0.0, 1.0))
    for at, start, end in save:
        stops = [start]
        while stops[-1] < end:
            stops.append(at.next_stop(start, stops[-1], end))
        assert stops[-1] == end and np.diff(stops).min() > 0.99 * (at.every or 1e-5)


def test_steps_that_add_up_to_the_end_but_for_rounding_have_no_sliver() -> None:
    answer = wflow.solve(SLOW, TWO, (0, 1000 * 0.1), scheme="euler", dtau=0.1)
    assert answer.stats["steps"] == 1000 and answer.series["dtau"][1:].min() > 0.0999


@pytest.mark.parametrize(
    ("save", "needle"),
    [
        (wflow.SaveAt(tau=[-1.0, 0.5]), r"in the range \(0, 2\), got -1"),
        (wflow.SaveAt(tau=[0.5, 7.0]), r"in the range \(0, 2\), got 7"),
        (wflow.SaveAt(tau=[1.0, 1 + 2e-16]), "are resolved to"),
        (wflow.SaveAt(every=1e-17), "are resolved to"),
    ],
)
def test_save_times_that_cannot_be_kept(save: wflow.SaveAt, needle: str) -> None:
    with pytest.raises(wflow.InputError, match=needle):
        wflow.solve(BOWL, TWO, (0, 2), save=save)


@pytest.mark.parametrize(
    ("tau_range", "options"),
    [
        ((1e17, 1e17 + 32), {}),
        ((0, 1e17), {"scheme": "rk4", "dtau": 0.1}),
        ((1e6, 1e6 + 1), {"scheme": "rk4", "dtau": 1e-12}),
        ((-1e17, 1.0), {"save": wflow.SaveAt(every=1.0)}),
        ((5.0, 5.0), {}),
        ((1.0, 0.0), {}),
    ],
)
def test_ranges_that_cannot_be_stepped_through(tau_range: Any, options: Any) -> None:
    with pytest.raises(wflow.InputError):
        wflow.solve(BOWL, TWO, tau_range, **options)


def test_absurd_ranges_that_can() -> None:
    """Many save times; a range in which the flow comes to rest; a start far from 0."""
    times = np.linspace(0, 1, 1001)
    assert wflow.solve(BOWL, TWO, (0, 1), save=wflow.SaveAt(tau=times), rtol=1e-3).n_frames == len(times)
    assert wflow.solve(BOWL, TWO, (0, 1e17)).status is wflow.Status.STEADY
    assert wflow.solve(BOWL, TWO, (1e8, 1e8 + 1)).measure(-1).x[0, 0, 0] == pytest.approx(np.exp(-1), rel=1e-5)


class Steps(Controller):
    """Accepts what is finite and answers with these steps, then with the last."""

    need_error = False

    def __init__(self, *steps: float) -> None:
        self.steps = steps

    def start(self, start: Any) -> tuple[float, float]:
        return self.steps[0], 0.0

    def judge(self, attempt: Any, memory: float) -> Any:
        k = min(int(memory) + 1, len(self.steps) - 1)
        from wflow.controllers import Verdict

        return Verdict(True, "", self.steps[k], float(k))


@pytest.mark.parametrize(
    ("start", "steps"),
    [(0.0, (0.0,)), (0.0, (0.1, 0.0)), (0.0, (0.1, 1e-12)), (1e6, (1e-11,)), (1.0, (0.1, float("nan")))],
)
def test_a_step_that_does_not_advance_ends_the_run_in_words(start: float, steps: tuple[float, ...]) -> None:
    with pytest.raises(wflow.SolveError, match=r"too small to be added to tau|is less than 1e-10 of the largest one"):
        wflow.solve(BOWL, TWO, (start, start + 1), scheme="rk4", controller=Steps(*steps))


def test_a_velocity_that_is_too_fast_for_a_first_step() -> None:
    steep = wflow.PotentialEnergy(lambda x: 1e200 * x[:, 0], lambda x: np.full_like(x, 1e200))
    with pytest.raises(wflow.SolveError, match="too small to be added to tau"):
        wflow.solve(steep, TWO, (0, 1))


@pytest.mark.parametrize("scheme", ["euler", "heun", "rk4"])
@pytest.mark.parametrize("other", [Fixed(0.05), Replay((0.1, 0.05)), Adaptive()])
def test_a_failed_run_goes_on_with_another_controller(scheme: str, other: Controller, tmp_path: Path) -> None:
    if isinstance(other, Adaptive) and SCHEMES[scheme].error_order is None:
        pytest.skip("no error estimate")
    path = tmp_path / "run.h5"
    with pytest.raises(wflow.SolveError, match="raised Q") as first:
        wflow.solve(BOWL, TWO, (0, 5), scheme=scheme, dtau=4.0, path=path)
    with pytest.raises(wflow.SolveError) as again:
        wflow.resume(path, energy=BOWL)
    assert str(again.value) == str(first.value)
    answer = wflow.resume(path, energy=BOWL, controller=other)
    assert answer.status is wflow.Status.FINISHED and answer.tau[-1] == 5
    assert (answer.series["dtau"][1:] <= 1).all() and (np.diff(answer.energy) < 0).all()
    assert len(answer.tau) == answer.stats["steps"] + 1


def double_well(depth: float) -> wflow.PotentialEnergy:
    """``depth (x^2 - 1)^2/4`` as the sum of three terms that cancel in both minima."""
    return wflow.PotentialEnergy(
        lambda x: depth * (x[:, 0] ** 4 / 4 - x[:, 0] ** 2 / 2 + 0.25), lambda x: depth * (x**3 - x)
    )


FIXED = ["euler", "rk4", "jko", "bdf2", "midpoint", "discrete-gradient", "avf", "quantile-jko"]


@pytest.mark.parametrize("scheme", FIXED)
@pytest.mark.parametrize(("depth", "cloud"), [(1.0, [[0.3], [-0.7], [1.4]]), (50.0, [[1.0003], [-0.9998]])])
def test_round_off_of_cancelling_terms_is_no_rise(scheme: str, depth: float, cloud: Any) -> None:
    """Also from a start so close to the minima that Q is small from the beginning."""
    answer = wflow.solve(double_well(depth), wflow.Particles(x=cloud), (0, 40 / depth), scheme=scheme, dtau=0.1 / depth)
    assert answer.status in (wflow.Status.FINISHED, wflow.Status.STEADY)
    np.testing.assert_allclose(np.abs(answer.measure(-1).x), 1, atol=1e-7)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("scheme", ["euler", "rk4", "jko"])
def test_a_risk_at_round_off_is_no_rise(dtype: Any, scheme: str) -> None:
    """Labels of size 30 that the network comes to fit to the last digit."""
    data = wflow.Dataset(np.ones((1, 1, 1)), [30.0])
    Q = wflow.TransformerObjective(data, feedforward=wflow.FeedForward("identity"), layers=1)
    rho = wflow.Particles(w=np.array([[[1.0, 1.0]]], dtype))
    answer = wflow.solve(Q, rho, (0, 2), scheme=scheme, dtau=0.02, tol=0.0)
    assert not answer.status.is_failure and answer.risk[-1] < 30**2 * np.finfo(dtype).eps


@pytest.mark.parametrize("terms", [-1.0, 1.0])
def test_a_true_rise_is_found_however_small(terms: float) -> None:
    """An unstable step near the minimum raises Q = 5e-15, which has no cancelling terms."""
    start = wflow.Particles(x=[[terms * 1e-7]])
    with pytest.raises(wflow.SolveError, match="raised Q"):
        wflow.solve(BOWL, start, (0, 10), scheme="euler", dtau=2.1)


@pytest.mark.parametrize("seed", [0, 2])
def test_long_steps_in_single_precision_lower_q(seed: int) -> None:
    """Steps of Euler that turn round: slopes at both ends say that Q fell, where it rose by a thousandth."""
    images = wflow.datasets.digits("all", patch=(4, 4)).subset(np.arange(30))
    encoders = wflow.SoftmaxAttention(factored=True, rank=1), wflow.FeedForward("gelu")
    Q = wflow.TransformerObjective(images, *encoders, weight_decay=1e-5, layers=2)
    rho = wflow.initial.gaussian(std=0.5).sample(Q, 4, rng=seed)
    rho = rho.replace(**{name: x.astype(np.float32) for name, x in rho.blocks.items()})
    answer = wflow.solve(Q, rho, (0, 30), scheme="euler", rtol=0.1, tol=0.0)
    assert np.diff(answer.energy).max() < 64 * np.finfo(np.float32).eps


@NOISY
@pytest.mark.parametrize(
    "save", [wflow.SaveAt(every=0.75), wflow.SaveAt(tau=[0.3, 0.31, 0.9, 3.0]), wflow.SaveAt(steps=3)]
)
def test_steps_with_noise_do_not_depend_on_the_frames(scheme: str, save: wflow.SaveAt) -> None:
    """Bit for bit; every time that was asked for has its frame."""
    rho = wflow.Particles(x=np.random.default_rng(0).standard_normal((50, 2)))
    well = wflow.PotentialEnergy(lambda x: np.sum(x**2, axis=1) / 2, lambda x: x) + wflow.Entropy(0.3)
    plain = wflow.solve(well, rho, (0, 3.3), scheme=scheme, dtau=0.5, rng=1)
    saved = wflow.solve(well, rho, (0, 3.3), scheme=scheme, dtau=0.5, rng=1, save=save)
    for name in plain.series:
        np.testing.assert_array_equal(plain.series[name], saved.series[name])
    np.testing.assert_array_equal(plain.measure(-1).x, saved.measure(-1).x)
    if save.tau:
        assert saved.frame_tau.tolist() == [0.0, *save.tau, 3.3]
        apart = np.abs(saved.measure(2).x - saved.measure(1).x)  # 0.01 apart, within one step
        assert 0 < apart.max() < 6 * np.sqrt(2 * 0.3 * 0.01)
    assert saved.tau.tolist() == pytest.approx([0, 0.5, 1, 1.5, 2, 2.5, 3, 3.3])


@NOISY
def test_frames_inside_steps_have_the_law_of_the_chain(scheme: str) -> None:
    """The stationary variance (1/2; of Euler and Maruyama 1/(2 - h)) and the covariance over an eighth of a step."""
    h, count = 0.4, 60_000
    exact = 0.5 if scheme == "langevin" else 1 / (2 - h)
    rho = wflow.Particles(x=np.sqrt(exact) * np.random.default_rng(4).standard_normal((count, 1)))
    save = wflow.SaveAt(tau=[4.1, 4.15, 4.2, 4.3, 4.399999])
    answer = wflow.solve(OU, rho, (0, 4.5), scheme=scheme, dtau=h, rng=1, save=save)
    frames = [answer.measure(i).x.ravel() for i in range(1, 7)]
    for x in frames:
        assert x.var() == pytest.approx(exact, rel=h**2 / 4 + 4 * np.sqrt(2 / count))
    increments = np.var(frames[1] - frames[0]), np.var(frames[2] - frames[0])
    assert increments[1] / increments[0] == pytest.approx(2, abs=0.3)  # a path, not independent points


@NOISY
def test_a_run_that_ends_inside_a_step_extends_to_the_run_that_saved_there(scheme: str, tmp_path: Path) -> None:
    rho = wflow.Particles(x=np.random.default_rng(0).standard_normal((20, 1)))
    options: dict[str, Any] = {"scheme": scheme, "dtau": 0.4, "rng": 3}
    whole = wflow.solve(OU, rho, (0, 2.5), save=wflow.SaveAt(tau=[1.0]), path=tmp_path / "whole.h5", **options)
    wflow.solve(OU, rho, (0, 1.0), path=tmp_path / "part.h5", **options)
    again = wflow.resume(tmp_path / "part.h5", 1.0, OU)
    assert again.tau.tolist() == pytest.approx([0, 0.4, 0.8, 1.0]) and again.frame_tau.tolist() == [0, 1]
    longer = wflow.resume(tmp_path / "part.h5", 2.5, OU)
    for name in whole.series:
        np.testing.assert_array_equal(whole.series[name], longer.series[name])
    assert whole.frame_tau.tolist() == longer.frame_tau.tolist()
    for i in range(whole.n_frames):
        np.testing.assert_array_equal(whole.measure(i).x, longer.measure(i).x)


def attraction(c: float) -> wflow.Energy:
    """``W = c log |x|``: on the line the variance obeys ``d var/d tau = 2 sigma - c``."""
    return wflow.InteractionEnergy(
        lambda z: c * np.log(np.maximum(abs(z[:, 0]), 1e-12)),
        lambda z: np.where(abs(z) > 0, c * z / np.maximum(z * z, 1e-24), 0.0),
    ) + wflow.Entropy(0.5)


@NOISY
@pytest.mark.parametrize(("c", "seed"), [(0.5, 0), (0.3, 1), (0.1, 2)])
def test_a_singular_drift_has_the_law_or_ends_in_words(scheme: str, c: float, seed: int) -> None:
    from scipy.special import ndtri

    cloud = ndtri((np.arange(100) + 0.5) / 100)[:, None]
    try:
        answer = wflow.solve(attraction(c), wflow.Particles(x=cloud), (0, 0.5), scheme=scheme, dtau=0.0025, rng=seed)
    except wflow.SolveError as error:
        assert "the drift is singular" in str(error) or "has a drift of" in str(error)
    else:
        assert answer.measure(-1).x.var() == pytest.approx(cloud.var() + 0.5 * (1 - c), rel=0.5)


def test_a_wide_cloud_far_from_rest_is_not_singular() -> None:
    """Little noise, tails of 100,000 particles, most of which may not move at all."""
    x = np.random.default_rng(0).standard_normal((100_000, 1))
    cold = BOWL + wflow.Entropy(1e-8)
    answer = wflow.solve(cold, wflow.Particles(x=x), (0, 1), scheme="langevin", dtau=0.5, rng=0)
    assert answer.stats["rejected"] == 0 and answer.stats["steps"] == 2
