"""Energies whose gradients jump: proximal steps are exact there, explicit ones go on or end in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wflow
from wflow.run.kinks import jumps_ahead
from wflow.schemes import Flow
from wflow.schemes.bundle import bundle, cheapest_mixture
from wflow.schemes.minimise import prox

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(7)
CLOUD = RNG.uniform(-1, 1, (64, 1))
SLOPES = np.array([0.5, 1.0, 2.0])


def shrink(x: Array, size: Any) -> Array:
    """Soft thresholding."""
    return np.sign(x) * np.maximum(np.abs(x) - size, 0)


def positive_part(x: Array, h: float) -> Array:
    """The step for ``max(0, x)``."""
    return np.where(x > 0, np.maximum(x - h, 0), x)


def towards_zero(x: Array, h: float) -> Array:
    """The step for the Euclidean norm."""
    return x * np.maximum(1 - h / np.linalg.norm(x, axis=1, keepdims=True), 0)


#: A potential with kinks, its gradient, where particles start, and its proximal step.
KINKED = {
    "absolute value": (lambda x: np.abs(x[:, 0]), np.sign, CLOUD, shrink),
    "at a distance": (
        lambda x: np.abs(x[:, 0] - 0.3),
        lambda x: np.sign(x - 0.3),
        CLOUD,
        lambda x, h: 0.3 + shrink(x - 0.3, h),
    ),
    "positive part": (lambda x: np.maximum(0, x[:, 0]), lambda x: (x > 0) * 1.0, CLOUD, positive_part),
    "l1 norm": (
        lambda x: np.abs(x) @ SLOPES,
        lambda x: np.sign(x) * SLOPES,
        RNG.standard_normal((20, 3)),
        lambda x, h: shrink(x, h * SLOPES),
    ),
    "l2 norm": (
        lambda x: np.linalg.norm(x, axis=1),
        lambda x: x / np.linalg.norm(x, axis=1, keepdims=True),
        RNG.standard_normal((20, 3)),
        towards_zero,
    ),
    "with a parabola": (
        lambda x: np.abs(x[:, 0]) + x[:, 0] ** 2,
        lambda x: np.sign(x) + 2 * x,
        CLOUD,
        lambda x, h: shrink(x, h) / (1 + 2 * h),
    ),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("h", [0.05, 0.7, 5.0])
@pytest.mark.parametrize("name", KINKED)
def test_steps_at_kinks_are_exact(name: str, h: float, weighted: bool) -> None:
    """Many particles reach kinks in the same step, for any weights, and nobody overshoots."""
    potential, gradient, x, step = KINKED[name]
    weights = {"x": np.random.default_rng(1).dirichlet(np.ones(len(x)))[None]} if weighted else None
    flow = Flow(wflow.PotentialEnergy(potential, gradient), wflow.Particles(x=x, weights=weights))
    start = flow.evaluate(x.ravel())
    new = prox(flow, start, start.x, h, lambda point: 1e-6)
    missed, descent = new.x - step(x, h).ravel(), start.value - new.value - flow.norm2(new.x - start.x) / (2 * h)
    if name == "with a parabola":  # a few millionths of the descent may be missing at a smooth minimum
        assert flow.norm2(missed) / (2 * h) <= 1e-5 * descent
    else:
        assert np.abs(missed).max() <= 2e-6 * h
    assert descent >= 0
    assert flow.n_evaluations < 250


@pytest.mark.parametrize("x", [[[1.0], [0.5]], [[0.3], [-0.6], [0.25], [0.9]]])
@pytest.mark.parametrize("scheme", ["jko", "bdf2", "quantile-jko"])
def test_particles_rest_at_a_kink_that_they_have_reached(scheme: str, x: Any) -> None:
    """With fixed steps to round-off, with adaptive ones within their tolerance."""
    Q, x = wflow.PotentialEnergy(lambda x: np.abs(x[:, 0]), np.sign), np.array(x)
    for steps in ({"dtau": 0.1}, {"rtol": 1e-3}):
        answer = wflow.solve(Q, wflow.Particles(x=x), (0, 0.6), scheme=scheme, **steps)
        np.testing.assert_allclose(
            np.sort(answer.measure(-1).x, axis=None), np.sort(shrink(x, 0.6), axis=None), atol=1e-6
        )
        assert (np.diff(answer.energy) <= 1e-15).all() and answer.stats["evaluations"] < 10000


def test_particles_that_meet_move_together() -> None:
    """Attraction by ``|x - y|``: kinks lie where particles meet, and their common velocity is the mean."""

    def attract(D: Array) -> Array:
        return np.abs(D[..., 0])

    Q = wflow.InteractionEnergy(attract, np.sign) + wflow.PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x)
    x = np.array([[1.0], [1.2], [1.1], [1.3], [3.0]])
    answer = wflow.solve(Q, wflow.Particles(x=x), (0, 2.0), scheme="jko", dtau=0.25)
    last = answer.measure(-1).x.ravel()
    assert np.ptp(last[:4]) < 1e-6 and last.mean() == pytest.approx(x.mean() / 1.25**8, abs=1e-5)


@pytest.mark.parametrize("h", [1.0, 10.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_direction_leads_down_from_a_step_of_a_relu_network(seed: int, h: float) -> None:
    """The bundle method certifies the minimum, and points around are not lower."""
    rng = np.random.default_rng(seed)
    data = wflow.Dataset(rng.standard_normal((8, 3, 4)), rng.standard_normal(8))
    Q = wflow.TransformerObjective(
        data, wflow.SoftmaxAttention(), wflow.FeedForward("relu"), weight_decay=0.01, layers=3
    )
    rho = wflow.Particles(theta=0.7 * rng.standard_normal((3, 8, 18)), w=0.7 * rng.standard_normal((3, 8, 6)))
    flow = Flow(Q, rho)
    start = flow.evaluate(flow.flat(flow.template.blocks))
    new = prox(flow, start, start.x, h, lambda point: 1e-6)
    value = new.value + flow.norm2(new.x - start.x) / (2 * h)
    assert value < start.value
    for size in (1e-2, 1e-4, 1e-6):
        for _ in range(10):
            point = flow.evaluate(new.x + size * rng.standard_normal(new.x.size))
            assert point.value + flow.norm2(point.x - start.x) / (2 * h) > value - 1e-5 * (start.value - value)


def test_a_bundle_that_is_not_accurate_says_what_is_missing() -> None:
    flow = Flow(wflow.PotentialEnergy(lambda x: np.abs(x[:, 0]), np.sign), wflow.Particles(x=CLOUD))
    start = flow.evaluate(CLOUD.ravel())
    minimum = bundle(flow, [start], start.x, 2.0, 1e-9)[0]

    def objective(point: Any) -> float:
        return float(point.value + flow.norm2(point.x - start.x) / 4)

    missing = []
    for n in (1, 3, 6, 12, 200):
        point, promised = bundle(flow, [start], start.x, 2.0, 1e-9, n)
        assert objective(point) - promised <= objective(minimum) + 1e-15
        missing.append(promised)
    assert missing[-1] == 0 < missing[-2] < missing[0]


def test_mixtures_are_optimal() -> None:
    """The conditions of Karush, Kuhn and Tucker, also for far more gradients than dimensions."""
    rng = np.random.default_rng(3)
    for n, p in ((3, 5), (40, 4), (60, 60)):
        G, cost = rng.standard_normal((n, p)) + 0.1, rng.random(n) * 10.0 ** rng.integers(-6, 1, n)
        shares = cheapest_mixture(G @ G.T, cost, np.eye(n)[0])
        prices = G @ (G.T @ shares) + cost
        assert shares.min() >= 0 and shares.sum() == pytest.approx(1)
        assert prices @ shares - prices.min() <= 1e-5 * (prices @ shares)


# Explicit steps at kinks


def cross(x: Array) -> Array:
    """A kink that the other coordinate pushes against, harder and harder."""
    return np.abs(x[:, 0]) + 0.5 * (x[:, 1] - 1) ** 2 + 0.3 * x[:, 0] * x[:, 1]


def cross_gradient(x: Array) -> Array:
    return np.stack([np.sign(x[:, 0]) + 0.3 * x[:, 1], x[:, 1] - 1 + 0.3 * x[:, 0]], 1)


@pytest.mark.parametrize("scheme", ["dopri5", "bs3", "heun", "euler"])
@pytest.mark.parametrize(
    ("potential", "gradient", "x"),
    [
        (lambda x: np.abs(x[:, 0]), np.sign, [[1.0], [0.5]]),
        (lambda x: np.abs(x[:, 0] - 0.1), lambda x: np.sign(x - 0.1), [[1.0], [0.5], [-0.7]]),
        (cross, cross_gradient, [[1.0, 0.0], [0.5, 2.0]]),
    ],
)
def test_runs_that_crawl_along_kinks_end_in_words(potential: Any, gradient: Any, x: Any, scheme: str) -> None:
    calls = 0

    def counted(x: Array) -> Array:
        nonlocal calls
        calls += 1
        return np.asarray(gradient(x))

    Q = wflow.PotentialEnergy(potential, counted)
    with pytest.raises(wflow.SolveError, match=r"velocity jumps there.* scheme='jko'"):
        wflow.solve(Q, wflow.Particles(x=x), (0, 10), scheme=scheme)
    assert calls < 5000


def test_fixed_steps_that_raise_Q_at_a_kink_name_it() -> None:
    Q = wflow.PotentialEnergy(lambda x: np.abs(x[:, 0]), np.sign)
    with pytest.raises(wflow.SolveError, match=r"raised Q .* Q has a kink"):
        wflow.solve(Q, wflow.Particles(x=[[1.0], [0.53]]), (0, 10), scheme="euler", dtau=0.1)
    smooth = wflow.PotentialEnergy(lambda x: np.cosh(x[:, 0]), np.sinh)
    with pytest.raises(wflow.SolveError, match=r"raised Q from [0-9.]* to [0-9.]*\. A step raised"):
        wflow.solve(smooth, wflow.Particles(x=[[2.0]]), (0, 10), scheme="euler", dtau=3.0)


@pytest.mark.parametrize("width", [1e-2, 1e-4])
@pytest.mark.parametrize("scheme", ["dopri5", "bs3"])
def test_stiffness_is_no_kink(scheme: str, width: float) -> None:
    """``|x|`` rounded off: from steps of .1 the run comes to ten thousand short ones, and to its end."""
    Q = wflow.PotentialEnergy(
        lambda x: (
            width * np.log(np.cosh(np.minimum(np.abs(x[:, 0]) / width, 300)))
            + np.maximum(np.abs(x[:, 0]) - 300 * width, 0)
        ),
        lambda x: np.tanh(x / width),
    )
    flow = Flow(Q, wflow.Particles(x=[[0.01]]))
    assert not jumps_ahead(flow, flow.evaluate(np.array([width])), 100 * width)
    answer = wflow.solve(Q, wflow.Particles(x=[[0.3]]), (0, 0.4), scheme=scheme, rtol=1e-3)
    assert not answer.status.is_failure and abs(answer.measure(-1).x).max() < width


def test_a_run_that_crawled_says_the_same_words_again(tmp_path: Path) -> None:
    Q, path, words = wflow.PotentialEnergy(lambda x: np.abs(x[:, 0]), np.sign), tmp_path / "run.h5", []
    for run in (
        lambda: wflow.solve(Q, wflow.Particles(x=[[1.0], [0.5]]), (0, 10), scheme="heun", path=path),
        lambda: wflow.resume(path, energy=Q),
    ):
        with pytest.raises(wflow.SolveError) as caught:
            run()
        words.append(str(caught.value))
    assert words[0] == words[1] and "are left at this pace" in words[0]
    answer = wflow.resume(path, 0.9, energy=Q, scheme=wflow.schemes.JKO(), controller=wflow.controllers.Fixed(0.1))
    np.testing.assert_allclose(answer.measure(-1).x.ravel(), [0.1, 0], atol=1e-9)
