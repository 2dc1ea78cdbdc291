"""What surrounds a run: its progress on a terminal, signals and the clock of compilation."""

from __future__ import annotations

__all__ = ["Bar", "Interrupted", "compile_clock", "signals"]

import contextlib
import math
import signal
import sys
import threading
import time
from collections.abc import Iterator
from functools import cache
from typing import Any

from wflow.schemes import Flow
from wflow.solution import Solution


class Interrupted(KeyboardInterrupt):
    """A run was interrupted: by Ctrl-C, or, where it writes a file, by SIGTERM, SIGHUP or SIGUSR1 as well.

    ``solution`` is the :class:`wflow.Solution` with everything accepted before, its last measure among the frames; None
    when the run had not begun. ``exit_code`` is 75 (try again), and 130 for a run without a file.
    """

    def __init__(self, message: str = "", solution: Solution | None = None) -> None:
        super().__init__(message)
        self.solution = solution
        self.exit_code = 75 if solution is None or solution.path else 130


class Bar:
    """tau, Q, step size and rate on a terminal."""

    def __init__(self, progress: bool | None, start: float, end: float, tau: float) -> None:
        from tqdm import tqdm

        self._start, self._end = start, end
        self._digits = 4 + math.ceil(math.log10(max(1.0, max(abs(start), abs(end)) / (end - start))))
        layout = "{desc}|{bar}| {elapsed}<{remaining}{postfix}"  # tqdm counts from 0: how far the run is
        disable = None if progress is None else not progress
        done = {"total": end - start, "initial": tau - start, "desc": self._words(tau)}
        self._bar = tqdm(**done, disable=disable, bar_format=layout, leave=True)
        self._began, self._steps = time.monotonic(), 0

    def _words(self, tau: float) -> str:
        return f"tau {tau:.{self._digits}g}/{self._end:.{self._digits}g} "

    def update(self, run: Any) -> None:
        """Show where a run is."""
        if self._bar.disable:
            return
        self._bar.n = min(run.tau, self._end) - self._start
        self._bar.desc = self._words(run.tau)
        rate = run.stats["steps"] / max(time.monotonic() - self._began, 1e-9)
        self._bar.set_postfix_str(f"Q={run.point.value:.5g} dtau={run.h:.2g} {rate:.3g} steps/s", refresh=False)
        self._bar.update(0)

    def close(self) -> None:
        """Leave the last state on the terminal."""
        self._bar.close()


@contextlib.contextmanager
def signals(flow: Flow, active: bool) -> Iterator[None]:
    """Turn signals into :class:`Interrupted` at the next evaluation, never in the middle of a write.

    SIGHUP and SIGUSR1 are taken where the process has no other use for them and would die: not under nohup.
    """
    if not active or threading.current_thread() is not threading.main_thread():
        yield
        return
    seen: list[str] = []

    def note(number: int, frame: Any) -> None:
        seen.append(signal.Signals(number).name)

    def check() -> None:
        if seen:
            raise Interrupted(f"interrupted by {seen[0]}")

    further = [getattr(signal, name) for name in ("SIGHUP", "SIGUSR1") if hasattr(signal, name)]
    taken = [signal.SIGINT, signal.SIGTERM, *(n for n in further if signal.getsignal(n) is signal.SIG_DFL)]
    before = {number: signal.signal(number, note) for number in taken}
    flow.interrupt = check
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@cache
def _tell_of_compiling() -> None:
    """Once in a process, and not into the bar."""
    from tqdm import tqdm

    tqdm.write("compiling kernels, once, for up to a minute (wflow warmup does it ahead)", file=sys.stderr)


@contextlib.contextmanager
def compile_clock(stats: dict[str, Any], progress: bool | None = False) -> Iterator[None]:
    """Add the seconds that numba spends compiling; kernels compiled on behalf of another count once.

    With progress, or None on a terminal, the first one that is compiled in a process is told.
    """
    from numba.core import event

    class Clock(event.Listener):
        depth, began = 0, 0.0

        def on_start(self, event: Any) -> None:
            if self.depth == 0:
                self.began = time.perf_counter()
                ours = event.data["dispatcher"].py_func.__module__.startswith("wflow.")
                if ours and (sys.stderr.isatty() if progress is None else progress):
                    _tell_of_compiling()
            self.depth += 1

        def on_end(self, event: Any) -> None:
            self.depth -= 1
            if self.depth == 0:
                stats["seconds_compile"] += time.perf_counter() - self.began

    with event.install_listener("numba:compile", Clock()):
        yield
