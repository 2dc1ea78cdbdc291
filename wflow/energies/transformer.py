"""The training objective of a mean-field Transformer."""

from __future__ import annotations

__all__ = ["TransformerObjective"]

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wflow.datasets.dataset import Dataset
from wflow.depth import DepthRule, depth_rule
from wflow.depth import Evaluation as Stage
from wflow.encoders import Encoder, FeedForward, SoftmaxAttention, pairing
from wflow.energies.energy import Energy, Evaluation, Linearisation, check_blocks, squared_norm
from wflow.energies.internal import Entropy
from wflow.errors import InputError, check_array, check_nonnegative
from wflow.measures import Blocks, Measure

Array = NDArray[Any]
M = TypeVar("M", bound=Measure)

#: Prompts travel through the depth in batches whose states take at most this many bytes.
STATE_BYTES = 64 * 2**20


class TransformerObjective(Energy):
    """The regularised risk of a mean-field Transformer (Gao et al. 2024, section 3).

    ``Q(rho) = R(rho) + lambda/2 int_0^1 int |beta|^2 d rho(beta, t) dt`` with the risk
    ``R = E_mu 1/2 |Read T(1) - y|^2`` and ``dT/dt = int (f(T, theta) + h(T, w))/2 d rho(theta, w, t)``, ``T(0) = H``.
    Depth is discretised by a rule (see :mod:`wflow.depth`); velocities are exact gradients of the discrete objective,
    ``v_{l,j} = -(om_l a_{l,j})^{-1} dQ/d beta_{l,j}``, so that ``dQ/d tau = -|v|^2`` to round-off. With
    ``depth="split-euler"`` it is the objective of the finite Transformer with L layers and M heads and neurons.

    Parameters
    ----------
    dataset
        Prompts, labels and readout.
    attention, feedforward
        The encoders of the blocks ``theta`` and ``w`` (see :class:`wflow.encoders.Encoder`); None for an absent one.
    weight_decay
        lambda >= 0.
    entropy
        sigma >= 0, the strength of the entropy ``sigma int (int rho_theta log rho_theta + int rho_w log rho_w) dt``
        (mean-field Langevin). It becomes ``internal`` and needs a scheme that treats it.
    depth, layers
        The depth rule and its number of layers L.

    Raises
    ------
    InputError
        For arguments that do not fit, among them an encoder that returns arrays of the wrong shape.

    Examples
    --------
    >>> from wflow import Dataset, FeedForward, Particles
    >>> data = Dataset(np.ones((1, 1, 1)), [2.0])
    >>> Q = TransformerObjective(data, feedforward=FeedForward("identity"), weight_decay=0.5, layers=1)
    >>> rho = Particles(w=[[[1.0, 1.0]]])
    >>> Q.predict(rho), Q.risk(rho), Q.value(rho)
    (array([1.5]), 0.125, 0.625)
    >>> Q.velocity(rho).w
    array([[[-0.25, -0.25]]])
    """

    def __init__(
        self,
        dataset: Dataset,
        attention: Encoder | None = None,
        feedforward: Encoder | None = None,
        weight_decay: float = 0.0,
        entropy: float = 0.0,
        depth: str = "split-euler",
        layers: int = 8,
    ) -> None:
        if not isinstance(dataset, Dataset):
            raise InputError(f"dataset must be a wflow.Dataset, got {type(dataset).__name__}")
        self.dataset = dataset
        self.weight_decay = check_nonnegative("weight_decay", weight_decay)
        self.internal = Entropy(entropy) if check_nonnegative("entropy", entropy) > 0 else None
        self.rule: DepthRule = depth_rule(depth, layers)
        self.encoders: dict[str, Encoder] = {}
        for block, encoder in (("theta", attention), ("w", feedforward)):
            if encoder is not None:
                if type(encoder) not in (SoftmaxAttention, FeedForward):
                    _check_encoder(block, encoder, dataset)
                self.encoders[block] = encoder
        if not self.encoders:
            raise InputError("a Transformer needs an encoder: pass attention=, feedforward= or both")

    @property
    def n_parameters(self) -> dict[str, int]:
        """p by block."""
        return {block: int(encoder.n_parameters(self.dataset.dimension)) for block, encoder in self.encoders.items()}

    def prepare(self, rho: M) -> M:
        """The measure at the nodes of the depth rule, after checks (see :meth:`Energy.prepare`)."""
        if not isinstance(rho, Measure):
            raise InputError(f"expected a measure such as wflow.Particles, got {type(rho).__name__}")
        check_blocks(rho, self.n_parameters, self.rule.n_slices)
        return rho.at(self.rule.nodes, self.rule.weights)

    def _batches(self, tokens: Array) -> list[slice]:
        """Prompts in batches of bounded memory; their sizes are a function of the problem alone."""
        bytes_each = 3 * len(self.rule.base) * tokens[0].size * tokens.itemsize
        size = max(1, STATE_BYTES // bytes_each)
        return [slice(start, start + size) for start in range(0, len(tokens), size)]

    def _forward(self, rho: Measure, tokens: Array) -> list[Array]:
        def mean(stage: Stage, state: Array) -> Array | None:
            if stage.block not in self.encoders:
                return None
            parameters = rho.points(stage.block)[stage.slice]
            return self.encoders[stage.block].mean(state, parameters, rho.weights(stage.block)[stage.slice])

        return self.rule.forward(tokens, mean)

    def _pass(self, rho: Measure, pull: Any) -> float:
        """Forward and adjoint through the depth; ``pull(stage, state, cotangent)`` as in the depth rule. Returns R."""
        data, risk = self.dataset, 0.0
        tokens = data.tokens.astype(rho.dtype, copy=False)
        labels = data.labels.reshape(data.n_prompts, -1)
        for batch in self._batches(tokens):
            states = self._forward(rho, tokens[batch])
            residual = data.read(states[-1]).reshape(-1, data.n_labels) - labels[batch]
            risk += 0.5 * float(np.sum(residual**2)) / data.n_prompts
            cotangent = np.tensordot(residual / data.n_prompts, data.readout, axes=1).astype(rho.dtype)
            self.rule.adjoint(states, cotangent, pull)
        return risk

    def _regulariser(self, rho: Measure) -> float:
        """All of Q but the risk."""
        internal = 0.0 if self.internal is None else self.internal.of(rho)
        if not self.weight_decay:
            return internal
        return internal + 0.5 * self.weight_decay * squared_norm(rho, {name: rho.points(name) for name in rho.blocks})

    def evaluate(self, rho: Measure) -> Evaluation:
        """Q, R (``parts["risk"]``) and the velocity in one forward and one adjoint pass."""
        rho = self.prepare(rho)
        gradient = {block: np.zeros(rho.points(block).shape, rho.dtype) for block in rho.blocks}

        def pull(stage: Stage, state: Array, cotangent: Array) -> Array | None:
            if stage.block not in self.encoders:
                return None
            parameters, weights = rho.points(stage.block)[stage.slice], rho.weights(stage.block)[stage.slice]
            state_bar, slope = self.encoders[stage.block].vjp(state, parameters, weights, cotangent)
            gradient[stage.block][stage.slice] += slope
            return state_bar

        risk = self._pass(rho, pull)
        scale = (-1 / self.rule.weights).astype(rho.dtype)[:, None, None]
        velocity = {block: scale * g - self.weight_decay * rho.points(block) for block, g in gradient.items()}
        return Evaluation(risk + self._regulariser(rho), Blocks(**velocity), {"risk": risk})

    def value(self, rho: Measure) -> float:
        """``Q(rho)``, from a forward pass alone."""
        rho = self.prepare(rho)
        return self.risk(rho) + self._regulariser(rho)

    def risk(self, rho: Measure, dataset: Dataset | None = None) -> float:
        """``R(rho) = E 1/2 |Read T(1) - y|^2`` on the training data, or on another data set of the same format."""
        data = self.dataset if dataset is None else dataset
        return data.risk(self.predict(rho, data.tokens))

    def predict(self, rho: Measure, tokens: ArrayLike | None = None) -> NDArray[np.float64]:
        """``Read T(1)`` for the training prompts, or for other prompts (B, D, n): shape (B,) or (B, K)."""
        rho = self.prepare(rho)
        given = self.dataset.tokens if tokens is None else check_array("tokens", tokens, 3, "(B, D, n)")
        if given.shape[1:] != self.dataset.tokens.shape[1:]:
            raise InputError(
                f"tokens must have shape (B, {self.dataset.dimension}, {self.dataset.n_tokens}), got {given.shape}"
            )
        array = given.astype(rho.dtype, copy=False)
        return np.concatenate([self.dataset.read(self._forward(rho, array[b])[-1]) for b in self._batches(array)])

    def first_variation(self, rho: Measure, points: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """``E <g(T(t), beta), p(t)> + lambda/2 |beta|^2`` (see :meth:`Energy.first_variation`)."""
        rho = self.prepare(rho)
        at: dict[str, Array] = {}
        for block in rho.blocks:
            x = rho.points(block) if points is None or block not in points else np.asarray(points[block], rho.dtype)
            if x.ndim != 3 or x.shape[::2] != rho.points(block).shape[::2]:
                raise InputError(
                    f"points of {block} must have shape (S, M, p) like {rho.points(block).shape}, got {x.shape}"
                )
            at[block] = x
        return self._vary(rho, at)[1]

    def linearise(self, rho: Measure) -> Linearisation:
        """Q, R (``parts["risk"]``) and the first variation in one forward and one adjoint pass."""
        rho = self.prepare(rho)
        risk, phi = self._vary(rho, {block: rho.points(block) for block in rho.blocks})
        return Linearisation(risk + self._regulariser(rho), phi, {"risk": risk})

    def _vary(self, rho: Measure, at: Mapping[str, Array]) -> tuple[float, dict[str, Array]]:
        """R and the first variation at points."""
        phi = {block: np.zeros(x.shape[:2]) for block, x in at.items()}

        def pull(stage: Stage, state: Array, cotangent: Array) -> Array | None:
            if stage.block not in self.encoders:
                return None
            encoder, parameters = self.encoders[stage.block], rho.points(stage.block)[stage.slice]
            phi[stage.block][stage.slice] += pairing(encoder, state, at[stage.block][stage.slice], cotangent)
            return encoder.vjp(state, parameters, rho.weights(stage.block)[stage.slice], cotangent)[0]

        risk = self._pass(rho, pull)
        decay = {block: 0.5 * self.weight_decay * np.sum(x.astype(np.float64) ** 2, axis=2) for block, x in at.items()}
        return risk, {block: value / self.rule.weights[:, None] + decay[block] for block, value in phi.items()}


def _check_encoder(block: str, encoder: Any, dataset: Dataset) -> None:
    """Try an encoder on one prompt and two particles, so that a wrong shape is found before any work is done."""
    name = f"the encoder {type(encoder).__name__} of block {block!r}"
    if missing := [m for m in ("n_parameters", "mean", "vjp") if not callable(getattr(encoder, m, None))]:
        raise InputError(f"{name} has no method {missing[0]}; see wflow.encoders.Encoder")
    p = encoder.n_parameters(dataset.dimension)
    if not isinstance(p, (int, np.integer)) or p < 1:
        raise InputError(f"{name}: n_parameters({dataset.dimension}) must be a positive integer, got {p!r}")
    tokens, particles, weights = dataset.tokens[:1].copy(), np.full((2, int(p)), 0.1), np.full(2, 0.5)
    results = [("mean", encoder.mean(tokens, particles, weights), tokens.shape)]
    pulled = encoder.vjp(tokens, particles, weights, np.ones_like(tokens))
    if not isinstance(pulled, tuple) or len(pulled) != 2:
        raise InputError(f"{name}: vjp must return the pair (tokens_bar, parameters_bar), got {type(pulled).__name__}")
    results += [("vjp: tokens_bar", pulled[0], tokens.shape), ("vjp: parameters_bar", pulled[1], particles.shape)]
    if callable(getattr(encoder, "pairing", None)):
        results.append(("pairing", encoder.pairing(tokens, particles, np.ones_like(tokens)), (2,)))
    for method, array, shape in results:
        if np.shape(array) != shape:
            raise InputError(f"{name}: {method} must have shape {shape}, got {np.shape(array)}")
