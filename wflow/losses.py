"""Losses: how far the predictions of a prompt are from its labels, with first and second derivatives.

The risk is the mean over prompts of a loss ``l(u, y)`` of the predictions ``u = Read T(1)``, shape (B, K), and the
targets y of the same shape (:attr:`wflow.Dataset.targets`). Losses add over the K predictions, but for cross-entropy,
which compares them.

================= =================================================== ================================================
loss              ``l(u, y)``                                         labels
================= =================================================== ================================================
``squares``       ``sum_k (u_k - y_k)^2 / 2``                         any numbers
``logistic``      ``sum_k log(1 + e^{-y_k u_k})``                     -1 and +1
``cross-entropy`` ``log(sum_k e^{u_k}) - u_y``                        classes 0, ..., K-1, or one-hot rows; K >= 2
``huber``         ``sum_k of r^2/2 for |r| <= delta, else             any numbers
                  delta |r| - delta^2/2``, ``r = u_k - y_k``
================= =================================================== ================================================

All are convex in u. That of ``squares`` has the curvature 1 everywhere; that of the others is at most 1, and nearly or
exactly 0 far out, where their gradients are bounded: by 1, by 1 for every k, and by delta.

>>> loss = loss_of("cross-entropy")
>>> u, y = np.array([[0.0, 0.0], [700.0, 0.0], [-700.0, 0.0]]), np.array([[1.0, 0.0]] * 3)
>>> loss.value(u, y)
array([6.93147181e-001, 9.85967654e-305, 7.00000000e+002])
>>> loss.gradient(u, y)[[0, 2]]
array([[-0.5,  0.5],
       [-1. ,  1. ]])
"""

from __future__ import annotations

__all__ = ["LOSSES", "CrossEntropy", "Huber", "Logistic", "Loss", "Squares", "loss_of"]

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from wflow.checks import check_choice, check_positive, shown
from wflow.errors import InputError

Array = NDArray[np.float64]


class Loss(ABC):
    """A loss of predictions u (B, K) and targets y (B, K)."""

    def check(self, targets: Array, name: str) -> None:  # noqa: B027
        """Raise :class:`InputError` for targets that the loss does not understand, of the data set of this name."""

    @abstractmethod
    def value(self, u: Array, y: Array) -> Array:
        """``l(u_b, y_b)`` of every prompt, shape (B,)."""

    @abstractmethod
    def gradient(self, u: Array, y: Array) -> Array:
        """``dl/du``, shape (B, K)."""

    @abstractmethod
    def curvature(self, u: Array, y: Array) -> Array:
        """``d^2 l/du^2``, positive semi-definite matrices (B, K, K)."""

    def sum_and_gradient(self, u: Array, y: Array) -> tuple[float, Array]:
        """The sum of the values, and the gradient."""
        return float(np.sum(self.value(u, y))), self.gradient(u, y)

    def mean(self, u: Array, y: Array) -> float:
        """The risk: the mean of the values."""
        return self.sum_and_gradient(u, y)[0] / len(u)


class Squares(Loss):
    """``sum_k (u_k - y_k)^2 / 2``."""

    def value(self, u: Array, y: Array) -> Array:
        return np.asarray(0.5 * np.sum((u - y) ** 2, axis=1))

    def gradient(self, u: Array, y: Array) -> Array:
        return u - y

    def curvature(self, u: Array, y: Array) -> Array:
        return _diagonal(np.ones_like(u))

    def sum_and_gradient(self, u: Array, y: Array) -> tuple[float, Array]:
        residual = u - y  # in one sum over prompts and labels, whose rounding files of earlier versions hold
        return 0.5 * float(np.sum(residual**2)), residual


class Logistic(Loss):
    """``sum_k log(1 + e^{-m_k})`` of the margins ``m = y u``, with labels of -1 and +1.

    Derivatives are ``-y s`` and ``s (1 - s)`` with ``s = 1/(1 + e^m)``, from ``e^{-|m|}``, which cannot overflow.
    """

    def check(self, targets: Array, name: str) -> None:
        wrong = targets[np.abs(targets) != 1]
        if wrong.size:
            raise InputError(
                f"the loss 'logistic' takes labels of -1 and +1, but {name!r} has labels such as {wrong[0]:.6g}: of "
                "two classes a < b pass (2 * labels - a - b) / (b - a), and of more take the loss 'cross-entropy'"
            )

    def value(self, u: Array, y: Array) -> Array:
        return np.asarray(np.sum(np.logaddexp(0.0, -y * u), axis=1))

    def gradient(self, u: Array, y: Array) -> Array:
        margin = y * u
        small = np.exp(-np.abs(margin))
        return np.asarray(-y * np.where(margin > 0, small, 1.0) / (1 + small))

    def curvature(self, u: Array, y: Array) -> Array:
        small = np.exp(-np.abs(y * u))
        return _diagonal(small / (1 + small) ** 2)


class CrossEntropy(Loss):
    """``log(sum_k e^{u_k}) - u_y``, minus the logarithm of the probability ``p_y`` of ``p = softmax(u)``.

    With ``d_k = u_k - u_y`` it is ``log(1 + sum_{k != y} e^{d_k})``, which keeps its digits where it is small. So does
    the gradient ``p - y``, whose entry y is minus the sum of the others, and the curvature ``diag(p) - p p^T``, whose
    rows have the sum 0.
    """

    def check(self, targets: Array, name: str) -> None:
        words = f"the loss 'cross-entropy' takes classes 0, ..., K-1 or one-hot rows, but {name!r} has "
        if targets.shape[1] < 2:
            raise InputError(
                f"{words}one prediction a prompt: pass a readout of K >= 2 predictions, or take the loss 'logistic' "
                "and labels of -1 and +1"
            )
        wrong = np.flatnonzero(((targets != 0) & (targets != 1)).any(axis=1) | (targets.sum(axis=1) != 1))
        if wrong.size:
            raise InputError(f"{words}the row {shown(targets[wrong[0]].tolist())}: pass numpy.eye(K)[classes]")

    def value(self, u: Array, y: Array) -> Array:
        with np.errstate(invalid="ignore"):  # whoever looks at the sum says what is wrong with predictions
            of_label = np.take_along_axis(u, y.argmax(axis=1)[:, None], axis=1)
            margins = np.where(y == 1, -np.inf, u - of_label)
            largest = margins.max(axis=1)
            return np.asarray(np.logaddexp(0.0, largest + np.log(np.sum(np.exp(margins - largest[:, None]), axis=1))))

    def gradient(self, u: Array, y: Array) -> Array:
        wrong = np.where(y == 1, 0.0, _softmax(u))
        return np.asarray(wrong - y * wrong.sum(axis=1, keepdims=True))

    def curvature(self, u: Array, y: Array) -> Array:
        p = _softmax(u)
        matrices = -p[:, :, None] * p[:, None, :]
        k = np.arange(p.shape[1])
        matrices[:, k, k] = 0
        matrices[:, k, k] = -matrices.sum(axis=2)
        return np.asarray(matrices)


class Huber(Loss):
    """``r^2/2`` for ``|r| <= delta``, else ``delta |r| - delta^2/2``, summed over the residuals ``r = u - y``.

    With ``c`` = r cut to [-delta, delta], value, gradient and curvature are ``c (r - c/2)``, c, and 1 where c = r.
    """

    def __init__(self, delta: float = 1.0) -> None:
        self.delta = check_positive("huber_delta", delta)

    def value(self, u: Array, y: Array) -> Array:
        residual, cut = u - y, self.gradient(u, y)
        return np.asarray(np.sum(cut * (residual - 0.5 * cut), axis=1))

    def gradient(self, u: Array, y: Array) -> Array:
        return np.asarray(np.clip(u - y, -self.delta, self.delta))

    def curvature(self, u: Array, y: Array) -> Array:
        return _diagonal((np.abs(u - y) <= self.delta).astype(np.float64))


#: The losses by name.
LOSSES: dict[str, type[Loss]] = {
    "squares": Squares,
    "logistic": Logistic,
    "cross-entropy": CrossEntropy,
    "huber": Huber,
}


def loss_of(name: str, huber_delta: float = 1.0) -> Loss:
    """The loss of this name.

    Parameters
    ----------
    name
        One of :data:`LOSSES`.
    huber_delta
        delta > 0 of ``"huber"``; other losses have none.

    Raises
    ------
    InputError
        For another name or delta, and a delta other than 1 of a loss that has none.

    Examples
    --------
    >>> float(loss_of("huber", 0.5).value(np.array([[3.0]]), np.array([[1.0]]))[0])
    0.875
    """
    cls, delta = LOSSES[check_choice("loss", name, LOSSES)], check_positive("huber_delta", huber_delta)
    if cls is Huber:
        return Huber(delta)
    if delta != 1:
        raise InputError(f"huber_delta belongs to the loss 'huber', got huber_delta = {delta:.6g} for {name!r}")
    return cls()


def _softmax(u: Array) -> Array:
    with np.errstate(invalid="ignore"):  # see CrossEntropy.value
        e = np.exp(u - u.max(axis=1, keepdims=True))
        return np.asarray(e / e.sum(axis=1, keepdims=True))


def _diagonal(entries: Array) -> Array:
    """Diagonal matrices (B, K, K) with these entries (B, K)."""
    return np.asarray(entries[:, :, None] * np.eye(entries.shape[1]))
