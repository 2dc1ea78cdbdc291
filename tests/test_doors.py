"""Generated calls at the doors of the package: accepted with the right value, or refused in words."""

from __future__ import annotations

import inspect

import pytest

import wflow
from validation.doors import runner
from validation.doors.calls import CALLS
from validation.doors.changes import BAD, SAME, Generated
from validation.doors.generate import generate
from wflow import (
    check,
    controllers,
    datasets,
    distances,
    encoders,
    figures,
    initial,
    landscapes,
    losses,
    observers,
    problems,
    schemes,
    tangent,
)

NUMBERS = range(150)


def test_generated_calls_have_no_faults() -> None:
    outcomes = runner.run(7, NUMBERS, 1)
    assert sorted(outcome.number for outcome in outcomes) == list(NUMBERS)
    faults = [f"{generate(7, o.number).title}: {o.fault}" for o in outcomes if o.fault]
    assert not faults, "\n".join(faults)


def test_a_third_of_the_calls_is_good() -> None:
    verdicts = [generate(7, number).verdict for number in NUMBERS]
    assert verdicts.count(SAME) > len(verdicts) / 3
    assert verdicts.count(BAD) > len(verdicts) / 3


JUDGED = {
    "right": (SAME, "value = 2.0", ""),
    "wrong": (SAME, "value = 2.5", "a wrong value"),
    "another shape": (SAME, "value = np.full(3, 2.0)", "a wrong value: shape"),
    "warned": (SAME, "import warnings; warnings.warn('mind the step'); value = 2.0", "warned"),
    "a good call refused": (SAME, "raise wflow.InputError('no')", "a good call refused"),
    "a bad call accepted": (BAD, "value = 2.0", "a bad call accepted"),
    "a bad call refused": (BAD, "raise wflow.InputError('no')", ""),
    "another exception": (BAD, "raise KeyError('no')", "KeyError"),
    "refused without a word": (BAD, "raise wflow.InputError('')", "refused without a word"),
    "the end of the process": (BAD, "raise SystemExit(3)", "SystemExit"),
}


@pytest.mark.parametrize("name", JUDGED)
def test_faults_are_seen(name: str, tmp_path: object) -> None:
    verdict, code, fault = JUDGED[name]
    generated = Generated("kind", name, verdict, code, "value = 2.0", "", 0.0)
    found = runner.judge(0, generated, tmp_path).fault  # type: ignore[arg-type]
    assert found.startswith(fault) if fault else not found


def test_hangs_and_killed_processes_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = {
        0: "while True: pass",
        1: "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        2: "import signal, time; signal.signal(signal.SIGALRM, signal.SIG_IGN); time.sleep(60)",
        3: "value = bytearray(2**35)",
        4: "value = 1.0",
    }
    made = {number: Generated("kind", "", SAME, code, "value = 1.0", "", 0.0) for number, code in codes.items()}
    monkeypatch.setattr(runner, "generate", lambda seed, number: made[number])
    for name, seconds in {"SECONDS": 0.1, "PATIENCE": 0.3, "DEAF": 0.8}.items():
        monkeypatch.setattr(runner, name, seconds)
    faults = {outcome.number: outcome.fault for outcome in runner.run(0, list(codes), 1)}
    assert faults[0] == "hang" and "killed" in faults[1] and "hang" in faults[2]
    assert "MemoryError" in faults[3] and not faults[4]


def test_every_public_function_and_class_has_a_call() -> None:
    targets = " ".join(call.target for call in CALLS)
    modules = (
        wflow,
        check,
        controllers,
        datasets,
        distances,
        encoders,
        figures,
        initial,
        losses,
        observers,
        problems,
        schemes,
        tangent,
        landscapes,
    )
    others = {
        *("Solution", "Status", "Interrupted", "InputError", "SolveError"),  # made by the package
        *(
            "Attempt",
            "Controller",
            "Start",
            "Verdict",
            "Bar",
            "Report",
            "Compiled",
            "CompiledEncoder",
            "Encoder",
            "KernelSpectrum",
            "Landscape",
        ),
        *("Group", "Law", "Problem", "ConstantEncoder", "FrozenRowEncoder", "ScalingEncoder", "SineEncoder"),
        *("DensityPoint", "Flow", "GridFlow", "GridScheme", "ParticleScheme", "Point", "Scheme", "Trial"),
        *("Loss", "Squares", "Logistic", "CrossEntropy", "Huber"),  # their methods take what objectives hold
        *("entropy_prox", "check_problem", "observed"),  # used by those that have calls
    }
    for module in modules:
        for name in module.__all__:
            thing = getattr(module, name)
            if (inspect.isfunction(thing) or inspect.isclass(thing)) and name not in others:
                assert name in targets, f"{module.__name__}.{name} has no generated call"
