"""Transformers on in-context regression, and neurons alone on prompts with few last tokens."""

from __future__ import annotations

__all__ = ["END", "TRANSFORMERS", "Training", "grouped_prompts", "merged", "training"]

from typing import NamedTuple

import numpy as np

import wflow
from validation.transformer import FiniteTransformer
from validation.transformers import softmax_tanh
from wflow import initial

#: Runs end at lambda tau = END.
END = 200.0
#: Layers and width of the Transformers, by their problem.
TRANSFORMERS = {"regression": (2, 8), "teacher": (4, 16)}
#: Prompts with the same last token.
REPEATS = 3


class Training(NamedTuple):
    """A flow, the prompts among whose predictions none depends on another, and the floor of the risk if it has one."""

    objective: wflow.TransformerObjective
    rho0: wflow.Particles
    prompts: wflow.Dataset
    floor: float | None = None


def training(problem: str, weight_decay: float) -> Training:
    """``regression`` and ``teacher`` are Transformers, ``neurons alone`` and ``neurons, merged`` see the last token."""
    if problem in TRANSFORMERS:
        layers, width = TRANSFORMERS[problem]
        data = _regression(layers if problem == "teacher" else 0)
        return Training(*softmax_tanh(data, layers, width, weight_decay, seed=0), data)
    data, floor = grouped_prompts()
    single = merged(data)
    shown, floor = (single, 0.0) if problem == "neurons, merged" else (data, floor)
    objective = wflow.TransformerObjective(shown, None, wflow.FeedForward("tanh"), weight_decay, layers=2)
    return Training(objective, initial.gaussian(std=1.0).sample(objective, 16, rng=0), single, floor)


def _regression(teacher: int) -> wflow.Dataset:
    """In-context regression with d = 1 and four examples; with the labels of a random Transformer of so many layers.

    The teacher has one head and one neuron a layer. That is a law of one atom, which any width can represent.
    """
    data = wflow.datasets.in_context_regression(8, 1, 4, 0)
    if not teacher:
        return data
    rng = np.random.default_rng(1)
    theta, w = (rng.normal(0, 1, (teacher, 1, p)) for p in (32, 8))
    labels = FiniteTransformer("full", "tanh").predict(theta, w, data).ravel()
    return wflow.Dataset(data.tokens, labels, data.readout, "teacher")


def grouped_prompts() -> tuple[wflow.Dataset, float]:
    """Four last tokens with three contexts and labels each, and the floor E Var(y | last token)/2."""
    rng = np.random.default_rng(0)
    x = np.repeat([-1.5, -0.5, 0.5, 1.5], REPEATS)
    tokens = np.zeros((len(x), 4, 3))
    tokens[:, :2, :2] = rng.standard_normal((len(x), 2, 2))
    tokens[:, 0, -1], tokens[:, 2], tokens[:, 3, -1] = x, 1.0, 1.0
    labels = np.sin(2 * x) + rng.standard_normal(len(x))
    floor = 0.5 * float(np.mean(np.var(labels.reshape(-1, REPEATS), axis=1)))
    return wflow.Dataset(tokens, labels, readout=(1, -1), name="grouped prompts"), floor


def merged(data: wflow.Dataset) -> wflow.Dataset:
    """One prompt for each last token, with the mean label."""
    single = data.subset(np.arange(0, data.n_prompts, REPEATS))
    return wflow.Dataset(single.tokens, data.labels.reshape(-1, REPEATS).mean(axis=1), single.readout)
