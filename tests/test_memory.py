"""What needs more memory than there is, is refused in words before any work."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wflow
from wflow import InputError, Particles, checks
from wflow.checks import check_memory
from wflow.distances import conditional_w2


def allow(monkeypatch: pytest.MonkeyPatch, n_bytes: float) -> None:
    monkeypatch.setattr(checks, "_free_memory", lambda: n_bytes)


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system that tells what stands in these files."""
    for name in ("MEMORY_INFO", "GROUPS", "GROUP_FOLDER"):
        monkeypatch.setattr(checks, name, tmp_path / name)
    monkeypatch.setattr(checks.os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**22}[name])
    return tmp_path


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_least_of_all_that_is_known_counts(system: Path) -> None:
    assert checks._free_memory() == 2**34
    put(system / "MEMORY_INFO", "MemTotal: 16777216 kB\nMemAvailable:  8388608 kB\nSwapFree: 1024 kB\n")
    assert checks._free_memory() == 2**33 + 2**20
    put(system / "GROUPS", "7:cpu,cpuacct:/one\n4:memory:/job/step\n0::/user/task\n")
    put(system / "GROUP_FOLDER/memory/memory.limit_in_bytes", "9223372036854771712\n")
    put(system / "GROUP_FOLDER/user/task/memory.max", "max\n")
    assert checks._free_memory() == 2**33 + 2**20
    put(system / "GROUP_FOLDER/memory/job/memory.limit_in_bytes", f"{2**32}\n")
    assert checks._free_memory() == 2**32
    put(system / "GROUP_FOLDER/user/memory.max", f"{2**31}\n")
    assert checks._free_memory() == 2**31


@pytest.mark.parametrize("text", ["", "MemAvailable\n", "MemAvailable: lots\nSwapFree: 1 kB\n"])
def test_what_cannot_be_read_is_no_limit(text: str, system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(system / "MEMORY_INFO", text)
    put(system / "GROUPS", text)
    assert checks._free_memory() == 2**34
    monkeypatch.delattr(checks.os, "sysconf")
    assert checks._free_memory() == math.inf


@pytest.mark.skipif(sys.platform != "linux", reason="limits of processes")
def test_the_limit_of_the_process_counts() -> None:
    program = f"ulimit -v 1000000; exec {sys.executable} -c 'from wflow.checks import _free_memory as f; print(f())'"
    done = subprocess.run(["sh", "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) == 1024 * 1_000_000


def test_little_is_always_there(monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch, 0)
    check_memory("a few numbers", 10**6, "")
    with pytest.raises(InputError, match=r"^much need about 1 GiB of memory, .* may take 0 GiB: take less$"):
        check_memory("much", 2**30, "take less")


def flow_of(M: int) -> Any:
    law = wflow.PotentialEnergy(lambda x: np.sum(x**2, axis=1), lambda x: 2 * x)
    return wflow.solve(law, Particles(x=np.ones((1, M, 1))), (0, 0.1), scheme="euler", dtau=0.1)


def test_steps_are_refused_before_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two million numbers take 80 MB at least."""
    allow(monkeypatch, 79e6)
    with pytest.raises(InputError, match=r"steps of 2000000 numbers need about .* take fewer particles"):
        flow_of(2_000_000)
    allow(monkeypatch, 81e6)
    assert flow_of(2_000_000).status is wflow.Status.FINISHED


def test_distances_are_refused_before_they_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pairs of 10^4 and 10^4 + 1 particles take 5.6 GB; as many on either side 2.4 GB at least."""
    x = np.random.default_rng(0).standard_normal((1, 10_001, 2))
    monkeypatch.setattr("scipy.spatial.distance.cdist", lambda *arguments: pytest.fail("computed"))
    for n, n_bytes in ((10_001, 5.5e9), (10_000, 2.3e9)):
        allow(monkeypatch, n_bytes)
        with pytest.raises(InputError, match=r"the distances of 10000 particles to .* compare samples of them"):
            conditional_w2(Particles(x=x[:, :10_000]), Particles(x=x[:, :n]))


def test_samples_are_refused_before_they_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    data = wflow.Dataset(np.ones((1, 1, 1)), [1.0])
    Q = wflow.TransformerObjective(data, feedforward=wflow.FeedForward(), layers=2)
    allow(monkeypatch, 2**30)
    with pytest.raises(InputError, match=r"2 slices of particles, 60000000 numbers each, need about .* take fewer"):
        wflow.initial.gaussian(1.0).sample(Q, 30_000_000, 0)
