"""The mutants: each changes one place that is there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from validation.checkout import ROOT
from validation.mutants import MUTANTS, Mutant, apply, copied, main, run
from validation.suite import SUITE


@pytest.mark.parametrize("mutant", MUTANTS + SUITE, ids=lambda mutant: mutant.name)
def test_the_old_text_is_there_once(mutant: Mutant) -> None:
    assert (ROOT / mutant.file).read_text(encoding="utf-8").count(mutant.old) == 1
    assert mutant.new not in (mutant.old, "")


def test_names_are_unique() -> None:
    for mutants in (MUTANTS, SUITE):
        assert len({mutant.name for mutant in mutants}) == len(mutants)


def test_a_mutant_of_the_suite_says_what_it_breaks_and_which_tests_notice() -> None:
    for mutant in SUITE:
        assert mutant.claim and mutant.tests, mutant.name
        assert all((ROOT / test).is_file() for test in mutant.tests), mutant.name


def test_a_copy_holds_the_change_and_the_checkout_does_not() -> None:
    mutant = MUTANTS[0]
    with copied(mutant) as root:
        assert mutant.new in (root / mutant.file).read_text(encoding="utf-8")
        assert (root / "tests").is_dir() and not (root / ".git").exists()
    assert mutant.new not in (ROOT / mutant.file).read_text(encoding="utf-8")


def test_a_text_that_is_gone_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file.py").write_text("twice twice")
    for old, count in (("gone", 0), ("twice", 2)):
        with pytest.raises(ValueError, match=f"the old text is {count} times in file.py, not once"):
            apply(replace(MUTANTS[0], file="file.py", old=old), tmp_path)


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        ("def test_right() -> None:\n    pass\n", ""),
        ("def test_wrong() -> None:\n    assert 1 - 1\n", "test_file.py::test_wrong"),
    ],
)
def test_what_a_test_file_says(tmp_path: Path, content: str, answer: str) -> None:
    (tmp_path / "test_file.py").write_text(content)
    assert run("test_file.py", tmp_path, 1) == answer


def test_an_unknown_mutant(capsys: pytest.CaptureFixture[str]) -> None:
    for options in ([], ["--suite"]):
        with pytest.raises(SystemExit) as caught:
            main(["nobody", *options])
        assert caught.value.code == 2 and "no mutant 'nobody'" in capsys.readouterr().err
