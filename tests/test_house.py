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
    ["checks", "jobs", "plain", "types"],
    ["kernels"],
    ["environment", "measures", "datasets", "losses"],
    ["encoders"],
    ["network", "distances"],
    ["energies"],
    ["initial", "observers", "problems", "controllers", "tangent", "landscapes"],
    ["schemes", "solution"],
    ["settings"],
    ["trajectory", "figures"],
    ["run"],
    ["runfile", "certify"],
    ["check", "warmup"],
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


@pytest.mark.parametrize("name", ["transformer", "heads", "losses"])
def test_the_numpy_transformer_imports_no_numerics_of_the_package(name: str) -> None:
    path = PACKAGE.parent / "validation" / f"{name}.py"
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


def test_no_two_modules_import_each_other() -> None:
    """Also not in a longer circle, nor inside functions, nor for types alone."""
    modules = {".".join(("wflow", *p.relative_to(PACKAGE).with_suffix("").parts)): p for p in FILES}
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        found = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        graph[name.removesuffix(".__init__")] = {m for m in found if m in modules}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way[way.index(name) :], name))
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*way, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())
