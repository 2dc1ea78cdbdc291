"""Step-size control, apart from the schemes: from numbers about a step to its verdict and the next step."""

from __future__ import annotations

__all__ = ["Adaptive", "Attempt", "Controller", "Fixed", "Replay", "Start", "Verdict"]

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from wflow.checks import check_array, check_boolean, check_fields, check_nonnegative, check_positive, shown
from wflow.errors import InputError
from wflow.plain import register


@dataclass(frozen=True)
class Start:
    """What a controller knows before the first step: the scheme, and size and speed of the state in the metric."""

    scheme: str
    error_order: int | None
    size: float
    speed: float


@dataclass(frozen=True)
class Attempt:
    """What a controller knows of an attempted step of size h.

    Parameters
    ----------
    value, new_value
        Q before and after.
    norm, new_norm
        The norms of the states before and after, in which the error is measured.
    is_finite
        Whether the state after the step consists of finite numbers.
    rose
        Whether Q rose by more than rounding, for a scheme with which it must not.
    h, error, lipschitz, failure, order, error_order, stability, restart
        As in :class:`wflow.schemes.Trial`.
    """

    value: float
    new_value: float
    norm: float
    new_norm: float
    is_finite: bool
    rose: bool
    h: float
    error: float | None
    lipschitz: float
    failure: str
    order: int
    error_order: int | None
    stability: float | None
    restart: bool


@dataclass(frozen=True)
class Verdict:
    """What a controller decides on a step: accepted or not, why not, the next step, and what it remembers."""

    accepted: bool
    reason: str
    h: float
    memory: float


class Controller:
    """Proposes steps and judges attempts. Its only state is the step h and one number, its memory."""

    #: Whether it reads error estimates: schemes need not spend evaluations on them otherwise.
    need_error: ClassVar[bool] = True

    def start(self, start: Start) -> tuple[float, float]:
        """The first step and the first memory: never a function of where the run ends, so that it can be extended."""
        raise NotImplementedError

    def judge(self, attempt: Attempt, memory: float) -> Verdict:
        """Accept or reject an attempt; ``memory`` is what the controller remembers."""
        raise NotImplementedError


@dataclass(frozen=True)
class Fixed(Controller):
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
    need_error = False

    def __post_init__(self) -> None:
        check_fields(self, check_positive, "dtau")
        check_fields(self, check_boolean, "monotone")

    def start(self, start: Start) -> tuple[float, float]:
        """Always ``dtau``."""
        return self.dtau, 1.0

    def judge(self, attempt: Attempt, memory: float) -> Verdict:
        """Accept unless Q rose or is not finite; a step that could not be made is tried with half of it."""
        if attempt.failure:
            return Verdict(False, attempt.failure, 0.5 * attempt.h, memory)
        if not attempt.is_finite:
            return Verdict(False, "is not finite", 0.0, memory)
        if self.monotone and attempt.rose:
            return Verdict(False, _rise(attempt), 0.0, memory)
        return Verdict(True, "", self.dtau, memory)


@dataclass(frozen=True)
class Replay(Controller):
    """The steps of a list, one after the other, such as the halved steps of another run.

    Parameters
    ----------
    steps
        The steps; the last one is repeated. One that cannot be made is made in parts.
    monotone
        Whether a step that raises Q ends the run.
    """

    steps: tuple[float, ...]
    monotone: bool = False
    need_error = False

    def __post_init__(self) -> None:
        steps = check_array("steps", self.steps, 1, "(steps,)").tolist()
        if not steps or min(steps) <= 0:
            raise InputError(f"steps must be one or more positive numbers, got {shown(self.steps)}")
        object.__setattr__(self, "steps", tuple(steps))
        check_fields(self, check_boolean, "monotone")

    def start(self, start: Start) -> tuple[float, float]:
        """The first step; the memory counts the steps made, and parts of them."""
        return self.steps[0], 0.0

    def judge(self, attempt: Attempt, memory: float) -> Verdict:
        """Judge as fixed steps are, and go on to the rest of the step or to the next one."""
        verdict = Fixed(attempt.h, self.monotone).judge(attempt, memory)
        if not verdict.accepted:
            return verdict
        step = self.steps[int(memory)]
        made = memory % 1 + attempt.h / step
        if made < 1 - 1e-8:
            return replace(verdict, h=(1 - made) * step, memory=int(memory) + made)
        following = min(int(memory) + 1, len(self.steps) - 1)
        return replace(verdict, h=self.steps[following], memory=float(following))


@dataclass(frozen=True)
class Adaptive(Controller):
    """Proportional-integral control of the estimated error, with an energy test.

    A step is accepted when ``err = |estimate| / (atol + rtol max(|x|, |x+|)) <= 1`` in the mass-weighted norm (L1 for
    densities) and Q has not risen. The next step is ``h clip(0.9 err^{-0.7/q} err_prev^{0.4/q}, 0.2, 5)`` with q the
    order of the estimate (Hairer, Wanner, Solving ODEs II, section IV.2), not growing beyond the stability limit of
    the scheme for the Lipschitz constant seen on the way, and without the integral term after a rejection or where the
    scheme restarts.

    Parameters
    ----------
    rtol, atol
        Relative and absolute tolerance of the local error in that norm.
    dtau
        The first step; None lets the size of the velocity choose.
    """

    rtol: float = 1e-6
    atol: float = 1e-9
    dtau: float | None = None

    def __post_init__(self) -> None:
        check_fields(self, check_nonnegative, "rtol", "atol")
        if self.rtol + self.atol == 0:
            raise InputError("rtol and atol must not both be 0")
        check_fields(self, check_positive, "dtau", optional=True)

    def start(self, start: Start) -> tuple[float, float]:
        """A first step over which particles move by about a hundredth of their size."""
        if start.error_order is None:
            raise InputError(f"scheme {start.scheme!r} has no error estimate: pass dtau")
        if self.dtau is not None:
            return self.dtau, 1.0
        return (0.01 * (start.size or 1.0) / start.speed if start.speed > 0 else 1.0), 1.0

    def judge(self, attempt: Attempt, memory: float) -> Verdict:
        """Accept or reject, and choose the next step."""
        h = attempt.h
        if attempt.failure:
            return Verdict(False, attempt.failure, 0.5 * h, 1.0)
        if not attempt.is_finite:
            return Verdict(False, "is not finite", 0.2 * h, 1.0)
        q: Any = attempt.error_order
        error = max((attempt.error or 0.0) / (self.atol + self.rtol * max(attempt.norm, attempt.new_norm)), 1e-10)
        if error > 1:
            words = f"has {error:.3g} times the tolerated error"
            return Verdict(False, words, h * max(0.2, 0.9 * error ** (-1 / q)), 1.0)
        if attempt.rose:
            return Verdict(False, _rise(attempt), 0.5 * h, 1.0)
        memory = 1.0 if attempt.restart else memory
        h *= float(np.clip(0.9 * error ** (-0.7 / q) * memory ** (0.4 / q), 0.2, 5.0))
        if attempt.stability is not None and attempt.lipschitz > 0:
            # Never shrinking: across a jump of the velocity that constant is 1/h, for every h.
            h = min(h, max(attempt.stability / attempt.lipschitz, attempt.h))
        return Verdict(True, "", h, error)


def _rise(attempt: Attempt) -> str:
    return f"raised Q from {attempt.value:.9g} to {attempt.new_value:.9g}"


register(Adaptive, Fixed, Replay)
