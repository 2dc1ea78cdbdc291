"""What a study is made of: jobs to compute, and from their answers claims, tables, figures and findings.

A study is a module of :mod:`validation.studies` with a docstring, whose first line is its title, and two functions::

    def jobs(full: bool) -> list[Job]                            what to compute, at the quick or the full size
    def report(answers: Answers, full: bool) -> Outcome          what follows

A job calls a module-level function with plain arguments and answers with numbers and arrays by name, so that it runs
in any process and its answer can be kept. :mod:`validation.runner` computes jobs, :mod:`validation.page` writes the
report.

>>> within("one half", 0.51, 0.5, 0.05)
Claim(statement='one half', measured=0.51, expected=0.5, criterion='within 0.05', passed=True, interval=None)
>>> at_most("an error", 2e-3, 1e-3, interval=(1e-3, 3e-3)).passed
False
"""

from __future__ import annotations

__all__ = ["Answers", "Claim", "Job", "Outcome", "Table", "at_least", "at_most", "holds", "within"]

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure

Interval = tuple[float, float]
Named = Mapping[str, Any]


@dataclass(frozen=True)
class Job:
    """``function(**arguments)`` with a function of a module and JSON arguments; ``cost`` is about its seconds."""

    function: Callable[..., Mapping[str, Any]]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    cost: float = 1.0


@dataclass(frozen=True)
class Answers:
    """The answers of the jobs of a study, in the order of the jobs: pairs (arguments, answer) by the job's function."""

    pairs: Sequence[tuple[Job, Mapping[str, Any]]]

    def of(self, function: Callable[..., Any], **arguments: Any) -> Iterator[tuple[Named, Named]]:
        """(arguments, answer) of the jobs that call this function, with these among their arguments."""
        for job, answer in self.pairs:
            if job.function is function and all(job.arguments.get(k) == v for k, v in arguments.items()):
                yield job.arguments, answer

    def one(self, function: Callable[..., Any], **arguments: Any) -> Mapping[str, Any]:
        """The answer of the only such job."""
        ((_, answer),) = self.of(function, **arguments)
        return answer


@dataclass(frozen=True)
class Claim:
    """One statement put to the test, with the measured number, its 95 % interval and the expected one."""

    statement: str
    measured: float
    expected: float | None
    criterion: str
    passed: bool
    interval: Interval | None = None


@dataclass(frozen=True)
class Table:
    """Rows of numbers and words under a head."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Outcome:
    """What follows from the answers: claims, which pass or fail; findings in words; tables; figures by name."""

    claims: Sequence[Claim]
    findings: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Mapping[str, tuple[Figure, str]] = field(default_factory=dict)


def within(
    statement: str,
    measured: float,
    expected: float,
    tolerance: float,
    *,
    relative: bool = False,
    interval: Interval | None = None,
) -> Claim:
    """The measured number is the expected one up to a tolerance."""
    gap = abs(measured - expected) / (abs(expected) if relative else 1.0)
    criterion = f"within {100 * tolerance:g} %" if relative else f"within {tolerance:g}"
    return Claim(statement, float(measured), float(expected), criterion, bool(gap <= tolerance), interval)


def at_most(statement: str, measured: float, limit: float, *, interval: Interval | None = None) -> Claim:
    """The measured number is at most the limit."""
    return Claim(statement, float(measured), None, f"at most {limit:.3g}", bool(measured <= limit), interval)


def at_least(statement: str, measured: float, limit: float, *, interval: Interval | None = None) -> Claim:
    """The measured number is at least the limit."""
    return Claim(statement, float(measured), None, f"at least {limit:.3g}", bool(measured >= limit), interval)


def holds(statement: str, passed: bool) -> Claim:
    """A statement without a number."""
    return Claim(statement, math.nan, None, "holds", bool(passed))
