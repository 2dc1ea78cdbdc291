"""A stored result is found again: run files, laws, kernels and steps mean today what they meant then."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

import wflow

ROOT = Path(__file__).parent.parent
STORED = ROOT / "data" / "reference" / "regression.json"


def compute() -> dict[str, object]:
    """Q, R and the held-out risk of solvers/regression.toml at its frames."""
    path = ROOT / "solvers" / "regression.toml"
    run = wflow.runfile.read(path)
    solution = wflow.solve(run.objective, run.rho0, observe=run.observe, progress=False, **run.solve_arguments)
    at = np.searchsorted(solution.tau, solution.frame_tau)
    return {
        "run file": "solvers/regression.toml",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "tau": solution.frame_tau.tolist(),
        "Q": solution.energy[at].tolist(),
        "R": solution.risk[at].tolist(),
        "held-out risk": solution.observed["held-out risk"][at].tolist(),
    }


def test_regression_run_file() -> None:
    stored, computed = json.loads(STORED.read_text()), compute()
    assert stored["sha256"] == computed["sha256"], "the run file has changed: see data/README.md"
    assert stored["tau"] == computed["tau"]
    for name in ("Q", "R", "held-out risk"):
        np.testing.assert_allclose(computed[name], stored[name], rtol=1e-6, err_msg=name)


if __name__ == "__main__":
    STORED.write_text(json.dumps(compute(), indent=2) + "\n")
