"""Is there a floor of the risk for Transformers without homogeneous encoders?

Queries are at x = -1 and 1, so that neurons alone, which see one token, have a floor of the risk:

    R >= 1/2 E Var(y | x).

Outer weights of size b move row r of the tokens by at most b/(2 L) sum_k max_j |T_kj| in an attention layer and by
b/(2 L) in a layer of tanh neurons; where the readout cannot come as far as a label, the risk has a floor as well.
"""

from __future__ import annotations

from typing import Any

from validation.studies.homogeneity import training
from validation.studies.homogeneity._encoders import ALONE, HOMOGENEOUS, SIZES
from validation.studies.homogeneity._ends import by_name, late_power, percent
from validation.study import Claim, Runs, at_least, at_most

COST = training.COST
CAPTION = ""


def cases(full: bool) -> list[dict[str, Any]]:
    return training.cases(full)


measure = training.measure


def claims(runs: Runs) -> list[Claim]:
    some = by_name(runs)
    alone = [x["R"][-1] / x["floor"] for x in some[ALONE]]
    bounds = [x["reach"] for x in some["bounded, b = 1/4"]]
    far = [x["R"][-1] / bound for name in HOMOGENEOUS for x, bound in zip(some[name], bounds)]
    return [
        at_least("neurons alone, R / (1/2 E Var(y | x)): the least", min(alone), 1 - 1e-9),
        at_most("and the largest", max(alone), 1.01),
        at_least("outer weights of size 1/4, R / the bound by their reach: the least", _times_the_reach(runs), 1),
        at_most("homogeneous encoders, R / the same bound: the largest", max(far), 0.5),
    ]


def findings(runs: Runs) -> list[str]:
    some = by_name(runs)
    falling = [x for x in SIZES if late_power(some[x]) < -0.2]
    stuck = [x for x in SIZES if x not in falling]
    slowest = max(percent(some[name]) for name in HOMOGENEOUS)
    behind = [name for name in falling if percent(some[name]) > slowest]
    answer = "Do encoders without homogeneity converge globally? "
    if stuck:
        answer += f"Not in this time with outer weights {' or '.join(stuck)}: the risk hardly falls any more at "
        answer += f"{_times_the_reach(runs):.2g} times the bound by their reach or more. "
    if falling:
        answer += f"With {' or '.join(falling)} no obstacle shows in this time"
        answer += f", but {' and '.join(behind)} are slower than every homogeneous encoder. " if behind else ". "
    return [answer + "Without a bound on the outer weights there is no bound of the risk by reach."]


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> None:
    return None


def _times_the_reach(runs: Runs) -> float:
    """The least R at the end over the bound by reach, of outer weights of size 1/4."""
    return min(float(x["R"][-1] / x["reach"]) for case, x in runs if "1/4" in case["name"])
