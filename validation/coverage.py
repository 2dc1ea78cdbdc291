"""How often the error bars of ``wflow check`` cover the true errors, wherever these are known.

    python -m validation.coverage                          all of it: half an hour on one core
    python -m validation.coverage --schemes heun,bdf2      some schemes
    python -m validation.coverage --seeds 0                no random bars

Every problem with an exact solution is solved with L = 1, 2 and 4 layers by every scheme for particles, in fixed steps:
even ones, cut by saved times, cut by the end, one single step; in adaptive steps; stopped early by a loose tolerance of
the velocity; and from rest. wflow.check estimates the errors of Q, R, the predictions, the risk and the error rate on
other labels, and the mean square of all parameters; each is held against its exact value for L to infinity. Classic
flows of particles and densities on grids follow, with their first two moments. Bars of deterministic sources must cover
every error. Those of random ones, which are 95 % intervals, are counted over seeds: independent particles, with noise
and without, whose limit of many particles is known. The exit code is 1 if deterministic bars miss an error, or random
ones more than 5 % of them.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

import wflow
from validation.flows import DENSITIES, FLOWS, relaxation
from validation.statistics import rms
from wflow import problems
from wflow.check import Report, check_problem
from wflow.observers import ErrorRate, Risk
from wflow.schemes import EntropicJKO, FiniteVolume, Kernel, Muscl

Array = np.ndarray[Any, Any]
Truth = dict[str, Any]

TAU = 1.5
PARTICLES = ("euler", "heun", "bs3", "rk4", "dopri5", "jko", "bdf2", "midpoint", "discrete-gradient", "avf")
LAYERS = (1, 2, 4)

#: How the steps are made: arguments of wflow.solve.
STEPS: dict[str, dict[str, Any]] = {
    "even steps": {"dtau": 0.125},
    "cut by saved times": {"dtau": 0.125, "save": wflow.SaveAt(every=0.1)},
    "unevenly cut by saved times": {"dtau": 0.1, "save": wflow.SaveAt(every=0.27)},
    "cut by the end": {"dtau": 0.4},
    "one step": {"dtau": 2.0},
    "adaptive": {"rtol": 1e-3, "atol": 1e-6},
    "adaptive, saved": {"rtol": 1e-3, "atol": 1e-6, "save": wflow.SaveAt(tau=[0.1, 0.11, 1.0])},
    "stopped early": {"dtau": 0.125, "tol": 0.2},
    "at rest": {"dtau": 0.125},
}


def clouds(slices: int, **sizes: int) -> wflow.Particles:
    """The same three particles in all slices."""
    rng = np.random.default_rng(4)
    blocks = {name: 0.3 + 0.5 * rng.standard_normal((3, p)) for name, p in sizes.items()}
    everywhere = {name: np.broadcast_to(x, (slices, *x.shape)) for name, x in blocks.items()}
    return wflow.Particles(weights=None, **everywhere)


def _single_token(layers: int, depth: str) -> problems.Problem:
    slices = 2 * layers + 1 if depth == "rk4-nodes" else layers
    return problems.single_token(clouds(slices, theta=2, w=1), layers=layers, depth=depth)


#: The problem with L layers, by name; its solution is that for L to infinity.
PROBLEMS: dict[str, Callable[[int], problems.Problem]] = {
    "pure-decay": lambda L: problems.pure_decay(clouds(L, theta=8, w=4), layers=L),
    "constant-encoders": lambda L: problems.constant_encoders(clouds(L, theta=1, w=1), layers=L),
    "single-token": lambda L: _single_token(L, "split-euler"),
    "single-token, midpoint": lambda L: _single_token(L, "midpoint"),
    "single-token, rk4-nodes": lambda L: _single_token(L, "rk4-nodes"),
    "two-layer": lambda L: problems.two_layer(clouds(L, theta=3), layers=L),
    "sine-circle": lambda L: problems.sine_circle(layers=L),
}


def other_labels(problem: problems.Problem) -> wflow.Dataset:
    """The prompts with labels +-1."""
    data = problem.energy.dataset
    return wflow.Dataset(data.tokens, np.where(np.arange(data.n_prompts) % 3 == 0, 1.0, -1.0), data.readout)


def squares(rho: Any) -> float:
    """The mean square of all parameters."""
    moments = [om * m.sum() for x in rho.moment(2).values() for om, m in zip(rho.depth_weights, x)]
    return float(sum(moments))


def bars_and_truth(name: str, layers: int, scheme: str, steps: str) -> tuple[Report, Truth]:
    """The report of a problem, and the exact values of its quantities."""
    shift = 500.0 if steps == "at rest" else 0.0  # of training time

    def make(layers: int, M: Any, rng: Any) -> tuple[Any, ...]:
        problem = PROBLEMS[name](layers)
        Q, other = problem.energy, other_labels(problem)
        watched = {"other risk": Risk(Q, other), "error rate": ErrorRate(Q, other), "squares": squares}
        return Q, problem.measure(shift) if shift else problem.rho0, watched

    settings = {"tau_range": (0, TAU), "scheme": scheme} | STEPS[steps]
    if scheme in ("euler", "rk4") and "dtau" not in settings:  # without an error estimate
        settings["dtau"] = 0.05
    report = check_problem(make, layers=layers, **settings)
    exact, tau = PROBLEMS[name](layers), TAU + shift
    predictions, other = exact.predictions(tau), other_labels(exact)
    truth: Truth = {"Q": exact.value(tau), "R": exact.risk(tau), "predictions": predictions}
    truth |= {"other risk": other.risk(predictions), "error rate": other.error_rate(predictions)}
    return report, truth | {"squares": squares(exact.measure(tau))}


def shares(report: Report, truth: Mapping[str, Any], rounding: float = 1e-12) -> dict[str, float]:
    """The true errors as shares of their bars, where the truth is known up to rounding."""
    shares = {}
    for quantity, value in truth.items():
        error, known = rms(report.values[quantity] - value), rounding * max(1.0, rms(value))
        shares[quantity] = error / (report.error(quantity) + known)
    return shares


def moments(rho: Any) -> dict[str, float]:
    """Mean and variance of the first parameter of the first slice."""
    first, second = (float(next(iter(rho.moment(k).values()))[0, 0]) for k in (1, 2))
    return {"mean": first, "variance": second - first**2}


#: Observers of both.
WATCHED = {name: lambda rho, name=name: moments(rho)[name] for name in ("mean", "variance")}


def classic_flow(name: str, scheme: str, steps: str) -> tuple[Report, Truth]:
    """A flow of particles without depth."""
    case = FLOWS[name]()
    settings: dict[str, Any] = {"tau_range": (0, case.tau), "scheme": scheme} | STEPS[steps]
    if scheme in ("euler", "rk4") and "dtau" not in settings:
        settings["dtau"] = 0.05
    report = check_problem(lambda layers, M, rng: (case.energy, case.rho0, WATCHED), **settings)
    return report, moments(case.exact)


#: Schemes for densities, flows that they treat, and cells.
GRIDS: tuple[tuple[Any, float, tuple[str, ...], Sequence[int]], ...] = (
    (Kernel(2, outer_mass=1e-4), 0.1, ("Ornstein-Uhlenbeck", "heat kernel"), (48, 64, 75)),
    (Kernel(outer_mass=1e-4), 0.1, ("Ornstein-Uhlenbeck", "constant encoders, noise"), (48, 64, 75)),
    (FiniteVolume(outer_mass=1e-4), 0.1, ("Ornstein-Uhlenbeck", "heat kernel"), (48, 64, 75)),
    (Muscl(outer_mass=1e-4), 0.01, ("constant encoders",), (48, 64, 96)),
    (Muscl(outer_mass=1e-4), 0.0015, ("double well",), (64,)),
    (EntropicJKO(outer_mass=1e-4), 0.2, ("Ornstein-Uhlenbeck",), (64, 96)),
)


def density(scheme: Any, dtau: float, name: str, cells: int, steps: str) -> tuple[Report, Truth]:
    """A flow of a density; the exact moments are those of ten times the cells."""
    _, _, exact, tau = DENSITIES[name](10 * cells)
    settings: dict[str, dict[str, Any]] = {
        "even steps": {"dtau": dtau},
        "unevenly cut by saved times": {"dtau": dtau, "save": wflow.SaveAt(every=2.7 * dtau)},
        "one step": {"dtau": 10.0},
    }

    def make(layers: None, M: int, rng: Any) -> tuple[Any, ...]:
        return *DENSITIES[name](M)[:2], WATCHED

    report = check_problem(make, M=cells, tau_range=(0, tau), scheme=scheme, **settings[steps])
    return report, moments(exact)


#: Random problems: scheme and entropy.
RANDOM = {
    "independent particles, heun": ("heun", 0.0),
    "independent particles, langevin": ("langevin", 0.2),
    "independent particles, euler-maruyama": ("euler-maruyama", 0.2),
}


def random_particles(name: str, seed: int) -> tuple[Report, Truth]:
    """Constant encoders: the law of independent particles from N(1, 1) keeps its mean apart from its variance."""
    (scheme, sigma), decay = RANDOM[name], 0.3

    def make(layers: int, M: int, rng: np.random.Generator) -> tuple[Any, ...]:
        start = wflow.Particles(theta=rng.normal(1, 1, (layers, M, 1)))
        exact = problems.constant_encoders(start, layers=layers, weight_decay=decay, blocks=("theta",)).energy
        Q = wflow.TransformerObjective(exact.dataset, exact.attention, None, decay, sigma, layers=layers)
        return Q, start, {"squares": squares}

    save = wflow.SaveAt(every=0.23)
    report = check_problem(make, layers=2, M=16, seed=seed, tau_range=(0, 1), scheme=scheme, dtau=0.1, save=save)
    mean = problems.constant_encoders(
        wflow.Particles(theta=np.ones((2, 1, 1))), layers=2, blocks=("theta",), weight_decay=decay
    )
    second = relaxation(decay, 1.0, sigma, 1.0) + float(mean.measure(1.0).theta[0, 0, 0]) ** 2
    Q = mean.risk(1.0) + 0.5 * decay * second
    return report, {"Q": Q, "R": mean.risk(1.0), "predictions": mean.predictions(1.0), "squares": second}


class Counts:
    """How many bars cover, by row of the table, and by how much."""

    def __init__(self) -> None:
        self.shares: dict[str, list[float]] = defaultdict(list)

    def add(self, row: str, report: Report, truth: Truth, words: str) -> None:
        """Count the bars of a report, and tell those that miss."""
        rounding = 1e-10 if row.startswith("densities") else 1e-12  # the exact ones have tails outside of the box
        for quantity, share in shares(report, truth, rounding).items():
            self.shares[row].append(share)
            if share > 1:
                print(f"  {row}, {words}: the error of {quantity} is {share:.3g} times its bar", flush=True)

    def table(self) -> str:
        """Rows of counts."""
        lines = [f"{'':<36} {'bars':>6} {'cover':>6} {'share':>8} {'error/bar: median':>18} {'largest':>8}"]
        for row, values in self.shares.items():
            x = np.array(values)
            told = f"{np.median(x[x > 1e-6]) if (x > 1e-6).any() else 0:18.2f} {x.max():8.2f}"
            lines.append(f"{row:<36} {len(x):6d} {(x <= 1).sum():6d} {100 * (x <= 1).mean():7.2f}% {told}")
        return "\n".join(lines)

    @property
    def smallest(self) -> float:
        """The smallest share of bars that cover, over the rows."""
        return min((float(np.mean(np.array(x) <= 1)) for x in self.shares.values()), default=1.0)


def deterministic(schemes: Sequence[str]) -> Iterator[tuple[str, str, Callable[[], tuple[Report, Truth]]]]:
    """All cases without random numbers: row, words and what computes it."""
    for steps, name, layers, scheme in itertools.product(STEPS, PROBLEMS, LAYERS, schemes):
        words = f"{name}, L = {layers}, {scheme}"
        yield f"problems, {steps}", words, partial(bars_and_truth, name, layers, scheme, steps)
    for steps, name, scheme in itertools.product(STEPS, ("quadratic", "double well", "interaction"), schemes):
        if steps not in ("stopped early", "at rest"):
            yield (
                "classic flows of particles",
                f"{name}, {scheme}, {steps}",
                partial(classic_flow, name, scheme, steps),
            )
    for scheme, dtau, names, sizes in GRIDS:
        for name, cells, steps in itertools.product(
            names, sizes, ("even steps", "unevenly cut by saved times", "one step")
        ):
            if steps != "one step" or scheme.name == "finite-volume":
                words, case = f"{name}, {cells} cells, {steps}", partial(density, scheme, dtau, name, cells, steps)
                yield f"densities, {scheme.name}", words, case


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser("python -m validation.coverage", description="Coverage of error bars.")
    parser.add_argument("--schemes", default=",".join(PARTICLES), help="schemes for particles (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=200, help="samples of every random problem (default: %(default)s)")
    options = parser.parse_args(arguments)
    exact, random = Counts(), Counts()
    for row, words, solve in deterministic(options.schemes.split(",")):
        try:
            exact.add(row, *solve(), words)
        except wflow.SolveError as error:  # of the run itself, such as a step that is too long
            print(f"  {row}, {words}: no run: {error}", flush=True)
    print(exact.table(), flush=True)
    for name, seed in itertools.product(RANDOM, range(options.seeds)):
        random.add(name, *random_particles(name, seed), f"seed {seed}")
    print(random.table())
    return 0 if exact.smallest == 1 and random.smallest >= 0.95 else 1


if __name__ == "__main__":
    sys.exit(main())
