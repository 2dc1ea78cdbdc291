"""Exact solutions: every solver on every flow whose answer is known.

Five Transformers have a gradient flow in closed form (pure decay, constant encoders, one token, frozen features, a
circle; module wflow.problems), and so have the classic flows of a potential, of an interaction and of diffusion. Every
scheme solves those that it applies to, at steps that are halved: the order of its error must be the scheme's, and with
adaptive steps the error must stay below the sum of the tolerated errors of its steps, times e^(Lambda tau) where the
flow expands at the rate Lambda. For constant encoders more is known than an order: the gap of the prediction falls by
R(-(1/2 + lambda) h) in every step of size h, and the particles' distances from their mean by R(-lambda h), where R is
the stability function of the scheme, 1/(1 + x) at -x for JKO.

Densities and clouds with noise solve the Ornstein-Uhlenbeck flow, the heat equation, the porous medium equation and
constant encoders with entropy sigma, whose variance relaxes to sigma/lambda while the mean is that without noise. A
step of JKO maps a Gaussian of deviation s to one of (s + sqrt(s^2 + 4 h sigma (1 + h)))/(2 (1 + h)); the chains of
the two noisy schemes are linear there, so that their moments are known for every h.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

import wflow
from validation.drawing import common_legend, line_of, panels
from validation.flows import DENSITIES, FLOWS, LINE, SIGMA, normal_grid, ornstein_uhlenbeck, quantiles_of, relaxation
from validation.study import Answers, Claim, Job, Outcome, Table, at_least, at_most, within
from wflow import schemes
from wflow.controllers import Replay
from wflow.figures.style import DASHES, PALETTE
from wflow.measures import Measure
from wflow.problems import constant_encoders

Array = np.ndarray[Any, Any]

ORDERS = {"euler": 1, "heun": 2, "bs3": 3, "rk4": 4, "dopri5": 5}
ORDERS |= {"jko": 1, "bdf2": 2, "midpoint": 2, "discrete-gradient": 2, "avf": 2, "quantile-jko": 1}
PROXIMAL = ("jko", "bdf2", "midpoint")


def _gaps(a: Measure, b: Measure) -> dict[str, Array]:
    """The differences of particles; on the line in their order, which no flow changes but one scheme sorts."""
    pairs = {name: (a.blocks[name], b.blocks[name]) for name in a.blocks}
    return {n: np.sort(x, axis=1) - np.sort(y, axis=1) if x.shape[2] == 1 else x - y for n, (x, y) in pairs.items()}


def fixed_steps(flow: str, scheme: str, steps: Sequence[int], ratio: float = 1.0) -> dict[str, Any]:
    """The largest error of a particle at the end, for numbers of steps; every other one is ratio times as long."""
    case, errors, evaluations, seconds, rise, identity = FLOWS[flow](), [], [], [], 0.0, 0.0
    for n in steps:
        began = time.perf_counter()
        h = np.where(np.arange(n) % 2, ratio, 1.0) * 2 * case.tau / (n * (1 + ratio))
        method: Any = {"dtau": h[0]} if ratio == 1 else {"controller": Replay(tuple(h))}
        answer = wflow.solve(case.energy, case.rho0, (0, case.tau), scheme=scheme, tol=0, **method)
        seconds.append(time.perf_counter() - began)
        evaluations.append(answer.stats["evaluations"])
        errors.append(max(float(np.abs(gap).max()) for gap in _gaps(answer.measure(-1), case.exact).values()))
        change, scale = np.diff(answer.energy), max(1.0, float(np.abs(answer.energy).max()))
        rise = max(rise, float(change.max()) / scale)
        residual = change + answer.series["step_length"][1:] ** 2 / answer.series["dtau"][1:]
        identity = max(identity, float(np.abs(residual).max()) / scale)
        if answer.stats["rejected"] or "fallbacks" in answer.stats:
            raise AssertionError(f"{answer.stats} with {n} steps")
    series = {"errors": errors, "evaluations": evaluations, "seconds_each": seconds}
    return {k: np.array(v) for k, v in series.items()} | {"rise": rise, "identity": identity}


def adaptive_steps(flow: str, scheme: str, rtol: float) -> dict[str, Any]:
    """The mass-weighted error beside the sum of what was tolerated, and the defect of the energy identity."""
    case = FLOWS[flow]()
    answer = wflow.solve(case.energy, case.rho0, (0, case.tau), scheme=scheme, rtol=rtol, atol=rtol)
    rho, squares, size = answer.measure(-1), 0.0, 0.0
    for name, gap in _gaps(rho, case.exact).items():
        mass = case.rho0.mass(name)[..., None]
        squares += float(np.sum(mass * gap**2))
        size += float(np.sum(mass * np.maximum(case.rho0.blocks[name] ** 2, rho.blocks[name] ** 2)))
    allowed = answer.stats["steps"] * rtol * (1 + np.sqrt(size)) * np.exp(case.expansion * case.tau)
    return {"error": np.sqrt(squares), "allowed": allowed, "steps": answer.stats["steps"]}


# What one step does to a linear flow


def _stability(scheme: str, z: float, n: int) -> float:
    """The factor of n steps on x' = (z/h) x."""
    taylor = {"euler": 1, "heun": 2, "bs3": 3, "rk4": 4}
    if scheme in taylor:
        return float(sum(z**k / np.prod(range(1, k + 1), initial=1.0) for k in range(taylor[scheme] + 1))) ** n
    if scheme == "dopri5":
        return float(sum(z**k / np.prod(range(1, k + 1), initial=1.0) for k in range(6)) + z**6 / 600) ** n
    if scheme in ("jko", "quantile-jko"):
        return float(1 - z) ** -n
    trapezoid = (1 + z / 2) / (1 - z / 2)
    if scheme != "bdf2":
        return float(trapezoid) ** n
    before, now = 1.0, trapezoid  # its first step is one of the midpoint rule
    for _ in range(n - 1):
        before, now = now, (4 * now - before) / (3 - 2 * z)
    return now


def amplification(scheme: str, h: float, steps: int) -> dict[str, Any]:
    """By how much the gap of the prediction and the spread of the particles shrink, and how exactly they should."""
    decay = 0.2
    problem = constant_encoders(weight_decay=decay, layers=2, width=4, rng=3)
    rho = wflow.solve(problem.energy, problem.rho0, (0, steps * h), scheme=scheme, dtau=h, tol=0).measure(-1)
    limit, start, now = (p[0] for p in map(problem.energy.predict, (problem.measure(1e3), problem.rho0, rho)))
    spread = [np.ptp(np.sort(x.theta[0, :, 0])) for x in (problem.rho0, rho)]
    out: dict[str, Any] = {}
    for name, rate, factor in (
        ("gap", 0.5 + decay, (now - limit) / (start - limit)),
        ("spread", decay, spread[1] / spread[0]),
    ):
        expected = _stability(scheme, -rate * h, steps)
        # Proximal steps solve their equation to about a thousandth of the error of the step.
        allowed = 5e-3 * abs(expected - np.exp(-rate * h * steps)) if scheme in PROXIMAL else 1e-8
        out |= {name: float(factor), f"{name} expected": expected, f"{name} allowed": allowed}
    return out


#: flow, scheme, options, (cells, steps) from coarse to fine, the order in the number of steps and how near to it.
#: Densities in kinks, and peaks that the limiter of MUSCL flattens, cost some of the order.
DENSITY_RUNS: list[tuple[str, str, dict[str, Any], list[tuple[int, int]], float, float]] = [
    ("Ornstein-Uhlenbeck", "kernel", {"levels": 1}, [(120, 40), (120, 80), (120, 160)], 1, 0.15),
    ("Ornstein-Uhlenbeck", "kernel", {"levels": 2}, [(120, 20), (120, 40), (120, 80)], 2, 0.15),
    ("Ornstein-Uhlenbeck", "kernel", {"levels": 3}, [(120, 12), (120, 24), (120, 48)], 3, 0.15),
    ("Ornstein-Uhlenbeck", "kernel", {"levels": 4}, [(120, 5), (120, 10), (120, 20)], 4, 0.15),
    ("Ornstein-Uhlenbeck", "finite-volume", {}, [(60, 25), (120, 50), (240, 100)], 2, 0.15),
    ("Ornstein-Uhlenbeck", "finite-volume", {"extrapolate": False}, [(60, 25), (120, 100), (240, 400)], 1, 0.15),
    ("Ornstein-Uhlenbeck", "entropic-jko", {}, [(120, 10), (120, 20), (120, 40)], 1, 0.15),
    ("Ornstein-Uhlenbeck, 2-D", "kernel", {"levels": 2}, [(64, 20), (64, 40)], 2, 0.15),
    ("oblong plane, noise", "kernel", {"levels": 2}, [(64, 10), (64, 20)], 2, 0.15),
    ("oblong plane, noise", "finite-volume", {}, [(48, 10), (96, 20)], 2, 0.15),
    ("oblong plane, noise", "entropic-jko", {}, [(96, 4), (96, 8)], 1, 0.15),
    ("oblong plane", "muscl", {}, [(64, 80), (128, 160)], 2, 0.3),
    ("heat kernel", "finite-volume", {}, [(80, 25), (160, 50), (320, 100)], 2, 0.15),
    ("constant encoders, noise", "kernel", {"levels": 2}, [(120, 10), (120, 20), (120, 40)], 2, 0.15),
    ("constant encoders, noise", "finite-volume", {}, [(60, 20), (120, 40), (240, 80)], 2, 0.15),
    ("constant encoders, noise", "entropic-jko", {}, [(120, 5), (120, 10), (120, 20)], 1, 0.15),
    ("constant encoders", "muscl", {}, [(120, 90), (240, 180), (480, 360)], 2, 0.2),
    ("double well", "muscl", {}, [(128, 700), (256, 1400)], 1.9, 0.15),
    ("Barenblatt", "muscl", {}, [(30, 100), (60, 400), (120, 1600)], 1, 0.15),
]


def densities(flow: str, scheme: str, options: Mapping[str, Any], sizes: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """The errors in L1, summed over blocks and averaged over depth, for numbers of cells and steps."""
    errors, evaluations, seconds, masses = [], [], [], 0.0
    for cells, steps in sizes:
        Q, rho0, exact, tau = DENSITIES[flow](cells)
        began = time.perf_counter()
        chosen = schemes.scheme_of(scheme, outer_mass=1e-4, **options)
        answer = wflow.solve(Q, rho0, (0, tau), scheme=chosen, dtau=tau / steps, tol=0)
        seconds.append(time.perf_counter() - began)
        evaluations.append(answer.stats["evaluations"])
        rho, (name,) = answer.measure(-1), rho0.blocks
        gaps = np.abs(rho.weights(name) - exact.weights(name)).reshape(rho.n_slices, -1).sum(axis=1)
        errors.append(float(rho.depth_weights @ gaps))
        masses = max(masses, float(np.abs(rho.weights(name).reshape(rho.n_slices, -1).sum(axis=1) - 1).max()))
    series = {"errors": errors, "evaluations": evaluations, "seconds_each": seconds}
    return {k: np.array(v) for k, v in series.items()} | {"masses": masses}


def gaussian_step(scheme: str, options: Mapping[str, Any], h: float) -> dict[str, Any]:
    """Mean and variance after one JKO step of the Ornstein-Uhlenbeck flow from N(1, 0.2), and how even the cloud is."""
    Q = ornstein_uhlenbeck()
    cloud = wflow.Particles(x=quantiles_of(400, 1.0, np.sqrt(0.2)))
    rho0: Any = cloud if scheme == "quantile-jko" else normal_grid(240, 1.0, 0.2, 5.0)
    rho = wflow.solve(Q, rho0, (0, h), scheme=schemes.scheme_of(scheme, **options), dtau=h).measure(-1)
    (mean, variance), (before, spread) = _mean_variance(rho), _mean_variance(rho0)
    s = np.sqrt(spread)
    exact = (s + np.sqrt(s**2 + 4 * h * SIGMA * (1 + h))) / (2 * (1 + h))
    x = rho.points("x")[0, :, 0]
    uneven = 0.0 if scheme == "entropic-jko" else float(np.abs(x + x[::-1] - 2 * mean).max())
    return {"mean": abs(mean - before / (1 + h)), "variance": abs(variance - exact**2), "uneven": uneven}


def _mean_variance(rho: Any) -> tuple[float, float]:
    first, second = float(rho.moment(1).x[0, 0]), float(rho.moment(2).x[0, 0])
    return first, second - first**2


# Diffusion by particles


def noise(scheme: str, h: float, steps: int, M: int, seed: int) -> dict[str, Any]:
    """The moments of a cloud that starts as one point, beside those of the linear chain of the scheme."""
    Q = ornstein_uhlenbeck()
    rho0 = wflow.Particles(x=np.ones((M, 1)))
    x = wflow.solve(Q, rho0, (0, steps * h), scheme=scheme, dtau=h, rng=seed).measure(-1).x[0, :, 0]
    # X+ = (1 - h) X + sqrt(2 sigma h) noise is a sum over the normals: their coefficients, step by step.
    coefficients, size = np.zeros(steps + 1), np.sqrt(2 * SIGMA * h)
    for n in range(steps):
        coefficients *= 1 - h
        if scheme == "euler-maruyama":
            coefficients[n] += size
        else:
            coefficients[n : n + 2] += size * np.array([0.5 if n else np.sqrt(0.75), 0.5])
    mean, variance = (1 - h) ** steps, float(np.sum(coefficients**2))
    z = (x - mean) / np.sqrt(variance)
    alike = max(abs(float(np.mean(z[:-lag] * z[lag:]))) * np.sqrt(M) for lag in range(1, 17))
    out = {"mean": z.mean() * np.sqrt(M), "variance": x.var(ddof=1), "expected": variance}
    return out | {"alike": alike}


def blob(epsilons: Sequence[float], M: int) -> dict[str, Any]:
    """The Ornstein-Uhlenbeck flow by the width of the smoothing; and the velocity of a normal law, known exactly.

    With rho = N(0, v) smoothed to N(0, v + e^2), rho/rho_eps is a Gaussian of variance s^2 = v (v + e^2)/e^2, and
    so are its convolutions: the velocity is that of -sigma grad(log rho_eps + K * (rho/rho_eps)) - x.
    """
    Q, errors, means, velocities = ornstein_uhlenbeck(), [], [], []
    rho0, v = wflow.Particles(x=quantiles_of(M, 1.0, 0.6)), 0.4
    cloud = wflow.Particles(x=quantiles_of(10 * M, 0.0, np.sqrt(v)))
    x = cloud.x[0, :, 0]
    for e in epsilons:
        rho = wflow.solve(Q, rho0, (0, 1), scheme=schemes.Blob(epsilon=e), dtau=0.01).measure(-1)
        mean, variance = _mean_variance(rho)
        errors.append(abs(variance - relaxation(1.0, float(rho0.x.var()), SIGMA, 1.0)))
        means.append(abs(mean - np.exp(-1.0)))
        wide = v * (v + e**2) / e**2 + e**2
        ratio = np.sqrt((v + e**2) / v) * np.sqrt((wide - e**2) / wide) * np.exp(-(x**2) / (2 * wide))
        exact = SIGMA * x * (1 / (v + e**2) + ratio / wide)
        found = wflow.BlobEnergy(wflow.Entropy(SIGMA), e).velocity(cloud).x[0, :, 0]
        velocities.append(float(np.abs(found - exact)[np.abs(x) < 2 * np.sqrt(v)].max()))
    return {"errors": np.array(errors), "mean": max(means), "velocity": max(velocities)}


def quantiles(flow: str, sizes: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """quantile-jko with internal energy, for (values, steps): the error of the variance."""
    errors = []
    for M, steps in sizes:
        if flow == "Ornstein-Uhlenbeck":
            Q: Any = ornstein_uhlenbeck()
            start = quantiles_of(M, 1.0, np.sqrt(0.2))
            exact = relaxation(1.0, float(start.var()), SIGMA, 1.0)
        else:  # Barenblatt: u^3 - 3 u + 4 s - 2 = 0 for the quantiles, in the unit of the edge
            Q, angle = wflow.PorousMedium(2.0), (np.arccos(1 - 2 * (np.arange(M) + 0.5) / M) + 4 * np.pi) / 3
            start, exact = 2 * np.cos(angle)[:, None] * 9 ** (1 / 3), 18 ** (2 / 3) / 5
        rho = wflow.solve(Q, wflow.Particles(x=start), (0, 1), scheme="quantile-jko", dtau=1 / steps).measure(-1)
        errors.append(abs(float(rho.x.var()) - exact))
    return {"errors": np.array(errors)}


# The study


def jobs(full: bool) -> list[Job]:
    """All pairs of a flow and a scheme, and the checks of the model."""
    out = []
    for flow, (scheme, order) in itertools.product(FLOWS, ORDERS.items()):
        if scheme == "quantile-jko" and flow not in LINE:
            continue
        first = 12 if order > 1 else 24
        first *= 2 if scheme == "bdf2" else 1
        numbers = [first * 2**k for k in range(5 if full else 3)]
        out.append(Job(fixed_steps, {"flow": flow, "scheme": scheme, "steps": numbers}, 0.2))
    for flow in ("single-token", "double well"):
        arguments = {"flow": flow, "scheme": "bdf2", "steps": [24 * 2**k for k in range(4)], "ratio": 2.0}
        out.append(Job(fixed_steps, arguments, 1.0))
    for flow, scheme in itertools.product(FLOWS if full else ("single-token", "double well"), ORDERS):
        if scheme != "quantile-jko" or flow in LINE:
            rtol = 1e-6 if scheme in ("bs3", "rk4", "dopri5") else 1e-4
            out.append(Job(adaptive_steps, {"flow": flow, "scheme": scheme, "rtol": rtol}, 0.3))
    out += [Job(amplification, {"scheme": s, "h": h, "steps": 4}, 0.1) for s in ORDERS for h in (0.25, 1.0)]
    for flow, scheme, options, sizes, order, _ in DENSITY_RUNS:
        (cells, steps), (finer, more_steps) = sizes[-2:]
        finest = [(finer * finer // cells, more_steps * more_steps // steps)]
        # At orders 3 and 4 the error of the steps soon reaches that of the grid; entropic-jko wants cells below
        # sqrt(h gamma).
        further = full and order < 3 and flow != "Barenblatt" and scheme != "entropic-jko"
        more = sizes + finest if further else sizes
        out.append(Job(densities, {"flow": flow, "scheme": scheme, "options": options, "sizes": more}, 0.8))
    heat = {"flow": "heat kernel", "scheme": "kernel", "options": {}, "sizes": [(160, 1), (160, 2)]}
    out.append(Job(densities, heat))
    out += [Job(gaussian_step, {"scheme": "quantile-jko", "options": {}, "h": h}, 0.1) for h in (0.1, 1.0)]
    for options in ({"gamma": 0.4}, {"gamma": 0.2}, {"gamma": 0.1}, {"richardson": 3}):
        out.append(Job(gaussian_step, {"scheme": "entropic-jko", "options": options, "h": 0.1}, 0.3))
    M = 400_000 if full else 100_000
    for scheme, (h, n) in itertools.product(("langevin", "euler-maruyama"), ((0.2, 30), (0.1, 5), (0.4, 2))):
        out.append(Job(noise, {"scheme": scheme, "h": h, "steps": n, "M": M, "seed": 5}, 0.3))
    out.append(Job(blob, {"epsilons": [0.4, 0.2], "M": 400}, 2.0))
    out.append(Job(quantiles, {"flow": "Ornstein-Uhlenbeck", "sizes": [(800, 10), (800, 20), (800, 40)]}, 2.0))
    out.append(Job(quantiles, {"flow": "Barenblatt", "sizes": [(50, 20), (100, 40), (200, 80)]}, 2.0))
    return out


def _order(errors: Sequence[float], steps: Sequence[float]) -> float:
    """The order between the two finest resolutions whose errors are not yet round-off."""
    last = max((k for k in range(1, len(errors)) if errors[k] > 3e-12), default=1)
    return float(np.log(errors[last - 1] / errors[last]) / np.log(steps[last] / steps[last - 1]))


def report(answers: Answers, full: bool) -> Outcome:
    """Claims, tables and figures."""
    claims: list[Claim] = []
    tables = [_step_claims(answers, claims), _density_claims(answers, claims)]
    claims += [*_linear_claims(answers), *_step_of_jko_claims(answers), *_diffusion_claims(answers)]
    work = "Error against work: evaluations of the velocity, or of the first variation for densities."
    figures = {
        "steps": (_steps_figure(answers), "Error of the particles against the step, for every scheme; three flows."),
        "cost": (_cost_figure(answers), work),
    }
    return Outcome(claims, [_finding(answers)], tables, figures)


def _step_claims(answers: Answers, claims: list[Claim]) -> Table:
    orders: dict[str, list[tuple[float, str]]] = {scheme: [] for scheme in ORDERS}
    rows, rise, identity = [], 0.0, 0.0
    for arguments, answer in answers.of(fixed_steps):
        observed, scheme = _order(answer["errors"], arguments["steps"]), arguments["scheme"]
        name = arguments["flow"] + (", uneven steps" if "ratio" in arguments else "")
        if (arguments["flow"], scheme) == ("double well", "dopri5"):
            words = "order of dopri5 on double well, where its error of order 5 is small beside that of order 6"
            claims.append(at_least(words, observed, ORDERS[scheme]))
        else:
            orders[scheme].append((observed, name))
        rise = max(rise, answer["rise"])
        identity = max(identity, answer["identity"]) if scheme == "discrete-gradient" else identity
        last = (arguments["steps"][-1], float(answer["errors"][-1]), int(answer["evaluations"][-1]))
        rows.append([name, scheme, *last[:2], observed, last[2], float(answer["seconds_each"][-1])])
    for scheme, pairs in orders.items():
        observed, flow = max(pairs, key=lambda pair: abs(pair[0] - ORDERS[scheme]))
        statement = f"order of {scheme}, in {len(pairs)} cases the one which is furthest from it ({flow})"
        claims.append(within(statement, observed, ORDERS[scheme], 0.15))
    for scheme in ORDERS:
        shares = [(a["error"] / a["allowed"], g["flow"]) for g, a in answers.of(adaptive_steps, scheme=scheme)]
        share, flow = max(shares)
        statement = f"adaptive {scheme}: error as a share of the sum of tolerated errors, at worst ({flow})"
        claims.append(at_most(statement, share, 1.0))
    claims.append(at_most("largest rise of Q in a step, all schemes and flows", rise, 1e-13))
    claims.append(at_most("discrete gradients: |Q(x+) - Q(x) + |x+ - x|^2/h| in any step", identity, 5e-14))
    head = ["flow", "scheme", "steps", "error", "order", "evaluations", "seconds"]
    return Table("Particles: the largest error at the end for the smallest step", head, rows)


def _linear_claims(answers: Answers) -> Iterator[Claim]:
    for scheme in ORDERS:
        rows = [a for _, a in answers.of(amplification, scheme=scheme)]
        for name, words in (("gap", "of the gap of the prediction"), ("spread", "of the spread of particles")):
            shares = [(abs(a[name] - a[f"{name} expected"]) / a[f"{name} allowed"], a) for a in rows]
            _, worst = max(shares, key=lambda pair: pair[0])
            statement = f"{scheme}: factor {words} after 4 steps is that of its stability function"
            yield within(statement, worst[name], worst[f"{name} expected"], worst[f"{name} allowed"])


def _density_claims(answers: Answers, claims: list[Claim]) -> Table:
    rows, masses = [], 0.0
    for flow, scheme, options, _, order, tolerance in DENSITY_RUNS:
        ((arguments, answer),) = answers.of(densities, flow=flow, scheme=scheme, options=options)
        observed = _order(answer["errors"], [steps for _, steps in arguments["sizes"]])
        words = " ".join([scheme, *(f"{k}={v}" for k, v in options.items())])
        claims.append(within(f"order of {words} on {flow}", observed, order, tolerance))
        masses = max(masses, answer["masses"])
        (cells, steps), error = arguments["sizes"][-1], float(answer["errors"][-1])
        cost = [int(answer["evaluations"][-1]), float(answer["seconds_each"][-1])]
        rows.append([flow, words, cells, steps, error, observed, *cost])
    claims.append(at_most("largest change of the mass of a slice, all densities", masses, 1e-12))
    exact = answers.one(densities, flow="heat kernel", scheme="kernel")
    claims.append(at_most("kernel on the heat kernel is exact: error in L1", float(exact["errors"].max()), 1e-9))
    head = ["flow", "scheme", "cells", "steps", "error in L1", "order", "evaluations", "seconds"]
    return Table("Densities: errors for the finest grid and step", head, rows)


def _step_of_jko_claims(answers: Answers) -> Iterator[Claim]:
    for arguments, a in answers.of(gaussian_step, scheme="quantile-jko"):
        # The first and the last quantile stand for tails: O(1/N) of the variance.
        words = f"quantile-jko, one exact JKO step of a Gaussian, h = {arguments['h']}"
        yield at_most(f"{words}: mean", a["mean"], 1e-12)
        yield at_most(f"{words}: variance", a["variance"], 0.1 / 400)
        yield at_most("quantile-jko, the same: both sides of the mean, largest difference", a["uneven"], 1e-9)
    biases = [a["variance"] for x, a in answers.of(gaussian_step, scheme="entropic-jko") if "gamma" in x["options"]]
    words = "entropic-jko, one step of a Gaussian: order of the bias of the variance in gamma"
    yield within(words, np.log2(biases[1] / biases[2]), 2, 0.15)
    extrapolated = answers.one(gaussian_step, scheme="entropic-jko", options={"richardson": 3})
    yield at_most("entropic-jko extrapolated in gamma: mean of the exact step", extrapolated["mean"], 1e-8)
    yield at_most("entropic-jko extrapolated in gamma: variance of the exact step", extrapolated["variance"], 1e-7)


def _diffusion_claims(answers: Answers) -> Iterator[Claim]:
    for arguments, a in answers.of(noise):
        error = a["expected"] * np.sqrt(2 / arguments["M"])
        words = f"{arguments['scheme']}, {arguments['steps']} steps of {arguments['h']}"
        interval = (a["variance"] - 1.96 * error, a["variance"] + 1.96 * error)
        statement = f"{words}: variance, four standard errors"
        yield within(statement, a["variance"], a["expected"], 4 * error, interval=interval)
        yield within(f"{words}: mean in standard errors", a["mean"], 0.0, 4.0)
        statement = f"{words}: correlation of particles with their next 16, largest, in standard errors"
        yield at_most(statement, a["alike"], 4.5)
    smooth = answers.one(blob)
    statement = "blob: velocity of a normal law within two deviations, largest error, particles against density"
    yield at_most(statement, smooth["velocity"], 1e-3)
    order = _order(smooth["errors"], [1, 2])
    yield at_least("blob: order of the error of the variance in epsilon, which is 4 in the limit", order, 3.0)
    yield at_most("blob: error of the mean, which is that of Heun's method", smooth["mean"], 1e-4)
    for arguments, a in answers.of(quantiles):
        observed = _order(a["errors"], [n for _, n in arguments["sizes"]])
        yield within(f"order of quantile-jko on {arguments['flow']}, by the variance", observed, 1, 0.15)


def _finding(answers: Answers) -> str:
    # error = C/evaluations^2: what an error of 1e-4 takes
    second = [pair for pair in answers.of(fixed_steps, flow="single-token") if ORDERS[pair[0]["scheme"]] == 2]
    needs = {g["scheme"]: float(a["evaluations"][-1] * np.sqrt(a["errors"][-1] / 1e-4)) for g, a in second}
    words = ", ".join(f"{scheme} {n:.0f}" for scheme, n in sorted(needs.items(), key=lambda pair: pair[1]))
    return f"Evaluations of the velocity for an error of 1e-4 on one token, by the schemes of order 2: {words}."


def _line_of(scheme: str) -> dict[str, Any]:
    k = list(ORDERS).index(scheme)
    return {"color": PALETTE[k % 5], "linestyle": DASHES[k // 5], "marker": "o^s"[k // 5], "label": scheme}


def _ticks(axes: Any, places: Sequence[float]) -> None:
    axes.set_xticks(places, [f"{x:g}" for x in places])
    axes.xaxis.set_minor_formatter(NullFormatter())


def _even_steps(answers: Answers, flow: str) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """The runs in fixed steps of one size."""
    return ((arguments, a) for arguments, a in answers.of(fixed_steps, flow=flow) if "ratio" not in arguments)


def _steps_figure(answers: Answers) -> Figure:
    figure, row = panels(3, 2.9, sharey=True)
    for axes, flow in zip(row, ("single-token", "sine-circle", "double well")):
        for arguments, a in _even_steps(answers, flow):
            axes.loglog(FLOWS[flow]().tau / np.array(arguments["steps"]), a["errors"], **_line_of(arguments["scheme"]))
        axes.set(title=flow, xlabel=r"step $\Delta\tau$")
        _ticks(axes, [0.01, 0.02, 0.05, 0.1])
    row[0].set_ylabel("largest error of a particle")
    common_legend(row[1], "outside lower center", ncols=6)
    return figure


def _cost_figure(answers: Answers) -> Figure:
    figure, row = panels(3, 2.9)
    for axes, flow in zip(row, ("single-token", "double well")):
        for arguments, a in _even_steps(answers, flow):
            axes.loglog(a["evaluations"], a["errors"], **_line_of(arguments["scheme"]))
        axes.set(title=flow, xlabel="evaluations of the velocity")
        _ticks(axes, [30, 100, 300, 1000])
    row[0].set_ylabel("largest error of a particle")
    kinds: dict[str, int] = {}
    for arguments, a in answers.of(densities, flow="Ornstein-Uhlenbeck"):
        words = " ".join([arguments["scheme"], *(f"{v}" for v in arguments["options"].values())])
        k = kinds.setdefault(words, len(kinds))
        row[2].loglog(a["evaluations"], a["errors"], label=words.replace("False", "order 1"), **line_of(k, marker="o"))
    row[2].set(title="Ornstein-Uhlenbeck densities", xlabel="evaluations of $dQ/d\\rho$", ylabel=r"error in $L^1$")
    row[2].set_xlim(right=1e5)
    row[2].legend(fontsize=6, loc="upper right")
    common_legend(row[1], "outside lower center", ncols=6)
    return figure
