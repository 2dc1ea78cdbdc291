"""Quantities to watch along a run, which a trajectory file can store and restore.

Any function of the measure can be observed; these two also survive in the file, so that ``wflow resume`` continues
them.
"""

from __future__ import annotations

__all__ = ["OBSERVERS", "ErrorRate", "Risk"]

from dataclasses import dataclass

from wflow.datasets.dataset import Dataset
from wflow.energies.transformer import TransformerObjective
from wflow.measures import Measure


@dataclass(frozen=True, eq=False)
class Risk:
    """``E 1/2 |Read T(1) - y|^2`` on a data set, such as held-out prompts (None: the training data).

    Examples
    --------
    >>> import numpy as np
    >>> from wflow import Dataset, FeedForward
    >>> held_out = Dataset(np.zeros((1, 1, 1)), [2.0])
    >>> objective = TransformerObjective(held_out, feedforward=FeedForward("identity"), layers=1)
    >>> Risk(objective, held_out)(Particles(w=np.ones((1, 1, 2))))
    2.0
    """

    objective: TransformerObjective
    dataset: Dataset | None = None

    def __call__(self, rho: Measure) -> float:
        return self.objective.risk(rho, self.dataset)


@dataclass(frozen=True, eq=False)
class ErrorRate:
    """The fraction of prompts on the wrong side: of zero for labels +-1, largest entry for one-hot labels."""

    objective: TransformerObjective
    dataset: Dataset | None = None

    def __call__(self, rho: Measure) -> float:
        data = self.dataset or self.objective.dataset
        return data.error_rate(self.objective.predict(rho, data.tokens))


OBSERVERS: dict[str, type[Risk] | type[ErrorRate]] = {"risk": Risk, "error-rate": ErrorRate}
