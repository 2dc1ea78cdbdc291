"""Run studies and write their report."""

from __future__ import annotations

__all__ = ["part", "validate"]

import platform
import textwrap
import traceback
from collections.abc import Sequence
from concurrent.futures import Executor
from datetime import date
from pathlib import Path

from validation import page
from validation.checkout import code_of, commit
from validation.page import Part, Section, number
from validation.study import Experiment, Runs, Table, jobs, load, title_and_text
from wflow import __version__
from wflow.figures.style import style
from wflow.jobs import Answer, Failure, Job, answer_all


def validate(
    studies: Sequence[str],
    folder: Path,
    executor: Executor,
    *,
    full: bool = False,
    reuse: bool = False,
    docs: Path | None = None,
    command: str = "",
) -> list[Section]:
    """Run studies, and write ``report.html`` and its figures into a folder.

    Parameters
    ----------
    studies
        Names of studies: see :func:`validation.study.names`.
    folder
        The answers of jobs are kept there, too: see :func:`wflow.jobs.answer_all`.
    executor
        Any executor of :mod:`concurrent.futures`.
    full
        The sizes for a paper.
    reuse
        Take kept answers even if the code has changed since.
    docs
        A folder for the report as Markdown pages.
    command
        What the report says it is the result of.

    Returns
    -------
    list
        A section for every study; it knows whether it passed.
    """
    loaded = [load(name) for name in studies]
    todo = [[jobs(experiment, full) for experiment in study.experiments.values()] for study in loaded]
    every = [job for study in todo for experiment in study for job in experiment]
    answers = iter(answer_all(every, folder / "answers", executor, code=code_of, reuse=reuse))
    sections = []
    for study, of_study in zip(loaded, todo):
        parts: list[Part] = []
        seconds: dict[str, float] = {}
        for (name, experiment), some in zip(study.experiments.items(), of_study):
            found = [next(answers) for _ in some]
            parts.append(part(name, experiment, some, found, full))
            seconds |= {job.key: x["seconds"] for job, x in zip(some, found) if not isinstance(x, Failure)}
        sections.append(Section(study.name, *title_and_text(study.doc), parts, sum(seconds.values())))
        _print(sections[-1])
    facts = {
        "command": command,
        "version": f"wflow {__version__}, commit {commit()}",
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
    }
    page.write(sections, folder / "report.html", facts)
    if docs:
        page.write_docs(sections, docs, facts)
    return sections


def part(
    name: str, experiment: Experiment, jobs: Sequence[Job], answers: Sequence[Answer | Failure], full: bool
) -> Part:
    """What an experiment says; or why it says nothing: a measurement failed, or what follows from them."""
    title, text = title_and_text(experiment.__doc__ or "") if name else ("", "")
    failures = [(job, answer) for job, answer in zip(jobs, answers) if isinstance(answer, Failure)]
    pairs = [(job, answer) for job, answer in zip(jobs, answers) if not isinstance(answer, Failure)]
    if failures:
        (job, failure), *more = failures
        return Part(name, title, text, f"{job.key}, and {len(more)} others\n{failure.text}")
    try:
        with style():
            runs = Runs([(job.arguments, answer) for job, answer in pairs], full)
            claims, findings = experiment.claims(runs), experiment.findings(runs)
            table, figure = experiment.table(runs), experiment.figure(runs)
    except Exception:
        return Part(name, title, text, traceback.format_exc())
    tables = [table] if isinstance(table, Table) else table or []
    return Part(name, title, text, "", claims, findings, figure, experiment.CAPTION, tables)


def _print(section: Section) -> None:
    print(f"\n{section.name}: {section.title}")
    for part in section.parts:
        if part.title:
            print(f"  {part.name}: {part.title}")
        if part.failure:
            print(f"  FAIL, it did not run: {part.failure}")
        for c in part.claims:
            interval = "" if c.interval is None else f" [{number(c.interval[0])}, {number(c.interval[1])}]"
            expected = "" if c.expected is None else f", expected {number(c.expected)}"
            measured = f": {number(c.measured)}{interval}{expected}" if c.criterion != "holds" else ""
            print(f"  {'pass' if c.passed else 'FAIL'}  {c.statement}{measured} ({c.criterion})")
        for finding in part.findings:
            print(textwrap.fill(finding, 118, initial_indent="  * ", subsequent_indent="    "))
