"""Quantities to watch along a run, which a trajectory file can store and restore.

Any function of the measure can be observed; these also survive in the file, so that ``wflow resume`` continues
them.
"""

from __future__ import annotations

__all__ = ["OBSERVERS", "Amplification", "ErrorRate", "KernelMax", "KernelMin", "Risk", "Virial", "observed"]

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from wflow.checks import check_number
from wflow.datasets.dataset import Dataset
from wflow.energies import Energy, Entropy, TransformerObjective
from wflow.energies.mobility import inverse_mobility
from wflow.errors import InputError
from wflow.measures import Measure
from wflow.plain import register
from wflow.tangent import FORMED, kernel_spectrum, output_variance


@dataclass(frozen=True, eq=False)
class _OfPredictions:
    """A number made of the predictions of a Transformer on a data set; None for the training data.

    Raises
    ------
    InputError
        For another energy than a Transformer objective, and a data set that does not fit it.
    """

    objective: TransformerObjective
    dataset: Dataset | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.objective, TransformerObjective):
            remedy = "; of a sum pass the term" if isinstance(self.objective, Energy) else ""
            raise InputError(
                f"{type(self).__name__} takes a wflow.TransformerObjective, got {type(self.objective).__name__}{remedy}"
            )
        if self.dataset is not None:
            self.objective.check_dataset(self.dataset)

    def __call__(self, rho: Measure) -> float:
        """The number at a measure."""
        raise NotImplementedError


class Risk(_OfPredictions):
    """``E l(Read T(1), y)`` with the objective's loss l on a data set, such as held-out ones (None: the training data).

    Examples
    --------
    >>> import numpy as np
    >>> from wflow import Dataset, FeedForward, Particles
    >>> held_out = Dataset(np.zeros((1, 1, 1)), [2.0])
    >>> objective = TransformerObjective(held_out, feedforward=FeedForward("identity"), layers=1)
    >>> Risk(objective, held_out)(Particles(w=np.ones((1, 1, 2))))
    2.0
    """

    def __call__(self, rho: Measure) -> float:
        return self.objective.risk(rho, self.dataset)


class ErrorRate(_OfPredictions):
    """The fraction of prompts on the wrong side: of zero for labels +-1, largest entry for classes.

    Other labels are refused when it is called (see :meth:`wflow.Dataset.check_classes`).
    """

    def __call__(self, rho: Measure) -> float:
        data = self.dataset or self.objective.dataset
        return data.error_rate(self.objective.predict(rho, data.tokens))


@dataclass(frozen=True, eq=False)
class Virial:
    """``E <beta, grad Phi_0>/(sigma p)``, summed over blocks: 1 where the flow with entropy sigma is stationary.

    Where rho is ``exp(-Phi_0/sigma)``, Phi_0 the first variation of the smooth part, integration by parts gives
    ``E <beta, grad Phi_0> = sigma p``. The entropy of many parameters cannot be observed from particles, this can.
    Frozen parameters count in neither.

    Parameters
    ----------
    objective
        An energy with entropy.
    dataset
        Nothing: the training data decide what is stationary.

    Raises
    ------
    InputError
        For an energy without entropy, or a data set.

    Examples
    --------
    >>> from wflow import Particles, PotentialEnergy
    >>> Q = PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x) + Entropy(0.5)
    >>> Virial(Q)(Particles(x=np.random.default_rng(0).normal(0, 0.5**0.5, (1, 10000, 1)))).__round__(1)
    1.0
    """

    objective: Energy
    dataset: None = None

    def __post_init__(self) -> None:
        internal = getattr(self.objective, "internal", None)
        if not isinstance(self.objective, Energy) or not isinstance(internal, Entropy) or self.dataset is not None:
            raise InputError("Virial takes an energy with entropy, and no data set")

    def __call__(self, rho: Measure) -> float:
        rho = self.objective.prepare(rho)
        v: Any = self.objective.velocity(rho)
        parameters = sum(rho.points(name).shape[2] for name in rho.blocks)
        if mobilities := self.objective.mobilities:
            v = {**v, **{name: v[name] * inverse_mobility(M) for name, M in mobilities.items()}}
            parameters -= sum(int((M == 0).sum()) for M in mobilities.values())
        total = sum(np.einsum("sm,smp,smp->", rho.mass(name), rho.points(name), v[name]) for name in rho.blocks)
        return float(-total / (self.objective.internal.sigma * parameters))  # type: ignore[union-attr]


class KernelMax(_OfPredictions):
    """The largest eigenvalue of the tangent kernel (see :func:`wflow.kernel_spectrum`).

    Euler steps of squares without weight decay are stable below ``2 B/lambda_max``.
    """

    def __call__(self, rho: Measure) -> float:
        return kernel_spectrum(self.objective, rho, self.dataset).largest


class KernelMin(_OfPredictions):
    """The smallest eigenvalue of the tangent kernel; NaN where it is not resolved, ``wflow info`` says so.

    Raises
    ------
    InputError
        For more predictions than :data:`wflow.tangent.FORMED`, of whose kernels the smallest eigenvalue is not known.

    Examples
    --------
    >>> import numpy as np
    >>> from wflow import Dataset, FeedForward, Particles
    >>> data = Dataset(np.array([[[1.0]], [[2.0]]]), [0.0, 0.0])
    >>> Q = TransformerObjective(data, feedforward=FeedForward("identity"), layers=1)
    >>> KernelMin(Q)(Particles(w=np.ones((1, 2, 2))))  # of rank one
    nan
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        data = self.dataset or self.objective.dataset
        if (count := data.n_prompts * data.n_labels) > FORMED:
            raise InputError(
                f"kernel-min needs the whole kernel of {count} predictions, of which only {FORMED} are formed: observe "
                "fewer prompts, by KernelMin(objective, dataset), or kernel-max"
            )

    def __call__(self, rho: Measure) -> float:
        return kernel_spectrum(self.objective, rho, self.dataset).smallest


class Amplification(_OfPredictions):
    """The variance of the predictions, mean over all, under noise of variance 1 of all parameters, to first order.

    That under noise of variance std^2 is std^2 times as large (see :func:`wflow.output_variance`).

    Examples
    --------
    >>> import numpy as np
    >>> from wflow import Dataset, FeedForward, Particles
    >>> data = Dataset(np.array([[[1.0]], [[2.0]]]), [0.0, 0.0])
    >>> Q = TransformerObjective(data, feedforward=FeedForward("identity"), layers=1)
    >>> Amplification(Q)(Particles(w=np.ones((1, 2, 2))))
    0.625
    """

    def __call__(self, rho: Measure) -> float:
        return float(np.mean(output_variance(self.objective, rho, 1.0, self.dataset)))


def observed(name: str, observer: Callable[[Any], float], rho: Measure) -> float:
    """What an observer makes of a measure, one real number, or an :class:`InputError`."""
    return check_number(f"the observed quantity {name!r}", observer(rho), "one real number", finite=False)


#: What files and run files can name: classes of ``(objective, dataset)``.
OBSERVERS: dict[str, Callable[[Any, Any], Any]] = {
    "risk": Risk,
    "error-rate": ErrorRate,
    "virial": Virial,
    "kernel-min": KernelMin,
    "kernel-max": KernelMax,
    "amplification": Amplification,
}
register(**OBSERVERS)
