"""The law of width and depth

How must the width M grow with the depth L? Theorem 3.1 of Gao et al. 2024 bounds the error of a Transformer by
C (1/L + sqrt((delta + log(L + 1))/M)), so that M/log L must go to infinity. For layers drawn independently the central
limit theorem says more: the noise is that of all M L heads and neurons together, b/sqrt(M L), and a bounded width would
do. Clouds that all layers share have b/sqrt(M), and a net in depth, which deals well-spread points to the layers, less
than independent draws.

The error of the predictions is measured over a map of M and L, at the start and for Transformers drawn from the law
after training (with the task and the 13 atoms of the study "limit"), and for smaller ones along training. The noise is
the difference from the Transformer with all atoms and as many layers. Exponents alpha and gamma of noise ~ M^-alpha
L^-gamma are fitted, and the shapes 1/sqrt(M L), sqrt(log(L + 1)/M), 1/sqrt(M) and 1/(M L) compete with one constant
each: which leaves the least scatter, and by how much (the difference of their Akaike information criteria, N ln of the
ratio of the squared residuals in the logarithms).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from validation import atoms
from validation.atoms import DTAU, STEPS
from validation.drawing import log_log, panels
from validation.statistics import least_squares, rms
from validation.study import Answers, Claim, Job, Outcome, Table, at_least, at_most, within
from wflow.figures.style import PALETTE

Array = NDArray[np.float64]
Map = dict[tuple[int, int], Array]

KINDS = {"iid": "independent layers", "shared": "one cloud for all layers", "net": "a net in depth"}

SHAPES: dict[str, Callable[[Array, Array], Array]] = {
    "1/sqrt(M L)": lambda M, L: 1 / np.sqrt(M * L),
    "sqrt(log(L + 1)/M)": lambda M, L: np.sqrt(np.log(L + 1) / M),
    "1/sqrt(M)": lambda M, L: 1 / np.sqrt(M),
    "1/(M L)": lambda M, L: 1 / (M * L),
}

#: The exponents of 1/M and 1/L that the central limit theorem predicts, and the shape.
PREDICTED = {"iid": (0.5, 0.5, "1/sqrt(M L)"), "shared": (0.5, 0.0, "1/sqrt(M)")}


def sizes(full: bool) -> dict[str, Any]:
    """The map of drawn Transformers, and that of trained ones."""
    if full:
        widths, depths = (2, 4, 8, 16, 32, 64, 128, 256), (2, 4, 8, 16, 32, 64)
        trained = {"trained": ((4, 8, 16, 32), (4, 8, 16)), "runs": 16}
        return {"M": widths, "L": depths, "seeds": 200, "frames": (0, STEPS), **trained}
    trained = {"trained": ((4, 16), (4, 16)), "runs": 8}
    return {"M": (2, 8, 32, 128), "L": (2, 8, 32), "seeds": 100, "frames": (0,), **trained}


def jobs(full: bool) -> list[Job]:
    """What to compute."""
    size = sizes(full)
    out = [Job(atoms.constants, {"frame": frame}, 5) for frame in size["frames"]]
    for kind, M, L, frame in itertools.product(KINDS, size["M"], size["L"], size["frames"]):
        arguments = {"M": M, "L": L, "frame": frame, "seeds": size["seeds"], "kind": kind}
        out.append(Job(atoms.redrawn, arguments, (M * L / 60 + 2) * size["seeds"] / 1000))
    for kind, M, L, seed in itertools.product(KINDS, *size["trained"], range(size["runs"])):
        out.append(Job(atoms.trained, {"M": M, "L": L, "seed": seed, "kind": kind}, M * L / 300))
    out += [Job(atoms.trained, {"M": None, "L": L}, L / 10) for L in size["trained"][1]]
    return out


def report(answers: Answers, full: bool) -> Outcome:
    """Claims, tables and figures."""
    size = sizes(full)
    noise: dict[tuple[str, str], Map] = {}
    for frame in size["frames"]:
        for kind in KINDS:
            noise[kind, f"tau = {DTAU * frame:g}"] = {
                (a["M"], a["L"]): _errors(x["predictions"] - x["all_atoms"])
                for a, x in answers.of(atoms.redrawn, kind=kind, frame=frame)
            }
    for kind in KINDS:
        noise[kind, "along training"] = _trained(answers, kind, size["trained"])
    claims: list[Claim] = []
    findings, rows = [], []
    for (kind, when), some in noise.items():
        (alpha, gamma), intervals = _exponents(some)
        criteria = _criteria(some)
        best = min(criteria, key=lambda shape: criteria[shape])
        rows.append([KINDS[kind], when, alpha, _words(intervals[0]), gamma, _words(intervals[1]), best])
        if when == "along training":
            continue
        if kind in PREDICTED:
            *expected, shape = PREDICTED[kind]
            for name, value, predicted, interval in zip("ML", (alpha, gamma), expected, intervals):
                text = f"{KINDS[kind]}, {when}: exponent of 1/{name} in the noise"
                claims.append(within(text, value, predicted, 0.1, interval=interval))
            margin = min(criteria[other] for other in SHAPES if other != shape) - criteria[shape]
            text = f"{KINDS[kind]}, {when}: evidence for {shape} over the other shapes (difference of criteria)"
            claims.append(at_least(text, margin, 10.0))
        else:
            worst = max(rms(x) / rms(noise["iid", when][key]) for key, x in some.items())
            claims.append(at_most(f"{KINDS[kind]}, {when}: noise over that of independent layers, largest", worst, 1.0))
        if kind == "iid":
            findings += _verdict(when, criteria, gamma, intervals[1])
    for frame in size["frames"]:
        claims.append(_predicted(answers, frame))
    findings.append(_training(noise))
    tables = [
        Table(
            "Noise of the width ~ M^-alpha L^-gamma, rms over seeds and prompts, and the shape that fits best",
            ["layers", "when", "alpha", "95 %", "gamma", "95 %", "shape"],
            rows,
        ),
        *(_map(noise[kind, "tau = 0"], f"{KINDS[kind]}, tau = 0: rms noise of the predictions") for kind in KINDS),
    ]
    at_start = {kind: noise[kind, "tau = 0"] for kind in KINDS}
    constants = answers.one(atoms.constants, frame=0)
    caption = (
        "Noise of the width at tau = 0. Left: over M L, at all sizes; the line is the predicted constant. Middle: at "
        "the largest width over L, with 1/sqrt(M L) and sqrt(log(L + 1)/M) (dashed) through the first point. "
        "Right: the error from the limit, with the bias of the depth, for independent layers, and its predicted law."
    )
    return Outcome(claims, findings, tables, {"map": (_figure(at_start, constants, answers), caption)})


def _predicted(answers: Answers, frame: int) -> Claim:
    """The error from the limit of independent layers, depth and width together, against its law without any fit."""
    constants = answers.one(atoms.constants, frame=frame)
    ratios = []
    for a, x in answers.of(atoms.redrawn, kind="iid", frame=frame):
        M, L = a["M"], a["L"]
        law = np.sqrt(np.mean(constants["depth"] ** 2) / L**2 + np.mean(constants["width"]) / (M * L))
        if L >= 8:  # the constants are those of the first order
            ratios.append(np.log(rms(x["predictions"] - constants["prediction"]) / law))
    text = f"independent layers, tau = {DTAU * frame:g}, L >= 8: rms of ln(error from the limit / predicted law)"
    return at_most(text, rms(np.array(ratios)), 0.1)


def _errors(apart: Array) -> Array:
    """The rms error of every draw, over prompts."""
    return np.asarray(np.sqrt(np.mean(apart**2, axis=-1)))


def _trained(answers: Answers, kind: str, trained: Sequence[Sequence[int]]) -> Map:
    """The largest noise along training of every run."""
    out = {}
    for L in trained[1]:
        deep = next(answers.of(atoms.trained, M=None, L=L))[1]["predictions"]
        for M in trained[0]:
            runs = [x["predictions"] for _, x in answers.of(atoms.trained, M=M, L=L, kind=kind)]
            out[M, L] = _errors(np.array(runs) - deep).max(axis=1)
    return out


def _exponents(noise: Map) -> tuple[Array, list[tuple[float, float]]]:
    """alpha and gamma with their 95 % intervals, by resampling the draws."""
    M, L = np.log(np.array(list(noise), float)).T
    columns = np.stack([np.ones_like(M), -M, -L], axis=1)

    def fit(choose: Callable[[Array], Array]) -> Array:
        return least_squares(columns, [np.log(rms(choose(x))) for x in noise.values()])[0][1:]

    rng = np.random.default_rng(0)
    again = np.array([fit(lambda x: x[rng.integers(len(x), size=len(x))]) for _ in range(300)])
    intervals = np.quantile(again, [0.025, 0.975], axis=0).T
    return fit(lambda x: x), [(float(low), float(high)) for low, high in intervals]


def _criteria(noise: Map) -> dict[str, float]:
    """Akaike's criterion of every shape with one constant: N ln of the mean squared residual in the logarithm."""
    M, L = np.array(list(noise), float).T
    logs = np.log([rms(x) for x in noise.values()])
    return {name: float(len(M) * np.log(np.var(logs - np.log(shape(M, L))))) for name, shape in SHAPES.items()}


def _verdict(when: str, criteria: Mapping[str, float], gamma: float, interval: tuple[float, float]) -> list[str]:
    """What the theorem's shape is worth, in words."""
    theorem, product = criteria["sqrt(log(L + 1)/M)"], criteria["1/sqrt(M L)"]
    better = "the product law 1/sqrt(M L)" if product < theorem else "the theorem's sqrt(log(L + 1)/M)"
    text = (
        f"Independent layers, {when}: the noise follows {better} (difference of criteria {abs(theorem - product):.0f}, "
        f"exponent of 1/L {gamma:.2f}, 95 % interval {_words(interval)})."
    )
    if product < theorem:
        text += (
            " The theorem bounds the error from above, and that is not contradicted; but its shape is not that of the "
            "error: of equal width, deeper Transformers are nearer to the limit, so that for independent layers "
            "M/log L -> infinity is sufficient, not necessary."
        )
    return [text]


def _training(noise: Mapping[tuple[str, str], Map]) -> str:
    parts = []
    for kind, words in KINDS.items():
        (alpha, gamma), intervals = _exponents(noise[kind, "along training"])
        parts.append(f"{words} {alpha:.2f} ({_words(intervals[0])}) and {gamma:.2f} ({_words(intervals[1])})")
    return "Along training the exponents of 1/M and 1/L in the largest noise are: " + "; ".join(parts) + "."


def _words(interval: Sequence[float]) -> str:
    return f"{interval[0]:.2f} to {interval[1]:.2f}"


def _map(noise: Map, title: str) -> Table:
    widths, depths = (sorted(set(x)) for x in zip(*noise))
    rows = [[f"M = {M}", *(rms(noise[M, L]) for L in depths)] for M in widths]
    return Table(title, ["", *(f"L = {L}" for L in depths)], rows)


def _figure(noise: Mapping[str, Map], constants: Mapping[str, Any], answers: Answers) -> Figure:
    figure, (left, middle, right) = panels(3)
    widths, depths = (sorted(set(x)) for x in zip(*noise["iid"]))
    for (kind, some), colour, marker in zip(noise.items(), PALETTE, "os^"):
        left.plot([M * L for M, L in some], [rms(x) for x in some.values()], marker, color=colour, label=KINDS[kind])
        middle.plot(depths, [rms(some[widths[-1], L]) for L in depths], marker, color=colour)
    product = np.geomspace(widths[0] * depths[0], widths[-1] * depths[-1])
    left.plot(product, np.sqrt(np.mean(constants["width"]) / product), "k-", linewidth=0.8)
    L = np.geomspace(depths[0], depths[-1])
    for shape, dash in zip(list(SHAPES)[:2], ("-", "--")):
        y = SHAPES[shape](widths[-1], L)
        middle.plot(L, rms(noise["iid"][widths[-1], depths[0]]) * y / y[0], "k" + dash, linewidth=0.8)
    for M, colour in zip(widths[:: max(1, len(widths) // 4)], PALETTE):
        drawn = answers.of(atoms.redrawn, kind="iid", frame=0, M=M)
        errors = {a["L"]: x["predictions"] - constants["prediction"] for a, x in drawn}
        right.plot(depths, [rms(errors[L]) for L in depths], "o", color=colour, label=f"$M={M}$")
        law = np.sqrt(np.mean(constants["depth"] ** 2) / L**2 + np.mean(constants["width"]) / (M * L))
        right.plot(L, law, color=colour, linewidth=0.8)
    every = [rms(x) for some in noise.values() for x in some.values()]
    log_log(left, [10, 100, 1000, 10000][: 3 if product[-1] < 1e4 else 4], every)
    log_log(middle, depths, every)
    log_log(right, depths, every)
    left.set(xlabel="$M L$", ylabel="noise of the width")
    left.legend()
    middle.set(xlabel="layers $L$", ylabel=f"noise, $M={widths[-1]}$")
    right.set(xlabel="layers $L$", ylabel="error from the limit")
    right.legend()
    return figure
