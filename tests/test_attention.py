"""The family of attention kernels and masks: closed forms, exact properties, files and run files."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import wflow
from wflow import Attention, InputError
from wflow.encoders import KERNELS
from wflow.encoders.protocol import reads
from wflow.plain import build, describe

DOTS = [kernel for kernel in KERNELS if not kernel.startswith("gaussian")]
HOLES = np.array([[1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 0, 1], [1, 0, 0, 0]])
ONE = np.ones(1)


def head(kernel: str, mask: Any = None, **options: Any) -> Attention:
    """In the form that every kernel has."""
    return Attention(kernel, mask, factored=True, **options)


def scalar(kernel: str, z: Any, W_K: float = 1.0, W_Q: float = 1.0, V: float = 3.0, **options: Any) -> Any:
    """One head of dimension one at tokens z."""
    theta = np.array([[V, 1.0, W_K, W_Q]])
    return head(kernel, **options).mean(np.array(z, float).reshape(1, 1, -1), theta, ONE).ravel()


def test_closed_forms_of_two_tokens() -> None:
    e = np.exp(-0.5)
    assert_allclose(scalar("gaussian", [1, 2]), [6.639183958276, 7.819591979138], atol=1e-12)
    assert_allclose(scalar("gaussian", [1, 2]), [3 + 6 * e, 6 + 3 * e], rtol=1e-15)
    assert_allclose(scalar("gaussian-normalised", [1, 2]), [(3 + 6 * e) / (1 + e), (6 + 3 * e) / (1 + e)], rtol=1e-15)
    assert_array_equal(scalar("linear", [1, 2]), [7.5, 15])
    assert_array_equal(scalar("softmax", [1, 2], 0.0, mask="causal"), [3, 4.5])
    assert_array_equal(scalar("relu", [1, 2], -1.0), [0, 0])
    assert_allclose(
        scalar("sigmoid", [1, 2], scale=0.5), [sum(3 * z / (1 + np.exp(-0.5 * z * x)) for z in (1, 2)) for x in (1, 2)]
    )
    assert_array_equal(scalar("sparsemax", [1, 2]), [6, 6])  # scores 1 and 2, 2 and 4: all weight on the larger
    assert_allclose(scalar("sparsemax", [1, 2], scale=0.5), [3 * (0.25 + 1.5), 6], rtol=1e-15)


def limit(kernel: str, L: int, theta: Any, z: float) -> float:
    """One token, D = 1, at the end of ``T' = f(T)/2`` by rk4-nodes."""
    data = wflow.Dataset(np.full((1, 1, 1), z), [0.0])
    Q = wflow.TransformerObjective(data, head(kernel), depth="rk4-nodes", layers=L)
    rho = wflow.Particles(theta=np.tile(theta, (Q.rule.n_slices, 1, 1)))
    return float(Q.predict(rho)[0])


def test_limits_in_depth() -> None:
    """Ei(c T(1)^2) - Ei(c T_0^2) = v with c = s (W_K - W_Q)^2/2 = 0.4, and T_0/sqrt(1 - v w T_0^2) with v w = 0.9."""
    gaussian = [1.5, 1.0, np.sqrt(0.8), 0.0]
    assert_allclose(limit("gaussian", 64, gaussian, 0.8), 1.297521652533, atol=5e-10)
    from scipy.special import expi

    T = limit("gaussian", 64, gaussian, 0.8)
    assert_allclose(expi(0.4 * T**2) - expi(0.4 * 0.64), 1.5, atol=1e-8)
    linear = [0.9, 1.0, 1.0, 1.0]
    assert_allclose(limit("linear", 64, linear, 0.8), 1.228590233668, atol=5e-10)
    assert_allclose(limit("relu", 64, linear, 0.8), 0.8 / np.sqrt(1 - 0.9 * 0.64), atol=5e-10)
    errors = [abs(limit("gaussian", L, gaussian, 0.8) - T) for L in (4, 8)]
    assert 3.7 < np.log2(errors[0] / errors[1]) < 4.4


def test_blow_up_is_said_in_words() -> None:
    """T_0 = 0.8 and v w = 16: the depth equation blows up before its end; networks of few layers stay finite."""
    values = []
    for L in (1, 4, 64):
        Q = wflow.TransformerObjective(wflow.Dataset(np.full((1, 1, 1), 0.8), [1.0]), Attention("linear"), layers=L)
        rho = wflow.Particles(theta=np.tile([[4.0, 4.0]], (L, 1, 1)))
        values.append(float(Q.predict(rho)[0]))
        if L < 64:
            T = 0.8
            for _ in range(L):
                T += 8 * T**3 / L
            assert_allclose(values[-1], T, rtol=1e-13)
            assert Q.overflow(rho) == ""
    assert values[1] > 1e11 and not np.isfinite(values[2])
    words = "linear attention grows as the third power .* blows up before its end; take smaller initial parameters"
    with pytest.raises(wflow.SolveError, match=words):
        wflow.solve(Q, rho, (0, 1), dtau=0.1)
    assert Attention("sigmoid").why_overflow() == ""


def test_softmax_attention_is_attention() -> None:
    assert wflow.SoftmaxAttention() == Attention() and wflow.SoftmaxAttention(True, 2) == Attention(
        factored=True, rank=2
    )
    rng = np.random.default_rng(0)
    tokens, theta, p = rng.standard_normal((2, 3, 4)), rng.standard_normal((5, 18)), rng.standard_normal((2, 3, 4))
    a = rng.dirichlet(np.ones(5))
    for one, other in zip(
        (Attention().mean(tokens, theta, a), *Attention().vjp(tokens, theta, a, p)),
        (
            Attention(mask=np.ones((4, 4))).mean(tokens, theta, a),
            *Attention(mask=("local", 3)).vjp(tokens, theta, a, p),
        ),
    ):
        assert_array_equal(one, other)


@pytest.mark.parametrize("kernel", KERNELS)
def test_scale_is_that_of_keys_and_queries(kernel: str) -> None:
    """s in front of the scores is sqrt(s) in front of W_K and W_Q; for linear kinds a factor of the result."""
    rng = np.random.default_rng(1)
    tokens, a, p = rng.standard_normal((2, 3, 5)), rng.dirichlet(np.ones(4)), rng.standard_normal((2, 3, 5))
    encoder, other = head(kernel, rank=2, scale=0.3), head(kernel, rank=2)
    theta = rng.standard_normal((4, 24))
    scaled = theta.copy()
    scaled[:, 12:] *= np.sqrt(0.3)
    assert_allclose(encoder.mean(tokens, theta, a), other.mean(tokens, scaled, a), rtol=1e-12, atol=1e-14)
    ours, theirs = encoder.vjp(tokens, theta, a, p), other.vjp(tokens, scaled, a, p)
    theirs[1][:, 12:] *= np.sqrt(0.3)
    for x, y in zip(ours, theirs):
        assert_allclose(x, y, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("mask", ["causal", ("local", 1), HOLES], ids=str)
def test_hidden_tokens_have_no_influence_at_all(kernel: str, mask: Any) -> None:
    """Neither forward, nor on the derivatives, at any size of what is hidden."""
    rng = np.random.default_rng(2)
    tokens, theta, p = rng.standard_normal((1, 2, 4)), rng.standard_normal((3, 16)), rng.standard_normal((1, 2, 4))
    encoder, a = head(kernel, mask), np.full(3, 1 / 3)
    read = reads(encoder, np.array([0]), 4)
    assert 0 in read and len(read) < 4
    other, only = 1e3 * rng.standard_normal(tokens.shape), np.zeros_like(p)
    other[:, :, read], only[:, :, 0] = tokens[:, :, read], p[:, :, 0]
    assert_array_equal(encoder.mean(tokens, theta, a)[:, :, 0], encoder.mean(other, theta, a)[:, :, 0])
    (T_bar, bar), (T_other, bar_other) = encoder.vjp(tokens, theta, a, only), encoder.vjp(other, theta, a, only)
    assert_allclose(bar, bar_other, rtol=1e-13, atol=1e-15)
    hidden = np.setdiff1d(np.arange(4), read)
    assert not T_bar[:, :, hidden].any() and not T_other[:, :, hidden].any()


def test_reads() -> None:
    columns = np.array([1])
    for mask, expected in ((None, [0, 1, 2, 3]), ("causal", [0, 1]), (("local", 0), [1]), (("local", 1), [0, 1, 2])):
        assert reads(Attention(mask=mask), columns, 4).tolist() == expected
    assert reads(Attention(mask=HOLES), np.array([2]), 4).tolist() == [1, 2]
    assert reads(Attention(mask=HOLES.astype(bool)), np.array([1, 3]), 4).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_network_keeps_what_masks_reach(kernel: str) -> None:
    """A network that reads an early token computes the tokens before it alone, with 1/n of whole prompts."""
    rng = np.random.default_rng(3)
    tokens = rng.standard_normal((3, 2, 6))
    early, late = (wflow.Dataset(tokens, np.ones(3), readout=(1, column)) for column in (2, 5))
    encoder = head(kernel, "causal")
    Q = wflow.TransformerObjective(early, encoder, wflow.FeedForward("tanh"), layers=2)
    assert [len(kept) for kept in Q.network.program.tokens] == [3, 3, 3, 1, 1]
    rho = wflow.initial.gaussian(0.7).sample(Q, 4, 0)
    both = np.zeros((2, 2, 6))
    both[0, 1, 2] = both[1, 1, 5] = 1
    all_read = wflow.TransformerObjective(
        wflow.Dataset(tokens, np.ones((3, 2)), readout=both), encoder, wflow.FeedForward("tanh"), layers=2
    )
    assert_allclose(Q.predict(rho), all_read.predict(rho)[:, 0], rtol=1e-13)
    Q = wflow.TransformerObjective(late, encoder, wflow.FeedForward("tanh"), layers=2)
    assert_allclose(Q.predict(rho), all_read.predict(rho)[:, 1], rtol=1e-13)


@pytest.mark.parametrize("kernel", KERNELS)
def test_invariants_of_the_factors(kernel: str) -> None:
    """``W_O^T W_O - W_V W_V^T`` stands still for all kernels, ``W_K W_K^T - W_Q W_Q^T`` for those of ``W_K^T W_Q``; for
    the Gaussians ``W_K' W_K^T + W_Q' W_Q^T`` is symmetric, by the rotations of keys and queries."""
    rng = np.random.default_rng(4)
    data = wflow.Dataset(rng.standard_normal((5, 3, 4)), rng.standard_normal(5))
    Q = wflow.TransformerObjective(data, head(kernel, "causal", rank=2, scale=0.6), layers=2)
    rho = wflow.initial.gaussian(0.6).sample(Q, 3, 1)
    v = Q.velocity(rho).theta
    x, dx = (array.reshape(2, 3, 4, 6) for array in (rho.theta, v))
    (V, O, K, W), (dV, dO, dK, dW) = (
        (
            y[..., 0, :].reshape(2, 3, 2, 3),
            y[..., 1, :].reshape(2, 3, 3, 2),
            *y[..., 2:, :].reshape(2, 3, 2, 2, 3).swapaxes(0, 2).swapaxes(1, 2),
        )
        for y in (x, dx)
    )

    def t(array: Any) -> Any:
        return array.swapaxes(-1, -2)

    size = np.abs(v).max()
    change = t(dO) @ O + t(O) @ dO - dV @ t(V) - V @ t(dV)
    assert_allclose(change, 0, atol=1e-13 * size)
    dots = dK @ t(K) + K @ t(dK) - dW @ t(W) - W @ t(dW)
    turn = dK @ t(K) + dW @ t(W)
    if kernel in DOTS:
        assert_allclose(dots, 0, atol=1e-13 * size)
    else:
        assert np.abs(dots).max() > 1e-3 * size
        assert_allclose(turn, t(turn), atol=1e-13 * size)


def test_sparsemax_weights_are_the_projection() -> None:
    """Against the sorted formula, with ties and far scores."""
    rng = np.random.default_rng(5)
    scores = np.concatenate(
        [rng.standard_normal((40, 7)), rng.integers(-1, 2, (20, 7)), 300 * rng.standard_normal((20, 7))]
    )
    for row in scores:
        # One row of tokens carries the scores, to be read by the query's constant one, and the others the keys' names.
        Z = np.concatenate([row[None], np.ones((1, 7)), np.eye(7)])[None]
        W, V = np.zeros((9, 9)), np.eye(9)
        W[0, 1] = 1
        P = Attention("sparsemax").mean(Z, np.concatenate([V.ravel(), W.ravel()])[None], ONE)[0, 2:, 0]
        ordered = np.sort(row)[::-1]
        candidates = (np.cumsum(ordered) - 1) / np.arange(1, 8)
        support = np.flatnonzero(ordered > candidates)[-1]
        assert_allclose(P, np.maximum(row - candidates[support], 0), atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("mask", [None, "causal", HOLES], ids=str)
def test_no_number_goes_unsaid(kernel: str, mask: Any) -> None:
    """NaN of a seen token arrives; large scores do no harm where weights are bounded."""
    rng = np.random.default_rng(6)
    encoder, theta = head(kernel, mask), rng.standard_normal((2, 16))
    tokens = rng.standard_normal((1, 2, 4))
    tokens[0, 0, 1] = np.nan
    assert np.isnan(encoder.mean(tokens, theta, np.full(2, 0.5))[0, :, 1]).all()
    if kernel not in ("linear", "relu"):
        far = encoder.mean(1e8 * rng.standard_normal((1, 2, 4)), theta, np.full(2, 0.5))
        assert np.isfinite(far).all()


WRONG: dict[str, tuple[Any, str]] = {
    "kernel": (lambda: Attention("softmx"), "kernel must be one of .*did you mean 'softmax'"),
    "full Gaussian": (lambda: Attention("gaussian"), "kernel='gaussian' needs factored=True"),
    "full normalised": (lambda: Attention("gaussian-normalised"), "needs factored=True"),
    "scale": (lambda: Attention(scale=0), "scale must be a positive finite number, got 0"),
    "word": (lambda: Attention(mask="casual"), "mask must be None, 'causal', .*got 'casual'"),
    "window": (lambda: Attention(mask=("local", -1)), "w of the mask .* must be a non-negative integer, got -1"),
    "number": (lambda: Attention(mask=1), "mask must be None, 'causal'"),
    "window alone": (lambda: Attention(mask=("local",)), "mask must be None, 'causal'"),
    "oblong": (lambda: Attention(mask=np.ones((2, 3))), "mask must be None, 'causal'"),
    "fractions": (lambda: Attention(mask=np.full((2, 2), 0.5)), "mask must be None, 'causal'"),
    "no key": (lambda: Attention(mask=np.tri(3, k=-1)), "query 2 sees no key"),
    "tokens": (
        lambda: wflow.TransformerObjective(wflow.Dataset(np.ones((1, 2, 3)), [1.0]), Attention(mask=HOLES)),
        r"mask has shape \(4, 4\), but prompts have 3 tokens",
    ),
    "tokens of a call": (
        lambda: Attention(mask=HOLES).mean(np.ones((1, 1, 3)), np.ones((1, 2)), ONE),
        r"mask has shape \(4, 4\), but prompts have 3 tokens",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_refused(name: str) -> None:
    make, words = WRONG[name]
    with pytest.raises(InputError, match=words):
        make()


def test_equality_descriptions_and_travel() -> None:
    for encoder in (Attention(mask=HOLES), Attention("relu", ("local", 2), scale=0.5), head("gaussian", "causal")):
        again = build(describe(encoder))
        assert again == encoder and hash(again) == hash(encoder)
        there = pickle.loads(pickle.dumps(encoder))
        assert there == encoder
    assert Attention(mask=HOLES) == Attention(mask=HOLES.astype(bool)) == Attention(mask=HOLES.tolist())
    other = HOLES.copy()
    other[0, 1] = 1
    assert Attention(mask=HOLES) != Attention(mask=other) != Attention(mask="causal") != Attention()
    assert Attention() != wflow.FeedForward()
    kept = Attention(mask=HOLES).mask
    assert (
        isinstance(kept, np.ndarray) and not kept.flags.writeable and repr(Attention(mask=HOLES)).count("(4, 4)") == 1
    )


def test_a_mask_survives_files_and_run_files(tmp_path: Path) -> None:
    text = """
    [data]
    kind = "in-context"
    n_prompts = 8
    dimension = 1
    context = 3
    [attention]
    kernel = "gaussian-normalised"
    factored = true
    scale = 2
    mask = "mask.npy"
    [initial]
    M = 3
    law = "gaussian"
    [objective]
    layers = 2
    [solve]
    tau_end = 0.1
    dtau = 0.05
    """
    np.save(tmp_path / "mask.npy", HOLES)
    (tmp_path / "run.toml").write_text(text)
    run = wflow.runfile.read(tmp_path / "run.toml")
    expected = head("gaussian-normalised", HOLES, scale=2.0)
    assert run.objective.encoders["theta"] == expected
    run.solve(tmp_path / "run.h5", progress=False)
    assert wflow.load(tmp_path / "run.h5").objective.encoders["theta"] == expected
    assert wflow.resume(tmp_path / "run.h5", 0.2).tau[-1] == 0.2
    for given, mask in (('"causal"', "causal"), ('["local", 1]', ("local", 1))):
        (tmp_path / "run.toml").write_text(text.replace('"mask.npy"', given))
        read = wflow.runfile.read(tmp_path / "run.toml").objective.encoders["theta"]
        assert isinstance(read, Attention) and read.mask == mask
    np.save(tmp_path / "empty.npy", np.zeros((4, 4)))
    (tmp_path / "text.npy").write_text("no array")
    for given, words in (
        ('"casual"', "no such file; did you mean 'causal'"),
        ('"empty.npy"', "empty.npy: mask: query 0 sees no key"),
        ('"text.npy"', "cannot be read as an array"),
        ('["local", 1.5]', "mask must be 'causal', a pair"),
    ):
        (tmp_path / "run.toml").write_text(text.replace('"mask.npy"', given))
        with pytest.raises(InputError, match=words):
            wflow.runfile.read(tmp_path / "run.toml")
