"""Losses: squares, logistic, cross-entropy and Huber, against solutions in closed form

A prompt of one token, softmax heads and one layer make predictions that are linear in the values. One prompt moves by
u' = -l'(u)/4 - lambda u, whatever the heads, with l' the derivative of the loss, so that the flow is known. Squares:
u - y falls like e^(-tau/4). Huber: with constant speed delta/4 as long as |u - y| > delta, then like squares. Logistic,
label 1: e^u + u = tau/4 + constant, and R = 4/tau in the end. Cross-entropy of K classes, d how far the prediction of
the class is above the others: e^d + (K - 1) d = K tau/4 + constant, and R = 4 (K - 1)/(K tau) in the end. With weight
decay the end is the minimiser of a function of one number. Of equal prompts with different labels the predictions go to
the mean, to Huber's estimate, to the log odds, and to the logarithms of the frequencies.

For Transformers, whose flow is not known: velocities and runs of the numpy Transformer, where the losses are written a
second time; -dQ/dtau = |v|^2; du/dtau = -K l'(u)/B with the tangent kernel K, which knows nothing of the loss.
"""

from __future__ import annotations

__all__ = ["jobs", "report"]

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.integrate import cumulative_simpson
from scipy.optimize import brentq
from scipy.special import wrightomega

import wflow
from validation.agreement import TOLERANCE, differences, problem
from validation.drawing import line_of, log_log, panels
from validation.kernel import prediction_gradients, state_of
from validation.losses import LOSSES, loss_and_slope
from validation.study import Answers, Claim, Job, Outcome, Table, at_least, at_most, within
from validation.trajectory import finite_transformer
from wflow.controllers import Fixed
from wflow.measures import Measure

Array = NDArray[Any]

DELTA, CLASSES = 0.5, 3
#: Steps that end where the velocity vanishes: rates are at most 1/4 + lambda.
TO_REST: Any = {"scheme": "heun", "controller": Fixed(1.0, monotone=False), "tol": 0, "progress": False}
#: Where predictions start, and the label: the class 0 of three.
START = {"squares": 2.0, "huber": 2.0, "logistic": -1.0, "cross-entropy": -1.0}
LABEL: dict[str, Any] = {"squares": -1.0, "huber": -1.0, "logistic": 1.0, "cross-entropy": 0}
#: The labels of equal prompts.
MANY: dict[str, Any] = {
    "squares": [0.3, -0.5, 1.0, 0.2, 9.0],
    "huber": [0.3, -0.5, 1.0, 0.2, 9.0],
    "logistic": [1.0, 1.0, -1.0, 1.0, 1.0],
    "cross-entropy": [0, 1, 2, 1, 1],
}


def jobs(full: bool) -> list[Job]:
    """What to compute."""
    ends = {"squares": 40.0, "huber": 40.0, "logistic": 1e5, "cross-entropy": 1e5}
    out = [Job(one_prompt, {"loss": loss, "tau": ends[loss]}) for loss in LOSSES]
    out += [Job(at_rest, {"loss": loss, "weight_decay": x}) for loss in LOSSES for x in (0.03, 0.3)]
    out += [Job(proximal, {"loss": loss}) for loss in LOSSES]
    out += [Job(equal_prompts, {"loss": loss}) for loss in LOSSES]
    for loss, dtype in itertools.product(LOSSES, TOLERANCE):
        out += [Job(agreement, {"loss": loss, "dtype": dtype, "seed": s}, 0.5) for s in range(10 if full else 2)]
    out += [Job(identities, {"loss": loss, "seed": s}) for loss in LOSSES for s in range(5 if full else 1)]
    out.append(Job(small_residuals, {}))
    tau, seeds = (1000.0, 5) if full else (100.0, 1)
    return out + [Job(transformer, {"loss": k, "tau": tau, "seed": s}, tau / 20) for k in LOSSES for s in range(seeds)]


# One prompt


def objective(loss: str, labels: Any, weight_decay: float = 0.0) -> wflow.TransformerObjective:
    """Equal prompts of one token, whose last entry is 1; the entries before it, 0 at first, are the predictions."""
    K = CLASSES if loss == "cross-entropy" else 1
    tokens = np.zeros((len(labels), K + 1, 1))
    tokens[:, -1] = 1
    data = wflow.Dataset(tokens, labels, [(k, 0) for k in range(K)])
    options: dict[str, Any] = {"huber_delta": DELTA} if loss == "huber" else {}
    attention = wflow.SoftmaxAttention()
    return wflow.TransformerObjective(data, attention, weight_decay=weight_decay, layers=1, loss=loss, **options)


def heads(Q: wflow.TransformerObjective, start: float, M: int = 3) -> wflow.Particles:
    """Different heads whose mean makes the first prediction start here, and others 0."""
    rng, D = np.random.default_rng(0), Q.dataset.tokens.shape[1]
    values = rng.standard_normal((Q.rule.n_slices, M, D, D))
    values -= values.mean(axis=(0, 1))
    values[..., 0, -1] += 2 * start
    return wflow.Particles(theta=np.concatenate([values, 0 * values], axis=2).reshape(*values.shape[:2], -1))


def gap_of(loss: str, u: Array) -> Array:
    """What the closed forms know of predictions (..., K): u, or how far u_0 is above the mean of the others."""
    return np.asarray(u[..., 0] - u[..., 1:].mean(axis=-1) if loss == "cross-entropy" else u[..., 0])


def exact(loss: str, tau: Array) -> Array:
    """The prediction, or the gap, in closed form."""
    u, y = START[loss], LABEL[loss]
    if loss == "squares":
        return np.asarray(y + (u - y) * np.exp(-tau / 4))
    if loss == "huber":
        meet = 4 * (u - y - DELTA) / DELTA
        return np.asarray(np.where(tau < meet, u - tau * DELTA / 4, y + DELTA * np.exp(-(tau - meet) / 4)))
    if loss == "logistic":
        return np.asarray(np.log(wrightomega(tau / 4 + u + np.exp(u))))
    k = CLASSES - 1
    return np.asarray(np.log(k * wrightomega((CLASSES * tau / 4 + np.exp(u) + k * u) / k - np.log(k))))


def risk_of(loss: str, gap: Array) -> Array:
    """The risk of one prompt as a function of its prediction or gap."""
    if loss == "cross-entropy":
        return np.asarray(np.log1p((CLASSES - 1) * np.exp(-gap)))
    u = np.ravel(gap)
    return np.array([loss_and_slope(loss, [[x]], [LABEL[loss]], DELTA)[0] for x in u])


def one_prompt(loss: str, tau: float) -> Mapping[str, Any]:
    """The flow of one prompt: predictions and risks beside the closed forms."""
    Q = objective(loss, [LABEL[loss]])
    times = np.geomspace(0.1, tau, 40)
    save = wflow.SaveAt(tau=times[:-1].tolist())
    answer = wflow.solve(Q, heads(Q, START[loss]), (0, tau), rtol=1e-10, atol=1e-12, save=save, tol=0, progress=False)
    frames = [answer.measure(i) for i in range(answer.n_frames)]
    u = np.array([np.reshape(Q.predict(rho), (1, -1)) for rho in frames])[:, 0]
    R = np.array([Q.risk(rho) for rho in frames])
    solution = exact(loss, answer.frame_tau)
    expected = risk_of(loss, solution)
    return {
        "tau": answer.frame_tau,
        "R": R,
        "exact": expected,
        "gap": float(np.abs(gap_of(loss, u) - solution).max()),
        "relative": float(np.abs(R / expected - 1)[expected > 1e-8 * expected[0]].max()),
    }


def at_rest(loss: str, weight_decay: float) -> Mapping[str, Any]:
    """Where weight decay brings one prompt, beside the minimiser of l(u) + 2 lambda |u|^2."""
    Q = objective(loss, [LABEL[loss]], weight_decay)
    answer = wflow.solve(Q, heads(Q, START[loss]), (0, 30 / weight_decay), **TO_REST)
    u = np.reshape(Q.predict(answer.measure(-1)), -1)
    # d/du_0 of the loss at u, others (of three classes) at -u/2: predictions keep the sum 0 that they end with
    y = np.array([LABEL[loss]])

    def point(x: float) -> Array:
        return np.array([[x, *([-x / (CLASSES - 1)] * (CLASSES - 1))]]) if loss == "cross-entropy" else np.array([[x]])

    def force(x: float) -> float:
        return float(loss_and_slope(loss, point(x), y, DELTA)[1][0, 0]) / 4 + weight_decay * x

    best = brentq(force, -20.0, 20.0, xtol=1e-15)
    least = loss_and_slope(loss, point(best), y, DELTA)[0] + 2 * weight_decay * float(np.sum(point(best) ** 2))
    return {"u": u[0], "expected": best, "Q": answer.energy[-1], "least": least}


def proximal(loss: str) -> Mapping[str, Any]:
    """Five steps of JKO of 2 beside ``u+ = u - h l'(u+)/4``, of the prediction or, with 3/2 of the rate, of the gap."""
    h, steps = 2.0, 5
    Q = objective(loss, [LABEL[loss]])
    answer = wflow.solve(Q, heads(Q, START[loss]), (0, h * steps), scheme="jko", dtau=h, tol=0, progress=False)
    x = START[loss]

    def slope(z: float) -> float:
        if loss == "cross-entropy":
            return float(-CLASSES / (np.exp(z) + CLASSES - 1))
        return float(loss_and_slope(loss, [[z]], [LABEL[loss]], DELTA)[1][0, 0])

    for _ in range(steps):
        x = brentq(lambda z, x=x: z - x + h / 4 * slope(z), -50.0, 50.0, xtol=1e-15)
    u = np.reshape(Q.predict(answer.measure(-1)), (1, -1))
    return {"gap": abs(float(gap_of(loss, u)[0]) - x)}


def equal_prompts(loss: str) -> Mapping[str, Any]:
    """Equal prompts with different labels: predictions at rest beside what statistics calls them."""
    labels = np.array(MANY[loss])
    Q = objective(loss, labels)
    answer = wflow.solve(Q, heads(Q, 0.0), (0, 800.0), **TO_REST)
    u = np.atleast_2d(np.reshape(Q.predict(answer.measure(-1)), (len(labels), -1)))[0]
    if loss == "squares":
        expected = [labels.mean()]
    elif loss == "huber":
        expected = [brentq(lambda x: np.clip(x - labels, -DELTA, DELTA).sum(), -10.0, 10.0, xtol=1e-15)]
    elif loss == "logistic":
        share = np.mean(labels > 0)
        expected = [np.log(share / (1 - share))]
    else:
        logs = np.log(np.bincount(labels) / len(labels))
        expected = logs - logs.mean() + u.mean()
    return {"u": u, "expected": np.array(expected)}


# Transformers


def agreement(loss: str, dtype: str, seed: int) -> Mapping[str, Any]:
    """Softmax heads and tanh neurons beside the numpy Transformer."""
    return differences("softmax", "none", loss, seed, dtype)


def _derivative(f: Callable[[Any], Any], rho: Measure, v: Mapping[str, Array], h: float = 1e-3) -> Any:
    """Of f(rho + s v) at s = 0, by central differences of order 6."""

    def at(s: float) -> Any:
        return f(rho.replace(**{block: x + s * v[block] for block, x in rho.blocks.items()}))

    return sum(c * (at(k * h) - at(-k * h)) for k, c in ((1, 45), (2, -9), (3, 1))) / (60 * h)


def identities(loss: str, seed: int) -> Mapping[str, Any]:
    """Along a run: the change of Q and of the predictions beside what dissipation and the tangent kernel say."""
    Q, rho = problem("softmax", "causal", loss, seed, "float64")
    steps: dict[str, Any] = {"scheme": "rk4", "controller": Fixed(0.01, monotone=False)}
    answer = wflow.solve(Q, rho, (0, 5.0), save=wflow.SaveAt(every=1.0), tol=0, progress=False, **steps)
    falls = cumulative_simpson(answer.dissipation, x=answer.tau, initial=0)
    lost = answer.energy[0] - answer.energy
    free = wflow.TransformerObjective(
        Q.dataset,
        Q.attention,
        Q.feedforward,
        layers=2,
        loss=loss,
        huber_delta=Q.huber_delta,
        mobility=Q.mobility,
    )
    slopes, motions = [], []
    for i in range(answer.n_frames):
        frame = answer.measure(i)
        v = Q.velocity(frame)
        slopes.append(abs(_derivative(Q.value, frame, v) / -Q.dissipation(frame) - 1))
        frame = wflow.Particles(
            weights=None, **frame.blocks
        )  # of equal weights, which is what gradients of numpy go with
        u = np.reshape(free.predict(frame), (Q.dataset.n_prompts, -1))
        J = prediction_gradients(finite_transformer(free), state_of(frame.blocks), Q.dataset)
        slope = loss_and_slope(loss, u, Q.dataset.labels, Q.huber_delta)[1]
        expected = -J @ (J.T @ slope.ravel()) / len(u)
        moved = _derivative(free.predict, frame, free.velocity(frame)).ravel()
        motions.append(np.abs(moved - expected).max() / np.abs(expected).max())
    return {"slope": max(slopes), "motion": max(motions), "lost": np.abs(falls - lost).max() / lost[-1]}


def small_residuals() -> Mapping[str, Any]:
    """Runs with squares and with Huber losses that never reach, or do reach, delta: the largest difference."""
    Q, rho = problem("softmax", "none", "squares", 0, "float64")
    ends = {}
    for delta in (None, 100.0, 0.1):
        options: dict[str, Any] = {} if delta is None else {"loss": "huber", "huber_delta": delta}
        objective = wflow.TransformerObjective(Q.dataset, Q.attention, Q.feedforward, 0.05, layers=2, **options)
        fixed: dict[str, Any] = {"scheme": "rk4", "controller": Fixed(0.1, monotone=False), "tol": 0}
        ends[delta] = wflow.solve(objective, rho, (0, 5.0), progress=False, **fixed).measure(-1)
    squares = ends.pop(None).blocks
    large, small = (max(float(np.abs(end.blocks[b] - x).max()) for b, x in squares.items()) for end in ends.values())
    return {"large": large, "small": small}


def transformer(loss: str, tau: float, seed: int) -> Mapping[str, Any]:
    """Prompts that can be told apart: the risk along training without decay."""
    rng, B = np.random.default_rng(seed), 12
    labels: Any = np.arange(B) % CLASSES if loss == "cross-entropy" else np.where(np.arange(B) % 2, 1.0, -1.0)
    K = CLASSES if loss == "cross-entropy" else 1
    data = wflow.Dataset(rng.standard_normal((B, 4, 4)), labels, [(k, 3) for k in range(K)])
    options: dict[str, Any] = {"huber_delta": DELTA} if loss == "huber" else {}
    encoders = wflow.SoftmaxAttention(), wflow.FeedForward("tanh")
    Q = wflow.TransformerObjective(data, *encoders, layers=2, loss=loss, **options)
    rho = wflow.initial.gaussian(std=0.5).sample(Q, 16, rng=seed)
    answer = wflow.solve(Q, rho, (0, tau), rtol=1e-4, tol=0, progress=False)
    times = np.geomspace(tau / 1000, tau, 60)
    return {"tau": times, "R": np.exp(np.interp(times, answer.tau, np.log(answer.risk))), "start": answer.risk[0]}


# The report


def report(answers: Answers, full: bool) -> Outcome:
    """Claims, a table, a figure."""
    claims = [*_one_prompt_claims(answers), *_transformer_claims(answers)]
    caption = (
        "Risk along training: one prompt, marked, on the closed forms; and Transformers on prompts of unlike labels."
    )
    return Outcome(claims, _findings(answers), [_table(answers)], {"risk": (_figure(answers), caption)})


def _one_prompt_claims(answers: Answers) -> Iterator[Claim]:
    for loss in LOSSES:
        a = answers.one(one_prompt, loss=loss)
        yield at_most(f"{loss}: predictions of one prompt against the closed form", a["gap"], 1e-7)
        yield at_most(f"{loss}: its risk, relative, down to 1e-8 of the first one", a["relative"], 1e-5)
    for loss, constant in (("logistic", 4.0), ("cross-entropy", 4 * (CLASSES - 1) / CLASSES)):
        a = answers.one(one_prompt, loss=loss)
        yield within(
            f"{loss}: tau R of one prompt at tau = 1e5", a["tau"][-1] * a["R"][-1], constant, 0.01, relative=True
        )
    for arguments, a in answers.of(at_rest):
        words = f"{arguments['loss']}, lambda = {arguments['weight_decay']}: "
        yield within(words + "prediction at rest", a["u"], a["expected"], 1e-9)
        yield within(words + "Q at rest", a["Q"], a["least"], 1e-12)
    for arguments, a in answers.of(proximal):
        yield at_most(f"{arguments['loss']}: five steps of JKO against implicit steps by hand", a["gap"], 1e-4)
    names = {
        "squares": "the mean",
        "huber": "Huber's estimate",
        "logistic": "log odds",
        "cross-entropy": "log frequencies",
    }
    for loss, name in names.items():
        a = answers.one(equal_prompts, loss=loss)
        gap = float(np.abs(a["u"] - a["expected"]).max())
        yield at_most(f"{loss}: equal prompts with different labels, off {name}", gap, 1e-9)


def _transformer_claims(answers: Answers) -> Iterator[Claim]:
    for dtype, limit in TOLERANCE.items():
        for loss in LOSSES:
            found = [a for _, a in answers.of(agreement, loss=loss, dtype=dtype)]
            worst = max(a[k] for a in found for k in ("velocity", "value", "50 steps", "adaptive"))
            yield at_most(f"{loss}, {dtype}: numpy Transformer, velocity and runs, relative", worst, limit)
    words = {
        "slope": ("dQ/dtau against -|v|^2, relative", 1e-9),
        "motion": ("du/dtau against -K l'(u)/B, relative", 1e-8),
    }
    words["lost"] = ("the fall of Q against the integral of |v|^2, relative", 1e-6)
    for loss, (name, (text, limit)) in itertools.product(LOSSES, words.items()):
        yield at_most(f"{loss}: {text}", max(a[name] for _, a in answers.of(identities, loss=loss)), limit)
    a = answers.one(small_residuals)
    yield at_most("huber, residuals below delta: particles off those of squares", a["large"], 1e-14)
    yield at_least("huber, residuals above delta: particles off those of squares", a["small"], 1e-3)


def _exponent(a: Mapping[str, Any]) -> float:
    """Of R in tau, late."""
    return float(np.log(a["R"][-1] / a["R"][-20]) / np.log(a["tau"][-1] / a["tau"][-20]))


def _table(answers: Answers) -> Table:
    rows = []
    for loss in LOSSES:
        numbers = [[a["start"], a["R"][-1]] for _, a in answers.of(transformer, loss=loss)]
        rows.append([loss, *np.median(numbers, axis=0)])
    return Table("Transformers on prompts of unlike labels: medians of R.", ["loss", "tau = 0", "at the end"], rows)


def _findings(answers: Answers) -> list[str]:
    late = {}
    for loss in ("logistic", "cross-entropy"):
        late[loss] = np.median([_exponent(a) for _, a in answers.of(transformer, loss=loss)])
    words = " and ".join(f"{exponent:.2f} for {loss}" for loss, exponent in late.items())
    return [
        "One prompt is learned like 1/tau by logistic losses and cross-entropy, and like e^(-tau/4) by the others. For "
        f"Transformers, which are not linear in their weights, the late exponent of R in tau is {words}, in the median."
    ]


def _figure(answers: Answers) -> Figure:
    figure, row = panels(2, 2.7)
    for k, loss in enumerate(LOSSES):
        a = answers.one(one_prompt, loss=loss)
        shown = a["exact"] > 1e-10
        row[0].loglog(a["tau"][shown], a["exact"][shown], label=loss, **line_of(k))
        row[0].loglog(a["tau"][shown], a["R"][shown], "o", color=line_of(k)["color"], markersize=2)
        for seed, (_, a) in enumerate(answers.of(transformer, loss=loss)):
            row[1].plot(a["tau"], a["R"], label=loss if seed == 0 else None, **line_of(k, linewidth=0.8))
    floor = 1e-6  # below, what is left of squares and Huber is the error of the steps
    log_log(row[1], a["tau"], np.concatenate([np.maximum(a["R"], floor) for _, a in answers.of(transformer)]))
    row[1].set_ylim(bottom=floor)
    for axes, title in zip(row, ("one prompt", "Transformers")):
        axes.set(title=title, xlabel=r"$\tau$")
    row[0].set_ylabel("risk $R$")
    row[1].legend()
    return figure
