"""Verdicts of adaptive steps against the formula, worked out number by number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from wflow.controllers import Adaptive, Attempt, Verdict


def attempt(**known: Any) -> Attempt:
    """An attempt with nothing special about it but what is known."""
    numbers: dict[str, Any] = {"value": 2.0, "new_value": 1.9, "norm": 1.0, "new_norm": 1.0, "is_finite": True}
    numbers |= {"rose": False, "h": 1.0, "error": 0.0, "lipschitz": 0.0, "failure": "", "order": 2, "error_order": 2}
    return Attempt(**numbers | {"stability": None, "restart": False} | known)


def by_hand(rtol: float, atol: float, told: Attempt, memory: float) -> tuple[bool, float, float]:
    """Accepted or not, the next step, the next memory."""
    assert told.error is not None and told.error_order is not None
    larger = told.norm if told.norm > told.new_norm else told.new_norm
    error, q = told.error / (atol + rtol * larger), told.error_order
    if error > 1:
        factor = 0.9 / error ** (1 / q)
        return False, told.h * (factor if factor > 0.2 else 0.2), 1.0
    if told.restart:
        memory = 1.0
    # After a large error that fell: careful growth; after a small one that rose: more careful still.
    factor = 0.9 * (memory**0.4 / error**0.7) ** (1 / q)
    h = told.h * min(max(factor, 0.2), 5.0)
    if told.stability is not None and h * told.lipschitz > told.stability:
        h = told.stability / told.lipschitz
    return True, h, error


def test_the_verdict_is_that_of_the_formula() -> None:
    rng, counts = np.random.default_rng(0), {True: 0, False: 0}
    for _ in range(500):
        rtol, atol, norm, new_norm, h, lipschitz = 10 ** rng.uniform([-8, -10, -2, -2, -4, -2], [-1, -3, 2, 2, 1, 4])
        scale = atol + rtol * max(norm, new_norm)
        told = attempt(
            norm=norm,
            new_norm=new_norm,
            h=h,
            error=scale * 10 ** rng.uniform(-4, 2),
            lipschitz=lipschitz * rng.integers(2),
            error_order=int(rng.integers(2, 6)),
            stability=[None, 2.0, 3.3][rng.integers(3)],
            restart=bool(rng.integers(2)),
        )
        memory = float(10 ** rng.uniform(-3, 0))
        verdict = Adaptive(rtol, atol).judge(told, memory)
        accepted, step, kept = by_hand(rtol, atol, told, memory)
        assert verdict.accepted is accepted
        assert (verdict.h, verdict.memory) == (pytest.approx(step, rel=1e-12), pytest.approx(kept, rel=1e-12))
        counts[accepted] += 1
    assert min(counts.values()) > 100


@pytest.mark.parametrize("factor", [0.999, 1.001])
def test_the_tolerance_is_the_border(factor: float) -> None:
    """Of the larger of the two norms, whichever it is."""
    for norm, new_norm in ((4.0, 1.0), (1.0, 4.0)):
        told = attempt(norm=norm, new_norm=new_norm, error=factor * (0.5 + 0.25 * 4))
        assert Adaptive(0.25, 0.5).judge(told, 1.0).accepted is (factor < 1)


def test_a_falling_error_lets_steps_grow_less_than_a_steady_one() -> None:
    """The integral part: err_prev^{0.4/q}, so that a smaller error before means that the error is on the rise."""
    steps = [Adaptive(0.0, 1.0).judge(attempt(error=0.5), memory).h for memory in (0.1, 0.5, 1.0)]
    assert steps == sorted(steps) and steps[0] < steps[2]


def test_no_estimate_counts_as_no_error() -> None:
    assert Adaptive(0.0, 1.0).judge(attempt(error=None), 1.0) == Verdict(True, "", 5.0, 1e-10)
