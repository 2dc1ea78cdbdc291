"""Where a trajectory comes from: versions, commit, command line, processor."""

from __future__ import annotations

__all__ = ["history", "provenance"]

import json
import platform
import subprocess
import sys
import warnings
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from wflow._version import __version__
from wflow.environment import differences, environment


def provenance() -> dict[str, str]:
    """Attributes of a new trajectory, as text."""
    packages = {name: version(name) for name in ("numpy", "scipy", "numba", "h5py")}
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": json.dumps({"wflow": __version__, "python": platform.python_version(), **packages}),
        "commit": _commit(),
        "argv": json.dumps(sys.argv),
        "environment": json.dumps(history([], 0, "")),
    }


def history(before: list[dict[str, Any]], entry: int, path: str) -> list[dict[str, Any]]:
    """In which environments a run was computed, each with the first entry of the series that is from it.

    Where the present one is another than the last, a warning says that bits may differ from here on.
    """
    now = environment()
    if before and not (told := differences(before[-1]["environment"], now)):
        return before
    if before:
        words = f"{path} goes on with {'; '.join(told)}: it need not equal an uninterrupted run bit for bit"
        warnings.warn(words, RuntimeWarning, stacklevel=2)
    return [*before, {"from": entry, "environment": now}]


def _commit() -> str:
    """The git commit of the package's checkout, empty for an installed copy."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    answer = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else ""
