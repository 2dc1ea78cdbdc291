"""A law carried by weighted particles.

>>> import numpy as np
>>> rho = Particles(theta=np.zeros((4, 3, 2)))
>>> rho.theta.shape, rho.weights("theta")[0]
((4, 3, 2), array([0.33333333, 0.33333333, 0.33333333]))
>>> rho.t
array([0.125, 0.375, 0.625, 0.875])
"""

from __future__ import annotations

__all__ = ["Particles"]

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wflow.checks import check_array
from wflow.errors import InputError
from wflow.measures.measure import Blocks, Measure, frozen

Array = NDArray[Any]


class Particles(Measure):
    """Weighted particles: ``rho_block(. | t_l) = sum_j a_{l,j} delta_{x_{l,j}}`` in every depth slice. Immutable.

    Parameters
    ----------
    weights
        ``{block: (S, M) array}``: non-negative, one in sum over every slice. A block that is not named has equal
        weights 1/M.
    t, depth_weights
        The depth nodes and their quadrature weights, each of shape (S,). Left out, they are cell centres with
        weights 1/S; a Transformer objective then reads the measure at the nodes of its depth rule.
    blocks
        By name, arrays (S, M, p) of S slices, M particles and p parameters. Any names; M and p may differ between
        blocks. All float32 or all float64.

    Raises
    ------
    InputError
        Wrong shapes, different numbers of slices, entries that are not finite, negative weights, slices without
        mass one, different precisions.

    Examples
    --------
    >>> rho = Particles(x=[[[0.0], [2.0]]], weights={"x": [[0.25, 0.75]]})
    >>> float(rho.moment(1).x[0, 0])
    1.5
    """

    def __init__(
        self,
        *,
        weights: Mapping[str, ArrayLike] | None = None,
        t: ArrayLike | None = None,
        depth_weights: ArrayLike | None = None,
        **blocks: ArrayLike,
    ) -> None:
        arrays: dict[str, Array] = {}
        for name, value in blocks.items():
            if np.ndim(value) == 2:  # one slice
                value = np.asarray(value)[None]
            arrays[name] = check_array(name, value, 3, "(S, M, p)").copy()
            if 0 in arrays[name].shape:
                raise InputError(f"{name} must not be empty, got shape {arrays[name].shape}")
        if len({array.dtype for array in arrays.values()}) > 1:
            types = ", ".join(f"{name} is {array.dtype}" for name, array in arrays.items())
            raise InputError(f"all blocks must have the same precision: {types}")
        weights = dict(weights or {})
        if unknown := set(weights) - set(arrays):
            raise InputError(f"weights for {sorted(unknown)}, but the blocks are {sorted(arrays)}")
        self._given_weights = {name: frozen(_check_weights(name, w, arrays[name])) for name, w in weights.items()}
        self._place(arrays, t, depth_weights)

    def points(self, block: str) -> Array:
        """Where the mass of a block sits: shape (S, M, p)."""
        return self._blocks[block]

    def weights(self, block: str) -> NDArray[np.float64]:
        """The masses ``a_{l,j}`` of a block: shape (S, M), one in sum over every slice."""
        slices, width = self._blocks[block].shape[:2]
        if block in self._given_weights:
            return self._given_weights[block]
        return np.broadcast_to(1.0 / width, (slices, width))

    def has_equal_weights(self, block: str) -> bool:
        """Whether the block was made without weights."""
        return block not in self._given_weights

    @property
    def radius(self) -> float:
        """The largest ``|beta|`` of a particle."""
        return max(float(np.sqrt(np.max(np.sum(np.square(x, dtype=float), axis=2)))) for x in self.blocks.values())

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name}={array.shape}" for name, array in self._blocks.items())
        return f"Particles({shapes}, {self.dtype})"


def with_massless(rho: Measure, points: Mapping[str, Array]) -> Particles:
    """The particles of a measure, and further ones (S, K, p) without mass after them, which are not checked."""
    new, weights = object.__new__(Particles), {name: np.zeros(x.shape[:2]) for name, x in points.items()}
    new.__dict__.update(rho.__dict__)
    new._blocks = Blocks(**{b: frozen(np.concatenate([rho.points(b), x], axis=1)) for b, x in points.items()})
    new._given_weights = {b: frozen(np.concatenate([rho.weights(b), a], axis=1)) for b, a in weights.items()}
    return new


def _check_weights(name: str, value: ArrayLike, points: Array) -> NDArray[np.float64]:
    slices, width = points.shape[:2]
    array = check_array(f"weights of {name}", value, 2, "(S, M)").astype(np.float64)
    if array.shape != (slices, width):
        raise InputError(f"weights of {name} must have shape ({slices}, {width}), got shape {array.shape}")
    if array.min() < 0:
        raise InputError(f"weights of {name} must not be negative, got {array.min():.6g}")
    if np.abs(array.sum(axis=1) - 1).max() > 1e-9:
        slice_ = int(np.abs(array.sum(axis=1) - 1).argmax())
        raise InputError(
            f"weights of {name} must sum to 1 over every slice, got {array[slice_].sum():.12g} over slice {slice_}; "
            "divide each slice by its sum"
        )
    return array
