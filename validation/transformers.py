"""Transformers that several studies train."""

from __future__ import annotations

__all__ = ["softmax_tanh"]

import wflow


def softmax_tanh(
    data: wflow.Dataset, layers: int, width: int, weight_decay: float, seed: int
) -> tuple[wflow.TransformerObjective, wflow.Particles]:
    """Softmax heads and tanh neurons on a data set: the objective, and ``width`` particles of deviation 0.3 a layer.

    Examples
    --------
    >>> data = wflow.datasets.in_context_regression(3, 1, 4, rng=0)
    >>> objective, rho0 = softmax_tanh(data, layers=2, width=8, weight_decay=0.1, seed=0)
    >>> rho0.theta.shape, rho0.w.shape
    ((2, 8, 32), (2, 8, 8))
    """
    encoders = wflow.SoftmaxAttention(), wflow.FeedForward("tanh")
    objective = wflow.TransformerObjective(data, *encoders, weight_decay, layers=layers)
    return objective, wflow.initial.gaussian(std=0.3).sample(objective, width, rng=seed)
