"""Do the balances of factors decay as e^(-2 lambda tau)?

Of factored heads, and of neurons whose activation is positively homogeneous, hidden unit k,

    W_O^T W_O - W_V W_V^T,    W_K W_K^T - W_Q W_Q^T,    |W_2[:,k]|^2 - |W_1[k,:]|^2

are multiplied by e^(-2 lambda tau), whatever the data. Measured at tau = 1: the largest departure from that, and how
far the parameters went. The huberized relu is not homogeneous, and keeps no balance.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import wflow
from validation.flows import random_data, random_measure
from validation.study import Answer, Claim, Runs, at_least, at_most
from wflow.measures import Measure

COST = 0.4
CAPTION = ""

D, RANK = 3, 2


def cases(full: bool) -> list[dict[str, Any]]:
    factored = [{"kind": "factored", "decay": decay} for decay in (0.0, 0.3)]
    return factored + [{"kind": kind, "decay": 0.3} for kind in ("relu", "identity", "huberized-relu")]


def measure(kind: str, decay: float) -> Answer:
    """The largest departure from the decay, and the largest motion of a parameter."""
    rng = np.random.default_rng(4)
    encoders: dict[str, Any]
    if kind == "factored":
        data, encoders = random_data(rng, 6, D, 4), {"attention": wflow.SoftmaxAttention(True, RANK)}
    else:
        data, encoders = random_data(rng, 6, D, 2), {"feedforward": wflow.FeedForward(kind, RANK)}
    Q = wflow.TransformerObjective(data, **encoders, weight_decay=decay, layers=2)
    # The velocity of relu jumps where a token crosses its kink: small steps of a low order.
    method: dict[str, Any] = {"scheme": "bs3", "dtau": 4e-3} if kind == "relu" else {"rtol": 1e-9, "atol": 1e-11}
    answer = wflow.solve(Q, random_measure(Q, {"theta": 4, "w": 5}, rng), (0, 1.0), **method)
    first, last = answer.measure(0), answer.measure(-1)
    (name,) = first.blocks
    gap = float(np.abs(_balance(last) - np.exp(-2 * decay) * _balance(first)).max())
    return {"gap": gap, "moved": float(np.abs(last.blocks[name] - first.blocks[name]).max())}


def claims(runs: Runs) -> list[Claim]:
    out = []
    for case, a in runs:
        kind, words = case["kind"], f"{case['kind']}, lambda = {case['decay']}"
        statement = f"{words}: departure of the balances from e^(-2 lambda tau)"
        if kind == "huberized-relu":
            out.append(at_least(statement + ", which they are not bound to", a["gap"], 1e-2))
        else:
            out.append(at_most(statement, a["gap"], 1e-4 if kind == "relu" else 1e-7))
            out.append(at_least(f"{words}: the parameters moved", a["moved"], 0.1))
    return out


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> None:
    return None


def _balance(rho: Measure) -> NDArray[Any]:
    """Of all factors of the one block."""
    if "theta" in rho.blocks:
        V, O, K, W = np.split(rho.theta, 4, axis=2)
        V, K, W = (x.reshape(*x.shape[:2], RANK, D) for x in (V, K, W))
        O = O.reshape(*O.shape[:2], D, RANK)
        return np.stack([O.swapaxes(2, 3) @ O - V @ V.swapaxes(2, 3), K @ K.swapaxes(2, 3) - W @ W.swapaxes(2, 3)])
    W_1, W_2 = np.split(rho.w, 2, axis=2)
    W_1, W_2 = W_1.reshape(*W_1.shape[:2], RANK, D), W_2.reshape(*W_2.shape[:2], D, RANK)
    return np.asarray(np.sum(W_2**2, axis=2) - np.sum(W_1**2, axis=3))
