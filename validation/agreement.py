"""wflow beside the numpy Transformer: velocities and training runs for every attention kernel, mask and loss."""

from __future__ import annotations

__all__ = ["MASKS", "TOLERANCE", "by_numpy", "differences", "problem"]

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import wflow
from validation.flows import random_measure
from validation.heads import DISTANCES
from validation.kernel import inputs_of
from validation.statistics import relative_gap
from validation.trajectory import finite_transformer
from wflow.controllers import Fixed
from wflow.measures import Measure

Array = NDArray[np.floating[Any]]

#: The largest relative difference, by precision.
TOLERANCE = {"float64": 1e-12, "float32": 1e-5}

KINKED = ("relu", "sparsemax")

#: Masks of four tokens; in the last every query sees itself and some others.
MASKS: dict[str, Any] = {
    "none": None,
    "causal": "causal",
    "local": ("local", 1),
    "array": [[1, 0, 1, 0], [1, 1, 0, 1], [0, 1, 1, 0], [1, 0, 0, 1]],
}


def problem(
    kernel: str, mask: str, loss: str, seed: int, dtype: str
) -> tuple[wflow.TransformerObjective, wflow.Particles]:
    """A random Transformer of two layers with tanh neurons; heads are factored and mobilities uneven for odd seeds."""
    rng = np.random.default_rng(seed)
    factored = kernel in DISTANCES or seed % 2 == 1
    attention = wflow.Attention(kernel, MASKS[mask], factored, 2 if factored else None, 0.7)
    labels = rng.standard_normal((5, 2))
    labels = {"logistic": np.sign(labels), "cross-entropy": np.arange(5) % 2}.get(loss, labels)
    data = wflow.Dataset(0.7 * rng.standard_normal((5, 3, 4)), labels, [(0, 3), (1, 1)])
    mobility = {"W_Q": 0.5, "w": 2.0, "W_1": 0.0} if seed % 2 and factored else None
    Q = wflow.TransformerObjective(
        data,
        attention,
        wflow.FeedForward("tanh", 2, True),
        weight_decay=0.05,
        layers=2,
        loss=loss,
        huber_delta=0.5 if loss == "huber" else 1.0,
        mobility=mobility,
    )
    rho = random_measure(Q, {"theta": 3, "w": 4}, rng, np.dtype(dtype))
    return Q, rho.replace(**{block: 0.4 * x for block, x in rho.blocks.items()})


def by_numpy(objective: wflow.TransformerObjective, rho: Measure) -> tuple[float, float, dict[str, Array]]:
    """Q, R and the velocity by the numpy Transformer, in float64."""
    state, weights = inputs_of(rho)
    Q, R, *G = finite_transformer(objective).value_and_gradient(*state, objective.dataset, *weights)
    return Q, R, {block: -g for block, g in zip(("theta", "w"), G) if g is not None}


def differences(kernel: str, mask: str, loss: str, seed: int, dtype: str, runs: bool = True) -> Mapping[str, float]:
    """The largest relative differences: of the velocity, of 50 Euler steps of 0.1, and of adaptive steps to tau = 5.

    Runs are compared by Q, R, |v|^2 and the particles at the end. Adaptive steps shrink at kinks, where round-off
    decides which of two velocities it is: for kernels that have kinks steps are coarser, and |v|^2 is left out.
    """
    Q, rho = problem(kernel, mask, loss, seed, dtype)
    reference, (start, weights) = finite_transformer(Q), inputs_of(rho)
    (value, risk, v), ours = by_numpy(Q, rho), Q.evaluate(rho)
    out = {"velocity": max(relative_gap(ours.velocity[block], v[block]) for block in v)}
    out["value"] = max(relative_gap(ours.value, value), relative_gap(ours.parts["risk"], risk))
    if not runs:
        return out
    rtol = 1e-3 if kernel in KINKED else 1e-4
    ways: list[tuple[str, Literal["gd", "dopri5"], dict[str, Any]]] = [
        ("50 steps", "gd", {"scheme": "euler", "controller": Fixed(0.1, monotone=False)}),
        ("adaptive", "dopri5", {"rtol": rtol, "atol": 1e-3 * rtol}),
    ]
    for name, method, options in ways:
        answer = wflow.solve(Q, rho, (0, 5.0), tol=0, progress=False, **options)
        steps = np.diff(answer.tau)
        history = reference.train(*start, Q.dataset, steps, len(steps), method, *weights)
        names = ["energy", "risk", "dissipation"][: 2 if name == "adaptive" and kernel in KINKED else 3]
        series = [(answer.series[k], getattr(history, k)) for k in names]
        end = answer.measure(-1)
        out[name] = max(relative_gap(x, y) for x, y in [*series, (end.theta, history.theta), (end.w, history.w)])
    return out
