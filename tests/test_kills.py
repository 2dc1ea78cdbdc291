"""Kills, readers, writers and cost, a few of each (see :mod:`validation.kills`)."""

from __future__ import annotations

from validation.kills.beside import readers, writers
from validation.kills.cost import cost
from validation.kills.killed import kills


def test_kills_lose_nothing() -> None:
    said: list[str] = []
    outcome = kills(8, 1, said.append, ["langevin every"])
    assert (outcome.number, outcome.faults) == (8, 0), said


def test_runs_and_readers_do_not_disturb_each_other() -> None:
    said: list[str] = []
    assert readers(1, 0, said.append).faults == 0, said


def test_one_of_two_writers_is_refused() -> None:
    said: list[str] = []
    assert writers(2, 0, said.append).faults == 0, said


def test_the_cost_stays() -> None:
    """Memory, disk and the time to the end; the time of entries is that of a quiet machine alone."""
    said: list[str] = []
    outcome = cost(1000, 20_000, 5.0, said.append)
    assert outcome.number == 5 and not [words for words in said if "slower" not in words], said
