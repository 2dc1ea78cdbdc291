"""The examples of the documentation and of the README run."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("page", ["index", "schemes", "encoders", "format", "simd", "tangent", "theory", "certificate"])
def test_examples(page: str) -> None:
    path = ROOT / "docs" / f"{page}.md"
    options = doctest.NORMALIZE_WHITESPACE
    result = doctest.testfile(str(path), module_relative=False, optionflags=options)
    assert result.failed == 0 and result.attempted > 0


def test_readme_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python example of the README, over a shorter time."""
    monkeypatch.chdir(tmp_path)
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(program.strip().splitlines()) <= 12
    short = program.replace("(0, 20)", "(0, 0.2)")
    assert short != program
    exec(compile(short, "README.md", "exec"), {})
    assert (tmp_path / "digits.h5").exists() and (tmp_path / "energy.pdf").exists()
