"""Where a run leaves what it has accepted: a recorder, in memory here, in a file in :mod:`wflow.trajectory.writer`."""

from __future__ import annotations

__all__ = ["MemoryRecorder", "Recorder"]

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from wflow.measures import Measure
from wflow.settings import Settings
from wflow.solution import SERIES, Solution, Status

State = Mapping[str, Any]
Frame = tuple[float, Measure]  # training time and measure


class Recorder(Protocol):
    """What a run asks of whoever keeps its results."""

    def add_step(self, row: Mapping[str, float]) -> None:
        """One accepted step: a number for every series and observed quantity."""

    def add_frame(self, tau: float, rho: Measure, state: State) -> None:
        """One frame, and the state from which the run can go on."""

    def settle(self, state: Callable[[], State]) -> None:
        """A step is complete."""

    def abandon(self, state: State) -> None:
        """An exception leaves the run: keep what is kept without it."""

    def close(self) -> None:
        """Write no more."""

    def finish(
        self, status: Status, message: str, stats: Mapping[str, Any], state: State, last: Frame | None = None
    ) -> Solution:
        """The end of the run, however it came; with a last frame, unless there is one that late."""


class MemoryRecorder:
    """A recorder that keeps everything in memory."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._rows: list[Mapping[str, float]] = []
        self._frames: list[Frame] = []

    def add_step(self, row: Mapping[str, float]) -> None:
        """One accepted step."""
        self._rows.append(row)

    def add_frame(self, tau: float, rho: Measure, state: State) -> None:
        """One frame."""
        self._frames.append((tau, rho))

    def settle(self, state: Callable[[], State]) -> None:
        """Nothing to write."""

    def abandon(self, state: State) -> None:
        """Nobody gets what is here."""

    def close(self) -> None:
        """Nothing to close."""

    def finish(
        self, status: Status, message: str, stats: Mapping[str, Any], state: State, last: Frame | None = None
    ) -> Solution:
        """The end of the run."""
        if last is not None and self._frames[-1][0] < last[0]:
            self._frames.append(last)
        observed = {name: np.array([row[name] for row in self._rows]) for name in self._rows[0]}
        series = {name: observed.pop(name) for name in SERIES}
        times, measures = np.array([tau for tau, _ in self._frames]), [rho for _, rho in self._frames]
        return Solution(
            *(series, observed, times, measures.__getitem__, status, message, dict(stats)),
            objective=self._settings.energy,
            observers=dict(self._settings.observe),
        )
