"""Solve from an initial measure, or go on from a file: arguments and their checks, the lock and the recorder."""

from __future__ import annotations

__all__ = ["resume", "solve"]

import json
from collections.abc import Mapping, Sequence
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
from wflow.controllers import Adaptive, Controller, Fixed, Replay
from wflow.energies.energy import Energy
from wflow.errors import InputError
from wflow.measures import Measure
from wflow.plain import describe
from wflow.run.loop import Run
from wflow.run.session import compile_clock, signals
from wflow.schemes import SCHEMES, Flow, Scheme, scheme_of
from wflow.settings import Observers, Settings
from wflow.solution import SERIES, SaveAt, Solution, resolution
from wflow.types import NonNegativeFloat, PositiveFloat

PathLike_ = str | PathLike[str]


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
        A progress bar, and a line where kernels are compiled; None shows them on a terminal.
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
    from wflow.trajectory.lock import one_writer
    from wflow.trajectory.recorder import MemoryRecorder, Recorder
    from wflow.trajectory.writer import ATTRIBUTES, check_target, new_trajectory

    if taken := [name for name in extra if name in ATTRIBUTES]:
        raise InputError(f"attributes must have other names than {', '.join(ATTRIBUTES)}, got {taken[0]!r}")
    target = None if path is None else check_path("path", path).resolve()
    run = Run(flow, settings, seconds)
    with one_writer(target), signals(flow, active=target is not None), compile_clock(run.stats, progress):
        if target is not None:
            check_target(target, overwrite)
        run.begin(flow.flat(flow.template.blocks))
        recorder: Recorder = MemoryRecorder(settings)
        if target is None:
            run.record_first(recorder)
        else:
            with new_trajectory(target, overwrite, settings, flow.template, extra) as recorder:
                run.record_first(recorder)
        return run.loop(recorder, progress)


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
    from wflow.trajectory.checkpoint import load_checkpoint
    from wflow.trajectory.lock import one_writer
    from wflow.trajectory.reader import measure_of, read, settings_of, solution_of
    from wflow.trajectory.writer import TrajectoryFile

    path, progress, seconds = check_path("path", path), _check_progress(progress), _check_seconds(max_seconds)
    target = path.resolve()
    with one_writer(target):

        def look(file: Any) -> tuple[dict[str, Any], Measure]:
            solution_of(file, target, None)  # whether everything but the frames is as it was written
            return settings_of(file), measure_of(file, 0)

        data, template = read(path, look, alone=True)
        state = load_checkpoint(path)
        start, end = data["tau_range"] if tau_end is None else _check_range((data["tau_range"][0], tau_end))
        if end < state["tau"]:
            raise InputError(
                f"tau_end must not be before the checkpoint at tau = {state['tau']:.9g}, got {shown(tau_end)}"
            )
        replaced = {"energy": energy, "scheme": None if scheme is None else scheme_of(scheme), "controller": controller}
        settings = Settings.restore(data, path, observe, tau_range=(start, end), **replaced)
        flow = _open(settings, template)
        if (x := state["x"]).size != flow.mass.size or x.dtype != template.dtype:
            raise InputError(
                f"{path} cannot be resumed: its checkpoint has {x.size} numbers in {x.dtype}, not {flow.mass.size} in "
                f"{template.dtype}"
            )
        run = Run(flow, settings, seconds)
        with signals(flow, active=True), compile_clock(run.stats, progress):
            run.restore(state)
            if any(_differs(replaced[name], data[name]) for name in ("scheme", "controller")):
                run.choose_step()
            return run.loop(TrajectoryFile.reopen(target, state, settings), progress)


def _differs(new: Any, description: Any) -> bool:
    """Whether something is given, and is not what a trajectory describes."""
    if new is None:
        return False
    old, changed = (json.dumps(data, default=np.ndarray.tolist) for data in (description, describe(new)))
    return changed != old


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
