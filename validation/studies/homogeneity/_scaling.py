"""What becomes of an encoder and its derivatives when tokens and weights are scaled."""

from __future__ import annotations

__all__ = ["scaling"]

from typing import Any

import numpy as np

from validation.derivatives import adjoint_error
from validation.studies.homogeneity._encoders import Array, D, encoders, norms, outer_of
from validation.studies.homogeneity._task import TOKENS
from validation.study import Answer

#: The largest |act'|; of gelu and silu at sqrt(2) and 2.3994.
LIPSCHITZ = {"relu": 1, "huberized-relu": 1, "tanh": 1, "sigmoid": 0.25, "elu": 1, "softplus": 1}
LIPSCHITZ |= {"gelu": 1.1290, "silu": 1.0999}


def scaling(name: str) -> Answer:
    """The error of the gradient, the defects of homogeneity, and growth, of one encoder."""
    encoder, rng = encoders()[name], np.random.default_rng(0)
    out: dict[str, Any] = {"gradient": adjoint_error(encoder, D, TOKENS, 8, rng), **_defects(encoder, rng)}
    return out | _growth(encoder, name, rng)


def _defects(encoder: Any, rng: np.random.Generator) -> dict[str, float]:
    """The largest relative |g(T, s c, a) - s g(T, c, a)|, and the same for s^2 and all weights."""
    Z, outer, out = rng.standard_normal((8, D, TOKENS)), outer_of(encoder), []
    for s in (0.3, 2.0, 7.0):
        beta = rng.standard_normal((1, encoder.n_parameters(D)))
        scaled = beta.copy()
        scaled[:, outer] *= s
        g, part, whole = (encoder.mean(Z, x, np.ones(1)) for x in (beta, scaled, s * beta))
        out.append([np.linalg.norm(x - y) / np.linalg.norm(y) for x, y in ((part, s * g), (whole, s**2 * g))])
    part, whole = np.max(out, axis=0)
    return {"partial": float(part), "whole": float(whole)}


def _growth(encoder: Any, name: str, rng: np.random.Generator) -> dict[str, float]:
    """Exponents of growth from size 100 to 1000, the constants K, and |g| in units of its bound by hand."""
    T, beta = rng.standard_normal((12, D, TOKENS)), rng.standard_normal((12, encoder.n_parameters(D)))
    T, beta = T / norms(T)[:, None, None], beta / norms(beta)[:, None]

    def values(r: float, s: float) -> Array:  # (particle, prompt)
        return np.array([norms(encoder.mean(r * T, s * x[None], np.ones(1))) for x in beta])

    def by_parameters(s: float) -> float:
        return max(float(np.sqrt(np.sum(_jacobian(encoder, 2 * Z, s * beta) ** 2, axis=(0, 2))).max()) for Z in T)

    def by_tokens(s: float) -> float:
        return max(float(_token_jacobian(encoder, 2 * T, s * x).max()) for x in beta)

    sizes = (0.1, 1.0, 10.0, 100.0, 1000.0)
    scales = [(r, 1.0) for r in sizes] + [(1.0, s) for s in sizes]
    out = {
        "growth in T": _exponent(values(100, 1).max(), values(1000, 1).max()),
        "growth in beta": _exponent(values(1, 100).max(), values(1, 1000).max()),
        "grad growth": _exponent(by_parameters(100), by_parameters(1000)),
        "D_T growth": _exponent(by_tokens(100), by_tokens(1000)),
        "K": max(float(values(r, s).max()) / ((1 + r) * (1 + s * s)) for r, s in scales),
        "grad K": max(by_parameters(s) / (1 + s) for s in sizes),
        "D_T K": max(by_tokens(s) / (1 + s * s) for s in sizes),
    }
    outer, act = outer_of(encoder), name.removesuffix(" neurons")
    shares = []
    for r, s in scales:
        c, a = s * norms(beta[:, outer])[:, None], s * norms(np.delete(beta, outer, axis=1))[:, None]
        if name == "softmax attention":
            shares.append(values(r, s) / (c * np.sqrt(TOKENS) * r))
        elif act in LIPSCHITZ:
            at_zero = {"sigmoid": 0.5, "softplus": np.log(2)}.get(act, 0.0)
            shares.append(values(r, s) / (c * (at_zero * np.sqrt(TOKENS) + LIPSCHITZ[act] * a * r)))
    return out | {"share of the bound": float(np.max(shares)) if shares else np.nan}


def _jacobian(encoder: Any, tokens: Array, beta: Array) -> Array:
    """``grad_beta g`` (D n, M, p) of one prompt (D, n)."""
    units, weights = np.eye(tokens.size).reshape(-1, 1, *tokens.shape), np.ones(len(beta))
    return np.array([encoder.vjp(tokens[None], beta, weights, k)[1] for k in units])


def _token_jacobian(encoder: Any, tokens: Array, beta: Array) -> Array:
    """The norms of ``D_T g`` of prompts (N, D, n), for one particle: (N,)."""
    units = np.eye(tokens[0].size).reshape(-1, 1, *tokens.shape[1:])
    pulled = [encoder.vjp(tokens, beta[None], np.ones(1), np.repeat(k, len(tokens), 0))[0] for k in units]
    return np.asarray(np.sqrt(np.sum(np.square(pulled), axis=(0, 2, 3))))


def _exponent(at_100: float, at_1000: float) -> float:
    """The power of the size with which something grows."""
    return float(np.log10(at_1000 / at_100)) if at_100 > 0 else 0.0
