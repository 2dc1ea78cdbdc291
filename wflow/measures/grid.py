"""A law with densities on tensor grids.

>>> import numpy as np
>>> rho = Grid(x=np.ones(4), box={"x": ((0.0, 2.0),)})
>>> rho.points("x")[0, :, 0], rho.x[0]
(array([0.25, 0.75, 1.25, 1.75]), array([0.5, 0.5, 0.5, 0.5]))
"""

from __future__ import annotations

__all__ = ["Grid"]

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wflow.checks import check_array, check_blocks_named, check_integer, check_memory, check_number, is_integer, shown
from wflow.errors import InputError
from wflow.measures.measure import Measure
from wflow.measures.particles import Particles

Array = NDArray[np.float64]

Box = Mapping[str, Sequence[Sequence[float]]]


class Grid(Measure):
    """Densities at the centres of the cells of a box, in every depth slice. Immutable.

    ``rho_block(beta | t_l)`` has the value ``array[l, i_1, ..., i_p]`` in the cell (i_1, ..., i_p). As quadrature, the
    mass of a cell sits at its centre: this is what energies read.

    Parameters
    ----------
    box
        ``{block: ((lo, hi), ...)}``, an interval for every one of the p = 1, 2 or 3 parameters.
    t, depth_weights
        The depth nodes and their quadrature weights, as in :class:`wflow.Particles`.
    blocks
        By name, non-negative arrays (S, n_1[, n_2[, n_3]]); without the axis S, one slice. Every slice is scaled to
        mass one.

    Raises
    ------
    InputError
        Wrong shapes, boxes that do not fit, p > 3, negative densities, slices without mass.

    Examples
    --------
    >>> x = np.linspace(-3.95, 3.95, 80)
    >>> rho = Grid(x=np.exp(-(x**2) / 2), box={"x": ((-4, 4),)})
    >>> bool(np.isclose(rho.moment(2).x[0, 0], 1, atol=2e-3)), bool(rho.outer_mass("x") < 2e-4)
    (True, True)
    """

    def __init__(
        self, *, box: Box, t: ArrayLike | None = None, depth_weights: ArrayLike | None = None, **blocks: ArrayLike
    ) -> None:
        box = check_blocks_named("box", box, list(blocks))
        self._box = {name: check_box(name, box[name]) for name in blocks}
        self._points: dict[str, Array] = {}  # made once for all densities on the same cells
        arrays: dict[str, Array] = {}
        for name, value in blocks.items():
            p = len(self._box[name])
            array = check_array(name, value, (p, 1 + p), "(S, n_1, ..., n_p)").astype(np.float64)
            if array.ndim == p:  # one slice
                array = array[None]
            if array.size == 0 or min(array.shape[1:]) < 3:
                raise InputError(f"{name} must have at least 3 cells along every axis, got shape {array.shape}")
            if array.min() < 0:
                raise InputError(f"the density of {name} must not be negative, got {array.min():.6g}")
            with np.errstate(over="ignore"):
                total = self.cell_volume(name, array.shape[1:]) * array.reshape(len(array), -1).sum(axis=1)
            if total.min() <= 0:
                raise InputError(f"the density of {name} has no mass in slice {int(total.argmin())}")
            if not np.isfinite(total).all():
                raise InputError(f"the density of {name} is too large to be scaled, up to {array.max():.6g}")
            arrays[name] = array / total.reshape(-1, *[1] * p)
        self._place(arrays, t, depth_weights)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_points": {}}  # quicker made again than moved: once for every slice

    @property
    def box(self) -> dict[str, tuple[tuple[float, float], ...]]:
        """The intervals of every block."""
        return dict(self._box)

    def cells(self, block: str) -> tuple[int, ...]:
        """The numbers of cells (n_1, ..., n_p)."""
        return self._blocks[block].shape[1:]

    def spacing(self, block: str) -> tuple[float, ...]:
        """The widths of a cell along every axis."""
        return tuple((hi - lo) / n for n, (lo, hi) in zip(self.cells(block), self._box[block]))

    def cell_volume(self, block: str, cells: Sequence[int] | None = None) -> float:
        """The volume of a cell."""
        cells = self.cells(block) if cells is None else cells
        return float(np.prod([(hi - lo) / n for (lo, hi), n in zip(self._box[block], cells)]))

    def axes(self, block: str) -> tuple[Array, ...]:
        """The cell centres along every axis."""
        return tuple(centres(lo, hi, n) for n, (lo, hi) in zip(self.cells(block), self._box[block]))

    def points(self, block: str) -> Array:
        """The cell centres, shape (S, M, p) with M = n_1 ... n_p in row-major order, read only."""
        if not isinstance(block, str) or block not in self._points:
            mesh = np.stack(np.meshgrid(*self.axes(block), indexing="ij"), axis=-1)
            flat = mesh.reshape(-1, mesh.shape[-1])
            self._points[block] = np.broadcast_to(flat, (self.n_slices, *flat.shape))
        return self._points[block]

    def weights(self, block: str) -> Array:
        """The masses of the cells, shape (S, M)."""
        return self.cell_volume(block) * self._blocks[block].reshape(self.n_slices, -1)

    def has_equal_weights(self, block: str) -> bool:
        """Never: the mass is in the weights."""
        return self._blocks[block] is None  # an unknown block raises

    @property
    def radius(self) -> float:
        """The largest ``|beta|`` of a cell with a mass above 1e-12."""
        filled = {name: self.weights(name).max(axis=0) > 1e-12 for name in self.blocks}
        return max(float(np.linalg.norm(self.points(name)[0][cells], axis=1).max()) for name, cells in filled.items())

    def outer_mass(self, block: str) -> float:
        """The largest mass, over the slices, of the cells that touch the boundary of the box."""
        density = self._blocks[block]
        inner = density[(slice(None), *[slice(1, -1)] * (density.ndim - 1))]
        outer = density.reshape(self.n_slices, -1).sum(1) - inner.reshape(self.n_slices, -1).sum(1)
        return float(max(0.0, outer.max()) * self.cell_volume(block))

    def marginal(self, block: str, axis: int) -> Array:
        """The density of one parameter: shape (S, n_axis)."""
        axis = check_integer("axis", axis, least=0, most=self._blocks[block].ndim - 2)
        integrated = tuple(1 + k for k in range(len(self._box[block])) if k != axis)
        volume = self.cell_volume(block) / self.spacing(block)[axis]
        return np.asarray(self._blocks[block].sum(axis=integrated) * volume)

    @classmethod
    def from_particles(cls, rho: Particles, box: Box, cells: Mapping[str, Sequence[int] | int]) -> Grid:
        """The particles spread over the cells around them, linearly: mass and mean stay exact.

        The variance along an axis grows by ``dx^2 f (1 - f)`` a particle, at a distance f dx from a cell centre.

        Parameters
        ----------
        rho
            Particles with p <= 3.
        box, cells
            ``{block: intervals}`` as above and ``{block: (n_1, ..., n_p)}``, an integer for the same number along all
            axes.

        Raises
        ------
        InputError
            When particles lie closer than half a cell to the boundary of the box, or outside; when the variance of a
            slice would more than double, since the cloud is narrower than a cell.

        Examples
        --------
        >>> Grid.from_particles(Particles(x=[[[0.5]]]), {"x": ((0, 4),)}, {"x": 4}).x
        array([[1., 0., 0., 0.]])
        """
        if not isinstance(rho, Particles):
            raise InputError(f"rho must be a wflow.Particles, got {type(rho).__name__}")
        box, cells = (check_blocks_named(name, x, list(rho.blocks)) for name, x in (("box", box), ("cells", cells)))
        arrays = {}
        for name, points in rho.blocks.items():
            p = points.shape[2]
            intervals = check_box(name, box[name], p)
            shape = check_cells(name, cells[name], p, rho.n_slices)
            lo, hi = np.array(intervals).T
            place = (points.astype(float) - lo) / ((hi - lo) / np.array(shape)) - 0.5
            if place.min() < 0 or (place > np.array(shape) - 1).any():
                raise InputError(f"particles of {name} lie outside the cell centres of the box {intervals}: enlarge it")
            corner = np.minimum(place.astype(int), np.array(shape) - 2)
            rest = place - corner
            _check_growth(name, rho.weights(name), points.astype(float), rest * (1 - rest), intervals, shape)
            array = np.zeros((rho.n_slices, *shape))
            slices = np.broadcast_to(np.arange(rho.n_slices)[:, None], points.shape[:2])
            for offset in itertools.product((0, 1), repeat=p):
                share = np.prod(np.where(offset, rest, 1 - rest), axis=2) * rho.weights(name)
                np.add.at(array, (slices, *np.moveaxis(corner + np.array(offset), 2, 0)), share)
            arrays[name] = array
        placed = {"t": rho.t, "depth_weights": rho.depth_weights} if rho.is_placed else {}
        return cls(box=box, **placed, **arrays)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name}={array.shape} on {self._box[name]}" for name, array in self._blocks.items())
        return f"Grid({shapes})"


def centres(lo: float, hi: float, n: int) -> Array:
    """The centres of n equal cells."""
    return np.asarray(lo + (np.arange(n) + 0.5) * ((hi - lo) / n))


def _check_growth(
    block: str, a: Array, points: Array, growth: Array, box: tuple[tuple[float, float], ...], cells: tuple[int, ...]
) -> None:
    """Raise :class:`InputError` where particles with masses a gain more variance on cells than they have.

    The growth of every particle (S, M, p) is in units of the squared widths of the cells.
    """
    mean = np.einsum("sm,smp->sp", a, points)
    variance = np.einsum("sm,smp->sp", a, (points - mean[:, None]) ** 2)
    widths = np.array([(hi - lo) / n for (lo, hi), n in zip(box, cells)])
    added = widths**2 * np.einsum("sm,smp->sp", a, growth)
    if (added <= variance + 1e-12 * widths**2).all():
        return
    l, k = np.unravel_index(int(np.argmax(added - variance)), added.shape)
    std, wider = float(np.sqrt(variance[l, k])), float(np.sqrt(variance[l, k] + added[l, k]))
    remedy = "no grid resolves coinciding particles"
    if std > 0:
        remedy = f"take at least {math.ceil((box[k][1] - box[k][0]) / (2 * std))} cells along that axis"
    raise InputError(
        f"the cloud of {block} is narrower than a cell: along axis {k} of slice {l} its std is {std:.3g}, cells are "
        f"{widths[k]:.3g} wide, and on the grid its std would be {wider:.3g}; {remedy}"
    )


def check_box(block: str, intervals: Any, p: int | None = None) -> tuple[tuple[float, float], ...]:
    """The intervals of a block, p if that is known, as pairs of floats, or an :class:`InputError`."""
    try:
        pairs = tuple(
            (check_number("lo", lo, finite=False), check_number("hi", hi, finite=False)) for lo, hi in intervals
        )
    except (TypeError, ValueError):
        raise InputError(
            f"box of {block} must be a list of intervals ((lo, hi), ...), got {shown(intervals)}"
        ) from None
    if not 1 <= len(pairs) <= 3:
        raise InputError(
            f"grids have 1, 2 or 3 parameters, but the box of {block} has {len(pairs)}; use particles beyond 3"
        )
    if p is not None and len(pairs) != p:
        raise InputError(f"box of {block} must have {p} intervals, one a parameter, got {len(pairs)}")
    for lo, hi in pairs:
        if not -math.inf < lo < hi < math.inf:
            raise InputError(f"intervals of the box of {block} must be finite and increase, got ({lo:.6g}, {hi:.6g})")
    return pairs


def check_cells(block: str, cells: Any, p: int, slices: int = 1) -> tuple[int, ...]:
    """The numbers of cells along the p axes of a block, or an :class:`InputError`: also where memory is too small."""
    counts = list(cells) if np.iterable(cells) and not isinstance(cells, bytes | Mapping) else [cells] * p
    if len(counts) != p or any(not is_integer(n) or n < 3 for n in counts):
        raise InputError(f"cells of {block} must be an integer >= 3, or {p} of them, got {shown(cells)}")
    shape = tuple(int(n) for n in counts)
    check_memory(
        f"densities of {block} on {shown(math.prod(shape))} cells", 8 * (slices + p) * math.prod(shape), "take fewer"
    )
    return shape
