"""The loop: step, accept or reject, save, observe; and its continuation from a file."""

from __future__ import annotations

__all__ = ["Interrupted", "resume", "solve"]

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Annotated, Any

import numpy as np

from wflow.checks import (
    check_boolean,
    check_nonnegative,
    check_number,
    check_path,
    check_positive,
    check_seed,
    shown,
    unknown_keyword,
)
from wflow.controllers import Adaptive, Attempt, Controller, Fixed, Replay, Start, Verdict
from wflow.energies.energy import Energy
from wflow.errors import InputError, SolveError
from wflow.kinks import crawls, jumps_ahead
from wflow.measures import Measure
from wflow.observers import observed
from wflow.plain import describe
from wflow.schemes import SCHEMES, Flow, Point, Scheme, Trial, scheme_of
from wflow.session import Bar, Interrupted, compile_clock, one_writer, signals
from wflow.settings import Observers, Settings
from wflow.solution import SERIES, SaveAt, Solution, Status, resolution
from wflow.types import NonNegativeFloat, PositiveFloat

PathLike_ = str | PathLike[str]

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


def solve(
    energy: Energy,
    rho0: Measure,
    tau_range: Sequence[float] = (0.0, 1.0),
    *,
    scheme: Annotated[str | Scheme, tuple(SCHEMES)] = "dopri5",
    dtau: PositiveFloat | None = None,
    rtol: NonNegativeFloat = 1e-6,
    atol: NonNegativeFloat = 1e-9,
    save: SaveAt | None = None,
    observe: Observers | None = None,
    path: PathLike_ | None = None,
    overwrite: bool = False,
    rng: np.random.Generator | int | None = None,
    progress: bool | None = None,
    controller: Controller | None = None,
    tol: NonNegativeFloat = 1e-10,
    attributes: Mapping[str, str] | None = None,
    max_seconds: PositiveFloat | None = None,
    **unknown: object,
) -> Solution:
    """Solve ``d rho/d tau = div(rho grad dQ/drho)`` from ``rho0`` over a range of training time.

    Parameters
    ----------
    energy
        Q, such as a :class:`wflow.TransformerObjective`.
    rho0
        The initial measure.
    tau_range
        ``(tau_start, tau_end)``, training time, dimensionless (depth is t, in [0, 1]).
    scheme
        A name of :data:`wflow.schemes.SCHEMES` (docs/schemes.md says which for what), or a
        :class:`wflow.schemes.Scheme`.
    dtau
        Steps of this one size; None for adaptive steps.
    rtol, atol
        Tolerances of adaptive steps (see :class:`wflow.controllers.Adaptive`).
    save
        When measures are kept; None for the first and the last only.
    observe
        ``{name: f(rho)}``: numbers to record at every accepted step.
    path
        An HDF5 trajectory to write (see docs/format.md), from which :func:`resume` goes on, also after a kill.
    overwrite
        Whether an existing file may be replaced.
    rng
        A seed, or a generator that draws one: the randomness of schemes with noise, which the file records.
    progress
        A progress bar; None shows one on a terminal.
    controller
        Another step-size control than ``Fixed(dtau)`` or ``Adaptive(rtol, atol)``.
    tol
        The run ends where ``|v| <= tol``.
    attributes
        Strings to store in the file, such as the run file it came from.
    max_seconds
        The run ends with the first step that is accepted after so much wall time, in seconds, with
        ``Status.INTERRUPTED``: :func:`resume` goes on with the file to the same bits. None for no limit.

    Returns
    -------
    Solution
        Series at every accepted step and the saved measures.

    Raises
    ------
    InputError
        Before any work is done, for arguments that do not fit.
    SolveError
        When Q rises, a number is not finite, a step gets too small or the file cannot be written. The message says at
        which step, and everything accepted before is in the file.
    Interrupted
        On Ctrl-C and, with ``path``, on SIGTERM, SIGHUP and SIGUSR1. Its attribute ``solution`` has everything accepted
        before. Any other exception, such as one of an observer, leaves the file as a kill would, with nothing lost.

    Examples
    --------
    >>> import numpy as np
    >>> import wflow
    >>> data = wflow.Dataset(np.ones((1, 1, 1)), [2.0])
    >>> Q = wflow.TransformerObjective(data, feedforward=wflow.FeedForward("identity"), layers=1)
    >>> answer = wflow.solve(Q, wflow.Particles(w=[[[1.0, 1.0]]]), (0, 20))
    >>> answer.status.name, bool(answer.risk[-1] < 1e-5)
    ('FINISHED', True)
    """
    if unknown:
        name = next(iter(unknown))
        hint = ": t is depth, training time is tau_range=" if name in ("t_range", "t_span") else ""
        raise unknown_keyword(solve, name, hint)
    start, end = _check_range(tau_range)
    chosen = scheme_of(scheme)
    if dtau is not None and controller is not None:
        raise InputError("pass dtau or controller, not both")
    if controller is None:
        tolerances = check_nonnegative("rtol", rtol), check_nonnegative("atol", atol)
        controller = Adaptive(*tolerances) if dtau is None else Fixed(check_positive("dtau", dtau))
    if save is not None and not isinstance(save, SaveAt):
        raise InputError(f"save must be a wflow.SaveAt, got {shown(save)}")
    if save is not None:
        save.check_range(start, end)
    observers = _check_observers({} if observe is None else observe)
    seed = None if rng is None else check_seed(rng)
    settings = Settings(energy, observers, (start, end), chosen, controller, save, check_nonnegative("tol", tol), seed)
    overwrite, progress = check_boolean("overwrite", overwrite), _check_progress(progress)
    extra, seconds = _check_attributes(attributes), _check_seconds(max_seconds)
    flow = _open(settings, rho0)
    from wflow.trajectory import ATTRIBUTES, MemoryRecorder, TrajectoryFile, check_target

    if taken := [name for name in extra if name in ATTRIBUTES]:
        raise InputError(f"attributes must have other names than {', '.join(ATTRIBUTES)}, got {taken[0]!r}")
    if path is not None:
        path = check_path("path", path)
    run = _Run(flow, settings, seconds)
    with one_writer(path), signals(flow, active=path is not None), compile_clock(run.stats):
        if path is not None:
            check_target(path, overwrite)
        run.begin(flow.flat(flow.template.blocks))
        if path is None:
            run.record_first(MemoryRecorder())
        else:
            run.recorder = TrajectoryFile.create(path, overwrite, settings, flow.template, extra, run.record_first)
        return run.loop(progress)


def resume(
    path: PathLike_,
    tau_end: float | None = None,
    energy: Energy | None = None,
    *,
    observe: Observers | None = None,
    scheme: Scheme | None = None,
    controller: Controller | None = None,
    progress: bool | None = None,
    max_seconds: float | None = None,
) -> Solution:
    """Continue the run of a trajectory file from its last checkpoint.

    With the same ``tau_end`` the result equals that of an uninterrupted run bit for bit; an extension equals a run that
    saved at the old end.

    Parameters
    ----------
    path
        The trajectory.
    tau_end
        Where to go; None for where the run was going.
    energy, observe
        An energy with functions or encoders of your own, and observed functions of your own, are passed again;
        everything that the package offers is in the file (see :mod:`wflow.plain`).
    scheme, controller
        Likewise, a scheme or controller of your own; or another one than that of the file, which then chooses its
        first step as at the start of a run.
    progress, max_seconds
        As in :func:`solve`; the time is counted anew.

    Raises
    ------
    InputError
        For a file that is no trajectory, a missing checkpoint, an end before the checkpoint, or something of your own
        that is not passed again.
    """
    from wflow.trajectory import TrajectoryFile, load_checkpoint, measure_of, reading, settings_of

    path, progress, seconds = check_path("path", path), _check_progress(progress), _check_seconds(max_seconds)
    with one_writer(path):
        with reading(path) as file:
            data, template = settings_of(file), measure_of(file, 0)
        state = load_checkpoint(path)
        start, end = data["tau_range"] if tau_end is None else _check_range((data["tau_range"][0], tau_end))
        if end < state["tau"]:
            raise InputError(
                f"tau_end must not be before the checkpoint at tau = {state['tau']:.9g}, got {shown(tau_end)}"
            )
        replaced = {"energy": energy, "scheme": None if scheme is None else scheme_of(scheme), "controller": controller}
        settings = Settings.restore(data, path, observe, tau_range=(start, end), **replaced)
        flow = _open(settings, template)
        if state["x"].size != flow.mass.size:
            raise InputError(
                f"{path} cannot be resumed: its checkpoint has {state['x'].size} numbers, not {flow.mass.size}"
            )
        run = _Run(flow, settings, seconds)
        with signals(flow, active=True), compile_clock(run.stats):
            run.restore(state)
            if any(_differs(replaced[name], data[name]) for name in ("scheme", "controller")):
                run.choose_step()
            run.recorder = TrajectoryFile.reopen(path, state["n_series"], state["n_frames"], settings)
            return run.loop(progress)


def _differs(new: Any, description: Any) -> bool:
    """Whether something is given, and is not what a trajectory describes."""
    if new is None:
        return False
    old, given = (json.dumps(data, default=np.ndarray.tolist) for data in (description, describe(new)))
    return given != old


def _open(settings: Settings, rho0: Measure) -> Flow:
    """The flow in which a scheme steps, after its checks."""
    if not isinstance(settings.controller, Controller):
        raise InputError(f"controller must be a wflow.controllers.Controller, got {shown(settings.controller)}")
    if not isinstance(settings.energy, Energy):
        kind = type(settings.energy).__name__
        raise InputError(f"energy must be a wflow energy such as TransformerObjective, got {kind}")
    _check_steps(settings.controller, *settings.tau_range)
    flow: Flow = settings.scheme.flow(settings.energy, rho0, settings.seed)
    flow.need_error = settings.controller.need_error
    return flow


class _Run:
    """A run in progress: where it is, what comes next, what it has counted."""

    def __init__(self, flow: Flow, settings: Settings, max_seconds: float | None) -> None:
        self.flow, self.settings, self.max_seconds = flow, settings, max_seconds
        self.deadline = np.inf if max_seconds is None else time.monotonic() + max_seconds
        self.scheme, self.controller, self.save = settings.scheme, settings.controller, settings.save
        self.start, self.end = settings.tau_range
        self.recorder: Any = None
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

    def record_first(self, recorder: Any) -> None:
        """The initial state: series entry, frame and checkpoint."""
        self.recorder = recorder
        recorder.add_step(self.row(self.tau, self.point, 0.0))
        self._frame(self.tau, self.point.x)

    def loop(self, progress: bool | None) -> Solution:
        """Step until the end, a stationary point, a failure or a signal; then close the recorder."""
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
        solution.objective, solution.observers = self.settings.energy, dict(self.settings.observe)
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
                f"cannot write {self.recorder.path} at tau={self.tau:.9g}: {error}. Free some space; wflow resume then "
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


def _check_range(tau_range: Any) -> tuple[float, float]:
    try:
        start, end = (check_number("tau_range", value, finite=False) for value in tau_range)
        if isinstance(tau_range, bytes):  # whose entries are integers
            raise TypeError
    except (TypeError, ValueError):
        raise InputError(f"tau_range must be a pair (tau_start, tau_end), got {shown(tau_range)}") from None
    if not (np.isfinite(start) and np.isfinite(end)) or end <= start:
        raise InputError(f"tau_range must end after it starts, got ({start:.9g}, {end:.9g})")
    if end - start < (least := resolution(start, end)):
        raise InputError(
            f"tau_range must be longer than {least:.2g}, to which its times are resolved, got {shown(tau_range)}"
        )
    return start, end


def _check_progress(progress: Any) -> bool | None:
    return None if progress is None else check_boolean("progress", progress)


def _check_seconds(max_seconds: Any) -> float | None:
    return None if max_seconds is None else check_positive("max_seconds", max_seconds)


def _check_attributes(attributes: Any) -> dict[str, str]:
    found = {} if attributes is None else attributes
    if not isinstance(found, Mapping) or not all(isinstance(text, str) for pair in found.items() for text in pair):
        raise InputError(f"attributes must be a dictionary of texts, got {shown(attributes)}")
    return {str(name): str(text) for name, text in found.items()}


def _check_steps(controller: Any, start: float, end: float) -> None:
    """Raise :class:`InputError` for steps that do not get anywhere."""
    h = controller.dtau if isinstance(controller, Fixed) else np.inf
    h = controller.steps[-1] if isinstance(controller, Replay) else h
    if h < (least := resolution(start, end)):
        raise InputError(f"dtau must be at least {least:.2g}, to which times up to {end:.9g} are resolved, got {h!r}")


def _check_observers(observe: Any) -> Observers:
    if not isinstance(observe, Mapping):
        raise InputError(f"observe must be a dictionary {{name: f(rho)}}, got {shown(observe)}")
    for name, function in observe.items():
        if name in SERIES or not isinstance(name, str) or "/" in name or not callable(function):
            raise InputError(
                f"observe must map a name (other than {', '.join(SERIES)}, without '/') to a function of the measure, "
                f"got {name!r}: {shown(function)}"
            )
    return {str(name): function for name, function in observe.items()}
