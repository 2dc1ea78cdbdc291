"""The error bars of a run cover its true errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wflow
from wflow import problems
from wflow.check import Source, _halved, check, error_bars
from wflow.cli import main
from wflow.schemes import Kernel

TAU = 2.0


def clouds(slices: int, **sizes: int) -> wflow.Particles:
    """The same three particles in all slices."""
    rng = np.random.default_rng(4)
    return wflow.Particles(
        **{name: np.broadcast_to(0.3 + 0.5 * rng.standard_normal((3, p)), (slices, 3, p)) for name, p in sizes.items()}
    )


#: A problem with L layers, by name; all are exact in the limit of many layers.
MAKE: dict[str, Callable[[int], problems.Problem]] = {
    "pure-decay": lambda L: problems.pure_decay(clouds(L, theta=8, w=4), layers=L),
    "constant-encoders": lambda L: problems.constant_encoders(clouds(L, theta=1, w=1), layers=L),
    "single-token": lambda L: problems.single_token(clouds(L, theta=2, w=1), layers=L, depth="split-euler"),
    "single-token midpoint": lambda L: problems.single_token(clouds(L, theta=2, w=1), layers=L, depth="midpoint"),
    "two-layer": lambda L: problems.two_layer(clouds(L, theta=3), layers=L),
    "sine-circle": lambda L: problems.sine_circle(layers=L),
}


@pytest.mark.parametrize(
    "steps", [{"scheme": "euler", "dtau": 0.1}, {"scheme": "heun", "dtau": 0.2}, {"scheme": "dopri5", "rtol": 1e-4}]
)
@pytest.mark.parametrize("name", MAKE)
def test_bars_cover_the_true_errors(name: str, steps: dict[str, Any]) -> None:
    taken: list[float] = []

    def solve(refined: Mapping[str, int]) -> dict[str, Any]:
        problem = MAKE[name](int(8 * 2.0 ** refined.get("depth", 0)))
        again = dict(steps)
        if "tau" in refined and "dtau" in steps:
            again["dtau"] /= 2.0 ** refined["tau"]
        elif "tau" in refined:
            again = {"scheme": steps["scheme"], **_halved({}, taken, refined["tau"])}
        answer = wflow.solve(problem.energy, problem.rho0, (0, TAU), atol=1e-9, **again)
        if not refined:
            taken.extend(answer.series["dtau"][1:].tolist())
        rho = answer.measure(-1)
        return {"Q": answer.energy[-1], "R": answer.risk[-1], "predictions": problem.energy.predict(rho)}

    order = {"euler": 1.0, "heun": 2.0, "dopri5": 1.0}[str(steps["scheme"])]
    depth = Source("depth", order=2.0 if "midpoint" in name else 1.0)
    report = error_bars(solve, [depth, Source("tau", order)])
    exact = MAKE[name](8)
    truth = {"Q": exact.value(TAU), "R": exact.risk(TAU), "predictions": exact.predictions(TAU)}
    for quantity, value in truth.items():
        error = float(np.sqrt(np.mean(np.square(report.values[quantity] - value))))
        assert error <= report.error(quantity) + 1e-12, (quantity, str(report))
        assert report.error(quantity) <= 20 * error + 1e-3, (quantity, str(report))  # and tell something


def test_intervals_of_random_particles_cover_the_limit() -> None:
    """95 % intervals over seeds; the limit of infinitely many particles is that of their law's mean."""
    exact = problems.constant_encoders(wflow.Particles(theta=np.ones((4, 1, 1)), w=np.ones((4, 1, 1))))
    covered, trials = 0, 60
    for seed in range(trials):

        def solve(refined: Mapping[str, int], seed: int = seed) -> dict[str, Any]:
            step = refined.get("width", 0)
            rng = np.random.default_rng([seed, step + 1])
            width = int(8 * 2.0**step)
            rho = wflow.Particles(theta=rng.normal(1, 1, (4, width, 1)), w=rng.normal(1, 1, (4, width, 1)))
            return {"predictions": problems.constant_encoders(rho).predictions(TAU)}

        report = error_bars(solve, [Source("width", 0.5, random=True)])
        error = np.sqrt(np.mean((report.values["predictions"] - exact.predictions(TAU)) ** 2))
        covered += error <= report.error("predictions")
    assert covered >= 0.88 * trials


def test_bars_of_densities() -> None:
    """Grid and steps against the exact Ornstein-Uhlenbeck flow."""
    Q = wflow.PotentialEnergy(lambda x: 0.5 * x[:, 0] ** 2, lambda x: x) + wflow.Entropy(0.5)

    def solve(refined: Mapping[str, int]) -> dict[str, Any]:
        n = int(48 * 2.0 ** refined.get("grid", 0))
        x = (np.arange(n) + 0.5) * 12 / n - 6
        rho0 = wflow.Grid(x=np.exp(-((x - 1) ** 2) / 0.4), box={"x": ((-6, 6),)})
        scheme = Kernel(2, outer_mass=1e-6)
        answer = wflow.solve(Q, rho0, (0, 1), scheme=scheme, dtau=0.05 * 2.0 ** -refined.get("tau", 0))
        rho = answer.measure(-1)
        mean = float(rho.moment(1).x[0, 0])
        return {"mean": mean, "variance": float(rho.moment(2).x[0, 0]) - mean**2}

    report = error_bars(solve, [Source("grid", 2.0), Source("tau", 2.0)])
    truth = {"mean": np.exp(-1), "variance": 0.5 - 0.3 * np.exp(-2)}
    for quantity, value in truth.items():
        error = abs(report.values[quantity] - value)
        assert 0.05 * report.error(quantity) <= error <= report.error(quantity)
    assert report.bars["mean"]["tau"].order == pytest.approx(2, abs=0.2)


RUN = """
[data]
kind = "in-context"
n_prompts = 8
dimension = 1
context = 3
[attention]
[feedforward]
activation = "tanh"
[objective]
weight_decay = 0.01
layers = 4
[initial]
M = 4
kind = "KIND"
law = "gaussian"
std = 0.5
[solve]
tau_end = 2
STEPS
"""


@pytest.mark.parametrize(
    ("kind", "steps"), [("iid", "rtol = 1e-4"), ("shared", 'scheme = "heun"\ndtau = 0.1'), ("net", "rtol = 1e-4")]
)
def test_run_files(tmp_path: Path, kind: str, steps: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.toml"
    path.write_text(RUN.replace("KIND", kind).replace("STEPS", steps))
    assert main(["check", str(path), "-q"]) == 0
    out = capsys.readouterr().out
    report = check(path)
    assert out == f"{report}\n"
    assert [line.split()[0] for line in out.splitlines()[1:4]] == ["Q", "R", "predictions"]
    report = check(path)
    assert 0.5 < report.bars["predictions"]["depth"].order < 1.6  # type: ignore[operator]
    fine = tmp_path / "fine.toml"
    fine.write_text(path.read_text().replace("layers = 4", "layers = 32").replace("M = 4", "M = 32"))
    run = wflow.runfile.read(fine)
    answer = run.solve()
    assert abs(answer.risk[-1] - report.values["R"]) <= report.error("R")
    predictions = run.objective.predict(answer.measure(-1))
    assert np.sqrt(np.mean((predictions - report.values["predictions"]) ** 2)) <= report.error("predictions")


def test_a_bad_run_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.toml"
    path.write_text(RUN.replace("KIND", "iid").replace("STEPS", "dtua = 0.1"))
    assert main(["check", str(path)]) == 2
    assert "did you mean 'dtau'" in capsys.readouterr().err
