"""Every encoder of wflow, in both precisions: whoever is in ENCODERS is tested here.

The forms of an encoder are its default and one for each other value of its options, found in its signature; every
mask is tried with every kernel.
"""

from __future__ import annotations

import pickle
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from conftest import slope
from numpy.testing import assert_allclose, assert_array_equal

import wflow
from wflow.encoders import ENCODERS, Encoder, Group, pairing
from wflow.encoders.attention import Mask
from wflow.encoders.protocol import optional, reads
from wflow.network import CompiledExecutor, PlainExecutor
from wflow.network.blocks import Block
from wflow.types import BOOLEAN, COUNT, POSITIVE, Values

B, D, N = 4, 3, 5


#: A mask with holes, and a query that does not see itself.
HOLES = np.array([[1, 1, 0, 1, 1], [0, 1, 1, 0, 1], [0, 0, 0, 1, 0], [1, 0, 0, 1, 0], [0, 1, 0, 0, 1]])
MASKS = (None, "causal", ("local", 1), HOLES)


def values_of(kind: Any) -> tuple[Any, ...]:
    """Values to try of an option, by its type."""
    if kind == Mask:
        return MASKS
    values = wflow.types.values_of(kind)
    tried = {BOOLEAN: (False, True), COUNT: (2,), POSITIVE: (0.5,)}
    return tried.get(values, ()) if values is None or isinstance(values, Values) else values


def forms(encoder: type) -> Iterator[Any]:
    """The default, and every option alone or with all switches on, as far as the encoder takes it; with these, every
    mask with every kernel."""
    types = typing.get_type_hints(encoder, include_extras=True)
    switches = {name: True for name, kind in types.items() if kind is bool}
    options = [base | {name: value} for base in ({}, switches) for name in types for value in values_of(types[name])]
    if "mask" in types:
        options += [
            switches | {"kernel": kernel, "mask": mask} for kernel in values_of(types["kernel"]) for mask in MASKS
        ]
    seen = set()
    for arguments in options:
        try:
            form = encoder(**arguments)
        except wflow.InputError:
            continue
        if repr(form) not in seen:
            seen.add(repr(form))
            yield form


FORMS = [form for encoder in ENCODERS.values() for form in forms(encoder)]
every_form = pytest.mark.parametrize("encoder", FORMS, ids=repr)
precisions = pytest.mark.parametrize("dtype", [np.float64, np.float32])
#: Rounding of sums of some dozen terms of order one.
ROUNDING = {np.float64: 1e-12, np.float32: 1e-4}


def draw(encoder: Any, dtype: type, M: int = 7, seed: int = 0) -> tuple[Any, Any, Any, Any]:
    """Tokens, particles, weights of which one is zero, and a cotangent."""
    rng = np.random.default_rng(seed)
    tokens, cotangent = (rng.standard_normal((B, D, N)).astype(dtype) for _ in range(2))
    weights = rng.dirichlet(np.ones(M - 1))
    beta = rng.standard_normal((M, encoder.n_parameters(D))).astype(dtype)
    return tokens, beta, np.append(weights, 0.0), cotangent


def objective_of(encoder: Any, block: str = "theta", layers: int = 2, prompts: int = B) -> wflow.TransformerObjective:
    rng = np.random.default_rng(1)
    data = wflow.Dataset(rng.standard_normal((prompts, D, N)), rng.standard_normal(prompts))
    slot = {"theta": "attention", "w": "feedforward"}[block]
    return wflow.TransformerObjective(data, **{slot: encoder}, weight_decay=0.1, layers=layers)


def measure_of(objective: wflow.TransformerObjective, dtype: type, M: int = 7, scale: float = 1.0) -> wflow.Particles:
    rng, S = np.random.default_rng(2), objective.rule.n_slices
    return wflow.Particles(
        **{b: (scale * rng.standard_normal((S, M, p))).astype(dtype) for b, p in objective.n_parameters.items()},
        weights={b: rng.dirichlet(np.ones(M), S) for b in objective.n_parameters},
    )


@every_form
@precisions
def test_shapes_and_precision(encoder: Any, dtype: type) -> None:
    assert isinstance(encoder, Encoder)
    tokens, beta, a, p = draw(encoder, dtype)
    tokens_bar, beta_bar = encoder.vjp(tokens, beta, a, p)
    mean, paired = encoder.mean(tokens, beta, a), pairing(encoder, tokens, beta, p)
    assert mean.shape == tokens_bar.shape == tokens.shape and beta_bar.shape == beta.shape and paired.shape == a.shape
    assert mean.dtype == tokens_bar.dtype == beta_bar.dtype == dtype


@every_form
def test_the_adjoint_is_that_of_differences(encoder: Any) -> None:
    """By tokens and by every particle, to 1e-8: the seed keeps away from kinks."""
    tokens, beta, a, p = draw(encoder, np.float64, seed=1)
    tokens_bar, beta_bar = encoder.vjp(tokens, beta, a, p)
    rng = np.random.default_rng(3)
    d_tokens, d_beta = rng.standard_normal(tokens.shape), rng.standard_normal(beta.shape)
    by_tokens = slope(lambda s: np.sum(encoder.mean(tokens + s * d_tokens, beta, a) * p), 1e-4)
    assert_allclose(np.sum(tokens_bar * d_tokens), by_tokens, rtol=1e-8)
    one = np.ones(1)
    for x, bar, dx in zip(beta, beta_bar, d_beta):
        change = slope(lambda s, x=x, dx=dx: np.sum(encoder.mean(tokens, (x + s * dx)[None], one) * p), 1e-4)
        assert_allclose(bar @ dx, change, rtol=1e-8, atol=1e-8)


@every_form
@precisions
def test_the_pairing_is_that_of_means_of_single_particles(encoder: Any, dtype: type) -> None:
    tokens, beta, a, p = draw(encoder, dtype)
    one = np.ones(1, dtype)
    singly = np.array([np.sum(encoder.mean(tokens, x[None], one) * p, dtype=float) for x in beta])
    assert_allclose(pairing(encoder, tokens, beta, p), singly, rtol=0, atol=ROUNDING[dtype] * np.abs(singly).max())
    total = np.sum(encoder.mean(tokens, beta, a) * p, dtype=float)
    assert_allclose(total, a @ singly, rtol=0, atol=10 * ROUNDING[dtype] * np.abs(singly).max())


@every_form
def test_groups_cover_the_parameters(encoder: Any) -> None:
    groups = encoder.groups(D)
    assert all(isinstance(group, Group) and group.fan_in >= 1 for group in groups.values())
    covered = np.concatenate([np.arange(encoder.n_parameters(D))[group.place] for group in groups.values()])
    assert_array_equal(covered, np.arange(encoder.n_parameters(D)))
    law = wflow.initial.gaussian("lecun")
    objective = objective_of(encoder)
    drawn = law.sample(objective, 4000, 0).theta
    for group in groups.values():
        assert drawn[..., group.place].var() == pytest.approx(1 / group.fan_in, rel=0.1)


@every_form
def test_outputs_depend_on_what_is_read_alone(encoder: Any) -> None:
    tokens, beta, a, _ = draw(encoder, np.float64)
    out = encoder.mean(tokens, beta, a)
    for columns in (np.array([N - 1]), np.array([0, 2])):
        other = np.random.default_rng(4).standard_normal(tokens.shape)
        read = reads(encoder, columns, N)
        other[:, :, read] = tokens[:, :, read]
        assert_array_equal(encoder.mean(other, beta, a)[:, :, columns], out[:, :, columns])


@every_form
@precisions
@pytest.mark.parametrize("block", ["theta", "w"])
def test_the_compiled_pass_is_that_of_calls_one_by_one(encoder: Any, dtype: type, block: str) -> None:
    if optional(encoder, "compiled") is None:
        pytest.skip("has no compiled form")
    compiled, plain = (objective_of(encoder, block) for _ in range(2))
    assert isinstance(compiled.network.executor, CompiledExecutor)
    program = plain.network.program
    plain.network.executor = PlainExecutor(program, {block: Block(encoder, program, D)})
    rho = measure_of(compiled, dtype)
    ours, theirs, bound = compiled.evaluate(rho), plain.evaluate(rho), ROUNDING[dtype]
    assert_allclose(ours.value, theirs.value, rtol=bound)
    size = np.abs(theirs.velocity[block]).max()
    assert_allclose(ours.velocity[block], theirs.velocity[block], rtol=0, atol=bound * size)
    phi, again = compiled.first_variation(rho)[block], plain.first_variation(rho)[block]
    assert_allclose(phi, again, rtol=0, atol=bound * np.abs(again).max())


@every_form
@precisions
def test_batches_and_threads_change_nothing(encoder: Any, dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bits do not depend on threads; batches and groups change them by rounding."""
    objective = objective_of(encoder, prompts=24)
    rho = measure_of(objective, dtype)
    whole = objective.evaluate(rho)
    for name, value in (("GROUPED_WORK", 1), ("GROUP_WORK", 1), ("GROUP_PROMPTS", 40), ("SUM_BYTES", 1)):
        monkeypatch.setattr(f"wflow.network.batches.{name}", value)
    results = []
    for threads in (1, 2):
        monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", threads)
        results.append(objective.evaluate(rho))
    assert results[0].value == results[1].value
    assert_array_equal(results[0].velocity.theta, results[1].velocity.theta)
    size = np.abs(whole.velocity.theta).max()
    assert_allclose(results[0].velocity.theta, whole.velocity.theta, rtol=0, atol=ROUNDING[dtype] * size)


@every_form
def test_an_objective_travels_to_other_processes(encoder: Any) -> None:
    """Also after it was evaluated."""
    objective = objective_of(encoder)
    rho = measure_of(objective, np.float64)
    value = objective.evaluate(rho).value
    again, there = pickle.loads(pickle.dumps((objective, rho)))
    assert again.evaluate(there).value == value


@pytest.mark.parametrize("name", ENCODERS)
def test_a_subclass_does_what_it_says(name: str) -> None:
    """Not what its parent's compiled form or pairing would do; one that states nothing anew is as its parent."""
    parent: Any = ENCODERS[name]

    class Same(parent):
        pass

    class Negative(parent):
        def mean(self, tokens: Any, parameters: Any, weights: Any) -> Any:
            return -super().mean(tokens, parameters, weights)

        def vjp(self, tokens: Any, parameters: Any, weights: Any, cotangent: Any) -> Any:
            return super().vjp(tokens, parameters, weights, -cotangent)

    tokens, beta, _, p = draw(parent(), np.float64)
    assert_array_equal(pairing(Same(), tokens, beta, p), pairing(parent(), tokens, beta, p))
    assert_allclose(pairing(Negative(), tokens, beta, p), -pairing(parent(), tokens, beta, p), rtol=1e-12)
    rho = measure_of(objective_of(parent()), np.float64)
    values = [objective_of(encoder).value(rho) for encoder in (parent(), Same(), Negative())]
    assert values[0] == values[1] != values[2]
    flipped = objective_of(parent())
    negative, theirs = objective_of(Negative()), flipped.evaluate(rho)
    assert negative.evaluate(rho).value != theirs.value
    direction = np.random.default_rng(5).standard_normal(rho.theta.shape)
    change = slope(lambda s: negative.value(rho.replace(theta=rho.theta + s * direction)), 1e-4)
    v = negative.velocity(rho).theta
    placed = negative.prepare(rho)
    assert_allclose(-np.einsum("sm,smp,smp->", placed.mass("theta"), v, direction), change, rtol=1e-7)


@every_form
@precisions
def test_a_run_is_read_from_its_file_and_resumed_bit_for_bit(encoder: Any, dtype: type, tmp_path: Path) -> None:
    objective = objective_of(encoder)
    rho, steps = measure_of(objective, dtype, scale=0.5), wflow.controllers.Fixed(0.01, monotone=False)
    options: dict[str, Any] = {"controller": steps, "save": wflow.SaveAt(every=0.02)}
    whole = wflow.solve(objective, rho, (0, 0.04), path=tmp_path / "whole.h5", **options)
    wflow.solve(objective, rho, (0, 0.02), path=tmp_path / "half.h5", **options)
    stored = wflow.load(tmp_path / "half.h5").objective.encoders["theta"]
    assert type(stored) is type(encoder) and stored == encoder
    resumed = wflow.resume(tmp_path / "half.h5", 0.04)
    assert_array_equal(resumed.energy, whole.energy)
    assert_array_equal(resumed.measure(-1).theta, whole.measure(-1).theta)


def test_the_list_names_what_the_room_offers() -> None:
    for encoder in ENCODERS.values():
        assert getattr(wflow.encoders, encoder.__name__) is encoder
