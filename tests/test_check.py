"""The error bars of a run cover its true errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wflow
import wflow.check as module
from validation import coverage
from wflow import initial, problems
from wflow.check import Source, check, check_problem, error_bars
from wflow.cli import main
from wflow.schemes import Kernel

TAU = 2.0

#: Each way to make steps, by a scheme of every kind; python -m validation.coverage tries all combinations.
SCHEMES = dict(zip(coverage.STEPS, ("heun", "midpoint", "bdf2", "jko", "bs3", "dopri5", "bs3", "rk4", "euler")))
NAMES = list(coverage.PROBLEMS)
CASES = [
    (NAMES[(k + 2 * j) % len(NAMES)], 1 + (k + j) % 2, scheme, steps)
    for k, (steps, scheme) in enumerate(SCHEMES.items())
    for j in range(3)
]


@pytest.mark.parametrize(("name", "layers", "scheme", "steps"), CASES)
def test_bars_cover_the_true_errors(name: str, layers: int, scheme: str, steps: str) -> None:
    report, truth = coverage.bars_and_truth(name, layers, scheme, steps)
    assert set(report.values) == set(truth)
    for quantity, share in coverage.shares(report, truth).items():
        assert share <= 1, (quantity, str(report))
    if layers > 1 and steps != "one step":  # and tell something
        error = coverage.rms(report.values["predictions"] - truth["predictions"])
        assert report.error("predictions") <= 20 * error + 1e-3, str(report)


# Hand-made outcomes


def expand(*terms: tuple[float, float]) -> Callable[[Mapping[str, int]], dict[str, float]]:
    """An outcome ``1 + sum of c 2^(-p k)`` over (c, p), refined k times."""
    return lambda refined: {"y": 1 + sum(c * 2.0 ** (-p * refined.get("tau", 0)) for c, p in terms)}


@pytest.mark.parametrize("order", [1.0, 2.0, 4.0])
def test_one_term_of_the_error_is_its_own_bar(order: float) -> None:
    bar = error_bars(expand((0.01, order)), [Source("tau", order)]).bars["y"]["tau"]
    assert bar.error == pytest.approx(1.25 * 0.01) and bar.order == pytest.approx(order)


@pytest.mark.parametrize(("observed", "used"), [(0.7, 0.7), (0.2, 0.5), (2.6, 2.0)])
def test_orders_are_trusted_within_limits(observed: float, used: float) -> None:
    bar = error_bars(expand((0.01, observed)), [Source("tau", 2.0)]).bars["y"]["tau"]
    fine = max(0.01 * (1 - 2.0**-observed), 0.01 * (2.0**observed - 1) / 4)
    assert bar.error == pytest.approx(1.25 * fine / (1 - 2.0**-used)) and bar.order == pytest.approx(observed)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_bars_cover_two_terms_of_the_error(order: int) -> None:
    """Also where these cancel in the refined outcome, in the difference to it, or in that to the coarsened one."""
    for ratio in np.geomspace(0.05, 20, 200) * [[1], [-1]]:
        for c in 0.01 * ratio:
            bar = error_bars(expand((0.01, order), (c, order + 1)), [Source("tau", order)]).bars["y"]["tau"]
            assert bar.error >= abs(0.01 + c), c


@pytest.mark.parametrize("last", [2, 1])
def test_what_cannot_be_coarsened_is_refined_twice(last: int) -> None:
    """Where that is impossible too, the expected order is taken; the bar is three times the estimate."""

    def solve(refined: Mapping[str, int]) -> dict[str, float]:
        if not 0 <= (step := refined.get("depth", 0)) <= last:
            raise wflow.InputError("layers = 3 cannot be halved")
        return {"y": 0.01 * 4.0**-step}

    report = error_bars(solve, [Source("depth", 2.0, words="L = 3")])
    bar = report.bars["y"]["depth"]
    assert bar.error == pytest.approx(3 * 0.01)
    assert bar.order == (pytest.approx(2.0) if last == 2 else None)
    assert "depth: L = 3; not coarsened: layers = 3 cannot be halved" in str(report)


def test_what_cannot_be_refined_is_coarsened() -> None:
    """As a grid that bounds the steps from below."""

    def solve(refined: Mapping[str, int]) -> dict[str, float]:
        if (step := refined.get("tau", 0)) > 0:
            raise wflow.SolveError("the step is too small for the grid")
        if "grid" in refined:
            raise wflow.SolveError("the grid is neither coarser nor finer")
        return {"y": 0.01 * 4.0**-step}

    report = error_bars(solve, [Source("tau", 2.0)])
    assert report.error("y") == pytest.approx(3 * 0.01) and report.bars["y"]["tau"].order is None
    assert "tau: not refined: the step is too small for the grid" in str(report)
    with pytest.raises(wflow.SolveError, match="neither coarser nor finer"):
        error_bars(solve, [Source("grid", 2.0)])


@pytest.mark.parametrize("outcomes", [(0.002, 0.0017, 0.0002), (0.002, 0.002, 0.0003), (0.001, -0.001, -0.0002)])
def test_the_first_step_of_three_may_be_too_large_for_an_order(outcomes: tuple[float, ...]) -> None:
    def solve(refined: Mapping[str, int]) -> dict[str, float]:
        if refined.get("tau", 0) < 0:
            raise wflow.InputError("one step makes no pair")
        return {"y": outcomes[refined.get("tau", 0)]}

    assert error_bars(solve, [Source("tau", 3.0)]).error("y") >= outcomes[0]


@pytest.mark.parametrize(
    ("coarser", "finer"),
    [(1 + 2e-15, 1 - 1e-15), (1.0, 1.0), (1.1, 1.04), (1.1, 0.7), (1.1, 1 - 1e-15), (1.9, 0.999)],
    ids=["rounding", "zero", "to and fro", "grows", "rounding against a difference", "falls too fast"],
)
def test_no_order_where_it_means_nothing(coarser: float, finer: float) -> None:
    outcomes = {0: 1.0, 1: finer, -1: coarser}
    report = error_bars(lambda refined: {"y": outcomes[refined.get("tau", 0)]}, [Source("tau", 2.0)])
    assert report.bars["y"]["tau"].order is None and "order" not in str(report)
    assert report.bars["y"]["tau"].error >= 1.25 * max(abs(finer - 1), abs(coarser - 1) / 4)


def test_zeros_have_no_order() -> None:
    report = error_bars(lambda refined: {"y": np.zeros(3)}, [Source("depth", 1.0), Source("tau", 2.0)])
    assert report.error("y") == 0 and "order" not in str(report)
    assert str(report).endswith("the error of y is that of rounding")


@pytest.mark.parametrize(("ratio", "order"), [(2.0, 0.5), (2.0, 0.0), (3.0, 0.25)])
@pytest.mark.parametrize("coarsened", [True, False])
def test_random_bars(ratio: float, order: float, coarsened: bool) -> None:
    """The mean square of a bar is Student's factor times the variance; 95 % of the bars cover the mean."""
    rng, covered, squares, trials = np.random.default_rng(0), 0, 0.0, 4000

    def solve(refined: Mapping[str, int]) -> dict[str, float]:
        step = refined.get("width", 0)
        if step < 0 and not coarsened:
            raise wflow.InputError("cannot be halved")
        return {"y": 3 + 0.1 * ratio ** (-order * step) * rng.standard_normal()}

    for _ in range(trials):
        report = error_bars(solve, [Source("width", order, ratio, random=True)])
        covered += abs(report.values["y"] - 3) <= report.error("y")
        squares += report.error("y") ** 2
    student = {True: 4.302653, False: 12.7062}[coarsened]  # with two degrees of freedom, with one
    assert squares / trials == pytest.approx((0.1 * student) ** 2, rel=0.08)
    assert 0.93 <= covered / trials <= 0.995


def test_the_verdict_halves_the_error() -> None:
    """By refining what it names as it says, with the work that it says."""

    def solve(refined: Mapping[str, int]) -> dict[str, float]:
        x = {name: 2.0**step for name, step in refined.items()}
        return {"y": 1 + share / x.get("depth", 1.0) + 0.04 / x.get("tau", 1.0) ** 2}

    told: dict[str, float] = {}

    def finer(name: str) -> Callable[[float], str]:
        return lambda x: told.update({name: x}) or f"{name} {x:.3f}"  # type: ignore[func-returns-value]

    sources = [Source("depth", 1.0, finer=finer("depth"), cost=2.0), Source("tau", 2.0, finer=finer("tau"))]
    for share in (0.4, 0.06, 0.04, 0.02, 0.001):
        told.clear()
        report = error_bars(solve, sources)
        words = report.verdict("y")
        left = {name: bar.error * told.get(name, 1.0) ** -bar.power for name, bar in report.bars["y"].items()}
        assert sum(left.values()) == pytest.approx(0.5 * report.error("y"))
        work = told.get("depth", 1.0) ** 2 * told.get("tau", 1.0)
        assert words.endswith(f"at {work:.2g} times the work")
        assert ("depth" in words) == (share > 0.03) and ("tau" in words) == (share < 0.4), words


def test_the_verdict_on_noise() -> None:
    """A standard deviation is halved by four times the particles."""
    outcomes = iter([1.0, 1.1, 0.9])
    source = Source("width", 0.5, random=True, finer=lambda x: f"M = {16 * x:g}")
    report = error_bars(lambda refined: {"Q": next(outcomes)}, [source])
    assert report.verdict() == "width dominates the error of Q: M = 64 halves it, at 4 times the work"


# Problems made of objects


class Cubic:
    """``f(T, theta) = theta^3`` into the entry (-1, -1) of the tokens: an encoder as a user writes it."""

    def n_parameters(self, dimension: int) -> int:
        return 1

    def mean(self, tokens: Any, parameters: Any, weights: Any) -> Any:
        out = np.zeros_like(tokens)
        out[:, -1, -1] = weights @ parameters[:, 0] ** 3
        return out

    def vjp(self, tokens: Any, parameters: Any, weights: Any, cotangent: Any) -> tuple[Any, Any]:
        return np.zeros_like(tokens), 3 * parameters**2 * cotangent[:, -1, -1].sum()


def make_cubic(layers: int, M: int, rng: np.random.Generator) -> tuple[Any, ...]:
    data = wflow.Dataset(np.zeros((4, 1, 1)), [1.0, 1.0, -1.0, 1.0])
    Q = wflow.TransformerObjective(data, Cubic(), layers=layers)
    law = initial.gaussian(std=0.3, mean=0.6)
    return Q, law.sample(Q, M, rng), {"errors": wflow.observers.ErrorRate(Q), "largest": lambda rho: rho.radius}


def test_encoders_and_observers_of_the_user() -> None:
    solve = {"scheme": "heun", "dtau": 0.2, "tau_range": (0, 3)}
    report = check_problem(make_cubic, layers=2, M=64, **solve)
    assert list(report.values) == ["Q", "R", "predictions", "errors", "largest"]
    assert {source.name for source in report.sources} == {"depth", "width", "tau"}
    limit = wflow.solve(*make_cubic(2, 4096, np.random.default_rng(5))[:2], (0, 3))
    assert abs(report.values["R"] - limit.risk[-1]) <= report.error("R") <= 0.2
    assert str(report) == str(check_problem(make_cubic, layers=2, M=64, **solve)), "the same seed, the same bars"
    assert report.values["Q"] != check_problem(make_cubic, layers=2, M=64, seed=1, **solve).values["Q"]


@pytest.mark.parametrize("scheme", ["langevin", "euler-maruyama"])
def test_bars_of_noise_cover(scheme: str) -> None:
    """Ornstein and Uhlenbeck's mean and variance from few particles, saved at times between the steps."""

    def make(layers: None, M: int, rng: np.random.Generator) -> tuple[Any, ...]:
        Q = wflow.PotentialEnergy(lambda x: 0.5 * x[:, 0] ** 2, lambda x: x) + wflow.Entropy(0.5)
        observe = {"mean": lambda rho: rho.x.mean(), "variance": lambda rho: rho.x.var(ddof=1)}
        return Q, wflow.Particles(x=rng.normal(1, 0.5, (M, 1))), observe

    truth = {"mean": np.exp(-1.0), "variance": 0.5 - 0.25 * np.exp(-2.0)}
    solve = {"scheme": scheme, "dtau": 0.1, "save": wflow.SaveAt(every=0.35)}
    reports = [check_problem(make, M=16, seed=seed, **solve) for seed in range(40)]
    assert all(bar.order is None for report in reports for bars in report.bars.values() for bar in bars.values())
    for name, value in truth.items():
        covered = [abs(report.values[name] - value) <= report.error(name) for report in reports]
        assert np.mean(covered) >= 0.95
        assert np.median([report.error(name) for report in reports]) < 3
    assert "noise dominates" in reports[0].verdict()


def test_every_run_draws_noise_of_its_own() -> None:
    ends: list[Any] = []

    def make(layers: None, M: None, rng: np.random.Generator) -> tuple[Any, ...]:
        Q = wflow.PotentialEnergy(lambda x: 0 * x[:, 0], lambda x: 0 * x) + wflow.Entropy(0.5)
        return Q, wflow.Particles(x=np.zeros((2000, 1))), {"end": lambda rho: ends.append(rho.x.ravel()) or 0.0}

    check_problem(make, scheme="euler-maruyama", dtau=0.25)
    last = [x for x, y in zip(ends, [*ends[1:], 0 * ends[0]]) if not y.any()]  # before the next run begins
    assert len(last) == 3 and np.abs(np.corrcoef(last) - np.eye(3)).max() < 0.1


def test_doubled_steps_that_raise_the_energy_tell_nothing() -> None:
    def make(layers: None, M: None, rng: np.random.Generator) -> tuple[Any, ...]:
        return wflow.PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x), wflow.Particles(x=[[1.0], [2.0]])

    report = check_problem(make, scheme="euler", dtau=1.2, tau_range=(0, 12))
    assert "not coarsened: tau coarsened: the euler step 1" in str(report) and "raised Q" in str(report)
    assert report.error("Q") < 1


def test_error_rates_know_what_errors_of_predictions_can_do() -> None:
    """Predictions 0.1, -0.3, 1, -2 with a bar of 0.2 in the root mean square: sum of squares 0.16."""
    bar = module._rate_bars(np.array([0.1, -0.3, 1.0, -2.0]), {"tau": module.Bar(0.2, 1.0, 1.0)})["tau"]
    assert bar.error == 0.5 and bar.order is None  # 0.01 + 0.09 <= 0.16 < 0.01 + 0.09 + 1
    half = {name: module.Bar(0.1, None, 1.0) for name in "ab"}  # sum of squares 6 * 0.2^2 = 0.24
    for gap, share in ((0.6, 1.0), (0.65, 2 / 3)):  # 0.1^2/2 + 0.3^2/2 + 0.6^2/2 = 0.23
        two = module._rate_bars(np.array([[0.0, 0.1], [2.0, 2 - gap], [5.0, 5.3]]), half)
        assert two["a"].error == two["b"].error == pytest.approx(share / 2)
    exact = module._rate_bars(np.zeros(3), {"tau": module.Bar(0.0, None, 1.0)})
    assert exact["tau"].error == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": 0}, "layers must be a positive integer, got 0"),
        ({"M": 2.5}, "M must be a positive integer, got 2.5"),
        ({"M": {"theta": 0}}, "M must be a positive integer, got 0"),
        ({"seed": -1}, "seed must be a non-negative integer, got -1"),
        ({"path": "run.h5"}, "check_problem does not take path"),
        ({"observe": {}}, "check_problem does not take observe"),
        ({"make": lambda layers, M, rng: 1}, "make must return an energy, an initial measure and perhaps observers"),
        ({"make": lambda *sizes: (*make_cubic(*sizes)[:2], {"Q": len})}, "observers need other names than Q, R"),
    ],
)
def test_bad_problems(change: dict[str, Any], message: str) -> None:
    with pytest.raises(wflow.InputError, match=message):
        check_problem(**({"make": make_cubic, "layers": 2, "M": 4, "dtau": 0.1} | change))


# Which runs are made


class Watched:
    """Calls of solve: layers, width, and the steps that were made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runs: list[tuple[int, int, Any]] = []
        self.starts: list[Any] = []
        self.solve = module.solve
        monkeypatch.setattr(module, "solve", self)

    def __call__(self, energy: Any, rho0: Any, **arguments: Any) -> Any:
        solution = self.solve(energy, rho0, **arguments)
        assert solution.frame_tau[-1] == solution.tau[-1]
        self.starts.append(rho0.theta)
        self.runs.append((energy.rule.layers, rho0.theta.shape[1], solution.series["dtau"][1:]))
        return solution


#: Arguments of a run from 0 to 1, its steps, and the doubled ones (None: there are none).
PATTERNS: dict[str, tuple[dict[str, Any], list[float], list[float] | None]] = {
    "even": ({"dtau": 0.25}, [0.25] * 4, [0.5] * 2),
    "saves": ({"dtau": 0.5, "save": wflow.SaveAt(every=0.1)}, [0.1] * 10, [0.2] * 5),
    "odd": ({"dtau": 1 / 13}, [1 / 13] * 13, [2 / 13] * 6 + [1 / 13]),
    "odd and few": ({"dtau": 1 / 7}, [1 / 7] * 7, None),
    "cut by the end": ({"dtau": 0.3}, [0.3, 0.3, 0.3, 0.1], None),
    "cut a little": ({"dtau": 0.098}, [0.098] * 10 + [0.02], [0.196] * 5 + [0.02]),
    "cut by saves": ({"dtau": 0.3, "save": wflow.SaveAt(every=0.5)}, [0.3, 0.2] * 2, None),
    "one step": ({"dtau": 7.0}, [1.0], None),
}


@pytest.mark.parametrize(
    ("pattern", "scheme"),
    [
        *((p, s) for p in PATTERNS for s in ("heun", "bdf2")),
        *((p, "langevin") for p in ("even", "odd", "cut by the end")),
    ],
)
def test_the_steps_that_were_made_are_halved_and_doubled(
    pattern: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, steps, doubled = PATTERNS[pattern]
    watched = Watched(monkeypatch)

    def make(layers: int, M: int, rng: np.random.Generator) -> tuple[Any, ...]:
        data = wflow.Dataset(np.zeros((2, 1, 1)), [0.3, 0.7])
        Q = wflow.TransformerObjective(data, Cubic(), layers=layers, entropy=0.01 * (scheme == "langevin"))
        return Q, wflow.Particles(theta=rng.normal(0.6, 0.1, (layers, M, 1)))

    check_problem(make, layers=2, M=4, scheme=scheme, **arguments)
    sizes = [(layers, width) for layers, width, _ in watched.runs]
    expected = [(2, 4), (4, 4), (1, 8), (2, 8), (2, 2), (2, 4), (2, 4)]  # depth with the same clouds, width, steps
    last = [np.repeat(np.array(steps) / 4, 4)] if doubled is None else [doubled]
    if doubled is None and scheme == "langevin":  # nothing is gained by refining noise twice
        expected, last = expected[:-1], []
    assert sizes == expected
    made = [watched.runs[0][2], *(run[2] for run in watched.runs[5:])]
    base, _, _, wider, narrower, *others = watched.starts  # other particles, and all of them others
    assert len(np.unique([*base.flat, *wider.flat, *narrower.flat])) == base.size + wider.size + narrower.size
    assert all(np.array_equal(start, base) for start in others)
    for found, right in zip(made, [steps, np.repeat(np.array(steps) / 2, 2), *last], strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-9)


def test_adaptive_steps_are_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    report = check_problem(make_cubic, layers=2, M=4, rtol=1e-4, save=wflow.SaveAt(every=0.3))
    steps = watched.runs[0][2]
    assert np.ptp(steps) > 0.01
    np.testing.assert_allclose(watched.runs[-1][2], np.repeat(steps / 2, 2), rtol=1e-9)
    assert "adaptive steps are not doubled" in str(report)


def test_steps_to_rest_are_halved_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The halved steps of a run that stops at rest would be at rest before the last of them."""
    watched = Watched(monkeypatch)

    def make(layers: int, M: None, rng: np.random.Generator) -> tuple[Any, ...]:
        Q = wflow.TransformerObjective(wflow.Dataset(np.zeros((1, 1, 1)), [0.0]), Cubic(), None, 1.0, layers=layers)
        return Q, wflow.Particles(theta=np.full((layers, 1, 1), 0.1))

    report = check_problem(make, layers=2, scheme="heun", dtau=0.25, tol=0.034, tau_range=(0, 20))
    steps, halved, doubled, longer = (watched.runs[k][2] for k in (0, 3, 4, 5))
    assert 4 <= len(steps) <= 8 and len(longer) == 80
    np.testing.assert_allclose(halved, np.repeat(steps / 2, 2), rtol=1e-9)
    np.testing.assert_allclose(doubled.sum(), steps.sum(), rtol=1e-9)
    assert report.values["Q"] <= report.bars["Q"]["tol"].error <= 1.3 * report.values["Q"]


def test_steps_that_failed_are_halved_as_they_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cap of the drift that steps of 0.5 exceed at first: they are made in two, and then in four."""
    watched = Watched(monkeypatch)

    def make(layers: int, M: int, rng: np.random.Generator) -> tuple[Any, ...]:
        data = wflow.Dataset(np.zeros((2, 1, 1)), [0.0, 0.0])
        Q = wflow.TransformerObjective(data, Cubic(), weight_decay=1.0, layers=layers, entropy=1e-6)
        return Q, wflow.Particles(theta=np.full((layers, 2, 1), 0.5))

    check_problem(make, layers=2, scheme=wflow.schemes.EulerMaruyama(cap=0.15), dtau=0.5, tau_range=(0, 2))
    steps, halved = watched.runs[0][2], next(run[2] for run in watched.runs[3:] if len(run[2]) > 4)
    assert 0.25 in steps and 0.5 in steps
    np.testing.assert_allclose(halved, np.repeat(steps / 2, 2), rtol=1e-9)


# Densities and run files


def test_intervals_of_random_particles_cover_the_limit() -> None:
    """95 % intervals over seeds; the limit of infinitely many particles is that of their law's mean."""
    exact = problems.constant_encoders(wflow.Particles(theta=np.ones((4, 1, 1)), w=np.ones((4, 1, 1))))
    covered, trials = 0, 60
    for seed in range(trials):

        def solve(refined: Mapping[str, int], seed: int = seed) -> dict[str, Any]:
            step = refined.get("width", 0)
            rng = np.random.default_rng([seed, step + 1])
            width = int(8 * 2.0**step)
            rho = wflow.Particles(theta=rng.normal(1, 1, (4, width, 1)), w=rng.normal(1, 1, (4, width, 1)))
            return {"predictions": problems.constant_encoders(rho).predictions(TAU)}

        report = error_bars(solve, [Source("width", 0.5, random=True)])
        error = np.sqrt(np.mean((report.values["predictions"] - exact.predictions(TAU)) ** 2))
        covered += error <= report.error("predictions")
    assert covered >= 0.88 * trials


def test_bars_of_densities() -> None:
    """Grid and steps against the exact Ornstein-Uhlenbeck flow."""
    Q = wflow.PotentialEnergy(lambda x: 0.5 * x[:, 0] ** 2, lambda x: x) + wflow.Entropy(0.5)

    def solve(refined: Mapping[str, int]) -> dict[str, Any]:
        n = int(48 * 2.0 ** refined.get("grid", 0))
        x = (np.arange(n) + 0.5) * 12 / n - 6
        rho0 = wflow.Grid(x=np.exp(-((x - 1) ** 2) / 0.4), box={"x": ((-6, 6),)})
        scheme = Kernel(2, outer_mass=1e-6)
        answer = wflow.solve(Q, rho0, (0, 1), scheme=scheme, dtau=0.05 * 2.0 ** -refined.get("tau", 0))
        rho = answer.measure(-1)
        mean = float(rho.moment(1).x[0, 0])
        return {"mean": mean, "variance": float(rho.moment(2).x[0, 0]) - mean**2}

    report = error_bars(solve, [Source("grid", 2.0), Source("tau", 2.0)])
    truth = {"mean": np.exp(-1), "variance": 0.5 - 0.3 * np.exp(-2)}
    for quantity, value in truth.items():
        error = abs(report.values[quantity] - value)
        assert 0.05 * report.error(quantity) <= error <= report.error(quantity)
    assert report.bars["mean"]["tau"].order == pytest.approx(2, abs=0.2)


RUN = """
[data]
kind = "in-context"
n_prompts = 8
dimension = 1
context = 3
[attention]
[feedforward]
activation = "tanh"
[objective]
weight_decay = 0.01
layers = 4
[initial]
M = 4
kind = "KIND"
law = "gaussian"
std = 0.5
[solve]
tau_end = 2
STEPS
"""


@pytest.mark.parametrize(
    ("kind", "steps"), [("iid", "rtol = 1e-4"), ("shared", 'scheme = "heun"\ndtau = 0.1'), ("net", "rtol = 1e-4")]
)
def test_run_files(tmp_path: Path, kind: str, steps: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.toml"
    path.write_text(RUN.replace("KIND", kind).replace("STEPS", steps))
    assert main(["check", str(path), "-q"]) == 0
    out = capsys.readouterr().out
    report = check(path)
    assert out == f"{report}\n"
    assert [line.split()[0] for line in out.splitlines()[1:4]] == ["Q", "R", "predictions"]
    assert out.splitlines()[-1] == report.verdict() and "the error of Q" in report.verdict()
    assert 0.5 < report.bars["predictions"]["depth"].order < 1.6  # type: ignore[operator]
    fine = tmp_path / "fine.toml"
    fine.write_text(path.read_text().replace("layers = 4", "layers = 32").replace("M = 4", "M = 32"))
    run = wflow.runfile.read(fine)
    answer = run.solve()
    assert abs(answer.risk[-1] - report.values["R"]) <= report.error("R")
    predictions = run.objective.predict(answer.measure(-1))
    assert np.sqrt(np.mean((predictions - report.values["predictions"]) ** 2)) <= report.error("predictions")


def test_run_files_draw_other_particles_for_other_widths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    path = tmp_path / "run.toml"
    path.write_text(RUN.replace("KIND", "iid").replace("STEPS", 'scheme = "euler"\ndtau = 0.5'))
    check(path, progress=False)
    sizes = [(layers, width) for layers, width, _ in watched.runs]
    assert sizes == [(4, 4), (8, 4), (2, 8), (4, 8), (4, 2), (4, 4), (4, 4)]
    base, _, _, wider, narrower, *_ = watched.starts
    assert len(np.unique([*base.flat, *wider.flat, *narrower.flat])) == base.size + wider.size + narrower.size


def test_a_bad_run_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.toml"
    path.write_text(RUN.replace("KIND", "iid").replace("STEPS", "dtua = 0.1"))
    assert main(["check", str(path)]) == 2
    assert "did you mean 'dtau'" in capsys.readouterr().err


SINGLE_TOKEN = """
[data]
kind = "npz"
path = "data.npz"
[attention]
[objective]
depth = "DEPTH"
layers = LAYERS
weight_decay = 0.1
[initial]
law = "atoms"
points = POINTS
[solve]
scheme = "SCHEME"
tau_end = 2.0
STEPS
[observe]
training = ["risk"]
"""


def single_token(folder: Path, layers: int, depth: str, scheme: str, steps: str) -> tuple[Path, problems.Problem]:
    """A run file of attention on single tokens, and its solution for L to infinity."""
    points = [[0.9, 0.3], [0.1, -0.5]]
    rho0 = wflow.Particles(theta=np.tile(points, (layers, 1, 1)))
    problem = problems.single_token(rho0, blocks=("theta",), layers=layers, depth=depth)
    data = problem.energy.dataset
    np.savez(folder / "data.npz", tokens=data.tokens, labels=data.labels)
    text = SINGLE_TOKEN.replace("DEPTH", depth).replace("LAYERS", str(layers)).replace("SCHEME", scheme)
    path = folder / "run.toml"
    path.write_text(text.replace("POINTS", str(points)).replace("STEPS", steps))
    return path, problem


@pytest.mark.parametrize(
    "steps",
    ["dtau = 0.125", "dtau = 0.5\nsave = { every = 0.1 }", "dtau = 0.3", "dtau = 0.4\nsave = { tau = [0.3] }"],
    ids=["even", "saves", "end", "saves and end"],
)
@pytest.mark.parametrize(("layers", "depth"), [(1, "split-euler"), (2, "midpoint"), (8, "midpoint"), (3, "midpoint")])
def test_run_files_with_exact_solutions(layers: int, depth: str, steps: str, tmp_path: Path) -> None:
    path, exact = single_token(tmp_path, layers, depth, "midpoint", steps)
    report = check(path, progress=False)
    assert [(s.name, s.order) for s in report.sources] == [("depth", {"midpoint": 2}.get(depth, 1)), ("tau", 2)]
    truth = {"Q": exact.value(2.0), "R": exact.risk(2.0), "training risk": exact.risk(2.0)}
    for name, value in (truth | {"predictions": exact.predictions(2.0)}).items():
        error = coverage.rms(report.values[name] - value)
        assert error <= report.error(name), (name, str(report))
    if layers == 8:
        assert report.bars["R"]["depth"].order == pytest.approx(2, abs=0.2)
    run = wflow.runfile.read(path)
    steady = wflow.solve(run.objective, run.rho0, (0, 2), rtol=1e-11, atol=1e-12).energy[-1]
    error, bar = abs(report.values["Q"] - steady), report.bars["Q"]["tau"]
    factor = 3.0 if "not coarsened" in next(source.words for source in report.sources if source.name == "tau") else 1.25
    assert bar.order == pytest.approx(2, abs=0.2) and bar.error == pytest.approx(factor * error, rel=0.15)


REST = """
[data]
kind = "in-context"
n_prompts = 8
dimension = 1
context = 3
[feedforward]
activation = "tanh"
[objective]
weight_decay = 0.1
layers = 2
[initial]
law = "atoms"
points = POINTS
[solve]
tau_end = 2.0
SOLVE
"""


@pytest.mark.parametrize(
    ("point", "solve", "steps"),
    [
        (0.0, "", "no"),  # neurons at zero
        (0.0, 'scheme = "bdf2"\ndtau = 0.1', "no"),
        (0.5, "tol = 5.0", "no"),
        (0.5, 'scheme = "heun"\ndtau = 0.1\ntol = 5.0', "no"),
        (0.5, "tol = 0.3", "some"),
        (0.5, 'scheme = "jko"\ndtau = 0.05\ntol = 0.3', "some"),
    ],
)
def test_runs_at_rest(point: float, solve: str, steps: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.toml"
    path.write_text(REST.replace("POINTS", str([[point] * 8])).replace("SOLVE", solve))
    assert main(["check", str(path), "-q"]) == 0
    out = capsys.readouterr().out
    report = check(path, progress=False)
    assert out == f"{report}\n" and "|v| <= tol from tau = " in out
    assert ("no steps were made" in out) == (steps == "no")
    run = wflow.runfile.read(path)
    truth = wflow.solve(run.objective, run.rho0, (0, 2), rtol=1e-10, tol=0).energy[-1]
    steps_and_stop = report.bars["Q"]["tau"].error + report.bars["Q"]["tol"].error
    assert abs(report.values["Q"] - truth) <= steps_and_stop + 1e-15
    if point:
        assert "tol dominates the error of Q: a smaller tol halves it" in out or report.error("Q") > 2 * steps_and_stop


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"layers": 1}, "layers = 1 cannot be halved"),
        ({"layers": 3}, "layers = 3 cannot be halved"),
        ({"M": 1}, "M = 1 cannot be halved"),
        ({"M": 5}, "M = 5 cannot be halved"),
        ({"dtau": 2.0}, "one step makes no pair"),
    ],
)
def test_what_cannot_be_coarsened_is_said(sizes: dict[str, Any], words: str) -> None:
    arguments = {"layers": 2, "M": 4, "dtau": 0.125, "scheme": "heun"} | sizes
    report = check_problem(make_cubic, **arguments)
    assert str(report).count("not coarsened") == 1 and words in str(report)
    limit = wflow.solve(*make_cubic(1, 20000, np.random.default_rng(1))[:2], rtol=1e-6).risk[-1]
    assert abs(report.values["R"] - limit) <= report.error("R")


@pytest.mark.parametrize(("cells", "coarsened"), [(24, True), (15, False)])
def test_grids(cells: int, coarsened: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", tokens=rng.standard_normal((6, 1, 2)), labels=rng.standard_normal(6))
    text = "[data]\nkind = 'npz'\npath = 'data.npz'\n[feedforward]\nactivation = 'tanh'\n"
    text += "[objective]\nlayers = 1\nentropy = 0.3\nweight_decay = 0.1\n[initial]\nlaw = 'gaussian'\n"
    text += "box = { w = [[-6, 6], [-6, 6]] }\ncells = CELLS\n[solve]\nscheme = 'finite-volume'\ntau_end = 0.5\n"
    text += "dtau = 0.125\nsave = { tau = [0.2] }\noptions = { outer_mass = 1e-3 }\n"
    path, fine = tmp_path / "run.toml", tmp_path / "fine.toml"
    path.write_text(text.replace("CELLS", str(cells)))
    report = check(path, progress=False)
    assert ("not coarsened: cells = 15 cannot be halved" in str(report)) == (not coarsened)
    fine.write_text(text.replace("CELLS", str(4 * cells)).replace("0.125", "0.015625"))
    truth = wflow.runfile.read(fine).solve(progress=False).risk[-1]
    error = report.bars["R"]["grid"].error + report.bars["R"]["tau"].error
    assert 0.02 * error <= abs(report.values["R"] - truth) <= error
