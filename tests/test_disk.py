"""Compiled kernels on disk: stale, damaged, shared, and where they cannot be written."""

from __future__ import annotations

import os
import random
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import wflow

SQUARES = """
from wflow.kernels.compile import kernel
from wflow.kernels.other import shift
from wflow.kernels.simd.lanes import add, mul, splat
from wflow.kernels.simd.matrices import at, put, space

@kernel
def squares(x):
    A = space(x, 0, 1, 1)
    put(A, 0, 0, add(splat(A, shift(1.0)), mul(at(A, 0, 0), at(A, 0, 0))))
"""
OTHER = """
from wflow.kernels.compile import kernel

@kernel
def shift(x):
    return x
"""
CALL = """
import numpy as np
from wflow.kernels.simd.lanes import n_lanes
from wflow.kernels.squares import squares
x = np.full((1, n_lanes(float)), 3.0)
squares(x)
print(x[0, 0], sum(squares.stats.cache_hits.values()))
"""
#: numba with caches of another kind.
RENAMED = """
from numba.core import caching
caching.NullCache = type("Renamed", (caching.NullCache,), {})
"""


def package_of(folder: Path) -> dict[str, str]:
    """The kernels, with SQUARES and OTHER, as a package of this folder, and the environment of programs there."""
    package = folder / "wflow"
    shutil.copytree(Path(wflow.__file__).parent / "kernels", package / "kernels", ignore=lambda *_: ["__pycache__"])
    for name, text in (("__init__.py", ""), ("kernels/squares.py", SQUARES), ("kernels/other.py", OTHER)):
        (package / name).write_text(text)
    return {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"} | {"PYTHONPATH": ""}


def called(folder: Path, environment: dict[str, str], program: str = CALL) -> tuple[list[str], str]:
    """What a program prints, and the errors of a process that has ended well."""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split(), done.stderr


@pytest.mark.parametrize(("before", "kept"), [("", "1"), (RENAMED, "0")], ids=["numba", "numba with other caches"])
def test_kernels_notice_changes_of_other_files(tmp_path: Path, before: str, kept: str) -> None:
    """A kernel is kept until a file beside its own or in simd/ changes; where numba cannot tell, it is not kept."""
    environment = package_of(tmp_path)
    assert called(tmp_path, environment, before + CALL) == (["10.0", "0"], "")
    assert called(tmp_path, environment, before + CALL) == (["10.0", kept], "")
    for name, old, new, value in (
        ("simd/lanes.py", "builder.fmul(a, b))", "builder.fadd(a, b))", "7.0"),
        ("other.py", "return x", "return -x", "5.0"),
    ):
        path = tmp_path / "wflow/kernels" / name
        assert path.read_text().count(old) == 1
        path.write_text(path.read_text().replace(old, new))
        assert called(tmp_path, environment, before + CALL) == ([value, "0"], "")


def test_caches_of_types_that_have_moved_are_passed_over(tmp_path: Path) -> None:
    """What is on disk names the modules of its types; numba alone fails to read it once they have moved."""
    package, environment = tmp_path / "wflow", package_of(tmp_path)
    takes = "from wflow.kernels.compile import kernel\n\n@kernel\ndef {}(x):\n    return at(x, 0, 0)\n"
    call = "import numba, numpy as np\nfrom wflow.kernels.{0} import at, first, space\n"
    call += "@numba.njit\ndef run(x):\n    return lane_sum(first(space(x, 0, 1, 1)))\n"
    call += "from wflow.kernels.simd.lanes import lane_sum, n_lanes\nprint(run(np.ones((1, n_lanes(float)))))\n"
    for home in ("matrices", "elsewhere"):
        if home == "elsewhere":
            (package / "kernels/simd/matrices.py").rename(package / "kernels/simd/elsewhere.py")
        source = f"from wflow.kernels.simd.{home} import at, space\n" + takes.format("first")
        (package / "kernels/reader.py").write_text(source)
        assert float(called(tmp_path, environment, call.format("reader"))[0][0]) > 0


#: Calls with the files in a folder, each in the place of what is kept.
DAMAGED = """
import shutil, sys
from pathlib import Path
import numpy as np
from wflow.kernels.compile import kernel
from wflow.kernels.simd.lanes import n_lanes
from wflow.kernels.squares import squares
(kept,) = Path("wflow/kernels/__pycache__").glob("squares.squares.*.nbc")
for damaged in sorted(Path("damaged").iterdir()):
    shutil.copyfile(damaged, kept)
    for _ in range(2):
        x, fresh = np.full((1, n_lanes(float)), 3.0), kernel(squares.py_func)
        fresh(x)
        print(x[0, 0], sum(fresh.stats.cache_hits.values()))
"""


def test_damaged_files_are_written_anew(tmp_path: Path) -> None:
    """Files that are cut or empty, with zeros or flipped bits, lead to the same numbers, compiled again."""
    environment = package_of(tmp_path)
    called(tmp_path, environment)
    cache, rng = tmp_path / "wflow/kernels/__pycache__", random.Random(0)
    (kept,) = cache.glob("squares.squares.*.nbc")
    content = kept.read_bytes()

    def flipped() -> bytes:
        damaged = bytearray(content)
        damaged[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        return bytes(damaged)

    def with_zeros() -> bytes:
        hole = rng.randrange(len(content) - 4096)
        return content[:hole] + bytes(4096) + content[hole + 4096 :]

    cases = [b"", content[:31], content + b"0", bytes(len(content))]
    cases += [content[: rng.randrange(len(content))] for _ in range(4)]
    cases += [damage() for damage in (flipped, with_zeros) for _ in range(4)]
    (tmp_path / "damaged").mkdir()
    for k, damaged in enumerate(cases):
        (tmp_path / f"damaged/{k:02}").write_bytes(damaged)
    expected = ["10.0", "0", "10.0", "1"] * len(cases)
    assert called(tmp_path, environment, DAMAGED) == (expected, "")


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    environment = package_of(tmp_path)
    called(tmp_path, environment)
    (kept,) = (tmp_path / "wflow/kernels/__pycache__").glob("squares.squares.*.nbc")
    kept.unlink()
    kept.mkdir()
    output, words = called(tmp_path, environment)
    assert output == ["10.0", "0"] and words.count("RuntimeWarning: compiled kernels are not kept") == 1
    assert list(kept.parent.glob(f"{kept.name}*")) == [kept]  # and nothing beside it


#: As CALL, for one precision.
PRECISION = CALL.replace("float", "np.{0}").replace("3.0)", "3.0, np.{0})")


def test_processes_that_start_at_once_do_not_take_each_others_code(tmp_path: Path) -> None:
    """Four processes without a cache, of two precisions."""
    environment = package_of(tmp_path)
    kinds = ["float32", "float64"] * 2
    commands = [[sys.executable, "-c", PRECISION.format(kind)] for kind in kinds]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path, "env": environment}
    for process in [subprocess.Popen(command, **pipes) for command in commands]:
        output, errors = process.communicate()
        assert (output.split()[0], errors) == ("10.0", "")
    for kind in kinds[:2]:
        assert called(tmp_path, environment, PRECISION.format(kind)) == (["10.0", "1"], "")


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="folders have no owners and modes")
def test_where_no_cache_can_be_written_kernels_are_kept_among_temporary_files(tmp_path: Path) -> None:
    """With one word that says so; not in a folder of others, or one that others can write."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    environment = package_of(tmp_path) | {"TMPDIR": str(temporary), "XDG_CACHE_HOME": "/dev/null/cache"}
    for folder in ("kernels", "kernels/simd"):
        (tmp_path / "wflow" / folder / "__pycache__").write_text("")
    own = temporary / f"wflow-{os.getuid()}"
    output, words = called(tmp_path, environment)
    assert output == ["10.0", "0"] and words.count("Warning") == 1
    assert f"compiled kernels are kept in {own} for now: set NUMBA_CACHE_DIR" in words
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    assert called(tmp_path, environment) == (["10.0", "1"], "")
    given = environment | {"NUMBA_CACHE_DIR": str(tmp_path / "given")}
    assert called(tmp_path, given) == (["10.0", "0"], "") and called(tmp_path, given) == (["10.0", "1"], "")

    own.chmod(0o770)
    output, words = called(tmp_path, environment)
    assert output == ["10.0", "0"] and words.count("Warning") == 1
    assert "compiled kernels are not kept, since no folder for them can be written: set NUMBA_CACHE_DIR" in words
    own.rename(temporary / "another")
    own.symlink_to(temporary / "another")
    assert "compiled kernels are not kept" in called(tmp_path, environment)[1]
