"""The mutants: each changes one place that is there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from validation.mutants import MUTANTS, Mutant, apply, copied, main
from validation.runner import ROOT


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_old_text_is_there_once(mutant: Mutant) -> None:
    assert (ROOT / mutant.file).read_text(encoding="utf-8").count(mutant.old) == 1
    assert mutant.new not in (mutant.old, "")


def test_names_are_unique() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


def test_a_copy_holds_the_change_and_the_checkout_does_not() -> None:
    mutant = MUTANTS[0]
    with copied(mutant) as root:
        assert mutant.new in (root / mutant.file).read_text(encoding="utf-8")
    assert mutant.new not in (ROOT / mutant.file).read_text(encoding="utf-8")


def test_a_text_that_is_gone_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file.py").write_text("twice twice")
    for old, count in (("gone", 0), ("twice", 2)):
        with pytest.raises(ValueError, match=f"the old text is {count} times in file.py, not once"):
            apply(replace(MUTANTS[0], file="file.py", old=old), tmp_path)


def test_an_unknown_mutant(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["nobody"])
    assert caught.value.code == 2 and "no mutant 'nobody'" in capsys.readouterr().err
