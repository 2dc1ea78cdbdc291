"""What a block does to the tokens: the protocol that built-in and user-defined encoders implement alike."""

from __future__ import annotations

__all__ = ["Encoder", "Group", "check_encoder", "optional", "pairing", "reads"]

from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from wflow.checks import check_array, check_index, check_integer, check_memory, check_result
from wflow.errors import InputError

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


class Group(NamedTuple):
    """A group of parameters, such as a matrix: where it stands among the p of a particle, and its fan-in."""

    place: slice
    fan_in: int


def optional(encoder: object, name: str) -> Any:
    """An optional member of an encoder; None where it has none.

    A class that states anew what ``mean`` or ``vjp`` do may have made untrue what its parents know: their optional
    members do not count then.

    Examples
    --------
    >>> from wflow.encoders import FeedForward
    >>> class Twice(FeedForward):
    ...     def mean(self, tokens, parameters, weights):
    ...         return 2 * super().mean(tokens, parameters, weights)
    >>> optional(FeedForward(), "reads") is None, optional(Twice(), "reads") is None
    (False, True)
    """
    for cls in type(encoder).__mro__:
        if name in vars(cls):
            return getattr(encoder, name)
        if {"mean", "vjp"} & vars(cls).keys():
            return None
    return None


def reads(encoder: Encoder, columns: Array, n_tokens: int) -> Array:
    """The tokens on which an encoder's outputs at some tokens depend; all where the encoder does not know."""
    known = optional(encoder, "reads")
    if known is None:
        return np.arange(n_tokens)
    return check_index(f"{_name(encoder)}: what reads returns", known(columns, n_tokens), n_tokens)


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
    check_methods(_name(encoder), encoder)
    tokens, cotangent = (
        check_array(name, x, 3, "(B, D, n)", finite=False) for name, x in (("tokens", tokens), ("cotangent", cotangent))
    )
    parameters = check_array("parameters", parameters, 2, "(M, p)", finite=False)
    known = optional(encoder, "pairing")
    if known is not None:
        out = known(tokens, parameters, cotangent)
        return check_result(f"{_name(encoder)}: pairing must have shape", out, parameters.shape[:1])
    one = np.ones(1, dtype=parameters.dtype)
    return np.array([np.sum(encoder.mean(tokens, beta[None], one) * cotangent) for beta in parameters])


def check_methods(name: str, encoder: Any) -> None:
    """Raise :class:`InputError` for what lacks a method of an encoder, and for a class in the place of an object."""
    if isinstance(encoder, type):
        raise InputError(f"{name} must be an object, got the class {encoder.__name__}: call it")
    if missing := [m for m in ("n_parameters", "mean", "vjp") if not callable(getattr(encoder, m, None))]:
        raise InputError(f"{name} has no method {missing[0]}; see wflow.encoders.Encoder")


def check_encoder(name: str, encoder: Any, tokens: Array) -> None:
    """Try an encoder on one prompt (1, D, n) and two particles, so that a wrong shape is found before any work is done.

    Raises
    ------
    InputError
        For a missing method, or one that returns another shape than :class:`Encoder` says.
    """
    name = f"the encoder {type(encoder).__name__} of block {name!r}"
    check_methods(name, encoder)
    D = tokens.shape[1]
    p = check_integer(f"{name}: n_parameters({D})", encoder.n_parameters(D))
    check_memory(f"two particles of {name}", 16 * p, f"n_parameters({D}) is {p}")
    particles, weights = np.full((2, p), 0.1), np.full(2, 0.5)
    called_mean(encoder, tokens, particles, weights, name)
    called_vjp(encoder, tokens, particles, weights, np.ones_like(tokens), name)
    if optional(encoder, "pairing"):
        pairing(encoder, tokens, particles, np.ones_like(tokens))


def called_mean(encoder: Encoder, tokens: Array, parameters: Array, weights: Array, name: str = "") -> Array:
    """What ``mean`` returns, in the precision of the tokens; an :class:`InputError` for another shape."""
    out = encoder.mean(tokens, parameters, weights)
    return check_result(f"{name or _name(encoder)}: mean must have shape", out, tokens.shape, tokens.dtype)


def called_vjp(
    encoder: Encoder, tokens: Array, parameters: Array, weights: Array, cotangent: Array, name: str = ""
) -> tuple[Array, Array]:
    """What ``vjp`` returns, in the precision of the arguments; an :class:`InputError` for other shapes."""
    name, pair = name or _name(encoder), encoder.vjp(tokens, parameters, weights, cotangent)
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise InputError(f"{name}: vjp must return the pair (tokens_bar, parameters_bar), got {type(pair).__name__}")
    return (
        check_result(f"{name}: vjp: tokens_bar must have shape", pair[0], tokens.shape, tokens.dtype),
        check_result(f"{name}: vjp: parameters_bar must have shape", pair[1], parameters.shape, parameters.dtype),
    )


def _name(encoder: Encoder) -> str:
    return f"the encoder {type(encoder).__name__}"
