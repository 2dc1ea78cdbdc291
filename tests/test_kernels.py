"""The kernels' own promises: the exponential, threads, numbers that are not numbers."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from scipy.special import erf as erf_

import wflow
from validation.transformer import ACTIVATIONS
from wflow.encoders.compiled import Compiled, Packed, aligned_empty
from wflow.kernels.simd.lanes import AVX512, erf, exp, expm1, log1p, n_lanes, tanh
from wflow.kernels.simd.matrices import at, put, space


@numba.njit
def apply(function: Any, values: Any) -> None:
    """A function of registers, in place: values (registers, lanes)."""
    for i in range(values.shape[0]):
        place = space(values, i, 1, 1)
        put(place, 0, 0, function(at(place, 0, 0)))


@numba.njit
def exponential(x: Any) -> Any:
    return exp(x)


@numba.njit
def hyperbolic_tangent(x: Any) -> Any:
    return tanh(x)


@numba.njit
def error_function(x: Any) -> Any:
    return erf(x)


@numba.njit
def exponential_less_one(x: Any) -> Any:
    return expm1(x)


@numba.njit
def logarithm_of_one_more(x: Any) -> Any:
    return log1p(x)


def of_lanes(function: Any, x: Any) -> Any:
    values = np.resize(x, (-(-x.size // n_lanes(x.dtype)), n_lanes(x.dtype)))
    apply(function, values)
    return values.ravel()[: x.size]


@pytest.mark.parametrize(("dtype", "lowest"), [(np.float64, -708.0), (np.float32, -87.0)])
def test_exp_to_about_one_ulp(dtype: Any, lowest: float) -> None:
    """Without the table of AVX-512, r is up to 0.35 instead of 0.02, and the rounding of r h counts."""
    x = np.concatenate([np.linspace(lowest, 0, 200_000), -np.logspace(-30, 0, 4000)]).astype(dtype)
    exact = np.exp(x.astype(np.longdouble))
    bound = np.finfo(dtype).eps * (1.0 if AVX512 else 1.05)
    assert (np.abs(of_lanes(exponential, x) - exact) / exact).max() < bound


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_exp_at_the_edges(dtype: Any) -> None:
    values = of_lanes(exponential, np.array([np.nan, -np.inf, -1e30, 0.0, -0.0], dtype))
    assert np.isnan(values[0])
    assert (values[1:3] >= 0).all() and (values[1:3] < 1e-37).all()
    assert (values[3:] == 1).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("function", "exact", "ulp"), [(hyperbolic_tangent, np.tanh, 3), (error_function, erf_, 5)])
def test_odd_functions_within_a_few_ulp(function: Any, exact: Any, ulp: float, dtype: Any) -> None:
    small = np.logspace(-30, 0, 4000)
    x = np.concatenate([np.linspace(-30, 30, 200_000), np.linspace(-2, 2, 50_000), small, -small]).astype(dtype)
    values = exact(x.astype(np.float64 if exact is erf_ else np.longdouble))
    assert (np.abs(of_lanes(function, x) - values) / np.abs(values)).max() < ulp * np.finfo(dtype).eps
    edges = of_lanes(function, np.array([np.nan, np.inf, -np.inf, -0.0, 0.0], dtype))
    np.testing.assert_array_equal(edges, [np.nan, 1, -1, 0, 0])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_expm1_and_log1p_within_a_few_ulp(dtype: Any) -> None:
    small = np.logspace(-30, 0, 4000)
    below = -np.concatenate([np.linspace(1e-4, 60, 200_000), np.linspace(1e-4, 1, 50_000), small]).astype(dtype)
    above = np.concatenate([np.linspace(1e-6, 1, 200_000), small]).astype(dtype)
    for function, exact, x in ((exponential_less_one, np.expm1, below), (logarithm_of_one_more, np.log1p, above)):
        values = exact(x.astype(np.longdouble))
        assert (np.abs(of_lanes(function, x) - values) / np.abs(values)).max() < 2.5 * np.finfo(dtype).eps
    edges = of_lanes(exponential_less_one, np.array([np.nan, -np.inf, -0.0, 0.0], dtype))
    np.testing.assert_array_equal(edges, [np.nan, -1, 0, 0])
    np.testing.assert_array_equal(of_lanes(logarithm_of_one_more, np.array([np.nan, 0.0], dtype)), [np.nan, 0])


def activated(activation: str, x: Any) -> tuple[Any, Any]:
    """``act(x)`` and ``act'(x)`` by the kernels: one neuron of weights one, and one prompt a number."""
    neuron, tokens = wflow.FeedForward(activation), x[:, None, None]
    one = np.ones(1, x.dtype)
    values = neuron.mean(tokens, np.ones((1, 2), x.dtype), one)
    slopes, _ = neuron.vjp(tokens, np.ones((1, 2), x.dtype), one, np.ones_like(tokens))
    return values.ravel(), slopes.ravel()


@pytest.mark.parametrize("activation", wflow.encoders.ACTIVATIONS)
@pytest.mark.parametrize(("dtype", "large"), [(np.float64, 1e300), (np.float32, 1e37)])
def test_activations_over_the_whole_range(activation: str, dtype: Any, large: float) -> None:
    """To a few ulp of the value or, where that is small, of one; no overflow at any size; infinities give the limit or
    NaN, as the empty lanes of a register do."""
    size = np.concatenate([np.logspace(-20, 2, 4000), np.linspace(0, 40, 4001)])
    x = np.concatenate([size, -size]).astype(dtype)
    wide = np.float64 if activation == "gelu" else np.longdouble  # erf has no more
    exact = [function(x.astype(wide)) for function in ACTIVATIONS[activation]]
    for ours, theirs in zip(activated(activation, x), exact):
        assert (np.abs(ours - theirs) / np.maximum(1, np.abs(theirs))).max() < 6 * np.finfo(dtype).eps
    far = np.array([large, -large], dtype)
    values, slopes = activated(activation, far)
    bounded, low = activation in ("tanh", "sigmoid"), {"tanh": -1, "elu": -1, "identity": -np.inf}.get(activation, 0)
    limits = np.array([1 if bounded else np.inf, low])
    expected = np.where(np.isinf(limits), far, limits)
    np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(slopes, [0 if bounded else 1, activation == "identity"], rtol=1e-6, atol=1e-6)
    values, _ = activated(activation, np.array([np.inf, -np.inf], dtype))
    none = np.isnan(values)
    np.testing.assert_allclose(values[~none], limits[~none], atol=1e-30)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_vanishing_activations_keep_their_digits(dtype: Any) -> None:
    """Where sigmoid, silu, softplus and their derivatives are small, their relative error is a few ulp too."""
    x = -np.linspace(3, 80 if dtype == np.float32 else 700, 20_001).astype(dtype)
    for activation in ("sigmoid", "silu", "softplus"):
        exact = [function(x.astype(np.longdouble)) for function in ACTIVATIONS[activation]]
        for ours, theirs in zip(activated(activation, x), exact):
            assert (np.abs(ours - theirs) / np.abs(theirs)).max() < 6 * np.finfo(dtype).eps


PROGRAM = """
import sys
import numpy as np
import wflow
from wflow.kernels.simd.lanes import n_lanes
rng = np.random.default_rng(0)
data = wflow.Dataset(rng.standard_normal((5, 3, 7)), rng.standard_normal(5))
Q = wflow.TransformerObjective(data, wflow.SoftmaxAttention(), wflow.FeedForward("gelu"), 0.1, layers=2)
rho = wflow.Particles(theta=rng.standard_normal((2, 11, 18)), w=rng.standard_normal((2, 9, 6)))
answer = Q.evaluate(rho)
np.savez(sys.argv[1], n_lanes=n_lanes(float), value=answer.value, **answer.velocity)
"""


def test_processors_with_shorter_registers_agree(tmp_path: Path) -> None:
    """numba is told to write code for a processor without AVX-512."""
    features = "+avx,+avx2,+fma,+sse4.2,+bmi,+bmi2" if platform.machine() in ("x86_64", "AMD64") else ""
    if not features:
        pytest.skip("the processor that is asked for is of another family")
    shorter = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": features, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    results = []
    for name, environment in (("own", {}), ("shorter", shorter)):
        path = tmp_path / f"{name}.npz"
        subprocess.run([sys.executable, "-c", PROGRAM, str(path)], check=True, env=os.environ | environment)
        results.append(np.load(path))
    own, other = results
    assert other["n_lanes"] == 4
    for key in ("value", "theta", "w"):
        np.testing.assert_allclose(other[key], own[key], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("activation", wflow.encoders.ACTIVATIONS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_nan_is_never_hidden(activation: str, dtype: Any) -> None:
    tokens = np.ones((2, 3, 4), dtype)
    tokens[1, 1, 2] = np.nan
    for encoder in (wflow.FeedForward(activation), wflow.SoftmaxAttention()):
        parameters = np.ones((5, encoder.n_parameters(3)), dtype)
        out = encoder.mean(tokens, parameters, np.full(5, 0.2))
        assert np.isfinite(out[0]).all() and np.isnan(out[1]).any()
        tokens_bar, parameters_bar = encoder.vjp(tokens, parameters, np.full(5, 0.2), np.ones_like(tokens))
        assert np.isfinite(tokens_bar[0]).all() and np.isnan(parameters_bar).any(axis=1).all()


def test_an_overflow_names_its_place() -> None:
    """One prompt is so large that its tokens leave the numbers on the way."""
    tokens = np.ones((3, 2, 4))
    tokens[1] = 1e3
    data = wflow.Dataset(tokens, np.zeros(3), readout=(1, 2))
    objective = wflow.TransformerObjective(data, feedforward=wflow.FeedForward("identity"), layers=2)
    rho = wflow.Particles(w=np.full((2, 1, 4), 1e77))
    with np.errstate(all="ignore"), pytest.raises(wflow.SolveError) as failure:
        wflow.solve(objective, rho, (0, 1))
    assert "the tokens of prompt 1 are inf at state 4 of 4 in depth, row 0, column 2" in str(failure.value)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("size", [(1, 1, 1), (3, 2, 5), (2, 6, 11), (5, 1, 40), (40, 3, 2), (2, 17, 23)])
def test_kernels_stay_in_their_workspace(size: tuple[int, int, int], dtype: Any, monkeypatch: Any) -> None:
    """The registers after those that were asked for keep what they held."""
    given = []

    def guarded(registers: int, lanes: int, dtype: Any) -> Any:
        memory = aligned_empty((registers + 50, lanes), dtype)
        memory[registers:] = 7
        given.append(memory[registers:])
        return memory[:registers]

    monkeypatch.setattr(wflow.encoders.compiled, "workspace", guarded)
    rng = np.random.default_rng(0)
    B, D, n = size
    readouts = [np.ones((1, D, n)), np.zeros((1, D, n))]
    readouts[1][:, :, ::2] = 1
    for encoder in (wflow.SoftmaxAttention(), wflow.FeedForward("relu"), wflow.FeedForward("relu", 2, bias=True)):
        for readout in readouts:
            data = wflow.Dataset(rng.standard_normal(size), rng.standard_normal((B, 1)), readout)
            objective = wflow.TransformerObjective(data, encoder, layers=1)
            theta = rng.standard_normal((1, 19, encoder.n_parameters(D))).astype(dtype)
            objective.evaluate(wflow.Particles(theta=theta))
    assert len(given) >= 12 and all((guard == 7).all() for guard in given)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("width", "parts", "k", "block"), [(1, 1, 1, 1), (19, 1, 5, 1), (33, 2, 4, 6), (100, 3, 2, 6)])
def test_packing_and_back(width: int, parts: int, k: int, block: int, dtype: Any) -> None:
    """Every number lies in one place: what is packed comes back, and what is not there is zero."""
    rng, S = np.random.default_rng(0), 2
    points, weights = rng.standard_normal((S, width, parts * k)).astype(dtype), rng.random((S, width))
    order = rng.permutation(parts * k).reshape(parts, k)
    packed = Packed.of(Compiled("attention", (0, 0), order, block, slice(0, k)), points, weights)
    n_lanes_used = -(-width * parts // n_lanes(dtype)) * n_lanes(dtype)
    assert packed.registers.size == S * n_lanes_used * (k + 1)
    expected = np.concatenate([points.ravel(), np.repeat(weights.astype(dtype), parts)])
    inside = packed.registers[packed.registers != 0]
    np.testing.assert_array_equal(np.sort(inside), np.sort(expected))
    np.testing.assert_array_equal(packed.gradient(packed.registers), points)


def test_large_scores_do_not_overflow() -> None:
    head = wflow.SoftmaxAttention()
    tokens = np.array([[[1.0, -2.0, 3.0]]])
    out = head.mean(tokens, np.array([[1.0, 1e4]]), np.ones(1))
    np.testing.assert_allclose(out, [[[3.0, -2.0, 3.0]]])


def test_kernels_are_compiled_where_numba_is_told_not_to() -> None:
    """LLVM code cannot be interpreted: NUMBA_DISABLE_JIT, as coverage tools set it, is set back with a word."""
    program = (
        "import numpy as np, wflow; neurons = wflow.FeedForward('tanh'); "
        "print(neurons.mean(np.ones((1, 1, 1)), np.array([[1.0, 2.0]]), np.ones(1)).item())"
    )
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and float(done.stdout) == pytest.approx(2 * np.tanh(1), rel=1e-15)
    assert "RuntimeWarning: NUMBA_DISABLE_JIT is set back for this process" in done.stderr
