"""One velocity evaluation with every attention kernel and mask, against softmax without a mask.

    python benchmarks/attention.py [--size medium] [--dtype float64] [--threads 1] [--rounds 15]

The Transformers are those of ``velocity.py`` with factored heads of full rank, which all kernels have. They run in turn,
a fifth of a second at a time; the program prints medians of the seconds and of the ratios within a round.
"""

from __future__ import annotations

import argparse

import numba
import numpy as np
from velocity import SIZES, problem, seconds_of, turn  # first: it gives BLAS one thread

import wflow
from wflow.encoders import KERNELS

#: Kernel and mask; the first is what the others are compared with.
FORMS = [(kernel, None) for kernel in KERNELS]
FORMS += [("softmax", mask) for mask in ("causal", ("local", 1), ("local", 3), "array")]
FORMS += [("gaussian", "causal"), ("linear", "causal")]


def objective_of(kernel: str, mask: object, like: wflow.TransformerObjective) -> wflow.TransformerObjective:
    """The problem with another attention."""
    if mask == "array":  # half of the pairs, anywhere, and every token itself
        n = like.dataset.n_tokens
        mask = (np.random.default_rng(0).random((n, n)) < 0.5) | np.eye(n, dtype=bool)
    heads = wflow.Attention(kernel, mask, factored=True)
    return wflow.TransformerObjective(like.dataset, heads, like.feedforward, like.weight_decay, layers=like.layers)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Velocities by attention kernel and mask.")
    parser.add_argument("--size", choices=SIZES, default="medium")
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    numba.config.NUMBA_NUM_THREADS = options.threads
    like, rho = problem(options.size, options.dtype)
    D = like.dataset.dimension
    theta = np.random.default_rng(1).standard_normal((*rho.theta.shape[:2], 4 * D * D)) / np.sqrt(D)
    rho = wflow.Particles(theta=theta.astype(options.dtype), w=rho.w)
    objectives = [objective_of(kernel, mask, like) for kernel, mask in FORMS]
    for objective in objectives:
        objective.evaluate(rho)
    seconds = np.array(
        [[turn(lambda q=q: seconds_of(q, rho)) for q in objectives] for _ in range(options.rounds)]  # type: ignore[misc]
    )
    ratios = np.median(seconds / seconds[:, :1], axis=0)
    print(f"{options.size}, {options.dtype}, {options.threads} threads, factored heads of full rank")
    print(f"{'kernel':20} {'mask':14} {'seconds':>9} {'over softmax':>13}")
    for (kernel, mask), time, ratio in zip(FORMS, np.median(seconds, axis=0), ratios):
        print(f"{kernel:20} {mask!s:14} {time:9.4f} {ratio:13.2f}")


if __name__ == "__main__":
    main()
