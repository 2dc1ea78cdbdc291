"""How does the noise of the width fall: as the theorem's bound, or as the central limit theorem says?

Exponents are fitted, and shapes compete with one constant each: which leaves the least scatter, and by how much (the
difference of their Akaike information criteria, N ln of the ratio of the squared residuals in the logarithms)?

    noise ~ M^-alpha L^-gamma;   1/sqrt(M L), sqrt(log(L + 1)/M), 1/sqrt(M), 1/(M L)

The central limit theorem predicts alpha = gamma = 1/2 for independent layers, and gamma = 0 for shared clouds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from validation import atoms
from validation.atoms import DTAU
from validation.drawing import log_log, panels
from validation.statistics import rms
from validation.studies.width_depth._noise import (
    KINDS,
    SHAPES,
    TABLE,
    Map,
    criteria,
    draw,
    drawn,
    errors,
    exponents,
    frames,
    row,
    words,
)
from validation.study import Claim, Runs, Table, at_least, at_most, within
from wflow.figures.style import PALETTE

#: The exponents of 1/M and 1/L that the central limit theorem predicts, and the shape.
PREDICTED = {"iid": (0.5, 0.5, "1/sqrt(M L)"), "shared": (0.5, 0.0, "1/sqrt(M)")}

COST = atoms.cost
CAPTION = (
    "Noise of the width at tau = 0. Left: over M L, at all sizes; the line is the predicted constant. Right: at the "
    "largest width over L, with 1/sqrt(M L) and sqrt(log(L + 1)/M) (dashed) through the first point."
)


def cases(full: bool) -> list[dict[str, Any]]:
    return [{"what": "constants", "frame": 0}, *drawn(full, list(KINDS))]


measure = atoms.measure


def claims(runs: Runs) -> list[Claim]:
    out = []
    for frame in frames(runs.full):
        when, noise = f"tau = {DTAU * frame:g}", _noise_of(runs, frame)
        for kind, (*expected, shape) in PREDICTED.items():
            values, intervals = exponents(noise[kind])
            for name, value, predicted, interval in zip("ML", values, expected, intervals):
                text = f"{KINDS[kind]}, {when}: exponent of 1/{name} in the noise"
                out.append(within(text, value, predicted, 0.1, interval=interval))
            scatter = criteria(noise[kind])
            margin = min(scatter[other] for other in SHAPES if other != shape) - scatter[shape]
            text = f"{KINDS[kind]}, {when}: evidence for {shape} over the other shapes (difference of criteria)"
            out.append(at_least(text, margin, 10.0))
        worst = max(rms(x) / rms(noise["iid"][key]) for key, x in noise["net"].items())
        out.append(at_most(f"{KINDS['net']}, {when}: noise over that of independent layers, largest", worst, 1.0))
    return out


def findings(runs: Runs) -> list[str]:
    return [_verdict(runs, frame) for frame in frames(runs.full)]


def table(runs: Runs) -> list[Table]:
    rows = []
    for frame in frames(runs.full):
        rows += [row(kind, f"tau = {DTAU * frame:g}", noise) for kind, noise in _noise_of(runs, frame).items()]
    title = "Noise of the width ~ M^-alpha L^-gamma, rms over seeds and prompts, and the shape that fits best"
    out = [Table(title, TABLE, rows)]
    for kind, noise in _noise_of(runs, 0).items():
        widths, depths = (sorted(set(x)) for x in zip(*noise))
        body = [[f"M = {M}", *(rms(noise[M, L]) for L in depths)] for M in widths]
        title = f"{KINDS[kind]}, tau = 0: rms noise of the predictions"
        out.append(Table(title, ["", *(f"L = {L}" for L in depths)], body))
    return out


def figure(runs: Runs) -> Figure:
    drawing, (left, right) = panels(2)
    noise, width = _noise_of(runs, 0), np.mean(runs.one(what="constants")["width"])
    widths, depths = (sorted(set(x)) for x in zip(*noise["iid"]))
    draw(left, noise)
    product = np.geomspace(widths[0] * depths[0], widths[-1] * depths[-1])
    left.plot(product, np.sqrt(width / product), "k-", linewidth=0.8)
    for some, colour, marker in zip(noise.values(), PALETTE, "os^"):
        right.plot(depths, [rms(some[widths[-1], L]) for L in depths], marker, color=colour)
    L = np.geomspace(depths[0], depths[-1])
    for shape, dash in zip(list(SHAPES)[:2], ("-", "--")):
        y = SHAPES[shape](np.full_like(L, widths[-1]), L)
        right.plot(L, rms(noise["iid"][widths[-1], depths[0]]) * y / y[0], "k" + dash, linewidth=0.8)
    log_log(right, depths, [rms(some[widths[-1], L]) for some in noise.values() for L in depths])
    right.set(xlabel="layers $L$", ylabel=f"noise, $M={widths[-1]}$")
    return drawing


def _noise_of(runs: Runs, frame: int) -> dict[str, Map]:
    """The noise of the width by kind."""
    out: dict[str, Map] = {}
    for kind in KINDS:
        some = runs.of(what="redrawn", kind=kind, frame=frame)
        out[kind] = {(x["M"], x["L"]): errors(answer["predictions"] - answer["all_atoms"]) for x, answer in some}
    return out


def _verdict(runs: Runs, frame: int) -> str:
    """What the theorem's shape is worth, in words."""
    noise = _noise_of(runs, frame)["iid"]
    (_, gamma), (_, interval) = exponents(noise)
    scatter = criteria(noise)
    theorem, product = scatter["sqrt(log(L + 1)/M)"], scatter["1/sqrt(M L)"]
    better = "the product law 1/sqrt(M L)" if product < theorem else "the theorem's sqrt(log(L + 1)/M)"
    text = (
        f"Independent layers, tau = {DTAU * frame:g}: the noise follows {better} (difference of criteria "
        f"{abs(theorem - product):.0f}, exponent of 1/L {gamma:.2f}, 95 % interval {words(interval)})."
    )
    if product < theorem:
        text += (
            " The theorem bounds the error from above, and that is not contradicted; but its shape is not that of the "
            "error: of equal width, deeper Transformers are nearer to the limit, so that for independent layers "
            "M/log L -> infinity is sufficient, not necessary."
        )
    return text
