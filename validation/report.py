"""Run studies and write their report."""

from __future__ import annotations

__all__ = ["section", "validate"]

import importlib
import platform
import subprocess
import textwrap
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

from validation import page
from validation.runner import ROOT, Failure, answer_all
from validation.studies import STUDIES
from validation.study import Answers, Job, Outcome
from wflow import __version__
from wflow.figures.style import style


def validate(
    studies: Sequence[str],
    folder: Path,
    executor: Executor,
    *,
    full: bool = False,
    reuse: bool = False,
    docs: Path | None = None,
    command: str = "",
) -> list[page.Section]:
    """Run studies, and write ``report.html`` and its figures into a folder.

    Parameters
    ----------
    studies
        Names of :data:`validation.studies.STUDIES`.
    folder
        The answers of jobs are kept there, too: see :func:`validation.runner.answer_all`.
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
    modules = [importlib.import_module(f"validation.studies.{STUDIES[name]}") for name in studies]
    jobs = [module.jobs(full) for module in modules]
    answers = iter(answer_all([job for some in jobs for job in some], folder / "answers", executor, reuse))
    sections = []
    for name, module, some in zip(studies, modules, jobs):
        sections.append(section(name, module, some, [next(answers) for _ in some], full))
        _print(sections[-1])
    facts = {
        "command": command,
        "version": f"wflow {__version__}, commit {_commit()}",
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
    }
    page.write(sections, folder / "report.html", facts)
    if docs:
        page.write_docs(sections, docs, facts)
    return sections


def section(
    name: str, module: ModuleType, jobs: Sequence[Job], answers: Sequence[Mapping[str, Any] | Failure], full: bool
) -> page.Section:
    """The section of one study; a failure of one of its jobs is its outcome."""
    title, _, text = (module.__doc__ or name).partition("\n")
    failures = [(job, answer) for job, answer in zip(jobs, answers) if isinstance(answer, Failure)]
    pairs = [(job, answer) for job, answer in zip(jobs, answers) if not isinstance(answer, Failure)]
    seconds = sum(float(answer["seconds"]) for _, answer in pairs)
    outcome: Outcome | str
    if failures:
        (job, failure), *more = failures
        outcome = f"{job.function.__name__}({dict(job.arguments)}), and {len(more)} others\n{failure.text}"
    else:
        with style():
            outcome = module.report(Answers(pairs), full)
    return page.Section(name, title, textwrap.dedent(text).strip(), outcome, seconds)


def _print(section: page.Section) -> None:
    print(f"\n{section.name}: {section.title}")
    if isinstance(section.outcome, str):
        print(f"  FAIL, it did not run: {section.outcome}")
        return
    for c in section.outcome.claims:
        interval = "" if c.interval is None else f" [{page.number(c.interval[0])}, {page.number(c.interval[1])}]"
        expected = "" if c.expected is None else f", expected {page.number(c.expected)}"
        measured = f": {page.number(c.measured)}{interval}{expected}" if c.criterion != "holds" else ""
        print(f"  {'pass' if c.passed else 'FAIL'}  {c.statement}{measured} ({c.criterion})")
    for finding in section.outcome.findings:
        print(textwrap.fill(finding, 118, initial_indent="  * ", subsequent_indent="    "))


def _commit() -> str:
    """The commit of the checkout, with a word if the code has changed since."""
    git = ["git", "-C", str(ROOT)]
    try:
        commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*git, "status", "--porcelain", "wflow", "validation"], capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit.stdout.strip() + (" with changes" if changed.stdout.strip() else "")
