"""The command (see :mod:`validation.kills`)."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

os.environ.setdefault("NUMBA_NUM_THREADS", "1")  # a fork has no threads
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

WHAT = ("kills", "readers", "writers", "cost")


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill, read, race and count; 1 if anything failed."""
    from validation.kills.beside import readers, writers
    from validation.kills.cost import cost
    from validation.kills.killed import kills

    parser = argparse.ArgumentParser("python -m validation.kills", description="Kills, readers and writers.")
    parser.add_argument("what", nargs="*", metavar="what", help=f"some of {', '.join(WHAT)} (default: all)")
    parser.add_argument("--runs", type=int, default=1000, help="kills; a tenth as many others (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the generators (default: %(default)s)")
    options = parser.parse_args(arguments)
    if wrong := set(options.what) - set(WHAT):
        parser.error(f"choose from {', '.join(WHAT)}, got {', '.join(sorted(wrong))}")
    n, some = options.runs, max(1, options.runs // 10)
    work = {
        "kills": lambda: kills(n, options.seed),
        "readers": lambda: readers(some, options.seed),
        "writers": lambda: writers(some, options.seed),
        "cost": lambda: cost(20_000, 1_000_000, 300.0),
    }
    rows = []
    for what in options.what or WHAT:
        began = time.monotonic()
        outcome = work[what]()
        rows.append((outcome, time.monotonic() - began))
    print(f"\n{'what':8} {'number':>6} {'faults':>6} {'seconds':>7}")
    for outcome, seconds in rows:
        print(f"{outcome.what:8} {outcome.number:6} {outcome.faults:6} {seconds:7.0f}  {outcome.words}")
    return int(any(outcome.faults for outcome, _ in rows))


if __name__ == "__main__":
    sys.exit(main())
