"""The kernels' own promises: the exponential, threads, numbers that are not numbers."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from conftest import random_data, random_measure

import wflow
from wflow.kernels.lanes import at, exp, n_lanes, put, tanh


@numba.njit
def exponentials(values: Any) -> None:
    for i in range(values.shape[0]):
        put(values, i, 0, exp(at(values, i, 0)))


@pytest.mark.parametrize(("dtype", "lowest"), [(np.float64, -708.0), (np.float32, -87.0)])
def test_exp_within_one_ulp(dtype: Any, lowest: float) -> None:
    x = np.concatenate([np.linspace(lowest, 0, 200_000), -np.logspace(-30, 0, 4000)]).astype(dtype)
    x = x[: x.size // 16 * 16]
    values = x.reshape(-1, 1, n_lanes(dtype)).copy()
    exponentials(values)
    exact = np.exp(x.astype(np.longdouble))
    assert (np.abs(values.ravel() - exact) / exact).max() < np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_exp_at_the_edges(dtype: Any) -> None:
    values = np.zeros((1, 1, n_lanes(dtype)), dtype)
    values[0, 0, :3] = [np.nan, -np.inf, -1e30]
    exponentials(values)
    assert np.isnan(values[0, 0, 0])
    assert (values[0, 0, 1:3] >= 0).all() and (values[0, 0, 1:3] < 1e-37).all()
    assert (values[0, 0, 3:] == 1).all()


@numba.njit
def hyperbolic_tangents(values: Any) -> None:
    for i in range(values.shape[0]):
        put(values, i, 0, tanh(at(values, i, 0)))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_tanh_within_three_ulp(dtype: Any) -> None:
    x = np.concatenate([np.linspace(-30, 30, 200_000), np.logspace(-30, 0, 4000), -np.logspace(-30, 0, 4000)])
    x = x[: x.size // 16 * 16].astype(dtype)
    values = x.reshape(-1, 1, n_lanes(dtype)).copy()
    hyperbolic_tangents(values)
    exact = np.tanh(x.astype(np.longdouble))
    assert (np.abs(values.ravel() - exact) / np.abs(exact)).max() < 3 * np.finfo(dtype).eps
    values[0, 0, :4] = [np.nan, np.inf, -np.inf, -0.0]
    hyperbolic_tangents(values[:1])
    np.testing.assert_array_equal(values[0, 0, :4], [np.nan, 1, -1, 0])


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two threads")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_results_do_not_depend_on_the_number_of_threads(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    objective = wflow.TransformerObjective(
        random_data(rng, 45, 4, 5), wflow.SoftmaxAttention(), wflow.FeedForward("gelu"), 0.1, layers=2
    )
    rho = random_measure(objective, {"theta": 13, "w": 21}, rng, dtype)
    results = []
    before = numba.get_num_threads()
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            results.append(objective.evaluate(rho))
    finally:
        numba.set_num_threads(before)
    assert results[0].value == results[1].value
    for block in rho.blocks:
        assert (results[0].velocity[block] == results[1].velocity[block]).all()


@pytest.mark.parametrize("activation", wflow.encoders.ACTIVATIONS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_nan_is_never_hidden(activation: str, dtype: Any) -> None:
    tokens = np.ones((2, 3, 4), dtype)
    tokens[1, 1, 2] = np.nan
    for encoder in (wflow.FeedForward(activation), wflow.SoftmaxAttention()):
        parameters = np.ones((5, encoder.n_parameters(3)), dtype)
        out = encoder.mean(tokens, parameters, np.full(5, 0.2))
        assert np.isfinite(out[0]).all() and np.isnan(out[1]).any()


def test_large_scores_do_not_overflow() -> None:
    head = wflow.SoftmaxAttention()
    tokens = np.array([[[1.0, -2.0, 3.0]]])
    out = head.mean(tokens, np.array([[1.0, 1e4]]), np.ones(1))
    np.testing.assert_allclose(out, [[[3.0, -2.0, 3.0]]])
