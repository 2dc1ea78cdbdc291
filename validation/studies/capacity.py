"""Images: enough heads, or enough layers, bring the training loss to zero

Gao et al. (2024, arXiv 2410.23610) train small Transformers on images and find that the training loss nearly vanishes,
and the training accuracy nearly is 100 %, once there are enough heads or enough layers. Here the same is done by the
gradient flow: 8 x 8 digits in four patches and a class token, ten classes with one-hot labels, the largest of ten
entries of the class token as the answer; M attention heads of rank one and M gelu neurons in each of L layers, from
M = 4, L = 2 upwards: 4 to 40 heads in 6 layers, and from 2 layers on with 8 heads. lambda = 1e-5, all particles start
from N(0, 1/4), and all are trained for the same tau by gradient descent with adaptive steps in float32.

Losses are in units of 0.45, the risk of the best constant answer to ten equally frequent classes, (1 - 1/10)/2. At the
end each loss is computed once more by the numpy Transformer with the trained particles. CIFAR-10 is treated alike,
averaged to 8 x 8 pixels, if a local copy of its Python batches is in data/cifar-10-batches-py or where the environment
variable CIFAR10 says.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import wflow
from validation.cifar import cifar_folder, cifar_prompts, read_cifar
from validation.drawing import panels
from validation.study import Answer, Claim, Runs, Table, at_least, at_most
from validation.transformer import FiniteTransformer
from wflow.figures.style import PALETTE

#: (1 - 1/K)/2 for K = 10 equally frequent classes.
CONSTANT = 0.45
DECAY, START = 1e-5, 0.5
#: What energies in float32 may rise by rounding: 64 units of the last place of 0.5.
ROUNDING = 64 * 0.5 * float(np.finfo(np.float32).eps)
SMALL, FIXED_LAYERS, FIXED_HEADS = (4, 2), 6, 8
TITLES = {"digits": "digits", "cifar": "CIFAR-10"}

CAPTION = "Training loss at the end, with the training accuracy, by heads and by layers."


def COST(data: str, path: str, images: int, M: int, L: int, tau: float) -> float:
    return L * -(-M // 16) * images * tau / 3000 * (4 if path else 1)


def sizes(full: bool) -> tuple[tuple[int, ...], tuple[int, ...], int, float]:
    """Heads, layers, images and the training time."""
    if full:
        return (4, 8, 16, 24, 40), (2, 4, 6, 8, 12, 20), 200, 80.0
    return (4, 16, 40), (2, 6, 16), 100, 60.0


def cases(full: bool) -> list[dict[str, Any]]:
    heads, layers, images, tau = sizes(full)
    folder = cifar_folder()
    shapes = sorted({SMALL, *((M, FIXED_LAYERS) for M in heads), *((FIXED_HEADS, L) for L in layers)})
    paths = {"digits": "", **({"cifar": str(folder)} if folder else {})}
    common = {"images": images, "tau": tau}
    return [{"data": data, "path": path, "M": M, "L": L} | common for data, path in paths.items() for M, L in shapes]


def measure(data: str, path: str, images: int, M: int, L: int, tau: float) -> Answer:
    """Loss and accuracy along training, and at the end by the numpy Transformer and on other images."""
    train, other = prompts(data, path, images)
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


def claims(runs: Runs) -> list[Claim]:
    return [claim for data, networks in trained(runs).items() for claim in _claims(networks, TITLES[data], runs.full)]


def findings(runs: Runs) -> list[str]:
    out = [finding for data, some in trained(runs).items() for finding in _findings(some, TITLES[data], runs.full)]
    missing = [title for data, title in TITLES.items() if data not in trained(runs)]
    return out + [f"There is no local copy of {title}: it was left out." for title in missing]


def table(runs: Runs) -> list[Table]:
    return [_table(networks, TITLES[data], runs.full) for data, networks in trained(runs).items()]


def figure(runs: Runs) -> Figure:
    every = trained(runs)
    drawing, rows = panels(2, 2.5 * len(every), nrows=len(every), sharey=True, squeeze=False)
    for axes, (data, networks) in zip(rows, every.items()):
        _draw(axes, networks, runs.full)
        axes[0].set(ylabel=f"{TITLES[data]}: training loss / 0.45", ylim=(None, 1))
    return drawing


Networks = Mapping[tuple[int, int], Answer]
Row = tuple[tuple[int, ...], list[Answer]]


def trained(runs: Runs) -> dict[str, Networks]:
    """The networks by M and L, of every data set that is there."""
    every = {data: {(case["M"], case["L"]): answer for case, answer in runs.of(data=data)} for data in TITLES}
    return {data: networks for data, networks in every.items() if networks}


def prompts(data: str, path: str, images: int) -> tuple[wflow.Dataset, wflow.Dataset]:
    """The first images of every class, equally many of each, and up to 1000 of the remaining ones."""
    if data == "digits":
        everything = wflow.datasets.digits("all", patch=(4, 4))
    else:
        everything = cifar_prompts(*read_cifar(Path(path)))
    classes = np.argmax(everything.labels, axis=1)
    chosen = np.sort(np.concatenate([np.flatnonzero(classes == k)[: images // 10] for k in range(10)]))
    remaining = np.setdiff1d(np.arange(len(classes)), chosen)[:1000]
    return everything.subset(chosen), everything.subset(remaining)


def series(networks: Networks, full: bool) -> dict[str, Row]:
    """The two rows of networks: more heads, more layers."""
    heads, layers, *_ = sizes(full)
    by_layers = [networks[FIXED_HEADS, L] for L in layers]
    return {"heads": (heads, [networks[M, FIXED_LAYERS] for M in heads]), "layers": (layers, by_layers)}


def _claims(networks: Networks, title: str, full: bool) -> list[Claim]:
    apart = max(abs(x["loss"] / x["numpy"] - 1) for x in networks.values())
    out = [
        at_most(f"{title}: the loss against the numpy Transformer, relative, the largest", apart, 1e-4),
        at_most(f"{title}: the largest rise of the energy", max(x["rises"] for x in networks.values()), ROUNDING),
    ]
    for what, (numbers, row) in series(networks, full).items():
        name = f"{title}, {numbers[-1]} {what}"
        growth = max(b["loss"] / a["loss"] for a, b in pairwise(row))
        times = networks[SMALL]["loss"] / row[-1]["loss"]
        out += [
            at_most(f"{name}: the training loss", row[-1]["loss"], 0.05),
            at_least(f"{name}: the training accuracy", row[-1]["accuracy"], 0.99),
            at_least(f"{name}: the loss of 4 heads in 2 layers is so many times as large", times, 5),
            at_most(f"{title}, more {what}: the loss is so many times the last one, the largest", growth, 1.1),
        ]
    return out


def _findings(networks: Networks, title: str, full: bool) -> list[str]:
    small = networks[SMALL]
    out = [
        f"{title}, 4 heads in 2 layers: training loss {small['loss']:.2g}, training accuracy "
        f"{100 * small['accuracy']:.3g} %."
    ]
    for what, (numbers, row) in series(networks, full).items():
        enough = [k for k, x in zip(numbers, row) if x["loss"] <= 0.05 and x["accuracy"] >= 0.99]
        first = f"from {enough[0]} {what} on" if enough else f"for no number of {what}"
        losses = ", ".join(f"{x['loss']:.2g}" for x in row)
        out.append(f"{title}: loss below 0.05 and accuracy above 99 % {first}; losses {losses} for {what} {numbers}.")
    least, most = (f(100 * x["other accuracy"] for x in networks.values()) for f in (min, max))
    out.append(f"{title}: of images that were not trained on, {least:.3g} to {most:.3g} % are recognised.")
    return out


def _table(networks: Networks, title: str, full: bool) -> Table:
    _, _, images, tau = sizes(full)
    head = ["heads", "layers", "loss at tau = 0", "loss", "training accuracy", "other accuracy", "steps"]
    keys = ("start", "loss", "accuracy", "other accuracy")
    rows = [[M, L, *(float(x[key]) for key in keys), int(x["steps"])] for (M, L), x in sorted(networks.items())]
    return Table(f"{title}, {images} images, at tau = {tau:g}; losses in units of 0.45.", head, rows)


def _draw(axes_of: Any, networks: Networks, full: bool) -> None:
    fixed = {"heads": f"{FIXED_LAYERS} layers", "layers": f"{FIXED_HEADS} heads"}
    for axes, (what, (numbers, row)) in zip(axes_of, series(networks, full).items()):
        axes.loglog(numbers, [x["loss"] for x in row], "o-", color=PALETTE[0], ms=3.5, label="loss, and accuracy")
        for k, x in zip(numbers, row):
            place = {"textcoords": "offset points", "xytext": (2, 5), "fontsize": 7}
            axes.annotate(f"{100 * x['accuracy']:.4g} %", (k, x["loss"]), **place)
        small = f"4 heads, 2 layers: {100 * networks[SMALL]['accuracy']:.4g} %"
        axes.axhline(networks[SMALL]["loss"], ls=":", color="0.5", lw=1, label=small)
        axes.set_xticks(numbers, [str(k) for k in numbers])
        axes.minorticks_off()
        axes.set(xlabel=f"{what} ({fixed[what]})")
    axes_of[1].legend(loc="lower left")
