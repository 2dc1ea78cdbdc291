"""The command (see :mod:`validation.doors`)."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence

os.environ.setdefault("NUMBA_NUM_THREADS", "1")  # the workers are the parallelism
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_name, "1")


#: What makes the code of a call run on its own.
PRELUDE = """\
import numpy as np
import wflow
from wflow import check, controllers, distances, encoders, figures, initial
from wflow import observers, plain, problems, runfile, schemes, tangent, landscapes

from validation.doors.props import *
from validation.doors.runner import ready

with ready():
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run generated calls; 1 if there are faults."""
    from validation.doors.generate import generate
    from validation.doors.runner import Outcome, run

    parser = argparse.ArgumentParser("python -m validation.doors", description="Generated calls at the doors.")
    parser.add_argument("--calls", type=int, default=10_000, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the generators (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--one", type=int, metavar="N", help="the code of call N alone, and what becomes of it")
    parser.add_argument("--only", default="", metavar="NAME", help="those of the kinds with this in their name")
    options = parser.parse_args(arguments)
    numbers = [n for n in range(options.calls) if options.only in generate(options.seed, n).kind]
    if options.one is not None:
        numbers = [options.one]
    began, count, total = time.monotonic(), 0, len(numbers)

    def say(outcome: Outcome) -> None:
        nonlocal count
        count += 1
        if sys.stderr.isatty() or count % 1000 == 0:
            print(f"\r{count} of {total}", end="" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)

    outcomes = run(options.seed, numbers, options.workers, say)
    calls = {outcome.number: generate(options.seed, outcome.number) for outcome in outcomes}
    if options.one is not None:
        generated = calls[options.one]
        print(f"# {generated.title}\n# {generated.verdict}: {outcomes[0].result} {outcomes[0].fault}")
        print(PRELUDE + generated.code.replace("\n", "\n    ") + "\n    print(value)")
        return int(bool(outcomes[0].fault))
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for outcome in outcomes:
        generated = calls[outcome.number]
        for kind in (generated.kind, "all"):
            kinds[kind]["calls"] += 1
            kinds[kind]["good"] += generated.verdict == "same"
            kinds[kind]["refused"] += outcome.result == "refused"
            kinds[kind]["accepted"] += outcome.result.startswith("accepted")
            kinds[kind]["faults"] += bool(outcome.fault)
    if not outcomes:
        parser.error(f"no call is of a kind {options.only!r}")
    print(f"{'':<48} {'calls':>6} {'good':>12} {'accepted':>9} {'refused':>8} {'faults':>7}")
    for kind in [*sorted(kinds.keys() - {"all"}), "all"]:
        n = kinds[kind]
        share = f"{n['good']} ({n['good'] / n['calls']:.0%})"
        print(f"{kind:<48} {n['calls']:>6} {share:>12} {n['accepted']:>9} {n['refused']:>8} {n['faults']:>7}")
    slowest = max(outcomes, key=lambda outcome: outcome.seconds)
    print(f"{time.monotonic() - began:.0f} s; the slowest call, {slowest.number}, took {slowest.seconds:.2f} s")
    faults: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for outcome in sorted((o for o in outcomes if o.fault), key=lambda outcome: outcome.number):
        title = calls[outcome.number].title
        faults[title.partition(": ")[0], title.partition(": ")[2], outcome.fault].append(outcome.number)
    for (target, changes, fault), numbers_ in sorted(faults.items()):
        print(
            f"\n{target}: {fault}\n    {changes}\n    --seed {options.seed} --one {numbers_[0]}",
            *(f"and {len(numbers_) - 1} more" for _ in numbers_[1:2]),
        )
        print("    " + calls[numbers_[0]].code.replace("\n", "\n    "))
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
