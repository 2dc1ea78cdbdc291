"""One velocity evaluation of the Transformer objective in PyTorch, eager or compiled (see ``velocity_peer.py``).

What makes it fast: heads along the last axis and the columns of a chunk's prompts as one batch, so that no product
transposes a large array; chunks of prompts whose attention weights stay in the caches, kept from layer to layer for an
adjoint by hand; memory that the allocator does not give back; compiled, products with few terms as sums, which fuse
with what follows; the last layer for the read column only.
"""

import ctypes
from typing import Any

import torch
import velocity_peer
from torch import Tensor

options = velocity_peer.arguments(mode=("eager", "compiled"))
COMPILED = options.mode == "compiled"
CHUNK_BYTES = 2**22 if COMPILED else 2**19  # attention weights of a chunk and thread


def by_tokens(tokens: Tensor, U: Tensor) -> Tensor:
    """``sum_d tokens[r, j, d] U[r, d, m]``."""
    if COMPILED and U.shape[1] <= 8:
        return sum(tokens[:, :, d, None] * U[:, None, d] for d in range(U.shape[1]))  # type: ignore[return-value]
    return tokens @ U


def by_column(T: Tensor, q: int) -> Tensor:
    """The tokens (c, n, D) of a prompt once for each of its q columns: [r, j, d]."""
    c, n, D = T.shape
    return T[:, None].expand(c, q, n, D).reshape(c * q, n, D)


def attention(T: Tensor, X: Tensor, V: Tensor, W: Tensor) -> tuple[Tensor, ...]:
    """``sum_m V_m T softmax_col(T^T W_m X)`` for columns X (c, q, D), V = [d, e, m], W = [e, d, m]; and for the adjoint
    U = W X, P before normalisation, its scale, Z = T P."""
    (c, q, D), m = X.shape, W.shape[2]
    tokens = by_column(T, q)
    U = (X.reshape(c * q, D) @ W.reshape(D, D * m)).view(c * q, D, m)
    S = by_tokens(tokens, U)
    P = torch.exp(S - S.amax(1, keepdim=True))
    scale = 1 / P.sum(1, keepdim=True)
    Z = (tokens.mT @ P) * scale
    return (Z.flatten(1) @ V.flatten(1).T).view(X.shape), U, P, scale, Z


def attention_adjoint(
    T: Tensor, X: Tensor, V: Tensor, W: Tensor, p: Tensor, U: Tensor, P: Tensor, scale: Tensor, Z: Tensor
) -> tuple[Tensor, ...]:
    """Of :func:`attention` for the cotangent p: those of T, X, V and W."""
    (c, q, D), m = X.shape, W.shape[2]
    tokens, x, p = by_column(T, q), X.reshape(c * q, D), p.reshape(c * q, D)
    G = (p @ V.flatten(1)).view(c * q, D, m) * scale
    R = P * (by_tokens(tokens, G) - (Z * G).sum(1, keepdim=True))
    Y = (tokens.mT @ R).flatten(1)
    T_bar = (G @ P.mT + U @ R.mT).view(c, q, D, -1).sum(1).mT
    return T_bar, (Y @ W.flatten(1).T).view(X.shape), (p.T @ Z.flatten(1)).view(D, D, m), (x.T @ Y).view(D, D, m)


def neurons(T: Tensor, W1: Tensor, W2: Tensor) -> tuple[Tensor, Tensor]:
    """``sum_m W_2m tanh(W_1m T)`` for W_1 and W_2 of shape (M, D), and the values of the neurons."""
    H = torch.tanh(T @ W1.T)
    return H @ W2, H


def neurons_adjoint(T: Tensor, W1: Tensor, W2: Tensor, p: Tensor, H: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of :func:`neurons` for the cotangent p: those of T, W_1 and W_2."""
    K = (p @ W2.T) * (1 - H * H)
    return K @ W1, K.flatten(0, 1).T @ T.flatten(0, 1), H.flatten(0, 1).T @ p.flatten(0, 1)


class Velocity:
    """An evaluation with its arguments in place; calling it returns (Q, v_theta, v_w)."""

    def __init__(self, path: str, dtype: str, threads: int) -> None:
        self.p = p = velocity_peer.load(path, dtype)
        entries = CHUNK_BYTES * threads // p.tokens.itemsize // p.n**2
        self.heads = velocity_peer.divisor(p.M, entries)
        self.chunk = min(p.B, max(1, entries // self.heads))
        self.tokens, self.labels = torch.tensor(p.tokens).mT.contiguous(), torch.tensor(p.labels)
        self.theta, self.w = torch.tensor(p.theta), torch.tensor(p.w)
        functions: Any = (attention, attention_adjoint, neurons, neurons_adjoint)
        if COMPILED:
            functions = (torch.compile(f, dynamic=False) for f in functions)
        self.attention, self.attention_adjoint, self.neurons, self.neurons_adjoint = functions

    def _forward(self, T: Tensor, X: Tensor, layer: Any) -> tuple[Tensor, Any]:
        """The columns X after attention to T and the neurons, and what the adjoint needs."""
        V, W, W1, W2 = layer
        kept = [self.attention(T, X, *heads) for heads in zip(V, W)]
        middle = X + self.p.step * sum(f for f, *_ in kept)
        f, H = self.neurons(middle, W1, W2)
        return middle + self.p.step * f, (T, X, [rest for _, *rest in kept], middle, H)

    def _backward(self, visited: Any, layer: Any, p: Tensor, bars: Any) -> tuple[Tensor, Tensor]:
        """For the cotangent p of a layer those of T and of X; that of the layer is added to bars."""
        (T, X, kept, middle, H), (V, W, W1, W2) = visited, layer
        middle_bar, *bar = self.neurons_adjoint(middle, W1, W2, self.p.step * p, H)
        for total, x in zip(bars[2:], bar):
            total += x
        X_bar = p + middle_bar
        q, T_bar = self.p.step * X_bar, torch.zeros_like(T)
        for v, u, v_total, u_total, rest in zip(V, W, *bars[:2], kept):
            for total, x in zip((T_bar, X_bar, v_total, u_total), self.attention_adjoint(T, X, v, u, q, *rest)):
                total += x
        return T_bar, X_bar

    def _chunk(self, T: Tensor, labels: Tensor, layers: Any, bars: Any) -> float:
        """The risk of a chunk of prompts; its gradient is added to bars."""
        p, visited = self.p, []
        for layer in layers[:-1]:
            T, kept = self._forward(T, T, layer)
            visited.append(kept)
        out, last = self._forward(T, T[:, p.column, None].contiguous(), layers[-1])
        error = out[:, 0, p.row] - labels
        q = torch.zeros_like(out)
        q[:, 0, p.row] = error / p.B
        T_bar, X_bar = self._backward(last, layers[-1], q, bars[-1])
        T_bar[:, p.column] += X_bar[:, 0]
        while visited:
            k = len(visited) - 1
            T_bar = sum(self._backward(visited.pop(), layers[k], T_bar, bars[k]))  # type: ignore[assignment]
        return float((error**2).sum()) / (2 * p.B)

    @torch.no_grad()
    def __call__(self) -> velocity_peer.Answer:
        p, (D, L, M) = self.p, (self.p.D, self.p.L, self.p.M)
        matrices = self.theta.view(L, M // self.heads, self.heads, 2, D, D).permute(3, 0, 1, 4, 5, 2)
        V, W = matrices[0].contiguous(), matrices[1].transpose(2, 3).contiguous()
        arrays = (V, W, self.w[..., :D].contiguous(), self.w[..., D:].contiguous())
        totals = tuple(torch.zeros_like(x) for x in arrays)
        layers, bars = [*zip(*arrays)], [*zip(*totals)]
        chunks = zip(self.tokens.split(self.chunk), self.labels.split(self.chunk))
        risk = sum(self._chunk(T, labels, layers, bars) for T, labels in chunks)
        V_bar, W_bar, *w_bar = totals
        theta_bar = torch.stack([V_bar, W_bar.transpose(2, 3)]).permute(1, 2, 5, 0, 3, 4).reshape(self.theta.shape)
        return velocity_peer.finish(p, risk, theta_bar, torch.cat(w_bar, -1), self.theta, self.w)


def keep_memory() -> None:
    """Have glibc, where it is, keep what is freed: pages that come and go cost more than the arithmetic on them."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(-1, 2**30)  # M_TRIM_THRESHOLD
        mallopt(-3, 2**25)  # M_MMAP_THRESHOLD


if __name__ == "__main__":
    keep_memory()
    torch.set_num_threads(options.threads)
    velocity_peer.serve(Velocity(options.problem, options.dtype, options.threads))
