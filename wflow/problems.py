"""Named problems whose gradient flow is known exactly: energy, initial measure and solution.

They drive the tests of every scheme and the validation, and are small examples of user-defined encoders. The
model is that of Gao et al. 2024 (arXiv 2410.23610), without noise; everything is dimensionless.

===================== ========================================================= ==========================
problem               what makes it solvable                                    exact for
===================== ========================================================= ==========================
``pure_decay``        prompts H = 0: every encoder and its gradient vanish      every L, M and depth rule
``constant_encoders`` encoders add a trainable number to the prediction         every L, M and depth rule
``single_token``      D = n = 1: attention and feed-forward are linear          every M; L infinite or any
``two_layer``         encoders read frozen rows: a linear model of features     every L, M and depth rule
``sine_circle``       sin(theta) into the prediction, theta uniform on a circle every L; spectral in M
===================== ========================================================= ==========================

>>> problem = constant_encoders(layers=2, width=3, weight_decay=0.1)
>>> abs(problem.energy.value(problem.measure(0.7)) - problem.value(0.7)) < 1e-14
True
>>> sorted(PROBLEMS)
['constant-encoders', 'pure-decay', 'sine-circle', 'single-token', 'two-layer']
"""

from __future__ import annotations

__all__ = [
    "PROBLEMS",
    "ConstantEncoder",
    "FrozenRowEncoder",
    "Problem",
    "ScalingEncoder",
    "SineEncoder",
    "constant_encoders",
    "pure_decay",
    "sine_circle",
    "single_token",
    "two_layer",
]

import copy
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, ParamSpec

import numpy as np
from numpy.typing import NDArray

from wflow.checks import check_boolean, check_integer, check_memory, check_number, check_rng, shown
from wflow.datasets.dataset import Dataset
from wflow.encoders import FeedForward, SoftmaxAttention
from wflow.energies import TransformerObjective
from wflow.errors import InputError
from wflow.measures import Particles
from wflow.plain import register

Array = NDArray[Any]
P = ParamSpec("P")
Seed = np.random.Generator | int


@dataclass(frozen=True, eq=False)
class Problem:
    """A gradient flow with its exact solution.

    Parameters
    ----------
    name
        The key in :data:`PROBLEMS`.
    energy, rho0
        The arguments of ``wflow.solve``; ``rho0`` sits at the nodes of the energy's depth rule.
    measure
        ``tau -> Particles``: where the particles of ``rho0`` are at training time tau, in float64. A flow
        without noise can be followed backwards: tau may be negative.
    predictions
        ``tau -> array``: ``Read T(1)`` of the B prompts, shape (B,).

    Examples
    --------
    >>> problem = pure_decay(weight_decay=0.5)
    >>> bool(np.allclose(problem.measure(2.0).w, np.exp(-1) * problem.rho0.w))
    True
    """

    name: str
    energy: TransformerObjective
    rho0: Particles
    measure: Callable[[float], Particles]
    predictions: Callable[[float], NDArray[np.float64]]

    def __post_init__(self) -> None:
        for name in ("measure", "predictions"):
            object.__setattr__(self, name, partial(_at, getattr(self, name)))

    def risk(self, tau: float) -> float:
        """The exact risk ``R = mean_b 1/2 |Read T_b(1) - y_b|^2`` at training time tau."""
        return self.energy.dataset.risk(self.predictions(tau))

    def value(self, tau: float) -> float:
        """The exact energy ``Q = R + lambda/2 int int |beta|^2 d rho dt`` at training time tau."""
        rho = self.measure(tau)
        squares = sum(float(np.sum(rho.mass(name) * np.sum(x**2, axis=2))) for name, x in rho.blocks.items())
        return self.risk(tau) + 0.5 * self.energy.weight_decay * squares

    def __getstate__(self) -> dict[str, Any]:
        """The call that made the problem, whose functions cannot be pickled, if a factory of this module did."""
        return {"call": self.__dict__["call"]} if "call" in self.__dict__ else self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "call" in state:
            name, args, kwargs = state["call"]
            state = PROBLEMS[name](*args, **kwargs).__dict__
        self.__dict__.update(state)


def _factory(make: Callable[P, Problem]) -> Callable[P, Problem]:
    """A factory whose problems remember the call that made them."""

    @wraps(make)
    def made(*args: P.args, **kwargs: P.kwargs) -> Problem:
        drawn = {id(x): copy.deepcopy(x) for x in (*args, *kwargs.values()) if isinstance(x, np.random.Generator)}
        arguments = [drawn.get(id(x), x) for x in args], {name: drawn.get(id(x), x) for name, x in kwargs.items()}
        problem = make(*args, **kwargs)
        object.__setattr__(problem, "call", (problem.name, *arguments))
        return problem

    return made


def _at(function: Callable[[float], Any], tau: float) -> Any:
    """A function of training time, after a check."""
    return function(check_number("tau", tau))


# User-defined encoders


class _NumberEncoder:
    """``f(T, theta) = s(theta)``, a function of one number, into the entry (-1, -1) of the tokens."""

    _function: Callable[..., Any]
    _slope: Callable[..., Any]

    def n_parameters(self, dimension: int) -> int:
        """One."""
        return 1

    def mean(self, tokens: Array, parameters: Array, weights: Array) -> Array:
        """``sum_j a_j s(theta_j)`` in the last row of the last token, shape (B, D, n)."""
        out = np.zeros_like(tokens)
        out[:, -1, -1] = weights @ self._function(parameters[:, 0])
        return out

    def vjp(self, tokens: Array, parameters: Array, weights: Array, cotangent: Array) -> tuple[Array, Array]:
        """The transpose of :meth:`mean` (see :class:`wflow.encoders.Encoder`)."""
        return np.zeros_like(tokens), self._slope(parameters) * cotangent[:, -1, -1].sum()

    def pairing(self, tokens: Array, parameters: Array, cotangent: Array) -> Array:
        """``s(theta_j) sum_b cotangent_b``, shape (M,)."""
        return np.asarray(self._function(parameters[:, 0]) * cotangent[:, -1, -1].sum())


class ConstantEncoder(_NumberEncoder):
    """``f(T, theta) = theta``, one number, into the entry (-1, -1) of the tokens.

    Examples
    --------
    >>> ConstantEncoder().mean(np.zeros((1, 2, 1)), np.array([[1.0], [3.0]]), np.array([0.5, 0.5]))
    array([[[0.], [2.]]])
    """

    _function = staticmethod(np.positive)
    _slope = staticmethod(np.ones_like)


class SineEncoder(_NumberEncoder):
    """``f(T, theta) = sin(theta)`` into the entry (-1, -1) of the tokens.

    Examples
    --------
    >>> SineEncoder().mean(np.zeros((1, 1, 1)), np.array([[0.0], [np.pi / 2]]), np.array([0.5, 0.5]))
    array([[[0.5]]])
    """

    _function = staticmethod(np.sin)
    _slope = staticmethod(np.cos)


class ScalingEncoder:
    """``h(T, u) = u T``: one number multiplies all tokens.

    Examples
    --------
    >>> ScalingEncoder().mean(np.full((1, 1, 1), 5.0), np.array([[1.0], [3.0]]), np.array([0.5, 0.5]))
    array([[[10.]]])
    """

    def n_parameters(self, dimension: int) -> int:
        """One."""
        return 1

    def mean(self, tokens: Array, parameters: Array, weights: Array) -> Array:
        """``sum_j a_j u_j T_b``, shape (B, D, n)."""
        return float(weights @ parameters[:, 0]) * tokens

    def vjp(self, tokens: Array, parameters: Array, weights: Array, cotangent: Array) -> tuple[Array, Array]:
        """The transpose of :meth:`mean` (see :class:`wflow.encoders.Encoder`)."""
        return self.mean(cotangent, parameters, weights), np.full_like(parameters, np.sum(tokens * cotangent))

    def pairing(self, tokens: Array, parameters: Array, cotangent: Array) -> Array:
        """``u_j sum_b <T_b, cotangent_b>``, shape (M,)."""
        return np.asarray(parameters[:, 0] * np.sum(tokens * cotangent))


class FrozenRowEncoder:
    """``f(T, theta) = theta^T psi`` into the entry (-1, -1); the features psi are the entries above it.

    The rows that it reads are frozen: it does not write to them.

    Examples
    --------
    >>> FrozenRowEncoder().mean(np.array([[[2.0], [3.0], [0.0]]]), np.array([[1.0, 10.0]]), np.ones(1))
    array([[[ 0.], [ 0.], [32.]]])
    """

    def n_parameters(self, dimension: int) -> int:
        """D - 1."""
        return dimension - 1

    def mean(self, tokens: Array, parameters: Array, weights: Array) -> Array:
        """``sum_j a_j theta_j^T psi_b`` in the last row of the last token, shape (B, D, n)."""
        out = np.zeros_like(tokens)
        out[:, -1, -1] = tokens[:, :-1, -1] @ (weights @ parameters)
        return out

    def vjp(self, tokens: Array, parameters: Array, weights: Array, cotangent: Array) -> tuple[Array, Array]:
        """The transpose of :meth:`mean` (see :class:`wflow.encoders.Encoder`)."""
        tokens_bar, parameters_bar = np.zeros_like(tokens), np.empty_like(parameters)
        tokens_bar[:, :-1, -1] = np.outer(cotangent[:, -1, -1], weights @ parameters)
        parameters_bar[:] = cotangent[:, -1, -1] @ tokens[:, :-1, -1]
        return tokens_bar, parameters_bar

    def pairing(self, tokens: Array, parameters: Array, cotangent: Array) -> Array:
        """``sum_b theta_j^T psi_b cotangent_b``, shape (M,)."""
        return np.asarray(parameters @ (cotangent[:, -1, -1] @ tokens[:, :-1, -1]))


register(ConstantEncoder, FrozenRowEncoder, ScalingEncoder, SineEncoder)

# Problems


@_factory
def pure_decay(
    rho0: Particles | None = None,
    *,
    layers: int = 4,
    width: int = 8,
    weight_decay: float = 0.5,
    activation: str = "relu",
    depth: str = "split-euler",
    rng: Seed = 0,
) -> Problem:
    """Prompts H = 0: ``beta(tau) = e^{-lambda tau} beta(0)``, whatever the labels.

    Softmax attention and feed-forward without bias vanish at zero tokens together with their gradients in the
    parameters, and the regulariser alone moves the particles.

    Parameters
    ----------
    rho0
        Any measure with blocks theta (S, M, 8), w (S, M', 4); left out, ``width`` particles of law N(0, I).
    layers, depth, weight_decay, activation
        As in :class:`wflow.TransformerObjective` and :class:`wflow.FeedForward`; the activation must vanish at zero.
    rng
        Generator or seed of the particles and labels.

    Raises
    ------
    InputError
        For arguments that do not fit.

    Examples
    --------
    >>> problem = pure_decay(weight_decay=0.5)
    >>> v = problem.energy.velocity(problem.rho0)
    >>> bool(np.allclose(v.theta, -0.5 * problem.rho0.theta))
    True
    """
    rng = check_rng(rng)
    data = Dataset(np.zeros((3, 2, 3)), rng.standard_normal(3), name="zero prompts")
    neurons = FeedForward(activation)
    if neurons.mean(np.zeros((1, 1, 1)), np.ones((1, 2)), np.ones(1)).any():
        raise InputError(f"activation must vanish at zero, which {activation!r} does not")
    energy = TransformerObjective(data, SoftmaxAttention(), neurons, weight_decay, depth=depth, layers=layers)
    weight_decay = energy.weight_decay
    start = energy.prepare(_sample(energy, width, rng) if rho0 is None else rho0)

    def measure(tau: float) -> Particles:
        return start.replace(**{name: np.exp(-weight_decay * tau) * x for name, x in start.blocks.items()})

    return Problem("pure-decay", energy, start, measure, lambda tau: np.zeros(data.n_prompts))


@_factory
def constant_encoders(
    rho0: Particles | None = None,
    *,
    layers: int = 4,
    width: int = 8,
    weight_decay: float = 0.1,
    blocks: Collection[str] = ("theta", "w"),
    depth: str = "split-euler",
    rng: Seed = 0,
) -> Problem:
    """Every head and neuron adds one trainable number to the prediction.

    With ``c = E[Read H - y]``, kappa = (number of blocks)/4, and s half the sum of the blocks' means over
    particles and depth, so that the prediction is Read H + s::

        s(tau) = s* + (s_0 - s*) e^{-(kappa + lambda) tau},  s* = -c kappa/(kappa + lambda),
        beta(tau) = e^{-lambda tau} beta_0 + m(tau)  for every particle,
        m = -1/2 [ (c + s*) (1 - e^{-lambda tau})/lambda
                   + (s_0 - s*) (e^{-lambda tau} - e^{-(kappa + lambda) tau})/kappa ].

    Parameters
    ----------
    rho0
        Any measure with these blocks, each (S, M, 1); left out, ``width`` particles of law N(1, 1).
    blocks
        ``("theta", "w")``, or one of them: the other encoder is absent.
    layers, depth, weight_decay
        As in :class:`wflow.TransformerObjective`.
    rng
        Generator or seed of the particles and the data.

    Raises
    ------
    InputError
        For arguments that do not fit.

    Examples
    --------
    >>> problem = constant_encoders(weight_decay=0.0)
    >>> residual = problem.predictions(50.0) - problem.energy.dataset.labels
    >>> abs(float(residual.mean())) < 1e-10
    True
    """
    rng = check_rng(rng)
    blocks = _check_names(blocks)
    data = Dataset(rng.standard_normal((3, 2, 2)), rng.standard_normal(3), name="constant encoders")
    attention, feedforward = (ConstantEncoder() if name in blocks else None for name in ("theta", "w"))
    energy = TransformerObjective(data, attention, feedforward, weight_decay, depth=depth, layers=layers)
    weight_decay = energy.weight_decay
    start = energy.prepare(_sample(energy, width, rng, mean=1.0) if rho0 is None else rho0)
    before = data.read(data.tokens)
    c, kappa = float(np.mean(before - data.labels)), len(blocks) / 4
    rate = kappa + weight_decay
    s_0, s_inf = 0.5 * float(np.sum(_means(start) @ start.depth_weights)), -c * kappa / rate

    def measure(tau: float) -> Particles:
        decay = np.exp(-weight_decay * tau)
        transient = (s_0 - s_inf) * (decay - np.exp(-rate * tau)) / kappa
        m = -0.5 * ((c + s_inf) * _integral(weight_decay, tau) + transient)
        return start.replace(**{name: decay * x + m for name, x in start.blocks.items()})

    def predictions(tau: float) -> NDArray[np.float64]:
        return np.asarray(before + s_inf + (s_0 - s_inf) * np.exp(-rate * tau))

    return Problem("constant-encoders", energy, start, measure, predictions)


@_factory
def single_token(
    rho0: Particles | None = None,
    *,
    layers: int = 16,
    width: int = 4,
    weight_decay: float = 0.1,
    blocks: Collection[str] = ("theta", "w"),
    depth: str = "rk4-nodes",
    limit: bool = True,
    rng: Seed = 0,
) -> Problem:
    """One token of dimension one: ``f = V T`` (the softmax of one entry is 1, W is unused) and ``h = u T``.

    Then ``T(1) = H P``, ``P = e^S``, ``S = 1/2 int (mean V + mean u) dt``. With ``a = E H^2``,
    ``b = E[H y]``, kappa = (number of blocks)/4 and ``k = 1``::

        S' = -kappa (a P^2 - b P) k - lambda S,
        beta(tau) = e^{-lambda tau} beta_0 + (S - e^{-lambda tau} S_0)/(2 kappa)  for every V and u,

    while W only decays. The scalar equation is integrated by SciPy's DOP853 to a tolerance of 1e-13.

    With ``limit=False`` the solution is that of the L layers themselves, for means that are the same at all
    depths and in both blocks: for split-euler ``P = (1 + x)^{4 kappa L}``, ``k = 1/(1 + x)``,
    ``x = S/(4 kappa L)``; for midpoint ``P = (1 + x + x^2/2)^L``,
    ``k = (1 + x)/(1 + x + x^2/2)``, ``x = S/L``.

    Parameters
    ----------
    rho0
        A measure with blocks theta (S, M, 2) = (V, W) and w (S, M', 1) = u. Left out: ``width`` normal
        particles of standard deviation 1/2, shifted such that V and u have the mean 0.4 in every slice.
    blocks
        ``("theta", "w")``, or one of them: the other encoder is absent.
    limit
        True: the solution for L to infinity; a computation differs by its depth error. False: see above.
    layers, depth, weight_decay
        As in :class:`wflow.TransformerObjective`.
    rng
        Generator or seed of the particles and the data.

    Raises
    ------
    InputError
        For arguments that do not fit; ``limit=False`` with rk4-nodes or with means that vary.

    Examples
    --------
    >>> problem = single_token(layers=8)
    >>> abs(problem.energy.value(problem.rho0) - problem.value(0.0)) < 1e-7
    True
    """
    rng = check_rng(rng)
    blocks = _check_names(blocks)
    data = Dataset(rng.uniform(0.5, 1.5, (4, 1, 1)), rng.uniform(1.5, 2.5, 4), name="single token")
    attention = SoftmaxAttention() if "theta" in blocks else None
    feedforward = ScalingEncoder() if "w" in blocks else None
    energy = TransformerObjective(data, attention, feedforward, weight_decay, depth=depth, layers=layers)
    weight_decay = energy.weight_decay
    if rho0 is None:
        sample = _sample(energy, width, rng, spread=0.5)
        shifted = {name: x - x.mean(axis=1, keepdims=True) + 0.4 for name, x in sample.blocks.items()}
        rho0 = sample.replace(**shifted)
    start = energy.prepare(rho0)
    H, kappa = data.tokens[:, 0, 0], len(blocks) / 4
    a, b = float(np.mean(H**2)), float(np.mean(H * data.labels))
    means = _means(start)
    S_0 = 0.5 * float(np.sum(means @ start.depth_weights))
    lazily = check_boolean("limit", limit)
    factor = _exponential if lazily else _depth_factor(energy.depth, energy.layers, means, start.radius)

    def slope(tau: float, S: NDArray[np.float64]) -> NDArray[np.float64]:
        P, k = factor(S)
        return np.asarray(-kappa * (a * P**2 - b * P) * k - weight_decay * S)

    def measure(tau: float) -> Particles:
        decay = np.exp(-weight_decay * tau)
        m = (_solve_scalar(slope, S_0, tau) - decay * S_0) / (2 * kappa)
        shift = {"theta": np.array([m, 0.0]), "w": np.array([m])}
        return start.replace(**{name: decay * x + shift[name] for name, x in start.blocks.items()})

    def predictions(tau: float) -> NDArray[np.float64]:
        return np.asarray(H * factor(_solve_scalar(slope, S_0, tau))[0])

    return Problem("single-token", energy, start, measure, predictions)


@_factory
def two_layer(
    rho0: Particles | None = None,
    *,
    layers: int = 4,
    width: int = 8,
    weight_decay: float = 0.1,
    depth: str = "split-euler",
    rng: Seed = 0,
) -> Problem:
    """Heads that read frozen rows psi and add ``theta^T psi`` to the prediction: linear regression.

    With ``K = E psi psi^T``, ``k = E[(y - y_0) psi]``, ``y_0 = Read H``, m the mean of theta over particles
    and depth::

        m(tau) = m* + expm(-(K/4 + lambda) tau) (m_0 - m*),  m* = (K/4 + lambda)^{-1} k/2,
        theta(tau) = m(tau) + e^{-lambda tau} (theta_0 - m_0)  for every particle:

    the covariance is ``e^{-2 lambda tau}`` times the initial one, the prediction ``y_0 + m^T psi/2``.

    Parameters
    ----------
    rho0
        Any measure with one block theta (S, M, 3); left out, ``width`` normal particles around (1, 1, 1).
    layers, depth, weight_decay
        As in :class:`wflow.TransformerObjective`.
    rng
        Generator or seed of the particles and the data.

    Raises
    ------
    InputError
        For arguments that do not fit.

    Examples
    --------
    >>> problem = two_layer(weight_decay=0.2)
    >>> before, after = (np.ptp(rho.theta) for rho in (problem.rho0, problem.measure(5.0)))
    >>> bool(after < before)
    True
    """
    rng = check_rng(rng)
    data = Dataset(rng.standard_normal((6, 4, 2)), 2 * rng.standard_normal(6), name="frozen features")
    energy = TransformerObjective(data, FrozenRowEncoder(), None, weight_decay, depth=depth, layers=layers)
    weight_decay = energy.weight_decay
    start = energy.prepare(_sample(energy, width, rng, mean=1.0) if rho0 is None else rho0)
    psi, before = data.tokens[:, :-1, -1], data.read(data.tokens)
    rates, axes = np.linalg.eigh(psi.T @ psi / (4 * data.n_prompts) + weight_decay * np.eye(psi.shape[1]))
    k = psi.T @ (data.labels - before) / data.n_prompts
    m_0 = np.einsum("sm,smp->p", start.mass("theta"), start.theta)

    def mean(tau: float) -> NDArray[np.float64]:
        coordinates = np.exp(-rates * tau) * (axes.T @ m_0) + _integral(rates, tau) * (axes.T @ k) / 2
        return np.asarray(axes @ coordinates)

    def measure(tau: float) -> Particles:
        return start.replace(theta=mean(tau) + np.exp(-weight_decay * tau) * (start.theta - m_0))

    return Problem("two-layer", energy, start, measure, lambda tau: before + 0.5 * psi @ mean(tau))


@_factory
def sine_circle(*, layers: int = 2, width: int = 64, offset: float = 0.3, depth: str = "split-euler") -> Problem:
    """``sin(theta)`` added to the prediction, theta uniform on the circle: a nonlinear, non-Gaussian density.

    Without weight decay, with ``c = E[Read H - y]`` = ``offset`` and ``psi = theta + pi/2``::

        s' = c - 1/2 tanh(s/4) = E r,  s(0) = 0,
        tan(psi/2) = e^{-s/2} tan(psi_0/2)  for every particle,

    a wrapped Cauchy density with ``E sin(theta) = -tanh(s/4)``. The scalar equation is integrated by SciPy's
    DOP853 to a tolerance of 1e-13. The solution is that of the density (M to infinity); equispaced particles,
    which ``rho0`` has, give its averages up to ``tanh(|s|/4)^M``: 1e-14 at most for the default values.

    Parameters
    ----------
    width
        M, the number of equispaced particles.
    offset
        c. For ``|c| < 1/2`` the mean residual goes to zero, ``s`` to ``4 artanh(2 c)``.
    layers, depth
        As in :class:`wflow.TransformerObjective`.

    Raises
    ------
    InputError
        For arguments that do not fit.

    Examples
    --------
    >>> problem = sine_circle(offset=0.3)
    >>> round(float(problem.predictions(1e3)[0]), 12)
    -0.3
    """
    offset, width = check_number("offset", offset), check_integer("width", width)
    check_memory(f"{width} particles", 32 * width, "take a smaller width")
    data = Dataset(np.zeros((2, 1, 1)), np.array([0.5, -0.5]) - offset, name="circle")
    energy = TransformerObjective(data, SineEncoder(), None, depth=depth, layers=layers)
    angles = np.pi * ((2 * np.arange(width) + 1) / width - 1)
    start = energy.prepare(Particles(theta=np.tile(angles[:, None], (energy.rule.n_slices, 1, 1))))

    def s(tau: float) -> float:
        return _solve_scalar(lambda tau, s: offset - 0.5 * np.tanh(s / 4), 0.0, tau)

    def measure(tau: float) -> Particles:
        half = (start.theta + np.pi / 2) / 2
        moved = np.arctan2(np.exp(-s(tau) / 2) * np.sin(half), np.cos(half))
        return start.replace(theta=2 * moved - np.pi / 2)

    return Problem("sine-circle", energy, start, measure, lambda tau: np.full(2, -0.5 * np.tanh(s(tau) / 4)))


#: The factories by name.
PROBLEMS: Mapping[str, Callable[..., Problem]] = {
    "pure-decay": pure_decay,
    "constant-encoders": constant_encoders,
    "single-token": single_token,
    "two-layer": two_layer,
    "sine-circle": sine_circle,
}


def _sample(
    energy: TransformerObjective, width: int, rng: np.random.Generator, mean: float = 0.0, spread: float = 1.0
) -> Particles:
    """Independent normal particles in every depth slice."""
    shape, sizes = (energy.rule.n_slices, check_integer("width", width)), energy.n_parameters
    check_memory(f"{width} particles", 16 * shape[0] * shape[1] * sum(sizes.values()), "take a smaller width")
    blocks: dict[str, Any] = {name: rng.normal(mean, spread, (*shape, p)) for name, p in sizes.items()}
    return Particles(**blocks)


def _means(rho: Particles) -> NDArray[np.float64]:
    """The mean of the first parameter, for every block and depth slice."""
    return np.array([np.sum(rho.weights(name) * x[..., 0], axis=1) for name, x in rho.blocks.items()])


def _check_names(blocks: Collection[str]) -> tuple[str, ...]:
    listed = list(blocks) if isinstance(blocks, Collection) and not isinstance(blocks, str) else []
    names = tuple(name for name in ("theta", "w") if any(isinstance(entry, str) and entry == name for entry in listed))
    if not names or len(names) != len(listed):
        raise InputError(f"blocks must be ('theta', 'w'), ('theta',) or ('w',), got {shown(blocks)}")
    return names


def _integral(rate: Any, tau: float) -> Any:
    """``int_0^tau e^{-rate s} ds``, also at rate 0."""
    rate = np.asarray(rate, dtype=np.float64)
    safe = np.where(rate == 0, 1.0, rate)
    return np.where(rate == 0, tau, -np.expm1(-safe * tau) / safe)


def _solve_scalar(slope: Callable[[float, Any], Any], start: float, tau: float) -> float:
    """The solution at tau of one autonomous equation."""
    from scipy.integrate import solve_ivp

    size = max(abs(start), abs(float(np.asarray(slope(0.0, start)))))
    if tau == 0 or size == 0:
        return start
    atol = 1e-13 * min(1.0, size)
    return float(solve_ivp(slope, (0.0, tau), [start], method="DOP853", rtol=1e-13, atol=atol).y[0, -1])


def _exponential(S: Any) -> tuple[Any, Any]:
    return np.exp(S), 1.0


def _depth_factor(depth: str, layers: int, means: NDArray[np.float64], size: float) -> Callable[[Any], tuple[Any, Any]]:
    """``P`` and ``k`` of :func:`single_token` for L layers of equal means (blocks, L) of particles of this size."""
    if depth not in ("split-euler", "midpoint"):
        raise InputError(f"limit=False is known for the depth rules split-euler and midpoint, got {depth!r}")
    if (spread := float(np.ptp(means))) > 1e-12 * size:
        raise InputError(f"limit=False needs one mean in all slices and blocks, got a range of {spread:.3g}")
    if depth == "split-euler":
        power = means.size
        return lambda S: ((1 + S / power) ** power, 1 / (1 + S / power))

    def midpoint(S: Any) -> tuple[Any, Any]:
        x = S / layers
        growth = 1 + x + x**2 / 2
        return growth**layers, (1 + x) / growth

    return midpoint
