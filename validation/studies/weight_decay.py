"""Weight decay: what it costs, and what the particles collapse onto

With weight decay lambda the flow comes to rest where lambda beta = -grad E<g, p>. On data that the network can fit,
theory expects Q_inf = O(lambda) and R_inf = O(lambda^2); on data that it cannot, the same above the floor of the risk.
At rest every residual is known from the particles alone: r = -lambda B K^{-1} J beta, with the gradients J of the
predictions in the metric of the flow and K = J J^T. Here J comes from the backpropagation of the numpy Transformer.
There the parameters in which encoders are linear are a function of the others: V = V*(W) = -E[p P^T Z^T]/(2 lambda),
likewise W_2. V - V*(W) decays exactly like e^{-lambda tau} as long as V* stands still.

Problems: linear models with a closed form (constant encoders, frozen features); a Transformer of softmax heads and tanh
neurons on in-context regression with few prompts and, at the full size, on labels of a teacher of its own kind; and
neurons alone, which see nothing but the last token, so that the risk has the floor E Var(y | last token)/2. The flow of
neurons is that of one prompt for each last token with the mean label. Neurons that are nearly zero grow at the rate
|E[y z]|/2 - lambda, z the last token: beyond lambda = |E[y z]|/2 weight decay puts them out.

Long runs take BDF2 with adaptive steps to lambda tau = 200. How far from rest they end is |v|/(lambda |beta|).
"""

from __future__ import annotations

__all__ = ["jobs", "report"]

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

import wflow
from validation.drawing import common_legend, line_of, panels
from validation.kernel import State, flatten, prediction_gradients, residual_at_rest, state_of
from validation.statistics import PowerLaw, power_law
from validation.study import Answers, Claim, Job, Outcome, Table, at_most, within
from validation.trajectory import finite_transformer
from validation.transformer import FiniteTransformer
from wflow import initial
from wflow.figures.style import PALETTE
from wflow.measures import Measure
from wflow.problems import constant_encoders, two_layer
from wflow.schemes import BDF2

Array = NDArray[Any]

CLOSED = {"constant-encoders": constant_encoders, "two-layer": two_layer}
#: Runs end at lambda tau = END.
END = 200.0


def jobs(full: bool) -> list[Job]:
    """Flows over lambda: closed forms, Transformers, neurons alone."""
    tasks = [{"task": "regression", "B": 8, "layers": 2, "width": 8}]
    lambdas = [1e-3, 2e-3, 5e-3, 1e-2, 3e-2, 1e-1]
    if full:
        tasks += [{"task": "teacher", "B": 8, "layers": 4, "width": 16}]
        lambdas = [1e-4, 3e-4, *lambdas]
    small = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
    return [
        *(Job(closed_form, {"problem": p, "weight_decay": x}, 2) for p in CLOSED for x in small),
        *(Job(spread, {"problem": p, "weight_decay": x}, 2) for p in CLOSED for x in (0.03, 0.1)),
        *(Job(unseen, {"weight_decay": x, "seed": 0}, 5) for x in (0.1, 0.3)),
        *(Job(transformer, {**t, "weight_decay": x, "seed": 0}, 12) for t in tasks for x in [0.0, *lambdas]),
        *(Job(neurons, {"weight_decay": x, "seed": 0, "merged": False}, 10) for x in lambdas),
        Job(neurons, {"weight_decay": 0.03, "seed": 0, "merged": True}, 3),
        *(Job(growth, {"share": x, "seed": 0}, 2) for x in (0.5, 0.9, 1.1, 2.0)),
    ]


# Jobs


def closed_form(problem: str, weight_decay: float) -> Mapping[str, Any]:
    """Q and R where the flow of a linear model comes to rest, and the exact ones; the floor of R without decay."""
    exact = CLOSED[problem](weight_decay=weight_decay)
    answer = wflow.solve(exact.energy, exact.rho0, (0, END / weight_decay), scheme=BDF2(), rtol=1e-3, atol=1e-6)
    Q, R = _rest_of_linear_model(problem, exact.energy.dataset, weight_decay)
    _, floor = _rest_of_linear_model(problem, exact.energy.dataset, 0.0)
    return {"Q": answer.energy[-1], "R": answer.risk[-1], "exact_Q": Q, "exact_R": R, "floor": floor}


def _rest_of_linear_model(problem: str, data: wflow.Dataset, weight_decay: float) -> tuple[float, float]:
    """Q and R of ``prediction = Read H + 1/2 sum of blocks <m, psi>`` at rest: a ridge regression, m its solution."""
    blocks = 2 if problem == "constant-encoders" else 1
    psi = np.ones((data.n_prompts, 1)) if problem == "constant-encoders" else data.tokens[:, :-1, -1]
    offset = data.labels - data.read(data.tokens)
    design = 0.5 * np.tile(psi, (1, blocks)) / np.sqrt(data.n_prompts)
    ridge = np.sqrt(weight_decay) * np.eye(design.shape[1])
    target = np.concatenate([offset / np.sqrt(data.n_prompts), np.zeros(len(ridge))])
    m = np.linalg.lstsq(np.vstack([design, ridge]), target, rcond=None)[0]
    R = 0.5 * np.sum((design @ m - target[: data.n_prompts]) ** 2)
    return float(R + 0.5 * weight_decay * m @ m), float(R)


def spread(problem: str, weight_decay: float) -> Mapping[str, Any]:
    """The rms distance of the particles from where the data pull all of them, over training time."""
    exact = CLOSED[problem](weight_decay=weight_decay)
    times = np.linspace(0, 5 / weight_decay, 11)
    save = wflow.SaveAt(tau=times[1:-1].tolist())
    answer = wflow.solve(exact.energy, exact.rho0, (0, times[-1]), rtol=1e-8, atol=1e-11, save=save)
    clouds = [answer.measure(i).theta for i in range(answer.n_frames)]
    return {"tau": answer.frame_tau, "spread": np.array([_rms(x - x.mean(axis=(0, 1))) for x in clouds])}


def unseen(weight_decay: float, seed: int) -> Mapping[str, Any]:
    """Parameters of a Transformer that predictions do not depend on, against ``e^{-lambda tau}`` times the first ones.

    The rows of W_2 in the last layer that are not read, and the row of W in the first layer that meets the ones of
    every token: it adds the same number to all scores of a query.
    """
    objective, rho0 = _regression(8, 2, 8, weight_decay, seed)
    save = wflow.SaveAt(every=1 / weight_decay)
    answer = wflow.solve(objective, rho0, (0, 5 / weight_decay), rtol=1e-6, atol=1e-9, save=save)
    before = _invisible(rho0)
    gaps = []
    for i, tau in enumerate(answer.frame_tau):
        gaps.append(np.abs(_invisible(answer.measure(i)) * np.exp(weight_decay * tau) / before - 1).max())
    return {"gap": max(gaps)}


def transformer(task: str, B: int, layers: int, width: int, weight_decay: float, seed: int) -> Mapping[str, Any]:
    """A Transformer of heads and tanh neurons to rest: series, collapse, and residuals against those predicted."""
    objective, rho0 = _regression(B, layers, width, weight_decay, seed, task)
    return _to_rest(objective, rho0)


def neurons(weight_decay: float, seed: int, merged: bool) -> Mapping[str, Any]:
    """Neurons alone; ``merged``: one prompt for each last token, with the mean label."""
    data, floor = _grouped_prompts(seed)
    single = data.subset(np.arange(0, data.n_prompts, REPEATS))
    means = data.labels.reshape(-1, REPEATS).mean(axis=1)
    single = wflow.Dataset(single.tokens, means, single.readout)
    shown = single if merged else data
    objective = wflow.TransformerObjective(shown, None, wflow.FeedForward("tanh"), weight_decay, layers=2)
    rho0 = initial.gaussian(std=1.0).sample(objective, 16, rng=seed)
    return {**_to_rest(objective, rho0, single), "floor": 0.0 if merged else floor}


def growth(share: float, seed: int) -> Mapping[str, Any]:
    """The growth of neurons near zero, with lambda a share of the one that puts them out."""
    data, _ = _grouped_prompts(seed)
    threshold = 0.5 * float(np.linalg.norm(data.labels @ data.tokens[:, :, -1] / data.n_prompts))
    objective = wflow.TransformerObjective(data, None, wflow.FeedForward("tanh"), share * threshold, layers=2)
    rho0 = initial.gaussian(std=1e-6).sample(objective, 16, rng=seed)
    # All other directions fall behind by e^{-threshold tau}.
    save = wflow.SaveAt(tau=[8 / threshold])
    answer = wflow.solve(objective, rho0, (0, 10 / threshold), rtol=1e-8, atol=1e-14, tol=0, save=save)
    sizes = [_rms(answer.measure(i).w) for i in (1, -1)]
    rate = np.log(sizes[1] / sizes[0]) / (answer.frame_tau[-1] - answer.frame_tau[1])
    return {"rate": rate, "expected": (1 - share) * threshold, "threshold": threshold}


# What jobs share

#: Prompts with the same last token.
REPEATS = 3


def _regression(
    B: int, layers: int, width: int, weight_decay: float, seed: int, task: str = "regression"
) -> tuple[wflow.TransformerObjective, wflow.Particles]:
    """In-context regression with d = 1 and four examples; ``teacher``: with the labels of a random Transformer.

    The teacher has one head and one neuron a layer. That is a law of one atom, which any width can represent.
    """
    data = wflow.datasets.in_context_regression(B, 1, 4, seed)
    if task == "teacher":
        rng = np.random.default_rng(seed + 1)
        theta, w = (rng.normal(0, 1, (layers, 1, p)) for p in (32, 8))
        labels = FiniteTransformer("full", "tanh").predict(theta, w, data).ravel()
        data = wflow.Dataset(data.tokens, labels, data.readout, "teacher")
    attention, feedforward = wflow.SoftmaxAttention(), wflow.FeedForward("tanh")
    objective = wflow.TransformerObjective(data, attention, feedforward, weight_decay, layers=layers)
    return objective, initial.gaussian(std=0.3).sample(objective, width, rng=seed)


def _grouped_prompts(seed: int) -> tuple[wflow.Dataset, float]:
    """Four last tokens with three contexts and labels each, and the floor E Var(y | last token)/2."""
    rng = np.random.default_rng(seed)
    x = np.repeat([-1.5, -0.5, 0.5, 1.5], REPEATS)
    tokens = np.zeros((len(x), 4, 3))
    tokens[:, :2, :2] = rng.standard_normal((len(x), 2, 2))
    tokens[:, 0, -1], tokens[:, 2], tokens[:, 3, -1] = x, 1.0, 1.0
    labels = np.sin(2 * x) + rng.standard_normal(len(x))
    floor = 0.5 * float(np.mean(np.var(labels.reshape(-1, REPEATS), axis=1)))
    return wflow.Dataset(tokens, labels, readout=(1, -1), name="grouped prompts"), floor


def _to_rest(
    objective: wflow.TransformerObjective, rho0: wflow.Particles, single: wflow.Dataset | None = None
) -> Mapping[str, Any]:
    """The flow to lambda tau = END; for lambda = 0 to tau = 4000."""
    decay, data = objective.weight_decay, objective.dataset
    end = END / decay if decay else 4000.0
    save = wflow.SaveAt(tau=np.geomspace(5e-4 * end, end, 41)[:-1].tolist())
    accuracy: dict[str, Any] = {"scheme": BDF2(memory=40, max_iter=400), "rtol": 1e-2, "atol": 1e-3}
    watch = {"radius": lambda rho: rho.radius}
    tol = 1e-10 if decay else 1e-6  # without decay the risk goes to zero: R is about 1e-10 then
    answer = wflow.solve(objective, rho0, (0, end), **accuracy, save=save, observe=watch, tol=tol)
    model = finite_transformer(objective)
    out: dict[str, Any] = {
        "tau": answer.tau,
        "Q": answer.energy,
        "R": answer.risk,
        "radius": answer.observed["radius"],
        "frame_tau": answer.frame_tau,
    }
    states = [state_of(answer.measure(i).blocks) for i in range(answer.n_frames)]
    Q, R = model.value(*states[-1], data)
    out |= {"numpy_Q": Q, "numpy_R": R, "second_moment": np.array([flatten(x) @ flatten(x) for x in states])}
    if decay:
        # V - V*(W) = G_V/lambda, with the gradient G of the numpy Transformer; W_2 likewise.
        gradients = [model.gradient(*x, data) for x in states]
        out["gap_V"] = np.array([_gap(x, g, 0) / decay for x, g in zip(states, gradients)])
        out["gap_W2"] = np.array([_gap(x, g, 1) / decay for x, g in zip(states, gradients)])
        out["relative velocity"] = np.linalg.norm(flatten(gradients[-1])) / (
            decay * np.linalg.norm(flatten(states[-1]))
        )
        prompts = single or data
        out["r"] = model.predict(*states[-1], prompts).ravel() - prompts.labels
        out["expected_r"] = residual_at_rest(prediction_gradients(model, states[-1], prompts), states[-1], decay)
    return out


def _matrices(theta: Array) -> tuple[Array, Array]:
    """V and W of full heads, (L, M, D, D)."""
    D = int(np.sqrt(theta.shape[2] / 2))
    V, W = theta[..., : D * D], theta[..., D * D :]
    return V.reshape(*V.shape[:2], D, D), W.reshape(*W.shape[:2], D, D)


def _invisible(rho: Measure) -> Array:
    """The parameters of :func:`unseen`, for prompts of four rows: x, y (which is read), ones, the query's mark."""
    W_2 = rho.w[-1, :, 4:]
    _, W = _matrices(rho.theta)
    return np.concatenate([W_2[:, [0, 2, 3]].ravel(), W[0, :, 2].ravel()])


def _gap(state: State, gradient: State, block: int) -> float:
    """rms of the gradient in V (block 0) or W_2 (block 1), the second half of a neuron, over rms of these."""
    x, G = state[block], gradient[block]
    if x is None or G is None:
        return np.nan
    half = x.shape[2] // 2
    part = slice(None, half) if block == 0 else slice(half, None)
    return _rms(G[..., part]) / _rms(x[..., part])


def _rms(x: Array) -> float:
    return float(np.sqrt(np.mean(np.sum(x**2, axis=-1))))


# Report


def report(answers: Answers, full: bool) -> Outcome:
    """Exponents, constants, floors and the collapse."""
    tasks = ["regression", "teacher"] if full else ["regression"]
    runs = {task: _by_lambda(answers.of(transformer, task=task)) for task in tasks}
    alone = _by_lambda(answers.of(neurons, merged=False))
    claims = [*_closed_claims(answers)]
    findings, rows = [], []
    for name, some in [*runs.items(), ("neurons alone", alone)]:
        decayed = {x: run for x, run in some.items() if x > 0}
        claims += _rest_claims(name, decayed)
        findings += _speed(name, decayed)
        rows += [_row(name, x, run) for x, run in some.items()]
    for name, some in runs.items():
        more, finding = _threshold(name, some)
        claims += more
        findings += finding
    claims += _floor_claims(answers, alone)
    findings.append(_collapse(runs["regression"]))
    head = ["problem", "lambda", "R_inf - floor", "over lambda^2", "(Q_inf - floor)/lambda", "second moment"]
    head += ["largest |beta|", "its maximum", "tau to Q within 1 %", "|v|/(lambda |beta|)"]
    figures = {
        "laws": (_laws(answers, runs, alone), LAWS),
        "collapse": (_collapse_figure(runs["regression"]), COLLAPSE),
    }
    return Outcome(claims, findings, [Table("Where the flow comes to rest.", head, rows)], figures)


LAWS = (
    "Risk above its floor (left) and objective above the same floor (middle) where the flow comes to rest; thin lines "
    "have slope 2 and 1. Right: training time until Q is within 1 % of its final value."
)
COLLAPSE = (
    "In-context regression. Left: rms |V - V*(W)| over rms |V|, computed by the numpy Transformer, for several lambda; "
    "the thin line is e^{-lambda tau}. Middle: the same for W_2. Right: the support radius max |beta|."
)


def _by_lambda(found: Any) -> dict[float, Mapping[str, Any]]:
    return {a["weight_decay"]: answer for a, answer in sorted(found, key=lambda pair: pair[0]["weight_decay"])}


def _excess(run: Mapping[str, Any], name: str) -> float:
    """Q or R at the end above the floor."""
    return float(np.ravel(run[name])[-1] - run.get("floor", 0.0))


def _small(runs: Mapping[float, Any]) -> list[float]:
    """The smallest decade of lambda, over which exponents are fitted."""
    decays = [x for x in runs if x > 0]
    return [x for x in decays if x < 10.1 * decays[0]]


def _fit(runs: Mapping[float, Mapping[str, Any]], name: str) -> PowerLaw:
    small = _small(runs)
    return power_law(small, [_excess(runs[x], name) for x in small])


def _closed_claims(answers: Answers) -> Iterator[Claim]:
    for problem in CLOSED:
        some = _by_lambda(answers.of(closed_form, problem=problem))
        for name in ("Q", "R"):
            gap = max(abs(a[name] - a[f"exact_{name}"]) / (a[f"exact_{name}"] - a["floor"]) for a in some.values())
            yield at_most(f"{problem}: relative error of {name}_inf - floor, lambda = 1e-5 to 0.1", gap, 1e-5)
        small = [x for x in some if x < 2e-3]
        fit = power_law(small, [_excess(some[x], "R") for x in small])
        text = f"{problem}: exponent of R_inf - floor, lambda <= 0.001"
        yield within(text, fit.exponent, 2, 0.1, interval=fit.interval)
        for a, answer in answers.of(spread, problem=problem):
            rate = -np.polyfit(answer["tau"], np.log(answer["spread"]), 1)[0] / a["weight_decay"]
            text = f"{problem}, lambda = {a['weight_decay']:g}: decay of |theta - mean| over lambda"
            yield within(text, rate, 1, 1e-5)
    gap = max(answer["gap"] for _, answer in answers.of(unseen))
    text = "Transformer: parameters that predictions do not depend on, relative difference to e^{-lambda tau} beta_0"
    yield at_most(text, gap, 1e-4)


def _rest_claims(name: str, runs: Mapping[float, Mapping[str, Any]]) -> Iterator[Claim]:
    for letter, exponent in (("Q", 1), ("R", 2)):
        fit = _fit(runs, letter)
        text = f"{name}: exponent of {letter}_inf{' - floor' if 'floor' in next(iter(runs.values())) else ''}"
        yield within(f"{text}, lambda <= {_small(runs)[-1]:g}", fit.exponent, exponent, 0.1, interval=fit.interval)
    gap = max(float(np.linalg.norm(run["r"] - run["expected_r"]) / np.linalg.norm(run["r"])) for run in runs.values())
    yield at_most(f"{name}: residuals at rest against -lambda B K^{{-1}} J beta, largest difference", gap, 1e-3)
    # Both are parts of v/lambda; over all parameters, since weight decay may put out one block and keep the other.
    gap = max(float(run["relative velocity"]) for run in runs.values() if _alive(run))
    yield at_most(f"{name}: |V - V*| and |W_2 - W_2*| at rest over |beta|, at most |v|/(lambda |beta|)", gap, 1e-3)
    gap = max(abs(run[x][-1] / run[f"numpy_{x}"] - 1) for run in runs.values() for x in "QR")
    yield at_most(f"{name}: Q and R at rest against the numpy Transformer", gap, 1e-10)
    gap = max(run["second_moment"].max() * x / (2 * run["Q"][0]) for x, run in runs.items())
    yield at_most(f"{name}: lambda sup second moment/(2 Q(0))", gap, 1)


def _alive(run: Mapping[str, Any]) -> bool:
    """Whether weight decay has left anything of the particles."""
    return bool(run["second_moment"][-1] > 1e-6 * run["second_moment"][0])


def _row(name: str, decay: float, run: Mapping[str, Any]) -> list[Any]:
    risk = _excess(run, "R")
    row: list[Any] = [name, decay, risk, risk / decay**2 if decay else "", "", float(run["second_moment"][-1])]
    row += [float(run["radius"][-1]), float(run["radius"].max()), "", ""]
    if decay:
        row[4], row[8], row[9] = _excess(run, "Q") / decay, _settled(run), float(run["relative velocity"])
    return row


def _settled(run: Mapping[str, Any]) -> float:
    """The training time from which Q is within 1 % of its last value above the floor."""
    late = np.flatnonzero(run["Q"] - run["Q"][-1] > 0.01 * _excess(run, "Q"))
    return float(run["tau"][late[-1] + 1]) if len(late) else 0.0


def _speed(name: str, runs: Mapping[float, Mapping[str, Any]]) -> list[str]:
    small = _small(runs)
    fit = power_law(small, [_settled(runs[x]) for x in small])
    low, high = (_settled(runs[x]) for x in (small[-1], small[0]))
    return [
        f"{name}: Q is within 1 % of its final value above the floor at tau = {low:.3g} for lambda = {small[-1]:g} "
        f"and at {high:.3g} for lambda = {small[0]:g}, like lambda^{fit.exponent:.2f} "
        f"(95 %: {fit.interval[0]:.2f} to {fit.interval[1]:.2f})."
    ]


def _threshold(name: str, runs: Mapping[float, Mapping[str, Any]]) -> tuple[list[Claim], list[str]]:
    """The largest lambda with R_inf at most 1 % of R(0), and the one predicted from the particles at rest."""
    decays = [x for x in runs if x > 0]
    risks = [_excess(runs[x], "R") for x in decays]
    first = runs[decays[0]]
    goal = 0.01 * float(first["R"][0])
    measured = float(np.exp(np.interp(np.log(goal), np.log(risks), np.log(decays))))
    constant = 0.5 * float(np.mean(first["expected_r"] ** 2)) / decays[0] ** 2
    expected = np.sqrt(goal / constant)
    # That is far from small lambda: what the law of small lambda says of it is right in size only.
    law = "over the one by the law of the smallest lambda, or inverse"
    text = f"{name}: largest lambda with R_inf <= 1 % of R(0) {law}"
    free = runs[0.0]
    left = float(free["R"][-1] / free["R"][0])
    cost, ratio = 0.5 * float(free["second_moment"][-1]), [_excess(runs[x], "Q") / x for x in decays]
    findings = [
        f"{name}: without weight decay R falls to {left:.1g} of R(0) by tau = {free['tau'][-1]:g}; with it R_inf is "
        f"{constant:.3g} lambda^2 for the smallest lambda, at most 1 % of R(0) for lambda <= {measured:.2g} (the law "
        f"of the smallest lambda says {expected:.2g}), and "
        f"{100 * risks[-1] / float(first['R'][0]):.2g} % of it at lambda = {decays[-1]:g}.",
        f"{name}: Q_inf/lambda is {ratio[0]:.4g} at lambda = {decays[0]:g}; half the second moment of what the flow "
        f"without weight decay ends at is {cost:.4g}. "
        + (
            "Weight decay finds particles of smaller norm that fit as well."
            if ratio[0] < cost
            else "Weight decay has not found smaller particles: it has stopped at a worse stationary point."
        ),
    ]
    return [
        at_most(f"{name}: R/R(0) without weight decay", left, 1e-6),
        at_most(text, max(measured / expected, expected / measured), 2.0),
    ], findings


def _floor_claims(answers: Answers, alone: Mapping[float, Mapping[str, Any]]) -> Iterator[Claim]:
    smallest = min(alone)
    run = alone[smallest]
    text = f"neurons alone, lambda = {smallest:g}: R_inf against the floor E Var(y | last token)/2"
    yield within(text, float(run["R"][-1]), float(run["floor"]), 1e-3, relative=True)
    merged = answers.one(neurons, merged=True)
    twin = alone[0.03]
    moments = np.abs(merged["second_moment"] - twin["second_moment"]).max() / twin["second_moment"].max()
    yield at_most("neurons alone: second moment along the flow with merged prompts, relative difference", moments, 1e-6)
    gap = abs(merged["R"][-1] / _excess(twin, "R") - 1)
    yield at_most("neurons alone: R_inf - floor against R_inf with merged prompts", gap, 1e-4)
    for a, answer in answers.of(growth):
        text = f"neurons near zero, lambda = {a['share']:g} |E[y z]|/2: rate of growth over |E[y z]|/2"
        scale = answer["threshold"]
        yield within(text, answer["rate"] / scale, answer["expected"] / scale, 1e-3)


def _rates(run: Mapping[str, Any], decay: float) -> float:
    """The decay rate of |V - V*|/|V| over lambda, fitted for 1 <= lambda tau <= 8."""
    time = decay * run["frame_tau"]
    inside = (time >= 1) & (time <= 8)
    return float(-np.polyfit(time[inside], np.log(run["gap_V"][inside]), 1)[0])


def _collapse(runs: Mapping[float, Mapping[str, Any]]) -> str:
    rates = {x: _rates(run, x) for x, run in runs.items() if x > 0}
    low, high = min(rates.values()), max(rates.values())
    verdict = "like e^{-lambda tau} or faster for some lambda"
    if high < 0.95:
        verdict = "slower than e^{-lambda tau}: the target V*(W) still moves"
    return (
        f"In-context regression: between lambda tau = 1 and 8, |V - V*(W)| decays at {low:.2f} to {high:.2f} lambda, "
        f"{verdict}."
    )


def _laws(answers: Answers, runs: Mapping[str, Any], alone: Mapping[float, Mapping[str, Any]]) -> Figure:
    figure, axes = panels(3)
    closed = {p: _by_lambda(answers.of(closed_form, problem=p)) for p in CLOSED}
    curves = {**closed, **runs, "neurons alone": alone}
    for k, (name, some) in enumerate(curves.items()):
        decays = np.array([x for x in some if x > 0])
        line = {"color": PALETTE[k], "marker": "osD^v"[k], "ms": 3.5, "ls": "none"}
        for ax, letter, power in zip(axes, "RQ", (2, 1)):
            y = np.array([_excess(some[x], letter) for x in decays])
            ax.loglog(decays, y, **line, label=name)
            ax.loglog(decays, y[0] * (decays / decays[0]) ** power, color=PALETTE[k], lw=0.6)
        if name not in closed:
            axes[2].loglog(decays, [_settled(some[x]) for x in decays], **(line | {"ls": "-", "lw": 0.8}))
    for ax, label in zip(axes, ("$R_\\infty$ - floor", "$Q_\\infty$ - floor", "$\\tau$ to $Q$ within 1 %")):
        ax.set(xlabel="weight decay $\\lambda$", ylabel=label)
    common_legend(axes[0], "outside upper center", ncols=len(curves))
    return figure


def _collapse_figure(runs: Mapping[float, Mapping[str, Any]]) -> Figure:
    figure, axes = panels(3)
    for k, (x, run) in enumerate((x, run) for x, run in runs.items() if x > 0):
        for ax, name in zip(axes, ("gap_V", "gap_W2")):
            ax.semilogy(x * run["frame_tau"], run[name], **line_of(k))
        axes[2].semilogx(x * run["tau"][1:], run["radius"][1:], **line_of(k, label=f"{x:g}"))
    time = np.linspace(0, 10, 50)
    for ax, label in zip(axes, (r"$|V-V^*(W)|\,/\,|V|$", r"$|W_2-W_2^*(W_1)|\,/\,|W_2|$")):
        ax.semilogy(time, np.exp(-time), color="0.4", lw=0.6)
        ax.set(xlim=(0, 20), ylim=(1e-4, 1e1), xlabel=r"$\lambda\tau$", ylabel=label)
    axes[2].set(xlabel=r"$\lambda\tau$", ylabel=r"$\max|\beta|$", xlim=(1e-3, END))
    common_legend(axes[2], "outside right center", title=r"$\lambda$")
    return figure
