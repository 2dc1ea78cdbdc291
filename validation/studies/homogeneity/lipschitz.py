"""Are the gradients of the encoders Lipschitz continuous in expectation?

With a normal cotangent k, at ever smaller distances and at the worst places (hyperplanes through a token, outer weights
near 0), the ratios

    E |grad <g(T, beta), k> - grad <g(T, beta'), k>| / |beta - beta'|

stay bounded where the assumption of the theorem holds. E is over prompts with queries everywhere, or over the 16 of the
task: a kink of relu is a jump there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from validation.drawing import common_legend, panels
from validation.studies.homogeneity._encoders import Array, D, encoders, outer_of
from validation.studies.homogeneity._task import PROMPTS, TOKENS, prompts
from validation.study import Answer, Claim, Runs, Table, at_least, at_most
from wflow.figures.style import DASHES, PALETTE

COST = 2.0
CAPTION = (
    "E |grad g(T, beta) - grad g(T, beta')| / |beta - beta'| at the worst places, over prompts with queries everywhere "
    "(left) and over the 16 prompts of the task (right); where it grows like the inverse distance, gradients jump."
)
DISTANCES = (1.0, 0.1, 0.01, 0.001)
#: Who is drawn.
SHOWN = ("softmax attention", "tanh neurons", "relu neurons", "tanh neurons, c frozen, b = 1")


def cases(full: bool) -> list[dict[str, Any]]:
    return [{"name": name, "n_prompts": 20_000 if full else 3000} for name in encoders()]


def measure(name: str, n_prompts: int) -> Answer:
    """The ratios by distance, of the mean over pairs at the worst of three places: over the law, and over the task."""
    encoder, rng, pairs = encoders()[name], np.random.default_rng(1), 8
    task, p, outer = prompts(PROMPTS, 0).tokens, encoder.n_parameters(D), outer_of(encoder)
    beta, direction = rng.standard_normal((3, pairs, p)), np.zeros((3, pairs, p))
    beta /= np.linalg.norm(beta, axis=2, keepdims=True)
    direction[0] = rng.standard_normal((pairs, p))
    direction[1, :, outer.start], beta[1, :, outer.start] = 1, 0  # an outer weight passes zero
    if p == 2 * D:  # neurons: a token passes through the hyperplane
        tokens = task.swapaxes(1, 2).reshape(-1, D)[rng.choice(PROMPTS * TOKENS, pairs, replace=False)]
        tokens = tokens / np.linalg.norm(tokens, axis=1, keepdims=True)
        direction[2, :, :D] = tokens
        beta[2, :, :D] -= np.sum(beta[2, :, :D] * tokens, axis=1, keepdims=True) * tokens
    else:
        direction[2] = rng.standard_normal((pairs, p))
    direction /= np.linalg.norm(direction, axis=2, keepdims=True)
    ends = np.array([[beta + sign * d / 2 * direction for d in DISTANCES] for sign in (-1, 1)])
    law = prompts(n_prompts, 1, everywhere=True).tokens

    def ratios(some: Array) -> Array:
        total = np.zeros(ends.shape[1:-1])
        for Z in some:
            k = rng.standard_normal((1, *Z.shape))
            slopes = encoder.vjp(Z[None], ends.reshape(-1, p), np.ones(ends.size // p), k)[1].reshape(ends.shape)
            total += np.linalg.norm(slopes[1] - slopes[0], axis=-1)
        return np.asarray(total.mean(axis=2).max(axis=1) / (len(some) * np.array(DISTANCES)))

    return {"law": ratios(law), "task": ratios(np.repeat(task, n_prompts // 100, axis=0))}


def claims(runs: Runs) -> list[Claim]:

    def rates(key: str, some: Callable[[str], bool]) -> list[float]:
        return [_rate(_shown(runs, answer, key)) for case, answer in runs if some(case["name"])]

    tame = max(rates("law", lambda name: "frozen" not in name))
    frozen = min(rates("law", lambda name: "frozen" in name))
    relu = rates("task", lambda name: name == "relu neurons")[0]
    smooth = max(rates("task", lambda name: "frozen" not in name and name != "relu neurons"))
    return [
        at_most("rate of the Lipschitz constant in expectation, in 1/distance, but for frozen weights", tame, 0.25),
        at_least("frozen weights: gradients jump in expectation too", frozen, 0.95),
        at_least("relu: they jump on the 16 prompts of the task", relu, 0.8),
        at_most("all others: not there", smooth, 0.1),
    ]


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> Table:
    rows = []
    for case, answer in runs:
        law, task = (_shown(runs, answer, key) for key in ("law", "task"))
        rows.append([case["name"], float(law[-1]), _rate(law), _rate(task)])
    title = (
        "The Lipschitz constant of the gradient in expectation, and its rate of growth with the inverse distance, "
        "there and on the 16 prompts."
    )
    return Table(title, ["encoder", "Lipschitz", "rate", "rate, task"], rows)


def figure(runs: Runs) -> Figure:
    drawing, row = panels(2, sharey=True)
    for i, name in enumerate(SHOWN):
        for axes, key in zip(row, ("law", "task")):
            y = _shown(runs, runs.one(name=name), key)
            axes.loglog(DISTANCES[: len(y)], y, "o", ls=DASHES[i], color=PALETTE[i], ms=3, label=name)
            axes.set(xlabel=r"distance $|\beta-\beta'|$")
    row[0].set(ylabel="Lipschitz ratio of the gradient")
    common_legend(row[0], "outside upper center", ncols=4)
    return drawing


def _shown(runs: Runs, answer: Answer, key: str) -> Array:
    """Rare events need many prompts: at the quick size the smallest distance is left out, but for the task."""
    return np.asarray(answer[key][: -1 if key == "law" and not runs.full else None])


def _rate(ratios: Array) -> float:
    """The power of the inverse distance with which ratios grow over the last decade."""
    return float(np.log10(ratios[-1] / ratios[-2]))
