"""Are the constants of both errors those that theory predicts?

For Transformers drawn from one law, that of the start or that after some training, rms^2 = (a/L)^2 + b^2/(M L) with

    a = Read delta(1),  delta' = Dg.delta + b,  b = -1/8 (Df.f + Dh.h + Df.h - Dh.f) - 1/2 dg/dt
    b^2 = 1/4 int (Var <q, f> + Var <q, h>) dt

where q is the adjoint of the readout. L times the error of the depth is extrapolated from 32 and 64 layers with all
atoms; the noise of the width is that of many draws.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from validation import atoms
from validation.atoms import DTAU, FRAMES
from validation.fits import leading
from validation.statistics import bootstrap, rms
from validation.study import Claim, Runs, at_most, within

COST = atoms.cost
CAPTION = ""


def cases(full: bool) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = [{"what": "limit", "layers": 16, "refinement": 1}]
    for frame in FRAMES:
        out.append({"what": "constants", "frame": frame})
        out.append({"what": "redrawn", "M": 32, "L": 32, "frame": frame, "seeds": 1000 if full else 400})
        out += [{"what": "redrawn", "M": 1, "L": L, "frame": frame, "seeds": 0} for L in (32, 64)]
    return out


measure = atoms.measure


def claims(runs: Runs) -> list[Claim]:
    return [claim for frame in FRAMES for claim in [*_of_depth(runs, frame), _of_width(runs, frame)]]


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> None:
    return None


def _of_depth(runs: Runs, frame: int) -> list[Claim]:
    """What all atoms in 32 and 64 layers say of L to infinity."""
    at = f"at tau = {DTAU * frame:g}"
    limit, labels = runs.one(what="limit"), atoms.data().labels.ravel()
    expected = runs.one(what="constants", frame=frame)
    half, deep = (runs.one(what="redrawn", frame=frame, M=1, L=L) for L in (32, 64))

    def bias(name: str, of: Any) -> Any:
        """L times the error, as L goes to infinity."""
        return leading(32, half[name] - of, deep[name] - of)

    depth = bias("all_atoms", expected["prediction"])
    apart = rms(depth - expected["depth"]) / rms(expected["depth"])
    slope = float(np.mean((expected["prediction"] - labels) * expected["depth"]))
    risk = bias("R", limit["R"][frame])
    text = f"L times the error of the depth in predictions, rms over prompts, {at}"
    out = [
        within(text, rms(depth), rms(expected["depth"]), 0.02, relative=True),
        at_most(f"the same, prompt by prompt: relative difference from its constant, {at}", apart, 0.02),
        within(f"L (R^ - R), all atoms, {at}", risk, slope, 0.02, relative=True),
    ]
    if frame:  # at the start the second moment is the same at all depths
        penalty = bias("Q", limit["Q"][frame]) - risk
        text = f"L times the error of the regulariser, {at}"
        out.append(within(text, penalty, expected["regulariser"], 0.1, relative=True))
    return out


def _of_width(runs: Runs, frame: int) -> Claim:
    """The noise of 32 atoms in 32 layers."""
    drawn, expected = runs.one(what="redrawn", frame=frame, M=32), runs.one(what="constants", frame=frame)
    noise, width = 32 * (drawn["predictions"] - drawn["all_atoms"]), float(np.sqrt(np.mean(expected["width"])))
    text = f"sqrt(M L) times the noise of the width, rms over prompts, at tau = {DTAU * frame:g}"
    return within(text, rms(noise), width, 0.1, relative=True, interval=bootstrap(rms, noise, seed=frame))
