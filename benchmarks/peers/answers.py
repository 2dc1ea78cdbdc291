"""The lines that every peer answers."""

import sys
import time
from collections.abc import Callable
from typing import Any


def serve(evaluate: Callable[[], Any], save: Callable[[str, Any], None], ready: Callable[[], str]) -> None:
    """Evaluate once, so that all is compiled, print what ``ready`` says, and answer every line of standard input.

    * ``run``: one evaluation; prints the wall seconds
    * ``save PATH``: ``save`` writes the last result; prints ``saved``
    * ``quit``: ends the program (so does the end of the input)
    """
    answer = evaluate()
    print(ready(), flush=True)
    for line in sys.stdin:
        command, _, path = line.strip().partition(" ")
        if command == "run":
            start = time.perf_counter()
            answer = evaluate()
            print(time.perf_counter() - start, flush=True)
        elif command == "save":
            save(path, answer)
            print("saved", flush=True)
        else:
            return
