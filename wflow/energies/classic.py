"""Potential and interaction energies of one block, for flows whose answer is known and for experiments."""

from __future__ import annotations

__all__ = ["InteractionEnergy", "PotentialEnergy"]

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from wflow.checks import check_result, fits, shown
from wflow.energies.energy import Energy, Evaluation, Linearisation, points_of
from wflow.errors import InputError
from wflow.measures import Blocks, Grid, Measure

Array = NDArray[Any]
M = TypeVar("M", bound=Measure)

#: Pairs of points are treated in batches of at most this many numbers.
PAIRS = 2**21
#: Transforms round off in units of the largest ``|W|``: where it is more than so many times the mean of ``|W * rho|``,
#: pairs of cells are added up.
LARGEST = 100.0


class _OneBlock(Energy):
    """An energy of two functions of points: ``function`` (K, p) -> (K,) and its gradient ``grad`` (K, p) -> (K, p)."""

    #: Q is this share of the mean of its first variation.
    share: ClassVar[float] = 1.0

    def __init__(self, function: Callable[[Array], Array], grad: Callable[[Array], Array]) -> None:
        if not callable(function) or not callable(grad):
            raise InputError(
                f"{type(self).__name__} takes a function and its gradient, got {shown(function)}, {shown(grad)}"
            )
        self.function, self.grad = function, grad
        self._looked_at: set[int] = set()  # the dimensions at which the functions return what they must

    def prepare(self, rho: M) -> M:
        """The measure, after a look at what the functions return (see :meth:`Energy.prepare`)."""
        rho = super().prepare(rho)
        x = rho.points(_block(rho))[0]
        if x.shape[1] not in self._looked_at:
            # As many points as parameters would hide a transpose.
            sample = np.resize(x, (3 if x.shape[1] == 2 else 2, x.shape[1]))
            self._values(sample)
            self._gradients(sample)
            self._looked_at.add(x.shape[1])
        return rho

    def _values(self, x: Array) -> Array:
        """The function at points (K, p), in float64."""
        values = self.function(x)
        return values if fits(values, x.shape[:1]) else check_result(self._expected("function", x), values, x.shape[:1])

    def _gradients(self, x: Array) -> Array:
        """The gradient at points (K, p), in their precision."""
        g = self.grad(x)
        return g if fits(g, x.shape, x.dtype) else check_result(self._expected("gradient", x), g, x.shape, x.dtype)

    def _expected(self, name: str, x: Array) -> str:
        return f"the {name} of {type(self).__name__} must turn points {x.shape} into an array"

    def linearise(self, rho: Measure) -> Linearisation:
        """Q and its first variation, without the gradient."""
        rho = self.prepare(rho)
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
        rho, name = self.prepare(rho), _block(rho)
        x = rho.points(name)
        flat = x.reshape(-1, x.shape[2])
        value = float(np.sum(rho.mass(name) * self._values(flat).reshape(x.shape[:2])))
        return Evaluation(value, Blocks(**{name: -self._gradients(flat).reshape(x.shape)}))

    def first_variation(self, rho: Measure, points: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """``V`` (see :meth:`Energy.first_variation`)."""
        rho, name = self.prepare(rho), _block(rho)
        x = points_of(rho, points)[name]
        return {name: self._values(x.reshape(-1, x.shape[2])).reshape(x.shape[:2])}


class InteractionEnergy(_OneBlock):
    """``Q = 1/2 int_0^1 int int W(x - y) d rho(x) d rho(y) dt`` for a measure of one block; W is even.

    On the cells of a :class:`wflow.Grid`, ``W * rho`` is a discrete convolution, made by fast Fourier transforms of
    twice the size: no mass comes back around the box. Particles, other points, and W that are too large far away for
    transforms to be precise, are treated pair by pair.

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
        rho, name = self.prepare(rho), _block(rho)
        x = rho.points(name)
        value = 0.5 * float(np.sum(rho.mass(name) * self._convolve(rho, x, self._values)[..., 0]))
        return Evaluation(value, Blocks(**{name: -self._convolve(rho, x, self._gradients).astype(x.dtype, copy=False)}))

    def first_variation(self, rho: Measure, points: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """``W * rho`` (see :meth:`Energy.first_variation`)."""
        rho, name = self.prepare(rho), _block(rho)
        return {name: self._convolve(rho, points_of(rho, points)[name], self._values)[..., 0]}

    def _convolve(self, rho: Measure, x: Array, kernel: Callable[[Array], Array]) -> Array:
        """``sum_k a_k kernel(x_j - y_k)`` in every slice: (S, K, p) or (S, K, 1)."""
        if isinstance(rho, Grid) and x is rho.points(_block(rho)):
            return _on_cells(rho, kernel)
        y, a = rho.points(_block(rho)), rho.weights(_block(rho))
        batch = max(1, PAIRS // (y.shape[1] * y.shape[2]))
        out = []
        for l in range(len(x)):
            for start in range(0, x.shape[1], batch):
                z = x[l, start : start + batch, None] - y[l]
                values = kernel(z.reshape(-1, z.shape[2])).reshape(*z.shape[:2], -1)
                out.append(np.einsum("k,jkp->jp", a[l], values))
        return np.concatenate(out).reshape(*x.shape[:2], -1)


def _on_cells(rho: Grid, kernel: Callable[[Array], Array]) -> Array:
    """The same at the centres of all cells, whose differences are few."""
    from scipy.fft import irfftn, next_fast_len, rfftn

    name = _block(rho)
    cells, widths = rho.cells(name), np.array(rho.spacing(name))
    sizes = [2 * n - 1 for n in cells]  # differences of indices, from 1 - n to n - 1
    count, batch = math.prod(sizes), PAIRS // len(sizes)
    values = []
    for start in range(0, count, batch):
        index = np.unravel_index(np.arange(start, min(start + batch, count)), sizes)
        z = (np.stack(index, axis=-1) - np.array(cells) + 1) * widths
        values.append(np.asarray(kernel(z), dtype=np.float64).reshape(len(z), -1))
    W = np.concatenate(values).T.reshape(-1, *sizes)
    a = rho.weights(name).reshape(-1, *cells)
    largest, sums = np.abs(W).max(), np.empty((len(a), len(W), *cells))
    if np.isfinite(largest):
        axes, shape = range(2, 2 + len(cells)), [next_fast_len(n, real=True) for n in sizes]
        product = rfftn(a[:, None], shape, axes=axes) * rfftn(W[None], shape, axes=axes)
        sums = irfftn(product, shape, axes=axes)[(..., *(slice(n - 1, 2 * n - 1) for n in cells))]
    for l, one in enumerate(a):
        if not largest <= LARGEST * np.einsum("x,kx->", one.ravel(), np.abs(sums[l]).reshape(len(W), -1)):
            from wflow.kernels.convolution import convolve_pairs

            lines = [1] * (3 - len(cells))
            for k, w in enumerate(np.ascontiguousarray(W)):  # compiled once
                sums[l, k] = convolve_pairs(one.reshape(*lines, *cells), w.reshape(*lines, *sizes)).reshape(cells)
    return np.moveaxis(sums.reshape(len(a), len(W), -1), 1, 2)


def _block(rho: Measure) -> str:
    """The name of the one block of a measure."""
    if len(rho.blocks) != 1:
        raise InputError(f"potential and interaction energies take measures of one block, got {sorted(rho.blocks)}")
    return next(iter(rho.blocks))
