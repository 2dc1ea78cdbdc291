"""Observed quantities against counts and sums by hand, on the training data and on held-out prompts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import wflow
import wflow.cli
from wflow.observers import ErrorRate, KernelMax, KernelMin, Risk, Virial

RUN = """
seed = 5
[data]
kind = "in-context"
n_prompts = 24
dimension = 2
context = 4
heldout = 0.5
[attention]
[feedforward]
activation = "tanh"
[objective]
layers = 2
[initial]
M = 3
law = "gaussian"
std = 0.5
[solve]
tau_end = 0.2
dtau = 0.1
[observe]
training = ["risk"]
heldout = ["risk"]
"""


def of_signs(rng: np.random.Generator, B: int) -> wflow.Dataset:
    return wflow.Dataset(rng.standard_normal((B, 2, 3)), rng.choice([-1.0, 1.0], B))


def test_risks_and_error_rates_are_those_of_the_data_set_that_is_named() -> None:
    """Of as many prompts as the training data, so that labels could be exchanged unnoticed."""
    rng = np.random.default_rng(0)
    train, held = of_signs(rng, 16), of_signs(rng, 16)
    Q = wflow.TransformerObjective(train, feedforward=wflow.FeedForward("tanh"), layers=2)
    rho = wflow.Particles(w=rng.standard_normal((2, 4, 4)))
    for data, name in ((train, None), (train, train), (held, held)):
        predictions = Q.predict(rho, data.tokens)
        wrong = sum((prediction > 0) != (label > 0) for prediction, label in zip(predictions, data.labels))
        assert 0 < wrong < 16
        assert ErrorRate(Q, name)(rho) == wrong / 16
        assert Risk(Q, name)(rho) == pytest.approx(sum(0.5 * (predictions - data.labels) ** 2) / 16, rel=1e-12)
    assert ErrorRate(Q)(rho) != ErrorRate(Q, held)(rho) and Risk(Q)(rho) != Risk(Q, held)(rho)


def solved(folder: Path, text: str) -> tuple[wflow.runfile.Run, wflow.Dataset, wflow.Dataset, wflow.Solution]:
    """A run file, its data, what it holds out, and its solution."""
    (folder / "run.toml").write_text(text)
    run = wflow.runfile.read(folder / "run.toml")
    answer = run.solve(progress=False)
    assert answer.heldout is not None
    return run, run.objective.dataset, answer.heldout, answer


def test_observers_of_a_run_file_read_the_held_out_prompts(tmp_path: Path) -> None:
    """The teacher is linear: the examples of a prompt tell its label, so that labels belong to their prompts."""
    run, train, held, answer = solved(tmp_path, RUN)
    assert (train.n_prompts, held.n_prompts) == (12, 12)
    for name, data in (("training", train), ("held-out", held)):
        for tokens, label in zip(data.tokens, data.labels):
            beta = np.linalg.lstsq(tokens[:2, :-1].T, tokens[2, :-1])[0]
            assert label == pytest.approx(beta @ tokens[:2, -1], rel=1e-9)
        for i in (0, -1):
            residual = run.objective.predict(answer.measure(i), data.tokens) - data.labels
            assert answer.observed[f"{name} risk"][i] == pytest.approx(0.5 * np.mean(residual**2), rel=1e-12)


def test_error_rates_of_a_run_file_are_those_of_the_held_out_prompts(tmp_path: Path) -> None:
    old = RUN[RUN.index("kind") : RUN.index("[attention]")]
    text = RUN.replace(old, 'kind = "digits"\npatch = [4, 4]\nheldout = 0.5\n').replace('"risk"', '"error-rate"')
    run, train, held, answer = solved(tmp_path, text)
    assert not {image.tobytes() for image in train.tokens} & {image.tobytes() for image in held.tokens}
    for name, data in (("training", train), ("held-out", held)):
        for i in (0, -1):
            predictions = run.objective.predict(answer.measure(i), data.tokens)
            wrong = sum((prediction > 0) != (label > 0) for prediction, label in zip(predictions, data.labels))
            assert answer.observed[f"{name} error rate"][i] == wrong / data.n_prompts


def test_the_virial_by_hand() -> None:
    """``E <beta, grad Phi_0>/(sigma p)`` over two blocks, slices of unequal weights and particles of unequal masses."""
    rng, sigma, om = np.random.default_rng(1), 0.3, np.array([1, 4, 1]) / 6  # those of rk4-nodes
    data = wflow.Dataset(rng.standard_normal((5, 1, 2)), rng.standard_normal(5))
    arguments = {"attention": wflow.SoftmaxAttention(), "feedforward": wflow.FeedForward("tanh")}
    Q = wflow.TransformerObjective(data, **arguments, weight_decay=0.2, entropy=sigma, depth="rk4-nodes", layers=1)  # type: ignore[arg-type]
    masses = {"theta": rng.dirichlet(np.ones(4), 3), "w": rng.dirichlet(np.ones(5), 3)}
    rho = Q.prepare(wflow.Particles(theta=rng.normal(size=(3, 4, 2)), w=rng.normal(size=(3, 5, 2)), weights=masses))
    v, total = Q.velocity(rho), 0.0
    for name, a in masses.items():
        for l, j in np.ndindex(*a.shape):
            total -= om[l] * a[l, j] * float(rho.points(name)[l, j] @ v[name][l, j])
    assert Virial(Q)(rho) == pytest.approx(total / (sigma * (2 + 2)), rel=1e-12)


def test_kernels_of_a_run_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the training and of the held-out prompts, with words where the smallest eigenvalue is not resolved."""
    text = RUN.replace('training = ["risk"]', 'training = ["kernel-min", "kernel-max"]')
    text = text.replace('heldout = ["risk"]', 'heldout = ["kernel-min", "kernel-max"]').replace("M = 3", "M = 1")
    run, _, held, answer = solved(tmp_path, text)
    for i in (0, -1):
        for name, data in (("training", None), ("held-out", held)):
            spectrum = wflow.kernel_spectrum(run.objective, answer.measure(i), data)
            assert answer.observed[f"{name} kernel max"][i] == spectrum.largest
            np.testing.assert_equal(answer.observed[f"{name} kernel min"][i], spectrum.smallest)
    assert np.isfinite(answer.observed["training kernel min"]).all()
    wide = text.replace("n_prompts = 24", "n_prompts = 192")
    run, _, _, answer = solved(tmp_path, wide)
    assert np.isnan(answer.observed["training kernel min"]).all()
    run.solve(tmp_path / "run.h5", progress=False)
    again = wflow.resume(tmp_path / "run.h5", 0.4, progress=False)
    assert isinstance(again.observers["training kernel min"], KernelMin) and len(again.tau) > len(answer.tau)
    spectrum = wflow.kernel_spectrum(run.objective, again.measure(-1))
    assert again.observed["training kernel max"][-1] == spectrum.largest
    assert wflow.cli.main(["info", str(tmp_path / "run.h5")]) == 0
    out = capsys.readouterr().out
    assert "training kernel min not resolved -> not resolved" in out and "training kernel max " in out


def test_kernels_that_are_not_formed_have_no_smallest_eigenvalue(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    Q = wflow.TransformerObjective(of_signs(rng, 8), feedforward=wflow.FeedForward("tanh"), layers=2)
    rho = wflow.Particles(w=rng.standard_normal((2, 4, 4)))
    monkeypatch.setattr("wflow.observers.FORMED", 7)
    with pytest.raises(wflow.InputError, match=r"kernel-min needs the whole kernel of 8 predictions, of which only 7"):
        KernelMin(Q)
    assert (
        KernelMin(Q, Q.dataset.subset(range(7)))(rho)
        == wflow.kernel_spectrum(Q, rho, Q.dataset.subset(range(7))).smallest
    )
    assert KernelMax(Q)(rho) == wflow.kernel_spectrum(Q, rho).largest
    with pytest.raises(wflow.InputError, match=r"KernelMax takes a wflow.TransformerObjective, got Entropy"):
        KernelMax(wflow.Entropy(1.0))  # type: ignore[arg-type]
