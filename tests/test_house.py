"""The house: imports point one way, and starting up is quick."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

import wflow

PACKAGE = Path(wflow.__file__).parent

#: Storeys from the ground up; a module imports only from its own storey or below.
STOREYS = [
    ["_version", "errors"],
    ["checks"],
    ["kernels"],
    ["measures", "datasets"],
    ["encoders", "depth"],
    ["energies", "distances"],
    ["initial", "observers", "problems", "controllers"],
    ["schemes", "solution"],
    ["session", "trajectory", "figures"],
    ["solver"],
    ["runfile"],
    ["check"],
    ["cli", "__main__"],
]
STOREY = {room: level for level, rooms in enumerate(STOREYS) for room in rooms}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """The rooms of wflow that a file imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "wflow":
            names |= {f"wflow.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return {name.split(".")[1] for name in names if name.startswith("wflow.")}


FILES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    room = room_of(path)
    assert room in STOREY, f"{room} has no storey yet"
    for other in imports(path) & set(STOREY):
        assert STOREY[other] <= STOREY[room], f"{path} imports {other} from above"


def test_the_numpy_transformer_imports_no_numerics_of_the_package() -> None:
    path = PACKAGE.parent / "validation" / "transformer.py"
    assert not imports(path)


def seconds(*command: str) -> float:
    """The shortest of five runs: start-up time without the noise of a busy machine."""
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        best = min(best, time.perf_counter() - began)
    return best


def test_starting_is_quick() -> None:
    """Compared with numpy's own import, so that the test holds on slow machines too."""
    numpy = seconds("-c", "import numpy")
    assert seconds("-c", "import wflow") - numpy < 0.4
    heavy = "import sys, wflow; print(sorted({'ot', 'matplotlib', 'h5py', 'scipy.stats'} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", heavy], check=True, capture_output=True, text=True).stdout
    assert loaded.strip() == "[]"
