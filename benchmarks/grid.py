"""A density in two dimensions whose law is known: wflow's grid schemes against py-pde and fplanck, interleaved.

    python benchmarks/grid.py --peer-python PYTHON_WITH_PY_PDE_AND_FPLANCK

The Ornstein-Uhlenbeck flow with sigma = 0.5 from N((1, -0.5), 0.2) in the box [-4, 4]^2 to tau = 1. The error is that
in L1 against the exact Gaussian. All solvers run on one core and in turn, ours in this process and the peers in
processes of their own; the seconds are medians. What a peer spends on compiling or assembling, and wflow on numba, is
reported apart and left out of the solve. ``--no-peers`` measures ours alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import wflow
from wflow.schemes import EntropicJKO, FiniteVolume, Kernel

SIGMA, MEAN, VARIANCE, HALF, TAU = 0.5, (1.0, -0.5), 0.2, 4.0, 1.0
PEERS = Path(__file__).parent / "peers"
ONE_CORE = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")

#: Ours: name, scheme, step.
KERNEL = ("kernel", Kernel(levels=4, outer_mass=1e-6), 0.2)
OURS = (
    KERNEL,
    ("finite-volume", FiniteVolume(outer_mass=1e-6), 0.025),
    ("entropic-jko, richardson=2", EntropicJKO(richardson=2, outer_mass=1e-6), 0.1),
)
#: The peers, and the cells with which they first reach 1e-3.
ENOUGH = {"py-pde": 204, "fplanck": 98}
#: Cells with which the kernel scheme reaches 1e-5.
CELLS = 32


def gaussian(cells: int, mean: tuple[float, float], variance: float) -> wflow.Grid:
    """A normal law on the cells."""
    axis = (np.arange(cells) + 0.5) * 2 * HALF / cells - HALF
    x, y = np.exp(-((axis - mean[0]) ** 2) / (2 * variance)), np.exp(-((axis - mean[1]) ** 2) / (2 * variance))
    return wflow.Grid(x=np.outer(x, y), box={"x": ((-HALF, HALF),) * 2})


def l1_error(density: np.ndarray) -> float:
    """Against the exact law, on the cells of the density."""
    e = np.exp(-TAU)
    exact = gaussian(len(density), (MEAN[0] * e, MEAN[1] * e), SIGMA + (VARIANCE - SIGMA) * e**2)
    return float(np.abs(density - exact.x[0]).sum() * exact.cell_volume("x"))


@dataclass
class Ours:
    """One of our schemes."""

    name: str
    scheme: Any
    dtau: float
    cells: int

    def __post_init__(self) -> None:
        V = wflow.PotentialEnergy(lambda x: 0.5 * (x[:, 0] ** 2 + x[:, 1] ** 2), lambda x: x)
        self.energy, self.rho0 = V + wflow.Entropy(SIGMA), gaussian(self.cells, MEAN, VARIANCE)
        self.compile = self.seconds()

    def seconds(self) -> float:
        """One solve."""
        began = time.perf_counter()
        self.answer = wflow.solve(self.energy, self.rho0, (0, TAU), scheme=self.scheme, dtau=self.dtau, progress=False)
        return time.perf_counter() - began

    def error(self) -> float:
        return l1_error(self.answer.measure(-1).x[0])

    def close(self) -> None: ...


class Peer:
    """A program of ``benchmarks/peers``: one solve for every line "run"."""

    def __init__(self, name: str, python: str, cells: int, folder: str) -> None:
        self.name, self.cells, self.path = name, cells, f"{folder}/{name}-{cells}.npy"
        given = {"cells": cells, "half": HALF, "sigma": SIGMA, "mean": MEAN, "variance": VARIANCE, "tau": TAU}
        program = PEERS / f"{name.replace('-', '')}_grid.py"
        self.process = subprocess.Popen(
            [python, str(program), json.dumps(given)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        words = self._read().split()
        if words[:1] != ["ready"]:
            sys.exit(f"the peer {program.name} did not start; does {python} have {name}?")
        self.compile = float(words[1])

    def _read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def _say(self, line: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self._read()

    def seconds(self) -> float:
        """One solve."""
        return float(self._say("run"))

    def error(self) -> float:
        self._say(f"save {self.path}")
        return l1_error(np.load(self.path))

    def close(self) -> None:
        """End the process."""
        self.process.communicate("quit\n")


def measured(solvers: list[Any], repeats: int) -> list[np.ndarray]:
    """The seconds of every solver, in turn."""
    times = np.array([[solver.seconds() for solver in solvers] for _ in range(repeats)])
    return list(times.T)


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cells", nargs="+", type=int, default=[64, 128])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--peer-python", default=sys.executable, help="an interpreter that has py-pde and fplanck")
    parser.add_argument("--no-peers", action="store_true", help="measure wflow alone")
    arguments = parser.parse_args()
    if any(os.environ.get(name) != "1" for name in ONE_CORE):  # libraries read it when they are loaded
        os.environ.update(ONE_CORE)
        os.execv(sys.executable, [sys.executable, *sys.argv])
    names = [] if arguments.no_peers else list(ENOUGH)
    with tempfile.TemporaryDirectory() as folder:
        print("| solver | cells | L1 error | solve s | over kernel | first s |\n|---|---|---|---|---|---|")
        for cells in arguments.cells:
            solvers: list[Any] = [Ours(*row, cells) for row in OURS]
            solvers += [Peer(name, arguments.peer_python, cells, folder) for name in names]
            times = measured(solvers, arguments.repeats)
            for solver, seconds in zip(solvers, times):
                ratio = np.median(seconds / times[0])
                print(
                    f"| {solver.name} | {cells}^2 | {solver.error():.1e} | {np.median(seconds):.3g} | {ratio:.2f} "
                    f"| {solver.compile:.3g} |",
                    flush=True,
                )
                solver.close()
        ours = Ours(*KERNEL, CELLS)
        for name in names:
            peer = Peer(name, arguments.peer_python, ENOUGH[name], folder)
            us, them = measured([ours, peer], arguments.repeats)
            print(
                f"\n{name}: {peer.error():.1e} in {np.median(them):.3g} s on {peer.cells}^2; "
                f"wflow: {ours.error():.1e} in {np.median(us):.3g} s on {ours.cells}^2, a ratio of "
                f"{np.median(them / us):.1f}",
                flush=True,
            )
            peer.close()


if __name__ == "__main__":
    main()
