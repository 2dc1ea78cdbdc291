"""What a study is made of: experiments, each of which measures something and says what follows from it.

A study is a package in ``validation/studies/`` whose modules are its experiments; or one module, its only experiment.
Nothing lists the studies: they are found by looking into the folder. The docstring of a package is the text of the
study, its first line the title, and ``EXPERIMENTS = ("first", "second")`` the order of the report. Modules whose names
start with an underscore are what experiments share. :class:`Experiment` says what stands in the module of an
experiment; :mod:`validation.report` computes and writes it all.

>>> runs = Runs([({"M": M, "L": 8}, {"error": 1 / M}) for M in (2, 4)], full=False)
>>> runs.one(M=4)["error"]
0.25
>>> [case["M"] for case, answer in runs.of(L=8)]
[2, 4]
>>> within("one half", 0.51, 0.5, 0.05)
Claim(statement='one half', measured=0.51, expected=0.5, criterion='within 0.05', passed=True, interval=None)
>>> at_most("an error", 2e-3, 1e-3, interval=(1e-3, 3e-3)).passed
False
"""

from __future__ import annotations

__all__ = [
    "Answer",
    "Case",
    "Claim",
    "Experiment",
    "Interval",
    "Runs",
    "Study",
    "Table",
    "at_least",
    "at_most",
    "holds",
    "jobs",
    "load",
    "names",
    "title_and_text",
    "within",
]

import importlib
import math
import pkgutil
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast, overload

from matplotlib.figure import Figure

from validation import studies
from wflow.jobs import Answer, Job

Case = Mapping[str, Any]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Runs(Sequence[tuple[Case, Answer]]):
    """The cases of an experiment with their answers, in the order of the cases, at the quick or the full size."""

    pairs: Sequence[tuple[Case, Answer]]
    full: bool

    def of(self, **some: Any) -> Iterator[tuple[Case, Answer]]:
        """The cases with these among their values, and their answers."""
        for case, answer in self.pairs:
            if all(name in case and case[name] == value for name, value in some.items()):
                yield case, answer

    def one(self, **some: Any) -> Answer:
        """The answer of the only such case."""
        found = [answer for _, answer in self.of(**some)]
        if len(found) != 1:
            raise LookupError(f"{len(found)} cases have {some}, not one")
        return found[0]

    @overload
    def __getitem__(self, index: int) -> tuple[Case, Answer]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[tuple[Case, Answer]]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return self.pairs[index]

    def __len__(self) -> int:
        return len(self.pairs)


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


class Experiment(Protocol):
    """The module of an experiment: these names, in this order, with its helpers behind them.

    The docstring's first line is the question; the rest, in paragraphs, what is measured and what is predicted. An
    indented paragraph is an equation and stays as it is.
    """

    __doc__: str | None
    #: About the seconds of a case, or a function of the case.
    COST: float | Callable[..., float]
    #: What stands under the figure.
    CAPTION: str

    def cases(self, full: bool) -> Sequence[Case]:
        """The arguments of ``measure``, JSON, at the quick or the full size."""

    def measure(self, **case: Any) -> Answer:
        """Numbers and arrays by name. It runs in any process; its random numbers have seeds."""

    def claims(self, runs: Runs) -> Sequence[Claim]:
        """What must hold, each with an expected number or a limit."""

    def findings(self, runs: Runs) -> Sequence[str]:
        """Sentences about what was found, made from numbers."""

    def table(self, runs: Runs) -> Table | Sequence[Table] | None:
        """The numbers."""

    def figure(self, runs: Runs) -> Figure | None:
        """Their picture."""


PARTS = ("COST", "CAPTION", "cases", "measure", "claims", "findings", "table", "figure")


@dataclass(frozen=True)
class Study:
    """A study and its experiments by name, in the order of the report; a study of one module has the name ""."""

    name: str
    doc: str
    experiments: Mapping[str, Experiment]


def names() -> list[str]:
    """The studies, found by looking into the folder, with ``-`` for ``_``."""
    return [name.replace("_", "-") for name in _modules(studies.__path__)]


def load(name: str) -> Study:
    """A study by its name.

    Raises
    ------
    ValueError
        If an experiment lacks one of its parts, or EXPERIMENTS are not the modules of the package.
    """
    home = importlib.import_module(f"{studies.__name__}.{name.replace('-', '_')}")
    modules = {"": home}
    if hasattr(home, "__path__"):
        found, order = _modules(home.__path__), tuple(home.EXPERIMENTS)
        if sorted(order) != found:
            raise ValueError(f"EXPERIMENTS of study {name!r} must name its modules {found} in order, got {order}")
        modules = {part: importlib.import_module(f"{home.__name__}.{part}") for part in order}
    for part, module in modules.items():
        lacking = [x for x in ("__doc__", *PARTS) if getattr(module, x, None) is None]
        if lacking:
            raise ValueError(f"experiment {part!r} of study {name!r} lacks {', '.join(lacking)}")
    return Study(name, home.__doc__ or name, {part: cast(Experiment, module) for part, module in modules.items()})


def _modules(path: Any) -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(path) if not module.name.startswith("_"))


def jobs(experiment: Experiment, full: bool) -> list[Job]:
    """A job for every case."""
    cost = experiment.COST
    cases = experiment.cases(full)
    return [Job(experiment.measure, case, cost(**case) if callable(cost) else cost) for case in cases]


def title_and_text(doc: str) -> tuple[str, str]:
    """The first line of a docstring, and the rest without its indentation."""
    title, _, text = doc.partition("\n")
    return title, textwrap.dedent(text).strip()


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
