"""Do kernels give what their formulas give by hand?

Two tokens z = 1 and 2 with V = 3, W_K = W_Q = 1 or W = 1; and one token from 0.8 through a continuum of equal layers:

    Gaussian           f = (3 + 6 e^(-1/2), 6 + 3 e^(-1/2))       T' = 1.5 T e^(-0.4 T^2)/2
    linear             f_i = 3 (1 + 4) z_i/2                      T' = 0.9 T^3/2
    causal softmax     f = (3, 4.5), the means, without scores

Measured: the means of two tokens, and the token at depth 1 by 64 layers of the depth rule of order 4.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import wflow
from validation.study import Answer, Claim, Runs, at_most, within

COST = 0.5
CAPTION = ""


def cases(full: bool) -> list[dict[str, Any]]:
    return [{}]


def measure() -> Answer:
    """What two tokens become in one mean, and one token in a continuum of layers."""
    Z = np.array([[[1.0, 2.0]]])
    gaussian, linear = wflow.Attention("gaussian", None, True), wflow.Attention("linear")
    out: dict[str, Any] = {
        "gaussian": gaussian.mean(Z, np.array([[3.0, 1, 1, 1]]), np.ones(1)).ravel(),
        "linear": linear.mean(Z, np.array([[3.0, 1.0]]), np.ones(1)).ravel(),
        "causal": wflow.Attention(mask="causal").mean(Z, np.array([[3.0, 0.0]]), np.ones(1)).ravel(),
    }
    # v = W_O W_V = 1.5 and c = (W_K - W_Q)^2/2 = 0.4; v w = 0.9
    for name, encoder, beta in (
        ("gaussian token", gaussian, [1.5, 1.0, 1 + np.sqrt(0.8), 1.0]),
        ("linear token", linear, [0.9, 1.0]),
    ):
        Q = wflow.TransformerObjective(wflow.Dataset([[[0.8]]], [0.0], (0, 0)), encoder, depth="rk4-nodes", layers=64)
        rho = wflow.Particles(theta=np.tile(beta, (Q.rule.n_slices, 1, 1)))
        out[name] = Q.predict(Q.prepare(rho)).item()
    return out


def claims(runs: Runs) -> list[Claim]:
    a, out = runs.one(), []
    e = float(np.exp(-0.5))
    for name, exact in (("gaussian", (3 + 6 * e, 6 + 3 * e)), ("linear", (7.5, 15.0)), ("causal", (3.0, 4.5))):
        words = "causal softmax without scores" if name == "causal" else name
        out.append(at_most(f"{words}: two tokens by hand", float(np.abs(a[name] - exact).max()), 1e-13))
    for name, end in (("gaussian", 1.297521652533), ("linear", 1.228590233668)):
        out.append(within(f"{name}: one token through a continuum of layers", a[f"{name} token"], end, 1e-9))
    return out


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> None:
    return None
