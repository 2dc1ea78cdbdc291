"""The Transformer of this study, its flow, and what is read of the end of a flow."""

from __future__ import annotations

__all__ = ["BASE", "SCHEME", "TASKS", "flow_to_the_end", "frozen_risk", "late_rate", "problem", "residual", "words"]

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import wflow
from validation.decays import decay_rate
from validation.study import Case
from validation.transformers import softmax_tanh
from wflow.measures import Measure
from wflow.schemes import SCHEMES

Array = NDArray[Any]

#: Data sets by name: teacher and noise.
TASKS: dict[str, dict[str, Any]] = {
    "linear": {"teacher": "linear"},
    "noisy": {"teacher": "linear", "noise": 0.5},
    "tanh": {"teacher": "tanh"},
}
#: What experiments vary.
BASE = {"task": "linear", "B": 4, "width": 8, "seed": 0}
#: At the stability limit of a scheme stiff modes hardly decay. At h Lambda = 1.6 this one damps them at once.
SCHEME = replace(SCHEMES["bs3"], stability=1.6)


def problem(
    task: str, B: int, width: int, seed: int, weight_decay: float = 0.0
) -> tuple[wflow.TransformerObjective, wflow.Particles]:
    """Two layers of softmax heads and tanh neurons on in-context regression with d = 1 and four examples."""
    data = wflow.datasets.in_context_regression(B, 1, 4, seed, **TASKS[task])
    return softmax_tanh(data, 2, width, weight_decay, seed)


def words(case: Case) -> str:
    """A case in claims."""
    return f"{case['task']}, B = {case['B']}, M = {case['width']}, seed {case['seed']}"


def residual(objective: wflow.TransformerObjective, rho: Measure) -> Array:
    """Predictions less labels."""
    return objective.predict(rho) - objective.dataset.labels


def frozen_risk(kernel: Array, r: Array, tau: Array) -> Array:
    """R of ``dr/dtau = -K r/B`` with a constant K."""
    values, vectors = np.linalg.eigh(kernel)
    modes = (vectors.T @ r) ** 2 / (2 * len(r))
    return np.asarray(np.exp(-2 * np.outer(tau, values) / len(r)) @ modes)


def flow_to_the_end(objective: wflow.TransformerObjective, rho: Measure, slow: float, stiff: float) -> wflow.Solution:
    """The flow for nine life times of the slowest mode, with fixed steps that resolve the stiffest.

    So close to the end the error control sees nothing any more: its steps would leave stiff modes undamped.
    """
    save = wflow.SaveAt(every=0.5 / slow)
    return wflow.solve(objective, rho, (0, 9 / slow), scheme="bs3", dtau=min(1.5 / stiff, 0.2 / slow), tol=0, save=save)


def late_rate(end: wflow.Solution, size: Array) -> float:
    """The exponential rate at which a quantity decays over the last four of the nine life times."""
    late = end.frame_tau >= 5 / 9 * end.frame_tau[-1]
    return decay_rate(end.frame_tau[late], size[late])
