"""What a block does to the tokens: the protocol that built-in and user-defined encoders implement alike."""

from __future__ import annotations

__all__ = ["ByPacking", "Encoder", "Packed", "pack", "packs", "pairing", "widened", "zeroed"]

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@runtime_checkable
class Encoder(Protocol):
    """A parametrised map ``f(T, beta)`` of tokens to tokens, with exact derivatives.

    Any object with these three methods is an encoder, in every part of the package. The factor 1/B, the half steps and
    the depth weights belong to the caller.

    Examples
    --------
    An encoder that adds a trainable constant to the read row:

    >>> class Shift:
    ...     def n_parameters(self, dimension):
    ...         return 1
    ...     def mean(self, tokens, parameters, weights):
    ...         out = np.zeros_like(tokens)
    ...         out[:, -1, -1] = weights @ parameters[:, 0]
    ...         return out
    ...     def vjp(self, tokens, parameters, weights, cotangent):
    ...         slope = np.full_like(parameters, cotangent[:, -1, -1].sum())
    ...         return np.zeros_like(tokens), slope
    >>> isinstance(Shift(), Encoder)
    True
    """

    def n_parameters(self, dimension: int) -> int:
        """p, the number of parameters for tokens of dimension D."""
        ...

    def mean(self, tokens: Array, parameters: Array, weights: Array) -> Array:
        """``sum_j a_j f(T_b, beta_j)``: tokens (B, D, n), parameters (M, p), weights (M,) to (B, D, n)."""
        ...

    def vjp(self, tokens: Array, parameters: Array, weights: Array, cotangent: Array) -> tuple[Array, Array]:
        """The transpose of ``mean``: ``(tokens_bar (B, D, n), parameters_bar (M, p))``.

        ``tokens_bar`` keeps the weights; ``parameters_bar_j = sum_b grad_beta <f(T_b, beta_j), cotangent_b>`` leaves
        ``a_j`` out, so that it is valid at ``a_j = 0``.
        """
        ...


class Packed(Protocol):
    """The particles of all slices, ready for evaluations: what the objective works with.

    *Sums* are arrays (count, ...) in a layout of its own; derivatives by the parameters are added to ``x[i]`` of each.
    """

    def mean(self, l: int, tokens: Array, columns: Array | None = None) -> Array:
        """``sum_j a_j f(T_b, beta_j)`` over slice l, or the columns of it that are asked for."""
        ...

    def vjp(
        self,
        l: int,
        tokens: Array,
        cotangent: Array,
        sums: tuple[Array, ...],
        columns: Array | None = None,
        wanted: bool = True,
    ) -> Array | None:
        """The transpose: adds to ``sums``, without weights, and returns the cotangent of all tokens, if wanted."""
        ...

    def sums(self, count: int) -> tuple[Array, ...]:
        """Memory for so many sums: whoever adds to one sets it to zero first."""
        ...

    def slope(self, sums: tuple[Array, ...]) -> Array:
        """The derivative (S, M, p) from all sums together."""
        ...

    def paired(self, sums: tuple[Array, ...]) -> Array:
        """``sum_b <f(T_b, beta_j), cotangent_b>`` (S, M) from all sums, if it was asked for when packing."""
        ...


def zeroed(sums: tuple[Array, ...], i: int) -> tuple[Array, ...]:
    """Sum i, set to zero."""
    own = tuple(x[i] for x in sums)
    for x in own:
        x[...] = 0
    return own


def widened(array: Array, columns: Array, n_tokens: int) -> Array:
    """Some columns of tokens as all of them: zero elsewhere."""
    whole = np.zeros((*array.shape[:2], n_tokens), array.dtype)
    whole[:, :, columns] = array
    return whole


@dataclass(frozen=True, eq=False)
class _Plain:
    """Particles of an encoder that has no layout of its own."""

    encoder: Encoder
    parameters: Array
    weights: Array
    pairs: bool

    def mean(self, l: int, tokens: Array, columns: Array | None = None) -> Array:
        out = self.encoder.mean(tokens, self.parameters[l], self.weights[l])
        return out if columns is None else out[:, :, columns]

    def vjp(
        self,
        l: int,
        tokens: Array,
        cotangent: Array,
        sums: tuple[Array, ...],
        columns: Array | None = None,
        wanted: bool = True,
    ) -> Array | None:
        if columns is not None:
            cotangent = widened(cotangent, columns, tokens.shape[2])
        tokens_bar, slope = self.encoder.vjp(tokens, self.parameters[l], self.weights[l], cotangent)
        sums[0][l] += slope
        if self.pairs:
            sums[1][l] += pairing(self.encoder, tokens, self.parameters[l], cotangent)
        return tokens_bar

    def sums(self, count: int) -> tuple[Array, ...]:
        S, M, p = self.parameters.shape
        return np.empty((count, S, M, p), self.parameters.dtype), np.empty((count, S, M))

    def slope(self, sums: tuple[Array, ...]) -> Array:
        out: Array = sums[0].sum(axis=0)
        return out

    def paired(self, sums: tuple[Array, ...]) -> Array:
        out: Array = sums[1].sum(axis=0)
        return out


def packs(encoder: Encoder) -> bool:
    """Whether an encoder packs its particles itself. A subclass may have changed what they do: it does not."""
    return "packed" in vars(type(encoder))


def pack(encoder: Any, parameters: Array, weights: Array, dimension: int, pairs: bool = False) -> Packed:
    """Particles (S, M, p) with weights (S, M), ready for evaluations, and for ``paired`` if that is asked for."""
    if packs(encoder):
        own: Packed = encoder.packed(parameters, weights, dimension)
        return own
    return _Plain(encoder, parameters, weights, pairs)


class ByPacking:
    """The methods of :class:`Encoder`, for encoders that pack their particles."""

    def packed(self, parameters: Array, weights: Array, dimension: int) -> Packed:
        """Particles (S, M, p) with weights (S, M), ready for evaluations."""
        raise NotImplementedError

    def _one_slice(self, tokens: Array, parameters: Array, weights: Array) -> Packed:
        return self.packed(parameters[None].astype(tokens.dtype, copy=False), weights[None], tokens.shape[1])

    def mean(self, tokens: Array, parameters: Array, weights: Array) -> Array:
        """``sum_j a_j f(T_b, beta_j)``, shape (B, D, n)."""
        return self._one_slice(tokens, parameters, weights).mean(0, tokens)

    def vjp(self, tokens: Array, parameters: Array, weights: Array, cotangent: Array) -> tuple[Array, Array]:
        """The transpose of :meth:`mean` (see :class:`wflow.encoders.Encoder`)."""
        particles = self._one_slice(tokens, parameters, weights)
        sums = particles.sums(1)
        tokens_bar = particles.vjp(0, tokens, cotangent, zeroed(sums, 0))
        assert tokens_bar is not None
        return tokens_bar, particles.slope(sums)[0]

    def pairing(self, tokens: Array, parameters: Array, cotangent: Array) -> Array:
        """``sum_b <f(T_b, beta_j), cotangent_b>``, shape (M,)."""
        particles = self._one_slice(tokens, parameters, np.zeros(len(parameters)))
        sums = particles.sums(1)
        particles.vjp(0, tokens, cotangent, zeroed(sums, 0), wanted=False)
        out: Array = particles.paired(sums)[0]
        return out


def pairing(encoder: Encoder, tokens: Array, parameters: Array, cotangent: Array) -> Array:
    """``sum_b <f(T_b, beta_j), cotangent_b>`` for every particle j: shape (M,).

    The encoder's own ``pairing`` where it has one, else one call of ``mean`` per particle.

    Examples
    --------
    >>> from wflow.encoders import FeedForward
    >>> tokens, w = np.ones((1, 1, 1)), np.array([[2.0, 3.0]])
    >>> pairing(FeedForward("identity"), tokens, w, np.ones((1, 1, 1)))
    array([6.])
    """
    own = getattr(encoder, "pairing", None)
    if own is not None:
        return own(tokens, parameters, cotangent)  # type: ignore[no-any-return]
    one = np.ones(1, dtype=parameters.dtype)
    return np.array([np.sum(encoder.mean(tokens, beta[None], one) * cotangent) for beta in parameters])
