"""Do Transformers of encoders without homogeneity come down as far as others?

Queries are at x = -1 and 1, so that neurons alone, which see one token, have a floor of the risk:

    R >= 1/2 E Var(y | x).

Outer weights of size b move row r of the tokens by at most b/(2 L) sum_k max_j |T_kj| in an attention layer and by
b/(2 L) in a layer of tanh neurons; where the readout cannot come as far as a label, the risk has a floor as well.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import wflow
from validation.drawing import dots, panels
from validation.studies.homogeneity._encoders import ALONE, HOMOGENEOUS, SIZES, Array, transformer
from validation.studies.homogeneity._task import LAYERS, PROMPTS, floor, prompts, reach
from validation.study import Answer, Claim, Runs, Table, at_least, at_most
from wflow.controllers import Fixed
from wflow.figures.style import DASHES, PALETTE

CAPTION = (
    "Left: the risk along training, geometric means over seeds; thin grey lines are the other activations. Right: at "
    "the end, by seed; ticks are the known bounds from below."
)
#: Steps where kinks of relu would hold up adaptive ones: below the limit of stability.
STEPS = {"relu": 0.25, "linear attention": 0.25}
#: Who has a line of its own.
NAMED = ("tanh", "relu", "linear attention", *SIZES, ALONE)


def COST(name: str, tau: float, **case: Any) -> float:
    """Fixed steps take longer."""
    return tau / (20 if name in STEPS else 60)


def cases(full: bool) -> list[dict[str, Any]]:
    """All Transformers, and seeds."""
    tau, seeds = (400.0, 3) if full else (200.0, 2)
    names = (*HOMOGENEOUS, *SIZES, ALONE)
    return [{"name": name, "tau": tau, "M": 16, "seed": seed} for name, seed in itertools.product(names, range(seeds))]


def measure(name: str, tau: float, M: int, seed: int) -> Answer:
    """The risk along training, and the known bounds from below."""
    data = prompts(PROMPTS, seed)
    Q = wflow.TransformerObjective(data, *transformer(name), weight_decay=1e-3, layers=LAYERS)
    rho0 = wflow.initial.gaussian(std=0.5).sample(Q, M, rng=seed)
    method: dict[str, Any] = {"scheme": "bs3", "rtol": 1e-3}
    if name in STEPS:
        method |= {"scheme": "heun", "controller": Fixed(STEPS[name], monotone=False)}
    answer = wflow.solve(Q, rho0, (0, tau), **method, progress=False)
    times = np.concatenate([[0], np.geomspace(tau / 1000, tau, 120)])
    out = {"tau": times, "R": np.interp(times, answer.tau, answer.risk), "floor": floor(data)}
    return out | {"reach": reach(data, SIZES[name]) if name in SIZES else 0.0}


def claims(runs: Runs) -> list[Claim]:
    """How far the risk comes down, against both floors."""
    some = _by_name(runs)
    end = max(float(_ends(some[name]).max()) for name in HOMOGENEOUS)
    alone = [x["R"][-1] / x["floor"] for x in some[ALONE]]
    bounds = [x["reach"] for x in some["bounded, b = 1/4"]]
    far = [x["R"][-1] / bound for name in HOMOGENEOUS for x, bound in zip(some[name], bounds)]
    return [
        at_most("R/R(0) at the end, homogeneous encoders of all kinds: the largest", end, 0.02),
        at_least("neurons alone, R / (1/2 E Var(y | x)): the least", min(alone), 1 - 1e-9),
        at_most("and the largest", max(alone), 1.01),
        at_least("outer weights of size 1/4, R / the bound by their reach: the least", _times_the_reach(some), 1),
        at_most("homogeneous encoders, R / the same bound: the largest", max(far), 0.5),
    ]


def findings(runs: Runs) -> list[str]:
    """Who comes down how far, and what that says of the open question."""
    some = _by_name(runs)
    best = {name: 100 * _mean(_ends(some[name])) for name in (*HOMOGENEOUS, *SIZES)}
    first, *_, last = sorted(HOMOGENEOUS, key=lambda name: best[name])
    out = [
        f"After tau = {some[ALONE][0]['tau'][-1]:g} the homogeneous encoders have brought the risk to between "
        f"{best[first]:.2g} % ({first}) and {best[last]:.2g} % ({last}) of its start."
    ]
    powers = {name: _late(some[name]) for name in SIZES}
    for name, power in powers.items():
        way = "falls on" if power < -0.2 else "hardly falls any more"
        out.append(f"Outer weights {name}: to {best[name]:.2g} %, where it {way}, like tau^{power:.2f}.")
    falling, stuck = [x for x in SIZES if powers[x] < -0.2], [x for x in SIZES if not powers[x] < -0.2]
    behind = [name for name in falling if best[name] > best[last]]
    answer = "Do encoders without homogeneity converge globally? "
    if stuck:
        answer += f"Not in this time with outer weights {' or '.join(stuck)}: the risk hardly falls any more at "
        answer += f"{_times_the_reach(some):.2g} times the bound by their reach or more. "
    if falling:
        answer += f"With {' or '.join(falling)} no obstacle shows in this time"
        answer += f", but {' and '.join(behind)} are slower than every homogeneous encoder. " if behind else ". "
    out.append(answer + "Without a bound on the outer weights there is no bound of the risk by reach.")
    if best["linear attention"] <= 2:
        out.append(
            "Linear attention violates the assumption on growth, since it is cubic in T, and goes down all the same "
            "on these bounded prompts."
        )
    return out


def table(runs: Runs) -> Table | None:
    """The end of training by Transformer."""
    rows = []
    for name, some in _by_name(runs).items():
        end = _ends(some)
        rows.append([name, _mean(end), float(end.min()), float(end.max()), _late(some), _bound(name, some)])
    head = ["Transformer", "R/R(0)", "least", "largest", "falls like tau^", "known bound from below"]
    return Table("The risk at the end of training: geometric mean and range over seeds.", head, rows)


def figure(runs: Runs) -> Figure | None:
    """Training, and its end."""
    figure, (left, right) = panels(2, 3.2, width_ratios=[1.35, 1])
    some = _by_name(runs)
    for name, answers in some.items():
        tau, R = answers[0]["tau"][1:], np.exp(np.mean([np.log(x["R"][1:] / x["R"][0]) for x in answers], axis=0))
        if name in NAMED:
            i = NAMED.index(name)
            label = f"softmax, {name}" if name in ("tanh", "relu") else name
            left.loglog(tau, R, color=(*PALETTE, "0.5")[i], ls=(*DASHES, "--")[i], label=label)
        else:
            left.loglog(tau, R, color="0.75", lw=0.7, zorder=0)
    for values in zip(*(_ends(answers) for answers in some.values())):
        dots(right, list(some), values)
    bounds = [_bound(name, answers) or np.nan for name, answers in some.items()]
    right.plot(bounds, range(len(some)), "|", ms=9, color="k")
    right.set(xscale="log", xlabel="$R\\,/\\,R(0)$ at the end")
    left.set(xlabel=r"training time $\tau$", ylabel=r"$R(\tau)\,/\,R(0)$")
    left.legend(fontsize=6.5, loc="lower left")
    return figure


def _by_name(runs: Runs) -> dict[str, list[Answer]]:
    """The answers of all seeds."""
    names = dict.fromkeys(case["name"] for case, _ in runs)
    return {name: [answer for _, answer in runs.of(name=name)] for name in names}


def _ends(some: Sequence[Answer]) -> Array:
    """R/R(0) at the end, by seed."""
    return np.array([x["R"][-1] / x["R"][0] for x in some])


def _mean(values: Any) -> float:
    """The geometric one."""
    return float(np.exp(np.mean(np.log(values))))


def _late(some: Sequence[Answer]) -> float:
    """The power of tau with which the risk falls over the second half of the time."""
    halves = [np.interp(x["tau"][-1] / 2, x["tau"], x["R"]) for x in some]
    return float(np.log2(_mean([x["R"][-1] for x in some]) / _mean(halves)))


def _bound(name: str, some: Sequence[Answer]) -> float:
    """The known bound of R/R(0) from below."""
    return float(np.mean([max(x["reach"], x["floor"] if name == ALONE else 0) / x["R"][0] for x in some]))


def _times_the_reach(some: Mapping[str, Sequence[Answer]]) -> float:
    """The least R at the end over the bound by reach, of outer weights of size 1/4."""
    return float(min(x["R"][-1] / x["reach"] for name in SIZES if "1/4" in name for x in some[name]))
