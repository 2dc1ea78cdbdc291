"""One velocity evaluation (forward pass and discrete adjoint over all prompts) against other tools and the machine.

    python benchmarks/velocity.py --peer-python PYTHON_WITH_JAX_AND_TORCH [--sizes medium] [--dtype float64]

All compute Q and the velocity of the same Transformer: softmax attention with full W, tanh neurons, split-Euler depth.
They run in turn, ours in this process and every peer in one of its own, a fifth of a second at a time after a short
rest that lets the threads of the others go to sleep, and the limits of the machine (``limits.py``) take their turns
with them. The program prints medians of the seconds and of the ratios peer/wflow, after checking that results agree,
and the share of the roofline, the work at the limits of the same turn: the least work with everything kept for the
adjoint, and the work of computing attention twice with what does not reach the result left out. ``--prompts`` takes the
first prompts only: all cost is linear in B.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import limits  # before numpy: it gives BLAS one thread
import numba
import numpy as np

import wflow

#: D, n, B, L, M of the standard sizes.
SIZES = {
    "small": (6, 11, 64, 8, 64),
    "medium": (6, 11, 256, 16, 256),
    "large": (11, 21, 512, 32, 512),
    "wide": (17, 17, 1797, 12, 128),
}
FOLDER = Path(__file__).parent / "peers"
#: Program, its options, and the module it needs.
PEERS = {
    "jax": ("jax_velocity.py", [], "jax"),
    "torch-eager": ("torch_velocity.py", ["--mode", "eager"], "torch"),
    "torch-compiled": ("torch_velocity.py", ["--mode", "compiled"], "torch"),
    "numpy": ("numpy_velocity.py", [], "numpy"),
}
#: Gflop/s of multiply-adds of the machine, all threads, on which peers took these seconds.
REFERENCE_FMA = {"float64": 2 * 58, "float32": 2 * 117}
REFERENCE = {
    ("jax", "float64"): {"small": 0.046, "medium": 1.12, "large": 54.6, "wide": 15.6},
    ("jax", "float32"): {"small": 0.023, "medium": 0.593, "wide": 8.8},
    ("torch-compiled", "float64"): {"small": 0.056, "medium": 1.34, "large": 53.4, "wide": 14.8},
    ("torch-compiled", "float32"): {"small": 0.051, "medium": 1.31, "large": 44, "wide": 8.2},
}
NUMPY_GFLOPS, NUMPY_SECONDS = 1.0, 5.0


def problem(size: str, dtype: str, prompts: int | None = None) -> tuple[wflow.TransformerObjective, wflow.Particles]:
    """A random in-context problem of a standard size."""
    D, n, B, L, M = SIZES[size]
    rng = np.random.default_rng(0)
    tokens, labels = rng.standard_normal((B, D, n)), rng.standard_normal(B)
    data = wflow.Dataset(tokens[:prompts], labels[:prompts], readout=(D - 1, n - 1))
    objective = wflow.TransformerObjective(
        data, wflow.SoftmaxAttention(), wflow.FeedForward("tanh"), weight_decay=1e-3, layers=L
    )
    scale = 1 / np.sqrt(D)
    theta = (scale * rng.standard_normal((L, M, 2 * D * D))).astype(dtype)
    w = (scale * rng.standard_normal((L, M, 2 * D))).astype(dtype)
    return objective, wflow.Particles(theta=theta, w=w)


def work(D: int, n: int, B: int, L: int, M: int, least: bool) -> tuple[float, float]:
    """Flops and exponentials (a tanh counts as one): the least with everything kept for the adjoint; or attention
    computed twice, the last layer for the column that is read and no cotangent of the data."""
    heads = float(B * M)
    if least:
        return heads * L * (12 * D * D * n + 12 * D * n * n + 12 * D * n), heads * L * (n * n + n)
    flops = 14 * D * D * n + 16 * D * n * n + 14 * D * n
    layers = L - 1 + 1 / n  # every term is linear in the columns
    unneeded = (2 * D * D * n + 4 * D * n * n) * (1 if L > 1 else 1 / n)
    return heads * (layers * flops - unneeded), heads * layers * 2 * (n * n + n)


def turn(run: Callable[[], float]) -> float:
    """The median of the evaluations of one turn."""
    time.sleep(0.05)
    seconds = [run()]
    while sum(seconds) < 0.2:
        seconds.append(run())
    return float(np.median(seconds))


class Peer:
    """A program in a process of its own: one evaluation for every line "run"."""

    def __init__(self, name: str, python: str, path: Path, dtype: str, threads: int) -> None:
        program, options, _ = PEERS[name]
        self.name, self.times, self.difference = name, list[float](), 0.0
        command = [python, str(FOLDER / program), str(path), "--dtype", dtype, "--threads", str(threads), *options]
        self.result = path.with_name(f"{name}.npz")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self._answer() != "ready":
            sys.exit(f"the peer {name} did not start: {' '.join(command)}")

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def _say(self, line: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self._answer()

    def run(self) -> float:
        """The seconds of one evaluation."""
        return float(self._say("run"))

    def compare(self, ours: Any) -> None:
        """The largest relative difference of Q and the velocities."""
        self._say(f"save {self.result}")
        theirs = np.load(self.result)
        differences = [abs(ours.value - float(theirs["value"])) / ours.value]
        for block in ("theta", "w"):
            v = theirs[f"v_{block}"]
            differences.append(float(np.abs(ours.velocity[block] - v).max() / np.abs(v).max()))
        self.difference = max(differences)

    def close(self) -> None:
        """End the process."""
        self.process.communicate("quit\n")


def seconds_of(objective: wflow.TransformerObjective, rho: wflow.Particles) -> float:
    """One evaluation of ours."""
    began = time.perf_counter()
    objective.evaluate(rho)
    return time.perf_counter() - began


def write(path: Path, objective: wflow.TransformerObjective, rho: wflow.Particles) -> None:
    """The problem, for the peers."""
    data = objective.dataset
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


def installed(names: list[str], python: str) -> list[str]:
    """The peers whose module this interpreter has; the others are named."""
    found = []
    for name in names:
        if subprocess.run([python, "-c", f"import {PEERS[name][2]}"], capture_output=True).returncode == 0:
            found.append(name)
        else:
            print(f"{name}: {python} has no {PEERS[name][2]}; skipped")
    return found


def at_best(size: tuple[int, int, int, int, int], least: bool, rates: limits.Rates, dtype: str, threads: int) -> float:
    """Seconds of the work at the limits."""
    flops, exponentials = work(*size, least)
    return (flops / rates["FMA", dtype, threads] + exponentials / rates["exp", dtype, threads]) / 1e9


def measure(size: str, dtype: str, names: list[str], options: argparse.Namespace) -> tuple[str, list[limits.Rates]]:
    """One row of the table, and the limits in every turn."""
    D, n, B, L, M = SIZES[size]
    B = min(B, options.prompts or B)
    if work(D, n, B, L, M, True)[0] / NUMPY_GFLOPS / 1e9 > NUMPY_SECONDS and len(names) > 1:
        names = [name for name in names if name != "numpy"]
    objective, rho = problem(size, dtype, B)
    turns: list[limits.Rates] = []
    ours: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problem.npz"
        write(path, objective, rho)
        peers = {name: Peer(name, options.peer_python, path, dtype, options.threads) for name in names}
        evaluation = objective.evaluate(rho)
        for peer in peers.values():
            peer.compare(evaluation)
            if peer.difference > (1e-10 if dtype == "float64" else 1e-3):
                sys.exit(f"{size}, {dtype}: {peer.name} differs by {peer.difference:.2g}; no time is worth comparing")
        for _ in range(options.repeats or (5 if size in ("large", "wide") else 11)):
            turns.append(limits.measure([dtype], options.threads, 3))
            ours.append(turn(lambda: seconds_of(objective, rho)))
            for peer in peers.values():
                peer.times.append(turn(peer.run))
        for peer in peers.values():
            peer.close()
    seconds = float(np.median(ours))
    row = [f"{size} ({D}, {n}, {B}, {L}, {M})", f"{seconds:.3g}"]
    for name in options.peers:
        if name not in peers:
            row.append("")
            continue
        times = peers[name].times
        cell = f"{np.median(times):.3g} ({np.median(np.divide(times, ours)):.2f})"
        reference = REFERENCE.get((name, dtype), {}).get(size)
        if reference:
            expected = reference * B / SIZES[size][2] * REFERENCE_FMA[dtype]
            fma = [rates["FMA", dtype, options.threads] for rates in turns]
            reached = float(np.median(expected / np.multiply(fma, times)))
            cell += "" if reached >= 0.8 else " !"
            options.notes.append(
                f"{size}, {dtype}: {name} reaches {100 * reached:.0f} % of its reference speed"
                + ("" if reached >= 0.8 else ", below 80 %: its ratio does not count")
            )
        row.append(cell)
    row.append(f"{max(peer.difference for peer in peers.values()):.1e}" if peers else "")
    for least in (True, False):
        best = [at_best((D, n, B, L, M), least, rates, dtype, options.threads) for rates in turns]
        row += [f"{np.median(best):.3g}", f"{100 * np.median(np.divide(best, ours)):.0f} %"]
    return "| " + " | ".join(row) + " |", turns


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["small", "medium"])
    parser.add_argument("--dtype", nargs="+", choices=["float64", "float32"], default=["float64", "float32"])
    parser.add_argument("--repeats", type=int, help="turns of each (default: 11; 5 of large and wide)")
    parser.add_argument("--prompts", type=int, help="the first prompts only")
    parser.add_argument("--threads", type=int, default=numba.config.NUMBA_NUM_THREADS)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--peer-python", default=sys.executable, help="an interpreter that has jax and torch")
    parser.add_argument("--no-peer", action="store_true", help="measure wflow alone")
    options = parser.parse_args()
    numba.config.NUMBA_NUM_THREADS = options.threads
    options.peers = [] if options.no_peer else installed(options.peers, options.peer_python)
    options.notes = []
    rates: dict[str, list[limits.Rates]] = {}
    print(f"Medians, {options.threads} threads (numpy: one); in brackets those of the ratios peer/wflow.")
    for dtype in options.dtype:
        head = ["(D, n, B, L, M)", "wflow s", *(f"{name} s" for name in options.peers), "difference"]
        head += ["least work s", "share", "recomputing s", "share"]
        print(f"\n{dtype}\n\n| {' | '.join(head)} |\n{'|---' * len(head)}|", flush=True)
        for size in options.sizes:
            row, turns = measure(size, dtype, options.peers, options)
            rates.setdefault(dtype, []).extend(turns)
            print(row, flush=True)
    medians = {key: rate for turns in rates.values() for key, rate in limits.medians(turns).items()}
    print(f"\n{limits.table(medians)}\n")
    print(*options.notes, sep="\n")


if __name__ == "__main__":
    main()
