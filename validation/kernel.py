"""The neural tangent kernel and the Hessian of a finite Transformer, from the backpropagation of the numpy one.

With particles as one vector x whose entries carry the mass of their particle, the gradients ``J_b`` of the predictions
in the metric of the flow make the kernel ``K_{ik} = <J_i, J_k> = int int <grad <q_i, g>, grad <q_k, g>> d rho dt``. For
squares the residuals of the flow without weight decay obey ``dr/d tau = -K r/B``.

>>> from types import SimpleNamespace
>>> data = SimpleNamespace(tokens=np.array([[[1.0]], [[2.0]]]), labels=np.zeros(2), readout=np.ones((1, 1, 1)))
>>> state = (None, np.ones((1, 2, 2)))  # two neurons of half the mass
>>> J = prediction_gradients(FiniteTransformer(None, "identity"), state, data)  # predictions (1 + w_1 w_2/2) H
>>> J @ J.T
array([[0.5, 1. ],
       [1. , 2. ]])
>>> bool((J > 0).all())  # larger weights, larger predictions
True
"""

from __future__ import annotations

__all__ = ["flatten", "hessian", "inputs_of", "prediction_gradients", "residual_at_rest", "state_of", "unflatten"]

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from validation.transformer import FiniteTransformer, Prompts
from wflow.measures import Measure

Array = NDArray[np.floating[Any]]
State = tuple[Array | None, Array | None]


def state_of(blocks: Mapping[str, Array]) -> State:
    """theta and w of the blocks of a measure or of a velocity, None for an absent one."""
    return blocks.get("theta"), blocks.get("w")


def inputs_of(rho: Measure) -> tuple[State, State]:
    """The particles of a measure in float64 and their weights, as the numpy Transformer takes both."""
    particles = {block: x.astype(float) for block, x in rho.blocks.items()}
    return state_of(particles), state_of({block: rho.weights(block) for block in particles})


def flatten(state: State) -> Array:
    """theta and w (L, M, p) as one vector whose norm is mass-weighted: times the root of the mass of each particle."""
    return np.concatenate([x.ravel() / np.sqrt(x.shape[0] * x.shape[1]) for x in state if x is not None])


def unflatten(x: Array, like: State) -> State:
    """The inverse of :func:`flatten`."""
    out: list[Array | None] = []
    at = 0
    for block in like:
        if block is None:
            out.append(None)
            continue
        out.append(x[at : at + block.size].reshape(block.shape) * np.sqrt(block.shape[0] * block.shape[1]))
        at += block.size
    return out[0], out[1]


def prediction_gradients(transformer: FiniteTransformer, state: State, data: Prompts) -> Array:
    """Row (b, k) is the gradient of the prediction k of prompt b in the metric of the flow, flattened: (B K, size).

    It is the gradient of the square loss of that prompt alone, with a label one below the prediction: a residual of 1.
    Entries carry the root of their mobility, so that ``J J^T`` is the kernel.
    """
    free = replace(transformer, weight_decay=0.0, loss="squares", mobility=None)
    predictions = free.predict(*state, data)
    roots = [np.sqrt(m) for m in transformer.mobilities(data.tokens.shape[1])]
    rows = []
    for b, k in np.ndindex(predictions.shape):
        labels = predictions[[b]].copy()
        labels[0, k] -= 1.0
        one = SimpleNamespace(tokens=data.tokens[[b]], labels=labels, readout=data.readout)
        theta, w = (None if g is None else root * g for root, g in zip(roots, free.gradient(*state, one)))
        rows.append(flatten((theta, w)))
    return np.stack(rows)


def residual_at_rest(gradients: Array, state: State, weight_decay: float) -> Array:
    """The residuals ``-lambda B K^{-1} J x`` that a state at rest must have: there ``lambda x = -J^T r/B``."""
    projected = gradients @ flatten(state)
    return -weight_decay * len(gradients) * np.linalg.solve(gradients @ gradients.T, projected)


def hessian(transformer: FiniteTransformer, state: State, data: Prompts, step: float = 1e-5) -> Array:
    """The second derivatives of Q in the metric of the flow, by central differences of the gradient."""
    x = flatten(state)
    columns = []
    for k in range(x.size):
        e = np.zeros_like(x)
        e[k] = step
        up, down = (flatten(transformer.gradient(*unflatten(y, state), data)) for y in (x + e, x - e))
        columns.append((up - down) / (2 * step))
    matrix = np.stack(columns)
    return 0.5 * (matrix + matrix.T)
