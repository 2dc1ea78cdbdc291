"""Potential and interaction energies of one block, for flows whose answer is known and for experiments."""

from __future__ import annotations

__all__ = ["InteractionEnergy", "PotentialEnergy"]

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from wflow.checks import check_result
from wflow.energies.energy import Energy, Evaluation, Linearisation, points_of
from wflow.errors import InputError
from wflow.measures import Blocks, Measure
from wflow.measures.measure import check_measure

Array = NDArray[Any]
M = TypeVar("M", bound=Measure)

#: Pairs of points are treated in batches of at most this many numbers.
PAIRS = 2**21


class _OneBlock(Energy):
    """An energy of two functions of points: ``function`` (K, p) -> (K,) and its gradient ``grad`` (K, p) -> (K, p)."""

    #: Q is this share of the mean of its first variation.
    share: ClassVar[float] = 1.0

    def __init__(self, function: Callable[[Array], Array], grad: Callable[[Array], Array]) -> None:
        if not callable(function) or not callable(grad):
            raise InputError(f"{type(self).__name__} takes a function and its gradient, got {function!r}, {grad!r}")
        self.function, self.grad = function, grad

    def prepare(self, rho: M) -> M:
        """The measure, after a look at what the functions return (see :meth:`Energy.prepare`)."""
        name = _block(rho)
        x = rho.points(name)[0]
        sample = np.resize(
            x, (3 if x.shape[1] == 2 else 2, x.shape[1])
        )  # as many points as parameters hide a transpose
        self._values(sample)
        self._gradients(sample)
        return rho

    def _values(self, x: Array) -> Array:
        """The function at points (K, p), in float64."""
        return check_result(self._expected("function", x), self.function(x), x.shape[:1])

    def _gradients(self, x: Array) -> Array:
        """The gradient at points (K, p), in their precision."""
        return check_result(self._expected("gradient", x), self.grad(x), x.shape, x.dtype)

    def _expected(self, name: str, x: Array) -> str:
        return f"the {name} of {type(self).__name__} must turn points {x.shape} into an array"

    def linearise(self, rho: Measure) -> Linearisation:
        """Q and its first variation, without the gradient."""
        phi = self.first_variation(rho)
        return Linearisation(self.share * float(np.sum(rho.mass(_block(rho)) * phi[_block(rho)])), phi)


class PotentialEnergy(_OneBlock):
    """``Q = int_0^1 int V d rho dt`` for a measure of one block.

    Parameters
    ----------
    V, grad
        A function of points (K, p) with values (K,), and its gradient with values (K, p).

    Raises
    ------
    InputError
        For functions that return other shapes, and measures of several blocks.

    Examples
    --------
    >>> from wflow import Particles
    >>> Q = PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x)
    >>> rho = Particles(x=[[2.0], [4.0]])
    >>> Q.value(rho), Q.velocity(rho).x[0, :, 0], Q.first_variation(rho)["x"]
    (5.0, array([-2., -4.]), array([[2., 8.]]))
    """

    def evaluate(self, rho: Measure) -> Evaluation:
        """Q and ``-grad V`` (see :meth:`Energy.evaluate`)."""
        name = _block(rho)
        x = rho.points(name)
        flat = x.reshape(-1, x.shape[2])
        value = float(np.sum(rho.mass(name) * self._values(flat).reshape(x.shape[:2])))
        return Evaluation(value, Blocks(**{name: -self._gradients(flat).reshape(x.shape)}))

    def first_variation(self, rho: Measure, points: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """``V`` (see :meth:`Energy.first_variation`)."""
        name = _block(rho)
        x = points_of(rho, points)[name]
        return {name: self._values(x.reshape(-1, x.shape[2])).reshape(x.shape[:2])}


class InteractionEnergy(_OneBlock):
    """``Q = 1/2 int_0^1 int int W(x - y) d rho(x) d rho(y) dt`` for a measure of one block; W is even.

    Parameters
    ----------
    W, grad
        A function of differences (K, p) with values (K,), and its gradient with values (K, p), zero at zero.

    Raises
    ------
    InputError
        For functions that return other shapes, and measures of several blocks.

    Examples
    --------
    >>> from wflow import Particles
    >>> Q = InteractionEnergy(lambda z: z[:, 0] ** 2 / 2, lambda z: z)
    >>> rho = Particles(x=[[0.0], [2.0]])
    >>> Q.value(rho), Q.velocity(rho).x[0, :, 0]
    (0.5, array([ 1., -1.]))
    """

    share = 0.5

    def evaluate(self, rho: Measure) -> Evaluation:
        """Q and ``-grad W * rho`` (see :meth:`Energy.evaluate`)."""
        name = _block(rho)
        x = rho.points(name)
        value = 0.5 * float(np.sum(rho.mass(name) * self._convolve(rho, x, self._values)[..., 0]))
        return Evaluation(value, Blocks(**{name: -self._convolve(rho, x, self._gradients).astype(x.dtype, copy=False)}))

    def first_variation(self, rho: Measure, points: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """``W * rho`` (see :meth:`Energy.first_variation`)."""
        name = _block(rho)
        return {name: self._convolve(rho, points_of(rho, points)[name], self._values)[..., 0]}

    def _convolve(self, rho: Measure, x: Array, kernel: Callable[[Array], Array]) -> Array:
        """``sum_k a_k kernel(x_j - y_k)`` in every slice: (S, K, p) or (S, K, 1)."""
        y, a = rho.points(_block(rho)), rho.weights(_block(rho))
        batch = max(1, PAIRS // (y.shape[1] * y.shape[2]))
        out = []
        for l in range(len(x)):
            for start in range(0, x.shape[1], batch):
                z = x[l, start : start + batch, None] - y[l]
                values = kernel(z.reshape(-1, z.shape[2])).reshape(*z.shape[:2], -1)
                out.append(np.einsum("k,jkp->jp", a[l], values))
        return np.concatenate(out).reshape(*x.shape[:2], -1)


def _block(rho: Measure) -> str:
    """The name of the one block of a measure."""
    check_measure(rho)
    if len(rho.blocks) != 1:
        raise InputError(f"potential and interaction energies take measures of one block, got {sorted(rho.blocks)}")
    return next(iter(rho.blocks))
