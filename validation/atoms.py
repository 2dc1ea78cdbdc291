"""A Transformer whose initial law is K atoms: its mean-field limit has no sampling error.

``rho_0(. | t) = (1/K) sum_k delta_{b_k}`` at every depth, for heads and for neurons. The flow moves the atoms of every
depth, ``rho(. | t, tau) = (1/K) sum_k delta_{b_k(t, tau)}``, so that particles with the rk4-nodes rule solve the PDE up
to errors of order L^-4 in depth and those of the steps. A finite Transformer has, in each of its L layers, M of the K
atoms drawn with replacement, or all of them: then width adds nothing, and what is left is the error of the depth.

Every Transformer here trains by the classical Runge-Kutta method, with the steps of the limit.
"""

from __future__ import annotations

__all__ = [
    "DTAU",
    "FRAMES",
    "STEPS",
    "TAU",
    "WEIGHT_DECAY",
    "constants",
    "cost",
    "first_order",
    "limit",
    "measure",
    "redrawn",
    "trained",
]

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import simpson

import wflow
from validation.transformer import FiniteTransformer
from wflow.problems import ConstantEncoder

Array = NDArray[np.floating[Any]]
Pair = tuple[Array, Array]

#: Atoms (nets in depth would deal a power of two of them evenly), prompts, weight decay; the steps of training.
K, PROMPTS, WEIGHT_DECAY, DTAU, STEPS = 13, 8, 0.01, 0.25, 16

TAU = DTAU * np.arange(STEPS + 1)

#: Layers of the limit from which frozen laws are taken: its nodes k/(2 L) are those of Transformers of L to 2 L layers.
FINE = 32

#: The steps after which laws are frozen.
FRAMES = (0, 8, 16)

MODEL = FiniteTransformer("full", "tanh", weight_decay=WEIGHT_DECAY)


@cache
def data() -> wflow.Dataset:
    """In-context regression in one dimension: D = 4, n = 5."""
    return wflow.datasets.in_context_regression(PROMPTS, dimension=1, context=4, rng=1)


@cache
def atoms() -> Pair:
    """The atoms of heads (K, 32) and of neurons (K, 8), about a point that is not zero: depth and width both matter.

    The first order in 1/L reigns from few layers on for this seed; for some others it takes 8 or 16 layers.
    """
    rng = np.random.default_rng(1)
    centres = 0.8 * rng.standard_normal((1, 32)), 0.8 * rng.standard_normal((1, 8))
    theta = centres[0] + 0.35 * rng.standard_normal((K, 32))
    return theta, centres[1] + 0.35 * rng.standard_normal((K, 8))


def objective(depth: str, layers: int) -> wflow.TransformerObjective:
    """The objective of the package."""
    encoders = wflow.SoftmaxAttention(), wflow.FeedForward("tanh")
    return wflow.TransformerObjective(data(), *encoders, WEIGHT_DECAY, depth=depth, layers=layers)


@cache
def solution(layers: int, refinement: int = 1) -> wflow.Solution:
    """The PDE's solution with 2 ``layers`` + 1 depth nodes and a frame at every step of the Transformers' training."""
    Q = objective("rk4-nodes", layers)
    theta, w = (wflow.initial.atoms(x) for x in atoms())
    rho0, end = wflow.initial.product(theta=theta, w=w).sample(Q, None, 0), DTAU * STEPS
    return wflow.solve(Q, rho0, (0, end), scheme="rk4", dtau=DTAU / refinement, save=wflow.SaveAt(every=DTAU))


def measure(what: str, **case: Any) -> Mapping[str, Any]:
    """``limit``, ``trained``, ``redrawn`` or ``constants``, for experiments that need several of them."""
    functions = {f.__name__: f for f in (limit, trained, redrawn, constants)}
    return functions[what](**case)


def cost(what: str, M: int | None = None, L: int = 0, seeds: int = 0, **case: Any) -> float:
    """About the seconds of :func:`measure`."""
    if what == "trained":
        return (M or K) * L / 300
    return {"limit": 2.0, "constants": 5.0, "redrawn": ((M or K) * L / 60 + 2) * (seeds + 1) / 1000}[what]


def limit(layers: int, refinement: int = 1) -> Mapping[str, Any]:
    """Q, R and the predictions (STEPS + 1, B) of the PDE at the times of training."""
    s = solution(layers, refinement)
    assert isinstance(s.objective, wflow.TransformerObjective)
    predictions = np.array([s.objective.predict(s.measure(i)) for i in range(STEPS + 1)])
    return {"Q": s.energy[::refinement], "R": s.risk[::refinement], "predictions": predictions}


def trained(M: int | None, L: int, seed: int = 0, kind: str = "iid") -> Mapping[str, Any]:
    """The same of a finite Transformer: M of the atoms in every layer, or (None) all of them."""
    chosen = places(M, L, kind, seed)
    heads, neurons = (np.broadcast_to(x[i], (L, i.shape[1], x.shape[1])) for x, i in zip(atoms(), chosen))
    history = MODEL.train(heads, neurons, data(), DTAU, STEPS, "rk4")
    return {"Q": history.energy, "R": history.risk, "predictions": history.predictions[..., 0]}


def redrawn(M: int, L: int, frame: int, seeds: int, kind: str = "iid") -> Mapping[str, Any]:
    """Predictions of Transformers drawn from the law at a step of training: (seeds, B), and of one with all atoms (B,),
    with its Q and R.

    L must divide 2 FINE, so that the depths l/L of the layers are nodes of the solution.
    """
    stride = 2 * FINE // L
    theta, w = (x[:-1:stride] for x in frozen(frame))
    layers = np.arange(L)[:, None]
    predictions = []
    for seed in range(seeds):
        i, j = places(M, L, kind, seed)
        predictions.append(MODEL.predict(theta[layers, i], w[layers, j], data())[:, 0])
    history = MODEL.train(theta, w, data(), DTAU, 0)  # all atoms
    whole = {"all_atoms": history.predictions[0, :, 0], "Q": history.energy[0], "R": history.risk[0]}
    return whole | {"predictions": np.array(predictions)}


def places(M: int | None, L: int, kind: str, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The numbers of the atoms of heads and of neurons in the layers, each (L, M) or, for all layers, (1, M).

    ``"iid"``: drawn with replacement, for every layer; ``"shared"``: for all layers; ``"net"``: dealt by a net in depth
    (see :meth:`wflow.initial.Law.sample`).
    """
    if M is None:
        return np.arange(K)[None], np.arange(K)[None]
    if kind == "net":
        Q = wflow.TransformerObjective(data(), ConstantEncoder(), ConstantEncoder(), layers=L)
        rho = wflow.initial.atoms(np.arange(K)[:, None]).sample(Q, M, seed, kind="net")
        return rho.theta[..., 0].astype(int), rho.w[..., 0].astype(int)
    rng = np.random.default_rng([seed, M, L])
    shape = (L if kind == "iid" else 1, M)
    return rng.integers(K, size=shape), rng.integers(K, size=shape)


def frozen(frame: int) -> Pair:
    """The atoms of the solution after so many steps, at the nodes k/(2 FINE): (2 FINE + 1, K, p)."""
    if frame == 0:
        theta, w = (np.tile(x, (2 * FINE + 1, 1, 1)) for x in atoms())
        return theta, w
    rho = solution(FINE).measure(frame)
    return rho.theta, rho.w


def constants(frame: int) -> Mapping[str, Any]:
    """The first-order errors of Transformers drawn from the law at a step of training, by prompt (B,).

    ``prediction``: of the limit. ``depth``: L times the error of all atoms in L layers, ``Read delta(1)`` with
    ``delta' = Dg.delta + b``, ``delta(0) = 0`` and ``b = -1/8 (Df.f + Dh.h + Df.h - Dh.f) - 1/2 dg/dt``, f and h the
    averages over the law and ``g = (f + h)/2``. ``width``: M L times the variance over i.i.d. draws,
    ``1/4 int (Var <q, f> + Var <q, h>) dt`` with the adjoint q of the readout.
    ``regulariser``: L times the error of Q - R, ``-lambda/4 (m_2(1) - m_2(0))`` with the second moment m_2 at a depth.
    """
    theta, w = frozen(frame)
    nodes, prompts = len(theta), data()
    equal, dt = np.full(K, 1 / K), 1 / (len(theta) - 1)

    def f(T: Array, k: int) -> Array:
        return MODEL._attention_mean(T, theta[k], equal)

    def h(T: Array, k: int) -> Array:
        return MODEL._feedforward_mean(T, w[k], equal)

    def g(T: Array, k: int) -> Array:
        return 0.5 * (f(T, k) + h(T, k))

    def along(function: Any, T: Array, k: int, direction: Array) -> Array:
        e = 1e-5  # central differences of smooth functions: about ten digits
        return np.asarray((function(T + e * direction, k) - function(T - e * direction, k)) / (2 * e))

    def g_dot(T: Array, k: int) -> Array:
        """The derivative in t at fixed T, of second order."""
        i = min(max(k, 1), nodes - 2)
        slopes = [-1.5, 2.0, -0.5] if k < i else [0.5, -2.0, 1.5] if k > i else [-0.5, 0.0, 0.5]
        return np.asarray(sum(c * g(T, i + j - 1) for j, c in enumerate(slopes)) / dt)

    def slope(k: int, y: Array) -> Array:
        T, delta = y
        u, v = f(T, k), h(T, k)
        b = -(along(f, T, k, u + v) + along(h, T, k, v - u)) / 8 - 0.5 * g_dot(T, k)
        return np.stack([0.5 * (u + v), along(g, T, k, delta) + b])

    ys = [np.stack([prompts.tokens, np.zeros_like(prompts.tokens)])]
    for k in range(0, nodes - 1, 2):
        ys.append(_rk4(slope, k, ys[-1], 2 * dt, 1))
    T = np.array(ys)[:, 0]  # at the even nodes

    def adjoint_slope(k: int, q: Array) -> Array:
        state = T[k // 2]
        bars = MODEL._attention_vjp(state, q, theta[k], equal)[0], MODEL._feedforward_vjp(state, q, w[k], equal)[0]
        return -0.5 * (bars[0] + bars[1])

    readout = np.broadcast_to(prompts.readout[0], T[0].shape)
    qs = {nodes - 1: np.array(readout)}
    for k in range(nodes - 1, 0, -4):
        qs[k - 4] = _rk4(adjoint_slope, k, qs[k], -4 * dt, 2)
    places = sorted(qs)
    spreads = np.array([_spread(T[k // 2], qs[k], theta[k], w[k]) for k in places])
    m_2 = [np.mean(np.sum(theta[k] ** 2, axis=1)) + np.mean(np.sum(w[k] ** 2, axis=1)) for k in (0, -1)]
    return {
        "prediction": prompts.read(T[-1]),
        "depth": prompts.read(ys[-1][1]),
        "width": 0.25 * simpson(spreads, dx=4 * dt, axis=0),
        "regulariser": -0.25 * WEIGHT_DECAY * (m_2[1] - m_2[0]),
    }


def first_order(constants: Mapping[str, Any], M: Any, L: Any) -> Any:
    """The rms error of predictions of M heads and neurons in L layers: ``rms^2 = depth^2/L^2 + width/(M L)``."""
    return np.sqrt(np.mean(constants["depth"] ** 2) / L**2 + np.mean(constants["width"]) / (M * L))


def _spread(T: Array, q: Array, theta: Array, w: Array) -> Array:
    """``Var <q, f> + Var <q, h>`` over the atoms, by prompt."""
    one = np.ones(1)
    heads = [np.sum(q * MODEL._attention_mean(T, x[None], one), axis=(1, 2)) for x in theta]
    neurons = [np.sum(q * MODEL._feedforward_mean(T, x[None], one), axis=(1, 2)) for x in w]
    return np.asarray(np.var(heads, axis=0) + np.var(neurons, axis=0))


def _rk4(slope: Any, k: int, y: Array, step: float, half: int) -> Array:
    """One step from node k; ``half`` nodes make half a step."""
    half = half if step > 0 else -half
    k1 = slope(k, y)
    k2 = slope(k + half, y + 0.5 * step * k1)
    k3 = slope(k + half, y + 0.5 * step * k2)
    return np.asarray(y + step / 6 * (k1 + 2 * k2 + 2 * k3 + slope(k + 2 * half, y + step * k3)))
