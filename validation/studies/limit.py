"""Finite Transformers against the limit, with predicted constants

A Transformer of L layers, each with M heads and M neurons drawn from the same law, differs from the solution of the PDE
by the error of its depth, which is deterministic, and by the noise of its width: rms^2 = (a/L)^2 + b^2/(M L). Both
constants are known for Transformers that are drawn from one law: a = Read delta(1), where delta' = Dg.delta + b with
b = -1/8 (Df.f + Dh.h + Df.h - Dh.f) - 1/2 dg/dt, and b^2 = 1/4 int (Var <q, f> + Var <q, h>) dt with the adjoint q of
the readout. They are put to the test at the start and for Transformers drawn from the law after some training.

The task is in-context regression (D = 4, n = 5, softmax attention, tanh neurons, lambda = 0.01), and the initial law
has 13 atoms, so that the limit is known without sampling error. Networks are plain numpy, trained by the same
Runge-Kutta steps as the limit. Along training the flow damps both errors; there the constants are measured.

Where the flow can be linearised exactly, along training is predicted too: one token of dimension one, attention only,
values V uniform on an interval. Then ln T(1)/H = sum_l ln(1 + x_l) with x_l the mean of V in layer l over 2 L.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import optimize, stats
from scipy.integrate import solve_ivp

import wflow
from validation import atoms
from validation.atoms import DTAU, FRAMES, STEPS
from validation.drawing import log_log, panels
from validation.statistics import bootstrap, power_law, rms
from validation.study import Answers, Claim, Job, Outcome, Table, at_most, within
from validation.transformer import FiniteTransformer
from wflow.figures.style import PALETTE

Array = NDArray[np.float64]

#: Values V of the single token are uniform on MIDDLE +- RADIUS; its weight decay, steps and times.
MIDDLE, RADIUS, DECAY, STEP, TIMES = 1.0, 1.5, 0.05, 0.25, 16

TAU = DTAU * np.arange(STEPS + 1)


def sizes(full: bool) -> dict[str, Any]:
    """What is computed at the quick and at the full size."""
    if full:
        return {"depths": (2, 4, 8, 16, 32, 64), "M": (4, 16, 64), "L": (4, 8, 16, 32), "seeds": 24, "draws": 1000}
    return {"depths": (2, 4, 8, 16, 32), "M": (4, 16, 32), "L": (4, 8, 16), "seeds": 10, "draws": 400}


def jobs(full: bool) -> list[Job]:
    """What to compute."""
    size = sizes(full)
    out = [Job(atoms.limit, {"layers": L, "refinement": r}, 2 * r) for L, r in ((8, 1), (8, 2), (16, 1))]
    for frame in FRAMES:
        out.append(Job(atoms.constants, {"frame": frame}, 5))
        out.append(Job(atoms.redrawn, {"M": 32, "L": 32, "frame": frame, "seeds": size["draws"]}, size["draws"] / 60))
        out += [Job(atoms.redrawn, {"M": 1, "L": L, "frame": frame, "seeds": 0}) for L in (32, 64)]
    out += [Job(atoms.trained, {"M": None, "L": L}, L / 12) for L in size["depths"]]
    for M, L, seed in itertools.product(size["M"], size["L"], range(size["seeds"])):
        out.append(Job(atoms.trained, {"M": M, "L": L, "seed": seed}, M * L / 400))
    out += [Job(atoms.trained, {"M": None, "L": L}, L / 12) for L in size["L"] if L not in size["depths"]]
    draws = size["draws"] // 20
    for M, L in ((None, 64), (4, 16), (16, 16), (64, 16), (16, 4), (16, 64)):
        seeds = 1 if M is None else draws
        out.append(Job(single_token, {"M": M, "L": L, "seeds": seeds}, L * seeds / 100))
    out.append(Job(single_token, {"M": 16, "L": 64, "seeds": 50 * draws, "times": 0}, draws / 2))
    return out


# One token of dimension one


def single_data() -> wflow.Dataset:
    """Three prompts of one number; the labels ask for T(1) = 0.6 H and a little more or less."""
    H = np.array([0.5, 1.0, 1.5])
    return wflow.Dataset(H[:, None, None], 0.6 * H + np.array([0.1, -0.1, 0.05]))


def single_token(M: int | None, L: int, seeds: int, times: int = TIMES) -> Mapping[str, Any]:
    """``ln T(1)/H`` at all times of training (seeds, times + 1), and the distance of the values from their law at the
    end (seeds,): of a Transformer with M values in every layer, or with their mean alone (None)."""
    model, data = FiniteTransformer("full", None, weight_decay=DECAY), single_data()
    logs, distances = [], []
    for seed in range(seeds):
        rng = np.random.default_rng([seed, M or 0, L])
        V = np.full((L, 1), MIDDLE) if M is None else MIDDLE + RADIUS * rng.uniform(-1, 1, (L, M))
        start = np.stack([V, np.zeros_like(V)], axis=2)
        history = model.train(start, None, data, STEP, times, "rk4")
        logs.append(np.log(history.predictions[:, 1, 0] / data.tokens[1, 0, 0]))
        assert history.theta is not None
        distances.append(_distance(np.sort(history.theta[..., 0], axis=1), times))
    return {"logs": np.array(logs), "distances": np.array(distances)}


@cache
def _linearised() -> dict[str, Array]:
    """The limit S of ``ln T(1)/H``, L times its depth error, and what is left of a small difference in S, at all times.

    ``S' = -1/4 (a e^{2S} - b e^S) - lambda S`` with a = E H^2, b = E H y. For L layers of equal means the force has
    the factor 1/(1 + S/L), and ``ln T(1)/H = L ln(1 + S/L)``.
    """
    data = single_data()
    H, y = data.tokens[:, 0, 0], data.labels
    a, b = np.mean(H * H), np.mean(H * y)

    def slope(tau: float, state: Array) -> Array:
        S, depth, left = state
        force, stiffness = a * np.exp(2 * S) - b * np.exp(S), 2 * a * np.exp(2 * S) - b * np.exp(S)
        lost = -0.25 * (stiffness * (depth - S * S / 2) - force * S) - DECAY * depth
        return np.array([-0.25 * force - DECAY * S, lost, -(0.25 * stiffness + DECAY) * left])

    tau = STEP * np.arange(TIMES + 1)
    S, depth, left = solve_ivp(slope, (0, tau[-1]), [MIDDLE / 2, 0, 1], t_eval=tau, rtol=1e-10, atol=1e-12).y
    return {"tau": tau, "S": S, "depth": depth - S * S / 2, "left": left}


def _distance(V: Array, times: int) -> float:
    """The conditional distance W_2 of sorted values (L, M) from the law that the flow makes of theirs: uniform.

    Of one layer ``W_2^2 = sum_j int (v_j - x(u))^2 du`` over ((j-1)/M, j/M) with the quantile function x linear.
    """
    L, M = V.shape
    end = _linearised()
    decay = np.exp(-DECAY * end["tau"][times])
    low = decay * (MIDDLE - RADIUS) + 2 * (end["S"][times] - decay * end["S"][0])
    edges = low + 2 * RADIUS * decay * np.arange(M + 1) / M
    before, after = V - edges[:-1], V - edges[1:]
    return float(np.sqrt(np.sum((before**3 - after**3) / (3 * (edges[1] - edges[0]))) / (L * M)))


# What follows

#: How the errors are called.
NAMES = {"Q": "|Q^ - Q|", "R": "|R^ - R|", "predictions": "prediction error"}

Errors = dict[tuple[int, int], dict[str, Array]]


def report(answers: Answers, full: bool) -> Outcome:
    """Claims, tables and figures."""
    size = sizes(full)
    limit = answers.one(atoms.limit, layers=16)
    deep = {L: next(answers.of(atoms.trained, M=None, L=L))[1] for L in {*size["depths"], *size["L"]}}
    width: Errors = {}
    total: Errors = {}
    for M, L in itertools.product(size["M"], size["L"]):
        runs = [run for _, run in answers.of(atoms.trained, M=M, L=L)]
        width[M, L], total[M, L] = _errors(runs, deep[L]), _errors(runs, limit)
    depth = {L: _errors([deep[L]], limit) for L in size["depths"]}
    fits, table = _law(total)
    claims = [*_reference(answers, depth), *_slopes(depth, width), *_constants(answers), *fits, *_single(answers)]
    figures = {
        "errors": (
            _figure(depth, width, total),
            "Left: largest error along training of Transformers with all atoms in every layer, which have the error of "
            "the depth alone. Middle: the noise of the width, rms over seeds of the largest difference along training "
            "from the Transformer with all atoms and as many layers. Right: the error from the limit and the law "
            "fitted to it.",
        ),
        "growth": (
            _growth(answers, total),
            "Left: the rms error of the predictions along training (lines), and what the constants predict for "
            "Transformers drawn from the law at that time (circles): the flow damps errors made at the start. Right: "
            "the single token, depth error (L = 64) and noise (M = 16, L = 64) against the flow linearised around its "
            "limit.",
        ),
    }
    return Outcome(claims, _findings(total, answers), [table], figures)


def _errors(runs: Sequence[Mapping[str, Any]], other: Mapping[str, Any]) -> dict[str, Array]:
    """|Q^ - Q|, |R^ - R| and the rms error of the predictions of all runs, (runs, STEPS + 1)."""
    out = {name: np.array([np.abs(run[name] - other[name]) for run in runs]) for name in ("Q", "R")}
    apart = np.array([run["predictions"] - other["predictions"] for run in runs])
    return out | {"predictions": np.sqrt(np.mean(apart**2, axis=2))}


def _largest(errors: Mapping[str, Array], name: str) -> float:
    """The rms over runs of the largest error along training."""
    return rms(errors[name].max(axis=1))


def _reference(answers: Answers, depth: Mapping[int, Mapping[str, Array]]) -> list[Claim]:
    coarse, fine, steps = (
        answers.one(atoms.limit, layers=L, refinement=r)["predictions"] for L, r in ((8, 1), (16, 1), (8, 2))
    )
    error = max(float(np.sqrt(np.mean((coarse - better) ** 2, axis=1)).max()) for better in (fine, steps))
    smallest = min(_largest(errors, "predictions") for errors in depth.values())
    text = "error of the limit itself (depth and steps), over the smallest error measured"
    return [at_most(text, error / smallest, 0.01)]


def _slopes(depth: Mapping[int, Mapping[str, Array]], width: Errors) -> list[Claim]:
    claims = []
    for name, words in NAMES.items():
        fit = power_law(list(depth), [_largest(errors, name) for errors in depth.values()])
        text = f"exponent of 1/L in the largest {words} along training, all atoms"
        claims.append(within(text, -fit.exponent, 1.0, 0.1, interval=(-fit.interval[1], -fit.interval[0])))
    for name, words in NAMES.items():
        fit = power_law([M * L for M, L in width], [_largest(errors, name) for errors in width.values()])
        text = f"exponent of 1/(M L) in the noise of {words} along training, rms at equal L"
        claims.append(within(text, -fit.exponent, 0.5, 0.1, interval=(-fit.interval[1], -fit.interval[0])))
    return claims


def _constants(answers: Answers) -> list[Claim]:
    claims = []
    limit, labels = answers.one(atoms.limit, layers=16), atoms.data().labels.ravel()
    for frame in FRAMES:
        at = f"at tau = {DTAU * frame:g}"
        expected = answers.one(atoms.constants, frame=frame)
        half, deep = (answers.one(atoms.redrawn, frame=frame, M=1, L=L) for L in (32, 64))

        def bias(name: str, of: Any, half: Any = half, deep: Any = deep) -> Any:
            """L times the error as L goes to infinity, from 32 and 64 layers."""
            return 128 * (deep[name] - of) - 32 * (half[name] - of)

        depth = bias("all_atoms", expected["prediction"])
        apart = rms(depth - expected["depth"]) / rms(expected["depth"])
        text = f"L times the error of the depth in predictions, rms over prompts, {at}"
        claims.append(within(text, rms(depth), rms(expected["depth"]), 0.02, relative=True))
        claims.append(at_most(f"the same, prompt by prompt: relative difference from its constant, {at}", apart, 0.02))
        slope = float(np.mean((expected["prediction"] - labels) * expected["depth"]))
        text = f"L (R^ - R), all atoms, {at}"
        claims.append(within(text, bias("R", limit["R"][frame]), slope, 0.02, relative=True))
        if frame:  # at the start the second moment is the same at all depths
            text = f"L times the error of the regulariser, {at}"
            penalty = bias("Q", limit["Q"][frame]) - bias("R", limit["R"][frame])
            claims.append(within(text, penalty, expected["regulariser"], 0.1, relative=True))
        drawn = answers.one(atoms.redrawn, frame=frame, M=32, L=32)
        noise, width = 32 * (drawn["predictions"] - drawn["all_atoms"]), float(np.sqrt(np.mean(expected["width"])))
        text = f"sqrt(M L) times the noise of the width, rms over prompts, {at}"
        interval = bootstrap(rms, noise, seed=frame)
        claims.append(within(text, rms(noise), width, 0.1, relative=True, interval=interval))
    return claims


def _law(total: Errors) -> tuple[list[Claim], Table]:
    """Fit rms^2 = (a/L)^2 + b^2/(M L) to the prediction errors from the limit."""
    claims, rows = [], []
    M, L = np.array(list(total), float).T
    for words, of in (("at tau = 0", 0), ("largest along training", None), ("at the end", STEPS)):
        errors = [x["predictions"] for x in total.values()]
        samples = np.array([x.max(axis=1) if of is None else x[:, of] for x in errors])
        measured = np.sqrt(np.mean(samples**2, axis=1))
        a, b = _fit(M, L, measured)
        seeds, rng = samples.shape[1], np.random.default_rng(5)
        again = [np.sqrt(np.mean(samples[:, rng.integers(seeds, size=seeds)] ** 2, axis=1)) for _ in range(200)]
        spread = np.std(np.log(again), axis=0)
        residual = 0.5 * np.log((a / L) ** 2 + b**2 / (M * L)) - np.log(measured)
        chi = float(np.sum((residual / spread) ** 2)) / (len(M) - 2)
        limits = np.quantile([_fit(M, L, y) for y in again], [0.025, 0.975], axis=0)
        of_a, of_b = (f"{low:.3g} to {high:.3g}" for low, high in limits.T)
        rows.append([words, a, of_a, b, of_b, chi])
        if of is None:
            critical = float(stats.chi2.ppf(0.999, len(M) - 2)) / (len(M) - 2)
            text = "misfit chi^2 per freedom of rms^2 = (a/L)^2 + b^2/(M L), largest error along training"
            claims.append(at_most(text, chi, critical))
    head = ["prediction error", "a", "95 %", "b", "95 %", "chi^2 per freedom"]
    return claims, Table("rms^2 = (a/L)^2 + b^2/(M L), fitted", head, rows)


def _fit(M: Array, L: Array, y: Array) -> Array:
    """a and b, by least squares in the logarithms."""

    def residual(logs: Array) -> Array:
        a, b = np.exp(logs)
        return np.asarray(0.5 * np.log((a / L) ** 2 + b**2 / (M * L)) - np.log(y))

    start = np.log([np.median(y * L), np.median(y * np.sqrt(M * L))])
    return np.asarray(np.exp(optimize.least_squares(residual, start, bounds=(start - 12, start + 12)).x))


def _single(answers: Answers) -> list[Claim]:
    exact = _linearised()
    bias = 64 * (answers.one(single_token, M=None, L=64)["logs"][0] - exact["S"])
    apart = float(np.abs(bias - exact["depth"]).max() / np.abs(exact["depth"]).max())
    text = "single token: L times the error of the depth along training, relative difference from its prediction"
    claims = [at_most(text, apart, 0.1)]
    start, noise = _noise(answers, 0)[:, 0], _noise(answers, TIMES)
    text = "single token: sqrt(M L) times the noise of the width at tau = 0"
    interval = bootstrap(rms, start, seed=0)
    claims.append(within(text, rms(start), 0.5 * RADIUS / np.sqrt(3), 0.1, relative=True, interval=interval))
    left = _left(noise)
    text = "single token: the part of it that is left at the end"
    interval = bootstrap(_left, noise, seed=1)
    claims.append(within(text, left, exact["left"][-1], 0.1, relative=True, interval=interval))
    far = {(a["M"], a["L"]): rms(x["distances"]) for a, x in answers.of(single_token) if a["M"] and "times" not in a}
    fit = power_law(*zip(*((M, y) for (M, L), y in far.items() if L == 16)))
    text = "single token: conditional W_2 of the values from their law at the end (p = 1), exponent of 1/M at L = 16"
    claims.append(within(text, -fit.exponent, 0.5, 0.1, interval=(-fit.interval[1], -fit.interval[0])))
    fit = power_law(*zip(*((L, y) for (M, L), y in far.items() if M == 16)))
    claims.append(within("the same, exponent of L at M = 16", fit.exponent, 0.0, 0.1, interval=fit.interval))
    constant = 2 * RADIUS * np.exp(-DECAY * exact["tau"][-1]) / np.sqrt(6 * 64)
    claims.append(within("the same at M = 64, L = 16", far[64, 16], constant, 0.1, relative=True))
    return claims


def _noise(answers: Answers, times: int) -> Array:
    """sqrt(M L) times the noise of ln T(1)/H for M = 16, L = 64: (seeds, times + 1)."""
    deep = answers.one(single_token, M=None, L=64)["logs"][:, : times + 1]
    sampled = [x for a, x in answers.of(single_token, M=16, L=64) if a.get("times", TIMES) == times]
    return np.asarray(32 * (sampled[0]["logs"] - deep))


def _left(noise: Array) -> float:
    """The noise at the end over that at the start."""
    return rms(noise[:, -1]) / rms(noise[:, 0])


def _findings(total: Errors, answers: Answers) -> list[str]:
    start, end = (np.mean([rms(x["predictions"][:, i]) for x in total.values()]) for i in (0, STEPS))
    out = [
        f"Along training to tau = {TAU[-1]:g} the rms error of the predictions changes from {start:.3g} to {end:.3g} "
        f"(mean over all sizes), a factor of {end / start:.2f}."
    ]
    first, last = (np.sqrt(np.mean(answers.one(atoms.constants, frame=i)["width"])) for i in (0, STEPS))
    change, factor = last / first, end / start
    word = "damps" if factor < change else "feeds"
    out.append(
        f"The noise of Transformers that are drawn from the law at that time would change by a factor of {change:.2f}: "
        f"training {word} the errors that it starts with."
    )
    return out


def _figure(depth: Mapping[int, Mapping[str, Array]], width: Errors, total: Errors) -> Figure:
    figure, (left, middle, right) = panels(3, 2.5)
    for name, label, colour, line in zip(NAMES, ("$Q$", "$R$", "predictions"), PALETTE, ("o-", "s:", "^-")):
        y = [_largest(errors, name) for errors in depth.values()]
        left.plot(list(depth), y, line, color=colour, label=label)
    x = np.array([min(depth), max(depth)])
    left.plot(x, 1.6 * y[0] * x[0] / x, "k:", linewidth=0.8, label="$1/L$")
    log_log(left, list(depth), [_largest(errors, name) for errors in depth.values() for name in NAMES])
    left.set(xlabel="layers $L$", ylabel="largest error, all atoms")
    left.legend()
    x = np.array(sorted(M * L for M, L in width))
    for L, colour in zip(sorted({L for _, L in width}), PALETTE):
        some = {M: _largest(errors, "predictions") for (M, k), errors in width.items() if k == L}
        middle.plot([M * L for M in some], list(some.values()), "o", color=colour, label=f"$L={L}$")
    scale = np.exp(np.mean([np.log(_largest(e, "predictions") * np.sqrt(M * L)) for (M, L), e in width.items()]))
    middle.plot(x, scale / np.sqrt(x), "k:", linewidth=0.8, label="$(ML)^{-1/2}$")
    log_log(middle, [20, 50, 100, 200, 500, 1000], [_largest(errors, "predictions") for errors in width.values()])
    middle.set(xlabel="$M L$", ylabel="noise of the width")
    middle.legend()
    M, L = np.array(list(total), float).T
    a, b = _fit(M, L, np.array([_largest(errors, "predictions") for errors in total.values()]))
    depths = np.geomspace(L.min(), L.max(), 50)
    for width_, colour in zip(sorted(set(M)), PALETTE):
        some = {k: _largest(errors, "predictions") for (m, k), errors in total.items() if m == width_}
        right.plot(list(some), list(some.values()), "o", color=colour, label=f"$M={width_:g}$")
        right.plot(depths, np.sqrt((a / depths) ** 2 + b**2 / (width_ * depths)), color=colour, linewidth=0.8)
    log_log(right, sorted(set(L)), [_largest(errors, "predictions") for errors in total.values()])
    right.set(xlabel="layers $L$", ylabel="error from the limit")
    right.legend()
    return figure


def _growth(answers: Answers, total: Errors) -> Figure:
    figure, (left, right) = panels(2, 2.5)
    keys = list(total)
    for (M, L), colour in zip((keys[0], keys[len(keys) // 2], keys[-1]), PALETTE):
        along = np.sqrt(np.mean(total[M, L]["predictions"] ** 2, axis=0))
        left.plot(TAU, along, color=colour, label=f"$M={M}$, $L={L}$")
        for frame in FRAMES:
            at = answers.one(atoms.constants, frame=frame)
            predicted = np.sqrt(np.mean(at["depth"] ** 2 / L**2 + at["width"] / (M * L)))
            left.plot(DTAU * frame, predicted, "o", color=colour, markersize=4, fillstyle="none")
    left.set(xlabel=r"training time $\tau$", ylabel="error of the predictions")
    left.legend()
    exact = _linearised()
    bias = 64 * (answers.one(single_token, M=None, L=64)["logs"][0] - exact["S"])
    right.plot(exact["tau"], -exact["depth"], color=PALETTE[0], label="depth, predicted")
    right.plot(exact["tau"], -bias, "o", color=PALETTE[0], label="depth, measured")
    predicted = 0.5 * RADIUS / np.sqrt(3) * exact["left"]
    right.plot(exact["tau"], predicted, "--", color=PALETTE[1], label="width, predicted")
    noise = np.sqrt(np.mean(_noise(answers, TIMES) ** 2, axis=0))
    right.plot(exact["tau"], noise, "s", color=PALETTE[1], label="width, measured")
    right.set(xlabel=r"training time $\tau$", ylabel=r"$-L\times$ error,  $\sqrt{ML}\times$ noise")
    right.legend()
    return figure
