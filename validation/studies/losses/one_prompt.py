"""Does the flow of one prompt follow the closed form of its loss?

The prediction u of one prompt with the label y moves by u' = -l'(u)/4, whose solutions are known; of K classes d is
how far the prediction of the right one is above the others:

    squares          u - y = (u(0) - y) e^(-tau/4)
    Huber            u = u(0) - delta tau/4  as long as  u - y > delta,  then like squares
    logistic, y = 1  e^u + u = tau/4 + constant,              R ~ 4/tau
    cross-entropy    e^d + (K - 1) d = K tau/4 + constant,    R ~ 4 (K - 1)/(K tau)

Measured: predictions and risks of an adaptive run at 40 times. They are those of the closed form within the tolerance
of the steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.special import wrightomega

import wflow
from validation.drawing import line_of, panels
from validation.losses import LOSSES, loss_and_slope
from validation.studies.losses._one_token import CLASSES, DELTA, LABEL, START, gap_of, heads, objective
from validation.study import Answer, Claim, Runs, at_most, within

Array = NDArray[Any]

COST = 1.0
CAPTION = (
    "One prompt: risks along training, marked, on the closed forms, and how far they are from them. The first steps of "
    "Huber's loss are exact, since its velocity is constant up to where the residual is delta."
)

#: What is shown as the least error.
ROUND_OFF = 1e-16
#: tau R in the end.
CONSTANTS = {"logistic": 4.0, "cross-entropy": 4 * (CLASSES - 1) / CLASSES}


def cases(full: bool) -> list[dict[str, Any]]:
    return [{"loss": loss, "tau": 1e5 if loss in CONSTANTS else 40.0} for loss in LOSSES]


def measure(loss: str, tau: float) -> Answer:
    """The flow of one prompt: predictions and risks beside the closed forms."""
    Q = objective(loss, [LABEL[loss]])
    times = np.geomspace(0.1, tau, 40)
    save = wflow.SaveAt(tau=times[:-1].tolist())
    answer = wflow.solve(Q, heads(Q, START[loss]), (0, tau), rtol=1e-10, atol=1e-12, save=save, tol=0, progress=False)
    frames = [answer.measure(i) for i in range(answer.n_frames)]
    u = np.array([np.reshape(Q.predict(rho), (1, -1)) for rho in frames])[:, 0]
    R = np.array([Q.risk(rho) for rho in frames])
    solution = _exact(loss, answer.frame_tau)
    expected = _risk_of(loss, solution)
    return {
        "tau": answer.frame_tau,
        "R": R,
        "exact": expected,
        "gap": float(np.abs(gap_of(loss, u) - solution).max()),
        "relative": float(np.abs(R / expected - 1)[expected > 1e-8 * expected[0]].max()),
    }


def claims(runs: Runs) -> list[Claim]:
    out = []
    for case, a in runs:
        loss = case["loss"]
        out.append(at_most(f"{loss}: predictions of one prompt against the closed form", a["gap"], 1e-7))
        out.append(at_most(f"{loss}: its risk, relative, down to 1e-8 of the first one", a["relative"], 1e-5))
    for loss, constant in CONSTANTS.items():
        a = runs.one(loss=loss)
        words = f"{loss}: tau R of one prompt at tau = 1e5"
        out.append(within(words, a["tau"][-1] * a["R"][-1], constant, 0.01, relative=True))
    return out


def findings(runs: Runs) -> list[str]:
    return []


def table(runs: Runs) -> None:
    return None


def figure(runs: Runs) -> Figure:
    drawing, (risk, error) = panels(2, 2.7)
    for k, (case, a) in enumerate(runs):
        shown = a["exact"] > 1e-10
        tau, R, expected = (a[name][shown] for name in ("tau", "R", "exact"))
        risk.loglog(tau, expected, label=case["loss"], **line_of(k))
        risk.loglog(tau, R, "o", color=line_of(k)["color"], markersize=2)
        error.loglog(tau[1:], np.maximum(np.abs(R / expected - 1)[1:], ROUND_OFF), **line_of(k))
    risk.set(xlabel=r"$\tau$", ylabel="risk $R$")
    error.set(xlabel=r"$\tau$", ylim=(ROUND_OFF, None), ylabel=r"$|R/R_{\mathrm{exact}}-1|$")
    risk.legend()
    return drawing


def _exact(loss: str, tau: Array) -> Array:
    """The prediction, or the gap, in closed form."""
    u, y = START[loss], LABEL[loss]
    if loss == "squares":
        return np.asarray(y + (u - y) * np.exp(-tau / 4))
    if loss == "huber":
        meet = 4 * (u - y - DELTA) / DELTA
        return np.asarray(np.where(tau < meet, u - tau * DELTA / 4, y + DELTA * np.exp(-(tau - meet) / 4)))
    if loss == "logistic":
        return np.asarray(np.log(wrightomega(tau / 4 + u + np.exp(u))))
    k = CLASSES - 1
    return np.asarray(np.log(k * wrightomega((CLASSES * tau / 4 + np.exp(u) + k * u) / k - np.log(k))))


def _risk_of(loss: str, gap: Array) -> Array:
    """The risk of one prompt as a function of its prediction or gap."""
    if loss == "cross-entropy":
        return np.asarray(np.log1p((CLASSES - 1) * np.exp(-gap)))
    return np.array([loss_and_slope(loss, [[u]], [LABEL[loss]], DELTA)[0] for u in np.ravel(gap)])
