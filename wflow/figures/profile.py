"""Moments over depth."""

from __future__ import annotations

__all__ = ["depth"]

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from wflow.errors import InputError
from wflow.figures import style
from wflow.measures import Particles
from wflow.solution import Solution


@style.style()
def depth(solution: Solution, *, frames: int | Sequence[int] = 6) -> Figure:
    """Profiles over depth t: second moment and norm of the mean of every block, coloured by training time.

    ``frames`` as for :func:`clouds`. The measure must have more than one depth slice.
    """
    chosen = style.choose_frames(solution, frames)
    measures = [solution.measure(i) for i in chosen]
    if len(measures[0].t) == 1:
        other = "clouds" if isinstance(measures[0], Particles) else "density"
        raise InputError(f"a profile over depth needs more than one depth slice; this measure has one: draw {other!r}")
    names = list(measures[0].blocks)
    figure = Figure(figsize=(style.SINGLE if len(names) == 1 else style.DOUBLE, 3.4), layout="constrained")
    grid = figure.subplots(2, len(names), sharex=True, squeeze=False)
    for column, name in zip(grid.T, names):
        curves = []
        for rho, colour in zip(measures, style.tau_colours(len(measures))):
            x, a = rho.points(name).astype(float), rho.weights(name)
            second, mean = np.einsum("sm,smp,smp->s", a, x, x), np.linalg.norm(np.einsum("sm,smp->sp", a, x), axis=1)
            curves.append([second, np.where(mean > 1e-13 * np.sqrt(second), mean, 0)])  # round-off is no profile
            for axes, values in zip(column, curves[-1]):
                axes.plot(rho.t, values, color=colour, marker="o" if len(rho.t) <= 24 else "")
        for axes, seen in zip(column, np.swapaxes(curves, 0, 1)):
            if seen.min() > 0 and seen.max() > 30 * seen.min():
                style.log_axis(axes, seen)
        symbol = style.symbol_of(name) if name == "theta" or len(name) == 1 else r"\beta"
        law = rf"\,\mathrm{{d}}\rho_{{{style.symbol_of(name)}}}({symbol}\,|\,t)"
        column[0].set_ylabel(rf"$\int\,|{symbol}|^2{law}$")
        column[1].set_ylabel(rf"$|\!\int {symbol}{law}\,|$")
        column[1].set(xlabel="depth $t$", xlim=(-0.02, 1.02))
        figure.align_ylabels(column)
    style.tau_bar(figure, grid, [solution.frame_tau[i] for i in chosen])
    return style.laid_out(figure)
