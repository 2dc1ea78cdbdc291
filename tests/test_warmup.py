"""`wflow warmup` leaves nothing to compile."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import numba
import pytest

import wflow
from wflow import cli, warmup
from wflow.kernels import disk
from wflow.run import session

PACKAGE = Path(wflow.__file__).parent

#: Runs of all kinds, and which functions were compiled for them.
RUNS = """
import numpy as np, wflow
from numba.core import event
from wflow import Attention, FeedForward, observers
compiled = []
class Listener(event.Listener):
    def on_start(self, event):
        compiled.append(event.data["dispatcher"].py_func.__qualname__)
    def on_end(self, event):
        pass
event.register("numba:compile", Listener())
rng, seconds = np.random.default_rng(0), []
data, held_out = (wflow.Dataset(rng.standard_normal((5, 3, 4)), rng.standard_normal(5)) for _ in range(2))
for dtype in (np.float64, np.float32):
    for attention, neurons, depth in (
        (Attention("gaussian", factored=True, mask="causal"), FeedForward("gelu"), "midpoint"),
        (Attention("sparsemax", factored=True, rank=2), None, "split-euler"),
        (None, FeedForward("relu"), "split-euler"),
    ):
        Q = wflow.TransformerObjective(data, attention, neurons, layers=2)
        rho = wflow.initial.gaussian(1.0).sample(Q, 3, 0, dtype=dtype)
        watch = {"held-out": observers.Risk(Q, held_out)}
        seconds.append(wflow.solve(Q, rho, (0, 0.1), dtau=0.05, observe=watch).stats["seconds_compile"])
        wflow.tangent_kernel(Q, rho, by="group")
        wflow.kernel_spectrum(Q, rho)
    Attention().mean(np.ones((1, 2, 3), dtype), np.ones((2, Attention().n_parameters(2)), dtype), np.ones(2))
well = wflow.PotentialEnergy(lambda x: np.sum(x**2, axis=1) / 2, lambda x: x) + wflow.Entropy(0.5)
x, box = np.exp(-np.linspace(-6, 6, 24) ** 2), (-6, 6)
for rho in (wflow.Grid(x=x, box={"x": (box,)}), wflow.Grid(x=np.outer(x, x), box={"x": (box, box)})):
    for scheme, dtau in (("kernel", 0.01), ("finite-volume", 0.01), ("entropic-jko", 0.5)):
        seconds.append(wflow.solve(well, rho, (0, 2 * dtau), scheme=scheme, dtau=dtau).stats["seconds_compile"])
print(compiled, set(seconds))
"""


def test_nothing_is_compiled_after_warmup(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["warmup"]) == 0
    output, errors = capsys.readouterr()
    folder = disk.folders(Path(disk.__file__).parent)[1]
    assert output.startswith("all kernels are there after ") and output.endswith(f" s, kept in {folder}\n")
    assert errors.splitlines()[0] == "compiling: Transformers in float64" and len(errors.splitlines()) == 3
    assert cli.main(["warmup", "--quiet"]) == 0 and capsys.readouterr().err == ""
    done = subprocess.run([sys.executable, "-c", RUNS], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[] {0.0}\n"), done.stderr


def test_warmup_takes_every_kernel() -> None:
    """Whatever the package imports of its kernels, in any function, has been compiled."""
    warmup.warmup(lambda line: None)
    sources = [p.read_text() for p in PACKAGE.rglob("*.py") if "kernels" not in p.relative_to(PACKAGE).parts]
    found = [line for text in sources for line in re.findall(r"from (wflow\.kernels\.\w+) import (.*)", text)]
    names = {(module, name.split()[0]) for module, line in found for name in line.split(",")}
    functions = {name: getattr(importlib.import_module(name[0]), name[1]) for name in names}
    kernels = {name: f for name, f in functions.items() if isinstance(getattr(f, "_cache", None), disk.Disk)}
    assert len(kernels) >= 15
    assert [name for name, kernel in kernels.items() if not kernel.signatures] == []


def test_a_run_that_compiles_says_so_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where it shows progress: on a terminal, or where it is told to."""

    def heard(progress: bool | None, module: str = "wflow.kernels.some") -> tuple[str, float]:
        stats = {"seconds_compile": 0.0}
        with session.compile_clock(stats, progress):
            for _ in range(2):
                function = lambda x: x + 1  # noqa: E731
                function.__module__ = module
                numba.njit(function)(1)
        return capsys.readouterr().err, stats["seconds_compile"]

    line = "compiling kernels, once, for up to a minute (wflow warmup does it ahead)\n"
    for is_terminal, progress, expected in ((False, None, ""), (True, False, ""), (True, None, line), (True, True, "")):
        monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)  # noqa: B023
        if expected:
            session._tell_of_compiling.cache_clear()
        words, seconds = heard(progress)
        assert words == expected and seconds > 0
    session._tell_of_compiling.cache_clear()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    assert heard(True, "of_a_user")[0] == ""
    assert heard(True)[0] == line
    with session.compile_clock({"seconds_compile": 0.0}, True):
        pass
    assert capsys.readouterr().err == ""
