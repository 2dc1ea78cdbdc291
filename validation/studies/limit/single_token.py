"""A single token: are the errors along training those of the flow linearised around its limit?

One token H of dimension one and attention only, with values V uniform on MIDDLE +- RADIUS in every layer. With x_l the
mean of V in layer l over 2 L, and a = E H^2, b = E H y over the prompts,

    ln T(1)/H = sum_l ln(1 + x_l)  ->  S,    S' = -1/4 (a e^{2S} - b e^S) - lambda S

For L layers of equal means the force has the factor 1/(1 + S/L), and ln T(1)/H = L ln(1 + S/L): to first order in 1/L a
linear equation for the error of the depth. Another one says how much of the noise is left. The values stay uniform, so
that their distance W_2 from their law is known as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from validation.drawing import panels
from validation.fits import falls_as, grows_as
from validation.statistics import bootstrap, relative_gap, rms
from validation.studies.limit._linearised import DECAY, MIDDLE, RADIUS, STEP, TIMES, distance, linearised, prompts
from validation.study import Answer, Claim, Runs, at_most, within
from validation.transformer import FiniteTransformer
from wflow.figures.style import PALETTE

Array = NDArray[np.float64]

CAPTION = (
    "The single token along training against the flow linearised around its limit. Left: the error of the depth "
    "(L = 64). Right: the noise of the width (M = 16, L = 64)."
)


def COST(M: int | None, L: int, seeds: int, times: int) -> float:
    return L * seeds * (times + 1) / 1700


def cases(full: bool) -> list[dict[str, Any]]:
    draws = 50 if full else 20
    out = []
    for M, L in ((None, 64), (4, 16), (16, 16), (64, 16), (16, 4), (16, 64)):
        out.append({"M": M, "L": L, "seeds": draws if M else 1, "times": TIMES})
    return [*out, {"M": 16, "L": 64, "seeds": 50 * draws, "times": 0}]


def measure(M: int | None, L: int, seeds: int, times: int) -> Answer:
    """``ln T(1)/H`` at all times of training (seeds, times + 1), and the distance of the values from their law at the
    end (seeds,): of a Transformer with M values in every layer, or with their mean alone (None)."""
    model, data = FiniteTransformer("full", None, weight_decay=DECAY), prompts()
    logs, distances = [], []
    for seed in range(seeds):
        rng = np.random.default_rng([seed, M or 0, L])
        V = np.full((L, 1), MIDDLE) if M is None else MIDDLE + RADIUS * rng.uniform(-1, 1, (L, M))
        start = np.stack([V, np.zeros_like(V)], axis=2)
        history = model.train(start, None, data, STEP, times, "rk4")
        logs.append(np.log(history.predictions[:, 1, 0] / data.tokens[1, 0, 0]))
        assert history.theta is not None
        distances.append(distance(np.sort(history.theta[..., 0], axis=1), times))
    return {"logs": np.array(logs), "distances": np.array(distances)}


def claims(runs: Runs) -> list[Claim]:
    exact = linearised()
    apart = relative_gap(_bias(runs), exact["depth"])
    text = "single token: L times the error of the depth along training, relative difference from its prediction"
    out = [at_most(text, apart, 0.1)]
    start, along = _noise(runs, 0)[:, 0], _noise(runs, TIMES)
    text = "single token: sqrt(M L) times the noise of the width at tau = 0"
    interval = bootstrap(rms, start, seed=0)
    out.append(within(text, rms(start), 0.5 * RADIUS / np.sqrt(3), 0.1, relative=True, interval=interval))
    text, interval = "single token: the part of it that is left at the end", bootstrap(_left, along, seed=1)
    out.append(within(text, _left(along), exact["left"][-1], 0.1, relative=True, interval=interval))
    far = {(x["M"], x["L"]): rms(answer["distances"]) for x, answer in runs.of(times=TIMES) if x["M"]}
    widths, depths = {M: y for (M, L), y in far.items() if L == 16}, {L: y for (M, L), y in far.items() if M == 16}
    text = "single token: conditional W_2 of the values from their law at the end (p = 1), exponent of 1/M at L = 16"
    out.append(falls_as(text, list(widths), list(widths.values()), 0.5))
    out.append(grows_as("the same, exponent of L at M = 16", list(depths), list(depths.values()), 0.0))
    constant = 2 * RADIUS * np.exp(-DECAY * exact["tau"][-1]) / np.sqrt(6 * 64)
    return [*out, within("the same at M = 64, L = 16", far[64, 16], constant, 0.1, relative=True)]


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> Figure:
    drawing, (depth, width) = panels(2, 2.5)
    exact = linearised()
    depth.plot(exact["tau"], -exact["depth"], color=PALETTE[0], label="linearised flow")
    depth.plot(exact["tau"], -_bias(runs), "o", color=PALETTE[1], label="measured")
    depth.set(xlabel=r"training time $\tau$", ylabel=r"$-L\times$ error of the depth")
    depth.legend()
    width.plot(exact["tau"], 0.5 * RADIUS / np.sqrt(3) * exact["left"], color=PALETTE[0])
    width.plot(exact["tau"], np.sqrt(np.mean(_noise(runs, TIMES) ** 2, axis=0)), "o", color=PALETTE[1])
    width.set(xlabel=r"training time $\tau$", ylabel=r"$\sqrt{ML}\times$ noise of the width", ylim=(0, None))
    return drawing


def _bias(runs: Runs) -> Array:
    """L times the error of the depth for L = 64, at all times."""
    return np.asarray(64 * (runs.one(M=None)["logs"][0] - linearised()["S"]))


def _noise(runs: Runs, times: int) -> Array:
    """sqrt(M L) times the noise of ln T(1)/H for M = 16, L = 64: (seeds, times + 1)."""
    deep = runs.one(M=None)["logs"][:, : times + 1]
    return np.asarray(32 * (runs.one(M=16, L=64, times=times)["logs"] - deep))


def _left(along: Array) -> float:
    """The noise at the end over that at the start."""
    return rms(along[:, -1]) / rms(along[:, 0])
