"""The boundary of the library: what does not fit is refused in one line, before any work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conftest import random_data

import wflow
from wflow import Dataset, FeedForward, InputError, Particles, SoftmaxAttention, TransformerObjective
from wflow.problems import ConstantEncoder

DATA = random_data(np.random.default_rng(0), 4, 2, 3)
OBJECTIVE = TransformerObjective(DATA, SoftmaxAttention(), FeedForward(), layers=2)
THETA, W = np.zeros((2, 3, 8)), np.zeros((2, 3, 4))


class Wrong(ConstantEncoder):
    """An encoder with one thing wrong, set as an attribute of the object."""

    def __init__(self, **wrong: Any) -> None:
        for name, function in wrong.items():
            setattr(self, name, function)


def nan_at(array: np.ndarray) -> np.ndarray:
    out = array.copy()
    out[0, 0, 0] = np.nan
    return out


CASES: dict[str, tuple[Callable[[], Any], str]] = {
    "mean of a wrong shape": (
        lambda: TransformerObjective(DATA, Wrong(mean=lambda T, x, a: T[:, :1]), layers=2),
        r"mean must have shape \(1, 2, 3\), got \(1, 1, 3\)",
    ),
    "tokens_bar of a wrong shape": (
        lambda: TransformerObjective(DATA, Wrong(vjp=lambda T, x, a, p: (T[0], x)), layers=2),
        r"tokens_bar must have shape \(1, 2, 3\)",
    ),
    "parameters_bar of a wrong shape": (
        lambda: TransformerObjective(DATA, Wrong(vjp=lambda T, x, a, p: (T, x[0])), layers=2),
        "parameters_bar must have shape",
    ),
    "vjp that returns no pair": (
        lambda: TransformerObjective(DATA, Wrong(vjp=lambda T, x, a, p: T), layers=2),
        "must return the pair",
    ),
    "pairing of a wrong shape": (
        lambda: TransformerObjective(DATA, Wrong(pairing=lambda T, x, p: np.zeros(5)), layers=2),
        r"pairing must have shape \(2,\)",
    ),
    "n_parameters that is no number": (
        lambda: TransformerObjective(DATA, Wrong(n_parameters=lambda D: 0), layers=2),
        "must be a positive integer, got 0",
    ),
    "no encoder": (lambda: TransformerObjective(DATA, object(), layers=2), "has no method n_parameters"),
    "both encoders absent": (lambda: TransformerObjective(DATA, layers=2), "needs an encoder"),
    "no data set": (lambda: TransformerObjective(np.zeros(3), SoftmaxAttention()), "must be a wflow.Dataset"),
    "unknown depth rule": (lambda: TransformerObjective(DATA, SoftmaxAttention(), depth="rk4"), "depth must be one of"),
    "layers of zero": (lambda: TransformerObjective(DATA, SoftmaxAttention(), layers=0), "layers must be a positive"),
    "negative weight decay": (
        lambda: TransformerObjective(DATA, SoftmaxAttention(), weight_decay=-1),
        "weight_decay must be a non-negative",
    ),
    "NaN in tokens": (lambda: Dataset(nan_at(np.zeros((1, 2, 3))), [1.0]), r"finite, got nan at index \(0, 0, 0\)"),
    "labels for other prompts": (lambda: Dataset(np.zeros((2, 2, 3)), [1.0]), "1 labels for 2 prompts"),
    "readout outside": (lambda: Dataset(np.zeros((1, 2, 3)), [1.0], (2, 0)), "outside tokens of shape"),
    "readout for other labels": (lambda: Dataset(np.zeros((1, 2, 3)), [[1.0, 2.0]]), "readout gives 1 predictions"),
    "NaN in particles": (lambda: Particles(theta=nan_at(THETA)), "theta must be finite"),
    "negative weights": (
        lambda: Particles(x=np.zeros((1, 2, 1)), weights={"x": [[1.5, -0.5]]}),
        "must not be negative, got -0.5",
    ),
    "weights that do not sum to one": (
        lambda: Particles(x=np.zeros((1, 2, 1)), weights={"x": [[0.5, 0.6]]}),
        "must sum to 1 over every slice",
    ),
    "weights of a wrong shape": (
        lambda: Particles(x=np.zeros((1, 2, 1)), weights={"x": [[1.0]]}),
        r"must have shape \(1, 2\)",
    ),
    "weights of no block": (lambda: Particles(x=np.zeros((1, 2, 1)), weights={"y": [[1.0]]}), "weights for"),
    "two precisions": (lambda: Particles(theta=THETA, w=W.astype(np.float32)), "same precision"),
    "two numbers of slices": (lambda: Particles(theta=THETA, w=W[:1]), "same number of depth slices"),
    "a missing block": (lambda: OBJECTIVE.value(Particles(theta=THETA)), "must have the blocks"),
    "another number of slices": (
        lambda: OBJECTIVE.value(Particles(theta=THETA[:1], w=W[:1])),
        "must have 2 depth slices, one for each depth node, got 1",
    ),
    "another number of parameters": (
        lambda: OBJECTIVE.value(Particles(theta=W, w=W)),
        "theta must have 8 parameters a particle",
    ),
    "other depth nodes": (
        lambda: OBJECTIVE.value(Particles(theta=THETA, w=W, t=[0.0, 1.0], depth_weights=[0.5, 0.5])),
        "other depth nodes",
    ),
    "no measure": (lambda: OBJECTIVE.value(THETA), "expected a measure"),
    "tokens of another data set": (
        lambda: OBJECTIVE.predict(Particles(theta=THETA, w=W), np.zeros((1, 5, 3))),
        r"tokens must have shape \(B, 2, 3\)",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_refused_in_one_line(name: str) -> None:
    action, message = CASES[name]
    with pytest.raises(InputError, match=message) as caught:
        action()
    assert "\n" not in str(caught.value)


def test_measures_cannot_be_changed() -> None:
    given = THETA.copy()
    rho = Particles(theta=given)
    given[0, 0, 0] = 7
    assert rho.theta[0, 0, 0] == 0
    with pytest.raises(ValueError, match="read-only"):
        rho.theta[0, 0, 0] = 1


def test_an_encoder_that_fails_later_ends_the_run_in_words() -> None:
    class Fading(ConstantEncoder):
        def vjp(self, tokens: Any, parameters: Any, weights: Any, cotangent: Any) -> Any:
            tokens_bar, parameters_bar = super().vjp(tokens, parameters, weights, cotangent)
            return tokens_bar, parameters_bar / 0.0

    objective = TransformerObjective(DATA, ConstantEncoder(), layers=2)
    objective.encoders["theta"] = Fading()
    with np.errstate(all="ignore"), pytest.raises(wflow.SolveError, match="velocity at tau=0 is not finite"):
        wflow.solve(objective, Particles(theta=np.zeros((2, 3, 1))))
