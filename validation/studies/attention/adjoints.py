"""Is the adjoint of every kernel the derivative of its values?

With the answers Z_bar and beta_bar of ``vjp`` to the cotangent k, for tokens and particles that move by dZ and dbeta:

    d/ds <mean(Z + s dZ, beta + s dbeta), k> = <Z_bar, dZ> + sum_j a_j <beta_bar_j, dbeta_j>    at s = 0

Measured with every mask, for the tokens and for each of four heads alone: the largest error against differences that
are extrapolated twice, relative to the sizes of gradient and direction.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import wflow
from validation.agreement import MASKS
from validation.derivatives import adjoint_error
from validation.heads import DISTANCES, KERNELS
from validation.studies.attention._heads import TOKENS, D
from validation.study import Answer, Claim, Runs, at_most

COST = 0.5
CAPTION = ""


def cases(full: bool) -> list[dict[str, Any]]:
    return [{"kernel": kernel} for kernel in KERNELS]


def measure(kernel: str) -> Answer:
    """The largest error by mask."""
    rng = np.random.default_rng(1)
    encoders = [wflow.Attention(kernel, mask, kernel in DISTANCES, None, 0.6) for mask in MASKS.values()]
    return {"errors": np.array([adjoint_error(encoder, D, TOKENS, 4, rng) for encoder in encoders])}


def claims(runs: Runs) -> list[Claim]:
    words = "vjp against differences, every mask, relative"
    return [at_most(f"{case['kernel']}: {words}", float(np.max(a["errors"])), 1e-8) for case, a in runs]


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> None:
    return None
