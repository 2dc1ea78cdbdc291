"""The training objective of a mean-field Transformer."""

from __future__ import annotations

__all__ = ["TransformerObjective"]

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wflow.checks import check_array, check_nonnegative
from wflow.datasets.dataset import Dataset
from wflow.depth import Cut, DepthRule, depth_rule
from wflow.depth import Evaluation as Stage
from wflow.encoders import Encoder, FeedForward, SoftmaxAttention
from wflow.encoders.protocol import Packed, pack, packs, zeroed
from wflow.energies.energy import Energy, Evaluation, Linearisation, check_blocks, squared_norm
from wflow.energies.internal import Entropy
from wflow.energies.passes import Passes, States
from wflow.errors import InputError
from wflow.measures import Blocks, Measure

Array = NDArray[Any]
M = TypeVar("M", bound=Measure)

#: Prompts travel through the depth in batches: their states take at most so many bytes, and the kernels' sums over
#: heads about so many, which the second-level cache holds.
STATE_BYTES, SUM_BYTES = 32 * 2**20, 2**20

#: Groups of prompts run on threads of their own if there is so much work, in multiplications; each has at least so many
#: prompts and sums its own gradient, and all of those together take about so many bytes.
THREADED_WORK, GROUP_PROMPTS, MOST_GROUPS, GRADIENT_BYTES = 2_000_000, 32, 16, 256 * 2**20

#: A register of the kernels.
REGISTER_BYTES = 64


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
        self.dataset, self.attention, self.feedforward = dataset, attention, feedforward
        self.entropy, self.depth, self.layers = entropy, depth, layers
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
        read = np.flatnonzero(dataset.readout.any(axis=(0, 1)))
        self._built_in = all(packs(encoder) for encoder in self.encoders.values())
        token_wise = {b for b in ("theta", "w") if type(self.encoders.get(b)) in (FeedForward, type(None))}
        narrow = self.rule.narrow(token_wise) if len(read) < dataset.n_tokens else (False,) * len(self.rule.base)
        self._cut = Cut(narrow, read, dataset.n_tokens)
        kinds = {"theta": SoftmaxAttention, "w": FeedForward}
        compiled = all(type(encoder) is kinds[block] for block, encoder in self.encoders.items())
        self._passes = Passes(self.rule, self._cut, set(self.encoders)) if compiled else None
        self._readout = self._cut.to(-1, dataset.readout).reshape(dataset.n_labels, -1)

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

    def _work(self, rho: Measure, n_prompts: int) -> int:
        """About how many multiplications a forward pass takes."""
        return 2 * n_prompts * self.dataset.n_tokens * sum(rho.points(block).size for block in rho.blocks)

    def _groups(self, rho: Measure, n_prompts: int, gradient_bytes: int = 1) -> list[list[slice]]:
        """The prompts in groups of batches, a function of the problem alone: results do not depend on who does what."""
        size = self.dataset.dimension * self.dataset.n_tokens
        batch, count = STATE_BYTES // (3 * len(self.rule.base) * size * rho.dtype.itemsize), 1
        if self._built_in:  # others may not be made for several threads
            batch = min(batch, SUM_BYTES // (2 * size * REGISTER_BYTES))
            if self._work(rho, n_prompts) > THREADED_WORK:
                most = max(2, GRADIENT_BYTES // gradient_bytes)
                count = min(n_prompts, max(2, n_prompts // GROUP_PROMPTS), MOST_GROUPS, most)
        batch = max(1, batch)
        return [_parts(group, -(-(group.stop - group.start) // batch)) for group in _parts(slice(0, n_prompts), count)]

    def _packed(self, rho: Measure, pairs: bool = False) -> dict[str, Packed]:
        """The blocks, ready for evaluations, and for pairing if asked."""
        D = self.dataset.dimension
        return {
            block: pack(self.encoders[block], rho.points(block), rho.weights(block), D, pairs) for block in rho.blocks
        }

    def _forward(self, packed: dict[str, Packed], tokens: Array) -> list[Array]:
        if self._passes is not None:
            return self._passes.forward(packed, tokens)

        def mean(stage: Stage, state: Array, columns: Array | None) -> Array | None:
            return packed[stage.block].mean(stage.slice, state, columns) if stage.block in packed else None

        return self.rule.forward(tokens, mean, self._cut)

    def _read(self, final: Array) -> NDArray[np.float64]:
        """``Read T(1)`` of the last state, shape (B, K)."""
        return final.reshape(len(final), -1).astype(np.float64) @ self._readout.T

    def _adjoint(
        self, packed: dict[str, Packed], states: list[Array], cotangent: Array, sums: dict[str, tuple[Array, ...]]
    ) -> None:
        """Add what the parameters take of the cotangent of the last state to the sums."""
        if self._passes is not None:
            assert isinstance(states, States)
            self._passes.adjoint(packed, states, cotangent, sums)
            return

        def pull(stage: Stage, state: Array, k: Array, columns: Array | None, wanted: bool) -> Array | None:
            if stage.block not in packed:
                return None
            return packed[stage.block].vjp(stage.slice, state, k, sums[stage.block], columns, wanted)

        self.rule.adjoint(states, cotangent, pull, self._cut)

    def _pass(
        self,
        rho: Measure,
        packed: dict[str, Packed],
        groups: list[list[slice]],
        sums: dict[str, tuple[Array, ...]],
        back: Callable[[list[Array], Array, dict[str, tuple[Array, ...]]], None],
    ) -> tuple[float, float]:
        """Forward through the depth, and ``back(states, cotangent, sums of the group)`` by batches. Returns R and the
        other part of Q, which the thread that has nothing else to do computes."""
        tokens = self.dataset.tokens.astype(rho.dtype, copy=False)
        labels = self.dataset.labels.reshape(len(tokens), -1)
        errors, others = np.zeros(len(groups)), np.zeros(1)

        def work(g: int) -> None:
            if g == len(groups):
                others[0] = self._regulariser(rho)
                return
            own = {block: zeroed(arrays, g) for block, arrays in sums.items()}
            for batch in groups[g]:
                states = self._forward(packed, tokens[batch])
                residual = self._read(states[-1]) - labels[batch]
                errors[g] += np.sum(residual**2)
                cotangent = (residual / len(tokens)) @ self._readout
                back(states, cotangent.reshape(states[-1].shape).astype(tokens.dtype), own)

        _share(work, len(groups) + 1, len(groups) > 1)
        return 0.5 * float(errors.sum()) / len(tokens), float(others[0])

    def _regulariser(self, rho: Measure) -> float:
        """All of Q but the risk."""
        internal = 0.0 if self.internal is None else self.internal.of(rho)
        if not self.weight_decay:
            return internal
        return internal + 0.5 * self.weight_decay * squared_norm(rho, {name: rho.points(name) for name in rho.blocks})

    def evaluate(self, rho: Measure) -> Evaluation:
        """Q, R (``parts["risk"]``) and the velocity in one forward and one adjoint pass."""
        rho = self.prepare(rho)
        packed = self._packed(rho)
        groups = self._groups(rho, self.dataset.n_prompts, sum(rho.points(block).nbytes for block in rho.blocks))
        sums = {block: particles.sums(len(groups)) for block, particles in packed.items()}
        risk, others = self._pass(rho, packed, groups, sums, lambda *given: self._adjoint(packed, *given))
        scale = (-1 / self.rule.weights).astype(rho.dtype)[:, None, None]
        velocity = {}
        for block, particles in packed.items():
            velocity[block] = v = particles.slope(sums[block])
            v *= scale
            v -= self.weight_decay * rho.points(block)
        return Evaluation(risk + others, Blocks(**velocity), {"risk": risk})

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
        packed, groups = self._packed(rho), self._groups(rho, len(array))
        out = np.empty((len(array), self.dataset.n_labels))

        def work(g: int) -> None:
            for batch in groups[g]:
                out[batch] = self._read(self._forward(packed, array[batch])[-1])

        _share(work, len(groups), len(groups) > 1)
        return out[:, 0] if self.dataset.labels.ndim == 1 else out

    def overflow(self, rho: Measure) -> str:
        """The first prompt and depth at which tokens are no finite numbers, in words; empty where all are."""
        rho = self.prepare(rho)
        packed = self._packed(rho)
        for group in self._groups(rho, self.dataset.n_prompts):
            for batch in group:
                tokens = self.dataset.tokens[batch].astype(rho.dtype)
                for state, array in enumerate(self._forward(packed, tokens)):
                    if not np.isfinite(array).all():
                        b, d, i = (int(k) for k in np.argwhere(~np.isfinite(array))[0])
                        column = int(self._cut.columns[i]) if self._cut.narrow[state] else i
                        where = f"state {state} of {len(self._cut.narrow) - 1} in depth, row {d}, column {column}"
                        return f"the tokens of prompt {b + batch.start} are {array[b, d, i]} at {where}"
        return ""

    def first_variation(self, rho: Measure, points: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """``E <g(T(t), beta), p(t)> + lambda/2 |beta|^2`` (see :meth:`Energy.first_variation`)."""
        rho = self.prepare(rho)
        if points is None:
            return self._vary(rho, None)[2]
        at = {block: rho.points(block) for block in rho.blocks}
        for block in at.keys() & points.keys():
            x = np.asarray(points[block], rho.dtype)
            if x.ndim != 3 or x.shape[::2] != at[block].shape[::2]:
                raise InputError(f"points of {block} must have shape (S, M, p) like {at[block].shape}, got {x.shape}")
            at[block] = x
        return self._vary(rho, at)[2]

    def linearise(self, rho: Measure) -> Linearisation:
        """Q, R (``parts["risk"]``) and the first variation in one forward and one adjoint pass."""
        rho = self.prepare(rho)
        risk, others, phi = self._vary(rho, None)
        return Linearisation(risk + others, phi, {"risk": risk})

    def _vary(self, rho: Measure, at: Mapping[str, Array] | None) -> tuple[float, float, dict[str, Array]]:
        """R, the other part of Q, and the first variation at points; None stands for those of the measure, which cost
        nothing more."""
        packed, D = self._packed(rho, pairs=at is None), self.dataset.dimension
        if at is None:
            targets, at = packed, {block: rho.points(block) for block in rho.blocks}
        else:
            targets = {b: pack(self.encoders[b], x, np.zeros(x.shape[:2]), D, pairs=True) for b, x in at.items()}
        groups = self._groups(rho, self.dataset.n_prompts, sum(x.nbytes for x in at.values()))
        sums = {block: target.sums(len(groups)) for block, target in targets.items()}

        def back(states: list[Array], cotangent: Array, own: dict[str, tuple[Array, ...]]) -> None:
            if targets is packed:
                self._adjoint(packed, states, cotangent, own)
                return
            unused = {block: zeroed(particles.sums(1), 0) for block, particles in packed.items()}

            def pull(stage: Stage, state: Array, k: Array, columns: Array | None, wanted: bool) -> Array | None:
                block, l = stage.block, stage.slice
                if block not in packed:
                    return None
                targets[block].vjp(l, state, k, own[block], columns, wanted=False)
                return packed[block].vjp(l, state, k, unused[block], columns, wanted) if wanted else None

            self.rule.adjoint(states, cotangent, pull, self._cut)

        risk, others = self._pass(rho, packed, groups, sums, back)
        phi = {}
        for block, x in at.items():
            decay = 0.5 * self.weight_decay * np.sum(x.astype(np.float64) ** 2, axis=2)
            phi[block] = targets[block].paired(sums[block]) / self.rule.weights[:, None] + decay
        return risk, others, phi


def _parts(whole: slice, count: int) -> list[slice]:
    """A slice in so many parts of about the same size."""
    edges = [whole.start + (whole.stop - whole.start) * i // count for i in range(count + 1)]
    return [slice(a, b) for a, b in pairwise(edges)]


def _share(work: Callable[[int], None], count: int, threaded: bool) -> None:
    """``work(0), ..., work(count - 1)``, by several threads if asked."""
    if threaded:
        from wflow.kernels.threads import in_threads

        in_threads(work, count)
    else:
        for i in range(count):
            work(i)


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
