"""Predictions against labels."""

from __future__ import annotations

__all__ = ["predictions"]

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from wflow.datasets.dataset import Dataset
from wflow.energies import TransformerObjective
from wflow.errors import InputError
from wflow.figures import style
from wflow.figures.style import Array
from wflow.losses import loss_of
from wflow.solution import Solution


@style.style()
def predictions(solution: Solution, *, objective: Any = None, dataset: Dataset | None = None) -> Figure:
    """Predictions ``Read T(1)`` against labels, in the first and the last frame.

    Labels of +-1 give histograms by class with the decision boundary, classes (or one-hot labels) the confusion matrix
    of the last frame, and other labels a scatter plot with the line ``Read T(1) = y``.

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
    chosen = style.choose_frames(solution, 1 if one_hot else 2)
    outputs = [np.asarray(objective.predict(solution.measure(i), data.tokens)) for i in chosen]
    times = [style.at_tau(solution.frame_tau[i]) for i in chosen]
    signs = data.n_labels == 1 and bool((np.abs(data.targets) == 1).all())
    panels = _confusion if one_hot else _class_histograms if signs else _label_scatter
    if panels is _label_scatter:
        loss = objective.loss_function if isinstance(objective, TransformerObjective) else loss_of("squares")
        times = [
            f"{time}: $R=${style.number(loss.mean(u.reshape(data.targets.shape), data.targets), 2)}"
            for time, u in zip(times, outputs)
        ]
    return style.laid_out(panels(data, outputs, times))


def _class_histograms(data: Dataset, outputs: list[Array], times: list[str]) -> Figure:
    figure = Figure(figsize=(style.SINGLE, 0.7 + 1.25 * len(outputs)), layout="constrained")
    column = figure.subplots(len(outputs), 1, sharex=True, squeeze=False)[:, 0]
    pooled = np.concatenate([*(output.ravel() for output in outputs), [-1.0, 1.0]])
    step = np.ptp(pooled) / 40  # bins begin at multiples of it, so that none has both sides of the boundary
    first, last = int(np.floor(pooled.min() / step)), int(np.floor(pooled.max() / step))
    for axes, output, time in zip(column, outputs, times):
        bins = np.floor(output.ravel() / step).astype(int) - first
        for y, colour, hatch in ((-1, style.PALETTE[0], ""), (1, style.PALETTE[1], "/////")):
            counts = np.bincount(bins[data.labels.ravel() == y], minlength=last - first + 1).astype(float)
            counts[counts == 0] = np.nan
            bars: Any = {"facecolor": (colour, 0.35), "edgecolor": colour, "hatch": hatch, "linewidth": 0.8}
            axes.stairs(counts, step * np.arange(first, last + 2), fill=True, label=f"$y={y:+d}$", **bars)
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
    K, output = data.n_labels, outputs[0]
    counts = np.zeros((K, K), dtype=int)
    np.add.at(counts, (data.labels.argmax(axis=1), output.argmax(axis=1)), 1)
    share = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(style.SINGLE, 3.0), layout="constrained")
    axes = figure.subplots()
    mesh = axes.pcolormesh(np.arange(K), np.arange(K), share, cmap="Blues", vmin=0, vmax=100)
    for i, j in zip(*np.nonzero(counts)) if K <= 12 else ():
        axes.text(j, i, str(counts[i, j]), ha="center", va="center", size=7, color="w" if share[i, j] > 55 else "k")
    axes.set(xlabel=r"largest entry of $\mathrm{Read}\,T(1)$", ylabel="class", aspect="equal")
    axes.invert_yaxis()
    axes.locator_params(nbins=min(K, 12), integer=True)
    axes.set_title(f"{times[0]}: {100 * data.error_rate(output):.3g}% wrong", loc="right")
    axes.tick_params(length=0)
    figure.colorbar(mesh, ax=axes, aspect=30, pad=0.015, shrink=0.8).set_label("share of the class (%)")
    return figure
