"""One velocity evaluation of the Transformer objective in JAX (see ``velocity_peer.py``).

What makes it fast, in order of weight (float64, one core of an Ice Lake server, against the form described last):

* Columns of all prompts of a chunk as one batch r and heads last, [r, row, head]: no product transposes a large array,
  and XLA fuses the softmax into the product before it (the attention of a layer and its adjoint 4.1 to 1.7 us).
* In the adjoint the term ``k = sum_j P dP`` = <Z, G> enters as one more row of the product; as a difference it is
  fused into the loop over j and summed n times (4.1 to 2.4 us, within the above).
* Layer by layer, chunks of prompts and blocks of heads inside it, with attention computed again in the adjoint: kept
  attention weights are copied into the arrays of a scan (medium: 3.0 instead of 2.1 s).
* Chunks of attention weights of a quarter of a megabyte, blocks of heads of half one: 64 kB and 1 MB cost 10 to 30 %.
* One host device for every thread, the prompts divided by ``shard_map``.
* XLA's loop emitters of old in float64 (6 to 30 % faster; in float32 the new ones are, by 20 %), and 512-bit vectors.
* The last layer for the read column only; exponentials not normalised, but the n times smaller Z.

Tried and no faster: sums over d or j written out instead of products (XLA computes them again in every consumer: 1.9
times slower), prompts along the last axis with a scan over heads (3 to 8 times slower), the reductions over m for the
tokens with the axes in another order, oneDNN, YNN fusions turned off (20 % slower), fast math, fast min and max, and
Eigen on one thread. The form before this one, [prompt, row, column, head] with kept weights, took twice as long.
"""

import os
from typing import Any

import velocity_peer

options = velocity_peer.arguments()
FLAGS = f"--xla_force_host_platform_device_count={options.threads} --xla_cpu_prefer_vector_width=512"
if options.dtype == "float64":
    FLAGS += " --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = f"{FLAGS} {os.environ.get('XLA_FLAGS', '')}"

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax import Array  # noqa: E402
from jax.sharding import NamedSharding, PartitionSpec  # noqa: E402

CHUNK_BYTES = 2**18
tree_map, einsum = jax.tree.map, jnp.einsum
Matrices = tuple[Array, Array]


# --- attention of one block of heads: tokens T (c, n, D), columns X (c, q, D), V = [d, e, m], W = [e, d, m]; index
# --- letters r column of a prompt, d and e rows, j token, m head


def _forward(T: Array, X: Array, V: Array, W: Array) -> tuple[Array, ...]:
    (c, n, D), q = T.shape, X.shape[1]
    tokens = jnp.broadcast_to(T[:, None], (c, q, n, D)).reshape(c * q, n, D)
    ones = jnp.ones((c * q, n, 1), T.dtype)
    extended = jnp.concatenate([tokens, ones], 2)
    U = einsum("re,edm->rdm", X.reshape(c * q, D), W)
    S = einsum("rjd,rdm->rjm", tokens, U)
    P = jnp.exp(S - jnp.max(S, 1, keepdims=True))
    sums = einsum("rjd,rjm->rdm", extended, P)
    scale = 1 / sums[:, D:]
    return tokens, extended, U, P, scale, sums[:, :D] * scale


def attention(T: Array, X: Array, heads: Matrices) -> Array:
    """``sum_m V_m T softmax_col(T^T W_m X)``."""

    def add(total: Array, head: Matrices) -> tuple[Array, None]:
        *_, Z = _forward(T, X, *head)
        return total + einsum("dem,rem->rd", head[0], Z), None

    total, _ = jax.lax.scan(add, jnp.zeros((X.shape[0] * X.shape[1], X.shape[2]), X.dtype), heads)
    return total.reshape(X.shape)


def attention_adjoint(T: Array, X: Array, heads: Matrices, p: Array) -> tuple[Array, Array, Matrices]:
    """Of :func:`attention` for the cotangent p: those of T, X and of the heads."""
    (c, n, D), q = T.shape, X.shape[1]
    x, p = X.reshape(c * q, D), p.reshape(c * q, D)

    def add(total: Matrices, head: Matrices) -> tuple[Matrices, Matrices]:
        V, W = head
        tokens, extended, U, P, scale, Z = _forward(T, X, V, W)
        G = einsum("rd,dem->rem", p, V) * scale
        k = sum(Z[:, e] * G[:, e] for e in range(D))
        R = P * einsum("rjd,rdm->rjm", extended, jnp.concatenate([G, -k[:, None]], 1))
        Y = einsum("rjd,rjm->rdm", tokens, R)
        T_bar = einsum("rjm,rem->rje", P, G) + einsum("rjm,rem->rje", R, U)
        X_bar = einsum("edm,rdm->re", W, Y)
        total = (total[0] + T_bar.reshape(c, q, n, D).sum(1), total[1] + X_bar)
        return total, (einsum("rd,rem->dem", p, Z), einsum("re,rdm->edm", x, Y))

    (T_bar, X_bar), heads_bar = jax.lax.scan(add, (jnp.zeros_like(T), jnp.zeros_like(x)), heads)
    return T_bar, X_bar.reshape(X.shape), heads_bar


def neurons(T: Array, W1: Array, W2: Array) -> Array:
    """``sum_m W_2m tanh(W_1m T)`` for W_1 and W_2 of shape (M, D)."""
    return einsum("cim,md->cid", jnp.tanh(einsum("cid,md->cim", T, W1)), W2)


class Velocity:
    """A compiled evaluation with its arguments on the devices; calling it returns (Q, v_theta, v_w)."""

    def __init__(self, path: str, dtype: str, devices: int) -> None:
        self.p = p = velocity_peer.load(path, dtype)
        entries = CHUNK_BYTES // np.dtype(dtype).itemsize // p.n**2
        self.heads = velocity_peer.divisor(p.M, 2 * entries)
        share = -(-p.B // devices)
        self.chunk = min(share, max(1, entries // self.heads))
        chunks = -(-share // self.chunk)
        # short chunks are filled up with prompts of weight zero
        missing = devices * chunks * self.chunk - p.B
        tokens = np.concatenate([p.tokens, np.zeros((missing, p.D, p.n), dtype)]).swapaxes(1, 2)
        labels = np.concatenate([p.labels, np.zeros(missing)])
        weights = np.concatenate([np.full(p.B, 1 / p.B), np.zeros(missing)])
        data = [x.reshape(devices * chunks, self.chunk, *x.shape[1:]).astype(dtype) for x in (tokens, labels, weights)]

        mesh = jax.make_mesh((devices,), ("prompts",))
        everywhere, divided = PartitionSpec(), PartitionSpec("prompts")
        specs = (everywhere, everywhere, divided, divided, divided)
        self.arguments = [jax.device_put(x, NamedSharding(mesh, spec)) for x, spec in zip((p.theta, p.w, *data), specs)]
        sharded = jax.shard_map(self._evaluate, mesh=mesh, in_specs=specs, out_specs=everywhere, check_vma=False)
        self.compiled = jax.jit(sharded).lower(*self.arguments).compile()

    def __call__(self) -> velocity_peer.Answer:
        return jax.block_until_ready(self.compiled(*self.arguments))

    def _layers(self, theta: Array, w: Array) -> tuple[Matrices, Matrices]:
        """The particles as (V, W) = [layer, block, d, e, m], [layer, block, e, d, m] and (W_1, W_2) (L, M, D)."""
        L, M, D = self.p.L, self.p.M, self.p.D
        matrices = theta.reshape(L, M // self.heads, self.heads, 2, D, D)
        V, W = einsum("lbmde->lbdem", matrices[..., 0, :, :]), einsum("lbmde->lbedm", matrices[..., 1, :, :])
        return (V, W), (w[..., :D], w[..., D:])

    def _layer(self, T: Array, X: Array, layer: Any) -> tuple[Array, Array]:
        """The columns X after attention to T, and after the neurons too."""
        middle = X + self.p.step * attention(T, X, layer[0])
        return middle, middle + self.p.step * neurons(middle, *layer[1])

    def _adjoint(self, T: Array, X: Array, middle: Array, layer: Any, p: Array) -> tuple[Array, Array, Any]:
        """Of a layer for the cotangent p: those of T, of X and of the layer."""
        _, pull = jax.vjp(neurons, middle, *layer[1])
        middle_bar, *neurons_bar = pull(self.p.step * p)
        p = p + middle_bar
        T_bar, X_bar, heads_bar = attention_adjoint(T, X, layer[0], self.p.step * p)
        return T_bar, p + X_bar, (heads_bar, tuple(neurons_bar))

    def _evaluate(self, theta: Array, w: Array, T: Array, labels: Array, weights: Array) -> velocity_peer.Answer:
        """What one device does: layer by layer, its prompts in chunks; then the sum over the devices."""
        row, column = self.p.row, self.p.column
        layers, transpose = jax.vjp(self._layers, theta, w)
        first, last = tree_map(lambda x: x[:-1], layers), tree_map(lambda x: x[-1], layers)

        def forward(T: Array, layer: Any) -> tuple[Array, Matrices]:
            middle, out = jax.lax.map(lambda T: self._layer(T, T, layer), T)
            return out, (T, middle)

        def read(total: Any, chunk: Any) -> Any:
            T, labels, weights = chunk
            X = T[:, column, None]
            middle, out = self._layer(T, X, last)
            error = out[:, 0, row] - labels
            p = jnp.zeros_like(X).at[:, 0, row].set(weights * error)
            T_bar, X_bar, last_bar = self._adjoint(T, X, middle, last, p)
            T_bar = T_bar.at[:, column].add(X_bar[:, 0])
            return tree_map(jnp.add, total, (jnp.sum(weights * error**2) / 2, last_bar)), T_bar

        def backward(p: Array, layer_and_tokens: Any) -> Any:
            layer, (T, middle) = layer_and_tokens

            def add(total: Any, chunk: Any) -> Any:
                T, middle, p = chunk
                T_bar, X_bar, layer_bar = self._adjoint(T, T, middle, layer, p)
                return tree_map(jnp.add, total, layer_bar), T_bar + X_bar

            layer_bar, p = jax.lax.scan(add, tree_map(jnp.zeros_like, layer), (T, middle, p))
            return p, layer_bar

        T, visited = jax.lax.scan(forward, T, first)
        zero = (jnp.zeros((), T.dtype), tree_map(jnp.zeros_like, last))
        (risk, last_bar), p = jax.lax.scan(read, zero, (T, labels, weights))
        _, first_bar = jax.lax.scan(backward, p, (first, visited), reverse=True)
        bar = transpose(tree_map(lambda x, y: jnp.concatenate([x, y[None]]), first_bar, last_bar))
        return velocity_peer.finish(self.p, *jax.lax.psum((risk, *bar), "prompts"), theta, w)


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", options.dtype == "float64")
    velocity_peer.serve(Velocity(options.problem, options.dtype, options.threads))
