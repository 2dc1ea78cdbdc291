"""What is recorded of an environment, and what is said where two differ."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import numba
import numpy as np
import pytest

from wflow.environment import differences, environment
from wflow.kernels.simd.lanes import n_lanes

PROGRAM = "import json; from wflow.environment import environment; print(json.dumps(environment()))"


def elsewhere(**variables: str) -> dict[str, object]:
    """The environment of another process, as a file would hold it."""
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | variables, check=True)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_the_environment_is_that_of_every_process_of_this_machine() -> None:
    here = environment()
    assert differences(elsewhere(OPENBLAS_NUM_THREADS="2", NUMBA_NUM_THREADS="2"), here) == []
    assert here["numpy"] == np.__version__ and here["numba"] == numba.__version__
    assert here["lanes"] == n_lanes(np.float64) and here["python"] == platform.python_version().rpartition(".")[0]
    assert json.loads(json.dumps(here)) == here and None not in here.values() and "" not in here.values()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names of processors")
def test_another_target_of_kernels_is_told() -> None:
    other = elsewhere(NUMBA_CPU_NAME="nehalem", NUMBA_CPU_FEATURES="+sse4.2,+pku,-avx,-avx2,-fma")
    assert other["target"] == "nehalem" and other["features"] == ["sse4.2"] and other["lanes"] == 4
    words = differences(environment(), other)
    assert any(word.startswith("processor of kernels ") and word.endswith(", now nehalem") for word in words)
    assert any(word.startswith("instructions of kernels: now without ") and "avx2" in word for word in words)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": 1, "b": [1]}, {"b": [1], "a": 1}, []),
        ({"a": 1}, {}, ["a 1, now not recorded"]),
        ({}, {"a": ""}, ["a not recorded, now "]),
        ({"svml": False}, {"svml": True}, ["SVML off, now on"]),
        ({"features": None}, {"features": ["x"]}, ["instructions of kernels not recorded, now ['x']"]),
        ({"features": ["x"]}, {"features": ["x", "y"]}, ["instructions of kernels: now with y"]),
        ({"blas": {"x": 1}}, {"blas": "mkl 2025"}, ["BLAS {'x': 1}, now mkl 2025"]),
    ],
)
def test_differences_in_words(old: dict[str, object], new: dict[str, object], expected: list[str]) -> None:
    assert differences(old, new) == expected
