"""Run files, and the command."""

from __future__ import annotations

import numpy as np


def generate_file(rng: np.random.Generator, good: bool):  # noqa
    from validation.doors.generate import _generate_call
    from validation.doors.calls import CALLS

    return _generate_call(rng, CALLS[int(rng.integers(len(CALLS)))], good)
