"""The check of a trajectory against the numpy Transformer passes what is right and catches what is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import random_data, random_measure

import wflow
from wflow.trajectory.layout import columns_of
from wflow.trajectory.reader import row_checksums


def check(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "validation.trajectory", str(path)], capture_output=True, text=True)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_pass_and_fail(dtype: type, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    attention = wflow.Attention("gaussian", mask="causal", factored=True, rank=1, scale=0.5)
    neurons, more = wflow.FeedForward("gelu", 2, True), {"mobility": {"W_K": 0.0, "w": 2.0}}
    data = random_data(rng, 5, 3, 4, 2)
    objective = wflow.TransformerObjective(
        data, attention, neurons, 0.1, layers=2, loss="huber", huber_delta=0.5, **more
    )
    rho = random_measure(objective, {"theta": 3, "w": 4}, rng, dtype, weighted=True)
    path = tmp_path / "run.h5"
    wflow.solve(objective, rho, (0, 0.5), rtol=1e-3, path=path)
    good = check(path)
    assert good.returncode == 0 and good.stdout.rstrip().endswith("pass"), good.stdout + good.stderr
    for spoilt in (1.001, np.nan):
        with h5py.File(path, "r+") as file:
            file["series/risk"][-1] *= spoilt
            table = np.array([[column[-1] for _, column in columns_of(file)]])
            file["series/crc32"][-1] = row_checksums(table)[0]
        bad = check(path)
        assert bad.returncode == 1 and bad.stdout.rstrip().endswith("FAIL")


def test_what_is_no_finite_transformer(tmp_path: Path) -> None:
    data = random_data(np.random.default_rng(0), 2, 2, 2)
    objective = wflow.TransformerObjective(data, feedforward=wflow.FeedForward(), depth="midpoint", layers=1)
    wflow.solve(objective, wflow.Particles(w=np.ones((1, 1, 4))), (0, 0.1), path=tmp_path / "run.h5")
    for name, message in (("run.h5", "split-euler"), ("missing.h5", "does not exist")):
        answer = check(tmp_path / name)
        assert answer.returncode == 2 and message in answer.stderr
