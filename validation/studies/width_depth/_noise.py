"""The map of drawn Transformers, and the exponents of the noise over it."""

from __future__ import annotations

__all__ = [
    "KINDS",
    "SHAPES",
    "TABLE",
    "Map",
    "criteria",
    "draw",
    "drawn",
    "errors",
    "exponents",
    "frames",
    "row",
    "words",
]

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from validation.atoms import STEPS
from validation.drawing import log_log
from validation.statistics import least_squares, rms
from wflow.figures.style import PALETTE

Array = NDArray[np.float64]

#: Errors of the draws by M and L.
Map = dict[tuple[int, int], Array]

KINDS = {"iid": "independent layers", "shared": "one cloud for all layers", "net": "a net in depth"}


SHAPES: dict[str, Callable[[Array, Array], Array]] = {
    "1/sqrt(M L)": lambda M, L: 1 / np.sqrt(M * L),
    "sqrt(log(L + 1)/M)": lambda M, L: np.sqrt(np.log(L + 1) / M),
    "1/sqrt(M)": lambda M, L: 1 / np.sqrt(M),
    "1/(M L)": lambda M, L: 1 / (M * L),
}

TABLE = ["layers", "when", "alpha", "95 %", "gamma", "95 %", "shape"]


def frames(full: bool) -> tuple[int, ...]:
    """The steps of training after which the law is frozen."""
    return (0, STEPS) if full else (0,)


def drawn(full: bool, kinds: Sequence[str]) -> list[dict[str, Any]]:
    """The cases of Transformers drawn from the law."""
    widths = (2, 4, 8, 16, 32, 64, 128, 256) if full else (2, 8, 32, 128)
    depths = (2, 4, 8, 16, 32, 64) if full else (2, 8, 32)
    seeds, out = 200 if full else 100, []
    for kind, M, L, frame in itertools.product(kinds, widths, depths, frames(full)):
        out.append({"what": "redrawn", "M": M, "L": L, "frame": frame, "seeds": seeds, "kind": kind})
    return out


def errors(apart: Array) -> Array:
    """The rms error of every draw, over prompts."""
    return np.asarray(np.sqrt(np.mean(apart**2, axis=-1)))


def exponents(noise: Map) -> tuple[Array, list[tuple[float, float]]]:
    """alpha and gamma of noise ~ M^-alpha L^-gamma with their 95 % intervals, by resampling the draws."""
    M, L = np.log(np.array(list(noise), float)).T
    columns = np.stack([np.ones_like(M), -M, -L], axis=1)

    def fit(choose: Callable[[Array], Array]) -> Array:
        return least_squares(columns, [np.log(rms(choose(x))) for x in noise.values()])[0][1:]

    rng = np.random.default_rng(0)
    again = np.array([fit(lambda x: x[rng.integers(len(x), size=len(x))]) for _ in range(300)])
    intervals = np.quantile(again, [0.025, 0.975], axis=0).T
    return fit(lambda x: x), [(float(low), float(high)) for low, high in intervals]


def criteria(noise: Map) -> dict[str, float]:
    """Akaike's criterion of every shape with one constant: N ln of the mean squared residual in the logarithm."""
    M, L = np.array(list(noise), float).T
    logs = np.log([rms(x) for x in noise.values()])
    return {name: float(len(M) * np.log(np.var(logs - np.log(shape(M, L))))) for name, shape in SHAPES.items()}


def row(kind: str, when: str, noise: Map) -> list[Any]:
    """Exponents with their intervals and the shape that fits best, under the head TABLE."""
    (alpha, gamma), (of_alpha, of_gamma) = exponents(noise)
    scatter = criteria(noise)
    best = min(scatter, key=lambda shape: scatter[shape])
    return [KINDS[kind], when, alpha, words(of_alpha), gamma, words(of_gamma), best]


def words(interval: Sequence[float]) -> str:
    """An interval in a sentence."""
    return f"{interval[0]:.2f} to {interval[1]:.2f}"


def draw(axes: Axes, noise: Mapping[str, Map]) -> None:
    """The noise of all kinds over M L."""
    for (kind, some), colour, marker in zip(noise.items(), PALETTE, "os^"):
        axes.plot([M * L for M, L in some], [rms(x) for x in some.values()], marker, color=colour, label=KINDS[kind])
    every = [rms(x) for some in noise.values() for x in some.values()]
    log_log(axes, sorted({M * L for some in noise.values() for M, L in some}), every)
    axes.set(xlabel="$M L$", ylabel="noise of the width")
    axes.legend()
