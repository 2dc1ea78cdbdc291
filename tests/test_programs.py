"""The programs in solvers/, run at reduced size, and what the schemes say about one another."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wflow
from wflow.schemes import JKO, SCHEMES, EntropicJKO, FiniteVolume, GridScheme, Kernel, Muscl

ROOT = Path(__file__).parent.parent


def program(name: str, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(ROOT / "solvers" / f"{name}.py"), run_name="__main__")
    return int(caught.value.code or 0)


@pytest.mark.parametrize(
    ("name", "small"),
    [
        ("attention", ["--tau-end", "2", "--width", "4"]),
        ("grid", ["--tau-end", "0.4", "--cells", "24", "--rtol", "1e-3"]),
        ("jko", ["--width", "2", "--steps", "1"]),
        ("langevin", ["--tau-end", "1", "--width", "8"]),
        ("structure_preserving", ["--tau-end", "0.5"]),
    ],
)
def test_programs(name: str, small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.h5"
    assert program(name, monkeypatch, "-o", str(path), *small) == 0
    assert wflow.load(path).status is wflow.Status.FINISHED
    assert path.with_suffix(".pdf").stat().st_size > 5000
    with pytest.raises(wflow.InputError, match="exists already"):
        program(name, monkeypatch, "-o", str(path), *small)


def test_three_discretisations_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 0: within the error bars of each."""
    path = tmp_path / "agreement.pdf"
    assert program("agreement", monkeypatch, "-o", str(path), "--size", "0.34", "--tau-end", "1") == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("kernel", "finite volumes", "Langevin", "particles", "MUSCL", "JKO"))
    assert path.exists()


def quadratic(internal: Any) -> Any:
    smooth = wflow.PotentialEnergy(lambda x: 0.5 * np.sum(x**2, axis=1), lambda x: x)
    return smooth if internal is None else smooth + internal


GRID_SCHEMES = {"kernel": Kernel, "finite-volume": FiniteVolume, "muscl": Muscl, "entropic-jko": EntropicJKO}


@pytest.mark.parametrize("name", SCHEMES)
def test_every_scheme_resumes_bit_for_bit(name: str, tmp_path: Path) -> None:
    """A run that is extended equals one that saved at the old end."""
    scheme = SCHEMES[name]
    Q = quadratic(None if isinstance(None, scheme.internals) else wflow.Entropy(0.5))
    x = (np.arange(60) + 0.5) / 5 - 6
    if isinstance(scheme, GridScheme):
        scheme = GRID_SCHEMES[name](outer_mass=1e-4)
        rho0: Any = wflow.Grid(x=np.exp(-((x - 1) ** 2)), box={"x": ((-6, 6),)})
    else:
        rho0 = wflow.Particles(x=np.linspace(-1, 2, 9)[:, None])
    dtau = 0.01 if name == "muscl" else 0.1
    kept = wflow.SaveAt(tau=[0.4])
    whole = wflow.solve(Q, rho0, (0, 1), scheme=scheme, dtau=dtau, rng=5, path=tmp_path / "a.h5", save=kept)
    wflow.solve(Q, rho0, (0, 0.4), scheme=scheme, dtau=dtau, rng=5, path=tmp_path / "b.h5")
    resumed = wflow.resume(tmp_path / "b.h5", 1.0, energy=Q)
    for series in whole.series:
        assert np.array_equal(whole.series[series], resumed.series[series], equal_nan=True), series
    assert np.array_equal(whole.measure(-1).x, resumed.measure(-1).x)
    assert whole.stats.keys() == resumed.stats.keys()
    counts = {key: value for key, value in whole.stats.items() if not key.startswith("seconds")}
    assert counts == {key: resumed.stats[key] for key in counts}


@pytest.mark.parametrize("name", SCHEMES)
def test_every_scheme_says_what_it_does_not_take(name: str) -> None:
    scheme = SCHEMES[name]
    particles = wflow.Particles(x=np.zeros((4, 1)))
    grid = wflow.Grid(x=np.ones(8), box={"x": ((-1, 1),)})
    wrong = particles if isinstance(scheme, GridScheme) else grid
    right = grid if isinstance(scheme, GridScheme) else particles
    with pytest.raises(wflow.InputError, match="moves a measure of type"):
        wflow.solve(quadratic(wflow.Entropy(0.5)), wrong, scheme=name, dtau=0.1, rng=0)
    for internal in (None, wflow.Entropy(0.5), wflow.PorousMedium(2.0)):
        if not isinstance(internal, scheme.internals):
            with pytest.raises(wflow.InputError, match="internal energ"):
                wflow.solve(quadratic(internal), right, scheme=name, dtau=0.1, rng=0)


def test_schemes_by_class() -> None:
    rho0 = wflow.Particles(x=[[1.0], [2.0]])
    by_name, by_class, by_instance = (
        wflow.solve(quadratic(None), rho0, (0, 1), scheme=scheme, dtau=0.5) for scheme in ("jko", JKO, JKO())
    )
    assert by_name.measure(-1).x.tolist() == by_class.measure(-1).x.tolist() == by_instance.measure(-1).x.tolist()
    with pytest.raises(wflow.InputError, match="must be a name or have a method step"):
        wflow.solve(quadratic(None), rho0, scheme=dict, dtau=0.5)
