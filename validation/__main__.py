"""Run studies and write the report.

    python -m validation                      all studies at their quick size
    python -m validation exact limit --full   some, at the size for a paper; stopped, the same command goes on

The report is ``report.html`` in the output folder, its figures are PDF files beside it, and the answers of all jobs are
kept there. The exit code is 0 if every claim passed, 1 if one failed, 2 for bad arguments, 75 after an interrupt.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from validation.checkout import ROOT
from validation.report import validate
from validation.study import names
from wflow.jobs import local_executor


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    options = _options(arguments)
    command = ["python", "-m", "validation", *(options.studies if options.studies != names() else [])]
    command += [f"--{name}" for name in ("full", "reuse") if getattr(options, name)]
    executor = local_executor(options.workers)
    try:
        sections = validate(
            options.studies,
            options.output,
            executor,
            full=options.full,
            reuse=options.reuse,
            docs=options.docs,
            command=shlex.join(command),
        )
    except KeyboardInterrupt as signal:
        for process in list((executor._processes or {}).values()):  # what they compute is lost
            process.terminate()
        print(f"\n{signal}: stopped; the answers so far are kept, and the same command goes on", file=sys.stderr)
        return 75
    finally:
        executor.shutdown(wait=False)
    failed = [section.name for section in sections if not section.passed]
    words = f"FAIL in {', '.join(failed)}" if failed else "all claims passed"
    print(f"\n{options.output / 'report.html'}: {words}")
    return 1 if failed else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m validation", description="Validation studies and their report.")
    studies = names()
    parser.add_argument("studies", nargs="*", metavar="study", help=f"{', '.join(studies)} (default: all)")
    parser.add_argument("--full", action="store_true", help="the size for a paper")
    parser.add_argument("-o", "--output", type=Path, help="folder of report, figures and answers")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser.add_argument("--workers", type=int, default=cores, help="processes of one thread (default: %(default)s)")
    parser.add_argument("--docs", type=Path, metavar="FOLDER", help="write the report as Markdown pages, too")
    parser.add_argument("--reuse", action="store_true", help="take kept answers even if the code has changed since")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.studies if name not in studies]
    if unknown:
        parser.error(f"no study {unknown[0]!r}; there are {', '.join(studies)}")
    if options.workers < 1:
        parser.error(f"--workers must be at least 1, got {options.workers}")
    options.studies = options.studies or studies
    options.output = options.output or ROOT / "data" / "runs" / f"validation-{'full' if options.full else 'quick'}"
    return options


if __name__ == "__main__":
    sys.exit(main())
