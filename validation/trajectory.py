"""Check a trajectory file against the finite Transformer in plain numpy.

    python -m validation.trajectory run.h5

At the first and the last frame of a split-Euler run the energy Q, the risk R and the dissipation ``|v|^2`` of the file
are computed again by :class:`validation.transformer.FiniteTransformer`, which shares no numerics with wflow. The
program prints a table and exits with 1 when an entry differs by more than round-off.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

import wflow
from validation.kernel import inputs_of
from validation.transformer import FiniteTransformer

#: Largest relative difference that passes, by precision of the run.
TOLERANCE = {"float64": 1e-10, "float32": 1e-4}


def finite_transformer(objective: wflow.TransformerObjective) -> FiniteTransformer:
    """The numpy Transformer with the architecture of an objective of built-in encoders."""
    attention, feedforward = objective.attention, objective.feedforward
    assert attention is None or isinstance(attention, wflow.Attention)
    assert feedforward is None or isinstance(feedforward, wflow.FeedForward)
    return FiniteTransformer(
        attention=None if attention is None else ("factored" if attention.factored else "full"),
        feedforward=None if feedforward is None else feedforward.activation,
        hidden=getattr(feedforward, "hidden", 1),
        bias=getattr(feedforward, "bias", False),
        rank=getattr(attention, "rank", None),
        weight_decay=objective.weight_decay,
        kernel=getattr(attention, "kernel", "softmax"),
        mask=getattr(attention, "mask", None),
        scale=getattr(attention, "scale", 1.0),
        loss=objective.loss,
        huber_delta=objective.huber_delta,
        mobility=objective.mobility,
    )


def differences(solution: wflow.Solution, frame: int) -> dict[str, tuple[float, float]]:
    """Q, R and |v|^2 at a frame: (in the file, by the numpy Transformer)."""
    step = int(np.searchsorted(solution.tau, solution.frame_tau[frame]))
    state, weights = inputs_of(solution.measure(frame))
    objective = solution.objective
    assert isinstance(objective, wflow.TransformerObjective)
    here = finite_transformer(objective).train(*state, objective.dataset, 1.0, 0, "gd", *weights)
    return {
        "Q": (float(solution.energy[step]), float(here.energy[0])),
        "R": (float(solution.risk[step]), float(here.risk[0])),
        "|v|^2": (float(solution.dissipation[step]), float(here.dissipation[0])),
    }


def main() -> int:
    """Print the table; 0 when all entries agree, 1 when one does not, 2 for a file that cannot be checked."""
    parser = argparse.ArgumentParser(description="Check a trajectory against the finite Transformer in plain numpy.")
    parser.add_argument("path", type=Path)
    try:
        solution = wflow.load(parser.parse_args().path)
    except wflow.InputError as error:
        print(error, file=sys.stderr)
        return 2
    objective = solution.objective
    built_in = {"theta": (wflow.Attention, wflow.SoftmaxAttention), "w": (wflow.FeedForward,)}
    if (
        not isinstance(objective, wflow.TransformerObjective)
        or not all(type(encoder) in built_in[block] for block, encoder in objective.encoders.items())
        or objective.rule.name != "split-euler"
    ):
        print("only split-euler runs with built-in encoders are finite Transformers", file=sys.stderr)
        return 2
    worst = 0.0
    print(f"{'tau':>10} {'':6} {'trajectory':>22} {'numpy Transformer':>22} {'difference':>11}")
    for frame in (0, -1):
        for name, (ours, theirs) in differences(solution, frame).items():
            gap = abs(ours - theirs) / max(abs(theirs), np.finfo(float).tiny)
            worst = max(worst, gap if np.isfinite(gap) else np.inf)
            print(f"{solution.frame_tau[frame]:10.4g} {name:6} {ours:22.15g} {theirs:22.15g} {gap:11.1e}")
    tolerance = TOLERANCE[str(solution.measure(0).dtype)]
    passed = worst <= tolerance
    print(f"largest relative difference {worst:.1e}, tolerance {tolerance:.0e}: {'pass' if passed else 'FAIL'}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
