"""Is the loss of the trained networks that of the numpy Transformer, and does the energy only fall?

The networks are trained in float32. The numpy Transformer computes the loss at the end once more, in float64. The
energy may not rise in any step,

    Q_{k+1} <= Q_k,

but by rounding: 64 units in the last place of 0.5.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from validation.studies.capacity._networks import cost, shapes, train, trained
from validation.study import Claim, Runs, at_most

COST = cost
CAPTION = ""

ROUNDING = 64 * 0.5 * float(np.finfo(np.float32).eps)


def cases(full: bool) -> list[dict[str, Any]]:
    return shapes(full)


measure = train


def claims(runs: Runs) -> list[Claim]:
    out = []
    for title, networks in trained(runs).items():
        apart = max(abs(x["loss"] / x["numpy"] - 1) for x in networks.values())
        rises = max(x["rises"] for x in networks.values())
        out.append(at_most(f"{title}: the loss against the numpy Transformer, relative, the largest", apart, 1e-4))
        out.append(at_most(f"{title}: the largest rise of the energy", rises, ROUNDING))
    return out


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> None:
    return None
