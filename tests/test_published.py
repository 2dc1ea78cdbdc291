"""Errors that others have printed, to the printed digits."""

from __future__ import annotations

import pytest

from benchmarks.published import CASES, Case, errors


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_hu_van_fleet_wan(case: Case) -> None:
    for ours, theirs in zip(errors(case), case.errors):
        assert f"{ours:.6e}" == f"{theirs:.6e}"
