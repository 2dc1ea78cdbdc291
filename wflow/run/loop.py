"""The loop of a run: step, accept or reject, save, observe."""

from __future__ import annotations

__all__ = ["Run"]

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from wflow.controllers import Attempt, Start, Verdict
from wflow.errors import SolveError
from wflow.observers import observed
from wflow.run.kinks import crawls, jumps_ahead
from wflow.run.session import Bar, Interrupted
from wflow.schemes import Flow, Point, Trial
from wflow.settings import Settings
from wflow.solution import Solution, Status, resolution
from wflow.trajectory.recorder import Recorder

#: A step that is longer than what is left to a stop by less than this share of itself ends there.
SLIVER = 1e-6
#: A step ends the run below this fraction of the largest step so far: that is not stiffness, but a velocity
#: that jumps or is not the gradient of its energy.
STEP_COLLAPSE = 1e-10
#: The same for steps whose equations were not solved: halving cures them soon or never.
CONVERGENCE_COLLAPSE = 1e-3
#: When steps that crawl outnumber the longer ones by so many, a kink of Q is looked for, in so many steps ahead.
CRAWLED, AHEAD = 100, 100
#: What a checkpoint keeps of a run, besides the state and its notes: attributes, and counts of ``Solution.stats``.
PROGRESS = ("tau", "h", "h_largest", "memory", "energy0", "dissipated", "last_frame", "crawled")
COUNTS = ("steps", "rejected")


class Run:
    """A run in progress: where it is, what comes next, what it has counted."""

    def __init__(self, flow: Flow, settings: Settings, max_seconds: float | None) -> None:
        self.flow, self.settings, self.max_seconds = flow, settings, max_seconds
        self.deadline = np.inf if max_seconds is None else time.monotonic() + max_seconds
        self.scheme, self.controller, self.save = settings.scheme, settings.controller, settings.save
        self.start, self.end = settings.tau_range
        self.recorder: Recorder
        self.stats: dict[str, Any] = dict.fromkeys(COUNTS, 0)
        self.stats |= dict.fromkeys(("seconds_compile", "seconds_solve", "seconds_save"), 0.0)
        self.last_frame = -np.inf
        self.notes: Counter[str] = Counter()

    def begin(self, x: Any) -> None:
        """Evaluate the initial state and choose the first step."""
        self.tau, self.dissipated = self.start, 0.0
        self.point = self._first_evaluation(x)
        self.energy0 = self.point.value
        self.choose_step()

    def choose_step(self) -> None:
        """Let the controller choose the next step as the first one."""
        size, speed = self.flow.size(self.point), float(np.sqrt(self.flow.dissipation(self.point)))
        start = Start(self.scheme.name, self.scheme.error_order, size, speed)
        self.h, self.memory = map(float, self.controller.start(start))
        self.h_largest, self.crawled = self.h, 0
        self._accept()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a checkpoint. The velocity is computed again, to the same bits."""
        for name in PROGRESS:
            setattr(self, name, state.get(name, 0))  # files of before have no "crawled"
        self.notes.update(state["notes"])
        self.stats |= {name: state[name] for name in COUNTS}
        self.point = replace(self._first_evaluation(state["x"]), carry=state["carry"])
        self.flow.n_evaluations = state["evaluations"]
        self._accept()

    def _first_evaluation(self, x: Any) -> Point:
        began = time.perf_counter()
        point = self.flow.evaluate(x)
        self.stats["seconds_first_evaluation"] = time.perf_counter() - began
        if not point.is_finite:
            raise SolveError(
                f"the velocity at tau={self.tau:.9g} is not finite ({self.flow.where_not_finite(point)}): check the "
                "initial measure and the encoders"
            )
        return point

    def _accept(self) -> None:
        """Keep the present state as the one from which the run can go on."""
        progress = {name: getattr(self, name) for name in PROGRESS} | {name: self.stats[name] for name in COUNTS}
        more = {"evaluations": self.flow.n_evaluations, "notes": dict(self.notes)}
        self._accepted = progress | more | {"x": self.point.x, "carry": self.point.carry}

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds: the accepted state, whatever was tried or saved since."""
        return self._accepted | {"last_frame": self.last_frame}

    def row(self, tau: float, point: Point, dtau: float, length: float = 0.0) -> dict[str, float]:
        """The series entry of a state."""
        rho = self.flow.measure(point.x)
        return {
            "tau": tau,
            "energy": point.value,
            "risk": point.parts.get("risk", np.nan),
            "dissipation": self.flow.dissipation(point),
            "dtau": dtau,
            "step_length": length,
            "defect": self.energy0 - point.value - self.dissipated,
            "max_norm": rho.radius,
        } | {name: observed(name, observe, rho) for name, observe in self.settings.observe.items()}

    def record_first(self, recorder: Recorder) -> None:
        """The initial state: series entry, frame and checkpoint."""
        self.recorder = recorder
        recorder.add_step(self.row(self.tau, self.point, 0.0))
        self._frame(self.tau, self.point.x)

    def loop(self, recorder: Recorder, progress: bool | None) -> Solution:
        """Step until the end, a stationary point, a failure or a signal; then close the recorder."""
        self.recorder = recorder
        began, saving = time.perf_counter(), self.stats["seconds_save"]
        bar, interrupt = Bar(progress, self.start, self.end, self.tau), None
        try:
            status, message = self._steps(bar)
        except KeyboardInterrupt as caught:
            interrupt = caught if isinstance(caught, Interrupted) else Interrupted("interrupted")
            status, message = Status.INTERRUPTED, f"{interrupt} at tau = {self._accepted['tau']:.9g}"
        except BaseException:
            self.recorder.abandon(self.state())
            raise
        finally:
            bar.close()
        solution = self._finish(status, message or status.value, began, saving)
        if interrupt is not None:
            where = f"in {solution.path}: wflow resume continues it" if solution.path else "the attribute solution"
            raise Interrupted(f"{message}; the run is {where}", solution)
        try:
            self.flow.interrupt()  # by a signal during the last write
        except Interrupted as late:
            raise Interrupted(
                f"{late} when the run in {solution.path} had ended: {solution.message}", solution
            ) from None
        if status.is_failure:
            where = f" Everything accepted before is in {solution.path}." if solution.path else ""
            raise SolveError(f"{message}. {status.value}{where}")
        return solution

    def _steps(self, bar: Bar) -> tuple[Status, str]:
        """Step until something ends the run."""
        status, message = Status.RUNNING, ""
        while status is Status.RUNNING:
            if self.tau >= self.end:
                status = Status.FINISHED
            elif np.sqrt(self.flow.dissipation(self.point)) <= self.settings.tol:
                status = Status.STEADY
            else:
                status, message = self._step()
                bar.update(self)
        if status in (Status.FINISHED, Status.STEADY) and self.last_frame < self.tau:
            self._keep(self._frame, self.tau, self.point.x)
        return status, message

    def _finish(self, status: Status, message: str, began: float, saving: float) -> Solution:
        elapsed, last = time.perf_counter() - began, None
        if status is Status.INTERRUPTED:  # perhaps amid a step
            last = self._accepted["tau"], self.flow.measure(self._accepted["x"])
            self.stats |= {name: self._accepted[name] for name in COUNTS}
        self.stats |= dict(self.notes) | {"evaluations": self.flow.n_evaluations}
        self.stats["seconds_solve"] = elapsed - (self.stats["seconds_save"] - saving)
        solution: Solution = self._keep(self.recorder.finish, status, message, self.stats, self.state(), last)
        return solution

    def _keep(self, write: Callable[..., Any], *what: Any) -> Any:
        """Write, on the clock; an error of the file system ends the run in words."""
        began = time.perf_counter()
        try:
            return write(*what)
        except Exception as error:
            with contextlib.suppress(Exception):
                self.recorder.close()  # with something half-written there must be no further checkpoint
            if not isinstance(error, OSError):
                raise
            raise SolveError(
                f"cannot write {self.recorder} at tau={self.tau:.9g}: {error}. Free some space; wflow resume then "
                "continues from the last checkpoint."
            ) from None
        finally:
            self.stats["seconds_save"] += time.perf_counter() - began

    def _frame(self, tau: float, x: Any) -> None:
        self.last_frame = tau
        self.recorder.add_frame(tau, self.flow.measure(x), self.state())

    def _stop(self, tau: float) -> float:
        """The first training time after this one at which there is a frame."""
        return self.end if self.save is None else self.save.next_stop(self.start, tau, self.end)

    def _step(self) -> tuple[Status, str]:
        """One trial; on acceptance the state, the series and the frames move on."""
        if not self.h >= resolution(self.tau, self.tau):
            return self._too_small(f"{self._where(self.h)} is too small to be added to tau")
        if self.h < STEP_COLLAPSE * self.h_largest:
            return self._too_small(f"{self._where(self.h)} is less than {STEP_COLLAPSE:g} of the largest one")
        if self.crawled == CRAWLED:
            self.crawled = 0
            if self._at_kink(self.h * AHEAD):
                left = (self.end - self.tau) / self.h
                return Status.AT_KINK, f"{self._where(self.h)} is one of {left:.2g} that are left at this pace"
        stop = self._stop(self.tau)
        last = not self.scheme.dense and self._reaches(stop, self.h)
        h = stop - self.tau if last else self.h
        shortened = h < self.h * (1 - SLIVER)
        try:
            trial = self.scheme.propose(self.flow, self.point, h)
        except SolveError as error:
            return Status.FAILED, f"{self._where(h)} failed: {error}"
        verdict = self.controller.judge(self._attempt(trial), self.memory)
        if not verdict.accepted:
            return self._rejected(trial, verdict)
        if reason := self.flow.stop_reason(trial.point.x):
            return Status.BOX_TOO_SMALL, f"{self._where(h)} {reason}"
        if self.scheme.dense and self._pass_stops(trial):
            return Status.FINISHED, ""
        old = self.point
        self.point, self.dissipated = trial.point, self.dissipated + trial.dissipated
        self.notes.update(trial.notes)
        self.tau = stop if last else self.tau + h
        self.stats["steps"] += 1
        self.h_largest = max(self.h_largest, h)
        if not shortened:
            self.h, self.memory = float(verdict.h), float(verdict.memory)
            self.crawled = max(0, self.crawled + (1 if crawls(h, self.h_largest, self.end - self.tau) else -1))
        self._record(self.tau, self.point, h, old)
        self._accept()  # only now: a checkpoint has an entry for every step
        by_count = self.save is not None and self.save.steps and self.stats["steps"] % self.save.steps == 0
        if last or by_count:
            self._keep(self._frame, self.tau, self.point.x)
        self._keep(self.recorder.settle, self.state)
        if time.monotonic() >= self.deadline and self.tau < self.end:
            return Status.INTERRUPTED, f"max_seconds = {self.max_seconds:g} were over at tau = {self.tau:.9g}"
        return Status.RUNNING, ""

    def _reaches(self, stop: float, h: float) -> bool:
        """Whether a step of size h ends at a stop or after it, but for rounding."""
        return stop - self.tau <= h * (1 + SLIVER) + resolution(self.tau, stop)

    def _pass_stops(self, trial: Trial) -> bool:
        """Save frames inside a step, and its state at the end of the range; whether that is the end of the run.

        The steps do not depend on the frames: the run goes on from the state before the step or from that after it.
        """
        while self._reaches(stop := self._stop(max(self.tau, self.last_frame)), trial.h):
            inner = trial.h - (stop - self.tau) > SLIVER * trial.h
            x = self.scheme.inside(self.flow, self.point, trial, (stop - self.tau) / trial.h) if inner else None
            if stop == self.end:
                point = trial.point if x is None else self.flow.evaluate(x)
                self.stats["steps"] += 1
                self._record(stop, point, stop - self.tau, self.point)
            if self.last_frame < stop:
                self._keep(self._frame, stop, trial.point.x if x is None else x)
            if stop == self.end:
                return True
        return False

    def _record(self, tau: float, point: Point, h: float, old: Point) -> None:
        """The series entry of a step, whose observers run before the clock of saving starts."""
        row = self.row(tau, point, h, self.flow.length(old, point, h))
        self._keep(self.recorder.add_step, row)

    def _attempt(self, trial: Trial) -> Attempt:
        """What the controller knows of a trial."""
        old, new, finite, norm = self.point, trial.point, trial.point.is_finite, self.flow.norm
        rose = self.scheme.monotone and self.flow.rises(old, new)
        names = ("h", "error", "lipschitz", "failure", "order", "error_order", "stability", "restart")
        numbers = {name: getattr(trial, name) for name in names}
        return Attempt(old.value, new.value, norm(old.x), norm(new.x) if finite else np.inf, finite, rose, **numbers)

    def _where(self, h: float) -> str:
        return f"the {self.scheme.name} step {self.stats['steps'] + 1} at tau={self.tau:.9g} with dtau={h:.3g}"

    def _rejected(self, trial: Trial, verdict: Verdict) -> tuple[Status, str]:
        self.stats["rejected"] += 1
        words = f"{self._where(trial.h)} {verdict.reason}"
        if not trial.failure and not trial.point.is_finite:
            words = f"{words} ({self.flow.where_not_finite(trial.point)})"
        if verdict.h <= 0 and not trial.point.is_finite:
            return Status.NOT_FINITE, words
        if verdict.h <= 0:
            if self._at_kink(trial.h):
                words += ", on a way on which the velocity jumps: Q has a kink, as relu has, at which scheme='jko' or "
                words += "controller=Fixed(dtau, monotone=False) goes on"
            return Status.ENERGY_ROSE, words
        self.h, self.memory = float(verdict.h), float(verdict.memory)
        if trial.failure and self.h < CONVERGENCE_COLLAPSE * self.h_largest:
            return Status.NOT_CONVERGED, words
        if self.h < max(STEP_COLLAPSE * self.h_largest, resolution(self.tau, self.tau)):
            return self._too_small(words)
        return Status.RUNNING, ""

    def _too_small(self, words: str) -> tuple[Status, str]:
        return (Status.AT_KINK if self._at_kink(self.h * AHEAD) else Status.STEP_TOO_SMALL), words

    def _at_kink(self, h: float) -> bool:
        """Whether the velocity jumps within h from here."""
        return jumps_ahead(self.flow, self.point, h)
