"""Rates: how fast the risk falls, and what decides it

Without weight decay the residuals r of the B prompts obey dr/dtau = -K r/B with the neural tangent kernel K of the
present particles; with it dr/dtau = -(K r/B + lambda J beta), K = J J^T. If the risk goes to zero, its last decay is
exponential, R ~ e^{-2 k tau/B} with the smallest eigenvalue k of the last K. With weight decay the flow ends at rest,
and there the smallest eigenvalue mu of the Hessian of Q in the metric of the flow decides: |v| ~ e^{-mu tau}. For
linear models and for one token this rate is known in closed form.

J and the Hessian come from the numpy Transformer, flows, predictions and K from wflow, which is compared with J J^T.
The data are in-context regression with linear teachers, with noise or without, and with tanh teachers. How the rate of
convergence depends on data, width and lambda is an open question in Gao et al. 2024; tables and findings below say what
these runs show: the smallest eigenvalue at the start and at the end over B, M and task, and R(tau) against the flow of
the frozen first kernel. Where eigenvalues are spread over decades, R(tau) looks like a power of tau over a window.
"""

from __future__ import annotations

__all__ = ["jobs", "report"]

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

import wflow
from validation.drawing import line_of, panels
from validation.kernel import flatten, hessian, prediction_gradients, state_of
from validation.statistics import bootstrap, power_law
from validation.study import Answers, Claim, Job, Outcome, Table, at_most, within
from validation.trajectory import finite_transformer
from wflow import initial
from wflow.figures.style import PALETTE
from wflow.measures import Measure
from wflow.problems import constant_encoders, single_token, two_layer
from wflow.schemes import SCHEMES

Array = NDArray[Any]

LAYERS = 2
#: At the stability limit of a scheme stiff modes hardly decay. At h Lambda = 1.6 this one damps them at once.
SCHEME = replace(SCHEMES["bs3"], stability=1.6)
#: Data sets by name: teacher and noise.
TASKS: dict[str, dict[str, Any]] = {
    "linear": {"teacher": "linear"},
    "noisy": {"teacher": "linear", "noise": 0.5},
    "tanh": {"teacher": "tanh"},
}
MODELS = {"constant-encoders": constant_encoders, "two-layer": two_layer, "single-token": single_token}


def jobs(full: bool) -> list[Job]:
    """Identities, flows to zero risk and to rest, kernels of first particles, one flow with many prompts."""
    base = {"task": "linear", "B": 4, "width": 8, "seed": 0}
    variants: list[dict[str, Any]] = [{}, *({"B": b} for b in (2, 8)), *({"width": m} for m in (4, 16))]
    variants += [{"task": "noisy"}, {"task": "tanh"}]
    if full:
        variants += [{"B": 16}, {"width": 32}, *({"seed": s} for s in (1, 2)), *({"seed": s, "B": 8} for s in (1, 2))]
    rests = [(4, 1, 0.1), (4, 1, 0.3), (8, 0, 0.1)]
    if full:
        rests += [(4, 0, 0.03), (4, 0, 0.1), (4, 0, 0.3), (4, 1, 0.03), (8, 0, 0.03), (8, 0, 0.3)]
    numbers, widths, draws = [2, 4, 8, 16], [4, 8, 16, 32], 12
    if full:
        numbers, widths, draws = [*numbers, 32], [*widths, 64], 24
    return [
        *(Job(identity, {**base, "weight_decay": x}, 3) for x in (0.0, 0.05)),
        *(Job(linear_model, {"problem": p, "weight_decay": 0.1}, 1) for p in MODELS),
        *(Job(to_zero, {**base, **v}, 6) for v in variants),
        *(Job(to_rest, {**base, "B": b, "seed": seed, "weight_decay": x}, 8) for b, seed, x in rests),
        *(Job(first_kernels, {"task": "linear", "B": b, "width": 8, "draws": draws}, 2) for b in numbers),
        *(Job(first_kernels, {"task": t, "B": 8, "width": 8, "draws": draws}, 2) for t in TASKS if t != "linear"),
        *(Job(kernel_noise, {"width": m, "draws": 2 * draws}, 3) for m in widths),
        Job(many_prompts, {**base, "B": 64 if full else 32, "end": 500.0}, 90 if full else 25),
    ]


# Jobs


def identity(task: str, B: int, width: int, seed: int, weight_decay: float) -> Mapping[str, Any]:
    """dr/dtau along the velocity of wflow, by differences of its predictions, against the kernel, at several tau."""
    objective, rho0 = _problem(task, B, width, seed, weight_decay)
    save = wflow.SaveAt(tau=[1.0, 3.0, 10.0])
    answer = wflow.solve(objective, rho0, (0, 30), rtol=1e-6, save=save)
    gaps, kernels = [], []
    for i in range(answer.n_frames):
        rho = answer.measure(i)
        v, step = objective.velocity(rho), 1e-5
        ahead, behind = (objective.predict(rho.replace(**_moved(rho, v, h))) for h in (step, -step))
        J, r = _gradients(objective, rho), _residual(objective, rho)
        expected = -J @ (J.T @ r / B + weight_decay * flatten(state_of(rho.blocks)))
        gaps.append(np.abs((ahead - behind) / (2 * step) - expected).max() / np.abs(expected).max())
        K = wflow.tangent_kernel(objective, rho)
        kernels.append(np.abs(K - J @ J.T).max() / np.abs(K).max())
    return {"tau": answer.frame_tau, "gap": np.array(gaps), "kernel": np.array(kernels)}


def linear_model(problem: str, weight_decay: float) -> Mapping[str, Any]:
    """The decay of predictions towards their last values in a flow with a closed form, and its exact rate."""
    exact = MODELS[problem](weight_decay=weight_decay, depth="split-euler", **_options(problem))
    data, end = exact.energy.dataset, 20.0 / weight_decay
    rate = _rate_of_model(problem, data, weight_decay, exact.energy.rule.n_slices)
    save = wflow.SaveAt(tau=[10 / rate, 15 / rate])
    answer = wflow.solve(exact.energy, exact.rho0, (0, end), rtol=1e-9, atol=1e-13, tol=0, save=save)
    last = exact.energy.predict(answer.measure(-1))
    gaps = [np.linalg.norm(exact.energy.predict(answer.measure(i)) - last) for i in (1, 2)]
    return {"rate": np.log(gaps[0] / gaps[1]) / (answer.frame_tau[2] - answer.frame_tau[1]), "expected": rate}


def to_zero(task: str, B: int, width: int, seed: int) -> Mapping[str, Any]:
    """No weight decay: R over tau, the kernel at the ends, and the last decay of R and of r in the slowest mode."""
    objective, rho0 = _problem(task, B, width, seed, 0.0)
    save = wflow.SaveAt(tau=np.geomspace(1, 1e5, 101).tolist())
    answer = wflow.solve(objective, rho0, (0, 1e5), scheme=SCHEME, rtol=1e-4, tol=1e-9, save=save)
    first, last = (wflow.tangent_kernel(objective, answer.measure(i)) for i in (0, -1))
    values, vectors = np.linalg.eigh(last)
    start = int(np.flatnonzero(answer.frame_tau < answer.tau[answer.risk > 1e-10 * answer.risk[0]][-1])[-1])
    tail = _tail(objective, answer.measure(start), values[0] / B, values[-1] / B)
    initial_residual = _residual(objective, answer.measure(0))
    residuals = np.array([_residual(objective, tail.measure(i)) for i in range(tail.n_frames)])
    return {
        "tau": answer.tau,
        "R": answer.risk,
        "tail_tau": answer.frame_tau[start] + tail.frame_tau,
        "tail_R": np.mean(residuals**2, axis=1) / 2,
        "first": np.linalg.eigvalsh(first),
        "last": values,
        "share": (vectors[:, 0] @ initial_residual) ** 2 / np.sum(initial_residual**2),
        "frozen": _frozen_risk(first, initial_residual, answer.tau),
        "rate": 2 * _late_rate(tail, np.linalg.norm(residuals, axis=1)),
        "rate_slowest": _late_rate(tail, np.abs(residuals @ vectors[:, 0])),
    }


def to_rest(task: str, B: int, width: int, seed: int, weight_decay: float) -> Mapping[str, Any]:
    """Weight decay, to rest: the last decay of |v|, and of v in the slowest eigenspace of the Hessian."""
    objective, rho0 = _problem(task, B, width, seed, weight_decay)
    end, save = 1000 / weight_decay, wflow.SaveAt(every=1 / weight_decay)
    answer = wflow.solve(objective, rho0, (0, end), scheme=SCHEME, rtol=1e-3, tol=1e-10, save=save)
    end_state = state_of(answer.measure(-1).blocks)
    values, vectors = np.linalg.eigh(hessian(finite_transformer(objective), end_state, objective.dataset))
    slow = vectors[:, values <= values[0] + 1e-3 * weight_decay]
    speeds = np.array([objective.dissipation(answer.measure(i)) ** 0.5 for i in range(answer.n_frames)])
    start = int(np.flatnonzero(speeds > 1e-6)[-1])
    tail = _tail(objective, answer.measure(start), values[0], values[-1])
    velocities = np.array([flatten(state_of(objective.velocity(tail.measure(i)))) for i in range(tail.n_frames)])
    return {
        "tau": answer.frame_tau[: start + 1],
        "speed": speeds[: start + 1],
        "tail_tau": answer.frame_tau[start] + tail.frame_tau,
        "tail_speed": np.linalg.norm(velocities, axis=1),
        "smallest": values[0],
        "largest": values[-1],
        "dimension": slow.shape[1],
        "rate": _late_rate(tail, np.linalg.norm(velocities, axis=1)),
        "rate_slowest": _late_rate(tail, np.linalg.norm(velocities @ slow, axis=1)),
    }


def first_kernels(task: str, B: int, width: int, draws: int) -> Mapping[str, Any]:
    """The smallest and the mean eigenvalue of K for fresh data and particles, by draw."""
    values = []
    for seed in range(draws):
        objective, rho0 = _problem(task, B, width, 100 + seed, 0.0)
        values.append(np.linalg.eigvalsh(wflow.tangent_kernel(objective, rho0)))
    return {"smallest": np.array(values)[:, 0], "mean": np.mean(values, axis=1)}


def kernel_noise(width: int, draws: int) -> Mapping[str, Any]:
    """The kernels of independent first particles for the same data, shape (draws, B, B)."""
    kernels = []
    for seed in range(draws):
        objective, _ = _problem("linear", 4, width, 0, 0.0)
        rho = initial.gaussian(std=0.3).sample(objective, width, rng=1000 + seed)
        kernels.append(wflow.tangent_kernel(objective, rho))
    return {"kernels": np.array(kernels)}


def many_prompts(task: str, B: int, width: int, seed: int, end: float) -> Mapping[str, Any]:
    """A flow in which eigenvalues are spread: R over tau, and that of the frozen first kernel."""
    objective, rho0 = _problem(task, B, width, seed, 0.0)
    answer = wflow.solve(objective, rho0, (0, end), scheme=SCHEME, rtol=1e-3)
    first, last = (wflow.tangent_kernel(objective, answer.measure(i)) for i in (0, -1))
    residual = _residual(objective, rho0)
    return {
        "tau": answer.tau,
        "R": answer.risk,
        "first": np.linalg.eigvalsh(first),
        "last": np.linalg.eigvalsh(last),
        "frozen": _frozen_risk(first, residual, answer.tau),
    }


# What jobs share


def _problem(
    task: str, B: int, width: int, seed: int, weight_decay: float
) -> tuple[wflow.TransformerObjective, wflow.Particles]:
    """A Transformer of softmax heads and tanh neurons on in-context regression with d = 1 and four examples."""
    data = wflow.datasets.in_context_regression(B, 1, 4, seed, **TASKS[task])
    attention, feedforward = wflow.SoftmaxAttention(), wflow.FeedForward("tanh")
    objective = wflow.TransformerObjective(data, attention, feedforward, weight_decay, layers=LAYERS)
    return objective, initial.gaussian(std=0.3).sample(objective, width, rng=seed)


def _options(problem: str) -> dict[str, Any]:
    """One token: the solution of the layers themselves, which wants the same means in all of them."""
    return {"limit": False, "layers": 8} if problem == "single-token" else {}


def _rate_of_model(problem: str, data: wflow.Dataset, weight_decay: float, layers: int) -> float:
    """kappa + lambda; the smallest eigenvalue of E psi psi^T/4 + lambda; the slope of S' where S' = 0."""
    if problem == "constant-encoders":
        return 0.5 + weight_decay
    if problem == "two-layer":
        psi = data.tokens[:, :-1, -1]
        return float(np.linalg.eigvalsh(psi.T @ psi / (4 * len(psi)))[0] + weight_decay)
    a, b = float(np.mean(data.tokens[:, 0, 0] ** 2)), float(np.mean(data.tokens[:, 0, 0] * data.labels))

    def slope(S: float) -> float:
        factor = 1 + S / (2 * layers)  # of each of 2 L half steps
        P = factor ** (2 * layers)
        return -0.5 * (a * P**2 - b * P) / factor - weight_decay * S

    S, step = float(brentq(slope, -3, 3, xtol=1e-14)), 1e-5
    return (slope(S - step) - slope(S + step)) / (2 * step)


def _residual(objective: wflow.TransformerObjective, rho: Measure) -> Array:
    return objective.predict(rho) - objective.dataset.labels


def _tail(objective: wflow.TransformerObjective, rho: Measure, slow: float, stiff: float) -> wflow.Solution:
    """The flow for nine life times of the slowest mode, with fixed steps that resolve the stiffest.

    So close to the end the error control sees nothing any more: its steps would leave stiff modes undamped.
    """
    save = wflow.SaveAt(every=0.5 / slow)
    return wflow.solve(objective, rho, (0, 9 / slow), scheme="bs3", dtau=min(1.5 / stiff, 0.2 / slow), tol=0, save=save)


def _late_rate(tail: wflow.Solution, size: Array) -> float:
    """The exponential rate at which a quantity decays over the last four of the nine life times."""
    late = tail.frame_tau >= 5 / 9 * tail.frame_tau[-1]
    return -float(np.polyfit(tail.frame_tau[late], np.log(size[late]), 1)[0])


def _moved(rho: Measure, v: Any, step: float) -> dict[str, Array]:
    return {name: x + step * v[name] for name, x in rho.blocks.items()}


def _gradients(objective: wflow.TransformerObjective, rho: Measure) -> Array:
    return prediction_gradients(finite_transformer(objective), state_of(rho.blocks), objective.dataset)


def _frozen_risk(kernel: Array, residual: Array, tau: Array) -> Array:
    """R of ``dr/dtau = -K r/B`` with a constant K."""
    values, vectors = np.linalg.eigh(kernel)
    modes = (vectors.T @ residual) ** 2 / (2 * len(residual))
    return np.asarray(np.exp(-2 * np.outer(tau, values) / len(residual)) @ modes)


# Report


def report(answers: Answers, full: bool) -> Outcome:
    """Rates against eigenvalues, and what the eigenvalues depend on."""
    gap = max(a["gap"].max() for _, a in answers.of(identity))
    claims = [at_most("dr/dtau of wflow against -(K r/B + lambda J beta), largest relative difference", gap, 1e-7)]
    gap = max(a["kernel"].max() for _, a in answers.of(identity))
    claims.append(at_most("K of wflow against J J^T of the numpy Transformer, largest relative difference", gap, 1e-12))
    for a, answer in answers.of(linear_model):
        text = f"{a['problem']}, lambda = {a['weight_decay']:g}: last rate of predictions"
        claims.append(within(text, answer["rate"], answer["expected"], 1e-3, relative=True))
    for a, answer in answers.of(to_zero):
        rate, text = answer["last"][0] / a["B"], f"lambda = 0, {_words(a)}"
        claims.append(within(f"{text}: last rate of R against 2 k/B", answer["rate"], 2 * rate, 0.01, relative=True))
        text += ": rate of r in the slowest mode against k/B"
        claims.append(within(text, answer["rate_slowest"], rate, 1e-3, relative=True))
    for a, answer in answers.of(to_rest):
        mu, text = answer["smallest"], f"lambda = {a['weight_decay']:g}, {_words(a)}"
        claims.append(within(f"{text}: last rate of |v| against mu", answer["rate"], mu, 0.02, relative=True))
        text += ": rate of v in the slowest modes against mu"
        claims.append(within(text, answer["rate_slowest"], mu, 1e-3, relative=True))
    claims.append(_noise_claim(answers))
    findings = [finding(answers) for finding in (_growth, _numbers, _kinds, _widths, _rests, _power)]
    figures = {"decay": (_decay_figure(answers), DECAY), "eigenvalues": (_eigenvalue_figure(answers), EIGENVALUES)}
    return Outcome(claims, findings, [_zero_table(answers), _rest_table(answers), _first_table(answers)], figures)


DECAY = (
    "Left: risk without weight decay; black: slope -2 k/B with the smallest eigenvalue k of the last kernel. "
    "Middle: |v| with weight decay; black: slope -mu with the smallest eigenvalue of the Hessian. Right: risk for many "
    "prompts, with the first kernel frozen, and the power law of the fit."
)
EIGENVALUES = (
    "Left: smallest eigenvalue of the first kernel over the number of prompts (points: draws, line: geometric mean). "
    "Middle: relative spread of the first kernel over independent particles; thin line: slope -1/2. Right: all "
    "eigenvalues of the first and the last kernel for many prompts."
)


def _words(a: Mapping[str, Any]) -> str:
    return f"{a['task']}, B = {a['B']}, M = {a['width']}, seed {a['seed']}"


def _noise(kernels: Array) -> float:
    return float(np.sqrt(np.mean(np.sum((kernels - kernels.mean(axis=0)) ** 2, axis=(1, 2)))))


def _noise_claim(answers: Answers) -> Claim:
    found = [(a["width"], answer["kernels"]) for a, answer in answers.of(kernel_noise)]
    widths, samples = [m for m, _ in found], np.stack([k for _, k in found], axis=1)

    def exponent(draws: Array) -> float:
        return power_law(widths, [_noise(draws[:, i]) for i in range(len(widths))]).exponent

    interval = bootstrap(exponent, samples, seed=0)
    text = "exponent in M of the spread of the first kernel over independent particles"
    return within(text, exponent(samples), -0.5, 0.1, interval=interval)


def _exponent(x: ArrayLike, y: ArrayLike) -> str:
    fit = power_law(x, y)
    return f"{fit.exponent:.2f} (95 %: {fit.interval[0]:.2f} to {fit.interval[1]:.2f})"


def _reached(tau: Array, R: Array, share: float = 0.01) -> float:
    """When R has come down to a share of R(0); infinity if it has not."""
    below = np.flatnonzero(share * R[0] >= R)
    return float(tau[below[0]]) if len(below) else np.inf


def _growth(answers: Answers) -> str:
    runs = [answer for _, answer in answers.of(to_zero)]
    ratios = [float(a["last"][0] / a["first"][0]) for a in runs]
    sooner = [_reached(a["tau"], a["frozen"]) / _reached(a["tau"], a["R"]) for a in runs]
    finite = [x for x in sooner if np.isfinite(x)]
    missing = len(sooner) - len(finite)
    return (
        f"The kernel is not frozen: along the {len(runs)} flows to zero risk its smallest eigenvalue changes by "
        f"factors of {min(ratios):.2g} to {max(ratios):.2g}. With the frozen first kernel R reaches 1 % of R(0) "
        f"{min(finite):.2g} to {max(finite):.2g} times as late"
        + (f", and in {missing} of the flows not before their end." if missing else ".")
    )


def _numbers(answers: Answers) -> str:
    found = sorted(((a["B"], answer) for a, answer in answers.of(first_kernels, task="linear")), key=lambda x: x[0])
    numbers = [b for b, _ in found]
    smallest = [float(np.exp(np.mean(np.log(a["smallest"])))) for _, a in found]
    mean = [float(np.mean(a["mean"])) for _, a in found]
    return (
        f"Between B = {numbers[0]} and {numbers[-1]} the smallest eigenvalue of the first kernel (geometric mean of "
        f"draws) falls from {smallest[0]:.2g} to {smallest[-1]:.2g}, like a power {_exponent(numbers, smallest)} of B, "
        f"while the mean eigenvalue stays between {min(mean):.2g} and {max(mean):.2g}: with more prompts the slowest "
        "mode, of rate 2 k/B, falls far behind the others."
    )


def _kinds(answers: Answers) -> str:
    some = {a["task"]: answer for a, answer in answers.of(first_kernels, B=8, width=8)}
    text = ", ".join(f"{np.exp(np.mean(np.log(a['smallest']))):.2g} ({task})" for task, a in some.items())
    last = {a["task"]: a_["last"][0] / a["B"] for a, a_ in answers.of(to_zero, B=4, width=8, seed=0)}
    ends = ", ".join(f"{2 * rate:.3g} ({task})" for task, rate in last.items())
    return (
        f"Task: the smallest eigenvalue of the first kernel at B = 8 is {text}; the last rate 2 k/B at B = 4 is {ends}."
    )


def _widths(answers: Answers) -> str:
    rates = {a["width"]: 2 * r["last"][0] / a["B"] for a, r in answers.of(to_zero, task="linear", B=4, seed=0)}
    low, high = min(rates), max(rates)
    spread = max(rates.values()) / min(rates.values())
    verdict = "hardly matters" if spread < 1.1 else "matters"
    return (
        f"Width: from M = {low} to {high} the last rate 2 k/B on the same data stays between {min(rates.values()):.4f} "
        f"and {max(rates.values()):.4f}: in the time of the flow, width {verdict} for the rate."
    )


def _rests(answers: Answers) -> str:
    ratios = [answer["smallest"] / a["weight_decay"] for a, answer in answers.of(to_rest)]
    text = f"With weight decay the slowest rate mu is {min(ratios):.2g} to {max(ratios):.2g} lambda"
    if max(ratios) < 1:
        text += ": below the rate lambda of parameters that the data do not see, by a factor that depends on the data"
    return f"{text}."


def _window(answers: Answers) -> tuple[Mapping[str, Any], Array, Array]:
    """The flow of many prompts, and R at log-spaced training times of the second half of its decades."""
    ((_, run),) = answers.of(many_prompts)
    tau = np.geomspace(0.06 * run["tau"][-1], run["tau"][-1], 16)
    return run, tau, np.exp(np.interp(np.log(tau), np.log(run["tau"][1:]), np.log(run["R"][1:])))


def _power(answers: Answers) -> str:
    ((a, _),) = answers.of(many_prompts)
    run, tau, R = _window(answers)
    local = np.diff(np.log(R)) / np.diff(np.log(tau))
    last = run["last"]
    return (
        f"B = {a['B']}: the last kernel has eigenvalues from {last[0]:.2g} to {last[-1]:.2g}, and R falls over "
        f"{tau[0]:.3g} <= tau <= {tau[-1]:.3g} like tau to the power {_exponent(tau, R)}, with local exponents from "
        f"{local.max():.2f} to {local.min():.2f}: a power law "
        + ("in this window" if np.ptp(local) < 0.3 else "only roughly")
        + f". The slowest mode has the life time B/(2 k) = {a['B'] / (2 * last[0]):.3g}. With the frozen first kernel "
        f"R would end at {run['frozen'][-1]:.2g} instead of {run['R'][-1]:.2g}."
    )


def _zero_table(answers: Answers) -> Table:
    head = ["task", "B", "M", "seed", "k first", "k last", "2 k/B", "last rate of R", "tau to 1 % of R(0)"]
    head += ["the same, frozen kernel", "share of r(0) in the slowest mode"]
    rows = []
    for a, r in answers.of(to_zero):
        times = [_reached(r["tau"], r["R"]), _reached(r["tau"], r["frozen"])]
        smallest = [float(r["first"][0]), float(r["last"][0]), float(2 * r["last"][0] / a["B"])]
        rows.append([a["task"], a["B"], a["width"], a["seed"], *smallest, float(r["rate"]), *times, float(r["share"])])
    return Table("No weight decay: k is the smallest eigenvalue of the kernel.", head, rows)


def _rest_table(answers: Answers) -> Table:
    head = ["lambda", "B", "seed", "mu", "mu/lambda", "its multiplicity", "largest eigenvalue", "last rate of |v|"]
    rows = []
    for a, r in sorted(answers.of(to_rest), key=lambda x: (x[0]["B"], x[0]["seed"], x[0]["weight_decay"])):
        decay, mu = a["weight_decay"], float(r["smallest"])
        rows.append([decay, a["B"], a["seed"], mu, mu / decay, r["dimension"], float(r["largest"]), float(r["rate"])])
    return Table("Weight decay: mu is the smallest eigenvalue of the Hessian at rest.", head, rows)


def _first_table(answers: Answers) -> Table:
    rows = []
    for a, r in answers.of(first_kernels):
        logs = np.log(r["smallest"])
        low, high = bootstrap(np.mean, logs, seed=0)
        middle = float(np.exp(np.mean(logs)))
        rows.append([a["task"], a["B"], middle, f"{np.exp(low):.2g} to {np.exp(high):.2g}", float(np.mean(r["mean"]))])
    head = ["task", "B", "k, geometric mean of draws", "95 %", "mean eigenvalue"]
    return Table("The first kernel of fresh data and particles.", head, rows)


def _decay_figure(answers: Answers) -> Figure:
    figure, (left, middle, right) = panels(3)
    for k, (a, r) in enumerate(answers.of(to_zero, task="linear", width=8, seed=0)):
        on = r["tau"] <= r["tail_tau"][0]
        tau, R = np.append(r["tau"][on], r["tail_tau"]), np.append(r["R"][on], r["tail_R"])
        left.semilogy(tau, R / R[0], **line_of(k, label=f"$B={a['B']}$"))
        end = r["tail_tau"]
        slope = np.exp(-2 * r["last"][0] / a["B"] * (end - end[-1]))
        left.semilogy(end, slope * R[-1] / R[0], color="k", lw=0.6)
    for k, (a, r) in enumerate(list(answers.of(to_rest))[:3]):
        decay = a["weight_decay"]
        tau, speed = np.append(r["tau"], r["tail_tau"]), np.append(r["speed"], r["tail_speed"])
        label = f"$\\lambda={decay:g}$, $B={a['B']}$"
        middle.semilogy(decay * tau, speed, **line_of(k, label=label))
        slope = np.exp(-r["smallest"] * (r["tail_tau"] - r["tail_tau"][-1]))
        middle.semilogy(decay * r["tail_tau"], slope * r["tail_speed"][-1], color="k", lw=0.6)
    run, tau, R = _window(answers)
    fit = power_law(tau, R)
    right.loglog(run["tau"][1:], run["R"][1:], **line_of(0, label="flow"))
    right.loglog(run["tau"][1:], run["frozen"][1:], **line_of(1, label="frozen kernel"))
    right.loglog(tau, fit.constant * tau**fit.exponent, color="k", lw=0.6, label=f"$\\tau^{{{fit.exponent:.2f}}}$")
    left.set(xlabel="$\\tau$", ylabel="$R/R(0)$")
    middle.set(xlabel="$\\lambda\\tau$", ylabel="$|v|$")
    right.set(xlabel="$\\tau$", ylabel="$R$")
    for ax in (left, middle, right):
        ax.legend()
    return figure


def _eigenvalue_figure(answers: Answers) -> Figure:
    figure, (left, middle, right) = panels(3)
    found = sorted(((a["B"], r["smallest"]) for a, r in answers.of(first_kernels, task="linear")), key=lambda x: x[0])
    for b, values in found:
        left.loglog(np.full(len(values), b), values, ".", ms=3, color=PALETTE[5])
    numbers, means = [b for b, _ in found], [np.exp(np.mean(np.log(values))) for _, values in found]
    left.loglog(numbers, means, color=PALETTE[0], marker="o", ms=4)
    kernels = {a["width"]: r["kernels"] for a, r in answers.of(kernel_noise)}
    widths = np.array(list(kernels))
    spread = np.array([_noise(K) / np.linalg.norm(K.mean(axis=0)) for K in kernels.values()])
    middle.loglog(widths, spread, "o", ms=4, color=PALETTE[0])
    middle.loglog(widths, spread[0] * (widths / widths[0]) ** -0.5, color="0.4", lw=0.6)
    ((a, run),) = answers.of(many_prompts)
    for k, name in enumerate(("first", "last")):
        right.semilogy(np.arange(1, a["B"] + 1), run[name][::-1], "os"[k], ms=3, color=PALETTE[k], label=name)
    for ax, ticks in ((left, numbers), (middle, widths)):
        ax.set_xticks(ticks, ticks)
        ax.minorticks_off()
    left.set(xlabel="prompts $B$", ylabel="smallest eigenvalue")
    middle.set(xlabel="width $M$", ylabel="relative spread of $K$")
    right.set(xlabel="number", ylabel=f"eigenvalues, $B={a['B']}$")
    right.legend()
    return figure
