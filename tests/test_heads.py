"""The numpy Transformer's heads, masks, losses and mobilities: definitions, adjoints, closed forms."""

from __future__ import annotations

import doctest
import math
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

import validation.heads
import validation.losses
from validation.heads import DISTANCES, KERNELS, Head, mask_of, sparsemax_columns
from validation.kernel import flatten, prediction_gradients
from validation.losses import LOSSES, loss_and_slope
from validation.transformer import FiniteTransformer

#: Every query sees itself; the keys of the others at random.
ARRAY = np.array([[1, 0, 1, 0], [1, 1, 0, 1], [0, 1, 1, 0], [1, 0, 0, 1]])
MASKS: dict[str, Any] = {"none": None, "causal": "causal", "local": ("local", 1), "array": ARRAY}
FORMS = [(kernel, factored) for kernel in KERNELS for factored in (False, True) if factored or kernel not in DISTANCES]


def test_closed_forms() -> None:
    """D = 1, tokens 1 and 2, V = 3, all other weights 1."""
    Z, one = np.array([[[1.0, 2.0]]]), np.ones((1, 1))
    gaussian = Head("gaussian", True).value(Z, 3 * one, one, one, one).ravel()
    assert_allclose(gaussian, [6.639183958276, 7.819591979138], rtol=0, atol=5e-13)
    assert_allclose(gaussian, [3 + 6 * math.exp(-0.5), 6 + 3 * math.exp(-0.5)], rtol=1e-15)
    assert_allclose(Head("linear").value(Z, 3 * one, one).ravel(), [7.5, 15], rtol=1e-15)
    assert_allclose(Head(mask="causal").value(Z, 3 * one, 0 * one).ravel(), [3, 4.5], rtol=1e-15)
    assert_allclose(Head("sigmoid").value(Z, 3 * one, 0 * one).ravel(), [4.5, 4.5], rtol=1e-15)
    assert_allclose(Head("relu").value(Z, 3 * one, -one).ravel(), 0, atol=0)
    assert_allclose(Head("sparsemax").value(Z, 3 * one, one).ravel(), [6, 6], rtol=1e-15)  # scores 1 and 2, 2 and 4
    assert_allclose(Head("sparsemax", scale=0.5).value(Z, 3 * one, one).ravel(), [5.25, 6], rtol=1e-15)


def level(scores: list[float]) -> float:
    """The t of ``sum max(x - t, 0) = 1``, by bisection."""
    low, high = min(scores) - 1, max(scores)
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(max(x - middle, 0) for x in scores) > 1 else (low, middle)
    return low


def weight(kernel: str, scores: list[float], score: float, n: int) -> float:
    """Of one key, from its score and those of all keys that the query sees."""
    if kernel in ("softmax", "gaussian-normalised"):
        return math.exp(score) / sum(math.exp(x) for x in scores)
    if kernel == "sparsemax":
        return max(score - level(scores), 0.0)
    if kernel == "gaussian":
        return math.exp(score)
    if kernel == "sigmoid":
        return (1 + math.tanh(score / 2)) / 2
    return (score if kernel == "linear" else max(score, 0.0)) / n


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize(("kernel", "factored"), FORMS)
def test_heads_are_the_definition(kernel: str, factored: bool, mask: str) -> None:
    """``f_i = sum_j K_ji V z_j``, with loops over queries and keys."""
    rng = np.random.default_rng(2)
    D, n, r, s = 3, 4, 2, 0.7
    Z = rng.standard_normal((D, n))
    if factored:
        matrices = [rng.standard_normal(shape) for shape in ((r, D), (D, r), (r, D), (r, D))]
        V, W = matrices[1] @ matrices[0], matrices[2].T @ matrices[3]
    else:
        V, W = matrices = [rng.standard_normal((D, D)) for _ in range(2)]
    sees = {
        "none": lambda j, i: True,
        "causal": lambda j, i: j <= i,
        "local": lambda j, i: abs(i - j) <= 1,
        "array": lambda j, i: ARRAY[j, i] == 1,
    }[mask]
    expected = np.zeros((D, n))
    for i in range(n):
        keys = [j for j in range(n) if sees(j, i)]
        scores = {j: s * float(Z[:, j] @ W @ Z[:, i]) for j in keys}
        if kernel in DISTANCES:
            scores = {j: -s / 2 * math.dist(matrices[2] @ Z[:, j], matrices[3] @ Z[:, i]) ** 2 for j in keys}
        for j in keys:
            expected[:, i] += weight(kernel, list(scores.values()), scores[j], n) * (V @ Z[:, j])
    found = Head(kernel, factored, MASKS[mask], s).value(Z[None], *matrices)[0]
    assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def derivative(function: Any, h: float = 5e-4) -> float:
    """Central differences at h, h/2, h/4, extrapolated twice: O(h^6)."""
    d = [(function(s) - function(-s)) / (2 * s) for s in (h, h / 2, h / 4)]
    d = [(4 * d[1] - d[0]) / 3, (4 * d[2] - d[1]) / 3]
    return float(16 * d[1] - d[0]) / 15


def make(rng: Any, loss: str, B: int = 3, D: int = 2, n: int = 4) -> Any:
    """Prompts with two readouts and labels that the loss understands."""
    labels = rng.standard_normal((B, 2))
    labels = {"logistic": np.sign(labels), "cross-entropy": np.arange(B) % 2}.get(loss, labels)
    return SimpleNamespace(tokens=rng.standard_normal((B, D, n)), labels=labels, readout=rng.standard_normal((2, D, n)))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_gradient_is_the_derivative_of_the_value(kernel: str, mask: str, loss: str) -> None:
    """Every entry to 1e-8 of the largest one; two layers, so that cotangents of tokens count."""
    rng = np.random.default_rng([3, KERNELS.index(kernel)])
    form: Any = "factored" if kernel in DISTANCES or loss in ("huber", "logistic") else "full"
    options: Any = {"kernel": kernel, "mask": MASKS[mask], "scale": 0.8, "loss": loss, "huber_delta": 0.5}
    model = FiniteTransformer(form, "tanh", rank=1, weight_decay=0.1, **options)
    data, (p, q) = make(rng, loss), model.n_parameters(2)
    theta, w = rng.standard_normal((2, 2, p)), rng.standard_normal((2, 1, q))
    a = np.array([[0.3, 0.7], [0.5, 0.5]])
    G = model.gradient(theta, w, data, a)[0]
    expected = np.empty_like(theta)
    for index in np.ndindex(theta.shape):

        def energy(s: float, index: tuple[int, ...] = index) -> float:
            moved = theta.copy()
            moved[index] += s
            return model.value(moved, w, data, a)[0]

        expected[index] = derivative(energy) / (a[index[:2]] / 2)
    assert_allclose(G, expected, rtol=0, atol=1e-8 * np.abs(expected).max())


def test_scores_that_are_large_or_hidden_do_not_overflow() -> None:
    Z = 1e3 * np.random.default_rng(0).standard_normal((2, 2, 4))
    for kernel, factored in FORMS:
        matrices = [np.eye(2)] * (4 if factored else 2)
        head = Head(kernel, factored, "causal")
        assert np.isfinite(head.value(Z, *matrices)).all()
        assert all(np.isfinite(x).all() for x in head.vjp(Z, Z, *matrices)[1])
    assert_allclose(sparsemax_columns([[5.0, -np.inf], [-np.inf, 7.0]]), np.eye(2))


def along(loss: str, u: Any, labels: Any, index: tuple[int, ...]) -> Any:
    """The risk as a function of a shift of one prediction."""
    e = np.zeros_like(u)
    e[index] = 1
    return lambda s: loss_and_slope(loss, u + s * e, labels, 0.5)[0]


def test_losses() -> None:
    """Closed forms, and slopes by differences."""
    assert loss_and_slope("squares", [[3.0, 0.0]], [[1.0, 1.0]], 1.0)[0] == 2.5
    assert_allclose(loss_and_slope("logistic", [[0.0], [0.0]], [1, -1], 1.0)[0], math.log(2), rtol=1e-15)
    assert_allclose(loss_and_slope("logistic", [[-800.0], [800.0]], [1, -1], 1.0)[0], 800, rtol=1e-15)
    assert_allclose(loss_and_slope("cross-entropy", np.zeros((2, 5)), [0, 3], 1.0)[0], math.log(5), rtol=1e-15)
    assert_allclose(loss_and_slope("cross-entropy", [[900.0, 0.0]], [1], 1.0)[0], 900, rtol=1e-15)
    small = np.array([[0.3, -0.2]])
    assert loss_and_slope("huber", small, 0 * small, 0.5)[0] == loss_and_slope("squares", small, 0 * small, 0.5)[0]
    assert_allclose(loss_and_slope("huber", [[-3.0]], [0.0], 0.5)[0], 0.5 * 3 - 0.125, rtol=1e-15)
    for loss in LOSSES:
        rng = np.random.default_rng(1)
        u, labels = rng.standard_normal((3, 2)), make(rng, loss).labels
        slope = loss_and_slope(loss, u, labels, 0.5)[1]
        for index in np.ndindex(u.shape):
            assert abs(3 * derivative(along(loss, u, labels, index)) - slope[index]) < 1e-10
    classes, hot = [1, 0, 1], np.eye(2)[[1, 0, 1]]
    assert loss_and_slope("cross-entropy", u, classes, 1.0)[0] == loss_and_slope("cross-entropy", u, hot, 1.0)[0]


def test_mobility() -> None:
    """The velocity is -M G, a frozen matrix stays, and -dQ/dtau is <G, M G>."""
    rng = np.random.default_rng(4)
    mobility = {"theta": 2.0, "W_Q": 0.0, "theta.W_K": 0.5, "w": 3.0, "W_2": 0.25}
    plain = FiniteTransformer("factored", "tanh", weight_decay=0.1)
    model = FiniteTransformer("factored", "tanh", weight_decay=0.1, mobility=mobility)
    data, (p, q) = make(rng, "squares"), model.n_parameters(2)
    theta, w = rng.standard_normal((2, 3, p)), rng.standard_normal((2, 3, q))
    m_theta, m_w = np.repeat([2.0, 2.0, 0.5, 0.0], 4), np.repeat([3.0, 0.25], 2)
    G, v = plain.gradient(theta, w, data), model.gradient(theta, w, data)
    assert_allclose(v[0], m_theta * G[0], rtol=1e-15)
    assert_allclose(v[1], m_w * G[1], rtol=1e-15)
    run = model.train(theta, w, data, 1e-4, 10, "rk4")
    assert np.array_equal(run.theta[..., 12:], theta[..., 12:])
    assert_allclose(run.dissipation[0], (np.sum(m_theta * G[0] ** 2) + np.sum(m_w * G[1] ** 2)) / 6, rtol=1e-14)
    simpson = 1e-4 / 3 * (run.dissipation[:-1:2] + 4 * run.dissipation[1::2] + run.dissipation[2::2]).sum()
    assert_allclose(run.energy[0] - run.energy[-1], simpson, rtol=1e-9)


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="kernel must be one of"):
        FiniteTransformer("full", kernel="gaussian")
    with pytest.raises(ValueError, match="loss must be one of"):
        FiniteTransformer(loss="absolute")
    with pytest.raises(ValueError, match="no such block or matrix: W_1"):
        FiniteTransformer(mobility={"W_1": 0.0})
    with pytest.raises(ValueError, match="a key for every query"):
        mask_of(np.zeros((2, 2)), 2)


@pytest.mark.parametrize("module", [validation.heads, validation.losses])
def test_the_examples_in_the_documentation(module: Any) -> None:
    assert doctest.testmod(module).failed == 0


def test_gradients_of_predictions() -> None:
    """Every prediction of every prompt against differences, with the roots of mobilities."""
    rng = np.random.default_rng(5)
    model = FiniteTransformer("factored", "tanh", kernel="gaussian", weight_decay=0.2, mobility={"W_K": 4.0, "w": 9.0})
    data, (p, q) = make(rng, "squares"), model.n_parameters(2)
    state = rng.standard_normal((2, 3, p)), rng.standard_normal((2, 3, q))
    J = prediction_gradients(model, state, data)
    assert J.shape == (6, 6 * (p + q))
    roots = [np.sqrt(m) for m in model.mobilities(2)]
    for e in (tuple(rng.standard_normal(x.shape) for x in state) for _ in range(3)):

        def predict(s: float, i: int, e: Any = e) -> float:
            return float(model.predict(state[0] + s * e[0], state[1] + s * e[1], data).flat[i])

        moved = [derivative(partial(predict, i=i)) for i in range(6)]
        expected = J @ flatten((e[0] / roots[0], e[1] / roots[1]))
        assert_allclose(moved, expected, rtol=0, atol=1e-9 * np.abs(expected).max())
