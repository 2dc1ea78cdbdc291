"""What every scheme has in common: names and options, tableaus, trials, schemes and controllers from outside."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wflow
from wflow import controllers
from wflow.controllers import Adaptive, Attempt, Controller, Fixed, Replay, Start, Verdict
from wflow.schemes import (
    BDF2,
    JKO,
    SCHEMES,
    Blob,
    EntropicJKO,
    FiniteVolume,
    GridScheme,
    Kernel,
    Langevin,
    Muscl,
    ParticleScheme,
    QuantileJKO,
    RungeKutta,
    Scheme,
    Trial,
    scheme_of,
)

Q = wflow.PotentialEnergy(lambda x: x[:, 0] ** 2 / 2, lambda x: x)
RHO = wflow.Particles(x=[[1.0], [-3.0]])
CLASSES = {name: type(scheme) for name, scheme in SCHEMES.items() if not isinstance(scheme, RungeKutta)}

#: For every first option, a value that is not its default.
VALUES = {
    "max_iter": 7,
    "cap": 0.25,
    "epsilon": 0.3,
    "max_inner": 9,
    "levels": 2,
    "extrapolate": False,
    "outer_mass": 1e-5,
    "gamma": 0.125,
}


# Names and options


@pytest.mark.parametrize("name", CLASSES)
def test_the_first_argument_is_the_first_option(name: str) -> None:
    first = fields(CLASSES[name])[0].name
    scheme = CLASSES[name](VALUES[first])
    assert getattr(scheme, first) == VALUES[first] != getattr(SCHEMES[name], first)
    assert scheme.name == name == CLASSES[name].name


@pytest.mark.parametrize("name", CLASSES)
def test_what_belongs_to_the_class_is_no_option(name: str) -> None:
    members = {
        "name",
        "order",
        "error_order",
        "stability",
        "restart",
        "internals",
        "measure",
        "monotone",
        "noisy",
        "dense",
    }
    assert members == set(Scheme.__annotations__)
    assert not members & {f.name for f in fields(CLASSES[name])}
    for member in members:
        with pytest.raises(TypeError, match=member):
            CLASSES[name](**{member: "other"})
        with pytest.raises(wflow.InputError, match=f"has no option '{member}'"):
            scheme_of(name, **{member: "other"})


@pytest.mark.parametrize("name", SCHEMES)
def test_every_scheme_is_a_scheme(name: str) -> None:
    scheme = SCHEMES[name]
    assert isinstance(scheme, Scheme) and scheme.name == name and scheme.order >= 1
    assert scheme.measure is (wflow.Grid if isinstance(scheme, GridScheme) else wflow.Particles)
    assert scheme.noisy is (name in ("langevin", "euler-maruyama")) and scheme.restart is False
    assert ParticleScheme is Scheme and issubclass(GridScheme, Scheme)


@pytest.mark.parametrize(("levels", "error_order"), [(1, None), (2, 2), (3, 3), (4, 4)])
def test_orders_that_depend_on_an_option(levels: int, error_order: int | None) -> None:
    scheme = replace(Kernel(), levels=levels)
    assert (scheme.order, scheme.error_order) == (levels, error_order)
    assert (FiniteVolume(False).order, FiniteVolume(False).error_order) == (1, None)
    assert (FiniteVolume().order, FiniteVolume().error_order) == (2, 2)


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda: FiniteVolume("no"), "extrapolate must be True or False, got 'no'"),
        (lambda: FiniteVolume(0), "extrapolate must be True or False, got 0"),
        (lambda: EntropicJKO(debias=1), "debias must be True or False, got 1"),
        (lambda: EntropicJKO(richardson=True), "richardson must be 1, 2 or 3, got True"),
        (lambda: EntropicJKO(richardson=2.0), "richardson must be 1, 2 or 3, got 2.0"),
        (lambda: EntropicJKO(prox=3), "prox must be a function"),
        (lambda: EntropicJKO("x"), "gamma must be a positive finite number, got 'x'"),
        (lambda: Kernel(True), "levels must be 1, 2, 3 or 4, got True"),
        (lambda: Kernel("kernel"), "levels must be 1, 2, 3 or 4, got 'kernel'"),
        (lambda: Kernel(outer_mass=-1), "outer_mass must be a non-negative finite number, got -1"),
        (lambda: Muscl("muscl"), "outer_mass must be a non-negative finite number, got 'muscl'"),
        (lambda: Blob("blob"), "epsilon must be a positive finite number, got 'blob'"),
        (lambda: Langevin("langevin"), "cap must be a positive finite number, got 'langevin'"),
        (lambda: QuantileJKO(2.0), "max_inner must be a positive integer, got 2.0"),
        (lambda: BDF2(5, "all"), "memory must be a positive integer, got 'all'"),
        (lambda: scheme_of("kernl"), "did you mean 'kernel'"),
        (lambda: scheme_of("kernel", level=2), "has no option 'level'; its options are levels, outer_mass; did you"),
        (lambda: scheme_of("rk4", order=3), "scheme 'rk4' has no option 'order'; its options are none"),
        (lambda: scheme_of(JKO(), max_itr=3), "did you mean 'max_iter'"),
        (lambda: scheme_of(RungeKutta), "scheme must be an object where its class needs arguments: .* 6 required"),
        (lambda: scheme_of(Scheme), "must be a name or have a method step, a name and an order"),
        (lambda: scheme_of(5), "must be a name or have a method step, a name and an order, got 5"),
        (lambda: Fixed(0.1, monotone="no"), "monotone must be True or False, got 'no'"),
        (lambda: Fixed(0.1, 1), "monotone must be True or False, got 1"),
        (lambda: Replay(()), "steps must be one or more positive numbers"),
        (lambda: Replay((0.1, 0.0)), "steps must be one or more positive numbers"),
        (lambda: Replay((0.1, np.inf)), "steps must be finite, got inf"),
        (lambda: Replay(0.1), r"steps must have shape \(steps,\)"),
        (lambda: wflow.SaveAt(steps=True), "steps must be a positive integer, got True"),
        (lambda: wflow.solve(Q, RHO, controller="adaptive"), "must be a wflow.controllers.Controller, got 'adaptive'"),
    ],
)
def test_bad_options(attempt: Callable[[], Any], message: str) -> None:
    with pytest.raises(wflow.InputError, match=message):
        attempt()


def test_options_belong_to_a_class_and_to_an_object_too() -> None:
    assert scheme_of(JKO, max_iter=5) == scheme_of(JKO(), max_iter=5) == scheme_of("jko", max_iter=5) == JKO(5)


def test_numbers_of_numpy_become_plain(tmp_path: Path) -> None:
    """So that they can be written to files."""
    scheme: Any = EntropicJKO(np.float32(0.25), np.bool_(False), np.int64(1), None, np.float32(0.5))
    types = {f.name: type(getattr(scheme, f.name)) for f in fields(scheme)}
    assert types == {"gamma": float, "debias": bool, "richardson": int, "prox": type(None), "outer_mass": float}
    assert type(Kernel(np.int8(3)).order) is int
    path = tmp_path / "run.h5"
    wflow.solve(
        Q,
        RHO,
        (0, 1),
        scheme=JKO(max_iter=np.int64(50)),  # type: ignore[arg-type]
        controller=Fixed(np.float32(0.25), np.bool_(True)),  # type: ignore[arg-type]
        save=wflow.SaveAt(every=np.float32(0.5)),  # type: ignore[arg-type]
        path=path,
    )
    config = json.loads(wflow.load(path).attributes["config"])
    assert config["controller"] == {"kind": "Fixed", "dtau": 0.25, "monotone": True}
    assert config["scheme"]["max_iter"] == 50 and config["save"]["every"] == 0.5


# Tableaus


HEUN: dict[str, Any] = {
    "name": "mine",
    "order": 2,
    "error_order": 2,
    "stability": None,
    "a": ((1,), (0.5, 0.5)),
    "b_hat": (1, 0, 0),
}


def test_a_tableau_is_stored_as_plain_numbers() -> None:
    scheme = RungeKutta(
        **HEUN | {"a": [np.array([1]), [0.5, 0.5]], "b_hat": np.array([1.0, 0, 0]), "order": np.int8(2)}
    )
    assert scheme == RungeKutta(**HEUN) and hash(scheme) == hash(RungeKutta(**HEUN))
    assert type(scheme.order) is int and scheme.a == ((1.0,), (0.5, 0.5)) and scheme.b == (0.5, 0.5, 0.0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": 3}, "name must be a word"),
        ({"order": 0}, "order must be a positive integer, got 0"),
        ({"order": True}, "order must be a positive integer, got True"),
        ({"error_order": None}, "error_order must be a positive integer, got None"),
        ({"stability": -2}, "stability must be a positive finite number, got -2"),
        ({"a": ()}, r"rows of 1, 2, \.\.\. numbers"),
        ({"a": 1.0}, "a tuple of rows"),
        ({"a": ((1,), (0.5, 0.5, 0))}, r"got lengths \[1, 3, 3\]"),
        ({"a": ((1,), (0.5,)), "b_hat": (1, 0)}, r"got lengths \[1, 1, 2\]"),
        ({"b_hat": (1, 0)}, r"got lengths \[1, 2, 2\]"),
        ({"b_hat": (1, 0, np.nan)}, "must be finite"),
        ({"b_hat": "heun"}, "must be an array of real numbers"),
        ({"a": ((0,), (0.5, 0.5))}, "the first not 0"),
        ({"a": ((1,), (0.5, 0.6))}, "'mine' misses a condition of order 1: 1 is exact, b gives 1.1"),
        ({"a": ((0.75,), (0.5, 0.5))}, "condition of order 2: 0.5 is exact, b gives 0.375"),
        ({"order": 3}, "condition of order 3"),
        ({"b_hat": (0.9, 0, 0)}, "condition of order 1: 1 is exact, b gives 1 and b_hat 0.9"),
        ({"error_order": 3}, "condition of order 2: 0.5 is exact, b gives 0.5 and b_hat 0"),
    ],
)
def test_a_wrong_tableau_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(wflow.InputError, match=message):
        RungeKutta(**HEUN | wrong)


def test_conditions_with_two_levels_of_stages_are_checked() -> None:
    """``b A c = 1/6``: a third-order quadrature rule with wrong inner stages."""
    rows = ((0.5,), (-1.0, 2.0), (1 / 6, 2 / 3, 1 / 6))
    right: dict[str, Any] = {"order": 3, "error_order": 2, "stability": 2.5, "b_hat": (0, 1, 0, 0)}
    assert RungeKutta("kutta3", a=rows, **right).order == 3
    with pytest.raises(wflow.InputError, match=r"condition of order 3: 0\.1666"):
        RungeKutta("kutta3", a=((0.5,), (0.5, 0.5), rows[2]), **right)


@pytest.mark.parametrize("name", [name for name in SCHEMES if name not in CLASSES])
def test_a_wrong_digit_of_a_registered_tableau_is_refused(name: str) -> None:
    scheme = SCHEMES[name]
    for i in range(len(scheme.a[-1])):
        row = tuple(b + 1e-6 * (j == i) for j, b in enumerate(scheme.a[-1]))
        with pytest.raises(wflow.InputError, match="condition of order 1"):
            replace(scheme, a=(*scheme.a[:-1], row))


def test_a_tableau_without_a_cap() -> None:
    """Steps then grow with the error estimate alone, until Q rises or the error does."""
    free, capped = (replace(SCHEMES["euler"], stability=c) for c in (None, 0.125))
    longest = [wflow.solve(Q, RHO, (0, 9), scheme=s, rtol=0.1).series["dtau"].max() for s in (free, capped)]
    assert longest[1] <= 0.125 * (1 + 1e-9) < longest[0]


# Schemes from outside


class MyEuler(Scheme):
    name, order = "my-euler", 1

    def step(self, flow: Any, point: Any, h: float) -> Trial:
        return Trial(h, flow.evaluate(point.x + h * point.velocity))


class Stranger:
    """An object with the members of a scheme, and with one of its own."""

    name, order, error_order, stability = "stranger", 1, 2, 0.25
    steps = 0

    def step(self, flow: Any, point: Any, h: float) -> Trial:
        self.steps += 1
        new = flow.evaluate(point.x + h * point.velocity)
        error = 0.5 * h * flow.norm(new.velocity - point.velocity)
        return Trial(h, new, error, lipschitz=1.0)


@pytest.mark.parametrize("scheme", [MyEuler, MyEuler(), Stranger, Stranger()])
def test_a_scheme_from_outside_steps_as_euler(scheme: Any) -> None:
    mine, euler = (wflow.solve(Q, RHO, (0, 1), scheme=s, dtau=0.125).measure(-1).x for s in (scheme, "euler"))
    assert np.array_equal(mine, euler)


def test_a_stranger_adapts_its_steps_and_keeps_its_state(tmp_path: Path) -> None:
    stranger = Stranger()
    answer = wflow.solve(Q, RHO, (0, 2), scheme=stranger, rtol=1.0, path=tmp_path / "run.h5")
    assert stranger.steps == answer.stats["steps"] + answer.stats["rejected"]
    assert answer.series["dtau"].max() == 0.25
    with pytest.raises(wflow.InputError, match="Stranger is of your own: pass scheme="):
        wflow.resume(tmp_path / "run.h5", 3.0, energy=Q)
    assert wflow.resume(tmp_path / "run.h5", 3.0, energy=Q, scheme=stranger).tau[-1] == 3.0


def test_a_scheme_without_an_estimate_needs_fixed_steps() -> None:
    with pytest.raises(wflow.InputError, match="scheme 'my-euler' has no error estimate: pass dtau"):
        wflow.solve(Q, RHO, scheme=MyEuler)
    with pytest.raises(wflow.InputError, match="a name and an order"):
        wflow.solve(Q, RHO, scheme=type("Nameless", (), {"step": MyEuler.step}))
    with pytest.raises(wflow.InputError, match=r"moves a measure of type wflow\.Particles"):
        wflow.solve(Q, wflow.Grid(x=np.ones(8), box={"x": ((-1, 1),)}), scheme=MyEuler, dtau=0.1)


# Trials and controllers


def test_trials_take_the_values_of_their_scheme() -> None:
    flow = SCHEMES["euler"].flow(Q, RHO)
    point = flow.evaluate(flow.flat(RHO.blocks))
    trial = SCHEMES["bs3"].propose(flow, point, 0.5)
    assert (trial.order, trial.error_order, trial.stability, trial.restart) == (3, 3, 2.5, False)

    class Changing(MyEuler):
        error_order, stability, restart = 4, 1.5, False

        def step(self, flow: Any, point: Any, h: float) -> Trial:
            return replace(super().step(flow, point, h), order=7, stability=None, restart=True)

    trial = Changing().propose(flow, point, 0.5)
    assert (trial.order, trial.error_order, trial.stability, trial.restart) == (7, 4, None, True)


class Listening(Controller):
    """Fixed steps, and a record of what the controller was told."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def start(self, start: Start) -> tuple[float, float]:
        self.heard.append(start)
        return 0.5, 3.0

    def judge(self, attempt: Attempt, memory: float) -> Verdict:
        self.heard.append(attempt)
        return Verdict(True, "", attempt.h, memory + 1)


def test_controllers_see_numbers() -> None:
    """Of two particles at 1 and -3 in the potential x^2/2, under Heun's method."""
    listening = Listening()
    answer = wflow.solve(Q, RHO, (0, 1), scheme="heun", controller=listening)
    start, first, _ = listening.heard
    size = np.sqrt(5.0)  # of (1 + 9)/2
    assert start == Start("heun", 2, pytest.approx(size), pytest.approx(size))
    factor = 1 - 0.5 + 0.125
    assert first == Attempt(
        value=2.5,
        new_value=pytest.approx(2.5 * factor**2),
        norm=pytest.approx(size),
        new_norm=pytest.approx(factor * size),
        is_finite=True,
        rose=False,
        h=0.5,
        error=pytest.approx(0.125 * size),  # |heun - euler|
        lipschitz=pytest.approx(1.0),
        failure="",
        order=2,
        error_order=2,
        stability=2.0,
        restart=False,
    )
    for told in listening.heard:
        assert all(type(getattr(told, f.name)) in (float, int, bool, str) for f in fields(told))
    assert answer.stats["steps"] == 2


def test_controllers_know_nothing_of_schemes() -> None:
    tree = ast.parse(inspect.getsource(controllers))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {m for m in modules if m and m.startswith("wflow")} == {"wflow.checks", "wflow.errors", "wflow.plain"}


ATTEMPT = Attempt(
    value=2.0,
    new_value=1.5,
    norm=3.0,
    new_norm=2.0,
    is_finite=True,
    rose=False,
    h=0.25,
    error=0.015,
    lipschitz=0.0,
    failure="",
    order=2,
    error_order=2,
    stability=2.0,
    restart=False,
)


def test_verdicts_of_adaptive_steps() -> None:
    """Tolerance 0.01 * 3 + 0: half of it is used. With q = 2 the factor is 0.9 * 2^0.35 * memory^0.2."""
    judge = Adaptive(0.01, 0.0).judge
    free = 0.25 * 0.9 * 2**0.35
    assert judge(ATTEMPT, 1.0) == Verdict(True, "", pytest.approx(free), pytest.approx(0.5))
    assert judge(ATTEMPT, 0.5).h == pytest.approx(free * 0.5**0.2)
    assert judge(replace(ATTEMPT, restart=True), 0.5).h == pytest.approx(free)
    assert judge(replace(ATTEMPT, lipschitz=16.0), 1.0).h == 0.125
    assert judge(replace(ATTEMPT, lipschitz=16.0, stability=None), 1.0).h == pytest.approx(free)
    assert judge(replace(ATTEMPT, lipschitz=16.0, stability=1.0), 1.0).h == 0.0625
    assert judge(replace(ATTEMPT, error_order=4), 1.0).h == pytest.approx(0.25 * 0.9 * 2**0.175)
    assert judge(replace(ATTEMPT, error=0.12), 0.7) == Verdict(
        False, "has 4 times the tolerated error", pytest.approx(0.25 * 0.45), 1.0
    )
    assert judge(replace(ATTEMPT, rose=True), 0.7) == Verdict(False, "raised Q from 2 to 1.5", 0.125, 1.0)
    assert judge(replace(ATTEMPT, is_finite=False), 0.7) == Verdict(False, "is not finite", 0.05, 1.0)
    assert judge(replace(ATTEMPT, failure="did not converge"), 0.7) == Verdict(False, "did not converge", 0.125, 1.0)


def test_first_steps() -> None:
    adaptive = Adaptive()
    assert adaptive.start(Start("heun", 2, size=6.0, speed=3.0)) == (0.02, 1.0)
    assert adaptive.start(Start("heun", 2, size=0.0, speed=4.0)) == (0.0025, 1.0)
    assert adaptive.start(Start("heun", 2, size=6.0, speed=0.0)) == (1.0, 1.0)
    assert Adaptive(dtau=0.3).start(Start("heun", 2, size=6.0, speed=3.0)) == (0.3, 1.0)
    assert Fixed(0.4).start(Start("heun", None, size=6.0, speed=3.0)) == (0.4, 1.0)


def test_verdicts_of_fixed_and_replayed_steps() -> None:
    assert Fixed(0.5).judge(ATTEMPT, 1.0) == Verdict(True, "", 0.5, 1.0)
    rise = replace(ATTEMPT, rose=True, new_value=2.5)
    assert Fixed(0.5).judge(rise, 1.0) == Verdict(False, "raised Q from 2 to 2.5", 0.0, 1.0)
    assert Fixed(0.5, False).judge(rise, 1.0).accepted
    assert Fixed(0.5, False).judge(replace(rise, is_finite=False), 1.0) == Verdict(False, "is not finite", 0.0, 1.0)
    replay = Replay((0.5, 0.25, 0.125))
    assert replay.start(Start("euler", 2, 1.0, 1.0)) == (0.5, 0.0)
    assert [replay.judge(replace(rise, h=h), m) for m, h in enumerate(replay.steps)] == [
        Verdict(True, "", 0.25, 1.0),
        Verdict(True, "", 0.125, 2.0),
        Verdict(True, "", 0.125, 2.0),
    ]
    assert replay.judge(replace(ATTEMPT, failure="stopped"), 1.0) == Verdict(False, "stopped", 0.125, 1.0)
    assert not Replay((0.25,), monotone=True).judge(rise, 0.0).accepted
    parts = [replay.judge(replace(rise, h=0.125), m) for m in (0.0, 0.25, 0.5, 0.75)]  # of the step of 0.5
    assert [(part.h, part.memory) for part in parts] == [(0.375, 0.25), (0.25, 0.5), (0.125, 0.75), (0.25, 1.0)]
    assert Replay(np.array([0.5, 0.25])).steps == (0.5, 0.25)  # type: ignore[arg-type]


def test_a_replay_repeats_a_run() -> None:
    adaptive = wflow.solve(Q, RHO, (0, 2), scheme="bs3", rtol=1e-3)
    steps = tuple(adaptive.series["dtau"][1:])
    again = wflow.solve(Q, RHO, (0, 2), scheme="bs3", controller=Replay(steps))
    np.testing.assert_allclose(again.series["dtau"], adaptive.series["dtau"], rtol=1e-12)
    np.testing.assert_allclose(again.measure(-1).x, adaptive.measure(-1).x, rtol=1e-12)


def test_only_controllers_that_read_errors_pay_for_them() -> None:
    """JKO compares with BDF2 where an error is needed."""
    fixed, adaptive = (
        wflow.solve(Q, RHO, (0, 0.1), scheme=JKO, controller=c).stats["evaluations"]
        for c in (Fixed(0.1), Adaptive(1.0, dtau=0.1))
    )
    assert Fixed.need_error is Replay.need_error is False and Adaptive.need_error is True
    assert fixed < adaptive
