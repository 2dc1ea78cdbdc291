"""Attention: seven kernels, and what Song et al. prove of two of them

One layer of attention heads is the model of Song et al. (2024, arXiv 2411.07538), who compare softmax attention with
Gaussian attention, exp(-s|W_K z_j - W_Q z_i|^2/2) without division. wflow has both, and sigmoid, linear, relu and
sparsemax attention, with masks. First, each kernel is the right one: adjoints against extrapolated differences; values,
velocities and training runs against the numpy Transformer, where all of this is written a second time by hand, for
every kernel, mask and loss; closed forms; and balances of the factors.

Then theory. With scores frozen the predictions are linear in the values, u(tau) is a matrix exponential of the tangent
kernel K_V of the values at every width, and K_V has the rank min(N n, M D) for N prompts of n tokens that are all
targets: it is positive as soon as M D >= N n, the condition H D >= N n of Song et al. How small its eigenvalues are is
another matter. Without weight decay R(0) e^(-2 int lambda_max/B) <= R(tau) <= R(0) e^(-2 int lambda_min/B), whatever is
trained. Where all values coincide kernels that divide by sums are blind: the gradient in W_Q vanishes. One head on one
prompt, with scores w k_j of the keys -1, 0, 1, values 1, -1/2, 1/5 and the label 9/10, has a trap: softmax fits it at
w = -ln(7 + sqrt 56), but from w > ln 3 the gradient flow of W_Q runs away, w ~ ln(0.49 tau), and the risk stays above
0.245. The Gaussian kernel with the same data cannot fit at all: it has traps of its own.
"""

from __future__ import annotations

__all__ = ["jobs", "report"]

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.integrate import cumulative_simpson
from scipy.linalg import expm
from scipy.optimize import brentq

import wflow
from validation.agreement import MASKS, TOLERANCE, differences
from validation.drawing import common_legend, line_of, panels
from validation.flows import random_data, random_measure
from validation.heads import DISTANCES, KERNELS
from validation.kernel import prediction_gradients, state_of
from validation.losses import LOSSES
from validation.study import Answers, Claim, Job, Outcome, Table, at_least, at_most, within
from validation.trajectory import finite_transformer
from wflow.controllers import Fixed
from wflow.figures.style import log_axis

Array = NDArray[Any]

#: Kernels whose weights sum to one for every query.
NORMALISED = ("softmax", "gaussian-normalised", "sparsemax")
#: The trap: a fit, the maximum of the risk that parts the basins, and where the risk ends beyond it.
FIT, PEAK, LOST = -float(np.log(7 + np.sqrt(56))), float(np.log(3)), 0.5 * (0.9 - 0.2) ** 2
GAUSSIAN_CRITICAL, GAUSSIAN_LARGEST = (-1.2583, 0.8754, 1.8466), 0.7563
PROMPTS, TOKENS, D = 6, 4, 3
COMPARED = ("softmax", "gaussian", "gaussian-normalised")
WIDTHS = (2, 4, 6, 8, 10, 12, 16)


def jobs(full: bool) -> list[Job]:
    """What to compute."""
    out = [Job(adjoints, {"kernel": k}, 0.5) for k in KERNELS]
    for kernel, dtype, seed in itertools.product(KERNELS, TOLERANCE, range(5 if full else 2)):
        out.append(Job(agreement, {"kernel": kernel, "dtype": dtype, "seed": seed, "full": full}, 4 if full else 1))
    out += [Job(closed_forms, {}, 0.5)] + [Job(balances, {"kernel": k, "weight_decay": 0.3}, 0.5) for k in KERNELS]
    widths, decays = ((2, 6, 24), (0.0, 0.05)) if full else ((2, 6), (0.0,))
    for kernel, M, decay in itertools.product(KERNELS, widths, decays):
        out.append(Job(value_block, {"kernel": kernel, "M": M, "weight_decay": decay}, 1))
    for kernel, std in itertools.product(KERNELS, (0.3, 1.0)):
        out.append(Job(ranks, {"kernel": kernel, "std": std, "seeds": 10 if full else 2}, 1))
    out += [Job(bracket, {"kernel": k, "seed": s}, 1) for k in KERNELS for s in range(5 if full else 1)]
    out += [Job(blind, {"kernel": k, "n": n}, 0.3) for k in KERNELS for n in (1, 4)]
    out += [Job(critical, {"kernel": k}, 0.5) for k in ("softmax", "gaussian")]
    out += [Job(trapped, {"start": w, "tau": 1e5}, 0.5) for w in (0.0, 1.0, 1.2, 2.0)]
    out += [Job(freed, {"kernel": k, "seed": 0}, 1) for k in ("softmax", "gaussian")]
    seeds, tau = (5, 300.0) if full else (2, 20.0)
    for kernel, seed in itertools.product(COMPARED, range(seeds)):
        out.append(Job(in_context, {"kernel": kernel, "seed": seed, "tau": tau}, tau / 10))
    return out


def heads(kernel: str, rank: int | None = None, mask: Any = None, factored: bool = False) -> Any:
    """Attention of a kernel, factored where it must be."""
    factored = factored or kernel in DISTANCES
    return wflow.Attention(kernel, mask, factored, rank if factored else None)


# The kernels


def adjoints(kernel: str) -> Mapping[str, Any]:
    """vjp against differences of mean, extrapolated twice, for every mask: the largest error, relative."""
    rng, worst = np.random.default_rng(1), []
    for mask in MASKS.values():
        encoder = wflow.Attention(kernel, mask, kernel in DISTANCES, None, 0.6)
        Z, k, dZ = rng.standard_normal((3, 3, D, TOKENS))
        p = encoder.n_parameters(D)
        beta, dbeta, a = rng.standard_normal((4, p)), rng.standard_normal((4, p)), rng.dirichlet(np.ones(4))
        tokens_bar, bar = encoder.vjp(Z, beta, a, k)

        errors = [_slope(encoder, (Z, dZ), (beta, 0 * dbeta), a, k) - np.sum(tokens_bar * dZ)]
        for x, dx, x_bar in zip(beta, dbeta, bar):
            found = _slope(encoder, (Z, 0 * dZ), (x[None], dx[None]), np.ones(1), k)
            errors.append(found - float(x_bar @ dx))
        worst.append(np.abs(errors).max() / (np.linalg.norm(bar) * np.linalg.norm(dbeta[0])))
    return {"errors": np.array(worst)}


def _slope(encoder: Any, tokens: tuple[Array, Array], beta: tuple[Array, Array], a: Array, k: Array) -> float:
    """Of ``<mean, k>`` at s = 0 with tokens and particles (x, dx) at x + s dx."""
    first = []
    for h in (1e-3, 5e-4, 2.5e-4):
        up, down = (encoder.mean(tokens[0] + s * tokens[1], beta[0] + s * beta[1], a) for s in (h, -h))
        first.append(float(np.sum(k * (up - down))) / (2 * h))
    second = [(4 * fine - coarse) / 3 for coarse, fine in itertools.pairwise(first)]
    return (16 * second[1] - second[0]) / 15


def agreement(kernel: str, dtype: str, seed: int, full: bool) -> Mapping[str, Any]:
    """Every mask (rows) and loss (columns) beside the numpy Transformer; at the quick size one run a mask."""
    out: dict[str, Array] = {}
    for (i, mask), (j, loss) in itertools.product(enumerate(MASKS), enumerate(LOSSES)):
        for name, gap in differences(kernel, mask, loss, seed, dtype, runs=full or i == j).items():
            out.setdefault(name, np.zeros((len(MASKS), len(LOSSES))))[i, j] = gap
    return out


def closed_forms() -> Mapping[str, Any]:
    """Two tokens 1 and 2 by hand; and one token through a continuum of equal layers."""
    Z = np.array([[[1.0, 2.0]]])
    out: dict[str, Any] = {
        "gaussian": wflow.Attention("gaussian", None, True).mean(Z, np.array([[3.0, 1, 1, 1]]), np.ones(1)).ravel(),
        "linear": wflow.Attention("linear").mean(Z, np.array([[3.0, 1.0]]), np.ones(1)).ravel(),
        "causal": wflow.Attention(mask="causal").mean(Z, np.array([[3.0, 0.0]]), np.ones(1)).ravel(),
    }
    # T' = f(T)/2 from 0.8: f = v T e^(-c T^2) with v = 1.5, c = (W_K - W_Q)^2/2 = 0.4, and f = v w T^3 with v w = 0.9.
    for name, encoder, beta in (
        ("gaussian token", wflow.Attention("gaussian", None, True), [1.5, 1.0, 1 + np.sqrt(0.8), 1.0]),
        ("linear token", wflow.Attention("linear"), [0.9, 1.0]),
    ):
        Q = wflow.TransformerObjective(wflow.Dataset([[[0.8]]], [0.0], (0, 0)), encoder, depth="rk4-nodes", layers=64)
        rho = wflow.Particles(theta=np.tile(beta, (Q.rule.n_slices, 1, 1)))
        out[name] = Q.predict(Q.prepare(rho)).item()
    return out


def balances(kernel: str, weight_decay: float) -> Mapping[str, Any]:
    """After a run, how far the balances of the factors are from decaying at the rate 2 lambda, relative.

    ``W_O^T W_O - W_V W_V^T`` for the values, ``W_K W_K^T - W_Q W_Q^T`` for the scores; and for the scores of Gaussians
    ``W_K' W_K^T + W_Q' W_Q^T``, which is to be symmetric.
    """
    rng, D, r = np.random.default_rng(4), 3, 2
    data = random_data(rng, 4, D, 4)
    Q = wflow.TransformerObjective(data, heads(kernel, r, "causal", True), weight_decay=weight_decay, layers=2)
    start = random_measure(Q, {"theta": 3}, rng)
    start = start.replace(theta=0.6 * start.theta)
    run: dict[str, Any] = {"scheme": "heun", "controller": Fixed(0.1, monotone=False), "progress": False}
    rho, model = wflow.solve(Q, start, (0, 2.0), **run).measure(-1), finite_transformer(Q)

    def factors(x: Array) -> tuple[Array, ...]:
        W_V, W_O, W_K, W_Q = model.attention_matrices(x, D)
        return W_V, W_O.swapaxes(-1, -2), W_K, W_Q

    def symmetric(x: Array) -> Array:
        return x + x.swapaxes(-1, -2)

    W, v = factors(rho.theta), factors(Q.velocity(rho)["theta"])
    moves = [dx @ x.swapaxes(-1, -2) for dx, x in zip(v, W)]
    grams = [x @ x.swapaxes(-1, -2) for x in W]
    gaps = []
    for i in (0, 2):
        rate = symmetric(moves[i + 1] - moves[i]) + 2 * weight_decay * (grams[i + 1] - grams[i])
        gaps.append(float(np.abs(rate).max() / np.abs(moves[i]).max()))
    turn = moves[2] + moves[3]
    return {
        "values": gaps[0],
        "scores": gaps[1],
        "symmetry": float(np.abs(turn - turn.swapaxes(-1, -2)).max() / np.abs(turn).max()),
    }


# Values alone


def _all_tokens(kernel: str, N: int, weight_decay: float, std: float, M: int, rng: Any) -> tuple[Any, wflow.Particles]:
    """One layer whose values are trained alone; the first row of every token is a target."""
    data = wflow.Dataset(
        rng.standard_normal((N, D, TOKENS)), rng.standard_normal((N, TOKENS)), [(0, i) for i in range(TOKENS)]
    )
    attention = heads(kernel)
    frozen = ("W_V", "W_K", "W_Q") if attention.factored else ("W",)
    Q = wflow.TransformerObjective(
        data, attention, weight_decay=weight_decay, layers=1, mobility=dict.fromkeys(frozen, 0.0)
    )
    rho = random_measure(Q, {"theta": M}, rng)
    scores = np.repeat([1.0, std], [rho.theta.shape[2] // 2] * 2)
    return Q, wflow.Particles(theta=rho.theta * scores)


def value_block(kernel: str, M: int, weight_decay: float) -> Mapping[str, Any]:
    """Predictions of a trained value block beside the linear system that the numpy Transformer gives."""
    rng, times = np.random.default_rng(2), [0.5, 2.0, 10.0, 40.0]
    Q, rho = _all_tokens(kernel, 5, weight_decay, 1.0, M, rng)
    answer = wflow.solve(
        Q, rho, (0, times[-1]), rtol=1e-12, atol=1e-14, save=wflow.SaveAt(tau=times), tol=0, progress=False
    )
    J = prediction_gradients(finite_transformer(Q), state_of(rho.blocks), Q.dataset)
    y, u_0, u_H = (x.ravel() for x in (Q.dataset.labels, Q.predict(rho), Q.dataset.read(Q.dataset.tokens)))
    # u' = -K (u - y)/B - lambda (u - u_H), with the constant as one unknown more
    A = np.zeros((len(y) + 1, len(y) + 1))
    A[:-1, :-1] = -J @ J.T / Q.dataset.n_prompts - weight_decay * np.eye(len(y))
    A[:-1, -1] = J @ (J.T @ y) / Q.dataset.n_prompts + weight_decay * u_H
    gaps = []
    for i, tau in enumerate(answer.frame_tau):
        exact = (expm(tau * A) @ np.append(u_0, 1.0))[:-1]
        gaps.append(np.abs(Q.predict(answer.measure(i)).ravel() - exact).max() / np.abs(u_0 - y).max())
    return {"gap": max(gaps), "share": answer.risk[-1] / answer.risk[0]}


def ranks(kernel: str, std: float, seeds: int) -> Mapping[str, Any]:
    """The rank of K_V by width, and its least eigenvalue over the largest, from the singular values of J."""
    size, found, spread = PROMPTS * TOKENS, [], []
    for seed, M in itertools.product(range(seeds), WIDTHS):
        Q, rho = _all_tokens(kernel, PROMPTS, 0.0, std, M, np.random.default_rng([7, seed]))
        J = prediction_gradients(finite_transformer(Q), state_of(rho.blocks), Q.dataset)
        sigma = np.linalg.svd(J, compute_uv=False)[:size]
        found.append(int(np.sum(sigma > 1e-12 * sigma[0])))
        spread.append((sigma[-1] / sigma[0]) ** 2)
    return {"rank": np.reshape(found, (seeds, -1)), "spread": np.reshape(spread, (seeds, -1))}


def bracket(kernel: str, seed: int) -> Mapping[str, Any]:
    """ln R along training and its bounds, from the eigenvalues of the kernel at saved times."""
    rng = np.random.default_rng([8, seed])
    encoders = heads(kernel, 2), wflow.FeedForward("tanh")
    Q = wflow.TransformerObjective(random_data(rng, 5, D, TOKENS), *encoders, layers=2)
    blocks = random_measure(Q, {"theta": 4, "w": 4}, rng).blocks
    rho = wflow.Particles(weights=None, **{block: 0.5 * x for block, x in blocks.items()})
    run: dict[str, Any] = {"scheme": "rk4", "controller": Fixed(0.01, monotone=False), "tol": 0, "progress": False}
    answer = wflow.solve(Q, rho, (0, 5.0), save=wflow.SaveAt(every=0.05), **run)
    model, eigenvalues, risks, gaps = finite_transformer(Q), [], [], []
    for i in range(answer.n_frames):
        frame = answer.measure(i)
        K = wflow.tangent_kernel(Q, frame)
        eigenvalues.append(np.linalg.eigvalsh(K)[[0, -1]])
        risks.append(Q.risk(frame))
        if i % 25 == 0:
            J = prediction_gradients(model, state_of(frame.blocks), Q.dataset)
            gaps.append(np.abs(J @ J.T - K).max() / np.abs(K).max())
    integrals = cumulative_simpson(np.array(eigenvalues), x=answer.frame_tau, axis=0, initial=0)
    bounds = -2 / Q.dataset.n_prompts * integrals
    fall = np.log(risks) - np.log(risks[0])
    return {"tau": answer.frame_tau, "fall": fall, "upper": bounds[:, 0], "lower": bounds[:, 1], "kernel": max(gaps)}


# Where kernels part


def blind(kernel: str, n: int) -> Mapping[str, Any]:
    """n tokens of the same values, W_Q trained alone: its velocity at random, and the risk after training."""
    rng = np.random.default_rng(9)
    tokens = rng.standard_normal((5, 4, n))
    tokens[:, 0] = tokens[:, 0, :1]  # values are read of row 0 alone
    tokens[:, 3] = 0.0  # and written to row 3
    frozen = dict.fromkeys(("W_V", "W_O", "W_K"), 0.0)
    data = wflow.Dataset(tokens, rng.standard_normal(5), (3, n - 1))
    Q = wflow.TransformerObjective(data, heads(kernel, 2, None, True), layers=1, mobility=frozen)
    W_V, W_O, W_K, W_Q = (rng.standard_normal(shape) for shape in ((4, 2, 4), (4, 4, 2), (4, 2, 4), (4, 2, 4)))
    W_V[:, :, 1:] = 0.0
    W_K, W_Q = 0.5 * W_K, 0.5 * W_Q
    rho = wflow.Particles(theta=np.concatenate([x.reshape(4, -1) for x in (W_V, W_O, W_K, W_Q)], axis=1)[None])
    answer = wflow.solve(Q, rho, (0, 5.0), rtol=1e-3, tol=0, scheme="heun", controller=Fixed(0.1, monotone=False))
    return {"speed": float(np.abs(Q.velocity(rho)["theta"]).max()), "risk": answer.risk[-1] / answer.risk[0]}


def trap(kernel: str, trained: tuple[str, ...] = ("W_Q",)) -> Any:
    """Rows: key, value, query, prediction. The fourth token asks, and no query sees it."""
    tokens = np.zeros((1, 4, 4))
    tokens[0, 0, :3], tokens[0, 1, :3], tokens[0, 2, 3] = (-1, 0, 1), (1, -0.5, 0.2), 1
    mask = np.ones((4, 4))
    mask[3] = 0
    frozen = {name: 0.0 for name in ("W_V", "W_O", "W_K", "W_Q") if name not in trained}
    attention = wflow.Attention(kernel, mask, True, 1)
    return wflow.TransformerObjective(wflow.Dataset(tokens, [0.9], (3, 3)), attention, layers=1, mobility=frozen)


def trap_heads(w: Array) -> wflow.Particles:
    """Heads whose scores are w times the key, or -|key - w|^2/2; values are read as they are."""
    theta = np.zeros((1, len(w), 16))
    theta[..., 1], theta[..., 4 + 3], theta[..., 8] = 1, 2, 1  # W_O undoes the half step
    theta[..., 12 + 2] = w
    return wflow.Particles(theta=theta)


def critical(kernel: str) -> Mapping[str, Any]:
    """The predictions of one head over w, and all w at which it does not move."""
    Q, w = trap(kernel), np.linspace(-8, 8, 801)

    def speed(x: float) -> float:
        return float(Q.velocity(trap_heads(np.array([x])))["theta"][0, 0, 14])

    speeds = [speed(x) for x in w]
    zeros = [brentq(speed, w[i], w[i + 1], xtol=1e-14) for i in range(len(w) - 1) if speeds[i] * speeds[i + 1] < 0]
    far = [Q.predict(trap_heads(np.array([x]))).item() for x in (*zeros, *w)]
    return {"w": w, "F": np.array(far[len(zeros) :]), "zeros": np.array(zeros), "values": np.array(far[: len(zeros)])}


def trapped(start: float, tau: float) -> Mapping[str, Any]:
    """One softmax head, W_Q trained alone: w and the risk along training."""
    times = np.geomspace(1e-1, tau, 60)
    save = wflow.SaveAt(tau=times[:-1].tolist())
    options: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-12, "save": save, "tol": 0, "progress": False}
    answer = wflow.solve(trap("softmax"), trap_heads(np.array([start])), (0, tau), **options)
    w = [answer.measure(i).theta[0, 0, 14] for i in range(answer.n_frames)]
    return {"tau": answer.frame_tau, "w": np.array(w), "R": answer.risk[-1]}


def freed(kernel: str, seed: int) -> Mapping[str, Any]:
    """Fifty heads that start in the trap, with values trained too: the risk."""
    w = 2 + 0.3 * np.random.default_rng(seed).standard_normal(50)
    Q = trap(kernel, ("W_V", "W_O", "W_Q"))
    run: dict[str, Any] = {"scheme": "heun", "controller": Fixed(0.1, monotone=False), "tol": 0, "progress": False}
    answer = wflow.solve(Q, trap_heads(w), (0, 200.0), **run)
    return {"R": answer.risk[-1], "start": answer.risk[0]}


def in_context(kernel: str, seed: int, tau: float) -> Mapping[str, Any]:
    """Heads alone on in-context regression: the risk of training prompts and of others along training."""
    train, other = (
        wflow.datasets.in_context_regression(32, 2, 8, rng=np.random.default_rng([seed, i]), positions=False)
        for i in (0, 1)
    )
    Q = wflow.TransformerObjective(train, heads(kernel, None, None, True), weight_decay=1e-3, layers=2)
    rho = wflow.initial.gaussian(std=0.5).sample(Q, 16, rng=seed)
    save = wflow.SaveAt(tau=np.geomspace(tau / 100, tau, 30)[:-1].tolist())
    answer = wflow.solve(Q, rho, (0, tau), rtol=1e-3, save=save, progress=False)
    frames = [answer.measure(i) for i in range(answer.n_frames)]
    return {
        "tau": answer.frame_tau,
        "R": np.array([Q.risk(rho) for rho in frames]),
        "other": np.array([Q.risk(rho, other) for rho in frames]),
    }


# The report


def report(answers: Answers, full: bool) -> Outcome:
    """Claims, tables and figures."""
    claims = [*_kernel_claims(answers), *_value_claims(answers), *_parting_claims(answers)]
    captions = {
        "trap": "One head on one prompt: predictions over w, marked where W_Q does not move; and w along training.",
        "spread": "The least eigenvalue of K_V over the largest, medians over seeds.",
        "bracket": "The risk along training between its bounds by the eigenvalues of K.",
        "curves": "In-context regression by heads alone, a line for every seed: training prompts and others.",
    }
    drawn = (_trap_figure, _spread_figure, _bracket_figure, _curves_figure)
    figures = {name: (draw(answers), words) for (name, words), draw in zip(captions.items(), drawn)}
    return Outcome(claims, _findings(answers), [_agreement_table(answers), _rank_table(answers)], figures)


def _worst(answers: Answers, function: Any, name: str, **arguments: Any) -> float:
    return max(float(np.max(a[name])) for _, a in answers.of(function, **arguments))


def _kernel_claims(answers: Answers) -> Iterator[Claim]:
    for kernel in KERNELS:
        worst = _worst(answers, adjoints, "errors", kernel=kernel)
        yield at_most(f"{kernel}: vjp against differences, every mask, relative", worst, 1e-8)
    for dtype, limit in TOLERANCE.items():
        for kernel in KERNELS:
            names = ("velocity", "value", "50 steps", "adaptive")
            worst = max(_worst(answers, agreement, name, kernel=kernel, dtype=dtype) for name in names)
            yield at_most(f"{kernel}, {dtype}: numpy Transformer, every mask and loss, relative", worst, limit)
    a = answers.one(closed_forms)
    e = float(np.exp(-0.5))
    for name, exact in (("gaussian", (3 + 6 * e, 6 + 3 * e)), ("linear", (7.5, 15.0)), ("causal", (3.0, 4.5))):
        words = "causal softmax without scores" if name == "causal" else name
        yield at_most(f"{words}: two tokens by hand", float(np.abs(a[name] - exact).max()), 1e-13)
    yield within("gaussian: one token through a continuum of layers", a["gaussian token"], 1.297521652533, 1e-9)
    yield within("linear: one token through a continuum of layers", a["linear token"], 1.228590233668, 1e-9)
    for arguments, a in answers.of(balances):
        kernel = arguments["kernel"]
        yield at_most(f"{kernel}: rate of W_O^T W_O - W_V W_V^T off -2 lambda", a["values"], 1e-13)
        if kernel in DISTANCES:
            yield at_most(f"{kernel}: W_K' W_K^T + W_Q' W_Q^T off being symmetric", a["symmetry"], 1e-13)
            yield at_least(f"{kernel}: which W_K W_K^T - W_Q W_Q^T is not bound to", a["scores"], 1e-3)
        else:
            yield at_most(f"{kernel}: rate of W_K W_K^T - W_Q W_Q^T off -2 lambda", a["scores"], 1e-13)


def _bound(kernel: str, M: int) -> int:
    """The generic rank: features of linear attention are (Z Z^T) W z, quadratic in Z and linear in z."""
    most = D * D * (D + 1) // 2 if kernel == "linear" else PROMPTS * TOKENS
    return min(PROMPTS * TOKENS, M * D, most)


def _value_claims(answers: Answers) -> Iterator[Claim]:
    for kernel in KERNELS:
        worst = _worst(answers, value_block, "gap", kernel=kernel)
        yield at_most(f"{kernel}: values alone, predictions against the matrix exponential to tau = 40", worst, 1e-9)
    for arguments, a in answers.of(ranks):
        expected = np.array([_bound(arguments["kernel"], M) for M in WIDTHS])
        words = f"{arguments['kernel']}, scores of size {arguments['std']}: rank of K_V, largest "
        if arguments["kernel"] == "sparsemax":  # whose weights are often one and zeros, as for other targets
            yield at_most(words + "excess over its law", float((a["rank"] - expected).max()), 0)
        else:
            yield at_most(words + "difference from its law", float(np.abs(a["rank"] - expected).max()), 0)
    for kernel in KERNELS:
        rows = [a for _, a in answers.of(bracket, kernel=kernel)]
        slack = min(float(np.min([a["upper"] - a["fall"], a["fall"] - a["lower"]], axis=0)[1:].min()) for a in rows)
        yield at_least(f"{kernel}: ln R inside its bracket at every saved time, the least distance", slack, 0.0)
        gap = max(a["kernel"] for a in rows)
        yield at_most(f"{kernel}: tangent kernel against gradients of the numpy Transformer, relative", gap, 1e-12)


def _parting_claims(answers: Answers) -> Iterator[Claim]:
    for arguments, a in answers.of(blind):
        kernel, n = arguments["kernel"], arguments["n"]
        words = f"{kernel}: {n} {'token' if n == 1 else 'tokens of equal values'}, "
        if kernel in NORMALISED:
            yield at_most(words + "speed of W_Q", a["speed"], 1e-14)
        else:
            yield at_least(words + "speed of W_Q", a["speed"], 1e-2)
            yield at_most(words + "risk after training W_Q, as a share", a["risk"], 0.999)
    softmax, gaussian = (answers.one(critical, kernel=k) for k in ("softmax", "gaussian"))
    yield within("the trap: number of critical points, softmax", len(softmax["zeros"]), 2, 0)
    for name, expected, w in (("fit", FIT, softmax["zeros"][0]), ("peak", PEAK, softmax["zeros"][-1])):
        yield within(f"the trap: w of the {name}, softmax", w, expected, 1e-10)
    yield within("the trap: the least prediction, softmax", softmax["values"][-1], 0.1, 1e-14)
    yield within("the trap: number of critical points, gaussian", len(gaussian["zeros"]), 3, 0)
    for w, expected in zip(gaussian["zeros"], GAUSSIAN_CRITICAL):
        yield within("the trap: a critical w, gaussian", w, expected, 5.1e-5)
    largest = float(gaussian["values"].max())
    yield within("the trap: the largest prediction, gaussian", largest, GAUSSIAN_LARGEST, 5.1e-5)
    for arguments, a in answers.of(trapped):
        words = f"the trap: from w = {arguments['start']:g}, "
        if arguments["start"] < PEAK:
            yield within(words + "w at the end", a["w"][-1], FIT, 1e-8)
            yield at_most(words + "risk at the end", a["R"], 1e-18)
        else:
            yield within(words + "risk at the end", a["R"], LOST, 1e-4)
            yield within(words + "w - ln(0.49 tau) at the end", a["w"][-1] - np.log(0.49 * a["tau"][-1]), 0.0, 1e-3)
    for arguments, a in answers.of(freed):
        yield at_most(f"the trap: {arguments['kernel']}, 50 heads from inside it, values trained: risk", a["R"], 1e-28)


def _agreement_table(answers: Answers) -> Table:
    names, rows = ("velocity", "50 steps", "adaptive"), []
    for kernel, (i, mask) in itertools.product(KERNELS, enumerate(MASKS)):
        row: list[Any] = [kernel, mask]
        for dtype in TOLERANCE:
            found = [a for _, a in answers.of(agreement, kernel=kernel, dtype=dtype)]
            row += [max(float(a[name][i].max()) for a in found) for name in names]
        rows.append(row)
    head = ["kernel", "mask", *(f"{name}, {dtype[5:]} bits" for dtype in TOLERANCE for name in names)]
    title = (
        "Largest relative differences from the numpy Transformer over losses and seeds: velocity, 50 Euler steps of "
        "0.1, adaptive steps to tau = 5."
    )
    return Table(title, head, rows)


def _rank_table(answers: Answers) -> Table:
    shown, rows = (8, 10, 12, 16), []
    for arguments, a in answers.of(ranks):
        wide = [np.median(a["spread"][:, WIDTHS.index(M)]) for M in shown]
        rows.append([arguments["kernel"], arguments["std"], int(a["rank"].max()), *wide])
    head = ["kernel", "size of scores", "largest rank", *(f"M = {M}" for M in shown)]
    title = (
        f"K_V of {PROMPTS * TOKENS} targets, D = {D}: the largest rank, and by width the median of the least "
        "eigenvalue over the largest."
    )
    return Table(title, head, rows)


def _findings(answers: Answers) -> list[str]:
    generic = [k for k in KERNELS if k not in ("linear", "sparsemax")]
    wide = [a["spread"][:, WIDTHS.index(8) :] for k in generic for _, a in answers.of(ranks, kernel=k)]
    out = [
        f"K_V has full rank from M D = N n on, but that says little: its least eigenvalue is {np.min(wide):.0e} to "
        f"{np.max(wide):.0e} of the largest one for M = 8 to 16. Linear attention never gets beyond rank "
        f"{_bound('linear', 100)}: its features are products of one of {D * (D + 1) // 2} entries of Z Z^T with one of "
        f"{D} of a token."
    ]
    ends = {}
    for kernel in COMPARED:
        rows = [a for _, a in answers.of(in_context, kernel=kernel)]
        ends[kernel] = tuple(np.median([a[name][-1] for a in rows]) for name in ("R", "other"))
    words = "; ".join(f"{kernel} {R:.2g} and {other:.2g}" for kernel, (R, other) in ends.items())
    start = "In-context regression, median risk at the end on training prompts and on others: "
    return [*out, f"{start}{words}. No verdict follows: one task, one law of initial particles, one training time."]


# Figures


def _trap_figure(answers: Answers) -> Figure:
    figure, row = panels(3, 2.5)
    for axes, kernel in zip(row, ("softmax", "gaussian")):
        a = answers.one(critical, kernel=kernel)
        axes.plot(a["w"], a["F"], **line_of(0))
        axes.plot(a["zeros"], a["values"], "o", color="black", markersize=3)
        axes.axhline(0.9, color="black", linewidth=0.6, linestyle=":")
        axes.set(title=kernel, xlabel="$w$", ylim=(-0.15, 1.0))
    row[0].set_ylabel("prediction $F(w)$")
    for k, (arguments, a) in enumerate(answers.of(trapped)):
        row[2].plot(a["tau"][1:], a["w"][1:], label=f"$w_0={arguments['start']:g}$", **line_of(k))
    tau = np.geomspace(10, 1e5, 20)
    row[2].plot(tau, np.log(0.49 * tau), color="black", linewidth=0.6, linestyle=":", label=r"$\ln(0.49\,\tau)$")
    row[2].set(xscale="log", xlabel=r"$\tau$", title="softmax, trained")
    row[2].set_ylabel("$w$")
    common_legend(row[2], "outside right center")
    return figure


def _spread_figure(answers: Answers) -> Figure:
    figure, row = panels(2, 2.6, sharey=True)
    for axes, std in zip(row, (0.3, 1.0)):
        for k, (arguments, a) in enumerate(answers.of(ranks, std=std)):
            wide = [M for M in WIDTHS if M * D >= PROMPTS * TOKENS]
            spread = np.median(a["spread"], axis=0)[-len(wide) :]
            if arguments["kernel"] != "linear":
                axes.semilogy(wide, spread, label=arguments["kernel"], **line_of(k, marker="o"))
        axes.set(title=f"scores of size {std:g}", xlabel="heads $M$")
    row[0].set_ylabel(r"$\lambda_{\min}/\lambda_{\max}$ of $K_V$")
    common_legend(row[1], "outside right center")
    return figure


def _bracket_figure(answers: Answers) -> Figure:
    figure, row = panels(3, 2.4)
    for axes, kernel in zip(row, ("softmax", "gaussian", "linear")):
        _, a = next(iter(answers.of(bracket, kernel=kernel)))
        axes.fill_between(a["tau"], np.exp(a["lower"]), np.exp(a["upper"]), alpha=0.2, linewidth=0, color="gray")
        axes.plot(a["tau"], np.exp(a["fall"]), **line_of(0))
        axes.set(title=kernel, xlabel=r"$\tau$", yscale="log", ylim=(np.exp(a["fall"].min()) / 30, 1.5))
    row[0].set_ylabel("$R/R(0)$")
    return figure


def _curves_figure(answers: Answers) -> Figure:
    figure, row = panels(2, 2.6, sharey=True)
    for k, kernel in enumerate(COMPARED):
        for seed, (_, a) in enumerate(answers.of(in_context, kernel=kernel)):
            for axes, name in zip(row, ("R", "other")):
                label = kernel if seed == 0 else None
                axes.loglog(a["tau"][1:], a[name][1:], label=label, linewidth=0.8, **line_of(k))
    for axes, title in zip(row, ("training prompts", "other prompts")):
        axes.set(title=title, xlabel=r"$\tau$")
    log_axis(row[0], np.concatenate([a[x][1:] for _, a in answers.of(in_context) for x in ("R", "other")]))
    row[0].set_ylabel("risk $R$")
    row[1].legend()
    return figure
