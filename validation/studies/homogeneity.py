"""Does global convergence need homogeneous encoders?

The convergence theorem of Gao et al. (2024, arXiv 2410.23610) asks for encoders that are homogeneous in part of their
parameters, the outer weight: f(T, s c, a) = s f(T, c, a). Whether others converge globally is open. Here Transformers
of three kinds are trained for the same time on in-context regression (D = 4, n = 5, 16 prompts, L = 4, lambda = 1e-3):
softmax attention with neurons c act(a^T T) for every activation of wflow, homogeneous in V and c; linear attention
V Z (Z^T W Z)/n with relu neurons, homogeneous in all weights; and softmax attention with tanh neurons whose outer
weights V and c enter through b tanh(c/b), bounded, or through b sign(c), whose gradient vanishes: frozen.

Queries are at x = -1 and 1, so that neurons alone, which see one token, have the risk 1/2 E Var(y | x) as a floor.
Outer weights of size b move row r of the tokens by at most b/(2 L) sum_k max_j |T_kj| in an attention layer and by
b/(2 L) in a layer of tanh neurons; where the readout cannot come as far as a label, the risk has a floor as well.

For every encoder g(T, beta), beta = (c, a), the assumptions of the theorem are put to the test in the following form.
Growth: |g| <= K (1 + |T|)(1 + |beta|^2), and at fixed T |D_T g| <= K (1 + |beta|^2), |grad_beta g| <= K (1 + |beta|).
Local Lipschitz continuity: E |grad <g(T, beta), k> - grad <g(T, beta'), k>| <= K |beta - beta'| with a normal cotangent
k, at ever smaller distances and at the worst places (hyperplanes through a token, outer weights near 0). Partial
homogeneity. Of universality, the rank of the features Read g(T, beta), beta normal, on finitely many prompts: a rank
can show that their span is not dense, but no computation can show that it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

import wflow
from validation.drawing import panels
from validation.study import Answers, Claim, Job, Outcome, Table, at_least, at_most, within
from wflow.controllers import Fixed
from wflow.encoders import ACTIVATIONS, Group
from wflow.figures.style import DASHES, PALETTE

Array = NDArray[np.float64]
Scalar = Callable[[Array], Array]

LAYERS, DECAY, PROMPTS, D, TOKENS, READ = 4, 1e-3, 16, 4, 5, (1, 4)

#: The kinds of outer weights that are not linear: their size b.
SIZES = {"bounded, b = 1": 1.0, "bounded, b = 1/4": 0.25, "frozen, b = 1": 1.0, "frozen, b = 1/4": 0.25}
NEURONS = tuple(name for name in ACTIVATIONS if name != "identity")
HOMOGENEOUS = (*NEURONS, "linear attention")
ALONE = "tanh neurons alone"
#: Steps where kinks of relu would hold up adaptive ones: below the limit of stability.
STEPS = {"relu": 0.25, "linear attention": 0.25}
DISTANCES = (1.0, 0.1, 0.01, 0.001)
LIPSCHITZ = {"relu": 1, "huberized-relu": 1, "tanh": 1, "sigmoid": 0.25, "elu": 1, "softplus": 1}
LIPSCHITZ |= {"gelu": 1.1290, "silu": 1.0999}  # the largest |act'|, at sqrt(2) and 2.3994


def jobs(full: bool) -> list[Job]:
    """What to compute."""
    names = (*HOMOGENEOUS, *SIZES, ALONE)
    tau, seeds = (400.0, 3) if full else (200.0, 2)
    out = []
    for name, seed in itertools.product(names, range(seeds)):
        arguments = {"name": name, "tau": tau, "M": 16, "seed": seed}
        out.append(Job(trained, arguments, tau / (20 if name in STEPS else 60)))
    return out + [Job(conditions, {"name": name, "n_prompts": 20_000 if full else 3000}, 2) for name in encoders()]


# Encoders


@dataclass(frozen=True)
class Through:
    """An encoder whose outer weights enter through a function of one number, applied to every entry."""

    base: Any
    function: Scalar
    slope: Scalar

    def n_parameters(self, dimension: int) -> int:
        return int(self.base.n_parameters(dimension))

    def groups(self, dimension: int) -> dict[str, Group]:
        groups: dict[str, Group] = self.base.groups(dimension)
        return groups

    def _inside(self, parameters: Array, dimension: int) -> tuple[Array, slice]:
        outer, inside = outer_of(self, dimension), parameters.copy()
        inside[:, outer] = self.function(parameters[:, outer])
        return inside, outer

    def mean(self, tokens: Array, parameters: Array, weights: Array) -> Array:
        out: Array = self.base.mean(tokens, self._inside(parameters, tokens.shape[1])[0], weights)
        return out

    def vjp(self, tokens: Array, parameters: Array, weights: Array, cotangent: Array) -> tuple[Array, Array]:
        inside, outer = self._inside(parameters, tokens.shape[1])
        tokens_bar, bar = self.base.vjp(tokens, inside, weights, cotangent)
        bar[:, outer] *= self.slope(parameters[:, outer])
        return tokens_bar, bar


def outer_of(encoder: Any, dimension: int) -> slice:
    """Where the outer weights are."""
    groups: dict[str, Group] = encoder.groups(dimension)
    return groups["V" if "V" in groups else "W_2"].place


def through(base: Any, name: str) -> Through:
    """The encoder with outer weights that are bounded by b or frozen."""
    b = SIZES[name]
    if name.startswith("bounded"):
        return Through(base, lambda c: b * np.tanh(c / b), lambda c: 1 - np.tanh(c / b) ** 2)
    return Through(base, lambda c: b * np.sign(c), np.zeros_like)


def encoders() -> dict[str, Any]:
    """All that are tested, one by one."""
    attention = {"softmax attention": wflow.SoftmaxAttention(), "linear attention": wflow.Attention("linear")}
    neurons = {f"{name} neurons": wflow.FeedForward(name) for name in NEURONS}
    nonlinear = {}
    for kind in ("bounded, b = 1", "frozen, b = 1"):
        nonlinear[f"attention, V {kind}"] = through(wflow.SoftmaxAttention(), kind)
        nonlinear[f"tanh neurons, c {kind}"] = through(wflow.FeedForward("tanh"), kind)
    return attention | neurons | nonlinear


def transformer(name: str) -> tuple[Any, Any]:
    """Attention and neurons."""
    if name in SIZES:
        return through(wflow.SoftmaxAttention(), name), through(wflow.FeedForward("tanh"), name)
    if name == ALONE:
        return None, wflow.FeedForward("tanh")
    if name == "linear attention":
        return wflow.Attention("linear"), wflow.FeedForward("relu")
    return wflow.SoftmaxAttention(), wflow.FeedForward(name)


# The task


def prompts(B: int, seed: int, everywhere: bool = False) -> wflow.Dataset:
    """Columns ``(x_i, y_i, 1, query?)`` with ``y = slope x``; the query is at -1 or 1, or ``everywhere`` in between."""
    rng = np.random.default_rng([seed, B])
    x, slope = rng.uniform(-1, 1, (B, TOKENS)), rng.uniform(-1.5, 1.5, (B, 1))
    if not everywhere:
        x[:, -1] = np.where(np.arange(B) % 2, 1.0, -1.0)
    y = slope * x
    tokens = np.stack([x, y, np.ones_like(x), np.zeros_like(x)], axis=1)
    tokens[:, 1, -1], tokens[:, 3, -1] = 0, 1
    return wflow.Dataset(tokens, y[:, -1], READ)


def floor(data: wflow.Dataset) -> float:
    """``1/2 E Var(y | x)``: the least risk of a function of the last token."""
    x = data.tokens[:, 0, -1]
    return sum(float(np.var(data.labels[x == value]) * np.mean(x == value)) / 2 for value in np.unique(x))


def reach(data: wflow.Dataset, b: float) -> float:
    """A bound of the risk from below for outer weights of size b and tanh neurons: rows grow no faster than that."""
    rows, read = np.abs(data.tokens).max(axis=2), np.abs(data.tokens[:, *READ])
    for _ in range(LAYERS):
        step = b / (2 * LAYERS) * (rows.sum(axis=1) + 1)  # attention and neurons see rows of half a step each
        after = rows + b / (2 * LAYERS) * rows.sum(axis=1, keepdims=True)
        rows, read = after + b / (2 * LAYERS), read + step
    return float(np.mean(np.maximum(np.abs(data.labels) - read, 0) ** 2) / 2)


def trained(name: str, tau: float, M: int, seed: int) -> Mapping[str, Any]:
    """The risk along training."""
    data = prompts(PROMPTS, seed)
    Q = wflow.TransformerObjective(data, *transformer(name), weight_decay=DECAY, layers=LAYERS)
    rho0 = wflow.initial.gaussian(std=0.5).sample(Q, M, rng=seed)
    method: dict[str, Any] = {"scheme": "bs3", "rtol": 1e-3}
    if name in STEPS:
        method |= {"scheme": "heun", "controller": Fixed(STEPS[name], monotone=False)}
    answer = wflow.solve(Q, rho0, (0, tau), **method, progress=False)
    times = np.concatenate([[0], np.geomspace(tau / 1000, tau, 120)])
    out = {"tau": times, "R": np.interp(times, answer.tau, answer.risk), "floor": floor(data)}
    return out | {"reach": reach(data, SIZES[name]) if name in SIZES else 0.0}


# The assumptions


def jacobian(encoder: Any, tokens: Array, beta: Array) -> Array:
    """``grad_beta g`` (D n, M, p) of one prompt (D, n)."""
    units, weights = np.eye(tokens.size).reshape(-1, 1, *tokens.shape), np.ones(len(beta))
    return np.array([encoder.vjp(tokens[None], beta, weights, k)[1] for k in units])


def token_jacobian(encoder: Any, tokens: Array, beta: Array) -> Array:
    """The norms of ``D_T g`` of prompts (N, D, n), for one particle: (N,)."""
    units = np.eye(tokens[0].size).reshape(-1, 1, *tokens.shape[1:])
    pulled = [encoder.vjp(tokens, beta[None], np.ones(1), np.repeat(k, len(tokens), 0))[0] for k in units]
    return np.asarray(np.sqrt(np.sum(np.square(pulled), axis=(0, 2, 3))))


def norms(x: Array) -> Array:
    """Over all but the first axis."""
    return np.asarray(np.sqrt(np.sum(x.reshape(len(x), -1) ** 2, axis=1)))


def conditions(name: str, n_prompts: int) -> Mapping[str, Any]:
    """What is measured of one encoder."""
    encoder, rng = encoders()[name], np.random.default_rng(0)
    out: dict[str, Any] = {"gradient": gradient_error(encoder, rng), **homogeneity(encoder, rng)}
    return out | growth(encoder, name, rng) | lipschitz(encoder, n_prompts) | features(encoder)


def gradient_error(encoder: Any, rng: np.random.Generator) -> float:
    """vjp against differences of mean, extrapolated twice, in random directions of tokens and particles; relative."""
    Z, k, dZ = rng.standard_normal((3, 3, D, TOKENS))
    p = encoder.n_parameters(D)
    beta, dbeta, a = rng.standard_normal((8, p)), rng.standard_normal((8, p)), rng.dirichlet(np.ones(8))
    tokens_bar, bar = encoder.vjp(Z, beta, a, k)

    def slope(f: Callable[[float], Array], h: float = 1e-3) -> float:
        first = [np.sum(k * (f(h / i) - f(-h / i))) * i / (2 * h) for i in (1, 2, 4)]
        second = [(4 * fine - coarse) / 3 for coarse, fine in itertools.pairwise(first)]
        return float(16 * second[1] - second[0]) / 15

    def moved(x: Array, dx: Array, s: float) -> Array:
        return np.asarray(encoder.mean(Z, (x + s * dx)[None], np.ones(1)))

    errors = [slope(lambda s: encoder.mean(Z + s * dZ, beta, a)) - np.sum(tokens_bar * dZ)]
    for x, dx, x_bar in zip(beta, dbeta, bar):
        by_difference = slope(partial(moved, x, dx))
        errors.append(by_difference - float(x_bar @ dx))
    return float(np.abs(errors).max() / (np.linalg.norm(bar) * np.linalg.norm(dbeta[0])))


def homogeneity(encoder: Any, rng: np.random.Generator) -> dict[str, float]:
    """The largest relative |g(T, s c, a) - s g(T, c, a)|, and the same for s^2 and all weights."""
    Z, partial, whole = rng.standard_normal((8, D, TOKENS)), [], []
    for s in (0.3, 2.0, 7.0):
        beta = rng.standard_normal((1, encoder.n_parameters(D)))
        outer = beta.copy()
        outer[:, outer_of(encoder, D)] *= s
        plain, part, all_of = (encoder.mean(Z, x, np.ones(1)) for x in (beta, outer, s * beta))
        partial.append(np.linalg.norm(part - s * plain) / np.linalg.norm(s * plain))
        whole.append(np.linalg.norm(all_of - s**2 * plain) / np.linalg.norm(s**2 * plain))
    return {"partial": float(max(partial)), "whole": float(max(whole))}


def growth(encoder: Any, name: str, rng: np.random.Generator) -> dict[str, float]:
    """Exponents of growth from size 100 to 1000, the constants K, and |g| in units of its bound by hand."""
    T, beta = rng.standard_normal((12, D, TOKENS)), rng.standard_normal((12, encoder.n_parameters(D)))
    T, beta = T / norms(T)[:, None, None], beta / norms(beta)[:, None]
    outer = outer_of(encoder, D)

    def values(r: float, s: float) -> Array:  # (particle, prompt)
        return np.array([norms(encoder.mean(r * T, s * x[None], np.ones(1))) for x in beta])

    def by_parameters(s: float) -> float:
        return max(float(np.sqrt(np.sum(jacobian(encoder, 2 * Z, s * beta) ** 2, axis=(0, 2))).max()) for Z in T)

    def by_tokens(s: float) -> float:
        return max(float(token_jacobian(encoder, 2 * T, s * x).max()) for x in beta)

    sizes = (0.1, 1.0, 10.0, 100.0, 1000.0)
    large = [(r, 1.0) for r in sizes] + [(1.0, s) for s in sizes]
    out = {
        "growth in T": exponent(values(100, 1).max(), values(1000, 1).max()),
        "growth in beta": exponent(values(1, 100).max(), values(1, 1000).max()),
        "grad growth": exponent(by_parameters(100), by_parameters(1000)),
        "D_T growth": exponent(by_tokens(100), by_tokens(1000)),
        "K": max(float(values(r, s).max()) / ((1 + r) * (1 + s * s)) for r, s in large),
        "grad K": max(by_parameters(s) / (1 + s) for s in sizes),
        "D_T K": max(by_tokens(s) / (1 + s * s) for s in sizes),
    }
    act = name.removesuffix(" neurons")
    shares = []
    for r, s in large:
        c, a = s * norms(beta[:, outer])[:, None], s * norms(np.delete(beta, outer, axis=1))[:, None]
        if name == "softmax attention":
            shares.append(values(r, s) / (c * np.sqrt(TOKENS) * r))
        elif act in LIPSCHITZ:
            at_zero = {"sigmoid": 0.5, "softplus": np.log(2)}.get(act, 0.0)
            shares.append(values(r, s) / (c * (at_zero * np.sqrt(TOKENS) + LIPSCHITZ[act] * a * r)))
    return out | {"share of the bound": float(np.max(shares)) if shares else np.nan}


def exponent(at_100: float, at_1000: float) -> float:
    """The power of the size with which something grows."""
    return float(np.log10(at_1000 / at_100)) if at_100 > 0 else 0.0


def lipschitz(encoder: Any, n_prompts: int) -> dict[str, Array]:
    """``E |grad <g(T, beta), k> - grad <g(T, beta'), k>| / |beta - beta'|`` with normal k, by distance: the mean over
    pairs at the worst of three places; over the law of prompts with queries everywhere, and over those of the task."""
    rng, task = np.random.default_rng(1), prompts(PROMPTS, 0).tokens
    p, outer, pairs = encoder.n_parameters(D), outer_of(encoder, D), 8
    beta, direction = rng.standard_normal((3, pairs, p)), np.zeros((3, pairs, p))
    beta /= np.linalg.norm(beta, axis=2, keepdims=True)
    direction[0] = rng.standard_normal((pairs, p))
    direction[1, :, outer.start], beta[1, :, outer.start] = 1, 0  # an outer weight passes zero
    if p == 2 * D:  # neurons: a token passes through the hyperplane
        tokens = task.swapaxes(1, 2).reshape(-1, D)[rng.choice(PROMPTS * TOKENS, pairs, replace=False)]
        tokens = tokens / np.linalg.norm(tokens, axis=1, keepdims=True)
        direction[2, :, :D] = tokens
        beta[2, :, :D] -= np.sum(beta[2, :, :D] * tokens, axis=1, keepdims=True) * tokens
    else:
        direction[2] = rng.standard_normal((pairs, p))
    direction /= np.linalg.norm(direction, axis=2, keepdims=True)
    ends = np.array([[beta + sign * d / 2 * direction for d in DISTANCES] for sign in (-1, 1)])
    law = prompts(n_prompts, 1, everywhere=True).tokens

    def ratios(some: Array) -> Array:
        total = np.zeros(ends.shape[1:-1])
        for Z in some:
            k = rng.standard_normal((1, *Z.shape))
            slopes = encoder.vjp(Z[None], ends.reshape(-1, p), np.ones(ends.size // p), k)[1].reshape(ends.shape)
            total += np.linalg.norm(slopes[1] - slopes[0], axis=-1)
        return np.asarray(total.mean(axis=2).max(axis=1) / (len(some) * np.array(DISTANCES)))

    return {"law": ratios(law), "task": ratios(np.repeat(task, n_prompts // 100, axis=0))}


def features(encoder: Any) -> dict[str, float]:
    """The rank of ``Read g(T_b, beta_j)`` for 400 normal beta_j, and their condition: on the 16 prompts of the task,
    and on 96 with queries everywhere."""
    beta = np.random.default_rng(2).standard_normal((400, encoder.n_parameters(D)))
    out: dict[str, float] = {}
    for key, data in (("16", prompts(PROMPTS, 0)), ("96", prompts(96, 0, everywhere=True))):
        read = np.array([data.read(encoder.mean(data.tokens, x[None], np.ones(1))) for x in beta]).reshape(400, -1)
        singular = np.linalg.svd(read, compute_uv=False)
        out[f"rank {key}"] = int(np.sum(singular > 1e-9 * singular[0]))
        out[f"condition {key}"] = float(singular[0] / max(singular[-1], 1e-300))
    return out


# What follows


def report(answers: Answers, full: bool) -> Outcome:
    """Claims, tables and figures."""
    runs: dict[str, list[Mapping[str, Any]]] = {}
    for arguments, answer in answers.of(trained):
        runs.setdefault(arguments["name"], []).append(answer)
    measured = {arguments["name"]: answer for arguments, answer in answers.of(conditions)}
    shown = len(DISTANCES) - (not full)  # rare events need many prompts
    claims = [*_claims_on_assumptions(measured, shown), *_claims_on_training(runs)]
    tables = [_table_of_assumptions(measured, shown), _table_of_training(runs)]
    caption = (
        "Left: the risk along training, geometric means over seeds; thin grey lines are the other activations. Right: "
        "E |grad g(T, beta) - grad g(T, beta')| / |beta - beta'| at the worst places; where it grows like the inverse "
        "distance, gradients jump."
    )
    return Outcome(claims, _findings(runs, measured), tables, {"kinds": (_figure(runs, measured, shown), caption)})


def is_linear(name: str) -> bool:
    """Whether the outer weights of an encoder enter linearly."""
    return "bounded" not in name and "frozen" not in name


def rate(ratios: Array) -> float:
    """The power of the inverse distance with which ratios grow over the last decade."""
    return float(np.log10(ratios[-1] / ratios[-2]))


def _claims_on_assumptions(measured: Mapping[str, Mapping[str, Any]], shown: int) -> list[Claim]:
    def largest(key: str, some: Callable[[str], bool] = lambda name: True) -> float:
        return float(np.nanmax([x[key] for name, x in measured.items() if some(name)]))

    def least(key: str, some: Callable[[str], bool]) -> float:
        return float(min(x[key] for name, x in measured.items() if some(name)))

    def rates(key: str, some: Callable[[str], bool]) -> list[float]:
        return [rate(x[key][: shown if key == "law" else None]) for name, x in measured.items() if some(name)]

    def is_defined_here(name: str) -> bool:
        return not is_linear(name) or name == "linear attention"

    def of_degree_two(name: str) -> bool:
        return name in ("linear attention", "relu neurons")

    relu = rates("task", lambda name: name == "relu neurons")[0]
    smooth = max(rates("task", lambda name: "frozen" not in name and name != "relu neurons"))
    tame = max(rates("law", lambda name: "frozen" not in name))
    frozen = min(rates("law", lambda name: "frozen" in name))
    in_T = largest("growth in T", lambda name: name != "linear attention")
    seen = largest("rank 16", lambda name: "neurons" in name)
    degree_two = largest("whole", of_degree_two)
    cubic, softmax, linear = "linear attention", measured["softmax attention"], measured["linear attention"]
    bound = "sqrt(n) |V| |T| or |c| (sqrt(n) |act(0)| + max |act'| |a| |T|)"
    moments = "{1, x_q} times 7 moments, less x_q, which is there twice"
    return [
        at_most("gradients of the encoders made here, against differences", largest("gradient", is_defined_here), 1e-8),
        at_most("defect of f(T, s c, a) = s f(T, c, a), linear outer weights", largest("partial", is_linear), 1e-13),
        at_least("the same, other outer weights: the least", least("partial", lambda n: not is_linear(n)), 0.1),
        at_most("defect of f(T, s beta) = s^2 f(T, beta): linear attention, relu", degree_two, 1e-13),
        at_least("the same, all others: the least", least("whole", lambda n: not of_degree_two(n)), 0.1),
        at_most(f"|g| / ({bound}): the largest", largest("share of the bound"), 1),
        at_most("power of |T| with which |g| grows, all but linear attention", in_T, 1.05),
        within(f"that of {cubic}, which violates the assumption", linear["growth in T"], 3, 0.05),
        at_most("power of |beta| with which |g| grows", largest("growth in beta"), 2.05),
        at_most("power of |beta| with which |D_T g| grows", largest("D_T growth"), 2.05),
        at_most("power of |beta| with which |grad g| grows", largest("grad growth"), 1.05),
        at_most("rate of the Lipschitz constant in expectation, in 1/distance, but for frozen weights", tame, 0.25),
        at_least("frozen weights: gradients jump in expectation too", frozen, 0.95),
        at_least("relu: they jump on the 16 prompts of the task", relu, 0.8),
        at_most("all others: not there", smooth, 0.1),
        within("rank of neurons' features on the task, with two last tokens: the largest", seen, 2, 0),
        within(f"rank of {cubic} on the task", linear["rank 16"], 12, 0),
        within(f"rank of {cubic} on 96 prompts: {moments}", linear["rank 96"], 13, 0),
        within("rank of softmax attention on the task", softmax["rank 16"], 16, 0),
        within("rank of softmax attention on 96 prompts", softmax["rank 96"], 96, 0),
    ]


def ratios(runs: list[Mapping[str, Any]]) -> Array:
    """R/R(0) at the end, by seed."""
    return np.array([x["R"][-1] / x["R"][0] for x in runs])


def _claims_on_training(runs: Mapping[str, list[Mapping[str, Any]]]) -> list[Claim]:
    alone = [x["R"][-1] / x["floor"] for x in runs[ALONE]]
    bounds = [x["reach"] for x in runs["bounded, b = 1/4"]]
    short = [x["R"][-1] / x["reach"] for name in runs if "1/4" in name for x in runs[name]]
    far = [x["R"][-1] / bound for name in HOMOGENEOUS for x, bound in zip(runs[name], bounds)]
    end = max(float(ratios(runs[name]).max()) for name in HOMOGENEOUS)
    return [
        at_most("R/R(0) at the end, homogeneous encoders of all kinds: the largest", end, 0.02),
        at_least("neurons alone, R / (1/2 E Var(y | x)): the least", min(alone), 1 - 1e-9),
        at_most("and the largest", max(alone), 1.01),
        at_least("outer weights of size 1/4, R / the bound by their reach: the least", min(short), 1),
        at_most("homogeneous encoders, R / the same bound: the largest", max(far), 0.5),
    ]


def _mean(values: Array) -> float:
    return float(np.exp(np.mean(np.log(values))))


def late(runs: list[Mapping[str, Any]]) -> float:
    """The power of tau with which the risk falls over the second half of the time."""
    halves = [np.interp(x["tau"][-1] / 2, x["tau"], x["R"]) for x in runs]
    return float(np.log2(_mean(np.array([x["R"][-1] for x in runs])) / _mean(np.array(halves))))


def _findings(runs: Mapping[str, list[Mapping[str, Any]]], measured: Mapping[str, Mapping[str, Any]]) -> list[str]:
    tau = runs[ALONE][0]["tau"][-1]
    best = {name: 100 * _mean(ratios(runs[name])) for name in (*HOMOGENEOUS, *SIZES)}
    first, *_, last = sorted(HOMOGENEOUS, key=lambda name: best[name])
    out = [
        f"After tau = {tau:g} the homogeneous encoders have brought the risk to between {best[first]:.2g} % ({first}) "
        f"and {best[last]:.2g} % ({last}) of its start."
    ]
    falling: list[str] = []
    stuck: list[str] = []
    for name in SIZES:
        power = late(runs[name])
        (falling if power < -0.2 else stuck).append(name)
        way = "falls on" if power < -0.2 else "hardly falls any more"
        out.append(f"Outer weights {name}: to {best[name]:.2g} %, where it {way}, like tau^{power:.2f}.")
    behind = [name for name in falling if best[name] > best[last]]
    times = min(x["R"][-1] / x["reach"] for name in SIZES if "1/4" in name for x in runs[name])
    answer = "Do encoders without homogeneity converge globally? "
    if stuck:
        answer += f"Not in this time with outer weights {' or '.join(stuck)}: "
        answer += f"the risk hardly falls any more at {times:.2g} times the bound by their reach or more. "
    if falling:
        answer += f"With {' or '.join(falling)} no obstacle shows in this time"
        answer += f", but {' and '.join(behind)} are slower than every homogeneous encoder. " if behind else ". "
    out.append(answer + "Without a bound on the outer weights there is no bound of the risk by reach.")
    if measured["linear attention"]["growth in T"] > 1.05 and best["linear attention"] <= 2:
        out.append(
            "Linear attention violates the assumption on growth, since it is cubic in T, and goes down all the same "
            "on these bounded prompts."
        )
    rank = measured["linear attention"]["rank 96"]
    out.append(
        f"The features of linear attention span {rank:.0f} dimensions on 96 prompts, so that one layer of it is not "
        "universal; neither are neurons, which see one token, for any activation as soon as there is context (N >= 1). "
        "That the features of softmax attention are independent on these prompts does not prove that they are dense."
    )
    return out


def _table_of_assumptions(measured: Mapping[str, Mapping[str, Any]], shown: int) -> Table:
    head = ["encoder", "T^", "beta^", "K", "D_T g: beta^", "K", "grad g: beta^", "K", "Lipschitz", "rate", "rate, task"]
    head += ["homogeneity", "rank of 16", "of 96", "condition of 96"]
    rows = []
    for name, x in measured.items():
        K = float(x["K"]) if x["growth in T"] <= 1.05 else "none"
        law, task = x["law"][:shown], x["task"]
        growth = [x["growth in T"], x["growth in beta"], K, x["D_T growth"], x["D_T K"], x["grad growth"], x["grad K"]]
        rank = [int(x["rank 16"]), int(x["rank 96"]), x["condition 96"]]
        rows.append([name, *growth, float(law[-1]), rate(law), rate(task), x["partial"], *rank])
    title = (
        "The assumptions, encoder by encoder. Powers of growth from size 100 to 1000, and the least K that serves for "
        "sizes 0.1 to 1000, of |g|, |D_T g| at |T| = 2 and |grad_beta g| at |T| = 2; the Lipschitz constant of the "
        "gradient in expectation, and its rate of growth with the inverse distance, there and on the 16 prompts; the "
        "relative defect of partial homogeneity; ranks of features with singular values above 1e-9 of the largest."
    )
    return Table(title, head, rows)


def _table_of_training(runs: Mapping[str, list[Mapping[str, Any]]]) -> Table:
    rows = []
    for name, some in runs.items():
        end = ratios(some)
        bound = np.mean([max(x["reach"], x["floor"] if name == ALONE else 0) / x["R"][0] for x in some])
        rows.append([name, _mean(end), float(end.min()), float(end.max()), late(some), float(bound)])
    head = ["Transformer", "R/R(0)", "least", "largest", "falls like tau^", "known bound from below"]
    return Table("The risk at the end of training: geometric mean and range over seeds.", head, rows)


def _figure(
    runs: Mapping[str, list[Mapping[str, Any]]], measured: Mapping[str, Mapping[str, Any]], shown: int
) -> Figure:
    figure, (left, right) = panels(2, 2.9, width_ratios=[1.35, 1])
    named = ("tanh", "relu", "linear attention", *SIZES, ALONE)
    for name, some in runs.items():
        tau, R = some[0]["tau"][1:], np.exp(np.mean([np.log(x["R"][1:] / x["R"][0]) for x in some], axis=0))
        if name in named:
            i = named.index(name)
            label = f"softmax, {name}" if name in ("tanh", "relu") else name
            left.loglog(tau, R, color=(*PALETTE, "0.5")[i], ls=(*DASHES, "--")[i], label=label)
        else:
            left.loglog(tau, R, color="0.75", lw=0.7, zorder=0)
    left.set(xlabel=r"training time $\tau$", ylabel=r"$R(\tau)\,/\,R(0)$")
    left.legend(fontsize=6.5, loc="lower left")
    lines = [("relu neurons", "task", "relu, 16 prompts"), ("relu neurons", "law", "relu, law of prompts")]
    lines += [("tanh neurons, c frozen, b = 1", "law", "tanh, frozen, law"), ("tanh neurons", "law", "tanh, law")]
    lines += [("softmax attention", "law", "softmax attention, law")]
    for i, (name, key, label) in enumerate(lines):
        y = measured[name][key][: shown if key == "law" else None]
        right.loglog(DISTANCES[: len(y)], y, "o", ls=DASHES[i], color=PALETTE[i], ms=3, label=label)
    right.set(xlabel=r"distance $|\beta-\beta'|$", ylabel="Lipschitz ratio of the gradient")
    right.legend(fontsize=6.5)
    return figure
