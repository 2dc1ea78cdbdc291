"""Networks of all sizes, trained on images."""

from __future__ import annotations

__all__ = ["FIXED", "SMALL", "TITLES", "Networks", "cost", "shapes", "sizes", "train", "trained"]

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import wflow
from validation.cifar import cifar_folder, cifar_prompts, read_cifar
from validation.study import Answer, Runs
from validation.transformer import FiniteTransformer

#: Answers by M and L.
Networks = Mapping[tuple[int, int], Answer]

#: (1 - 1/K)/2 for K = 10 equally frequent classes.
CONSTANT = 0.45
DECAY, START = 1e-5, 0.5
#: The smallest network, and what stays while the other number grows.
SMALL, FIXED = (4, 2), {"layers": 6, "heads": 8}
TITLES = {"digits": "digits", "cifar": "CIFAR-10"}


def sizes(full: bool) -> tuple[tuple[int, ...], tuple[int, ...], int, float]:
    """Heads, layers, images and the training time."""
    if full:
        return (4, 8, 16, 24, 40), (2, 4, 6, 8, 12, 20), 200, 80.0
    return (4, 16, 40), (2, 6, 16), 100, 60.0


def shapes(full: bool) -> list[dict[str, Any]]:
    """The cases of all networks on every data set that is there."""
    heads, layers, images, tau = sizes(full)
    folder = cifar_folder()
    pairs = sorted({SMALL, *((M, FIXED["layers"]) for M in heads), *((FIXED["heads"], L) for L in layers)})
    paths = {"digits": "", **({"cifar": str(folder)} if folder else {})}
    common = {"images": images, "tau": tau}
    return [{"data": data, "path": path, "M": M, "L": L} | common for data, path in paths.items() for M, L in pairs]


def cost(data: str, path: str, images: int, M: int, L: int, tau: float) -> float:
    """About the seconds of a network."""
    return L * -(-M // 16) * images * tau / 3000 * (4 if path else 1)


def train(data: str, path: str, images: int, M: int, L: int, tau: float) -> Answer:
    """Loss and accuracy along training, and at the end by the numpy Transformer and on other images."""
    train, other = _prompts(data, path, images)
    heads, neurons = wflow.SoftmaxAttention(factored=True, rank=1), wflow.FeedForward("gelu")
    Q = wflow.TransformerObjective(train, heads, neurons, weight_decay=DECAY, layers=L)
    rho0 = wflow.initial.gaussian(std=START).sample(Q, M, rng=0)
    rho0 = rho0.replace(**{name: x.astype(np.float32) for name, x in rho0.blocks.items()})
    answer = wflow.solve(Q, rho0, (0, tau), scheme="euler", rtol=0.1, tol=0, progress=False)
    rho = answer.measure(-1)
    model = FiniteTransformer("factored", "gelu", rank=1, weight_decay=DECAY)
    _, loss = model.value(rho.theta.astype(np.float64), rho.w.astype(np.float64), train)
    errors = {name: some.error_rate(Q.predict(rho, some.tokens)) for name, some in (("train", train), ("other", other))}
    return {
        "start": answer.risk[0] / CONSTANT,
        "loss": answer.risk[-1] / CONSTANT,
        "numpy": loss / CONSTANT,
        "accuracy": 1 - errors["train"],
        "other accuracy": 1 - errors["other"],
        "steps": len(answer.tau) - 1,
        "rises": float(np.max(np.diff(answer.energy))),
    }


def trained(runs: Runs) -> dict[str, Networks]:
    """The networks of every data set that is there, by its title."""
    every = {title: {(case["M"], case["L"]): a for case, a in runs.of(data=data)} for data, title in TITLES.items()}
    return {title: networks for title, networks in every.items() if networks}


def _prompts(data: str, path: str, images: int) -> tuple[wflow.Dataset, wflow.Dataset]:
    """The first images of every class, equally many of each, and up to 1000 of the remaining ones."""
    if data == "digits":
        everything = wflow.datasets.digits("all", patch=(4, 4))
    else:
        everything = cifar_prompts(*read_cifar(Path(path)))
    classes = np.argmax(everything.labels, axis=1)
    chosen = np.sort(np.concatenate([np.flatnonzero(classes == k)[: images // 10] for k in range(10)]))
    remaining = np.setdiff1d(np.arange(len(classes)), chosen)[:1000]
    return everything.subset(chosen), everything.subset(remaining)
