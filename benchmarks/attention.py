"""One velocity evaluation with every attention kernel and mask, against softmax without a mask.

    python benchmarks/attention.py [--size medium] [--dtype float64] [--rank 2] [--rounds 9]

The Transformers are those of ``velocity.py`` with factored heads, which all kernels have. They run in
turn, with one thread; the program prints medians of the processor's seconds, on which other programs have little
influence, and of the ratios within a round. All cost is linear in the number of prompts.
"""

from __future__ import annotations

import argparse
import time

import numba
import numpy as np
from velocity import SIZES, problem

import wflow
from wflow.encoders import KERNELS

#: Kernel and mask; the first is what the others are compared with.
FORMS = [(kernel, None) for kernel in KERNELS]
FORMS += [("softmax", mask) for mask in ("causal", ("local", 1), ("local", 3), "array")]
FORMS += [("gaussian", "causal"), ("linear", "causal")]


def objective_of(
    kernel: str, mask: object, rank: int | None, like: wflow.TransformerObjective
) -> wflow.TransformerObjective:
    """The problem with another attention."""
    if mask == "array":  # half of the pairs, anywhere, and every token itself
        n = like.dataset.n_tokens
        mask = (np.random.default_rng(0).random((n, n)) < 0.5) | np.eye(n, dtype=bool)
    heads = wflow.Attention(kernel, mask, factored=True, rank=rank)
    return wflow.TransformerObjective(like.dataset, heads, like.feedforward, like.weight_decay, layers=like.layers)


def seconds_of(objective: wflow.TransformerObjective, rho: wflow.Particles) -> float:
    """One evaluation, in seconds of the processor."""
    began = time.process_time()
    objective.evaluate(rho)
    return time.process_time() - began


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Velocities by attention kernel and mask.")
    parser.add_argument("--size", choices=SIZES, default="medium")
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64")
    parser.add_argument("--prompts", type=int, help="the first so many")
    parser.add_argument("--rank", type=int, help="of the factored heads (default: full)")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    numba.config.NUMBA_NUM_THREADS = 1
    like, rho = problem(options.size, options.dtype, options.prompts)
    D = like.dataset.dimension
    theta = np.random.default_rng(1).standard_normal((*rho.theta.shape[:2], 4 * (options.rank or D) * D)) / np.sqrt(D)
    rho = wflow.Particles(theta=theta.astype(options.dtype), w=rho.w)
    objectives = [objective_of(kernel, mask, options.rank, like) for kernel, mask in FORMS]
    for objective in objectives:
        objective.evaluate(rho)
    seconds = np.array([[seconds_of(objective, rho) for objective in objectives] for _ in range(options.rounds)])
    ratios = np.median(seconds / seconds[:, :1], axis=0)
    print(f"{options.size}, {options.dtype}, one thread, factored heads of rank {options.rank or D}")
    print(f"{'kernel':20} {'mask':14} {'seconds':>9} {'over softmax':>13}")
    for (kernel, mask), median, ratio in zip(FORMS, np.median(seconds, axis=0), ratios):
        print(f"{kernel:20} {mask!s:14} {median:9.4f} {ratio:13.2f}")


if __name__ == "__main__":
    main()
