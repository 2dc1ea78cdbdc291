"""Attention heads: a family of kernels and masks."""

from __future__ import annotations

__all__ = ["KERNELS", "Attention", "SoftmaxAttention"]

import math
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from wflow.checks import check_array, check_boolean, check_choice, check_integer, check_positive, shown
from wflow.encoders.compiled import Compiled, CompiledEncoder
from wflow.encoders.protocol import Group
from wflow.errors import InputError
from wflow.types import PositiveFloat, PositiveInt, Values

Array = NDArray[Any]
Integers = NDArray[np.int64]


def _is_mask(value: Any) -> bool:
    """Whether plain data are a mask, or text that may be a path."""
    local = isinstance(value, list) and len(value) == 2 and value[0] == "local" and type(value[1]) is int
    return isinstance(value, str) or local


Mask = Annotated[
    str | tuple[str, int] | Array | None,
    Values("'causal', a pair ['local', w], or the path of an .npy file", _is_mask),
]

#: The kernels, by name: what becomes of the scores of a query.
KERNELS = ("softmax", "gaussian", "gaussian-normalised", "sigmoid", "linear", "relu", "sparsemax")
#: Those of distances, and those whose weights grow with the scores.
DISTANCES, UNBOUNDED = ("gaussian", "gaussian-normalised"), ("linear", "relu")


@dataclass(frozen=True, eq=False, repr=False)
class Attention(CompiledEncoder):
    """Attention heads ``f(Z, theta) = V Z K(A)`` with scores ``A_ji = s z_j^T W z_i`` of key j and query i.

    ============================  ======================================================  ==================
    kernel                        ``K_ji``                                                bound of ``|f|``
    ============================  ======================================================  ==================
    ``softmax``                   ``m_ji e^A_ji / sum_k m_ki e^A_ki``                     ``|V| |Z|``
    ``gaussian``                  ``m_ji exp(-s/2 |W_K z_j - W_Q z_i|^2)``                ``n |V| |Z|``
    ``gaussian-normalised``       the same over its sum over the keys                     ``|V| |Z|``
    ``sigmoid``                   ``m_ji / (1 + e^-A_ji)``                                ``n |V| |Z|``
    ``linear``                    ``m_ji A_ji / n``                                       ``s |V| |W| |Z|^3``
    ``relu``                      ``m_ji max(A_ji, 0) / n``                               ``s |V| |W| |Z|^3``
    ``sparsemax``                 the point of the simplex on the keys next to ``A_.i``   ``|V| |Z|``
    ============================  ======================================================  ==================

    Softmax is the attention of Gao et al. (2024, section 2), the Gaussian that of Song et al. (2024), sparsemax that of
    Martins and Astudillo (2016). docs/encoders.md says what is known of their limits.

    Parameters
    ----------
    kernel
        One of the above. Gaussians compare keys with queries and need ``factored=True``.
    mask
        Which keys a query sees, ``m_ji = 1``: None for all; ``"causal"`` for those with ``j <= i``; ``("local", w)``
        for ``|j - i| <= w``; or an array (n, n) of zeros and ones with ``m[j, i]``.
    factored
        False: ``theta = (V, W)``, two D x D matrices. True: ``V = W_O W_V`` and ``W = W_K^T W_Q`` of rank at most
        ``rank``, and ``theta = (W_V (r x D), W_O (D x r), W_K (r x D), W_Q (r x D))``. Both row-major in this order.
    rank
        r of the factored form; None means D.
    scale
        s > 0, such as ``r^-1/2``.

    Raises
    ------
    InputError
        For another kernel or mask, a query without keys, a Gaussian without the factored form, a rank that is not a
        positive integer or without the factored form, and a scale that is not positive; where a mask meets prompts of
        another number of tokens.

    Examples
    --------
    Two tokens, D = 1: weights of the Gaussian are 1 and ``e^-1/2``.

    >>> head = Attention("gaussian", factored=True)
    >>> theta = np.array([[3.0, 1.0, 1.0, 1.0]])  # W_V, W_O, W_K, W_Q
    >>> head.mean(np.array([[[1.0, 2.0]]]), theta, np.ones(1)).round(6)
    array([[[6.639184, 7.819592]]])

    One token: the softmax is one and f is linear.

    >>> Attention().mean(np.full((1, 1, 1), 2.0), np.array([[3.0, 7.0]]), np.ones(1))
    array([[[6.]]])
    >>> Attention(factored=True, rank=2).n_parameters(5)
    40
    """

    kernel: Annotated[str, KERNELS] = "softmax"
    mask: Mask = None
    factored: bool = False
    rank: PositiveInt | None = None
    scale: PositiveFloat = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "kernel", check_choice("kernel", self.kernel, KERNELS))
        object.__setattr__(self, "mask", _checked_mask(self.mask))
        object.__setattr__(self, "factored", check_boolean("factored", self.factored))
        object.__setattr__(self, "scale", check_positive("scale", self.scale))
        if self.kernel in DISTANCES and not self.factored:
            raise InputError(
                f"kernel={self.kernel!r} needs factored=True: |W_K z - W_Q z'| is not known from W = W_K^T W_Q alone"
            )
        if self.rank is not None:
            if not self.factored:
                raise InputError(f"rank={self.rank!r} needs factored=True: the full form has no rank")
            object.__setattr__(self, "rank", check_integer("rank", self.rank))

    def _class(self) -> type[Attention]:
        """The class, of which :class:`SoftmaxAttention` is another name."""
        return Attention if type(self) is SoftmaxAttention else type(self)

    def _options(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __repr__(self) -> str:
        options = self._options()
        words = [f"{name}={x!r}" for name, x in options.items() if not isinstance(x, np.ndarray)]
        if isinstance(self.mask, np.ndarray):
            words.insert(1, f"mask=<array {self.mask.shape}>")
        return f"{self._class().__name__}({', '.join(words)})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Attention) or self._class() is not other._class():
            return NotImplemented
        return all(
            type(x) is type(y) and np.array_equal(x, y)  # of a mask, an array or not
            for x, y in zip(self._options().values(), other._options().values())
        )

    def __hash__(self) -> int:
        mask = self.mask.tobytes() if isinstance(self.mask, np.ndarray) else self.mask
        return hash((self._class(), *(self._options() | {"mask": mask}).values()))

    def n_parameters(self, dimension: int) -> int:
        """2 D^2, or 4 r D in the factored form."""
        dimension = check_integer("dimension", dimension)
        return 4 * (self.rank or dimension) * dimension if self.factored else 2 * dimension**2

    def groups(self, dimension: int) -> dict[str, Group]:
        """The matrices V, W (factored: W_V, W_O, W_K, W_Q); fan-in D, of W_O the rank."""
        names = ("W_V", "W_O", "W_K", "W_Q") if self.factored else ("V", "W")
        size, r = self.n_parameters(dimension) // len(names), self.rank or dimension
        fan_in = [r if name == "W_O" else dimension for name in names]
        return {name: Group(slice(i * size, (i + 1) * size), fan_in[i]) for i, name in enumerate(names)}

    def _factors(self, parameters: Array, dimension: int) -> tuple[Array, Array, Array, Array]:
        """``W_V, W_O, W_K, W_Q`` of shapes (..., r, D), (..., D, r), (..., r, D), (..., r, D), as views."""
        r = self.rank or dimension
        parts = np.split(parameters, 4, axis=-1)
        shapes = ((r, dimension), (dimension, r), (r, dimension), (r, dimension))
        value, output, key, query = (part.reshape(*part.shape[:-1], *shape) for part, shape in zip(parts, shapes))
        return value, output, key, query

    def matrices(self, parameters: Array, dimension: int) -> tuple[Array, Array]:
        """``V`` and ``W`` of every head, each (..., D, D), from parameters (..., p)."""
        if self.factored:
            value, output, key, query = self._factors(parameters, dimension)
            return output @ value, key.swapaxes(-1, -2) @ query
        halves = parameters.reshape(*parameters.shape[:-1], 2, dimension, dimension)
        return halves[..., 0, :, :], halves[..., 1, :, :]

    def sees(self, keys: Integers, queries: Integers, n_tokens: int) -> NDArray[np.bool_]:
        """``m_ji`` (keys, queries) of tokens by their places in a prompt of n tokens."""
        j, i = np.asarray(keys)[:, None], np.asarray(queries)[None, :]
        if isinstance(self.mask, np.ndarray):
            if len(self.mask) != n_tokens:
                raise InputError(
                    f"mask has shape {self.mask.shape}, but prompts have {n_tokens} tokens: take one that fits"
                )
            return np.asarray(self.mask[j, i])
        if self.mask == "causal":
            return j <= i
        if isinstance(self.mask, tuple):
            return abs(j - i) <= self.mask[1]
        return np.ones((len(j), i.size), bool)

    def reads(self, columns: Array, n_tokens: int) -> Array:
        """The tokens themselves, as queries, and the keys that they see."""
        seen: NDArray[np.bool_] = np.any(self.sees(np.arange(n_tokens), columns, n_tokens), axis=1)
        seen[columns] = True
        return np.flatnonzero(seen)

    def why_overflow(self) -> str:
        """Why tokens may grow beyond all numbers, in words; empty for kernels with bounded weights."""
        if self.kernel not in UNBOUNDED:
            return ""
        return (
            f"{self.kernel} attention grows as the third power of the tokens, so that for large parameters the depth "
            "equation blows up before its end; take smaller initial parameters, more weight decay or a kernel with "
            "bounded weights"
        )

    def compiled(self, dimension: int) -> Compiled:
        """V and the transpose of W, or those of W_Q and W_K, of the kernels for attention (see
        :class:`wflow.encoders.Compiled`)."""
        from wflow.kernels.pairs import KINDS

        compares = self.kernel in DISTANCES
        columns = (self.rank or dimension) if compares else dimension
        V = np.arange(dimension**2)
        maps = np.arange(V.size, V.size + (1 + compares) * columns * dimension).reshape(-1, columns, dimension)
        order = np.concatenate([V, maps.swapaxes(1, 2).ravel()])[None]
        linear = self.groups(dimension)["W_O" if self.factored else "V"].place
        form = Compiled("attention", (KINDS[self.kernel], columns), order, 1, linear)
        if self.mask is not None:
            form = replace(form, sees=self.sees)
        if not self.factored and self.scale == 1:
            return form
        # Not lambdas: objectives travel to other processes.
        numbers, pull_back = (partial(f, dimension=dimension) for f in (self._numbers, self._pull_back))
        return replace(form, numbers=numbers, pull_back=pull_back)

    def _numbers(self, parameters: Array, dimension: int) -> Array:
        """V and s W of heads; V, ``s^1/2 W_Q`` and ``s^1/2 W_K`` of Gaussian ones."""
        if self.kernel not in DISTANCES:
            V, W = self.matrices(parameters, dimension)
            return _side_by_side(V, self.scale * W)
        value, output, key, query = self._factors(parameters, dimension)
        root = math.sqrt(self.scale)
        return _side_by_side(output @ value, root * query, root * key)

    def _pull_back(self, parameters: Array, numbers_bar: Array, dimension: int) -> Array:
        """The derivative by the parameters from that by those numbers.

        V = W_O W_V: ``W_V_bar = W_O^T V_bar``, ``W_O_bar = V_bar W_V^T``; W = W_K^T W_Q: ``W_K_bar = W_Q W_bar^T``,
        ``W_Q_bar = W_K W_bar``.
        """
        first, second = numbers_bar[..., : dimension**2], numbers_bar[..., dimension**2 :]
        V_bar = first.reshape(*first.shape[:-1], dimension, dimension)
        if not self.factored:
            return np.concatenate([first, self.scale * second], axis=-1)
        value, output, key, query = self._factors(parameters, dimension)
        if self.kernel in DISTANCES:
            query_bar, key_bar = (math.sqrt(self.scale) * x for x in np.split(second, 2, axis=-1))
        else:
            W_bar = self.scale * second.reshape(V_bar.shape)
            key_bar, query_bar = (_side_by_side(x) for x in (query @ W_bar.swapaxes(-1, -2), key @ W_bar))
        values_bar = _side_by_side(output.swapaxes(-1, -2) @ V_bar, V_bar @ value.swapaxes(-1, -2))
        return np.concatenate([values_bar, key_bar, query_bar], axis=-1)


class SoftmaxAttention(Attention):
    """``Attention(factored=factored, rank=rank)``: the heads of Gao et al. (2024) by their name, and equal to it.

    Examples
    --------
    >>> SoftmaxAttention(factored=True) == Attention("softmax", factored=True)
    True
    """

    def __init__(self, factored: bool = False, rank: PositiveInt | None = None) -> None:
        super().__init__(factored=factored, rank=rank)


def _checked_mask(mask: Any) -> Mask:
    """A mask as :class:`Attention` keeps it; arrays are copied, of booleans, and read only."""
    words = "mask must be None, 'causal', ('local', w) with an integer w >= 0, or an array (n, n) of zeros and ones"
    if mask is None or (isinstance(mask, str) and mask == "causal"):
        return None if mask is None else "causal"
    if isinstance(mask, (tuple, list)) and len(mask) == 2 and isinstance(mask[0], str) and mask[0] == "local":
        return "local", check_integer("w of the mask ('local', w)", mask[1], 0)
    if isinstance(mask, (str, bytes, int, float)) or (isinstance(mask, (tuple, list)) and "local" in mask[:1]):
        raise InputError(f"{words}, got {shown(mask)}")
    booleans = np.asarray(mask)
    if booleans.dtype == bool and not isinstance(mask, np.ma.MaskedArray):  # which other arrays may not be
        mask = booleans.astype(float)
    array = check_array("mask", mask, 2, "(n, n)")
    if array.shape[0] != array.shape[1] or not np.isin(array, (0, 1)).all():
        raise InputError(f"{words}, got {shown(mask)}")
    sees = array.astype(bool)
    if not sees.any(axis=0).all():
        i = int(np.flatnonzero(~sees.any(axis=0))[0])
        raise InputError(f"mask: query {i} sees no key: column {i} must have a one, for m[j, i] = 1 where i sees j")
    sees.setflags(write=False)
    return sees


def _side_by_side(*matrices: Array) -> Array:
    """Matrices (..., i, k) as numbers (..., p)."""
    return np.concatenate([x.reshape(*x.shape[:-2], -1) for x in matrices], axis=-1)
