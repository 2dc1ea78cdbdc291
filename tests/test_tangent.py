"""The tangent kernel against exact values, the numpy Transformer, derivatives of predictions and the flow itself."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numba
import numpy as np
import pytest
from conftest import random_data, random_measure, slope
from numpy.testing import assert_allclose, assert_array_equal
from scipy.linalg import expm
from test_network import Shifted

import wflow
from validation.kernel import prediction_gradients, state_of
from validation.transformer import FiniteTransformer
from wflow import tangent
from wflow.network import DEPTH_RULES, rows
from wflow.problems import constant_encoders

LOSSES = ("logistic", "cross-entropy", "huber")
HEADS = {
    k: wflow.Attention(k, "causal", factored=True, rank=2, scale=0.7) for k in wflow.encoders.KERNELS if k != "relu"
}
FULL, TANH = wflow.SoftmaxAttention(), wflow.FeedForward("tanh")
FACTORED, UNITS = wflow.SoftmaxAttention(factored=True, rank=2), wflow.FeedForward("gelu", hidden=2, bias=True)


def predictions(objective: wflow.TransformerObjective, rho: wflow.Particles, tokens: Any = None) -> Any:
    return objective.predict(rho, tokens).ravel()


def along(rho: Any, v: Any, h: float) -> Any:
    return rho.replace(**{block: rho.points(block) + h * v[block] for block in rho.blocks})


@pytest.mark.parametrize("depth", DEPTH_RULES)
@pytest.mark.parametrize(("blocks", "entry"), [(("theta", "w"), 0.5), (("w",), 0.25)])
def test_constant_encoders(depth: str, blocks: Any, entry: float) -> None:
    """One step of every block moves all predictions alike: K = 1/4 a block, whatever the law."""
    problem = constant_encoders(layers=3, width=5, depth=depth, blocks=blocks)
    K = wflow.tangent_kernel(problem.energy, problem.rho0)
    B = problem.energy.dataset.n_prompts
    assert_allclose(K, np.full((B, B), entry), rtol=1e-14)
    parts = wflow.tangent_kernel(problem.energy, problem.rho0, by="block")
    assert [*parts] == [*blocks]
    for part in parts.values():
        assert_allclose(part, np.full((B, B), 0.25), rtol=1e-14)
    assert [*wflow.tangent_kernel(problem.energy, problem.rho0, by="group")] == [*blocks]  # which have no groups


@pytest.mark.parametrize("architecture", [(FULL, TANH), (FACTORED, UNITS), (None, UNITS), (FULL, None)], ids=str)
def test_agreement_with_the_numpy_transformer(architecture: Any) -> None:
    rng = np.random.default_rng(0)
    data = random_data(rng, 7, 3, 4, K=2)
    Q = wflow.TransformerObjective(data, *architecture, weight_decay=0.3, layers=3)
    rho = random_measure(Q, {"theta": 9, "w": 11}, rng)
    form = None if architecture[0] is None else "factored" if architecture[0].factored else "full"
    unit = architecture[1]
    words = (None,) if unit is None else (unit.activation, unit.hidden, unit.bias)
    numpy_one, J = (
        FiniteTransformer(form, *words, rank=getattr(architecture[0], "rank", None)),
        np.empty((7, 2), object),
    )
    gradients = [
        prediction_gradients(
            numpy_one, state_of(rho.blocks), wflow.Dataset(data.tokens, np.zeros(7), data.readout[k : k + 1])
        )
        for k in range(2)
    ]
    J = np.stack(gradients, axis=1).reshape(14, -1)
    K = wflow.tangent_kernel(Q, rho)
    assert_allclose(K, J @ J.T, rtol=0, atol=1e-12 * np.abs(K).max())
    assert_array_equal(K, K.T)


def spread(rng: Any, name: str) -> tuple[wflow.TransformerObjective, Any]:
    """A problem of every kind: encoders, depth rules, weights, densities, labels, losses."""
    K, depth, encoders = 0, "split-euler", (FULL, TANH)
    if name in LOSSES:
        labels = rng.integers(0, 3, 5) if name == "cross-entropy" else rng.choice([-1.0, 1.0], (5, 3))
        data = wflow.Dataset(rng.standard_normal((5, 3, 4)), labels, [(k, -1) for k in range(3)])
        Q = wflow.TransformerObjective(data, FULL, TANH, layers=2, loss=name)
        return Q, random_measure(Q, {"theta": 9, "w": 11}, rng, weighted=True)
    if name == "grid":
        Q = wflow.TransformerObjective(random_data(rng, 5, 1, 3), None, TANH, layers=2, depth="midpoint")
        return Q, wflow.initial.gaussian(0.5).on_grid(Q, {"w": ((-4, 4), (-4, 4))}, 12)
    if name in HEADS:
        encoders, mobility = (HEADS[name], TANH), {"theta": 0.5, "W_V": 2.0, "W_1": 0.0}
        Q = wflow.TransformerObjective(random_data(rng, 5, 3, 4), *encoders, layers=2, mobility=mobility)
        rho = random_measure(Q, {"theta": 9, "w": 11}, rng, weighted=True)
        return Q, rho.replace(theta=0.5 * rho.theta, w=rho.w)
    if name in DEPTH_RULES:
        K, depth, encoders = 3, name, (FACTORED, UNITS)
    if name == "user":
        K, depth, encoders = 2, "midpoint", (Shifted(), TANH)
    Q = wflow.TransformerObjective(random_data(rng, 5, 3, 4, K), *encoders, layers=3, depth=depth)
    return Q, random_measure(Q, {"theta": 9, "w": 11}, rng, weighted=True)


@pytest.mark.parametrize("name", [*DEPTH_RULES, "user", "grid", *LOSSES, *HEADS])
def test_residuals_follow_the_kernel(name: str) -> None:
    """``r' = -K r/B`` along the velocity, for every depth rule, weights, users' encoders, densities and losses."""
    Q, rho = spread(np.random.default_rng(1), name)
    K = wflow.tangent_kernel(Q, rho)
    r = predictions(Q, rho) - (0 if name in LOSSES else Q.dataset.labels.ravel())
    if name == "grid":  # cells do not move, but the same masses at their points do
        rho = wflow.Particles(w=rho.points("w"), weights={"w": rho.weights("w")})
    v = Q.velocity(rho)
    measured = slope(lambda h: predictions(Q, along(rho, v, h)), 1e-3)
    if name in LOSSES:
        targets = Q.dataset.targets
        r = Q.loss_function.gradient(r.reshape(targets.shape), targets).ravel()
    assert np.abs(K @ r).max() > 0.01
    assert_allclose(measured, -K @ r / Q.dataset.n_prompts, rtol=0, atol=1e-8 * np.abs(K @ r).max())


def test_other_prompts_and_parts() -> None:
    """Held-out prompts give the kernel of their own; the parts of blocks and groups add up."""
    rng = np.random.default_rng(2)
    Q, rho = spread(rng, "rk4-nodes")
    other = random_data(rng, 3, 3, 4, 3)
    apart = wflow.TransformerObjective(other, FACTORED, UNITS, layers=3, depth="rk4-nodes")
    K = wflow.tangent_kernel(Q, rho, other)
    assert K.shape == (9, 9)
    assert_array_equal(K, wflow.tangent_kernel(apart, rho))
    by_block, by_group = (wflow.tangent_kernel(Q, rho, other, by=by) for by in ("block", "group"))
    assert [*by_block] == ["theta", "w"]
    assert [*by_group] == [*(f"theta.{g}" for g in ("W_V", "W_O", "W_K", "W_Q")), "w.W_1", "w.W_2"]
    assert_allclose(sum(by_block.values()), K, rtol=0, atol=1e-14 * np.abs(K).max())
    for block, part in by_block.items():
        groups = [kernel for name, kernel in by_group.items() if name.startswith(block)]
        assert_allclose(sum(groups), part, rtol=0, atol=1e-14 * np.abs(K).max())


@pytest.mark.parametrize("name", ["split-euler", "user"])
def test_the_same_for_any_number_of_threads_and_panels(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Q, rho = spread(np.random.default_rng(3), name)
    K = wflow.tangent_kernel(Q, rho, by="group")
    monkeypatch.setattr(tangent, "BAND", 4)
    for threads, size in ((1, 1), (3, 1), (3, 3456), (1, 3456)):  # one row, and two, of which three belong to a prompt
        monkeypatch.setattr(rows, "GROUP_BYTES", size)
        monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", threads)
        for part, again in zip(K.values(), wflow.tangent_kernel(Q, rho, by="group").values()):
            assert_array_equal(part, again)
    monkeypatch.setattr(rows, "PANEL_BYTES", 1)  # eight particles at a time
    for part, again in zip(K.values(), wflow.tangent_kernel(Q, rho, by="group").values()):
        assert_allclose(part, again, rtol=0, atol=1e-14 * np.abs(part).max())


def test_compiled_and_plain_executors_agree() -> None:
    class Plain(wflow.Attention):
        """The same heads by their methods."""

        def mean(self, *args: Any) -> Any:
            return super().mean(*args)

    rng = np.random.default_rng(4)
    Q, rho = spread(rng, "split-euler")
    Q = wflow.TransformerObjective(Q.dataset, FULL, TANH, layers=3)
    rho = random_measure(Q, {"theta": 9, "w": 11}, rng, weighted=True)
    user = wflow.TransformerObjective(Q.dataset, Plain(), TANH, layers=3)
    assert type(user.network.executor) is not type(Q.network.executor)
    K = wflow.tangent_kernel(Q, rho)
    assert_allclose(wflow.tangent_kernel(user, rho), K, rtol=0, atol=1e-13 * np.abs(K).max())


def test_single_precision_is_summed_in_double() -> None:
    rng = np.random.default_rng(5)
    Q = wflow.TransformerObjective(random_data(rng, 6, 3, 4), FULL, TANH, layers=2)
    rho = random_measure(Q, {"theta": 64, "w": 64}, rng, np.float32)
    wide = rho.replace(**{block: x.astype(np.float64) for block, x in rho.blocks.items()})
    K, exact = wflow.tangent_kernel(Q, rho), wflow.tangent_kernel(Q, wide)
    assert K.dtype == np.float64
    assert 0 < np.abs(K - exact).max() < 1e-6 * np.abs(exact).max()
    assert wflow.kernel_spectrum(Q, rho).floor > 1e8 * wflow.kernel_spectrum(Q, wide).floor


class Values:
    """Heads ``V Z softmax(Z^T W Z)`` of which V alone is trained."""

    def __init__(self, W: Any) -> None:
        self.W = W

    def _mixed(self, tokens: Any) -> Any:
        A = np.exp(tokens.transpose(0, 2, 1) @ self.W @ tokens)
        return tokens @ (A / A.sum(axis=1, keepdims=True))

    def n_parameters(self, dimension: int) -> int:
        return dimension**2

    def mean(self, tokens: Any, parameters: Any, weights: Any) -> Any:
        V = (weights @ parameters).reshape(tokens.shape[1], -1)
        return V @ self._mixed(tokens)

    def vjp(self, tokens: Any, parameters: Any, weights: Any, cotangent: Any) -> Any:
        bar = np.einsum("bdi,bei->de", cotangent, self._mixed(tokens)).ravel()
        return np.zeros_like(tokens), np.tile(bar, (len(parameters), 1))  # of one layer, whose tokens do not matter


def test_values_alone_decay_by_the_exponential_of_their_kernel() -> None:
    """One layer is linear in V: K does not change, and ``r(tau) = exp(-K tau/B) r(0)`` at every width."""
    rng = np.random.default_rng(6)
    data = random_data(rng, 4, 3, 5)
    Q = wflow.TransformerObjective(data, Values(rng.standard_normal((3, 3))), layers=1)
    rho = random_measure(Q, {"theta": 3}, rng)
    K = wflow.tangent_kernel(Q, rho)
    answer = wflow.solve(Q, rho, (0, 3), rtol=1e-12, atol=1e-13)
    r0, r = (predictions(Q, answer.measure(i)) - data.labels for i in (0, -1))
    assert_allclose(wflow.tangent_kernel(Q, answer.measure(-1)), K, rtol=1e-13)
    assert_allclose(r, expm(-K * 3 / 4) @ r0, rtol=0, atol=1e-10)
    assert np.abs(r - r0).max() > 0.3


@pytest.mark.parametrize("kernel", ["softmax", "gaussian"])
def test_values_alone_by_mobility(kernel: str) -> None:
    """The same for heads whose other factors are frozen: only the trained ones are in K."""
    rng = np.random.default_rng(13)
    frozen = {"W_V": 0.0, "W_K": 0.0, "W_Q": 0.0, "W_O": 0.5}
    heads = wflow.Attention(kernel, factored=True, rank=2)
    Q = wflow.TransformerObjective(random_data(rng, 4, 3, 5), heads, layers=1, mobility=frozen)
    rho = random_measure(Q, {"theta": 6}, rng, weighted=True)
    parts = wflow.tangent_kernel(Q, rho, by="group")
    assert {name: bool(part.any()) for name, part in parts.items()} == {f"theta.{g}": m > 0 for g, m in frozen.items()}
    free = wflow.TransformerObjective(Q.dataset, heads, layers=1)
    K = 0.5 * wflow.tangent_kernel(free, rho, by="group")["theta.W_O"]
    assert_allclose(wflow.tangent_kernel(Q, rho), K, rtol=0, atol=1e-14 * K.max())
    answer = wflow.solve(Q, rho, (0, 3), rtol=1e-12, atol=1e-13)
    r0, r = (predictions(Q, answer.measure(i)) - Q.dataset.labels for i in (0, -1))
    assert_allclose(r, expm(-K * 3 / 4) @ r0, rtol=0, atol=1e-10)
    assert np.abs(r - r0).max() > 0.1


@pytest.mark.parametrize(
    "attention", [FULL, FACTORED, *(wflow.Attention(k, factored=True) for k in ("gaussian", "sigmoid"))], ids=str
)
def test_the_risk_stays_in_its_bracket(attention: Any) -> None:
    """``R(0) exp(-2/B int lambda_max) <= R(tau) <= R(0) exp(-2/B int lambda_min)`` at every step, without decay."""
    rng = np.random.default_rng(7)
    Q = wflow.TransformerObjective(random_data(rng, 3, 3, 4), attention, TANH, layers=2)
    rho = random_measure(Q, {"theta": 8, "w": 8}, rng)
    answer = wflow.solve(Q, rho, (0, 2), dtau=0.02, scheme="rk4", save=wflow.SaveAt(steps=1))
    extremes = np.array([wflow.kernel_spectrum(Q, answer.measure(i)).values[[0, -1]] for i in range(answer.n_frames)])
    integral = np.zeros((answer.n_frames, 2))
    integral[1:] = np.cumsum(0.5 * (extremes[1:] + extremes[:-1]) * np.diff(answer.tau)[:, None], axis=0)
    highest, lowest = (np.exp(-2 / 3 * integral) * answer.risk[0]).T
    assert (lowest[1:] < answer.risk[1:]).all() and (answer.risk[1:] < highest[1:]).all()
    assert highest[-1] < 0.9 * answer.risk[0] and len(answer.risk) == 101


def test_spectra_and_their_words() -> None:
    rng = np.random.default_rng(8)
    Q = wflow.TransformerObjective(random_data(rng, 6, 3, 4, 2), FULL, TANH, layers=2)
    rho = random_measure(Q, {"theta": 8, "w": 8}, rng)
    spectrum = wflow.kernel_spectrum(Q, rho)
    exact = np.linalg.eigvalsh(wflow.tangent_kernel(Q, rho))
    assert_allclose(spectrum.values, exact, rtol=0, atol=1e-14 * exact[-1])
    assert_allclose(spectrum.rates, exact / 6, rtol=0, atol=1e-14 * exact[-1])
    assert spectrum.is_resolved and spectrum.words == f"{spectrum.smallest:.6g}" and spectrum.is_complete
    few = random_measure(Q, {"theta": 1, "w": 1}, rng)
    Q = wflow.TransformerObjective(random_data(rng, 40, 3, 4, 2), FULL, TANH, layers=1)
    few = wflow.Particles(**{block: x[:1] for block, x in few.blocks.items()})
    spectrum = wflow.kernel_spectrum(Q, few)  # of rank 24 at most
    assert not spectrum.is_resolved and np.isnan(spectrum.smallest) and spectrum.words.startswith("not resolved (below")
    assert (spectrum.values[:56] < spectrum.floor).all() and spectrum.values[60] > spectrum.floor


def test_large_kernels_are_bounded_without_being_formed(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(9)
    Q = wflow.TransformerObjective(random_data(rng, 30, 3, 4), FULL, TANH, layers=2)
    rho = random_measure(Q, {"theta": 8, "w": 8}, rng)
    exact = wflow.kernel_spectrum(Q, rho)
    monkeypatch.setattr(tangent, "FORMED", 29)
    monkeypatch.setattr(tangent, "tangent_kernel", None)
    bounds = wflow.kernel_spectrum(Q, rho)
    assert bounds.largest == pytest.approx(exact.largest, rel=1e-9)
    assert exact.smallest <= bounds.smallest < exact.largest
    assert not bounds.is_complete and bounds.words == f"at most {bounds.smallest:.6g}"


@pytest.mark.parametrize("matrix", ["random", "low rank", "diagonal", "zero", "one", "two", "huge", "tiny"])
def test_eigenvalues(matrix: str) -> None:
    X = np.random.default_rng(10).standard_normal((40, 50))
    A = X @ X.T
    A = {
        "low rank": X[:, :3] @ X[:, :3].T,
        "diagonal": np.diag(X[0, :40]),
        "zero": np.zeros((5, 5)),
        "one": A[:1, :1],
        "two": A[:2, :2],
        "huge": 1e200 * A,
        "tiny": 1e-200 * A,
    }.get(matrix, A)
    before = A.copy()
    exact = np.linalg.eigvalsh(A)
    assert_allclose(tangent.eigenvalues(A), exact, rtol=0, atol=1e-14 * np.abs(exact).max())
    assert_array_equal(A, before)


BITS = """
import numpy as np, wflow
rng = np.random.default_rng(0)
data = wflow.Dataset(rng.standard_normal((150, 3, 4)), rng.standard_normal(150))
Q = wflow.TransformerObjective(data, wflow.SoftmaxAttention(), layers=2)
rho = wflow.initial.gaussian(0.5).sample(Q, 16, 0)
print(wflow.kernel_spectrum(Q, rho).values.tobytes().hex())
"""


def test_eigenvalues_do_not_depend_on_the_threads_of_the_blas() -> None:
    bits = set()
    for threads in ("1", "2"):
        environment = os.environ | dict.fromkeys(("NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
        made = subprocess.run([sys.executable, "-c", BITS], env=environment, capture_output=True, text=True, check=True)
        bits.add(made.stdout)
    assert len(bits) == 1


@pytest.mark.parametrize("name", ["midpoint", "user", "grid", "cross-entropy"])
def test_output_variance_is_the_square_of_all_derivatives(name: str) -> None:
    """Against differences of the predictions, parameter by parameter."""
    Q, rho = spread(np.random.default_rng(11), name)
    if name == "grid":
        rho = wflow.Particles(w=rho.points("w")[:, :7], weights={"w": np.full((2, 7), 1 / 7)})
    total: Any = 0.0
    for block in rho.blocks:
        for place in np.ndindex(rho.points(block).shape):
            e = {name: np.zeros_like(rho.points(name)) for name in rho.blocks}
            e[block][place] = 1.0
            total = total + slope(lambda h, e=e: Q.predict(along(rho, e, h)), 1e-2) ** 2  # type: ignore[misc]
    variance = wflow.output_variance(Q, rho, 0.3)
    assert variance.shape == Q.predict(rho).shape
    assert_allclose(variance, 0.09 * total, rtol=1e-7)


def test_output_variance_falls_with_the_width() -> None:
    """``std^2 K_bb/(M L)`` in every block, for equal weights."""
    rng = np.random.default_rng(12)
    Q = wflow.TransformerObjective(random_data(rng, 5, 3, 4), FULL, TANH, layers=4)
    rho = random_measure(Q, {"theta": 6, "w": 10}, rng)
    parts = wflow.tangent_kernel(Q, rho, by="block")
    expected = 0.01 * (np.diag(parts["theta"]) / 6 + np.diag(parts["w"]) / 10) / 4
    assert_allclose(wflow.output_variance(Q, rho, 0.1), expected, rtol=1e-12)


class Overlapping(Shifted):
    """Groups that count a parameter twice."""

    def groups(self, dimension: int) -> Any:
        return {"a": wflow.encoders.Group(slice(0, 2), 1), "b": wflow.encoders.Group(slice(1, dimension), 1)}


def test_what_is_refused(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    Q, rho = small
    heat = wflow.PotentialEnergy(lambda x: x[:, 0] ** 2, lambda x: 2 * x)
    with pytest.raises(wflow.InputError, match=r"of a sum pass the term"):
        wflow.tangent_kernel(heat, rho)
    with pytest.raises(wflow.InputError, match=r"by must be one of block, group, got 'bloc'; did you mean 'block'\?"):
        wflow.tangent_kernel(Q, rho, by="bloc")  # type: ignore[call-overload]
    with pytest.raises(wflow.InputError, match="must have the tokens"):
        wflow.tangent_kernel(Q, rho, random_data(np.random.default_rng(0), 3, 2, 4))
    with pytest.raises(wflow.InputError, match="must have the blocks"):
        wflow.tangent_kernel(Q, wflow.Particles(theta=rho.theta))
    with pytest.raises(wflow.InputError, match="std must be a non-negative finite number, got -1"):
        wflow.output_variance(Q, rho, -1)
    shared = wflow.TransformerObjective(Q.dataset, Overlapping(), layers=3)
    with pytest.raises(wflow.InputError, match=r"share the 3 parameters of theta .* theta.a at 0:2, theta.b at 1:3"):
        wflow.tangent_kernel(shared, wflow.Particles(theta=np.ones((3, 2, 3))), by="group")
    many = wflow.Dataset(np.zeros((300_000, 3, 4)), np.zeros(300_000), Q.dataset.readout)
    with pytest.raises(wflow.InputError, match=r"1 kernels of 300000 predictions need about .* take fewer prompts"):
        wflow.tangent_kernel(Q, rho, many)
