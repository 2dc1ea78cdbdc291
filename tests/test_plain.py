"""Plain data: every object that the package offers survives it, and files, in every combination."""

from __future__ import annotations

import inspect
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import wflow
from wflow import initial
from wflow.cli import main
from wflow.controllers import Adaptive, Fixed, Replay
from wflow.encoders import ENCODERS
from wflow.energies import SumEnergy
from wflow.observers import OBSERVERS, ErrorRate, Risk, Virial
from wflow.plain import KINDS, MissingObject, build, describe, register
from wflow.schemes import SCHEMES, EntropicJKO, Kernel, RungeKutta, entropy_prox
from wflow.trajectory.reader import open_trajectory, settings_of

RNG = np.random.default_rng(4)
DATA, HELDOUT = (
    wflow.Dataset(RNG.standard_normal((B, 1, 2)), RNG.choice([-1.0, 1.0], B), name=name)
    for B, name in ((4, "some"), (3, "held out"))
)
RALSTON = RungeKutta("ralston", 2, 2, 2.0, a=((2 / 3,), (1 / 4, 3 / 4)), b_hat=(1.0, 0.0, 0.0))


def through_json(value: Any) -> Any:
    return build(json.loads(json.dumps(describe(value), default=np.ndarray.tolist)))


# Values


def plain_values() -> st.SearchStrategy[Any]:
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    keys = st.text() | st.integers()
    return st.recursive(leaves, lambda inner: st.lists(inner).map(tuple) | st.dictionaries(keys, inner))


@given(plain_values())
def test_plain_values_return(value: Any) -> None:
    """Bit for bit, with nan and infinities, and whatever the keys of dictionaries are."""
    assert repr(through_json(value)) == repr(value)


def test_values_of_numpy_become_pythons() -> None:
    data = describe([np.float32(0.1), np.int64(2), np.bool_(True), np.str_("a"), (1, 2), {"kind": 3}])
    assert [type(x) for x in data[:4]] == [float, int, bool, str]
    assert data[4] == [1, 2] and through_json({"kind": 3, 4: np.inf}) == {"kind": 3, 4: math.inf}
    array = np.arange(3.0)
    assert describe({"x": array})["x"] is array and build({"x": array})["x"] is array


# Objects

OBJECTS = [
    *(cls() for cls in ENCODERS.values()),
    wflow.SoftmaxAttention(True, np.int64(2)),
    wflow.Attention("gaussian", ("local", np.int8(1)), True, 2, np.float32(0.5)),
    wflow.Attention("linear", mask=np.tri(3).T),
    wflow.FeedForward("tanh", 2, True),
    *SCHEMES.values(),
    RALSTON,
    Kernel(np.int64(3), outer_mass=1e-4),
    EntropicJKO(gamma=0.4, richardson=2, prox=entropy_prox),
    Adaptive(1e-3, dtau=0.1),
    Fixed(0.1, monotone=False),
    Replay((0.1, 0.2)),
    wflow.SaveAt(tau=[0.1, 1 / 3]),
    wflow.SaveAt(steps=3),
    initial.gaussian("he", [0.0, 1.0]),
    initial.product(theta=initial.ball(2.0), W_1=initial.gaussian(), W_2=initial.atoms([[1.0], [2.0]], [0.25, 0.75])),
    wflow.Entropy(0.1),
    wflow.PorousMedium(2.0),
]


@pytest.mark.parametrize("value", OBJECTS, ids=lambda value: repr(value)[:30])
def test_objects_return(value: Any) -> None:
    again = through_json(value)
    assert type(again) is type(value) and repr(describe(again)) == repr(describe(value))
    assert again == value or type(value) in (initial.atoms, initial.product)  # no equality


def test_every_kind_can_be_described_by_its_arguments() -> None:
    assert {*ENCODERS, *OBSERVERS, *SCHEMES} <= set(KINDS)
    for cls in KINDS.values():
        if isinstance(cls, type):
            assert "kind" not in inspect.signature(cls).parameters
    with pytest.raises(ValueError, match="two objects of kind 'attention'"):
        register(attention=wflow.FeedForward)


def test_what_is_of_ones_own_keeps_its_name() -> None:
    class Mine(wflow.FeedForward):
        pass

    for value in (Mine(), math.sin, lambda t: t, Mine, object(), 1j):
        data = describe(value)
        assert data["kind"] == "user"
        with pytest.raises(MissingObject, match="is of your own: pass it again"):
            build({"deep": [{"inside": data}]})
    assert describe(Mine())["name"].endswith("own_keeps_its_name.<locals>.Mine")
    assert describe(wflow.SoftmaxAttention) == {"kind": "user", "name": "wflow.encoders.attention.SoftmaxAttention"}
    data = describe(initial.gaussian(std=math.sqrt))
    assert data == {"kind": "gaussian", "std": {"kind": "user", "name": "math.sqrt"}, "mean": 0.0}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"kind": "wide-head"}, "'wide-head' is unknown: "),
        ({"kind": "attention", "colour": "red"}, "'attention' has no argument 'colour': "),
        ({"kind": "reference", "to": "energy"}, "there is no energy: "),
        ({"kind": "Fixed", "dtau": -1.0}, "dtau must be a positive finite number, got -1.0"),
    ],
)
def test_what_cannot_be_built_is_named(data: Any, message: str) -> None:
    with pytest.raises(wflow.InputError, match=message):
        build(data)


# Files


def transformer(**options: Any) -> wflow.TransformerObjective:
    arguments = {"attention": wflow.SoftmaxAttention(), "feedforward": wflow.FeedForward("tanh")} | options
    return wflow.TransformerObjective(DATA, weight_decay=0.1, layers=2, **arguments)


def particles(energy: Any) -> wflow.Particles:
    terms = getattr(energy, "terms", [energy])
    Q = next((term for term in terms if isinstance(term, wflow.TransformerObjective)), None)
    if Q is None:
        return wflow.Particles(x=np.linspace(-1, 2, 8)[:, None])
    return initial.gaussian(1.0).sample(Q, 6, 0)


def bell() -> wflow.Grid:
    return wflow.Grid(x=np.exp(-(((np.arange(80) + 0.5) / 5 - 8) ** 2)), box={"x": ((-8, 8),)})


def contents(path: Path) -> dict[str, bytes]:
    """Series and frames, bit for bit."""
    solution = wflow.load(path)
    out = {name: values.tobytes() for name, values in (solution.series | solution.observed).items()}
    for i in range(solution.n_frames):
        out |= {f"{name} {i}": x.tobytes() for name, x in solution.measure(i).blocks.items()}
    return out | {"frames": solution.frame_tau.tobytes()}


def check_resumed(folder: Path, energy: Any, rho0: Any, again: dict[str, Any] | None = None, **options: Any) -> None:
    """A run that is resumed with what must be passed again, and with nothing else, equals an uninterrupted one."""
    options = {"save": wflow.SaveAt(tau=[0.25]), "rng": 5} | options
    a, b = folder / "a.h5", folder / "b.h5"
    wflow.solve(energy, rho0, (0, 0.5), path=a, **options)
    wflow.solve(energy, rho0, (0, 0.25), path=b, **options)
    before = wflow.load(b)
    for name, value in (again or {}).items():
        without = {key: entry for key, entry in (again or {}).items() if key != name}
        with pytest.raises(wflow.InputError, match=f"is of your own: pass {name}="):
            wflow.resume(b, 0.5, **without)
        assert value is not None
    wflow.resume(b, 0.5, **(again or {}))
    assert contents(a) == contents(b)
    if not again:
        assert before.objective.value(rho0) == pytest.approx(energy.value(rho0), rel=1e-14)
        assert list(before.observers) == sorted(before.observers) == sorted(options.get("observe", {}))


def potential() -> wflow.PotentialEnergy:
    return wflow.PotentialEnergy(lambda x: 0.5 * np.sum(x**2, axis=1), lambda x: x)


def interaction() -> wflow.InteractionEnergy:
    return wflow.InteractionEnergy(lambda z: 0.5 * np.sum(z**2, axis=1), lambda z: z)


STORED = {
    "transformer": transformer,
    "entropy": lambda: transformer(entropy=0.2),
    "numpy": lambda: transformer(attention=wflow.SoftmaxAttention(True, np.int64(1)), entropy=np.float64(0.1)),
    "rk4-nodes": lambda: transformer(depth="rk4-nodes"),
    "attention": lambda: transformer(feedforward=None),
    "mobility": lambda: transformer(mobility={"W": 0.0, "theta": np.float64(2.0), "w.W_2": 3}),
    "mobility and noise": lambda: transformer(entropy=0.2, mobility={"V": 0.0, "W_2": 0.25}),
    "mobility in a sum": lambda: transformer(mobility={"w": 0.0}) + wflow.Entropy(0.2) + transformer(),
    "crossed": lambda: transformer(attention=wflow.FeedForward(), feedforward=wflow.SoftmaxAttention()),
    "example": lambda: transformer(attention=wflow.problems.ConstantEncoder(), feedforward=None),
    "sum": lambda: transformer() + wflow.Entropy(0.2),
    "two entropies": lambda: transformer(entropy=0.1) + wflow.Entropy(0.2) + transformer(),
    "blob": lambda: transformer() + wflow.BlobEnergy(wflow.Entropy(0.1), {"theta": 0.5, "w": 0.4}),
    "blob on cells": lambda: SumEnergy(
        transformer(attention=None),
        wflow.BlobEnergy(wflow.PorousMedium(2.0), 0.5, {"w": ((-4, 4.0), np.array([-4, 4]))}, {"w": [8, np.int64(9)]}),
    ),
}
OWN = {
    "potential": potential,
    "potential and entropy": lambda: potential() + wflow.Entropy(0.5),
    "interaction": lambda: interaction() + potential(),
}


def scheme_for(energy: Any) -> str:
    return "heun" if energy.internal is None else "langevin"


@pytest.mark.parametrize("name", [*STORED, *OWN])
@pytest.mark.parametrize("observed", ["nothing", "energy", "another"])
def test_energies_and_observers_resume(name: str, observed: str, tmp_path: Path) -> None:
    Q: Any = (STORED | OWN)[name]()
    first = next((term for term in getattr(Q, "terms", [Q]) if isinstance(term, wflow.TransformerObjective)), None)
    observe: dict[str, Any] = {}
    if observed == "energy":
        if first is not None:  # the energy, or the first term of a sum
            observe = {"errors": ErrorRate(first), "held out": Risk(first, HELDOUT), "some": Risk(first, DATA)}
        if Q.internal is not None:
            observe["virial"] = Virial(Q)
    elif observed == "another" and first is not None:
        other = build(describe(first) | {"entropy": 0.3})
        observe = {"other": Risk(other), "other errors": ErrorRate(other, HELDOUT), "virial": Virial(other)}
    again = {"energy": Q} if name in OWN else {}
    check_resumed(tmp_path, Q, particles(Q), again, scheme=scheme_for(Q), dtau=0.05, observe=observe)


@pytest.mark.parametrize("name", STORED)
def test_the_command_knows_every_energy(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Q, path = STORED[name](), tmp_path / "run.h5"
    first = getattr(Q, "terms", [Q])[0]
    observe = {"held out": Risk(first, HELDOUT)}
    wflow.solve(Q, particles(Q), (0, 0.1), scheme=scheme_for(Q), dtau=0.05, rng=1, path=path, observe=observe)
    assert main(["info", str(path)]) == 0
    out = capsys.readouterr().out
    assert (
        "some: tokens (4, 1, 2), 1 label\n" in out and "method              " + scheme_for(Q) + ", Fixed, dtau" in out
    )
    expected = {
        "sum": " + Entropy, sigma 0.2",
        "blob": " + BlobEnergy, internal Entropy, sigma 0.1, epsilon {'theta': 0.5",
    }
    assert expected.get(name, "weight_decay 0.1, ") in out
    figure = ["figure", "predictions", str(path), "--heldout", "-o", str(tmp_path / "predictions.png")]
    assert main(figure) == 0


CONTROLLERS: dict[str, dict[str, Any]] = {
    "adaptive": {"rtol": np.float32(1e-3), "atol": 1e-6},
    "first step": {"controller": Adaptive(1e-3, 1e-6, dtau=0.01)},
    "fixed": {"dtau": np.float32(0.0625)},
    "not monotone": {"controller": Fixed(np.float32(0.0625), monotone=False)},
    "replay": {"controller": Replay((0.03, 0.04, 0.05))},
    "replay of a list": {"controller": Replay([0.03, 0.04, 0.05])},  # type: ignore[arg-type]
    "long replay": {"controller": Replay(tuple(np.full(5000, 0.05)))},
    "save at steps": {"dtau": 0.0625, "save": wflow.SaveAt(steps=np.int64(2))},
    "save every": {"dtau": 0.0625, "save": wflow.SaveAt(every=np.float32(0.125))},
    "save often": {"dtau": 0.05, "save": wflow.SaveAt(tau=np.linspace(0.001, 0.25, 12))},
}


@pytest.mark.parametrize("name", CONTROLLERS)
@pytest.mark.parametrize("scheme", ["dopri5", "ralston"])
def test_controllers_and_saves_resume(name: str, scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where lists of numbers are too long for attributes."""
    monkeypatch.setattr("wflow.trajectory.layout.LONG", 8)
    Q = transformer()
    check_resumed(tmp_path, Q, particles(Q), scheme={"ralston": RALSTON}.get(scheme, scheme), **CONTROLLERS[name])


@pytest.mark.parametrize("name", SCHEMES)
def test_schemes_resume_with_a_stored_energy(name: str, tmp_path: Path) -> None:
    """Of a Transformer with particles of two parameters, or an internal energy alone on a grid."""
    scheme = SCHEMES[name]
    entropy = 0.0 if isinstance(None, scheme.internals) else 0.2
    Q: Any = wflow.TransformerObjective(DATA, feedforward=wflow.FeedForward("tanh"), layers=2, entropy=entropy)
    rho0: Any = initial.gaussian(1.0).sample(Q, 6, 0)
    if hasattr(scheme, "outer_mass"):
        rho0 = initial.gaussian(0.7).on_grid(Q, {"w": ((-6, 6), (-6, 6))}, 30)
    if name == "quantile-jko":
        Q, rho0 = wflow.Entropy(0.5), wflow.Particles(x=np.linspace(-1, 2, 8)[:, None])
    elif name == "entropic-jko":
        Q, rho0 = (
            wflow.Entropy(0.5),
            wflow.Grid(x=np.exp(-(((np.arange(80) + 0.5) / 5 - 8) ** 2)), box={"x": ((-8, 8),)}),
        )
    dtau = 0.01 if name == "muscl" else 0.125
    check_resumed(tmp_path, Q, rho0, scheme=name, dtau=dtau, observe={"v": Virial(Q)} if Q.internal else {})


class MyRungeKutta(RungeKutta):
    pass


class MyFixed(Fixed):
    pass


class MyRisk(Risk):
    pass


def my_prox(s: Any, potential: Any, weight: float, eps: float) -> Any:
    return entropy_prox(s, potential, weight, eps)


def test_what_is_of_ones_own_is_passed_again(tmp_path: Path) -> None:
    Q = transformer()
    mine = MyRungeKutta(**vars(RALSTON))
    observe = {"mine": MyRisk(Q), "risks": Risk(Q)}
    again = {"scheme": mine, "controller": MyFixed(0.05), "observe": {"mine": observe["mine"]}}
    options = {"scheme": mine, "controller": MyFixed(0.05), "observe": observe}
    check_resumed(tmp_path, Q, particles(Q), again, **options)
    before = wflow.load(tmp_path / "b.h5")
    assert list(before.observers) == ["risks"] and before.objective is not None
    assert before.settings["scheme"] == {"kind": "user", "name": f"{__name__}.MyRungeKutta"}
    with pytest.raises(wflow.InputError, match=r"does not observe \['nothing'\]; it observes \['mine', 'risks'\]"):
        wflow.resume(tmp_path / "b.h5", 1, observe={"nothing": MyRisk(Q)})


def test_a_scheme_with_a_function_of_ones_own_keeps_its_other_options(tmp_path: Path) -> None:
    scheme, Q = EntropicJKO(gamma=0.4, prox=my_prox, outer_mass=1e-3), wflow.Entropy(0.5)
    check_resumed(tmp_path, Q, bell(), {"scheme": scheme}, scheme=scheme, dtau=0.125)
    stored = wflow.load(tmp_path / "b.h5").settings["scheme"]
    assert stored["gamma"] == 0.4 and stored["prox"]["name"].endswith("my_prox")


def test_an_encoder_of_ones_own_keeps_observers(tmp_path: Path) -> None:
    """References to the energy, and to a term of it, hold when the energy is passed again."""

    class Mine(wflow.FeedForward):
        pass

    Q = transformer(feedforward=Mine("tanh"))
    for energy in (Q, Q + wflow.Entropy(0.1)):
        folder = tmp_path / type(energy).__name__
        folder.mkdir()
        observe = {"errors": ErrorRate(Q), "held out": Risk(Q, HELDOUT)}
        again = {"energy": energy}
        check_resumed(folder, energy, particles(Q), again, scheme=scheme_for(energy), dtau=0.05, observe=observe)
        solution = wflow.load(folder / "a.h5")
        assert solution.objective is None and not solution.observers and solution.heldout is None
    with pytest.raises(wflow.InputError, match=r"there is no energy.terms.0: pass observe="):
        wflow.resume(tmp_path / "SumEnergy" / "a.h5", 1, energy=Q, scheme="heun")


def test_what_replaces_is_stored(tmp_path: Path) -> None:
    Q, path = transformer(), tmp_path / "run.h5"
    wflow.solve(Q, particles(Q), (0, 0.1), dtau=0.05, path=path)
    solution = wflow.resume(path, 0.2, scheme="euler", controller=Fixed(0.1), energy=transformer(entropy=0.0))
    assert solution.settings["scheme"] == {"kind": "euler"} and solution.settings["controller"]["dtau"] == 0.1
    assert solution.settings["tau_range"] == (0.0, 0.2) or solution.settings["tau_range"] == [0.0, 0.2]


def test_many_observers_fit(tmp_path: Path) -> None:
    """Attributes of HDF5 have less than 64 kB."""
    Q, path = transformer(), tmp_path / "run.h5"
    observe = {f"risk number {i}": Risk(Q, HELDOUT) for i in range(400)}
    wflow.solve(Q, particles(Q), (0, 0.1), dtau=0.05, path=path, observe=observe)
    assert wflow.resume(path, 0.2).observed.keys() == observe.keys()


def test_a_run_is_resumed_again(tmp_path: Path) -> None:
    Q, path = potential() + wflow.Entropy(0.5), tmp_path / "run.h5"
    observe = {"virial": Virial(Q), "one": lambda rho: 1.0}
    wflow.solve(Q, particles(Q), (0, 0.1), scheme="langevin", dtau=0.05, rng=1, path=path, observe=observe)
    for end in (0.2, 0.3):
        Q = potential() + wflow.Entropy(0.5)
        solution = wflow.resume(path, end, Q, observe={"one": lambda rho: 1.0})
        assert solution.tau[-1] == end and solution.observers["virial"].objective is Q  # type: ignore[attr-defined]


def test_arrays_are_stored_once(tmp_path: Path) -> None:
    Q, path = transformer(), tmp_path / "run.h5"
    observe = {"a": Risk(Q, HELDOUT), "b": ErrorRate(Q, HELDOUT), "c": Risk(Q, DATA)}
    wflow.solve(Q, particles(Q), (0, 0.1), dtau=0.05, path=path, observe=observe)
    with open_trajectory(path) as file:
        names: list[str] = []
        file["problem"].visititems(lambda name, item: names.append(name) if hasattr(item, "shape") else None)
        stored = settings_of(file)
    places = [f"{place}/{name}" for place in ("energy/dataset", "observe/a/dataset") for name in ("labels", "tokens")]
    assert sorted(name for name in names if not name.endswith("readout")) == places
    assert stored["observe"]["c"]["dataset"]["tokens"].tobytes() == DATA.tokens.tobytes()
    assert wflow.load(path).heldout.name == "held out"


def test_a_new_process_knows_every_kind(tmp_path: Path) -> None:
    """Loading imports what a description may name."""
    Q = transformer(attention=wflow.problems.ConstantEncoder(), feedforward=None) + wflow.Entropy(0.1)
    path = tmp_path / "run.h5"
    wflow.solve(Q, particles(Q), (0, 0.1), scheme="langevin", dtau=0.05, path=path, rng=0, observe={"v": Virial(Q)})
    words = "import sys, wflow; s = wflow.load(sys.argv[1]); print(type(s.objective).__name__, *s.observers)"
    program = subprocess.run([sys.executable, "-c", words, path], check=True, capture_output=True, text=True)
    assert program.stdout.split() == ["SumEnergy", "v"]
