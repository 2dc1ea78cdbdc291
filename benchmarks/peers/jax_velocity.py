"""One velocity evaluation of the Transformer objective in JAX: the peer the kernels are measured against.

Usage::

    python jax_velocity.py PROBLEM.npz [--dtype float64|float32]

``PROBLEM.npz`` holds ``tokens (B, D, n)``, ``labels (B,)``, ``readout_row``, ``readout_column``,
``theta (L, M, 2 D^2)`` = [V row-major, W row-major], ``w (L, M, 2 D)`` = [W_1, W_2] and ``weight_decay``.
The program compiles, warms up, prints ``ready`` and answers one line per line of standard input:

* ``run``: one evaluation with its inputs on the devices; prints the wall seconds
* ``save PATH``: writes ``value`` (Q), ``v_theta`` and ``v_w`` of the last evaluation; prints ``saved``
* ``quit``: ends the program (so does the end of the input)

Errors are one line on standard error and exit code 2.

The evaluation is the recursion ``T <- T + 1/(2 L M) sum_j V_j T softmax_col(T^T W_j T)``, then
``T <- T + 1/(2 L M) sum_j W_2j tanh(W_1j T)``, over L layers; ``Q`` = mean over prompts of
``(entry of T^L - label)^2 / 2`` plus ``weight_decay / (2 L M)`` times the squared norm of all parameters; and
the velocities are ``-M L dQ/d(particle)``.

What makes it fast, in order of weight:

* prompts in chunks whose attention weights (c n^2 M numbers) take about a megabyte, in a ``lax.scan``
* heads last, (c, D, n, M), so that one product per prompt serves all heads and the softmax runs along lanes
* two host devices, the prompts divided by ``shard_map``
* an attention adjoint by hand: the exponentials are kept, never normalised (the normalisation goes to the
  n times smaller arrays), and ``sum_j P dP`` becomes ``<Z, G>``
* in the last layer, only the column that is read
"""

import argparse
import os
import sys
import time
from typing import Any, NoReturn

DEVICES = 2
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={DEVICES}".strip()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax import Array  # noqa: E402
from jax.sharding import NamedSharding, PartitionSpec  # noqa: E402

CHUNK_BYTES = 2**20
"""Attention weights of one chunk of prompts: close to one core's share of the second-level cache."""

FIELDS = ("tokens", "labels", "readout_row", "readout_column", "theta", "w", "weight_decay")
Residuals = tuple[Array, ...]


# --- attention: tokens (c, D, n), columns (c, D, q), V and W (D, D, M); index letters
# --- c prompt, d and e rows, j token, i column, m head


def _attention(tokens: Array, columns: Array, V: Array, W: Array) -> tuple[Array, Residuals]:
    # written as a sum over e, the product fuses into one loop; the others are faster as matrix products
    U = sum(W[None, :, e, None] * columns[:, None, e, :, None] for e in range(W.shape[1]))
    scores = jnp.einsum("cdj,cdim->cjim", tokens, U)
    weights = jnp.exp(scores - jnp.max(scores, axis=1, keepdims=True))
    total = jnp.sum(weights, axis=1, keepdims=True)
    Z = jnp.einsum("cdj,cjim->cdim", tokens, weights) / total
    return jnp.einsum("dem,ceim->cdi", V, Z), (tokens, columns, V, W, U, weights, total, Z)


@jax.custom_vjp
def attention(tokens: Array, columns: Array, V: Array, W: Array) -> Array:
    """``sum_m V_m T softmax_col(T^T W_m X)`` for tokens T and columns X."""
    return _attention(tokens, columns, V, W)[0]


def _attention_adjoint(residuals: Residuals, p: Array) -> tuple[Array, Array, Array, Array]:
    tokens, columns, V, W, U, weights, total, Z = residuals
    VTp = jnp.einsum("dem,cdi->ceim", V, p)
    G = VTp / total
    k = sum(Z[:, e] * VTp[:, e] for e in range(V.shape[1])) / total[:, 0]
    R = weights * (jnp.einsum("cej,ceim->cjim", tokens, G) - k[:, None])
    X = jnp.einsum("cdj,cjim->cdim", tokens, R)
    tokens_bar = jnp.einsum("ceim,cjim->cej", G, weights) + jnp.einsum("ceim,cjim->cej", U, R)
    columns_bar = jnp.einsum("dem,cdim->cei", W, X)
    return tokens_bar, columns_bar, jnp.einsum("cdi,ceim->dem", p, Z), jnp.einsum("cdim,cei->dem", X, columns)


attention.defvjp(_attention, _attention_adjoint)


def neurons(tokens: Array, W1: Array, W2: Array) -> Array:
    """``sum_m W_2m tanh(W_1m T)`` for W_1 and W_2 of shape (M, D)."""
    return jnp.einsum("md,cmi->cdi", W2, jnp.tanh(jnp.einsum("md,cdi->cmi", W1, tokens)))


# --- the objective ---------------------------------------------------------------------------------------


class Velocity:
    """A compiled evaluation with its arguments on the devices; calling it returns (Q, v_theta, v_w)."""

    def __init__(self, problem: dict[str, np.ndarray], dtype: str) -> None:
        self.row, self.column = int(problem["readout_row"]), int(problem["readout_column"])
        self.weight_decay = float(problem["weight_decay"])
        self.prompts, self.D, self.n = problem["tokens"].shape
        self.L, self.M, _ = problem["theta"].shape
        share = -(-self.prompts // DEVICES)
        head_bytes = self.n**2 * self.M * np.dtype(dtype).itemsize
        self.chunks = -(-share // max(1, CHUNK_BYTES // head_bytes))
        self.chunk = -(-share // self.chunks)
        # a short last chunk is filled up with prompts of weight zero
        missing = DEVICES * self.chunks * self.chunk - self.prompts
        tokens = np.concatenate([problem["tokens"], np.zeros((missing, self.D, self.n))])
        labels = np.concatenate([problem["labels"], np.zeros(missing)])
        weights = np.concatenate([np.full(self.prompts, 1 / self.prompts), np.zeros(missing)])

        mesh = jax.make_mesh((DEVICES,), ("prompts",))
        everywhere, divided = PartitionSpec(), PartitionSpec("prompts")
        specs = (everywhere, everywhere, divided, divided, divided)
        arrays = (problem["theta"], problem["w"], tokens, labels, weights)
        self.arguments = [
            jax.device_put(array.astype(dtype), NamedSharding(mesh, spec)) for array, spec in zip(arrays, specs)
        ]
        sharded = jax.shard_map(self._evaluate, mesh=mesh, in_specs=specs, out_specs=everywhere, check_vma=False)
        self.compiled = jax.jit(sharded).lower(*self.arguments).compile()

    def __call__(self) -> tuple[Array, Array, Array]:
        return jax.block_until_ready(self.compiled(*self.arguments))

    def _layers(self, theta: Array, w: Array) -> tuple[Array, ...]:
        """The particles as V, W (L, D, D, M), W_1, W_2 (L, M, D)."""
        V, W = jnp.moveaxis(theta.reshape(self.L, self.M, 2, self.D, self.D), (2, 1), (0, -1))
        return V, W, w[..., : self.D], w[..., self.D :]

    def _risk(self, layers: tuple[Array, ...], tokens: Array, labels: Array, weights: Array) -> Array:
        """The weighted sum of the squared errors of one chunk, halved."""
        step = 1 / (2 * self.L * self.M)

        def block(tokens: Array, columns: Array, layer: tuple[Array, ...]) -> Array:
            V, W, W1, W2 = layer
            columns = columns + step * attention(tokens, columns, V, W)
            return columns + step * neurons(columns, W1, W2)

        first = jax.tree.map(lambda x: x[:-1], layers)
        last = jax.tree.map(lambda x: x[-1], layers)
        tokens, _ = jax.lax.scan(lambda tokens, layer: (block(tokens, tokens, layer), None), tokens, first)
        read = block(tokens, tokens[:, :, self.column, None], last)[:, self.row, 0]
        return jnp.sum(weights * (read - labels) ** 2) / 2

    def _evaluate(
        self, theta: Array, w: Array, tokens: Array, labels: Array, weights: Array
    ) -> tuple[Array, Array, Array]:
        """What one device does: its prompts in chunks, then the sum over the devices."""
        layers, transpose = jax.vjp(self._layers, theta, w)
        data = [x.reshape(self.chunks, self.chunk, *x.shape[1:]) for x in (tokens, labels, weights)]

        def add(total: Any, chunk: Any) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, total, jax.value_and_grad(self._risk)(layers, *chunk)), None

        zero = (jnp.zeros((), theta.dtype), jax.tree.map(jnp.zeros_like, layers))
        (risk, layers_bar), _ = jax.lax.scan(add, zero, data)
        risk, theta_bar, w_bar = jax.lax.psum((risk, *transpose(layers_bar)), "prompts")
        scale = self.M * self.L
        value = risk + self.weight_decay / (2 * scale) * (jnp.sum(theta**2) + jnp.sum(w**2))
        return value, -scale * theta_bar - self.weight_decay * theta, -scale * w_bar - self.weight_decay * w


# --- the program -----------------------------------------------------------------------------------------


def fail(message: str) -> NoReturn:
    print(f"jax_velocity.py: {message}", file=sys.stderr)
    raise SystemExit(2)


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        fail(message)


def load(path: str) -> dict[str, np.ndarray]:
    """The problem in the file, checked."""
    try:
        with np.load(path) as file:
            missing = [name for name in FIELDS if name not in file]
            if missing:
                fail(f"{path}: missing {', '.join(missing)}")
            problem = {name: file[name] for name in FIELDS}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        fail(f"{path}: not a readable .npz file: {error}".replace("\n", " "))
    if problem["tokens"].ndim != 3 or problem["theta"].ndim != 3:
        fail(f"{path}: tokens must be (B, D, n) and theta (L, M, 2 D^2)")
    (B, D, n), (L, M, _) = problem["tokens"].shape, problem["theta"].shape
    shapes = {"labels": (B,), "theta": (L, M, 2 * D * D), "w": (L, M, 2 * D)}
    shapes |= dict.fromkeys(("readout_row", "readout_column", "weight_decay"), ())
    for name, shape in shapes.items():
        if problem[name].shape != shape:
            fail(f"{path}: {name} has shape {problem[name].shape}, expected {shape}")
    if min(B, D, n, L, M) < 1:
        fail(f"{path}: every size must be positive, got B, D, n, L, M = {B, D, n, L, M}")
    if not (0 <= problem["readout_row"] < D and 0 <= problem["readout_column"] < n):
        fail(f"{path}: the readout must be a row below {D} and a column below {n}")
    return problem


def main() -> None:
    parser = Parser(description="One velocity evaluation of the Transformer objective in JAX.")
    parser.add_argument("problem", metavar="PROBLEM.npz")
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64")
    options = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", options.dtype == "float64")
    velocity = Velocity(load(options.problem), options.dtype)
    answer = velocity()
    print("ready", flush=True)
    for line in sys.stdin:
        command, _, path = line.strip().partition(" ")
        if command == "run" and not path:
            start = time.perf_counter()
            answer = velocity()
            print(time.perf_counter() - start, flush=True)
        elif command == "save" and path:
            value, v_theta, v_w = (np.asarray(array) for array in answer)
            try:
                np.savez(path, value=value, v_theta=v_theta, v_w=v_w)
            except OSError as error:
                fail(f"{path}: {error.strerror}")
            print("saved", flush=True)
        elif command == "quit" and not path:
            return
        else:
            fail(f"unknown command {line.strip()!r}; the commands are run, save PATH and quit")


if __name__ == "__main__":
    main()
