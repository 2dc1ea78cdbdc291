"""Finite Transformers in plain numpy, with hand-written backpropagation: the thing the PDE is the limit of.

``L`` blocks with ``M`` attention heads and ``M'`` feed-forward neurons each act on a prompt ``H`` of
shape (D, n) by the recursion (``Dt = 1/L``, ``a_j`` and ``b_j`` the particle weights, ``1/M`` and
``1/M'`` unless given)::

    T^0       = H
    T^{l+1/2} = T^l       + Dt/2 sum_j a_j f(T^l,       theta_{l,j})        attention
    T^{l+1}   = T^{l+1/2} + Dt/2 sum_j b_j h(T^{l+1/2}, w_{l,j})            feed-forward

and the prediction is a linear readout of ``T^L``. The objective is the regularised risk::

    R = mean_b loss(Read T^L_b, y_b),  which is 1/2 |Read T^L_b - y_b|^2 for squares
    Q = R + lambda/(2L) sum_l ( sum_j a_j |theta_{l,j}|^2 + sum_j b_j |w_{l,j}|^2 )

and training follows the gradient flow ``d theta_{l,j} / d tau = -m G(theta_{l,j})`` with the Wasserstein
gradient ``G = (a_j / L)^{-1} dQ/d theta_{l,j}``, which is ``M L dQ/d theta_{l,j}`` for equal weights (the
same for ``w``), and the mobility m of every parameter, one unless given. There is no layer norm. Heads are those of
:mod:`validation.heads`, losses those of :mod:`validation.losses`.

Everything here is float64 or float32 numpy (the dtype of the particles decides), it loops over layers and,
some heads at a time, over heads, and it prefers being readable to being fast: the states of all layers are
stored, what happens inside a block is computed again on the way back. The shapes are ``theta`` (L, M, p),
``w`` (L, M', q), tokens (B, D, n), labels (B,) or (B, K), readout (K, D, n).

References
----------
Gao, Cao, Li, He, Wang, Liu, Klusowski, Fan, "Global Convergence in Training Large-Scale Transformers",
NeurIPS 2024, arXiv 2410.23610.
"""

from __future__ import annotations

__all__ = ["ACTIVATIONS", "FiniteTransformer", "History", "Prompts"]

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import erf, expit

from validation.heads import DISTANCES, KERNELS, Head, Mask, sum_of_outer
from validation.losses import LOSSES, loss_and_slope

Array = NDArray[np.floating[Any]]

#: Particles of an encoder or their weights; None for those of an absent encoder, and for equal weights.
Block = Array | None

#: Heads are treated together as long as the tokens of all prompts, once a head, are about so many numbers.
HEAD_NUMBERS: Final = 2**16


class Prompts(Protocol):
    """What is needed of a data set: tokens (B, D, n), labels (B,) or (B, K), readout (K, D, n)."""

    @property
    def tokens(self) -> Array:
        """The prompts, shape (B, D, n)."""

    @property
    def labels(self) -> Array:
        """The labels, shape (B,) or (B, K)."""

    @property
    def readout(self) -> Array:
        """The linear readout, shape (K, D, n)."""


@dataclass(frozen=True)
class History:
    """What a training run leaves behind.

    ``tau``, ``energy`` (Q), ``risk`` (R) and ``dissipation`` (the squared norm of the velocity in the metric of
    the flow, ``1/L sum_l sum_j a_j <G_{l,j}, m G_{l,j}>`` over both kinds of particles) have one entry before
    every step and one after the last, shape (steps + 1,), and ``predictions`` have shape (steps + 1, B, K).
    ``theta`` and ``w`` are the final particles.
    """

    tau: Array
    energy: Array
    risk: Array
    dissipation: Array
    predictions: Array
    theta: Block
    w: Block


def _normal_cdf(x: Array) -> Array:
    return np.asarray(0.5 * (1.0 + erf(x * math.sqrt(0.5))))


def _huberized_relu(x: Array) -> Array:
    # With c = x clipped to [0, 1] the three pieces 0, x^2/2, x - 1/2 are one expression.
    c = np.clip(x, 0.0, 1.0)
    return np.asarray(c * (x - 0.5 * c))


def _gelu_derivative(x: Array) -> Array:
    return np.asarray(_normal_cdf(x) + x * np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi))


ACTIVATIONS: Final[dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]]] = {
    "relu": (lambda x: np.maximum(x, 0.0), lambda x: (x > 0).astype(x.dtype)),  # derivative 0 at 0
    "huberized-relu": (_huberized_relu, lambda x: np.clip(x, 0.0, 1.0)),
    "tanh": (np.tanh, lambda x: 1.0 - np.tanh(x) ** 2),
    "gelu": (lambda x: x * _normal_cdf(x), _gelu_derivative),
    "sigmoid": (expit, lambda x: expit(x) * expit(-x)),
    "silu": (lambda x: x * expit(x), lambda x: expit(x) * (1.0 + x * expit(-x))),
    "elu": (lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0.0))), lambda x: np.exp(np.minimum(x, 0.0))),
    "softplus": (lambda x: np.logaddexp(x, 0.0), expit),
    "identity": (lambda x: x, np.ones_like),
}
"""The activations by name, each with its derivative.

``"huberized-relu"`` is 0 for x <= 0, x^2/2 for 0 <= x <= 1 and x - 1/2 for x >= 1; ``"gelu"`` is x Phi(x)
with the distribution function Phi of the standard normal law; ``"silu"`` is x sigmoid(x), ``"elu"`` e^x - 1 for
x <= 0 and x beyond, ``"softplus"`` log(1 + e^x).
"""

# Explicit one-step methods: for each further stage the coefficients of the earlier ones, then those of
# the step.
_METHODS: Final[dict[str, tuple[tuple[tuple[float, ...], ...], tuple[float, ...]]]] = {
    "gd": ((), (1.0,)),
    "heun": (((1.0,),), (1 / 2, 1 / 2)),
    "rk4": (((1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)),
    "dopri5": (
        (
            (1 / 5,),
            (3 / 40, 9 / 40),
            (44 / 45, -56 / 15, 32 / 9),
            (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
            (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        ),
        (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    ),
}


def _split(flat: Array, shapes: Sequence[tuple[int, int]]) -> tuple[Array, ...]:
    """Cut the last axis into matrices of these shapes, each stored row by row."""
    ends = np.cumsum([rows * columns for rows, columns in shapes])
    parts = np.split(flat, ends[:-1], axis=-1)
    return tuple(part.reshape(*flat.shape[:-1], *shape) for part, shape in zip(parts, shapes))


class _Layers(NamedTuple):
    """Checked particles and weights: theta (L, M, p) with a (L, M), w (L, M', q) with b (L, M')."""

    theta: Block
    a: Array
    w: Block
    b: Array
    L: int
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class FiniteTransformer:
    """The architecture of a finite Transformer; widths, depth and token dimension come with the particles.

    Parameters
    ----------
    attention
        ``"full"``: ``f = V Z softmax_col(Z^T W Z)``, ``theta = [V (D x D), W (D x D)]``. ``"factored"``:
        ``f = W_O W_V Z softmax_col((W_K Z)^T (W_Q Z))``,
        ``theta = [W_V (r x D), W_O (D x r), W_K (r x D), W_Q (r x D)]``. None: no attention, f = 0.
    feedforward
        The activation of ``h = W_2 act(W_1 Z)``, one of :data:`ACTIVATIONS`,
        ``w = [W_1 (m x D), W_2 (D x m)]``. None: h = 0. All matrices are flattened row by row.
    hidden
        m, the hidden units of one feed-forward particle.
    bias
        If true, W_1 is m x (D+1) and its last column multiplies a constant one.
    rank
        r of the factored attention; None means D.
    weight_decay
        lambda of the objective, not negative.
    kernel
        One of :data:`validation.heads.KERNELS`; those of Gaussians need factored heads.
    mask
        None, ``"causal"``, ``("local", w)``, or an array ``m[j, i]`` of 0 and 1: whether the query i sees the key j.
    scale
        s, which multiplies all scores.
    loss
        One of :data:`validation.losses.LOSSES`.
    huber_delta
        Where the slope of the Huber loss stops growing.
    mobility
        Not negative numbers by name: of a block (``"theta"``, ``"w"``), of a matrix (``"V"``, ``"W"``, ``"W_V"``,
        ``"W_O"``, ``"W_K"``, ``"W_Q"``, ``"W_1"``, ``"W_2"``) or of both (``"theta.V"``), the later one being the
        stronger; 1 for all others.

    Notes
    -----
    The particles of an absent encoder are None; its half step is left out, the other one keeps its factor
    ``Dt/2``.

    Particle weights ``theta_weights`` have shape (L, M) or (M,) and should sum to one in every layer. That is
    not enforced, so that Q can be differentiated in the weights. The same holds for ``w_weights``.

    Examples
    --------
    One block, one head, one token: the softmax of a single score is one, so ``f = V T`` and
    ``T^1 = (1 + V/2) H``.

    >>> import numpy as np
    >>> from types import SimpleNamespace
    >>> model = FiniteTransformer(attention="full")
    >>> data = SimpleNamespace(tokens=np.full((1, 1, 1), 2.0), labels=np.zeros(1), readout=np.ones((1, 1, 1)))
    >>> theta = np.array([[[3.0, 7.0]]])
    >>> model.predict(theta, None, data)
    array([[5.]])
    >>> model.value(theta, None, data)
    (12.5, 12.5)
    >>> model.gradient(theta, None, data)[0]
    array([[[5., 0.]]])
    """

    attention: Literal["full", "factored"] | None = "full"
    feedforward: str | None = None
    hidden: int = 1
    bias: bool = False
    rank: int | None = None
    weight_decay: float = 0.0
    kernel: str = "softmax"
    mask: Mask = None
    scale: float = 1.0
    loss: str = "squares"
    huber_delta: float = 1.0
    mobility: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if self.attention not in (None, "full", "factored"):
            raise ValueError(f"attention must be 'full', 'factored' or None, got {self.attention!r}")
        if self.feedforward is not None and self.feedforward not in ACTIVATIONS:
            names = ", ".join(ACTIVATIONS)
            raise ValueError(f"feedforward must be None or one of {names}, got {self.feedforward!r}")
        if self.attention is None and self.feedforward is None:
            raise ValueError("a Transformer needs attention or feedforward, got None for both")
        if self.hidden < 1 or (self.rank is not None and self.rank < 1):
            raise ValueError(f"hidden and rank must be at least 1, got {self.hidden} and {self.rank}")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise ValueError(f"weight_decay must be finite and not negative, got {self.weight_decay}")
        if self.kernel not in KERNELS or (self.kernel in DISTANCES and self.attention == "full"):
            raise ValueError(f"kernel must be one of {', '.join(KERNELS)}, Gaussians factored, got {self.kernel!r}")
        if self.loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, got {self.loss!r}")
        if unknown := set(self.mobility or {}) - {name for names in self._names().values() for name in sum(names, ())}:
            raise ValueError(f"mobility has no such block or matrix: {', '.join(sorted(unknown))}")

    # Parameters

    def attention_matrices(self, theta: ArrayLike, D: int) -> tuple[Array, ...]:
        """The matrices in flat attention particles.

        Parameters
        ----------
        theta
            Shape (..., p).
        D
            The token dimension.

        Returns
        -------
        tuple of Array
            (V, W) of shape (..., D, D), or (W_V, W_O, W_K, W_Q) with W_O of shape (..., D, r) and the others
            (..., r, D).

        Examples
        --------
        >>> V, W = FiniteTransformer("full").attention_matrices([1, 2, 3, 4, 5, 6, 7, 8], D=2)
        >>> W
        array([[5, 6],
               [7, 8]])
        """
        return _split(np.asarray(theta), self._attention_shapes(D))

    def feedforward_matrices(self, w: ArrayLike, D: int) -> tuple[Array, ...]:
        """The matrices (W_1, W_2) in flat feed-forward particles of shape (..., q).

        Returns
        -------
        tuple of Array
            W_1 of shape (..., m, D) or, with a bias, (..., m, D+1), and W_2 of shape (..., D, m).

        Examples
        --------
        >>> W_1, W_2 = FiniteTransformer(None, "relu", bias=True).feedforward_matrices([1, 2, 3, 4, 5], D=2)
        >>> W_1, W_2.T
        (array([[1, 2, 3]]), array([[4, 5]]))
        """
        return _split(np.asarray(w), self._feedforward_shapes(D))

    def n_parameters(self, D: int) -> tuple[int, int]:
        """(p, q), the numbers of parameters of one head and of one neuron; 0 for an absent encoder.

        Examples
        --------
        >>> FiniteTransformer("factored", "relu", rank=2, bias=True).n_parameters(5)
        (40, 11)
        """
        p = sum(r * c for r, c in self._attention_shapes(D)) if self.attention else 0
        q = sum(r * c for r, c in self._feedforward_shapes(D)) if self.feedforward else 0
        return p, q

    def mobilities(self, D: int) -> tuple[Array, Array]:
        """The mobility of every parameter of one head, (p,), and of one neuron, (q,).

        Examples
        --------
        >>> FiniteTransformer("full", mobility={"theta": 2, "W": 0}).mobilities(1)[0]
        array([2., 0.])
        """
        given, out = self.mobility or {}, []
        shapes = {"theta": self._attention_shapes(D), "w": self._feedforward_shapes(D)}
        for block, names in self._names().items():
            speeds = [next((given[name] for name in reversed(of) if name in given), 1.0) for of in names]
            parts = [np.full(rows * columns, speed) for speed, (rows, columns) in zip(speeds, shapes[block])]
            out.append(np.concatenate([np.empty(0), *parts]))
        return out[0], out[1]

    def _names(self) -> dict[str, list[tuple[str, ...]]]:
        """The names that a mobility may have, by block and matrix, the weakest first."""
        heads = ("V", "W") if self.attention == "full" else ("W_V", "W_O", "W_K", "W_Q")
        matrices = {"theta": heads if self.attention else (), "w": ("W_1", "W_2") if self.feedforward else ()}
        return {block: [(block, x, f"{block}.{x}") for x in names] for block, names in matrices.items()}

    def _attention_shapes(self, D: int) -> list[tuple[int, int]]:
        r = D if self.rank is None else self.rank
        return [(D, D), (D, D)] if self.attention == "full" else [(r, D), (D, r), (r, D), (r, D)]

    def _feedforward_shapes(self, D: int) -> list[tuple[int, int]]:
        return [(self.hidden, D + int(self.bias)), (D, self.hidden)]

    # Evaluation

    def forward(
        self, theta: Block, w: Block, tokens: Array, theta_weights: Block = None, w_weights: Block = None
    ) -> list[Array]:
        """All states ``[T^0, T^{1/2}, T^1, ..., T^L]`` of the recursion, 2L+1 arrays of shape (B, D, n).

        Examples
        --------
        Two neurons ``h = 2 Z`` and ``h = 4 Z`` in the only block: ``T^{1/2} = H``, ``T^1 = H + 1/2 * 3 H``.

        >>> model = FiniteTransformer(None, "identity")
        >>> states = model.forward(None, np.array([[[1.0, 2.0], [1.0, 4.0]]]), np.full((1, 1, 1), 2.0))
        >>> [T.item() for T in states]
        [2.0, 2.0, 5.0]
        """
        layers = self._check(theta, w, tokens.shape[1], theta_weights, w_weights)
        return self._states(layers, np.asarray(tokens, dtype=layers.dtype))

    def predict(
        self, theta: Block, w: Block, data: Prompts, theta_weights: Block = None, w_weights: Block = None
    ) -> Array:
        """The predictions ``Read T^L``, shape (B, K); the labels of the data are not used.

        Examples
        --------
        >>> from types import SimpleNamespace
        >>> data = SimpleNamespace(tokens=np.array([[[3.0]], [[-3.0]]]), readout=np.ones((1, 1, 1)))
        >>> FiniteTransformer(None, "relu").predict(None, np.array([[[1.0, 2.0]]]), data).ravel()
        array([ 6., -3.])
        """
        return _read(self.forward(theta, w, data.tokens, theta_weights, w_weights)[-1], data)

    def value(
        self, theta: Block, w: Block, data: Prompts, theta_weights: Block = None, w_weights: Block = None
    ) -> tuple[float, float]:
        """The objective and the risk, ``(Q, R)``.

        Examples
        --------
        With zero parameters the prediction is the entry read of the prompt itself.

        >>> from types import SimpleNamespace
        >>> data = SimpleNamespace(tokens=np.ones((2, 1, 1)), labels=np.array([3.0, 1.0]),
        ...                        readout=np.ones((1, 1, 1)))
        >>> FiniteTransformer("full").value(np.zeros((4, 2, 2)), None, data)
        (1.0, 1.0)
        """
        layers = self._check(theta, w, data.tokens.shape[1], theta_weights, w_weights)
        T = self._states(layers, np.asarray(data.tokens, dtype=layers.dtype))[-1]
        risk, _ = loss_and_slope(self.loss, _read(T, data), data.labels, self.huber_delta)
        return self._objective(layers, risk)

    def gradient(
        self, theta: Block, w: Block, data: Prompts, theta_weights: Block = None, w_weights: Block = None
    ) -> tuple[Block, Block]:
        """The gradient in the metric of the flow, ``(m G_theta, m G_w)``, weight decay included: minus the velocity.

        ``G = (a_j / L)^{-1} dQ/d(particle)``, written so that it exists for ``a_j = 0`` too: from
        ``p^L = sum_k dloss/du_k Read_k``, where ``dloss/du_k = Read_k T^L - y_k`` for squares, backwards through the
        same half steps, one after the other::

            G(w_{l,j})     = 1/2 mean_b grad_w <h(T^{l+1/2}, w_{l,j}), p^{l+1}> + lambda w_{l,j}
            p^{l+1/2}      = p^{l+1}   + Dt/2 sum_j b_j D_T h(T^{l+1/2}, w_{l,j})^* [p^{l+1}]
            G(theta_{l,j}) = 1/2 mean_b grad_theta <f(T^l, theta_{l,j}), p^{l+1/2}> + lambda theta_{l,j}
            p^l            = p^{l+1/2} + Dt/2 sum_j a_j D_T f(T^l, theta_{l,j})^* [p^{l+1/2}]

        Returns
        -------
        tuple
            Arrays of the shapes of ``theta`` and ``w``; None for an absent encoder.

        Examples
        --------
        A neuron ``h = w_2 w_1 Z``: the prediction is ``2 (1 + 1*4/2) = 6``, the residual 1, and
        ``dQ/dw_1 = 1/2 * 1 * w_2 * 2 = 4``, ``dQ/dw_2 = 1/2 * 1 * w_1 * 2 = 1``.

        >>> from types import SimpleNamespace
        >>> data = SimpleNamespace(tokens=np.full((1, 1, 1), 2.0), labels=np.array([5.0]),
        ...                        readout=np.ones((1, 1, 1)))
        >>> FiniteTransformer(None, "identity").gradient(None, np.array([[[1.0, 4.0]]]), data)[1]
        array([[[4., 1.]]])
        """
        return self.value_and_gradient(theta, w, data, theta_weights, w_weights)[2:]

    def value_and_gradient(
        self, theta: Block, w: Block, data: Prompts, theta_weights: Block = None, w_weights: Block = None
    ) -> tuple[float, float, Block, Block]:
        """``(Q, R, m G_theta, m G_w)`` from one pass forwards and one backwards; see :meth:`gradient`.

        Examples
        --------
        >>> from types import SimpleNamespace
        >>> data = SimpleNamespace(tokens=np.zeros((1, 1, 1)), labels=np.zeros(1), readout=np.ones((1, 1, 1)))
        >>> model = FiniteTransformer("full", weight_decay=0.5)
        >>> model.value_and_gradient(np.array([[[1.0, 2.0]]]), None, data)
        (1.25, 0.0, array([[[0.5, 1. ]]]), None)
        """
        layers = self._check(theta, w, data.tokens.shape[1], theta_weights, w_weights)
        energy, risk, G_theta, G_w, _ = self._sweep(layers, data)
        m_theta, m_w = self._mobilities(layers, data)
        return energy, risk, _times(m_theta, G_theta), _times(m_w, G_w)

    # Training

    def train(
        self,
        theta: Block,
        w: Block,
        data: Prompts,
        dtau: ArrayLike,
        steps: int,
        method: Literal["gd", "heun", "rk4", "dopri5"] = "gd",
        theta_weights: Block = None,
        w_weights: Block = None,
    ) -> History:
        """Follow the gradient flow ``d(particle)/d tau = -m G`` with given steps.

        Parameters
        ----------
        dtau
            The step in training time, or all of them, shape (steps,). The step ``theta <- theta - dtau G`` is plain
            gradient descent on Q with the learning rate ``M L dtau`` when the weights are equal.
        steps
            How many; 0 evaluates the initial particles only.
        method
            ``"gd"`` (explicit Euler, order 1), ``"heun"`` (order 2), ``"rk4"`` (order 4) or ``"dopri5"`` (order 5).

        Returns
        -------
        History
            Q, R and the dissipation at all ``steps + 1`` times, and the final particles. The arrays passed in
            are left as they were.

        Examples
        --------
        Prompts of zeros leave the pure decay ``theta' = -lambda theta``, here two steps of ``1 - 0.1``.

        >>> from types import SimpleNamespace
        >>> data = SimpleNamespace(tokens=np.zeros((1, 1, 1)), labels=np.zeros(1), readout=np.ones((1, 1, 1)))
        >>> model = FiniteTransformer("full", weight_decay=1.0)
        >>> history = model.train(np.ones((1, 1, 2)), None, data, dtau=0.1, steps=2)
        >>> history.theta.round(12)
        array([[[0.81, 0.81]]])
        >>> history.tau, history.energy.round(12)
        (array([0. , 0.1, 0.2]), array([1.    , 0.81  , 0.6561]))
        """
        if method not in _METHODS:
            raise ValueError(f"method must be one of {', '.join(_METHODS)}, got {method!r}")
        h = np.broadcast_to(np.asarray(dtau, dtype=float), (steps,)) if steps else np.array([])
        if not (np.isfinite(h).all() and (h > 0).all()):
            raise ValueError(f"dtau must be a positive finite number, got {np.asarray(dtau)}")
        stage_rows, step_row = _METHODS[method]
        layers = self._check(theta, w, data.tokens.shape[1], theta_weights, w_weights)
        a, b = layers.a, layers.b
        m_theta, m_w = self._mobilities(layers, data)
        state: _State = (layers.theta, layers.w)
        records, predictions = [], []
        for step in range(steps + 1):
            here = self._check(*state, data.tokens.shape[1], a, b)
            energy, risk, *first, prediction = self._sweep(here, data)
            records.append((energy, risk, _squared_norm(first[0], a, m_theta) + _squared_norm(first[1], b, m_w)))
            predictions.append(prediction)
            if step == steps:
                break
            gradients: list[_State] = [(_times(m_theta, first[0]), _times(m_w, first[1]))]
            for row in stage_rows:
                gradients.append(self.gradient(*_moved(state, gradients, row, h[step]), data, a, b))
            state = _moved(state, gradients, step_row, h[step])
        energies, risks, dissipations = np.array(records).T
        return History(
            np.concatenate([[0.0], np.cumsum(h)]), energies, risks, dissipations, np.array(predictions), *state
        )

    # The pieces

    def _check(self, theta: Block, w: Block, D: int, theta_weights: Block, w_weights: Block) -> _Layers:
        p, q = self.n_parameters(D)
        _check_particles("theta", theta, p, D)
        _check_particles("w", w, q, D)
        present = [x for x in (theta, w) if x is not None]
        depths = {len(x) for x in present}
        if len(depths) != 1:
            raise ValueError(f"theta and w must have the same number of layers, got {sorted(depths)}")
        dtype = np.result_type(np.float32, *present)  # whole numbers become float64
        theta, w = (None if x is None else np.asarray(x, dtype=dtype) for x in (theta, w))
        a, b = _weights(theta, theta_weights, dtype), _weights(w, w_weights, dtype)
        return _Layers(theta, a, w, b, len(present[0]), dtype)

    def _states(self, layers: _Layers, tokens: Array) -> list[Array]:
        half_step = 0.5 / layers.L
        states = [tokens]
        for l in range(layers.L):
            T = states[-1]
            if layers.theta is not None:
                T = T + half_step * self._attention_mean(T, layers.theta[l], layers.a[l])
            states.append(T)
            if layers.w is not None:
                T = T + half_step * self._feedforward_mean(T, layers.w[l], layers.b[l])
            states.append(T)
        return states

    def _sweep(self, layers: _Layers, data: Prompts) -> tuple[float, float, Block, Block, Array]:
        """Q, R, both G without mobility, and the predictions (B, K): one pass forwards and one backwards."""
        states = self._states(layers, np.asarray(data.tokens, dtype=layers.dtype))
        prediction = _read(states[-1], data)
        risk, slope = loss_and_slope(self.loss, prediction, data.labels, self.huber_delta)
        energy, risk = self._objective(layers, risk)

        G_theta = None if layers.theta is None else np.empty_like(layers.theta)
        G_w = None if layers.w is None else np.empty_like(layers.w)
        half_step, half_mean = 0.5 / layers.L, 0.5 / len(slope)
        p = np.einsum("bk,kdi->bdi", slope, np.asarray(data.readout, dtype=layers.dtype))
        for l in reversed(range(layers.L)):
            if layers.w is not None and G_w is not None:
                T_bar, w_bar = self._feedforward_vjp(states[2 * l + 1], p, layers.w[l], layers.b[l])
                G_w[l] = half_mean * w_bar + self.weight_decay * layers.w[l]
                p = p + half_step * T_bar
            if layers.theta is not None and G_theta is not None:
                T_bar, theta_bar = self._attention_vjp(states[2 * l], p, layers.theta[l], layers.a[l])
                G_theta[l] = half_mean * theta_bar + self.weight_decay * layers.theta[l]
                p = p + half_step * T_bar
        return energy, risk, G_theta, G_w, prediction

    def _mobilities(self, layers: _Layers, data: Prompts) -> tuple[Array, Array]:
        m_theta, m_w = self.mobilities(data.tokens.shape[1])
        return m_theta.astype(layers.dtype), m_w.astype(layers.dtype)

    def _objective(self, layers: _Layers, risk: float) -> tuple[float, float]:
        second_moment = _squared_norm(layers.theta, layers.a) + _squared_norm(layers.w, layers.b)
        return risk + 0.5 * self.weight_decay * second_moment, risk

    @property
    def _head(self) -> Head:
        return Head(self.kernel, self.attention == "factored", self.mask, self.scale)

    def _heads(self, Z: Array, theta: Array) -> Iterator[tuple[slice, list[Array]]]:
        """Some heads at a time: which, and their matrices, each (m, 1, rows, columns), to go with Z (B, D, n)."""
        B, D, n = Z.shape
        m = max(1, HEAD_NUMBERS // (B * n * max(D, n)))
        for j in range(0, len(theta), m):
            yield slice(j, j + m), [x[:, None] for x in self.attention_matrices(theta[j : j + m], D)]

    def _attention_mean(self, Z: Array, theta: Array, a: Array) -> Array:
        """``sum_j a_j f(Z, theta_j)``, shape (B, D, n)."""
        mean = np.zeros_like(Z)
        for some, matrices in self._heads(Z, theta):
            mean += np.tensordot(a[some], self._head.value(Z, *matrices), axes=1)
        return mean

    def _attention_vjp(self, Z: Array, p: Array, theta: Array, a: Array) -> tuple[Array, Array]:
        """``sum_j a_j D_Z f(Z, theta_j)^* [p]`` and, without a_j, ``sum_b grad <f(Z_b, theta_j), p_b>``."""
        Z_bar, theta_bar = np.zeros_like(Z), np.empty_like(theta)
        for some, matrices in self._heads(Z, theta):
            Z_bar_j, matrices_bar = self._head.vjp(Z, p, *matrices)
            theta_bar[some] = np.concatenate([x.reshape(len(x), -1) for x in matrices_bar], axis=1)
            Z_bar += np.tensordot(a[some], Z_bar_j, axes=1)
        return Z_bar, theta_bar

    def _stacked_neurons(self, Z: Array, w: Array) -> tuple[Array, Array, Array]:
        """The M' neurons of m units as one of M' m units: its input (B, D or D+1, n), W_1, W_2 (D, M' m)."""
        D = Z.shape[1]
        W_1, W_2 = self.feedforward_matrices(w, D)
        X = np.concatenate([Z, np.ones_like(Z[:, :1])], axis=1) if self.bias else Z
        return X, W_1.reshape(-1, W_1.shape[-1]), W_2.transpose(1, 0, 2).reshape(D, -1)

    def _feedforward_mean(self, Z: Array, w: Array, b: Array) -> Array:
        """``sum_j b_j h(Z, w_j)``, shape (B, D, n)."""
        assert self.feedforward is not None
        act, _ = ACTIVATIONS[self.feedforward]
        X, W_1, W_2 = self._stacked_neurons(Z, w)
        return np.asarray((W_2 * np.repeat(b, self.hidden)) @ act(W_1 @ X))

    def _feedforward_vjp(self, Z: Array, p: Array, w: Array, b: Array) -> tuple[Array, Array]:
        """``sum_j b_j D_Z h(Z, w_j)^* [p]`` and, without b_j, ``sum_b grad <h(Z_b, w_j), p_b>``.

        With ``U = W_1 Z`` and ``q = act'(U) o (W_2^T p)``: ``grad W_2 = p act(U)^T``, ``grad W_1 = q Z^T``,
        ``D_Z h^* [p] = W_1^T q``.
        """
        assert self.feedforward is not None
        act, derivative = ACTIVATIONS[self.feedforward]
        M, m, D = len(w), self.hidden, Z.shape[1]
        X, W_1, W_2 = self._stacked_neurons(Z, w)
        U = W_1 @ X
        q = derivative(U) * (W_2.T @ p)
        W_1_bar = sum_of_outer(q, X).reshape(M, -1)
        W_2_bar = sum_of_outer(p, act(U)).reshape(D, M, m).transpose(1, 0, 2).reshape(M, -1)
        # The constant one of the bias does not depend on Z: its column of W_1 stays behind.
        Z_bar = (W_1[:, :D] * np.repeat(b, m)[:, None]).T @ q
        return Z_bar, np.concatenate([W_1_bar, W_2_bar], axis=1)


_State = tuple[Block, Block]


def _moved(state: _State, gradients: Sequence[_State], row: Sequence[float], dtau: float) -> _State:
    """``x - dtau sum_i row_i G_i`` for both kinds of particles."""
    moved: list[Block] = []
    for x, *stages in zip(state, *gradients):
        for c, G in zip(row, stages):
            if x is not None and G is not None and c != 0:
                x = x - float(dtau * c) * G
        moved.append(x)
    return moved[0], moved[1]


def _times(mobility: Array, G: Block) -> Block:
    return None if G is None else mobility * G


def _squared_norm(x: Block, weights: Array, mobility: Array | float = 1.0) -> float:
    """``1/L sum_l sum_j a_{l,j} <x_{l,j}, m x_{l,j}>``; zero for an absent encoder."""
    return 0.0 if x is None else float((weights * (mobility * x**2).sum(axis=-1)).sum()) / len(x)


def _read(T: Array, data: Prompts) -> Array:
    return np.asarray(np.einsum("kdi,bdi->bk", np.asarray(data.readout, dtype=T.dtype), T))


def _check_particles(name: str, particles: Block, size: int, D: int) -> None:
    if particles is None:
        if size:
            raise ValueError(f"{name} must be an array of shape (L, M, {size}), got None")
    elif size == 0:
        raise ValueError(f"{name} must be None, since the encoder it belongs to is absent")
    elif particles.ndim != 3 or particles.shape[2] != size or 0 in particles.shape:
        raise ValueError(f"{name} must have shape (L, M, {size}) for D = {D}, got {particles.shape}")


def _weights(particles: Block, weights: Block, dtype: np.dtype[Any]) -> Array:
    """Weights of shape (L, M), equal ones if none are given, empty ones for an absent encoder."""
    if particles is None:
        return np.empty((0, 0), dtype=dtype)
    shape = particles.shape[:2]
    if weights is None:
        return np.full(shape, 1.0 / shape[1], dtype=dtype)
    return np.broadcast_to(np.asarray(weights, dtype=dtype), shape)
