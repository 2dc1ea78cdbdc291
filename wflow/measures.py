"""The unknown of the equation: a law ``rho(beta, t)`` of parameters with mass one in every depth slice.

The objective is additive in attention heads ``theta`` and feed-forward neurons ``w``, so that only the two marginals
matter; each is a *block* of its own. A measure is a set of blocks over one common set of depth slices.

>>> import numpy as np
>>> rho = Particles(theta=np.zeros((4, 3, 2)))
>>> rho.theta.shape, rho.weights("theta")[0]
((4, 3, 2), array([0.33333333, 0.33333333, 0.33333333]))
>>> rho.t
array([0.125, 0.375, 0.625, 0.875])
"""

from __future__ import annotations

__all__ = ["Blocks", "Particles"]

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wflow.errors import InputError, check_array

Array = NDArray[Any]


class Blocks(Mapping[str, Array]):
    """Arrays by block name, also as attributes: ``v["theta"]`` is ``v.theta``.

    Examples
    --------
    >>> v = Blocks(theta=np.ones(2))
    >>> v.theta is v["theta"], list(v)
    (True, ['theta'])
    """

    def __init__(self, **arrays: Array) -> None:
        self._arrays = arrays

    def __getitem__(self, block: str) -> Array:
        try:
            return self._arrays[block]
        except KeyError:
            raise KeyError(f"no block {block!r}; the blocks are {', '.join(self._arrays)}") from None

    def __getattr__(self, block: str) -> Array:
        arrays = self.__dict__.get("_arrays", {})
        if block in arrays:
            return arrays[block]  # type: ignore[no-any-return]
        raise AttributeError(f"no block {block!r}; the blocks are {', '.join(arrays)}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        return f"Blocks({', '.join(f'{name}={array.shape}' for name, array in self._arrays.items())})"


class Particles:
    """Weighted particles: ``rho_block(. | t_l) = sum_j a_{l,j} delta_{x_{l,j}}`` in every depth slice. Immutable.

    Parameters
    ----------
    weights
        ``{block: (S, M) array}``: non-negative, one in sum over every slice. A block that is not named has equal
        weights 1/M.
    t, depth_weights
        The depth nodes and their quadrature weights, each of shape (S,). Left out, they are cell centres with
        weights 1/S; a Transformer objective then reads the measure at the nodes of its own depth rule.
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
        if not arrays:
            raise InputError("a measure needs at least one block, such as theta=(S, M, p) array")
        if len({array.shape[0] for array in arrays.values()}) > 1:
            sizes = ", ".join(f"{name} has {array.shape[0]}" for name, array in arrays.items())
            raise InputError(f"all blocks must have the same number of depth slices: {sizes}")
        if len({array.dtype for array in arrays.values()}) > 1:
            types = ", ".join(f"{name} is {array.dtype}" for name, array in arrays.items())
            raise InputError(f"all blocks must have the same precision: {types}")
        given = dict(weights or {})
        if unknown := set(given) - set(arrays):
            raise InputError(f"weights for {sorted(unknown)}, but the blocks are {sorted(arrays)}")
        self._given_weights = {name: _frozen(_check_weights(name, w, arrays[name])) for name, w in given.items()}
        self._blocks = Blocks(**{name: _frozen(array) for name, array in arrays.items()})
        self.is_placed = t is not None or depth_weights is not None
        slices = self.n_slices
        self._t = _frozen(_check_depth("t", (np.arange(slices) + 0.5) / slices if t is None else t, slices))
        om = np.full(slices, 1.0 / slices) if depth_weights is None else depth_weights
        self._depth_weights = _frozen(_check_depth("depth_weights", om, slices))
        if self._depth_weights.min() <= 0 or abs(self._depth_weights.sum() - 1) > 1e-9:
            raise InputError(f"depth_weights must be positive and sum to 1, got sum {self._depth_weights.sum():.12g}")

    @property
    def blocks(self) -> Blocks:
        """The particles by block name, each (S, M, p), read only."""
        return self._blocks

    def __getattr__(self, block: str) -> Array:
        if block.startswith("_"):
            raise AttributeError(block)
        return getattr(self._blocks, block)  # type: ignore[no-any-return]

    @property
    def n_slices(self) -> int:
        """S, the number of depth slices."""
        return int(next(iter(self._blocks.values())).shape[0])

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64: the precision in which the flow is computed."""
        return next(iter(self._blocks.values())).dtype

    @property
    def t(self) -> NDArray[np.float64]:
        """The depth nodes, shape (S,), in [0, 1]."""
        return self._t

    @property
    def depth_weights(self) -> NDArray[np.float64]:
        """The quadrature weights ``om_l`` of the depth nodes, shape (S,), one in sum."""
        return self._depth_weights

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
        """Whether the block was given no weights of its own."""
        return block not in self._given_weights

    def mass(self, block: str) -> NDArray[np.float64]:
        """``om_l a_{l,j}``, shape (S, M): the mass of a particle in the metric of the flow."""
        return self._depth_weights[:, None] * self.weights(block)

    def moment(self, order: int) -> Blocks:
        """``int beta^order d rho(beta | t_l)`` per coordinate and slice: arrays (S, p)."""
        return Blocks(
            **{
                name: np.einsum("sm,smp->sp", self.weights(name), x.astype(float) ** order)
                for name, x in self.blocks.items()
            }
        )

    def replace(self, **blocks: ArrayLike) -> Particles:
        """The same weights and depth nodes at other points. The arrays are taken over, not copied or checked."""
        new = object.__new__(Particles)
        new.__dict__.update(self.__dict__)
        new._blocks = Blocks(**{name: _frozen(np.asarray(blocks[name])) for name in self._blocks})
        return new

    def at(self, t: ArrayLike, depth_weights: ArrayLike) -> Particles:
        """The same particles at other depth nodes.

        Raises
        ------
        InputError
            When the measure was placed at other nodes on purpose, or their number is another.
        """
        t, om = _check_depth("t", t, self.n_slices), _check_depth("depth_weights", depth_weights, self.n_slices)
        if self.is_placed:
            if np.abs(self._t - t).max() > 1e-9 or np.abs(self._depth_weights - om).max() > 1e-9:
                raise InputError(
                    "the measure sits at other depth nodes than the energy's depth rule; leave t and depth_weights "
                    "out, or pass those of the rule"
                )
            return self
        new = self.replace(**self._blocks)
        new.is_placed, new._t, new._depth_weights = True, _frozen(t), _frozen(om)
        return new

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name}={array.shape}" for name, array in self._blocks.items())
        return f"Particles({shapes}, {self.dtype})"


def _frozen(array: Array) -> Array:
    """A read-only view."""
    view = array.view()
    view.setflags(write=False)
    return view


def _check_depth(name: str, value: ArrayLike, slices: int) -> NDArray[np.float64]:
    array = check_array(name, value, 1, "(S,)").astype(np.float64)
    if array.shape != (slices,):
        raise InputError(f"{name} must have shape ({slices},), one entry a depth slice, got shape {array.shape}")
    return array


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
