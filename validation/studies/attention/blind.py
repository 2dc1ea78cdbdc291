"""Where all values coincide, which kernels can still learn by their scores?

    f_i = sum_j V z_j K_ji = v sum_j K_ji    if V z_j = v for all j

A kernel whose weights sum to one gives v, whatever the scores: the gradient in W_Q vanishes. A kernel that does not
divide scales v, and can learn. Measured with W_Q trained alone, for one token and for four tokens of equal values: the
speed of W_Q at random, and the share of the risk that is left at tau = 5.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import wflow
from validation.heads import KERNELS
from validation.studies.attention._heads import attention
from validation.study import Answer, Claim, Runs, at_least, at_most
from wflow.controllers import Fixed

COST = 0.3
CAPTION = ""

#: Kernels whose weights sum to one for every query.
NORMALISED = ("softmax", "gaussian-normalised", "sparsemax")


def cases(full: bool) -> list[dict[str, Any]]:
    return [{"kernel": kernel, "n": n} for kernel in KERNELS for n in (1, 4)]


def measure(kernel: str, n: int) -> Answer:
    """The velocity of W_Q at random, and the risk after training."""
    rng = np.random.default_rng(9)
    tokens = rng.standard_normal((5, 4, n))
    tokens[:, 0] = tokens[:, 0, :1]  # values are read of row 0 alone
    tokens[:, 3] = 0.0  # and written to row 3
    frozen = dict.fromkeys(("W_V", "W_O", "W_K"), 0.0)
    data = wflow.Dataset(tokens, rng.standard_normal(5), (3, n - 1))
    Q = wflow.TransformerObjective(data, attention(kernel, 2, None, True), layers=1, mobility=frozen)
    W_V, W_O, W_K, W_Q = (rng.standard_normal(shape) for shape in ((4, 2, 4), (4, 4, 2), (4, 2, 4), (4, 2, 4)))
    W_V[:, :, 1:] = 0.0
    W_K, W_Q = 0.5 * W_K, 0.5 * W_Q
    rho = wflow.Particles(theta=np.concatenate([x.reshape(4, -1) for x in (W_V, W_O, W_K, W_Q)], axis=1)[None])
    answer = wflow.solve(Q, rho, (0, 5.0), rtol=1e-3, tol=0, scheme="heun", controller=Fixed(0.1, monotone=False))
    return {"speed": float(np.abs(Q.velocity(rho)["theta"]).max()), "risk": answer.risk[-1] / answer.risk[0]}


def claims(runs: Runs) -> list[Claim]:
    out = []
    for case, a in runs:
        kernel, n = case["kernel"], case["n"]
        words = f"{kernel}: {n} {'token' if n == 1 else 'tokens of equal values'}, "
        if kernel in NORMALISED:
            out.append(at_most(words + "speed of W_Q", a["speed"], 1e-14))
        else:
            out.append(at_least(words + "speed of W_Q", a["speed"], 1e-2))
            out.append(at_most(words + "risk after training W_Q, as a share", a["risk"], 0.999))
    return out


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> None:
    return None
