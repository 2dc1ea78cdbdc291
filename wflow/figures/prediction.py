"""Predictions against labels."""

from __future__ import annotations

__all__ = ["predictions"]

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wflow.datasets.dataset import Dataset
from wflow.energies import TransformerObjective
from wflow.errors import InputError
from wflow.figures import style
from wflow.figures.style import Array
from wflow.losses import loss_of
from wflow.solution import Solution

#: Colours and hatches of two histograms in one place.
LOOKS = ((style.PALETTE[0], ""), (style.PALETTE[1], "/////"))


@style.style()
def predictions(solution: Solution, *, objective: Any = None, dataset: Dataset | None = None) -> Figure:
    """Predictions ``Read T(1)`` against labels, in the first and the last frame.

    Labels of +-1 give histograms by class with the decision boundary; classes (or one-hot labels) give the confusion
    matrix of the last frame, and below it histograms of the margins, by how much the entry of the class of a prompt is
    larger than the largest other one; and other labels a scatter plot with the line ``Read T(1) = y``.

    Parameters
    ----------
    objective
        What predicts, such as a :class:`wflow.TransformerObjective`; None for that of the run.
    dataset
        Prompts and labels, such as held-out ones; None for the training data.
    """
    style.check_solution(solution)
    objective = solution.objective if objective is None else objective
    terms = getattr(objective, "terms", ())  # of a sum, the one that predicts
    objective = next((term for term in terms if hasattr(term, "predict")), objective)
    if isinstance(objective, type) or not callable(getattr(objective, "predict", None)):
        found = "none: an encoder of your own is not stored" if objective is None else type(objective).__name__
        raise InputError(
            f"predictions need an objective that predicts, got {found}; pass objective=, the Transformer of the run"
        )
    data = objective.dataset if dataset is None else dataset
    if not isinstance(data, Dataset):
        raise InputError(f"dataset must be a wflow.Dataset, got {type(data).__name__}")
    if isinstance(objective, TransformerObjective):
        objective.check_dataset(data)
    one_hot = data.n_labels > 1 and bool((np.sort(data.targets, axis=1) == np.eye(data.n_labels)[-1]).all())
    chosen = style.choose_frames(solution, 2)
    outputs = [np.asarray(objective.predict(solution.measure(i), data.tokens)) for i in chosen]
    times = [style.at_tau(solution.frame_tau[i]) for i in chosen]
    signs = data.n_labels == 1 and bool((np.abs(data.targets) == 1).all())
    panels = _confusion if one_hot else _class_histograms if signs else _label_scatter
    if panels is _label_scatter:
        loss = objective.loss_function if isinstance(objective, TransformerObjective) else loss_of("squares")
        risks = [loss.mean(output.reshape(data.targets.shape), data.targets) for output in outputs]
        times = [f"{time}: $R=${style.number(risk, 2)}" for time, risk in zip(times, risks)]
    return style.laid_out(panels(data, outputs, times))


def _class_histograms(data: Dataset, outputs: list[Array], times: list[str]) -> Figure:
    figure = Figure(figsize=(style.SINGLE, 0.7 + 1.25 * len(outputs)), layout="constrained")
    column = figure.subplots(len(outputs), 1, sharex=True, squeeze=False)[:, 0]
    step, edges = _bins([*(output.ravel() for output in outputs), np.array([-1.0, 1.0])])
    for axes, output, time in zip(column, outputs, times):
        for y, look in zip((-1, 1), LOOKS):
            _bars(axes, output.ravel()[data.labels.ravel() == y], step, edges, f"$y={y:+d}$", look)
        axes.axvline(0, color="black", linestyle="--", linewidth=0.8, label="decision boundary")
        axes.set_ylabel("prompts")
        axes.set_title(f"{time}: {100 * data.error_rate(output):.3g}% wrong", loc="right")
    figure.legend(*column[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    column[-1].set_xlabel(r"prediction $\mathrm{Read}\,T(1)$")
    return figure


def _label_scatter(data: Dataset, outputs: list[Array], times: list[str]) -> Figure:
    labels, few = data.labels.reshape(data.n_prompts, -1), 1 < data.n_labels <= len(style.PALETTE)
    figure = Figure(figsize=(style.SINGLE, (2.05 if len(outputs) > 1 else 3.3) + 0.25 * few), layout="constrained")
    row = figure.subplots(1, len(outputs), sharex=True, sharey=True, squeeze=False)[0]
    area = float(np.clip(2000 / labels.size, 1, 10))
    pooled = np.concatenate([labels.ravel(), *(output.ravel() for output in outputs)])
    margin = 0.05 * (np.ptp(pooled) or 1.0)
    for axes, output, time in zip(row, outputs, times):
        for k, values in enumerate(output.reshape(labels.shape).T):
            dots: Any = {"s": area, "c": style.PALETTE[k * few], "linewidths": 0, "alpha": 0.7}
            cloud = axes.scatter(labels[:, k], values, label=f"$k={k + 1}$", **dots)
            cloud.set_rasterized(labels.size > style.MAX_VECTOR_POINTS)
        axes.axline((0, 0), slope=1, color="black", linewidth=0.6, linestyle="--", zorder=0)
        axes.set_title(time)
        limits = (pooled.min() - margin, pooled.max() + margin)
        axes.set(xlabel="label $y$", xlim=limits, ylim=limits, aspect="equal")
    row[0].set_ylabel(r"prediction $\mathrm{Read}\,T(1)$")
    if few:
        figure.legend(*row[0].get_legend_handles_labels(), loc="outside upper center", ncols=data.n_labels)
    return figure


def _confusion(data: Dataset, outputs: list[Array], times: list[str]) -> Figure:
    K, output, labelled = data.n_labels, outputs[-1], data.targets == 1
    counts = np.zeros((K, K), dtype=int)
    np.add.at(counts, (data.targets.argmax(axis=1), output.argmax(axis=1)), 1)
    share = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(style.SINGLE, 4.6), layout="constrained")
    axes, below = figure.subplots(2, 1, height_ratios=(3, 1))
    mesh = axes.pcolormesh(np.arange(K), np.arange(K), share, cmap="Blues", vmin=0, vmax=100)
    for i, j in zip(*np.nonzero(counts)) if K <= 12 else ():
        axes.text(j, i, str(counts[i, j]), ha="center", va="center", size=7, color="w" if share[i, j] > 55 else "k")
    axes.set(xlabel=r"largest entry of $\mathrm{Read}\,T(1)$", ylabel="class", aspect="equal")
    axes.invert_yaxis()
    axes.locator_params(nbins=min(K, 12), integer=True)
    axes.set_title(f"{times[-1]}: {100 * data.error_rate(output):.3g}% wrong", loc="right")
    axes.tick_params(length=0)
    figure.colorbar(mesh, ax=axes, aspect=30, pad=0.015, shrink=0.8).set_label("share of the class (%)")
    margins = [u[labelled] - np.where(labelled, -np.inf, u).max(axis=1) for u in outputs]
    step, edges = _bins(margins)
    for values, time, look in zip(margins, times, LOOKS):
        _bars(below, values, step, edges, time, look)
    below.axvline(0, color="black", linestyle="--", linewidth=0.8)
    below.set(xlabel="entry of the class, minus the largest other one", ylabel="prompts")
    below.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.2)
    return figure


def _bins(values: list[Array]) -> tuple[float, Array]:
    """The width of about 40 bins, and the multiples of it at which they begin, so that none has both sides of 0."""
    pooled = np.concatenate([*values, [0.0]])
    step = float(np.ptp(pooled)) / 40 or 1.0
    return step, np.arange(np.floor(pooled.min() / step), np.floor(pooled.max() / step) + 2).astype(int)


def _bars(axes: Axes, values: Array, step: float, edges: Array, label: str, look: tuple[str, str]) -> None:
    """A histogram with such bins, in a colour and a hatch."""
    counts = np.bincount(np.floor(values / step).astype(int) - edges[0], minlength=len(edges) - 1).astype(float)
    counts[counts == 0] = np.nan
    bars: Any = {"facecolor": (look[0], 0.35), "edgecolor": look[0], "hatch": look[1], "linewidth": 0.8}
    axes.stairs(counts, step * edges, fill=True, label=label, **bars)
