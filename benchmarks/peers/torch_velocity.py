"""One velocity evaluation of the Transformer objective in PyTorch, eager or compiled (see ``velocity_peer.py``).

The form is that of ``jax_velocity.py``: heads along the last axis, columns of all prompts of a chunk as one batch, so
that no product transposes a large array; layer by layer, chunks of prompts and blocks of heads whose attention weights
stay in the second-level cache; an adjoint by hand that computes them again; the last layer for the read column only.
"""

from typing import Any

import torch
import velocity_peer
from torch import Tensor

CHUNK_BYTES = 2**19


def _sums(T: Tensor, X: Tensor, W: Tensor) -> tuple[Tensor, ...]:
    """Tokens T (c, n, D), columns X (c, q, D), W = [e, d, m]: tokens by column r [r, j, d], U, P, 1 / sum P, Z."""
    (c, n, D), (q, m) = T.shape, (X.shape[1], W.shape[2])
    tokens = T[:, None].expand(c, q, n, D).reshape(c * q, n, D)
    U = (X.reshape(c * q, D) @ W.reshape(D, D * m)).view(c * q, D, m)
    S = tokens @ U
    P = torch.exp(S - S.amax(1, keepdim=True))
    scale = 1 / P.sum(1, keepdim=True)
    return tokens, U, P, scale, (tokens.mT @ P) * scale


def attention(T: Tensor, X: Tensor, V: Tensor, W: Tensor) -> Tensor:
    """``sum_m V_m T softmax_col(T^T W_m X)`` with V = [d, e, m], W = [e, d, m]."""
    Z = _sums(T, X, W)[-1]
    return (Z.flatten(1) @ V.flatten(1).T).view(X.shape)


def attention_adjoint(T: Tensor, X: Tensor, V: Tensor, W: Tensor, p: Tensor) -> tuple[Tensor, ...]:
    """Of :func:`attention` for the cotangent p: those of T, X, V and W."""
    (c, n, D), (q, m) = T.shape, (X.shape[1], W.shape[2])
    tokens, U, P, scale, Z = _sums(T, X, W)
    x, p = X.reshape(c * q, D), p.reshape(c * q, D)
    G = (p @ V.flatten(1)).view(c * q, D, m) * scale
    R = P * (tokens @ G - (Z * G).sum(1, keepdim=True))
    Y = (tokens.mT @ R).flatten(1)
    T_bar = (P @ G.mT + R @ U.mT).view(c, q, n, D).sum(1)
    return T_bar, (Y @ W.flatten(1).T).view(X.shape), (p.T @ Z.flatten(1)).view(D, D, m), (x.T @ Y).view(D, D, m)


def neurons(T: Tensor, W1: Tensor, W2: Tensor) -> Tensor:
    """``sum_m W_2m tanh(W_1m T)`` for W_1 and W_2 of shape (M, D)."""
    return torch.tanh(T @ W1.T) @ W2


def neurons_adjoint(T: Tensor, W1: Tensor, W2: Tensor, p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of :func:`neurons` for the cotangent p: those of T, W_1 and W_2."""
    H = torch.tanh(T @ W1.T)
    K = (p @ W2.T) * (1 - H * H)
    return K @ W1, K.flatten(0, 1).T @ T.flatten(0, 1), H.flatten(0, 1).T @ p.flatten(0, 1)


class Velocity:
    """An evaluation with its arguments in place; calling it returns (Q, v_theta, v_w)."""

    def __init__(self, path: str, dtype: str, threads: int, compiled: bool) -> None:
        self.p = p = velocity_peer.load(path, dtype)
        entries = CHUNK_BYTES * threads // p.tokens.itemsize // p.n**2
        self.heads = velocity_peer.divisor(p.M, entries)
        self.chunk = min(p.B, max(threads, entries // self.heads))
        self.tokens, self.labels = torch.tensor(p.tokens).mT.contiguous(), torch.tensor(p.labels)
        self.theta, self.w = torch.tensor(p.theta), torch.tensor(p.w)
        functions = (attention, attention_adjoint, neurons, neurons_adjoint)
        if compiled:
            functions = tuple(torch.compile(f, dynamic=False) for f in functions)
        self.attention, self.attention_adjoint, self.neurons, self.neurons_adjoint = functions

    def _chunks(self, *arrays: Tensor) -> Any:
        return zip(*(x.split(self.chunk) for x in arrays))

    def _forward(self, T: Tensor, X: Tensor, layer: Any) -> tuple[Tensor, Tensor]:
        """The columns X after attention to T, and after the neurons too."""
        V, W, W1, W2 = layer
        middle = X.clone()
        for t, x, y in self._chunks(T, X, middle):
            for v, u in zip(V, W):
                y.add_(self.attention(t, x, v, u), alpha=self.p.step)
        return middle, torch.cat([y + self.p.step * self.neurons(y, W1, W2) for (y,) in self._chunks(middle)])

    def _backward(self, T: Tensor, X: Tensor, middle: Tensor, layer: Any, p: Tensor) -> tuple[Tensor, Tensor, Any]:
        """Of a layer for the cotangent p: those of T, of X and of the layer."""
        V, W, W1, W2 = layer
        T_bar, X_bar, bars = torch.zeros_like(T), p.clone(), tuple(torch.zeros_like(x) for x in layer)
        for t, x, y, t_bar, x_bar in self._chunks(T, X, middle, T_bar, X_bar):
            y_bar, *bar = self.neurons_adjoint(y, W1, W2, self.p.step * x_bar)
            x_bar += y_bar
            for total, z in zip(bars[2:], bar):
                total += z
            q = self.p.step * x_bar
            for h, (v, u) in enumerate(zip(V, W)):
                for total, z in zip((t_bar, x_bar, bars[0][h], bars[1][h]), self.attention_adjoint(t, x, v, u, q)):
                    total += z
        return T_bar, X_bar, bars

    @torch.no_grad()
    def __call__(self) -> velocity_peer.Answer:
        p, (D, L, M) = self.p, (self.p.D, self.p.L, self.p.M)
        # [layer, block, head, V or W, d, e] to V [layer, block, d, e, m] and W [layer, block, e, d, m]
        matrices = self.theta.view(L, M // self.heads, self.heads, 2, D, D).permute(3, 0, 1, 4, 5, 2)
        V, W = matrices[0].contiguous(), matrices[1].transpose(2, 3).contiguous()
        layers = [*zip(V, W, self.w[..., :D].contiguous(), self.w[..., D:].contiguous())]
        T, visited = self.tokens, []
        for layer in layers[:-1]:
            middle, out = self._forward(T, T, layer)
            visited.append((T, middle))
            T = out
        X = T[:, p.column, None].contiguous()
        middle, out = self._forward(T, X, layers[-1])
        error = out[:, 0, p.row] - self.labels
        q = torch.zeros_like(X)
        q[:, 0, p.row] = error / p.B
        T_bar, X_bar, bars = self._backward(T, X, middle, layers[-1], q)
        T_bar[:, p.column] += X_bar[:, 0]
        gradient = [bars]
        for (T, middle), layer in zip(visited[::-1], layers[-2::-1]):
            tokens_bar, X_bar, bars = self._backward(T, T, middle, layer, T_bar)
            T_bar = tokens_bar + X_bar
            gradient.append(bars)
        V, W, W1, W2 = (torch.stack(x) for x in zip(*gradient[::-1]))
        theta_bar = torch.stack([V, W.transpose(2, 3)]).permute(1, 2, 5, 0, 3, 4).reshape(self.theta.shape)
        return velocity_peer.finish(p, (error**2).mean() / 2, theta_bar, torch.cat([W1, W2], -1), self.theta, self.w)


if __name__ == "__main__":
    options = velocity_peer.arguments(mode=("eager", "compiled"))
    torch.set_num_threads(options.threads)
    velocity_peer.serve(Velocity(options.problem, options.dtype, options.threads, options.mode == "compiled"))
