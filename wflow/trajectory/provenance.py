"""Where a trajectory comes from: versions, commit, command line, processor."""

from __future__ import annotations

__all__ = ["provenance"]

import json
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from wflow._version import __version__


def provenance() -> dict[str, str]:
    """Attributes of a new trajectory, as text."""
    packages = {name: version(name) for name in ("numpy", "scipy", "numba", "h5py")}
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": json.dumps({"wflow": __version__, "python": platform.python_version(), **packages}),
        "commit": _commit(),
        "argv": json.dumps(sys.argv),
    }


def _commit() -> str:
    """The git commit of the package's checkout, empty for an installed copy."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    answer = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else ""
