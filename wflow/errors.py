"""The two kinds of failure: input that was wrong, and a run that went wrong."""

from __future__ import annotations

__all__ = ["InputError", "SolveError"]


class InputError(ValueError):
    """What was given cannot be used: the message says what was given, what was expected and what to do.

    Raised at the boundary, before any work is done. The command line prints the message on one line and
    exits with code 2.
    """


class SolveError(RuntimeError):
    """A run went wrong after it had started; everything accepted before is kept.

    The message names the step, the training time ``tau`` and the remedy.
    """
