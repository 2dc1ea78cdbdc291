"""Run studies and write the report.

    python -m validation                      all studies at their quick size
    python -m validation exact limit --full   some, at the size for a paper; stopped, the same command goes on

The report is ``report.html`` in the output folder, its figures are PDF files beside it, and the answers of all jobs are
kept there. The exit code is 0 if every claim passed, 1 if one failed, 2 for bad arguments, 75 after an interrupt.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from types import ModuleType

from validation import page
from validation.runner import ROOT, Failure, Interrupted, answer_all, local_executor
from validation.studies import STUDIES
from validation.study import Answers, Job, Outcome
from wflow import __version__
from wflow.figures.style import style


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    options = _options(arguments)
    modules = {name: importlib.import_module(f"validation.studies.{STUDIES[name]}") for name in options.studies}
    jobs = {name: module.jobs(options.full) for name, module in modules.items()}
    everything = [job for some in jobs.values() for job in some]
    executor = local_executor(options.workers)
    try:
        answers = iter(answer_all(everything, options.output / "answers", executor, options.reuse))
        sections = []
        for name, module in modules.items():
            section = _section(name, module, jobs[name], [next(answers) for _ in jobs[name]], options.full)
            _print(section)
            sections.append(section)
    except Interrupted as signal:
        for process in list((executor._processes or {}).values()):  # what they compute is lost
            process.terminate()
        print(f"\n{signal}: stopped; the answers so far are kept, and the same command goes on", file=sys.stderr)
        return 75
    finally:
        executor.shutdown(wait=False)
    path = options.output / "report.html"
    page.write(sections, path, _facts(options))
    if options.docs:
        page.write_docs(sections, options.docs, _facts(options))
    failed = [section.name for section in sections if not section.passed]
    print(f"\n{path}: " + (f"FAIL in {', '.join(failed)}" if failed else "all claims passed"))
    return 1 if failed else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m validation", description="Validation studies and their report.")
    parser.add_argument("studies", nargs="*", metavar="study", help=", ".join(STUDIES))
    parser.add_argument("--full", action="store_true", help="the size for a paper: hours")
    parser.add_argument("-o", "--output", type=Path, help="folder of report, figures and answers")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser.add_argument(
        "--workers", type=int, default=cores, help="processes of one thread each (default: %(default)s)"
    )
    parser.add_argument("--docs", type=Path, metavar="FOLDER", help="write the report as Markdown pages, too")
    parser.add_argument("--reuse", action="store_true", help="take kept answers even if the code has changed since")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.studies if name not in STUDIES]
    if unknown:
        parser.error(f"no study {unknown[0]!r}; there are {', '.join(STUDIES)}")
    if options.workers < 1:
        parser.error(f"--workers must be at least 1, got {options.workers}")
    options.studies = options.studies or list(STUDIES)
    options.output = options.output or ROOT / "data" / "runs" / f"validation-{'full' if options.full else 'quick'}"
    return options


def _section(name: str, module: ModuleType, jobs: Sequence[Job], answers: Sequence[object], full: bool) -> page.Section:
    """The section of one study; a failure anywhere is its outcome."""
    title, _, text = (module.__doc__ or name).partition("\n")
    failures = [(job, a) for job, a in zip(jobs, answers) if isinstance(a, Failure)]
    seconds = sum(float(a["seconds"]) for a in answers if isinstance(a, dict))
    outcome: Outcome | str
    if failures:
        (job, failure), *others = failures
        outcome = f"{job.function.__name__}({dict(job.arguments)}), and {len(others)} others\n{failure.text}"
    else:
        with style():
            outcome = module.report(Answers(list(zip(jobs, answers))), full)  # type: ignore[arg-type]
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


def _facts(options: argparse.Namespace) -> dict[str, str]:
    command = ["python", "-m", "validation", *options.studies, *(["--full"] if options.full else [])]
    if list(STUDIES) == options.studies:
        command = command[:3] + command[3 + len(STUDIES) :]
    return {
        "command": shlex.join(command),
        "version": f"wflow {__version__}, commit {_commit()}",
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {options.workers} processes, Python {platform.python_version()}",
    }


def _commit() -> str:
    """The commit of the checkout, with a word if files have changed since."""
    try:
        git = ["git", "-C", str(ROOT)]
        commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*git, "status", "--porcelain", "wflow", "validation"], capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit.stdout.strip() + (" with changes" if changed.stdout.strip() else "")


if __name__ == "__main__":
    sys.exit(main())
