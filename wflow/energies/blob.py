"""Internal energies of particles with a density: that of the cloud smoothed by a Gaussian."""

from __future__ import annotations

__all__ = ["BlobEnergy"]

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from wflow.checks import check_positive, shown
from wflow.energies.energy import Energy, Evaluation, InternalEnergy, points_of
from wflow.energies.internal import Entropy, PorousMedium
from wflow.errors import InputError
from wflow.measures import Blocks, Grid, Measure
from wflow.measures.grid import Box, check_box, check_cells

Array = NDArray[Any]
M = TypeVar("M", bound=Measure)

#: Pairs of points are treated in batches of at most this many.
PAIRS = 2**20
#: The smallest epsilon, and the inverse of the largest.
SMALLEST = 1e-100


class BlobEnergy(Energy):
    """``int U(rho)`` regularised by ``rho_eps = K_eps * rho``, a smooth energy of particles.

    K_eps is the Gaussian of standard deviation epsilon. Without a box the particles themselves are the quadrature
    (Carrillo, Craig, Patacchini, Calc. Var. 58 (2019) 53)::

        E = int F(rho_eps) d rho,  F(r) = U(r)/r,
        v(x) = -int (F'(rho_eps(x)) + F'(rho_eps(y))) grad K_eps(x - y) d rho(y),

    and with a box it is the midpoint rule on its cells (Hu, Van Fleet, Wan, arXiv 2407.00533)::

        E = sum_k dx U(rho_eps(y_k)),  v(x) = -sum_k dx U'(rho_eps(y_k)) grad K_eps(x - y_k),

    where, as in the paper, ``U = sigma r (log r - 1)`` for entropy; its value is corrected by sigma, the mass.

    Any scheme for particles moves it: ``PotentialEnergy(V, grad) + BlobEnergy(Entropy(0.5), 0.1)``. Smoothing needs
    particles closer than epsilon, which many parameters do not allow: p <= 2.

    Parameters
    ----------
    internal
        :class:`wflow.Entropy` or :class:`wflow.PorousMedium`.
    epsilon
        A number, or one for each block: the standard deviation of K_eps, in the units of the parameters.
    box, cells
        For quadrature on cells, as in :meth:`wflow.Grid.from_particles`; None for quadrature on the particles.

    Raises
    ------
    InputError
        For arguments that do not fit, and measures with p > 2.

    Examples
    --------
    >>> from wflow import Particles
    >>> rho = Particles(x=[[[-0.5], [0.5]]])
    >>> v = BlobEnergy(Entropy(1.0), 0.5).velocity(rho)
    >>> bool(v.x[0, 0, 0] < 0 < v.x[0, 1, 0])
    True
    """

    argument_attributes: ClassVar[dict[str, str]] = {"internal": "regularised"}  # energies have another ``internal``

    def __init__(
        self,
        internal: InternalEnergy,
        epsilon: float | Mapping[str, float],
        box: Box | None = None,
        cells: Mapping[str, Sequence[int] | int] | None = None,
    ) -> None:
        if not isinstance(internal, (Entropy, PorousMedium)):
            raise InputError(f"BlobEnergy regularises wflow.Entropy or wflow.PorousMedium, got {shown(internal)}")
        both = [{} if x is None else x for x in (box, cells)]
        if not all(isinstance(x, Mapping) for x in both) or set(both[0]) != set(both[1]):
            raise InputError("box and cells must name the same blocks: pass both, or none for quadrature on particles")
        self.regularised, self.box, self.cells = internal, box, cells
        #: ``sigma r log r = sigma r (log r - 1) + sigma r``: quadrature of the last term, mass, would push particles.
        self.linear = internal.sigma if isinstance(internal, Entropy) and box is not None else 0.0
        self.epsilon: float | dict[str, float] = (
            {name: check_positive(f"epsilon of {name}", value) for name, value in epsilon.items()}
            if isinstance(epsilon, Mapping)
            else check_positive("epsilon", epsilon)
        )
        for e in self.epsilon.values() if isinstance(self.epsilon, dict) else [self.epsilon]:
            if not SMALLEST <= e <= 1 / SMALLEST:  # so that densities are numbers
                raise InputError(f"epsilon must be between {SMALLEST:g} and {1 / SMALLEST:g}, got {e!r}")
        self.nodes: dict[str, tuple[Array, float]] = {}
        for name, of_block in (box or {}).items():
            intervals = check_box(name, of_block)
            shape = check_cells(name, (cells or {})[name], len(intervals))
            grid = Grid(box={name: intervals}, **{name: np.ones(shape)})
            self.nodes[name] = grid.points(name)[0], grid.cell_volume(name)

    def prepare(self, rho: M) -> M:
        """The measure, after a look at its blocks (see :meth:`Energy.prepare`)."""
        rho = super().prepare(rho)
        for names in (self.epsilon, self.nodes or None):
            if isinstance(names, dict) and set(names) != set(rho.blocks):
                raise InputError(
                    f"epsilon, box and cells must name the blocks {sorted(rho.blocks)}, got {sorted(names)}"
                )
        for name in rho.blocks:
            if (p := rho.points(name).shape[2]) > 2:
                raise InputError(
                    f"{name} has p = {p} parameters: a smoothed density needs p <= 2; scheme 'langevin' treats entropy "
                    "at any p"
                )
            if name in self.nodes and (found := self.nodes[name][0].shape[1]) != p:
                raise InputError(f"box of {name} must have {p} intervals, got {found}")
        return rho

    def evaluate(self, rho: Measure) -> Evaluation:
        """The regularised energy and its velocity (see :meth:`Energy.evaluate`)."""
        rho, value, v = self.prepare(rho), 0.0, {}
        for name in rho.blocks:
            e, x = self._epsilon(name), rho.points(name)
            v[name] = np.empty_like(x)
            for l, (om, a) in enumerate(zip(rho.depth_weights, rho.weights(name))):
                quadrature = self._quadrature(name, x[l], a)
                value += om * quadrature.value
                _, gradient = _smooth(x[l], quadrature.nodes, quadrature.weights, e)
                v[name][l] = -gradient - quadrature.remainder
        return Evaluation(value, Blocks(**v), {"internal": value})

    def first_variation(self, rho: Measure, points: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """``F(rho_eps) + K_eps * (rho F'(rho_eps))``; with a box, ``sum_k dx U'(rho_eps(y_k)) K_eps(. - y_k)``."""
        rho, out = self.prepare(rho), {}
        for name, at in points_of(rho, points).items():
            e, x = self._epsilon(name), rho.points(name)
            out[name] = np.empty(at.shape[:2])
            for l, a in enumerate(rho.weights(name)):
                quadrature = self._quadrature(name, x[l], a)
                out[name][l], _ = _smooth(at[l], quadrature.nodes, quadrature.weights, e)
                out[name][l] += self.linear if self.nodes else self._per_mass(_smooth(at[l], x[l], a, e)[0])
        return out

    def smoothed(self, rho: Measure, points: Mapping[str, Array]) -> dict[str, Array]:
        """``rho_eps`` at ``points[block]`` (S, K, p): arrays (S, K)."""
        rho = self.prepare(rho)
        out = {}
        for name, at in points_of(rho, points).items():
            e, slices = self._epsilon(name), zip(at, rho.points(name), rho.weights(name))
            out[name] = np.stack([_smooth(at, x, a, e)[0] for at, x, a in slices])
        return out

    def _epsilon(self, name: str) -> float:
        return float(self.epsilon[name] if isinstance(self.epsilon, dict) else self.epsilon)

    def _per_mass(self, r: Array) -> Array:
        r = np.maximum(r, np.finfo(float).tiny)
        return np.asarray(self.regularised.density(r) / r)

    def _quadrature(self, name: str, x: Array, a: Array) -> _Quadrature:
        """One slice: what both derivatives of the energy need."""
        e = self._epsilon(name)
        if self.nodes:
            y, volume = self.nodes[name]
            r, _ = _smooth(y, x, a, e)
            value = self.linear * a.sum() + volume * np.sum(self.regularised.density(r) - self.linear * r)
            return _Quadrature(float(value), y, volume * (self.regularised.slope(r) - self.linear), 0.0)
        r, gradient = _smooth(x, x, a, e)
        slope = self.regularised.pressure(r) / np.maximum(r**2, np.finfo(float).tiny)
        return _Quadrature(float(a @ self._per_mass(r)), x, a * slope, slope[:, None] * gradient)


class _Quadrature(NamedTuple):
    """The energy, and its gradient at a particle: ``sum_k weights[k] grad K(x - nodes[k]) + remainder``."""

    value: float
    nodes: Array
    weights: Array
    remainder: Array | float


def _smooth(x: Array, y: Array, b: Array, e: float) -> tuple[Array, Array]:
    """``sum_k b_k K_e(x_j - y_k)``, shape (J,), and its gradient, shape (J, p), in float64."""
    from scipy.spatial.distance import cdist

    columns = np.column_stack([b, b[:, None] * y]) / (2 * np.pi * e**2) ** (x.shape[1] / 2)
    batch = max(1, PAIRS // len(y))
    batches = (x[start : start + batch] for start in range(0, len(x), batch))
    sums = np.concatenate([np.exp(cdist(some, y, "sqeuclidean") / (-2 * e**2)) @ columns for some in batches])
    value, first_moment = sums[:, 0], sums[:, 1:]
    return value, np.asarray((first_moment - x * value[:, None]) / e**2)
