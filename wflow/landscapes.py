"""Q and R on a plane through a measure: pictures of the loss.

Particles move together, ``beta_{l,j} + a d1_{l,j} + b d2_{l,j}``, along two directions that are orthonormal in the
metric of the flow, ``<x, y> = sum om_l a_{l,j} x_{l,j} M^{-1} y_{l,j}`` with the mobility M (one where none is given):
coordinates are distances, and Q falls along ``v/|v|`` at the rate ``|v|``. Frozen parameters stay where they are.

Such pictures mislead easily. A plane is two directions out of very many: minima along it need not be minima, and
valleys and barriers depend on how it was chosen, which a caption has to say. The plane of the two principal directions
of a trajectory shows little motion outside it by construction; in high dimension trajectories look like an arc there,
also where nothing turns. Random directions in high dimension all look alike. Particles are labelled here, while the
measure is not: with other labels, the direction from one measure to another is another one.
"""

from __future__ import annotations

__all__ = ["Landscape", "direction_to", "landscape", "principal_directions", "random_directions"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wflow.checks import check_array, check_blocks_named, check_rng, shown
from wflow.energies import Energy
from wflow.energies.mobility import inverse_mobility
from wflow.errors import InputError
from wflow.measures import Blocks, Particles

Array = NDArray[Any]

#: A second direction of which less than this share is orthogonal to the first is taken as parallel.
PARALLEL = 1e-8


@dataclass(frozen=True, eq=False)
class Landscape:
    """Values on a plane, as :func:`landscape` returns them.

    Parameters
    ----------
    a, b
        Coordinates, shapes (A,) and (B,).
    energy, risk
        Q, and R (NaN for an energy without a risk), shape (A, B).
    directions
        d1 and d2, orthonormal, by block.
    origin
        The measure at a = b = 0.
    objective
        Q.
    """

    a: NDArray[np.float64]
    b: NDArray[np.float64]
    energy: NDArray[np.float64]
    risk: NDArray[np.float64]
    directions: tuple[Blocks, Blocks]
    origin: Particles
    objective: Energy

    def project(self, rho: Particles) -> tuple[float, float]:
        """The coordinates (a, b) of the point of the plane next to a measure with as many particles."""
        metric = _metric(self.objective, self.origin)
        away = direction_to(self.origin, _particles(self.objective, rho))
        first, second = (_inner(metric, away, d) for d in self.directions)
        return first, second


def landscape(
    objective: Energy,
    rho: Particles,
    d1: Mapping[str, ArrayLike],
    d2: Mapping[str, ArrayLike],
    a: ArrayLike,
    b: ArrayLike,
) -> Landscape:
    """Q and R at ``rho + a d1 + b d2`` (see the module, also for how misleading such pictures may be).

    Parameters
    ----------
    objective
        Any energy.
    rho
        Particles, the origin of the plane.
    d1, d2
        Two directions, by block arrays (S, M, p) like the points of rho; :func:`principal_directions`,
        :func:`direction_to` and :func:`random_directions` make some. They are made orthonormal, d1 first, without the
        frozen parameters.
    a, b
        Coordinates along them, in the metric of the flow: shapes (A,) and (B,). Each pair takes one evaluation of Q.

    Raises
    ------
    InputError
        For densities, directions of other shapes, none in which anything moves, and parallel ones.

    Examples
    --------
    >>> from wflow import PotentialEnergy
    >>> Q = PotentialEnergy(lambda x: x[:, 0] ** 2 / 2 + x[:, 1] ** 2, lambda x: x * [1, 2])
    >>> rho = Particles(x=[[[0.0, 0.0], [0.0, 0.0]]])
    >>> made = landscape(Q, rho, {"x": [[[1, 0], [1, 0]]]}, {"x": [[[1, 1], [1, 1]]]}, [0, 2], [0, 1])
    >>> made.energy
    array([[0., 1.],
           [2., 3.]])
    """
    rho, a, b = _particles(objective, rho), *(check_array(n, x, 1, "(n,)") for n, x in (("a", a), ("b", b)))
    if not len(a) or not len(b):
        raise InputError(f"a and b must not be empty, got {len(a)} and {len(b)} coordinates")
    metric = _metric(objective, rho)
    first = _unit(metric, _moving(metric, _direction("d1", rho, d1)), "d1")
    second = _moving(metric, _direction("d2", rho, d2))
    size = _inner(metric, second, second)
    for _ in range(2):  # once more, for what rounding has left
        along = _inner(metric, first, second)
        second = {block: x - along * first[block] for block, x in second.items()}
    if size > 0 and _inner(metric, second, second) <= PARALLEL**2 * size:
        raise InputError("d2 must not be parallel to d1")
    second = _unit(metric, second, "d2")
    energy, risk = np.empty((len(a), len(b))), np.empty((len(a), len(b)))
    for i, j in np.ndindex(energy.shape):
        moved = {block: x + (a[i] * first[block] + b[j] * second[block]) for block, x in rho.blocks.items()}
        at = objective.evaluate(rho.replace(**{block: x.astype(rho.dtype) for block, x in moved.items()}))
        energy[i, j], risk[i, j] = at.value, at.parts.get("risk", np.nan)
    return Landscape(
        np.asarray(a, float), np.asarray(b, float), energy, risk, (Blocks(**first), Blocks(**second)), rho, objective
    )


def direction_to(rho: Particles, other: Particles) -> Blocks:
    """The direction from particles to as many others, label by label.

    Raises
    ------
    InputError
        For particles in other blocks or of other shapes.

    Examples
    --------
    >>> direction_to(Particles(x=[[[1.0]]]), Particles(x=[[[3.0]]])).x
    array([[[2.]]])
    """
    for measure in (rho, other):
        if not isinstance(measure, Particles):
            raise InputError(f"directions lead from particles to particles, got {shown(measure)}")
    ends = _direction("other", rho, other.blocks)
    return Blocks(**{block: x - rho.points(block) for block, x in ends.items()})


def principal_directions(
    objective: Energy, measures: Sequence[Particles]
) -> tuple[Blocks, Blocks, tuple[float, float]]:
    """The plane through the last of some measures that is closest to the others, and how close it is.

    The two leading principal directions of the displacements from the last measure, in the metric of the flow at the
    last one, and their shares of the squared displacements (Li et al. 2018, section 7).

    Parameters
    ----------
    objective
        The energy, whose frozen parameters do not count.
    measures
        Three or more, such as the frames of a run on particles.

    Raises
    ------
    InputError
        For fewer measures, or displacements along one line.

    Examples
    --------
    >>> from wflow import PotentialEnergy
    >>> Q = PotentialEnergy(lambda x: x[:, 0] ** 2, lambda x: x * [2, 0])
    >>> path = [Particles(x=[[[x, y]]]) for x, y in [(3, 0), (0, 1), (0, 0)]]
    >>> d1, d2, shares = principal_directions(Q, path)
    >>> abs(d1.x), abs(d2.x), shares
    (array([[[1., 0.]]]), array([[[0., 1.]]]), (0.9, 0.1))
    """
    if not isinstance(measures, Sequence):
        raise InputError(f"measures must be a list of particles, got {shown(measures)}")
    if len(measures) < 3:
        raise InputError(f"principal directions need three measures or more, got {len(measures)}: save more frames")
    *path, last = (_particles(objective, rho) for rho in measures)
    metric = _metric(objective, last)
    away = [_moving(metric, direction_to(last, rho)) for rho in path]
    products = np.array([[_inner(metric, x, y) for y in away] for x in away])
    values, vectors = np.linalg.eigh(products)
    if not values[-2] > 1e-14 * max(values[-1], 0.0):
        raise InputError("the measures lie on a line: it has no second principal direction")
    made = []
    for value, vector in ((values[k], vectors[:, k]) for k in (-1, -2)):
        vector = vector * np.sign(vector[np.abs(vector).argmax()])  # the sign is free
        sums = {block: sum(c * x[block] for c, x in zip(vector, away)) / np.sqrt(value) for block in last.blocks}
        made.append(Blocks(**sums))
    total = float(np.trace(products))
    return made[0], made[1], (float(values[-1]) / total, float(values[-2]) / total)


def random_directions(rho: Particles, rng: np.random.Generator | int) -> tuple[Blocks, Blocks]:
    """Two random directions: independent standard normal numbers for every parameter of every particle.

    Examples
    --------
    >>> d1, d2 = random_directions(Particles(x=[[[0.0, 0.0]]]), rng=0)
    >>> d1.x.shape, bool((d1.x == d2.x).any())
    ((1, 1, 2), False)
    """
    if not isinstance(rho, Particles):
        raise InputError(f"rho must be particles, got {shown(rho)}")
    rng = check_rng(rng)
    draws = ({block: rng.standard_normal(x.shape) for block, x in rho.blocks.items()} for _ in range(2))
    first, second = (Blocks(**draw) for draw in draws)
    return first, second


def _particles(objective: Any, rho: Any) -> Particles:
    """Particles at the nodes of an energy."""
    if not isinstance(objective, Energy):
        raise InputError(f"objective must be an energy, got {shown(objective)}")
    rho = objective.prepare(rho)
    if not isinstance(rho, Particles):
        raise InputError(f"a landscape moves particles, got {shown(rho)}: a density has none")
    return rho


def _direction(name: str, rho: Particles, d: Any) -> dict[str, Array]:
    """A direction by the blocks of a measure, in float64."""
    out = {}
    for block, x in check_blocks_named(name, d, list(rho.blocks)).items():
        array = check_array(f"{name} of {block}", x, 3, "(S, M, p)").astype(np.float64)
        if array.shape != rho.points(block).shape:
            raise InputError(f"{name} of {block} must have shape {rho.points(block).shape}, got {array.shape}")
        out[block] = array
    return {block: out[block] for block in rho.blocks}


def _metric(objective: Energy, rho: Particles) -> dict[str, Array]:
    """``om_l a_{l,j} M^{-1}`` by block, 0 where M is."""
    ones = {block: np.ones(x.shape[2]) for block, x in rho.blocks.items()}
    inverses = {block: inverse_mobility(objective.mobilities.get(block, one)) for block, one in ones.items()}
    return {block: rho.mass(block)[:, :, None] * inverse for block, inverse in inverses.items()}


def _inner(metric: Mapping[str, Array], x: Mapping[str, Array], y: Mapping[str, Array]) -> float:
    return float(sum(np.sum(g * x[block] * y[block]) for block, g in metric.items()))


def _moving(metric: Mapping[str, Array], d: Mapping[str, Array]) -> dict[str, Array]:
    """A direction without frozen parameters and particles without mass."""
    return {block: np.where(g > 0, d[block], 0.0) for block, g in metric.items()}


def _unit(metric: Mapping[str, Array], d: Mapping[str, Array], name: str) -> dict[str, Array]:
    size = np.sqrt(_inner(metric, d, d))
    if not size > 0:
        raise InputError(
            f"{name} must move some particles: it is zero but for frozen parameters and particles of mass 0"
        )
    return {block: x / size for block, x in d.items()}
