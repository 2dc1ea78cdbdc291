"""The names that programs outside the repository call, wherever the code behind them lives."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wflow

#: What is imported, by the module that promises it.
NAMES = {
    "wflow": "Attention BlobEnergy Dataset Entropy FeedForward Grid InputError InteractionEnergy Interrupted Particles "
    "PorousMedium PotentialEnergy SaveAt SoftmaxAttention Solution SolveError Status TransformerObjective __version__ "
    "load resume solve certificate kernel_spectrum landscape output_variance tangent_kernel "
    "check controllers datasets distances encoders figures initial observers problems runfile "
    "schemes trajectory",
    "wflow.datasets": "in_context_regression digits diabetes Dataset",
    "wflow.initial": "gaussian ball atoms product",
    "wflow.controllers": "Adaptive Fixed Replay",
    "wflow.observers": "Risk ErrorRate Virial KernelMax KernelMin Amplification",
    "wflow.schemes": "SCHEMES AVF BDF2 JKO Blob DiscreteGradient EntropicJKO EulerMaruyama FiniteVolume Kernel "
    "Langevin Midpoint Muscl QuantileJKO RungeKutta Flow GridFlow Point DensityPoint Trial Scheme ParticleScheme "
    "GridScheme",
    "wflow.encoders": "ENCODERS ACTIVATIONS KERNELS Encoder pairing",
    "wflow.runfile": "read",
    "wflow.check": "check",
    "wflow.distances": "conditional_w2",
    "wflow.landscapes": "Landscape direction_to landscape principal_directions random_directions",
    "wflow.tangent": "KernelSpectrum kernel_shares kernel_spectrum output_variance tangent_kernel",
    "wflow.figures": "draw save",
}


@pytest.mark.parametrize(("module", "name"), [(m, name) for m, names in NAMES.items() for name in names.split()])
def test_names_are_where_they_were(module: str, name: str) -> None:
    assert hasattr(import_module(module), name)


#: Parameters that callers pass, in order where they do so by position.
CALLS: dict[Any, str] = {
    wflow.Dataset: "tokens labels readout",
    wflow.Attention: "kernel mask factored rank scale",
    wflow.SoftmaxAttention: "factored rank",
    wflow.FeedForward: "activation hidden bias",
    wflow.Particles: "weights t depth_weights",
    wflow.Grid: "box",
    wflow.TransformerObjective: "dataset attention feedforward weight_decay entropy depth layers "
    "loss huber_delta mobility",
    wflow.PotentialEnergy: "V grad",
    wflow.InteractionEnergy: "W grad",
    wflow.SaveAt: "every tau steps",
    wflow.solve: "energy rho0 tau_range scheme dtau rtol atol save observe path overwrite rng progress controller tol "
    "attributes max_seconds",
    wflow.resume: "path tau_end energy observe scheme controller progress max_seconds",
    wflow.load: "path",
    wflow.tangent_kernel: "objective rho dataset by",
    wflow.landscape: "objective rho d1 d2 a b",
    wflow.kernel_spectrum: "objective rho dataset",
    wflow.certificate: "objective rho starts tol tau rng",
    wflow.output_variance: "objective rho std dataset",
    wflow.distances.conditional_w2: "a b",
    wflow.initial.Law.sample: "objective M rng kind dtype",
    wflow.initial.Law.on_grid: "objective box cells",
}


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__qualname__)
def test_arguments_have_their_names(call: Any) -> None:
    given = [name for name in inspect.signature(call).parameters if name not in ("self", "function")]
    promised = CALLS[call].split()
    if call in (wflow.PotentialEnergy, wflow.InteractionEnergy):  # by position
        assert len(inspect.signature(call).parameters) == len(promised)
    else:
        assert [name for name in given if name in promised] == promised


def test_objects_have_their_members(tmp_path: Path) -> None:
    data = wflow.Dataset(np.ones((2, 2, 3)), [1.0, -1.0])
    Q = wflow.TransformerObjective(data, wflow.SoftmaxAttention(), wflow.FeedForward("tanh"), 0.1, layers=2)
    rho = wflow.initial.gaussian(0.1).sample(Q, 3, 0)
    watch = {"watched risk": wflow.observers.Risk(Q), "errors": wflow.observers.ErrorRate(Q)}
    answer = wflow.solve(Q, rho, (0, 0.1), dtau=0.05, observe=watch, path=tmp_path / "run.h5")
    members = {
        Q: "value velocity first_variation risk predict dissipation internal rule dataset encoders weight_decay "
        "mobility mobilities",
        Q.rule: "n_slices nodes weights",
        rho: "blocks points weights t depth_weights theta w",
        answer: "tau energy risk dissipation frame_tau measure status stats series observed n_frames message objective",
        wflow.SoftmaxAttention(): "n_parameters mean vjp pairing",
        wflow.FeedForward(): "n_parameters mean vjp pairing",
    }
    for thing, names in members.items():
        assert not [name for name in names.split() if not hasattr(thing, name)], thing
    assert answer.stats["evaluations"] >= 2 and {"watched risk", "errors"} == set(answer.observed)
    v, phi = Q.velocity(rho), Q.first_variation(rho)
    assert v.theta.shape == rho.theta.shape and phi["w"].shape == rho.w.shape[:2]
    expected = (
        "RUNNING KILLED FINISHED STEADY INTERRUPTED ENERGY_ROSE NOT_FINITE STEP_TOO_SMALL AT_KINK NOT_CONVERGED FAILED "
        "BOX_TOO_SMALL"
    )
    assert [status.name for status in wflow.Status] == expected.split()


ALIASES = "euler heun bs3 rk4 dopri5 discrete-gradient avf jko bdf2 midpoint langevin euler-maruyama blob kernel "
ALIASES += "finite-volume muscl entropic-jko quantile-jko"


def test_schemes_have_their_aliases() -> None:
    from wflow.schemes import SCHEMES

    assert set(ALIASES.split()) <= set(SCHEMES)
    assert {"split-euler", "midpoint", "rk4-nodes"} <= set(import_module("wflow.network").DEPTH_RULES)


def test_run_files_and_checks_have_their_members(tmp_path: Path) -> None:
    text = """
    [data]
    kind = "in-context"
    n_prompts = 6
    dimension = 1
    context = 2
    [attention]
    [initial]
    M = 2
    law = "gaussian"
    [objective]
    layers = 2
    [solve]
    tau_end = 0.1
    dtau = 0.05
    """
    path = tmp_path / "run.toml"
    path.write_text(text)
    run = wflow.runfile.read(path)
    assert isinstance(run.objective, wflow.TransformerObjective) and isinstance(run.rho0, wflow.Particles)
    assert isinstance(run.solve(progress=False), wflow.Solution)
    report = wflow.check.check(path)
    assert {"Q", "R"} <= set(report.values) and report.bars["Q"]["depth"].error >= 0 and report.error("Q") >= 0
