"""How do the errors of depth and width fall?

The largest errors along training of Q, R and the predictions are measured: of Transformers with all atoms in every
layer, which have the error of the depth alone, against the limit, and of drawn ones against those, which is the noise
of the width. Predicted are

    error of the depth ~ 1/L,    noise of the width ~ 1/sqrt(M L)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from validation import atoms
from validation.drawing import log_log, panels
from validation.fits import falls_as
from validation.statistics import geometric_mean
from validation.studies.limit._errors import Errors, errors_of, largest, networks, trained
from validation.study import Claim, Runs, at_most
from wflow.figures.style import PALETTE

Array = NDArray[np.float64]

COST = atoms.cost
CAPTION = (
    "Left: largest error along training of Transformers with all atoms in every layer, which have the error of the "
    "depth alone. Right: the noise of the width, rms over seeds of the largest difference along training from the "
    "Transformer with all atoms and as many layers."
)

#: How the errors are called.
NAMES = {"Q": "|Q^ - Q|", "R": "|R^ - R|", "predictions": "prediction error"}


def cases(full: bool) -> list[dict[str, Any]]:
    limits = [{"what": "limit", "layers": L, "refinement": r} for L, r in ((8, 1), (8, 2), (16, 1))]
    layers = sorted({*_depths(full), *(L for _, L in networks(full))})
    return [*limits, *({"what": "trained", "M": None, "L": L} for L in layers), *trained(full)]


measure = atoms.measure


def claims(runs: Runs) -> list[Claim]:
    coarse, fine, steps = (
        runs.one(what="limit", layers=L, refinement=r)["predictions"] for L, r in ((8, 1), (16, 1), (8, 2))
    )
    depth, width = _depth_errors(runs), _width_errors(runs)
    error = max(float(np.sqrt(np.mean((coarse - better) ** 2, axis=1)).max()) for better in (fine, steps))
    smallest = min(largest(errors, "predictions") for errors in depth.values())
    out = [
        at_most("error of the limit itself (depth and steps), over the smallest error measured", error / smallest, 0.01)
    ]
    for name, words in NAMES.items():
        text = f"exponent of 1/L in the largest {words} along training, all atoms"
        out.append(falls_as(text, list(depth), [largest(errors, name) for errors in depth.values()], 1.0))
    for name, words in NAMES.items():
        text = f"exponent of 1/(M L) in the noise of {words} along training, rms at equal L"
        sizes, noise = [M * L for M, L in width], [largest(errors, name) for errors in width.values()]
        out.append(falls_as(text, sizes, noise, 0.5))
    return out


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> Figure:
    drawing, (left, right) = panels(2, 2.5)
    _draw_depth(left, _depth_errors(runs))
    _draw_width(right, _width_errors(runs))
    return drawing


def _depths(full: bool) -> tuple[int, ...]:
    """The layers of Transformers with all atoms."""
    return (2, 4, 8, 16, 32, 64) if full else (2, 4, 8, 16, 32)


def _depth_errors(runs: Runs) -> dict[int, Errors]:
    """Of Transformers with all atoms from the limit, by L."""
    limit = runs.one(what="limit", layers=16)
    return {L: errors_of([runs.one(what="trained", M=None, L=L)], limit) for L in _depths(runs.full)}


def _width_errors(runs: Runs) -> dict[tuple[int, int], Errors]:
    """Of drawn Transformers from those with all atoms, by M and L."""
    out = {}
    for M, L in networks(runs.full):
        drawn = [answer for _, answer in runs.of(what="trained", M=M, L=L)]
        out[M, L] = errors_of(drawn, runs.one(what="trained", M=None, L=L))
    return out


def _draw_depth(axes: Axes, depth: Mapping[int, Errors]) -> None:
    """All atoms: errors over L."""
    for name, label, colour, line in zip(NAMES, ("$Q$", "$R$", "predictions"), PALETTE, ("o-", "s:", "^-")):
        y = [largest(errors, name) for errors in depth.values()]
        axes.plot(list(depth), y, line, color=colour, label=label)
    x = np.array([min(depth), max(depth)])
    axes.plot(x, 1.6 * y[0] * x[0] / x, "k:", linewidth=0.8, label="$1/L$")
    log_log(axes, list(depth), [largest(errors, name) for errors in depth.values() for name in NAMES])
    axes.set(xlabel="layers $L$", ylabel="largest error, all atoms")
    axes.legend()


def _draw_width(axes: Axes, width: Mapping[tuple[int, int], Errors]) -> None:
    """The noise of the predictions over M L."""
    noise = {key: largest(errors, "predictions") for key, errors in width.items()}
    for L, colour in zip(sorted({L for _, L in width}), PALETTE):
        some = {M * L: y for (M, depth), y in noise.items() if depth == L}
        axes.plot(list(some), list(some.values()), "o", color=colour, label=f"$L={L}$")
    scale = geometric_mean([y * np.sqrt(M * L) for (M, L), y in noise.items()])
    x = np.array(sorted(M * L for M, L in width))
    axes.plot(x, scale / np.sqrt(x), "k:", linewidth=0.8, label="$(ML)^{-1/2}$")
    log_log(axes, [20, 50, 100, 200, 500, 1000], list(noise.values()))
    axes.set(xlabel="$M L$", ylabel="noise of the width")
    axes.legend()
