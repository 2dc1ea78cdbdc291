"""Damaged and hostile trajectories are refused in words, or read with the values of the whole file."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

import wflow
from validation import damage, hostile

SEED = 5
KINDS = sorted({name.partition(":")[0] for name in hostile.HOSTILE})
#: One of every kind that was read once, that hung, or that ended in a traceback; of the others every tenth is quick.
FOUND = (
    *(
        "pipes: a pipe as .lock, killed",
        "pipes: a link to itself as trajectory",
        "counts: -1 series",
        "counts: 0 frames",
    ),
    *(
        "counts: a fraction",
        "shapes: sparse, series/energy",
        "values: NaN, series/tau",
        "structure: weights of other particles",
    ),
    *("JSON: a list, problem/observe/heldout description", "JSON: no JSON, versions", "descriptions: 10**9 layers"),
    *("bombs: deflate twice, frames", "bombs: one array many times in a description", "settings: save x"),
    *(
        "heaps: an object of no length beyond the first page",
        "journals: an endless size",
        "links: external, series/energy",
    ),
    *("journals: a size that cuts the file", "journals: changes of text", "checkpoints: h negative"),
    *("checkpoints: tau before the start", "checkpoints: x in another precision", "checkpoints: a header of no tokens"),
    *("structure: particles in other slices than the objective", "bytes: version 2 with trees of level 255"),
)


@pytest.fixture(scope="module")
def made() -> Mapping[str, damage.Victim]:
    return damage.victims()


@pytest.mark.parametrize("numbers", [range(132), pytest.param(range(132, 1000), marks=pytest.mark.slow)])
def test_mutated_files_are_refused_or_equal(numbers: range, made: Mapping[str, damage.Victim]) -> None:
    results, faults = set(), []
    for number in numbers:
        kind, words, victim = damage.mutated(made, SEED, number)
        outcome = damage.in_fork(victim.write, lambda path, victim=victim: damage.judge(path, victim))  # type: ignore[misc]
        results.add(outcome.result)
        faults += [f"{kind}, {words}: {outcome.fault}"] if outcome.fault else []
    assert not faults, "\n".join(faults)
    assert {"refused", "equal"} <= results


@pytest.mark.parametrize("step", [10, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", KINDS)
def test_files_made_to_harm_are_refused(kind: str, step: int, made: Mapping[str, damage.Victim]) -> None:
    names = [name for name in hostile.HOSTILE if name.startswith(f"{kind}:")]
    faults = []
    for name in {*names[::step], *(name for name in FOUND if name in names)}:
        outcome = damage.in_fork(*hostile.judged(hostile.HOSTILE[name], made))
        faults += [f"{name}: {outcome.fault}"] if outcome.fault else []
    assert not faults, "\n".join(faults)


def test_what_was_found_is_made() -> None:
    assert set(FOUND) <= hostile.HOSTILE.keys()


def test_faults_are_seen(made: Mapping[str, damage.Victim], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A hang, a crash, an exception, a wrong value, and memory beyond measure."""
    monkeypatch.setattr(damage, "SECONDS", 1)
    monkeypatch.setattr(damage, "PATIENCE", 3.0)
    victim = made["particles"]

    def spin(path: Path) -> damage.Outcome:
        while True:
            pass

    def sleep(path: Path) -> damage.Outcome:
        time.sleep(60)
        return damage.Outcome("equal")

    def die(path: Path) -> damage.Outcome:
        os._exit(3)

    def swell(path: Path) -> damage.Outcome:
        return damage.Outcome("equal") if bytearray(2**34) else damage.Outcome("refused")

    assert damage.in_fork(victim.write, spin).fault == damage.in_fork(victim.write, sleep).fault == "hangs"
    assert "crash" in damage.in_fork(victim.write, die).fault
    assert "crash" in damage.in_fork(victim.write, swell).fault
    other = damage.judge(made["weighted"].write(tmp_path), victim)
    assert "gives other values" in other.fault
    monkeypatch.setattr(wflow, "load", lambda path: {}[path])
    assert damage.judge(victim.write(tmp_path), victim).fault.startswith("KeyError")
