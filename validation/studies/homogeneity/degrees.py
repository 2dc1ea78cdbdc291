"""In which of their weights are the encoders homogeneous?

With the outer weights c and all weights beta = (c, a),

    partial:  g(T, s c, a) = s g(T, c, a)
    of degree two in all weights:  g(T, s beta) = s^2 g(T, beta)

hold to round-off or are violated by 10 % at least. The gradients of the encoders made here are those of differences.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure

from validation.drawing import dots, panels
from validation.studies.homogeneity._encoders import encoders, is_linear
from validation.studies.homogeneity._scaling import scaling
from validation.study import Claim, Runs, Table, at_least, at_most

COST = 1.0
CAPTION = (
    "The largest relative defect of homogeneity for s = 0.3, 2 and 7, by encoder: in the outer weights (left), of "
    "degree two in all weights (right)."
)


def cases(full: bool) -> list[dict[str, Any]]:
    return [{"name": name} for name in encoders()]


measure = scaling


def claims(runs: Runs) -> list[Claim]:

    def of(key: str, some: Callable[[str], bool]) -> list[float]:
        return [answer[key] for case, answer in runs if some(case["name"])]

    def is_defined_here(name: str) -> bool:
        return not is_linear(name) or name == "linear attention"

    def of_degree_two(name: str) -> bool:
        return name in ("linear attention", "relu neurons")

    gradient, partial = max(of("gradient", is_defined_here)), max(of("partial", is_linear))
    others = min(of("partial", lambda name: not is_linear(name)))
    whole, others_whole = max(of("whole", of_degree_two)), min(of("whole", lambda name: not of_degree_two(name)))
    return [
        at_most("gradients of the encoders made here, against differences", gradient, 1e-8),
        at_most("defect of f(T, s c, a) = s f(T, c, a), linear outer weights", partial, 1e-13),
        at_least("the same, other outer weights: the least", others, 0.1),
        at_most("defect of f(T, s beta) = s^2 f(T, beta): linear attention, relu", whole, 1e-13),
        at_least("the same, all others: the least", others_whole, 0.1),
    ]


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> Table:
    rows = [[case["name"], answer["partial"], answer["whole"]] for case, answer in runs]
    title = "The relative defect of homogeneity in the outer weights, and of degree two in all weights."
    return Table(title, ["encoder", "homogeneity", "of degree two"], rows)


def figure(runs: Runs) -> Figure:
    drawing, row = panels(2, 3.2, sharey=True)
    names = [case["name"] for case, _ in runs]
    for axes, key, weights in zip(row, ("partial", "whole"), ("outer weights", "all weights, degree two")):
        dots(axes, names, [max(answer[key], 1e-17) for _, answer in runs])
        axes.set(xscale="log", xlim=(1e-18, 1e3), xlabel=f"relative defect, {weights}")
    return drawing
