"""The answer of a run: series at every accepted step, measures at the frames, and how it ended."""

from __future__ import annotations

__all__ = ["SERIES", "SaveAt", "Solution", "Status", "resolution"]

import copy
import pickle
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wflow.checks import check_array, check_fields, check_integer, check_positive, is_integer, shown
from wflow.datasets.dataset import Dataset
from wflow.energies.energy import Energy
from wflow.errors import InputError
from wflow.measures import Measure
from wflow.plain import register
from wflow.types import Numbers, PositiveFloat, PositiveInt

#: The scalar series of every run, with the words that files and figures use.
SERIES: Mapping[str, str] = {
    "tau": "training time tau",
    "energy": "regularised risk Q",
    "risk": "risk R",
    "dissipation": "dissipation |v|^2 = -dQ/dtau",
    "dtau": "step that led here",
    "step_length": "metric length of the step that led here",
    "defect": "energy-identity defect Q(0) - Q(tau) - int |v|^2",
    "max_norm": "largest |beta| of a particle",
}


class Status(StrEnum):
    """How a run stands; the value of each is a sentence."""

    RUNNING = "The run is going on, or was killed: wflow resume continues from its last checkpoint."
    KILLED = "wflow resume continues the run from its last checkpoint."
    FINISHED = "The run reached the end of its range of tau."
    STEADY = "The velocity fell below tol: the measure is stationary."
    INTERRUPTED = "The run was stopped before its end; everything accepted is kept and wflow resume continues a file."
    ENERGY_ROSE = "A step raised the energy: use a smaller dtau, or leave dtau out for adaptive steps."
    NOT_FINITE = "A step left the finite numbers: use a smaller dtau, or leave dtau out for adaptive steps."
    STEP_TOO_SMALL = (
        "The step collapsed: loosen rtol and atol, use float64, or check the derivatives of an encoder of your own."
    )
    AT_KINK = (
        "The velocity jumps there, from one side of a kink of Q to the other: take a fixed dtau with scheme='jko' or "
        "'bdf2', which solve kinks, or with controller=Fixed(dtau, monotone=False), or loosen rtol."
    )
    NOT_CONVERGED = "A step was not solved, even when halved again and again: use another scheme, or a smaller dtau."
    FAILED = "The scheme cannot make the step."
    BOX_TOO_SMALL = "The density reached the boundary of its box: enlarge the box, and the number of cells with it."

    @property
    def is_failure(self) -> bool:
        """Whether the run went wrong."""
        return self not in (Status.RUNNING, Status.KILLED, Status.FINISHED, Status.STEADY, Status.INTERRUPTED)


@dataclass(frozen=True)
class SaveAt:
    """When a frame (the whole measure) is kept, besides the first and the last state. Give exactly one.

    Parameters
    ----------
    every
        A frame every so much training time.
    tau
        A frame at each of these increasing training times.
    steps
        A frame every so many accepted steps.

    Examples
    --------
    >>> SaveAt(every=0.5)
    SaveAt(every=0.5, tau=None, steps=None)
    """

    every: PositiveFloat | None = None
    tau: Numbers | None = None
    steps: PositiveInt | None = None

    def __post_init__(self) -> None:
        names = [name for name in ("every", "tau", "steps") if getattr(self, name) is not None]
        if len(names) != 1:
            raise InputError(f"SaveAt takes exactly one of every, tau and steps, got {' and '.join(names) or 'none'}")
        check_fields(self, check_positive, "every", optional=True)
        check_fields(self, check_integer, "steps", optional=True)
        if self.tau is not None:
            times = check_array("SaveAt tau", self.tau, 1, "(frames,)").astype(np.float64)
            if (np.diff(times) <= 0).any():
                raise InputError(f"SaveAt tau must increase, got {shown(self.tau)}")
            object.__setattr__(self, "tau", tuple(times.tolist()))

    def check_range(self, start: float, end: float) -> None:
        """Raise :class:`InputError` for times outside a range, and for times that floating point cannot tell apart."""
        least = resolution(start, end)
        if self.every is not None and self.every < least:
            raise InputError(
                f"SaveAt every={self.every:.9g} is too small: training times near {max(start, end, key=abs):.9g} are "
                f"resolved to {least:.2g}"
            )
        if self.tau and not start <= self.tau[0] <= self.tau[-1] <= end:
            outside = self.tau[0] if self.tau[0] < start else self.tau[-1]
            raise InputError(f"SaveAt tau must be in the range ({start:.9g}, {end:.9g}), got {outside:.9g}")
        if self.tau and (gaps := np.diff(self.tau)).size and gaps.min() < least:
            k = int(gaps.argmin())
            raise InputError(
                f"SaveAt tau has {self.tau[k]!r} and {self.tau[k + 1]!r}, but training times in the range "
                f"({start:.9g}, {end:.9g}) are resolved to {least:.2g}"
            )

    def next_stop(self, start: float, tau: float, end: float) -> float:
        """The first training time after ``tau`` at which a frame is due, at most ``end``.

        Multiples are counted, not added; one that is the end but for rounding is the end.
        """
        stop = np.inf
        if self.every is not None:
            count = max(int((tau - start) / self.every) - 1, 0)  # the quotient may be rounded up
            while (stop := start + count * self.every) <= tau:
                count += 1
        elif self.tau is not None and (count := bisect_right(self.tau, tau)) < len(self.tau):
            stop = self.tau[count]
        return end if stop > end - resolution(start, end) else float(stop)


register(SaveAt)


def resolution(start: float, end: float) -> float:
    """The least difference of training times in a range that rounding leaves meaningful, a few spacings of floats."""
    return 16 * float(np.spacing(max(abs(start), abs(end))))


@dataclass(eq=False, repr=False)
class Solution:
    """What :func:`wflow.solve` returns and :func:`wflow.load` reads.

    The series have one entry for the initial state and one for every accepted step; ``measure(i)`` is the measure at
    ``frame_tau[i]`` (negative i from the end). ``objective`` is the energy, and ``observers`` are the observed
    quantities by name; of a loaded run, what :mod:`wflow.plain` can build, and None for another energy. Of a trajectory
    file, ``settings`` describes scheme, controller and what else :func:`wflow.solve` was told, and ``attributes`` are
    those of the file.

    A solution travels: it can be pickled, copied and returned by another process. A pickle leaves out what only this
    process has, such as functions without a name of their own (lambdas): an objective that holds one is None in it, and
    an observer is missing, as for a loaded run. A copy shares them.
    """

    series: Mapping[str, NDArray[np.float64]]
    observed: Mapping[str, NDArray[np.float64]]
    frame_tau: NDArray[np.float64]
    read_frame: Callable[[int], Measure]
    status: Status
    message: str
    stats: dict[str, Any]
    path: Path | None = None
    objective: Energy | None = None
    observers: Mapping[str, Callable[[Any], float]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tau(self) -> NDArray[np.float64]:
        """Training times of the accepted steps, dimensionless."""
        return self.series["tau"]

    @property
    def energy(self) -> NDArray[np.float64]:
        """``Q`` at every accepted step."""
        return self.series["energy"]

    @property
    def risk(self) -> NDArray[np.float64]:
        """``R`` at every accepted step (NaN for an energy without a risk)."""
        return self.series["risk"]

    @property
    def dissipation(self) -> NDArray[np.float64]:
        """``|v|^2 = -dQ/d tau`` at every accepted step."""
        return self.series["dissipation"]

    @property
    def heldout(self) -> Dataset | None:
        """The first data set of an observer, such as held-out prompts; None where there is none."""
        datasets = (getattr(observe, "dataset", None) for observe in self.observers.values())
        return next((dataset for dataset in datasets if dataset is not None), None)

    @property
    def n_frames(self) -> int:
        """The number of measures kept."""
        return len(self.frame_tau)

    def measure(self, i: int) -> Measure:
        """The measure of frame i.

        Raises
        ------
        InputError
            When there is no such frame.
        """
        if not is_integer(i) or not -self.n_frames <= i < self.n_frames:
            raise InputError(f"frame {shown(i)} does not exist: there are {self.n_frames} frames, counted from 0")
        return self.read_frame(int(i) % self.n_frames)

    def __getstate__(self) -> dict[str, Any]:
        observers = {name: observe for name, observe in self.observers.items() if _can_be_pickled(observe)}
        objective = self.objective if _can_be_pickled(self.objective) else None
        return self.__dict__ | {"objective": objective, "observers": observers}

    def __copy__(self) -> Solution:
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        return new

    def __deepcopy__(self, memo: dict[int, Any]) -> Solution:
        new = object.__new__(type(self))
        new.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return new

    def __repr__(self) -> str:
        return (
            f"Solution({len(self.tau) - 1} steps to tau = {self.tau[-1]:.6g}, {self.n_frames} frames, "
            f"Q {self.energy[0]:.6g} -> {self.energy[-1]:.6g}, {self.status.name.lower()})"
        )


def _can_be_pickled(value: object) -> bool:
    """Whether another process can have it; arrays are not copied to find out."""
    try:
        pickle.dumps(value, protocol=5, buffer_callback=lambda buffer: None)
    except Exception:  # whatever an object of the user raises
        return False
    return True
