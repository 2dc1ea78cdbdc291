"""The tutorial of CONTRIBUTING, done to a copy of the checkout; a scheme, observer, law and figure in one file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent

RUN = """
[data]
kind = "in-context"
n_prompts = 12
dimension = 1
context = 3
[attention]
kernel = "softplus"
mask = "causal"
[initial.V]
law = "gaussian"
std = 0.5
[initial.W]
law = "gaussian"
std = "lecun"
[initial]
M = 5
[objective]
layers = 2
[solve]
tau_end = 0.2
dtau = 0.1
"""

PROGRAM = """
import numpy as np, wflow
head = wflow.Attention("softplus", "causal")
rng = np.random.default_rng(0)
Z, theta, a = rng.standard_normal((2, 3, 4)), rng.standard_normal((5, 18)), rng.dirichlet(np.ones(5))
V, W = theta.reshape(5, 2, 3, 3).swapaxes(0, 1)
weights = np.log1p(np.exp(np.einsum("bdj,mde,bei->bmji", Z, W, Z))) * np.tri(4).T
expected = np.einsum("m,mdc,bcj,bmji->bdi", a, V, Z, weights)
np.testing.assert_allclose(head.mean(Z, theta, a), expected, rtol=1e-12)
run = wflow.runfile.read("run.toml")
assert run.objective.encoders["theta"] == head
answer = run.solve("run.h5", progress=False)
assert wflow.load("run.h5").objective.encoders["theta"] == head
assert wflow.resume("run.h5", 0.4).tau[-1] == 0.4
"""


def steps() -> list[str]:
    """The changes that the tutorial shows."""
    section = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## A new attention kernel, step by step")[1]
    return re.findall(r"```diff\n(.*?)```", section.split("\n## ")[0], re.S)


@pytest.mark.skipif(shutil.which("git") is None, reason="git applies the changes")
def test_an_attention_kernel_takes_two_files(tmp_path: Path) -> None:
    changes = steps()
    assert len({line for text in changes for line in text.splitlines() if line.startswith("+++ ")}) == 2
    for part in ("wflow", "tests", "validation", "docs"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__", "_build", "gallery"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "solvers", tmp_path / "solvers")
    for text in changes:
        command = ["git", "apply", "--whitespace=nowarn", "-"]
        done = subprocess.run(command, input=text, cwd=tmp_path, text=True, capture_output=True, check=False)
        assert done.returncode == 0, f"the tutorial no longer fits the code: {done.stderr}\n{text}"
    (tmp_path / "run.toml").write_text(RUN)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    environment.pop("NUMBA_CACHE_DIR", None)

    def python(*arguments: str) -> str:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    pytest_ = ("-m", "pytest", "-q", "-p", "no:cacheprovider")
    python("-c", PROGRAM)
    files = "tests/test_encoders.py", "tests/test_attention.py"
    done = python(*pytest_, *files, "-k", "softplus and not float32 and not FeedForward")
    assert int(re.findall(r"(\d+) passed", done)[0]) > 50
    python("docs/runfiles.py")
    assert " passed" in python(*pytest_, "tests/test_runfile.py", "-k", "documentation")


MODULE = '''
"""A scheme, an observer, a law and a figure."""
from dataclasses import dataclass
import numpy as np
from matplotlib.figure import Figure
from wflow.initial import Law
from wflow.plain import register
from wflow.schemes import Scheme, Trial


@dataclass(frozen=True)
class Ralston(Scheme):
    """``x+ = x + h (k_1 + 3 k_2)/4``, ``k_2 = v(x + 2 h k_1/3)``, the error against Euler's step."""

    damping: float = 0.0
    name, order, error_order, stability = "ralston", 2, 2, 2.0

    def step(self, flow, point, h):
        k_1 = point.velocity
        k_2 = flow.evaluate(point.x + 2 / 3 * h * k_1).velocity
        new = flow.evaluate(point.x + h * (0.25 * k_1 + 0.75 * k_2))
        return Trial(h, new, error=flow.norm(0.75 * h * (k_2 - k_1)), dissipated=h * flow.norm2(k_1))


@dataclass(frozen=True)
class Spread:
    """The standard deviation of a parameter."""

    index: int = 0

    def __call__(self, rho):
        return float(rho.x[:, :, self.index].std())


class Exponential(Law):
    """Independent exponential coordinates."""

    def quantile(self, u, t, group):
        return -np.log1p(-u)


def spread(solution):
    figure = Figure()
    figure.subplots().plot(solution.tau, solution.observed["spread"])
    return figure


register(Ralston, Spread)
'''


def test_everything_else_takes_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wflow

    (tmp_path / "mine.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    import mine  # type: ignore[import-not-found]

    data = wflow.Dataset(np.ones((1, 1, 1)), [1.0])
    law = mine.Exponential().sample(wflow.TransformerObjective(data, feedforward=wflow.FeedForward()), 4000, 0)
    assert law.w.mean() == pytest.approx(1, rel=0.05) and law.w.min() > 0
    Q = wflow.PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x)
    rho, watch = wflow.Particles(x=[[1.0], [3.0]]), {"spread": mine.Spread()}
    ends = []
    for h in (0.1, 0.05):
        path = tmp_path / f"{h}.h5"
        wflow.solve(Q, rho, (0, 0.5), scheme=mine.Ralston, dtau=h, observe=watch, path=path)
        answer = wflow.resume(path, 1.0, energy=Q)  # the registered scheme and observer are in the file
        ends.append(abs(answer.measure(-1).x[0, 0, 0] - np.exp(-1)))
        assert answer.observed["spread"][-1] == pytest.approx(np.exp(-1), rel=2e-3)
    assert 3.5 < ends[0] / ends[1] < 4.5
    adaptive = wflow.solve(Q, rho, (0, 1), scheme=mine.Ralston(damping=0.5), rtol=1e-5)
    assert abs(adaptive.measure(-1).x[0, 0, 0] - np.exp(-1)) < 1e-3
    wflow.figures.save(mine.spread(answer), tmp_path / "spread.png")
    assert (tmp_path / "spread.png").stat().st_size > 1000
