"""The unknown of the equation: a law ``rho(beta, t)`` of parameters with mass one in every depth slice.

The objective is additive in attention heads ``theta`` and feed-forward neurons ``w``, so that only the two marginals
matter; each is a *block*. A measure is a set of blocks over one common set of depth slices; it is either
:class:`wflow.Particles` or :class:`wflow.Grid`. Energies read nothing but points and their masses.
"""

from __future__ import annotations

__all__ = ["Blocks", "Measure", "UnknownBlock"]

from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wflow.checks import check_array, check_blocks_named, check_integer, check_masses, did_you_mean, shown
from wflow.errors import InputError

Array = NDArray[Any]

#: Depth nodes and weights that differ by less are the same, rounded to float32.
NODES = 1e-6


class UnknownBlock(InputError, KeyError):
    """A block that a measure does not have."""

    __str__ = Exception.__str__  # that of KeyError adds quotes


class Blocks(Mapping[str, Array]):
    """Arrays by block name, also as attributes: ``v["theta"]`` is ``v.theta``.

    Examples
    --------
    >>> v = Blocks(theta=np.ones(2))
    >>> v.theta is v["theta"], list(v)
    (True, ['theta'])
    >>> v["tehta"]
    Traceback (most recent call last):
    wflow.measures.measure.UnknownBlock: no block 'tehta'; the blocks are theta; did you mean 'theta'?
    """

    def __init__(self, **arrays: Array) -> None:
        self._arrays = arrays

    def __getitem__(self, block: str) -> Array:
        try:
            return self._arrays[block]
        except (KeyError, TypeError):  # or cannot be a key
            raise UnknownBlock(self._words(block)) from None

    def __getattr__(self, block: str) -> Array:
        arrays = self.__dict__.get("_arrays", {})
        if block in arrays:
            return arrays[block]  # type: ignore[no-any-return]
        raise AttributeError(self._words(block))

    def _words(self, block: object) -> str:
        arrays = self.__dict__.get("_arrays", {})
        return f"no block {shown(block)}; the blocks are {', '.join(arrays)}{did_you_mean(block, arrays)}"

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        return f"Blocks({', '.join(f'{name}={array.shape}' for name, array in self._arrays.items())})"


class Measure:
    """What particles and grids share: blocks of arrays over common depth slices. Immutable."""

    _blocks: Blocks
    _t: NDArray[np.float64]
    _depth_weights: NDArray[np.float64]
    #: Whether the depth nodes were set on purpose.
    is_placed: bool

    def _place(self, blocks: Mapping[str, Array], t: ArrayLike | None, depth_weights: ArrayLike | None) -> None:
        """Set blocks, after a check that they agree, and depth nodes."""
        if not blocks:
            raise InputError("a measure needs at least one block, such as theta=array")
        if len({array.shape[0] for array in blocks.values()}) > 1:
            sizes = ", ".join(f"{name} has {array.shape[0]}" for name, array in blocks.items())
            raise InputError(f"all blocks must have the same number of depth slices: {sizes}")
        self._blocks = Blocks(**{name: frozen(array) for name, array in blocks.items()})
        self.is_placed = t is not None or depth_weights is not None
        slices = self.n_slices
        self._t = frozen(_check_depth((np.arange(slices) + 0.5) / slices if t is None else t, slices))
        om = np.full(slices, 1.0 / slices) if depth_weights is None else depth_weights
        self._depth_weights = frozen(check_masses("depth_weights", om, (slices,), "(S,)", positive=True))

    @property
    def blocks(self) -> Blocks:
        """The arrays by block name, read only."""
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
        raise NotImplementedError

    def weights(self, block: str) -> NDArray[np.float64]:
        """The masses ``a_{l,j}`` at the points of a block: shape (S, M), one in sum over every slice."""
        raise NotImplementedError

    def has_equal_weights(self, block: str) -> bool:
        """Whether all points of the block have the same mass by construction."""
        raise NotImplementedError

    def mass(self, block: str) -> NDArray[np.float64]:
        """``om_l a_{l,j}``, shape (S, M): the mass of a point in the metric of the flow."""
        return self._depth_weights[:, None] * self.weights(block)

    def moment(self, order: int) -> Blocks:
        """``int beta^order d rho(beta | t_l)`` per coordinate and slice: arrays (S, p); order 0, 1, 2, ..."""
        order = check_integer("order", order, least=0, most=2**31)
        powers = {name: self.points(name).astype(float) ** order for name in self.blocks}
        return Blocks(**{name: np.einsum("sm,smp->sp", self.weights(name), x) for name, x in powers.items()})

    @property
    def radius(self) -> float:
        """The largest ``|beta|`` where there is mass."""
        raise NotImplementedError

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(frozen_again(state))

    def replace(self, **blocks: ArrayLike) -> Self:
        """The same measure with other arrays, which are taken over: neither copied, nor checked but for their shapes.

        Raises
        ------
        InputError
            For other blocks or other shapes than those of the measure.
        """
        if blocks.keys() != self._blocks.keys():
            check_blocks_named("replace", blocks, list(self._blocks))
        arrays = {name: _floats(name, blocks[name]) for name in self._blocks}
        for name, array in arrays.items():
            if array.shape != self._blocks[name].shape:
                raise InputError(f"{name} must have the shape {self._blocks[name].shape}, got shape {array.shape}")
        return self.taking(arrays)

    def taking(self, arrays: Mapping[str, Array]) -> Self:
        """The same without any check, for flows, which make a measure at every evaluation."""
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        new._blocks = Blocks(**{name: frozen(array) for name, array in arrays.items()})
        return new

    def sits_at(self, t: ArrayLike, depth_weights: ArrayLike, tol: float = 1e-9) -> bool:
        """Whether these are the depth nodes and their weights, up to a share of the depth and of each weight."""
        t, om = np.asarray(t), np.asarray(depth_weights)
        if t.shape != self._t.shape or om.shape != self._depth_weights.shape:
            return False
        return bool((np.abs(self._t - t) <= tol).all() and (np.abs(self._depth_weights - om) <= tol * om).all())

    def at(self, t: ArrayLike, depth_weights: ArrayLike) -> Self:
        """The same measure at other depth nodes.

        Raises
        ------
        InputError
            When it was placed at other nodes on purpose, or their number is another.
        """
        if self.is_placed and np.array_equal(self._t, t) and np.array_equal(self._depth_weights, depth_weights):
            return self
        t = _check_depth(t, self.n_slices)
        om = check_masses("depth_weights", depth_weights, (self.n_slices,), "(S,)", positive=True)
        if self.is_placed:
            if not self.sits_at(t, om, NODES):
                raise InputError(
                    "the measure sits at other depth nodes than the energy's depth rule; leave t and depth_weights "
                    "out, or pass those of the rule"
                )
            if self.sits_at(t, om):
                return self
        new = self.replace(**self._blocks)
        new.is_placed, new._t, new._depth_weights = True, frozen(t), frozen(om)
        return new


def check_measure(rho: Any) -> None:
    """Raise :class:`InputError` unless this is a measure."""
    if not isinstance(rho, Measure):
        raise InputError(f"expected a measure such as wflow.Particles, got {type(rho).__name__}")


def frozen(array: Array) -> Array:
    """A read-only view."""
    view = array.view()
    view.setflags(write=False)
    return view


def _floats(name: str, array: Any) -> Array:
    """An array of floats, which steps make of floats, without a look at its entries."""
    if type(array) is np.ndarray and array.dtype in (np.float32, np.float64):
        return array
    return check_array(name, array, (2, 3, 4), "of the measure", finite=False)


def frozen_again(state: Any) -> Any:
    """The state of an immutable object, whose arrays come out of a pickle or a deep copy writable."""
    if isinstance(state, np.ndarray):
        return frozen(state)
    if isinstance(state, Blocks):
        return Blocks(**frozen_again(dict(state)))
    return {name: frozen_again(value) for name, value in state.items()} if isinstance(state, dict) else state


def _check_depth(t: ArrayLike, slices: int) -> NDArray[np.float64]:
    array = check_array("t", t, 1, "(S,)").astype(np.float64)
    if array.shape != (slices,):
        raise InputError(f"t must have shape ({slices},), one entry a depth slice, got shape {array.shape}")
    if array.min() < 0 or array.max() > 1 or (np.diff(array) <= 0).any():
        raise InputError(f"t must increase from slice to slice, within [0, 1], got {shown(array.tolist())}")
    return array
