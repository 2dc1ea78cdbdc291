"""What the peers of ``benchmarks/velocity.py`` share: the evaluation, the file they read, the lines they answer.

A peer is started as ``PROGRAM PROBLEM.npz --dtype float64 --threads 2``. The file holds ``tokens (B, D, n)``,
``labels (B,)``, ``readout_row``, ``readout_column``, ``theta (L, M, 2 D^2)`` = [V row-major, W row-major],
``w (L, M, 2 D)`` = [W_1, W_2] and ``weight_decay``. The peer compiles, warms up, prints ``ready`` and answers one line
per line of standard input:

* ``run``: one evaluation with its inputs in place; prints the wall seconds
* ``save PATH``: writes ``value`` (Q), ``v_theta`` and ``v_w`` of the last evaluation; prints ``saved``
* ``quit``: ends the program (so does the end of the input)

The evaluation is the recursion ``T <- T + 1/(2 L M) sum_j V_j T softmax_col(T^T W_j T)``, then
``T <- T + 1/(2 L M) sum_j W_2j tanh(W_1j T)``, over L layers; ``Q`` = mean over prompts of
``(entry of T^L - label)^2 / 2`` plus ``weight_decay / (2 L M)`` times the squared norm of all parameters; and
the velocities are ``-M L dQ/d(particle)``.
"""

import argparse
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import answers
import numpy as np

Answer = tuple[Any, Any, Any]


def arguments(argv: list[str] | None = None, **choices: tuple[str, ...]) -> argparse.Namespace:
    """The command line: the problem, ``--dtype``, ``--threads`` and what else a peer lets choose (the first is the
    default)."""
    parser = argparse.ArgumentParser()
    parser.add_argument("problem", metavar="PROBLEM.npz")
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64")
    parser.add_argument("--threads", type=int, default=2)
    for name, values in choices.items():
        parser.add_argument(f"--{name}", choices=values, default=values[0])
    return parser.parse_args(argv)


def load(path: str, dtype: str) -> SimpleNamespace:
    """The problem in the file: its arrays in this precision, its numbers, and its sizes B, D, n, L, M.

    The particles come as ``V`` and ``W`` (L, M, D, D), ``W1`` and ``W2`` (L, M, D), the step 1 / (2 L M) as ``step``.
    """
    with np.load(path) as file:
        p = SimpleNamespace(**file)
    p.row, p.column, p.weight_decay = int(p.readout_row), int(p.readout_column), float(p.weight_decay)
    p.tokens, p.labels, p.theta, p.w = (np.asarray(x, dtype) for x in (p.tokens, p.labels, p.theta, p.w))
    (p.B, p.D, p.n), (p.L, p.M, _) = p.tokens.shape, p.theta.shape
    p.V, p.W = np.moveaxis(p.theta.reshape(p.L, p.M, 2, p.D, p.D), 2, 0)
    p.W1, p.W2 = p.w[..., : p.D], p.w[..., p.D :]
    p.step = 1 / (2 * p.L * p.M)
    return p


def divisor(size: int, largest: int) -> int:
    """The largest divisor of ``size`` that is at most ``largest``, and at least one."""
    return max(d for d in range(1, size + 1) if size % d == 0 and d <= max(1, largest))


def finish(p: SimpleNamespace, risk: Any, theta_bar: Any, w_bar: Any, theta: Any, w: Any) -> Answer:
    """Q and the velocities, of the risk and its gradient: the weight decay and the particles' mass."""
    scale = p.M * p.L
    value = risk + p.weight_decay / (2 * scale) * ((theta**2).sum() + (w**2).sum())
    return value, -scale * theta_bar - p.weight_decay * theta, -scale * w_bar - p.weight_decay * w


def serve(evaluate: Callable[[], Answer]) -> None:
    """Evaluate once, so that all is compiled, and answer."""

    def save(path: str, answer: Answer) -> None:
        value, v_theta, v_w = (np.asarray(array) for array in answer)
        np.savez(path, value=value, v_theta=v_theta, v_w=v_w)

    answers.serve(evaluate, save, lambda: "ready")
