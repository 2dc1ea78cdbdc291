"""Laws of the initial measure ``rho_0(. | t)``, and particles drawn from them.

A law is written down once and sampled for an objective, which knows the blocks, their parameters and the
depth nodes:

>>> from wflow import Dataset, FeedForward, SoftmaxAttention, TransformerObjective
>>> data = Dataset(np.ones((1, 3, 2)), [1.0])
>>> Q = TransformerObjective(data, SoftmaxAttention(), FeedForward("relu"), layers=4)
>>> gaussian(std=0.5).sample(Q, 16, 0)
Particles(theta=(4, 16, 18), w=(4, 16, 6), float64)

One law serves all blocks; :class:`product` gives each block, or each group of parameters of a block, another:

>>> law = product(V=ball(1.0), W=gaussian("lecun"), w=gaussian("he"))
>>> rho = law.sample(Q, {"theta": 8, "w": 32}, 0, kind="net")
>>> rho.theta.shape, rho.w.shape
((4, 8, 18), (4, 32, 6))

The groups are the matrices of the encoders: V, W of attention (W_V, W_O, W_K, W_Q when factored), W_1, W_2 of
a feed-forward particle. A user's encoder has none; laws serve its whole block. Everything is dimensionless.
"""

from __future__ import annotations

__all__ = ["KINDS", "LAWS", "Law", "atoms", "ball", "gaussian", "product"]

import contextlib
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from wflow.checks import (
    check_array,
    check_blocks_named,
    check_choice,
    check_masses,
    check_memory,
    check_positive,
    check_result,
    check_rng,
    did_you_mean,
    is_integer,
    shown,
)
from wflow.energies import TransformerObjective
from wflow.errors import InputError
from wflow.measures import Grid, Particles
from wflow.measures.grid import Box, centres, check_box, check_cells
from wflow.plain import register
from wflow.types import NUMBERS, POSITIVE, Values, is_count, is_number, list_of

Array = NDArray[np.float64]

#: How clouds of different slices are related: see :meth:`Law.sample`.
KINDS = ("iid", "shared", "net")

#: The precisions of particles.
DTYPES = ("float64", "float32")

#: What to take for a law without spread.
ATOMS = "; a law in one point is atoms([[...]])"

#: The scalings by name: std = gain / sqrt(fan_in).
GAINS = {"lecun": 1.0, "he": math.sqrt(2.0)}


def _is_width(value: Any) -> bool:
    """Whether plain data are a number of particles, or numbers by block."""
    by_block = isinstance(value, dict) and set(value) <= {"theta", "w"} and all(map(is_count, value.values()))
    return by_block or is_count(value)


def _is_cells(value: Any) -> bool:
    """Whether plain data are a number of cells, or numbers by block, or by block and axis."""
    by_block = isinstance(value, dict) and all(is_count(n) or list_of(is_count)(n) for n in value.values())
    return by_block or is_count(value)


def _is_box(value: Any) -> bool:
    """Whether plain data are lists of intervals by block."""
    return isinstance(value, dict) and all(map(list_of(list_of(is_number)), value.values()))


Width = Annotated[
    int | Mapping[str, int | None] | None,
    Values("a positive integer, or one for each block such as { theta = 32, w = 64 }", _is_width),
]
Cells = Annotated[
    Mapping[str, Sequence[int] | int] | int,
    Values("cells along an axis, or for each block such as { theta = [32, 64], w = 48 }", _is_cells),
]
Intervals = Annotated[Box, Values("intervals for each block, such as { w = [[-4, 4], [-4, 4]] }", _is_box)]
Std = Annotated[
    float | str | Callable[[float], float],
    Values(
        "a positive finite number, 'lecun' or 'he'",
        lambda value: value in GAINS if isinstance(value, str) else POSITIVE.test(value),
        GAINS,
    ),
]
Mean = Annotated[
    ArrayLike | Callable[[float], ArrayLike],
    Values("a number or a list of numbers", lambda value: is_number(value) or list_of(is_number)(value)),
]
Points = Annotated[
    ArrayLike | Callable[[float], ArrayLike],
    Values("a list of points, which are lists of numbers", list_of(list_of(is_number))),
]

#: The mass of a law on the cells of a box, before it is scaled to one, lies between these.
LEAST_MASS, MOST_MASS = 0.5, 1.5


@dataclass(frozen=True, eq=False)
class Group:
    """Coordinates of a block that have one law: all of them, or those of one matrix."""

    name: str
    place: slice
    fan_in: Array  # of every coordinate, the columns of its matrix; nan where the encoder is a user's

    @property
    def size(self) -> int:
        """How many coordinates."""
        return len(self.fan_in)


#: The group of all coordinates of a block, and its named groups.
Layout = dict[str, tuple[Group, dict[str, Group]]]


class Law:
    """A law ``rho_0(. | t)`` written as the image of the unit cube: ``beta = quantile(u, t)``, u uniform.

    A subclass gives :meth:`quantile`, and :meth:`draws` unless it takes one uniform a coordinate.
    """

    def draws(self, n: int) -> int:
        """How many uniforms make n coordinates."""
        return n

    def quantile(self, u: Array, t: float, group: Group) -> Array:
        """Points (M, n) of the law at depth t for a group of n coordinates; u (M, draws(n)) in (0, 1)."""
        raise NotImplementedError

    def _parts(self, layout: Layout) -> dict[str, list[tuple[Law, Group]]]:
        """Which law each block, or each of its groups, has."""
        return {block: [(self, whole)] for block, (whole, _) in layout.items()}

    def sample(
        self,
        objective: TransformerObjective,
        M: Width,
        rng: np.random.Generator | int,
        *,
        kind: Annotated[str, KINDS] = "iid",
        dtype: Annotated[DTypeLike, DTYPES] = "float64",
    ) -> Particles:
        """Particles ``beta_{l,j}`` of the law ``rho_0(. | t_l)`` at the depth nodes ``t_l`` of an objective.

        Parameters
        ----------
        objective
            Says blocks, encoders and depth rule.
        M
            The number of particles in every slice, or ``{block: number}``. None for a block with the law
            :class:`atoms`: all atoms in every slice, with the weights of the law, so that nothing is random.
        rng
            A numpy Generator, or a seed for one. ``dtype`` does not change the points, up to rounding.
        kind
            ``"iid"``: independent particles, independent in every slice.

            ``"shared"``: M independent particles, the same ones in every slice; of a law that changes with t,
            the same u in every slice.

            ``"net"``: a net in depth. One scrambled Sobol' net of S M points ``(t, u)`` is sorted by t and
            dealt to the S slices, M points to each. Every single particle has the law rho_0, and averages of
            smooth functions over depth and particles have errors far below ``(S M)^(-1/2)``. Blocks with the
            same M share one net ``(t, u_theta, u_w)``, others have a net each. It is at its best when S M is
            a power of two; otherwise the first S M points of the sequence are used, and dealing them still
            puts M into every slice. The slices must have equal weights.
        dtype
            float64 or float32.

        Returns
        -------
        Particles
            Arrays (S, M, p), placed at the depth nodes of the objective.

        Raises
        ------
        InputError
            For another ``kind``, ``M``, ``rng`` or ``dtype``; a law that does not fit the parameters; a net
            for slices of unequal weights or in more than 21201 dimensions.

        References
        ----------
        Sobol', USSR Comput. Math. Math. Phys. 7 (1967) 86; scrambled as in Matoušek, J. Complexity 14 (1998)
        527.

        Examples
        --------
        >>> from wflow import Dataset, FeedForward, TransformerObjective
        >>> data = Dataset(np.ones((1, 1, 1)), [1.0])
        >>> Q = TransformerObjective(data, feedforward=FeedForward(), layers=8)
        >>> mean = {kind: gaussian(1.0).sample(Q, 32, 0, kind=kind).w.mean() for kind in KINDS}
        >>> bool(abs(mean["net"]) < 0.05 * abs(mean["iid"]))
        True
        """
        check_choice("kind", kind, KINDS)
        dtype, generator = _check_dtype(dtype), check_rng(rng)
        parts, rule = self._parts(_layout(objective)), objective.rule
        widths = _widths(M, list(parts))
        numbers = sum(M * objective.n_parameters[block] for block, M in widths.items() if M is not None)
        words = f"{rule.n_slices} slices of particles, {numbers} numbers each,"
        check_memory(words, 24 * rule.n_slices * numbers, "take fewer particles or layers")  # uniforms, points, a copy
        if kind == "net" and np.ptp(rule.weights) > 1e-12:
            raise InputError(
                f"kind='net' deals equally many points to all depth slices, but those of {rule.name} "
                "have different weights; use depth='split-euler' or 'midpoint', or kind='iid'"
            )
        u: dict[str, Array] = {}
        weights: dict[str, Array] = {}
        random: dict[str, tuple[int, int]] = {}
        for block, width in widths.items():
            if width is not None:
                random[block] = width, sum(law.draws(group.size) for law, group in parts[block])
                continue
            law, group = parts[block][0]
            if not isinstance(law, atoms) or len(parts[block]) > 1:
                raise InputError(f"M=None takes all atoms, but block {block!r} has another law; give a number")
            mass = law.masses(rule.nodes, group)
            u[block] = np.broadcast_to((np.cumsum(mass) - 0.5 * mass)[:, None], (rule.n_slices, len(mass), 1))
            if law.weights is not None:
                weights[block] = np.broadcast_to(mass, (rule.n_slices, len(mass)))
        u |= _uniforms(kind, random, rule.n_slices, generator)
        points = {block: _points(parts[block], u[block], rule.nodes).astype(dtype) for block in parts}
        return Particles(weights=weights, t=rule.nodes, depth_weights=rule.weights, **points)

    def density(self, points: Array, t: float, group: Group) -> Array:
        """The density at points (K, n) at depth t for a group of n coordinates: shape (K,)."""
        raise InputError(f"{self!r:.60} has no density: it cannot be put on a grid")

    def cell_density(self, centres: Array, widths: Array, t: float, group: Group) -> Array:
        """The density (K,) of cells with these centres (K, n) and widths (n,), whose mass sits at the centres.

        For a law that is smooth and wider than cells, its density at the centres has the moments of the law to all
        orders.
        """
        return self.density(centres, t, group)

    def scale(self, t: float, group: Group) -> tuple[str, Array, float] | None:
        """A length of the law, by name and along every coordinate (n,), and how many of it cells may be wide.

        None where nothing is known: cells are then only held to carry the mass of the law.
        """
        return None

    def on_grid(self, objective: TransformerObjective, box: Intervals, cells: Cells) -> Grid:
        """The densities ``rho_0(. | t_l)`` at the depth nodes ``t_l`` of an objective, on the cells of a box.

        Their second moments are those of the law, to a thousandth.

        Parameters
        ----------
        objective
            Says blocks, encoders and depth rule.
        box
            ``{block: ((lo, hi), ...)}``, an interval for every one of the p <= 3 parameters.
        cells
            The number of cells along an axis, or ``{block: (n_1, ..., n_p)}``.

        Returns
        -------
        Grid
            Scaled to mass one in every slice.

        Raises
        ------
        InputError
            For a law without density such as :class:`atoms`, blocks with p > 3, boxes and cells that do not fit, a law
            that is too narrow for the cells, and one of which most lies outside the box.

        Examples
        --------
        >>> from wflow import Dataset, FeedForward, TransformerObjective
        >>> Q = TransformerObjective(Dataset(np.ones((1, 1, 1)), [1.0]), feedforward=FeedForward(), layers=2)
        >>> rho = gaussian(0.5).on_grid(Q, {"w": ((-3, 3), (-3, 3))}, 24)
        >>> rho.w.shape, rho.moment(2).w[0].round(6)
        ((2, 24, 24), array([0.25, 0.25]))
        """
        parts, rule = self._parts(_layout(objective)), objective.rule
        box = check_blocks_named("box", box, list(parts))
        counts = dict(cells) if isinstance(cells, Mapping) else dict.fromkeys(parts, cells)
        if set(counts) != set(parts):
            raise InputError(f"cells must be an integer or name the blocks {', '.join(parts)}, got {shown(cells)}")
        arrays = {}
        for block, laws in parts.items():
            p = objective.n_parameters[block]
            intervals = check_box(block, box[block], p)
            shape = check_cells(block, counts[block], p, rule.n_slices)
            axes = [centres(lo, hi, n) for (lo, hi), n in zip(intervals, shape)]
            points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, p)
            widths = np.array([(hi - lo) / n for (lo, hi), n in zip(intervals, shape)])
            array = np.ones((rule.n_slices, len(points)))
            for l, t in enumerate(map(float, rule.nodes)):
                for law, group in laws:
                    _check_width(law, block, widths, shape, t, group)
                    place = group.place
                    density = law.cell_density(points[:, place], widths[place], t, group)
                    array[l] *= check_result(f"the density of {law!r:.60} must have shape", density, array.shape[1:])
                if not LEAST_MASS <= (mass := float(array[l].sum() * widths.prod())) <= MOST_MASS:
                    raise InputError(
                        f"the cells of {block} carry {mass:.3g} times the mass of the law at t={t:.3g}, which lies "
                        "outside the box or is narrower than a cell: enlarge the box, or take more cells"
                    )
            arrays[block] = array.reshape(-1, *shape)
        return Grid(box=box, t=rule.nodes, depth_weights=rule.weights, **arrays)


@dataclass(frozen=True)
class gaussian(Law):  # the laws are named as they are called
    """Independent normal coordinates, ``beta_i ~ N(mean_i(t), std(t)^2)``: ``beta = mean + std Phi^{-1}(u)``.

    Parameters
    ----------
    std
        A positive number, a function of t, or a scaling by name: ``"lecun"`` is ``1/sqrt(fan_in)`` and
        ``"he"`` is ``sqrt(2/fan_in)``. The fan-in is the number of columns of the matrix to which a parameter
        belongs: D for V, W, W_V, W_K and W_Q, r for W_O, D (with bias D + 1) for W_1, m for W_2.
    mean
        A number, one number per parameter, or a function of t with such values.

    Raises
    ------
    InputError
        Unless std is positive and finite; for a mean of another length; for a scaling where the fan-in is
        unknown.

    References
    ----------
    LeCun, Bottou, Orr, Müller, Efficient BackProp (1998), section 4.6.
    He, Zhang, Ren, Sun, Delving deep into rectifiers, ICCV 2015, equation 10.

    Examples
    --------
    >>> gaussian("he")
    gaussian(std='he', mean=0.0)
    >>> from wflow import Dataset, FeedForward, TransformerObjective
    >>> Q = TransformerObjective(Dataset(np.ones((1, 1, 1)), [1.0]), feedforward=FeedForward(), layers=2)
    >>> rho = gaussian(std=1e-9, mean=lambda t: [t, 1.0]).sample(Q, 1, 0)
    >>> rho.t, rho.w[:, 0].round(6)
    (array([0. , 0.5]), array([[0. , 1. ], [0.5, 1. ]]))
    """

    std: Std = 1.0
    mean: Mean = 0.0

    def __post_init__(self) -> None:
        if isinstance(self.std, str):
            if self.std not in GAINS:
                hint = did_you_mean(self.std, GAINS)
                raise InputError(f"std must be a positive number or one of {', '.join(GAINS)}, got {self.std!r}{hint}")
        elif not callable(self.std):
            object.__setattr__(self, "std", check_positive("std", self.std, ATOMS))
        if not callable(self.mean):
            plain = check_array("mean", self.mean, (0, 1), "(n,)").tolist()
            object.__setattr__(self, "mean", tuple(plain) if isinstance(plain, list) else plain)

    def quantile(self, u: Array, t: float, group: Group) -> Array:
        """``mean + std Phi^{-1}(u)`` (see :meth:`Law.quantile`)."""
        from scipy.special import ndtri

        return np.asarray(self._mean(t, group) + self._std(t, group) * ndtri(u))

    def density(self, points: Array, t: float, group: Group) -> Array:
        """The product of normal densities (see :meth:`Law.density`)."""
        std = np.broadcast_to(self._std(t, group), (group.size,))
        z = (points - self._mean(t, group)) / std
        return np.asarray(np.exp(-0.5 * np.sum(z**2, axis=1)) / np.prod(np.sqrt(2 * np.pi) * std))

    def scale(self, t: float, group: Group) -> tuple[str, Array, float]:
        """The standard deviation, of which cells may be 4/3 (see :meth:`Law.scale`).

        Cells of width dx change the variance by ``2 (2 pi s/dx)^2 exp(-2 (pi s/dx)^2)`` of itself (Poisson).
        """
        return "std", np.broadcast_to(self._std(t, group), (group.size,)), 4 / 3

    def _mean(self, t: float, group: Group) -> Array:
        mean = check_array("mean", _value(self.mean, t), (0, 1), f"({group.size},)")
        if mean.ndim and len(mean) != group.size:
            raise InputError(f"mean for {group.name!r} must have {group.size} entries, got {len(mean)}")
        return mean

    def _std(self, t: float, group: Group) -> Array | float:
        if not isinstance(self.std, str):
            return check_positive(f"std at t={t:.6g}", _value(self.std, t))
        if np.isnan(group.fan_in).any():
            raise InputError(
                f"std={self.std!r} needs a fan-in, which the encoder of block {group.name!r} does not have; "
                "give a number"
            )
        return np.asarray(GAINS[self.std] / np.sqrt(group.fan_in))


@dataclass(frozen=True)
class ball(Law):
    """The uniform law on the ball ``|beta| <= radius(t)`` of all coordinates of the block, or of the group.

    With ``g = Phi^{-1}(u)`` in n dimensions, ``|g|^2`` has the distribution function ``P(n/2, |g|^2/2)``
    (regularised incomplete gamma), so that ``beta = radius P(n/2, |g|^2/2)^{1/n} g/|g|``. For n = 1 it is
    ``radius (2 u - 1)``.

    Parameters
    ----------
    radius
        A positive number, or a function of t.

    Raises
    ------
    InputError
        Unless the radius is positive and finite.

    References
    ----------
    Devroye, Non-Uniform Random Variate Generation (1986), section V.4 (direction and radius).

    Examples
    --------
    >>> from wflow import Dataset, FeedForward, TransformerObjective
    >>> Q = TransformerObjective(Dataset(np.ones((1, 1, 1)), [1.0]), feedforward=FeedForward(), layers=2)
    >>> bool((np.linalg.norm(ball(2.0).sample(Q, 100, 0).w, axis=2) <= 2).all())
    True
    """

    radius: Annotated[float | Callable[[float], float], POSITIVE]

    def __post_init__(self) -> None:
        if not callable(self.radius):
            object.__setattr__(self, "radius", check_positive("radius", self.radius, ATOMS))

    def quantile(self, u: Array, t: float, group: Group) -> Array:
        """``radius P(n/2, |g|^2/2)^{1/n} g/|g|`` (see :meth:`Law.quantile`)."""
        from scipy.special import gammainc, ndtri

        radius, n = check_positive(f"radius at t={t:.6g}", _value(self.radius, t)), group.size
        g = ndtri(u)
        norm = np.linalg.norm(g, axis=1, keepdims=True)
        scale = radius * gammainc(n / 2, norm**2 / 2) ** (1 / n) / np.maximum(norm, np.finfo(float).tiny)
        return np.asarray(scale * g)

    def density(self, points: Array, t: float, group: Group) -> Array:
        """One over the volume inside the ball, 0 outside (see :meth:`Law.density`)."""
        radius, n = check_positive(f"radius at t={t:.6g}", _value(self.radius, t)), group.size
        volume = np.pi ** (n / 2) / math.gamma(n / 2 + 1) * radius**n
        return np.where(np.linalg.norm(points, axis=1) <= radius, 1 / volume, 0.0)

    def cell_density(self, centres: Array, widths: Array, t: float, group: Group) -> Array:
        """The share of every cell in an ellipsoid whose second moments, on the cells, are those of the ball.

        The share is taken from the distance of the centre to the surface; the semi-axes are found by iteration (see
        :meth:`Law.cell_density`).
        """
        radius, n = check_positive(f"radius at t={t:.6g}", _value(self.radius, t)), group.size
        axes, inside = np.full(n, radius), np.zeros(len(centres))
        for _ in range(50):
            x, width = centres / axes, widths / axes
            norm = np.maximum(np.linalg.norm(x, axis=1), np.finfo(float).tiny)
            across = np.maximum(np.abs(x) @ width / norm, np.finfo(float).tiny)
            inside = np.clip((1 - norm) / across + 0.5, 0.0, 1.0)
            if not inside.any():
                break
            moments = inside @ centres**2 / inside.sum()
            better = np.minimum(axes * radius / np.sqrt((n + 2) * moments), radius)  # less where the box cuts it
            if np.abs(better - axes).max() < 1e-12 * radius:
                break
            axes = better
        volume = np.pi ** (n / 2) / math.gamma(n / 2 + 1) * float(np.prod(axes))
        return np.asarray(inside / volume)

    def scale(self, t: float, group: Group) -> tuple[str, Array, float]:
        """The radius, of which cells may be 1/2 (see :meth:`Law.scale`)."""
        return "radius", np.full(group.size, check_positive(f"radius at t={t:.6g}", _value(self.radius, t))), 1 / 2


@dataclass(frozen=True, eq=False)
class atoms(Law):
    """Finitely many points: ``rho_0(. | t) = sum_k a_k delta_{b_k(t)}``.

    ``sample(objective, M, rng)`` draws M of the K atoms with replacement, also for M = K; with M = None it
    takes all of them in every slice, which is the law itself without any sampling error.

    Parameters
    ----------
    points
        Shape (K, p), or a function of t with such values.
    weights
        The masses a_k, shape (K,), positive and one in sum; None for 1/K.

    Raises
    ------
    InputError
        Wrong shapes, entries that are not finite, weights that are not positive or not one in sum.

    Examples
    --------
    >>> from wflow import Dataset, FeedForward, TransformerObjective
    >>> Q = TransformerObjective(Dataset(np.ones((1, 1, 1)), [1.0]), feedforward=FeedForward(), layers=1)
    >>> law = atoms([[1.0, -1.0], [2.0, 0.0]], weights=[0.25, 0.75])
    >>> rho = law.sample(Q, None, 0)
    >>> rho.w[0], rho.weights("w")[0]
    (array([[ 1., -1.], [ 2.,  0.]]), array([0.25, 0.75]))
    >>> law.sample(Q, 5, 0).w[0, :, 0]
    array([2., 2., 1., 1., 2.])
    """

    points: Points
    weights: Annotated[ArrayLike | None, NUMBERS] = None

    def __post_init__(self) -> None:
        if not callable(self.points):
            object.__setattr__(self, "points", _checked_atoms(self.points))
        if self.weights is not None:
            shape = check_array("weights", self.weights, 1, "(K,)").shape
            if shape == (0,):
                raise InputError("weights must be positive and sum to 1, got none")
            object.__setattr__(self, "weights", check_masses("weights", self.weights, shape, "(K,)", positive=True))

    def at(self, t: float, group: Group) -> tuple[Array, Array]:
        """The atoms (K, n) at depth t and their masses (K,)."""
        points = _checked_atoms(_value(self.points, t))
        if points.shape[1] != group.size:
            raise InputError(
                f"atoms for {group.name!r} must have shape (K, {group.size}), got {points.shape}; give "
                "every block atoms of its own: product(theta=atoms(...), w=atoms(...))"
            )
        K = len(points)
        mass = np.full(K, 1 / K) if self.weights is None else np.asarray(self.weights)
        if len(mass) != K:
            raise InputError(f"atoms and weights must be equally many, got {K} atoms and {len(mass)} weights")
        return points, mass

    def masses(self, nodes: Array, group: Group) -> Array:
        """The masses (K,), for which the atoms must be equally many at all depths."""
        masses = [self.at(float(t), group)[1] for t in nodes]
        if len({len(mass) for mass in masses}) > 1:
            raise InputError(f"M=None needs equally many atoms at every depth, got {[len(mass) for mass in masses]}")
        return masses[0]

    def draws(self, n: int) -> int:
        """One uniform, which chooses the atom."""
        return 1

    def quantile(self, u: Array, t: float, group: Group) -> Array:
        """The atom k with ``a_1 + ... + a_{k-1} <= u < a_1 + ... + a_k`` (see :meth:`Law.quantile`)."""
        points, mass = self.at(t, group)
        return points[np.minimum(np.searchsorted(np.cumsum(mass), u[:, 0], side="right"), len(mass) - 1)]


@dataclass(frozen=True, init=False, repr=False)
class product(Law):
    """Independent parts: one law for every block, or for every parameter group of a block.

    Parameters
    ----------
    laws
        By the name of a block (theta, w) or of a group (V, W, or W_V, W_O, W_K, W_Q; W_1, W_2). Every
        parameter belongs to exactly one name.

    Raises
    ------
    InputError
        Unknown names, and parameters that are left out or named twice.

    Examples
    --------
    >>> law = product(theta=gaussian(0.1), W_1=gaussian("he"), W_2=ball(1.0))
    >>> law
    product(theta=gaussian(std=0.1, mean=0.0), W_1=gaussian(std='he', mean=0.0), W_2=ball(radius=1.0))
    >>> from wflow import Dataset, SoftmaxAttention, TransformerObjective
    >>> Q = TransformerObjective(Dataset(np.ones((1, 1, 1)), [1.0]), SoftmaxAttention(), layers=2)
    >>> law.sample(Q, 8, 0)
    Traceback (most recent call last):
    wflow.errors.InputError: product names W_1, W_2, but this objective has theta (or its groups V, W)
    """

    laws: tuple[tuple[str, Law], ...]

    def __init__(self, **laws: Law) -> None:
        for name, law in laws.items():
            if not isinstance(law, Law) or isinstance(law, product):
                raise InputError(f"{name} must be a law: gaussian(...), ball(...) or atoms(...), got {shown(law)}")
        object.__setattr__(self, "laws", tuple(laws.items()))

    def __repr__(self) -> str:
        return f"product({', '.join(f'{name}={law!r}' for name, law in self.laws)})"

    def _parts(self, layout: Layout) -> dict[str, list[tuple[Law, Group]]]:
        laws = dict(self.laws)
        known = {name for block, (_, groups) in layout.items() for name in (block, *groups)}
        if unknown := [name for name in laws if name not in known]:
            valid = (f"{b} (or its groups {', '.join(g)})" if g else b for b, (_, g) in layout.items())
            raise InputError(f"product names {', '.join(unknown)}, but this objective has {', '.join(valid)}")
        parts: dict[str, list[tuple[Law, Group]]] = {}
        for block, (whole, groups) in layout.items():
            named = [name for name in groups if name in laws]
            if block in laws:
                if named:
                    raise InputError(f"product names {block} and its groups {', '.join(named)}: name one or the other")
                parts[block] = [(laws[block], whole)]
            elif named and len(named) == len(groups):
                parts[block] = [(laws[name], group) for name, group in groups.items()]
            else:
                missing = ", ".join(name for name in groups if name not in laws) if named else block
                remedy = f"{block}, or all of its groups {', '.join(groups)}" if groups else block
                raise InputError(f"product leaves out {missing}; name {remedy}")
        return parts


#: The laws by the names that files and run files use; a product is made of them.
LAWS: dict[str, type[Law]] = {"gaussian": gaussian, "ball": ball, "atoms": atoms}
register(**LAWS, product=product)


def _value(value: Any, t: float) -> Any:
    return value(t) if callable(value) else value


def _check_width(law: Law, block: str, widths: Array, cells: tuple[int, ...], t: float, group: Group) -> None:
    """Raise :class:`InputError` where cells are too wide for a law."""
    if (scale := law.scale(t, group)) is None:
        return
    name, lengths, most = scale
    ratios = widths[group.place] / lengths
    if ratios.max() <= most * (1 + 1e-9):
        return
    k = int(ratios.argmax())
    axis = range(len(widths))[group.place][k]
    raise InputError(
        f"the law of {block} is too narrow for the grid: along axis {axis} at t={t:.3g} its {name} is {lengths[k]:.3g} "
        f"and cells are {widths[axis]:.3g} wide, more than {most:.3g} times the {name}; take at least "
        f"{math.ceil(cells[axis] * ratios[k] / most)} cells along that axis"
    )


def _checked_atoms(points: Any) -> Array:
    array = check_array("atoms", points, 2, "(K, p)").astype(np.float64)
    if array.size == 0:
        raise InputError(f"atoms must not be empty, got shape {array.shape}")
    return array


def _widths(M: Any, blocks: list[str]) -> dict[str, int | None]:
    """The number of particles by block; None for all atoms."""
    widths = dict(M) if isinstance(M, Mapping) else dict.fromkeys(blocks, M)
    if set(widths) != set(blocks):
        raise InputError(f"M must be an integer or name the blocks {', '.join(blocks)}, got {shown(M)}")
    for width in widths.values():
        if width is not None and (not is_integer(width) or width < 1):
            raise InputError(f"M must be a positive integer, or None to take all atoms, got {shown(M)}")
    return {block: None if widths[block] is None else int(widths[block]) for block in blocks}


def _check_dtype(value: DTypeLike) -> np.dtype[Any]:
    """float32 or float64."""
    with contextlib.suppress(TypeError, ValueError):
        if isinstance(value, (str, type, np.dtype)) and np.dtype(value) in (np.float32, np.float64):
            return np.dtype(value)
    raise InputError(f"dtype must be float32 or float64, got {shown(value)}")


def _layout(objective: TransformerObjective) -> Layout:
    """The parameters of every block and of its groups."""
    if not hasattr(objective, "encoders"):
        raise InputError(f"expected a wflow.TransformerObjective to sample for, got {type(objective).__name__}")
    D, layout = objective.dataset.dimension, {}
    for block, p in objective.n_parameters.items():
        groups_of, fan_in = getattr(objective.encoders[block], "groups", None), np.full(p, np.nan)
        places = {} if groups_of is None else groups_of(D)
        for place, columns in places.values():
            fan_in[place] = columns
        groups = {name: Group(name, place, fan_in[place]) for name, (place, _) in places.items()}
        layout[block] = Group(block, slice(0, p), fan_in), groups
    return layout


def _uniforms(kind: str, sizes: dict[str, tuple[int, int]], slices: int, rng: np.random.Generator) -> dict[str, Array]:
    """Points (S, M, d) in the open unit cube, by block, for ``sizes[block] = (M, d)``."""
    if kind == "net":
        if len({width for width, _ in sizes.values()}) > 1:
            return {block: _net(slices, *size, rng) for block, size in sizes.items()}
        ends = np.cumsum([0, *(d for _, d in sizes.values())])
        net = _net(slices, next(iter(sizes.values()))[0], ends[-1], rng) if sizes else np.empty((0, 0, 0))
        return {block: net[..., start:end] for block, start, end in zip(sizes, ends, ends[1:])}
    clouds = slices if kind == "iid" else 1
    return {
        block: np.broadcast_to(np.maximum(rng.random((clouds, *size)), 2.0**-54), (slices, *size))
        for block, size in sizes.items()
    }


def _net(slices: int, width: int, d: int, rng: np.random.Generator) -> Array:
    """u, shape (S, M, d), of a scrambled Sobol' net in (t, u), sorted by t and dealt to the slices."""
    from scipy.stats import qmc  # takes a second to import

    if d + 1 > qmc.Sobol.MAXDIM:
        raise InputError(
            f"kind='net' needs a Sobol' net in {d + 1} dimensions (t and every random parameter), and there "
            f"is none beyond {qmc.Sobol.MAXDIM}; use kind='iid', or factored attention of lower rank"
        )
    with warnings.catch_warnings():
        # Between powers of two the first S M points lose balance, most of which dealing restores.
        warnings.filterwarnings("ignore", message="The balance properties of Sobol' points", category=UserWarning)
        points = qmc.Sobol(d + 1, scramble=True, seed=rng).random(slices * width)
    points = points[np.argsort(points[:, 0], kind="stable"), 1:] + 2.0**-31  # centres of cells: never 0
    return np.asarray(points.reshape(slices, width, d))


def _points(parts: list[tuple[Law, Group]], u: Array, nodes: Array) -> Array:
    """The particles of one block, shape (S, M, p), from u (S, M, d)."""
    ends = np.cumsum([0, *(law.draws(group.size) for law, group in parts)])
    points = np.empty((*u.shape[:2], parts[-1][1].place.stop))
    for (law, group), start, end in zip(parts, ends, ends[1:]):
        for l, t in enumerate(nodes):
            x = law.quantile(u[l, :, start:end], float(t), group)
            shape = u.shape[1], group.size
            points[l, :, group.place] = check_result(f"the quantiles of {law!r:.60} must have shape", x, shape)
    return points
