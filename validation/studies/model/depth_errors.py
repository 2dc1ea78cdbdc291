"""Does every depth rule have its order in 1/L?

A Transformer whose particles vary smoothly along the depth, theta_j(t) and w_j(t), is the differential equation

    T' = (1/2) mean_j V_j T softmax(T^T W_j T) + (1/2) mean_j W_2j tanh(W_1j T)

solved here with a step control of order 8 in numpy. Measured at numbers of layers that double: the errors of its
predictions and of Q; and of the prediction of one token after training to tau = 1, whose continuum is known. They
must fall like L^-1, L^-2 and L^-4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

import wflow
from validation.drawing import line_of, panels
from validation.heads import softmax_columns
from validation.studies.model._depths import ORDERS
from validation.study import Answer, Claim, Runs, within
from wflow.problems import single_token

Array = NDArray[Any]

COST = 2.0
CAPTION = "Errors against the number of layers, at equal measures; one token after training up to tau = 1."


def cases(full: bool) -> list[dict[str, Any]]:
    return [{"depth": depth, "layers": [8, 16, 32, 64] if full else [8, 16, 32]} for depth in ORDERS]


def measure(depth: str, layers: Sequence[int]) -> Answer:
    """The errors by the number of layers."""
    rng = np.random.default_rng(3)
    data = wflow.Dataset(rng.standard_normal((2, 3, 4)), [0.0, 0.0], (2, 3))
    ends = {name: 0.6 * rng.standard_normal((2, M, p)) for name, M, p in (("theta", 2, 18), ("w", 3, 12))}
    exact, Q_exact = _continuum(data, ends)
    out: dict[str, list[float]] = {"token": [], "predictions": [], "Q": []}
    for L in layers:
        encoders = wflow.SoftmaxAttention(), wflow.FeedForward("tanh", hidden=2)
        Q = wflow.TransformerObjective(data, *encoders, weight_decay=0.3, depth=depth, layers=L)
        curves = {name: _curve(pair, Q.rule.nodes) for name, pair in ends.items()}
        rho = Q.prepare(wflow.Particles(weights=None, **curves))
        out["predictions"].append(float(np.abs(Q.predict(rho) - exact).max()))
        out["Q"].append(abs(Q.value(rho) - Q_exact))
        problem = single_token(layers=L, depth=depth, width=1)
        end = wflow.solve(problem.energy, problem.rho0, (0, 1.0), rtol=1e-12, atol=1e-14).measure(-1)
        out["token"].append(float(np.abs(problem.energy.predict(end) - problem.predictions(1.0)).max()))
    return {name: np.array(errors) for name, errors in out.items()}


def claims(runs: Runs) -> list[Claim]:
    words = {"token": "one token after training", "predictions": "a Transformer", "Q": "Q of a Transformer"}
    out = []
    for case, a in runs:
        for name, what in words.items():
            errors, L = a[name], case["layers"]
            order = float(np.log(errors[-2] / errors[-1]) / np.log(L[-1] / L[-2]))
            out.append(within(f"{case['depth']}: order in 1/L, {what}", order, ORDERS[case["depth"]], 0.15))
    return out


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> Figure:
    drawing, row = panels(3, 2.4, sharey=True)
    titles = {"predictions": "predictions", "Q": "$Q$", "token": "one token, trained"}
    for axes, (name, title) in zip(row, titles.items()):
        for k, (case, a) in enumerate(runs):
            axes.loglog(case["layers"], a[name], label=case["depth"], **line_of(k, marker="o"))
        axes.set(title=title, xlabel="layers $L$")
        axes.set_xticks(case["layers"], case["layers"])
        axes.xaxis.set_minor_locator(NullLocator())
    row[0].set_ylabel("error")
    row[2].legend()
    return drawing


def _curve(ends: Array, t: Array) -> Array:
    """Particles at the depths t."""
    start, end = ends
    return np.asarray(start * np.cos(2 * t)[:, None, None] + end * np.exp(t)[:, None, None])


def _continuum(data: wflow.Dataset, ends: dict[str, Array]) -> tuple[Array, float]:
    """The predictions and Q, lambda = 0.3, of the differential equation."""

    def slope(t: float, z: Array) -> Array:
        """dT/dt for one prompt, and the second moment at this depth."""
        theta, w = (_curve(ends[name], np.array([t]))[0] for name in ("theta", "w"))
        T, total = z[:12].reshape(3, 4), np.zeros((3, 4))
        for V, W in theta.reshape(-1, 2, 3, 3):
            total += V @ T @ softmax_columns(T.T @ W @ T) / (2 * len(theta))
        for beta in w:
            total += beta[6:].reshape(3, 2) @ np.tanh(beta[:6].reshape(2, 3) @ T) / (2 * len(w))
        return np.append(total.ravel(), (theta**2).sum() / len(theta) + (w**2).sum() / len(w))

    starts = [np.append(H.ravel(), 0.0) for H in data.tokens]
    tolerances = {"rtol": 1e-12, "atol": 1e-12}
    exact = np.array([solve_ivp(slope, (0, 1), z, method="DOP853", **tolerances).y[[11, 12], -1] for z in starts])
    return exact[:, 0], 0.5 * float(np.mean(exact[:, 0] ** 2)) + 0.15 * float(exact[0, 1])
