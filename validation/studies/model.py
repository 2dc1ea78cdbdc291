"""The model: the flow is that of a Transformer, and has its invariants.

Energy, risk, velocity and dissipation of the objective with the depth rule split-euler, and whole training runs, are
compared with hand-written backpropagation in plain numpy, which shares no code with the solver: random dimensions,
numbers of tokens, labels, layers, heads and neurons of unequal weights, full and factored heads, five activations.
The other depth rules are compared with differences of Q, with an integrator of high order in depth, and with the
growth of a single token, which is a polynomial of each rule.

Invariants hold whatever the data. The balances W_O^T W_O - W_V W_V^T and W_K W_K^T - W_Q W_Q^T of factored heads, and
|W_2[:,k]|^2 - |W_1[k,:]|^2 of homogeneous neurons, decay as e^(-2 lambda tau). The flow moves by
d^2(rho(s1), rho(s2)) <= (s2 - s1)(Q(s1) - Q(s2)), its second moment is at most 2 Q(0)/lambda. At lambda = 0 the
residuals r of B prompts obey dr/dtau = -K r/B, with the tangent kernel K made of gradients of the numpy Transformer.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from scipy.integrate import solve_ivp

import wflow
from validation.drawing import line_of, panels
from validation.flows import random_data, random_measure
from validation.heads import softmax_columns
from validation.kernel import inputs_of
from validation.study import Answers, Claim, Job, Outcome, at_least, at_most, within
from validation.trajectory import finite_transformer
from validation.transformer import FiniteTransformer
from wflow.controllers import Fixed
from wflow.distances import conditional_w2
from wflow.measures import Measure
from wflow.problems import single_token

Array = np.ndarray[Any, Any]

DEPTH_ORDERS = {"split-euler": 1, "midpoint": 2, "rk4-nodes": 4}


# The finite Transformer in plain numpy


def _architecture(rng: Any) -> dict[str, Any]:
    """Encoders at random; not both absent."""
    full, factored = wflow.SoftmaxAttention(), wflow.SoftmaxAttention(True, int(rng.integers(1, 4)))
    heads = [None, full, full, factored]
    names = ("relu", "huberized-relu", "tanh", "gelu", "identity")
    attention = heads[rng.integers(4)]
    feedforward = wflow.FeedForward(names[rng.integers(5)], int(rng.integers(1, 4)), bool(rng.integers(2)))
    return {"attention": attention, "feedforward": feedforward if attention is None or rng.integers(5) else None}


def _reference(objective: wflow.TransformerObjective, rho: Measure) -> tuple[float, float, dict[str, Array]]:
    """Q, R and the velocity by the numpy Transformer, in float64."""
    state, weights = inputs_of(rho)
    Q, R, *G = finite_transformer(objective).value_and_gradient(*state, objective.dataset, *weights)
    return Q, R, {b: -g for b, g in zip(("theta", "w"), G) if g is not None}


def agreement(cases: int, dtype: str, seed: int) -> dict[str, Any]:
    """Random Transformers: the largest relative differences between both implementations."""
    rng, worst = np.random.default_rng(seed), dict.fromkeys(("Q", "R", "velocity", "dissipation"), 0.0)
    for case in range(cases):
        B, D, n, L = (int(rng.integers(1, most + 1)) for most in (12, 7, 9, 4))
        widths = {"theta": int(rng.integers(1, 20)), "w": int(rng.integers(1, 20))}
        if case == 0:  # so much work that prompts are shared among groups
            B, D, n, L, widths = 70, 4, 6, 2, {"theta": 80, "w": 90}
        data = random_data(rng, B, D, n, int(rng.integers(3)))
        objective = wflow.TransformerObjective(data, **_architecture(rng), weight_decay=0.1, layers=L)
        rho = random_measure(objective, widths, rng, np.dtype(dtype))
        (Q, R, v), ours = _reference(objective, rho), objective.evaluate(rho)
        squares = sum(float(np.sum(rho.mass(b)[..., None] * v[b] ** 2)) for b in v)
        velocity = max(float(np.abs(ours.velocity[b] - v[b]).max() / np.abs(v[b]).max()) for b in v)
        gaps = {"Q": max(abs(ours.value - Q), abs(objective.value(rho) - Q)) / Q, "R": abs(ours.parts["risk"] - R) / R}
        gaps |= {"velocity": velocity, "dissipation": abs(objective.dissipation(rho) - squares) / squares}
        worst = {k: max(worst[k], gaps[k]) for k in worst}
    return worst


def training(scheme: str, dtype: str, seed: int) -> dict[str, Any]:
    """40 steps of one size by both: the largest relative differences of the series and of the particles."""
    rng = np.random.default_rng(seed)
    encoders = wflow.SoftmaxAttention(), wflow.FeedForward("tanh", 2, True)
    objective = wflow.TransformerObjective(random_data(rng, 10, 3, 4), *encoders, weight_decay=0.02, layers=4)
    rho = random_measure(objective, {"theta": 6, "w": 9}, rng, np.dtype(dtype))
    answer = wflow.solve(objective, rho, (0, 2.0), scheme=scheme, controller=Fixed(0.05, monotone=False), tol=0)
    start = (rho.theta.astype(float), rho.w.astype(float))
    method: Any = "gd" if scheme == "euler" else scheme
    history = finite_transformer(objective).train(
        *start, objective.dataset, 0.05, 40, method, rho.weights("theta"), rho.weights("w")
    )
    assert history.theta is not None and history.w is not None
    pairs = [(answer.energy, history.energy), (answer.risk, history.risk), (answer.dissipation, history.dissipation)]
    pairs += [(answer.measure(-1).theta, history.theta), (answer.measure(-1).w, history.w)]
    return {"difference": max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)}


def _derivative(f: Callable[[Any], Any], rho: Measure, direction: Mapping[str, Array], h: float = 1e-3) -> Any:
    """Of f(rho + s direction) at s = 0, by central differences of order 6."""

    def at(s: float) -> Any:
        return f(rho.replace(**{b: x + s * direction[b] if b in direction else x for b, x in rho.blocks.items()}))

    return sum(c * (at(k * h) - at(-k * h)) for k, c in ((1, 45), (2, -9), (3, 1))) / (60 * h)


def slopes(depth: str, seed: int) -> dict[str, Any]:
    """Differences of Q in a random direction of the particles of one block, beside what the velocity says."""
    rng, worst = np.random.default_rng(seed), 0.0
    heads = (wflow.SoftmaxAttention(), wflow.SoftmaxAttention(factored=True, rank=2))
    for attention, activation in itertools.product(heads, ("tanh", "gelu")):
        neurons = wflow.FeedForward(activation, 2, True)
        Q = wflow.TransformerObjective(random_data(rng, 4, 3, 3, 2), attention, neurons, 0.3, depth=depth, layers=2)
        rho = random_measure(Q, {"theta": 3, "w": 4}, rng)
        v = Q.velocity(rho)
        for block in v:
            e = rng.standard_normal(v[block].shape)
            expected = -float(np.sum(rho.mass(block)[..., None] * v[block] * e))
            scale = float(np.sum(rho.mass(block)[..., None] * np.abs(v[block] * e)))
            found = _derivative(Q.value, rho, {block: e})
            worst = max(worst, abs(found - expected) / scale)
    return {"difference": worst}


# Depth


def token_growth(depth: str, layers: int) -> dict[str, Any]:
    """A token in layers of equal means 0.4 grows by the stability polynomial of the rule in every layer."""
    problem, x = single_token(layers=layers, depth=depth), 0.4 / layers
    series = [1, x, x**2 / 2, x**3 / 6, x**4 / 24]
    growth = {"split-euler": (1 + x / 2) ** 2, "midpoint": sum(series[:3]), "rk4-nodes": sum(series)}[depth] ** layers
    found = problem.energy.predict(problem.rho0) / problem.energy.dataset.tokens[:, 0, 0]
    return {"difference": float(np.abs(found / growth - 1).max())}


def depth_errors(depth: str, layers: Sequence[int]) -> dict[str, Any]:
    """One token after training; the predictions of a Transformer whose particles vary along the depth; and its Q."""
    rng = np.random.default_rng(3)
    data = wflow.Dataset(rng.standard_normal((2, 3, 4)), [0.0, 0.0], (2, 3))
    ends = {name: 0.6 * rng.standard_normal((2, M, p)) for name, M, p in (("theta", 2, 18), ("w", 3, 12))}

    def curve(name: str, t: Array) -> Array:
        start, end = ends[name]
        return np.asarray(start * np.cos(2 * t)[:, None, None] + end * np.exp(t)[:, None, None])

    def slope(t: float, z: Array) -> Array:
        """dT/dt for one prompt, and the second moment at this depth."""
        theta, w = (curve(name, np.array([t]))[0] for name in ("theta", "w"))
        T, total = z[:12].reshape(3, 4), np.zeros((3, 4))
        for V, W in theta.reshape(-1, 2, 3, 3):
            total += V @ T @ softmax_columns(T.T @ W @ T) / (2 * len(theta))
        for beta in w:
            total += beta[6:].reshape(3, 2) @ np.tanh(beta[:6].reshape(2, 3) @ T) / (2 * len(w))
        return np.append(total.ravel(), (theta**2).sum() / len(theta) + (w**2).sum() / len(w))

    starts = [np.append(H.ravel(), 0.0) for H in data.tokens]
    tolerances = {"rtol": 1e-12, "atol": 1e-12}
    exact = np.array([solve_ivp(slope, (0, 1), z, method="DOP853", **tolerances).y[[11, 12], -1] for z in starts])
    Q_exact = 0.5 * float(np.mean(exact[:, 0] ** 2)) + 0.15 * float(exact[0, 1])
    out: dict[str, list[float]] = {"token": [], "predictions": [], "Q": []}
    for L in layers:
        encoders = wflow.SoftmaxAttention(), wflow.FeedForward("tanh", hidden=2)
        Q = wflow.TransformerObjective(data, *encoders, weight_decay=0.3, depth=depth, layers=L)
        rho = Q.prepare(wflow.Particles(weights=None, **{name: curve(name, Q.rule.nodes) for name in ends}))
        out["predictions"].append(float(np.abs(Q.predict(rho) - exact[:, 0]).max()))
        out["Q"].append(abs(Q.value(rho) - Q_exact))
        problem = single_token(layers=L, depth=depth, width=1)
        end = wflow.solve(problem.energy, problem.rho0, (0, 1.0), rtol=1e-12, atol=1e-14).measure(-1)
        out["token"].append(float(np.abs(problem.energy.predict(end) - problem.predictions(1.0)).max()))
    return {name: np.array(errors) for name, errors in out.items()}


# Invariants


def balances(kind: str, decay: float) -> dict[str, Any]:
    """What decays as e^(-2 lambda tau): the largest departure from that, and how far the parameters went."""
    rng, D, r = np.random.default_rng(4), 3, 2
    if kind == "factored":
        Q = wflow.TransformerObjective(
            random_data(rng, 6, D, 4), wflow.SoftmaxAttention(True, r), weight_decay=decay, layers=2
        )
    else:
        Q = wflow.TransformerObjective(
            random_data(rng, 6, D, 2), None, wflow.FeedForward(kind, r), weight_decay=decay, layers=2
        )
    # The velocity of relu jumps where a token crosses its kink: small steps of a low order.
    method: dict[str, Any] = {"scheme": "bs3", "dtau": 4e-3} if kind == "relu" else {"rtol": 1e-9, "atol": 1e-11}
    answer = wflow.solve(Q, random_measure(Q, {"theta": 4, "w": 5}, rng), (0, 1.0), **method)

    def balance(rho: Measure) -> Array:
        if kind == "factored":
            V, O, K, W = np.split(rho.theta, 4, axis=2)
            V, K, W = (x.reshape(*x.shape[:2], r, D) for x in (V, K, W))
            O = O.reshape(*O.shape[:2], D, r)
            return np.stack([O.swapaxes(2, 3) @ O - V @ V.swapaxes(2, 3), K @ K.swapaxes(2, 3) - W @ W.swapaxes(2, 3)])
        W_1, W_2 = np.split(rho.w, 2, axis=2)
        W_1, W_2 = W_1.reshape(*W_1.shape[:2], r, D), W_2.reshape(*W_2.shape[:2], D, r)
        return np.asarray(np.sum(W_2**2, axis=2) - np.sum(W_1**2, axis=3))

    first, last = answer.measure(0), answer.measure(-1)
    (name,) = first.blocks
    gap = float(np.abs(balance(last) - np.exp(-2 * decay) * balance(first)).max())
    return {"gap": gap, "moved": float(np.abs(last.blocks[name] - first.blocks[name]).max())}


def bounds(scheme: str) -> dict[str, Any]:
    """Distances, moments and energies along a run, as shares of their bounds."""
    rng, decay = np.random.default_rng(2), 0.3
    encoders = wflow.SoftmaxAttention(), wflow.FeedForward("gelu")
    Q = wflow.TransformerObjective(random_data(rng, 6, 3, 4), *encoders, weight_decay=decay, layers=3)
    blocks = {b: rng.standard_normal((3, 5, p)) for b, p in Q.n_parameters.items()}
    method: dict[str, Any] = {"dtau": 0.5} if scheme == "jko" else {"rtol": 1e-9, "atol": 1e-11}
    save = wflow.SaveAt(every=0.5)
    answer = wflow.solve(Q, wflow.Particles(weights=None, **blocks), (0, 3.0), scheme=scheme, save=save, **method)
    measures, tau = [answer.measure(i) for i in range(answer.n_frames)], answer.frame_tau
    energies, shares = [_reference(Q, rho)[0] for rho in measures], []
    for i, j in itertools.combinations(range(len(measures)), 2):
        bound = (tau[j] - tau[i]) * (energies[i] - energies[j])
        shares.append(conditional_w2(measures[i], measures[j]) ** 2 / bound)
    second = [sum(float(np.sum(rho.mass(b)[..., None] * x**2)) for b, x in rho.blocks.items()) for rho in measures]
    mass = max(float(np.abs(rho.weights(b).sum(axis=1) - 1).max()) for rho in measures for b in rho.blocks)
    rise = float(np.diff(energies).max())
    return {"distance": max(shares), "moment": max(second) * decay / (2 * energies[0]), "mass": mass, "rise": rise}


def tangent_kernel(tau: Sequence[float]) -> dict[str, Any]:
    """dr/dtau along the flow at lambda = 0 beside -K r/B, with the gradients of the numpy Transformer in K."""
    rng, encoders = np.random.default_rng(3), (wflow.SoftmaxAttention(), wflow.FeedForward("tanh"))
    data, worst = random_data(rng, 5, 3, 4), 0.0
    Q = wflow.TransformerObjective(data, *encoders, layers=2)
    start = random_measure(Q, {"theta": 4, "w": 5}, rng)
    for s in tau:
        rho = wflow.solve(Q, start, (0, s), rtol=1e-8).measure(-1) if s else start
        predictions, gradients = Q.predict(rho), []
        for k, prediction in enumerate(predictions):  # one prompt with the residual -1: G is minus the gradient
            prompt = wflow.Dataset(data.tokens[[k]], [prediction + 1], data.readout)
            gradients.append(_reference(wflow.TransformerObjective(prompt, *encoders, layers=2), rho)[2])
        mass = {b: rho.mass(b)[..., None] for b in rho.blocks}
        K = np.array([[sum(np.sum(mass[b] * f[b] * g[b]) for b in f) for g in gradients] for f in gradients])
        moved = _derivative(Q.predict, rho, Q.velocity(rho))
        expected = -K @ (predictions - data.labels) / data.n_prompts
        worst = max(worst, float(np.abs(moved - expected).max() / np.abs(expected).max()))
    return {"difference": worst}


# Measures


def laws(M: int, seed: int) -> dict[str, Any]:
    """Spreads of the matrices of sampled particles over those of their law, and frequencies of atoms, in standard
    errors; where matrices are among the parameters, and how many columns they have, is known from numpy."""
    rng, D, worst = np.random.default_rng(seed), 6, 0.0
    data = random_data(rng, 2, D, 3)
    model = FiniteTransformer("factored", "tanh", hidden=3, bias=True, rank=2)
    Q = wflow.TransformerObjective(data, wflow.SoftmaxAttention(True, 2), wflow.FeedForward("tanh", 3, True), layers=2)
    for name, gain in (("lecun", 1.0), ("he", 2.0)):
        rho = wflow.initial.gaussian(name).sample(Q, M, rng)
        for x in (*model.attention_matrices(rho.theta, D), *model.feedforward_matrices(rho.w, D)):
            spread = float(np.mean(x**2)) * x.shape[-1] / gain
            worst = max(worst, abs(spread - 1) * np.sqrt(x.size / 2))
    groups = {"W_V": 0.1, "W_O": 0.2, "W_K": 0.3, "W_Q": 0.4, "W_1": 0.5, "W_2": 0.6}
    law = wflow.initial.product(**{name: wflow.initial.gaussian(s) for name, s in groups.items()})
    rho = law.sample(Q, M, rng)
    matrices = (*model.attention_matrices(rho.theta, D), *model.feedforward_matrices(rho.w, D))
    for x, s in zip(matrices, groups.values()):
        worst = max(worst, abs(float(np.mean(x**2)) / s**2 - 1) * np.sqrt(x.size / 2))
    one = wflow.TransformerObjective(data, None, wflow.FeedForward("tanh"), layers=2)
    p, mass = one.n_parameters["w"], np.array([0.5, 0.3, 0.2])
    radii = np.sum(wflow.initial.ball(2.0).sample(one, M, rng).w ** 2, axis=2) / 4
    # E r^2 = p/(p + 2), E r^4 = p/(p + 4)
    spread = np.sqrt(p / (p + 4) - (p / (p + 2)) ** 2)
    worst = max(worst, abs(radii.mean() - p / (p + 2)) / spread * np.sqrt(radii.size))
    points = np.arange(3)[:, None] * np.ones(p)
    drawn = wflow.initial.atoms(points, mass).sample(one, M, rng).w[..., 0]
    counts = np.array([np.mean(drawn == k) for k in range(3)])
    return {"worst": max(worst, float(np.max(np.abs(counts - mass) / np.sqrt(mass * (1 - mass) / drawn.size))))}


def laws_on_grids() -> dict[str, Any]:
    """Means and variances of normal laws on grids, different for every parameter, block and depth."""
    encoders = wflow.SoftmaxAttention(), wflow.FeedForward("tanh")
    Q = wflow.TransformerObjective(random_data(np.random.default_rng(0), 2, 1, 3), *encoders, layers=2)
    means, spreads = {"V": 0.5, "W": -0.4, "W_1": 0.2, "W_2": -0.7}, {"V": 0.3, "W": 0.5, "W_1": 0.4, "W_2": 0.6}

    def normal(name: str) -> wflow.initial.Law:
        return wflow.initial.gaussian(spreads[name], mean=lambda t: means[name] * (1 + t))

    law = wflow.initial.product(**{name: normal(name) for name in means})
    box = {"theta": ((-3, 4), (-5, 4)), "w": ((-4, 4), (-6, 4))}
    rho, worst = law.on_grid(Q, box, {"theta": (64, 72), "w": (60, 56)}), 0.0
    for block, names in (("theta", ("V", "W")), ("w", ("W_1", "W_2"))):
        first, second = getattr(rho.moment(1), block), getattr(rho.moment(2), block)  # (depth, parameter)
        for k, name in enumerate(names):
            mean = means[name] * (1 + rho.t)
            gaps = np.abs(first[:, k] - mean), np.abs(second[:, k] - mean**2 - spreads[name] ** 2)
            worst = max(worst, float(np.max(gaps)))
    return {"worst": worst}


def displaced(depth: str) -> dict[str, Any]:
    """The distance of clouds that are shifted by t^2 at depth t, heads by once and neurons by twice that, shuffled; and
    the sum over slices with the weights that the rule is known to have."""
    rng, L, encoders = np.random.default_rng(5), 3, (wflow.SoftmaxAttention(), wflow.FeedForward("tanh"))
    Q = wflow.TransformerObjective(random_data(rng, 2, 2, 3), *encoders, depth=depth, layers=L)
    nodes, weights = {
        "split-euler": (np.arange(L) / L, np.full(L, 1 / L)),
        "midpoint": ((np.arange(L) + 0.5) / L, np.full(L, 1 / L)),
        "rk4-nodes": (np.arange(2 * L + 1) / (2 * L), np.array([1, 4, 2, 4, 2, 4, 1]) / (6 * L)),
    }[depth]
    clouds = {b: rng.standard_normal((len(nodes), 6, p)) for b, p in Q.n_parameters.items()}
    start = Q.prepare(wflow.Particles(weights=None, **clouds))
    shift, expected, moved = nodes**2, 0.0, {}
    for size, (name, x) in enumerate(start.blocks.items(), start=1):
        direction = rng.standard_normal(x.shape[2:])
        direction *= size / np.linalg.norm(direction)
        moved[name] = x[:, rng.permutation(6)] + shift[:, None, None] * direction
        expected += float(weights @ (size * shift) ** 2)
    return {"difference": abs(conditional_w2(start, start.replace(**moved)) / np.sqrt(expected) - 1)}


# The study


def jobs(full: bool) -> list[Job]:
    """Comparisons with the numpy Transformer, depth rules, invariants."""
    out = []
    for dtype in ("float64", "float32"):
        for seed in range(10 if full else 2):
            out.append(Job(agreement, {"cases": 20, "dtype": dtype, "seed": seed}, 0.8))
        out += [Job(training, {"scheme": s, "dtype": dtype, "seed": 3}, 0.5) for s in ("euler", "heun", "rk4")]
    for depth in DEPTH_ORDERS:
        out += [Job(slopes, {"depth": depth, "seed": seed}, 0.5) for seed in range(4 if full else 1)]
        out += [Job(token_growth, {"depth": depth, "layers": L}, 0.1) for L in (1, 2, 5)]
        out.append(Job(depth_errors, {"depth": depth, "layers": [8, 16, 32, 64] if full else [8, 16, 32]}, 2.0))
    out += [Job(balances, {"kind": "factored", "decay": decay}, 0.4) for decay in (0.0, 0.3)]
    out += [Job(balances, {"kind": kind, "decay": 0.3}, 0.4) for kind in ("relu", "identity", "huberized-relu")]
    out += [Job(bounds, {"scheme": s}, 0.4) for s in ("dopri5", "jko")]
    out.append(Job(tangent_kernel, {"tau": [0.0, 0.5, 2.0]}, 0.4))
    out += [Job(displaced, {"depth": depth}, 0.2) for depth in DEPTH_ORDERS]
    out += [Job(laws, {"M": 4000, "seed": 3}, 0.5), Job(laws_on_grids, {}, 0.2)]
    return out


def report(answers: Answers, full: bool) -> Outcome:
    """Claims, tables and figures."""
    claims = [*_transformer_claims(answers), *_depth_claims(answers), *_invariant_claims(answers)]
    caption = "Errors against the number of layers, at equal measures; one token after training up to tau = 1."
    return Outcome(claims, [_finding(answers)], [], {"depth": (_depth_figure(answers), caption)})


def _order(errors: Sequence[float], layers: Sequence[int]) -> float:
    return float(np.log(errors[-2] / errors[-1]) / np.log(layers[-1] / layers[-2]))


def _transformer_claims(answers: Answers) -> Iterator[Claim]:
    for dtype, limit in (("float64", 1e-12), ("float32", 1e-5)):
        rows = list(answers.of(agreement, dtype=dtype))
        cases = sum(arguments["cases"] for arguments, _ in rows)
        for name in ("Q", "R", "velocity", "dissipation"):
            worst = max(a[name] for _, a in rows)
            statement = f"{name} of the numpy Transformer, largest relative difference in {cases} random cases, {dtype}"
            yield at_most(statement, worst, limit)
        for arguments, a in answers.of(training, dtype=dtype):
            statement = f"40 steps of {arguments['scheme']} by both implementations, {dtype}"
            yield at_most(statement, a["difference"], limit)


def _depth_claims(answers: Answers) -> Iterator[Claim]:
    for depth, order in DEPTH_ORDERS.items():
        worst = max(a["difference"] for _, a in answers.of(slopes, depth=depth))
        yield at_most(f"{depth}: velocity and differences of Q, relative", worst, 1e-9)
        worst = max(a["difference"] for _, a in answers.of(token_growth, depth=depth))
        yield at_most(f"{depth}: growth of one token in 1, 2 and 5 layers, relative", worst, 1e-13)
        ((arguments, a),) = answers.of(depth_errors, depth=depth)
        words = {"token": "one token after training", "predictions": "a Transformer", "Q": "Q of a Transformer"}
        for name, what in words.items():
            yield within(f"{depth}: order in 1/L, {what}", _order(a[name], arguments["layers"]), order, 0.15)


def _invariant_claims(answers: Answers) -> Iterator[Claim]:
    for arguments, a in answers.of(balances):
        kind, words = arguments["kind"], f"{arguments['kind']}, lambda = {arguments['decay']}"
        statement = f"{words}: departure of the balances from e^(-2 lambda tau)"
        if kind == "huberized-relu":
            yield at_least(statement + ", which they are not bound to", a["gap"], 1e-2)
        else:
            yield at_most(statement, a["gap"], 1e-4 if kind == "relu" else 1e-7)
            yield at_least(f"{words}: the parameters moved", a["moved"], 0.1)
    for arguments, a in answers.of(bounds):
        scheme, factor = arguments["scheme"], 2.0 if arguments["scheme"] == "jko" else 1.0
        yield at_most(f"{scheme}: d^2/((s2 - s1)(Q(s1) - Q(s2))), largest over pairs of times", a["distance"], factor)
        yield at_most(f"{scheme}: second moment as a share of 2 Q(0)/lambda", a["moment"], 1.0)
        yield at_most(f"{scheme}: mass of a slice off one", a["mass"], 1e-13)
        yield at_most(f"{scheme}: largest change of Q between saved times, by numpy", a["rise"], 0.0)
    for arguments, a in answers.of(displaced):
        yield at_most(f"{arguments['depth']}: distance of shifted clouds, relative error", a["difference"], 1e-12)
    text = "initial laws: spreads of matrices and balls, frequencies of atoms, largest error in standard errors"
    yield at_most(text, answers.one(laws)["worst"], 4.0)
    text = "normal laws on grids: means and variances of all parameters, largest error"
    yield at_most(text, answers.one(laws_on_grids)["worst"], 1e-6)
    yield at_most("lambda = 0: dr/dtau and -K r/B, relative", answers.one(tangent_kernel)["difference"], 1e-8)


def _finding(answers: Answers) -> str:
    flow, jko = (answers.one(bounds, scheme=s)["distance"] for s in ("dopri5", "jko"))
    needs = "needs" if jko > 1 else "does not need"
    return (
        f"The exact flow uses up to {flow:.2f} of the bound on its distances, JKO up to {jko:.2f}: at steps of 0.5 it "
        f"{needs} the factor 2 that theory allows it."
    )


def _depth_figure(answers: Answers) -> Figure:
    figure, row = panels(3, 2.4, sharey=True)
    titles = {"predictions": "predictions", "Q": "$Q$", "token": "one token, trained"}
    for axes, (name, title) in zip(row, titles.items()):
        for k, (arguments, a) in enumerate(answers.of(depth_errors)):
            axes.loglog(arguments["layers"], a[name], label=arguments["depth"], **line_of(k, marker="o"))
        axes.set(title=title, xlabel="layers $L$")
        axes.set_xticks(arguments["layers"], arguments["layers"])
        axes.xaxis.set_minor_locator(NullLocator())
    row[0].set_ylabel("error")
    row[2].legend()
    return figure
