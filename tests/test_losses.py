"""Losses: derivatives, stable formulas, and objectives, runs, files and figures with them."""

from __future__ import annotations

import itertools
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import random_measure, slope
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

import wflow
from wflow.cli import main
from wflow.losses import LOSSES, Loss, loss_of
from wflow.network import DEPTH_RULES
from wflow.problems import ConstantEncoder

Array = NDArray[Any]

#: Objectives' arguments by loss; huber with residuals on both sides of delta.
ARGUMENTS: dict[str, dict[str, Any]] = {name: {"loss": name} for name in LOSSES}
ARGUMENTS["huber"]["huber_delta"] = 0.7

each_loss = pytest.mark.parametrize("name", LOSSES)


def made(name: str) -> Loss:
    return loss_of(name, ARGUMENTS[name].get("huber_delta", 1.0))


def labels_for(name: str, B: int, K: int, rng: np.random.Generator) -> Array:
    """Labels (B, K) that the loss understands."""
    if name == "cross-entropy":
        return np.eye(K)[rng.integers(K, size=B)]
    return rng.choice([-1.0, 1.0], (B, K)) if name == "logistic" else rng.standard_normal((B, K))


def objective_for(name: str, depth: str = "split-euler", seed: int = 3) -> wflow.TransformerObjective:
    rng = np.random.default_rng(seed)
    labels = labels_for(name, 5, 3, rng)
    data = wflow.Dataset(rng.standard_normal((5, 3, 4)), labels, rng.standard_normal((3, 3, 4)))
    encoders = wflow.SoftmaxAttention(), wflow.FeedForward("tanh")
    return wflow.TransformerObjective(data, *encoders, 0.1, depth=depth, layers=2, **ARGUMENTS[name])


@each_loss
def test_gradient_and_curvature_are_the_derivatives(name: str) -> None:
    loss, rng = made(name), np.random.default_rng(0)
    u, y, e = 2 * rng.standard_normal((40, 4)), labels_for(name, 40, 4, rng), rng.standard_normal((40, 4))
    first = slope(lambda s: loss.value(u + s * e, y), h=1e-3)
    second = slope(lambda s: loss.gradient(u + s * e, y), h=1e-3)
    assert_allclose(np.sum(loss.gradient(u, y) * e, axis=1), first, rtol=0, atol=1e-10)
    curvature = loss.curvature(u, y)
    assert_allclose(np.einsum("bkj,bj->bk", curvature, e), second, rtol=0, atol=1e-10)
    assert_array_equal(curvature, curvature.transpose(0, 2, 1))
    assert np.linalg.eigvalsh(curvature).min() > -1e-15  # convex


def test_values_by_hand() -> None:
    u, e = np.array([[2.0, 0.0]]), np.e
    assert loss_of("squares").value(u, np.array([[1.0, 1.0]]))[0] == 1.0
    assert loss_of("huber").value(u, np.array([[-1.0, 0.5]]))[0] == 2.5 + 0.125
    assert_allclose(loss_of("logistic").value(u, np.array([[-1.0, 1.0]])), np.log(1 + e**2) + np.log(2), rtol=1e-15)
    assert_allclose(loss_of("cross-entropy").value(u, np.array([[0.0, 1.0]])), np.log(1 + e**2), rtol=1e-15)


def test_two_classes_are_the_logistic_loss_of_the_difference() -> None:
    """With curvature s(1 - s) [[1, -1], [-1, 1]]."""
    rng = np.random.default_rng(1)
    u, y = 3 * rng.standard_normal((9, 2)), np.eye(2)[rng.integers(2, size=9)]
    difference, sign = u[:, 1:] - u[:, :1], y[:, 1:] - y[:, :1]
    many, two = loss_of("cross-entropy"), loss_of("logistic")
    assert_allclose(many.value(u, y), two.value(difference, sign), rtol=1e-14)
    assert_allclose(many.gradient(u, y), two.gradient(difference, sign) * [-1, 1], rtol=1e-14)
    expected = two.curvature(difference, sign) * np.array([[1, -1], [-1, 1]])
    assert_allclose(many.curvature(u, y), expected, rtol=1e-14)


@each_loss
def test_far_predictions_do_not_overflow(name: str) -> None:
    """At |u| = 1e4 values are those of the leading term, and derivatives are finite."""
    loss = made(name)
    u = np.array([[1e4, 0.0], [-1e4, 0.0], [1e4, -1e4], [-1e4, 1e4]])
    y = np.tile([[1.0, -1.0]] if name == "logistic" else [[1.0, 0.0]], (4, 1))
    with np.errstate(all="raise", under="ignore"):
        values, derivatives = loss.value(u, y), (loss.gradient(u, y), loss.curvature(u, y))
    assert all(np.isfinite(x).all() for x in derivatives)
    expected = {
        "squares": [0.5 * 9999**2, 0.5 * 10001**2, 0.5 * (9999**2 + 1e8), 0.5 * (10001**2 + 1e8)],
        "logistic": [np.log(2), 1e4 + np.log(2), 0.0, 2e4],
        "cross-entropy": [0.0, 1e4, 0.0, 2e4],
        "huber": [0.7 * (9999 - 0.35), 0.7 * (10001 - 0.35), 0.7 * (19999 - 0.7), 0.7 * (20001 - 0.7)],
    }
    assert_allclose(values, expected[name], rtol=1e-14, atol=0)


@pytest.mark.parametrize("margin", [5.0, 40.0, 300.0])
def test_small_losses_keep_their_digits(margin: float) -> None:
    """Values, gradients and curvatures of e^-margin, where 1 - p has none: to 1e-13 of themselves."""
    s = np.exp(-margin) / (1 + np.exp(-margin))
    two, u, y = loss_of("logistic"), np.array([[margin]]), np.ones((1, 1))
    assert_allclose(two.value(u, y)[0], np.log1p(np.exp(-margin)), rtol=1e-13, atol=0)
    assert_allclose(two.gradient(u, y)[0, 0], -s, rtol=1e-13, atol=0)
    assert_allclose(two.curvature(u, y)[0, 0, 0], s / (1 + np.exp(-margin)), rtol=1e-13, atol=0)
    many, u, y = loss_of("cross-entropy"), np.array([[0.0, margin, 0.0]]), np.array([[0.0, 1.0, 0.0]])
    p = np.exp(-margin) / (1 + 2 * np.exp(-margin))
    assert_allclose(many.value(u, y)[0], np.log1p(2 * np.exp(-margin)), rtol=1e-13, atol=0)
    assert_allclose(many.gradient(u, y)[0], [p, -2 * p, p], rtol=1e-13, atol=0)
    expected = [p * (1 - p), 2 * p * (1 - 2 * p), p * (1 - p)]
    assert_allclose(np.diagonal(many.curvature(u, y)[0]), expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize(("name", "depth"), list(itertools.product(LOSSES, DEPTH_RULES)))
def test_energy_identity_and_velocities(name: str, depth: str) -> None:
    """dQ/dtau = -|v|^2 to round-off of the differences, and every velocity is minus the gradient by mass."""
    Q = objective_for(name, depth)
    rho = random_measure(Q, {"theta": 2, "w": 3}, np.random.default_rng(4), weighted=True)
    rho = Q.prepare(rho.replace(**{block: 0.6 * x for block, x in rho.blocks.items()}))
    v = Q.velocity(rho)

    def along(s: float, directions: Any) -> float:
        return Q.value(rho.replace(**{block: rho.points(block) + s * directions[block] for block in rho.blocks}))

    speed = np.sqrt(Q.dissipation(rho))
    unit = {block: v[block] / speed for block in rho.blocks}
    assert_allclose(slope(lambda s: along(s, unit), 1e-3), -speed, rtol=0, atol=1e-11 * max(1.0, speed))
    for block in rho.blocks:
        e = np.random.default_rng(7).standard_normal(v[block].shape)
        expected = np.zeros(v[block].shape[:2])
        for lj in np.ndindex(expected.shape):
            one = {name: np.zeros_like(v[name]) for name in rho.blocks}
            one[block][lj] = e[lj]
            expected[lj] = -slope(lambda s, one=one: along(s, one), 2e-4) / rho.mass(block)[lj]  # type: ignore[misc]
        assert_allclose(np.sum(v[block] * e, axis=2), expected, rtol=0, atol=1e-8)


@each_loss
def test_evaluation_holds_the_risk_and_the_first_variation(name: str) -> None:
    """The risk is the mean of the loss of the predictions, in all that returns it."""
    Q = objective_for(name)
    rho = Q.prepare(random_measure(Q, {"theta": 3, "w": 3}, np.random.default_rng(5)))
    u, loss = Q.predict(rho), Q.loss_function
    risk = float(np.mean(loss.value(u, Q.dataset.labels)))
    evaluation, linear = Q.evaluate(rho), Q.linearise(rho)
    for found in (Q.risk(rho), evaluation.parts["risk"], linear.parts["risk"], wflow.observers.Risk(Q)(rho)):
        assert found == pytest.approx(risk, rel=1e-14)
    assert evaluation.value == linear.value == Q.value(rho)
    for block, phi in Q.first_variation(rho).items():
        points = {block: rho.points(block) + 1e-5 * evaluation.velocity[block]}
        change = Q.first_variation(rho, points)[block] - phi
        assert_allclose(change / 1e-5, -np.sum(evaluation.velocity[block] ** 2, axis=2), rtol=1e-3, atol=1e-6)
    at_zero = float(np.mean(loss.value(0 * u, Q.dataset.labels)))
    decay = evaluation.value - evaluation.parts["risk"]
    assert evaluation.terms == pytest.approx(risk + at_zero + decay, rel=1e-14)


def test_squares_is_the_default() -> None:
    """And Dataset.risk is that of squares, whatever the objective's loss."""
    Q, other = objective_for("squares"), objective_for("huber")
    assert wflow.TransformerObjective(Q.dataset, wflow.SoftmaxAttention()).loss == "squares"
    rho = Q.prepare(random_measure(Q, {"theta": 3, "w": 3}, np.random.default_rng(5)))
    assert Q.dataset.risk(Q.predict(rho)) == Q.risk(rho) == other.dataset.risk(other.predict(rho)) != other.risk(rho)


def test_classes_are_one_hot_labels() -> None:
    """Labels (B,) with K readouts: predictions are (B, K), and all is as with rows of the identity."""
    rng = np.random.default_rng(2)
    classes, tokens, readout = np.array([2, 0, 1, 2, 0]), rng.standard_normal((5, 4, 3)), [(0, -1), (1, -1), (2, -1)]
    flat, rows = wflow.Dataset(tokens, classes, readout), wflow.Dataset(tokens, np.eye(3)[classes], readout)
    assert flat.labels.shape == (5,) and flat.n_labels == 3 and not flat.is_flat
    assert_array_equal(flat.targets, rows.labels)
    assert_array_equal(flat.read(tokens), rows.read(tokens))
    u = rng.standard_normal((5, 3))
    assert flat.risk(u) == rows.risk(u) and flat.error_rate(u) == rows.error_rate(u)
    assert flat.error_rate(np.eye(3)[classes]) == 0 and flat.error_rate(np.eye(3)[(classes + 1) % 3]) == 1
    assert flat.subset([1, 3]).error_rate(np.eye(3)[[0, 2]]) == 0
    Q, other = (wflow.TransformerObjective(d, wflow.SoftmaxAttention(), loss="cross-entropy") for d in (flat, rows))
    rho = wflow.initial.gaussian(0.5).sample(Q, 3, 0)
    assert Q.predict(rho).shape == (5, 3)
    assert_array_equal(Q.velocity(rho).theta, other.velocity(rho).theta)
    assert Q.risk(rho) == Q.risk(rho, rows) == other.risk(rho, flat)
    with pytest.raises(wflow.InputError, match=r"predictions must have shape \(5, 3\), got \(5,\)"):
        flat.risk(np.ones(5))


@pytest.mark.parametrize("wrong", [3.0, -1.0, 0.5])
def test_classes_that_are_none_are_refused(wrong: float) -> None:
    with pytest.raises(
        wflow.InputError, match=rf"or be the classes of the prompts, integers from 0 to 2, got {wrong:g}"
    ):
        wflow.Dataset(np.ones((2, 4, 3)), [0, wrong], [(0, -1), (1, -1), (2, -1)])


REFUSED = {
    "zeros and ones": ("logistic", [0.0, 1.0], (0, -1), r"labels of -1 and \+1, but 'data' has labels such as 0: "),
    "classes": ("logistic", [0, 2], [(0, -1), (1, -1), (2, -1)], "of more take the loss 'cross-entropy'"),
    "one readout": ("cross-entropy", [1.0, -1.0], (0, -1), "one prediction a prompt: pass a readout of K >= 2"),
    "minus ones": ("cross-entropy", [[1, -1], [-1, 1]], [(0, -1), (1, -1)], r"the row \[1.0, -1.0\]: pass numpy.eye"),
    "two ones": ("cross-entropy", [[1, 0], [1, 1]], [(0, -1), (1, -1)], r"the row \[1.0, 1.0\]"),
    "no one": ("cross-entropy", [[0, 0], [0, 1]], [(0, -1), (1, -1)], r"the row \[0.0, 0.0\]"),
    "shares": ("cross-entropy", [[0.5, 0.5], [0, 1]], [(0, -1), (1, -1)], r"the row \[0.5, 0.5\]"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_labels_that_the_loss_does_not_understand_are_refused(case: str) -> None:
    """When the objective is made; and held-out ones when an observer is, or their risk is asked for."""
    loss, labels, readout, words = REFUSED[case]
    wrong = wflow.Dataset(np.ones((2, 4, 3)), labels, readout)
    with pytest.raises(wflow.InputError, match=words):
        wflow.TransformerObjective(wrong, wflow.SoftmaxAttention(), loss=loss)
    if case in ("one readout", "classes"):
        return
    good = [1.0, -1.0] if loss == "logistic" else [0, 1]
    Q = wflow.TransformerObjective(
        wflow.Dataset(np.ones((2, 4, 3)), good, readout), wflow.SoftmaxAttention(), loss=loss
    )
    for watch in (wflow.observers.Risk, wflow.observers.ErrorRate):
        with pytest.raises(wflow.InputError, match=words):
            watch(Q, wrong)
    with pytest.raises(wflow.InputError, match=words):
        Q.risk(wflow.initial.gaussian(0.5).sample(Q, 2, 0), wrong)


def test_losses_that_there_are_not_are_refused() -> None:
    data = wflow.Dataset(np.ones((2, 4, 3)), [1.0, -1.0])
    for arguments, words in (
        ({"loss": "logistc"}, "did you mean 'logistic'"),
        ({"loss": None}, "loss must be one of squares, logistic, cross-entropy, huber, got None"),
        ({"loss": "huber", "huber_delta": 0}, "huber_delta must be a positive finite number, got 0"),
        ({"huber_delta": 2.0}, "huber_delta belongs to the loss 'huber', got huber_delta = 2 for 'squares'"),
    ):
        with pytest.raises(wflow.InputError, match=words):
            wflow.TransformerObjective(data, wflow.SoftmaxAttention(), **arguments)  # type: ignore[arg-type]


@each_loss
def test_files_keep_the_loss(name: str, tmp_path: Path) -> None:
    """A run that is extended from its file is that of the objective itself, which stopped there."""
    Q = objective_for(name)
    rho = random_measure(Q, {"theta": 3, "w": 3}, np.random.default_rng(5))
    save = wflow.SaveAt(tau=[0.5])
    whole = wflow.solve(Q, rho, (0, 1), save=save)
    wflow.solve(Q, rho, (0, 0.5), save=save, path=tmp_path / "run.h5", observe={"watched": wflow.observers.Risk(Q)})
    again = wflow.resume(tmp_path / "run.h5", 1.0)
    assert again.objective.loss == name and again.objective.huber_delta == Q.huber_delta
    for series in ("tau", "energy", "risk", "dissipation"):
        assert_array_equal(again.series[series], whole.series[series])
    assert_allclose(again.observed["watched"], again.risk, rtol=1e-13)
    assert whole.risk[-1] < whole.risk[0]


def random_classes(B: int = 9) -> wflow.Dataset:
    rng = np.random.default_rng(6)
    return wflow.Dataset(rng.standard_normal((B, 4, 3)), np.arange(B) % 3, [(0, -1), (1, -1), (2, -1)])


#: Solves the run of a pickle to a file, and is killed when its observer is called for the seventh time.
KILLED = """
import itertools, os, pickle, signal, sys
import wflow
calls = itertools.count()
def kill(rho):
    if next(calls) == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return 0.0
with open(sys.argv[1], "rb") as file:
    arguments, options = pickle.load(file)
watch = options.pop("observe") | {"kill": kill}
wflow.solve(*arguments, **options, path=sys.argv[2], observe=watch)
"""


def test_a_killed_run_of_classes_resumes_bit_for_bit(tmp_path: Path) -> None:
    data = random_classes()
    encoders = wflow.SoftmaxAttention(), wflow.FeedForward("tanh")
    Q = wflow.TransformerObjective(data, *encoders, 0.01, layers=2, loss="cross-entropy")
    watch = {"watched": wflow.observers.Risk(Q), "errors": wflow.observers.ErrorRate(Q, data.subset([1, 2, 4]))}
    arguments = Q, wflow.initial.gaussian(0.5).sample(Q, 4, 0), (0, 4)
    options: dict[str, Any] = {"save": wflow.SaveAt(every=0.5), "observe": watch}
    (tmp_path / "run.pickle").write_bytes(pickle.dumps((arguments, options)))
    command = [sys.executable, "-c", KILLED, str(tmp_path / "run.pickle"), str(tmp_path / "killed.h5")]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert wflow.load(tmp_path / "killed.h5").tau[-1] < 4
    again = wflow.resume(tmp_path / "killed.h5", 4.0, observe={"kill": lambda rho: 0.0})
    whole = wflow.solve(*arguments, **options | {"observe": watch | {"kill": lambda rho: 0.0}})
    assert again.objective.dataset.labels.shape == (9,) and len(again.tau) == len(whole.tau) > 8
    for key in ("tau", "energy", "risk", "dissipation"):
        assert_array_equal(again.series[key], whole.series[key])
    for key in ("watched", "errors"):
        assert_array_equal(again.observed[key], whole.observed[key])
    for block in ("theta", "w"):
        assert_array_equal(again.measure(-1).points(block), whole.measure(-1).points(block))


# Flows that are known


def constant(loss: str, label: float, start: float) -> tuple[wflow.TransformerObjective, wflow.Particles]:
    """One prompt H = 0 and heads that add their number: ``u = mean/2``, ``u' = -l'(u)/4``."""
    data = wflow.Dataset(np.zeros((1, 1, 1)), [label])
    Q = wflow.TransformerObjective(data, ConstantEncoder(), layers=1, loss=loss)
    return Q, wflow.Particles(theta=2 * start + np.array([[[-1.0], [1.0]]]))


def test_the_logistic_flow_falls_like_one_over_tau() -> None:
    """``u' = 1/(4 (1 + e^u))``: ``u + e^u = tau/4 + u_0 + e^{u_0}``, so that tau R tends to 4."""
    Q, rho = constant("logistic", 1.0, -0.5)
    answer = wflow.solve(Q, rho, (0, 4000), rtol=1e-11, atol=1e-13, save=wflow.SaveAt(tau=[1, 40, 4000]))
    for i, tau in enumerate([0.0, 1.0, 40.0, 4000.0]):
        u = float(Q.predict(answer.measure(i))[0])
        assert u + np.exp(u) == pytest.approx(tau / 4 - 0.5 + np.exp(-0.5), rel=1e-9)
    assert 4000 * answer.risk[-1] == pytest.approx(4, rel=0.01)


def test_weight_decay_gives_the_logistic_risk_a_minimum() -> None:
    """``Q = log(1 + e^{-m/2}) + lambda m^2/2`` of one head: ``1/(1 + e^{m/2}) = 2 lambda m`` at rest."""
    Q, rho = constant("logistic", 1.0, 0.0)
    Q = wflow.TransformerObjective(Q.dataset, ConstantEncoder(), weight_decay=0.05, layers=1, loss="logistic")
    answer = wflow.solve(Q, rho, (0, 1000), rtol=1e-10, atol=1e-12)
    m = float(answer.measure(-1).theta.mean())
    assert answer.status.name == "STEADY" and 1 / (1 + np.exp(m / 2)) == pytest.approx(2 * 0.05 * m, rel=1e-8)


def test_the_huber_flow_is_linear_and_then_exponential() -> None:
    """``r' = -1/4`` down to r = 1 at tau = 8, from r = 3; and ``r' = -r/4`` from there."""
    Q, rho = constant("huber", 0.0, 3.0)
    answer = wflow.solve(Q, rho, (0, 12), rtol=1e-11, atol=1e-13, save=wflow.SaveAt(tau=[6, 8, 12]))
    expected = [3.0, 1.5, 1.0, np.exp(-1.0)]
    found = [float(Q.predict(answer.measure(i))[0]) for i in range(4)]
    assert_allclose(found, expected, rtol=0, atol=1e-9)


# Run files, error bars, figures, the command

RUN = """
[data]
kind = "npz"
path = "classes.npz"
heldout = 0.34
[feedforward]
activation = "tanh"
[objective]
loss = "cross-entropy"
weight_decay = 0.01
layers = 2
[initial]
M = 4
law = "gaussian"
[solve]
tau_end = 0.5
dtau = 0.25
[observe]
training = ["error-rate"]
heldout = ["risk", "error-rate"]
"""


def write(folder: Path, text: str = RUN) -> Path:
    data = random_classes()
    np.savez(folder / "classes.npz", tokens=data.tokens, labels=[2, 0, 1] * 3, readout=[(0, -1), (1, -1), (2, -1)])
    (folder / "run.toml").write_text(text)
    return folder / "run.toml"


def test_run_files_name_losses_and_error_bars_are_theirs(tmp_path: Path) -> None:
    path = write(tmp_path)
    run = wflow.runfile.read(path)
    answer = run.solve(progress=False)
    held = run.observe["held-out risk"].dataset  # type: ignore[attr-defined]
    rho = answer.measure(-1)
    u = run.objective.predict(rho, held.tokens)
    assert answer.observed["held-out risk"][-1] == pytest.approx(
        np.mean([np.log(np.exp(row).sum()) - row[int(k)] for row, k in zip(u, held.labels)]), rel=1e-13
    )
    wrong = np.mean([row.argmax() != k for row, k in zip(u, held.labels)])
    assert answer.observed["held-out error rate"][-1] == wrong
    report = wflow.check.check(path)
    assert report.values["R"] == answer.risk[-1] and report.values["predictions"].shape == (6, 3)
    for quantity in ("Q", "R", "held-out risk", "held-out error rate"):
        assert 0 < report.error(quantity) < np.inf
    finer = wflow.runfile.read(write(tmp_path, RUN.replace("dtau = 0.25", "dtau = 0.01"))).solve(progress=False)
    assert abs(finer.risk[-1] - answer.risk[-1]) <= report.bars["R"]["tau"].error


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"cross-entropy"', '"cross-entrpy"', "got 'cross-entrpy' in [objective]; did you mean 'cross-entropy'?"),
        ('"cross-entropy"', '"logistic"', "the loss 'logistic' takes labels of -1 and +1, but 'classes' has labels "),
        ("layers = 2", "layers = 2\nhuber_delta = 2", "huber_delta belongs to the loss 'huber', got huber_delta = 2 "),
        ("layers = 2", "layers = 2\nhuber_delta = 0", "huber_delta must be a positive finite number, got 0 in [obj"),
    ],
)
def test_run_files_with_wrong_losses_are_refused(old: str, new: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(wflow.runfile.RunFileError) as caught:
        wflow.runfile.read(write(tmp_path, RUN.replace(old, new)))
    assert len(caught.value.problems) == 1 and words in caught.value.problems[0]


def test_the_command_tells_of_the_loss(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path)
    assert main(["run", str(path), "-o", str(tmp_path / "run.h5"), "-q"]) == 0
    capsys.readouterr()
    assert main(["info", str(tmp_path / "run.h5")]) == 0
    out = capsys.readouterr().out
    assert "loss cross-entropy, weight_decay 0.01" in out and "classes: tokens (6, 4, 3), 3 classes" in out
