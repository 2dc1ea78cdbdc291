"""The tangent kernel of the predictions, and what it tells.

With ``u_{bk} = (Read T_b(1))_k`` and the gradients ``G^{bk}_{l,j} = a_{l,j}^{-1} du_{bk}/d beta_{l,j}``, the kernel of
the flow with mobility M (one where none is given), at depth weights om, is

    K_{bk,b'k'} = sum_l om_l^{-1} sum_j a_{l,j} <G^{bk}_{l,j}, M G^{b'k'}_{l,j}>.

Without weight decay and noise predictions follow ``du/d tau = -K (dl/du)/B`` exactly, with the loss l of one prompt:
for squares, ``dr/d tau = -K r/B`` for the residuals r. Of other losses K is the same, the derivative of the loss is not
in it: where ``dl/du`` is near ``Lambda r``, the eigenvalues that count are those of ``Lambda^{1/2} K Lambda^{1/2}``.
"""

from __future__ import annotations

__all__ = ["KernelSpectrum", "kernel_shares", "kernel_spectrum", "output_variance", "tangent_kernel"]

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from wflow.checks import check_choice, check_memory, check_nonnegative
from wflow.datasets.dataset import Dataset
from wflow.encoders.protocol import optional
from wflow.energies import Energy, TransformerObjective
from wflow.errors import InputError
from wflow.measures import Measure
from wflow.network.rows import Panel, panels

Array = NDArray[np.float64]

#: Kernels with more rows are not formed: their extreme eigenvalues are found from products with vectors.
FORMED = 4000
#: A thread makes so many rows of the kernel at a time.
BAND = 32
#: Steps of Lanczos' method at most, and the relative change of the largest eigenvalue at which it ends.
LANCZOS_STEPS, LANCZOS_TOL = 100, 1e-10


@overload
def tangent_kernel(
    objective: TransformerObjective, rho: Measure, dataset: Dataset | None = None, by: None = None
) -> Array: ...
@overload
def tangent_kernel(
    objective: TransformerObjective, rho: Measure, dataset: Dataset | None = None, *, by: Literal["block", "group"]
) -> dict[str, Array]: ...
def tangent_kernel(
    objective: TransformerObjective, rho: Measure, dataset: Dataset | None = None, by: str | None = None
) -> Array | dict[str, Array]:
    """The kernel ``K = sum_l om_l^{-1} sum_j a_{l,j} <G_{l,j}, M G_{l,j}>`` of all predictions (see the module).

    The derivatives of every prompt and label are exact, made slice by slice, and summed in float64; the work is that of
    a few velocities and ``B^2 K^2`` products of all parameters. The same for any number of threads.

    Parameters
    ----------
    objective
        The objective. Weight decay, noise and labels do not matter.
    rho
        Particles or densities.
    dataset
        Other prompts in the place of the training data, such as held-out ones.
    by
        None for K; "block" or "group" for the kernels of the blocks or of their groups of parameters, which add up
        to K.

    Returns
    -------
    K, of shape (B K, B K), with label k of prompt b in row ``b K + k``; or a dictionary of such arrays, by block, or by
    "block.group", such as ``"theta.V"``; just the block where its encoder names no groups.

    Raises
    ------
    InputError
        For arguments that do not fit, and where memory has no room.

    Examples
    --------
    >>> from wflow import FeedForward, Particles
    >>> data = Dataset(np.array([[[1.0]], [[2.0]]]), [0.0, 0.0])
    >>> Q = TransformerObjective(data, feedforward=FeedForward("identity"), layers=1)
    >>> rho = Particles(w=np.ones((1, 2, 2)))  # predictions (1 + w_1 w_2/2) H
    >>> tangent_kernel(Q, rho)
    array([[0.5, 1. ],
           [1. , 2. ]])
    >>> tangent_kernel(Q, rho, by="group")["w.W_2"]
    array([[0.25, 0.5 ],
           [0.5 , 1.  ]])
    """
    from wflow.kernels.tangent import TILE

    if by is not None:
        by = check_choice("by", by, ("block", "group"))
    rho, data = _checked(objective, rho, dataset)
    names = _names(objective, by == "group")
    of_part = {part: block if by == "block" else part if by else "" for block, parts in names.items() for part in parts}
    R, kinds = data.n_prompts * data.n_labels, dict.fromkeys(of_part.values())
    check_memory(
        f"{len(kinds)} kernels of {R} predictions", 24 * len(kinds) * R**2, "take fewer prompts, or kernel_spectrum"
    )
    padded = -(-R // TILE) * TILE
    sums = {name: np.zeros((padded, padded)) for name in kinds}
    for panel in _panels(objective, rho, data, names):
        for part, left, right in zip(names[panel.block], panel.edges, panel.edges[1:]):
            _add_products(panel.rows, left, right, sums[of_part[part]])
    kernels = {name: np.tril(out[:R, :R]) + np.tril(out[:R, :R], -1).T for name, out in sums.items()}
    return kernels[""] if by is None else kernels


def _checked(objective: Any, rho: Measure, dataset: Dataset | None) -> tuple[Measure, Dataset]:
    """The measure at its nodes, and the data."""
    if not isinstance(objective, TransformerObjective):
        remedy = "; of a sum pass the term" if isinstance(objective, Energy) else ""
        raise InputError(f"objective must be a wflow.TransformerObjective, got {type(objective).__name__}{remedy}")
    if dataset is not None:
        objective.check_dataset(dataset)
    return objective.prepare(rho), objective.dataset if dataset is None else dataset


def _names(objective: TransformerObjective, by_group: bool) -> dict[str, dict[str, slice]]:
    """The places of groups among the parameters, by block and by name; all of a block as one group otherwise."""
    names: dict[str, dict[str, slice]] = {}
    for block, p in objective.n_parameters.items():
        groups = optional(objective.encoders[block], "groups") if by_group else None
        places = {} if groups is None else groups(objective.dataset.dimension)
        parts = {f"{block}.{name}": group.place for name, group in places.items()} or {block: slice(0, p)}
        if sorted(i for place in parts.values() for i in range(*place.indices(p))) != [*range(p)]:
            words = ", ".join(f"{name} at {place.start}:{place.stop}" for name, place in parts.items())
            raise InputError(f"groups must share the {p} parameters of {block} between them, got {words}")
        names[block] = {name: slice(*place.indices(p)[:2]) for name, place in parts.items()}
    return names


def _panels(
    objective: TransformerObjective,
    rho: Measure,
    data: Dataset,
    names: Mapping[str, Mapping[str, slice]],
    factor: Callable[[str], Array] | None = None,
) -> Iterator[Panel]:
    """The derivatives times ``(a_{l,j} M/om_l)^{1/2}``, or times another factor of every block."""
    mobilities = objective.mobilities

    def in_the_metric(block: str) -> Array:
        root: Array = np.sqrt(rho.weights(block) / rho.depth_weights[:, None])[:, :, None]
        return root * np.sqrt(mobilities[block]) if block in mobilities else root

    factors = {block: (factor or in_the_metric)(block) for block in names}
    groups = {block: list(parts.values()) for block, parts in names.items()}
    return panels(objective.network, rho, data.tokens.astype(rho.dtype, copy=False), factors, groups)


def _add_products(X: Array, left: int, right: int, out: Array) -> None:
    """``out += X X^T`` on and below the diagonal, with the columns from left to right of X."""
    from wflow.kernels.tangent import add_products
    from wflow.kernels.threads import in_threads

    bands = -(-len(X) // BAND)

    def work(i: int) -> None:
        first = (bands - 1 - i) * BAND  # the longest first
        add_products(X, left, right, first, min(first + BAND, len(X)), out)

    in_threads(work, bands)


def output_variance(objective: TransformerObjective, rho: Measure, std: float, dataset: Dataset | None = None) -> Array:
    """The variance of every prediction under independent noise of all parameters, to first order.

    ``std^2 sum_{l,j} a_{l,j}^2 |G_{l,j}|^2``: all parameters of all particles move by independent numbers of variance
    std^2 (Liu et al. 2020 call it amplification). With equal weights and depths, ``std^2 K_bb/(M L)`` for one block of
    M particles, sums over blocks: it falls with the width, whatever the depth. Frozen parameters move too.

    Parameters
    ----------
    objective, rho, dataset
        As for :func:`tangent_kernel`.
    std
        The standard deviation of the noise, not negative.

    Returns
    -------
    The shape of the predictions: (B,) or (B, K).

    Examples
    --------
    >>> from wflow import FeedForward, Particles
    >>> data = Dataset(np.array([[[1.0]], [[2.0]]]), [0.0, 0.0])
    >>> Q = TransformerObjective(data, feedforward=FeedForward("identity"), layers=1)
    >>> output_variance(Q, Particles(w=np.ones((1, 2, 2))), std=0.1)
    array([0.0025, 0.01  ])
    """
    std = check_nonnegative("std", std)
    rho, data = _checked(objective, rho, dataset)
    variance = np.zeros(data.n_prompts * data.n_labels)
    for panel in _panels(objective, rho, data, _names(objective, False), lambda block: rho.weights(block)[:, :, None]):
        X = panel.rows[: len(variance)]
        variance += std**2 * np.einsum("rk,rk->r", X, X)
    return variance if data.is_flat else variance.reshape(-1, data.n_labels)


def kernel_shares(
    objective: TransformerObjective, rho: Measure, dataset: Dataset | None = None, by: str = "block"
) -> dict[str, float]:
    """The shares of blocks or groups of parameters of the trace of the kernel, which need no kernel.

    Parameters
    ----------
    objective, rho, dataset
        As for :func:`tangent_kernel`.
    by
        "block" or "group".

    Returns
    -------
    By the same names as there; one in sum, and NaN where the kernel is zero.

    Examples
    --------
    >>> from wflow import FeedForward, Particles
    >>> Q = TransformerObjective(Dataset(np.ones((1, 1, 1)), [0.0]), feedforward=FeedForward("identity"), layers=1)
    >>> kernel_shares(Q, Particles(w=[[[1.0, 3.0]]]), by="group")  # (1 + w_1 w_2/2) H
    {'w.W_1': 0.9, 'w.W_2': 0.1}
    """
    by = check_choice("by", by, ("block", "group"))
    rho, data = _checked(objective, rho, dataset)
    names = _names(objective, by == "group")
    traces = dict.fromkeys((name for parts in names.values() for name in parts), 0.0)
    for panel in _panels(objective, rho, data, names):
        for name, left, right in zip(names[panel.block], panel.edges, panel.edges[1:]):
            X = panel.rows[:, left:right]
            traces[name] += float(np.einsum("rk,rk->", X, X))
    total = sum(traces.values())
    return {name: trace / total if total else float("nan") for name, trace in traces.items()}


@dataclass(frozen=True, eq=False)
class KernelSpectrum:
    """Eigenvalues of a tangent kernel, and which of them mean something.

    Parameters
    ----------
    values
        All B K eigenvalues in increasing order; of a kernel too large to be formed, two Ritz values.
    n_prompts
        B.
    floor
        ``B K eps lambda_max``: rounding makes eigenvalues of this size, eps being that of the particles' precision.
    is_complete
        Whether these are all. Else the largest is found to ten digits, and the smallest is an upper bound only.
    """

    values: Array
    n_prompts: int
    floor: float
    is_complete: bool = True

    @property
    def largest(self) -> float:
        """lambda_max."""
        return float(self.values[-1])

    @property
    def smallest(self) -> float:
        """lambda_min, NaN where it is not resolved; an upper bound where not all eigenvalues are known."""
        return float(self.values[0]) if self.is_resolved else float("nan")

    @property
    def is_resolved(self) -> bool:
        """Whether the smallest eigenvalue is more than rounding makes."""
        return bool(self.values[0] > self.floor)

    @property
    def rates(self) -> Array:
        """The rates ``lambda/B`` at which residuals of squares decay without weight decay, while K does not change."""
        return self.values / self.n_prompts

    @property
    def words(self) -> str:
        """The smallest eigenvalue as text."""
        if not self.is_resolved:
            return f"not resolved (below {self.floor:.1e})"
        return f"{self.smallest:.6g}" if self.is_complete else f"at most {self.smallest:.6g}"


def kernel_spectrum(objective: TransformerObjective, rho: Measure, dataset: Dataset | None = None) -> KernelSpectrum:
    """The eigenvalues of :func:`tangent_kernel`: all for ``B K <= 4000``, else the largest and a bound on the smallest.

    Larger kernels are never formed; Lanczos' method multiplies them with vectors, each time at the cost of a few
    velocities. Its smallest Ritz value is never below lambda_min, and may be far above it.

    Parameters
    ----------
    objective, rho, dataset
        As for :func:`tangent_kernel`.

    Examples
    --------
    >>> from wflow import FeedForward, Particles
    >>> data = Dataset(np.array([[[1.0]], [[2.0]]]), [0.0, 0.0])
    >>> Q = TransformerObjective(data, feedforward=FeedForward("identity"), layers=1)
    >>> spectrum = kernel_spectrum(Q, Particles(w=np.ones((1, 2, 2))))  # K = (1, 2) (1, 2)^T/2
    >>> round(spectrum.largest, 12), spectrum.words
    (2.5, 'not resolved (below 1.1e-15)')
    """
    rho, data = _checked(objective, rho, dataset)
    R, eps = data.n_prompts * data.n_labels, float(np.finfo(rho.dtype).eps)
    if complete := R <= FORMED:
        values = eigenvalues(tangent_kernel(objective, rho, data))
    else:
        values = np.array(_ritz_values(lambda x: _times(objective, rho, data, x), R))
    return KernelSpectrum(values, data.n_prompts, R * eps * float(values[-1]), complete)


def eigenvalues(K: Array) -> Array:
    """Of a symmetric matrix, in increasing order; the same for any number of threads of the BLAS."""
    from scipy.linalg import eigvalsh_tridiagonal

    from wflow.kernels.tangent import tridiagonal

    diagonal, below = np.empty(len(K)), np.empty(len(K) - 1)
    tridiagonal(np.array(K, order="C"), diagonal, below)
    values: Array = eigvalsh_tridiagonal(diagonal, below, lapack_driver="sterf") if len(K) > 1 else diagonal
    return values


def _times(objective: TransformerObjective, rho: Measure, data: Dataset, x: Array) -> Array:
    """``K x`` without K."""
    y = np.zeros_like(x)
    for panel in _panels(objective, rho, data, _names(objective, False)):
        X = panel.rows[: len(x)]
        y += np.einsum("rk,k->r", X, np.einsum("rk,r->k", X, x))
    return y


def _ritz_values(times: Callable[[Array], Array], size: int) -> tuple[float, float]:
    """The smallest and the largest Ritz value of a symmetric matrix by Lanczos' method, orthogonalised in full."""
    q = np.random.default_rng(0).standard_normal(size)
    basis, alphas, betas, largest = [q / np.sqrt(np.einsum("i,i", q, q))], list[float](), list[float](), 0.0
    while True:
        r = times(basis[-1])
        alphas.append(float(np.einsum("i,i", r, basis[-1])))
        values = np.linalg.eigvalsh(np.diag(alphas) + np.diag(betas, -1))  # which reads the lower triangle
        for _ in range(2):
            for q in basis:
                r = r - np.einsum("i,i", q, r) * q
        beta = float(np.sqrt(np.einsum("i,i", r, r)))
        settled = abs(values[-1] - largest) <= LANCZOS_TOL * abs(values[-1])
        largest = float(values[-1])
        if settled or len(basis) == min(size, LANCZOS_STEPS) or beta <= 1e-14 * abs(largest):
            return float(values[0]), largest
        betas.append(beta)
        basis.append(r / beta)
