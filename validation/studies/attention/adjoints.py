"""Is the adjoint of every kernel the derivative of its values?

With the answers Z_bar and beta_bar of ``vjp`` to the cotangent k, for tokens and particles that move by dZ and dbeta:

    d/ds <mean(Z + s dZ, beta + s dbeta), k> = <Z_bar, dZ> + sum_j a_j <beta_bar_j, dbeta_j>    at s = 0

Measured with every mask, for the tokens and for each of four heads alone: the largest error against differences that
are extrapolated twice, relative to the sizes of gradient and direction.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

import wflow
from validation.agreement import MASKS
from validation.heads import DISTANCES, KERNELS
from validation.studies.attention._heads import TOKENS, D
from validation.study import Answer, Claim, Runs, at_most

Array = NDArray[np.float64]

COST = 0.5
CAPTION = ""


def cases(full: bool) -> list[dict[str, Any]]:
    return [{"kernel": kernel} for kernel in KERNELS]


def measure(kernel: str) -> Answer:
    """The largest error by mask."""
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


def claims(runs: Runs) -> list[Claim]:
    words = "vjp against differences, every mask, relative"
    return [at_most(f"{case['kernel']}: {words}", float(np.max(a["errors"])), 1e-8) for case, a in runs]


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> None:
    return None


def _slope(encoder: Any, tokens: tuple[Array, Array], beta: tuple[Array, Array], a: Array, k: Array) -> float:
    """Of ``<mean, k>`` at s = 0 with tokens and particles (x, dx) at x + s dx."""
    first = []
    for h in (1e-3, 5e-4, 2.5e-4):
        up, down = (encoder.mean(tokens[0] + s * tokens[1], beta[0] + s * beta[1], a) for s in (h, -h))
        first.append(float(np.sum(k * (up - down))) / (2 * h))
    second = [(4 * fine - coarse) / 3 for coarse, fine in itertools.pairwise(first)]
    return (16 * second[1] - second[0]) / 15
