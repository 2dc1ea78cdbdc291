"""How many heads or layers bring the training loss to zero?

Gao et al. see the training loss nearly vanish with enough heads, and with enough layers. Of networks with 4 to 40 heads
in 6 layers, and with 2 layers or more of 8 heads, the largest must have

    loss <= 0.05,    training accuracy >= 99 %,    loss <= 1/5 of that of 4 heads in 2 layers,

and more heads or layers may raise the loss by 10 % at most.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from matplotlib.figure import Figure

from validation.drawing import panels
from validation.studies.capacity._networks import (
    FIXED,
    SMALL,
    TITLES,
    Networks,
    cost,
    shapes,
    sizes,
    train,
    trained,
)
from validation.study import Answer, Claim, Runs, Table, at_least, at_most
from wflow.figures.style import PALETTE

COST = cost
CAPTION = "Training loss at the end, with the training accuracy, by heads and by layers."


def cases(full: bool) -> list[dict[str, Any]]:
    return shapes(full)


measure = train


def claims(runs: Runs) -> list[Claim]:
    out = []
    for title, networks in trained(runs).items():
        for what, (numbers, row) in _rows(networks, runs.full).items():
            name, last = f"{title}, {numbers[-1]} {what}", row[-1]
            growth = max(b["loss"] / a["loss"] for a, b in pairwise(row))
            times = networks[SMALL]["loss"] / last["loss"]
            out += [
                at_most(f"{name}: the training loss", last["loss"], 0.05),
                at_least(f"{name}: the training accuracy", last["accuracy"], 0.99),
                at_least(f"{name}: the loss of 4 heads in 2 layers is so many times as large", times, 5),
                at_most(f"{title}, more {what}: the loss is so many times the last one, the largest", growth, 1.1),
            ]
    return out


def findings(runs: Runs) -> list[str]:
    out = []
    for title, networks in trained(runs).items():
        loss, accuracy = networks[SMALL]["loss"], 100 * networks[SMALL]["accuracy"]
        out.append(f"{title}, 4 heads in 2 layers: training loss {loss:.2g}, training accuracy {accuracy:.3g} %.")
        for what, (numbers, row) in _rows(networks, runs.full).items():
            enough = [k for k, x in zip(numbers, row) if x["loss"] <= 0.05 and x["accuracy"] >= 0.99]
            first = f"from {enough[0]} {what} on" if enough else f"for no number of {what}"
            losses = ", ".join(f"{x['loss']:.2g}" for x in row)
            words = f"loss below 0.05 and accuracy above 99 % {first}; losses {losses} for {what} {numbers}."
            out.append(f"{title}: {words}")
        least, most = (f(100 * x["other accuracy"] for x in networks.values()) for f in (min, max))
        out.append(f"{title}: of images that were not trained on, {least:.3g} to {most:.3g} % are recognised.")
    missing = [title for title in TITLES.values() if title not in trained(runs)]
    return out + [f"There is no local copy of {title}: it was left out." for title in missing]


def table(runs: Runs) -> list[Table]:
    _, _, images, tau = sizes(runs.full)
    head = ["heads", "layers", "loss at tau = 0", "loss", "training accuracy", "other accuracy", "steps"]
    keys, out = ("start", "loss", "accuracy", "other accuracy"), []
    for title, networks in trained(runs).items():
        rows = [[M, L, *(float(x[key]) for key in keys), int(x["steps"])] for (M, L), x in sorted(networks.items())]
        out.append(Table(f"{title}, {images} images, at tau = {tau:g}; losses in units of 0.45.", head, rows))
    return out


def figure(runs: Runs) -> Figure:
    every = trained(runs)
    drawing, rows = panels(2, 2.5 * len(every), nrows=len(every), sharey=True, squeeze=False)
    for row, (title, networks) in zip(rows, every.items()):
        _draw(row, networks, runs.full)
        row[0].set(ylabel=f"{title}: training loss / 0.45", ylim=(None, 1))
    return drawing


def _rows(networks: Networks, full: bool) -> dict[str, tuple[tuple[int, ...], list[Answer]]]:
    """More heads, and more layers: the numbers, and the networks."""
    heads, layers, *_ = sizes(full)
    by_layers = [networks[FIXED["heads"], L] for L in layers]
    return {"heads": (heads, [networks[M, FIXED["layers"]] for M in heads]), "layers": (layers, by_layers)}


def _draw(panels_of: Any, networks: Networks, full: bool) -> None:
    """One data set: the loss by heads and by layers."""
    for axes, (what, (numbers, row)), (other, fixed) in zip(panels_of, _rows(networks, full).items(), FIXED.items()):
        axes.loglog(numbers, [x["loss"] for x in row], "o-", color=PALETTE[0], ms=3.5, label="loss, and accuracy")
        for k, x in zip(numbers, row):
            place = {"textcoords": "offset points", "xytext": (2, 5), "fontsize": 7}
            axes.annotate(f"{100 * x['accuracy']:.4g} %", (k, x["loss"]), **place)
        small = f"4 heads, 2 layers: {100 * networks[SMALL]['accuracy']:.4g} %"
        axes.axhline(networks[SMALL]["loss"], ls=":", color="0.5", lw=1, label=small)
        axes.set_xticks(numbers, [str(k) for k in numbers])
        axes.minorticks_off()
        axes.set(xlabel=f"{what} ({fixed} {other})")
    panels_of[1].legend(loc="lower left")
