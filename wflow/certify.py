"""What can be said of a state at rest: is it stationary, do eigenvalues say more, and is there a way down?

A measure is a minimum only if no mass could go anywhere better: where the first variation of Q has a value below its
mean over the particles of a slice, mass that jumps there lowers Q to first order, although no velocity tells. Such
places are searched for from many starts. What is not found may exist: no report says that a state is a minimum.
"""

from __future__ import annotations

__all__ = ["Certificate", "Descent", "certificate"]

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wflow.checks import check_integer, check_memory, check_nonnegative, check_positive, check_rng
from wflow.encoders.protocol import optional
from wflow.energies import Energy, TransformerObjective
from wflow.errors import InputError, SolveError
from wflow.measures import Particles
from wflow.measures.particles import with_massless
from wflow.run.solve import solve
from wflow.schemes import Flow
from wflow.tangent import KernelSpectrum, kernel_spectrum

Array = NDArray[np.float64]
Look = Callable[[Array], tuple[Array, Array, Array]]

#: A gain counts above this, relative to the first variation and Q; an eigenvalue is negative below that share.
GAIN, NEGATIVE = 1e-6, 1e-4
#: Particles are searched for in a ball so many times as large as that of the largest one, from starts of norms between
#: this share of its radius and the radius.
REACH, NEAREST = 10.0, 0.01
#: Evaluations of one search, the values before among which one may rise, and Lanczos' steps.
PASSES, RISES, LANCZOS = 200, 10, 60
EPS, TINY = float(np.finfo(float).eps), 1e-150


@dataclass(frozen=True, eq=False)
class Descent:
    """A particle that lowers Q, and the run that shows it.

    Parameters
    ----------
    block, slice, t
        Where beta* belongs: the block, the slice and its depth.
    beta
        beta*, shape (p,).
    mean, value
        The first variation of Q: its mean over the particles from which mass would jump, and at beta*.
    slope
        ``dQ/dm`` as the mass m jumps there, negative: the difference of these times the weight of the depth slice.
    mass
        The share of the mass of those particles that was put at beta*.
    energies
        Q before, with that mass at beta*, and at the end of the run from there.
    tau
        How far that run went.
    """

    block: str
    slice: int
    t: float
    beta: Array
    mean: float
    value: float
    slope: float
    mass: float = 0.0
    energies: tuple[float, ...] = ()
    tau: float = 0.0


@dataclass(frozen=True, eq=False)
class Certificate:
    """What :func:`certificate` found; as a string, a report.

    Parameters
    ----------
    energy
        Q.
    speed, limit
        ``|v|``, and the largest at which the state counts as stationary.
    kernel
        The eigenvalues of the tangent kernel: where the smallest is positive, a state that is stationary without weight
        decay has no risk.
    hessian
        The smallest and the largest eigenvalue of the Hessian of Q in the metric of the flow that were found: that of
        n parameters is an upper bound of the smallest one for n > 60, and a lower bound of the largest one.
    noise
        By how much differences of velocities get the smallest one wrong, about.
    starts, radius
        The starts of the search in every slice of every block, and the largest ``|beta|`` in it.
    descent
        The particle that would lower Q the fastest; None where none was found, or where none was searched for.
    """

    energy: float
    speed: float
    limit: float
    kernel: KernelSpectrum
    hessian: tuple[float, float]
    noise: float
    starts: int
    radius: float
    descent: Descent | None = None

    @property
    def is_stationary(self) -> bool:
        """Whether the velocity vanishes, up to the tolerance."""
        return self.speed <= self.limit

    @property
    def is_saddle(self) -> bool:
        """Whether the Hessian has an eigenvalue that is negative beyond noise."""
        smallest, largest = self.hessian
        return smallest < -max(NEGATIVE * abs(largest), self.noise)

    @property
    def verdict(self) -> str:
        """One of three sentences, the last with a warning where the Hessian says more."""
        if not self.is_stationary:
            return "not stationary"
        if self.descent is not None:
            return "stationary, but a particle at beta* would lower Q"
        but = ", but Q falls along an eigenvector of its Hessian" * self.is_saddle
        return f"no descent found by {self.starts} starts{but}"

    def __str__(self) -> str:
        kind = "stationary" if self.is_stationary else "not stationary"
        negative = "; negative" + ": Q falls along its eigenvector" * self.is_stationary if self.is_saddle else ""
        rows = {
            "Q": f"{self.energy:.9g}",
            "|v|": f"{self.speed:.3g}, {kind}: the limit is {self.limit:.3g}",
            "kernel": f"lambda_min {self.kernel.words}, lambda_max {self.kernel.largest:.6g}",
            "Hessian": f"eigenvalues {self.hessian[0]:.3g} to {self.hessian[1]:.3g}, noise {self.noise:.1g}{negative}",
        }
        if self.is_stationary:
            rows["search"] = f"{self.starts} starts in every slice of every block, |beta| <= {self.radius:.3g}"
        if (d := self.descent) is not None:
            numbers = f" = [{', '.join(f'{x:.4g}' for x in d.beta)}]" if d.beta.size <= 8 else ""
            where = f"block {d.block}, slice {d.slice} at t = {d.t:.3g}, |beta*| = {np.linalg.norm(d.beta):.3g}"
            rows["beta*"] = f"{where}{numbers}"
            rows["dQ/drho"] = f"{d.value:.6g} there, {d.mean:.6g} on average: dQ/dm = {d.slope:.3g} of the mass m there"
            before, placed, after = d.energies
            rows["run"] = f"Q {before:.6g}, with {d.mass:.3g} of the mass at beta* {placed:.6g}, "
            rows["run"] += f"after tau = {d.tau:.3g} {after:.6g}"
        return "\n".join([self.verdict, *(f"  {name:<9} {text}" for name, text in rows.items())])


def certificate(
    objective: TransformerObjective,
    rho: Particles,
    *,
    starts: int = 32,
    tol: float = 1e-6,
    tau: float = 10.0,
    rng: np.random.Generator | int = 0,
) -> Certificate:
    """Look whether a state is at rest, and for a particle that would lower Q where it is.

    The state is stationary where ``|v| <= tol (1 + |x|)``, norms being those of the flow. Then the first variation
    ``phi`` of Q is minimised in every slice of every block over ``|beta| <= 10 max |particle|``, from so many starts at
    once, by spectral projected gradients (Birgin, Martinez, Raydan, SIAM J. Optim. 10 (2000) 1196). Parameters in which
    the encoder is linear, such as V, are eliminated: ``V*(W) = -A(W)/lambda``, with the gradient A by V at V = 0, cut
    off at the ball. Frozen parameters are those of particles of the slice, and the mean with which phi is compared is
    over the particles that share them. A gain counts above ``1e-6 (|mean| + |Q|)`` if Q can be lowered by it beyond
    rounding: mass is put at the best beta*, and a run from there shows how low Q gets.

    Parameters
    ----------
    objective
        A Transformer objective without noise.
    rho
        Particles.
    starts
        How many, in every slice of every block.
    tol
        The tolerance of stationarity.
    tau
        The length of the run from a state with mass at beta*.
    rng
        A seed or generator: of the starts, and of the first vector of Lanczos' method.

    Returns
    -------
    Certificate
        Its ``verdict`` is "not stationary", "stationary, but a particle at beta* would lower Q", or "no descent found
        by N starts", which is not a proof that there is none.

    Raises
    ------
    InputError
        For arguments that do not fit, and for noise.

    Examples
    --------
    All parameters zero is a state at rest by symmetry, and not a minimum:

    >>> import wflow
    >>> data = wflow.Dataset(np.ones((1, 1, 1)), [2.0])
    >>> Q = TransformerObjective(data, feedforward=wflow.FeedForward("identity"), weight_decay=0.1, layers=1)
    >>> found = certificate(Q, Particles(w=np.zeros((1, 4, 2))))
    >>> found.verdict
    'stationary, but a particle at beta* would lower Q'
    >>> [round(x, 3) for x in found.hessian], round(found.descent.energies[-1], 3)
    ([-0.4, 0.6], 0.18)
    """
    if not isinstance(objective, TransformerObjective):
        remedy = "; of a sum pass the term" if isinstance(objective, Energy) else ""
        raise InputError(f"objective must be a wflow.TransformerObjective, got {type(objective).__name__}{remedy}")
    if objective.internal is not None:
        raise InputError(f"a certificate is for flows without noise, but this objective has {objective.internal}")
    if not isinstance(rho, Particles):
        raise InputError(f"rho must be wflow.Particles, got {type(rho).__name__}")
    starts, rng = check_integer("starts", starts), check_rng(rng)
    tol, tau = check_nonnegative("tol", tol), check_positive("tau", tau)
    rho = objective.prepare(rho)
    numbers = sum(starts * x.shape[0] * x.shape[2] for x in rho.blocks.values())
    check_memory(f"the search from {starts} starts", 8 * 16 * numbers, "take fewer starts")
    rho = rho.replace(**{name: x.astype(np.float64) for name, x in rho.blocks.items()})
    flow = Flow(objective, rho)
    point = flow.evaluate(flow.flat(rho.blocks))
    if not point.is_finite:
        raise InputError(f"Q and its velocity must be finite numbers, but {flow.where_not_finite(point)}")
    limit = tol * (1 + flow.norm(point.x))
    speed = float(np.sqrt(flow.dissipation(point)))
    smallest, largest, noise = extreme_curvatures(flow, point.x, rng)
    radius = REACH * (rho.radius or 1.0)
    best: Descent | None = None
    for block in rho.blocks if speed <= limit else ():
        found = _Search(objective, rho, block, radius, point.value).best(starts, rng)
        if found is not None and (best is None or found[0].slope < best.slope):
            best, members = found
    if best is not None:
        best = _shown(objective, rho, best, members, tau, point.value - flow.rounding(point))
    kernel = kernel_spectrum(objective, rho)
    return Certificate(point.value, speed, limit, kernel, (smallest, largest), noise, starts, radius, best)


# The Hessian


def extreme_curvatures(flow: Flow, x: Array, rng: np.random.Generator) -> tuple[float, float, float]:
    """The extreme Ritz values of the Hessian of Q in the metric of the flow, and the noise of the smallest.

    By Lanczos' method, orthogonalised in full: eigenvalues for up to 60 parameters, bounds of them beyond. Products are
    central differences of velocities over a distance e; the smallest value once more over 2 e shows their error.
    """
    moves = flow.mass > 0
    root, n = np.sqrt(flow.mass[moves]), int(moves.sum())
    step = EPS ** (1 / 3) * (1 + flow.norm(x))

    def product(u: Array, e: float) -> Array:
        way = np.zeros_like(x)
        way[moves] = e * u / root
        change = flow.evaluate(x - way).velocity - flow.evaluate(x + way).velocity
        return np.asarray(root * change[moves] / (2 * e))

    q = rng.standard_normal(n)
    basis, H = np.empty((min(n, LANCZOS), n)), np.zeros((min(n, LANCZOS),) * 2)
    for k in range(len(basis)):
        basis[k] = q / np.linalg.norm(q)
        image = product(basis[k], step)
        H[: k + 1, k] = H[k, : k + 1] = basis[: k + 1] @ image
        q = image
        for _ in range(2):
            q = q - (basis[: k + 1] @ q) @ basis[: k + 1]
        if np.linalg.norm(q) <= 1e-10 * np.abs(H).max():  # an invariant subspace: go on with another vector
            q = rng.standard_normal(n)
            for _ in range(2):
                q = q - (basis[: k + 1] @ q) @ basis[: k + 1]
    values, vectors = np.linalg.eigh(H)
    lowest = vectors[:, 0] @ basis
    near, far = (float(lowest @ product(lowest, e)) for e in (step, 2 * step))
    return near, float(values[-1]), abs(far - near)


# The search


class _Search:
    """The first variation of Q in one block, as a function of a particle in every slice."""

    def __init__(self, objective: TransformerObjective, rho: Particles, block: str, radius: float, Q: float) -> None:
        self.rho, self.block, self.radius, self.Q = rho, block, radius, Q
        self.plain = copy.copy(objective)  # its velocities are gradients, of frozen parameters too
        self.plain.mobilities = {}
        self.x, self.a = rho.points(block), rho.weights(block)
        p = self.x.shape[2]
        self.moves = objective.mobilities.get(block, np.ones(p)) > 0
        form = optional(objective.encoders[block], "compiled")
        #: Parameters in which the encoder is linear, if it says so; they are eliminated if they can move.
        self.linear = np.zeros(p, bool)
        if form is not None:
            self.linear[form(objective.dataset.dimension).linear] = True
        self.eliminates = bool(self.linear.any() and self.moves[self.linear].all())
        self.free = self.moves & ~self.linear if self.eliminates else self.moves

    def variation(self, points: Array) -> tuple[Array, Array]:
        """``phi`` (S, N) and its gradient (S, N, p) at points (S, N, p), in one pass where f is linear in something."""
        first_points = {name: x[:, :1] for name, x in self.rho.blocks.items()}
        both = with_massless(self.rho, first_points | {self.block: points})
        gradient = -self.plain.evaluate(both).velocity[self.block][:, self.x.shape[1] :]
        if not self.linear.any():
            return self.plain.first_variation(self.rho, {self.block: points})[self.block], gradient
        decay, V = self.plain.weight_decay, points[..., self.linear]
        phi = np.sum(V * (gradient[..., self.linear] - decay * V), axis=2) + 0.5 * decay * np.sum(points**2, axis=2)
        return phi, gradient

    def look(self, points: Array) -> tuple[Array, Array, Array]:
        """``phi``, its gradient by the free parameters, and the points, the others eliminated."""
        points = points.copy()
        if self.eliminates:
            points[..., self.linear] = 0
            A = self.variation(points)[1][..., self.linear]
            size, most = np.linalg.norm(A, axis=2, keepdims=True), self.radius / np.sqrt(2)  # that of W has the same
            decay = self.plain.weight_decay
            cut = size > max(most * decay, TINY)
            points[..., self.linear] = (
                -np.divide(most, size, out=np.full_like(size, 1 / max(decay, TINY)), where=cut) * A
            )
        phi, gradient = self.variation(points)
        return phi, np.where(self.free, gradient, 0), points

    def project(self, points: Array) -> Array:
        """The nearest points in the ball."""
        fixed = ~self.moves
        room = self.radius**2 * (0.5 if self.eliminates else 1.0) - np.sum(points[..., fixed] ** 2, axis=2)
        size, most = np.linalg.norm(points[..., self.free], axis=2), np.sqrt(np.maximum(room, 0))
        scale = np.divide(most, size, out=np.ones_like(size), where=size > most)
        return np.where(self.free, scale[..., None] * points, points)

    def best(self, starts: int, rng: np.random.Generator) -> tuple[Descent, NDArray[np.bool_]] | None:
        """The point where mass that jumps there lowers Q the fastest, and the particles that it comes from."""
        if not self.moves.any():
            return None
        S, M = self.a.shape
        homes = np.array([rng.choice(M, size=starts, p=a) for a in self.a])
        points = np.take_along_axis(self.x, homes[..., None], axis=1)
        ways = np.where(self.free, rng.standard_normal(points.shape), 0)
        ways /= np.maximum(np.linalg.norm(ways, axis=2, keepdims=True), TINY)
        lengths = self.radius * NEAREST ** rng.uniform(0, 1, (S, starts, 1))
        # Half of the starts are near particles, half of them anywhere.
        far = np.arange(starts)[:, None] % 2 == 1
        points = np.where(self.free & far, 0, points) + np.where(far, lengths, NEAREST * self.radius) * ways
        values, points = minimise(self.look, points, self.project)
        particles, best = self.variation(self.x)[0], None
        for l in range(S):
            for i in np.argsort(values[l]):
                frozen = ~self.moves
                members = (self.x[l][:, frozen] == self.x[l, homes[l, i], frozen]).all(axis=1) & (self.a[l] > 0)
                mean = float(np.average(particles[l][members], weights=self.a[l][members]))
                gain = mean - float(values[l, i])
                slope = -gain * float(self.rho.depth_weights[l])
                if gain > GAIN * (abs(mean) + abs(self.Q)) and (best is None or slope < best[0].slope):
                    t = float(self.rho.t[l])
                    best = Descent(self.block, l, t, points[l, i], mean, float(values[l, i]), slope), members
        return best


def minimise(look: Look, x: Array, project: Callable[[Array], Array]) -> tuple[Array, Array]:
    """Lower a function of points (S, N, p) from all starts at once: the lowest values (S, N) met, and where.

    Spectral projected gradients: ``d = P(x - s g) - x``, with the s that the last step suggests, shortened until the
    value is below the largest of the last ten. Every evaluation is one trial of every start.

    Parameters
    ----------
    look
        Values (S, N), gradients and completed points (S, N, p) at points.
    project
        The nearest points of the set in which to stay.

    Examples
    --------
    >>> def look(x):
    ...     return np.sum((x - 2) ** 4, axis=2), 4 * (x - 2) ** 3, x
    >>> values, x = minimise(look, np.zeros((1, 2, 1)), lambda x: np.minimum(x, 1.5))
    >>> values, x.ravel()
    (array([[0.0625, 0.0625]]), array([1.5, 1.5]))
    """
    x = project(x)
    value, g, full = look(x)
    lowest, where = value, full
    size = np.sqrt(np.sum(x**2, axis=2))
    s = (0.1 * size + 0.1) / np.maximum(np.linalg.norm(g, axis=2), TINY)
    d, t = project(x - s[..., None] * g) - x, np.ones_like(value)
    past = np.repeat(value[None], RISES, axis=0)
    for _ in range(PASSES):
        new = x + t[..., None] * d
        new_value, new_g, new_full = look(new)
        better = new_value < lowest
        lowest, where = np.where(better, new_value, lowest), np.where(better[..., None], new_full, where)
        falls = new_value <= past.max(axis=0) + 1e-4 * t * np.sum(g * d, axis=2)
        moved, bend = new - x, np.sum((new - x) * (new_g - g), axis=2)
        square = np.sum(moved**2, axis=2)
        longer = np.divide(square, bend, out=10 * s, where=bend > 1e-12 * square)
        s = np.where(falls, np.clip(longer, 1e-12, 1e12), s)
        yes = falls[..., None]
        x, g = np.where(yes, new, x), np.where(yes, new_g, g)
        past = np.where(falls, np.concatenate([past[1:], new_value[None]]), past)
        d, t = np.where(yes, project(x - s[..., None] * g) - x, d), np.where(falls, 1.0, 0.25 * t)
        if (np.abs(t[..., None] * d).max(axis=2) <= 1e-9 * (1 + np.abs(x).max(axis=2))).all():
            break
    return lowest, where


# The demonstration


def _shown(
    objective: TransformerObjective, rho: Particles, found: Descent, members: Any, tau: float, Q: float
) -> Descent | None:
    """A descent with the run that shows it; None where no mass at beta* makes Q less than that."""
    before = objective.value(rho)
    shares = 0.5 ** np.arange(1, 31)
    energies = [objective.value(_placed(rho, found, members, share)) for share in shares]
    k = int(np.argmin(energies))
    if not energies[k] < Q:
        return None
    start, end = _placed(rho, found, members, shares[k]), energies[k]
    try:
        run = solve(objective, start, (0.0, tau), rtol=1e-5, progress=False)
        end, reached = float(run.energy[-1]), tau
    except SolveError:  # such as at a kink: Q is lower already
        reached = 0.0
    more = {"mass": float(shares[k]), "energies": (before, float(energies[k]), end), "tau": reached}
    return Descent(**(vars(found) | more))


def _placed(rho: Particles, found: Descent, members: Any, share: float) -> Particles:
    """The measure after a share of the mass of some particles of a slice has jumped to beta*."""
    block, l = found.block, found.slice
    blocks = dict(rho.blocks)
    weights = {name: rho.weights(name) for name in blocks if not rho.has_equal_weights(name)}
    x, a = np.concatenate([blocks[block], blocks[block][:, :1]], axis=1), rho.weights(block)
    a = np.concatenate([a, np.zeros((len(a), 1))], axis=1)
    x[l, -1], a[l, -1] = found.beta, share * a[l, :-1][members].sum()
    a[l, :-1][members] *= 1 - share
    return Particles(weights=weights | {block: a}, t=rho.t, depth_weights=rho.depth_weights, **blocks | {block: x})
