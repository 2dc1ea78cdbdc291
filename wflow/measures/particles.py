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

from wflow.checks import check_array, check_blocks_named, check_masses, did_you_mean
from wflow.errors import InputError
from wflow.measures.measure import Blocks, Measure, frozen

Array = NDArray[Any]


class Particles(Measure):
    """Weighted particles: ``rho_block(. | t_l) = sum_j a_{l,j} delta_{x_{l,j}}`` in every depth slice. Immutable.

    Parameters
    ----------
    weights
        ``{block: (S, M) array}``: non-negative, one in sum over every slice, up to the round-off of their precision,
        which is divided out. A block that is not named has equal weights 1/M.
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
            if isinstance(value, Mapping):
                hint = did_you_mean(name, ["weights"])
                raise InputError(f"block {name} must be an array, got a dictionary{hint}")
            array = check_array(name, value, (2, 3), "(S, M, p)")
            if array.size == 0:
                raise InputError(f"{name} must not be empty, got shape {array.shape}")
            arrays[name] = array.reshape(-1, *array.shape[-2:]).copy()  # two axes are one slice
        if len({array.dtype for array in arrays.values()}) > 1:
            types = ", ".join(f"{name} is {array.dtype}" for name, array in arrays.items())
            raise InputError(f"all blocks must have the same precision: {types}")
        weights = {} if weights is None else check_blocks_named("weights", weights, list(arrays), all_of_them=False)
        self._given_weights = {
            name: frozen(check_masses(f"weights of {name}", mass, arrays[name].shape[:2], "(S, M)"))
            for name, mass in weights.items()
        }
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
        return self._blocks[block] is not None and block not in self._given_weights  # looked up: it may not exist

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
