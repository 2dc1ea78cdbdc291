"""The checkout that is validated: where it is, its commit, and the code on which an answer depends."""

from __future__ import annotations

__all__ = ["ROOT", "code_of", "commit"]

import ast
import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import resolve_name
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

#: Modules of what follows from answers: no answer depends on them.
REPORTING = {"drawing.py", "study.py"}


def commit() -> str:
    """The commit of the checkout, with a word if the code has changed since."""
    git = ["git", "-C", str(ROOT)]
    try:
        name = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*git, "status", "--porcelain", "wflow", "validation"], capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name.stdout.strip() + (" with changes" if changed.stdout.strip() else "")


def code_of(function: Callable[..., Any]) -> str:
    """A digest of the code on which a function depends: the package, the function's module and what that imports."""
    module = function.__module__
    files = {*(ROOT / "wflow").rglob("*.py"), *_imported(module, Path(sys.modules[module].__file__ or ""))}
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _imported(module: str, path: Path) -> set[Path]:
    """The file of a module and all files of the validation that it imports, and those import."""
    found: set[Path] = set()
    left = {(module, path)}
    while left:
        module, path = left.pop()
        found.add(path)
        for name in _names(module, path):
            place = ROOT.joinpath(*name.split("."))
            for file in (place.with_suffix(".py"), place / "__init__.py"):
                if file.exists() and file.name not in REPORTING and file not in found:
                    left.add((name, file))
    return found


def _names(module: str, path: Path) -> Iterator[str]:
    """What a file imports of the validation, modules and perhaps their members, by full names."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            home = resolve_name("." * node.level + (node.module or ""), package)
            names = [home, *(f"{home}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name for name in names if name.startswith("validation."))
