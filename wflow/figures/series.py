"""Scalars over training time."""

from __future__ import annotations

__all__ = ["energy"]

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wflow.checks import check_boolean, check_choice, shown
from wflow.errors import InputError
from wflow.figures.style import DASHES, PALETTE, SINGLE, Array, check_solution, laid_out, log_axis, style
from wflow.observers import OBSERVERS
from wflow.solution import Solution


@style()
def energy(
    solution: Solution, *, observed: Mapping[str, str] | None = None, defect: bool = False, tau_scale: str = "linear"
) -> Figure:
    """Q, R and the dissipation over training time; observed risks beside R, observed error rates in a further panel.

    Dots are accepted steps, where there are few. Logarithmic axes leave out what is not positive.

    Parameters
    ----------
    observed
        ``{name: "risk" or "error-rate"}``, the observed quantities to show. None shows those of the observers
        :class:`wflow.observers.Risk` and :class:`wflow.observers.ErrorRate`, and functions with "risk" or "error" in
        their names.
    defect
        Also show the defect of the energy identity, ``|Q(0) - Q(tau) - int |v|^2| / |Q(0)|``.
    tau_scale
        "linear" or "log"; "log" leaves out tau <= 0 and shows four decades at the most.
    """
    check_solution(solution)
    defect = check_boolean("defect", defect)
    if observed is not None and not isinstance(observed, Mapping):
        raise InputError(f"observed must be a dictionary {{name: 'risk' or 'error-rate'}}, got {shown(observed)}")
    kinds = _observed_kinds(solution) if observed is None else dict(observed)
    for name, kind in kinds.items():
        check_choice("observed quantity", name, solution.observed)
        check_choice(f"kind of {name!r}", kind, ("risk", "error-rate"))
    check_choice("tau_scale", tau_scale, ("linear", "log"))
    tau = solution.tau
    if tau_scale == "log" and tau[-1] <= 0:
        raise InputError(f"tau_scale='log' needs a run that ends at tau > 0, this one ends at {tau[-1]:.6g}")
    losses = {"$Q$": solution.energy} | ({"$R$": solution.risk} if np.isfinite(solution.risk).any() else {})
    rates: dict[str, Array] = {}
    for name, kind in kinds.items():
        values, text = solution.observed[name], name.replace("$", r"\$").lstrip("_")
        if kind == "risk":
            losses[f"$R$ ({text})"] = values
        else:
            rates[f"{text} (end: {100 * values[-1]:.3g}%)"] = 100 * values
    panels = {"$Q$, $R$": losses} if len(losses) > 1 else {"$Q$": {"": solution.energy}}
    if np.isfinite(solution.dissipation).any():  # schemes with noise have none
        panels[r"$|v|^2=-\mathrm{d}Q/\mathrm{d}\tau$"] = {"": solution.dissipation}
    if rates:
        panels["error rate (%)"] = rates
    if defect and np.isfinite(solution.series["defect"]).any():
        panels["energy-identity\ndefect / $|Q(0)|$"] = {
            "": np.abs(solution.series["defect"]) / (abs(solution.energy[0]) or 1)
        }

    figure = Figure(figsize=(SINGLE, 0.45 + 1.3 * len(panels)), layout="constrained")
    column = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (label, curves) in zip(column, panels.items()):
        _plot_series(axes, label, tau, curves)
    if tau_scale == "log":
        column[-1].set_xscale("log", nonpositive="mask")
        column[-1].set_xlim(max(tau[tau > 0][0], 1e-4 * tau[-1]) / 1.2, tau[-1] * 1.2)
    column[-1].set_xlabel(r"training time $\tau$")
    figure.align_ylabels(column)
    return laid_out(figure)


def _observed_kinds(solution: Solution) -> dict[str, str]:
    """Which observed quantities are risks and error rates: by their observers, else by their names."""
    words, observers = {"risk": "risk", "error": "error-rate"}, {cls: kind for kind, cls in OBSERVERS.items()}
    kinds = {}
    for name in solution.observed:
        by_name = next((kind for word, kind in words.items() if word in name.lower()), "")
        kinds[name] = observers.get(type(solution.observers.get(name)), by_name)
    return {name: kind for name, kind in kinds.items() if kind in words.values()}


def _plot_series(axes: Axes, title: str, tau: Array, curves: Mapping[str, Array]) -> None:
    """Curves over tau, on a logarithmic axis if that fits, with a legend above the axes, where it covers nothing."""
    for (label, values), colour, dash in zip(curves.items(), PALETTE, DASHES):
        if np.isfinite(values).any():
            axes.plot(tau, values, color=colour, linestyle=dash, marker="o" if len(tau) <= 40 else "", label=label)
    axes.set_ylabel(title)
    pooled = np.concatenate(list(curves.values()))
    if title.startswith("error") and not 0 < 10 * pooled.min() < pooled.max():
        axes.set_ylim(bottom=0)
    else:
        log_axis(axes, pooled)
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        widths = [8 + len(label) for label in labels]  # in letters; a line has room for 64
        columns = len(labels) if sum(widths) <= 64 else max(1, 64 // max(widths))
        axes.legend(handles, labels, loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.2)
