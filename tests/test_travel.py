"""Results travel: through pickles, copies and processes, and from ``import wflow`` to every module; and progress."""

from __future__ import annotations

import copy
import os
import pickle
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import random_data

import wflow
from wflow import controllers, initial, observers, problems
from wflow.plain import describe
from wflow.run.session import Bar
from wflow.schemes import SCHEMES, RungeKutta

WAYS: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


def square(x: Any) -> Any:
    """A potential that a pickle finds by its name."""
    return np.sum(x**2, axis=1) / 2


def straight(x: Any) -> Any:
    """Its gradient."""
    return x


def mean(rho: Any) -> float:
    """An observer that a pickle finds by its name."""
    return float(rho.x.mean())


def transformer() -> wflow.TransformerObjective:
    data = random_data(np.random.default_rng(0), 5, 2, 3)
    classes = wflow.Dataset(data.tokens, np.sign(data.labels), data.readout)
    return wflow.TransformerObjective(
        classes, wflow.SoftmaxAttention(), wflow.FeedForward("tanh"), weight_decay=0.1, entropy=0.2, layers=2
    )


def cloud(weighted: bool = False) -> wflow.Particles:
    rng = np.random.default_rng(1)
    weights = {"w": [[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]]} if weighted else None
    return wflow.Particles(theta=rng.standard_normal((2, 4, 8)), w=rng.standard_normal((2, 3, 4)), weights=weights)


def grid() -> wflow.Grid:
    return wflow.Grid(x=np.random.default_rng(2).random((3, 4, 5)), box={"x": ((0, 1), (-2, 2))})


def arrays(thing: Any, seen: set[int] | None = None) -> Iterator[np.ndarray]:
    """Every array that an immutable object holds."""
    seen = set() if seen is None else seen
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, np.ndarray):
        yield thing
    elif isinstance(thing, dict):
        for value in thing.values():
            yield from arrays(value, seen)
    elif type(thing).__module__.startswith("wflow") and hasattr(thing, "__dict__"):
        yield from arrays(vars(thing), seen)


IMMUTABLE: dict[str, Callable[[], Any]] = {
    "particles": cloud,
    "weighted particles": lambda: cloud(weighted=True),
    "placed particles": lambda: transformer().prepare(cloud(weighted=True)),
    "grid": grid,
    "data set": lambda: random_data(np.random.default_rng(3), 4, 2, 2),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", IMMUTABLE)
def test_immutable_things_stay_immutable(name: str, way: str) -> None:
    thing = IMMUTABLE[name]()
    before = list(arrays(thing))
    again = WAYS[way](thing)
    after = list(arrays(again))
    assert type(again) is type(thing) and len(after) == len(before) >= 3
    for x, y in zip(before, after):
        assert x.dtype == y.dtype and np.array_equal(x, y)
        assert not y.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            y[...] = 0
    if isinstance(thing, wflow.Grid):
        assert np.array_equal(again.points("x"), thing.points("x"))
        assert len(pickle.dumps(thing)) < 2 * thing.x.nbytes  # the cell centres are not in it
    elif isinstance(thing, wflow.Particles):
        assert again.has_equal_weights("w") == thing.has_equal_weights("w") and again.is_placed == thing.is_placed


TRAVELLERS: dict[str, Callable[[], Any]] = {
    "objective": transformer,
    "objective in a sum": lambda: transformer() + wflow.BlobEnergy(wflow.Entropy(0.5), 0.1),
    "functions of a module": lambda: wflow.PotentialEnergy(square, straight) + wflow.PorousMedium(2.0),
    "attention": lambda: wflow.SoftmaxAttention(factored=True, rank=1),
    "law": lambda: initial.product(theta=initial.gaussian("lecun"), w=initial.atoms([[0.0] * 4, [1.0] * 4])),
    "save": lambda: wflow.SaveAt(tau=[0.5, 1.0]),
    "fixed": lambda: controllers.Fixed(0.1, monotone=False),
    "adaptive": lambda: controllers.Adaptive(1e-3),
    "tableau": lambda: RungeKutta("ralston", 2, 2, None, ((2 / 3,), (0.25, 0.75)), (0.5, 0.5, 0.0)),
    "replay": lambda: controllers.Replay((0.1, 0.2)),
    **{name: lambda kind=kind: kind(transformer(), None) for name, kind in observers.OBSERVERS.items()},
    **{name: lambda scheme=scheme: scheme for name, scheme in SCHEMES.items()},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", TRAVELLERS)
def test_what_makes_a_run_travels(name: str, way: str) -> None:
    thing = TRAVELLERS[name]()
    again = WAYS[way](thing)
    assert type(again) is type(thing)
    if name == "functions of a module":
        assert again.terms[0].function is square
    else:
        np.testing.assert_equal(describe(again), describe(thing))
    if name in SCHEMES:
        assert again == thing and describe(again)["kind"] == name
    rho = cloud()
    if isinstance(thing, wflow.TransformerObjective):
        assert again.value(rho) == thing.value(rho)
    elif name in observers.OBSERVERS:
        assert again(rho) == thing(rho)


@pytest.mark.parametrize("name", problems.PROBLEMS)
def test_exact_problems_travel(name: str) -> None:
    """Made again from the call that made them, also after a generator that has gone on since."""
    options: dict[str, Any] = {"width": 4} if name == "sine-circle" else {"rng": np.random.default_rng(7)}
    problem = problems.PROBLEMS[name](**options)
    for again in (WAYS["pickle"](problem), copy.deepcopy(WAYS["pickle"](problem))):
        assert again.value(0.3) == problem.value(0.3)
        for block, x in problem.rho0.blocks.items():
            assert np.array_equal(again.rho0.blocks[block], x)


def solve(energy: Any = None, **options: Any) -> wflow.Solution:
    Q = wflow.PotentialEnergy(square, straight) if energy is None else energy
    rho = wflow.Particles(x=np.array([[1.0], [2.0], [4.0]]))
    return wflow.solve(Q, rho, (0, 1), scheme="rk4", dtau=0.25, save=wflow.SaveAt(steps=2), **options)


def same(a: wflow.Solution, b: wflow.Solution) -> None:
    """The same series, frames and words."""
    np.testing.assert_equal(dict(a.series), dict(b.series))
    np.testing.assert_equal(dict(a.observed), dict(b.observed))
    assert a.n_frames == b.n_frames and (a.status, a.message, a.stats, a.path) == (b.status, b.message, b.stats, b.path)
    for i in range(a.n_frames):
        assert np.array_equal(a.measure(i).x, b.measure(i).x)
        assert not b.measure(i).x.flags.writeable


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("where", ["memory", "file", "loaded"])
def test_solutions_travel(way: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    solution = solve(observe={"mean": mean}, path=None if where == "memory" else "run.h5")
    if where == "loaded":
        solution = wflow.load("run.h5")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    os.chdir(elsewhere)  # the file is found from anywhere
    again = WAYS[way](solution)
    same(solution, again)
    assert (again.objective is None) == (where == "loaded")
    if where == "memory":
        assert again.objective.function is square and again.observers == {"mean": mean}
    if way == "deepcopy":
        again.series["tau"][0] = 7.0
        assert solution.tau[0] == 0.0


def test_what_has_no_name_stays_at_home() -> None:
    """A pickle leaves out objectives and observers that hold lambdas; a copy shares them."""
    nameless = wflow.PotentialEnergy(lambda x: square(x), lambda x: x)
    solution = solve(nameless, observe={"mean": mean, "nameless": lambda rho: 1.0})
    again = WAYS["pickle"](solution)
    same(solution, again)
    assert again.objective is None and list(again.observers) == ["mean"]
    assert list(again.observed) == ["mean", "nameless"]
    for way in ("copy", "deepcopy"):
        shared = WAYS[way](solution)
        same(solution, shared)
        assert shared.objective.function is nameless.function and list(shared.observers) == ["mean", "nameless"]


PROGRAM = """
import multiprocessing
import numpy as np
import wflow

def run(seed):
    Q = wflow.PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x)
    rho = wflow.Particles(x=np.random.default_rng(seed).standard_normal((1, 5, 1)))
    return wflow.solve(Q, rho, (0, 1), scheme="rk4", dtau=0.5, progress=False)

def fail(seed):
    raise wflow.SolveError(f"run {seed} went wrong")

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        solutions = pool.map(run, range(3))
        try:
            pool.map(fail, [5])
        except wflow.SolveError as error:
            print(error)
    for seed, solution in enumerate(solutions):
        here = run(seed)
        assert np.array_equal(solution.measure(-1).x, here.measure(-1).x) and (solution.energy == here.energy).all()
        assert not solution.measure(0).x.flags.writeable and solution.objective is None
    print(solutions[-1])
"""


def test_runs_in_other_processes(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "run 5 went wrong" in done.stdout and "Solution(2 steps to tau = 1" in done.stdout


MODULES = sorted(
    path.stem
    for path in Path(wflow.__file__).parent.iterdir()
    if path.suffix == ".py" or (path / "__init__.py").exists()
)


def test_every_module_is_there_after_import() -> None:
    """Each in the order that a fresh interpreter finds them; what is none says so, with the name that was meant."""
    names = [name for name in MODULES if not name.startswith("_")]
    program = f"import wflow\nfor name in {names}:\n    print(name, getattr(wflow, name).__name__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:-1] == [f"{name} wflow.{name}" for name in names]
    assert set(wflow.__all__) <= set(dir(wflow)) and callable(wflow.check.check)
    public = {"controllers", "schemes", "observers", "figures", "runfile", "distances", "problems", "initial", "plain"}
    assert public | {"check", "datasets", "encoders", "energies", "measures", "network", "trajectory"} <= set(
        dir(wflow)
    )
    for name in ("controlers", "_nothing", "__wrapped__"):
        with pytest.raises(AttributeError, match=f"module 'wflow' has no attribute '{name}'"):
            getattr(wflow, name)


@pytest.mark.parametrize(
    ("start", "end", "tau", "share", "words"),
    [
        (0.0, 2.0, 0.5, 25, "tau 0.5/2 "),
        (-4.0, -2.0, -3.5, 25, "tau -3.5/-2 "),
        (-3.0, 0.0, 0.0, 100, "tau 0/0 "),
        (200.0, 201.0, 200.25, 25, "tau 200.25/201 "),
        (1e6, 1e6 + 2, 1e6 + 1, 50, "tau 1000001/1000002 "),
        (0.1, 0.3, 0.3 + 5e-17, 100, "tau 0.3/0.3 "),
        (-1e-9, 1e-9, 0.0, 50, "tau 0/1e-09 "),
    ],
)
def test_progress_counts_from_the_start(start: float, end: float, tau: float, share: int, words: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for first in (start, start + 0.1 * (end - start)):  # a new run, and one that is resumed
            bar = Bar(True, start, end, first)
            shown = [str(bar._bar)]
            point = SimpleNamespace(value=1.0)
            bar.update(SimpleNamespace(tau=tau, point=point, h=0.1, stats={"steps": 1}))
            shown.append(str(bar._bar))
            bar.close()
            assert shown[1].startswith(words)
            for line, expected in zip(shown, (100 * (first - start) / (end - start), share)):
                bar_ = re.search(r"\|(.*)\|", line)
                assert bar_ is not None
                full = bar_[1].count("\N{FULL BLOCK}") / len(bar_[1])
                assert abs(100 * full - expected) <= 100 / len(bar_[1])


@pytest.mark.parametrize("tau_range", [(50, 51), (-2, 0), (-9, -5)])
def test_progress_of_a_run_and_of_its_continuation(
    tau_range: tuple[float, float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start, end = tau_range
    Q, rho = wflow.PotentialEnergy(square, straight), wflow.Particles(x=[[1.0]])
    wflow.solve(Q, rho, tau_range, scheme="rk4", dtau=0.5, progress=True, path=tmp_path / "run.h5")
    wflow.resume(tmp_path / "run.h5", end + 2, Q, progress=True)
    lines = [line for line in re.split(r"[\r\n]+", capsys.readouterr().err) if line.strip()]
    assert lines[0].startswith(f"tau {start}/{end} ") and "\N{FULL BLOCK}" not in lines[0]
    assert any(line.startswith(f"tau {end}/{end + 2} ") for line in lines)
    assert lines[-1].startswith(f"tau {end + 2}/{end + 2} ")
    assert re.search("\\|\N{FULL BLOCK}+\\|", lines[-1])
