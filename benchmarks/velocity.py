"""One velocity evaluation (forward pass and discrete adjoint over all prompts) against JAX, measured interleaved.

    python benchmarks/velocity.py --peer-python PYTHON_WITH_JAX [--sizes medium] [--dtype float64]

Both sides compute Q and the velocity of the same Transformer: softmax attention with full W, tanh neurons, split-Euler
depth. They run in turn, ours in this process and JAX in one of its own, and the program prints the median of each and
the median of the ratios, after checking that they agree. ``--no-peer`` measures ours alone.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import wflow

#: D, n, B, L, M of the standard sizes.
SIZES = {
    "small": (6, 11, 64, 8, 64),
    "medium": (6, 11, 256, 16, 256),
    "large": (11, 21, 512, 32, 512),
    "wide": (17, 17, 1797, 12, 128),
}
PEER = Path(__file__).parent / "peers" / "jax_velocity.py"


def problem(size: str, dtype: str) -> tuple[wflow.TransformerObjective, wflow.Particles]:
    """A random in-context problem of a standard size."""
    D, n, B, L, M = SIZES[size]
    rng = np.random.default_rng(0)
    data = wflow.Dataset(rng.standard_normal((B, D, n)), rng.standard_normal(B), readout=(D - 1, n - 1))
    objective = wflow.TransformerObjective(
        data, wflow.SoftmaxAttention(), wflow.FeedForward("tanh"), weight_decay=1e-3, layers=L
    )
    scale = 1 / np.sqrt(D)
    theta = (scale * rng.standard_normal((L, M, 2 * D * D))).astype(dtype)
    w = (scale * rng.standard_normal((L, M, 2 * D))).astype(dtype)
    return objective, wflow.Particles(theta=theta, w=w)


class Peer:
    """The JAX program in a process of its own: one evaluation for every line "run"."""

    def __init__(self, python: str, objective: wflow.TransformerObjective, rho: wflow.Particles, folder: Path) -> None:
        data = objective.dataset
        path = folder / "problem.npz"
        np.savez(
            path,
            tokens=data.tokens.astype(rho.dtype),
            labels=data.labels,
            readout_row=data.dimension - 1,
            readout_column=data.n_tokens - 1,
            theta=rho.theta,
            w=rho.w,
            weight_decay=objective.weight_decay,
        )
        self.result = folder / "result.npz"
        command = [python, str(PEER), str(path), "--dtype", str(rho.dtype)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._expect("ready")

    def _say(self, line: str) -> str:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def _expect(self, word: str) -> None:
        assert self.process.stdout is not None
        if self.process.stdout.readline().strip() != word:
            sys.exit(f"the peer {PEER.name} did not start; does {self.process.args[0]} have jax?")  # type: ignore[index]

    def seconds(self) -> float:
        """One evaluation."""
        return float(self._say("run"))

    def velocity(self) -> Any:
        """What it computes: value, v_theta, v_w."""
        self._say(f"save {self.result}")
        return np.load(self.result)

    def close(self) -> None:
        """End the process."""
        self.process.communicate("quit\n")


def largest_difference(objective: wflow.TransformerObjective, rho: wflow.Particles, peer: Peer) -> float:
    """The largest relative difference of Q and the velocities."""
    ours, theirs = objective.evaluate(rho), peer.velocity()
    differences = [abs(ours.value - float(theirs["value"])) / ours.value]
    for block in ("theta", "w"):
        v = theirs[f"v_{block}"]
        differences.append(float(np.abs(ours.velocity[block] - v).max() / np.abs(v).max()))
    return max(differences)


def measure(size: str, dtype: str, repeats: int, python: str | None) -> list[str]:
    """One row of the table."""
    objective, rho = problem(size, dtype)
    objective.evaluate(rho)
    ours: list[float] = []
    theirs: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        peer = Peer(python, objective, rho, Path(folder)) if python else None
        difference = largest_difference(objective, rho, peer) if peer else 0.0
        if difference > (1e-10 if dtype == "float64" else 1e-3):
            sys.exit(f"{size}, {dtype}: the two differ by {difference:.2g}; no time is worth comparing")
        for _ in range(repeats):
            began = time.perf_counter()
            objective.evaluate(rho)
            ours.append(time.perf_counter() - began)
            if peer:
                theirs.append(peer.seconds())
        if peer:
            peer.close()
    row = [size, dtype, f"{np.median(ours):.3g}"]
    if theirs:
        row += [f"{np.median(theirs):.3g}", f"{np.median(np.array(ours) / theirs):.2f}", f"{difference:.1e}"]
    return row


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["small", "medium"])
    parser.add_argument("--dtype", nargs="+", choices=["float64", "float32"], default=["float64", "float32"])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--peer-python", default=sys.executable, help="an interpreter that has jax")
    parser.add_argument("--no-peer", action="store_true", help="measure wflow alone")
    arguments = parser.parse_args()
    print(f"{'size':8} {'dtype':8} {'wflow s':>9} {'JAX s':>9} {'ratio':>7} {'difference':>11}")
    for size in arguments.sizes:
        for dtype in arguments.dtype:
            row = measure(size, dtype, arguments.repeats, None if arguments.no_peer else arguments.peer_python)
            print(f"{row[0]:8} {row[1]:8} " + " ".join(f"{x:>{w}}" for x, w in zip(row[2:], (9, 9, 7, 11))), flush=True)


if __name__ == "__main__":
    main()
