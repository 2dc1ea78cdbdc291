"""Step-size control, apart from the schemes."""

from __future__ import annotations

__all__ = ["Adaptive", "Controller", "Fixed", "Replay", "Verdict"]

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from wflow.checks import check_nonnegative, check_positive
from wflow.errors import InputError
from wflow.plain import register
from wflow.schemes.scheme import Flow, Point, Scheme, Trial, rises


@dataclass(frozen=True)
class Verdict:
    """What a controller decides on a trial: accepted or not, why not, the next step, and what it remembers."""

    accepted: bool
    reason: str
    h: float
    memory: float


class Controller(Protocol):
    """Proposes steps and judges trials. Its only state is the step h and one number, its memory."""

    def start(self, flow: Flow, scheme: Scheme, point: Point) -> tuple[float, float]:
        """The first step and the first memory: never a function of where the run ends, so that it can be extended."""
        ...

    def judge(self, flow: Flow, scheme: Scheme, point: Point, trial: Trial, memory: float) -> Verdict:
        """Accept or reject a trial from a point."""
        ...


def energy_rise(scheme: Scheme, point: Point, trial: Trial) -> bool:
    """Whether Q rose over a trial by more than rounding, for a scheme with which it must not."""
    return getattr(scheme, "monotone", True) and rises(point, trial.point)


@dataclass(frozen=True)
class Fixed:
    """Steps of one size. A step that raises Q or leaves the numbers ends the run, unless ``monotone`` is false.

    Parameters
    ----------
    dtau
        The step.
    monotone
        Whether Q must not rise. Plain gradient descent beyond the stability limit needs False.
    """

    dtau: float
    monotone: bool = True
    #: It reads no error estimates, so that schemes need not spend evaluations on them.
    wants_error: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_positive("dtau", self.dtau)

    def start(self, flow: Flow, scheme: Scheme, point: Point) -> tuple[float, float]:
        """Always ``dtau``."""
        return self.dtau, 1.0

    def judge(self, flow: Flow, scheme: Scheme, point: Point, trial: Trial, memory: float) -> Verdict:
        """Accept unless Q rose or is not finite; a step that could not be made is tried with half of it."""
        if trial.failure:
            return Verdict(False, trial.failure, 0.5 * trial.h, memory)
        if not trial.point.is_finite:
            return Verdict(False, "is not finite", 0.0, memory)
        if self.monotone and energy_rise(scheme, point, trial):
            rise = f"raised Q from {point.value:.9g} to {trial.point.value:.9g}"
            return Verdict(False, rise, 0.0, memory)
        return Verdict(True, "", self.dtau, memory)


@dataclass(frozen=True)
class Replay:
    """Given steps, one after the other, such as the halved steps of another run.

    Parameters
    ----------
    steps
        The steps; the last one is repeated.
    """

    steps: tuple[float, ...]
    wants_error: ClassVar[bool] = False

    def start(self, flow: Flow, scheme: Scheme, point: Point) -> tuple[float, float]:
        """The first step; the memory counts."""
        return self.steps[0], 0.0

    def judge(self, flow: Flow, scheme: Scheme, point: Point, trial: Trial, memory: float) -> Verdict:
        """Accept whatever is finite, and go on to the next step."""
        verdict = Fixed(trial.h, monotone=False).judge(flow, scheme, point, trial, memory)
        if not verdict.accepted:
            return verdict
        following = min(int(memory) + 1, len(self.steps) - 1)
        return Verdict(True, "", self.steps[following], float(following))


@dataclass(frozen=True)
class Adaptive:
    """Proportional-integral control of the estimated error, with an energy test.

    A trial is accepted when ``err = |estimate| / (atol + rtol max(|x|, |x+|)) <= 1`` in the label norm and Q has not
    risen. The next step is ``h clip(0.9 err^{-0.7/q} err_prev^{0.4/q}, 0.2, 5)`` with q the order of the estimate
    (Hairer, Wanner, Solving ODEs II, section IV.2), at most the stability limit of the scheme for the Lipschitz
    constant seen on the way, and without the integral term after a rejection.

    Parameters
    ----------
    rtol, atol
        Relative and absolute tolerance of the local error in the label norm.
    dtau
        The first step; None lets the size of the velocity choose.
    """

    rtol: float = 1e-6
    atol: float = 1e-9
    dtau: float | None = None

    def __post_init__(self) -> None:
        check_nonnegative("rtol", self.rtol)
        check_nonnegative("atol", self.atol)
        if self.rtol + self.atol == 0:
            raise InputError("rtol and atol must not both be 0")
        if self.dtau is not None:
            check_positive("dtau", self.dtau)

    def start(self, flow: Flow, scheme: Scheme, point: Point) -> tuple[float, float]:
        """A first step over which particles move by about a hundredth of their size."""
        if scheme.error_order is None:
            raise InputError(f"scheme {scheme.name!r} has no error estimate: pass dtau")
        if self.dtau is not None:
            return self.dtau, 1.0
        size, speed = flow.size(point), float(np.sqrt(flow.dissipation(point)))
        return (0.01 * (size or 1.0) / speed if speed > 0 else 1.0), 1.0

    def judge(self, flow: Flow, scheme: Scheme, point: Point, trial: Trial, memory: float) -> Verdict:
        """Accept or reject, and choose the next step."""
        if trial.failure:
            return Verdict(False, trial.failure, 0.5 * trial.h, 1.0)
        if not trial.point.is_finite:
            return Verdict(False, "is not finite", 0.2 * trial.h, 1.0)
        q: Any = scheme.error_order
        scale = self.atol + self.rtol * max(flow.norm(point.x), flow.norm(trial.point.x))
        error = max((trial.error or 0.0) / scale, 1e-10)
        if error > 1:
            return Verdict(
                False, f"has {error:.3g} times the tolerated error", trial.h * max(0.2, 0.9 * error ** (-1 / q)), 1.0
            )
        if energy_rise(scheme, point, trial):
            return Verdict(False, f"raised Q from {point.value:.9g} to {trial.point.value:.9g}", 0.5 * trial.h, 1.0)
        h = trial.h * float(np.clip(0.9 * error ** (-0.7 / q) * memory ** (0.4 / q), 0.2, 5.0))
        if trial.lipschitz > 0:
            h = min(h, scheme.stability / trial.lipschitz)
        return Verdict(True, "", h, error)


register(Adaptive, Fixed, Replay)
