"""The training objective of a mean-field Transformer."""

from __future__ import annotations

__all__ = ["TransformerObjective"]

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wflow.checks import check_array, check_memory, check_nonnegative
from wflow.datasets.dataset import Dataset
from wflow.encoders.protocol import Encoder, check_encoder, optional
from wflow.energies.energy import (
    Energy,
    Evaluation,
    Linearisation,
    check_blocks,
    points_of,
    squared_norm,
)
from wflow.energies.internal import Entropy
from wflow.energies.mobility import Mobility, mobilities_of
from wflow.errors import InputError
from wflow.losses import LOSSES, loss_of
from wflow.measures import Blocks, Measure
from wflow.measures.particles import with_massless
from wflow.network import DEPTH_RULES, DepthRule, Network, depth_rule
from wflow.types import NonNegativeFloat, PositiveFloat, PositiveInt

Array = NDArray[Any]
M = TypeVar("M", bound=Measure)


class TransformerObjective(Energy):
    """The regularised risk of a mean-field Transformer (Gao et al. 2024, section 3).

    ``Q(rho) = R(rho) + lambda/2 int_0^1 int |beta|^2 d rho(beta, t) dt`` with the risk
    ``R = E_mu l(Read T(1), y)``, by default of ``l(u, y) = 1/2 |u - y|^2``, and with
    ``dT/dt = int (f(T, theta) + h(T, w))/2 d rho(theta, w, t)``, ``T(0) = H``.
    Depth is discretised by a rule (see :mod:`wflow.network.rules`); velocities are exact gradients of the objective,
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
    loss
        l, ``"squares"``, ``"logistic"``, ``"cross-entropy"`` or ``"huber"`` (see :mod:`wflow.losses`).
    huber_delta
        Of the loss ``"huber"``: where it turns from squares to absolute values.
    mobility
        ``{name: M}`` with M >= 0, by the name of a group of parameters such as ``"W_K"``, of a block, or
        ``"theta.W_K"`` where both blocks have such a group; a group wins over its block, and what is not named has
        M = 1. Velocities are ``-M grad``, decay included; M = 0 freezes. ``|v|^2`` and every other norm of the flow
        is that of the metric of ``M^{-1}``, so that ``dQ/d tau = -|v|^2`` still holds.

    Raises
    ------
    InputError
        For arguments that do not fit, among them labels that the loss does not understand, and an encoder that returns
        arrays of the wrong shape.

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
    >>> slow = TransformerObjective(data, None, FeedForward("identity"), 0.5, layers=1, mobility={"W_1": 0, "W_2": 4})
    >>> slow.velocity(rho).w, Q.dissipation(rho), slow.dissipation(rho)
    (array([[[-0., -1.]]]), 0.125, 0.25)
    """

    cancels = False

    def __init__(
        self,
        dataset: Dataset,
        attention: Encoder | None = None,
        feedforward: Encoder | None = None,
        weight_decay: NonNegativeFloat = 0.0,
        entropy: NonNegativeFloat = 0.0,
        depth: Annotated[str, tuple(DEPTH_RULES)] = "split-euler",
        layers: PositiveInt = 8,
        loss: Annotated[str, tuple(LOSSES)] = "squares",
        huber_delta: PositiveFloat = 1.0,
        mobility: Mobility | None = None,
    ) -> None:
        if not isinstance(dataset, Dataset):
            raise InputError(f"dataset must be a wflow.Dataset, got {type(dataset).__name__}")
        self.dataset, self.attention, self.feedforward = dataset, attention, feedforward
        self.weight_decay = check_nonnegative("weight_decay", weight_decay)
        self.entropy = check_nonnegative("entropy", entropy)
        self.internal = Entropy(self.entropy) if self.entropy > 0 else None
        self.rule: DepthRule = depth_rule(depth, layers)
        self.depth, self.layers = self.rule.name, self.rule.layers
        self.encoders: dict[str, Encoder] = {}
        for block, encoder in (("theta", attention), ("w", feedforward)):
            if encoder is not None:
                if isinstance(encoder, type):
                    raise InputError(
                        f"the encoder of block {block!r} must be an object such as {encoder.__name__}(), got a class"
                    )
                if optional(encoder, "compiled") is None:
                    check_encoder(block, encoder, dataset.tokens[:1].copy())
                self.encoders[block] = encoder
        if not self.encoders:
            raise InputError("a Transformer needs an encoder: pass attention=, feedforward= or both")
        self.loss_function = loss_of(loss, huber_delta)
        self.loss, self.huber_delta = str(loss), float(huber_delta)
        self._targets = dataset.targets
        self.loss_function.check(self._targets, dataset.name)
        self._risk_at_zero = float(np.mean(self.loss_function.value(np.zeros_like(self._targets), self._targets)))
        self.mobility: dict[str, float] | None = None
        if mobility is not None:
            self.mobilities = mobilities_of(mobility, self.encoders, dataset.dimension)
            self.mobility = dict(mobility)
        numbers = sum(self.n_parameters.values()), 2 * dataset.dimension * dataset.n_tokens  # states and their adjoints
        check_memory(
            f"one particle a slice with {numbers[0]} parameters, and the states of one prompt,",
            8 * (numbers[0] * self.rule.n_slices + numbers[1] * len(self.rule.base)),
            "take fewer layers, or smaller encoders",
        )
        self.network = Network(self.rule, self.encoders, dataset.readout)

    @property
    def n_parameters(self) -> dict[str, int]:
        """p by block."""
        return {block: int(encoder.n_parameters(self.dataset.dimension)) for block, encoder in self.encoders.items()}

    def prepare(self, rho: M) -> M:
        """The measure at the nodes of the depth rule, after checks (see :meth:`Energy.prepare`)."""
        rho = super().prepare(rho)
        check_blocks(rho, self.n_parameters, self.rule.n_slices)
        return rho.at(self.rule.nodes, self.rule.weights)

    def _loss(self, rho: Measure, pairings: bool = False) -> tuple[float, dict[str, Array]]:
        """R and its derivatives (see :meth:`wflow.network.Network.value_and_gradient`)."""
        tokens = self.dataset.tokens.astype(rho.dtype, copy=False)
        return self.network.value_and_gradient(rho, tokens, self._targets, self.loss_function, pairings)

    def _with_risk(self, rho: Measure, risk: float) -> tuple[float, float]:
        """Q, and the size of its terms: that of the risk is its own, and that of the labels with predictions of 0.

        Predictions have the size of the labels, or else make a risk of their size; the rounding of the predictions u
        is that of the risk after multiplication by ``dl/du``, which is at most 1 if the loss does not square.
        """
        value, terms = risk, risk + self._risk_at_zero
        if self.weight_decay:
            norm2 = squared_norm(rho, {name: rho.points(name) for name in rho.blocks})
            decay = 0.5 * self.weight_decay * norm2
            value, terms = value + decay, terms + decay
        if self.internal is not None:
            internal, size = self.internal.of_and_terms(rho)
            value, terms = value + internal, terms + size
        return value, terms

    def evaluate(self, rho: Measure) -> Evaluation:
        """Q, R (``parts["risk"]``) and the velocity in one forward and one adjoint pass."""
        rho = self.prepare(rho)
        risk, velocity = self._loss(rho)
        scale = (-1 / self.rule.weights).astype(rho.dtype)[:, None, None]
        for block, v in velocity.items():
            v *= scale
            v -= self.weight_decay * rho.points(block)
            if block in self.mobilities:
                v *= self.mobilities[block]
        value, terms = self._with_risk(rho, risk)
        return Evaluation(value, Blocks(**velocity), {"risk": risk}, terms)

    def value(self, rho: Measure) -> float:
        """``Q(rho)``, from a forward pass alone."""
        rho = self.prepare(rho)
        return self._with_risk(rho, self.risk(rho))[0]

    def risk(self, rho: Measure, dataset: Dataset | None = None) -> float:
        """``R(rho) = E l(Read T(1), y)`` on the training data, or on another data set of the same format."""
        data = self.dataset if dataset is None else dataset
        self.check_dataset(data)
        u = self.predict(rho, data.tokens).reshape(data.n_prompts, -1)
        return self.loss_function.mean(u, data.targets)

    def check_dataset(self, dataset: Any) -> None:
        """Raise :class:`InputError` unless a data set has the format and readout of the training data.

        Its labels must be ones that the loss understands.
        """
        if not isinstance(dataset, Dataset):
            raise InputError(f"dataset must be a wflow.Dataset, got {type(dataset).__name__}")
        if dataset is not self.dataset and not np.array_equal(dataset.readout, self.dataset.readout):
            raise InputError(
                f"the data set {dataset.name!r} must have the tokens (B, {self.dataset.dimension}, "
                f"{self.dataset.n_tokens}), the number of labels and the readout of the training data"
            )
        self.loss_function.check(dataset.targets, dataset.name)

    def predict(self, rho: Measure, tokens: ArrayLike | None = None) -> NDArray[np.float64]:
        """``Read T(1)`` for the training prompts, or for other prompts (B, D, n): shape (B,) or (B, K)."""
        rho = self.prepare(rho)
        array = self.dataset.tokens if tokens is None else check_array("tokens", tokens, 3, "(B, D, n)")
        if array.shape[1:] != self.dataset.tokens.shape[1:]:
            raise InputError(
                f"tokens must have shape (B, {self.dataset.dimension}, {self.dataset.n_tokens}), got {array.shape}"
            )
        out = self.network.predict(rho, array.astype(rho.dtype, copy=False))
        return out[:, 0] if self.dataset.is_flat else out

    def overflow(self, rho: Measure) -> str:
        """The first prompt and depth at which tokens are no finite numbers, in words; empty where all are."""
        rho = self.prepare(rho)
        return self.network.overflow(rho, self.dataset.tokens.astype(rho.dtype, copy=False))

    def first_variation(self, rho: Measure, points: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """``E <g(T(t), beta), p(t)> + lambda/2 |beta|^2`` (see :meth:`Energy.first_variation`)."""
        rho = self.prepare(rho)
        if points is None:
            return dict(self.linearise(rho).first_variation)
        at = {block: x.astype(rho.dtype, copy=False) for block, x in points_of(rho, points).items()}
        phi = self.linearise(with_massless(rho, at)).first_variation
        return {block: phi[block][:, rho.points(block).shape[1] :] for block in at}

    def linearise(self, rho: Measure) -> Linearisation:
        """Q, R (``parts["risk"]``) and the first variation in one forward and one adjoint pass."""
        rho = self.prepare(rho)
        risk, paired = self._loss(rho, pairings=True)
        phi = {}
        for block, x in self._points(rho).items():
            decay = 0.5 * self.weight_decay * np.sum(x.astype(np.float64) ** 2, axis=2)
            phi[block] = paired[block] / self.rule.weights[:, None] + decay
        value, terms = self._with_risk(rho, risk)
        return Linearisation(value, phi, {"risk": risk}, terms)

    def _points(self, rho: Measure) -> dict[str, Array]:
        return {block: rho.points(block) for block in rho.blocks}
