"""Every kind of argument at every door: what is no such argument is refused in words, what is one in another guise is
taken as what it is."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wflow
from wflow import (
    Attention,
    Dataset,
    FeedForward,
    Grid,
    InputError,
    Particles,
    SoftmaxAttention,
    TransformerObjective,
    figures,
    initial,
    problems,
    runfile,
    schemes,
)
from wflow.check import Source, error_bars
from wflow.controllers import Adaptive, Fixed, Replay
from wflow.datasets import diabetes, digits, in_context_regression
from wflow.distances import gaussian_w2
from wflow.energies import Energy, Evaluation, SumEnergy
from wflow.observers import ErrorRate, Risk, Virial
from wflow.plain import build, describe

Door = Callable[[Any], Any]

DATA = Dataset(np.linspace(-1, 1, 12).reshape(2, 2, 3), [1.0, -1.0])
Q = TransformerObjective(DATA, feedforward=FeedForward("tanh"), layers=2)
FLAT = TransformerObjective(Dataset(np.ones((1, 1, 1)), [1.0]), feedforward=FeedForward(), layers=1)
RHO = initial.gaussian(0.5).sample(Q, 3, 0)
V = wflow.PotentialEnergy(lambda x: np.sum(x**2, axis=1) / 2, lambda x: x)
POINT = Particles(x=[[1.0, 2.0]])
CELLS = Grid(x=np.ones(4), box={"x": ((-1, 1),)})
RUN = wflow.solve(V, POINT, (0, 1), dtau=0.5)
GRID_RUN = wflow.solve(V, Grid(x=[0, 0, 1, 1, 0, 0], box={"x": ((-3, 3),)}), (0, 0.01), scheme="muscl")
PROBLEM = problems.pure_decay(layers=1, width=2)


def solve(**options: Any) -> Any:
    return wflow.solve(V, POINT, **{"tau_range": (0, 0.5), "dtau": 0.25} | options)


def adaptive(**options: Any) -> Any:
    return solve(dtau=None, **options)


#: What takes a positive number; 0.5 is good everywhere.
NUMBERS: dict[str, Door] = {
    "Fixed dtau": Fixed,
    "Adaptive rtol": lambda v: Adaptive(rtol=v),
    "Adaptive atol": lambda v: Adaptive(atol=v),
    "Adaptive dtau": lambda v: Adaptive(dtau=np.nan if v is None else v),
    "Replay steps": lambda v: Replay([v]),
    "SaveAt every": lambda v: wflow.SaveAt(every=np.nan if v is None else v),
    "solve dtau": lambda v: solve(dtau=np.nan if v is None else v),
    "solve rtol": lambda v: adaptive(rtol=v),
    "solve atol": lambda v: adaptive(atol=v),
    "solve tol": lambda v: solve(tol=v),
    "solve max_seconds": lambda v: solve(max_seconds=np.nan if v is None else v),
    "solve tau_range": lambda v: solve(tau_range=(0, v)),
    "Entropy": wflow.Entropy,
    "BlobEnergy epsilon": lambda v: wflow.BlobEnergy(wflow.Entropy(1.0), v),
    "BlobEnergy epsilon by block": lambda v: wflow.BlobEnergy(wflow.Entropy(1.0), {"x": v}),
    "weight_decay": lambda v: TransformerObjective(DATA, SoftmaxAttention(), weight_decay=v),
    "entropy": lambda v: TransformerObjective(DATA, SoftmaxAttention(), entropy=v),
    "gaussian std": initial.gaussian,
    "gaussian std of t": lambda v: initial.gaussian(lambda t: v).sample(Q, 2, 0),
    "scale": lambda v: Attention(scale=v),
    "ball radius": initial.ball,
    "ball radius of t": lambda v: initial.ball(lambda t: v).sample(Q, 2, 0),
    "Blob": lambda v: schemes.Blob(np.nan if v is None else v),
    "EulerMaruyama cap": schemes.EulerMaruyama,
    "EntropicJKO gamma": lambda v: schemes.EntropicJKO(gamma=np.nan if v is None else v),
    "outer_mass": lambda v: schemes.FiniteVolume(outer_mass=v),
    "split": lambda v: DATA.split(v, 0),
    "heldout": lambda v: digits(heldout=np.nan if v is None else v),
    "noise": lambda v: in_context_regression(2, 1, 1, 0, noise=v),
    "tau of a problem": lambda v: PROBLEM.measure(v),
    "tau of predictions": lambda v: PROBLEM.value(v),
    "offset": lambda v: problems.sine_circle(width=4, offset=v),
    "an end of a box": lambda v: Grid(x=np.ones(4), box={"x": ((-1, v),)}),
}
NOT_NUMBERS: dict[str, Any] = {
    "a difference of times": np.timedelta64(3),
    "a boolean": True,
    "numpy's boolean": np.True_,
    "none": None,
    "text": "0.5",
    "bytes": b"0.5",
    "nan": np.nan,
    "infinity": math.inf,
    "beyond floats": 10**400,
    "a complex number": 0.5 + 0j,
    "a list": [0.5],
    "an array": np.array([0.5]),
    "a masked number": np.ma.masked,
    "a masked array without axes": np.ma.array(0.5, mask=True),
    "a date": np.datetime64("2020-01-01"),
    "a time": np.timedelta64(1, "s"),
    "an object": object(),
}
NUMBER_AS = [np.float64(0.5), np.float32(0.5), np.float16(0.5), np.longdouble(0.5), np.array(0.5), np.array(0.5, "f4")]

#: What takes a positive integer; 2 is good everywhere.
COUNTS: dict[str, Door] = {
    "hidden": lambda v: FeedForward(hidden=v),
    "rank": lambda v: SoftmaxAttention(True, rank=0 if v is None else v),
    "window of a mask": lambda v: Attention(mask=("local", v)),
    "layers": lambda v: TransformerObjective(DATA, SoftmaxAttention(), layers=v),
    "M": lambda v: initial.gaussian().sample(Q, v, 0),
    "M by block": lambda v: initial.gaussian().sample(Q, {"w": v}, 0),
    "n_prompts": lambda v: in_context_regression(v, 1, 1, 0),
    "dimension": lambda v: in_context_regression(1, v, 1, 0),
    "context": lambda v: in_context_regression(1, 1, v, 0),
    "width of a teacher": lambda v: in_context_regression(1, 1, 1, 0, teacher="tanh", width=v),
    "patients": lambda v: diabetes(v, 2, 0),
    "classes": lambda v: digits((1, v)),
    "patch": lambda v: digits(patch=(2, v)),
    "width of a problem": lambda v: problems.two_layer(width=v),
    "width of a circle": lambda v: problems.sine_circle(width=v),
    "layers of a problem": lambda v: problems.pure_decay(layers=v),
    "SaveAt steps": lambda v: wflow.SaveAt(steps=0 if v is None else v),
    "Kernel levels": schemes.Kernel,
    "JKO max_iter": schemes.JKO,
    "JKO memory": lambda v: schemes.JKO(memory=v),
    "QuantileJKO": schemes.QuantileJKO,
    "richardson": lambda v: schemes.EntropicJKO(richardson=v),
    "order of a moment": lambda v: POINT.moment(v),
    "seed of a law": lambda v: initial.gaussian().sample(Q, 2, v),
    "seed of prompts": lambda v: in_context_regression(2, 1, 1, v),
    "seed of patients": lambda v: diabetes(2, 2, v),
    "seed of digits": lambda v: digits(heldout=0.5, rng=v),
    "seed of a split": lambda v: DATA.split(0.5, v),
    "seed of a problem": lambda v: problems.constant_encoders(rng=v),
    "seed of noise": lambda v: wflow.solve(
        V + wflow.Entropy(0.5), POINT, (0, 0.5), scheme="langevin", dtau=0.25, rng=-1 if v is None else v
    ),
    "a frame": lambda v: solve(save=wflow.SaveAt(every=0.125)).measure(v),
    "an index": lambda v: in_context_regression(3, 1, 1, 0).subset([0, v]),
}
NOT_COUNTS: dict[str, Any] = {name: v for name, v in NOT_NUMBERS.items() if name != "beyond floats"} | {
    "a float": 2.0,
    "minus one hundred": -100,
    "numpy's float": np.float64(2),
}
COUNT_AS = [np.int64(2), np.int8(2), np.uint16(2), np.array(2)]

FLAGS: dict[str, Door] = {
    "factored": lambda v: Attention(factored=v),
    "bias": lambda v: FeedForward(bias=v),
    "monotone": lambda v: Fixed(0.5, v),
    "positions": lambda v: in_context_regression(2, 1, 1, 0, positions=v),
    "debias": lambda v: schemes.EntropicJKO(debias=v),
    "extrapolate": lambda v: schemes.FiniteVolume(extrapolate=v),
    "overwrite": lambda v: solve(overwrite=v),
    "progress": lambda v: solve(progress=0 if v is None else v),
    "limit": lambda v: problems.single_token(layers=2, width=2, depth="midpoint", limit=v),
    "defect": lambda v: figures.energy(RUN, defect=v),
}
NOT_FLAGS = {"none": None, "one": 1, "zero": 0.0, "text": "True", "an array": np.array([True]), "masked": np.ma.masked}

TOKENS, LABELS = np.ones((2, 2, 3)), np.array([1.0, -1.0])
MASSES = np.array([0.25, 0.75])
#: What takes an array of real numbers, and one that is good.
ARRAYS: dict[str, tuple[Door, Any]] = {
    "tokens": (lambda v: Dataset(v, LABELS), TOKENS),
    "labels": (lambda v: Dataset(TOKENS, v), LABELS),
    "labels with two axes": (lambda v: Dataset(TOKENS, v), LABELS[:, None]),
    "readout": (lambda v: Dataset(TOKENS, LABELS, v), TOKENS[:1]),
    "predictions": (DATA.risk, LABELS),
    "predictions for an error rate": (DATA.error_rate, LABELS),
    "tokens to read": (DATA.read, TOKENS),
    "tokens to predict": (lambda v: Q.predict(RHO, v), TOKENS),
    "particles": (lambda v: Particles(x=v), TOKENS),
    "particles of one slice": (lambda v: Particles(x=v), TOKENS[0]),
    "weights": (lambda v: Particles(x=TOKENS[0], weights={"x": v}), MASSES[None]),
    "t": (lambda v: Particles(x=TOKENS, t=v), [0.25, 0.75]),
    "depth_weights": (lambda v: Particles(x=TOKENS, depth_weights=v), MASSES),
    "depth_weights of a grid": (
        lambda v: Grid(x=np.ones((2, 4)), box={"x": ((0, 1),)}, depth_weights=v),
        MASSES,
    ),
    "densities": (lambda v: Grid(x=v, box={"x": ((0, 1),)}), np.array([1.0, 2.0, 1.0])),
    "depth nodes": (lambda v: Particles(x=TOKENS).at(v, MASSES), [0.25, 0.5]),
    "atoms": (initial.atoms, TOKENS[0]),
    "atoms of t": (lambda v: initial.atoms(lambda t: v).sample(Q, 2, 0), np.ones((2, 4))),
    "masses of atoms": (lambda v: initial.atoms(TOKENS[0], v), MASSES),
    "mean": (lambda v: initial.gaussian(1.0, v), np.array([1.0, 2.0])),
    "mean of t": (lambda v: initial.gaussian(1.0, lambda t: v).sample(Q, 2, 0), np.arange(4.0)),
    "steps": (Replay, np.array([0.5, 0.25])),
    "times": (lambda v: wflow.SaveAt(tau=v), np.array([0.5, 1.0])),
    "a row of a tableau": (
        lambda v: schemes.RungeKutta("ralston", 2, 2, 2.0, a=((2 / 3,), v), b_hat=(1.0, 0.0, 0.0)),
        (0.25, 0.75),
    ),
    "points of a potential": (lambda v: V.first_variation(POINT, {"x": v}), np.ones((1, 2, 2))),
    "points of an objective": (lambda v: Q.first_variation(RHO, {"w": v}), np.ones((2, 3, 4))),
    "points of a blob": (
        lambda v: wflow.BlobEnergy(wflow.Entropy(1.0), 0.5).first_variation(POINT, {"x": v}),
        np.ones((1, 2, 2)),
    ),
    "a mean of a normal law": (lambda v: gaussian_w2(v, np.eye(2), v, np.eye(2)), np.ones(2)),
    "a covariance": (lambda v: gaussian_w2(LABELS, v, LABELS, v), np.eye(2)),
    "tokens of an encoder": (lambda v: FeedForward().mean(v, np.ones((2, 4)), MASSES), TOKENS),
    "parameters of an encoder": (lambda v: FeedForward().mean(TOKENS, v, MASSES), np.ones((2, 4))),
    "weights of an encoder": (lambda v: FeedForward().mean(TOKENS, np.ones((2, 4)), v), MASSES),
    "a cotangent": (lambda v: SoftmaxAttention().vjp(TOKENS, np.ones((2, 8)), MASSES, v), TOKENS),
}


def masked(good: np.ndarray) -> Any:
    return np.ma.masked_array(good, mask=np.arange(good.size).reshape(good.shape) == good.size - 1)


def ragged(good: np.ndarray) -> Any:
    return [*good.tolist(), [[1.0]]]


def last_is(good: np.ndarray, value: Any) -> Any:
    """A nested list whose last number is something else."""
    rows = entries = good.tolist()
    while isinstance(entries[-1], list):
        entries = entries[-1]
    entries[-1] = value
    return rows


#: Arrays that are none of real numbers, from a good one.
NOT_ARRAYS: dict[str, Callable[[np.ndarray], Any]] = {
    "masked": masked,
    "masked in a list": lambda good: list(masked(good)) if good.ndim > 1 else last_is(good, np.ma.masked),
    "complex": lambda good: good + 0j,
    "objects": lambda good: good.astype(object),
    "none in a list": lambda good: last_is(good, None),
    "text": lambda good: good.astype(str),
    "text in a list": lambda good: last_is(good, "1.0"),
    "bytes": lambda good: good.astype("S"),
    "booleans": lambda good: good.astype(bool),
    "a boolean in a list": lambda good: last_is(good, True),
    "dates": lambda good: good.astype("M8[s]"),
    "times": lambda good: good.astype("m8[s]"),
    "rows of several lengths": ragged,
    "another number of axes": lambda good: good[None, None, None],
    "nothing": lambda good: None,
    "a dictionary": lambda good: {"x": good},
    "a set": lambda good: {1.0, 2.0},
    "a generator": lambda good: (x for x in good),
    "an array that fails": lambda good: Failing(),
}
#: The same numbers in other guises.
ARRAY_AS: dict[str, Callable[[np.ndarray], Any]] = {
    "a list": lambda good: good.tolist(),
    "nested tuples": lambda good: tuple(map(tuple, good)) if good.ndim == 2 else tuple(good),
    "float32": lambda good: good.astype(np.float32),
    "longdouble": lambda good: good.astype(np.longdouble),
    "backwards in memory": lambda good: good[::-1].copy()[::-1],
    "columns first": np.asfortranarray,
    "the other byte order": lambda good: good.astype(">f8"),
    "read only": lambda good: np.broadcast_to(good, good.shape),
    "masked without a mask": np.ma.asarray,
    "an object with an array": lambda good: Foreign(good),
    "scalars of numpy": lambda good: [np.float32(x) for x in good] if good.ndim == 1 else list(good),
}


class Foreign:
    """What other libraries have in place of arrays."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.array.astype(dtype or self.array.dtype)


class Failing(Foreign):
    def __init__(self) -> None:
        pass

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        raise RuntimeError("this tensor needs grad")


def refused(door: Door, value: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
        warnings.filterwarnings("ignore", message="Warning: converting a masked element to nan")
        with pytest.raises(InputError) as caught:
            door(value)
    assert "\n" not in str(caught.value)


def numbers(value: Any) -> Any:
    """All numbers of an answer, exactly."""
    if isinstance(value, wflow.Solution):
        return numbers([value.tau, value.energy, value.measure(-1)])
    if isinstance(value, (Particles, Grid)):
        return [
            [x.astype(float).tolist(), value.weights(name).tolist(), value.t.tolist()]
            for name, x in value.blocks.items()
        ]
    if isinstance(value, Mapping):
        return {name: numbers(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [numbers(entry) for entry in value]
    if isinstance(value, problems.Problem):
        return numbers([value.rho0, value.measure(0.5), describe(value.energy)])
    if isinstance(value, np.ndarray):
        return value.astype(float).tolist()
    data = describe(value)
    return numbers(data) if isinstance(data, (dict, list)) else json.loads(json.dumps(data))


def close(a: Any, b: Any) -> None:
    """Equal, to the precision of float32."""
    if isinstance(a, dict):
        a, b = list(a.values()), list(b.values())
    if isinstance(a, (str, bool, type(None))):
        assert a == b
    elif isinstance(a, list) and a and not isinstance(a[0], (int, float)):
        assert len(a) == len(b)
        for x, y in zip(a, b):
            close(x, y)
    else:
        assert a == pytest.approx(b, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("door", NUMBERS)
def test_what_is_no_number_is_refused(door: str) -> None:
    for value in NOT_NUMBERS.values():
        refused(NUMBERS[door], value)


@pytest.mark.parametrize("door", NUMBERS)
def test_numbers_of_numpy_are_numbers(door: str) -> None:
    wanted = numbers(NUMBERS[door](0.5))
    for value in NUMBER_AS:
        assert numbers(NUMBERS[door](value)) == wanted, repr(value)


@pytest.mark.parametrize("door", COUNTS)
def test_what_is_no_integer_is_refused(door: str) -> None:
    for value in NOT_COUNTS.values():
        refused(COUNTS[door], value)


@pytest.mark.parametrize("door", COUNTS)
def test_integers_of_numpy_are_integers(door: str) -> None:
    wanted = numbers(COUNTS[door](2))
    for value in COUNT_AS:
        assert numbers(COUNTS[door](value)) == wanted, repr(value)


@pytest.mark.parametrize("door", FLAGS)
def test_flags_are_true_or_false(door: str) -> None:
    for value in NOT_FLAGS.values():
        refused(FLAGS[door], value)
    if door != "defect":
        for flag, value in itertools.product((True, False), (np.bool_, np.array)):
            assert numbers(FLAGS[door](value(flag))) == numbers(FLAGS[door](flag))


#: Arguments that may be left out.
OPTIONAL = ("tokens to predict", "t", "depth_weights", "depth_weights of a grid", "masses of atoms")


@pytest.mark.parametrize("door", ARRAYS)
def test_what_is_no_array_of_real_numbers_is_refused(door: str) -> None:
    for name, kind in NOT_ARRAYS.items():
        if name != "nothing" or door not in OPTIONAL:
            refused(ARRAYS[door][0], kind(np.asarray(ARRAYS[door][1])))


@pytest.mark.parametrize("door", ARRAYS)
def test_arrays_in_other_guises_are_the_same(door: str) -> None:
    make, good = ARRAYS[door][0], np.asarray(ARRAYS[door][1])
    wanted = numbers(make(good))
    for guise in ARRAY_AS.values():
        close(numbers(make(guise(good))), wanted)


# Shapes


@pytest.mark.parametrize("labels", [(5,), (5, 1), (5, 3)])
def test_one_label_a_prompt_has_one_axis_or_two(labels: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    y, p = rng.choice([-1.0, 1.0], labels), rng.standard_normal(labels)
    if len(labels) == 2 and labels[1] > 1:
        y = np.eye(labels[1])[np.arange(labels[0]) % labels[1]]
    K = y.size // 5
    data = Dataset(np.zeros((5, 1, 4)), y, readout=[(0, k) for k in range(K)])
    equal = [p, p.reshape(5, K)] + ([p.reshape(5)] if K == 1 else [])
    for other in equal:
        assert data.risk(other) == 0.5 * np.sum((p - y) ** 2) / 5
        assert data.error_rate(other) == data.error_rate(p)
    for shape in [(5, 2), (1, 5), (4,), (1,), (), (5, 1, 1), (K, 5), (15,)]:
        if shape not in (labels, (5, K)):
            refused(data.risk, np.zeros(shape))
            refused(data.error_rate, np.zeros(shape))
    Q = TransformerObjective(data, feedforward=FeedForward(), layers=1)
    rho = initial.gaussian().sample(Q, 2, 0)
    assert Q.predict(rho).shape == labels
    flat = Dataset(data.tokens, y.reshape(5) if K == 1 else y, data.readout)
    assert Q.risk(rho, flat) == Q.risk(rho) and Risk(Q, flat)(rho) == Q.risk(rho)
    assert ErrorRate(Q, flat)(rho) == ErrorRate(Q)(rho)


@pytest.mark.parametrize(
    "labels",
    [[0, 1], [1, 2], [0, 1, 2], [3, 3], [-1, 0, 1], [0.9, -0.8], [[1, 1], [0, 0]], [[0.2, 0.8]], [[2, 0]], [[1, 5]]],
    ids=str,
)
def test_labels_that_are_no_classes_have_no_error_rate(labels: Any, tmp_path: Path) -> None:
    y = np.asarray(labels, float)
    data = Dataset(np.ones((len(y), 1, 2)), y, [(0, k) for k in range(y.ndim if y.ndim > 1 else 1)])
    refused(data.error_rate, y)
    Q = TransformerObjective(data, feedforward=FeedForward(), layers=1)
    rho = initial.gaussian(0.1).sample(Q, 2, 0)
    path = tmp_path / "run.h5"
    for options in ({}, {"path": path}):
        refused(lambda watch, more=options: wflow.solve(Q, rho, observe={"errors": watch}, **more), ErrorRate(Q))
    assert not list(tmp_path.iterdir())  # before any work


def test_classes_have_an_error_rate() -> None:
    zeros = np.zeros((3, 1, 3))
    assert Dataset(zeros, [-1, 1, 1]).error_rate([-0.1, 0.2, -0.3]) == 1 / 3
    for off in (0, -1):
        one_hot = np.where(np.eye(3) == 1, 1, off)
        data = Dataset(zeros, one_hot, [(0, 0), (0, 1), (0, 2)])
        assert data.error_rate(one_hot) == 0 and data.error_rate(np.roll(one_hot, 1, axis=1)) == 1


def test_indices_choose_prompts() -> None:
    data = in_context_regression(4, 1, 1, 0)
    for index in ([0, 3], [True, False, False, True], np.array([0, -1]), (0, 3), np.array([0, 3], np.uint8)):
        assert (data.subset(index).labels == data.labels[[0, 3]]).all()
    for wrong in (
        [4],
        [-5],
        [],
        [True],
        [[0]],
        0,
        None,
        "0",
        slice(2),
        [0.0],
        [[0], [0, 1]],
        np.ma.array([0, 1], mask=[0, 1]),
    ):
        refused(data.subset, wrong)


def test_other_tokens_and_readouts_do_not_pass_for_those_of_the_objective() -> None:
    refused(DATA.read, np.ones((2, 3, 2)))  # transposed, of the same size
    other = Dataset(DATA.tokens, DATA.labels, readout=(0, 0))
    rho = RHO
    for door in (lambda data: Q.risk(rho, data), lambda data: Risk(Q, data), lambda data: ErrorRate(Q, data)):
        for wrong in (other, Dataset(np.ones((2, 2, 4)), [1, 1]), DATA.tokens, "train"):
            refused(door, wrong)
        door(Dataset(DATA.tokens[::-1], DATA.labels))


# Precision


@pytest.mark.parametrize("M", [3, 1000, 100_000])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_masses_are_one_whatever_their_precision(M: int, dtype: Any) -> None:
    if dtype == np.float16 and M > 1000:
        return  # most would vanish
    a = np.random.default_rng(M).random((2, M)).astype(dtype)
    a /= a.sum(axis=1, keepdims=True, dtype=max(dtype, np.float32, key=lambda t: np.dtype(t).itemsize)).astype(dtype)
    weights = Particles(x=np.zeros((2, M, 1)), weights={"x": a}).weights("x")
    assert weights.dtype == np.float64 and np.abs(weights.sum(axis=1) - 1).max() < 1e-12
    assert np.abs(weights - a).max() <= 2 * np.finfo(dtype).eps
    again = Particles(x=np.zeros((2, M, 1)), weights={"x": weights}).weights("x")
    assert (again == weights).all()
    refused(lambda w: Particles(x=np.zeros((2, M, 1)), weights={"x": w}), a.astype(np.float64) * (1 + 1e-3))
    atoms = initial.atoms(np.zeros((M, 1)), np.maximum(a[0], np.finfo(dtype).tiny))
    assert np.abs(np.sum(atoms.weights) - 1) < 1e-12


def test_depth_nodes_in_float32_are_those_of_the_rule() -> None:
    Q = TransformerObjective(DATA, feedforward=FeedForward(), depth="rk4-nodes", layers=3)
    x = np.ones((7, 2, 4))
    placed = Particles(w=x, t=Q.rule.nodes.astype("f4"), depth_weights=Q.rule.weights.astype("f4"))
    assert Q.value(placed) == Q.value(Particles(w=x))
    assert (Q.prepare(placed).t == Q.rule.nodes).all()
    refused(Q.value, Particles(w=x, t=Q.rule.nodes * 0.999, depth_weights=Q.rule.weights))


K = np.array([1.0, 4.0])


class Wide:
    """An encoder that answers in float64, whatever it is asked in."""

    def n_parameters(self, dimension: int) -> int:
        return 1

    def mean(self, tokens: Any, parameters: Any, weights: Any) -> Any:
        return np.float64(weights @ parameters[:, 0]) * tokens.astype(np.float64)

    def vjp(self, tokens: Any, parameters: Any, weights: Any, cotangent: Any) -> Any:
        slope = np.full(parameters.shape, np.sum(tokens.astype(np.float64) * cotangent))
        return self.mean(cotangent, parameters, weights), slope


class Swapped(Energy):
    """An energy of two blocks, ``sum |beta|^2/2``, that lists them in another order and in float64."""

    def evaluate(self, rho: Any) -> Any:
        v = {name: -x.astype(np.float64) for name, x in reversed(list(rho.blocks.items()))}
        return Evaluation(0.5 * sum(float(np.sum(rho.mass(n)[..., None] * x**2)) for n, x in v.items()), v)

    def first_variation(self, rho: Any, points: Any = None) -> Any:
        return {name: 0.5 * np.sum(rho.points(name) ** 2, axis=2) for name in rho.blocks}


ENERGIES: dict[str, Callable[[], Any]] = {
    "potential": lambda: wflow.PotentialEnergy(lambda x: np.sum(K * x * x, 1) / 2, lambda x: K * x),
    "interaction": lambda: wflow.InteractionEnergy(lambda z: np.sum(K * z * z, 1) / 2, lambda z: K * z),
    "integers": lambda: wflow.PotentialEnergy(lambda x: np.zeros(len(x), int), lambda x: np.zeros(x.shape, int)),
    "blob": lambda: wflow.BlobEnergy(wflow.Entropy(0.1), 0.5),
    "sum": lambda: ENERGIES["potential"]() + ENERGIES["interaction"]() + Swapped(),
    "user": Swapped,
    "encoder": lambda: TransformerObjective(DATA, Wide(), layers=1),
}


@pytest.mark.parametrize("name", ENERGIES)
def test_float32_stays_float32(name: str, tmp_path: Path) -> None:
    energy = ENERGIES[name]()
    x = np.array([[1.0, 2.0], [0.5, -1.0], [2.0, 1.0]])
    blocks = {"theta": x[None, :, :1]} if name == "encoder" else {"x": x[None]}
    wide, rho = Particles(**blocks), Particles(**{b: x.astype(np.float32) for b, x in blocks.items()})
    assert {v.dtype for v in energy.velocity(rho).values()} == {np.dtype(np.float32)}
    for scheme in ("heun", "dopri5", "midpoint"):
        answer = wflow.solve(energy, rho, (0, 0.1), scheme=scheme, dtau=0.05, save=wflow.SaveAt(steps=1))
        assert {answer.measure(i).dtype for i in range(answer.n_frames)} == {np.dtype(np.float32)}
        exact = wflow.solve(energy, wide, (0, 0.1), scheme=scheme, dtau=0.05)
        for block, end in exact.measure(-1).blocks.items():
            assert np.abs(answer.measure(-1).blocks[block] - end).max() < 1e-5


def test_blocks_of_a_velocity_come_by_name() -> None:
    rho = Particles(a=np.ones((1, 2, 1)), b=2 * np.ones((1, 3, 2)))
    end = wflow.solve(Swapped(), rho, (0, 0.5), scheme="euler", dtau=0.5).measure(-1)
    assert (end.a == 0.5).all() and (end.b == 1).all()


# What functions of users return

GRIDDED = Grid(x=np.ones((4, 4)), box={"x": ((-1, 1), (-1, 1))})
ODD = Particles(x=[[1.0, 2.0], [3.0, 4.0]])  # as many points as parameters


@pytest.mark.parametrize("rho", [POINT, ODD, GRIDDED], ids=["particle", "square", "grid"])
@pytest.mark.parametrize("cls", [wflow.PotentialEnergy, wflow.InteractionEnergy])
def test_functions_of_an_energy_return_arrays_of_their_shape(cls: Any, rho: Any) -> None:
    def values(x: Any) -> Any:
        return np.sum(x**2, axis=1) / 2

    wrong: dict[str, tuple[Any, Any]] = {
        "(K, 1)": (lambda x: values(x)[:, None], lambda x: x),
        "by parameter": (lambda x: np.sum(x**2, axis=0), lambda x: x),
        "a number": (lambda x: 0.0, lambda x: x),
        "none": (lambda x: None, lambda x: x),
        "complex": (lambda x: values(x) + 0j, lambda x: x),
        "text": (lambda x: values(x).astype(str), lambda x: x),
        "booleans": (lambda x: values(x) > 0, lambda x: x),
        "objects": (lambda x: values(x).astype(object), lambda x: x),
        "masked": (lambda x: np.ma.masked_array(values(x), mask=[True] + [False] * (len(x) - 1)), lambda x: x),
        "the gradient is values": (values, values),
        "the gradient is transposed": (values, lambda x: x.T),
        "the gradient is none": (values, lambda x: None),
        "the gradient is a number": (values, lambda x: 1.0),
        "the gradient has one column": (values, lambda x: x[:, :1]),
    }
    scheme = "muscl" if rho is GRIDDED else "dopri5"
    for functions in wrong.values():
        energy = cls(*functions)
        refused(lambda rho, energy=energy: wflow.solve(energy, rho, (0, 1), scheme=scheme), rho)
    for functions in (("x", values), (None, None), (values, 1.0)):
        refused(lambda f: cls(*f), functions)


def test_energies_of_one_block_take_one_block() -> None:
    two = Particles(a=np.ones((1, 2, 1)), b=np.ones((1, 2, 1)))
    for energy in (V, wflow.InteractionEnergy(lambda z: z[:, 0], lambda z: z)):
        for door in (energy.value, energy.velocity, energy.first_variation, energy.linearise, energy.dissipation):
            for wrong in (two, np.ones((1, 2, 1)), None):
                refused(door, wrong)
    refused(wflow.Entropy(0.5).value, np.ones((1, 2, 1)))
    refused(wflow.Entropy(0.5).estimate, POINT)  # of one particle


@pytest.mark.parametrize(
    "v",
    [{}, {"y": 1}, None, {"x": np.ones((1, 1))}, {"x": np.ones((1, 1, 1))}, {"x": np.ones((1, 1, 2)) + 0j}],
    ids=str,
)
def test_energies_of_users_return_the_blocks_of_the_measure(v: Any) -> None:
    class Mine(Energy):
        def evaluate(self, rho: Any) -> Any:
            return Evaluation(0.0, v)

    for door in (lambda Q: wflow.solve(Q, POINT), lambda Q: Q.velocity(POINT), lambda Q: (Q + V).velocity(POINT)):
        refused(door, Mine())


@pytest.mark.parametrize(
    "value", [None, "0", 1j, True, [1.0], np.ones(1), np.ma.masked, np.datetime64("2020")], ids=repr
)
def test_observers_return_one_real_number(value: Any, tmp_path: Path) -> None:
    for options in ({}, {"path": tmp_path / "run.h5"}):
        refused(lambda f, more=options: solve(observe={"mine": f}, **more), lambda rho: value)
    assert not list(tmp_path.iterdir())


def test_observers_may_return_numbers_of_numpy() -> None:
    for value in (np.float32(0.5), np.array(0.5), 0.5):
        assert solve(observe={"mine": lambda rho, x=value: x}).observed["mine"].tolist() == [0.5] * 3
    assert solve(observe={"mine": lambda rho: np.int8(2)}).observed["mine"].tolist() == [2] * 3
    assert np.isnan(solve(observe={"mine": lambda rho: np.nan}).observed["mine"]).all()


def test_encoders_of_users_answer_for_every_call() -> None:
    """Also where the first prompt alone looks right."""

    class Lazy(Wide):
        def mean(self, tokens: Any, parameters: Any, weights: Any) -> Any:
            return super().mean(tokens, parameters, weights)[:1]

    Q = TransformerObjective(DATA, Lazy(), layers=1)
    refused(Q.predict, Particles(theta=np.ones((1, 2, 1))))
    for wrong in (SoftmaxAttention, "softmax", 5, {}):
        refused(lambda encoder: TransformerObjective(DATA, encoder), wrong)


def test_laws_of_users_return_their_shapes() -> None:
    class Column(initial.Law):
        def quantile(self, u: Any, t: float, group: Any) -> Any:
            return u[:, :1]

        def density(self, points: Any, t: float, group: Any) -> Any:
            return np.ones((len(points), 1))

    refused(lambda law: law.sample(Q, 3, 0), Column())
    refused(lambda law: law.on_grid(FLAT, {"w": ((-1, 1), (-1, 1))}, 4), Column())


# Seeds


def test_seeds_have_128_bits() -> None:
    for seed in (2**63, 2**64 - 1, 2**64, 2**128 - 1):
        rho = wflow.solve(V + wflow.Entropy(0.5), POINT, (0, 0.5), scheme="langevin", dtau=0.25, rng=seed).measure(-1)
        assert np.isfinite(rho.x).all() and initial.gaussian().sample(Q, 2, seed).w.size
    for door in ("seed of a law", "seed of prompts", "seed of a split", "seed of a problem", "seed of noise"):
        for seed in (-1, 2**128, 10**100, np.random.RandomState(0), np.random.SeedSequence(0), [1, 2]):
            refused(COUNTS[door], seed)
    parts = [DATA.split(0.5, rng)[0].labels.tolist() for rng in (3, np.int64(3), np.random.default_rng(3))]
    assert parts[0] == parts[1] == parts[2]


# Sizes

TOO_MUCH: dict[str, Callable[[], Any]] = {
    "layers": lambda: TransformerObjective(DATA, SoftmaxAttention(), FeedForward(), layers=10**9),
    "layers of a problem": lambda: problems.pure_decay(layers=10**12),
    "hidden units": lambda: TransformerObjective(DATA, feedforward=FeedForward(hidden=10**12)),
    "rank": lambda: TransformerObjective(DATA, SoftmaxAttention(True, 10**13)),
    "particles": lambda: initial.gaussian().sample(Q, 10**12, 0),
    "particles of a net": lambda: initial.ball(1.0).sample(Q, 10**13, 0, kind="net"),
    "particles beyond integers": lambda: initial.gaussian().sample(Q, 10**400, 0),
    "cells": lambda: initial.gaussian().on_grid(FLAT, {"w": ((-1, 1),) * 2}, 10**6),
    "cells of a blob": lambda: wflow.BlobEnergy(wflow.Entropy(1.0), 0.1, {"x": ((0, 1),) * 2}, {"x": (10**7, 10**7)}),
    "cells for particles": lambda: Grid.from_particles(ODD, {"x": ((-9, 9),) * 2}, {"x": 10**8}),
    "prompts": lambda: in_context_regression(10**12, 1, 1, 0),
    "dimension": lambda: in_context_regression(10, 10**12, 1, 0),
    "context": lambda: in_context_regression(10, 1, 10**15, 0),
    "a wide teacher": lambda: in_context_regression(10, 10, 1, 0, teacher="relu", width=10**12),
    "patients": lambda: diabetes(10**12, 10, 0),
    "width": lambda: problems.two_layer(width=10**13),
    "width of a circle": lambda: problems.sine_circle(width=10**13),
}


@pytest.mark.parametrize("what", TOO_MUCH)
def test_what_no_memory_holds_is_refused_at_once(what: str) -> None:
    with pytest.raises(InputError, match="memory"):
        TOO_MUCH[what]()


def test_many_layers_that_fit_are_made_in_linear_time() -> None:
    Q = TransformerObjective(Dataset(np.ones((1, 1, 1)), [1.0]), feedforward=FeedForward(), layers=3000)
    assert np.isfinite(Q.predict(Particles(w=np.full((3000, 1, 2), 0.1)))).all()


# Words

MEANT: dict[str, tuple[Callable[[], Any], str]] = {
    "scheme": (lambda: solve(scheme="langevn"), "langevin"),
    "activation": (lambda: FeedForward("rellu"), "relu"),
    "depth": (lambda: TransformerObjective(DATA, SoftmaxAttention(), depth="midpiont"), "midpoint"),
    "figure": (lambda: figures.draw("cluods", RUN), "clouds"),
    "tau_scale": (lambda: figures.energy(RUN, tau_scale="lin"), "linear"),
    "a block of a figure": (lambda: figures.density(GRID_RUN, block="xx"), "x"),
    "a scaling": (lambda: initial.gaussian("lecunn"), "lecun"),
    "a kind of sampling": (lambda: initial.gaussian().sample(Q, 2, 0, kind="sharred"), "shared"),
    "teacher": (lambda: in_context_regression(1, 1, 1, 0, teacher="tanhh"), "tanh"),
    "a feature": (lambda: diabetes(1, 2, 0, ["bmii"]), "bmi"),
    "rows": (lambda: diabetes(1, 2, 0, rows="held-out"), "heldout"),
    "positions": (lambda: digits(positions="one-hot"), "onehot"),
    "a block of weights": (lambda: Particles(theta=TOKENS, weights={"tehta": MASSES}), "theta"),
    "a block of points": (lambda: Q.first_variation(RHO, {"W": TOKENS}), ""),
    "a block of a box": (lambda: Grid(theta=np.ones(4), box={"thta": ((0, 1),)}), "theta"),
    "a block that is read": (lambda: Particles(theta=TOKENS).points("thetta"), "theta"),
    "a block of masses": (lambda: Particles(theta=TOKENS).weights("thetta"), "theta"),
    "a block of a grid": (lambda: Grid(theta=np.ones(4), box={"theta": ((0, 1),)}).points("thetta"), "theta"),
    "a block to replace": (lambda: Particles(theta=TOKENS).replace(thetta=TOKENS), "theta"),
    "an option of a scheme": (lambda: schemes.scheme_of("kernel", level=2), "levels"),
    "a keyword that looks like a block": (lambda: Particles(theta=TOKENS, wieghts={"theta": 1}), "weights"),
}


@pytest.mark.parametrize("what", MEANT)
def test_did_you_mean(what: str) -> None:
    action, meant = MEANT[what]
    with pytest.raises(InputError, match=f"did you mean '{meant}'" if meant else "must name the blocks w"):
        action()


def test_did_you_mean_a_keyword() -> None:
    for call, meant in (
        (lambda: wflow.solve(V, POINT, sceme="euler"), "scheme"),
        (lambda: wflow.solve(V, POINT, tau_rnage=(0, 1)), "tau_range"),
        (lambda: figures.draw("clouds", RUN, frame=2), "frames"),
    ):
        with pytest.raises(TypeError, match=f"unexpected keyword argument .*; did you mean '{meant}'"):
            call()
    with pytest.raises(AttributeError, match="did you mean 'Particles'"):
        wflow.Particle  # noqa: B018


# Everything else

FUNCTIONS: dict[str, Door] = {
    "a measure for solve": lambda v: wflow.solve(V, v),
    "an energy for solve": lambda v: wflow.solve(v, POINT),
    "a range": lambda v: solve(tau_range=v),
    "a scheme": lambda v: solve(scheme=v),
    "a controller": lambda v: adaptive(controller=v),
    "a save": lambda v: solve(save=v),
    "what to observe": lambda v: solve(observe=v),
    "attributes": lambda v: solve(attributes=v),
    "a data set": lambda v: TransformerObjective(v, SoftmaxAttention()),
    "a data set to watch": lambda v: Risk(Q, v),
    "an objective to watch": Risk,
    "an objective of errors": ErrorRate,
    "an energy to watch": Virial,
    "a term of a sum": lambda v: SumEnergy(V, v),
    "an internal energy": lambda v: wflow.BlobEnergy(v, 0.1),
    "an objective to sample for": lambda v: initial.gaussian().sample(v, 2, 0),
    "a law": lambda v: initial.product(w=v),
    "a box": lambda v: Grid(x=np.ones(4), box=v),
    "a box of a block": lambda v: Grid(x=np.ones(4), box={"x": v}),
    "a box for particles": lambda v: Grid.from_particles(POINT, v, {"x": 4}),
    "cells for particles": lambda v: Grid.from_particles(POINT, {"x": ((-9, 9),) * 2}, {"x": v}),
    "particles for a grid": lambda v: Grid.from_particles(v, {"x": ((-9, 9),) * 2}, {"x": 4}),
    "weights by block": lambda v: Particles(x=TOKENS, weights=v),
    "blocks of a problem": lambda v: problems.constant_encoders(blocks=v),
    "a solution": lambda v: figures.draw("energy", v),
    "a solution of clouds": figures.clouds,
    "a solution of predictions": figures.predictions,
    "an objective of predictions": lambda v: figures.predictions(RUN, objective=v),
    "a figure": lambda v: figures.save(v, "x.pdf"),
    "coordinates": lambda v: figures.clouds(RUN, coordinates=v),
    "frames of a figure": lambda v: figures.clouds(RUN, frames=v),
    "observed quantities": lambda v: figures.energy(RUN, observed=v),
    "a path to read": wflow.load,
    "a path of prompts": wflow.datasets.from_npz,
    "a path of a run file": runfile.read,
    "a dtype": lambda v: initial.gaussian().sample(Q, 2, 0, dtype=v),
    "classes": digits,
    "a patch": lambda v: digits(patch=v),
    "features": lambda v: diabetes(2, 2, 0, features=v),
    "a frame": RUN.measure,
    "an axis": lambda v: CELLS.marginal("x", v),
    "a block": Particles(y=[[1.0]]).points,
    "a block of cells": Grid(y=np.ones(4), box={"y": ((0, 1),)}).weights,
}
ODDITIES: list[Any] = [
    0.5,
    -3,
    "x",
    b"x",
    True,
    object(),
    [object()],
    {1: 2},
    ["x", "y"],
    np.ones((2, 2)),
    np.nan,
    {"x"},
    TransformerObjective,
]


@pytest.mark.parametrize("door", FUNCTIONS)
def test_oddities_are_refused_in_words(door: str) -> None:
    for value in ODDITIES:
        refused(FUNCTIONS[door], value)


@pytest.mark.parametrize("door", [d for d in FUNCTIONS if "path" in d])
def test_paths_that_hold_nothing(door: str, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "fifo")
    for name in ("missing", "empty", "fifo", ".", "missing/run.h5", "a\0b"):
        with pytest.raises(InputError):
            FUNCTIONS[door](f"{tmp_path}/{name}")


RUNFILE = """
[data]
kind = "in-context"
n_prompts = 4
dimension = 1
context = 2
[attention]
[initial]
M = 2
law = "gaussian"
[solve]
tau_end = 1
"""


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_run_files_of_other_editors(encoding: str, newline: str, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(RUNFILE.replace("\n", newline).encode(encoding))
    if encoding.startswith("utf-8"):
        assert runfile.read(path).rho0.theta.shape == (8, 2, 32)
    else:
        with pytest.raises(InputError, match=r"UTF-16|not valid TOML"):
            runfile.read(path)


@pytest.mark.parametrize("name", ["tau", "count", "a/b"])
def test_names_that_a_file_cannot_hold(name: str, tmp_path: Path) -> None:
    rho, path = Particles(**{name: [[1.0, 2.0]]}), tmp_path / "run.h5"
    assert wflow.solve(V, rho, (0, 0.5), dtau=0.25).status.name == "FINISHED"
    refused(lambda rho: wflow.solve(V, rho, (0, 0.5), dtau=0.25, path=path), rho)
    for watch in ("", ".", ".."):
        refused(lambda name: solve(observe={name: lambda rho: 1.0}, path=path), watch)
    for attribute in ("format", "format_version", "run", "status", "config", "stats"):
        refused(lambda name: solve(attributes={name: "mine"}, path=path), attribute)
    assert not list(tmp_path.iterdir())


def test_text_of_numpy_is_text(tmp_path: Path) -> None:
    text, path = np.str_("note"), tmp_path / "run.h5"
    answer = solve(
        observe={text: lambda rho: 1.0}, attributes={text: text}, scheme=np.str_("euler"), path=np.str_(path)
    )
    assert answer.attributes["note"] == "note" and [type(name) for name in answer.observed] == [str]
    assert numbers(FeedForward(np.str_("tanh"))) == numbers(FeedForward("tanh"))
    assert type(FeedForward(np.str_("tanh")).activation) is str and type(Dataset(TOKENS, LABELS, name=text).name) is str


def test_energies_are_passed_again_to_resume(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    solve(path=path)
    for wrong in (len, "x", 1.0, POINT):
        refused(lambda energy: wflow.resume(path, 1.0, energy=energy), wrong)
    assert wflow.resume(path, 1.0, energy=V, progress=np.False_).tau[-1] == 1


CONVERGING = {"Q": 1.0}
PAIR = wflow.encoders.pairing

REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "a density beyond floats in sum": (lambda: Grid(x=np.full(9, 1e308), box={"x": ((-4, 4),)}), "too large"),
    "points of no block": (lambda: CELLS.points(["x"]), "no block"),  # type: ignore[arg-type]
    "equal weights of no block": (lambda: CELLS.has_equal_weights("y"), "no block 'y'"),
    "cells in a dictionary": (
        lambda: Grid.from_particles(POINT, {"x": ((-3, 3), (-3, 3))}, {"x": {5: 1, 7: 1}}),  # type: ignore[dict-item]
        "cells of x",
    ),
    "an array as points by block": (lambda: Q.first_variation(RHO, np.ones((2, 1, 4))), "points"),  # type: ignore[arg-type]
    "no prompts": (lambda: FeedForward().mean(np.ones((0, 2, 3)), np.ones((1, 4)), np.ones(1)), "must not be empty"),
    "no encoder to pair": (lambda: PAIR(np, DATA.tokens, np.ones((1, 4)), DATA.tokens), "has no method"),  # type: ignore[arg-type]
    "an encoder's class": (lambda: PAIR(FeedForward, DATA.tokens, np.ones((1, 4)), DATA.tokens), "call it"),  # type: ignore[type-abstract]
    "no name of a source": (lambda: Source(3, 1.0), "name must be text"),  # type: ignore[arg-type]
    "a source of order 0": (lambda: Source("depth", 0.0), "order"),
    "a ratio of 1": (lambda: Source("depth", 1.0, ratio=1.0), "ratio must be greater than 1"),
    "sources that are none": (lambda: error_bars(lambda refined: CONVERGING, ["depth"]), "sources must be"),  # type: ignore[list-item]
    "outcomes that are none": (lambda: error_bars(lambda refined: 3, []), "solve must return"),  # type: ignore[arg-type,return-value]
    "outcomes in words": (lambda: error_bars(lambda refined: {"Q": "big"}, []), "Q of solve"),
    "a data set without arrays": (lambda: build({"kind": "Dataset"}), "lacks the argument 'tokens'"),
    "a kind that is no word": (lambda: build({"kind": ["Dataset"]}), "is unknown"),
    "an own object without a name": (lambda: build({"kind": "user"}), "of your own"),
    "a proximal map of another shape": (
        lambda: wflow.solve(
            V + wflow.Entropy(0.5),
            Grid(x=np.exp(-((np.linspace(-5.9, 5.9, 60) - 1) ** 2)), box={"x": ((-6, 6),)}),
            (0, 0.2),
            scheme=schemes.EntropicJKO(prox=lambda s, potential, weight, eps: s[..., 1:], outer_mass=1e-3),
            dtau=0.1,
        ),
        "prox must return an array",
    ),
    "a smoothing beyond all scales": (lambda: wflow.BlobEnergy(wflow.Entropy(1.0), 1e300), "epsilon must be between"),
    "steps that do not get anywhere": (lambda: solve(dtau=None, controller=Fixed(1e-300)), "dtau must be at least"),
    "a last step that does not": (lambda: solve(dtau=None, controller=Replay((0.1, 1e-299))), "dtau must be at least"),
    "a range of bytes": (lambda: solve(tau_range=b"\x00\x01"), "tau_range must be a pair"),
    "a name too long for a file": (lambda: solve(path="x" * 400), "path cannot be used"),
    "attributes that files have": (lambda: solve(path="x.h5", attributes={"run": "mine"}), "other names"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_words(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    call, words = REFUSED[name]
    with pytest.raises(InputError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert not list(tmp_path.iterdir())


def test_texts_of_numpy_are_attributes(tmp_path: Path) -> None:
    attributes = {np.str_("note"): np.str_("mine")}
    assert solve(path=tmp_path / "run.h5", attributes=attributes).attributes["note"] == "mine"


def test_options_beyond_need_are_no_limits() -> None:
    few, many = (solve(scheme=schemes.JKO(memory=memory)) for memory in (200, 10**30))
    np.testing.assert_array_equal(few.energy, many.energy)


def test_resuming_takes_energies_and_whole_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    solve(path=path)
    with pytest.raises(InputError, match="energy must be"):
        wflow.resume(path, energy=DATA)  # type: ignore[arg-type]
    checkpoint = Path(f"{path}.resume")
    content = bytearray(checkpoint.read_bytes())
    content[200:264] = b"\xa5" * 64
    checkpoint.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        wflow.resume(path, energy=V)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("M = 4", "M = [[4]]", "M must be"),
        ("tau_end = 1", "tau_end = 1\nsave = { tau = [2.0] }", "must be in the range"),
        ("M = 4", "boxx = { w = [[-1, 1]] }", "did you mean 'box'"),
        ("seed = 1", "seed = [['x']]", "seed must be"),
    ],
)
def test_reading_run_files_finds_what_solving_would(old: str, new: str, words: str, tmp_path: Path) -> None:
    text = "seed = 1\n[data]\nkind = 'in-context'\nn_prompts = 2\ndimension = 1\ncontext = 2\n[feedforward]\n"
    text += "[initial]\nM = 4\n[solve]\ntau_end = 1\n"
    file = tmp_path / "run.toml"
    file.write_text(text.replace(old, new))
    with pytest.raises(InputError, match=words):
        runfile.read(file)


@pytest.mark.parametrize("start", range(300, 22_000, 700))
def test_a_damaged_trajectory_is_read_or_refused_in_words(start: int, tmp_path: Path, damaged: bytes) -> None:
    path = tmp_path / "run.h5"
    content = bytearray(damaged)
    content[start : start + 64] = b"\xa5" * len(content[start : start + 64])
    path.write_bytes(content)
    with contextlib.suppress(InputError):
        assert wflow.load(path).measure(-1).x.shape == (1, 1, 2)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A trajectory, to be damaged."""
    path = tmp_path_factory.mktemp("runs") / "run.h5"
    solve(path=path)
    return path.read_bytes()
