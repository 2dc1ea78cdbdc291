"""One velocity evaluation of the Transformer objective in numpy, on one core (see ``velocity_peer.py``).

Batched products with an adjoint by hand, prompt by prompt, so that the attention weights (M, n, n) of a layer are all
that is large; they are kept for the adjoint.
"""

import os
from typing import Any

os.environ |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1")

import numpy as np
import velocity_peer


class Velocity:
    """Calling it returns (Q, v_theta, v_w)."""

    def __init__(self, path: str, dtype: str) -> None:
        self.p = velocity_peer.load(path, dtype)

    def _layer(self, T: np.ndarray, X: np.ndarray, k: int) -> tuple[np.ndarray, Any]:
        """Columns X (D, q) of a prompt T (D, n) after layer k, and what the adjoint needs."""
        p = self.p
        U = p.W[k] @ X
        P = T.T @ U
        P -= P.max(1, keepdims=True)
        np.exp(P, out=P)
        P /= P.sum(1, keepdims=True)
        Z = T @ P
        middle = X + p.step * np.einsum("mde,mei->di", p.V[k], Z, optimize=True)
        H = np.tanh(p.W1[k] @ middle)
        return middle + p.step * p.W2[k].T @ H, (T, X, U, P, Z, middle, H)

    def _adjoint(self, visited: Any, k: int, p_bar: np.ndarray, theta_bar: Any, w_bar: Any) -> tuple[Any, Any]:
        """Cotangents of T and X, of that of layer k; those of the particles are added to."""
        p, (T, X, U, P, Z, middle, H) = self.p, visited
        D = p.D
        q = p.step * p_bar
        K = (p.W2[k] @ q) * (1 - H**2)
        w_bar[k, :, :D] += K @ middle.T
        w_bar[k, :, D:] += H @ q.T
        p_bar = p_bar + p.W1[k].T @ K
        q = p.step * p_bar
        G = p.V[k].swapaxes(1, 2) @ q
        R = T.T @ G
        R -= (Z * G).sum(1, keepdims=True)
        R *= P
        Y = T @ R
        M = len(G)
        theta_bar[k, :, 0] += q @ Z.swapaxes(1, 2)
        theta_bar[k, :, 1] += Y @ X.T
        X_bar = p.W[k].reshape(M * D, D).T @ Y.reshape(M * D, -1)
        return (G @ P.swapaxes(1, 2) + U @ R.swapaxes(1, 2)).sum(0), p_bar + X_bar

    def __call__(self) -> velocity_peer.Answer:
        p = self.p
        risk, last = 0.0, p.L - 1
        theta_bar, w_bar = np.zeros((p.L, p.M, 2, p.D, p.D), p.theta.dtype), np.zeros_like(p.w)
        for T, label in zip(p.tokens, p.labels):
            visited = []
            for k in range(last):
                T, kept = self._layer(T, T, k)
                visited.append(kept)
            out, kept = self._layer(T, T[:, p.column, None], last)
            error = out[p.row, 0] - label
            risk += error**2 / (2 * p.B)
            q = np.zeros_like(out)
            q[p.row] = error / p.B
            T_bar, X_bar = self._adjoint(kept, last, q, theta_bar, w_bar)
            T_bar[:, p.column] += X_bar[:, 0]
            for k in reversed(range(last)):
                T_bar = sum(self._adjoint(visited[k], k, T_bar, theta_bar, w_bar))
        return velocity_peer.finish(p, risk, theta_bar.reshape(p.theta.shape), w_bar, p.theta, p.w)


if __name__ == "__main__":
    options = velocity_peer.arguments()
    velocity_peer.serve(Velocity(options.problem, options.dtype))
